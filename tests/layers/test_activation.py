"""Activation and ParametricReLU: every type against its formula in NvInfer.h, and compiled by TensorRT-RTX."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare, needs_rtx, record
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.graph.recorder import emit
from trtnet.layers.activation import Activation, ParametricReLU

BATCH = Dim("batch", min=1, opt=2, max=5)
FORMULAS = {
    "RELU": lambda x, a, b: x.clamp(min=0),
    "SIGMOID": lambda x, a, b: 1 / (1 + torch.exp(-x)),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: torch.where(x >= 0, x, a * x),
    "ELU": lambda x, a, b: torch.where(x >= 0, x, a * (torch.exp(x) - 1)),
    "SELU": lambda x, a, b: torch.where(x > 0, b * x, b * (a * torch.exp(x) - a)),
    "SOFTSIGN": lambda x, a, b: x / (1 + x.abs()),
    "SOFTPLUS": lambda x, a, b: a * torch.log(torch.exp(b * x) + 1),
    "CLIP": lambda x, a, b: x.clamp(max=b).clamp(min=a),
    "HARD_SIGMOID": lambda x, a, b: (a * x + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: torch.where(x > a, x, 0),
    "GELU_ERF": lambda x, a, b: 0.5 * x * (1 + torch.erf(math.sqrt(0.5) * x)),
    "GELU_TANH": lambda x, a, b: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (0.044715 * x**3 + x))),
}


def test_every_activation_of_tensorrt_is_there() -> None:
    assert set(needs_rtx().trt.ActivationType.__members__) == set(FORMULAS)


@pytest.mark.parametrize("kind", FORMULAS)
@given(data=st.data())
def test_activation_equals_its_formula(kind: str, data: st.DataObject) -> None:
    alpha = data.draw(st.floats(0.125, 2))
    beta = data.draw(st.floats(alpha, 3))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), max_size=4)))
    x = np.random.default_rng(data.draw(st.integers(0, 99))).normal(0, 3, shape).astype(np.float32)
    check_against_torch(
        lambda x: emit(Activation((x,), kind, alpha, beta)),
        lambda x: FORMULAS[kind](x, alpha, beta),
        {"x": x},
        compile=False,
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_activation_compiles(dtype: str) -> None:
    def every(x):
        return {kind: emit(Activation((x,), kind, 0.25, 0.75)) for kind in FORMULAS}

    lower_and_compare(trtnet.record(every, x=Input((BATCH, 3), dtype)))


def test_attributes_reach_tensorrt() -> None:
    native = needs_rtx().trt.IActivationLayer
    lowering = lower_and_compare(
        trtnet.record(lambda x: emit(Activation((x,), "CLIP", -0.25, 0.75)), x=Input((2, 3))), compile=False
    )
    layer = lowering.network.get_layer(0)
    layer.__class__ = native
    assert (layer.type.name, layer.alpha, layer.beta) == ("CLIP", -0.25, 0.75)


def test_relu_takes_integers() -> None:
    kinds = ("int8", "int32", "int64")
    graph = trtnet.record(
        lambda **named: {f"out_{k}": emit(Activation((x,), "RELU")) for k, x in named.items()},
        **{kind: Input((3,), kind) for kind in kinds},
    )
    lower_and_compare(graph)
    given_ = {kind: np.array([-1, 0, 2], kind) for kind in kinds}
    for result in trtnet.reference(graph)(**given_).values():
        np.testing.assert_array_equal(result, [0, 0, 2])


@pytest.mark.parametrize("kind", ["GELU_ERF", "GELU_TANH"])
def test_gelu_is_composed_before_tensorrt_10(kind: str) -> None:
    class Older:
        computes_constants = True

        def has(self, enum: str, member: str) -> bool:
            return not member.startswith("GELU")

    x = np.linspace(-4, 4, 9, dtype=np.float32)
    graph = record(lambda x: emit(Activation((x,), kind)), {"x": x})
    composed = graph.for_provider(Older())
    assert len(composed.layers) > 4
    assert not any(getattr(layer, "type", "").startswith("GELU") for layer in composed.layers)
    found, expected = (
        trtnet.reference(g, dtype="float64", raw=True)(x=x.astype(np.float64)) for g in (composed, graph)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    lower_and_compare(composed)


@given(data=st.data())
def test_parametric_relu_equals_torch(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    x = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    slope = np.random.default_rng(2).normal(0, 1, (1, shape[1], *(1,) * (len(shape) - 2))).astype(np.float32)
    check_against_torch(
        lambda x, slope: emit(ParametricReLU((x, slope))),
        lambda x, slope: torch.nn.functional.prelu(x, slope.reshape(-1)),
        {"x": x, "slope": slope},
        compile=False,
    )


def test_a_parametric_relu_of_one_number_has_one_dimension(monkeypatch) -> None:
    found = needs_rtx()
    monkeypatch.setattr(found, "slopes_scalars", False)
    graph = trtnet.record(
        lambda x, slope: (trtnet.prelu(x.sum(), slope), trtnet.prelu(x, slope)), x=Input((2, 3)), slope=Input(())
    )
    lowered = graph.for_provider(found)
    shapes = [layer.outputs[0].shape for layer in lowered.layers if layer.kind == "parametric_relu"]
    assert shapes == [(1,), (2, 3)]
    lower_and_compare(lowered)
    for sign in (-1, 1):
        x, slope = sign * np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(0.5)
        number, matrix = trtnet.reference(lowered)(x, slope)
        assert number.shape == ()
        assert number == x.sum() * (0.5 if sign < 0 else 1)
        np.testing.assert_array_equal(matrix, np.where(x >= 0, x, x * slope))


def refused(kind: type[Exception], layer, match: str, **inputs: Input) -> str:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(lambda **tensors: emit(layer(*tensors.values())), **inputs)
    assert "emit(layer(*tensors.values()))" in str(caught.value)
    return str(caught.value)


def test_refusals() -> None:
    assert "x.float()" in refused(
        DtypeError, lambda x: Activation((x,), "SIGMOID"), "SIGMOID does not take int32", x=Input((2,), "int32")
    )
    refused(DtypeError, lambda x: Activation((x,), "RELU"), "RELU does not take bool", x=Input((2,), "bool"))
    refused(ArgumentError, lambda x: Activation((x,), "SWISH"), "no such activation", x=Input((2,)))
    refused(ShapeError, lambda x, s: ParametricReLU((x, s)), "must broadcast", x=Input((2, 3)), s=Input((3,)))
    refused(ShapeError, lambda x, s: ParametricReLU((x, s)), "must broadcast", x=Input((1, 3)), s=Input((2, 3)))
    refused(DtypeError, lambda x, s: ParametricReLU((x, s)), "one dtype", x=Input((2, 3)), s=Input((1, 3), "float16"))
