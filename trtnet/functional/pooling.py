"""Pooling in one, two and three dimensions: max, average, adaptive, power-average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..basics.dims import Dim, SizeLike, divide_exactly, format_shape
from ..basics.errors import ArgumentError, ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.pooling import Pooling
from ..layers.reduction import Reduce
from ..layers.shaping import reshaped
from .arithmetic import maximum, mul
from .arithmetic import pow as power
from .convolution import batched, narrow, widen
from .dispatch import Ints, operation, tuple_of
from .joining import cat
from .padding import pad
from .shape import clone

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "max_pool1d", "max_pool2d", "max_pool3d",
]  # fmt: skip


def _windows(name: str, spatial: int, kernel: Ints, stride: Ints | None, padding: Ints) -> tuple[tuple[int, ...], ...]:
    window = tuple_of(kernel, spatial, "kernel_size")
    step = window if stride is None or stride == () or stride == [] else tuple_of(stride, spatial, "stride")
    before = tuple_of(padding, spatial, "padding")
    if min(window) < 1 or min(step) < 1:
        raise ArgumentError(
            f"kernel_size and stride of {name} are at least 1", found=f"kernel_size {window}, stride {step}"
        )
    if any(before) and (min(before) < 0 or any(2 * p > w for p, w in zip(before, window, strict=True))):
        raise ArgumentError(
            f"the padding of {name} is at most half of its kernel",
            expected=f"0 to {tuple(w // 2 for w in window)}",
            found=before,
        )
    return window, step, before


def _beyond(x: Tensor, extents: Sequence[int], step: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """What torch's `ceil_mode` pads behind each axis beyond the padding.

    Sizes are rounded up, but the last window starts inside the input or its left padding. That is a window more where
    `extra` elements complete it and are fewer than `extent - padding`; padding by the most that `extra` can be gives
    that number of windows at every size, as sizes are then rounded down.
    """
    beyond = []
    for axis, (extent, s, p) in enumerate(zip(extents, step, before, strict=True)):
        size = x.shape[axis + 2]
        extra = -(size + 2 * p - extent) % s
        if isinstance(extra, int):
            beyond.append(0 if extra >= extent - p else extra)
        else:
            beyond.append(min(s - 1, extent - p - 1))
    return tuple(beyond)


def _clipped(x: Tensor, window: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    """A window that is larger than a fixed, unpadded size, which ceil_mode allows, cut to it: TensorRT bounds
    windows."""
    sizes = x.shape[-len(window) :]
    return tuple(s if p == 0 and isinstance(s, int) and 0 < s < w else w for w, s, p in zip(window, sizes, before))


def _shaped(name: str, spatial: int, input: Tensor) -> tuple[Tensor, bool]:
    x, alone = batched(name, input, spatial)
    return (widen(x) if spatial == 1 else x), alone


def _finish(y: Tensor, spatial: int, alone: bool) -> Tensor:
    if spatial == 1:
        return reshaped(y, (y.shape[1], y.shape[3])) if alone else narrow(y)
    return reshaped(y, y.shape[1:]) if alone else y


def _without_indices(name: str, return_indices: bool) -> None:
    if return_indices:
        raise UnsupportedError(
            f"{name} gives no indices: TensorRT's pooling has none",
            found="return_indices=True",
            remedy="leave return_indices out; to unpool, resize with trtnet.functional.interpolate",
        )


# --- max --------------------------------------------------------------------------------------------------------------


def _max(
    spatial: int,
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    return_indices: bool,
) -> Tensor:
    name = f"max_pool{spatial}d"
    _without_indices(name, return_indices)
    window, step, before = _windows(name, spatial, kernel_size, stride, padding)
    dilations = tuple_of(dilation, spatial, "dilation")
    if min(dilations) < 1:
        raise ArgumentError(f"the dilation of {name} is at least 1", found=dilation)
    x, alone = _shaped(name, spatial, input)
    if spatial == 1:
        window, step, before, dilations = (1, *window), (1, *step), (0, *before), (1, *dilations)
    after = before
    if ceil_mode:
        extents = tuple(d * (w - 1) + 1 for d, w in zip(dilations, window, strict=True))
        beyond = _beyond(x, extents, step, before)
        after = tuple(p + b for p, b in zip(before, beyond, strict=True))
    if max(dilations) == 1 or all(d == 1 or w == 1 for d, w in zip(dilations, window, strict=True)):
        return _finish(emit(Pooling((x,), "MAX", window, step, before, after)), spatial, alone)
    return _finish(_dilated(name, x, window, step, before, after, dilations), spatial, alone)


def _dilated(
    name: str,
    x: Tensor,
    window: Sequence[int],
    step: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilations: Sequence[int],
) -> Tensor:
    """The largest of strided slices, one axis after the other: TensorRT's pooling has no dilation."""
    if any(before) or any(after):
        both = [p for side in zip(reversed(before), reversed(after), strict=True) for p in side]
        x = pad(x, both, value=float("-inf"))
    for axis, (count, s, d) in enumerate(zip(window, step, dilations, strict=True), 2):
        size = x.shape[axis] - d * (count - 1) - 1
        if (size if isinstance(size, int) else size.min) < 0:
            raise ShapeError(
                f"the dilated kernel of {name} is larger than its padded input",
                expected=f"at least {d * (count - 1) + 1} in dimension {axis}",
                found=format_shape(x.shape),
            )
        last = size // s * s
        everything = (slice(None),) * axis
        parts = [x[(*everything, slice(i * d, i * d + last + 1, s))] for i in range(count)]
        x = parts[0]
        for part in parts[1:]:
            x = maximum(x, part)
    return x


@operation()
def max_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest value of each window of (N, C, L) or (C, L).

    Layers of the example: `shuffle`, `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.max_pool1d(x, 2), x=trtnet.Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4])
    """
    return _max(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@operation()
def max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest value of each window of (N, C, H, W) or (C, H, W).

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.max_pool2d(x, 2), x=trtnet.Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4])
    """
    return _max(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@operation()
def max_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest value of each window of (N, C, D, H, W) or (C, D, H, W).

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.max_pool3d(x, 2), x=trtnet.Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4, 4])
    """
    return _max(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# --- average ----------------------------------------------------------------------------------------------------------


def _average(
    spatial: int,
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    name = f"avg_pool{spatial}d"
    window, step, before = _windows(name, spatial, kernel_size, stride, padding)
    if divisor is not None and (isinstance(divisor, bool) or not isinstance(divisor, int) or divisor == 0):
        raise ArgumentError(f"the divisor_override of {name} is a whole number other than 0", found=repr(divisor))
    x, alone = _shaped(name, spatial, input)
    if spatial == 1:
        window, step, before = (1, *window), (1, *step), (0, *before)
    if ceil_mode and divisor is None:
        window = _clipped(x, window, before)
    beyond = _beyond(x, window, step, before) if ceil_mode else (0,) * len(window)
    after = tuple(p + b for p, b in zip(before, beyond, strict=True))
    if divisor is not None:
        y = emit(Pooling((x,), "AVERAGE", window, step, before, after, False))
        count = 1
        for size in window:
            count *= size
        return _finish(y if count == divisor else mul(y, count / divisor), spatial, alone)
    if count_include_pad and any(beyond) and any(before):
        # torch counts the padding, but not what ceil_mode adds beyond it: the padding becomes part of the input
        both = [p for side in zip(reversed(before), reversed(before), strict=True) for p in side]
        x, before, after, count_include_pad = pad(x, both), (0,) * len(window), beyond, False
    excludes = not count_include_pad or (any(beyond) and not any(before))
    return _finish(emit(Pooling((x,), "AVERAGE", window, step, before, after, excludes)), spatial, alone)


@operation()
def avg_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of (N, C, L) or (C, L).

    Layers of the example: `shuffle`, `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.avg_pool1d(x, 2), x=trtnet.Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4])
    """
    return _average(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@operation()
def avg_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (N, C, H, W) or (C, H, W).

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.avg_pool2d(x, 2), x=trtnet.Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4])
    """
    return _average(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@operation()
def avg_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (N, C, D, H, W) or (C, D, H, W).

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.avg_pool3d(x, 2), x=trtnet.Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4, 4])
    """
    return _average(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


# --- power average ----------------------------------------------------------------------------------------------------


def _power(
    spatial: int, input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None, ceil_mode: bool
) -> Tensor:
    count = 1
    for size in tuple_of(kernel_size, spatial, "kernel_size"):
        count *= size
    mean = _average(spatial, power(input, norm_type), kernel_size, stride, 0, ceil_mode, True, None)
    return power(mul(mean, float(count)), 1.0 / norm_type)


@operation()
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """The norm of order `norm_type` of each window of (N, C, L) or (C, L).

    Layers of the example: `elementwise`, `shuffle`, `pooling`, `constant`, `unary`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.lp_pool1d(x, 2, 2), x=trtnet.Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4])
    """
    return _power(1, input, norm_type, kernel_size, stride, ceil_mode)


@operation()
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """The norm of order `norm_type` of each window of (N, C, H, W) or (C, H, W).

    Layers of the example: `elementwise`, `pooling`, `constant`, `unary`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.lp_pool2d(x, 2, 2), x=trtnet.Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4])
    """
    return _power(2, input, norm_type, kernel_size, stride, ceil_mode)


@operation()
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """The norm of order `norm_type` of each window of (N, C, D, H, W) or (C, D, H, W).

    Layers of the example: `elementwise`, `pooling`, `constant`, `unary`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.lp_pool3d(x, 2, 2), x=trtnet.Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 4, 4])
    """
    return _power(3, input, norm_type, kernel_size, stride, ceil_mode)


# --- adaptive ---------------------------------------------------------------------------------------------------------


def _adaptive(operation: str, spatial: int, input: Tensor, output_size: Any) -> Tensor:
    name = f"adaptive_{'avg' if operation == 'AVG' else 'max'}_pool{spatial}d"
    x, alone = batched(name, input, spatial)
    wanted = list(output_size) if isinstance(output_size, (tuple, list)) else [output_size] * spatial
    wanted = wanted * spatial if len(wanted) == 1 else wanted
    if len(wanted) != spatial or any(
        w is not None and (isinstance(w, bool) or not isinstance(w, (int, Dim)) or (isinstance(w, int) and w < 1))
        for w in wanted
    ):
        raise ArgumentError(
            f"the output_size of {name} is {spatial} whole numbers, at least 1, or None", found=repr(output_size)
        )
    # the windows are boxes, so that each axis can be done on its own
    whole = tuple(axis for axis, size in enumerate(wanted, 2) if size == 1 and x.shape[axis] != 1)
    y = emit(Reduce((x,), operation, whole, True)) if whole else x
    window = [1] * spatial
    for axis, size in enumerate(wanted, 2):
        present = y.shape[axis]
        if size is None or size == present or axis in whole:
            continue
        if isinstance(size, Dim):
            raise _dynamic(name, size, y)
        if isinstance(present, int) and present % size == 0:
            window[axis - 2] = present // size
    if any(w != 1 for w in window):
        wide = widen(y) if spatial == 1 else y
        windows = (1, *window) if spatial == 1 else tuple(window)
        none = (0,) * len(windows)
        y = emit(Pooling((wide,), "AVERAGE" if operation == "AVG" else "MAX", windows, windows, none, none))
        y = narrow(y) if spatial == 1 else y
    for axis, size in enumerate(wanted, 2):
        if size is not None and y.shape[axis] != size:
            y = _uneven(name, operation, y, axis, size)
    if y is x and not alone:
        return clone(x)
    return reshaped(y, y.shape[1:]) if alone else y


def _uneven(name: str, operation: str, x: Tensor, axis: int, size: int) -> Tensor:
    present = x.shape[axis]
    if isinstance(present, Dim):
        each = divide_exactly(present, size)
        if each is None:
            raise _dynamic(name, size, x)
        split = reshaped(x, (*x.shape[:axis], size, each, *x.shape[axis + 1 :]))
        return emit(Reduce((split,), operation, (axis + 1,), False))
    before = (slice(None),) * axis
    windows = [x[(*before, slice(i * present // size, -(-(i + 1) * present // size)))] for i in range(size)]
    return cat([emit(Reduce((w,), operation, (axis,), True)) for w in windows], axis)


def _dynamic(name: str, size: SizeLike | Sequence[SizeLike], x: Tensor) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: the windows of a dynamic size must be equal",
        expected=f"sizes that are divisible by output_size {size}",
        found=format_shape(x.shape),
        remedy=f"say so with Dim(..., multiple_of={size}), use output_size 1, or fix the size",
    )


@operation()
def adaptive_avg_pool1d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """(N, C, L), or (C, L), to (N, C, output_size) by means.

    Layers of the example: `shuffle`, `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.adaptive_avg_pool1d(x, 2), x=trtnet.Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2])
    """
    return _adaptive("AVG", 1, input, output_size)


@operation()
def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """(N, C, H, W), or (C, H, W), to (N, C, *output_size) by means; None keeps a size, a dynamic one must divide.

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.adaptive_avg_pool2d(x, 2), x=trtnet.Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2, 2])
    """
    return _adaptive("AVG", 2, input, output_size)


@operation()
def adaptive_avg_pool3d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """(N, C, D, H, W), or (C, D, H, W), to (N, C, *output_size) by means.

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.adaptive_avg_pool3d(x, 2), x=trtnet.Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2, 2, 2])
    """
    return _adaptive("AVG", 3, input, output_size)


@operation()
def adaptive_max_pool1d(
    input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Tensor:
    """(N, C, L), or (C, L), to (N, C, output_size) by maxima.

    Layers of the example: `shuffle`, `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.adaptive_max_pool1d(x, 2), x=trtnet.Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2])
    """
    _without_indices("adaptive_max_pool1d", return_indices)
    return _adaptive("MAX", 1, input, output_size)


@operation()
def adaptive_max_pool2d(
    input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Tensor:
    """(N, C, H, W), or (C, H, W), to (N, C, *output_size) by maxima.

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.adaptive_max_pool2d(x, 2), x=trtnet.Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2, 2])
    """
    _without_indices("adaptive_max_pool2d", return_indices)
    return _adaptive("MAX", 2, input, output_size)


@operation()
def adaptive_max_pool3d(
    input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Tensor:
    """(N, C, D, H, W), or (C, D, H, W), to (N, C, *output_size) by maxima.

    Layers of the example: `pooling`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.adaptive_max_pool3d(x, 2), x=trtnet.Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 2, 2, 2])
    """
    _without_indices("adaptive_max_pool3d", return_indices)
    return _adaptive("MAX", 3, input, output_size)
