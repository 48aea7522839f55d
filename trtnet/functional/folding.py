"""Sliding windows as columns, and columns summed back: by indices, so that a NaN reaches its own windows alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..basics.dims import Dim, SizeLike, format_shape
from ..basics.errors import ArgumentError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.base import require_at_least, require_floating
from ..layers.gather import Gather
from ..layers.reduction import Reduce
from .arithmetic import add, floor_divide, mul, remainder, sub
from .comparison import clamp, eq, ge, logical_and, lt, where
from .creation import arange
from .dispatch import Ints, operation, tensor, tuple_of
from .padding import pad
from .shape import reshape, size_of, transposed, unsqueeze

__all__ = ["fold", "unfold"]

_Pair = tuple[int, ...]


def _windows(kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints) -> tuple[_Pair, _Pair, _Pair, _Pair]:
    kernel, d, p, s = (
        tuple_of(v, 2, n)
        for v, n in (
            (kernel_size, "kernel_size"),
            (dilation, "dilation"),
            (padding, "padding"),
            (stride, "stride"),
        )
    )
    if min(*kernel, *d, *s) < 1 or min(p) < 0:
        raise ArgumentError(
            "kernel_size, dilation and stride are at least 1, padding at least 0",
            found=f"kernel_size {kernel}, dilation {d}, padding {p}, stride {s}",
        )
    return kernel, d, p, s


def _count(size: SizeLike, kernel: int, dilation: int, stride: int) -> SizeLike:
    """How many windows a padded dimension has."""
    reach = dilation * (kernel - 1) + 1
    require_at_least(size, reach, f"a window of {reach} does not fit into a padded size of {size}")
    return (size - reach) // stride + 1


@operation()
def unfold(input: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Tensor:
    """The windows of (N, C, H, W) or (C, H, W) as columns: (N, C * h * w, windows).

    Layers of the example: `constant`, `gather`, `shuffle`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.unfold(x, 2, stride=2), x=trtnet.Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 12, 16])
    """
    x = tensor(input)
    require_floating("unfold", x)
    if len(x.shape) not in (3, 4):
        raise ShapeError("unfold takes images", expected="(N, C, H, W) or (C, H, W)", found=format_shape(x.shape))
    kernel, d, p, s = _windows(kernel_size, dilation, padding, stride)
    if any(p):
        x = pad(x, (p[1], p[1], p[0], p[0]))
    front, counts = tuple(x.shape[:-2]), []
    for i in (0, 1):  # (..., H, W) to (..., h, rows, W) to (..., h, rows, w, columns)
        axis = len(front) + 2 * i
        counts.append(_count(x.shape[axis], kernel[i], d[i], s[i]))
        at = add(mul(unsqueeze(arange(kernel[i]), 1), d[i]), mul(unsqueeze(arange(counts[i]), 0), s[i]))
        x = emit(Gather((x, tensor(at)), axis=axis))
    before, end = range(len(front)), len(front)
    x = transposed(x, (*before, end, end + 2, end + 1, end + 3))
    return reshape(x, (*front[:-1], front[-1] * prod(kernel), counts[0] * counts[1]))


@operation()
def fold(
    input: Tensor,
    output_size: SizeLike | Sequence[SizeLike],
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Ints = 0,
    stride: Ints = 1,
) -> Tensor:
    """Columns (N, C * h * w, windows) summed into images (N, C, *output_size): unfold's transpose.

    Layers of the example: `shuffle`, `constant`, `gather`, `select`, `reduce`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.fold(x, (8, 8), 2, stride=2), x=trtnet.Input((1, 12, 16)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """
    x = tensor(input)
    require_floating("fold", x)
    kernel, d, p, s = _windows(kernel_size, dilation, padding, stride)
    window = prod(kernel)
    if len(x.shape) not in (2, 3) or not isinstance(x.shape[-2], int) or x.shape[-2] % window:
        raise ShapeError(
            "fold takes columns of whole windows", expected=f"(N, C * {window}, windows)", found=format_shape(x.shape)
        )
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    sizes: tuple[SizeLike, ...] = tuple(size_of(v) for v in given)
    counts = [_count(size + 2 * p[i], kernel[i], d[i], s[i]) for i, size in enumerate(sizes)]
    channels = x.shape[-2] // window
    front = (*x.shape[:-2], channels)
    x = reshape(x, (*front, *kernel, *counts))
    before, end = tuple(range(len(front))), len(front)
    x = transposed(x, (*before, end, end + 2, end + 1, end + 3))  # (..., h, rows, w, columns)
    x = reshape(x, (*front, kernel[0] * counts[0], kernel[1] * counts[1]))
    for i in (0, 1):
        x = _summed(x, len(front) + i, sizes[i], counts[i], (kernel[i], d[i], p[i], s[i]))
    return x


def _summed(x: Tensor, axis: int, size: SizeLike, count: SizeLike, window: _Pair) -> Tensor:
    """The dimension of kernel * count elements, each added where its window lies in one of `size`."""
    kernel, dilation, padding, stride = window
    places, within = unsqueeze(arange(size), 0), unsqueeze(arange(kernel), 1)
    if isinstance(count, Dim):
        within = tensor(within)
    start = sub(add(places, padding), mul(within, dilation))
    number = floor_divide(start, stride)
    hit = logical_and(ge(start, 0), logical_and(lt(number, count), eq(remainder(start, stride), 0)))
    index = add(clamp(number, 0, count - 1), mul(within, count))
    found = emit(Gather((x, tensor(index)), axis=axis))
    behind = (1,) * (len(x.shape) - axis - 1)
    found = where(reshape(hit, (kernel, size, *behind)), found, 0.0)
    made: Tensor = emit(Reduce((found,), "SUM", (axis,), False))
    return made
