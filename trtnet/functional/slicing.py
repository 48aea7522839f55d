"""Parts of tensors: slices of which the bounds are worked out."""

from __future__ import annotations

from collections.abc import Sequence

from ..basics.dims import Size, SizeLike, maximum, minimum
from ..basics.errors import ArgumentError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.shaping import Slice


def clamped(bound: SizeLike, size: SizeLike) -> SizeLike:
    """A bound of a slice from 0, within the dimension, as Python's slices have it."""
    low, high = (bound, bound) if isinstance(bound, int) else bound.bounds
    if low >= 0:
        return minimum(bound, size)
    if high <= 0:
        from_end = maximum(size + bound, 0)
        return from_end if high < 0 else from_end * minimum(-bound, 1)  # -0 is 0, the first place
    raise ArgumentError(
        "the bound of a slice must be positive or negative at all sizes", found=f"{bound} in {low}..{high}"
    )


def sliced(x: Tensor, start: Sequence[SizeLike], size: Sequence[SizeLike], step: Sequence[SizeLike]) -> Tensor:
    """Record a slice; `x` itself where it is whole."""
    shape, stride = Size(size), tuple(step)
    if shape == x.shape and stride.count(1) == len(stride):
        return x
    return emit(Slice((x,), tuple(start), shape, stride))


def part(x: Tensor, axis: int, start: SizeLike, size: SizeLike, step: int = 1) -> Tensor:
    """Record a slice of one dimension."""
    rank = x.ndim
    return sliced(
        x,
        (0,) * axis + (start,) + (0,) * (rank - axis - 1),
        (*x.shape[:axis], size, *x.shape[axis + 1 :]),
        (1,) * axis + (step,) + (1,) * (rank - axis - 1),
    )
