"""Arithmetic of two tensors, and Python's operators for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.errors import ArgumentError, DtypeError
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from ..layers.base import require_floating
from ..layers.casting import Cast, Identity
from ..layers.elementwise import ElementWise, Select, Unary
from .concrete import binary, category, floats, promoted, quiet, unary
from .dispatch import Value, common_type, is_scalar, of_bools, operation, pair, refusing, scalar, tensor, typed
from .division import floored_quotient, floored_remainder, truncated_remainder
from .inplace import install, install_operators
from .unary import abs as absolute
from .unary import apply_unary, atan, floor, integers_stay, log, sign, typed_float

__all__ = [
    "add", "addcdiv", "addcmul", "arctan2", "atan2", "div", "divide", "fix", "floor_divide", "fmod", "hypot", "ldexp",
    "maximum", "minimum", "mul", "multiply", "neg", "negative", "positive", "pow",
    "reciprocal", "remainder", "rsqrt", "rsub", "sqrt", "square", "sub", "subtract", "true_divide", "trunc", "xlogy",
]  # fmt: skip

KEEPS_ORDER = True


def apply(name: str, op: str, a: Value, b: Value, logical: str | None = None) -> Tensor:
    """One ElementWise layer; `logical` is the operation that torch's arithmetic of two bools amounts to."""
    if type(a) is Tensor and type(b) is Tensor and a.dtype is b.dtype and len(a.shape) == len(b.shape):
        left, right = a, b
    else:
        left, right = pair(name, a, b)
    if left.dtype is dtypes.bool_:
        if logical is None:
            raise of_bools(name, left.shape)
        op = logical
    return emit(ElementWise((left, right), op))


def number(value: Value | None) -> Any:
    """The Python number that a scalar is; None for anything else."""
    if not is_scalar(value):
        return None
    return value.item() if isinstance(value, (Array, np.generic)) else value


# --- sums and products ------------------------------------------------------------------------------------------------


def _add_numpy(input: np.ndarray | float, other: np.ndarray | float, *, alpha: float = 1) -> np.ndarray:
    a, b = promoted(input, other)
    return a + b if isinstance(alpha, int) and alpha == 1 else a + b * np.asarray(alpha, b.dtype)


@operation(quiet(_add_numpy), method=True)
def add(input: Value, other: Value, *, alpha: float = 1) -> Tensor:
    """input + alpha * other, broadcast. Of two bools: their OR.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.add(trtnet.tensor([1.0, 2.0]), trtnet.tensor([10.0, 20.0]), alpha=2).tolist()
    [21.0, 42.0]
    """
    input, other = _scaled_by("add", input, other, alpha)
    return apply("add", "SUM", input, other, "OR")


def _scaled_by(name: str, input: Value, other: Value, alpha: Value) -> tuple[Any, Any]:
    """The operands of a sum, the second one times `alpha`, in the type of the result."""
    if isinstance(alpha, (int, float)) and alpha == 1:
        return input, other
    a, b = pair(name, input, other)
    if a.dtype is dtypes.bool_ and not isinstance(alpha, float):
        alpha = bool(alpha)
    if isinstance(alpha, float) and not a.dtype.is_floating_point:
        raise DtypeError(
            f"{name}: alpha is a float number, and the tensors are of integers",
            expected="a whole number",
            found=alpha,
            remedy="convert a tensor first: x.float()",
        )
    return a, mul(b, alpha)


def _sub_numpy(input: np.ndarray | float, other: np.ndarray | float, *, alpha: float = 1) -> np.ndarray:
    a, b = promoted(input, other)
    return a - b if isinstance(alpha, int) and alpha == 1 else a - b * np.asarray(alpha, b.dtype)


@operation(quiet(_sub_numpy), method=("sub", "subtract"))
def sub(input: Value, other: Value, *, alpha: float = 1) -> Tensor:
    """input - alpha * other, broadcast. Raises DtypeError for bools, as torch.

    Layers of the example: `elementwise`.

    >>> trtnet.sub(trtnet.tensor([1.0, 2.0]), trtnet.tensor([10.0, 20.0])).tolist()
    [-9.0, -18.0]
    """
    for value in (input, other):
        if isinstance(value, (bool, np.bool_)) or (isinstance(value, Tensor) and value.dtype is dtypes.bool_):
            raise of_bools("sub", tensor(value).shape)
    input, other = _scaled_by("sub", input, other, alpha)
    return apply("sub", "SUB", input, other)


subtract = sub


def rsub(input: Value, other: Value, *, alpha: float = 1) -> Tensor:
    """other - alpha * input.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.rsub(trtnet.tensor([1.0, 2.0]), 10.0).tolist()
    [9.0, 8.0]
    """
    return sub(other, input, alpha=alpha)


@operation(binary(np.multiply), method=("mul", "multiply"))
def mul(input: Value, other: Value) -> Tensor:
    """input * other, broadcast. Of two bools: their AND.

    Layers of the example: `shuffle`, `elementwise`.

    >>> trtnet.mul(trtnet.tensor([1.0, 2.0]), trtnet.tensor([[2.0], [3.0]])).tolist()
    [[2.0, 4.0], [3.0, 6.0]]
    """
    return apply("mul", "PROD", input, other, "AND")


multiply = mul


@operation(quiet(np.negative), method=("neg", "negative"))
def neg(input: Value) -> Tensor:
    """-input; of uint8 modulo 256.

    Layers of the example: `unary`.

    >>> trtnet.neg(trtnet.tensor([1.0, -2.0])).tolist()
    [-1.0, 2.0]
    """
    x = tensor(input)
    return sub(0, x) if x.dtype is dtypes.uint8 else apply_unary("NEG", x)


negative = neg


@operation(lambda input: input, method=True, view=True, gives_itself=True)
def positive(input: Value) -> Tensor:
    """The input itself.

    Layers of the example: none.

    >>> trtnet.positive(trtnet.tensor([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """
    return tensor(input)


@operation(binary(np.maximum), method=True)
def maximum(input: Value, other: Value) -> Tensor:
    """The larger of each pair, broadcast. Beside NaN torch gives NaN, TensorRT the number (NVIDIA/TensorRT#4758).

    Layers of the example: `elementwise`.

    >>> trtnet.maximum(trtnet.tensor([1.0, 5.0]), trtnet.tensor([3.0, 2.0])).tolist()
    [3.0, 5.0]
    """
    return apply("maximum", "MAX", input, other, "OR")


@operation(binary(np.minimum), method=True)
def minimum(input: Value, other: Value) -> Tensor:
    """The smaller of each pair, broadcast. Beside NaN torch gives NaN, TensorRT the number (NVIDIA/TensorRT#4758).

    Layers of the example: `elementwise`.

    >>> trtnet.minimum(trtnet.tensor([1.0, 5.0]), trtnet.tensor([3.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return apply("minimum", "MIN", input, other, "AND")


# --- division ---------------------------------------------------------------------------------------------------------


@operation(integers_stay(np.trunc), method=("trunc", "fix"))
def trunc(input: Value) -> Tensor:
    """Rounded towards zero: sign(x) * floor(|x|). Integers stay as they are.

    Layers of the example: `unary`, `elementwise`.

    >>> trtnet.trunc(trtnet.tensor([-1.5, 2.75])).tolist()
    [-1.0, 2.0]
    """
    x = tensor(input)
    return mul(sign(x), floor(absolute(x))) if x.dtype.is_floating_point else x


fix = trunc


def _div_numpy(input: np.ndarray | float, other: np.ndarray | float, *, rounding_mode: str | None = None) -> np.ndarray:
    if rounding_mode is None:
        a, b = floats(input, other)
        return a / b
    a, b = promoted(input, other)
    if rounding_mode == "floor":
        return np.floor_divide(a, b)
    return np.trunc(a / b) if category(a.dtype) == 2 else (a - np.fmod(a, b)) // b


@operation(quiet(_div_numpy), method=("div", "divide"))
def div(input: Value, other: Value, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, broadcast. Integers and bools give float32 (a cast is recorded), unless rounded.

    Args:
        rounding_mode: None, "trunc" (towards zero) or "floor".

    Layers of the example: `constant`, `elementwise`, `unary`, `select`.

    >>> trtnet.div(trtnet.tensor([7.0, -7.0]), 2.0, rounding_mode="floor").tolist()
    [3.0, -4.0]
    """
    if rounding_mode is None:
        if number(input) == 1 and not isinstance(input, Array):
            return reciprocal(typed_float(other))
        return apply("div", "DIV", *pair("div", input, other, floating=True))
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        expected = "None, 'trunc' or 'floor'"
        raise ArgumentError("there is no such rounding mode", expected=expected, found=repr(rounding_mode))
    quotient = apply("div", "DIV", input, other)
    return trunc(quotient) if quotient.dtype.is_floating_point else quotient


divide = div


@operation(quiet(_div_numpy), method=True)
def true_divide(input: Value, other: Value) -> Tensor:
    """input / other; integers give float32.

    >>> trtnet.true_divide(trtnet.tensor([1, 3]), 2).tolist()
    [0.5, 1.5]
    """
    return div(input, other)


@operation(binary(np.floor_divide), method=True)
def floor_divide(input: Value, other: Value) -> Tensor:
    """input // other, rounded down.

    Of floats the quotient is exact below 2^24 (`1 // 0.1` is 9, as in torch, which rounds from 2^22 on).

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.floor_divide(trtnet.tensor([7, -7]), 2).tolist()
    [3, -4]
    """
    a, b = pair("floor_divide", input, other)
    if a.dtype.is_floating_point:
        return floored_quotient(a, b, _divisor(other, a.dtype))
    return apply("floor_divide", "FLOOR_DIV", input, other)


def _divisor(value: Value, dtype: dtypes.dtype) -> float | None:
    """The number that a divisor is once it has the dividend's dtype; None for a tensor."""
    found = number(value)
    return None if found is None else float(np.asarray(found).astype(dtype.numpy))


def _remainder_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As torch's: a remainder of zero has the sign of the dividend, which NumPy gives that of the divisor."""
    if category(a.dtype) < 2:
        return np.remainder(a, b)
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)


@operation(binary(_remainder_numpy), method=True)
def remainder(input: Value, other: Value) -> Tensor:
    """input % other, with the sign of the divisor: input - other * (input // other).

    Of floats the result is exact, and so torch's to the bit, where the quotient is below 2^33, and for infinite
    divisors; beyond that it is NaN. By a power of two it is exact for all quotients below 2^104. Subnormal numbers
    count as zero.

    Layers of the example: `constant`, `elementwise`, `unary`.

    >>> trtnet.remainder(trtnet.tensor([7.0, -7.0]), 4.0).tolist()
    [3.0, 1.0]
    """
    a, b = pair("remainder", input, other)
    if a.dtype.is_floating_point:
        return floored_remainder(a, b, _divisor(other, a.dtype))
    return apply("remainder", "SUB", a, mul(b, floor_divide(a, b)))


@operation(binary(np.fmod), method=True)
def fmod(input: Value, other: Value) -> Tensor:
    """The remainder with the sign of the dividend: input - other * trunc(input / other); exact as `remainder` is.

    Layers of the example: `constant`, `unary`, `elementwise`, `select`.

    >>> trtnet.fmod(trtnet.tensor([7.0, -7.0]), 4.0).tolist()
    [3.0, -3.0]
    """
    a, b = pair("fmod", input, other)
    if a.dtype.is_floating_point:
        return truncated_remainder(a, b, _divisor(other, a.dtype))
    return apply("fmod", "SUB", a, mul(b, div(a, b, rounding_mode="trunc")))


@operation(unary(np.reciprocal), method=True)
def reciprocal(input: Value) -> Tensor:
    """1 / input; integers give float32.

    Layers of the example: `unary`.

    >>> trtnet.reciprocal(trtnet.tensor([2.0, 4.0])).tolist()
    [0.5, 0.25]
    """
    return apply_unary("RECIP", input)


# --- powers -----------------------------------------------------------------------------------------------------------


@operation(unary(np.sqrt), method=True)
def sqrt(input: Value) -> Tensor:
    """The square root; NaN of negative numbers.

    Layers of the example: `unary`.

    >>> trtnet.sqrt(trtnet.tensor([4.0, 9.0])).tolist()
    [2.0, 3.0]
    """
    return apply_unary("SQRT", input)


@operation(unary(lambda x: 1 / np.sqrt(x)), method=True)
def rsqrt(input: Value) -> Tensor:
    """1 / sqrt(input).

    Layers of the example: `unary`.

    >>> trtnet.rsqrt(trtnet.tensor([4.0, 16.0])).tolist()
    [0.5, 0.25]
    """
    return apply_unary("RECIP", sqrt(input))


@operation(quiet(lambda input: np.square(input.astype(np.int64) if input.dtype == bool else input)), method=True)
def square(input: Value) -> Tensor:
    """input * input.

    Layers of the example: `elementwise`.

    >>> trtnet.square(trtnet.tensor([2.0, -3.0])).tolist()
    [4.0, 9.0]
    """
    x = tensor(input)
    if x.dtype is dtypes.bool_:
        x = emit(Cast((x,), dtypes.int64))
    return mul(x, x)


@operation(binary(lambda a, b: np.power(a, b).astype(a.dtype)), method=True)
def pow(input: Value, exponent: Value) -> Tensor:
    """input ** exponent, broadcast. 1, 2, 3, 4, 0.5, -0.5, -1 and -2 become products, roots and reciprocals.

    Layers of the example: `elementwise`.

    >>> trtnet.pow(trtnet.tensor([2.0, 3.0]), 2).tolist()
    [4.0, 9.0]
    """
    power = number(exponent)
    if power is None or isinstance(power, bool) or number(input) is not None:
        return apply("pow", "POW", input, exponent)
    x = tensor(input)
    x = typed(x, common_type("pow", x, exponent), len(x.shape))
    floating = x.dtype.is_floating_point
    if not floating and power < 0:
        raise ArgumentError(
            "an integer to a negative power is no integer",
            expected="an exponent >= 0",
            found=power,
            remedy="convert the tensor first: x.float()",
        )
    if floating or (isinstance(power, int) and x.dtype is not dtypes.bool_):
        if power == 1:
            return emit(Identity((x,)))
        if power in (2, 4):
            result = mul(x, x)
            return mul(result, result) if power == 4 else result
        if power == 3:
            return mul(mul(x, x), x)
    if floating:
        if power == 0.5:
            return sqrt(x)
        if power == -0.5:
            return rsqrt(x)
        if power in (-1, -2):
            return reciprocal(x if power == -1 else mul(x, x))
    return apply("pow", "POW", x, exponent)


# --- several at once --------------------------------------------------------------------------------------------------


def _scaled(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def call(
        input: np.ndarray | float, tensor1: np.ndarray | float, tensor2: np.ndarray | float, *, value: float = 1
    ) -> np.ndarray:
        x, a, b = promoted(input, tensor1, tensor2)
        return x + np.asarray(value, x.dtype) * function(a, b)

    return quiet(call)


@operation(_scaled(np.multiply), method=True)
def addcmul(input: Value, tensor1: Value, tensor2: Value, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2.

    Layers of the example: `elementwise`, `constant`.

    >>> trtnet.addcmul(trtnet.tensor([1.0]), trtnet.tensor([6.0]), trtnet.tensor([2.0]), value=0.5).tolist()
    [7.0]
    """
    if common_type("addcmul", input, tensor1, tensor2) is dtypes.bool_:
        raise of_bools("addcmul", tensor(input).shape)
    return add(input, mul(tensor1, tensor2), alpha=value)


@operation(_scaled(np.divide), method=True)
def addcdiv(input: Value, tensor1: Value, tensor2: Value, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2.

    Layers of the example: `elementwise`, `constant`.

    >>> trtnet.addcdiv(trtnet.tensor([1.0]), trtnet.tensor([6.0]), trtnet.tensor([2.0]), value=0.5).tolist()
    [2.5]
    """
    return add(input, div(tensor1, tensor2), alpha=value)


def in_float32(*values: Tensor) -> list[Tensor]:
    """float32 of float16 and bfloat16, in which torch computes what has several steps."""
    half = (dtypes.float16, dtypes.bfloat16)
    return [emit(Cast((x,), dtypes.float32)) if x.dtype in half else x for x in values]


def in_type(x: Tensor, dtype: dtypes.dtype) -> Tensor:
    """The result of a computation `in_float32`, in the type of what it was computed from."""
    made: Tensor = x if x.dtype is dtype else emit(Cast((x,), dtype))
    return made


def compared(op: str, x: Tensor, y: Value) -> Tensor:
    other = y if isinstance(y, Tensor) else scalar(y, x.dtype, len(x.shape))
    made: Tensor = emit(ElementWise((x, other), op))
    return made


def chosen(condition: Tensor, x: Any, y: Any) -> Tensor:
    like = x if isinstance(x, Tensor) else y
    values = (v if isinstance(v, Tensor) else scalar(v, like.dtype, len(condition.shape)) for v in (x, y))
    made: Tensor = emit(Select((condition, *values)))
    return made


def _by_magnitude(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether |x| is below |y|, and the value of the smaller and of the larger magnitude.

    Where one is NaN, one of the two is: TensorRT's minimum and maximum would lose it.
    """
    swapped = compared("LESS", apply_unary("ABS", x), apply_unary("ABS", y))
    return swapped, chosen(swapped, x, y), chosen(swapped, y, x)


@operation(binary(np.hypot), method=True)
def hypot(input: Value, other: Value) -> Tensor:
    """sqrt(input² + other²), without overflow; infinite beside NaN too, as in C.

    Layers of the example: `unary`, `elementwise`, `select`, `constant`.

    >>> trtnet.hypot(trtnet.tensor([3.0]), trtnet.tensor([4.0])).tolist()
    [5.0]
    """
    a, b = pair("hypot", input, other)
    require_floating("hypot", a)
    x, y = in_float32(a, b)
    _, small, large = _by_magnitude(x, y)
    ratio = div(small, large)
    found = mul(apply_unary("ABS", large), sqrt(add(mul(ratio, ratio), 1.0)))
    found = chosen(compared("EQUAL", large, 0.0), apply_unary("ABS", small), found)
    for v in (x, y):
        found = chosen(apply_unary("ISINF", v), apply_unary("ABS", v), found)
    return in_type(found, a.dtype)


@refusing
def ldexp(input: Tensor, other: Value) -> Tensor:
    """input * 2^other: floats by whole numbers keep their dtype, whole numbers become float32.

    >>> trtnet.ldexp(trtnet.tensor([1.5]), trtnet.tensor([3])).tolist()
    [12.0]
    """
    exponent = other if isinstance(other, Tensor) else tensor(other)
    if input.dtype.is_floating_point and not (exponent.dtype.is_floating_point or exponent.dtype is dtypes.bool_):
        return _shifted(input, exponent)
    return mul(input, pow(2.0, other))


setattr(Tensor, "ldexp", ldexp)  # noqa: B010


def _shifted_numpy(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    wide = input if input.dtype == np.float64 else input.astype(np.float32)
    return np.asarray(np.ldexp(wide, np.clip(other, -3000, 3000).astype(np.int32))).astype(input.dtype)


@operation(quiet(_shifted_numpy))
def _shifted(input: Tensor, other: Value) -> Tensor:
    (wide,) = in_float32(tensor(input))
    half = floor_divide(other, 2)  # 2^other alone may be out of range
    made = mul(mul(wide, pow(2.0, half)), pow(2.0, sub(other, half)))
    return in_type(made, input.dtype)


@operation(quiet(lambda input, other: _xlogy_numpy(*floats(input, other))), method=True)
def xlogy(input: Value, other: Value) -> Tensor:
    """input * log(other), 0 where the input is 0 and the other is no NaN.

    Layers of the example: `constant`, `elementwise`, `unary`, `select`.

    >>> trtnet.xlogy(trtnet.tensor([0.0, 2.0]), trtnet.tensor([0.0, 1.0])).tolist()
    [0.0, 0.0]
    """
    a, b = pair("xlogy", input, other, floating=True)
    # 0 times an infinite logarithm, or none, is 0
    positive = emit(ElementWise((compared("GREATER", b, 0.0), compared("LESS", b, math.inf)), "AND"))
    unusual = emit(Unary((emit(ElementWise((positive, apply_unary("ISNAN", b)), "OR")),), "NOT"))
    return mul(a, log(chosen(emit(ElementWise((compared("EQUAL", a, 0.0), unusual), "AND")), 1.0, b)))


def _xlogy_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where((a == 0) & ~np.isnan(b), np.zeros((), a.dtype), a * np.log(b))


@operation(quiet(lambda input, other: np.arctan2(*floats(input, other))), method=("atan2", "arctan2"))
def atan2(input: Value, other: Value) -> Tensor:
    """The angle of (other, input), from -pi to pi, with C's rules for infinities and signed zeros.

    Composed: the arctangent of the smaller magnitude over the larger, turned as the signs and magnitudes say.

    Layers of the example: `unary`, `constant`, `elementwise`, `select`.

    >>> trtnet.atan2(trtnet.tensor([1.0, -1.0]), trtnet.tensor([1.0, 0.0])).numpy().round(3)
    array([ 0.785, -1.571], dtype=float32)
    """
    a, b = pair("atan2", input, other, floating=True)
    y, x = in_float32(a, b)
    left, down = _is_negative(x), _is_negative(y)
    steep, small, large = _by_magnitude(x, y)
    # of two zeros the quotient is none, nor of two infinities
    ratio = chosen(compared("EQUAL", large, 0.0), small, div(small, large))
    one = scalar(1.0, x.dtype, len(x.shape))
    diagonal = chosen(emit(ElementWise((left, down), "XOR")), -1.0, one)
    infinite = tuple(apply_unary("ISINF", v) for v in (small, large))
    ratio = chosen(emit(ElementWise(infinite, "AND")), diagonal, ratio)
    angle = atan(ratio)
    up, around = (chosen(down, -v, scalar(v, x.dtype, len(x.shape))) for v in (math.pi / 2, math.pi))
    flat = chosen(left, add(angle, around), angle)
    return in_type(chosen(steep, sub(up, angle), flat), a.dtype)


def _is_negative(x: Tensor) -> Tensor:
    """Where the sign is minus, that of zero too, which the reciprocal shows."""
    below = (compared("LESS", v, 0.0) for v in (x, apply_unary("RECIP", x)))
    made: Tensor = emit(ElementWise(tuple(below), "OR"))
    return made


arctan2 = atan2


# --- operators --------------------------------------------------------------------------------------------------------


def _reflected(function: Callable[[Value, Value], Tensor]) -> Callable[[Value, Value], Tensor]:
    return lambda self, other: function(other, self)


_OPERATORS = {
    "add": add, "sub": sub, "mul": mul, "truediv": true_divide, "floordiv": floor_divide, "mod": remainder, "pow": pow,
}  # fmt: skip
for _name, _function in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _function)
    setattr(Tensor, f"__r{_name}__", _reflected(_function))
setattr(Tensor, "__neg__", neg)  # noqa: B010
setattr(Tensor, "__pos__", positive)  # noqa: B010
install_operators(_OPERATORS)
_NOT_IN_PLACE = ("maximum", "minimum", "positive", "rsub")
install({name: globals()[name] for name in __all__ if name not in _NOT_IN_PLACE})
