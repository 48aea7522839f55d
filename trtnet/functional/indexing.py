"""`x[...]`, read and written.

Slices keep Dims: `x[:, -1]`, `x[:, 1:]`, `x[:, :n]` work on dynamic dimensions. TensorRT does not count negative
indices from the end: to those that are recorded tensors the size is added where they are negative, unless they are
known not to be (`assume_nonnegative`).
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, ceil_divide, format_shape, maximum
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError, shown
from ..graph.recorder import Recorder, emit, recorder
from ..graph.tensor import Array, Tensor
from ..layers.base import is_nonnegative, require_at_least, require_equal
from ..layers.casting import Identity, converted
from ..layers.constant import constant, with_rank
from ..layers.elementwise import ElementWise, Select
from ..layers.gather import Gather, Scatter
from ..layers.shaping import Slice, expanded, reshaped
from . import cutting, strides
from .arithmetic import add, floor_divide, mul, remainder, sub
from .arithmetic import minimum as least
from .broadcasting import broadcast_shapes
from .comparison import clamp, eq, ge, logical_and, lt, where
from .concrete import category
from .creation import arange, as_tensor
from .dispatch import (
    Value,
    axis_of,
    in_order,
    is_computed,
    is_recorded,
    is_scalar,
    operation,
    refusing,
    scalar,
    size_tensor,
    steps_of,
    tensor,
    with_steps,
)
from .inplace import rebind, refuse_overlap
from .joining import cat
from .memory import become_recorded, refuse_hazards, refuse_moves, view_of, writers
from .selection import check_mask, columns, selected, spread
from .shape import has_dims, transposed, unsqueeze
from .slicing import clamped, part, sliced

__all__ = ["assume_nonnegative", "getitem", "select"]

MOST_CHOSEN = 1 << 16
"""Positions of the indexed dimensions beyond which constant indices scatter, and do not choose."""

# --- keys -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Entry:
    """One part of a key: 'new' dimension, 'int', 'slice' (start, size, step), or 'index' (an array or a tensor)."""

    kind: str
    start: SizeLike = 0
    size: SizeLike = 1
    step: int = 1
    index: Any = None


def _is_mask(item: Any) -> bool:
    if isinstance(item, list):
        item = np.asarray(item) if item and not has_dims(item) else np.zeros(0, np.int64)
    return (isinstance(item, np.ndarray) and item.dtype == np.bool_) or (
        isinstance(item, Tensor) and item.dtype is dtypes.bool_
    )


def as_key(key: Any) -> Any:
    """A list with tensors, lists, slices, None or an ellipsis in it is read as a tuple, as torch does."""
    parts = (Tensor, np.ndarray, list, tuple, slice, type(None), type(Ellipsis))
    return tuple(key) if isinstance(key, list) and any(isinstance(item, parts) for item in key) else key


def _parts(key: Any) -> list[Any]:
    """The key as a list; arrays for lists, ranges and concrete tensors, numbers for those without dimensions."""
    made: list[Any] = []
    for item in key if isinstance(key, tuple) else (key,):
        if type(item) is slice or type(item) is int:  # by far the most frequent
            made.append(item)
            continue
        if is_recorded(item):
            if item.dtype is dtypes.bool_ and not item.ndim:
                raise _one_bool(item)
            made.append(tensor(item))
            continue
        if isinstance(item, Array):
            item = item.numpy()
        elif isinstance(item, (list, range)):
            if any(type(i) is Tensor or isinstance(i, Dim) for i in item):
                made.append(as_tensor(list(item)))
                continue
            item = np.asarray([i.numpy() if isinstance(i, Array) else i for i in item])
            item = item.astype(np.int64) if not item.size else item
        if isinstance(item, (np.ndarray, np.generic)):
            if item.dtype.kind not in "iub":
                raise DtypeError(
                    "indices are whole numbers or bools", expected="int64, int32 or bool", found=str(item.dtype)
                )
            if item.dtype.kind in "iu" and np.ndim(item) == 0:
                item = int(item)
        if isinstance(item, (bool, np.bool_)) or (isinstance(item, np.ndarray) and item.ndim == 0):
            raise _one_bool(item)
        made.append(item)
    return made


def _one_bool(found: Any) -> UnsupportedError:
    return UnsupportedError(
        "a mask without dimensions beside other indices is no index here",
        expected="a mask without dimensions alone, x[mask]",
        found=shown(found),
        remedy="use trtnet.where(mask, a, b)",
    )


def _lone_bool(key: Any) -> Any:
    """The mask without dimensions that a key consists of; else None."""
    if isinstance(key, (bool, np.bool_)):
        return bool(key)
    if isinstance(key, (Tensor, np.ndarray)) and not key.ndim and _is_mask(key):
        return key if is_recorded(key) else bool(key)
    return None


def _parse(shape: Any, key: Any) -> list[_Entry]:
    rank, given = len(shape), _parts(key)
    used = sum(_width(item) for item in given)
    if used > rank:
        raise ShapeError("too many indices", expected=f"at most {rank}, for {format_shape(shape)}", found=used)
    places = [i for i, item in enumerate(given) if item is Ellipsis]
    if len(places) > 1:
        raise ArgumentError("an index can have one ellipsis only", found=repr(key))
    at = places[0] if places else len(given)
    rest = [slice(None)] * (rank - used)
    given[at : at + 1] = rest
    entries: list[_Entry] = []
    axis = 0
    for item in given:
        if item is None:
            entries.append(_Entry("new"))
            continue
        size = shape[axis]
        if isinstance(item, slice):
            entries.append(_slice(size, item))
        elif type(item) is Tensor and item.dtype is dtypes.bool_:
            check_mask(shape, item, axis)
            entries += [_Entry("index", 0, shape[axis + i], 1, where) for i, where in enumerate(columns(item))]
            axis += item.ndim - 1
        elif type(item) is Tensor:
            entries.append(_Entry("index", 0, size, 1, from_end(item, size)))
        elif isinstance(item, np.ndarray) and item.dtype == np.bool_:
            for step, length in enumerate(item.shape):
                known = shape[axis + step]
                if known != length:
                    problem = f"the mask does not fit dimension {axis + step} of {format_shape(shape)}"
                    if isinstance(known, int):
                        raise ShapeError(problem, expected=known, found=length)
                    require_equal(known, length, problem)
            entries += [_Entry("index", 0, shape[axis + i], 1, where) for i, where in enumerate(item.nonzero())]
            axis += item.ndim - 1
        elif isinstance(item, np.ndarray):
            entries.append(_Entry("index", 0, size, 1, from_start(item, size, axis)))
        else:
            entries.append(_Entry("int", position(_whole(item), size, axis)))
        axis += 1
    return entries


def _width(item: Any) -> int:
    """How many dimensions a part of a key takes."""
    if type(item) is slice or type(item) is int:
        return 1
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, (np.ndarray, Tensor)) and _is_mask(item) else 1


def _whole(item: Any) -> SizeLike:
    if isinstance(item, Dim):
        return item
    try:
        return operator.index(item)
    except TypeError:
        raise ArgumentTypeError(
            "this is no index", expected="ints, slices, None, ..., lists and integer tensors", found=shown(item)
        ) from None


def position(index: SizeLike, size: SizeLike, axis: int) -> SizeLike:
    """An index from 0. Raises ShapeError where it is out of range; for a Dim also at each call."""
    low, high = (index, index) if isinstance(index, int) else index.bounds
    from_start = index if low >= 0 else size + index if high < 0 else None
    if from_start is None:
        raise ArgumentError("an index must be positive or negative at all sizes", found=f"{index} in {low}..{high}")
    problem = f"index {index} is out of range in dimension {axis} of size {size}"
    if isinstance(from_start, int) and isinstance(size, int):
        if not 0 <= from_start < size:
            raise ShapeError(problem, expected=f"{-size} to {size - 1}", found=index)
    elif low >= 0:
        require_at_least(size, from_start + 1, problem)
    else:
        require_at_least(size, -index, problem)
    return from_start


def from_start(index: np.ndarray, size: SizeLike, axis: int) -> Any:
    """A constant index without negative numbers."""
    index = index.astype(np.int64, copy=False)
    if not index.size:
        return index
    low, high = int(index.min()), int(index.max())
    for extreme in (low, high):
        position(extreme, size, axis)
    if low >= 0:
        return index
    if isinstance(size, int):
        return np.where(index < 0, index + size, index)
    return add(constant(index), mul(constant((index < 0).astype(np.int64)), size_tensor(size)))


def counted_from_start(name: str, index: np.ndarray, size: SizeLike, axis: int = 0) -> Any:
    """A constant index, for a function that takes no negative ones. Raises ShapeError where it is negative or out of
    range."""
    if index.size and index.min() < 0:
        raise ShapeError(
            f"{name} counts no index from the end",
            expected=f"0 to {size - 1}",
            found=index.min(),
            remedy="count it from the start, or use x[index], take or take_along_dim",
        )
    return from_start(index, size, axis)


_counted: WeakKeyDictionary[Recorder, dict[Any, Tensor]] = WeakKeyDictionary()


def from_end(index: Tensor, size: SizeLike) -> Tensor:
    """A recorded index with `size` added where it is negative; recorded once for each value and size."""
    current = recorder()
    value = current.settle(index)
    if index.dtype not in (dtypes.int32, dtypes.int64) or is_nonnegative(value):
        return index
    known = _counted.setdefault(current, {})
    body = current.bodies[-1] if current.bodies else None  # what is computed there is not there outside
    key = (value if value.layer is None else value.layer, value.index, size, body)
    found = known.get(key)
    if found is None:
        rank = index.ndim
        added = scalar(size, index.dtype, rank) if isinstance(size, int) else size_tensor(size, index.dtype)
        negative = emit(ElementWise((index, scalar(0, index.dtype, rank)), "LESS"))
        moved = emit(ElementWise((index, with_rank(added, rank)), "SUM"))
        found = known[key] = emit(Select((negative, moved, index)))
    return found


@operation(lambda input: _checked_nonnegative(input))
def assume_nonnegative(input: Tensor) -> Tensor:
    """The input, an index that is promised to hold no negative number: then none is counted from the end.

    `x[trtnet.assume_nonnegative(i)]` spares the three layers that `x[i]` records beside the gather. Nothing checks the
    promise on a GPU, where a negative index reads other memory; the reference raises ProviderError. Not needed for what
    cannot be negative: `arange`, `argmax`, `topk`, `nonzero`, casts from bool and uint8, `clamp(min=0)`, `abs`, and
    sums and products of these.

    Raises ArgumentError for a concrete array that holds one.

    >>> trtnet.assume_nonnegative(trtnet.tensor([0, 2])).tolist()
    [0, 2]
    """
    return emit(Identity((tensor(input),), nonnegative=True))


def _checked_nonnegative(array: np.ndarray) -> np.ndarray:
    if array.size and array.min() < 0:
        raise ArgumentError("this holds a negative number", expected=">= 0", found=array.min())
    return array


_PLAIN = frozenset((int, type(None)))


def _slice(size: SizeLike, key: slice) -> _Entry:
    if key.step is None and type(size) is int and type(key.start) in _PLAIN and type(key.stop) in _PLAIN:
        first, last, _ = key.indices(size)
        return _Entry("slice", first, max(last - first, 0), 1)
    step = _step(key)
    start, stop = _end(key.start, size, 0), _end(key.stop, size, size)
    if start == 0 and stop is size and step == 1:
        return _Entry("slice", 0, size, 1)
    return _Entry("slice", start, maximum(ceil_divide(stop - start, step), 0), step)


def _step(key: slice) -> int:
    step = 1 if key.step is None else _bound(key.step)
    if isinstance(step, Dim) or step < 1:
        raise ArgumentError(
            "the step of a slice must be a positive number",
            expected=">= 1",
            found=step,
            remedy="x.flip(dim) reverses a dimension",
        )
    return step


def _end(bound: Any, size: SizeLike, otherwise: SizeLike) -> SizeLike:
    return otherwise if bound is None else clamped(_bound(bound), size)


def _bound(value: Any) -> SizeLike:
    if type(value) is not Tensor:
        return _whole(value)
    known = value._known_value()
    if known is None:
        raise UnsupportedError(
            "the step of a slice is computed in the network",
            expected="a number",
            found=repr(value),
            remedy="pick the elements by an index: x[start + step * trtnet.arange(count)]",
        )
    return _whole(known)


# --- reading ----------------------------------------------------------------------------------------------------------


def _basic(x: Tensor, entries: list[_Entry]) -> Tensor:
    taken = [e for e in entries if e.kind != "new"]
    x = sliced(x, [e.start for e in taken], [e.size for e in taken], [e.step for e in taken])
    return reshaped(x, tuple(e.size for e in entries if e.kind != "int"))


def getitem_numpy(input: np.ndarray, key: Any) -> Any:
    key = as_key(key)
    if has_dims(key):
        return getitem(constant(input), key)
    if (lone := _lone_bool(key)) is not None:
        return input[None][:lone].copy()
    result, indices = _basic_numpy(input, _parse(input.shape, key))
    return result if indices is None else _picked_numpy(result, indices)


def _picked_numpy(x: np.ndarray, indices: tuple[Any, ...]) -> np.ndarray:
    """`x[indices]`, in the order in memory that torch gives it: the dimensions of `x` keep theirs."""
    made = x[indices]
    axes = [axis for axis, index in enumerate(indices) if isinstance(index, np.ndarray)]
    count = max(indices[axis].ndim for axis in axes)
    others = [axis for axis in range(x.ndim) if axis not in axes]
    first = axes[0] if axes == list(range(axes[0], axes[-1] + 1)) else 0
    ranks = [*others[:first], *[None] * count, *others[first:]]
    steps = tuple(0 if axis is None else x.strides[axis] for axis in ranks)
    sizes = tuple(size if first <= axis < first + count else 1 for axis, size in enumerate(made.shape))
    rows = strides.contiguous_strides(sizes)
    return in_order(made, strides.elementwise_strides(made.shape, [(made.shape, steps), (sizes, rows)]))


def _basic_numpy(input: np.ndarray, entries: list[_Entry]) -> tuple[np.ndarray, Any]:
    """A view by the slices and ints of a key, and the indices that are left, or None."""
    basic = tuple(
        None if e.kind == "new" else e.start if e.kind == "int"
        else slice(e.start, e.start + (e.size - 1) * e.step + 1 if e.size else e.start, e.step)
        for e in entries
    )  # fmt: skip
    view = input[(*basic, ...)]  # with the ellipsis it is a view, and no number
    if None in basic:
        view = with_steps(view, _steps_with_new(input, view, entries))
    indices = tuple(e.index if e.kind == "index" else slice(None) for e in entries if e.kind != "int")
    return view, indices if any(isinstance(i, np.ndarray) for i in indices) else None


def _steps_with_new(input: np.ndarray, view: np.ndarray, entries: list[_Entry]) -> tuple[int, ...]:
    """The strides of a view, of its new dimensions as `unsqueeze` makes them before what follows is sliced."""
    steps, found, made, axis = steps_of(input), steps_of(view), [], 0
    for entry in entries:
        if entry.kind == "new":
            made.append(input.shape[axis] * steps[axis] if axis < input.ndim else 1)
            continue
        axis += 1
        if entry.kind != "int":
            made.append(found[len(made)])
    return tuple(made)


@operation(getitem_numpy, method="__getitem__", view=True)
def getitem(input: Tensor, key: Any) -> Tensor:
    """`input[key]`: ints, slices, None, ..., lists, integer and bool arrays and tensors.

    A mask that is computed in the network gives a dimension whose size the data decides, and so do bounds of slices
    that are, `x[:n]`: these are clamped as Python's, and take TensorRT back to the host when it runs. A slice from a
    computed start on, `x[start : start + 4]`, has a size that is known; where it does not lie within the dimension as
    a whole, there is an error when it runs; but not on a GPU where it is written to, which is a scatter.
    `narrow(x, 0, start, 4)` is another way to write that.

    >>> trtnet.functional.getitem(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), (slice(None), 0)).tolist()
    [1.0, 3.0]
    """
    key = as_key(key)
    record_where_selected(input, key if isinstance(key, tuple) else (key,))
    x = tensor(input)
    if type(key) is Tensor and key.dtype is dtypes.bool_ and key.ndim:
        return selected(x, key)
    if (lone := _lone_bool(key)) is not None:
        x = unsqueeze(x, 0)
        return selected(x, reshaped(tensor(lone), (1,))) if is_recorded(lone) else emit(Identity((x[:lone],)))
    if type(selecting := _selected_by_tensors(x, key)) is tuple:
        return getitem(*selecting)
    entries = _parse(x.shape, key)
    x = _basic(x, entries)
    if "index" not in [e.kind for e in entries]:
        return x
    indices = {i: e.index for i, e in enumerate(e for e in entries if e.kind != "int") if e.kind == "index"}
    if len(indices) == 1:
        ((axis, index),) = indices.items()
        return emit(Gather((x, recorded_index(index)), axis=axis))
    return _gather_nd(x, indices)


def _selected_by_tensors(x: Tensor, key: Any) -> tuple[Tensor, Any] | None:
    """What is left of a tensor and a key once its integer tensors without dimensions have selected, as ints do, and
    bounds of slices that are such have cut: views.

    None where there are no such indices.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    if not any(_selects(part) or _cuts(part) for part in parts):
        return None
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    axis = behind = 0
    front: list[Any] = []
    back: list[Any] = []
    for item in parts[:at]:
        if _selects(item):
            x = select(x, axis, item)
            continue
        if _cuts(item):
            x, item = _cut(x, axis, item), slice(None)
        front.append(item)
        axis += _width(item)
    for item in reversed(parts[at + 1 :]):
        if _selects(item):
            x = select(x, x.ndim - 1 - behind, item)
            continue
        if _cuts(item):
            x, item = _cut(x, x.ndim - 1 - behind, item), slice(None)
        back.insert(0, item)
        behind += _width(item)
    return x, (*front, *parts[at : at + 1], *back)


def record_where_selected(x: Any, parts: tuple[Any, ...]) -> None:
    """A concrete tensor that was made in this recording becomes a recorded one where a recorded index gives a view."""
    computed = any(_selects(item) or _cuts(item) for item in parts)
    if computed and type(x) is Array and x.recorder is recorder().token:
        become_recorded(x)


def _cuts(part: Any) -> bool:
    return type(part) is slice and (is_computed(part.start) or is_computed(part.stop))


def _cut(x: Tensor, axis: int, key: slice) -> Tensor:
    if not 0 <= axis < x.ndim:
        raise ShapeError("too many indices", expected=f"at most {x.ndim}, for {format_shape(x.shape)}", found=axis + 1)
    ends = (key.start, 0), (key.stop, x.shape[axis])
    start, stop = (bound if is_computed(bound) else _end(bound, x.shape[axis], end) for bound, end in ends)
    return cutting.cut(x, axis, start, stop, _step(key))


def _selects(part: Any) -> bool:
    return is_recorded(part) and not part.ndim and part.dtype is not dtypes.bool_


def _select_numpy(input: np.ndarray, dim: int, index: np.ndarray) -> np.ndarray:
    axis = axis_of(dim, input.ndim)
    return getitem_numpy(input, (*(slice(None),) * axis, index))


@operation(_select_numpy, method=True, view=True)
def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """Element `index` of one dimension, which falls away.

    Layers of the example: `slice`, `shuffle`.

    >>> trtnet.select(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, 0).tolist()
    [1.0, 3.0]
    """
    record_where_selected(input, (index,))
    x, axis = tensor(input), axis_of(dim, input.ndim)
    if not is_recorded(index):
        return getitem(x, (*(slice(None),) * axis, index))
    made = emit(Gather((x, from_end(tensor(index), x.shape[axis])), axis=axis))
    return view_of(made, x, any_layer=True)


def write_gathered(x: Tensor, layer: Gather, value: Tensor, positions: Any) -> Tensor:
    """Record `x` with `value` in the place of one element of a dimension that a recorded index names."""
    index, axis, rank = layer.inputs[1], layer.axis, x.ndim
    assert isinstance(index, Tensor)
    length = x.shape[axis]
    at: Any = arange(length) if isinstance(length, Dim) else Array(np.arange(length))
    here = eq(reshaped(converted(tensor(at), index.dtype), (length, *(1,) * (rank - axis - 1))), index)
    return where(here, unsqueeze(value, axis), x)


def recorded_index(index: Any) -> Tensor:
    return constant(index) if isinstance(index, np.ndarray) else tensor(index)


def _stacked(indices: list[Any]) -> Tensor:
    """Several indices, broadcast, side by side in a last dimension."""
    if all(isinstance(i, np.ndarray) for i in indices):
        return constant(np.stack(np.broadcast_arrays(*indices), -1))
    tensors = [converted(recorded_index(i), dtypes.int64) for i in indices]
    shape = broadcast_shapes(*(i.shape for i in tensors))
    return cat([unsqueeze(expanded(i, tuple(shape)), -1) for i in tensors], -1)


def _gather_nd(x: Tensor, indices: dict[int, Any]) -> Tensor:
    axes = list(indices)
    others = [axis for axis in range(x.ndim) if axis not in indices]
    stacked = _stacked(list(indices.values()))
    made = emit(Gather((transposed(x, (*axes, *others)), stacked), mode="ND"))
    adjacent = axes == list(range(axes[0], axes[-1] + 1))
    if not adjacent or axes[0] == 0:
        return made
    front, count = stacked.ndim - 1, axes[0]
    order = [*range(front, front + count), *range(front), *range(front + count, made.ndim)]
    return transposed(made, tuple(order))


# --- writing ----------------------------------------------------------------------------------------------------------


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value` of a recorded tensor, which then stands for the changed value.

    What is written is converted to the tensor's dtype as torch does; two floating-point types raise. A mask chooses
    (`trtnet.where`) where the value does not depend on how many elements it selects, or was computed elementwise from
    elements that the same mask selected.
    """
    key = as_key(key)
    if type(selecting := _selected_by_tensors(self, key)) is tuple:
        _setitem(*selecting, value)
        return
    if (lone := _lone_bool(key)) is not None:
        _set_at_one_bool(self, lone, value)
        return
    _refuse_hazards(self, key, value)
    if type(value) is Tensor and _is_that_view(self, key, value):
        return  # x[key] += y has changed the view x[key] already, and now assigns it
    if type(viewed := _viewed(self, key)) is tuple:
        if not _is_empty(viewed[0].shape):
            _setitem(*viewed, value)
        return
    made = _assigned(self, key, value)
    if made is not self:  # else nothing was written
        rebind(self, made, _positions(self, key))


def _refuse_hazards(x: Tensor, key: Any, value: Value) -> None:
    """Raises where the value is of the memory that is written, at other places, or where integer indices pick what is
    written, and they or the value are of its memory."""
    parts = key if isinstance(key, tuple) else (key,)
    indices = [part for part in parts if isinstance(part, (Tensor, np.ndarray, list)) and not _is_mask(part)]
    if any(isinstance(index, list) or index.shape for index in indices):
        refuse_hazards(x, (*indices, value), is_elementwise=False)
    elif not any(_is_mask(part) for part in parts):
        refuse_moves(x, lambda: getitem(x, key), value)


def _is_empty(shape: tuple[SizeLike, ...]) -> bool:
    return any(isinstance(size, int) and size == 0 for size in shape)


def _viewed(x: Tensor, key: Any) -> tuple[Tensor, tuple[Any, ...]] | None:
    """A view of a tensor by the slices, ints and new dimensions of a key, and the indices that are left for it.

    None where the key has indices and whole dimensions alone, or no indices.
    """
    parts = _parts(key)
    indexed = [isinstance(part, (Tensor, np.ndarray)) for part in parts]
    if not any(indexed) or all(is_index or _is_whole(part) for is_index, part in zip(indexed, parts)):
        return None
    basic: list[Any] = []
    left: list[Any] = []
    for item, is_index in zip(parts, indexed):
        basic += [slice(None)] * _width(item) if is_index else [item]
        if is_index or item is Ellipsis:
            left.append(item)
        elif item is None or isinstance(item, slice):
            left.append(slice(None))
    return getitem(x, tuple(basic)), tuple(left)


def _is_whole(part: Any) -> bool:
    return part is Ellipsis or (isinstance(part, slice) and part.start is part.stop is part.step is None)


def _set_at_one_bool(self: Tensor, mask: Any, value: Value) -> None:
    """`x[mask] = value` of a mask without dimensions: all of `x` is written, or nothing."""
    if is_recorded(mask):
        written = fitting(written_value(self, value), (1, *self.shape))
        if written.ndim > self.ndim:
            written = reshaped(written, tuple(written.shape[1:]))
        rebind(self, where(tensor(mask), written, self))
    elif mask:
        _setitem(self, ..., value)


def _set_concrete(self: Array, key: Any, value: Value) -> None:
    """`x[key] = value` of a concrete tensor, which becomes a recorded one where the value or the key is recorded."""
    key = as_key(key)
    parts = key if isinstance(key, tuple) else (key,)
    if is_recorded(value) or has_dims(key) or any(is_recorded(part) for part in parts):
        become_recorded(self)
        _setitem(self, key, value)
        return
    array = self.writeable()
    _refuse_hazards(self, key, value)
    _assign_numpy(array, key, value.numpy() if isinstance(value, Array) else value)


def _assign_numpy(array: np.ndarray, key: Any, value: Any) -> None:
    if (lone := _lone_bool(key)) is not None:
        if lone:
            _assign_numpy(array, ..., value)
        return
    target, indices = _basic_numpy(array, _parse(array.shape, key))
    value = np.asarray(value)
    place: Any = indices if indices is not None else ...
    shape = target[place].shape
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value[0]
    if value.size > 1:
        refuse_overlap(target)
    try:
        target[place] = np.broadcast_to(value, shape)
    except ValueError:
        raise ShapeError(
            "the value that is written does not fit", expected=format_shape(shape), found=format_shape(value.shape)
        ) from None


def _is_that_view(x: Tensor, key: Any, value: Tensor) -> bool:
    """Whether `value` is x[key], the view itself."""
    alias = value.alias
    if alias is None or alias.base is not x or any(_is_mask(i) for i in (key if isinstance(key, tuple) else (key,))):
        return False
    entries = _parse(x.shape, key)
    if any(e.kind == "index" for e in entries) or Size(e.size for e in entries if e.kind != "int") != value.shape:
        return False
    taken = [e for e in entries if e.kind != "new"]
    parts = [layer for layer in alias.chain(value) if isinstance(layer, Slice)]
    if len(parts) != 1 or any(layer.reorders for layer in alias.chain(value)):
        return False
    region = tuple(tuple(getattr(e, name) for e in taken) for name in ("start", "size", "step"))
    return region == (tuple(parts[0].start), tuple(parts[0].shape), tuple(parts[0].stride))


def _positions(x: Tensor, key: Any) -> tuple[Any, ...] | None:
    """For each dimension the one position that a key names, or None."""
    if any(_is_mask(item) for item in (key if isinstance(key, tuple) else (key,))):
        return None
    found: list[Any] = []
    for entry in _parse(x.shape, key):
        if entry.kind == "index":
            one = isinstance(entry.index, np.ndarray) and entry.index.size == 1
            found.append(int(entry.index.reshape(-1)[0]) if one else None)
        elif entry.kind != "new":
            single = entry.kind == "int" or (isinstance(entry.size, int) and entry.size == 1)
            found.append(entry.start if single else None)
    return tuple(found)


def _write_slice(x: Tensor, layer: Slice, value: Tensor, positions: Any) -> Tensor:
    """Record `x` with `value` in the place of a slice of it."""
    if layer.is_computed:
        return cutting.written(x, layer, value)
    if layer.expands:  # of what shares one place in memory, the position that was written to
        repeated = [isinstance(step, int) and step == 0 for step in layer.stride]
        for axis, (position, again) in enumerate(zip(positions, repeated)):
            if again and isinstance(position, Tensor):
                value = emit(Gather((value, reshaped(position, (1,))), axis=axis))
        start = tuple(
            0 if position is None or isinstance(position, Tensor) or not again else position
            for position, again in zip(positions, repeated)
        )
        shape = tuple(1 if again else size for size, again in zip(value.shape, repeated))
        return sliced(value, start, shape, (1,) * value.ndim)
    parts: Any = zip(layer.start, layer.shape, layer.stride)
    return _written(x, 0, [_Entry("slice", *part) for part in parts], value)


writers[Slice] = _write_slice
setattr(Tensor, "__setitem__", refusing(_setitem))  # noqa: B010
setattr(Array, "__setitem__", refusing(_set_concrete))  # noqa: B010


def written_value(x: Tensor, value: Value, exact: bool = True) -> Tensor:
    """What is written into `x`, in its dtype: whole numbers into any type, and, unless `exact`, floats cut off into
    whole numbers and bools of what is not 0."""
    if is_scalar(value):
        return scalar(_number(value, x.dtype), x.dtype, 0)
    made = tensor(value)
    kinds = category(made.dtype.numpy), category(x.dtype.numpy)
    if kinds[0] < kinds[1] or kinds == (1, 1) or (kinds[0] > kinds[1] and not exact):
        made = converted(made, x.dtype)
    if made.dtype is not x.dtype:
        raise DtypeError(
            "the value that is written has another dtype",
            expected=x.dtype,
            found=made.dtype,
            remedy=f"convert it: .to(trtnet.{x.dtype})",
        )
    return made


def _number(value: Any, dtype: dtypes.dtype) -> Any:
    """A number as torch writes it into a tensor: into bools whether it is 0, into whole numbers without fraction."""
    number = value.item() if isinstance(value, (Array, np.generic)) else value
    if dtype is dtypes.bool_:
        return number != 0
    if isinstance(number, float) and not dtype.is_floating_point and math.isfinite(number):
        return int(number)
    return number


def _assigned(x: Tensor, key: Any, value: Value) -> Tensor:
    parts = _parts(key)
    has_indices = any(isinstance(part, (Tensor, np.ndarray)) for part in parts)
    written = written_value(x, value, exact=has_indices)
    if has_indices:
        chosen = _chosen(x, parts, written)
        if chosen is not None:
            return chosen
    entries = _parse(x.shape, key)
    if has_indices:
        return _scattered(x, entries, written)
    shape = tuple(e.size for e in entries if e.kind != "int")
    target = expanded(fitting(written, shape), shape)
    taken = [e for e in entries if e.kind != "new"]
    return _written(x, 0, taken, reshaped(target, tuple(e.size for e in taken)))


def _chosen(x: Tensor, parts: list[Any], written: Tensor) -> Tensor | None:
    """`x` with a value at one mask, as a choice between the two; None where more than a mask is in the key, or the
    value holds one element for each that the mask selects."""
    at = [i for i, part in enumerate(parts) if _is_mask(part)]
    if len(at) != 1 or not all(_is_whole(part) for i, part in enumerate(parts) if i != at[0]):
        return None
    mask = tensor(parts[at[0]] if isinstance(parts[at[0]], Tensor) else Array(parts[at[0]]))
    axis = x.ndim - mask.ndim - (len(parts) - 1 - at[0]) if Ellipsis in parts[: at[0]] else at[0]
    after = x.ndim - mask.ndim - axis
    if min(axis, after) < 0:
        return None  # too many indices
    check_mask(x.shape, mask, axis)
    while written.ndim > axis + 1 + after and written.shape[0] == 1:
        written = reshaped(written, tuple(written.shape[1:]))
    if written.ndim > after:
        behind = written.ndim - after
        if written.shape[behind - 1] == 1:
            shape = written.shape
            written = reshaped(written, (*shape[: behind - 1], *(1,) * mask.ndim, *shape[behind:]))
        elif behind == axis + 1 and (whole := spread(written, mask, axis)) is not None:
            written = whole
        else:
            return None
    return where(reshaped(mask, (*mask.shape, *(1,) * after)), written, x)


def fitting(value: Tensor, shape: tuple[SizeLike, ...]) -> Tensor:
    """A value that broadcasts to `shape`; leading dimensions of size 1 that are too many fall off, as in torch."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshaped(value, tuple(value.shape[1:]))
    if value.ndim > len(shape) or broadcast_shapes(shape, value.shape) != Size(shape):
        raise ShapeError(
            "the value that is written does not fit", expected=format_shape(shape), found=format_shape(value.shape)
        )
    return value


def _written(x: Tensor, axis: int, entries: list[_Entry], value: Tensor) -> Tensor:
    """`x` with `value` in the region that the entries of the dimensions from `axis` on name."""
    if axis == len(entries):
        return value
    entry = entries[axis]
    start, size, step = entry.start, entry.size, 1 if entry.size == 1 else entry.step
    if size == 0:
        return x
    if start == 0 and size == x.shape[axis] and step == 1:
        return _written(x, axis + 1, entries, value)
    inner = _written(part(x, axis, start, size, step), axis + 1, entries, value)
    if step == 1:
        end = start + size
        pieces = [part(x, axis, 0, start)] if start != 0 else []
        pieces.append(inner)
        if end != x.shape[axis]:
            pieces.append(part(x, axis, end, x.shape[axis] - end))
        return cat(pieces, axis)
    length = x.shape[axis]
    if has_dims(length, start, size):
        taken, places = _every(step, length, start, size)
        if (size if isinstance(size, int) else size.bounds[0]) < 1:  # something to take where there is nothing
            inner = cat([inner, part(x, axis, 0, 1)], axis)
        spread_out = emit(Gather((inner, places), axis=axis))
        return where(reshaped(taken, (length, *(1,) * (x.ndim - axis - 1))), spread_out, x)
    assert isinstance(length, int)
    assert isinstance(start, int)
    assert isinstance(size, int)
    at = np.arange(length) - start
    inside = (at >= 0) & (at % step == 0) & (at // step < size)
    spread_out = emit(Gather((inner, constant(np.clip(at // step, 0, size - 1))), axis=axis))
    return where(constant(inside.reshape(-1, *(1,) * (x.ndim - axis - 1))), spread_out, x)


def _every(step: int, length: SizeLike, start: SizeLike, size: SizeLike) -> tuple[Tensor, Tensor]:
    """Of the positions of a dynamic size those that a slice with a step takes, and the element of it that each is."""
    if (length if isinstance(length, int) else length.bounds[0]) < 1:
        raise UnsupportedError(
            "writing with a step needs a dimension that is never empty",
            expected="at least 1 element",
            found=f"{length} elements",
            remedy="give the Dim a larger min",
        )
    at = sub(tensor(arange(length)), size_tensor(start))
    place = floor_divide(at, step)
    taken = logical_and(logical_and(ge(at, 0), eq(remainder(at, step), 0)), lt(place, size_tensor(size)))
    return taken, least(clamp(place, min=0), size_tensor(maximum(size - 1, 0)))


def _scattered(x: Tensor, entries: list[_Entry], value: Tensor) -> Tensor:
    """`x` with a value at indices of some of its dimensions."""
    return written_at(x, {axis: e.index for axis, e in enumerate(entries) if e.kind == "index"}, value)


def written_at(x: Tensor, indices: dict[int, Any], value: Tensor) -> Tensor:
    """`x` with a value at indices (recorded, or arrays) of the dimensions that they are given for.

    Constant indices choose between the tensor and the value, which fuses with what is around. TensorRT 8.6.1 has no
    implementation of some scatters with dynamic sizes.
    """
    axes = list(indices)
    others = [axis for axis in range(x.ndim) if axis not in indices]
    order = (*axes, *others)
    front: tuple[SizeLike, ...] = tuple(broadcast_shapes(*(i.shape for i in indices.values())))
    after = tuple(x.shape[a] for a in others)
    # where the new dimensions are in x[key], to which the value broadcasts
    adjacent = axes == list(range(axes[0], axes[-1] + 1))
    count = sum(1 for a in others if a < axes[0]) if adjacent else 0
    shape = (*after[:count], *front, *after[count:])
    value = fitting(value, shape)
    arrays = {axis: i for axis, i in indices.items() if isinstance(i, np.ndarray) and i.size}
    ends = _ends(x, arrays)
    if len(arrays) == len(axes) and math.prod(ends) <= MOST_CHOSEN:
        named, value = list(arrays.values()), with_rank(value, len(shape))
        return _written_in_front(x, axes, [int(end) for end in ends], named, value, count)
    stacked = _stacked(list(indices.values()))
    updates = transposed(
        expanded(value, shape),
        (*range(count, count + len(front)), *range(count), *range(count + len(front), len(shape))),
    )
    made = emit(Scatter((transposed(x, order), stacked, updates), mode="ND"))
    return transposed(made, tuple(int(i) for i in np.argsort(order)))


def _ends(x: Tensor, indices: dict[int, np.ndarray]) -> list[float]:
    """For each dimension its size; of a dynamic one the end of what the indices name, infinity where that may be more
    than there is."""
    found: list[float] = []
    for axis, index in indices.items():
        size, end = x.shape[axis], int(index.max()) + 1
        fits = isinstance(size, int) or (int(index.min()) >= 0 and end <= size.bounds[0])
        found.append((size if isinstance(size, int) else end) if fits else math.inf)
    return found


def _written_in_front(
    x: Tensor, axes: list[int], ends: list[int], indices: list[np.ndarray], value: Tensor, count: int
) -> Tensor:
    """`x` with a value at constant indices: of a dynamic dimension within its first elements, up to its end in `ends`,
    which are as many in every call."""
    for axis, end in zip(axes, ends):
        length = x.shape[axis]
        if isinstance(length, Dim):
            first = part(x, axis, 0, end)
            made = _written_in_front(first, axes, ends, indices, value, count)
            return cat([made, part(x, axis, end, length - end)], axis)
    return _chosen_at(x, axes, ends, indices, value, count)


def _chosen_at(
    x: Tensor, axes: list[int], sizes: list[int], indices: list[np.ndarray], value: Tensor, count: int
) -> Tensor:
    """`x` with a value at constant indices of dimensions of fixed sizes. The indices' dimensions of the value follow
    `count` others."""
    front = np.broadcast_shapes(*(i.shape for i in indices))
    which = np.full(sizes, -1)
    which[tuple(np.broadcast_arrays(*indices))] = np.arange(math.prod(front)).reshape(front)
    taken = which >= 0
    before, behind = tuple(value.shape[:count]), tuple(value.shape[count + len(front) :])
    own = tuple(value.shape[count : count + len(front)])
    if all(isinstance(size, int) and size == 1 for size in own):
        spread_out = reshaped(value, (*before, *(1,) * len(axes), *behind))
    else:
        value = expanded(value, (*before, *front, *behind))
        flat = reshaped(value, (*before, math.prod(front), *behind))
        spread_out = emit(Gather((flat, constant(np.maximum(which, 0))), axis=count))
    if count == 0:  # the indexed dimensions come first
        others = [axis for axis in range(x.ndim) if axis not in axes]
        back = tuple(int(i) for i in np.argsort((*axes, *others)))
        spread_out = transposed(spread_out, back)
    if taken.all():
        return expanded(spread_out, tuple(x.shape))
    mask = np.reshape(taken, [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)])
    return where(constant(mask), spread_out, x)
