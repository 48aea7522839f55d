"""Bits of integers. Names and signatures as torch's.

TensorRT's AND, OR and XOR take bools. Integers are taken apart into digits of 16 bits and those into bits, each with a
dimension of its own, put together bit by bit, and summed up: exact for every value, negative ones in two's complement,
and for 64 or 128 times the memory while it lasts. A number of the form 2**n - 1 is a remainder instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import DtypeError
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from ..layers.casting import converted
from ..layers.elementwise import ElementWise, Unary
from ..layers.gather import Gather
from ..layers.reduction import Reduce
from ..layers.shaping import expanded, reshaped
from .arithmetic import number
from .broadcasting import broadcast_shapes
from .comparison import ge, logical_or, lt, where
from .concrete import category, promoted
from .dispatch import Value, operation, pair, scalar, tensor
from .inplace import install, install_operators
from .joining import stack

__all__ = [
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
]  # fmt: skip

KEEPS_ORDER = True

_DIGIT = 16


def _elementwise(op: str, a: Tensor, b: Tensor) -> Tensor:
    made: Tensor = emit(ElementWise((a, b), op))
    return made


def _with(op: str, a: Tensor, value: int) -> Tensor:
    return _elementwise(op, a, scalar(value, a.dtype, a.ndim))


def _floor_mod(x: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """x // divisor, rounded down, and the rest, which is not negative."""
    quotient = _with("FLOOR_DIV", x, divisor)
    return quotient, _elementwise("SUB", x, _with("PROD", quotient, divisor))


def _whole_numbers(name: str, a: Tensor, *, bools: bool = True) -> None:
    if a.dtype.is_floating_point or (a.dtype is dtypes.bool_ and not bools):
        raise DtypeError(
            f"{name} takes integer{' and bool' if bools else ''} tensors",
            expected="int64, int32, int8, uint8" + (" or bool" if bools else ""),
            found=f"{a.dtype} {format_shape(a.shape)}",
            remedy="compare first (x != 0), or convert: x.long()",
        )


def _wrapped(x: Tensor, dtype: Dtype) -> Tensor:
    """An int32 tensor in a type of 8 bits, modulo 256."""
    low = int(np.iinfo(dtype.numpy).min)
    rest = _floor_mod(_with("SUB", x, low) if low else x, 256)[1]
    return converted(_with("SUM", rest, low) if low else rest, dtype)


# --- and, or, xor -----------------------------------------------------------------------------------------------------


def _bits(x: Tensor, digits: int) -> Tensor:
    """0 and 1 in int32, (elements, digits, 16) of a vector: digits and bits from the least significant on."""
    parts = []
    for _ in range(digits - 1):
        x, rest = _floor_mod(x, 1 << _DIGIT)
        parts.append(rest)
    parts.append(_floor_mod(x, 1 << _DIGIT)[1])
    digit = converted(stack(parts, -1), dtypes.int32).unsqueeze(-1)
    powers = tensor(Array((1 << np.arange(_DIGIT, dtype=np.int32)).reshape(1, 1, _DIGIT)))
    return _floor_mod(_elementwise("FLOOR_DIV", digit, powers), 2)[1]


def _together(bits: Tensor, digits: int, dtype: Dtype) -> Tensor:
    powers = tensor(Array((1 << np.arange(_DIGIT, dtype=np.int32)).reshape(1, 1, _DIGIT)))
    digit = emit(Reduce((_elementwise("PROD", bits, powers),), "SUM", (2,), False))
    found = [digit[:, i] for i in range(digits)]
    # the sign is in the highest digit
    half = 1 << (_DIGIT - 1)
    highest = _with("SUB", _floor_mod(_with("SUM", found[-1], half), 1 << _DIGIT)[1], half)
    made = converted(highest, dtype)
    for one in reversed(found[:-1]):
        made = _elementwise("SUM", _with("PROD", made, 1 << _DIGIT), converted(one, dtype))
    return made


def _bitwise(op: str, input: Value, other: Value) -> Tensor:
    name = "bitwise_" + op.lower()
    a, b = pair(name, input, other)
    _whole_numbers(name, a)
    if a.dtype is dtypes.bool_:
        return _elementwise(op, a, b)
    dtype = a.dtype
    if op == "AND":
        for x, y in ((a, other), (b, input)):
            mask = number(y)
            if isinstance(mask, int) and 0 <= mask < 1 << 30 and mask & (mask + 1) == 0:
                wide = converted(x, dtypes.int32) if dtype.bits == 8 else x
                return converted(_floor_mod(wide, mask + 1)[1], dtype)
    inside = dtypes.int32 if dtype.bits == 8 else dtype
    digits = inside.bits // _DIGIT
    shape = broadcast_shapes(a.shape, b.shape)
    first, second = (_bits(reshaped(converted(v, inside), (v.shape.numel(),)), digits) for v in (a, b))
    if a.shape != b.shape:  # what is broadcast is taken apart before
        first, second = (
            reshaped(expanded(reshaped(v, (*o.shape, digits, _DIGIT)), (*shape, digits, _DIGIT)),
                     (shape.numel(), digits, _DIGIT))
            for v, o in ((first, a), (second, b))
        )  # fmt: skip
    both = _elementwise("PROD", first, second)
    if op != "AND":
        either = _elementwise("SUB", _elementwise("SUM", first, second), both)
        both = either if op == "OR" else _elementwise("SUB", either, both)
    made = reshaped(_together(both, digits, inside), tuple(shape))
    return made if inside is dtype else _wrapped(made, dtype)


def _numpy(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda input, other: function(*promoted(input, other))


@operation(_numpy(np.bitwise_and), method=True)
def bitwise_and(input: Value, other: Value) -> Tensor:
    """input & other, of bools and integers.

    >>> trtnet.bitwise_and(trtnet.tensor([12, 5]), 6).tolist()
    [4, 4]
    """
    return _bitwise("AND", input, other)


@operation(_numpy(np.bitwise_or), method=True)
def bitwise_or(input: Value, other: Value) -> Tensor:
    """input | other, of bools and integers.

    >>> trtnet.bitwise_or(trtnet.tensor([12, 5]), 6).tolist()
    [14, 7]
    """
    return _bitwise("OR", input, other)


@operation(_numpy(np.bitwise_xor), method=True)
def bitwise_xor(input: Value, other: Value) -> Tensor:
    """input ^ other, of bools and integers.

    >>> trtnet.bitwise_xor(trtnet.tensor([12, 5]), 6).tolist()
    [10, 3]
    """
    return _bitwise("XOR", input, other)


@operation(np.invert, method=True)
def bitwise_not(input: Value) -> Tensor:
    """~input: of bools their NOT, of integers -1 - input.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.bitwise_not(trtnet.tensor([0, 5])).tolist()
    [-1, -6]
    """
    x = tensor(input)
    _whole_numbers("bitwise_not", x)
    if x.dtype is dtypes.bool_:
        made: Tensor = emit(Unary((x,), "NOT"))
        return made
    if x.dtype is dtypes.uint8:
        wide = converted(x, dtypes.int32)
        return converted(_elementwise("SUB", scalar(255, wide.dtype, wide.ndim), wide), x.dtype)
    return _elementwise("SUB", scalar(-1, x.dtype, x.ndim), x)


# --- shifts -----------------------------------------------------------------------------------------------------------

_STEP = 30
"""Bits that are shifted at once, by a power of two that int32 holds."""


def _shifted(name: str, input: Value, other: Value, left: bool) -> Tensor:
    a, b = pair(name, input, other)
    _whole_numbers(name, a, bools=False)
    dtype, inside = a.dtype, dtypes.int32 if a.dtype.bits == 8 else a.dtype
    x, by = converted(a, inside), converted(b, inside)
    count = number(other)
    out = logical_or(lt(by, 0), ge(by, dtype.bits)) if count is None else None
    most = dtype.bits if dtype is dtypes.uint8 else dtype.bits - 1  # what has a sign keeps it
    if count is not None:
        outside = not 0 <= count < dtype.bits
        if outside and left:
            made = _with("PROD", x, 0)
            return made if inside is dtype else converted(made, dtype)
        steps = most if outside else count
        while steps:
            x, steps = _with("PROD" if left else "FLOOR_DIV", x, 1 << min(steps, _STEP)), max(steps - _STEP, 0)
    else:
        left_over = where(out, most, by)
        powers = tensor(Array((1 << np.arange(_STEP + 1, dtype=np.int64)).astype(inside.numpy)))
        for _ in range(-(-most // _STEP)):
            now = _elementwise("MIN", left_over, scalar(_STEP, inside, by.ndim))
            x = _elementwise("PROD" if left else "FLOOR_DIV", x, emit(Gather((powers, now))))
            left_over = _elementwise("SUB", left_over, now)
        if left:
            x = where(out, 0, x)
    if count is not None and not left and x is a:
        x = x.clone()
    return x if inside is dtype else _wrapped(x, dtype)


def _shifts_numpy(left: bool) -> Callable[..., np.ndarray]:
    def compute(input: Value, other: Value) -> np.ndarray:
        a, b = promoted(input, other)
        if category(a.dtype) != 1:
            raise TypeError("shifts take integers")
        bits = a.dtype.itemsize * 8
        out = (b < 0) | (b >= bits)
        by = np.where(out, bits - 1, b).astype(a.dtype)
        shifted = np.left_shift(a, by) if left else np.right_shift(a, by)
        return np.where(out, np.zeros((), a.dtype), shifted) if left or a.dtype == np.uint8 else shifted

    return compute


@operation(_shifts_numpy(True), method=True)
def bitwise_left_shift(input: Value, other: Value) -> Tensor:
    """input << other of integers; what leaves the type falls away. By less than 0 or more than the type has bits: 0.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.bitwise_left_shift(trtnet.tensor([1, 5]), 2).tolist()
    [4, 20]
    """
    return _shifted("bitwise_left_shift", input, other, True)


@operation(_shifts_numpy(False), method=True)
def bitwise_right_shift(input: Value, other: Value) -> Tensor:
    """input >> other of integers: divided by a power of two, rounded down. Past the type's bits: 0, or -1.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.bitwise_right_shift(trtnet.tensor([4, -5]), 1).tolist()
    [2, -3]
    """
    return _shifted("bitwise_right_shift", input, other, False)


def _reflected(function: Callable[[Value, Value], Tensor]) -> Callable[[Value, Value], Tensor]:
    return lambda self, other: function(other, self)


_OPERATORS = {
    "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor, "lshift": bitwise_left_shift,
    "rshift": bitwise_right_shift,
}  # fmt: skip
for _name, _function in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _function)
    setattr(Tensor, f"__r{_name}__", _reflected(_function))
setattr(Tensor, "__invert__", bitwise_not)  # noqa: B010
install_operators(_OPERATORS)
install({name: globals()[name] for name in __all__})
