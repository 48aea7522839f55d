"""Pooling: max, average, adaptive, power-average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..basics.errors import UnsupportedError
from ..functional import pooling as F
from ..functional.dispatch import Ints
from ..graph.tensor import Tensor
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip


class _MaxPool(Module):
    function: Any

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest value of each window.

    Args:
        kernel_size: the window's size: a number.
        stride: the steps between windows, a number; kernel_size unless given.
        padding: minus infinity on both sides, at most half a window.
        dilation: 1, or the steps within a window.
        return_indices: True raises UnsupportedError: TensorRT's pooling gives none.
        ceil_mode: whether windows may go over the end.

    Shape: (N, C, L) to (N, C, L'), or both without N, with L' = floor((L + 2 * padding - kernel_size) / stride) + 1
        (rounded up by ceil_mode); float32, float16 or bfloat16.
    Layers: one `pooling` (MAX), between two `shuffle`; a dilation or ceil_mode may add `slice` and `padding`.

    >>> graph = trtnet.record(nn.MaxPool1d(2), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4])
    """

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest value of each window.

    Args:
        kernel_size: the window's size: a number, or (height, width).
        stride: the steps between windows, a number, or (height, width); kernel_size unless given.
        padding: minus infinity on both sides, at most half a window.
        dilation: 1, or the steps within a window.
        return_indices: True raises UnsupportedError: TensorRT's pooling gives none.
        ceil_mode: whether windows may go over the end.

    Shape: (N, C, H, W) to (N, C, H', W'), or both without N, with H' = floor((H + 2 * padding - kernel_size) /
        stride) + 1 and so on (rounded up by ceil_mode); float32, float16 or bfloat16.
    Layers: one `pooling` (MAX); a dilation or ceil_mode may add `slice` and `padding`.

    >>> graph = trtnet.record(nn.MaxPool2d(2), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4])
    """

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest value of each window.

    Args:
        kernel_size: the window's size: a number, or (depth, height, width).
        stride: the steps between windows, a number, or (depth, height, width); kernel_size unless given.
        padding: minus infinity on both sides, at most half a window.
        dilation: 1, or the steps within a window.
        return_indices: True raises UnsupportedError: TensorRT's pooling gives none.
        ceil_mode: whether windows may go over the end.

    Shape: (N, C, D, H, W) to (N, C, D', H', W'), or both without N, with D' = floor((D + 2 * padding - kernel_size) /
        stride) + 1 and so on (rounded up by ceil_mode); float32, float16 or bfloat16.
    Layers: one `pooling` (MAX); a dilation or ceil_mode may add `slice` and `padding`.

    >>> graph = trtnet.record(nn.MaxPool3d(2), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4, 4])
    """

    function = staticmethod(F.max_pool3d)


class _AvgPool(Module):
    function: Any

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window.

    Args:
        kernel_size: the window's size: a number.
        stride: the steps between windows, a number; kernel_size unless given.
        padding: zeros on both sides, at most half a window.
        ceil_mode: whether windows may go over the end.
        count_include_pad: whether the padding's zeros count in the mean.

    Shape: (N, C, L) to (N, C, L'), or both without N, with L' = floor((L + 2 * padding - kernel_size) / stride) + 1
        (rounded up by ceil_mode); float32, float16 or bfloat16.
    Layers: one `pooling` (AVERAGE), between two `shuffle`; the less common arguments add `padding`, `elementwise` and
        `constant`.

    >>> graph = trtnet.record(nn.AvgPool1d(2), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4])
    """

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        stride = stride if stride is not None else kernel_size
        size, step, side = (tuple(v) if isinstance(v, (tuple, list)) else (v,) for v in (kernel_size, stride, padding))
        super().__init__(size, step, side, ceil_mode, count_include_pad)

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window.

    Args:
        kernel_size: the window's size: a number, or (height, width).
        stride: the steps between windows, a number, or (height, width); kernel_size unless given.
        padding: zeros on both sides, at most half a window.
        ceil_mode: whether windows may go over the end.
        count_include_pad: whether the padding's zeros count in the mean.
        divisor_override: what the window's sum is divided by, in place of its size.

    Shape: (N, C, H, W) to (N, C, H', W'), or both without N, with H' = floor((H + 2 * padding - kernel_size) /
        stride) + 1 and so on (rounded up by ceil_mode); float32, float16 or bfloat16.
    Layers: one `pooling` (AVERAGE); the less common arguments add `padding`, `elementwise` and `constant`.

    >>> graph = trtnet.record(nn.AvgPool2d(2), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4])
    """

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window.

    Args:
        kernel_size: the window's size: a number, or (depth, height, width).
        stride: the steps between windows, a number, or (depth, height, width); kernel_size unless given.
        padding: zeros on both sides, at most half a window.
        ceil_mode: whether windows may go over the end.
        count_include_pad: whether the padding's zeros count in the mean.
        divisor_override: what the window's sum is divided by, in place of its size.

    Shape: (N, C, D, H, W) to (N, C, D', H', W'), or both without N, with D' = floor((D + 2 * padding - kernel_size) /
        stride) + 1 and so on (rounded up by ceil_mode); float32, float16 or bfloat16.
    Layers: one `pooling` (AVERAGE); the less common arguments add `padding`, `elementwise` and `constant`.

    >>> graph = trtnet.record(nn.AvgPool3d(2), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4, 4])
    """

    function = staticmethod(F.avg_pool3d)


class _AdaptiveAvgPool(Module):
    function: Any

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of windows that are chosen so that the output has the given size.

    Args:
        output_size: a number.

    Shape: (N, C, L) to (N, C, output_size), or both without N; static sizes, unless the output's are 1; float32,
        float16 or bfloat16.
    Layers: one `pooling` (AVERAGE) where the windows are equal, one `reduce` where the output's sizes are 1; else
        `slice` and `reduce` for each part, joined by `concatenation`; `shuffle`.

    >>> graph = trtnet.record(nn.AdaptiveAvgPool1d(1), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 1])
    """

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of windows that are chosen so that the output has the given size.

    Args:
        output_size: a number, or (height, width), in which None keeps a size.

    Shape: (N, C, H, W) to (N, C, *output_size), or both without N; static sizes, unless the output's are 1; float32,
        float16 or bfloat16.
    Layers: one `pooling` (AVERAGE) where the windows are equal, one `reduce` where the output's sizes are 1; else
        `slice` and `reduce` for each part, joined by `concatenation`.

    >>> graph = trtnet.record(nn.AdaptiveAvgPool2d(1), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 1, 1])
    """

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of windows that are chosen so that the output has the given size.

    Args:
        output_size: a number, or (depth, height, width), in which None keeps a size.

    Shape: (N, C, D, H, W) to (N, C, *output_size), or both without N; static sizes, unless the output's are 1;
        float32, float16 or bfloat16.
    Layers: one `pooling` (AVERAGE) where the windows are equal, one `reduce` where the output's sizes are 1; else
        `slice` and `reduce` for each part, joined by `concatenation`.

    >>> graph = trtnet.record(nn.AdaptiveAvgPool3d(1), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 1, 1, 1])
    """

    function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    def __init__(self, output_size: int | Sequence[int | None] | None, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of windows that are chosen so that the output has the given size.

    Args:
        output_size: a number.
        return_indices: True raises UnsupportedError: TensorRT's pooling gives none.

    Shape: (N, C, L) to (N, C, output_size), or both without N; static sizes, unless the output's are 1; float32,
        float16 or bfloat16.
    Layers: one `pooling` (MAX) where the windows are equal, one `reduce` where the output's sizes are 1; else `slice`
        and `reduce` for each part, joined by `concatenation`; `shuffle`.

    >>> graph = trtnet.record(nn.AdaptiveMaxPool1d(2), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2])
    """

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of windows that are chosen so that the output has the given size.

    Args:
        output_size: a number, or (height, width), in which None keeps a size.
        return_indices: True raises UnsupportedError: TensorRT's pooling gives none.

    Shape: (N, C, H, W) to (N, C, *output_size), or both without N; static sizes, unless the output's are 1; float32,
        float16 or bfloat16.
    Layers: one `pooling` (MAX) where the windows are equal, one `reduce` where the output's sizes are 1; else `slice`
        and `reduce` for each part, joined by `concatenation`.

    >>> graph = trtnet.record(nn.AdaptiveMaxPool2d(2), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2, 2])
    """

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of windows that are chosen so that the output has the given size.

    Args:
        output_size: a number, or (depth, height, width), in which None keeps a size.
        return_indices: True raises UnsupportedError: TensorRT's pooling gives none.

    Shape: (N, C, D, H, W) to (N, C, *output_size), or both without N; static sizes, unless the output's are 1;
        float32, float16 or bfloat16.
    Layers: one `pooling` (MAX) where the windows are equal, one `reduce` where the output's sizes are 1; else `slice`
        and `reduce` for each part, joined by `concatenation`.

    >>> graph = trtnet.record(nn.AdaptiveMaxPool3d(2), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2, 2, 2])
    """

    function = staticmethod(F.adaptive_max_pool3d)


class _LPPool(Module):
    function: Any

    def __init__(
        self, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """sum(x ** p) ** (1 / p) of each window, with p = norm_type.

    Args:
        norm_type: p, the order of the norm.
        kernel_size: the window's size: a number.
        stride: the steps between windows, a number; kernel_size unless given.
        ceil_mode: whether windows may go over the end.

    Shape: (N, C, L) to (N, C, L'), or both without N, with L' = floor((L - kernel_size) / stride) + 1; float32,
        float16 or bfloat16.
    Layers: `pooling` (AVERAGE) of a power: `elementwise`, `constant`, `unary`, `shuffle`.

    >>> graph = trtnet.record(nn.LPPool1d(2, 2), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4])
    """

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """sum(x ** p) ** (1 / p) of each window, with p = norm_type.

    Args:
        norm_type: p, the order of the norm.
        kernel_size: the window's size: a number, or (height, width).
        stride: the steps between windows, a number, or (height, width); kernel_size unless given.
        ceil_mode: whether windows may go over the end.

    Shape: (N, C, H, W) to (N, C, H', W'), or both without N, with H' = floor((H - kernel_size) / stride) + 1 and so
        on; float32, float16 or bfloat16.
    Layers: `pooling` (AVERAGE) of a power: `elementwise`, `constant`, `unary`.

    >>> graph = trtnet.record(nn.LPPool2d(2, 2), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4])
    """

    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """sum(x ** p) ** (1 / p) of each window, with p = norm_type.

    Args:
        norm_type: p, the order of the norm.
        kernel_size: the window's size: a number, or (depth, height, width).
        stride: the steps between windows, a number, or (depth, height, width); kernel_size unless given.
        ceil_mode: whether windows may go over the end.

    Shape: (N, C, D, H, W) to (N, C, D', H', W'), or both without N, with D' = floor((D - kernel_size) / stride) + 1
        and so on; float32, float16 or bfloat16.
    Layers: `pooling` (AVERAGE) of a power: `elementwise`, `constant`, `unary`.

    >>> graph = trtnet.record(nn.LPPool3d(2, 2), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4, 4])
    """

    function = staticmethod(F.lp_pool3d)


class MaxUnpool1d(Module):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.MaxUnpool1d(2)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    resize with Upsample or trtnet.functional.interpolate
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError(
            f"{type(self).__name__} is not in trtnet: TensorRT's pooling gives no indices",
            remedy="resize with Upsample or trtnet.functional.interpolate",
        )


class MaxUnpool2d(MaxUnpool1d):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.MaxUnpool2d(2)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    resize with Upsample or trtnet.functional.interpolate
    """


class MaxUnpool3d(MaxUnpool1d):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.MaxUnpool3d(2)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    resize with Upsample or trtnet.functional.interpolate
    """
