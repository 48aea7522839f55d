"""Tensors put together and taken apart. Names, signatures and defaults as torch's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..basics.dims import Dim, SizeLike, divide_exactly, format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError, UnsupportedError, shown
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from ..layers.base import require_equal
from ..layers.casting import Identity
from ..layers.constant import constant
from ..layers.shaping import Concatenation, Slice, reshaped
from .concrete import promoted
from .dispatch import Axes, axes_of, axis_of, common_type, operation, refusing, tensor, typed
from .shape import atleast_1d, atleast_2d, atleast_3d, has_dims, size_of, sizes_of, transposed, unsqueeze
from .slicing import clamped, part

__all__ = [
    "cat",
    "chunk",
    "column_stack",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "flip",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "meshgrid",
    "roll",
    "rot90",
    "row_stack",
    "split",
    "split_with_sizes",
    "stack",
    "tensor_split",
    "vsplit",
    "vstack",
]

# --- together ---------------------------------------------------------------------------------------------------------


def _checked(tensors: Any, name: str) -> list[Any]:
    if isinstance(tensors, Tensor) or not isinstance(tensors, Sequence):
        raise ArgumentTypeError(f"{name} takes a list or tuple of tensors", found=shown(tensors))
    if not tensors:
        raise ArgumentError(f"{name} of no tensors", expected="one or more")
    return list(tensors)


def _cat_numpy(tensors: Any, dim: int = 0, *, axis: int | None = None) -> np.ndarray:
    arrays = promoted(*_checked(tensors, "cat"))
    # torch's old rule: an empty vector joins anything
    kept = [a for a in arrays if a.shape != (0,)] or arrays
    return np.concatenate(kept, axis_of(dim if axis is None else axis, kept[0].ndim))


@operation(_cat_numpy)
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of the same sizes but for `dim`, one after the other, promoted to one dtype.

    Layers of the example: `concatenation`.

    >>> trtnet.cat([trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """
    parts = _checked(tensors, "cat")
    if any(p.dtype is not parts[0].dtype for p in parts):
        dtype = common_type("cat", *parts)
        parts = [typed(p, dtype, p.ndim) for p in parts]
    parts = [p for p in parts if tuple(p.shape) != (0,)] or parts
    if any(p.ndim == 0 for p in parts):
        raise ShapeError(
            "tensors without dimensions cannot be concatenated", remedy="use trtnet.stack, or x.reshape(1)"
        )
    at = axis_of(dim if axis is None else axis, parts[0].ndim)
    if len(parts) == 1:
        return tensor(parts[0])
    return emit(Concatenation(tuple(tensor(p) for p in parts), at))


@refusing
def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As `cat`.

    >>> trtnet.concat([trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """
    return cat(tensors, dim)


@refusing
def concatenate(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """As `cat`.

    >>> trtnet.concatenate([trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """
    return cat(tensors, dim, axis=axis)


def _stack_numpy(tensors: Any, dim: int = 0) -> np.ndarray:
    arrays = promoted(*_checked(tensors, "stack"))
    return np.stack(arrays, axis_of(dim, arrays[0].ndim + 1))


@operation(_stack_numpy)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side in a new dimension.

    Layers of the example: `shuffle`, `concatenation`.

    >>> trtnet.stack([trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0, 4.0])], dim=1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    parts = _checked(tensors, "stack")
    axis = axis_of(dim, parts[0].ndim + 1)
    for p in parts:
        if len(p.shape) != len(parts[0].shape):
            raise ShapeError(
                "stack takes tensors of one shape", expected=format_shape(parts[0].shape), found=format_shape(p.shape)
            )
    return cat([unsqueeze(tensor(p), axis) for p in parts], axis)


@refusing
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenation along the second dimension, of vectors along the first.

    Layers of the example: `concatenation`.

    >>> trtnet.hstack([trtnet.tensor([1.0]), trtnet.tensor([2.0, 3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """
    parts = [atleast_1d(x) for x in _checked(tensors, "hstack")]
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


@refusing
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenation along the first dimension; vectors are rows.

    Layers of the example: `shuffle`, `concatenation`.

    >>> trtnet.vstack([trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0, 4.0])]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    return cat([atleast_2d(x) for x in _checked(tensors, "vstack")], 0)


row_stack = vstack


@refusing
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenation along the third dimension.

    Layers of the example: `shuffle`, `concatenation`.

    >>> trtnet.dstack([trtnet.tensor([1.0]), trtnet.tensor([2.0])]).tolist()
    [[[1.0, 2.0]]]
    """
    return cat([atleast_3d(x) for x in _checked(tensors, "dstack")], 2)


@refusing
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Vectors as columns, matrices side by side.

    Layers of the example: `shuffle`, `concatenation`.

    >>> trtnet.column_stack([trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0, 4.0])]).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return hstack([x.reshape(-1, 1) if x.ndim < 2 else x for x in _checked(tensors, "column_stack")])


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Any, ...]:
    """For each vector a tensor of the sizes of all, in which it runs along its own dimension; indexing "ij" or "xy".

    Layers of the example: `shuffle`, `slice`.

    >>> [x.tolist() for x in trtnet.meshgrid(trtnet.tensor([1, 2]), trtnet.tensor([3, 4]), indexing="ij")]
    [[[1, 1], [2, 2]], [[3, 4], [3, 4]]]
    """
    vectors = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    if indexing not in (None, "ij", "xy"):
        raise ArgumentError("meshgrid: there is no such indexing", expected='"ij" or "xy"', found=indexing)
    if any(v.ndim > 1 for v in vectors):
        raise ShapeError("meshgrid takes vectors", found=" and ".join(format_shape(v.shape) for v in vectors))
    vectors = [v.reshape(1) if v.ndim == 0 else v for v in vectors]
    swap = indexing == "xy" and len(vectors) > 1
    if swap:
        vectors[:2] = vectors[1::-1]
    sizes = tuple(v.shape[0] for v in vectors)
    made = []
    for at, vector in enumerate(vectors):
        own = (1,) * at + (vector.shape[0],) + (1,) * (len(vectors) - at - 1)
        made.append(vector.reshape(own).expand(sizes))
    if swap:
        made[:2] = made[1::-1]
    return tuple(made)


# --- apart ------------------------------------------------------------------------------------------------------------


def _pieces(x: Tensor | np.ndarray, axis: int, sizes: Sequence[SizeLike]) -> tuple[Any, ...]:
    """Consecutive parts of these sizes, of a recorded tensor or a NumPy array."""
    made: list[Any] = []
    start: Any = 0
    for size in sizes:
        if isinstance(x, np.ndarray):
            made.append(x[(slice(None),) * axis + (slice(start, start + size),)])
        else:
            made.append(part(x, axis, start, size))
        start = start + size
    return tuple(made)


def _split_sizes(size: SizeLike, given: Any) -> list[SizeLike]:
    if isinstance(given, (list, tuple)):
        sizes = list(sizes_of((tuple(given),)))
        total: SizeLike = sum(sizes)
        problem = f"split: the sizes {format_shape(sizes)} do not add up to {size}"
        if isinstance(total, int) and isinstance(size, int):
            if total != size or any(s < 0 for s in sizes):
                raise ShapeError(problem, expected=size, found=total)
        else:
            require_equal(size, total, problem)
        return sizes
    each = size_of(given)
    if isinstance(each, int) and each < 1:
        raise ArgumentError("split: the size of the parts is at least 1", found=each)
    if isinstance(size, int) and size == 0:
        return [0]  # torch: one part, which is empty
    whole = divide_exactly(size, each)
    if isinstance(whole, int):
        return list(itertools.repeat(each, whole))
    if isinstance(size, Dim) or isinstance(each, Dim):
        raise unknown_parts("split", size)
    return [*itertools.repeat(each, size // each), size % each]


def unknown_parts(name: str, size: SizeLike) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: the number of parts or their sizes depend on the dynamic size {size}",
        found=f"{size!r}",
        remedy="slice it (x[:, :n]), or say what it is a multiple of: Dim(..., multiple_of=...)",
    )


def _split_numpy(
    input: np.ndarray, split_size_or_sections: SizeLike | Sequence[SizeLike], dim: int = 0
) -> tuple[np.ndarray, ...]:
    axis = axis_of(dim, input.ndim)
    return _pieces(input, axis, _split_sizes(input.shape[axis], split_size_or_sections))


@operation(_split_numpy, method=True, view=True)
def split(input: Tensor, split_size_or_sections: SizeLike | Sequence[SizeLike], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of one size (the last may be smaller), or of the given sizes, along `dim`.

    Layers of the example: `slice`.

    >>> [x.tolist() for x in trtnet.split(trtnet.tensor([1.0, 2.0, 3.0]), 2)]
    [[1.0, 2.0], [3.0]]
    """
    x, axis = tensor(input), axis_of(dim, input.ndim)
    return _pieces(x, axis, _split_sizes(x.shape[axis], split_size_or_sections))


def _split_method(self: Tensor, split_size: SizeLike | Sequence[SizeLike], dim: int = 0) -> tuple[Tensor, ...]:
    """As the function `split`."""
    return split(self, split_size, dim)


Tensor.split = _split_method  # type: ignore[attr-defined]


def split_with_sizes(input: Tensor, split_sizes: Sequence[SizeLike], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of the given sizes along `dim`.

    Layers of the example: `slice`.

    >>> [x.tolist() for x in trtnet.split_with_sizes(trtnet.tensor([1.0, 2.0, 3.0]), [1, 2])]
    [[1.0], [2.0, 3.0]]
    """
    return split(input, tuple(split_sizes), dim)


Tensor.split_with_sizes = split_with_sizes  # type: ignore[attr-defined]


def _chunk_sizes(size: SizeLike, chunks: int) -> list[SizeLike]:
    if isinstance(chunks, bool) or not isinstance(chunks, (int, np.integer)) or chunks < 1:
        raise ArgumentError("chunk takes a number of parts of at least 1", found=chunks)
    if isinstance(size, Dim):
        each = divide_exactly(size, int(chunks))
        if each is None:
            raise unknown_parts("chunk", size)
        return [each] * chunks
    each = max(1, -(-size // int(chunks)))
    return _split_sizes(size, each) if size else [0] * chunks


def _chunk_numpy(input: np.ndarray, chunks: int, dim: int = 0) -> tuple[np.ndarray, ...]:
    axis = axis_of(dim, input.ndim)
    return _pieces(input, axis, _chunk_sizes(input.shape[axis], chunks))


@operation(_chunk_numpy, method=True, view=True)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of one size along `dim`; the last may be smaller. A Dim must be divisible.

    Layers of the example: `slice`.

    >>> [x.tolist() for x in trtnet.chunk(trtnet.tensor([1.0, 2.0, 3.0]), 2)]
    [[1.0, 2.0], [3.0]]
    """
    x, axis = tensor(input), axis_of(dim, input.ndim)
    return _pieces(x, axis, _chunk_sizes(x.shape[axis], chunks))


def _tensor_split_sizes(size: SizeLike, given: int | Sequence[SizeLike] | Tensor) -> list[SizeLike]:
    if isinstance(given, (int, np.integer)):
        if given < 1:
            raise ArgumentError("tensor_split takes a number of parts of at least 1", found=given)
        count = int(given)
        if isinstance(size, Dim):
            return _chunk_sizes(size, count)
        return [size // count + (1 if i < size % count else 0) for i in range(count)]
    ends = [clamped(size_of(i), size) for i in (given.tolist() if isinstance(given, (Array, np.ndarray)) else given)]
    starts = [0, *ends]
    sizes = []
    for start, end in zip(starts, [*ends, size]):
        length = end - start
        sizes.append(max(length, 0) if isinstance(length, int) else length)
    return sizes


def _tensor_split_numpy(
    input: np.ndarray, indices_or_sections: int | Sequence[SizeLike] | np.ndarray, dim: int = 0
) -> tuple[np.ndarray, ...]:
    if isinstance(indices_or_sections, np.ndarray):
        indices_or_sections = indices_or_sections.tolist()
    return tuple(np.array_split(input, indices_or_sections, axis_of(dim, input.ndim)))


@operation(_tensor_split_numpy, view=True)
def _tensor_split(
    input: Tensor, indices_or_sections: int | Sequence[SizeLike] | Tensor, dim: int = 0
) -> tuple[Tensor, ...]:
    x, axis = tensor(input), axis_of(dim, input.ndim)
    return _pieces(x, axis, _tensor_split_sizes(x.shape[axis], indices_or_sections))


def tensor_split(
    input: Tensor,
    indices_or_sections: int | Sequence[SizeLike] | Tensor | None = None,
    dim: int = 0,
    *,
    indices: Sequence[SizeLike] | Tensor | None = None,
    sections: int | Tensor | None = None,
) -> tuple[Tensor, ...]:
    """That many parts of nearly one size, or parts that end at the given positions (in ascending order).

    Layers of the example: `slice`.

    >>> [x.tolist() for x in trtnet.tensor_split(trtnet.tensor([1.0, 2.0, 3.0]), 2)]
    [[1.0, 2.0], [3.0]]
    """
    given = [v for v in (indices_or_sections, indices, sections) if v is not None]
    if len(given) != 1:
        raise ArgumentTypeError("tensor_split takes a number of parts, or positions", found=given)
    return _tensor_split(input, given[0], dim)


Tensor.tensor_split = tensor_split  # type: ignore[attr-defined]


def hsplit(input: Tensor, indices_or_sections: int | Sequence[SizeLike] | Tensor) -> tuple[Tensor, ...]:
    """`tensor_split` along the second dimension, of vectors along the first.

    Layers of the example: `slice`.

    >>> [x.tolist() for x in trtnet.hsplit(trtnet.tensor([[1.0, 2.0]]), 2)]
    [[[1.0]], [[2.0]]]
    """
    return tensor_split(input, indices_or_sections, 0 if input.ndim == 1 else 1)


def vsplit(input: Tensor, indices_or_sections: int | Sequence[SizeLike] | Tensor) -> tuple[Tensor, ...]:
    """`tensor_split` along the first dimension.

    Layers of the example: `slice`.

    >>> [x.tolist() for x in trtnet.vsplit(trtnet.tensor([[1.0], [2.0]]), 2)]
    [[[1.0]], [[2.0]]]
    """
    return tensor_split(input, indices_or_sections, 0)


def dsplit(input: Tensor, indices_or_sections: int | Sequence[SizeLike] | Tensor) -> tuple[Tensor, ...]:
    """`tensor_split` along the third dimension.

    Layers of the example: `slice`.

    >>> [x.tolist() for x in trtnet.dsplit(trtnet.tensor([[[1.0, 2.0]]]), 2)]
    [[[[1.0]]], [[[2.0]]]]
    """
    return tensor_split(input, indices_or_sections, 2)


Tensor.hsplit, Tensor.vsplit, Tensor.dsplit = hsplit, vsplit, dsplit  # type: ignore[attr-defined]


# --- turned -----------------------------------------------------------------------------------------------------------


def _axes(rank: int, dims: tuple[Any, ...]) -> tuple[int, ...]:
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return axes_of(tuple(given), rank) if given else ()


@operation(lambda input, *dims: np.flip(input, _axes(input.ndim, dims)), method=True, order="first")
def flip(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """The order of the elements reversed in some dimensions.

    Layers of the example: `slice`.

    >>> trtnet.flip(trtnet.tensor([1.0, 2.0, 3.0]), (0,)).tolist()
    [3.0, 2.0, 1.0]
    """
    x = tensor(input)
    axes = _axes(x.ndim, dims)
    if not axes:
        return x
    start = tuple(size - 1 if axis in axes else 0 for axis, size in enumerate(x.shape))
    stride = tuple(-1 if axis in axes else 1 for axis in range(x.ndim))
    return emit(Slice((x,), start=start, shape=x.shape, stride=stride))


def _quarter(rank: int, k: int, dims: Sequence[int]) -> tuple[int, int, int]:
    if len(dims) != 2:
        raise ArgumentError("rot90 takes two dimensions", expected=2, found=dims)
    first, second = (axis_of(d, rank) for d in dims)
    if first == second or rank < 2:
        raise ShapeError("rot90 takes two different dimensions", found=f"{dims} of {rank}")
    return int(k) % 4, first, second


def _rot90_numpy(input: np.ndarray, k: int = 1, dims: Sequence[int] = (0, 1)) -> np.ndarray:
    turns, first, second = _quarter(input.ndim, k, dims)
    return np.rot90(input, turns, (first, second)) if turns else input.copy()


@operation(_rot90_numpy, method=True, strided=True, order="natural")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k times 90 degrees in the plane of two dimensions, from the first towards the second; a copy.

    Layers of the example: `slice`, `shuffle`.

    >>> trtnet.rot90(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    x = tensor(input)
    turns, first, second = _quarter(x.ndim, k, dims)
    if turns == 0:
        return emit(Identity((x,)))
    if turns == 2:
        return flip(x, (first, second))
    swapped = tuple(second if a == first else first if a == second else a for a in range(x.ndim))
    return transposed(flip(x, second), swapped) if turns == 1 else flip(transposed(x, swapped), second)


def fliplr(input: Tensor) -> Tensor:
    """The second dimension reversed.

    Layers of the example: `slice`.

    >>> trtnet.fliplr(trtnet.tensor([[1.0, 2.0]])).tolist()
    [[2.0, 1.0]]
    """
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """The first dimension reversed.

    Layers of the example: `slice`.

    >>> trtnet.flipud(trtnet.tensor([[1.0], [2.0]])).tolist()
    [[2.0], [1.0]]
    """
    return flip(input, 0)


setattr(Tensor, "fliplr", fliplr)  # noqa: B010
setattr(Tensor, "flipud", flipud)  # noqa: B010


def _shifts(rank: int, shifts: SizeLike | Sequence[SizeLike], dims: Axes) -> dict[int, SizeLike]:
    given = sizes_of((tuple(shifts) if isinstance(shifts, (tuple, list)) else shifts,))
    axes = [axis_of(d, rank) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))]
    if len(given) != len(axes):
        raise ShapeError("roll takes as many shifts as dimensions", expected=len(axes), found=len(given))
    found: dict[int, SizeLike] = {}
    for axis, shift in zip(axes, given):
        found[axis] = found.get(axis, 0) + shift
    return found


def _roll_numpy(input: np.ndarray, shifts: SizeLike | Sequence[SizeLike], dims: Axes = None) -> np.ndarray | Tensor:
    if has_dims(shifts):
        return roll(constant(input), shifts, dims)
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        return np.roll(input, shifts)
    by = _shifts(input.ndim, shifts, dims)
    return np.roll(input, tuple(by.values()), tuple(by))


@operation(_roll_numpy, method=True)
def roll(input: Tensor, shifts: SizeLike | Sequence[SizeLike], dims: Axes = None) -> Tensor:
    """The elements moved by `shifts` along `dims`; those that fall off come in at the other end.

    Layers of the example: `slice`.

    >>> trtnet.roll(trtnet.tensor([1.0, 2.0, 3.0]), 1).tolist()
    [3.0, 1.0, 2.0]
    """
    x = tensor(input)
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        return reshaped(roll(reshaped(x, (x.shape.numel(),)), shifts, 0), tuple(x.shape))
    by = _shifts(x.ndim, shifts, dims)
    start = tuple(-by[axis] % size if axis in by and size != 0 else 0 for axis, size in enumerate(x.shape))
    if all(isinstance(s, int) and s == 0 for s in start):
        return x
    return emit(Slice((x,), start=start, shape=x.shape, stride=(1,) * x.ndim, mode="WRAP"))
