"""Constants of types that a TensorRT lacks."""

import numpy as np
import pytest
from harness import lower_and_compare, needs_rtx

import trtnet
from trtnet import Dim, Input, dtypes, nn
from trtnet import functional as F
from trtnet.layers.constant import Constant


class Masks(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", trtnet.tensor([True, False, True]))

    def forward(self, x):
        return (
            F.scaled_dot_product_attention(x, x, x, is_causal=True),
            trtnet.where(self.mask, x, 0.0),
            trtnet.where(trtnet.tensor([[False], [True], [True]]), x, -x),
            trtnet.tensor(True) & (x > 0),
        )


@pytest.mark.parametrize("batch", [2, Dim("batch", 1, 2, 4)])
def test_bool_constants_become_comparisons_where_they_cannot_be_fused(monkeypatch, batch):
    found = needs_rtx()
    graph = trtnet.record(Masks(), x=Input((batch, 3, 3)))
    x = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    constants = [c for c in graph.for_provider(found).layers if isinstance(c, Constant)]
    assert any(c.outputs[0].dtype is dtypes.bool_ for c in constants)
    monkeypatch.setattr(found, "fuses_bool_constants", False)
    lowered = graph.for_provider(found)
    assert all(c.outputs[0].dtype is not dtypes.bool_ for c in lowered.layers if isinstance(c, Constant))
    lower_and_compare(lowered)
    for mine, plain in zip(trtnet.reference(lowered)(x), trtnet.reference(graph)(x), strict=True):
        assert np.array_equal(mine, plain)
