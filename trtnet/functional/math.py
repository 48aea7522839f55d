"""Pointwise functions of one tensor, and (from `arithmetic`) of two."""

from __future__ import annotations

import math as _math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics.dims import format_shape
from ..basics.errors import UnsupportedError
from ..graph.tensor import Tensor
from . import arithmetic
from .arithmetic import *  # noqa: F403
from .arithmetic import add, apply_unary, div, mul, sub
from .concrete import category, each, quiet, unary
from .concrete import erf as _erf
from .concrete import erfc as _erfc
from .concrete import erfinv as _erfinv
from .dispatch import operation, tensor
from .inplace import install

__all__ = [
    *arithmetic.__all__,
    "abs", "absolute", "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh",
    "atan", "atanh", "ceil", "cos", "cosh", "deg2rad", "digamma", "erf", "erfc", "erfinv", "exp", "exp2", "expm1",
    "fix", "floor", "frac", "lgamma", "log", "log10", "log1p", "log2", "logit", "rad2deg", "round", "sgn", "sign",
    "sin", "sinc", "sinh", "tan", "trunc",
]  # fmt: skip

KEEPS_ORDER = True


def _declare(name: str, op: str, numpy: Callable[..., Any], text: str, alias: str | None = None) -> Any:
    """A function that is one Unary layer."""

    def function(input: Any) -> Tensor:
        return apply_unary(op, input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return operation(numpy, method=(name, alias) if alias else name)(function)


abs = _declare("abs", "ABS", np.abs, "|input|.", "absolute")


def _sign_numpy(input: np.ndarray) -> np.ndarray:
    above, below = ((input > 0).astype(np.int8), (input < 0).astype(np.int8))  # of NaN 0, as in torch
    return (above - below).astype(input.dtype)


sign = _declare("sign", "SIGN", quiet(_sign_numpy), "-1, 0 or 1.", "sgn")
exp = _declare("exp", "EXP", unary(np.exp), "e to the power of the input.")
log = _declare("log", "LOG", unary(np.log), "The natural logarithm; NaN of negative numbers.")
sin = _declare("sin", "SIN", unary(np.sin), "The sine.")
cos = _declare("cos", "COS", unary(np.cos), "The cosine.")
tan = _declare("tan", "TAN", unary(np.tan), "The tangent.")
sinh = _declare("sinh", "SINH", unary(np.sinh), "The hyperbolic sine.")
cosh = _declare("cosh", "COSH", unary(np.cosh), "The hyperbolic cosine.")
asin = _declare("asin", "ASIN", unary(np.arcsin), "The inverse sine.", "arcsin")
acos = _declare("acos", "ACOS", unary(np.arccos), "The inverse cosine.", "arccos")
atan = _declare("atan", "ATAN", unary(np.arctan), "The inverse tangent.", "arctan")
asinh = _declare("asinh", "ASINH", unary(np.arcsinh), "The inverse hyperbolic sine.", "arcsinh")
acosh = _declare("acosh", "ACOSH", unary(np.arccosh), "The inverse hyperbolic cosine.", "arccosh")
atanh = _declare("atanh", "ATANH", unary(np.arctanh), "The inverse hyperbolic tangent.", "arctanh")
erf = _declare("erf", "ERF", unary(_erf), "The error function.")
absolute, sgn = abs, sign
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh


def _integers_stay(function: Callable[..., Any]) -> Callable[..., Any]:
    return quiet(lambda input: function(input) if category(input.dtype) == 2 else input)


@operation(_integers_stay(np.floor), method=True)
def floor(input: Any) -> Tensor:
    """Rounded down; integers stay as they are."""
    x = tensor(input)
    return apply_unary("FLOOR", x) if x.dtype.is_floating_point else x


@operation(_integers_stay(np.ceil), method=True)
def ceil(input: Any) -> Tensor:
    """Rounded up; integers stay as they are."""
    x = tensor(input)
    return apply_unary("CEIL", x) if x.dtype.is_floating_point else x


@operation(_integers_stay(np.trunc), method=("trunc", "fix"))
def trunc(input: Any) -> Tensor:
    """Rounded towards zero: sign(x) * floor(|x|). Integers stay as they are."""
    x = tensor(input)
    return mul(sign(x), floor(abs(x))) if x.dtype.is_floating_point else x


fix = trunc


@operation(quiet(lambda input: input - np.trunc(input)), method=True)
def frac(input: Any) -> Tensor:
    """What trunc cuts off, with the input's sign."""
    return sub(input, trunc(input))


@operation(lambda input, *, decimals=0: np.round(input, decimals), method=True)
def round(input: Any, *, decimals: int = 0) -> Tensor:
    """Rounded to the nearest, halves to even; integers stay as they are."""
    x = tensor(input)
    if not x.dtype.is_floating_point:
        return x
    if decimals == 0:
        return apply_unary("ROUND", x)
    scale = 10.0 ** _math.fabs(decimals)
    if decimals > 0:
        return div(apply_unary("ROUND", mul(x, scale)), scale)
    return mul(apply_unary("ROUND", div(x, scale)), scale)


@operation(unary(np.exp2), method=True)
def exp2(input: Any) -> Tensor:
    """2 to the power of the input."""
    return arithmetic.pow(2.0, input)


@operation(unary(np.expm1), method=True)
def expm1(input: Any) -> Tensor:
    """exp(input) - 1; near 0, where that loses its digits, by Taylor's series."""
    from .comparison import lt, where

    given = arithmetic.typed_float(input)
    (x,) = arithmetic.in_float32(given)
    near = lt(abs(x), 0.35)
    z = where(near, x, 0.0)
    series = mul(z, _polynomial(z, [1 / _math.factorial(k) for k in range(1, 10)]))
    return arithmetic.in_type(where(near, series, sub(exp(x), 1.0)), given.dtype)


@operation(unary(np.log1p), method=True)
def log1p(input: Any) -> Tensor:
    """log(1 + input); near 0, where that loses its digits, twice the series of atanh(x / (2 + x))."""
    from .comparison import lt, where

    given = arithmetic.typed_float(input)
    (x,) = arithmetic.in_float32(given)
    near = lt(abs(x), 0.25)
    z = where(near, x, 0.0)
    ratio = div(z, add(z, 2.0))
    series = mul(ratio, _polynomial(mul(ratio, ratio), [2 / (2 * k + 1) for k in range(6)]))
    return arithmetic.in_type(where(near, series, log(add(x, 1.0))), given.dtype)


def _polynomial(x: Tensor, coefficients: list[float]) -> Tensor:
    """The sum of coefficients[k] * x^k, by Horner's rule."""
    found: Any = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        found = add(mul(x, found), coefficient)
    return found


@operation(unary(np.log2), method=True)
def log2(input: Any) -> Tensor:
    """The logarithm to base 2."""
    return mul(log(input), 1 / _math.log(2))


@operation(unary(np.log10), method=True)
def log10(input: Any) -> Tensor:
    """The logarithm to base 10."""
    return mul(log(input), 1 / _math.log(10))


@operation(unary(_erfc), method=True)
def erfc(input: Any) -> Tensor:
    """1 - erf(input), to 6 digits of every value that is not subnormal.

    From 0.5 on it is t * exp(-x² + polynomial of t), t = 1 / (1 + x / 2) (Numerical Recipes in C, section 6.2), with x²
    in two parts so that the exponent keeps its digits.
    """
    from .comparison import gt, lt, where

    given = arithmetic.typed_float(input)
    (x,) = arithmetic.in_float32(given)
    near = lt(x, 0.5)
    z = where(near, 0.5, where(gt(x, 12.0), 12.0, x))
    t = arithmetic.reciprocal(add(mul(z, 0.5), 1.0))
    coarse = mul(round(mul(z, 16.0)), 1 / 16)
    rest = mul(sub(z, coarse), add(z, coarse))
    far = mul(mul(t, exp(sub(_polynomial(t, _ERFC), rest))), exp(mul(mul(coarse, coarse), -1.0)))
    return arithmetic.in_type(where(near, sub(1.0, erf(x)), far), given.dtype)


_ERFC = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
]  # fmt: skip


@operation(unary(np.deg2rad), method=True)
def deg2rad(input: Any) -> Tensor:
    """Degrees to radians."""
    return mul(input, _math.pi / 180)


@operation(unary(np.rad2deg), method=True)
def rad2deg(input: Any) -> Tensor:
    """Radians to degrees."""
    return mul(input, 180 / _math.pi)


@operation(unary(np.sinc), method=True)
def sinc(input: Any) -> Tensor:
    """sin(pi x) / (pi x), 1 at zero."""
    from .comparison import lt, where

    given = arithmetic.typed_float(input)
    (x,) = arithmetic.in_float32(given)
    small = lt(abs(x), 0.25)  # there by the series: TensorRT 8.6's sine has an error of 1e-7 however small it is
    near = where(small, mul(x, _math.pi), 0.0)
    far = where(small, 1.0, mul(x, _math.pi))
    square = mul(near, near)
    series: Any = 1 / _math.factorial(9)
    for power in (7, 5, 3, 1):
        series = sub(1 / _math.factorial(power), mul(square, series))
    return arithmetic.in_type(where(small, series, div(sin(far), far)), given.dtype)


def _logit_numpy(x: np.ndarray, eps: float | None) -> np.ndarray:
    if eps is not None:
        x = np.clip(x, np.asarray(eps, x.dtype), np.asarray(1 - eps, x.dtype))
    return np.log(x / (1 - x))


@operation(lambda input, eps=None: unary(lambda x: _logit_numpy(x, eps))(input), method=True)
def logit(input: Any, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of the input held between eps and 1 - eps."""
    from .comparison import clamp

    x = tensor(input) if eps is None else clamp(input, eps, 1 - eps)
    return log(div(x, sub(1.0, x)))


# --- what TensorRT has not --------------------------------------------------------------------------------------------


def _missing(name: str, what: str, numpy: Callable[..., Any] | None = None) -> Any:
    def function(input: Any) -> Tensor:
        raise UnsupportedError(
            f"TensorRT has no {what}, and none can be made of its layers",
            found=format_shape(input.shape),
            remedy=f"compute {name} before the network, or approximate it with a polynomial",
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {what}: TensorRT cannot express it" + (", NumPy computes it." if numpy else ".")
    return operation(numpy, method=name)(function)


erfinv = _missing("erfinv", "inverse error function", unary(_erfinv))
lgamma = _missing("lgamma", "logarithm of the gamma function", unary(each(_math.lgamma)))
digamma = _missing("digamma", "digamma function")


setattr(Tensor, "__abs__", abs)  # noqa: B010
install({name: globals()[name] for name in __all__ if name not in arithmetic.__all__})
