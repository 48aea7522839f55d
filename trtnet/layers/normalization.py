"""Softmax, scale, local response normalization, and normalization by mean and variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Size, SizeLike, format_shape, product
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..weights.recipes import Literal
from .base import Layer, Operand, Output, require_floating, unreadable
from .casting import Identity, converted
from .constant import constant, with_shape
from .pooling import Pooling
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


def _floating(name: str, x: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    require_floating(name, x)
    return x


def _same_dtype(kind: str, x: Tensor, *others: Operand) -> None:
    for other in others:
        if other is not None and other.dtype is not x.dtype:
            raise DtypeError(
                f"the input and the weights of a {kind} must have one dtype",
                expected=f"weights of {x.dtype}",
                found=other.dtype,
                remedy="convert the module (module.half(), module.to(dtype)) or the input (x.to(dtype))",
            )


@dataclass(slots=True, eq=False, repr=False)
class SoftMax(Layer):
    """`add_softmax`: exponentials along one axis, divided by their sum. Takes two dimensions or more."""

    axis: int

    kind: ClassVar[str] = "softmax"

    def infer(self) -> tuple[Output, ...]:
        x = _floating("softmax", self.inputs[0])
        if len(x.shape) < 2:
            raise ShapeError(
                "TensorRT's softmax takes two dimensions or more", expected="(..., size)", found=format_shape(x.shape)
            )
        return ((x.shape, x.dtype),)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        axes = source.attribute(native, "axes", "tuple[int, ...]")
        if len(axes) != 1:
            raise unreadable(cls.kind, f"it has {len(axes)} axes")
        return cls((source.operand(native, 0),), axes[0])

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_softmax(lowering[self.inputs[0]])
        if layer is not None:
            layer.axes = 1 << self.axis
        return layer

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].softmax(self.axis)


@dataclass(slots=True, eq=False, repr=False)
class LogSoftMax(Layer):
    """The logarithm of softmax along one axis. Composed: x - max, minus the logarithm of the sum of exponentials."""

    axis: int

    kind: ClassVar[str] = "log_softmax"
    methods: ClassVar[tuple[str, ...]] = ()

    def infer(self) -> tuple[Output, ...]:
        x = _floating("log_softmax", self.inputs[0])
        return ((x.shape, x.dtype),)

    def supported(self, provider: Features) -> bool:
        return False

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        x = inputs[0]
        assert isinstance(x, Tensor)
        shifted = F.sub(x, F.amax(x, self.axis, True))
        return F.sub(shifted, F.log(F.sum(F.exp(shifted), self.axis, True)))

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].log_softmax(self.axis)


@dataclass(slots=True, eq=False, repr=False)
class LRN(Layer):
    """`add_lrn`: x / (k + alpha / window * sum of squares of `window` neighbouring channels) ** beta."""

    window: int
    alpha: float
    beta: float
    k: float

    kind: ClassVar[str] = "lrn"
    reads: ClassVar[Mapping[str, str] | None] = {"window": "window_size"}

    def infer(self) -> tuple[Output, ...]:
        x = _floating("local response normalization", self.inputs[0])
        if len(x.shape) < 3:
            raise ShapeError(
                "local response normalization takes three dimensions or more",
                expected="(batch, channels, size, ...)",
                found=format_shape(x.shape),
            )
        if self.window < 1:
            raise ArgumentError("the window of local response normalization is at least 1", found=self.window)
        return ((x.shape, x.dtype),)

    def supported(self, provider: Features) -> bool:
        """TensorRT's own limits (NvInfer.h; the operators' documentation has float32 only)."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return (
            x.dtype is dtypes.float32 and len(x.shape) >= 4 and self.window % 2 == 1 and self.window <= 15
            and abs(self.alpha) <= 1e20 and 0.01 <= self.beta <= 1e5 and 1e-5 <= self.k <= 1e10
        )  # fmt: skip

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        x = inputs[0]
        assert isinstance(x, Tensor)
        batch, channels, *sizes = x.shape
        squares = F.reshape(F.mul(x, x), (batch, 1, channels, product(sizes)))
        before, after = (self.window // 2, 0), ((self.window - 1) // 2, 0)
        mean = emit(Pooling((squares,), "AVERAGE", (self.window, 1), (1, 1), before, after, False))
        mean = F.reshape(mean, x.shape)
        return F.div(x, F.pow(F.add(F.mul(mean, self.alpha), self.k), self.beta))

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_lrn(lowering[self.inputs[0]], self.window, self.alpha, self.beta, self.k)

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.nn.functional.local_response_norm(inputs[0], self.window, self.alpha, self.beta, self.k)


@dataclass(slots=True, eq=False, repr=False)
class Scale(Layer):
    """`add_scale_nd`: (input * scale + shift) ** power, with weights for all, for each channel, or for each element.

    Inputs: the tensor, shift, scale and power, which are weights or None. The mode is UNIFORM (one number), CHANNEL (as
    many as `channel_axis` is long) or ELEMENTWISE (all that follows from `channel_axis` on).
    """

    mode: str
    channel_axis: int = 1

    kind: ClassVar[str] = "scale"
    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 4, 4)
    methods: ClassVar[tuple[str, ...]] = ("add_scale", "add_scale_nd")
    weight_attributes: ClassVar[dict[int, str]] = {1: "shift", 2: "scale"}

    def infer(self) -> tuple[Output, ...]:
        x = _floating("a scale", self.inputs[0])
        _same_dtype("scale", x, *self.inputs[1:])
        expected = self._count(x)
        for operand, what in zip(self.inputs[1:], ("shift", "scale", "power"), strict=True):
            if operand is not None and product(operand.shape) != expected:
                raise ShapeError(
                    f"the {what} of this scale has the wrong size",
                    expected=f"{expected} numbers for an input of {format_shape(x.shape)}",
                    found=format_shape(operand.shape),
                )
        return ((x.shape, x.dtype),)

    def _count(self, x: Tensor) -> SizeLike:
        if self.mode == "UNIFORM":
            return 1
        if not 0 <= self.channel_axis < len(x.shape):
            raise ShapeError(
                "a scale has no such channel axis", expected=f"0 to {len(x.shape) - 1}", found=self.channel_axis
            )
        if self.mode == "CHANNEL":
            return x.shape[self.channel_axis]
        if self.mode != "ELEMENTWISE":
            raise ArgumentError(
                "there is no such mode of a scale", expected="UNIFORM, CHANNEL or ELEMENTWISE", found=self.mode
            )
        return product(x.shape[self.channel_axis :])

    def _spread(self, rank: int) -> tuple[SizeLike, ...]:
        """The shape of the weights for broadcasting against the input."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        if self.mode == "UNIFORM":
            return (1,) * rank
        before = (1,) * self.channel_axis
        if self.mode == "ELEMENTWISE":
            return (*before, *x.shape[self.channel_axis :])
        return (*before, x.shape[self.channel_axis], *(1,) * (rank - self.channel_axis - 1))

    def supported(self, provider: Features) -> bool:
        """TensorRT documents four dimensions or more, and can neither name nor refit a power."""
        x, shift, scale, power = self.inputs
        assert isinstance(x, Tensor)
        return len(x.shape) >= 4 and power is None and not isinstance(shift, Tensor) and not isinstance(scale, Tensor)

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        x, shift, scale, power = inputs
        assert isinstance(x, Tensor)
        shape = self._spread(len(x.shape))
        for operand, function in ((scale, F.mul), (shift, F.add), (power, F.pow)):
            if operand is not None:
                x = function(x, with_shape(operand, shape))
        return x if x is not inputs[0] else emit(Identity((x,)))

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        weights = [source.weights(native, name) for name in ("shift", "scale", "power")]
        return cls((source.operand(native, 0), *weights), **cls.read_attributes(native, source, *cls.attributes))

    def add_to(self, lowering: Network) -> ILayer | None:
        x, shift, scale, power = self.inputs
        weights = [lowering.weights(o, like=x) for o in (shift, scale, power)]
        return lowering.network.add_scale_nd(
            lowering[x], lowering.enum("ScaleMode", self.mode), *weights, self.channel_axis
        )

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, shift, scale, power = inputs
        if (
            self.mode == "CHANNEL"
            and self.channel_axis == 1
            and power is None
            and scale is not None
            and shift is not None
        ):
            scale, shift = scale.reshape(-1), shift.reshape(-1)
            return run.torch.batch_norm(
                x, scale, shift, run.torch.zeros_like(shift), run.torch.ones_like(scale), False, 0.0, 0.0, False
            )
        shape = [1] * x.dim()
        if self.mode == "CHANNEL":
            shape[self.channel_axis] = -1
        elif self.mode == "ELEMENTWISE":
            shape[self.channel_axis :] = x.shape[self.channel_axis :]
        if scale is not None:
            x = x * scale.reshape(shape)
        if shift is not None:
            x = x + shift.reshape(shape)
        return x if power is None else x ** power.reshape(shape)


@dataclass(slots=True, eq=False, repr=False)
class Normalization(Layer):
    """`add_normalization_v2`, or `add_normalization`: (x - mean) / sqrt(variance + epsilon) * scale + bias.

    Inputs: the tensor, scale and bias, all tensors of one rank and dtype. Mean and variance are over `axes`, and over
    the channels of each of `num_groups` groups where there is more than one.
    """

    axes: tuple[int, ...]
    epsilon: float = 1e-5
    num_groups: int = 1

    kind: ClassVar[str] = "normalization"
    reads: ClassVar[Mapping[str, str] | None] = {}

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        if not getattr(native, "is_v2", True) and source.attribute(native, "num_groups", "int") != 1:
            raise unreadable(cls.kind, "its scales are those of groups (add_normalization)")
        return cls.as_told(native, source)

    input_counts: ClassVar[tuple[int, int, int | None]] = (3, 3, 3)
    methods: ClassVar[tuple[str, ...]] = ("add_normalization", "add_normalization_v2")

    def infer(self) -> tuple[Output, ...]:
        x, scale, bias = self.inputs
        x = _floating("normalization", x)
        assert isinstance(scale, Tensor)
        assert isinstance(bias, Tensor)
        _same_dtype("normalization", x, scale, bias)
        rank = len(x.shape)
        for operand, what in ((scale, "scale"), (bias, "bias")):
            fits = len(operand.shape) == rank and all(
                s == 1 or s == size for s, size in zip(operand.shape, x.shape, strict=True)
            )
            if not fits:
                raise ShapeError(
                    f"the {what} of this normalization does not fit its input",
                    expected=f"{rank} dimensions, each 1 or as in {format_shape(x.shape)}",
                    found=format_shape(operand.shape),
                )
        if self.num_groups != 1:
            channels = x.shape[1]
            if self.axes != tuple(range(2, rank)) or not isinstance(channels, int) or channels % self.num_groups:
                raise ShapeError(
                    "normalization by groups takes channels that the groups divide, and all axes behind them",
                    expected=f"(batch, channels, size, ...) with channels a multiple of {self.num_groups}",
                    found=f"{format_shape(x.shape)}, axes {self.axes}",
                )
        return ((x.shape, x.dtype),)

    def supported(self, provider: Features) -> bool:
        """The first version of the layer has a scale for each group instead of each channel.

        One group with weights for each channel is no form of the layer that TensorRT documents.
        """
        if self.num_groups != 1:
            return provider.has_layer("add_normalization_v2")
        x, scale, _ = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(scale, Tensor)
        return not (self.axes[0] == 1 < len(self.axes) and scale.shape[1] != 1 and product(scale.shape[2:]) == 1)

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        x, scale, bias = inputs
        assert isinstance(x, Tensor)
        assert isinstance(scale, Tensor)
        assert isinstance(bias, Tensor)
        batch, channels, *sizes = x.shape
        groups = self.num_groups
        grouped = F.reshape(x, (batch, groups, channels // groups * product(sizes)))
        one, none = (constant(Literal(np.full((1, groups, 1), value, x.dtype.numpy))) for value in (1, 0))
        normal = emit(Normalization((grouped, one, none), (2,), self.epsilon))
        return F.add(F.mul(F.reshape(normal, x.shape), scale), bias)

    def add_to(self, lowering: Network) -> ILayer | None:
        network = lowering.network
        add = network.add_normalization
        if lowering.provider.has_layer("add_normalization_v2"):
            add = network.add_normalization_v2
        layer = add(*(lowering[o] for o in self.inputs), sum(1 << axis for axis in self.axes))
        if layer is not None:
            layer.epsilon = self.epsilon
            if self.num_groups != 1:
                layer.num_groups = self.num_groups
        return layer

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, scale, bias = inputs
        rank, first = x.dim(), self.axes[0]
        if self.axes == tuple(range(2, rank)):
            groups = self.num_groups if self.num_groups != 1 else x.shape[1]
            # given the weights, torch multiplies before it takes the mean off, and rounds what should cancel
            return run.torch.group_norm(x, groups, None, None, self.epsilon) * scale + bias
        if self.axes == tuple(range(first, rank)) and self.num_groups == 1:
            shape = x.shape[first:]
            if scale.numel() == bias.numel() == prod(shape) and scale.shape[first:] == shape == bias.shape[first:]:
                return run.torch.layer_norm(x, shape, scale.reshape(shape), bias.reshape(shape), self.epsilon)
            return run.torch.layer_norm(x, shape, None, None, self.epsilon) * scale + bias
        variance, mean = run.torch.var_mean(x, self.axes, correction=0, keepdim=True)
        return (x - mean) * run.torch.rsqrt(variance + self.epsilon) * scale + bias


@dataclass(slots=True, eq=False, repr=False)
class RMSNormalization(Layer):
    """x / sqrt(mean of squares over the last axes + epsilon) * weight. Composed; half types are computed in float32."""

    shape: tuple[int, ...]
    epsilon: float

    kind: ClassVar[str] = "rms_normalization"
    methods: ClassVar[tuple[str, ...]] = ()

    def infer(self) -> tuple[Output, ...]:
        x, weight = self.inputs
        x = _floating("RMS normalization", x)
        _same_dtype("RMS normalization", x, weight)
        last = tuple(x.shape[len(x.shape) - len(self.shape) :])
        if not self.shape or len(x.shape) < len(self.shape) or last != self.shape:
            raise ShapeError(
                "the input does not end in the normalized shape",
                expected=f"(..., {', '.join(map(str, self.shape))})",
                found=format_shape(x.shape),
            )
        if weight is not None and tuple(weight.shape) != self.shape:
            raise ShapeError(
                "the weight of RMS normalization has the wrong shape",
                expected=self.shape,
                found=format_shape(weight.shape),
            )
        return ((Size(x.shape), x.dtype),)

    def supported(self, provider: Features) -> bool:
        return False

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        x, weight = inputs
        assert isinstance(x, Tensor)
        wide = converted(x, dtypes.float32)
        axes = tuple(range(len(x.shape) - len(self.shape), len(x.shape)))
        mean = F.mean(F.mul(wide, wide), axes, True)
        y = converted(F.div(wide, F.sqrt(F.add(mean, self.epsilon))), x.dtype)
        if weight is None:
            return y
        return F.mul(y, with_shape(weight, (1,) * (len(x.shape) - len(self.shape)) + self.shape))

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.nn.functional.rms_norm(inputs[0], run.shape(self.shape), inputs[1], self.epsilon)
