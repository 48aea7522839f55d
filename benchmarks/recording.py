"""Recording and lowering a network, against the same network written by hand with raw `network.add_*` calls.

Both sides run in one process on TensorRT-RTX, give every layer and every weight its name, and use arrays that exist
already. Making the modules, and making and freeing the INetworkDefinition, are not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorrt_rtx as trt
from _common import interleaved, milliseconds, options, report, spread

import trtnet
from models.lenet import LeNet
from trtnet import Dim, Input, nn

TARGET = 2.0
BUILDER = trt.Builder(trt.Logger(trt.Logger.ERROR))
RELU, MAX, SUM = trt.ActivationType.RELU, trt.PoolingType.MAX, trt.ElementWiseOperation.SUM
NONE, TRANSPOSE = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE

Weights = dict[str, np.ndarray]
Raw = Callable[[Any, Weights], None]


# --- by hand ----------------------------------------------------------------------------------------------------------


def lenet(batch: int) -> Raw:
    def add(network: Any, weights: Weights) -> None:
        x = network.add_input("image", trt.float32, (batch, 1, 28, 28))
        if batch == -1:
            x.set_dimension_name(0, "batch")
        for number, (name, channels) in enumerate((("conv1", 20), ("conv2", 50))):
            kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            convolution = network.add_convolution_nd(x, channels, (5, 5), kernel, bias)
            convolution.name = f"{name}/convolution"
            convolution.stride_nd = (1, 1)
            network.set_weights_name(kernel, f"{name}.weight")
            network.set_weights_name(bias, f"{name}.bias")
            pooling = network.add_pooling_nd(convolution.get_output(0), MAX, (2, 2))
            pooling.name = f"pooling_{number}" if number else "pooling"
            pooling.stride_nd = (2, 2)
            x = pooling.get_output(0)
        shuffle = network.add_shuffle(x)
        shuffle.name = "shuffle"
        shuffle.reshape_dims = (batch, 800)
        x = linear(network, weights, shuffle.get_output(0), "fc1", 500, 800)
        activation = network.add_activation(x, RELU)
        activation.name = "activation"
        x = linear(network, weights, activation.get_output(0), "fc2", 10, 500)
        softmax = network.add_softmax(x)
        softmax.name = "softmax"
        softmax.axes = 1 << 1
        output = softmax.get_output(0)
        output.name = "prob"
        network.mark_output(output)

    return add


def linear(network: Any, weights: Weights, x: Any, name: str, out: int, features: int) -> Any:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    matrix = network.add_constant((out, features), weight)
    matrix.name = f"{name}/fully_connected/constant"
    network.set_weights_name(weight, f"{name}.weight")
    product = network.add_matrix_multiply(x, NONE, matrix.get_output(0), TRANSPOSE)
    product.name = f"{name}/fully_connected/matrix_multiply"
    shift = network.add_constant((1, out), bias)
    shift.name = f"{name}/fully_connected/constant_1"
    network.set_weights_name(bias, f"{name}.bias")
    total = network.add_elementwise(product.get_output(0), shift.get_output(0), SUM)
    total.name = f"{name}/fully_connected/elementwise"
    return total.get_output(0)


def convolutions(layers: int) -> Raw:
    def add(network: Any, weights: Weights) -> None:
        x = network.add_input("input", trt.float32, (1, 8, 16, 16))
        for index in range(0, layers, 2):
            kernel, bias = weights[f"{index}.weight"], weights[f"{index}.bias"]
            convolution = network.add_convolution_nd(x, 8, (3, 3), kernel, bias)
            convolution.name = f"{index}/convolution"
            convolution.stride_nd = (1, 1)
            convolution.padding_nd = (1, 1)
            network.set_weights_name(kernel, f"{index}.weight")
            network.set_weights_name(bias, f"{index}.bias")
            activation = network.add_activation(convolution.get_output(0), RELU)
            activation.name = f"{index + 1}/activation"
            x = activation.get_output(0)
        x.name = "output"
        network.mark_output(x)

    return add


def activations(layers: int) -> Raw:
    def add(network: Any, weights: Weights) -> None:
        x = network.add_input("input", trt.float32, (1, 8, 16, 16))
        for index in range(layers):
            activation = network.add_activation(x, RELU)
            activation.name = f"{index}/activation"
            x = activation.get_output(0)
        x.name = "output"
        network.mark_output(x)

    return add


# --- measuring --------------------------------------------------------------------------------------------------------


def same(network: Any, other: Any) -> None:
    """Both networks have the same layers, in the same order, with the same names and output."""
    assert network.num_layers == other.num_layers
    for index in range(network.num_layers):
        one, two = network.get_layer(index), other.get_layer(index)
        assert (one.name, one.type) == (two.name, two.type), (one.name, two.name)
    assert network.get_output(0).name == other.get_output(0).name
    assert tuple(network.get_output(0).shape) == tuple(other.get_output(0).shape)


def measure(module: nn.Module, inputs: dict[str, Input], raw: Raw, repeats: int) -> dict[str, Any]:
    weights = module.state_dict()
    by_hand, graph_made = BUILDER.create_network(0), BUILDER.create_network(0)
    raw(by_hand, weights)
    lowering = trtnet.record(module, **inputs).lower(graph_made)
    same(by_hand, graph_made)
    layers = by_hand.num_layers
    del by_hand, lowering, graph_made

    def write_by_hand() -> tuple[float]:
        network = BUILDER.create_network(0)
        started = time.perf_counter()
        raw(network, weights)
        return (time.perf_counter() - started,)

    def record_and_lower() -> tuple[float, float]:
        network = BUILDER.create_network(0)
        started = time.perf_counter()
        graph = trtnet.record(module, **inputs)
        recorded = time.perf_counter()
        lowering = graph.lower(network)
        ended = time.perf_counter()
        del lowering
        return recorded - started, ended - recorded

    samples = interleaved({"raw": write_by_hand, "trtnet": record_and_lower}, repeats)
    raw_times = spread([sum(s) for s in samples["raw"]])
    times = spread([sum(s) for s in samples["trtnet"]])
    return {
        "layers": layers,
        "raw_s": raw_times,
        "trtnet_s": times,
        "record_s": spread([s[0] for s in samples["trtnet"]]),
        "lower_s": spread([s[1] for s in samples["trtnet"]]),
        "ratio": times["median"] / raw_times["median"],
        "ratio_of_minima": times["min"] / raw_times["min"],
    }


def cases(quick: bool) -> list[tuple[str, Callable[[], nn.Module], dict[str, Input], Raw, int]]:
    batch = Dim("batch", min=1, opt=8, max=64)
    sizes = (4, 10) if quick else (100, 1000, 10_000)
    square = {"input": Input((1, 8, 16, 16))}
    found: list[Any] = [
        ("LeNet, batch 1", LeNet, {"image": Input((1, 1, 28, 28))}, lenet(1), 200),
        ("LeNet, batch 1 to 64", LeNet, {"image": Input((batch, 1, 28, 28))}, lenet(-1), 200),
    ]
    for layers in sizes:
        pairs = [lambda: nn.Conv2d(8, 8, 3, padding=1), nn.ReLU] * (layers // 2)
        found.append((
            "convolution, ReLU, …", lambda pairs=pairs: nn.Sequential(*(make() for make in pairs)), square,
            convolutions(layers), max(15, 20_000 // layers),
        ))  # fmt: skip
    for layers in sizes:
        found.append((
            "ReLU, ReLU, …", lambda layers=layers: nn.Sequential(*(nn.ReLU() for _ in range(layers))), square,
            activations(layers), max(15, 20_000 // layers),
        ))  # fmt: skip
    return found


def main() -> None:
    given = options(__doc__ or "")
    results, rows = [], []
    for name, make, inputs, raw, repeats in cases(given.quick):
        found = measure(make(), inputs, raw, 2 if given.quick else repeats)
        results.append({"network": name, **found})
        median = {key: found[f"{key}_s"]["median"] for key in ("raw", "trtnet", "record", "lower")}
        rows.append([
            name, f"{found['layers']:,}", milliseconds(median["raw"]), milliseconds(median["trtnet"]),
            f"{milliseconds(median['record'])} + {milliseconds(median['lower'])}",
            f"{median['raw'] / found['layers'] * 1e6:.1f}", f"{median['trtnet'] / found['layers'] * 1e6:.1f}",
            f"{found['ratio']:.2f}",
        ])  # fmt: skip
    columns = [
        "network", "layers", "by hand, ms", "trtnet, ms", "record + lower, ms", "by hand, µs a layer",
        "trtnet, µs a layer", "ratio",
    ]  # fmt: skip
    title = f"Recording and lowering against raw add_* calls, medians (target: a ratio of at most {TARGET})"
    settings = {"target_ratio": TARGET, "collector": "on, run before each sample"}
    report("recording", title, columns, rows, results, given, **settings)


if __name__ == "__main__":
    main()
