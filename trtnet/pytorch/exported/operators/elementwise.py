"""Operators that compute element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .... import functional as F
from ....basics.dtypes import DtypeLike
from ....functional.dispatch import Value
from ....graph.tensor import Tensor
from ..table import converts


@converts("aten::__and__")
def _and(self: Tensor, other: Value) -> Tensor:
    return F.bitwise_and(self, other)


@converts("aten::__or__")
def _or(self: Tensor, other: Value) -> Tensor:
    return F.bitwise_or(self, other)


@converts("aten::__xor__")
def _xor(self: Tensor, other: Value) -> Tensor:
    return F.bitwise_xor(self, other)


@converts("aten::__lshift__")
def _left(self: Tensor, other: Value) -> Tensor:
    return F.bitwise_left_shift(self, other)


@converts("aten::__rshift__")
def _right(self: Tensor, other: Value) -> Tensor:
    return F.bitwise_right_shift(self, other)


@converts("aten::elu")
def _elu(self: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    made = F.elu(self if input_scale == 1 else F.mul(self, input_scale), alpha)
    return made if scale == 1 else F.mul(made, scale)


@converts("aten::_prelu_kernel")
def _prelu(self: Tensor, weight: Tensor) -> Tensor:
    return F.where(F.gt(self, 0), self, F.mul(self, weight))


@converts("aten::rrelu", "aten::rrelu_with_noise_functional")
def _rrelu(self: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, **_: Any) -> Tensor:
    return F.rrelu(self, lower, upper, training)


@converts("aten::log_sigmoid_forward")
def _log_sigmoid(self: Tensor) -> list[Tensor]:
    return [F.logsigmoid(self), self]


@converts("aten::_safe_softmax")
def _safe_softmax(self: Tensor, dim: int, dtype: DtypeLike | None = None) -> Tensor:
    made = F.softmax(self if dtype is None else F.to(self, dtype), dim)
    return F.masked_fill(made, F.all(F.eq(self, -math.inf), dim, keepdim=True), 0.0)


@converts("aten::_softmax")
def _softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return F.softmax(self, dim)


@converts("aten::_log_softmax")
def _log_softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return F.log_softmax(self, dim)


@converts("aten::special_xlog1py", "aten::special_xlog1py.other_scalar", "aten::special_xlog1py.self_scalar")
def _xlog1py(self: Value, other: Value) -> Tensor:
    return F.mul(self, F.log1p(other))


@converts("aten::floor_divide")
def _floor_divide(self: Value, other: Value) -> Tensor:
    return F.floor_divide(self, other)


@converts("aten::einsum")
def _einsum(equation: str, tensors: list[Tensor], path: object = None) -> Tensor:
    return F.einsum(equation, *tensors)


@converts("aten::tensordot")
def _tensordot(self: Tensor, other: Tensor, dims_self: list[int], dims_other: list[int]) -> Tensor:
    return F.tensordot(self, other, (list(dims_self), list(dims_other)))


@converts("aten::linalg_norm")
def _linalg_norm(
    self: Tensor,
    ord: Any = None,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: DtypeLike | None = None,
) -> Tensor:
    axes = [] if dim is None else list(dim) if isinstance(dim, (list, tuple)) else [dim]
    if ord is not None and len(axes or range(self.ndim)) == 2:
        raise NotImplementedError("a norm of matrices is not recorded: torch.linalg.vector_norm is")
    return _vector_norm(self, 2 if ord is None else ord, dim, keepdim, dtype)


@converts("aten::linalg_vector_norm")
def _vector_norm(
    self: Tensor,
    ord: float = 2,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: DtypeLike | None = None,
) -> Tensor:
    axes = tuple(dim) if isinstance(dim, (list, tuple)) else dim
    return F.vector_norm(self if dtype is None else F.to(self, dtype), ord, axes, keepdim)


@converts("aten::_weight_norm", "aten::_weight_norm_interface")
def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    axes = tuple(axis for axis in range(v.ndim) if axis != dim % v.ndim) if dim != -1 else tuple(range(v.ndim))
    return F.mul(v, F.div(g, F.vector_norm(v, 2, axes, keepdim=True)))


@converts("aten::cross")
def _cross_somewhere(self: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    axis = dim if dim is not None else next(axis for axis, size in enumerate(self.shape) if size == 3)
    return F.cross(self, other, dim=axis)


@converts("aten::linalg_cross")
def _cross(self: Tensor, other: Tensor, dim: int = -1) -> Tensor:
    return F.cross(self, other, dim=dim)


@converts("aten::_cdist_forward")
def _cdist(x1: Tensor, x2: Tensor, p: float, compute_mode: object = None) -> Tensor:
    return F.cdist(x1, x2, p)
