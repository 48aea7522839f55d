"""Copies of which a part is written anew, and diagonals filled in place. Names, signatures and defaults as torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike, format_shape
from ..basics.errors import DtypeError, ShapeError
from ..graph.tensor import Array, Tensor
from ..layers.base import require_shape
from ..layers.shaping import expanded, reshaped
from .arithmetic import remainder, sub
from .broadcasting import broadcast_shapes
from .comparison import eq, logical_and, masked_fill, where
from .creation import arange
from .dispatch import Value, axis_of, is_recorded, operation, refusing, size_tensor, tensor
from .indexing import select
from .inplace import in_place, install
from .picking import index_select
from .reduction import cumsum
from .scattering import index_put
from .shape import clone
from .triangular import diagonal

__all__ = ["diagonal_scatter", "masked_scatter", "put", "select_scatter", "slice_scatter"]

# --- views ------------------------------------------------------------------------------------------------------------


def _copy(input: Tensor) -> Tensor:
    """A copy that lies in memory as the tensor does: with its gaps where it has any, as torch's."""
    if is_recorded(input) or not input.ndim:
        return clone(input)
    array = input.numpy()
    steps = [step // array.itemsize for step in array.strides]
    if min(steps) < 0 or any(step == 0 and size > 1 for step, size in zip(steps, array.shape)):
        return clone(input)
    places = 1 + sum(max(size - 1, 0) * step for size, step in zip(array.shape, steps))
    made = np.lib.stride_tricks.as_strided(np.empty(places, array.dtype), array.shape, array.strides)
    made[...] = array
    return Array(made)


def _with_view(name: str, input: Tensor, src: Tensor, view: Callable[[Tensor], Tensor]) -> Tensor:
    made = _copy(input)
    place = view(made)
    problem = f"{name}: {format_shape(src.shape)} does not fit the part that is written, {format_shape(place.shape)}"
    require_shape(src.shape, place.shape, problem)
    place.copy_(src)
    return made


@refusing
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` in the place of `input.select(dim, index)`, whose shape it has.

    `src` is converted to the input's dtype. Raises ShapeError for any other shape.

    >>> trtnet.select_scatter(trtnet.zeros(2, 2), trtnet.ones(2), 0, 1).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    return _with_view("select_scatter", input, src, lambda x: select(x, dim, index))


@refusing
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: SizeLike | None = None, end: SizeLike | None = None, step: int = 1
) -> Tensor:
    """A copy of `input` with `src` in the place of the slice `start:end:step` of `dim`, whose shape it has.

    `src` is converted to the input's dtype. Raises ShapeError for any other shape.

    >>> trtnet.slice_scatter(trtnet.zeros(4), trtnet.ones(2), start=1, step=2).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    key = (*(slice(None),) * axis_of(dim, input.ndim), slice(start, end, step))
    return _with_view("slice_scatter", input, src, lambda x: x[key])


@refusing
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` in the place of `input.diagonal(offset, dim1, dim2)`, whose shape it has.

    `src` is converted to the input's dtype. Raises ShapeError for any other shape.

    >>> trtnet.diagonal_scatter(trtnet.zeros(2, 2), trtnet.ones(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return _with_view("diagonal_scatter", input, src, lambda x: diagonal(x, offset, dim1, dim2))


for _function in (select_scatter, slice_scatter, diagonal_scatter):
    setattr(Tensor, _function.__name__, _function)

# --- elements ---------------------------------------------------------------------------------------------------------


def _check_source(name: str, input: Tensor, source: Tensor) -> None:
    if source.dtype != input.dtype:
        raise DtypeError(
            f"{name} takes a source of the tensor's dtype",
            expected=dtypes.get(input.dtype),
            found=dtypes.get(source.dtype),
            remedy=f"convert it: .to(trtnet.{dtypes.get(input.dtype)})",
        )


def _check_mask(input: Any, mask: Any, source: Any) -> None:
    _check_source("masked_scatter", input, source)
    if mask.dtype != (bool if isinstance(mask, np.ndarray) else dtypes.bool_):
        raise DtypeError(
            "masked_scatter takes a mask of bools",
            expected="bool",
            found=mask.dtype,
            remedy="convert it first: mask.bool()",
        )


def _enough(count: int, source: Tensor | np.ndarray) -> None:
    found = source.size if isinstance(source, np.ndarray) else source.shape.numel()
    if isinstance(found, int) and found < count:
        raise ShapeError(
            "masked_scatter: the mask selects more than there is", expected=f"{count} elements", found=found
        )


def _masked_scatter_numpy(input: np.ndarray, mask: np.ndarray, source: np.ndarray) -> np.ndarray:
    _check_mask(input, mask, source)
    shape = np.broadcast_shapes(input.shape, mask.shape)
    made, chosen = np.broadcast_to(input, shape).copy(), np.broadcast_to(mask, shape)
    count = int(chosen.sum())
    _enough(count, source)
    made[chosen] = source.reshape(-1)[:count]
    return made


@operation(_masked_scatter_numpy, method=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, in their order, where the mask (bool) holds; both broadcast.

    Which element it is at each place is a running sum over the mask. `source` has at least as many elements as the mask
    selects: of a mask that is computed in the network the reference checks that, TensorRT does not.

    Raises DtypeError for a source of another dtype, ShapeError for a constant mask that selects more.

    >>> mask = trtnet.tensor([True, False, True])
    >>> trtnet.masked_scatter(trtnet.zeros(3), mask, trtnet.tensor([5.0, 6.0, 7.0])).tolist()
    [5.0, 0.0, 6.0]
    """
    x = tensor(input)
    _check_mask(x, mask, source)
    shape = tuple(broadcast_shapes(x.shape, mask.shape))
    if is_recorded(mask):
        _enough(1, source)
    else:  # of a dynamic size beside it that is at least this many
        least = [size if isinstance(size, int) else size.bounds[0] for size in shape]
        count = int(np.broadcast_to(mask.numpy(), least).sum()) if all(least) else 0
        _enough(count, source)
        if not mask.numpy().any():
            return expanded(clone(x), shape)
    chosen = mask.expand(shape).reshape(-1)
    places = where(chosen, sub(cumsum(chosen, 0), 1), 0)
    elements = tensor(source).reshape(-1)
    return where(mask, index_select(elements, 0, places).reshape(shape), x)


def _check_put(input: Any, index: Any, source: Any) -> None:
    _check_source("put", input, source)
    if index.shape != source.shape and np.prod(index.shape) != np.prod(source.shape):
        raise ShapeError(
            "put takes one element for each index", expected=format_shape(index.shape), found=format_shape(source.shape)
        )


def _put_numpy(input: np.ndarray, index: np.ndarray, source: np.ndarray, accumulate: bool = False) -> np.ndarray:
    _check_put(input, index, source)
    made = input.copy()
    places = np.unravel_index(np.where(index < 0, index + input.size, index).reshape(-1), input.shape)
    if accumulate:
        np.add.at(made, places, source.reshape(-1))
    else:
        made[places] = source.reshape(-1)
    return made


@operation(_put_numpy, method=True, order="first")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with the elements of `source` at `index` of the flattened tensor, or added there (`accumulate`).

    Negative indices count from the end. Where an index is there twice, either element may stay, or both are added.

    >>> trtnet.put(trtnet.zeros(2, 2), trtnet.tensor([1, -1]), trtnet.tensor([5.0, 6.0])).tolist()
    [[0.0, 5.0], [0.0, 6.0]]
    """
    x = tensor(input)
    _check_put(x, index, source)
    flat = reshaped(x, (x.shape.numel(),))
    made = index_put(flat, (index.reshape(-1),), source.reshape(-1), accumulate)
    return reshaped(made, tuple(x.shape))


install({"masked_scatter": masked_scatter, "put": put})

# --- the diagonal -----------------------------------------------------------------------------------------------------


def _with_diagonal(self: Tensor, fill_value: Value, wrap: bool = False) -> Tensor:
    sizes = tuple(self.shape)
    problem = "fill_diagonal_ takes a matrix, or a tensor of equal sizes in all dimensions"
    if len(sizes) < 2:
        raise ShapeError(problem, found=format_shape(sizes))
    if len(sizes) > 2:
        require_shape(sizes, sizes[:1] * len(sizes), problem)
    rows, *others = (
        arange(size).reshape((1,) * axis + (size,) + (1,) * (len(sizes) - axis - 1)) for axis, size in enumerate(sizes)
    )
    if wrap and len(sizes) == 2:  # of a tall matrix it begins again below, one row apart
        rows = remainder(rows, sizes[1] + 1 if isinstance(sizes[1], int) else size_tensor(sizes[1] + 1))
    on = eq(rows, others[0])
    for other in others[1:]:
        on = logical_and(on, eq(rows, other))
    return masked_fill(self, on, fill_value)


_fill_diagonal = in_place(_with_diagonal, "fill_diagonal_")
_fill_diagonal.__doc__ = """One number on the main diagonal of a matrix, in place; of more dimensions, which are
    of one size, where all positions are equal. With `wrap` that of a tall matrix begins again below its end; of a view
    with gaps too, where torch counts in its memory and writes beside it."""
setattr(Tensor, "fill_diagonal_", _fill_diagonal)  # noqa: B010
