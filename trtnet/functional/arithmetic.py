"""Arithmetic of two tensors, and Python's operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..dims import format_shape
from ..dtypes import dtype as Dtype
from ..errors import ArgumentError, DtypeError
from ..graph import emit
from ..layers.casting import Cast, Identity
from ..layers.elementwise import ElementWise, Unary
from ..tensor import Array, Parameter, Tensor
from .concrete import binary, category, floats, promoted, quiet
from .dispatch import is_scalar, operation, pair, scalar, tensor

__all__ = [
    "add", "addcdiv", "addcmul", "atan2", "arctan2", "div", "divide", "dist_sq", "floor_divide", "fmod", "hypot",
    "lerp", "logaddexp", "maximum", "minimum", "mul", "multiply", "neg", "negative", "positive", "pow", "reciprocal",
    "remainder", "rsqrt", "rsub", "sqrt", "square", "sub", "subtract", "true_divide", "xlogy",
]  # fmt: skip
__all__.remove("dist_sq")


def _is_number(value: Any) -> bool:
    """A scalar that is no bool: it would turn a bool tensor into integers in torch."""
    return is_scalar(value) and not (
        value.dtype is dtypes.bool_ if isinstance(value, Array) else isinstance(value, (bool, np.bool_))
    )


def _apply(name: str, op: str, a: Any, b: Any, logical: str | None = None) -> Tensor:
    """One ElementWise layer; `logical` is the operation that torch's arithmetic of two bools amounts to."""
    left, right = pair(name, a, b)
    if left.dtype is dtypes.bool_:
        if logical is None or _is_number(a) or _is_number(b):
            raise DtypeError(
                f"{name}: arithmetic with a bool tensor", expected="numbers", found=f"bool {format_shape(left.shape)}",
                remedy="convert it first, mask.to(x.dtype) or mask.to(trtnet.int32); to invert a mask write ~mask",
            )
        op = logical
    return emit(ElementWise((left, right), op))


def _unary(op: str, value: Any) -> Tensor:
    return emit(Unary((tensor(value),), op))


def _cast(value: Any, dtype: Dtype) -> Tensor:
    return emit(Cast((tensor(value),), dtype))


def _divisible(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Operands of a true division: integers and bools are cast to float32, as torch's result type says."""
    tensors = [v for v in (a, b) if isinstance(v, Tensor) and not is_scalar(v)]
    if not tensors or any(t.dtype.is_floating_point for t in tensors) or tensors[0].dtype is not tensors[-1].dtype:
        return a, b
    for value in (a, b):
        if is_scalar(value):
            scalar(value, tensors[0].dtype, 0) if isinstance(value, float) else None
    return tuple(_cast(v, dtypes.float32) if v in_ else v for v, in_ in ((a, not is_scalar(a)), (b, not is_scalar(b))))  # type: ignore[return-value]
