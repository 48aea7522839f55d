"""Values put, added and reduced by index. Names, signatures and defaults as torch's.

TensorRT's scatter writes, and where two indices are the same either update may stay. What adds up, multiplies or
compares what has one index is composed: each position looks at all updates, chooses those that are its own, and reduces
them. That is exact (an infinite value meets no other position), and takes memory for updates times positions, which is
why very large ones raise. Indices are not negative, as in torch; of those that are out of range computed ones change
nothing, and constant ones raise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import Size, SizeLike, format_shape, product
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.casting import Identity, converted
from ..layers.gather import Scatter
from ..layers.reduction import Reduce
from ..layers.shaping import expanded, reshaped
from .arithmetic import add, div, floor_divide, maximum, minimum, mul
from .broadcasting import broadcast_shapes
from .comparison import eq, ge, logical_and, lt, masked_fill, where
from .creation import arange, filled
from .dispatch import Value, axis_of, is_recorded, operation, scalar, tensor
from .indexing import counted_from_start, fitting, from_start, recorded_index
from .inplace import install
from .joining import cat
from .shape import transposed
from .slicing import sliced

__all__ = [
    "index_add", "index_copy", "index_fill", "index_put", "index_reduce", "scatter_add", "scatter_reduce",
]  # fmt: skip

MOST = 1 << 28
"""Updates times positions beyond which a composed reduction raises."""

_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


# --- what has one index, reduced --------------------------------------------------------------------------------------


def _checked(name: str, x: Tensor, source: Any, index: Any) -> tuple[Tensor, Tensor]:
    made = tensor(source)
    if made.dtype is not x.dtype:
        raise DtypeError(
            f"{name} takes updates of the tensor's dtype",
            expected=x.dtype,
            found=made.dtype,
            remedy=f"convert them: .to(trtnet.{x.dtype})",
        )
    i = recorded_index(index) if isinstance(index, np.ndarray) else tensor(index)
    if i.dtype not in (dtypes.int64, dtypes.int32):
        raise DtypeError("indices are whole numbers", expected="int64 or int32", found=i.dtype, remedy="index.long()")
    return made, i


def _reduced(x: Tensor, axis: int, index: Tensor, source: Tensor, op: str, neutral: Value) -> tuple[Tensor, Tensor]:
    """For each position of `axis` what `op` makes of the updates that are its own, and how many they are (int32).

    `index` and `source` have the rank of `x` and broadcast.
    """
    shape = broadcast_shapes(index.shape, source.shape)
    count: SizeLike = product((*shape, x.shape[axis]))
    most = count if isinstance(count, int) else count.bounds[1]
    if most > MOST:
        raise UnsupportedError(
            "TensorRT's scatter adds nothing up, and so many updates times positions take too much memory",
            expected=f"at most {MOST:,}",
            found=f"{most:,}: updates {format_shape(shape)}, {x.shape[axis]} positions",
            remedy="of finite values, one_hot(index, size).to(x.dtype).T @ source adds up rows",
        )
    places = tensor(arange(x.shape[axis]))
    mine = eq(index.unsqueeze(-1), reshaped(places, (*(1,) * len(shape), x.shape[axis])))
    updates = source.unsqueeze(-1)
    made = emit(Reduce((where(mine, updates, neutral),), op, (axis,), False))
    hits = emit(Reduce((converted(mine, dtypes.int32),), "SUM", (axis,), False))
    rank = len(shape)
    # the positions come last: back to where the axis was
    order = (*range(axis), rank - 1, *range(axis, rank - 1))
    return transposed(made, order), transposed(hits, order)


def _whole(part: Tensor, like: Tensor, axis: int, value: Value) -> Tensor:
    """`part`, filled up with a value behind where `like` is larger in the other dimensions."""
    for a, (size, wanted) in enumerate(zip(part.shape, like.shape)):
        if a == axis or size == wanted or (isinstance(size, int) and size == 1 and a != axis and not part.ndim):
            continue
        shape = tuple(wanted - size if b == a else s for b, s in enumerate(part.shape))
        part = cat([part, filled(shape, value, part.dtype)], a)
    return part


def _apply(
    x: Tensor, axis: int, index: Tensor, source: Tensor, reduce: str, include_self: bool, alpha: float = 1
) -> Tensor:
    low, high = _bounds(x.dtype)
    op, neutral = {
        "sum": ("SUM", 0), "mean": ("SUM", 0), "prod": ("PROD", 1), "amax": ("MAX", low), "amin": ("MIN", high),
    }[reduce]  # fmt: skip
    made, hits = _reduced(x, axis, index, source, op, scalar(neutral, x.dtype, x.ndim + 1))
    made, hits = _whole(made, x, axis, neutral), _whole(hits, x, axis, 0)
    if alpha != 1:
        made = mul(made, alpha)
    if include_self:
        joined = {"sum": add, "mean": add, "prod": mul, "amax": maximum, "amin": minimum}[reduce](x, made)
        if reduce == "mean":
            joined = _mean(joined, add(hits, 1))
        return joined
    if reduce == "mean":
        made = _mean(made, maximum(hits, scalar(1, hits.dtype, hits.ndim)))
    return where(eq(hits, 0), x, made)


def _bounds(dtype: Dtype) -> tuple[Any, Any]:
    if dtype.is_floating_point:
        return -math.inf, math.inf
    limits = np.iinfo(dtype.numpy)
    return int(limits.min), int(limits.max)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    count = converted(count, total.dtype)
    return div(total, count) if total.dtype.is_floating_point else floor_divide(total, count)


def _numpy(
    name: str, input: np.ndarray, axis: int, index: np.ndarray, src: np.ndarray, reduce: str, include_self: bool
) -> np.ndarray:
    """The same of arrays: `src` has the sizes of `index`."""
    counted_from_start(name, index, input.shape[axis], axis)
    places: list[Any] = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    at = tuple(places)
    result, hits = input.copy(), np.zeros(input.shape, np.int64)
    np.add.at(hits, at, 1)
    if not include_self:
        low, high = _bounds(dtypes.get(input.dtype))
        result[hits > 0] = {"prod": 1, "amax": low, "amin": high}.get(reduce, 0)
    function = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}.get(reduce, np.add)
    function.at(result, at, src)
    if reduce == "mean":
        count = np.maximum(hits + include_self, 1).astype(input.dtype)
        result = result // count if input.dtype.kind in "iu" else result / count
    return result.astype(input.dtype, copy=False)


# --- by one index for each update -------------------------------------------------------------------------------------


def _elements(name: str, x: Tensor, dim: int, index: Tensor, src: Tensor) -> tuple[int, Tensor, Tensor]:
    axis = axis_of(dim, x.ndim)
    source, i = _checked(name, x, src, index)
    if not is_recorded(index):
        counted_from_start(name, np.asarray(index), x.shape[axis], axis)
    if not x.ndim == i.ndim == source.ndim:
        raise ShapeError(
            f"{name} takes an index and updates of as many dimensions as the tensor",
            expected=x.ndim,
            found=f"{format_shape(i.shape)} and {format_shape(source.shape)}",
        )
    if source.shape != i.shape:
        source = sliced(source, (0,) * i.ndim, tuple(i.shape), (1,) * i.ndim)
    return axis, i, source


def _part(index: np.ndarray, src: np.ndarray) -> np.ndarray:
    return src[tuple(slice(s) for s in index.shape)]


def _scatter_add_numpy(input: np.ndarray, dim: int, index: np.ndarray, src: np.ndarray) -> np.ndarray:
    return _numpy("scatter_add", input, axis_of(dim, input.ndim), index, _part(index, src), "sum", True)


@operation(_scatter_add_numpy, method=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with each element of `src` added along `dim` at the element of `index` in its place.

    >>> trtnet.scatter_add(trtnet.tensor([1.0, 2.0]), 0, trtnet.tensor([1, 1]), trtnet.tensor([10.0, 20.0])).tolist()
    [1.0, 32.0]
    """
    x = tensor(input)
    axis, i, source = _elements("scatter_add", x, dim, index, src)
    return _apply(x, axis, i, source, "sum", True)


def _known(reduce: str) -> None:
    if reduce not in _REDUCTIONS:
        raise ArgumentError("there is no such reduction", expected=", ".join(_REDUCTIONS), found=repr(reduce))


def _scatter_reduce_numpy(
    input: np.ndarray, dim: int, index: np.ndarray, src: np.ndarray, reduce: str, *, include_self: bool = True
) -> np.ndarray:
    _known(reduce)
    return _numpy("scatter_reduce", input, axis_of(dim, input.ndim), index, _part(index, src), reduce, include_self)


@operation(_scatter_reduce_numpy, method=True)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`input` reduced along `dim` with the elements of `src` that `index` sends to each place.

    Args:
        reduce: "sum", "prod", "mean" (of integers rounded down), "amax" or "amin".
        include_self: whether the input's own element takes part where updates come.

    >>> index, values = trtnet.tensor([1, 1]), trtnet.tensor([10.0, 20.0])
    >>> trtnet.scatter_reduce(trtnet.tensor([1.0, 2.0]), 0, index, values, "amax").tolist()
    [1.0, 20.0]
    """
    _known(reduce)
    x = tensor(input)
    axis, i, source = _elements("scatter_reduce", x, dim, index, src)
    return _apply(x, axis, i, source, reduce, include_self)


_NAMES = {"add": "sum", "multiply": "prod"}


def _named(reduce: str) -> str:
    if reduce not in _NAMES:
        raise ArgumentError("scatter has no such reduction", expected="add or multiply", found=repr(reduce))
    return _NAMES[reduce]


def scatter_reduced(x: Tensor, dim: int, index: Any, src: Any, reduce: str) -> Tensor:
    """`scatter` with a reduction; `src` may be a number."""
    reduce = _named(reduce)
    if isinstance(src, (bool, int, float)):
        i = recorded_index(index) if isinstance(index, np.ndarray) else tensor(index)
        src = expanded(scalar(src, x.dtype, i.ndim), tuple(i.shape))
    axis, i, source = _elements("scatter", x, dim, index, src)
    return _apply(x, axis, i, source, reduce, True)


def scatter_reduced_numpy(input: np.ndarray, dim: int, index: np.ndarray, src: np.ndarray, reduce: str) -> np.ndarray:
    source = _part(index, src) if isinstance(src, np.ndarray) and src.ndim else np.full(index.shape, src, input.dtype)
    return _numpy("scatter", input, axis_of(dim, input.ndim), index, source, _named(reduce), True)


# --- by one index for each slice --------------------------------------------------------------------------------------


def _slices(name: str, x: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[int, Tensor, Tensor]:
    """The axis, the index over it with the tensor's rank, and the updates."""
    axis = axis_of(dim, x.ndim)
    updates, i = _checked(name, x, source, index)
    if i.ndim > 1 or updates.ndim != x.ndim:
        raise ShapeError(
            f"{name} takes a 1-D index, and updates of as many dimensions as the tensor",
            expected=f"(n,) and {x.ndim} dimensions",
            found=f"{format_shape(i.shape)} and {format_shape(updates.shape)}",
        )
    if not is_recorded(index):
        counted_from_start(name, np.asarray(index), x.shape[axis], axis)
    count = i.shape[0] if i.ndim else 1
    wanted = Size((*x.shape[:axis], count, *x.shape[axis + 1 :]))
    if broadcast_shapes(wanted, updates.shape) != wanted:
        raise ShapeError(
            f"{name}: the updates do not fit", expected=format_shape(wanted), found=format_shape(updates.shape)
        )
    return axis, reshaped(i, (*(1,) * axis, count, *(1,) * (x.ndim - axis - 1))), updates


def _at(axis: int, index: np.ndarray) -> Any:
    return (*(slice(None),) * axis, np.atleast_1d(index))


def _index_add_numpy(
    input: np.ndarray, dim: int, index: np.ndarray, source: np.ndarray, *, alpha: float = 1
) -> np.ndarray:
    axis, result = axis_of(dim, input.ndim), input.copy()
    counted_from_start("index_add", index, input.shape[axis], axis)
    np.add.at(result, _at(axis, index), source * np.asarray(alpha, source.dtype))
    return result


@operation(_index_add_numpy, method=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """`input` with the slices of `source` times `alpha` added to those of `dim` that a 1-D index names.

    >>> trtnet.index_add(trtnet.tensor([1.0, 2.0]), 0, trtnet.tensor([1, 1]), trtnet.tensor([10.0, 20.0])).tolist()
    [1.0, 32.0]
    """
    x = tensor(input)
    if isinstance(alpha, float) and not x.dtype.is_floating_point:
        raise DtypeError("alpha is a float number, and the tensor is of integers", expected=x.dtype, found=alpha)
    axis, i, updates = _slices("index_add", x, dim, index, source)
    return _apply(x, axis, i, updates, "sum", True, alpha)


_OF_SLICES = ("prod", "mean", "amax", "amin")


def _index_reduce_numpy(
    input: np.ndarray, dim: int, index: np.ndarray, source: np.ndarray, reduce: str, *, include_self: bool = True
) -> np.ndarray:
    _known_of_slices(reduce)
    axis = axis_of(dim, input.ndim)
    places = np.atleast_1d(index).reshape(-1, *(1,) * (input.ndim - axis - 1))
    return _numpy("index_reduce", input, axis, np.broadcast_to(places, source.shape), source, reduce, include_self)


def _known_of_slices(reduce: str) -> None:
    if reduce not in _OF_SLICES:
        raise ArgumentError(
            "index_reduce has no such reduction", expected="prod, mean, amax or amin", found=repr(reduce)
        )


@operation(_index_reduce_numpy, method=True)
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`input` reduced along `dim` with the slices of `source` that a 1-D index sends to each place.

    Args:
        reduce: "prod", "mean" (of integers rounded down), "amax" or "amin".
        include_self: whether the input's own slice takes part where updates come.

    >>> x, rows = trtnet.tensor([1.0, 5.0]), trtnet.tensor([0, 0])
    >>> trtnet.index_reduce(x, 0, rows, trtnet.tensor([3.0, 2.0]), "amax").tolist()
    [3.0, 5.0]
    """
    _known_of_slices(reduce)
    x = tensor(input)
    axis, i, updates = _slices("index_reduce", x, dim, index, source)
    shape = tuple(i.shape[axis] if a == axis else size for a, size in enumerate(x.shape))
    return _apply(x, axis, expanded(i, shape), expanded(updates, shape), reduce, include_self)


def _index_copy_numpy(input: np.ndarray, dim: int, index: np.ndarray, source: np.ndarray) -> np.ndarray:
    axis, result = axis_of(dim, input.ndim), input.copy()
    counted_from_start("index_copy", index, input.shape[axis], axis)
    result[_at(axis, index)] = source
    return result


@operation(_index_copy_numpy, method=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices of `source` in the place of those of `dim` that a 1-D index names.

    Where an index is there twice, either slice may stay.

    Layers of the example: `shuffle`, `scatter`.

    >>> trtnet.index_copy(trtnet.tensor([1.0, 2.0]), 0, trtnet.tensor([1]), trtnet.tensor([10.0])).tolist()
    [1.0, 10.0]
    """
    x = tensor(input)
    axis, i, updates = _slices("index_copy", x, dim, index, source)
    front = (axis, *(a for a in range(x.ndim) if a != axis))
    count = i.shape[axis]
    updates = expanded(updates, (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    places = reshaped(i, (count, 1))
    made = emit(Scatter((transposed(x, front), places, transposed(updates, front)), mode="ND"))
    return transposed(made, tuple(int(a) for a in np.argsort(front)))


def _index_fill_numpy(input: np.ndarray, dim: int, index: np.ndarray, value: float | np.ndarray) -> np.ndarray:
    result = input.copy()
    result[_at(axis_of(dim, input.ndim), index)] = value
    return result


@operation(_index_fill_numpy, method=True, order="first")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Value) -> Tensor:
    """`input` with `value` (a number, or a tensor without dimensions) in the slices of `dim` that a 1-D index names.

    Negative indices count from the end. The value is converted to the input's dtype. Raises ShapeError for a constant
    index that is out of range; a computed one that is changes nothing.

    >>> trtnet.index_fill(trtnet.tensor([1.0, 2.0]), 0, trtnet.tensor([1]), 9.0).tolist()
    [1.0, 9.0]
    """
    x = tensor(input)
    axis = axis_of(dim, x.ndim)
    _, i = _checked("index_fill", x, x, index)
    if i.ndim > 1:
        raise ShapeError("index_fill takes a 1-D index", found=format_shape(i.shape))
    size = x.shape[axis]
    places = tensor(arange(size))
    i = reshaped(_from_start(index, size, axis), (i.shape[0] if i.ndim else 1, 1))
    named = eq(i, reshaped(places, (1, size)))
    chosen = emit(Reduce((converted(named, dtypes.int32),), "SUM", (0,), False))  # of no places, too
    mask = lt(0, reshaped(chosen, (*(1,) * axis, size, *(1,) * (x.ndim - axis - 1))))
    return masked_fill(x, mask, value)


# --- by several indices -----------------------------------------------------------------------------------------------


def _index_put_numpy(
    input: np.ndarray, indices: Sequence[np.ndarray], values: np.ndarray, accumulate: bool = False
) -> np.ndarray:
    result = input.copy()
    if accumulate:
        np.add.at(result, tuple(indices), values)
    else:
        result[tuple(indices)] = values
    return result


@operation(_index_put_numpy, method=True, order="first")
def index_put(input: Tensor, indices: Sequence[Tensor], values: Value, accumulate: bool = False) -> Tensor:
    """`input` with `values` at `input[indices]`, or added there; what is named twice is then added twice.

    Without `accumulate` either of two values may stay.

    >>> trtnet.index_put(trtnet.tensor([1.0, 2.0]), (trtnet.tensor([1]),), trtnet.tensor([9.0])).tolist()
    [1.0, 9.0]
    """
    x = tensor(input)
    keys = tuple(indices)
    if not accumulate:
        written = emit(Identity((x,)))
        written[keys] = values
        return written
    if any(getattr(k, "dtype", None) is dtypes.bool_ for k in keys):
        raise UnsupportedError(
            "index_put adds at whole numbers",
            found="a mask",
            remedy="a mask names nothing twice: trtnet.where(mask, x + values, x)",
        )
    if len(keys) > x.ndim:
        raise ShapeError("too many indices", expected=f"at most {x.ndim}", found=len(keys))
    if not keys:
        raise ShapeError("index_put needs an index", expected=f"1 to {x.ndim} indices", found="none")
    for key in keys:
        updates, _ = _checked("index_put", x, values, key)
    made = [_from_start(key, x.shape[axis], axis) for axis, key in enumerate(keys)]
    shape = tuple(broadcast_shapes(*(k.shape for k in made)))
    sizes = x.shape[: len(made)]
    flat: Any = None
    for key, index, size in zip(keys, made, sizes):
        length = filled((1,) * len(shape), size, dtypes.int64)
        index = expanded(index, shape)
        if flat is None:
            flat = index
            continue
        flat = add(mul(flat, length), index)
        if is_recorded(key):  # one that is out of range changes nothing, and no other row
            flat = where(logical_and(ge(index, 0), lt(index, length)), flat, -1)
    rest = tuple(x.shape[len(made) :])
    updates = expanded(fitting(updates, (*shape, *rest)), (*shape, *rest))
    total = product(sizes)
    rows = reshaped(x, (total, *rest))
    result = index_add(rows, 0, reshaped(flat, (product(shape),)), reshaped(updates, (product(shape), *rest)))
    return reshaped(result, tuple(x.shape))


def _from_start(index: Any, size: SizeLike, axis: int) -> Tensor:
    """An index with the size added where it is negative. Raises ShapeError for a constant that is out of range."""
    if not is_recorded(index):
        return recorded_index(from_start(np.asarray(index), size, axis))
    index = converted(tensor(index), dtypes.int64)
    return where(lt(index, 0), add(index, filled((1,) * index.ndim, size, dtypes.int64)), index)


install({name: globals()[name] for name in __all__})
