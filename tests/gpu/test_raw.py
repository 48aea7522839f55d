"""Layers that a user's function adds, and marked tensors, on TensorRT."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, RawNetwork, close, same

import trtnet

pytest.importorskip("torch")


class Marked(RawNetwork):
    def features(self, x):
        return trtnet.mark(super().features(x), "features")


@pytest.mark.parametrize("batch", [2, trtnet.Dim("batch", 1, 2, 4)])
def test_a_function_of_the_users_refits(batch):
    graph = trtnet.record(Marked(), x=trtnet.Input((batch, 3, 8, 8)))
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    engine, reference = trtnet.build(graph, refit=True, **LEVEL), trtnet.reference(graph, dtype="float64")
    before = engine(x)
    close(before["output"], reference(x)["output"])
    close(before["features"], reference(x)["features"])
    assert engine.checked.rows
    state = {name: np.asarray(value) * 0.5 + 0.1 for name, value in graph.state_dict().items()}
    for one in (engine, reference):
        one.refit(state)
    close(engine(x)["output"], reference(x)["output"])
    engine.refit(graph.state_dict())
    assert all(same(engine(x)[name], before[name]) for name in before)
