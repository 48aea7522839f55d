"""Operators of which nothing is left in a network, or a cast."""

from __future__ import annotations

from typing import Any

from .... import functional as F
from ....basics.dims import SizeLike
from ....basics.dtypes import DtypeLike
from ....graph.tensor import Array, Parameter, Tensor
from ..table import converts


@converts("aten::alias", "aten::clone", "aten::contiguous", "aten::detach", "aten::lift_fresh", "aten::lift_fresh_copy",
          "aten::lift", "aten::positive", "aten::resolve_conj", "aten::resolve_neg", "aten::conj", "aten::alias_copy",
          "aten::detach_copy", "aten::_conj", "aten::conj_physical")  # fmt: skip
def _itself(self: Tensor) -> Tensor:
    return self  # nothing is changed in place in an exported program


@converts("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout")
def _dropout(input: Tensor, p: float, train: bool) -> Tensor:
    return F.dropout(input, p, train)


@converts("aten::native_dropout")
def _native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    return F.dropout(input, p, bool(train)), F.full(input.shape, True)


@converts("aten::_to_copy", "aten::to.dtype_layout")
def _to_copy(self: Tensor, dtype: DtypeLike | None = None, copy: bool = False) -> Tensor:
    return self if dtype is None else F.to(self, dtype)


@converts("aten::to.dtype")
def _to_dtype(self: Tensor, dtype: DtypeLike, copy: bool = False) -> Tensor:
    return F.to(self, dtype)


@converts("aten::to.device")
def _to_device(self: Tensor, device: Any, dtype: DtypeLike, copy: bool = False) -> Tensor:
    return F.to(self, dtype)


@converts("aten::type_as", "aten::to.other")
def _type_as(self: Tensor, other: Tensor, copy: bool = False) -> Tensor:
    return F.to(self, other.dtype)


@converts("aten::copy")
def _copy(self: Tensor, src: Tensor) -> Tensor:
    return F.expand(F.to(src, self.dtype), self.shape)


@converts("aten::item", "aten::_local_scalar_dense")
def _item(self: Tensor) -> Any:
    """A number: whole ones now, where they are known, since sizes and indices are made of them."""
    if not self.dtype.is_floating_point and isinstance(self, (Array, Parameter)):
        return self.item()
    return F.reshape(self, ())


@converts("aten::sym_size.int")
def _size(self: Tensor, dim: int) -> SizeLike:
    return self.shape[dim]


@converts("aten::sym_numel")
def _numel(self: Tensor) -> SizeLike:
    return self.shape.numel()


@converts("aten::is_nonzero")
def _is_nonzero(self: Tensor) -> Any:
    return F.ne(F.reshape(self, ()), 0)
