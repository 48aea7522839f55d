"""Operators that take or write a part of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .... import functional as F
from ....basics.dims import SizeLike
from ....graph.tensor import Tensor
from ..chains import slice_of
from ..table import Missing, converts


@converts("aten::slice.Tensor", "aten::slice_copy.Tensor")
def _sliced(
    self: Tensor, dim: int = 0, start: SizeLike | None = None, end: SizeLike | None = None, step: int = 1
) -> Tensor:
    where = slice_of(start, end, step)
    if where.start in (None, 0) and where.stop is None and step == 1:
        return self
    axis = dim % self.ndim
    return F.getitem(self, (*[slice(None)] * axis, where))


@converts("aten::slice_scatter")
def _slice_scatter(
    self: Tensor,
    src: Tensor,
    dim: int = 0,
    start: SizeLike | None = None,
    end: SizeLike | None = None,
    step: int = 1,
) -> Tensor:
    where = slice_of(start, end, step)
    if where.start in (None, 0) and where.stop is None and step == 1:
        return F.expand(F.to(src, self.dtype), self.shape)
    return F.slice_scatter(self, F.to(src, self.dtype), dim, where.start, where.stop, step)


@converts("aten::index.Tensor", "aten::_unsafe_index.Tensor")
def _index(self: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    return F.getitem(self, _key(indices))


@converts("aten::index_put", "aten::_unsafe_index_put")
def _index_put(self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    if accumulate:
        key: Any = tuple(indices)
        return F.index_put(self, key, values, accumulate=True)
    made = F.clone(self)
    made[_key(indices)] = values
    return F.clone(made)


def _key(indices: Sequence[Tensor | None]) -> tuple[Any, ...]:
    return tuple(slice(None) if one is None else one for one in indices)


@converts("aten::scatter.src", "aten::scatter.value")
def _scatter(self: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    return F.scatter(self, dim, index, src)


@converts("aten::embedding")
def _embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    return F.embedding(indices, weight, None if padding_idx == -1 else padding_idx, None, 2.0, scale_grad_by_freq)


@converts("aten::embedding_bag", "aten::embedding_bag.padding_idx", "aten::_embedding_bag",
          "aten::_embedding_bag_forward_only")  # fmt: skip
def _embedding_bag(weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0,
                   sparse: bool = False, per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                   padding_idx: int | None = None) -> list[Any]:  # fmt: skip
    left_out = None if padding_idx == -1 else padding_idx
    made = F.embedding_bag(
        indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode], sparse,
        per_sample_weights, include_last_offset, left_out,
    )  # fmt: skip
    missing = Missing("what embedding_bag gives beside its result is used", "use its first result alone")
    return [made, missing, missing, missing]


@converts("aten::index_fill.int_Scalar", "aten::index_fill.int_Tensor")
def _index_fill(self: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    return F.index_fill(self, dim, index, value)


@converts("aten::max.dim")
def _max(self: Tensor, dim: int, keepdim: bool = False) -> Any:
    return F.max(self, dim, keepdim)  # what is not used of it is not recorded


@converts("aten::min.dim")
def _min(self: Tensor, dim: int, keepdim: bool = False) -> Any:
    return F.min(self, dim, keepdim)


@converts("aten::sort.stable")
def _sort(self: Tensor, stable: bool | None = None, dim: int = -1, descending: bool = False) -> list[Tensor]:
    return list(F.sort(self, dim, descending))
