"""torch's quantizing functions: numbers against torch's, what TensorRT-RTX compiles, and what it cannot have."""

from typing import Any

import numpy as np
import pytest
import torch
from cases import Quantized
from families import values
from harness import check_against_torch, compile_network, lower_and_compare, rtx

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError

BATCH = Dim("batch", min=1, opt=4, max=8)
SCALES = np.array([0.125, 0.5, 0.25, 2.0, 0.0625, 1.0], np.float32)
RANGES = [(-128, 127, 0), (-127, 127, 0), (0, 255, 128), (-8, 7, 0), (-8, 7, 3), (0, 100, 0), (5, 9, 7)]


@pytest.mark.parametrize(("low", "high", "zero"), RANGES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_fake_quantize_per_tensor(low: int, high: int, zero: int, dynamic: bool) -> None:
    x = values((4, 6)) * 20
    graph = check_against_torch(
        lambda x: F.fake_quantize_per_tensor_affine(x, 0.125, zero, low, high),
        lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.125, zero, low, high).double(),
        {"x": x},
        shapes={"x": (BATCH, 6)} if dynamic else None,
    )
    kinds = [layer.kind for layer in graph.layers]
    assert kinds[-2:] == ["quantize", "dequantize"]
    assert ("elementwise" in kinds) == (high - low < 255)
    concrete = trtnet.fake_quantize_per_tensor_affine(trtnet.tensor(x), 0.125, zero, low, high)
    np.testing.assert_array_equal(concrete.numpy(), trtnet.reference(graph)(x=x))


@pytest.mark.parametrize("axis", [0, 1, -1, -3])
@pytest.mark.parametrize("zero", [0, 3])
def test_fake_quantize_per_channel(axis: int, zero: int) -> None:
    x = values((6, 4, 6)) * 20
    scales = SCALES[: x.shape[axis]]
    zeros = np.full(scales.shape, zero, np.int32)
    low, high = -100 if zero else -128, 127
    graph = check_against_torch(
        lambda x: F.fake_quantize_per_channel_affine(x, trtnet.tensor(scales), trtnet.tensor(zeros), axis, low, high),
        lambda x: torch.fake_quantize_per_channel_affine(
            x.float(), torch.from_numpy(scales), torch.from_numpy(zeros), axis % 3, low, high
        ).double(),
        {"x": x},
    )
    concrete = trtnet.fake_quantize_per_channel_affine(
        trtnet.tensor(x), trtnet.tensor(scales), trtnet.tensor(zeros), axis, low, high
    )
    np.testing.assert_array_equal(concrete.numpy(), trtnet.reference(graph)(x=x))


@pytest.mark.parametrize("seed", range(6))
def test_random_scales_are_torchs_but_for_what_lies_in_the_middle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((5, 7)) * rng.uniform(0.1, 50)).astype(np.float32)
    scale = float(np.float32(rng.uniform(0.01, 1)))
    graph = trtnet.record(lambda x: F.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127), x=Input(x.shape))
    found = trtnet.reference(graph)(x=x)
    wanted = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, 0, -128, 127).numpy()
    middle = np.abs(np.abs(x / scale % 1) - 0.5) < 1e-4
    np.testing.assert_allclose(found[~middle], wanted[~middle], rtol=1e-6)
    assert (np.abs(found - wanted) <= scale * 1.001).all()


def test_halves_and_no_dimensions() -> None:
    x = values((3, 4)).astype(np.float16)
    graph = trtnet.record(
        lambda x: (
            F.fake_quantize_per_tensor_affine(x, 0.125, 0, -128, 127),
            F.fake_quantize_per_tensor_affine(x, 0.125, 0, -8, 7),
            F.fake_quantize_per_tensor_affine(x[0, 0], 0.125, 0, -8, 7),
        ),
        x=Input(x.shape, "float16"),
    )
    wide = torch.from_numpy(x.astype(np.float32))
    lower_and_compare(graph)
    for found, low, of in zip(trtnet.reference(graph)(x=x), (-128, -8, -8), (wide, wide, wide[0, 0]), strict=True):
        assert found.dtype == np.float16
        wanted = torch.fake_quantize_per_tensor_affine(of, 0.125, 0, low, -low - 1)
        np.testing.assert_array_equal(found.astype(np.float32), wanted.numpy())


@pytest.mark.parametrize("dtype", ["qint8", "int8", "float8_e4m3fn", "int4", "float4_e2m1fn"])
def test_quantize_and_dequantize(dtype: str) -> None:
    given = torch.qint8 if dtype == "qint8" else dtype
    x = values((4, 6)) * 3

    def forward(x: Any) -> Any:
        zeros = trtnet.zeros(6, dtype=trtnet.int32)
        one = trtnet.quantize_per_tensor(x, 0.125, 0, given)
        two = trtnet.quantize_per_channel(x, trtnet.tensor(SCALES), zeros, 1, given)
        return one.dequantize(), trtnet.dequantize(two), x.dequantize()

    graph = trtnet.record(forward, x=Input((BATCH, 6)))
    lower_and_compare(graph, target="sm120")
    one, two, three = trtnet.reference(graph)(x=x)
    np.testing.assert_array_equal(three, x)
    if dtype in ("qint8", "int8"):
        # torch warns that it will drop its quantized tensors
        wanted = torch.quantize_per_tensor(torch.from_numpy(x), 0.125, 0, torch.qint8).dequantize()
        np.testing.assert_array_equal(one, wanted.numpy())
        scales, zeros = torch.from_numpy(SCALES), torch.zeros(6, dtype=torch.int64)
        wanted = torch.quantize_per_channel(torch.from_numpy(x), scales, zeros, 1, torch.qint8).dequantize()
        np.testing.assert_array_equal(two, wanted.numpy())
    else:
        assert np.abs(one - x).max() <= {"float8_e4m3fn": 0.5, "int4": 12, "float4_e2m1fn": 12}[dtype]


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_quantized_network_against_torch(dynamic: bool) -> None:
    net, x = Quantized(), values((2, 6, 8, 8))
    state = {name: torch.from_numpy(np.array(value)) for name, value in net.state_dict().items()}

    def expected(x: torch.Tensor) -> torch.Tensor:
        fake, zeros = torch.fake_quantize_per_tensor_affine, torch.zeros(8, dtype=torch.int32)
        x = fake(x.float(), state["scale"], zeros[:1], -128, 127)
        weight = torch.fake_quantize_per_channel_affine(
            state["conv.weight"], state["scales"], zeros, 0, -128, 127
        )  # fmt: skip
        x = torch.relu(torch.conv2d(x, weight, state["conv.bias"], padding=1)).mean((2, 3))
        weight = fake(state["fc.weight"], 0.01, 0, -128, 127)
        return torch.nn.functional.linear(fake(x, 0.02, 0, -128, 127), weight, state["fc.bias"])

    graph = trtnet.record(net, x=Input((BATCH if dynamic else len(x), *x.shape[1:])))
    found = trtnet.reference(graph)(x=x)
    np.testing.assert_allclose(found, expected(torch.from_numpy(x)).numpy(), atol=1e-5)
    lowering = lower_and_compare(graph)
    if lowering is not None:
        kinds = [layer.headline() for layer in lowering.graph.layers]
        assert kinds.count("quantize") == 4
        assert not {"elementwise DIV", "elementwise PROD"} & set(kinds)  # composed, TensorRT would compute in floats
        assert {"scale", "scales", "conv.weight"} <= {holding.name for holding in lowering.ledger}


class Perceptron(nn.Module):
    """Two linear layers in few bits."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(16, 32), nn.Linear(32, 4)
        self.dtype = dtype

    def few(self, x: Any, scale: float) -> Any:
        return trtnet.quantize_per_tensor(x, scale, 0, self.dtype).dequantize()

    def forward(self, x: Any) -> Any:
        x = F.relu(F.linear(self.few(x, 0.02), self.few(self.one.weight, 0.002), self.one.bias))
        return F.linear(self.few(x, 0.02), self.few(self.two.weight, 0.002), self.two.bias)


@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_quantized_perceptron(dtype: str, dynamic: bool) -> None:
    x = values((4, 16))
    graph = trtnet.record(Perceptron(dtype), x=Input((BATCH if dynamic else 4, 16)))
    floats = trtnet.record(Perceptron("float8_e4m3fn"), x=Input((4, 16)))
    floats.load_state_dict(graph.state_dict())
    np.testing.assert_allclose(trtnet.reference(graph)(x=x), trtnet.reference(floats)(x=x), atol=0.15)
    lowering = lower_and_compare(graph, target="sm89")
    if lowering is not None and dtype == "float8_e4m3fn":
        with pytest.raises(AssertionError, match="fp8"):  # an Ampere GPU has no such kernels
            compile_network(lowering, "sm86")


def test_live_weights_are_quantized_at_each_call() -> None:
    graph = trtnet.record(Quantized(), x=Input((2, 6, 8, 8)))
    x, generator = values((2, 6, 8, 8)), np.random.default_rng(1)
    engine = trtnet.build(graph, provider="reference", live=["conv.weight", "fc.weight", "scale"])
    before = engine(x=x)
    new = {"conv.weight": (generator.standard_normal((8, 6, 3, 3)) * 0.3).astype(np.float32)}
    engine.refit(new)
    graph.load_state_dict(new, strict=False)
    assert not np.array_equal(engine(x=x), before)
    np.testing.assert_allclose(engine(x=x), trtnet.reference(graph)(x=x), atol=1e-6)


@pytest.mark.parametrize("live", [["scale"], ["scales"], ["conv.weight"], True])
def test_weights_and_scales_that_are_inputs_or_come_later_compile(live: Any) -> None:
    """With a scale that is an input TensorRT-RTX 1.7.1 crashed here: what it is given is one quantization by 1."""
    if rtx() is None:
        pytest.skip("tensorrt_rtx is not installed on this platform")
    graph = trtnet.record(Quantized(), x=Input((BATCH, 6, 8, 8)))
    assert trtnet.build_plan(graph, "sm86", live=live).data
    later = trtnet.build_plan(graph, "sm86", refit=live)  # scales too are constants that may be refitted
    assert later.refittable == frozenset(graph.state_dict() if live is True else live)


def test_what_tensorrt_cannot_have() -> None:
    def refused(error: type[Exception], match: str, function: Any, dtype: str = "float32") -> None:
        with pytest.raises(error, match=match):
            trtnet.record(function, x=Input((2, 6), dtype))

    fake, channels = F.fake_quantize_per_tensor_affine, F.fake_quantize_per_channel_affine
    refused(ArgumentError, r"without a zero point[\s\S]*found: +0 and 255", lambda x: fake(x, 0.1, 0, 0, 255))
    refused(ArgumentError, "found: +-37 and 218", lambda x: fake(x, 0.1, 37, 0, 255))
    refused(ArgumentError, "zero point is one of the numbers", lambda x: fake(x, 0.1, 9, -8, 7))
    refused(ArgumentTypeError, "whole numbers", lambda x: fake(x, 0.1, 0.5, -8, 7))
    refused(DtypeError, "takes floating-point tensors", lambda x: fake(x, 0.1, 0, -128, 127), "int32")
    refused(ShapeError, "one scale", lambda x: fake(x, trtnet.tensor(SCALES), 0, -128, 127))
    refused(ShapeError, "for each index of its axis", lambda x: channels(x, trtnet.tensor(SCALES), 0, 0, -128, 127))
    refused(DtypeError, "other types", lambda x: trtnet.quantize_per_tensor(x, 0.1, 0, torch.quint8))
    refused(ArgumentError, "without a zero point", lambda x: trtnet.quantize_per_tensor(x, 0.1, 1, torch.qint8))
    refused(ArgumentError, "knows no scale", lambda x: x.dequantize(), "int8")
    with pytest.raises(ArgumentError, match="knows no scale"):
        trtnet.tensor([1, 2]).dequantize()
    assert trtnet.tensor([1.5]).dequantize().tolist() == [1.5]


FAKES = {
    "tensor": lambda x, scale=0.1, zero=0, low=-128, high=127: F.fake_quantize_per_tensor_affine(
        x, scale, zero, low, high
    ),
    "channel": lambda x, scale=0.1, zero=0, low=-128, high=127: F.fake_quantize_per_channel_affine(
        x, trtnet.tensor(np.broadcast_to(np.asarray(scale, np.float32), (2,)).copy()), zero, 0, low, high
    ),
}
REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"scale": 0.0}, ArgumentError, "scales of a quantization are positive and finite"),
    ({"scale": -1.0}, ArgumentError, "scales of a quantization are positive and finite"),
    ({"scale": np.nan}, ArgumentError, "scales of a quantization are positive and finite"),
    ({"scale": np.inf}, ArgumentError, "scales of a quantization are positive and finite"),
    ({"low": 127, "high": -128}, ArgumentError, "quant_min is more than quant_max"),
    ({"low": 0, "high": 255}, ArgumentError, "without a zero point"),
    ({"zero": 200}, ArgumentError, "zero point is one of the numbers"),
    ({"zero": 0.5}, ArgumentTypeError, "whole numbers"),
    ({"zero": "one"}, ArgumentTypeError, "whole numbers"),
    ({"low": -1.5}, ArgumentTypeError, "whole numbers"),
    ({"high": None}, ArgumentTypeError, "whole numbers"),
    ({"zero": [0, 0, 0]}, ShapeError, "as many zero points as scales"),
]


@pytest.mark.parametrize("name", FAKES)
@pytest.mark.parametrize(("given", "error", "match"), REFUSED, ids=[str(one[0]) for one in REFUSED])
def test_arrays_are_checked_as_recorded_tensors_are(
    name: str, given: dict[str, Any], error: type[Exception], match: str
) -> None:
    for run in (
        lambda: trtnet.record(lambda x: FAKES[name](x, **given), x=Input((2, 6))),
        lambda: FAKES[name](trtnet.ones(2, 6), **given),
    ):
        with pytest.raises(error, match=match) as caught:
            run()
        assert "test_quantization.py" in str(caught.value)


def test_arrays_of_other_types_and_scales_of_other_shapes() -> None:
    fake, channels = F.fake_quantize_per_tensor_affine, F.fake_quantize_per_channel_affine
    with pytest.raises(DtypeError, match="takes floating-point tensors"):
        fake(trtnet.ones(2, 6, dtype=trtnet.int32), 0.1, 0, -128, 127)
    with pytest.raises(ShapeError, match="one scale"):
        fake(trtnet.ones(2, 6), trtnet.tensor(SCALES), 0, -128, 127)
    with pytest.raises(ShapeError, match="for each index of its axis"):
        channels(trtnet.ones(2, 6), trtnet.tensor(SCALES), 0, 0, -128, 127)
    with pytest.raises(ArgumentTypeError, match="scales are numbers"):
        fake(trtnet.ones(2, 6), "half", 0, -128, 127)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="scales are numbers"):
        trtnet.record(lambda x: fake(x, None, 0, -128, 127), x=Input((2, 6)))  # type: ignore[arg-type]
