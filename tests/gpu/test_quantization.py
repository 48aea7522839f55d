"""Quantized networks on a GPU: int8 computed, compared, refitted beside, live; what TensorRT 8.6 gets composed."""

from typing import Any

import numpy as np
import pytest
from cases import Quantized, image, quantized

import trtnet
from trtnet import Dim, Input, layers, nn
from trtnet import functional as F
from trtnet.errors import ProviderError

BATCH = Dim("batch", min=1, opt=4, max=8)
LEVEL = {"provider": "tensorrt", "optimization_level": 3}


def close(found: Any, wanted: Any, step: float = 0.0) -> None:
    """Alike but for roundings, and for few values that became a neighbouring number, a step away."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape
    apart = np.abs(found - wanted)
    size = float(np.sqrt(np.square(wanted).mean())) or 1.0
    assert apart.max() <= step * 1.01 + 1e-3 * size
    assert float(np.sqrt(np.square(apart).mean())) <= 5e-3 * size


@pytest.mark.parametrize("batch", [4, BATCH], ids=["static", "dynamic"])
@pytest.mark.parametrize("low", [-128, -100])
def test_numbers(batch: Any, low: int) -> None:
    graph = trtnet.record(
        lambda x: (
            F.fake_quantize_per_tensor_affine(x, 0.05, 0, low, 127),
            F.fake_quantize_per_channel_affine(x, trtnet.linspace(0.02, 0.2, 6), trtnet.zeros(6).int(), 1, low, 127),
        ),
        x=Input((batch, 6, 8, 8)),
    )
    engine, reference = trtnet.build(graph, **LEVEL), trtnet.reference(graph, dtype="float64")
    for count in (4,) if batch == 4 else (1, 3, 8):
        x = image(count, 6, 8, 8, seed=count) * 4
        for found, wanted, step in zip(engine(x), reference(x), (0.05, 0.2), strict=True):
            close(found, wanted, step)
    halves = np.float32([0.025, 0.075, -0.025, -0.075, 0.125, 9, -9, 0]).repeat(6 * 8 * 4).reshape(4, 6, 8, 8)
    assert len(np.unique(engine(halves)[0])) <= 7  # ties, which the last bit of the scale decides, and both ends


def test_halves_go_to_the_even_number() -> None:
    graph = trtnet.record(lambda x: F.fake_quantize_per_tensor_affine(x, 0.125, 0, -128, 127), x=Input((8,)))
    x = np.float32([0.0625, 0.1875, -0.0625, -0.1875, 0.3125, 99, -99, 0])
    found = trtnet.build(graph, **LEVEL)(x)
    np.testing.assert_array_equal(found, [0, 0.25, 0, -0.25, 0.25, 127 / 8, -16, 0])


@pytest.mark.parametrize("batch", [2, BATCH], ids=["static", "dynamic"])
def test_a_convolution_and_a_linear_layer(batch: Any) -> None:
    net = Quantized()
    graph = trtnet.record(net, x=Input((batch, 6, 8, 8)))
    engine, reference = trtnet.build(graph, **LEVEL), trtnet.reference(graph, dtype="float64")
    assert engine.checked.passed
    assert not engine.checked.unchecked
    for count in (2,) if batch == 2 else (1, 5, 8):
        x = image(count, 6, 8, 8, seed=count)
        close(engine(x), reference(x), 0.02)


class Perceptron(nn.Module):
    """Two quantized linear layers, and one in float32 behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.plain = nn.Linear(64, 128), nn.Linear(128, 64), nn.Linear(64, 8)

    def few(self, x: Any, scale: float) -> Any:
        return F.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127)

    def forward(self, x: Any) -> Any:
        for layer in (self.one, self.two):
            x = F.relu(F.linear(self.few(x, 0.03), self.few(layer.weight, 0.001), layer.bias))
        return self.plain(x)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_perceptron(dtype: str) -> None:
    net = Perceptron().to(dtype)
    graph = trtnet.record(net, x=Input((BATCH, 64), dtype))
    engine, reference = trtnet.build(graph, **LEVEL), trtnet.reference(graph, dtype="float64")
    for count in (1, 8):
        x = image(count, 64, seed=count).astype(dtype)
        wanted = np.asarray(reference(x), np.float64)
        apart = np.asarray(engine(x), np.float64) - wanted
        assert np.abs(apart).max() <= 0.05 * np.abs(wanted).max()


def test_int8_kernels_are_used() -> None:
    """What is between dequantize and quantize layers is built together with them: seen in TensorRT's own words."""
    wide = [image(64, 64, 3, 3) * 0.1, image(64, seed=1), image(32, 64, seed=2) * 0.1, image(32, seed=3)]

    def forward(x: Any) -> Any:
        kernel, bias, *_ = map(trtnet.tensor, wide)
        zeros = trtnet.zeros(64, dtype=trtnet.int32)
        for _ in range(2):
            x = F.fake_quantize_per_tensor_affine(x, 0.05, 0, -128, 127)
            few = F.fake_quantize_per_channel_affine(kernel, trtnet.ones(64) * 0.004, zeros, 0, -128, 127)
            x = F.relu(F.conv2d(x, few, bias, padding=1))
        return F.fake_quantize_per_tensor_affine(x, 0.05, 0, -128, 127)

    graph = trtnet.record(forward, x=Input((4, 64, 16, 16)))
    engine = trtnet.build(graph, profiling_verbosity="detailed", **LEVEL)
    x = image(4, 64, 16, 16)
    close(engine(x), trtnet.reference(graph, dtype="float64")(x), 0.05)
    said = str(engine.inspect()).lower()
    assert "int8" in said, said[:2000]


def test_weights_beside_are_refitted() -> None:
    graph = trtnet.record(Perceptron(), x=Input((BATCH, 64)))
    engine = trtnet.build(graph, refit="plain.*", **LEVEL)
    x = image(3, 64)
    before, snapshot = engine(x), engine.snapshot()
    new = {"plain.weight": image(8, 64, seed=7) * 0.1, "plain.bias": image(8, seed=8)}
    engine.refit(new)
    reference = trtnet.reference(graph, dtype="float64")
    reference.refit(new)
    wanted = np.asarray(reference(x))
    assert np.abs(engine(x) - wanted).max() <= 0.02 * np.abs(wanted).max()
    engine.restore(snapshot)
    np.testing.assert_array_equal(engine(x), before)


def test_quantized_weights_and_scales_are_refitted_or_said_to_be_fixed() -> None:
    """Whether TensorRT lets them be refitted is its own to say; what it takes comes out right."""
    graph = trtnet.record(Quantized(), x=Input((2, 6, 8, 8)))
    engine = trtnet.build(graph, refit=True, **LEVEL)
    rows = {row.parameter: row for row in engine.weights}
    print(engine.weights)
    assert all(row.status in ("refittable", "fixed") for row in rows.values())
    chance = np.random.default_rng(5)
    state = {
        key: (np.asarray(value) * chance.uniform(0.8, 1.2, value.shape)).astype(np.float32)
        for key, value in graph.state_dict().items()
        if rows[key].status == "refittable"
    }
    reference, x = trtnet.reference(graph, dtype="float64"), image(2, 6, 8, 8)
    if state:
        engine.refit(state)
        reference.refit(state)
        close(engine(x), reference(x), 0.02)
    for key, row in rows.items():
        if row.status == "fixed":
            assert "TensorRT does not let" in row.reason
            with pytest.raises(trtnet.errors.WeightsError, match=key):
                engine.refit({key: np.asarray(graph.state_dict()[key])})


@pytest.mark.parametrize("names", [["conv.weight", "fc.weight"], ["scale", "scales"], True])
def test_live_weights_and_scales(names: Any) -> None:
    """A scale that is an input of the network is no constant: 8.6 gets a division and one quantization by 1."""
    graph = trtnet.record(Quantized(), x=Input((2, 6, 8, 8)))
    engine = trtnet.build(graph, live=names, **LEVEL)
    reference, x = trtnet.reference(graph, dtype="float64"), image(2, 6, 8, 8)
    close(engine(x), reference(x), 0.02)
    new = {"conv.weight": image(8, 6, 3, 3, seed=9) * 0.2} if names != ["scale", "scales"] else {
        "scale": np.full(1, 0.03, np.float32)
    }  # fmt: skip
    engine.refit(new)
    reference.refit(new)
    close(engine(x), reference(x), 0.03)


def test_what_8_6_gets_composed() -> None:
    """Computed scales, blocks, scales by channel of activations, constants of int8."""
    numbers = np.random.default_rng(0).integers(-128, 128, (16, 6)).astype(np.int8)

    def forward(x: Any) -> Any:
        scale = x.abs().amax() / 127
        computed = layers.add_dequantize(layers.add_quantize(x, scale), scale)
        blocks = trtnet.ones(2, 16) / 16
        blocked = layers.add_dequantize(layers.add_quantize(x, blocks), blocks)
        weights = layers.add_dequantize(trtnet.tensor(numbers), trtnet.ones(6) / 64, axis=1)
        return computed, blocked, x @ weights

    graph = trtnet.record(forward, x=Input((4, 16)))
    x = image(4, 16)
    engine = trtnet.build(graph, **LEVEL)
    for found, wanted, step in zip(engine(x), trtnet.reference(graph, dtype="float64")(x), (0.05, 1 / 16, 0)):
        close(found, wanted, step)


def test_what_8_6_has_not() -> None:
    provider = trtnet.provider.load("tensorrt")
    if provider.has("IQuantizeLayer", "to_type"):
        pytest.skip(f"{provider} quantizes to float8")
    graph = trtnet.record(
        lambda x: trtnet.quantize_per_tensor(x, 0.1, 0, "float8_e4m3fn").dequantize(), x=Input((4, 16))
    )
    with pytest.raises(ProviderError, match="no quantize of float8_e4m3fn"):
        trtnet.build(graph, **LEVEL)


def test_an_engine_is_saved_and_loaded(tmp_path: Any) -> None:
    weights = [image(8, 6, 3, 3) * 0.3, image(8, seed=1), image(5, 8, seed=2), image(5, seed=3)]
    graph = trtnet.record(
        lambda x: quantized(x, 0.02, trtnet.linspace(0.01, 0.02, 8), *map(trtnet.tensor, weights)),
        x=Input((BATCH, 6, 8, 8)),
    )
    engine, x = trtnet.build(graph, **LEVEL), image(3, 6, 8, 8)
    engine.save(tmp_path / "few.engine")
    np.testing.assert_array_equal(trtnet.load(tmp_path / "few.engine")(x), engine(x))


def test_a_wrong_scale_is_found() -> None:
    """The check before an engine is handed over: another scale than the reference's is no rounding."""
    from trtnet.pytorch import checking

    def network(scale: float) -> Any:
        return trtnet.record(lambda x: F.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127) * 2, x=Input((4, 64)))

    engine = trtnet.build(network(0.06), **LEVEL)
    assert checking.check(engine, network(0.05))[0].wrong
    assert not checking.check(engine, network(0.06))[0].wrong
