"""Pointwise functions of one tensor that are one layer each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics import dtypes
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.casting import Cast, Identity
from ..layers.elementwise import Unary
from .concrete import category, quiet, unary
from .concrete import erf as _erf
from .dispatch import Value, operation, tensor
from .inplace import install

__all__ = [
    "abs", "absolute", "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh",
    "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "floor", "log", "sgn", "sign", "sin", "sinh", "tan",
]  # fmt: skip

KEEPS_ORDER = True


_OF_INTEGERS = ("ABS", "NEG", "SIGN", "NOT", "FLOOR", "CEIL", "ROUND", "ISNAN", "ISINF")


def apply_unary(op: str, value: Value) -> Tensor:
    """One Unary layer; what gives fractions takes integers and bools as float32, as torch. A bool is its own sign."""
    if op == "SIGN" and getattr(value, "dtype", None) is dtypes.bool_:
        made: Tensor = emit(Identity((tensor(value),)))
        return made
    return emit(Unary((tensor(value) if op in _OF_INTEGERS else typed_float(value),), op))


def typed_float(value: Value) -> Tensor:
    """The tensor itself, or float32 of integers and bools."""
    x = tensor(value)
    return x if x.dtype.is_floating_point else emit(Cast((x,), dtypes.float32))


def _declare(
    name: str,
    op: str,
    numpy: Callable[..., Any],
    text: str,
    at: list[float],
    gives: list[float],
    alias: str | None = None,
) -> Callable[[Value], Tensor]:
    """A function that is one Unary layer, and what it gives at some numbers."""

    def function(input: Value) -> Tensor:
        return apply_unary(op, input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{text}\n\nLayers: `unary` ({op}).\n\n"
        f">>> [round(value, 3) for value in trtnet.{name}(trtnet.tensor({at})).tolist()]\n{gives}\n"
    )
    return operation(numpy, method=(name, alias) if alias else name)(function)


abs = _declare("abs", "ABS", np.abs, "|input|.", [-1.5, 2.0], [1.5, 2.0], "absolute")


def _sign_numpy(input: np.ndarray) -> np.ndarray:
    above, below = ((input > 0).astype(np.int8), (input < 0).astype(np.int8))  # of NaN 0, as in torch
    return (above - below).astype(input.dtype)


sign = _declare("sign", "SIGN", quiet(_sign_numpy), "-1, 0 or 1.", [-1.5, 0.0, 2.0], [-1.0, 0.0, 1.0], "sgn")
exp = _declare("exp", "EXP", unary(np.exp), "e to the power of the input.", [0.0, 1.0], [1.0, 2.718])
log = _declare(
    "log", "LOG", unary(np.log), "The natural logarithm; NaN of negative numbers.",
    [1.0, 10.0], [0.0, 2.303],
)  # fmt: skip
sin = _declare("sin", "SIN", unary(np.sin), "The sine.", [0.0, 1.0], [0.0, 0.841])
cos = _declare("cos", "COS", unary(np.cos), "The cosine.", [0.0, 1.0], [1.0, 0.54])
tan = _declare("tan", "TAN", unary(np.tan), "The tangent.", [0.0, 1.0], [0.0, 1.557])
sinh = _declare("sinh", "SINH", unary(np.sinh), "The hyperbolic sine.", [0.0, 1.0], [0.0, 1.175])
cosh = _declare("cosh", "COSH", unary(np.cosh), "The hyperbolic cosine.", [0.0, 1.0], [1.0, 1.543])
asin = _declare("asin", "ASIN", unary(np.arcsin), "The inverse sine.", [0.0, 1.0], [0.0, 1.571], "arcsin")
acos = _declare("acos", "ACOS", unary(np.arccos), "The inverse cosine.", [1.0, 0.5], [0.0, 1.047], "arccos")
atan = _declare("atan", "ATAN", unary(np.arctan), "The inverse tangent.", [0.0, 1.0], [0.0, 0.785], "arctan")
asinh = _declare(
    "asinh", "ASINH", unary(np.arcsinh), "The inverse hyperbolic sine.",
    [0.0, 1.0], [0.0, 0.881], "arcsinh",
)  # fmt: skip
acosh = _declare(
    "acosh", "ACOSH", unary(np.arccosh), "The inverse hyperbolic cosine.",
    [1.0, 2.0], [0.0, 1.317], "arccosh",
)  # fmt: skip
atanh = _declare(
    "atanh", "ATANH", unary(np.arctanh), "The inverse hyperbolic tangent.",
    [0.0, 0.5], [0.0, 0.549], "arctanh",
)  # fmt: skip
erf = _declare("erf", "ERF", unary(_erf), "The error function.", [0.0, 1.0], [0.0, 0.843])
absolute, sgn = abs, sign
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh


def integers_stay(function: Callable[..., Any]) -> Callable[..., Any]:
    return quiet(lambda input: function(input) if category(input.dtype) == 2 else input)


@operation(integers_stay(np.floor), method=True)
def floor(input: Value) -> Tensor:
    """Rounded down; integers stay as they are.

    Layers of the example: `unary`.

    >>> trtnet.floor(trtnet.tensor([-1.5, 0.25])).tolist()
    [-2.0, 0.0]
    """
    x = tensor(input)
    return apply_unary("FLOOR", x) if x.dtype.is_floating_point else x


@operation(integers_stay(np.ceil), method=True)
def ceil(input: Value) -> Tensor:
    """Rounded up; integers stay as they are.

    Layers of the example: `unary`.

    >>> trtnet.ceil(trtnet.tensor([-1.5, 0.25])).tolist()
    [-1.0, 1.0]
    """
    x = tensor(input)
    return apply_unary("CEIL", x) if x.dtype.is_floating_point else x


setattr(Tensor, "__abs__", abs)  # noqa: B010
install({name: globals()[name] for name in __all__})
