"""Tensors of types that TensorRT only quantizes and dequantizes: refused while they are recorded, not at the build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import needs_rtx

import trtnet
from trtnet import Input
from trtnet import layers as L
from trtnet.errors import DtypeError, TrtnetError

TYPES = ["float8_e4m3fn", "float4_e2m1fn", "int4", "float8_e8m0fnu"]
ONES = {"stride": (1, 1), "pre_padding": (0, 0), "post_padding": (0, 0)}
CONVOLUTION = ONES | {"num_output_maps": 4, "kernel_size": (3, 3), "dilation": (1, 1)}


def few(array: Any, like: Any) -> Any:
    return L.add_quantize(array, 1.0, to_type=like.dtype)


def numbers(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


KINDS: dict[str, Callable[[Any], Any]] = {
    "convolution": lambda x: L.add_convolution_nd(x, few(numbers(4, 3, 3, 3), x), None, **CONVOLUTION),
    "deconvolution": lambda x: L.add_deconvolution_nd(x, few(numbers(3, 4, 3, 3), x), None, **CONVOLUTION),
    "matrix_multiply": lambda x: L.add_matrix_multiply(x, x, op1="TRANSPOSE"),
    "einsum": lambda x: L.add_einsum(x, x, equation="abcd,abcd->abc"),
    "softmax": lambda x: L.add_softmax(x, axis=1),
    "pooling": lambda x: L.add_pooling_nd(x, type="AVERAGE", window_size=(2, 2), **ONES),
    "activation": lambda x: L.add_activation(x, type="RELU"),
    "elementwise": lambda x: L.add_elementwise(x, x, op="SUM"),
    "comparison": lambda x: L.add_elementwise(x, x, op="LESS"),
    "unary": lambda x: L.add_unary(x, op="EXP"),
    "reduce": lambda x: L.add_reduce(x, op="SUM", axes=(1,)),
    "topk": lambda x: L.add_topk(x, op="MAX", k=1, axes=(1,))[1],
    "resize": lambda x: L.add_resize(x, scales=(1.0, 1.0, 2.0, 2.0)),
    "shuffle": lambda x: L.add_shuffle(x, reshape_dims=(3, 64)),
    "slice": lambda x: L.add_slice(x, start=(0, 0, 0, 0), shape=(1, 3, 4, 4), stride=(1, 1, 1, 1)),
    "concatenation": lambda x: L.add_concatenation(x, x, axis=1),
    "gather": lambda x: L.add_gather(x, np.array([0, 1]), axis=1),
    "scatter": lambda x: L.add_scatter(x, np.zeros((1, 3, 8, 8), np.int32), x, axis=0),
    "select": lambda x: L.add_select(np.ones((1, 1, 1, 1), bool), x, x),
    "lrn": lambda x: L.add_lrn(x, window=3, alpha=1.0, beta=0.5, k=1.0),
    "cumulative": lambda x: L.add_cumulative(x, axis=1),
    "padding": lambda x: L.add_padding_nd(x, pre_padding=(1, 1), post_padding=(0, 0)),
    "cast": lambda x: L.add_cast(x, to_type="float32"),
    "quantize": lambda x: L.add_quantize(x, 1.0),
    "dynamic_quantize": lambda x: L.add_dynamic_quantize(x, axis=3, block_size=8)[0],
    "grid_sample": lambda x: L.add_grid_sample(x, few(np.zeros((1, 4, 4, 2), np.float32), x)),
    "normalization": lambda x: L.add_normalization(
        x, few(numbers(1, 3, 1, 1), x), few(numbers(1, 3, 1, 1), x), axes=(2, 3)
    ),
    "parametric_relu": lambda x: L.add_parametric_relu(x, x),
    "scale": lambda x: L.add_scale_nd(x, None, None, None, mode="UNIFORM"),
    "reverse_sequence": lambda x: L.add_reverse_sequence(x, np.array([1], np.int32), batch_axis=0, sequence_axis=1),
    "attention": lambda x: L.add_attention(x, x, x),
    "unsqueeze": lambda x: L.add_unsqueeze(x, axes=(0,)),
    "loop": lambda x: trtnet.scan(lambda carry, part: (carry, None), x, None, length=2)[0],
    "loop's parts": lambda x: trtnet.scan(lambda carry, part: (carry, part), trtnet.zeros(1), x)[1],
    "conditional": lambda x: trtnet.cond(L.add_dequantize(x, 1.0).sum() > 0, lambda: x, lambda: x),
    "linear": lambda x: trtnet.nn.functional.linear(x, few(numbers(4, 8), x)),
    "scaled_dot_product_attention": lambda x: trtnet.nn.functional.scaled_dot_product_attention(x, x, x),
}
TAKEN = {("cast", "float8_e8m0fnu")}
"""What TensorRT-RTX compiles."""
OF_QUANTIZED = ("convolution", "deconvolution", "grid_sample", "normalization", "conditional", "linear")
"""Networks that quantize something else, too."""


def of(kind: str, dtype: str) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        return KINDS[kind](x if dtype == "float8_e8m0fnu" else L.add_quantize(x, 0.5, to_type=dtype))

    return forward


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_refused_while_recording(kind: str, dtype: str) -> None:
    if dtype == "float8_e8m0fnu" and kind in OF_QUANTIZED:
        pytest.skip("nothing is quantized to it")
    x = Input((1, 3, 8, 8), dtype if dtype == "float8_e8m0fnu" else "float32")
    if (kind, dtype) in TAKEN:
        graph = trtnet.record(of(kind, dtype), x=x)
        needs_rtx()
        assert trtnet.build_plan(graph, "sm120").data
        return
    with pytest.raises(TrtnetError) as caught:
        trtnet.record(of(kind, dtype), x=x)
    text = str(caught.value)
    assert isinstance(caught.value, DtypeError), text
    assert dtype in text
    assert "test_types_of_few_bits.py" in text
    assert ("x.float()" if dtype == "float8_e8m0fnu" else "dequantize") in str(caught.value.remedy)


@pytest.mark.parametrize("dtype", TYPES[:3])
def test_what_takes_them_compiles(dtype: str) -> None:
    graph = trtnet.record(
        lambda x: L.add_dequantize(L.add_identity(L.add_quantize(x, 0.5, to_type=dtype)), 0.5), x=Input((4, 64))
    )
    needs_rtx()
    assert trtnet.build_plan(graph, "sm120").data


@pytest.mark.parametrize("dtype", TYPES[:3])
def test_a_cast_to_them(dtype: str) -> None:
    with pytest.raises(DtypeError, match="a cast gives no") as caught:
        trtnet.record(lambda x: L.add_cast(x, to_type=dtype), x=Input((4, 64)))
    assert f"to_type=trtnet.{dtype}" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("softmax", "float8_e4m3fn"), ("matrix_multiply", "float4_e2m1fn"), ("cast", "int4"), ("loop", "float8_e4m3fn")],
)
def test_tensorrt_refuses_them(kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer TensorRT that takes them is found here: then `UNCOMPUTED` has them no longer."""
    needs_rtx()
    for module in ("base", "casting", "matrix"):
        monkeypatch.setattr(f"trtnet.layers.{module}.UNCOMPUTED", ())
    if dtype == "int4" or kind == "loop":
        monkeypatch.setattr("trtnet.layers.base.require_floating", lambda name, *values: None)
    graph = trtnet.record(lambda x: L.add_dequantize(of(kind, dtype)(x), 1.0) if kind != "cast" else of(kind, dtype)(x),
                          x=Input((1, 3, 8, 8)))  # fmt: skip
    with pytest.raises(trtnet.errors.BuildError, match=r"is not (consumed|produced) by"):
        trtnet.build_plan(graph, "sm120")
