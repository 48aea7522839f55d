"""What masks select: results whose sizes the data decides. Names, signatures and defaults as torch's.

While recording, such a size is a new Dim, `nonzero_0`, that no input has: at least 0, at most the number of elements.
One mask has one such Dim, however often it is used, so `x[mask] * y[mask]` fits; sizes of two masks are never known to
be equal. Engines give outputs of such sizes as large as they came out; they cannot be bound to fixed buffers.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .. import dtypes
from ..dims import Dim, Size, format_shape
from ..errors import DtypeError, ShapeError, UnsupportedError
from ..graph import Recorder, emit, recorder
from ..layers.base import require_equal
from ..layers.gather import Gather
from ..layers.selection import NonZero
from ..layers.shaping import Slice
from ..tensor import Tensor
from .broadcasting import broadcast_shapes, expanded
from .casting import converted
from .dispatch import operation, tensor
from .shape import reshaped, transposed

__all__ = ["argwhere", "masked_select", "nonzero"]

_found: WeakKeyDictionary[Recorder, dict[Any, Tensor]] = WeakKeyDictionary()


def _positions(x: Tensor) -> Tensor:
    """Where `x` is not zero, (rank, count); recorded once for each value."""
    current = recorder()
    if not x.shape:
        raise UnsupportedError(
            "TensorRT finds no elements in a tensor without dimensions",
            found=repr(x),
            remedy="give it one: x.reshape(1)",
        )
    known = _found.setdefault(current, {})
    value = current.settle(x)
    key = (value if value.layer is None else value.layer, value.index)
    found = known.get(key)
    if found is None:
        from .comparison import ne

        mask = x if x.dtype is dtypes.bool_ else ne(x, 0)
        elements = x.shape.numel()
        most = elements.bounds[1] if isinstance(elements, Dim) else elements
        count = current.data_dim("nonzero", most)
        found = known[key] = emit(NonZero((mask,), count))
    return found


def columns(mask: Tensor) -> list[Tensor]:
    """Where a recorded mask is True: one index for each of its dimensions."""
    found = _positions(mask)
    rank, count = found.shape
    if rank == 1:
        return [reshaped(found, (count,))]
    rows = [emit(Slice((found,), start=(axis, 0), shape=(1, count), stride=(1, 1))) for axis in range(rank)]
    return [reshaped(row, (count,)) for row in rows]


def check_mask(shape: Any, mask: Tensor, axis: int = 0) -> None:
    """Raises ShapeError unless a recorded mask has the sizes of the dimensions from `axis` on."""
    if mask.ndim > len(shape) - axis:
        raise ShapeError(
            "the mask has more dimensions than the tensor", expected=format_shape(shape), found=format_shape(mask.shape)
        )
    for step, length in enumerate(mask.shape):
        problem = f"the mask does not fit dimension {axis + step} of {format_shape(shape)}"
        require_equal(shape[axis + step], length, problem)


def selected(x: Tensor, mask: Tensor) -> Tensor:
    """`x[mask]` of a recorded mask over the leading dimensions."""
    check_mask(x.shape, mask)
    if mask.ndim == 1:
        return emit(Gather((x, columns(mask)[0])))
    return emit(Gather((x, transposed(_positions(mask), (1, 0))), mode="ND"))


def _masked_select_numpy(input: np.ndarray, mask: np.ndarray) -> np.ndarray:
    input, mask = np.broadcast_arrays(input, mask)
    return input[mask]


@operation(_masked_select_numpy, method=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask (bool) is True, broadcast against each other: one dimension, sized by the data."""
    x, chosen = tensor(input), tensor(mask)
    if chosen.dtype is not dtypes.bool_:
        raise DtypeError("a mask is of bools", expected="bool", found=chosen.dtype, remedy="compare first: mask != 0")
    shape = broadcast_shapes(x.shape, chosen.shape) or Size((1,))
    return selected(expanded(x, shape), expanded(chosen, shape))


def _nonzero_numpy(input: np.ndarray, *, out: Any = None, as_tuple: bool = False) -> Any:
    if as_tuple:
        return tuple(found.astype(np.int64) for found in np.nonzero(np.atleast_1d(input)))
    return np.argwhere(input).astype(np.int64)


@operation(_nonzero_numpy, method=True, strided=True)
def nonzero(input: Tensor, *, out: Any = None, as_tuple: bool = False) -> Any:
    """The indices (int64) of the elements that are not zero, in row-major order: (count, rank).

    With `as_tuple` one index of shape (count,) for each dimension. The count is sized by the data.
    """
    x = tensor(input)
    if as_tuple:
        return tuple(converted(index, dtypes.int64) for index in columns(x))
    return converted(transposed(_positions(x), (1, 0)), dtypes.int64)


@operation(np.argwhere, method=True, strided=True)
def argwhere(input: Tensor) -> Tensor:
    """The indices (int64) of the elements that are not zero: (count, rank)."""
    made: Tensor = nonzero(input)
    return made
