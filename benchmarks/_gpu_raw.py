"""The networks of gpu.py by TensorRT's own add_* calls, without trtnet: what its engines are compared with.

Batch normalization is folded into the convolutions by hand, in float64. The builder's settings are those of
`trtnet.build`: no TF32, the same optimization level, every layer held to its type in FP16 (weakly typed TensorRT).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

State = dict[str, np.ndarray]


class Raw:
    """A network in the making.

    Args:
        trt: the module, tensorrt or tensorrt_rtx.
        state: float32 weights by torchvision's names.
        half: whether inputs, weights and layers are float16.
        held: whether each layer is held to its type; else TensorRT chooses, with FP16 allowed.
    """

    def __init__(self, trt: Any, logger: Any, state: State, half: bool, held: bool = True) -> None:
        self.trt = trt
        self.builder = trt.Builder(logger)
        flags = trt.NetworkDefinitionCreationFlag
        explicit = 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0
        self.network = self.builder.create_network(explicit)
        self.weak = hasattr(trt.ILayer, "precision")
        self.state, self.half, self.held = state, half, held
        self.type = trt.float16 if half else trt.float32
        self.arrays: dict[str, np.ndarray] = {}  # until the plan is built

    def array(self, name: str, value: np.ndarray) -> np.ndarray:
        dtype = np.float16 if self.half else np.float32
        found = self.arrays[name] = np.ascontiguousarray(value.astype(dtype))
        return found

    def layer(self, layer: Any) -> Any:
        """Its output."""
        assert layer is not None, "TensorRT refused a layer"
        if self.weak and self.held:
            layer.precision = self.type
            layer.set_output_type(0, self.type)
        return layer.get_output(0)

    def input(self, shape: tuple[int, ...]) -> Any:
        return self.network.add_input("x", self.type, shape)

    def convolution(self, x: Any, name: str, norm: str = "", eps: float = 1e-5, stride: int = 1, pad: int = 0) -> Any:
        kernel = self.state[f"{name}.weight"].astype(np.float64)
        bias = self.state.get(f"{name}.bias", np.zeros(len(kernel))).astype(np.float64)
        if norm:
            mean, variance = self.state[f"{norm}.running_mean"], self.state[f"{norm}.running_var"]
            scale = self.state[f"{norm}.weight"] / np.sqrt(variance.astype(np.float64) + eps)
            kernel = kernel * scale[:, None, None, None]
            bias = (bias - mean) * scale + self.state[f"{norm}.bias"]
        weights = self.array(f"{name}.kernel", kernel), self.array(f"{name}.bias", bias)
        layer = self.network.add_convolution_nd(x, len(kernel), kernel.shape[2:], *weights)
        layer.stride_nd, layer.padding_nd = (stride, stride), (pad, pad)
        return self.layer(layer)

    def linear(self, x: Any, name: str) -> Any:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        matrix = self.layer(self.network.add_constant(weight.shape, self.array(f"{name}.weight", weight)))
        none, transpose = self.trt.MatrixOperation.NONE, self.trt.MatrixOperation.TRANSPOSE
        product = self.layer(self.network.add_matrix_multiply(x, none, matrix, transpose))
        shift = self.layer(self.network.add_constant((1, len(bias)), self.array(f"{name}.bias", bias)))
        return self.add(product, shift)

    def add(self, x: Any, y: Any) -> Any:
        return self.layer(self.network.add_elementwise(x, y, self.trt.ElementWiseOperation.SUM))

    def relu(self, x: Any) -> Any:
        return self.layer(self.network.add_activation(x, self.trt.ActivationType.RELU))

    def pool(self, x: Any, size: int, stride: int, pad: int = 0, up: bool = False, kind: str = "MAX") -> Any:
        layer = self.network.add_pooling_nd(x, getattr(self.trt.PoolingType, kind), (size, size))
        layer.stride_nd, layer.padding_nd = (stride, stride), (pad, pad)
        if up:
            layer.padding_mode = self.trt.PaddingMode.EXPLICIT_ROUND_UP
        return self.layer(layer)

    def mean(self, x: Any) -> Any:
        """(N, C, H, H) to (N, C)."""
        return self.flat(self.pool(x, x.shape[2], 1, kind="AVERAGE"))

    def flat(self, x: Any) -> Any:
        layer = self.network.add_shuffle(x)
        layer.reshape_dims = (x.shape[0], int(np.prod(tuple(x.shape)[1:])))
        return self.layer(layer)

    def join(self, tensors: list[Any]) -> Any:
        layer = self.network.add_concatenation(tensors)
        layer.axis = 1
        return self.layer(layer)

    def softmax(self, x: Any) -> Any:
        layer = self.network.add_softmax(x)
        layer.axes = 1 << 1
        return self.layer(layer)

    def output(self, x: Any) -> None:
        x.name = "y"
        self.network.mark_output(x)
        if self.weak:
            x.dtype = self.type

    def build(self, level: int | None, timings: bytes | None = None) -> tuple[bytes, float]:
        """The plan, and the seconds that it took."""
        trt, started = self.trt, time.perf_counter()
        config = self.builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        if level is not None:
            config.builder_optimization_level = level
        if self.weak:
            if self.held:
                config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
            if self.half:
                config.set_flag(trt.BuilderFlag.FP16)
        if hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
        if timings is not None:
            cache = config.create_timing_cache(timings)
            assert config.set_timing_cache(cache, ignore_mismatch=False), "TensorRT refused the timing cache"
        plan = self.builder.build_serialized_network(self.network, config)
        assert plan is not None, "TensorRT refused the raw network"
        return bytes(plan), time.perf_counter() - started


# --- the networks -----------------------------------------------------------------------------------------------------


def mlp(raw: Raw, shape: tuple[int, ...]) -> None:
    x = raw.input(shape)
    names = [name.removesuffix(".weight") for name in raw.state if name.endswith(".weight")]
    for name in names:
        x = raw.linear(x, name)
        if name != names[-1]:
            x = raw.relu(x)
    raw.output(x)


def lenet(raw: Raw, shape: tuple[int, ...]) -> None:
    x = raw.input(shape)
    for name in ("conv1", "conv2"):
        x = raw.pool(raw.convolution(x, name), 2, 2)
    x = raw.relu(raw.linear(raw.flat(x), "fc1"))
    raw.output(raw.softmax(raw.linear(x, "fc2")))


def resnet18(raw: Raw, shape: tuple[int, ...]) -> None:
    x = raw.relu(raw.convolution(raw.input(shape), "conv1", "bn1", stride=2, pad=3))
    x = raw.pool(x, 3, 2, 1)
    for number in (1, 2, 3, 4):
        for index in (0, 1):
            name = f"layer{number}.{index}"
            stride = 2 if number > 1 and index == 0 else 1
            identity = x
            if stride == 2:
                identity = raw.convolution(x, f"{name}.downsample.0", f"{name}.downsample.1", stride=2)
            x = raw.relu(raw.convolution(x, f"{name}.conv1", f"{name}.bn1", stride=stride, pad=1))
            x = raw.convolution(x, f"{name}.conv2", f"{name}.bn2", pad=1)
            x = raw.relu(raw.add(x, identity))
    raw.output(raw.linear(raw.mean(x), "fc"))


def googlenet(raw: Raw, shape: tuple[int, ...]) -> None:
    def block(x: Any, name: str, stride: int = 1, pad: int = 0) -> Any:
        return raw.relu(raw.convolution(x, f"{name}.conv", f"{name}.bn", 0.001, stride, pad))

    x = raw.pool(block(raw.input(shape), "conv1", 2, 3), 3, 2, up=True)
    x = raw.pool(block(block(x, "conv2"), "conv3", pad=1), 3, 2, up=True)
    for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        at = f"inception{name}"
        x = raw.join([
            block(x, f"{at}.branch1"),
            block(block(x, f"{at}.branch2.0"), f"{at}.branch2.1", pad=1),
            block(block(x, f"{at}.branch3.0"), f"{at}.branch3.1", pad=1),
            block(raw.pool(x, 3, 1, 1, up=True), f"{at}.branch4.1"),
        ])  # fmt: skip
        if name == "3b":
            x = raw.pool(x, 3, 2, up=True)
        elif name == "4e":
            x = raw.pool(x, 2, 2, up=True)
    raw.output(raw.linear(raw.mean(x), "fc"))


NETWORKS: dict[str, Callable[[Raw, tuple[int, ...]], None]] = {
    "policy": mlp, "mlp42m": mlp, "lenet": lenet, "resnet18": resnet18, "googlenet": googlenet,
}  # fmt: skip


def timing_cache(folder: Path) -> bytes | None:
    """The timing cache that `trtnet.build(cache=folder)` left there."""
    found = sorted(folder.glob("timing-*.cache"))
    return found[0].read_bytes() if found else None
