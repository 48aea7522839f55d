"""Functions that are composed of several of TensorRT's layers, in one network: torch's values."""

from __future__ import annotations

import numpy as np
import pytest
from composed import INPUTS, compare, everything
from networks import LEVEL

import trtnet
from trtnet import Dim, Input

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("batch", [3, Dim("batch", min=1, opt=3, max=6)], ids=["static", "dynamic"])
def test_functions(batch):
    specs = {
        name: Input((batch, *a.shape[1:]) if a.shape[0] == 3 else a.shape, str(a.dtype)) for name, a in INPUTS.items()
    }
    graph = trtnet.record(lambda **given: everything(trtnet, **given), **specs)
    wanted = everything(torch, **{name: torch.from_numpy(a.copy()) for name, a in INPUTS.items()})
    found = trtnet.build(graph, **LEVEL)(**INPUTS)
    as_arrays = {name: None if v is None else np.asarray(v) for name, v in found.items()}
    compare(as_arrays, {name: None if v is None else v.numpy() for name, v in wanted.items()}, 1e-4)
