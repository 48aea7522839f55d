"""Convolutions and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError
from ..functional import convolution as F
from ..functional.dispatch import Ints, tuple_of
from ..functional.padding import pad
from ..graph.tensor import DeviceLike, Parameter, Tensor
from ..weights.recipes import Weight
from . import init
from .module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    spatial: int
    transposed = False
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints,
        padding: Ints | str,
        dilation: Ints,
        output_padding: Ints,
        groups: int,
        bias: bool,
        padding_mode: str,
        dtype: DtypeLike | None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1:
            raise ArgumentError(f"groups of {name} is at least 1", found=groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"the channels of {name} must be divisible by groups",
                expected=f"multiples of {groups}",
                found=f"in_channels {in_channels}, out_channels {out_channels}",
                remedy="choose groups that divide both",
            )
        modes = PADDING_MODES[:1] if self.transposed else PADDING_MODES
        if padding_mode not in modes:
            raise ArgumentError(
                f"there is no such padding_mode of {name}", expected=", ".join(modes), found=repr(padding_mode)
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = tuple_of(kernel_size, self.spatial, "kernel_size")
        self.stride = tuple_of(stride, self.spatial, "stride")
        self.dilation = tuple_of(dilation, self.spatial, "dilation")
        self.output_padding = tuple_of(output_padding, self.spatial, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        self.padding: Any = padding
        if not isinstance(padding, str):
            self.padding = tuple_of(padding, self.spatial, "padding")
        elif padding not in ("same", "valid"):
            raise ArgumentError(
                f"{name} does not know this padding", expected="'same', 'valid' or numbers", found=repr(padding)
            )
        elif padding == "same" and any(s != 1 for s in self.stride):
            raise ArgumentError(
                "padding='same' is not for strided convolutions", expected="stride 1", found=self.stride
            )
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(shape=(first, second // groups, *self.kernel_size), dtype=dtype)
        self.register_parameter("bias", Parameter(shape=(out_channels,), dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: uniform, bounded by 1 / sqrt(fan in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(1, init._calculate_fan_in_and_fan_out(self.weight)[0]))
            init.uniform_(self.bias, -bound, bound)

    def _padded(self, input: Tensor) -> tuple[Any, Any]:
        """The input padded where torch pads by another mode, and the padding that is left to do."""
        if self.padding_mode == "zeros":
            return input, self.padding
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(t // 2, t - t // 2) for t in total]
        else:
            sides = [(p, p) for p in ((0,) * self.spatial if self.padding == "valid" else self.padding)]
        return pad(input, tuple(p for side in reversed(sides) for p in side), mode=self.padding_mode), 0

    def extra_repr(self) -> str:
        n = self.spatial
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * n:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * n:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


_ConvNd = _Convolution  # torch's name, by which model files ask for the kind


class _Conv(_Convolution):
    function: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints | str = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, dtype
        )

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor | Weight, bias: Tensor | Weight | None) -> Tensor:
        """torch's own name for a convolution with other weights, as subclasses use it."""
        x, padding = self._padded(input)
        return type(self).function(x, weight, bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Conv):
    """out[o] = bias[o] + sum over input channels c of weight[o, c] (cross-correlated with) in[c], over a line.

    Args:
        in_channels, out_channels: the sizes of the channels, both multiples of groups.
        kernel_size, stride, dilation: a number.
        padding: zeros on both sides, a number; or "valid" (none), or "same" (as many as keep the size; stride 1).
        groups: how many parts the channels are cut into, each with its own kernels.
        bias: whether there is one.
        padding_mode: "zeros", "reflect", "replicate" or "circular": what the padding holds.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (out_channels, in_channels / groups, kernel_size), bias (out_channels,); drawn as torch's,
        uniformly below 1 / sqrt(fan in).
    Shape: (N, in_channels, L) to (N, out_channels, L'), or both without N, with L' = floor((L + 2 * padding -
        dilation * (kernel_size - 1) - 1) / stride) + 1; float32, float16 or bfloat16, as the weight.
    Layers: one `convolution` over an image of height 1, between two `shuffle`; a padding_mode other than "zeros"
        records its own `slice` before.

    >>> graph = trtnet.record(nn.Conv1d(3, 8, 3, stride=2, padding=1), input=Input((1, 3, 32)))
    >>> graph.outputs["output"].shape
    Size([1, 8, 16])
    """

    spatial = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """out[o] = bias[o] + sum over input channels c of weight[o, c] (cross-correlated with) in[c], over images.

    Args:
        in_channels, out_channels: the sizes of the channels, both multiples of groups.
        kernel_size, stride, dilation: a number, or (height, width).
        padding: zeros on both sides, a number, or (height, width); or "valid" (none), or "same" (as many as keep the
            size; stride 1).
        groups: how many parts the channels are cut into, each with its own kernels.
        bias: whether there is one.
        padding_mode: "zeros", "reflect", "replicate" or "circular": what the padding holds.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (out_channels, in_channels / groups, *kernel_size), bias (out_channels,); drawn as torch's,
        uniformly below 1 / sqrt(fan in).
    Shape: (N, in_channels, H, W) to (N, out_channels, H, W'), or both without N, with H' = floor((H + 2 * padding -
        dilation * (kernel_size - 1) - 1) / stride) + 1 and so on; float32, float16 or bfloat16, as the weight.
    Layers: one `convolution`; a padding_mode other than "zeros" records its own `slice` before.

    >>> graph = trtnet.record(nn.Conv2d(3, 8, 3, stride=2, padding=1), input=Input((1, 3, 32, 32)))
    >>> graph.outputs["output"].shape
    Size([1, 8, 16, 16])
    """

    spatial = 2
    function = staticmethod(F.conv2d)


class Conv3d(_Conv):
    """out[o] = bias[o] + sum over input channels c of weight[o, c] (cross-correlated with) in[c], over volumes.

    Args:
        in_channels, out_channels: the sizes of the channels, both multiples of groups.
        kernel_size, stride, dilation: a number, or (depth, height, width).
        padding: zeros on both sides, a number, or (depth, height, width); or "valid" (none), or "same" (as many as
            keep the size; stride 1).
        groups: how many parts the channels are cut into, each with its own kernels.
        bias: whether there is one.
        padding_mode: "zeros", "reflect", "replicate" or "circular": what the padding holds.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (out_channels, in_channels / groups, *kernel_size), bias (out_channels,); drawn as torch's,
        uniformly below 1 / sqrt(fan in).
    Shape: (N, in_channels, D, H, W) to (N, out_channels, D, H, W'), or both without N, with D' = floor((D + 2 *
        padding - dilation * (kernel_size - 1) - 1) / stride) + 1 and so on; float32, float16 or bfloat16, as the
        weight.
    Layers: one `convolution`; a padding_mode other than "zeros" records its own `slice` before.

    >>> graph = trtnet.record(nn.Conv3d(3, 8, 3, stride=2, padding=1), input=Input((1, 3, 32, 32, 32)))
    >>> graph.outputs["output"].shape
    Size([1, 8, 16, 16, 16])
    """

    spatial = 3
    function = staticmethod(F.conv3d)


class _ConvTranspose(_Convolution):
    transposed = True
    function: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            dtype,
        )

    def forward(self, input: Tensor, output_size: int | Sequence[int | None] | None = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._output_padding(input, output_size)
        return type(self).function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        n = self.spatial
        wanted = tuple(output_size)[-n:]
        extra = []
        for axis, size in enumerate(tuple(input.shape)[-n:]):
            smallest = (
                (size - 1) * self.stride[axis]
                - 2 * self.padding[axis]
                + self.dilation[axis] * (self.kernel_size[axis] - 1)
                + 1
            )
            more = wanted[axis] - smallest
            if len(wanted) != n or not isinstance(more, int) or not 0 <= more < self.stride[axis]:
                raise ArgumentError(
                    f"{type(self).__name__} cannot give this output_size",
                    expected=f"{smallest} to {smallest + self.stride[axis] - 1} in dimension {axis + 2}",
                    found=output_size,
                )
            extra.append(more)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """The transpose of a convolution: each input element adds its multiple of the kernel to the output.

    `module(x, output_size=...)` chooses the output_padding that gives these sizes.

    Args:
        in_channels, out_channels: the sizes of the channels, both multiples of groups.
        kernel_size, stride, dilation: a number.
        padding: what is cut off on both sides, a number.
        output_padding: how much larger the output is at its end; below stride or dilation.
        groups: how many parts the channels are cut into, each with its own kernels.
        bias: whether there is one.
        padding_mode: "zeros" alone, as in torch.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (in_channels, out_channels / groups, kernel_size), bias (out_channels,).
    Shape: (N, in_channels, L) to (N, out_channels, L'), or both without N, with L' = (L - 1) * stride - 2 * padding +
        dilation * (kernel_size - 1) + output_padding + 1; float32, float16 or bfloat16, as the weight.
    Layers: one `deconvolution` over an image of height 1, between two `shuffle`.

    >>> graph = trtnet.record(nn.ConvTranspose1d(8, 3, 2, stride=2), input=Input((1, 8, 16)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 32])
    """

    spatial = 1
    function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """The transpose of a convolution: each input element adds its multiple of the kernel to the output.

    `module(x, output_size=...)` chooses the output_padding that gives these sizes.

    Args:
        in_channels, out_channels: the sizes of the channels, both multiples of groups.
        kernel_size, stride, dilation: a number, or (height, width).
        padding: what is cut off on both sides, a number, or (height, width).
        output_padding: how much larger the output is at its end; below stride or dilation.
        groups: how many parts the channels are cut into, each with its own kernels.
        bias: whether there is one.
        padding_mode: "zeros" alone, as in torch.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (in_channels, out_channels / groups, *kernel_size), bias (out_channels,).
    Shape: (N, in_channels, H, W) to (N, out_channels, H, W'), or both without N, with H' = (H - 1) * stride - 2 *
        padding + dilation * (kernel_size - 1) + output_padding + 1 and so on; float32, float16 or bfloat16, as the
        weight.
    Layers: one `deconvolution`.

    >>> graph = trtnet.record(nn.ConvTranspose2d(8, 3, 2, stride=2), input=Input((1, 8, 16, 16)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 32, 32])
    """

    spatial = 2
    function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """The transpose of a convolution: each input element adds its multiple of the kernel to the output.

    `module(x, output_size=...)` chooses the output_padding that gives these sizes.

    Args:
        in_channels, out_channels: the sizes of the channels, both multiples of groups.
        kernel_size, stride, dilation: a number, or (depth, height, width).
        padding: what is cut off on both sides, a number, or (depth, height, width).
        output_padding: how much larger the output is at its end; below stride or dilation.
        groups: how many parts the channels are cut into, each with its own kernels.
        bias: whether there is one.
        padding_mode: "zeros" alone, as in torch.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (in_channels, out_channels / groups, *kernel_size), bias (out_channels,).
    Shape: (N, in_channels, D, H, W) to (N, out_channels, D, H, W'), or both without N, with D' = (D - 1) * stride - 2
        * padding + dilation * (kernel_size - 1) + output_padding + 1 and so on; float32, float16 or bfloat16, as the
        weight.
    Layers: one `deconvolution`.

    >>> graph = trtnet.record(nn.ConvTranspose3d(8, 3, 2, stride=2), input=Input((1, 8, 16, 16, 16)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 32, 32, 32])
    """

    spatial = 3
    function = staticmethod(F.conv_transpose3d)
