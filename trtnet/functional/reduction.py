"""One number of many. Names, signatures and defaults as torch's.

What torch promotes is cast: sums and products of bools and integers are int64, indices are int64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ..basics import dtypes
from ..basics.dims import format_shape, maximum, product
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, DtypeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.base import require_floating
from ..layers.casting import converted
from ..layers.reduction import Cumulative, Reduce
from ..layers.shaping import expanded, reshaped
from . import arithmetic, comparison
from .concrete import floats
from .dispatch import Axes, axes_of, axis_of, operation, refusing, scalar, size_tensor, tensor
from .inplace import install
from .joining import cat
from .slicing import part
from .unary import abs as absolute
from .unary import exp, log, typed_float

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "logsumexp",
    "mean",
    "nanmean",
    "nansum",
    "norm",
    "prod",
    "std",
    "std_mean",
    "sum",
    "var",
    "var_mean",
    "vector_norm",
]


def reduced(x: Tensor, op: str, dim: Axes, keepdim: bool) -> Tensor:
    """Record a reduction; `x` itself where it has no dimensions."""
    axes = _axes(x, dim)
    return emit(Reduce((x,), op, axes, bool(keepdim))) if axes else x


def _axes(x: Tensor | np.ndarray, dim: Axes) -> tuple[int, ...]:
    axes = axes_of(dim, x.ndim)
    return axes if x.ndim else ()  # a number has, for torch, a dimension 0 to name


def _integers_to_int64(x: Tensor, dtype: DtypeLike | None) -> Tensor:
    """What torch sums in: the given dtype, else int64 for bools and integers."""
    if dtype is not None:
        return converted(x, dtypes.get(dtype))
    return x if x.dtype.is_floating_point else converted(x, dtypes.int64)


def _summed_type(array: np.ndarray, dtype: DtypeLike | None) -> np.ndarray:
    if dtype is not None:
        return array.astype(dtypes.get(dtype).numpy)
    return array if dtypes.get(array.dtype).is_floating_point else array.astype(np.int64)


def _sum_numpy(
    input: np.ndarray, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None, axis: Axes = None
) -> np.ndarray:
    values = _summed_type(input, dtype)
    return values.sum(_axes(values, axis if dim is None else dim), keepdims=keepdim, dtype=values.dtype)


@operation(_sum_numpy, method=True)
def sum(
    input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None, axis: Axes = None
) -> Tensor:
    """The sum over some dimensions, or all. Bools and integers sum up to int64.

    Layers of the example: `reduce`.

    >>> trtnet.sum(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 0).tolist()
    [4.0, 6.0]
    """
    return reduced(_integers_to_int64(tensor(input), dtype), "SUM", axis if dim is None else dim, keepdim)


def _nansum_numpy(
    input: np.ndarray, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None
) -> np.ndarray:
    return _sum_numpy(np.where(np.isnan(input), 0, input).astype(input.dtype), dim, keepdim, dtype=dtype)


@operation(_nansum_numpy, method=True)
def nansum(input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None) -> Tensor:
    """The sum, with NaNs counting as 0.

    Layers of the example: `unary`, `constant`, `select`, `reduce`.

    >>> trtnet.nansum(trtnet.tensor([1.0, math.nan, 3.0])).item()
    4.0
    """
    x = tensor(input)
    return sum(comparison.masked_fill(x, comparison.isnan(x), 0.0), dim, keepdim, dtype=dtype)


def _nanmean_numpy(
    input: np.ndarray, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None
) -> np.ndarray:
    return np.nanmean(input, _axes(input, dim), keepdims=keepdim)


@operation(_nanmean_numpy, method=True)
def nanmean(input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None) -> Tensor:
    """The mean of what is not NaN.

    >>> trtnet.nanmean(trtnet.tensor([1.0, math.nan, 3.0])).item()
    2.0
    """
    x = tensor(input)
    count = sum(converted(comparison.logical_not(comparison.isnan(x)), x.dtype), dim, keepdim)
    return arithmetic.div(nansum(x, dim, keepdim, dtype=dtype), count)


def _prod_numpy(
    input: np.ndarray, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None
) -> np.ndarray:
    values = _summed_type(input, dtype)
    return values.prod(_axes(values, dim), keepdims=keepdim, dtype=values.dtype)


@operation(_prod_numpy, method=True)
def prod(input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None) -> Tensor:
    """The product over one dimension, or all. Bools and integers multiply to int64.

    Layers of the example: `reduce`.

    >>> trtnet.prod(trtnet.tensor([2.0, 3.0])).item()
    6.0
    """
    return reduced(_integers_to_int64(tensor(input), dtype), "PROD", dim, keepdim)


def _not_floating(found: Any) -> DtypeError:
    return DtypeError(
        "mean(): the input must be of a floating-point dtype",
        expected="float32, float16 or bfloat16",
        found=found,
        remedy="x.float().mean(), or mean(dtype=trtnet.float32)",
    )


def _mean_numpy(
    input: np.ndarray, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None, axis: Axes = None
) -> np.ndarray:
    values = input if dtype is None else input.astype(dtypes.get(dtype).numpy)
    if not dtypes.get(values.dtype).is_floating_point:
        raise _not_floating(values.dtype)
    axes = _axes(values, axis if dim is None else dim)
    return values.mean(axes, keepdims=keepdim).astype(values.dtype)


@operation(_mean_numpy, method=True)
def mean(
    input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None, axis: Axes = None
) -> Tensor:
    """The mean over some dimensions, or all. Raises DtypeError for integers, as torch.

    Layers of the example: `reduce`.

    >>> trtnet.mean(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, keepdim=True).tolist()
    [[1.5], [3.5]]
    """
    x = tensor(input)
    if dtype is not None:
        x = converted(x, dtypes.get(dtype))
    if not x.dtype.is_floating_point:
        raise _not_floating(x.dtype)
    return reduced(x, "AVG", axis if dim is None else dim, keepdim)


def _amax_numpy(input: np.ndarray, dim: Axes = (), keepdim: bool = False) -> np.ndarray:
    return input.max(_axes(input, dim), keepdims=keepdim)


@operation(_amax_numpy, method=True)
def amax(input: Tensor, dim: Axes = (), keepdim: bool = False) -> Tensor:
    """The largest element over some dimensions, or all.

    Layers of the example: `reduce`.

    >>> trtnet.amax(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 1).tolist()
    [2.0, 4.0]
    """
    return _extreme(tensor(input), "MAX", dim, keepdim)


def _amin_numpy(input: np.ndarray, dim: Axes = (), keepdim: bool = False) -> np.ndarray:
    return input.min(_axes(input, dim), keepdims=keepdim)


@operation(_amin_numpy, method=True)
def amin(input: Tensor, dim: Axes = (), keepdim: bool = False) -> Tensor:
    """The smallest element over some dimensions, or all.

    Layers of the example: `reduce`.

    >>> trtnet.amin(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 1).tolist()
    [1.0, 3.0]
    """
    return _extreme(tensor(input), "MIN", dim, keepdim)


def _extreme(x: Tensor, op: str, dim: Axes, keepdim: bool) -> Tensor:
    if x.dtype is dtypes.bool_:
        return converted(reduced(converted(x, dtypes.int32), op, dim, keepdim), dtypes.bool_)
    return reduced(x, op, dim, keepdim)


# --- bools ------------------------------------------------------------------------------------------------------------


def _as_bool(x: Tensor) -> Tensor:
    return x if x.dtype is dtypes.bool_ else comparison.ne(x, 0)


def _truth_numpy(reduce: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def call(input: np.ndarray, dim: Axes = None, keepdim: bool = False) -> np.ndarray:
        found = reduce(input != 0, _axes(input, dim), keepdims=keepdim)
        return found.astype(np.uint8) if input.dtype == np.uint8 else found

    return call


def _truth(op: str, input: Tensor, dim: Axes, keepdim: bool) -> Tensor:
    x = tensor(input)
    sizes = [x.shape[axis] for axis in _axes(x, dim)]
    if min([size if isinstance(size, int) else size.bounds[0] for size in sizes], default=1) == 0:
        op = "SUM" if op == "MAX" else "PROD"  # of nothing they are 0 and 1, where the others are not defined
    found = _extreme(_as_bool(x), op, dim, keepdim)
    return converted(found, dtypes.uint8) if x.dtype is dtypes.uint8 else found


@operation(_truth_numpy(np.all), method=True)
def all(input: Tensor, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are True (or not 0), as bool; of uint8, as torch does, as uint8.

    Layers of the example: `cast`, `reduce`.

    >>> trtnet.all(trtnet.tensor([True, False])).item()
    False
    """
    return _truth("MIN", input, dim, keepdim)


@operation(_truth_numpy(np.any), method=True)
def any(input: Tensor, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """Whether any element is True (or not 0), as bool; of uint8, as torch does, as uint8.

    Layers of the example: `cast`, `reduce`.

    >>> trtnet.any(trtnet.tensor([True, False])).item()
    True
    """
    return _truth("MAX", input, dim, keepdim)


@operation(lambda input, dim=None: np.asarray((input != 0).sum(_axes(input, dim)), np.int64), method=True)
def count_nonzero(input: Tensor, dim: Axes = None) -> Tensor:
    """How many elements are not 0, as int64.

    Layers of the example: `constant`, `elementwise`, `unary`, `cast`, `reduce`.

    >>> trtnet.count_nonzero(trtnet.tensor([0.0, 2.0, 3.0])).item()
    2
    """
    return reduced(converted(_as_bool(tensor(input)), dtypes.int64), "SUM", dim, False)


# --- spread -----------------------------------------------------------------------------------------------------------

_SPREAD = object()


def _correction(dim: Axes, unbiased: Axes | bool, correction: float | None) -> tuple[Any, float]:
    """torch takes var(x, unbiased), var(x, dim, unbiased, keepdim) and var(x, dim, correction=1)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is not _SPREAD:
        return dim, 1 if correction is None else correction
    return dim, 1 if unbiased is None or unbiased else 0


def _var_numpy(
    input: np.ndarray,
    dim: Axes = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = _SPREAD,
) -> np.ndarray:
    dim, less = _correction(dim, unbiased, correction)
    with np.errstate(all="ignore"):
        axes = _axes(input, dim)
        return np.var(input, axes, ddof=less, keepdims=keepdim).astype(input.dtype)


@operation(_var_numpy, method=True)
def var(
    input: Tensor, dim: Axes = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = _SPREAD
) -> Tensor:
    """The variance over some dimensions, or all, with `correction` (1) taken off the count.

    Layers of the example: `reduce`, `elementwise`, `constant`.

    >>> trtnet.var(trtnet.tensor([1.0, 3.0])).item()
    2.0
    """
    return _spread(tensor(input), *_correction(dim, unbiased, correction), keepdim)[0]


def _std_numpy(
    input: np.ndarray,
    dim: Axes = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = _SPREAD,
) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.sqrt(_var_numpy(input, dim, unbiased, keepdim, correction=correction))


@operation(_std_numpy, method=True)
def std(
    input: Tensor, dim: Axes = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = _SPREAD
) -> Tensor:
    """The standard deviation over some dimensions, or all, with `correction` (1) taken off the count.

    Layers of the example: `reduce`, `elementwise`, `constant`, `unary`.

    >>> trtnet.std(trtnet.tensor([1.0, 3.0])).numpy().round(3)
    np.float32(1.414)
    """
    return arithmetic.sqrt(_spread(tensor(input), *_correction(dim, unbiased, correction), keepdim)[0])


def var_mean(
    input: Tensor, dim: Axes = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = _SPREAD
) -> tuple[Tensor, Tensor]:
    """The variance and the mean. With an infinity among the values the mean is that infinity; torch's is NaN or
    infinite by its place.

    Layers of the example: `reduce`, `elementwise`, `constant`.

    >>> [x.tolist() for x in trtnet.var_mean(trtnet.tensor([1.0, 3.0]))]
    [2.0, 2.0]
    """
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, _correction(dim, 1, 1)[0], keepdim)


def std_mean(
    input: Tensor, dim: Axes = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = _SPREAD
) -> tuple[Tensor, Tensor]:
    """The standard deviation and the mean, as `var_mean`.

    Layers of the example: `reduce`, `elementwise`, `constant`, `unary`.

    >>> [x.numpy().round(3) for x in trtnet.std_mean(trtnet.tensor([1.0, 3.0]))]
    [np.float32(1.414), np.float32(2.0)]
    """
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, _correction(dim, 1, 1)[0], keepdim)


def _spread(x: Tensor, dim: Axes, correction: float, keepdim: bool) -> tuple[Tensor, Tensor]:
    require_floating("var", x)
    axes = _axes(x, dim)
    middle = reduced(x, "AVG", axes, True) if axes else x
    squares = arithmetic.square(arithmetic.sub(x, middle))
    count = product(x.shape[a] for a in axes)
    if isinstance(count, int) and x.dtype is not dtypes.float16:
        return arithmetic.div(reduced(squares, "SUM", axes, keepdim), float(max(count - correction, 0))), middle
    average = reduced(squares, "AVG", axes, keepdim)  # a sum could overflow float16
    if correction == 0:
        return average, middle
    if isinstance(count, int):
        return arithmetic.mul(average, count / (count - correction) if count > correction else math.inf), middle
    if not isinstance(correction, int):
        raise ArgumentError("the correction over a dynamic dimension is a whole number", found=correction)
    rest = maximum(count - correction, 0)  # where nothing is left, 0 / 0 or infinity as in torch
    ratio = arithmetic.div(size_tensor(count, dtypes.float32), size_tensor(rest, dtypes.float32))
    return arithmetic.mul(average, converted(ratio, x.dtype)), middle


# --- norms ------------------------------------------------------------------------------------------------------------


@refusing
def vector_norm(
    x: Tensor, ord: float | str = 2, dim: Axes = None, keepdim: bool = False, *, dtype: DtypeLike | None = None
) -> Tensor:
    """The vector norm of order `ord` over some dimensions, or all.

    Layers of the example: `elementwise`, `reduce`, `unary`.

    >>> trtnet.linalg.vector_norm(trtnet.tensor([3.0, 4.0])).item()
    5.0
    """
    return _vector_norm(x if dtype is None else x.to(dtype), float(ord), dim, keepdim)


def _vector_norm_numpy(input: np.ndarray, ord: float, dim: Axes, keepdim: bool) -> np.ndarray:
    (values,) = floats(input)
    values, axes, dtype = np.abs(values), _axes(values, dim), values.dtype
    if math.isinf(ord):
        return (values.max if ord > 0 else values.min)(axes, keepdims=keepdim)
    if ord == 0:
        return (values != 0).sum(axes, keepdims=keepdim).astype(dtype)
    wide = values if dtype == np.float64 else values.astype(np.float32, copy=False)
    power = np.asarray(ord, wide.dtype)
    return np.asarray((wide**power).sum(axes, keepdims=keepdim) ** (1 / power)).astype(dtype)


@operation(_vector_norm_numpy)
def _vector_norm(input: Tensor, ord: float, dim: Axes, keepdim: bool) -> Tensor:
    x = tensor(input)
    require_floating("norm", x)
    if math.isinf(ord):
        return reduced(absolute(x), "MAX" if ord > 0 else "MIN", dim, keepdim)
    if ord == 0:
        return reduced(converted(comparison.ne(x, 0), x.dtype), "SUM", dim, keepdim)
    (wide,) = arithmetic.in_float32(x)  # squares of half precision underflow
    if ord == 1:
        found = reduced(absolute(wide), "SUM", dim, keepdim)
    elif ord == 2:
        found = arithmetic.sqrt(reduced(arithmetic.mul(wide, wide), "SUM", dim, keepdim))
    else:
        found = arithmetic.pow(reduced(arithmetic.pow(absolute(wide), ord), "SUM", dim, keepdim), 1 / ord)
    return arithmetic.in_type(found, x.dtype)


@refusing
def norm(
    input: Tensor,
    p: float | str | None = "fro",
    dim: Axes = None,
    keepdim: bool = False,
    out: Tensor | None = None,
    dtype: DtypeLike | None = None,
) -> Tensor:
    """The norm of order `p` over some dimensions, or all; "fro" is 2. Nuclear norms raise UnsupportedError.

    Layers of the example: `elementwise`, `reduce`, `unary`.

    >>> trtnet.norm(trtnet.tensor([3.0, 4.0])).item()
    5.0
    """
    if out is not None:
        raise UnsupportedError("norm takes out by its name", remedy="norm(x, out=y)")
    if p == "nuc":
        raise UnsupportedError("TensorRT computes no singular values, so no nuclear norm", found='p="nuc"')
    return vector_norm(input, 2 if p == "fro" or p is None else p, dim, keepdim, dtype=dtype)


def _norm_method(
    self: Tensor, p: float | str | None = "fro", dim: Axes = None, keepdim: bool = False, dtype: DtypeLike | None = None
) -> Tensor:
    """As the function `norm`."""
    return norm(self, p, dim, keepdim, dtype=dtype)


setattr(Tensor, "norm", _norm_method)  # noqa: B010


def _logsumexp_numpy(input: np.ndarray, dim: Axes, keepdim: bool = False) -> np.ndarray:
    (values,) = floats(input)
    axes = _axes(values, dim)
    with np.errstate(all="ignore"):
        top = values.max(axes, keepdims=True)
        top = np.where(np.isfinite(top), top, np.zeros_like(top))
        found = np.log(np.exp(values - top).sum(axes, keepdims=True)) + top
    return found if keepdim else found.squeeze(axes)


@operation(_logsumexp_numpy, method=True)
def logsumexp(input: Tensor, dim: Axes, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over some dimensions, without overflow; float32 of integers.

    Layers of the example: `reduce`, `activation`, `elementwise`, `unary`, `shuffle`.

    >>> trtnet.logsumexp(trtnet.tensor([0.0, 0.0]), 0).numpy().round(3)
    np.float32(0.693)
    """
    x = typed_float(input)
    axes = _axes(x, dim)
    if not axes:
        return x
    limit = float(ml_dtypes.finfo(x.dtype.numpy).max)
    # a row of -inf alone must not become inf - inf
    top = comparison.clamp(reduced(x, "MAX", axes, True), -limit, limit)
    found = arithmetic.add(log(reduced(exp(arithmetic.sub(x, top)), "SUM", axes, True)), top)
    return found if keepdim else reshaped(found, tuple(s for a, s in enumerate(found.shape) if a not in axes))


MAX_PRODUCTS = 1024

# --- running sums -----------------------------------------------------------------------------------------------------


def _cumsum_numpy(input: np.ndarray, dim: int, *, dtype: DtypeLike | None = None) -> np.ndarray:
    values = _summed_type(input, dtype)
    return values.cumsum(axis_of(dim, values.ndim), dtype=values.dtype) if values.ndim else values


@operation(_cumsum_numpy, method=True)
def cumsum(input: Tensor, dim: int, *, dtype: DtypeLike | None = None) -> Tensor:
    """The sums of the elements up to each one along `dim`. Bools and integers sum up to int64.

    Layers of the example: `cumulative`.

    >>> trtnet.cumsum(trtnet.tensor([1.0, 2.0, 3.0]), 0).tolist()
    [1.0, 3.0, 6.0]
    """
    x = _integers_to_int64(tensor(input), dtype)
    axis = axis_of(dim, x.ndim)
    return emit(Cumulative((x,), axis)) if x.ndim else x


def _cumprod_numpy(input: np.ndarray, dim: int, *, dtype: DtypeLike | None = None) -> np.ndarray:
    values = _summed_type(input, dtype)
    return values.cumprod(axis_of(dim, values.ndim), dtype=values.dtype)


@operation(_cumprod_numpy, method=True)
def cumprod(input: Tensor, dim: int, *, dtype: DtypeLike | None = None) -> Tensor:
    """The products of the elements up to each one along `dim`. Bools and integers multiply up to int64.

    TensorRT has no running product: it is made of as many shifted products as the size has binary digits.

    Layers of the example: `constant`, `concatenation`, `slice`, `elementwise`.

    >>> trtnet.cumprod(trtnet.tensor([1.0, 2.0, 3.0]), 0).tolist()
    [1.0, 2.0, 6.0]
    """
    x = _integers_to_int64(tensor(input), dtype)
    if not x.ndim:
        return x
    axis = axis_of(dim, x.ndim)
    size = x.shape[axis]
    longest = size if isinstance(size, int) else size.bounds[1]
    if longest > MAX_PRODUCTS:
        raise UnsupportedError(
            "TensorRT has running sums, and no running products over so many elements",
            expected=f"at most {MAX_PRODUCTS}",
            found=f"cumprod of {format_shape(x.shape)}",
            remedy="for positive numbers trtnet.exp(trtnet.cumsum(trtnet.log(x), dim))",
        )
    reach = 1
    while reach < longest:
        shape = tuple(reach if a == axis else s for a, s in enumerate(x.shape))
        ones = expanded(scalar(1, x.dtype, x.ndim), shape)
        x = arithmetic.mul(x, part(cat([ones, x], axis), axis, 0, size))
        reach *= 2
    return x


install({"cumprod": cumprod, "cumsum": cumsum})
