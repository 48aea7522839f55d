"""Quotients and remainders of floats, exact though TensorRT rounds.

`a - b * floor(a / b)` is right only where neither the quotient nor the product is rounded. Here the quotient is found
in three digits of 11 bits, the largest first, as in a division on paper:

    digit = floor(rest / divisor + 0.49);  rest = (rest - digit * high) - digit * low

`high` has the first 12 bits of the divisor and `low` the others, so that a product has at most 24 bits, and each
difference is a multiple of the divisor's last bit that is smaller than 2^24 of them: all are exact. So it makes no
difference whether a compiler contracts a product and a sum to one operation, nor how well it rounds a division, which
only chooses the digit; a digit that is one off leaves a rest that the next takes back. `high` comes from Dekker's
splitting (Numerische Mathematik 18, 1971), written `divisor * 4096 + divisor`, where the product is exact too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..basics import dtypes
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.casting import Cast
from ..layers.elementwise import ElementWise, Select, Unary
from .dispatch import scalar

_BITS = 11
_DIGITS = 3
_LIMIT = 2.0 ** (_BITS * _DIGITS)
_NAN = float("nan")


@dataclass(slots=True)
class _Divisor:
    """A positive divisor, whole and in two parts; `low` is None where it is 0."""

    whole: Tensor
    high: Tensor
    low: Tensor | None


class _Division:
    """Layers over two floats of one dtype and rank; `divisor` is the second where that is a number."""

    def __init__(self, a: Tensor, b: Tensor, divisor: float | None) -> None:
        self.dtype = a.dtype
        if self.dtype is not dtypes.float32:
            a, b = (emit(Cast((x,), dtypes.float32)) for x in (a, b))
        self.a, self.b, self.divisor = a, b, divisor
        self.rank = len(a.shape)
        self.magnitude = self.unary("ABS", a)
        self.quotient, self.rest = self._by_power() if is_power(divisor) else self._by_digits()

    # --- layers

    def number(self, value: float) -> Tensor:
        return scalar(value, dtypes.float32, self.rank)

    def unary(self, op: str, x: Tensor) -> Tensor:
        made: Tensor = emit(Unary((x,), op))
        return made

    def binary(self, op: str, x: Any, y: Any) -> Tensor:
        left, right = (v if isinstance(v, Tensor) else self.number(v) for v in (x, y))
        made: Tensor = emit(ElementWise((left, right), op))
        return made

    def choose(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        left, right = (v if isinstance(v, Tensor) else self.number(v) for v in (x, y))
        made: Tensor = emit(Select((condition, left, right)))
        return made

    def result(self, x: Tensor) -> Tensor:
        made: Tensor = x if self.dtype is dtypes.float32 else emit(Cast((x,), self.dtype))
        return made

    # --- |a| divided by |b|: the quotient, rounded down, and the rest

    def _by_power(self) -> tuple[Tensor, Tensor]:
        """By a power of two nothing is ever rounded."""
        assert self.divisor is not None
        whole = abs(self.divisor)
        quotient = self.unary("FLOOR", self.binary("PROD", self.magnitude, 1 / whole))
        rest = self.binary("SUB", self.magnitude, self.binary("PROD", quotient, whole))
        if whole < 1:  # the quotient may be infinite
            rest = self.choose(self.binary("GREATER", self.magnitude, whole * 2.0**127), _NAN, rest)
        return quotient, rest

    def _by_digits(self) -> tuple[Tensor, Tensor]:
        rest, divisor, back = self._split_number() if self.divisor is not None else self._split_tensor()
        digits, first = [], None
        for place in reversed(range(_DIGITS)):
            unit = 2.0 ** (_BITS * place)
            ratio = self.binary("DIV", rest, divisor.whole)
            first = ratio if first is None else first
            digit = self.binary("SUM", self.binary("PROD", ratio, 1 / unit) if place else ratio, 0.49)
            digit = self.unary("FLOOR", digit)
            digit = self.binary("PROD", digit, unit) if place else digit
            digits.append(digit)
            rest = self.binary("SUB", rest, self.binary("PROD", digit, divisor.high))
            if divisor.low is not None:
                rest = self.binary("SUB", rest, self.binary("PROD", digit, divisor.low))
        below = self.binary("LESS", rest, 0.0)
        quotient = self.binary("SUM", self.binary("SUM", digits[0], digits[1]), digits[2])
        quotient = self.choose(below, self.binary("SUB", quotient, 1.0), quotient)
        rest = self.choose(below, self.binary("SUM", rest, divisor.whole), rest)
        if back is not None:
            rest = self.binary("PROD", rest, back)
        assert first is not None
        return quotient, self.choose(self.binary("GREATER", first, _LIMIT), _NAN, rest)

    def _split_number(self) -> tuple[Tensor, _Divisor, Tensor | None]:
        assert self.divisor is not None
        whole = np.abs(np.float32(self.divisor))
        dividend, back = self.magnitude, None
        exponent = math.frexp(whole)[1] - 1 if np.isfinite(whole) and whole else 0
        if not -80 < exponent < 90:
            scale = -exponent
            whole = np.ldexp(whole, scale)
            dividend = self.magnitude
            for part in (scale // 2, scale - scale // 2):  # 2^-149 has no reciprocal
                dividend = self.binary("PROD", dividend, 2.0**part)
            back = self.number(2.0**exponent)
        with np.errstate(all="ignore"):
            carry = whole * np.float32(4096) + whole
            high = carry - (carry - whole)
        low = whole - high
        numbers = _Divisor(
            self.number(float(whole)), self.number(float(high)), None if low == 0 else self.number(float(low))
        )
        return dividend, numbers, back

    def _split_tensor(self) -> tuple[Tensor, _Divisor, Tensor]:
        size = self.unary("ABS", self.b)
        large = self.binary("GREATER", self.magnitude, 2.0**100)
        small = self.binary("LESS", self.magnitude, 2.0**-50)
        scale = self.choose(large, 2.0**-32, self.choose(small, 2.0**60, 1.0))
        back = self.choose(large, 2.0**32, self.choose(small, 2.0**-60, 1.0))
        whole = self.binary("PROD", size, scale)
        carry = self.binary("SUM", self.binary("PROD", whole, 4096.0), whole)
        high = self.binary("SUB", carry, self.binary("SUB", carry, whole))
        return (
            self.binary("PROD", self.magnitude, scale),
            _Divisor(whole, high, self.binary("SUB", whole, high)),
            back,
        )

    # --- with signs

    def within(self) -> Tensor:
        """Where |a| < |b|, so that the remainder is `a` itself."""
        size = self.unary("ABS", self.b) if self.divisor is None else abs(self.divisor)
        return self.binary("LESS", self.magnitude, size)

    def truncated(self) -> Tensor:
        """The remainder with the sign of `a`."""
        signed = self.choose(self.binary("LESS", self.a, 0.0), self.unary("NEG", self.rest), self.rest)
        return self.choose(self.within(), self.a, signed)

    def opposed(self, rest: Tensor) -> Tensor:
        """Where a remainder that is not 0 has not the sign of `b`."""
        if self.divisor is not None:
            return self.binary("GREATER" if self.divisor < 0 else "LESS", rest, 0.0)
        below = self.binary("AND", self.binary("LESS", rest, 0.0), self.binary("GREATER", self.b, 0.0))
        above = self.binary("AND", self.binary("GREATER", rest, 0.0), self.binary("LESS", self.b, 0.0))
        return self.binary("OR", below, above)


def is_power(divisor: float | None) -> bool:
    """Whether a number is a power of two (or minus one), by which nothing is rounded, and its quotients are no
    extremes."""
    return divisor is not None and 2.0**-24 <= abs(divisor) <= 2.0**24 and math.frexp(abs(divisor))[0] == 0.5


def truncated_remainder(a: Tensor, b: Tensor, divisor: float | None) -> Tensor:
    """The remainder of floats with the sign of `a`; `divisor` is the number that `b` is, if it is one."""
    division = _Division(a, b, divisor)
    return division.result(division.truncated())


def floored_remainder(a: Tensor, b: Tensor, divisor: float | None) -> Tensor:
    """The remainder of floats with the sign of `b`."""
    if is_power(divisor) and abs(divisor or 0) >= 1:
        product = emit(ElementWise((_floored_by_power(a, divisor), b), "PROD"))
        made: Tensor = emit(ElementWise((a, product), "SUB"))
        return made
    division = _Division(a, b, divisor)
    rest = division.truncated()
    moved = division.binary("SUM", rest, division.b)
    return division.result(division.choose(division.opposed(rest), moved, rest))


def _floored_by_power(a: Tensor, divisor: float | None) -> Tensor:
    inverse = scalar(1 / (divisor or 1), a.dtype, len(a.shape))
    made: Tensor = emit(Unary((emit(ElementWise((a, inverse), "PROD")),), "FLOOR"))
    return made


def _unless_infinite(a: Tensor, quotient: Tensor) -> Tensor:
    """NaN in place of a quotient of infinity. `a * 0` would be shorter, but TensorRT 8.6 takes that for 0."""
    nothing = scalar(_NAN, quotient.dtype, len(quotient.shape))
    made: Tensor = emit(Select((emit(Unary((a,), "ISINF")), nothing, quotient)))
    return made


def floored_quotient(a: Tensor, b: Tensor, divisor: float | None) -> Tensor:
    """The quotient of floats, rounded down; NaN of infinite dividends unless by 0, as in torch."""
    if is_power(divisor):
        made: Tensor = _unless_infinite(a, _floored_by_power(a, divisor))
        return made
    division = _Division(a, b, divisor)
    quotient = division.binary("DIV", division.a, division.b)
    rest = division.truncated()
    whole = division.choose(division.within(), 0.0, division.quotient)
    negative = division.binary("LESS", quotient, 0.0)
    down = division.choose(division.opposed(rest), -1.0, 0.0)
    whole = division.binary("SUM", division.choose(negative, division.unary("NEG", whole), whole), down)
    rounded = division.unary("FLOOR", quotient)
    if divisor is None:
        at_zero = division.binary("EQUAL", division.b, 0.0)
        rounded = division.choose(at_zero, rounded, _unless_infinite(division.a, rounded))
    elif divisor != 0:
        rounded = _unless_infinite(division.a, rounded)
    small = division.binary("LESS", division.unary("ABS", quotient), 2.0**24)
    return division.result(division.choose(small, whole, rounded))
