"""Pointwise functions that are composed of several layers."""

from __future__ import annotations

import math as _math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics.dims import format_shape
from ..basics.errors import UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.base import require_floating
from ..layers.elementwise import ElementWise
from .arithmetic import add, chosen, compared, div, in_float32, in_type, mul, pow, reciprocal, rsub, sub, trunc
from .comparison import clamp, gt, lt, where
from .concrete import binary, category, each, promoted, quiet, unary
from .concrete import erfc as _erfc
from .concrete import erfinv as _erfinv
from .concrete import lgamma as _lgamma
from .dispatch import Value, operation, pair, tensor
from .inplace import install
from .unary import abs, apply_unary, erf, exp, log, sin, typed_float

__all__ = [
    "deg2rad", "digamma", "erfc", "erfinv", "exp2", "expm1", "frac", "lerp", "lgamma", "log10", "log1p", "log2",
    "logaddexp", "logaddexp2", "logit", "rad2deg", "round", "sinc",
]  # fmt: skip

KEEPS_ORDER = True


@operation(quiet(lambda input: input - (np.trunc(input) if category(input.dtype) == 2 else input)), method=True)
def frac(input: Value) -> Tensor:
    """What trunc cuts off, with the input's sign.

    Layers of the example: `unary`, `elementwise`.

    >>> trtnet.frac(trtnet.tensor([1.5, -2.25])).tolist()
    [0.5, -0.25]
    """
    return sub(input, trunc(input))


def _round_numpy(input: np.ndarray, *, decimals: int = 0) -> np.ndarray:
    if category(input.dtype) < 2:
        return input.copy()
    wide = input.astype(np.float32) if input.dtype.itemsize < 4 else input
    return np.asarray(np.round(wide, decimals)).astype(input.dtype, copy=False)


@operation(quiet(_round_numpy), method=True)
def round(input: Value, *, decimals: int = 0) -> Tensor:
    """Rounded to the nearest, halves to even; integers stay as they are.

    Layers of the example: `unary`.

    >>> trtnet.round(trtnet.tensor([0.5, 1.5, 2.75])).tolist()
    [0.0, 2.0, 3.0]
    """
    x = tensor(input)
    if not x.dtype.is_floating_point:
        return x
    if decimals == 0:
        return apply_unary("ROUND", x)
    scale = 10.0 ** _math.fabs(decimals)
    (wide,) = in_float32(x)
    if decimals > 0:
        return in_type(div(apply_unary("ROUND", mul(wide, scale)), scale), x.dtype)
    return in_type(mul(apply_unary("ROUND", div(wide, scale)), scale), x.dtype)


@operation(unary(np.exp2), method=True)
def exp2(input: Value) -> Tensor:
    """2 to the power of the input.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.exp2(trtnet.tensor([3.0, -1.0])).tolist()
    [8.0, 0.5]
    """
    return pow(2.0, input)


@operation(unary(np.expm1), method=True)
def expm1(input: Value) -> Tensor:
    """exp(input) - 1; near 0, where that loses its digits, by Taylor's series.

    Layers of the example: `unary`, `constant`, `elementwise`, `select`.

    >>> trtnet.expm1(trtnet.tensor([0.0, 1.0])).numpy().round(3)
    array([0.   , 1.718], dtype=float32)
    """
    given = typed_float(input)
    (x,) = in_float32(given)
    near = lt(abs(x), 0.35)
    z = where(near, x, 0.0)
    series = mul(z, _polynomial(z, [1 / _math.factorial(k) for k in range(1, 10)]))
    return in_type(where(near, series, sub(exp(x), 1.0)), given.dtype)


@operation(unary(np.log1p), method=True)
def log1p(input: Value) -> Tensor:
    """log(1 + input); near 0, where that loses its digits, twice the series of atanh(x / (2 + x)).

    Layers of the example: `unary`, `constant`, `elementwise`, `select`.

    >>> trtnet.log1p(trtnet.tensor([0.0, 1.0])).numpy().round(3)
    array([0.   , 0.693], dtype=float32)
    """
    given = typed_float(input)
    (x,) = in_float32(given)
    near = lt(abs(x), 0.25)
    z = where(near, x, 0.0)
    ratio = div(z, add(z, 2.0))
    series = mul(ratio, _polynomial(mul(ratio, ratio), [2 / (2 * k + 1) for k in range(6)]))
    return in_type(where(near, series, log(add(x, 1.0))), given.dtype)


def _polynomial(x: Tensor, coefficients: list[float]) -> Tensor:
    """The sum of coefficients[k] * x^k, by Horner's rule."""
    found: Any = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        found = add(mul(x, found), coefficient)
    return found


@operation(unary(np.log2), method=True)
def log2(input: Value) -> Tensor:
    """The logarithm to base 2.

    Layers of the example: `unary`, `constant`, `elementwise`.

    >>> trtnet.log2(trtnet.tensor([1.0, 8.0])).tolist()
    [0.0, 3.0]
    """
    return mul(log(input), 1 / _math.log(2))


@operation(unary(np.log10), method=True)
def log10(input: Value) -> Tensor:
    """The logarithm to base 10.

    Layers of the example: `unary`, `constant`, `elementwise`.

    >>> trtnet.log10(trtnet.tensor([1.0, 100.0])).numpy().round(3)
    array([0., 2.], dtype=float32)
    """
    return mul(log(input), 1 / _math.log(10))


@operation(unary(_erfc), method=True)
def erfc(input: Value) -> Tensor:
    """1 - erf(input), to 6 digits of every value that is not subnormal.

    From 0.5 on it is t * exp(-x² + polynomial of t), t = 1 / (1 + x / 2) (Numerical Recipes in C, section 6.2), with x²
    in two parts so that the exponent keeps its digits.

    Layers of the example: `constant`, `elementwise`, `select`, `unary`.

    >>> trtnet.erfc(trtnet.tensor([0.0, 1.0])).numpy().round(3)
    array([1.   , 0.157], dtype=float32)
    """
    given = typed_float(input)
    (x,) = in_float32(given)
    near = lt(x, 0.5)
    z = where(near, 0.5, where(gt(x, 12.0), 12.0, x))
    t = reciprocal(add(mul(z, 0.5), 1.0))
    coarse = mul(round(mul(z, 16.0)), 1 / 16)
    rest = mul(sub(z, coarse), add(z, coarse))
    far = mul(mul(t, exp(sub(_polynomial(t, _ERFC), rest))), exp(mul(mul(coarse, coarse), -1.0)))
    return in_type(where(near, sub(1.0, erf(x)), far), given.dtype)


_ERFC = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
]  # fmt: skip


@operation(unary(np.deg2rad), method=True)
def deg2rad(input: Value) -> Tensor:
    """Degrees to radians.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.deg2rad(trtnet.tensor([180.0])).numpy().round(3)
    array([3.142], dtype=float32)
    """
    return mul(input, _math.pi / 180)


@operation(unary(np.rad2deg), method=True)
def rad2deg(input: Value) -> Tensor:
    """Radians to degrees.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.rad2deg(trtnet.tensor([3.0])).numpy().round(3)
    array([171.887], dtype=float32)
    """
    return mul(input, 180 / _math.pi)


@operation(unary(np.sinc), method=True)
def sinc(input: Value) -> Tensor:
    """sin(pi x) / (pi x), 1 at zero.

    Layers of the example: `unary`, `constant`, `elementwise`, `select`.

    >>> trtnet.sinc(trtnet.tensor([0.0, 0.5])).numpy().round(3)
    array([1.   , 0.637], dtype=float32)
    """
    given = typed_float(input)
    (x,) = in_float32(given)
    small = lt(abs(x), 0.25)  # there by the series: TensorRT 8.6's sine has an error of 1e-7 however small it is
    near = where(small, mul(x, _math.pi), 0.0)
    far = where(small, 1.0, mul(x, _math.pi))
    square = mul(near, near)
    series: Any = 1 / _math.factorial(9)
    for power in (7, 5, 3, 1):
        series = sub(1 / _math.factorial(power), mul(square, series))
    return in_type(where(small, series, div(sin(far), far)), given.dtype)


def _logit_numpy(x: np.ndarray, eps: float | None) -> np.ndarray:
    if eps is not None:
        x = np.clip(x, np.asarray(eps, x.dtype), np.asarray(1 - eps, x.dtype))
    return np.log(x / (1 - x))


@operation(lambda input, eps=None: unary(lambda x: _logit_numpy(x, eps))(input), method=True)
def logit(input: Value, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of the input held between eps and 1 - eps.

    Layers of the example: `constant`, `elementwise`, `unary`.

    >>> trtnet.logit(trtnet.tensor([0.5, 0.75])).numpy().round(3)
    array([0.   , 1.099], dtype=float32)
    """
    x = tensor(input) if eps is None else clamp(input, eps, 1 - eps)
    return log(div(x, sub(1.0, x)))


# --- of two tensors ---------------------------------------------------------------------------------------------------


def _lerp_numpy(input: np.ndarray | float, end: np.ndarray | float, weight: np.ndarray | float) -> np.ndarray:
    a, b, w = promoted(input, end, weight)
    return np.where(np.abs(w) < 0.5, a + w * (b - a), b - (b - a) * (1 - w)).astype(a.dtype)


@operation(quiet(_lerp_numpy), method=True)
def lerp(input: Value, end: Value, weight: Value) -> Tensor:
    """input + weight * (end - input), reckoned from the nearer end as torch does.

    Layers of the example: `elementwise`, `constant`.

    >>> trtnet.lerp(trtnet.tensor([0.0]), trtnet.tensor([10.0]), 0.25).tolist()
    [2.5]
    """
    difference = sub(end, input)
    near = add(input, mul(weight, difference))
    if isinstance(weight, (int, float)) and _math.fabs(weight) < 0.5:
        return near
    far = sub(end, mul(difference, rsub(weight, 1)))
    return far if isinstance(weight, (int, float)) else where(lt(apply_unary("ABS", weight), 0.5), near, far)


@operation(binary(np.logaddexp), method=True)
def logaddexp(input: Value, other: Value) -> Tensor:
    """log(exp(input) + exp(other)), without overflow; of two equal infinities that infinity.

    Layers of the example: `elementwise`, `select`, `unary`, `constant`.

    >>> trtnet.logaddexp(trtnet.tensor([0.0]), trtnet.tensor([1.0])).numpy().round(3)
    array([1.313], dtype=float32)
    """
    return _log_of_sum("logaddexp", input, other, 1.0)


@operation(binary(np.logaddexp2), method=True)
def logaddexp2(input: Value, other: Value) -> Tensor:
    """log2(2^input + 2^other), without overflow; of two equal infinities that infinity.

    >>> trtnet.logaddexp2(trtnet.tensor([200.0]), trtnet.tensor([200.0])).tolist()
    [201.0]
    """
    return _log_of_sum("logaddexp2", input, other, _math.log(2))


def _log_of_sum(name: str, input: Value, other: Value, unit: float) -> Tensor:
    """The logarithm, to the base exp(unit), of the sum of its powers."""
    a, b = pair(name, input, other)
    require_floating(name, a)
    x, y = in_float32(a, b)
    below = compared("LESS", x, y)
    larger, smaller = chosen(below, y, x), chosen(below, x, y)
    apart = emit(ElementWise((below, compared("GREATER", x, y)), "OR"))
    infinite = emit(ElementWise((apply_unary("ISINF", x), apply_unary("ISINF", y)), "AND"))
    same = emit(ElementWise((infinite, apply_unary("NOT", apart)), "AND"))
    distance = chosen(same, 0.0, sub(smaller, larger))
    if unit == 1:
        return in_type(add(larger, log1p(exp(distance))), a.dtype)
    return in_type(add(larger, mul(log1p(exp(mul(distance, unit))), 1 / unit)), a.dtype)


# --- what TensorRT has not --------------------------------------------------------------------------------------------


def _missing(name: str, what: str, numpy: Callable[..., Any] | None = None) -> Any:
    def function(input: Tensor) -> Tensor:
        raise UnsupportedError(
            f"TensorRT has no {what}, and none can be made of its layers",
            found=format_shape(input.shape),
            remedy=f"compute {name} before the network, or approximate it with a polynomial",
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {what}: TensorRT cannot express it" + (", NumPy computes it." if numpy else ".")
    function.__doc__ += (
        f"\n\n>>> try:\n...     trtnet.record(trtnet.{name}, input=trtnet.Input((2,)))\n"
        "... except trtnet.TrtnetError as error:\n...     print(error.remedy)\n"
        f"compute {name} before the network, or approximate it with a polynomial\n"
    )
    return operation(numpy, method=name)(function)


erfinv = _missing("erfinv", "inverse error function", unary(_erfinv))
lgamma = _missing("lgamma", "logarithm of the gamma function", unary(each(_lgamma)))
digamma = _missing("digamma", "digamma function")


install({name: globals()[name] for name in __all__ if name not in ("logaddexp", "logaddexp2")})
