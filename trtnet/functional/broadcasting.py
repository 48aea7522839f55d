"""Sizes that grow without new elements: expand, broadcast, repeat. Names, signatures and defaults as torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..basics.dims import Size, SizeLike, format_shape
from ..basics.errors import ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.base import require_equal
from ..layers.constant import constant
from ..layers.shaping import Slice, expanded, reshaped
from .dispatch import Sizes, operation, tensor
from .shape import has_dims, not_negative, sizes_of

__all__ = [
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "expand",
    "expand_as",
    "repeat",
    "tile",
]


def _expansion(shape: tuple[SizeLike, ...], sizes: tuple[SizeLike, ...]) -> tuple[SizeLike, ...]:
    missing = len(sizes) - len(shape)
    if missing < 0:
        raise ShapeError(
            "expand takes at least as many sizes as there are dimensions",
            expected=len(shape),
            found=format_shape(sizes),
        )
    target: list[SizeLike] = []
    for axis, size in enumerate(sizes):
        kept = isinstance(size, int) and size == -1
        if axis < missing:
            if kept:
                raise ShapeError("-1 keeps a size, and a new dimension has none", found=format_shape(sizes))
            target.append(size)
            continue
        old = shape[axis - missing]
        if kept or size == old:
            target.append(old)
        elif isinstance(old, int) and old == 1:
            target.append(size)
        else:
            problem = f"only dimensions of size 1 can be expanded: {format_shape(shape)} to {format_shape(sizes)}"
            if isinstance(old, int) and isinstance(size, int):
                raise ShapeError(problem, expected=f"{old}, or -1, in dimension {axis}", found=size)
            require_equal(old, size, problem)
            target.append(old)
    not_negative(tuple(target))
    return tuple(target)


def _expand_numpy(input: np.ndarray, *size: Sizes) -> np.ndarray | Tensor:
    sizes = sizes_of(size)
    if has_dims(sizes):
        return expand(constant(input), sizes)
    shape = tuple(int(size) for size in _expansion(input.shape, sizes))
    new = len(shape) - input.ndim
    strides = [
        0 if old == 1 and size != 1 else step for old, size, step in zip(input.shape, shape[new:], input.strides)
    ]
    for axis in reversed(range(new)):
        behind = shape[axis + 1] * strides[0] if strides else input.itemsize
        strides.insert(0, behind if shape[axis] == 1 else 0)
    return np.lib.stride_tricks.as_strided(input, shape, strides)


@operation(_expand_numpy, method=True, view=True)
def expand(input: Tensor, *size: Sizes) -> Tensor:
    """Dimensions of size 1 repeated, without a copy; -1 keeps a size; new dimensions come first.

    >>> trtnet.tensor([[1.0], [2.0]]).expand(2, 3).tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    x = tensor(input)
    return expanded(x, _expansion(x.shape, sizes_of(size)))


def _expand_as_numpy(input: np.ndarray, other: np.ndarray) -> np.ndarray | Tensor:
    return _expand_numpy(input, tuple(other.shape))


@operation(_expand_as_numpy, method=True, view=True)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`.

    >>> trtnet.tensor([[1.0], [2.0]]).expand_as(trtnet.zeros(2, 3)).tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    return expand(input, tuple(other.shape))


def _broadcast_to_numpy(input: np.ndarray, size: SizeLike | Sequence[SizeLike]) -> np.ndarray | Tensor:
    return _expand_numpy(input, size)


@operation(_broadcast_to_numpy, method=True, view=True)
def broadcast_to(input: Tensor, size: SizeLike | Sequence[SizeLike]) -> Tensor:
    """As `expand`.

    Layers of the example: `shuffle`, `slice`.

    >>> trtnet.broadcast_to(trtnet.tensor([1.0, 2.0]), (2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    return expand(input, size)


def broadcast_shapes(*shapes: Sequence[SizeLike]) -> Size:
    """The shape that shapes have in common when broadcast.

    >>> trtnet.broadcast_shapes((2, 1), (3,))
    Size([2, 3])
    """
    rank = max((len(s) for s in shapes), default=0)
    result: list[SizeLike] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            known = result[axis]
            if isinstance(known, int) and known == 1:
                result[axis] = size
            elif size != known and not (isinstance(size, int) and size == 1):
                problem = f"shapes that cannot be broadcast: {' and '.join(format_shape(s) for s in shapes)}"
                if not has_dims(size, known):
                    raise ShapeError(problem)
                require_equal(known, size, problem)
    return Size(result)


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """All tensors expanded to the shape that they have in common.

    >>> [x.tolist() for x in trtnet.broadcast_tensors(trtnet.tensor([1.0, 2.0]), trtnet.tensor([[3.0]]))]
    [[[1.0, 2.0]], [[3.0, 3.0]]]
    """
    shape = broadcast_shapes(*(x.shape for x in tensors))
    return tuple(x if x.shape == shape else expand(x, tuple(shape)) for x in tensors)


def _repetition(
    shape: tuple[SizeLike, ...], repeats: tuple[SizeLike, ...]
) -> tuple[tuple[SizeLike, ...], tuple[SizeLike, ...]]:
    missing = len(repeats) - len(shape)
    if missing < 0:
        raise ShapeError(
            "repeat takes a number for each dimension at least", expected=len(shape), found=format_shape(repeats)
        )
    not_negative(repeats)
    before = (1,) * missing + tuple(shape)
    return before, tuple(size * times for size, times in zip(before, repeats))


def _repeat_numpy(input: np.ndarray, *repeats: Sizes) -> np.ndarray | Tensor:
    times = sizes_of(repeats)
    if has_dims(times):
        return repeat(constant(input), times)
    _repetition(input.shape, times)
    return np.tile(input, times)  # type: ignore[arg-type]


@operation(_repeat_numpy, method=True)
def repeat(input: Tensor, *repeats: Sizes) -> Tensor:
    """The whole tensor side by side, `repeats[i]` times in dimension i; new dimensions come first.

    >>> trtnet.tensor([1.0, 2.0]).repeat(2, 2).tolist()
    [[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]
    """
    x = tensor(input)
    before, target = _repetition(x.shape, sizes_of(repeats))
    x = reshaped(x, before)
    if all(a == b or (isinstance(a, int) and a == 1) for a, b in zip(before, target)):
        return expanded(x, target)
    return emit(Slice((x,), start=(0,) * x.ndim, shape=Size(target), stride=(1,) * x.ndim, mode="WRAP"))


def _tiled(rank: int, dims: tuple[Sizes, ...]) -> tuple[SizeLike, ...]:
    times = sizes_of(dims)
    return (1,) * (rank - len(times)) + times


@operation(lambda input, *dims: _repeat_numpy(input, _tiled(input.ndim, dims)), method=True)
def tile(input: Tensor, *dims: Sizes) -> Tensor:
    """As `repeat`, with ones in front where fewer numbers than dimensions are given.

    Layers of the example: `slice`.

    >>> trtnet.tile(trtnet.tensor([1.0, 2.0]), (2,)).tolist()
    [1.0, 2.0, 1.0, 2.0]
    """
    return repeat(input, _tiled(input.ndim, dims))
