"""Activation functions, as in torch.nn.functional."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, ShapeError, UnsupportedError
from ..graph.recorder import emit, recorder
from ..graph.tensor import Tensor
from ..graph.training import Mode
from ..layers.activation import SELU_ALPHA, SELU_BETA, Activation, ParametricReLU
from ..layers.constant import constant
from ..layers.training import RandomSlopes
from ..weights.recipes import Weight
from .arithmetic import minimum, mul, neg, sub
from .comparison import clamp, gt, le, where
from .concrete import category, erf, floats, quiet
from .concrete import sigmoid as _sigmoid
from .dispatch import Value, is_scalar, operation, scalar, tensor
from .inplace import in_place, install, rebind
from .unary import abs, typed_float

_IN_PLACE = (
    "celu", "elu", "hardtanh", "leaky_relu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "tanh", "threshold",
)  # fmt: skip
__all__ = [
    "celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid",
    "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh",
    "tanhshrink", "threshold", *(f"{name}_" for name in _IN_PLACE),
]  # fmt: skip

KEEPS_ORDER = True


def _numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """On NumPy arrays: floats in, and `inplace` at the end of the arguments writes into the input."""

    def call(input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        count = function.__code__.co_argcount - 1
        if len(args) > count:
            inplace, args = args[count], args[:count]
        result = function(floats(input)[0], *args, **kwargs)
        if not inplace:
            return result.astype(floats(input)[0].dtype, copy=False)
        input[...] = result
        return input

    return quiet(call)


def _layer(input: Value, type: str, alpha: float = 0.0, beta: float = 0.0, inplace: bool = False) -> Tensor:
    result = emit(Activation((tensor(input),), type, alpha, beta))
    return rebind(input, result) if inplace else result


def _done(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return rebind(input, result) if inplace else result


def _relu_numpy(input: np.ndarray, inplace: bool = False) -> np.ndarray:
    """Of negative zero that, as in torch."""
    result = input if inplace else input.copy()
    np.copyto(result, result.dtype.type(0), where=result < 0)
    return result


@operation(quiet(_relu_numpy), method=True)
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x).

    Layers of the example: `activation`.

    >>> trtnet.relu(trtnet.tensor([-1.0, 0.5, 2.0])).tolist()
    [0.0, 0.5, 2.0]
    """
    result = emit(Activation((tensor(input),), "RELU"))
    return rebind(input, result) if inplace else result


def _whole(dtype: DtypeLike, *values: float) -> tuple[float, ...]:
    """Numbers as they meet a dtype: integers take their whole part, as in torch."""
    if dtypes.get(dtype).is_floating_point:
        return tuple(float(v) for v in values)
    return tuple(int(v) if math.isfinite(v) else v for v in values)


def _kept_type(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `_numpy`, of integers integers."""

    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        if category(input.dtype) == 2:
            return _numpy(function)(input, *args, **kwargs)
        inplace = kwargs.pop("inplace", False)
        count = function.__code__.co_argcount - 1
        if len(args) > count:
            inplace, args = args[count], args[:count]
        kwargs = dict(zip(kwargs, _whole(input.dtype, *kwargs.values())))
        result = np.asarray(function(input, *_whole(input.dtype, *args), **kwargs)).astype(input.dtype)
        if inplace:
            input[...] = result
        return input if inplace else result

    return call


@operation(_kept_type(lambda x: np.clip(x, 0, 6)))
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6); of integers integers.

    Layers of the example: `activation`.

    >>> trtnet.relu6(trtnet.tensor([-1.0, 0.5, 2.0])).tolist()
    [0.0, 0.5, 2.0]
    """
    made: Tensor = hardtanh(input, 0.0, 6.0, inplace)
    return made


@operation(_kept_type(lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val)))
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """The input held between `min_val` and `max_val`; of integers integers, by the bounds' whole parts.

    Layers of the example: `activation`.

    >>> trtnet.hardtanh(trtnet.tensor([-1.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min_val > max_val:
        raise ArgumentError(
            "min_val must not be above max_val", expected="min_val <= max_val", found=f"{min_val} and {max_val}"
        )
    return _done(input, clamp(input, *_whole(input.dtype, min_val, max_val)), inplace)


@operation(_numpy(_sigmoid), method=True)
def sigmoid(input: Value) -> Tensor:
    """1 / (1 + exp(-x)).

    Layers of the example: `activation`.

    >>> trtnet.sigmoid(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([0.269, 0.622, 0.881], dtype=float32)
    """
    return emit(Activation((typed_float(input),), "SIGMOID"))


@operation(_numpy(lambda x: np.tanh(x)), method=True)
def tanh(input: Value) -> Tensor:
    """The hyperbolic tangent.

    Layers of the example: `activation`.

    >>> trtnet.tanh(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.762,  0.462,  0.964], dtype=float32)
    """
    return emit(Activation((typed_float(input),), "TANH"))


@operation(_numpy(lambda x, negative_slope=0.01: np.where(x > 0, x, x * negative_slope)))
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x.

    Layers of the example: `activation`.

    >>> trtnet.leaky_relu(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.01,  0.5 ,  2.  ], dtype=float32)
    """
    return _layer(input, "LEAKY_RELU", float(negative_slope), 0.0, inplace)


@operation(
    _numpy(lambda x, lower=1 / 8, upper=1 / 3, training=False: np.where(x > 0, x, x * ((lower + upper) / 2))),
    order="rows",
)
def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool | Mode = False, inplace: bool = False
) -> Tensor:
    """Leaky ReLU with the mean of the two slopes, as in evaluation; `training=True` raises.

    Layers of the example: `activation`.

    >>> trtnet.rrelu(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.229,  0.5  ,  2.   ], dtype=float32)
    """
    if type(training) is Mode:
        result = emit(Activation((tensor(input),), "LEAKY_RELU", (lower + upper) / 2, 0.0))
        recorder().training.instead[result.layer] = RandomSlopes((None,), lower, upper, training.owner)
        return _done(input, result, inplace)
    if training:
        raise UnsupportedError("random slopes are for training", remedy="training=False gives their mean, as in eval()")
    return _layer(input, "LEAKY_RELU", (lower + upper) / 2, 0.0, inplace)


def _elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x > 0, x, np.asarray(alpha, x.dtype) * np.expm1(np.minimum(x, 0)))


@operation(_numpy(_elu))
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1).

    Layers of the example: `activation`.

    >>> trtnet.elu(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.632,  0.5  ,  2.   ], dtype=float32)
    """
    return _layer(input, "ELU", float(alpha), 0.0, inplace)


@operation(_numpy(lambda x: SELU_BETA * _elu(x, SELU_ALPHA)))
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """1.0507 * x where x > 0, else 1.0507 * 1.6733 * (exp(x) - 1).

    Layers of the example: `activation`.

    >>> trtnet.selu(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-1.111,  0.525,  2.101], dtype=float32)
    """
    return _layer(input, "SELU", SELU_ALPHA, SELU_BETA, inplace)


@operation(_numpy(lambda x, alpha=1.0: alpha * _elu(x / alpha)))
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x / alpha) - 1).

    Layers of the example: `activation`.

    >>> trtnet.celu(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.632,  0.5  ,  2.   ], dtype=float32)
    """
    if alpha == 1:
        return _layer(input, "ELU", 1.0, 0.0, inplace)
    return _done(input, mul(_layer(mul(input, 1 / alpha), "ELU", 1.0), alpha), inplace)


def _gelu_numpy(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x * 0.5**0.5))


@operation(lambda input, *, approximate="none": _numpy(_gelu_numpy)(input, approximate))
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """x * Phi(x) with the error function, or `approximate="tanh"`.

    Layers of the example: `activation`.

    >>> trtnet.gelu(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.159,  0.346,  1.954], dtype=float32)
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError("there is no such approximation", expected="'none' or 'tanh'", found=repr(approximate))
    return _layer(input, "GELU_TANH" if approximate == "tanh" else "GELU_ERF")


@operation(_numpy(lambda x: x * _sigmoid(x)))
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), also called swish.

    Layers of the example: `activation`, `elementwise`.

    >>> trtnet.silu(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.269,  0.311,  1.762], dtype=float32)
    """
    x = tensor(input)
    return _done(input, mul(x, _layer(x, "SIGMOID")), inplace)


@operation(_numpy(lambda x: x * np.tanh(np.logaddexp(x, np.asarray(0, x.dtype)))))
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)).

    Layers of the example: `activation`, `elementwise`.

    >>> trtnet.mish(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.303,  0.375,  1.944], dtype=float32)
    """
    x = tensor(input)
    return _done(input, mul(x, _layer(_layer(x, "SOFTPLUS", 1.0, 1.0), "TANH")), inplace)


def _softplus_numpy(x: np.ndarray, beta: float = 1.0, threshold: float = 20.0) -> np.ndarray:
    return np.where(x * beta > threshold, x, np.logaddexp(x * beta, np.asarray(0, x.dtype)) / beta)


@operation(_numpy(_softplus_numpy))
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold.

    Layers of the example: `activation`, `constant`, `elementwise`, `select`.

    >>> trtnet.softplus(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([0.313, 0.974, 2.127], dtype=float32)
    """
    x = tensor(input)
    smooth = _layer(x, "SOFTPLUS", 1 / beta, float(beta))
    return where(gt(x, threshold / beta) if beta > 0 else gt(mul(x, beta), threshold), x, smooth)


@operation(_numpy(lambda x: -np.logaddexp(-x, np.asarray(0, x.dtype))), order="rows")
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)): min(x, 0) - log(1 + exp(-|x|)), which cannot overflow.

    Layers of the example: `constant`, `elementwise`, `unary`, `activation`.

    >>> trtnet.logsigmoid(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-1.313, -0.474, -0.127], dtype=float32)
    """
    x = tensor(input)
    return sub(minimum(x, 0.0), _layer(neg(abs(x)), "SOFTPLUS", 1.0, 1.0))


@operation(_numpy(lambda x: x / (1 + np.abs(x))))
def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|); float32 of integers.

    Layers of the example: `activation`.

    >>> trtnet.softsign(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.5  ,  0.333,  0.667], dtype=float32)
    """
    return _layer(typed_float(input), "SOFTSIGN")


@operation(_numpy(lambda x: x - np.tanh(x)))
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x); float32 of integers.

    Layers of the example: `activation`, `elementwise`.

    >>> trtnet.tanhshrink(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.238,  0.038,  1.036], dtype=float32)
    """
    x = typed_float(input)
    return sub(x, _layer(x, "TANH"))


@operation(_numpy(lambda x: np.clip(x + 3, 0, 6) / 6))
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x / 6 + 1 / 2), 1).

    Layers of the example: `activation`.

    >>> trtnet.hardsigmoid(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([0.333, 0.583, 0.833], dtype=float32)
    """
    return _layer(input, "HARD_SIGMOID", 1 / 6, 0.5, inplace)


@operation(_numpy(lambda x: x * np.clip(x + 3, 0, 6) / 6))
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x).

    Layers of the example: `activation`, `elementwise`.

    >>> trtnet.hardswish(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.333,  0.292,  1.667], dtype=float32)
    """
    x = tensor(input)
    return _done(input, mul(x, _layer(x, "HARD_SIGMOID", 1 / 6, 0.5)), inplace)


@operation(_numpy(lambda x, lambd=0.5: np.where(np.abs(x) <= lambd, 0, x)), method=True)
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0.

    Layers of the example: `unary`, `constant`, `elementwise`, `select`.

    >>> trtnet.hardshrink(trtnet.tensor([-1.0, 0.5, 2.0])).tolist()
    [-1.0, 0.0, 2.0]
    """
    x = tensor(input)
    return where(le(abs(x), lambd), 0.0, x)


@operation(_numpy(lambda x, lambd=0.5: x - np.clip(x, -lambd, lambd)))
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x - lambd above lambd, x + lambd below -lambd, else 0.

    Layers of the example: `activation`, `elementwise`.

    >>> trtnet.softshrink(trtnet.tensor([-1.0, 0.5, 2.0])).tolist()
    [-0.5, 0.0, 1.5]
    """
    if lambd < 0:
        raise ArgumentError("lambd must not be negative", expected=">= 0", found=lambd)
    x = tensor(input)
    return sub(x, _layer(x, "CLIP", -float(lambd), float(lambd)))


@operation(_kept_type(lambda x, threshold, value: np.where(x <= threshold, value, x)))
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value; of integers integers, by the numbers' whole parts.

    Layers of the example: `constant`, `elementwise`, `select`.

    >>> trtnet.threshold(trtnet.tensor([-1.0, 0.5, 2.0]), 0.75, -1.0).tolist()
    [-1.0, -1.0, 2.0]
    """
    threshold, value = _whole(input.dtype, threshold, value)
    if value == 0 and input.dtype.is_floating_point and math.isfinite(threshold):
        return _layer(input, "THRESHOLDED_RELU", float(threshold), 0.0, inplace)
    x = tensor(input)
    return _done(input, where(le(x, threshold), value, x), inplace)


@operation(quiet(lambda input, weight: _prelu_numpy(input, weight)), method=True)
def prelu(input: Tensor, weight: Tensor | Weight) -> Tensor:
    """x where x >= 0, else weight * x. The weight has one element, or one for each channel (dimension 1).

    Layers of the example: `shuffle`, `parametric_relu`.

    >>> trtnet.prelu(trtnet.tensor([[-1.0, 0.5, 2.0]]), trtnet.tensor([0.25])).tolist()
    [[-0.25, 0.5, 2.0]]
    """
    x, rank = tensor(input), len(input.shape)
    return emit(ParametricReLU((x, _slopes(x, weight, rank))))


def _slopes(x: Any, weight: Any, rank: int) -> Tensor:
    if is_scalar(weight):
        return scalar(weight, x.dtype, rank)
    shape = _prelu_shape(x.shape, weight.shape)
    return weight.reshape(shape) if type(weight) is Tensor else constant(weight, shape)


def _prelu_shape(shape: Sequence[int], weight: Sequence[int]) -> tuple[int, ...]:
    count = weight[0] if len(weight) == 1 else 1 if len(weight) == 0 else None
    channels = shape[1] if len(shape) > 1 else 1
    if count is None or count not in (1, channels):
        raise ShapeError(
            "the weight of prelu does not fit its input",
            expected=f"(1,) or ({channels},)",
            found=format_shape(weight),
            remedy="nn.PReLU(num_parameters) takes 1 or the number of channels",
        )
    return tuple(count if axis == 1 else 1 for axis in range(len(shape))) if len(shape) > 1 else (1,) * len(shape)


def _prelu_numpy(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    slope = np.asarray(weight, x.dtype)
    return np.where(x >= 0, x, x * slope.reshape(_prelu_shape(x.shape, slope.shape)))


@operation(quiet(lambda input, dim=-1: _glu_numpy(*np.split(input, 2, dim))))
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), of the two halves of dimension `dim`.

    Layers of the example: `slice`, `activation`, `elementwise`.

    >>> trtnet.glu(trtnet.tensor([[1.0, 2.0, 0.0, 100.0]])).tolist()
    [[0.5, 2.0]]
    """
    x = tensor(input)
    size = x.shape[dim]
    if isinstance(size, int) and size % 2:
        raise ShapeError("glu halves a dimension", expected="an even size", found=f"{size} in {format_shape(x.shape)}")
    a, b = x.chunk(2, dim)
    return mul(a, sigmoid(b))


def _glu_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a * _sigmoid(b)


install({"relu": relu, "sigmoid": sigmoid, "tanh": tanh})
for _name in _IN_PLACE:
    globals()[f"{_name}_"] = in_place(globals()[_name], f"{_name}_")
    globals()[f"{_name}_"].__module__ = __name__  # where pickle looks for it
