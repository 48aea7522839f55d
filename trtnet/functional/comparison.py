"""Comparisons, logic, and the choice between values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import finfo

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentTypeError, DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.activation import Activation
from ..layers.casting import Identity, converted
from ..layers.constant import with_rank
from ..layers.elementwise import ElementWise, Select, Unary
from .arithmetic import add, maximum, minimum, mul, number, sub
from .concrete import binary, category, promoted, quiet
from .dispatch import Value, is_scalar, operation, pair, scalar, tensor, typed
from .inplace import install
from .selection import nonzero
from .unary import abs as absolute
from .unary import apply_unary

__all__ = [
    "allclose", "clamp", "clamp_max", "clamp_min", "clip",
    "eq", "equal", "fmax", "fmin", "ge", "greater", "greater_equal", "gt", "heaviside", "isclose",
    "isfinite", "isinf", "isnan", "isneginf",
    "isposinf", "le", "less", "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor", "lt",
    "masked_fill", "nan_to_num", "ne", "not_equal", "where",
]  # fmt: skip

KEEPS_ORDER = True


def _binary(op: str, a: Tensor, b: Tensor) -> Tensor:
    return emit(ElementWise((a, b), op))


def _same(a: Tensor, b: Tensor) -> Tensor:
    """EQUAL; of bools NOT of XOR, for TensorRT-RTX 1.7 fails to compile an EQUAL of two constants of bools."""
    return _not(_binary("XOR", a, b)) if a.dtype is dtypes.bool_ else _binary("EQUAL", a, b)


def _not(value: Tensor) -> Tensor:
    return emit(Unary((value,), "NOT"))


# --- comparisons ------------------------------------------------------------------------------------------------------


@operation(binary(np.equal), method=True)
def eq(input: Value, other: Value) -> Tensor:
    """input == other, broadcast; bool.

    Layers of the example: `elementwise`.

    >>> trtnet.eq(trtnet.tensor([1.0, 2.0]), trtnet.tensor([1.0, 3.0])).tolist()
    [True, False]
    """
    return _same(*pair("eq", input, other))


@operation(binary(np.not_equal), method=("ne", "not_equal"))
def ne(input: Value, other: Value) -> Tensor:
    """input != other, broadcast; bool. NaN differs from everything.

    Layers of the example: `elementwise`, `unary`.

    >>> trtnet.ne(trtnet.tensor([1.0, 2.0]), trtnet.tensor([1.0, 3.0])).tolist()
    [False, True]
    """
    a, b = pair("ne", input, other)
    return _binary("XOR", a, b) if a.dtype is dtypes.bool_ else _not(_same(a, b))


def _order(op: str, name: str, input: Value, other: Value, or_equal: bool) -> Tensor:
    a, b = pair(name, input, other)
    if a.dtype is dtypes.bool_:
        small, large = (a, b) if op == "LESS" else (b, a)
        return _binary("OR" if or_equal else "AND", _not(small), large)
    if not or_equal:
        return _binary(op, a, b)
    if not a.dtype.is_floating_point:
        return _not(_binary("LESS" if op == "GREATER" else "GREATER", a, b))
    return _binary("OR", _binary(op, a, b), _binary("EQUAL", a, b))  # not less is no answer for NaN


@operation(binary(np.less), method=("lt", "less"))
def lt(input: Value, other: Value) -> Tensor:
    """input < other, broadcast; bool.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.lt(trtnet.tensor([1.0, 2.0]), 2.0).tolist()
    [True, False]
    """
    return _order("LESS", "lt", input, other, False)


@operation(binary(np.less_equal), method=("le", "less_equal"))
def le(input: Value, other: Value) -> Tensor:
    """input <= other, broadcast; bool. False for NaN.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.le(trtnet.tensor([1.0, 2.0]), 1.0).tolist()
    [True, False]
    """
    return _order("LESS", "le", input, other, True)


@operation(binary(np.greater), method=("gt", "greater"))
def gt(input: Value, other: Value) -> Tensor:
    """input > other, broadcast; bool.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.gt(trtnet.tensor([1.0, 2.0]), 1.0).tolist()
    [False, True]
    """
    return _order("GREATER", "gt", input, other, False)


@operation(binary(np.greater_equal), method=("ge", "greater_equal"))
def ge(input: Value, other: Value) -> Tensor:
    """input >= other, broadcast; bool. False for NaN.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.ge(trtnet.tensor([1.0, 2.0]), 2.0).tolist()
    [False, True]
    """
    return _order("GREATER", "ge", input, other, True)


not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


@operation(np.isnan, method=True)
def isnan(input: Value) -> Tensor:
    """Where the input is NaN; bool.

    Layers of the example: `unary`.

    >>> trtnet.isnan(trtnet.tensor([1.0, math.nan])).tolist()
    [False, True]
    """
    x = tensor(input)
    return apply_unary("ISNAN", x) if x.dtype.is_floating_point else ne(x, x)


@operation(np.isinf, method=True)
def isinf(input: Value) -> Tensor:
    """Where the input is infinite; bool.

    Layers of the example: `unary`.

    >>> trtnet.isinf(trtnet.tensor([1.0, -math.inf])).tolist()
    [False, True]
    """
    x = tensor(input)
    return apply_unary("ISINF", x) if x.dtype.is_floating_point else ne(x, x)


@operation(np.isfinite, method=True)
def isfinite(input: Value) -> Tensor:
    """Where the input is neither infinite nor NaN; bool.

    Layers of the example: `unary`, `constant`, `elementwise`.

    >>> trtnet.isfinite(trtnet.tensor([1.0, math.inf])).tolist()
    [True, False]
    """
    x = tensor(input)
    return lt(apply_unary("ABS", x), float("inf")) if x.dtype.is_floating_point else eq(x, x)


@operation(lambda input: np.asarray(input) == np.inf, method=True)
def isposinf(input: Value) -> Tensor:
    """Where the input is +infinity; bool.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.isposinf(trtnet.tensor([1.0, -math.inf])).tolist()
    [False, False]
    """
    return eq(input, float("inf"))


@operation(lambda input: np.asarray(input) == -np.inf, method=True)
def isneginf(input: Value) -> Tensor:
    """Where the input is -infinity; bool.

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.isneginf(trtnet.tensor([1.0, -math.inf])).tolist()
    [False, True]
    """
    return eq(input, float("-inf"))


def _isclose_numpy(
    input: np.ndarray | float,
    other: np.ndarray | float,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> np.ndarray:
    a, b = promoted(input, other)
    return np.isclose(a, b, rtol, atol, equal_nan)


@operation(quiet(_isclose_numpy), method=True)
def isclose(input: Value, other: Value, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|, or both equal; bool.

    Layers of the example: `elementwise`, `unary`, `constant`.

    >>> trtnet.isclose(trtnet.tensor([1.0, 2.0]), trtnet.tensor([1.0, 2.1])).tolist()
    [True, False]
    """
    a, b = pair("isclose", input, other)
    if a.dtype is dtypes.bool_:
        a, b = converted(a, dtypes.float32), converted(b, dtypes.float32)

    difference = absolute(sub(a, b))
    near = logical_and(isfinite(difference), le(difference, add(mul(absolute(b), rtol), atol)))
    close = logical_or(near, eq(a, b))
    return logical_or(close, logical_and(isnan(a), isnan(b))) if equal_nan else close


@operation(quiet(lambda *a, **k: bool(_isclose_numpy(*a, **k).all())), method=True)
def allclose(input: Value, other: Value, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether two tensors are close that depend on no input; a Python bool, which freezes their parameters.

    >>> trtnet.allclose(trtnet.tensor([1.0]), trtnet.tensor([1.0 + 1e-7]))
    True
    """
    found = isclose(input, other, rtol, atol, equal_nan).all()._known_value()
    if found is None:
        raise UnsupportedError("allclose gives a Python bool", remedy="trtnet.isclose(a, b).all() gives a tensor")
    return bool(found)


@operation(lambda input, other: bool(np.array_equal(input, other)), method=True)
def equal(input: Value, other: Value) -> bool:
    """Whether two tensors have the same shape and elements that depend on no input; a Python bool, which freezes their
    parameters.

    >>> trtnet.equal(trtnet.tensor([1.0, 2.0]), trtnet.tensor([1.0, 2.0]))
    True
    """
    a, b = (value if isinstance(value, Tensor) else tensor(value) for value in (input, other))
    if all(isinstance(size, int) for size in (*a.shape, *b.shape)) and a.shape != b.shape:
        return False
    found = eq(a, b).all()._known_value()
    if found is None:
        raise UnsupportedError("equal gives a Python bool", remedy="(a == b).all() gives a tensor")
    return bool(found)


# --- logic ------------------------------------------------------------------------------------------------------------


def _as_bool(value: Value) -> Value:
    if is_scalar(value):
        return bool(number(value))
    value = tensor(value)
    return value if value.dtype is dtypes.bool_ else ne(value, 0)


@operation(np.logical_not, method=True)
def logical_not(input: Value) -> Tensor:
    """Where the input is False or zero; bool.

    Layers of the example: `unary`.

    >>> trtnet.logical_not(trtnet.tensor([True, False])).tolist()
    [False, True]
    """
    x = tensor(input)
    return _not(x) if x.dtype is dtypes.bool_ else eq(x, 0)


def _logical(op: str, a: Value, b: Value) -> Tensor:
    return _binary(op, *pair("logical_" + op.lower(), _as_bool(a), _as_bool(b)))


@operation(np.logical_and, method=True)
def logical_and(input: Value, other: Value) -> Tensor:
    """Where both are True or not zero; bool.

    Layers of the example: `elementwise`.

    >>> trtnet.logical_and(trtnet.tensor([True, False]), trtnet.tensor([True, True])).tolist()
    [True, False]
    """
    return _logical("AND", input, other)


@operation(np.logical_or, method=True)
def logical_or(input: Value, other: Value) -> Tensor:
    """Where one is True or not zero; bool.

    Layers of the example: `elementwise`.

    >>> trtnet.logical_or(trtnet.tensor([True, False]), trtnet.tensor([False, False])).tolist()
    [True, False]
    """
    return _logical("OR", input, other)


@operation(np.logical_xor, method=True)
def logical_xor(input: Value, other: Value) -> Tensor:
    """Where just one is True or not zero; bool.

    Layers of the example: `elementwise`.

    >>> trtnet.logical_xor(trtnet.tensor([True, False]), trtnet.tensor([True, True])).tolist()
    [False, True]
    """
    return _logical("XOR", input, other)


# --- choosing ---------------------------------------------------------------------------------------------------------


def _where_numpy(
    condition: np.ndarray, input: np.ndarray | float | None = None, other: np.ndarray | float | None = None
) -> np.ndarray | tuple[np.ndarray, ...]:
    if input is None and other is None:
        return np.nonzero(np.atleast_1d(condition))
    return np.where(condition, *promoted(input, other))


@operation(_where_numpy)
def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition (bool) holds, else `other`; broadcast, promoted to one dtype.

    `where(condition)` is `nonzero(condition, as_tuple=True)`.

    Layers of the example: `constant`, `select`.

    >>> trtnet.where(trtnet.tensor([True, False]), trtnet.tensor([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if input is None or other is None:
        raise ArgumentTypeError("where takes the condition alone, or both values", found="one value")
    if is_scalar(input) and is_scalar(other):
        dtype = dtypes.float32 if any(isinstance(number(v), float) for v in (input, other)) else dtypes.int64
        if all(isinstance(number(v), (bool, np.bool_)) for v in (input, other)):
            dtype = dtypes.bool_
        a, b = (scalar(v, dtype, len(condition.shape)) for v in (input, other))
    else:
        a, b = pair("where", input, other)
    return _select(condition, a, b)


def _select(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    condition = tensor(condition)
    rank = max(len(condition.shape), len(a.shape))
    return emit(Select((with_rank(condition, rank), with_rank(a, rank), with_rank(b, rank))))


def _where_method(self: Value, condition: Tensor, other: Value) -> Tensor:
    """`self` where the condition holds, else `other`."""
    return where(condition, self, other)


setattr(Tensor, "where", _where_method)  # noqa: B010


def _masked_fill_numpy(input: np.ndarray, mask: np.ndarray, value: Value) -> np.ndarray:
    return np.where(mask, np.asarray(value).astype(input.dtype), input)


@operation(quiet(_masked_fill_numpy), method=True, order="rows")
def masked_fill(input: Value, mask: Tensor, value: Value) -> Tensor:
    """`value` (a number or a tensor without dimensions) where the mask (bool) holds, else the input.

    The value is converted to the input's dtype: of a float number an integer tensor takes the whole part, as in torch.

    Layers of the example: `constant`, `select`.

    >>> trtnet.masked_fill(trtnet.tensor([1.0, 2.0]), trtnet.tensor([True, False]), 0.0).tolist()
    [0.0, 2.0]
    """
    x = tensor(input)
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError("masked_fill takes a value without dimensions", found=format_shape(value.shape))
    known = number(value)
    if known is not None and not x.dtype.is_floating_point:
        value = _whole(known, x.dtype)
    return _select(mask, typed(value, x.dtype, len(x.shape)), x)


def _whole(value: Value, dtype: Dtype) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        raise DtypeError("a number does not fit the tensor that it meets", expected=f"a number of {dtype}", found=value)
    return bool(value) if dtype is dtypes.bool_ else int(value)


def _clamp_numpy(
    input: np.ndarray | float, min: np.ndarray | float | None = None, max: np.ndarray | float | None = None
) -> np.ndarray:
    arrays = promoted(input, *(bound for bound in (min, max) if bound is not None))
    result = arrays[0]
    if min is not None:
        result = np.maximum(result, arrays[1])
    return result if max is None else np.minimum(result, arrays[-1])


@operation(_clamp_numpy, method=("clamp", "clip"))
def clamp(input: Value, min: Value | None = None, max: Value | None = None) -> Tensor:
    """The input held between `min` and `max`: numbers or tensors, either may be None. Where min > max, max.

    Of NaN TensorRT makes a bound (NVIDIA/TensorRT issue 4773), torch NaN.

    Layers of the example: `activation`.

    >>> trtnet.clamp(trtnet.tensor([-3.0, 0.5, 2.0]), min=-1.0, max=1.0).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min is None and max is None:
        raise UnsupportedError("clamp needs a bound", expected="min, max or both", remedy="x.clamp(min=0)")
    x = tensor(input)
    if x.dtype is dtypes.bool_ and all(v is None or isinstance(v, (bool, np.bool_)) for v in (min, max)):
        raise DtypeError(
            "clamp of bools",
            expected="numbers",
            found=f"bool {format_shape(x.shape)}",
            remedy="convert it first: mask.int()",
        )
    low, high = number(min), number(max)
    if low is not None and high is not None and low <= high and x.dtype.is_floating_point:
        if math.isfinite(low) and math.isfinite(high):
            return emit(Activation((x,), "CLIP", float(low), float(high)))
        min, max = None if low < 0 and math.isinf(low) else min, None if high > 0 and math.isinf(high) else max
        if min is None and max is None:
            return emit(Identity((x,)))
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


clip = clamp


@operation(lambda input, min: _clamp_numpy(input, min), method=True)
def clamp_min(input: Value, min: Value) -> Tensor:
    """max(input, min).

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.clamp_min(trtnet.tensor([-3.0, 0.5]), 0.0).tolist()
    [0.0, 0.5]
    """
    return maximum(input, min)


@operation(lambda input, max: _clamp_numpy(input, None, max), method=True)
def clamp_max(input: Value, max: Value) -> Tensor:
    """min(input, max).

    Layers of the example: `constant`, `elementwise`.

    >>> trtnet.clamp_max(trtnet.tensor([3.0, 0.5]), 1.0).tolist()
    [1.0, 0.5]
    """
    return minimum(input, max)


def _other_than_nan(name: str, input: Value, other: Value, choose: Callable[[Value, Value], Tensor]) -> Tensor:
    a, b = pair(name, input, other)
    if not a.dtype.is_floating_point:
        return choose(a, b)
    return where(isnan(a), b, where(isnan(b), a, choose(a, b)))


@operation(binary(np.fmax), method=True)
def fmax(input: Value, other: Value) -> Tensor:
    """The larger of each pair; beside NaN the number.

    Layers of the example: `unary`, `elementwise`, `select`.

    >>> trtnet.fmax(trtnet.tensor([1.0, 5.0]), trtnet.tensor([3.0, 2.0])).tolist()
    [3.0, 5.0]
    """
    return _other_than_nan("fmax", input, other, maximum)


@operation(binary(np.fmin), method=True)
def fmin(input: Value, other: Value) -> Tensor:
    """The smaller of each pair; beside NaN the number.

    Layers of the example: `unary`, `elementwise`, `select`.

    >>> trtnet.fmin(trtnet.tensor([1.0, 5.0]), trtnet.tensor([3.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return _other_than_nan("fmin", input, other, minimum)


@operation(binary(lambda a, b: np.where(a == 0, b, (a > 0).astype(a.dtype))), method=True)
def heaviside(input: Value, values: Value) -> Tensor:
    """0 below zero and of NaN, 1 above, `values` at zero.

    Layers of the example: `constant`, `elementwise`, `select`.

    >>> trtnet.heaviside(trtnet.tensor([-1.5, 0.0, 2.0]), trtnet.tensor([0.5])).tolist()
    [0.0, 0.5, 1.0]
    """
    x, at_zero = pair("heaviside", input, values)
    return where(eq(x, 0), at_zero, where(gt(x, 0), scalar(1, x.dtype, len(x.shape)), scalar(0, x.dtype, len(x.shape))))


def _nan_to_num_numpy(
    input: np.ndarray, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> np.ndarray:
    if category(input.dtype) < 2:
        return input
    limits = dtypes_limits(input.dtype)
    result = np.where(np.isnan(input), np.asarray(nan or 0.0, input.dtype), input)
    result = np.where(input == np.inf, np.asarray(limits[1] if posinf is None else posinf, input.dtype), result)
    return np.where(input == -np.inf, np.asarray(limits[0] if neginf is None else neginf, input.dtype), result)


@operation(_nan_to_num_numpy, method=True)
def nan_to_num(
    input: Value, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN replaced by `nan`, infinities by `posinf` and `neginf`; where None, by the dtype's largest finite numbers.

    Layers of the example: `unary`, `constant`, `select`, `activation`.

    >>> trtnet.nan_to_num(trtnet.tensor([1.0, math.nan]), nan=0.0).tolist()
    [1.0, 0.0]
    """
    x = tensor(input)
    if not x.dtype.is_floating_point:
        return x
    low, high = dtypes_limits(x.dtype.numpy)
    result = where(isnan(x), nan or 0.0, x)
    if posinf is None and neginf is None:
        return clamp(result, low, high)
    result = where(isposinf(x), high if posinf is None else posinf, result)
    return where(isneginf(x), low if neginf is None else neginf, result)


def dtypes_limits(dtype: np.dtype) -> tuple[float, float]:
    """The smallest and the largest finite number of a floating-point NumPy dtype."""
    limits = finfo(dtype)
    return float(limits.min), float(limits.max)


# --- operators --------------------------------------------------------------------------------------------------------


def _operand(value: Value) -> bool:
    return isinstance(value, (Tensor, bool, int, float, np.generic, np.ndarray))


def _equal(self: Tensor, other: Value) -> Tensor:
    return eq(self, other) if _operand(other) else NotImplemented


def _unequal(self: Tensor, other: Value) -> Tensor:
    return ne(self, other) if _operand(other) else NotImplemented


for _name, _function in (("eq", _equal), ("ne", _unequal), ("lt", lt), ("le", le), ("gt", gt), ("ge", ge)):
    setattr(Tensor, f"__{_name}__", _function)
install({
    name: globals()[name]
    for name in __all__
    if name.startswith(("clamp", "logical"))
    or name in ("clip", "eq", "ge", "greater", "greater_equal", "gt", "heaviside", "le", "less", "less_equal", "lt",
                "masked_fill", "nan_to_num", "ne", "not_equal")
})  # fmt: skip
