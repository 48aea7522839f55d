"""Differences, distances and sets; and functions of torch's that a network of TensorRT's layers cannot have."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from .. import dtypes
from ..errors import ArgumentError, ShapeError, UnsupportedError
from ..tensor import Tensor
from .arithmetic import mul, sub
from .comparison import eq, logical_not, ne
from .dispatch import axis_of, operation, refusing, tensor
from .joining import cat, roll, stack
from .picking import narrow
from .reduction import any as any_of
from .reduction import vector_norm
from .shape import reshape, unsqueeze

__all__ = [
    "bincount", "bucketize", "cartesian_prod", "cdist", "complex", "cross", "diff", "fft", "isin",
    "polar", "searchsorted", "unique", "unique_consecutive", "view_as_complex", "view_as_real",
]  # fmt: skip


@refusing
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th difference of neighbours along one dimension; of bools, whether they differ."""
    parts = [p for p in (prepend, input, append) if p is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    difference = ne if x.dtype is dtypes.bool_ else sub
    for _ in range(n):
        length = x.shape[axis_of(dim, x.ndim)] - 1
        x = difference(narrow(x, dim, 1, length), narrow(x, dim, 0, length))
    return x


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """The distances (…, P, R) between rows of (…, P, M) and rows of (…, R, M)."""
    return vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@refusing
def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross product of vectors of 3 along `dim`."""
    if input.shape[axis_of(dim, input.ndim)] != 3:
        raise ShapeError("cross takes vectors of 3", found=tuple(input.shape))
    return sub(mul(roll(input, -1, dim), roll(other, -2, dim)), mul(roll(input, -2, dim), roll(other, -1, dim)))


def _isin_numpy(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    return np.isin(elements, test_elements, invert=invert)


@operation(_isin_numpy)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element is among `test_elements`; one of the two may be a number."""
    found = any_of(eq(unsqueeze(tensor(elements), -1), reshape(tensor(test_elements), -1)), -1)
    return logical_not(found) if invert else found


def cartesian_prod(*tensors: Any) -> Any:
    """Every combination of the elements of vectors, one in a row; of one vector itself."""
    from .joining import meshgrid

    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in meshgrid(*tensors, indexing="ij")], -1)


def _searchsorted_numpy(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Any = None,
    sorter: Any = None,
) -> Any:
    if np.ndim(sorted_sequence) != 1:
        raise ArgumentError("searchsorted takes one sorted vector", found=f"{np.ndim(sorted_sequence)} dimensions")
    found = np.searchsorted(sorted_sequence, input, side or ("right" if right else "left"), sorter)
    return np.asarray(found).astype(np.int32 if out_int32 else np.int64)


@operation(_searchsorted_numpy)
def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Any = None,
    sorter: Any = None,
) -> Any:
    """Where each value would go in a sorted vector: how many of its elements are less (with `right`, less or equal).

    NaN goes behind everything, as in torch; the vector holds none.
    """
    from .. import dtypes
    from .comparison import ge, gt, isnan, logical_or

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
def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """The index of the bucket that each value falls in, by sorted boundaries."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


# --- of concrete arrays only ------------------------------------------------------------------------------------------


def _refused(name: str, why: str, remedy: str) -> NoReturn:
    raise UnsupportedError(f"{name}: {why}", remedy=remedy)


def _unique_numpy(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    options: dict[str, Any] = {"return_inverse": return_inverse, "return_counts": return_counts, "axis": dim}
    found: Any = np.unique(input, **options)
    if isinstance(found, tuple) and return_inverse and dim is None:
        return (found[0], found[1].reshape(np.shape(input)), *found[2:])
    return found


@operation(_unique_numpy, method=True)
def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    """The different values, sorted. Of concrete arrays only: TensorRT has no sizes that depend on values here."""
    _refused("unique", "the size of its result depends on values", "compute it outside the network")


def _consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None) -> Any:
    flat = np.reshape(input, -1)
    first = np.concatenate([np.ones(min(1, flat.size), bool), flat[1:] != flat[:-1]])
    made = [flat[first]]
    if return_inverse:
        made.append((np.cumsum(first) - 1).reshape(np.shape(input)))
    if return_counts:
        made.append(np.diff(np.append(np.flatnonzero(first), flat.size)))
    return made[0] if len(made) == 1 else tuple(made)


@operation(_consecutive, method=True)
def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None) -> Any:
    """The values without repetitions of neighbours. Of concrete arrays only."""
    _refused("unique_consecutive", "the size of its result depends on values", "compute it outside the network")


@operation(lambda input, weights=None, minlength=0: np.bincount(input, weights, minlength), method=True)
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each whole number comes. Of concrete arrays only."""
    _refused(
        "bincount", "the size of its result depends on values", "one_hot(x, num_classes=n).sum(0), where n is known"
    )


# --- not in a network -------------------------------------------------------------------------------------------------


def _complex(name: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        _refused(
            name,
            "TensorRT has no complex numbers",
            "write real and imaginary parts as two tensors: a rotary embedding is x * cos + rotate_half(x) * sin",
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "Raises UnsupportedError: TensorRT has no complex numbers."
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
