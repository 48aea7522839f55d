"""Embedding against torch.nn, and what trtnet has not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modules import both, check_module, values

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.integers(1, 3), max_size=3),
    st.sampled_from(["int64", "int32"]),
    st.data(),
)
def test_embedding(count, size, shape, dtype, data):
    index = np.random.default_rng(0).integers(0, count, shape).astype(dtype)
    padding = data.draw(st.one_of(st.none(), st.integers(-count, count - 1)))
    check_module("Embedding", (count, size, padding), index, norm_type=data.draw(st.sampled_from([2.0, 1.0])))


def test_compiles():
    batch = Dim("batch", min=1, opt=2, max=4)
    check_module("Embedding", (7, 4), np.array([[1, 2, 6], [0, 0, 3]]), compile=True, shapes={"input": (batch, 3)})


def test_initial_values():
    trtnet.manual_seed(0)
    module = nn.Embedding(500, 100, padding_idx=-1)
    table = module.weight.numpy()
    assert abs(table[:-1].std() - 1) < 0.02
    assert not table[-1].any()
    assert module.padding_idx == 499


def test_from_pretrained():
    table = values((5, 3))
    for freeze in (True, False):
        ours = nn.Embedding.from_pretrained(trtnet.tensor(table), freeze=freeze, padding_idx=1)
        theirs = torch.nn.Embedding.from_pretrained(torch.from_numpy(table), freeze=freeze, padding_idx=1)
        assert ours.weight.requires_grad == theirs.weight.requires_grad
        assert ours.extra_repr() == theirs.extra_repr()
        np.testing.assert_array_equal(ours.weight.numpy(), table)


def test_concrete_indices():
    table = values((5, 3))
    index = trtnet.tensor([[0, 4]])
    np.testing.assert_array_equal(F.embedding(index, trtnet.Array(table)).numpy(), table[[[0, 4]]])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, x):
            return x + self.table(trtnet.arange(2))

    assert trtnet.record(Net(), x=Input((2, 3))).outputs["output"].shape == (2, 3)


def test_errors():
    with pytest.raises(DtypeError, match=r"x\.long\(\)"):
        trtnet.record(nn.Embedding(3, 4), input=Input((2,)))
    with pytest.raises(UnsupportedError, match="max_norm"):
        nn.Embedding(3, 4, max_norm=1.0)
    with pytest.raises(ArgumentError, match="padding_idx"):
        nn.Embedding(3, 4, padding_idx=3)
    with pytest.raises(ShapeError, match="two dimensions"):
        nn.Embedding.from_pretrained(trtnet.zeros(3))
    with pytest.raises(UnsupportedError, match="EmbeddingBag is not in trtnet"):
        nn.EmbeddingBag(3, 4)


def test_distances():
    inputs = {"x1": values((2, 3, 4), 1), "x2": values((2, 3, 4), 2)}
    check_module("CosineSimilarity", (2,), inputs, rtol=1e-6)
    check_module("PairwiseDistance", (1.0,), inputs, rtol=1e-6, keepdim=True)
    assert both("CosineSimilarity")[0].dim == 1
