"""NumPy with torch's type promotion, for what is computed now rather than recorded."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_NORMAL = NormalDist()


def category(dtype: np.dtype) -> int:
    """0 for bool, 1 for integers, 2 for floating point (ml_dtypes' types have kind V)."""
    return {"b": 0, "i": 1, "u": 1}.get(dtype.kind, 2)


def promote(a: np.dtype, b: np.dtype) -> np.dtype:
    """torch.promote_types."""
    first, second = category(a), category(b)
    if a == b or first > second:
        return a
    if first < second:
        return b
    if BFLOAT16 in (a, b) and np.dtype(np.float16) in (a, b):
        return np.dtype(np.float32)
    return np.promote_types(a, b)


def result_type(*values: Any) -> np.dtype:
    """torch.result_type: arrays with dimensions decide before those without, those before Python numbers."""
    found: np.dtype | None = None
    for rank in range(3):
        level: np.dtype | None = None
        for value in values:
            if isinstance(value, np.ndarray):
                if (value.ndim == 0) != (rank == 1) or rank == 2:
                    continue
                dtype = value.dtype
            elif rank == 2:
                dtype = _of_number(value)
            else:
                continue
            level = dtype if level is None else promote(level, dtype)
        if level is not None:
            found = level if found is None or category(level) > category(found) else found
    assert found is not None
    return found


def _of_number(value: Any) -> np.dtype:
    if isinstance(value, (bool, np.bool_)):
        return np.dtype(np.bool_)
    return np.dtype(np.int64 if isinstance(value, (int, np.integer)) else np.float32)


def promoted(*values: Any) -> list[np.ndarray]:
    """Arrays and Python numbers as arrays of torch's common type."""
    to = result_type(*values)
    return [np.asarray(v).astype(to, copy=False) for v in values]


def floats(*values: Any) -> list[np.ndarray]:
    """`promoted`, with float32 in place of integers and bools."""
    to = result_type(*values)
    if category(to) < 2:
        to = np.dtype(np.float32)
    return [np.asarray(v).astype(to, copy=False) for v in values]


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without NumPy's warnings: infinities and NaNs come as in torch."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return call


def unary(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of floating-point arrays, for arrays of any type; the result has the array's floating-point type."""

    def call(input: Any) -> np.ndarray:
        (x,) = floats(input)
        return np.asarray(function(x)).astype(x.dtype, copy=False)

    return quiet(call)


def binary(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of two arrays of one type, for arrays and numbers of any types."""
    return quiet(lambda input, other: function(*promoted(input, other)))


def each(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of one float, for arrays, in their type."""
    over = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(over(x.astype(np.float64)), np.float64).astype(x.dtype)


def _erfinv(value: float) -> float:
    if not -1 < value < 1:
        return math.copysign(math.inf, value) if abs(value) == 1 else math.nan
    # the lower tail keeps the digits that 1 - p would lose
    return math.copysign(-_NORMAL.inv_cdf((1 - abs(value)) / 2) / math.sqrt(2), value)


def lgamma(value: float) -> float:
    """The logarithm of the absolute value of the gamma function: infinite at its poles, 0, -1, -2 and so on.

    >>> trtnet.lgamma(trtnet.tensor([1.0, 5.0])).numpy().round(3)
    array([0.   , 3.178], dtype=float32)
    """
    if math.isinf(value) or (value <= 0 and value == math.floor(value)):
        return math.inf
    try:
        return math.lgamma(value)
    except OverflowError:
        return math.inf


erf = each(math.erf)
erfc = each(math.erfc)
erfinv = each(_erfinv)


def sigmoid(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    with np.errstate(over="ignore"):  # infinity gives 0
        found: np.ndarray = np.reciprocal(np.exp(-wide) + np.asarray(1, wide.dtype)).astype(x.dtype)
    return found
