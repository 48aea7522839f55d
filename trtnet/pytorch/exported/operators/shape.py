"""Operators that arrange elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .... import functional as F
from ....basics.dims import Dim, SizeLike
from ....basics.dtypes import DtypeLike
from ....basics.errors import UnsupportedError
from ....graph.tensor import Tensor
from ..table import converts


@converts("aten::view", "aten::reshape", "aten::_unsafe_view", "aten::_reshape_alias", "aten::view_copy",
          "aten::_reshape_copy")  # fmt: skip
def _view(self: Tensor, size: Sequence[SizeLike], stride: object = None) -> Tensor:
    return F.reshape(self, tuple(size))


@converts("aten::view.dtype")
def _view_dtype(self: Tensor, dtype: DtypeLike) -> Tensor:
    if dtype is self.dtype:
        return self
    raise UnsupportedError(
        "the bytes of a tensor are taken for another type, which TensorRT has no layer for",
        expected=self.dtype,
        found=dtype,
        remedy="convert the numbers: x.to(dtype)",
    )


@converts("aten::permute", "aten::permute_copy")
def _permute(self: Tensor, dims: Sequence[int]) -> Tensor:
    return F.permute(self, tuple(dims))


@converts("aten::expand", "aten::expand_copy", "aten::broadcast_to")
def _expand(self: Tensor, size: Sequence[SizeLike], implicit: bool = False) -> Tensor:
    return F.expand(self, tuple(size))


@converts("aten::repeat", "aten::tile")
def _repeat(self: Tensor, repeats: Sequence[SizeLike]) -> Tensor:
    if len(repeats) < self.ndim:  # of tile alone
        repeats = [*[1] * (self.ndim - len(repeats)), *repeats]
    return F.repeat(self, tuple(repeats))


@converts("aten::squeeze.default", "aten::squeeze_copy.default")
def _squeeze(self: Tensor) -> Tensor:
    for size in self.shape:
        if isinstance(size, Dim) and size.bounds[0] <= 1:
            raise UnsupportedError(
                "squeeze() without dimensions takes away a dynamic size where it is 1",
                expected="a shape of as many dimensions at every size",
                found=f"{self.shape}, of which {size} may be 1",
                remedy="name the dimensions: x.squeeze(-1)",
            )
    return F.squeeze(self)


@converts("aten::squeeze.dim", "aten::squeeze.dims", "aten::squeeze_copy.dim", "aten::squeeze_copy.dims")
def _squeeze_dims(self: Tensor, dim: int | Sequence[int]) -> Tensor:
    axes = [dim] if isinstance(dim, int) else list(dim)
    for axis in axes if self.ndim else ():
        size = self.shape[axis]
        if isinstance(size, Dim) and size.bounds[0] <= 1:
            raise UnsupportedError(
                "squeeze takes away a dynamic size where it is 1",
                expected="a shape of as many dimensions at every size",
                found=f"{size}, which may be 1",
                remedy="squeeze dimensions that are always 1, or let the Dim begin at 2: Dim(..., min=2)",
            )
    return F.squeeze(self, dim if isinstance(dim, int) else tuple(dim))


@converts("aten::split.Tensor", "aten::split.sizes", "aten::split_with_sizes", "aten::split_copy",
          "aten::split_with_sizes_copy", "aten::unsafe_split.Tensor", "aten::unsafe_split_with_sizes")  # fmt: skip
def _split(self: Tensor, split_size: Any, dim: int = 0) -> list[Tensor]:
    return list(F.split(self, list(split_size) if isinstance(split_size, (list, tuple)) else split_size, dim))


@converts("aten::unsafe_chunk")
def _chunk(self: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    return list(F.chunk(self, chunks, dim))


@converts("aten::unfold", "aten::unfold_copy")
def _unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    made: Tensor = self.unfold(dimension, size, step)
    return made


@converts("aten::constant_pad_nd")
def _constant_pad(self: Tensor, pad: Sequence[SizeLike], value: float = 0) -> Tensor:
    return F.pad(self, tuple(pad), "constant", value)


@converts("aten::pad")
def _pad(self: Tensor, pad: Sequence[SizeLike], mode: str = "constant", value: float | None = None) -> Tensor:
    return F.pad(self, tuple(pad), mode, value)


@converts("aten::reflection_pad1d", "aten::reflection_pad2d", "aten::reflection_pad3d")
def _reflection_pad(self: Tensor, padding: Sequence[SizeLike]) -> Tensor:
    return F.pad(self, tuple(padding), "reflect")


@converts("aten::replication_pad1d", "aten::replication_pad2d", "aten::replication_pad3d")
def _replication_pad(self: Tensor, padding: Sequence[SizeLike]) -> Tensor:
    return F.pad(self, tuple(padding), "replicate")


@converts("aten::_pad_circular")
def _circular_pad(self: Tensor, pad: Sequence[SizeLike]) -> Tensor:
    return F.pad(self, tuple(pad), "circular")


@converts("aten::flip")
def _flip(self: Tensor, dims: Sequence[int]) -> Tensor:
    return F.flip(self, tuple(dims))


@converts("aten::roll")
def _roll(self: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    return F.roll(self, tuple(shifts), tuple(dims) or None)


@converts("aten::meshgrid")
def _meshgrid(tensors: Sequence[Tensor], indexing: str = "ij") -> list[Tensor]:
    return list(F.meshgrid(*tensors, indexing=indexing))
