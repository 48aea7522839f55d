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
        mask[..., 0] = True  # a row that is masked entirely is torch's own affair
        inputs["attn_mask"] = mask
    elif kind == "float":
        inputs["attn_mask"] = values(shape, 4)
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
