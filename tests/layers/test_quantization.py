"""Quantize and dequantize layers: numbers, scales in all their forms, types of few bits, and what old TensorRTs get."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from bindings import versions
from conformity import lowered, provider_of
from families import values
from harness import compile_network, composed_without, lower_and_compare, new_network, rtx

import trtnet
from trtnet import Dim, Input, layers, nn
from trtnet import functional as F
from trtnet.basics.arrays import packed
from trtnet.engine.plan import precision
from trtnet.errors import ArgumentError, DtypeError, ProviderError, ShapeError, WeightsError
from trtnet.graph.graph import Graph
from trtnet.tensorrt.build.lowering import lower

BATCH = Dim("batch", min=1, opt=4, max=8)
FLOATS = {"float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float4_e2m1fn": ml_dtypes.float4_e2m1fn}
LARGEST = {"float8_e4m3fn": 448, "float4_e2m1fn": 6}
RANGES = {"int8": (-128, 127), "int4": (-8, 7)}


def few_bits(x: np.ndarray, dtype: str) -> np.ndarray:
    """x as the nearest numbers of a type, by NumPy and ml_dtypes."""
    if dtype in RANGES:
        return np.clip(np.rint(x), *RANGES[dtype])
    return np.clip(x, -LARGEST[dtype], LARGEST[dtype]).astype(FLOATS[dtype]).astype(np.float64)


def there_and_back(scale: Any, dtype: str = "int8", **options: Any) -> Any:
    def forward(x: Any) -> Any:
        return layers.add_dequantize(layers.add_quantize(x, scale, to_type=dtype, **options), scale, **options)

    return forward


@pytest.mark.parametrize("dtype", [*RANGES, *FLOATS])
@pytest.mark.parametrize("shape", [(4, 6), (BATCH, 6)], ids=["static", "dynamic"])
def test_every_type_against_numpy(dtype: str, shape: Any) -> None:
    x = np.concatenate([values((4, 4)) * 30, [[0.125, 1e4], [-1e4, 0.375], [1.125, 0.0], [-0.625, -3.0]]], 1)
    x = x.astype(np.float32)
    graph = trtnet.record(there_and_back(0.25, dtype), x=Input(shape))
    assert [layer.kind for layer in graph.layers] == ["constant", "quantize", "constant", "dequantize"]
    wanted = few_bits(x.astype(np.float64) / 0.25, dtype) * 0.25
    for found in (trtnet.reference(graph)(x=x), trtnet.reference(graph, dtype="float64")(x=x)):
        np.testing.assert_array_equal(found, wanted)
    lower_and_compare(graph, target="sm120")


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_number_between_two_of_a_type(dtype: str) -> None:
    """Halves to even, subnormal numbers, and the ends."""
    grid = np.unique(few_bits(np.linspace(-LARGEST[dtype], LARGEST[dtype], 20001), dtype))
    small = few_bits(np.linspace(-0.1, 0.1, 4001), dtype)
    grid = np.unique(np.concatenate([grid, small]))
    x = np.concatenate([grid, (grid[1:] + grid[:-1]) / 2]).astype(np.float32)
    graph = trtnet.record(there_and_back(1.0, dtype), x=Input(x.shape))
    np.testing.assert_array_equal(trtnet.reference(graph)(x=x), few_bits(x, dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_floating_point_side(dtype: str) -> None:
    x = values((3, 5)).astype(trtnet.dtypes.get(dtype).numpy)
    graph = trtnet.record(
        lambda x: layers.add_dequantize(layers.add_quantize(x, 0.125), 0.125, to_type=dtype), x=Input((3, 5), dtype)
    )
    wanted = np.clip(np.rint(x.astype(np.float32) / 0.125), -128, 127) * 0.125
    found = trtnet.reference(graph)(x=x)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found.astype(np.float32), wanted.astype(x.dtype).astype(np.float32))
    lower_and_compare(graph)


CHANNELS = np.array([0.1, 0.5, 0.25, 2.0], np.float32)
ROWS = np.arange(1, 7, dtype=np.float32)
BLOCKS = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
OF_ROWS = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
HALVES = np.array([[1.0], [2.0]], np.float32)
FORMS: dict[str, tuple[Any, dict[str, Any], np.ndarray]] = {
    "channel": (CHANNELS, {"axis": 1}, np.broadcast_to(CHANNELS, (6, 4))),
    "channel of rows": (ROWS, {"axis": 0}, np.broadcast_to(ROWS[:, None], (6, 4))),
    "blocks": (BLOCKS, {}, BLOCKS.repeat(3, 0)),
    "blocks, said": (BLOCKS, {"block_shape": (3, 1)}, BLOCKS.repeat(3, 0)),
    "rows of blocks": (OF_ROWS, {}, OF_ROWS.repeat(2, 1)),
    "blocks in two dimensions": (HALVES, {"block_shape": (3, -1)}, np.broadcast_to(HALVES.repeat(3, 0), (6, 4))),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn"])
def test_scales_of_every_form(form: str, dtype: str) -> None:
    """As TensorRT's layers, and as one scale behind a division where it documents no such layer."""
    scale, options, spread = FORMS[form]
    x = values((6, 4)) * 40
    graph = trtnet.record(there_and_back(scale, dtype, **options), x=Input(x.shape))
    wanted = few_bits(x.astype(np.float64) / spread, dtype) * spread
    lowering = lower_and_compare(graph, compile=form != "blocks, said", target="sm120")
    composed = [graph.for_provider(provider_of(version)) for version in ("10.0.1", "11.4")]
    composed += [] if dtype != "int8" else [graph.for_provider(provider_of("8.6.1"))]
    for one in (graph, *([] if lowering is None else [lowering.graph]), *composed):
        found = trtnet.reference(one, dtype="float64")(x=x)
        near = np.abs(np.abs(x / spread % 1) - 0.5) < 1e-5  # where the last bit of a division decides
        np.testing.assert_allclose(found[~near], wanted[~near], rtol=1e-6)


def test_scales_that_are_computed() -> None:
    def forward(x: Any) -> Any:
        scale = x.abs().amax() / 127
        return layers.add_dequantize(layers.add_quantize(x, scale), scale)

    x = values((4, 6))
    graph = trtnet.record(forward, x=Input((BATCH, 6)))
    scale = np.abs(x).max() / np.float32(127)
    lower_and_compare(graph)
    for version, simple in (("8.6.1", False), ("10.8", False), ("10.13", True), ("11.4", True), ("rtx1.7.1", False)):
        made = graph.for_provider(provider_of(version))
        assert (made is graph) == simple, version
        assert lowered(graph, provider_of(version), False).network.num_layers
        np.testing.assert_allclose(trtnet.reference(made)(x=x), np.rint(x / scale) * scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("dtype", [*RANGES, *FLOATS])
def test_types_by_version(version: str, dtype: str) -> None:
    graph = trtnet.record(there_and_back(0.25, dtype), x=Input((BATCH, 6)))
    order = versions().index(version)
    since = {"int8": "8.6.1", "float8_e4m3fn": "10.0.1", "int4": "10.0.1", "float4_e2m1fn": "10.8"}[dtype]
    if order >= versions().index(since):
        assert lowered(graph, provider_of(version), True).network.num_layers == 4
        return
    with pytest.raises(ProviderError, match=f"this TensorRT has no quantize of {dtype}") as caught:
        graph.for_provider(provider_of(version))
    assert "to_type=trtnet.int8" in str(caught.value)
    assert "test_quantization.py" in str(caught.value)


# --- weights ----------------------------------------------------------------------------------------------------------


class FewBits(nn.Module):
    """A matrix product with a quantized weight."""

    def __init__(self, weight: np.ndarray, scale: Any, **options: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scale = nn.Parameter(np.asarray(scale, np.float32))
        self.options = options

    def forward(self, x: Any) -> Any:
        return x @ layers.add_dequantize(self.weight, self.scale, **self.options)


def weights(dtype: str, shape: tuple[int, ...] = (16, 6), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype in RANGES:
        low, high = RANGES[dtype]
        return rng.integers(low, high + 1, shape).astype(trtnet.dtypes.get(dtype).numpy)
    return few_bits(rng.standard_normal(shape) * 3, dtype).astype(FLOATS[dtype])


@pytest.mark.parametrize("dtype", [*RANGES, *FLOATS])
@pytest.mark.parametrize("shape", [(), (6,), (4, 6)], ids=["tensor", "channel", "block"])
def test_quantized_weights(dtype: str, shape: tuple[int, ...]) -> None:
    weight, scale = weights(dtype), np.random.default_rng(1).uniform(0.1, 1, shape).astype(np.float32)
    options = {"axis": 1} if len(shape) == 1 else {}
    x = values((3, 16))
    graph = trtnet.record(FewBits(weight, scale, **options), x=Input((BATCH, 16)))
    spread = scale.repeat(4, 0) if len(shape) == 2 else scale
    wanted = x.astype(np.float64) @ (weight.astype(np.float64) * spread)
    for found in (trtnet.reference(graph)(x=x), trtnet.reference(graph, dtype="float64")(x=x)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    lowering = lower_and_compare(graph, target="sm120")
    if lowering is not None:
        np.testing.assert_allclose(trtnet.reference(lowering.graph)(x=x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_two_elements_of_four_bits_lie_in_a_byte(count: int) -> None:
    """The first of them in the lower half."""
    numbers = (np.arange(count) % 16 - 8).astype(ml_dtypes.int4)
    found = packed(numbers, trtnet.int4)
    assert found.dtype == np.uint8
    assert found.size == trtnet.int4.nbytes(count) == (count + 1) // 2
    low, high = (found & 15).astype(np.int16), (found >> 4).astype(np.int16)
    back = np.stack([low, high], 1).reshape(-1)[:count]
    np.testing.assert_array_equal(np.where(back > 7, back - 16, back), numbers.astype(np.int16))
    wide = np.arange(3, dtype=np.int8)
    assert packed(wide, trtnet.int8) is wide


@pytest.mark.parametrize("dtype", ["int4", "float4_e2m1fn"])
def test_tensorrt_is_given_packed_weights(dtype: str) -> None:
    """The compiled plan holds the packed bytes: TensorRT-RTX 1.7 transposes those of int4, element by element, so that
    they come out right if the first of two is in the lower half, and where each has half a byte."""
    weight = weights(dtype, (64, 64))
    graph = trtnet.record(FewBits(weight, np.full((4, 64), 0.5)), x=Input((2, 64)))
    if rtx() is None:
        pytest.skip("tensorrt_rtx is not installed on this platform")
    lowering = lower(graph, new_network())
    holding = next(h for h in lowering.ledger if h.name == "weight")
    assert holding.array.nbytes == weight.size // 2
    assert holding.given.size == weight.size
    plan = compile_network(lowering, "sm120")
    kept = packed(weight.T, trtnet.int4) if dtype == "int4" else holding.array
    assert kept.tobytes() in plan


def test_weights_of_four_bits_stay_as_they_are_built() -> None:
    graph = trtnet.record(FewBits(weights("int4"), 0.5), x=Input((2, 16)))
    engine = trtnet.build(graph, provider="reference", refit=True)
    assert engine.refittable == {"scale"}
    with pytest.raises(WeightsError, match="weights of 4 bits cannot be changed") as caught:
        trtnet.build(graph, provider="reference", refit="weight")
    assert "keep it as floats" in str(caught.value)
    assert trtnet.build(graph, provider="reference", refit="*").refittable == {"scale"}


@pytest.mark.parametrize(("dtype", "name"), [("int4", "fp32"), ("float4_e2m1fn", "fp4"), ("float8_e4m3fn", "fp8")])
def test_files_are_named_after_the_smallest_floating_point_type(dtype: str, name: str) -> None:
    assert precision(trtnet.record(FewBits(weights(dtype), 0.5), x=Input((2, 16)))) == name


def test_constants_of_int8_for_an_old_tensorrt() -> None:
    """8.6 documents quantized floats alone: the same numbers, as floats behind a quantization by 1."""
    graph = trtnet.record(FewBits(weights("int8"), 0.5), x=Input((2, 16)))
    old = graph.for_provider(provider_of("8.6.1"))
    assert [layer.kind for layer in old.layers][:2] != ["constant", "dequantize"]
    assert [t.dtype for layer in old.layers for t in layer.outputs if layer.kind == "constant"].count(trtnet.int8) == 0
    x = values((2, 16))
    np.testing.assert_array_equal(trtnet.reference(old)(x=x), trtnet.reference(graph)(x=x))
    assert graph.for_provider(provider_of("10.0.1")) is graph


# --- weakly typed networks --------------------------------------------------------------------------------------------


def test_what_an_old_tensorrt_is_told_of_types() -> None:
    """On 8.6 both kinds have a precision of their own, and what follows a dequantize layer is left to TensorRT."""

    def forward(x: Any) -> Any:
        return F.relu(layers.add_dequantize(layers.add_quantize(F.relu(x), 0.1), 0.1).exp())

    graph = trtnet.record(forward, x=Input((2, 3)))
    provider = provider_of("8.6.1")
    lowering = lowered(graph, provider, False)
    told = [vars(lowering.layer(layer.name)).get("precision") for layer in graph.layers]
    float32 = provider.trt.DataType.FLOAT
    assert dict(zip([layer.kind for layer in graph.layers], told)) == {
        "activation": float32, "constant": float32, "quantize": None, "dequantize": None, "unary": None,
    }  # fmt: skip
    assert told[0] == told[-1] == float32


# --- what does not fit ------------------------------------------------------------------------------------------------


def refused(error: type[Exception], match: str, function: Any, *shapes: Any) -> None:
    inputs = {name: one if isinstance(one, Input) else Input(one) for name, one in zip("xyz", shapes)}
    with pytest.raises(error, match=match):
        trtnet.record(function, **inputs)


def test_errors() -> None:
    add, back = layers.add_quantize, layers.add_dequantize
    refused(DtypeError, "quantized already", lambda x: add(add(x, 0.1), 0.1), (2, 3))
    refused(DtypeError, "quantize takes floating-point", lambda x: add(x, 0.1), Input((2, 3), "int32"))
    refused(DtypeError, "a type of few bits", lambda x: add(x, 0.1, to_type="int32"), (2, 3))
    refused(DtypeError, "what is dequantized is", lambda x: back(x, 0.1), (2, 3))
    refused(DtypeError, "to floating point", lambda x: back(add(x, 0.1), 0.1, to_type="int32"), (2, 3))
    refused(ShapeError, "no tensor without dimensions", lambda x: add(x, 0.1), ())
    refused(DtypeError, "scale of a quantization", lambda x, y: add(x, y), (2, 3), Input((), "float16"))
    refused(ArgumentError, "scales of a quantization are positive", lambda x: add(x, 0.0), (2, 3))
    refused(ArgumentError, "positive", lambda x: add(x, np.float32([1, -1, 2]), axis=1), (2, 3))
    refused(ShapeError, "does not fit its input", lambda x: add(x, np.ones(2, np.float32), axis=1), (2, 3))
    refused(ShapeError, "does not fit its input", lambda x: add(x, np.ones(3, np.float32)), (2, 3))
    refused(ShapeError, "does not fit its input", lambda x: add(x, np.ones((2, 2), np.float32)), (2, 3))
    refused(ShapeError, "does not fit its input", lambda x: add(x, np.ones((2, 3), np.float32)), (BATCH, 3))
    refused(
        ArgumentError, "blocks of a quantization",
        lambda x: add(x, np.ones((2, 2), np.float32), block_shape=(1, 3)), (2, 4),
    )  # fmt: skip
    refused(DtypeError, "the output 'output' has at least 8 bits", lambda x: add(x, 0.1, to_type="int4"), (2, 3))
    with pytest.raises(DtypeError, match="an input has at least 8 bits"):
        Input((2, 3), "float4_e2m1fn")


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_gradient_in_training_is_torchs() -> None:
    graph: Graph = trtnet.record(there_and_back(0.125), x=Input((40,)))
    x = (np.random.default_rng(0).standard_normal(40) * 12).astype(np.float32)
    mine, theirs = (torch.from_numpy(x.copy()).requires_grad_() for _ in range(2))
    one = trtnet.to_torch(graph).train()(mine)
    two = torch.fake_quantize_per_tensor_affine(theirs, 0.125, 0, -128, 127)
    torch.testing.assert_close(one, two)
    for result in (one, two):
        (result * torch.arange(40)).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    assert 0 < int((mine.grad == 0).sum()) < 40


def test_composed_for_one_without_the_layers_types() -> None:
    graph = trtnet.record(there_and_back(CHANNELS, axis=1), x=Input((6, 4)))
    composed = composed_without(graph, "quantizes_by_tensors")
    assert "elementwise" in [layer.kind for layer in composed.layers]


# --- by the data's own range ------------------------------------------------------------------------------------------


def mxfp8(x: Any, **blocks: Any) -> Any:
    made, scales = layers.add_dynamic_quantize(x, to_type="float8_e4m3fn", scale_type="float8_e8m0fnu", **blocks)
    return layers.add_dequantize(made, scales)


def nvfp4(x: Any) -> Any:
    made, scales = layers.add_dynamic_quantize(x, 0.01, axis=-1, block_size=16)
    return layers.add_dequantize(made, layers.add_dequantize(scales, 0.01))


ROW, COLUMN = {"axis": -1, "block_size": 32}, {"axis": 0, "block_size": 32}


@pytest.mark.parametrize("blocks", [ROW, COLUMN, {"block_shape": (1, 32)}])
def test_mxfp8(blocks: dict[str, Any]) -> None:
    """The scale is the power of two by which the largest value of a block just fits."""
    shape = (64, 4) if blocks.get("axis") == 0 else (4, 64)
    x = (values(shape) * np.exp(values(shape, seed=3))).astype(np.float32)
    x.reshape(-1)[:5] = 448, 0, -448, 1e-30, 3
    graph = trtnet.record(lambda x: mxfp8(x, **blocks), x=Input(shape))
    rows = np.moveaxis(x, blocks.get("axis", -1), -1).reshape(4, 2, 32).astype(np.float64)
    scales = 2.0 ** np.ceil(np.log2(np.abs(rows).max(-1, keepdims=True) / 448))
    wanted = (few_bits(rows / scales, "float8_e4m3fn") * scales).reshape(4, 64)
    wanted = wanted.T if shape == (64, 4) else wanted
    for found in (trtnet.reference(graph)(x=x), trtnet.reference(graph, dtype="float64")(x=x)):
        np.testing.assert_array_equal(found, wanted)
    lower_and_compare(graph, target="sm120")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [mxfp8, nvfp4, "float32"])
@pytest.mark.parametrize("double", [False, True])
def test_a_bad_element_of_a_block(bad: float, form: Any, double: bool) -> None:
    """NaN leaves the rest of its block as it would be with 0 in its place; infinity is the largest number there is."""

    def floats(x: Any) -> Any:
        options = {"to_type": "float8_e4m3fn", "scale_type": "float32", "axis": -1, "block_size": 32}
        return layers.add_dequantize(*layers.add_dynamic_quantize(x, **options))

    of = {mxfp8: lambda x: mxfp8(x, **ROW), nvfp4: nvfp4}.get(form, floats)
    size = 16 if form is nvfp4 else 32
    x = values((2, 2 * size))
    x[0, 3] = bad
    engine = trtnet.reference(trtnet.record(of, x=Input(x.shape)), dtype="float64" if double else None)
    found = engine(x=x)
    without = x.copy()
    without[0, 3] = 0
    wanted = engine(x=without)
    at = found[0, 3]
    found[0, 3] = wanted[0, 3] = 0
    if np.isnan(bad):
        assert at > 0 if form is nvfp4 else np.isnan(at)
    else:
        most = {mxfp8: np.inf, nvfp4: 6 * 448 * 0.01}.get(form, np.finfo(np.float32).max)
        np.testing.assert_allclose(at, np.copysign(most, bad), rtol=1e-6)
        wanted[0, :size] = 0 if form is not nvfp4 else found[0, :size]
    np.testing.assert_array_equal(found, wanted)


def test_nvfp4() -> None:
    x = values((6, 48))
    x[0, :16] = 0
    graph = trtnet.record(nvfp4, x=Input((Dim("batch", 1, 6, 8), 48)))
    rows = x.reshape(6, 3, 16).astype(np.float64)
    scales = few_bits(np.abs(rows).max(-1, keepdims=True) / 6 / np.float32(0.01), "float8_e4m3fn") * np.float32(0.01)
    with np.errstate(invalid="ignore"):
        wanted = few_bits(np.nan_to_num(rows / scales), "float4_e2m1fn") * scales
    np.testing.assert_allclose(trtnet.reference(graph, dtype="float64")(x=x), wanted.reshape(6, 48), rtol=1e-6)
    lower_and_compare(graph, target="sm120")


@pytest.mark.parametrize("version", versions())
def test_dynamic_quantize_by_version(version: str) -> None:
    order = versions().index(version)
    for function, since in ((nvfp4, "10.8"), (lambda x: mxfp8(x, axis=-1, block_size=32), "10.13")):
        graph = trtnet.record(function, x=Input((4, 64)))
        if order >= versions().index(since):
            assert lowered(graph, provider_of(version), True).network.num_layers
            continue
        with pytest.raises(ProviderError, match="no dynamic quantize") as caught:
            graph.for_provider(provider_of(version))
        assert "add_quantize(x, scale)" in str(caught.value)
    several = trtnet.record(
        lambda x: layers.add_dynamic_quantize(x, block_shape=(2, -1), to_type="float8_e4m3fn", scale_type="float32"),
        x=Input((4, 64)),
    )
    assert [tuple(t.shape) for t in several.outputs.values()] == [(4, 64), (2, 1)]
    if order >= versions().index("10.15"):
        assert lowered(several, provider_of(version), True).network.num_layers == 1


def test_errors_of_dynamic_quantize() -> None:
    add = layers.add_dynamic_quantize
    eight = {"to_type": "float8_e4m3fn", "scale_type": "float8_e8m0fnu"}
    refused(DtypeError, "float8 or float4", lambda x: add(x, axis=1, block_size=32, to_type="int8"), (4, 64))
    refused(DtypeError, "quantized already", lambda x: add(layers.add_quantize(x, 0.1), axis=1, block_size=32), (4, 64))
    refused(ShapeError, "divide a dimension", lambda x: add(x, axis=1, block_size=32, **eight), (4, 63))
    refused(ShapeError, "divide a dimension", lambda x: add(x, axis=0, block_size=2, **eight), (BATCH, 64))
    refused(ShapeError, "is one number", lambda x: add(x, np.ones(2, np.float32), axis=1, block_size=16), (4, 64))
    refused(ArgumentError, "along one axis, or of a shape", lambda x: add(x, **eight), (4, 64))
    refused(ArgumentError, "along one axis, or of a shape", lambda x: add(x, block_shape=(1,), **eight), (4, 64))
