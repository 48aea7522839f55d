"""Differences, distances and sets; and functions of torch's that a network of TensorRT's layers cannot have."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any, NoReturn

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError, shown
from ..graph.tensor import Array, Tensor
from .arithmetic import add, div, floor_divide, mul, remainder, sub
from .comparison import eq, ge, gt, isnan, logical_not, logical_or, ne, where
from .creation import ones_like, zeros_like
from .dispatch import Value, axis_of, operation, refusing, tensor
from .indexing import select
from .joining import cat, meshgrid, roll, stack
from .picking import index_select, narrow, unbind
from .reduction import any as any_of
from .reduction import cumsum, vector_norm
from .reduction import sum as summed
from .shape import clone, reshape, sizes_of, unsqueeze

__all__ = [
    "bincount", "bucketize", "cartesian_prod", "cdist", "combinations", "complex", "cross", "cumulative_trapezoid",
    "diff", "dist", "fft", "isin", "pdist", "polar", "searchsorted", "trapezoid", "trapz", "unique",
    "unique_consecutive", "unravel_index", "vander", "view_as_complex", "view_as_real",
]  # fmt: skip

MOST_CHOICES = 1 << 20
MOST_POWERS = 1 << 12  # a layer for each


@refusing
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The n-th difference of neighbours along one dimension; of bools, whether they differ.

    For n = 0 a copy of `input`.

    Layers of the example: `slice`, `elementwise`.

    >>> trtnet.diff(trtnet.tensor([1.0, 3.0, 6.0])).tolist()
    [2.0, 3.0]
    """
    if n < 0:
        raise ArgumentError("diff: n is how often the difference is taken", expected="at least 0", found=n)
    axis = axis_of(dim, input.ndim)
    parts = [p for p in (prepend, input, append) if p is not None]
    x = cat(parts, dim) if n and len(parts) > 1 else input
    size = x.shape[axis]
    times = min(n, size) if isinstance(size, int) else n
    if not times:
        return clone(x)
    difference = ne if x.dtype is dtypes.bool_ else sub
    for _ in range(times):
        length = x.shape[axis] - 1
        x = difference(narrow(x, dim, 1, length), narrow(x, dim, 0, length))
    return x


@refusing
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """The distances (…, P, R) between rows of (…, P, M) and rows of (…, R, M).

    Layers of the example: `shuffle`, `elementwise`, `reduce`, `unary`.

    >>> trtnet.cdist(trtnet.tensor([[0.0, 0.0]]), trtnet.tensor([[3.0, 4.0]])).tolist()
    [[5.0]]
    """
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if p == math.inf:  # torch leaves NaN out of the greatest difference
        difference = where(isnan(difference), 0.0, difference)
    return _distance(difference, p, -1)


def _distance(difference: Tensor, p: float, dim: int) -> Tensor:
    """The norm; of order 0 as torch has it for distances: a NaN is no difference that is counted, but the result."""
    if p:
        return vector_norm(difference, p, dim)
    return where(isnan(difference), difference, ne(difference, 0).to(difference.dtype)).sum(dim)


def _pairs(name: str, count: SizeLike, r: int, with_replacement: bool) -> np.ndarray:
    if not isinstance(count, int):
        raise UnsupportedError(f"{name} needs a dimension of fixed size", found=f"{count!r}")
    if not isinstance(r, int) or r < 0 or math.comb(count + (r if with_replacement else 0), r) > MOST_CHOICES:
        raise ArgumentError(
            f"{name}: each choice is recorded",
            expected=f"r of 0 or more, {MOST_CHOICES:,} choices or less",
            found=shown(r),
        )
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    return np.array(list(choose(range(count), r)), np.int64).reshape(-1, r)


@refusing
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of `r` elements of a vector of fixed size, in order, one in a row.

    >>> trtnet.combinations(trtnet.tensor([1, 2, 3])).tolist()
    [[1, 2], [1, 3], [2, 3]]
    """
    if input.ndim != 1:
        raise ShapeError("combinations takes a vector", found=format_shape(input.shape))
    places = _pairs("combinations", input.shape[0], r, with_replacement)
    return reshape(index_select(input, 0, Array(places.reshape(-1))), places.shape)


@refusing
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The distances between all rows of a matrix of a fixed number of rows: (n * (n - 1) / 2,), as in torch's order.

    >>> trtnet.functional.pdist(trtnet.tensor([[0.0], [3.0], [4.0]])).tolist()
    [3.0, 4.0, 1.0]
    """
    if input.ndim != 2:
        raise ShapeError("pdist takes a matrix", found=format_shape(input.shape))
    places = _pairs("pdist", input.shape[0], 2, False)
    first, second = (index_select(input, 0, Array(np.asarray(places[:, side], order="C"))) for side in (0, 1))
    return _distance(sub(first, second), p, 1)


@refusing
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The norm of order `p` of the difference of two tensors, which are broadcast.

    >>> trtnet.dist(trtnet.tensor([3.0, 0.0]), trtnet.tensor([0.0, 4.0])).item()
    5.0
    """
    return vector_norm(sub(input, other), p)


def _widths(name: str, y: Tensor, x: Tensor | None, dim: int) -> Tensor | None:
    """The distances between the points of `y` along `dim`: of a vector, or of what broadcasts with `y`; else None."""
    if dtypes.bool_ in (y.dtype, None if x is None else x.dtype):
        raise DtypeError(f"{name} takes numbers", expected="integers or floats", found="bool", remedy="y.int()")
    if x is None:
        return None
    axis = axis_of(dim, y.ndim)
    if x.ndim == 1:
        if isinstance(x.shape[0], int) and isinstance(y.shape[axis], int) and x.shape[0] != y.shape[axis]:
            raise ShapeError(f"{name} takes one x for each point", expected=y.shape[axis], found=x.shape[0])
        x = reshape(x, (*(1,) * axis, x.shape[0], *(1,) * (y.ndim - axis - 1)))
    elif x.ndim < y.ndim:
        x = reshape(x, (*(1,) * (y.ndim - x.ndim), *x.shape))
    return diff(x, 1, dim)


def _neighbours(y: Tensor, dim: int) -> Tensor:
    """The sum of each two points that are next to each other."""
    count = y.shape[axis_of(dim, y.ndim)] - 1
    return add(narrow(y, dim, 0, count), narrow(y, dim, 1, count))


@refusing
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """The area under the points of one dimension, joined by lines: at `x` (a vector, or as `y`), or `dx` apart.

    >>> trtnet.trapezoid(trtnet.tensor([1.0, 3.0, 5.0]), dx=2).item()
    12.0
    """
    widths, size = _widths("trapezoid", y, x, dim), y.shape[axis_of(dim, y.ndim)]
    if isinstance(size, int) and size == 0:
        return zeros_like(summed(y, dim), dtype=y.dtype)
    if widths is not None:
        return div(summed(mul(_neighbours(y, dim), widths), dim), 2.0)
    ends = add(select(y, dim, 0), select(y, dim, -1))
    return mul(sub(summed(y, dim), mul(ends, 0.5)), float(dx))


trapz = trapezoid


@refusing
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """As `trapezoid`, the area up to each point but the first.

    >>> trtnet.cumulative_trapezoid(trtnet.tensor([1.0, 3.0, 5.0])).tolist()
    [2.0, 6.0]
    """
    widths = _widths("cumulative_trapezoid", y, x, dim)
    if widths is not None:
        return div(cumsum(mul(_neighbours(y, dim), widths), dim), 2.0)
    return cumsum(mul(_neighbours(y, dim), dx / 2.0), dim)


@refusing
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of a vector, from N - 1 to 0 (or up), one in a column; as many as it has elements unless said.

    Of whole numbers int64.

    >>> trtnet.vander(trtnet.tensor([2, 3]), 3).tolist()
    [[4, 2, 1], [9, 3, 1]]
    """
    count = x.shape[0] if N is None else N
    if x.ndim != 1 or not isinstance(count, int) or not 1 <= count <= MOST_POWERS:
        raise ShapeError(
            "vander takes a vector, and a fixed number of columns",
            expected=f"1 to {MOST_POWERS} columns",
            found=f"{format_shape(x.shape)}, {shown(N)}",
        )
    x = x if x.dtype.is_floating_point else x.long()
    powers = [ones_like(x), *[x] * (count > 1)]
    while len(powers) < count:
        powers.append(mul(powers[-1], x))
    return stack(powers if increasing else powers[::-1], 1)


@refusing
def unravel_index(indices: Tensor, shape: tuple[SizeLike, ...]) -> tuple[Any, ...]:
    """For each index over a flattened tensor of this shape the index in each of its dimensions (int64).

    >>> [i.tolist() for i in trtnet.unravel_index(trtnet.tensor([5, 2]), (2, 3))]
    [[1, 0], [2, 2]]
    """
    sizes, indices = sizes_of((shape,)), indices.long()
    found = []
    for size in reversed(sizes):
        found.append(remainder(indices, size))
        indices = floor_divide(indices, size)
    return tuple(unbind(stack(found[::-1], -1), -1)) if found else ()  # parts of one tensor, as torch's


@refusing
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of 3 along `dim`.

    Layers of the example: `slice`, `elementwise`.

    >>> trtnet.cross(trtnet.tensor([1.0, 0.0, 0.0]), trtnet.tensor([0.0, 1.0, 0.0]), dim=0).tolist()
    [0.0, 0.0, 1.0]
    """
    if input.shape[axis_of(dim, input.ndim)] != 3:
        raise ShapeError("cross takes vectors of 3", found=tuple(input.shape))
    return sub(mul(roll(input, -1, dim), roll(other, -2, dim)), mul(roll(input, -2, dim), roll(other, -1, dim)))


def _isin_numpy(
    elements: np.ndarray, test_elements: np.ndarray, *, assume_unique: bool = False, invert: bool = False
) -> np.ndarray:
    return np.isin(elements, test_elements, invert=invert)


@operation(_isin_numpy)
def isin(elements: Value, test_elements: Value, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is among `test_elements`; one of the two may be a number.

    Layers of the example: `shuffle`, `elementwise`, `cast`, `reduce`.

    >>> trtnet.isin(trtnet.tensor([1, 2, 3]), trtnet.tensor([2, 3])).tolist()
    [False, True, True]
    """
    found = any_of(eq(unsqueeze(tensor(elements), -1), reshape(tensor(test_elements), -1)), -1)
    return logical_not(found) if invert else found


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every combination of the elements of vectors, one in a row; of one vector itself.

    Layers of the example: `shuffle`, `slice`, `concatenation`.

    >>> trtnet.cartesian_prod(trtnet.tensor([1, 2]), trtnet.tensor([3, 4])).tolist()
    [[1, 3], [1, 4], [2, 3], [2, 4]]
    """
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in meshgrid(*tensors, indexing="ij")], -1)


def _searchsorted_numpy(
    sorted_sequence: np.ndarray,
    input: np.ndarray,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Any = None,
    sorter: np.ndarray | None = None,
) -> np.ndarray:
    if np.ndim(sorted_sequence) != 1:
        raise ArgumentError("searchsorted takes one sorted vector", found=f"{np.ndim(sorted_sequence)} dimensions")
    found = np.searchsorted(sorted_sequence, input, side or ("right" if right else "left"), sorter)
    return np.asarray(found).astype(np.int32 if out_int32 else np.int64)


@operation(_searchsorted_numpy)
def searchsorted(
    sorted_sequence: Tensor,
    input: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each value would go in a sorted vector: how many of its elements are less (with `right`, less or equal).

    NaN goes behind everything, as in torch; the vector holds none.

    Layers of the example: `shuffle`, `elementwise`, `unary`, `cast`, `reduce`.

    >>> trtnet.searchsorted(trtnet.tensor([1.0, 2.0, 3.0]), trtnet.tensor([0.5, 2.0])).tolist()
    [0, 1]
    """
    if sorter is not None or sorted_sequence.ndim != 1:
        raise UnsupportedError(
            "searchsorted of a recorded tensor takes one sorted vector and no sorter", remedy="sort it before"
        )
    to = dtypes.int32 if out_int32 else dtypes.int64
    value = tensor(input)
    column: Any = value.unsqueeze(-1)
    past = ge(column, sorted_sequence) if right or side == "right" else gt(column, sorted_sequence)
    if value.dtype.is_floating_point:
        past = logical_or(past, isnan(column))
    return past.to(dtypes.int32).sum(-1).to(to)


@refusing
def bucketize(input: Value, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The index of the bucket that each value falls in, by sorted boundaries.

    Layers of the example: `shuffle`, `elementwise`, `unary`, `cast`, `reduce`.

    >>> trtnet.bucketize(trtnet.tensor([0.5, 2.0]), trtnet.tensor([1.0, 2.0, 3.0])).tolist()
    [0, 1]
    """
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


# --- of concrete arrays only ------------------------------------------------------------------------------------------


def _refused(name: str, why: str, remedy: str) -> NoReturn:
    raise UnsupportedError(f"{name}: {why}", remedy=remedy)


def _unique_numpy(
    input: np.ndarray,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> np.ndarray | tuple[np.ndarray, ...]:
    options: dict[str, Any] = {"return_inverse": return_inverse, "return_counts": return_counts, "axis": dim}
    found: Any = np.unique(input, **options)
    if isinstance(found, tuple) and return_inverse and dim is None:
        return (found[0], found[1].reshape(np.shape(input)), *found[2:])
    return found


@operation(_unique_numpy, method=True)
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different values, sorted. Of concrete arrays only: TensorRT has no sizes that depend on values here.

    >>> try:
    ...     trtnet.unique(trtnet.tensor([1, 1]))
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    Array([1], int64)
    """
    _refused("unique", "the size of its result depends on values", "compute it outside the network")


def _consecutive(
    input: np.ndarray, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    flat = np.reshape(input, -1)
    first = np.concatenate([np.ones(min(1, flat.size), bool), flat[1:] != flat[:-1]])
    made = [flat[first]]
    if return_inverse:
        made.append((np.cumsum(first) - 1).reshape(np.shape(input)))
    if return_counts:
        made.append(np.diff(np.append(np.flatnonzero(first), flat.size)))
    return made[0] if len(made) == 1 else tuple(made)


@operation(_consecutive, method=True)
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The values without repetitions of neighbours. Of concrete arrays only.

    >>> try:
    ...     trtnet.unique_consecutive(trtnet.tensor([1, 1]))
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    Array([1], int64)
    """
    _refused("unique_consecutive", "the size of its result depends on values", "compute it outside the network")


def _bincount(input: np.ndarray, weights: np.ndarray | None = None, minlength: int = 0) -> np.ndarray:
    if not isinstance(input, np.ndarray) or input.dtype.kind not in "iu":
        raise DtypeError("bincount counts whole numbers", expected="int64 or int32", found=shown(input))
    return np.bincount(input, weights, operator.index(minlength))  # NumPy 2.0 takes None as 0


@operation(_bincount, method=True)
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each whole number comes. Of concrete arrays only.

    >>> trtnet.bincount(trtnet.tensor([0, 2, 2]), minlength=4).tolist()
    [1, 0, 2, 0]
    """
    _refused(
        "bincount", "the size of its result depends on values", "one_hot(x, num_classes=n).sum(0), where n is known"
    )


# --- not in a network -------------------------------------------------------------------------------------------------


_PARTS = "write real and imaginary parts as two tensors: a rotary embedding is x * cos + rotate_half(x) * sin"


def _complex(name: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        _refused(
            name,
            "TensorRT has no complex numbers",
            _PARTS,
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = (
        "Raises UnsupportedError: TensorRT has no complex numbers.\n\n"
        f">>> try:\n...     trtnet.{name}(trtnet.ones(2, 2))\n"
        "... except trtnet.TrtnetError as error:\n...     print(error.remedy)\n"
        f"{_PARTS}\n"
    )
    return refuse


complex, polar, view_as_complex, view_as_real = map(_complex, ("complex", "polar", "view_as_complex", "view_as_real"))


class _Transforms:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _complex(f"fft.{name}")


fft = _Transforms()


for _name, _function in (("diff", diff), ("cross", cross)):
    setattr(Tensor, _name, _function)

setattr(Tensor, "dist", dist)  # noqa: B010
