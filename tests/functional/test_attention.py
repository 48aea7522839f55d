"""Scaled dot product attention against torch, in float64 and on TensorRT-RTX."""

import numpy as np
import pytest
import torch
from harness import check_against_torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError

T = torch.nn.functional


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def attention(draw):
    front = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    length, source, size, width = (draw(st.integers(1, 4)) for _ in range(4))
    inputs = {
        "query": values((*front, length, size), 1),
        "key": values((*front, source, size), 2),
        "value": values((*front, source, width), 3),
    }
    kind = draw(st.sampled_from(["none", "bool", "float", "causal"]))
    options = {"scale": draw(st.sampled_from([None, 0.5]))}
    shape = draw(st.sampled_from([(length, source), (1, source), (*front, length, source)]))
    if kind == "bool":
        mask = np.random.default_rng(4).random(shape) > 0.4
        inputs["attn_mask"] = mask
    elif kind == "float":
        inputs["attn_mask"] = np.where(np.random.default_rng(5).random(shape) > 0.4, values(shape, 4), -np.inf)
        inputs["attn_mask"] = inputs["attn_mask"].astype(np.float32)
    options["is_causal"] = kind == "causal"
    return inputs, options


@given(attention())
@settings(max_examples=60)
def test_attention(case):
    inputs, options = case

    def call(f):
        return lambda query, key, value, attn_mask=None: f.scaled_dot_product_attention(
            query, key, value, attn_mask, **options
        )

    check_against_torch(call(F), call(T), inputs, compile=False, rtol=1e-6, atol=1e-7)


def test_grouped_queries():
    inputs = {"q": values((2, 6, 3, 4), 1), "k": values((2, 2, 5, 4), 2), "v": values((2, 2, 5, 4), 3)}

    def call(f):
        return lambda q, k, v: f.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    check_against_torch(call(F), call(T), inputs)
    with pytest.raises(ShapeError, match="multiple of the key's"):
        trtnet.record(call(F), q=Input((2, 5, 3, 4)), k=Input((2, 2, 5, 4)), v=Input((2, 2, 5, 4)))


@pytest.mark.parametrize("causal", [True, False])
def test_dynamic_lengths_compile(causal):
    batch, length = Dim("batch", min=1, opt=2, max=4), Dim("length", min=1, opt=3, max=8)
    check_against_torch(
        lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=causal),
        lambda x: T.scaled_dot_product_attention(x, x, x, is_causal=causal),
        {"x": values((2, 3, 4))},
        shapes={"x": (batch, length, 4)},
    )


def test_a_concrete_mask():
    mask = np.tri(3, dtype=bool)
    check_against_torch(
        lambda x: F.scaled_dot_product_attention(x, x, x, trtnet.ones(3, 3, dtype=trtnet.bool).tril()),
        lambda x: T.scaled_dot_product_attention(x, x, x, torch.from_numpy(mask)),
        {"x": values((2, 3, 4))},
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1),
            UnsupportedError,
            "if self.training else 0.0",
        ),
        (lambda x: F.scaled_dot_product_attention(x, x, x, x, is_causal=True), ArgumentError, "not both"),
        (
            lambda x: F.scaled_dot_product_attention(x, x, x, trtnet.ones(3, 3, dtype=trtnet.int32)),
            DtypeError,
            "bool or floating",
        ),
        (lambda x: F.scaled_dot_product_attention(x[0, 0], x, x), ShapeError, "two dimensions or more"),
        (lambda x: F.scaled_dot_product_attention(x, x.half(), x), DtypeError, "one dtype"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        trtnet.record(lambda x: call(x), x=Input((2, 3, 4)))
    assert caught.value.where.file == __file__


ROWS = np.array([[True, True, False], [False, False, False], [True, False, True]])


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("how", ["input", "constant", "buffer"])
def test_a_row_that_is_masked_entirely_is_zero(how, kind, dynamic):
    mask = ROWS if kind == "bool" else np.where(ROWS, np.float32(0.5), np.float32(-np.inf))

    class Net(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", trtnet.tensor(mask))

        def forward(self, x, m):
            given = {"input": m, "constant": trtnet.tensor(mask), "buffer": self.mask}[how]
            return F.scaled_dot_product_attention(x, x, x, given)

    graph = check_against_torch(
        Net(),
        lambda x, m: T.scaled_dot_product_attention(x, x, x, torch.from_numpy(mask).to(m.dtype)),
        {"x": values((2, 4, 3, 8)), "m": mask},
        shapes={"x": (Dim("batch", 2, 2, 4), 4, 3, 8)} if dynamic else None,
        rtol=1e-6,
    )
    assert np.array_equal(trtnet.reference(graph)(values((2, 4, 3, 8)), mask)[:, :, 1], np.zeros((2, 4, 8)))


@pytest.mark.parametrize("masked", [None, "causal", "open"])
def test_nothing_is_added_where_every_row_is_open(masked):
    def call(x):
        given = trtnet.ones(3, 3, dtype=trtnet.bool).tril() if masked == "open" else None
        return F.scaled_dot_product_attention(x, x, x, given, is_causal=masked == "causal")

    graph = trtnet.record(call, x=Input((2, 3, 4)))
    kinds = [layer.kind for layer in graph.layers]
    assert kinds.count("reduce") == 0
    assert kinds.count("select") == (0 if masked is None else 1)


def test_float16_scores_that_become_infinite():
    """torch looks at the scores: the smallest number of a mask and a negative score are minus infinity together."""
    q = np.full((1, 2, 4), 4, np.float16)
    mask = np.array([[-65504, -65504], [0, -65504]], np.float16)

    def call(f):
        return lambda q, k, m: f.scaled_dot_product_attention(q, k, k, m)

    graph = trtnet.record(call(F), q=Input(q.shape, "float16"), k=Input(q.shape, "float16"), m=Input((2, 2), "float16"))
    found = trtnet.reference(graph)(q, -q * 8, mask)
    wanted = call(torch.nn.functional)(*(torch.from_numpy(v).float() for v in (q, -q * 8, mask))).numpy()
    assert not found[:, 0].any()
    np.testing.assert_allclose(found[:, 1].astype(np.float32), wanted[:, 1], rtol=2e-3)
