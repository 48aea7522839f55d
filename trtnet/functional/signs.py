"""The sign bit of floating-point numbers. Names and signatures as torch's."""

from __future__ import annotations

import numpy as np

from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.elementwise import ElementWise, Select, Unary
from .comparison import lt, ne
from .concrete import category, floats, quiet
from .dispatch import Value, operation, pair, scalar, tensor
from .inplace import install

__all__ = ["copysign", "signbit"]

KEEPS_ORDER = True


def _negative(x: Tensor) -> Tensor:
    """Where a floating-point tensor is below zero or -0, of which 1 / x is below zero."""
    zero = scalar(0, x.dtype, x.ndim)
    below = emit(ElementWise((x, zero), "LESS"))
    below_inverse = emit(ElementWise((emit(Unary((x,), "RECIP")), zero), "LESS"))
    is_zero = emit(ElementWise((x, zero), "EQUAL"))
    made: Tensor = emit(ElementWise((below, emit(ElementWise((is_zero, below_inverse), "AND"))), "OR"))
    return made


def _signbit_numpy(input: np.ndarray) -> np.ndarray:
    if category(input.dtype) < 2:
        return input < 0 if input.dtype != bool else np.zeros(input.shape, bool)
    return np.signbit(input) & ~np.isnan(input)


@operation(_signbit_numpy, method=True)
def signbit(input: Tensor) -> Tensor:
    """Where the sign bit is set: negative numbers, -0 among them. Of NaN, whose sign TensorRT does not show: False.

    Layers of the example: `constant`, `elementwise`, `unary`.

    >>> trtnet.signbit(trtnet.tensor([1.0, -2.0])).tolist()
    [False, True]
    """
    x = tensor(input)
    if x.dtype.is_floating_point:
        return _negative(x)
    return ne(x, x) if not x.dtype.is_signed else lt(x, 0)


def _copysign_numpy(input: np.ndarray | float, other: np.ndarray | float) -> np.ndarray:
    a, b = floats(input, other)
    return np.where(_signbit_numpy(b), -np.abs(a), np.abs(a))


@operation(quiet(_copysign_numpy), method=True)
def copysign(input: Value, other: Value) -> Tensor:
    """|input| with the sign of `other`, -0 among the negative ones; integers give float32. A NaN counts as positive.

    Layers of the example: `constant`, `unary`, `elementwise`, `select`.

    >>> trtnet.copysign(trtnet.tensor([1.0, 2.0]), -1.0).tolist()
    [-1.0, -2.0]
    """
    a, b = pair("copysign", input, other, floating=True)
    size = emit(Unary((a,), "ABS"))
    made: Tensor = emit(Select((_negative(b), emit(Unary((size,), "NEG")), size)))
    return made


install({"copysign": copysign})
