"""What an engine remembers of input shapes."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Dim, Input  # noqa: E402
from trtnet.engine import inputs  # noqa: E402


def test_an_engine_that_saw_too_many_shapes_forgets_them_and_goes_on(monkeypatch):
    monkeypatch.setattr(inputs, "SHAPES", 3)
    graph = trtnet.record(lambda x: x.sum(0), x=Input((Dim("n", min=1, opt=2, max=9), 2)))
    engine = trtnet.reference(graph)
    remembered = []
    for size in (1, 2, 3, 3, 4, 5, 1):
        assert engine(np.ones((size, 2), np.float32)).tolist() == [size, size]
        remembered.append([shapes[0][0] for shapes in engine._sizes])
    assert remembered == [[1], [1, 2], [1, 2, 3], [1, 2, 3], [4], [4, 5], [4, 5, 1]]
