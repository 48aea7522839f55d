"""Convolution and its transpose, in two and three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ProviderError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..weights import recipes
from ..weights.recipes import Weight
from .base import Each, Layer, Operand, Output, require_floating, unreadable
from .casting import Cast
from .shaping import reshaped
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


_EACH = Each(kernel_size=1, stride=1, dilation=1, pre_padding=None, post_padding=None)


@dataclass(slots=True, eq=False, repr=False)
class Convolution(Layer):
    """`add_convolution_nd`: input (N, C, *spatial), kernel (K, C/groups, *kernel_size), bias (K,) or None.

    The kernel and the bias are weights or tensors.
    """

    num_output_maps: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    pre_padding: tuple[int, ...]
    post_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    num_groups: int = 1

    kind: ClassVar[str] = "convolution"
    reads: ClassVar[Mapping[str, str] | None] = {
        "kernel_size": "kernel_size_nd", "stride": "stride_nd", "dilation": "dilation_nd",
    }  # fmt: skip
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 3, 3)
    methods: ClassVar[tuple[str, ...]] = ("add_convolution_nd",)
    method: ClassVar[str] = "add_convolution_nd"
    weight_attributes: ClassVar[dict[int, str]] = {1: "kernel", 2: "bias"}

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        mode = source.attribute(native, "padding_mode", "str")
        if not mode.startswith("EXPLICIT"):
            raise unreadable(cls.kind, f"its padding_mode is {mode}")
        return cls.as_told(native, source)

    @classmethod
    def shape_of(cls, native: ILayer, source: Source, attribute: str, count: int) -> tuple[int, ...]:
        if attribute == "bias":
            return (count,)
        x, sizes = source.operand(native, 0), source.attribute(native, "kernel_size_nd", "tuple[int, ...]")
        maps, groups = (source.attribute(native, name, "int") for name in ("num_output_maps", "num_groups"))
        assert x is not None
        channels = int(x.shape[1])
        return (channels, maps // groups, *sizes) if cls.kind == "deconvolution" else (maps, channels // groups, *sizes)

    def channels_of_kernel(self, channels: int) -> tuple[int, ...]:
        return (self.num_output_maps, channels // self.num_groups, *self.kernel_size)

    def check(self) -> Tensor:
        """The input, with the operands as TensorRT wants them."""
        x, kernel, bias = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(kernel, (Tensor, Weight))
        rank, dtype = len(self.kernel_size), x.dtype
        if len(x.shape) != rank + 2:
            raise ShapeError(
                f"a {rank}-D {self.kind} takes an input of {rank + 2} dimensions",
                expected="(batch, channels" + ", size" * rank + ")",
                found=format_shape(x.shape),
            )
        _EACH.require(self, rank)
        if self.num_groups < 1:
            raise ArgumentError(f"the groups of a {self.kind} are at least 1", found=self.num_groups)
        channels = x.shape[1]
        if not isinstance(channels, int):
            raise ShapeError(
                f"the channels of a {self.kind} must be a number", expected="int", found=format_shape(x.shape)
            )
        if channels % self.num_groups or self.num_output_maps % self.num_groups:
            raise ShapeError(
                f"the channels of a {self.kind} must be divisible by its groups",
                expected=f"multiples of {self.num_groups}",
                found=f"{channels} in, {self.num_output_maps} out",
            )
        expected = self.channels_of_kernel(channels)
        if kernel.shape != expected and not self._is_flat(kernel, expected):
            raise ShapeError(
                f"the kernel of this {self.kind} does not fit its input",
                expected=f"kernel {format_shape(expected)} for {channels} channels in {self.num_groups} groups",
                found=f"kernel {format_shape(kernel.shape)}, input {format_shape(x.shape)}",
                remedy=f"the channels come first: x.permute(0, {rank + 1}, {', '.join(map(str, range(1, rank + 1)))})"
                if self._fits(x.shape[-1], kernel.shape)
                else "make in_channels equal to the input's channels",
            )
        if bias is not None and bias.shape != (self.num_output_maps,):
            raise ShapeError(
                f"the bias of this {self.kind} has the wrong size",
                expected=f"({self.num_output_maps},)",
                found=format_shape(bias.shape),
            )
        if kernel.dtype is not dtype or (bias is not None and bias.dtype is not dtype):
            what, other = ("kernel", kernel) if bias is None or kernel.dtype is not dtype else ("bias", bias)
            raise DtypeError(
                f"the input and the {what} of a {self.kind} must have one dtype",
                expected=f"{what} of {dtype}",
                found=other.dtype,
                remedy="convert the module (module.half(), module.to(dtype)) or the input (x.to(dtype))",
            )
        require_floating(f"a {self.kind}", x)
        return x

    def _is_flat(self, kernel: Tensor | Weight, expected: tuple[int, ...]) -> bool:
        """Whether the kernel is weights of a 1-D convolution, (K, C, k): the same elements."""
        flat = (*expected[:2], *expected[3:])
        return isinstance(kernel, Weight) and self.kernel_size[0] == 1 and kernel.shape == flat

    def _fits(self, channels: SizeLike, kernel: tuple[SizeLike, ...]) -> bool:
        """Whether a kernel is for so many channels of the input."""
        if not isinstance(channels, int) or channels % self.num_groups:
            return False
        return tuple(kernel[:2]) == tuple(self.channels_of_kernel(channels)[:2])

    def operands(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Input, kernel and bias in torch, the kernel with as many dimensions as the input."""
        x, kernel, bias = inputs
        return x, kernel if kernel.dim() == x.dim() else kernel.unsqueeze(2), bias

    def infer(self) -> tuple[Output, ...]:
        x = self.check()
        batch, _, *sizes = x.shape
        shape: list[SizeLike] = [batch, self.num_output_maps]
        for size, kernel, stride, before, after, dilation in zip(
            sizes, self.kernel_size, self.stride, self.pre_padding, self.post_padding, self.dilation
        ):
            room = size + (before + after - dilation * (kernel - 1) - 1)
            if (room if isinstance(room, int) else room.min) < 0:
                raise ShapeError(
                    f"the kernel of this {self.kind} is larger than its padded input",
                    expected=f"at least {dilation * (kernel - 1) + 1} in dimension {len(shape)}",
                    found=f"{format_shape(x.shape)}, padding {before} + {after}",
                )
            shape.append(room // stride + 1)
        return ((Size(shape), x.dtype),)

    def with_operands(self, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]:
        """TensorRT takes no kernel with one dimension less, as a 1-D convolution's is, when it is a tensor."""
        x, kernel, bias = operands
        if isinstance(kernel, Tensor) and len(kernel.shape) == len(self.kernel_size) + 1:
            kernel = reshaped(kernel, (*kernel.shape[:2], *self.kernel_size))
        return Layer.with_operands(self, (x, kernel, bias))

    def add_to(self, lowering: Network) -> ILayer | None:
        x, kernel, bias = self.inputs
        add = getattr(lowering.network, self.method)
        kernel_weights, bias_weights = lowering.weights(kernel, like=x), lowering.weights(bias, like=x)
        layer = add(lowering[x], self.num_output_maps, self.kernel_size, kernel_weights, bias_weights)
        if layer is None:
            return None
        if self.stride.count(1) < len(self.stride):
            layer.stride_nd = self.stride
        if self.pre_padding != self.post_padding:
            layer.pre_padding = self.pre_padding
            layer.post_padding = self.post_padding
        elif any(self.pre_padding):
            layer.padding_nd = self.pre_padding
        if self.dilation.count(1) < len(self.dilation):
            layer.dilation_nd = self.dilation
        if self.num_groups != 1:
            layer.num_groups = self.num_groups
        for index in (1, 2):
            operand = self.inputs[index]
            if type(operand) is Tensor:
                layer.set_input(index, lowering[operand])
        return layer

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, kernel, bias = self.operands(inputs)
        convolution = run.torch.conv2d if len(self.kernel_size) == 2 else run.torch.conv3d
        padding = self.pre_padding
        if padding != self.post_padding:
            both = zip(reversed(self.pre_padding), reversed(self.post_padding))
            x = run.torch.nn.functional.pad(x, [p for pair in both for p in pair])
            padding = (0,) * len(self.kernel_size)
        return convolution(x, kernel, bias, self.stride, padding, self.dilation, self.num_groups)


@dataclass(slots=True, eq=False, repr=False)
class Deconvolution(Convolution):
    """`add_deconvolution_nd`: input (N, C, *spatial), kernel (C, K/groups, *kernel_size), bias (K,) or None.

    The padding is cut off the output, so a post-padding smaller than the pre-padding is torch's `output_padding`.
    """

    kind: ClassVar[str] = "deconvolution"
    methods: ClassVar[tuple[str, ...]] = ("add_deconvolution_nd",)
    method: ClassVar[str] = "add_deconvolution_nd"

    def channels_of_kernel(self, channels: int) -> tuple[int, ...]:
        return (channels, self.num_output_maps // self.num_groups, *self.kernel_size)

    def infer(self) -> tuple[Output, ...]:
        x = self.check()
        shape: list[SizeLike] = [x.shape[0], self.num_output_maps]
        for axis, kernel in enumerate(self.kernel_size):
            size = (x.shape[axis + 2] - 1) * self.stride[axis] + self.dilation[axis] * (kernel - 1) + 1
            size = size - self.pre_padding[axis] - self.post_padding[axis]
            if (size if isinstance(size, int) else size.min) < 1:
                raise ShapeError("the padding of this deconvolution leaves nothing of its output", found=f"size {size}")
            shape.append(size)
        return ((Size(shape), x.dtype),)

    def supported(self, provider: Features) -> bool:
        """TensorRT-RTX 1.7 compiles neither strides together with dilation nor bfloat16."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        both = any(s != 1 for s in self.stride) and any(d != 1 for d in self.dilation)
        return not both and x.dtype is not dtypes.bfloat16

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """A kernel with zeros between its elements in place of dilation; float32 in place of bfloat16."""
        x, kernel, bias = inputs
        assert isinstance(x, Tensor)
        if x.dtype is dtypes.bfloat16:

            def wide(operand: Operand) -> Operand:
                if isinstance(operand, Weight):
                    return recipes.cast(operand, dtypes.float32)
                return None if operand is None else emit(Cast((operand,), dtypes.float32))

            y = emit(self._with((wide(x), wide(kernel), wide(bias)), self.kernel_size, self.dilation))
            return emit(Cast((y,), x.dtype))
        if not isinstance(kernel, Weight):
            raise ProviderError(
                "a deconvolution with strides and dilation needs fixed weights",
                found=self.describe(),
                remedy="give the kernel as a Parameter or an array, or leave out stride or dilation",
            )
        for axis, dilation in enumerate(self.dilation):
            if dilation != 1:
                kernel = _spread(kernel, len(kernel.shape) - len(self.dilation) + axis, dilation)
        size = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True))
        return emit(self._with((x, kernel, bias), size, (1,) * len(size)))

    def _with(
        self, inputs: tuple[Operand, ...], kernel_size: tuple[int, ...], dilation: tuple[int, ...]
    ) -> Deconvolution:
        return Deconvolution(
            inputs,
            self.num_output_maps,
            kernel_size,
            self.stride,
            self.pre_padding,
            self.post_padding,
            dilation,
            self.num_groups,
        )

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, kernel, bias = self.operands(inputs)
        spatial = len(self.kernel_size)
        deconvolution = run.torch.conv_transpose2d if spatial == 2 else run.torch.conv_transpose3d
        if self.pre_padding == self.post_padding:
            return deconvolution(x, kernel, bias, self.stride, self.pre_padding, 0, self.num_groups, self.dilation)
        y = deconvolution(x, kernel, bias, self.stride, 0, 0, self.num_groups, self.dilation)
        for axis, (before, after) in enumerate(zip(self.pre_padding, self.post_padding)):
            y = y.narrow(axis + 2, before, y.shape[axis + 2] - before - after)
        return y


def _spread(kernel: Weight, axis: int, dilation: int) -> Weight:
    """The kernel with `dilation - 1` zeros between the elements of one axis."""
    shape = kernel.shape
    zeros = recipes.Literal(np.zeros((*shape[: axis + 1], dilation - 1, *shape[axis + 1 :]), kernel.dtype.numpy))
    column = recipes.reshape(kernel, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    spread: Weight = recipes.concatenate((column, zeros), axis + 1)
    spread = recipes.reshape(spread, (*shape[:axis], shape[axis] * dilation, *shape[axis + 1 :]))
    return recipes.take(spread, axis, 0, dilation * (shape[axis] - 1) + 1)
