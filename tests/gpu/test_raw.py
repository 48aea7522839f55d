"""Layers that a user's function adds, and marked tensors, on TensorRT."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, close, same

import trtnet
from trtnet import nn

torch = pytest.importorskip("torch")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        generator = np.random.default_rng(1)
        self.conv = nn.Conv2d(3, 4, 3)
        self.kernel = nn.Parameter(generator.standard_normal((5, 4, 1, 1)).astype(np.float32))
        self.shift = nn.Parameter(generator.standard_normal((1, 5, 1, 1)).astype(np.float32))

    def forward(self, x):
        x = trtnet.mark(self.conv(x), "features")
        return trtnet.raw(
            added, x, self.shift, shapes=(x.shape[0], 5, *x.shape[2:]), weights={"kernel": self.kernel},
            reference=lambda x, shift, kernel: torch.nn.functional.conv2d(x, kernel) + shift,
        ).relu()  # fmt: skip


def added(network, x, shift, kernel):
    import tensorrt

    layer = network.add_convolution_nd(x, 5, (1, 1), kernel)
    return network.add_elementwise(layer.get_output(0), shift, tensorrt.ElementWiseOperation.SUM).get_output(0)


@pytest.mark.parametrize("batch", [2, trtnet.Dim("batch", 1, 2, 4)])
def test_a_function_of_the_users_refits(batch):
    graph = trtnet.record(Net(), x=trtnet.Input((batch, 3, 8, 8)))
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
