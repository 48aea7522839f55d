"""Embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..basics.arrays import as_array
from ..basics.dims import format_shape
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, ShapeError, UnsupportedError
from ..functional import sparse as F
from ..graph.tensor import DeviceLike, Initializer, Parameter, Tensor
from . import init
from .module import Module

__all__ = ["Embedding", "EmbeddingBag"]


class Embedding(Module):
    """Rows of a table: weight[input].

    Args:
        num_embeddings, embedding_dim: the table's rows and columns.
        padding_idx: a row that is zeros at first, and has no gradient in `trtnet.to_torch`.
        max_norm: UnsupportedError unless None: renormalize the weight once.
        scale_grad_by_freq: as torch's, in `trtnet.to_torch`.
        norm_type, sparse: accepted; they change no number.
        device: accepted; nothing depends on it.
        dtype: the table's.

    Parameters: weight (num_embeddings, embedding_dim), drawn from a normal distribution.
    Shape: (…) of int64 or int32 to (…, embedding_dim) of the table's dtype; indices are from 0 to num_embeddings - 1.
    Layers: one `gather`, and the table as a `constant`.
    Unlike torch: TensorRT does not check that indices are rows; the reference does.

    >>> graph = trtnet.record(nn.Embedding(100, 8), input=Input((2, 5), dtype="int64"))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        if max_norm is not None:
            raise UnsupportedError(
                "Embedding renormalizes nothing inside a network",
                found=f"max_norm={max_norm}",
                remedy="renormalize the weight once, before recording, and leave max_norm out",
            )
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                "padding_idx is no row", expected=f"{-num_embeddings} to {num_embeddings - 1}", found=padding_idx
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            self.weight = Parameter(shape=(num_embeddings, embedding_dim), dtype=dtype, requires_grad=not _freeze)
            self.reset_parameters()
        else:
            values = as_array(_weight)
            if values.shape != (num_embeddings, embedding_dim):
                raise ShapeError(
                    "the given weight has another shape",
                    expected=f"({num_embeddings}, {embedding_dim})",
                    found=format_shape(values.shape),
                )
            self.weight = Parameter(values, not _freeze)

    def reset_parameters(self) -> None:
        """torch's default: normal, and zeros at `padding_idx`."""
        draw, row = init.normal(), self.padding_idx

        def with_padding(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
            values = draw(generator, shape)
            values[row] = 0.0
            return values

        initializer: Initializer = draw if row is None else with_padding
        init.initialize(self.weight, initializer)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An Embedding of a given table (count, size)."""
        values = as_array(embeddings)
        if values.ndim != 2:
            raise ShapeError(
                "the table of an embedding has two dimensions",
                expected="(count, size)",
                found=format_shape(values.shape),
            )
        count, size = values.shape
        return cls(
            count,
            size,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
            _weight=embeddings,
            _freeze=freeze,
        )

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, scale_grad_by_freq=self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq is not False:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text + ", sparse=True" if self.sparse is not False else text


class EmbeddingBag(Module):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.EmbeddingBag(100, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    use Embedding, and sum or average its output over a dimension
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError(
            "EmbeddingBag is not in trtnet", remedy="use Embedding, and sum or average its output over a dimension"
        )
