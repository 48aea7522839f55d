"""Elements by rank, and running extremes. Names, signatures and defaults as torch's.

Running extremes and sums of exponentials are made of as many shifted steps as the size has binary digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike, ceil_divide, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.tensor import Array, Tensor
from ..layers.base import require_floating
from ..layers.casting import converted
from ..layers.shaping import expanded, reshaped
from .arithmetic import add, maximum, mul, neg, sub
from .comparison import clamp, eq, ge, isnan, logical_and, logical_not, logical_or, lt, where
from .creation import arange, filled
from .dispatch import Axes, Value, axis_of, operation, refusing, scalar, size_tensor, tensor
from .joining import cat
from .math import lerp, round
from .picking import gather, index_select
from .reduction import any as any_of
from .slicing import part
from .sorting import argmax, ranked, sort
from .unary import abs, ceil, exp, floor, log

__all__ = ["cummax", "cummin", "kthvalue", "logcumsumexp", "median", "nanquantile", "quantile"]


class Ranked(NamedTuple):
    """Values, and where they are (int64)."""

    values: Any
    indices: Any


# --- by rank ----------------------------------------------------------------------------------------------------------


def _kth(x: Tensor, k: SizeLike, axis: int, keepdim: bool) -> Ranked:
    size = x.shape[axis]
    op, count = "MIN", k
    if isinstance(size, int) and isinstance(k, int) and size - k + 1 < k:  # the shorter way, from the other end
        op, count = "MAX", size - k + 1
    found = [part(t, axis, count - 1, 1) for t in ranked(x, op, count, axis)]
    if not keepdim:
        found = [reshaped(t, (*t.shape[:axis], *t.shape[axis + 1 :])) for t in found]
    return Ranked(*found)


def _numbers(name: str, dtype: Dtype) -> None:
    if dtype is dtypes.bool_:
        raise DtypeError(f"{name} takes numbers", expected="numbers", found="bool", remedy="x.int()")


def _kthvalue_numpy(input: np.ndarray, k: int, dim: int = -1, keepdim: bool = False) -> Ranked:
    _numbers("kthvalue", dtypes.get(input.dtype))
    if not input.ndim:
        return Ranked(input, np.zeros((), np.int64))
    axis = axis_of(dim, input.ndim)
    _in_range(k, input.shape[axis])
    at = np.take(np.argsort(input, axis, kind="stable"), [k - 1], axis)
    found = np.take_along_axis(input, at, axis), at
    return Ranked(*found) if keepdim else Ranked(*(v.squeeze(axis) for v in found))


def _in_range(k: int, size: SizeLike) -> None:
    low = size if isinstance(size, int) else size.bounds[0]
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= low:
        raise ArgumentError("kthvalue: k is out of range", expected=f"1 to {low}", found=k)


@operation(_kthvalue_numpy, method=True)
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Ranked:
    """The k-th smallest element along `dim` (k from 1) and where it is (int64); NaN comes last.

    Which of several equal elements it is is TensorRT's choice. Of the k smallest and the k largest the fewer are
    found: at most 3840.

    Layers of the example: `shuffle`, `topk`, `cast`, `slice`.

    >>> [x.tolist() for x in trtnet.kthvalue(trtnet.tensor([3.0, 1.0, 2.0]), 2)]
    [2.0, 2]
    """
    x = tensor(input)
    _numbers("kthvalue", x.dtype)
    if not x.ndim:
        return Ranked(x.clone(), tensor(0))
    axis = axis_of(dim, x.ndim)
    _in_range(k, x.shape[axis])
    return _kth(x, int(k), axis, keepdim)


def _median_along_numpy(input: np.ndarray, dim: int, keepdim: bool) -> Ranked:
    if not input.ndim:
        return Ranked(input, np.zeros((), np.int64))
    axis = axis_of(dim, input.ndim)
    found = _kthvalue_numpy(input, (input.shape[axis] + 1) // 2, axis, True)
    if input.dtype.kind not in "iub":
        bad = np.isnan(input)
        where_bad = bad.any(axis, keepdims=True)
        found = Ranked(
            np.where(where_bad, np.asarray(np.nan, input.dtype), found.values),
            np.where(where_bad, bad.argmax(axis, keepdims=True), found.indices),
        )
    return found if keepdim else Ranked(*(v.squeeze(axis) for v in found))


@operation(_median_along_numpy)
def _median_along(input: Tensor, dim: int, keepdim: bool) -> Ranked:
    x = tensor(input)
    if not x.ndim:
        return Ranked(x.clone(), tensor(0))
    axis = axis_of(dim, x.ndim)
    values, indices = _kth(x, ceil_divide(x.shape[axis], 2), axis, keepdim)
    if not x.dtype.is_floating_point:
        return Ranked(values, indices)
    bad = isnan(x)
    spoilt = any_of(bad, axis, keepdim)
    first = argmax(converted(bad, dtypes.int32), axis, keepdim)
    return Ranked(where(spoilt, math.nan, values), where(spoilt, first, indices))


@refusing
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, of an even number the lower one; NaN where there is one.

    Without `dim` of all elements; with it values along the dimension, and where they are (int64). At most 3840
    elements are put in order.

    >>> trtnet.median(trtnet.tensor([3.0, 1.0, 2.0])).item()
    2.0
    """
    x = input
    _numbers("median", x.dtype)
    if dim is not None:
        return _median_along(x, dim, keepdim)
    return _median_along(x.reshape(-1), 0, False).values


Tensor.median = median  # type: ignore[attr-defined]


# --- between ranks ----------------------------------------------------------------------------------------------------

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantiles(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str) -> Tensor:
    """Both quantiles, of the functions that record and compute alike."""
    if interpolation not in _INTERPOLATIONS:
        raise ArgumentError(f"{name}: there is no such interpolation", expected=_INTERPOLATIONS, found=interpolation)
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise DtypeError(
            f"{name} takes float32", expected="float32", found=input.dtype, remedy="convert it first: x.float()"
        )
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise ArgumentError(f"{name}: q is a share of the elements", expected="0 to 1", found=q)
        q = Array(np.asarray(q, input.dtype.numpy))
    if q.ndim > 1 or q.dtype is not input.dtype:
        raise ArgumentError(f"{name}: q is a number or a vector of the input's dtype", found=repr(q))
    if type(q) is Array and not ((q.numpy() >= 0) & (q.numpy() <= 1)).all():
        raise ArgumentError(f"{name}: q is a share of the elements", expected="0 to 1", found=q.tolist())
    x = (input.reshape(-1) if dim is None else input.reshape(1) if not input.ndim else input.movedim(dim, -1)).clone()
    if isinstance(x.shape[-1], int) and not x.shape[-1]:
        raise ShapeError(f"{name} of no elements", found=format_shape(input.shape))
    made = _at_ranks(x, q.reshape(-1), interpolation, name == "nanquantile")
    if not q.ndim:
        made = made.squeeze(-1)
        return made if not keepdim else made.reshape((1,) * input.ndim) if dim is None else _restored(made, input, dim)
    made = made.movedim(-1, 0)
    if not keepdim:
        return made.reshape(-1) if not input.ndim else made
    return made.reshape((-1, *(1,) * input.ndim)) if dim is None else _restored(made, input, dim, 1)


def _restored(made: Tensor, input: Tensor, dim: int, before: int = 0) -> Tensor:
    """With a dimension of size 1 in the place of the one that is gone."""
    if not input.ndim:
        return made.reshape(made.shape[:before])
    return made.unsqueeze(axis_of(dim, input.ndim) + before)


def _at_ranks(x: Tensor, q: Any, interpolation: str, is_among_numbers: bool) -> Tensor:
    """What lies at these shares of the last dimension: a last dimension of as many elements as `q` has."""
    bad = isnan(x)
    values = sort(where(bad, math.inf, x) if is_among_numbers else x, -1).values
    last: Any = x.shape[-1] - 1
    if is_among_numbers:
        last = sub(logical_not(bad).sum(-1, True), 1)
        ranks = clamp(mul(q, last.to(q.dtype)), min=0)
    else:
        ranks = mul(q, last if isinstance(last, int) else size_tensor(last, q.dtype))
    if interpolation in ("lower", "higher", "nearest"):
        ranks = {"lower": floor, "higher": ceil, "nearest": round}[interpolation](ranks)
    below = floor(ranks)

    def at(places: Tensor) -> Tensor:
        places = places.long()
        return gather(values, -1, places) if is_among_numbers else index_select(values, -1, places)

    made = at(below)
    if interpolation in ("linear", "midpoint"):
        weight = sub(ranks, below) if interpolation == "linear" else 0.5
        made = lerp(made, at(ceil(ranks)), weight)
    spoilt = lt(last, 0) if is_among_numbers else any_of(bad, -1, True)
    return where(spoilt, math.nan, made)


def _quantile_numpy(name: str) -> Callable[..., np.ndarray]:
    def compute(
        input: np.ndarray,
        q: np.ndarray | float,
        dim: Axes = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> Any:
        given = Array(q) if isinstance(q, np.ndarray) else q
        return _quantiles(name, Array(input), given, dim, keepdim, interpolation).numpy()

    return compute


@operation(_quantile_numpy("quantile"), method=True, strided=True, order="natural")
def quantile(
    input: Tensor, q: Value, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """What lies at the share `q` of the elements along `dim` in their order, of all without `dim`; NaN where one is.

    Args:
        q: 0 to 1: a number, or a vector, for each element of which the result has a place in a new first dimension.
        interpolation: what stands between two elements: "linear", "lower", "higher", "midpoint" or "nearest".

    Takes float32, and at most 3840 elements, as `sort`.

    >>> trtnet.quantile(trtnet.tensor([4.0, 1.0, 3.0, 2.0]), 0.5).item()
    2.5
    """
    return _quantiles("quantile", tensor(input), q, dim, keepdim, interpolation)


@operation(_quantile_numpy("nanquantile"), method=True, strided=True, order="natural")
def nanquantile(
    input: Tensor, q: Value, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """As `quantile`, of the elements that are no NaN; NaN where there is none.

    >>> trtnet.nanquantile(trtnet.tensor([4.0, float("nan"), 2.0]), 0.5).item()
    3.0
    """
    return _quantiles("nanquantile", tensor(input), q, dim, keepdim, interpolation)


# --- running ----------------------------------------------------------------------------------------------------------


def _longest(size: SizeLike) -> int:
    return size if isinstance(size, int) else size.bounds[1]


def _earlier(x: Tensor, axis: int, by: int, neutral: float) -> Tensor:
    """`x` moved by some places along an axis, with a value in front."""
    shape = tuple(by if a == axis else s for a, s in enumerate(x.shape))
    return part(cat([filled(shape, neutral, x.dtype), x], axis), axis, 0, x.shape[axis])


def _extremes_numpy(largest: bool) -> Callable[..., Any]:
    def compute(input: np.ndarray, dim: int) -> Any:
        if not input.ndim:
            return Ranked(input, np.zeros((), np.int64))
        axis = axis_of(dim, input.ndim)
        values = np.moveaxis(input, axis, 0).copy()
        indices = np.zeros(values.shape, np.int64)
        for i in range(1, len(values)):
            new, old = values[i], values[i - 1]
            with np.errstate(invalid="ignore"):
                later = (new != new) | ((old == old) & ((new >= old) if largest else (new <= old)))
            indices[i] = np.where(later, i, indices[i - 1])
            values[i] = np.where(later, new, old)
        return Ranked(np.moveaxis(values, 0, axis), np.moveaxis(indices, 0, axis))

    return compute


def _extremes(x: Tensor, dim: int, largest: bool) -> Ranked:
    if not x.ndim:
        return Ranked(x.clone(), tensor(0))
    axis, dtype = axis_of(dim, x.ndim), x.dtype
    if dtype is dtypes.bool_:
        x = converted(x, dtypes.int32)
    size = x.shape[axis]
    if x.dtype.is_floating_point:
        neutral: Any = -math.inf if largest else math.inf
    else:
        limits = np.iinfo(x.dtype.numpy)
        neutral = int(limits.min if largest else limits.max)
    places = reshaped(tensor(arange(size)), tuple(size if a == axis else 1 for a in range(x.ndim)))
    values, indices = x, expanded(places, tuple(x.shape))
    reach = 1
    while reach < _longest(size):
        old, before = _earlier(values, axis, reach, neutral), _earlier(indices, axis, reach, 0)
        later = ge(values, old) if largest else ge(old, values)
        if x.dtype.is_floating_point:
            later = logical_or(isnan(values), logical_and(logical_not(isnan(old)), later))
        values, indices = where(later, values, old), where(later, indices, before)
        reach *= 2
    return Ranked(converted(x.clone() if values is x else values, dtype), indices)


@operation(_extremes_numpy(True), method=True)
def cummax(input: Tensor, dim: int) -> Ranked:
    """The largest element up to each one along `dim`, and where it is (int64): of equal ones the last; NaN stays.

    >>> [x.tolist() for x in trtnet.cummax(trtnet.tensor([1.0, 3.0, 2.0]), 0)]
    [[1.0, 3.0, 3.0], [0, 1, 1]]
    """
    return _extremes(tensor(input), dim, True)


@operation(_extremes_numpy(False), method=True)
def cummin(input: Tensor, dim: int) -> Ranked:
    """The smallest element up to each one along `dim`, and where it is (int64): of equal ones the last; NaN stays.

    >>> [x.tolist() for x in trtnet.cummin(trtnet.tensor([3.0, 1.0, 2.0]), 0)]
    [[3.0, 1.0, 1.0], [0, 1, 1]]
    """
    return _extremes(tensor(input), dim, False)


def _logcumsumexp_numpy(input: np.ndarray, dim: int) -> np.ndarray:
    if dtypes.get(input.dtype).is_floating_point and input.ndim:
        with np.errstate(invalid="ignore"):
            return np.logaddexp.accumulate(input, axis_of(dim, input.ndim)).astype(input.dtype, copy=False)
    return input


@operation(_logcumsumexp_numpy, method=True)
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the sum of exp(x) up to each element along `dim`, without overflow.

    >>> trtnet.logcumsumexp(trtnet.tensor([0.0, 0.0]), 0).numpy().round(3)
    array([0.   , 0.693], dtype=float32)
    """
    x = tensor(input)
    require_floating("logcumsumexp", x)
    if not x.ndim:
        return x.clone()
    axis = axis_of(dim, x.ndim)
    made, reach = x, 1
    while reach < _longest(x.shape[axis]):
        old = _earlier(made, axis, reach, -math.inf)
        apart = where(eq(made, old), scalar(0, x.dtype, x.ndim), neg(abs(sub(made, old))))  # not inf - inf
        made = add(maximum(made, old), log(add(exp(apart), 1.0)))
        reach *= 2
    return made.clone() if made is x else made
