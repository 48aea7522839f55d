"""Look-up in tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..basics.dims import format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import emit, recorder
from ..graph.tensor import Tensor
from ..layers.gather import Gather
from ..layers.training import Lookup
from ..weights.recipes import Weight
from .comparison import clamp, ne, where
from .dispatch import operation, tensor
from .picking import counted_from_start, element_index
from .reduction import amax
from .reduction import sum as summed

__all__ = ["embedding", "embedding_bag"]


def _embedding(
    input: np.ndarray,
    weight: np.ndarray,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> np.ndarray:
    counted_from_start("embedding", input, len(weight))
    return weight[input]


@operation(_embedding)
def embedding(
    input: Tensor,
    weight: Tensor | Weight,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of the weight (count, size) at int64 or int32 indices of any shape: (*input, size).

    `padding_idx`, `scale_grad_by_freq` and `sparse` concern gradients alone: those of `trtnet.to_torch` have the first
    two. Raises UnsupportedError for `max_norm`, and ShapeError for constant indices that are negative or out of range;
    others are not checked.

    Layers of the example: `gather`.

    >>> function = lambda i, w: trtnet.functional.embedding(i, w)
    >>> graph = trtnet.record(function, i=trtnet.Input((2, 5), dtype="int64"), w=trtnet.Input((100, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    """
    if max_norm is not None:
        raise UnsupportedError(
            "embedding renormalizes nothing inside a network",
            found=f"max_norm={max_norm}",
            remedy="renormalize the weight once, before recording, and leave max_norm out",
        )
    index, table = tensor(input), tensor(weight)
    if index.dtype.name not in ("int64", "int32"):
        raise DtypeError(
            "the indices of an embedding are whole numbers",
            expected="int64 or int32",
            found=index.dtype,
            remedy="x.long()",
        )
    if len(table.shape) != 2:
        raise ShapeError(
            "the weight of an embedding has two dimensions", expected="(count, size)", found=format_shape(table.shape)
        )
    rows = table.shape[0]
    if padding_idx is not None and isinstance(rows, int) and not -rows <= padding_idx < rows:
        raise ArgumentError("padding_idx is no row", expected=f"{-rows} to {rows - 1}", found=padding_idx)
    made = emit(Gather((table, element_index("embedding", input, rows)), 0))
    if padding_idx is not None or scale_grad_by_freq:
        assert made.layer is not None
        recorder().training.instead[made.layer] = Lookup((), padding_idx, bool(scale_grad_by_freq), "")
    return made


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Rows of the weight (count, size) at each row of indices (n, k), reduced: (n, size).

    Args:
        mode: "mean", "sum" or "max".
        per_sample_weights: (n, k), by which the rows are multiplied; with "sum" only.
        padding_idx: an index that counts for nothing; a row of nothing else gives zeros.

    Raises UnsupportedError for `offsets` and `max_norm`.

    >>> table = trtnet.tensor([[1.0], [2.0], [4.0]])
    >>> trtnet.functional.embedding_bag(trtnet.tensor([[0, 2]]), table, mode="sum").tolist()
    [[5.0]]
    """
    if offsets is not None or input.ndim != 2:
        raise UnsupportedError(
            "embedding_bag takes bags of one size",
            expected="indices (n, k), and no offsets",
            found=f"indices {format_shape(input.shape)}",
            remedy="pad the bags to one size, and name padding_idx",
        )
    if mode not in ("mean", "sum", "max"):
        raise ArgumentError("embedding_bag has no such mode", expected="mean, sum or max", found=repr(mode))
    if per_sample_weights is not None and mode != "sum":
        raise ArgumentError("embedding_bag: per_sample_weights are of mode sum", expected="sum", found=mode)
    rows = embedding(input, weight, padding_idx, max_norm, scale_grad_by_freq=scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if padding_idx is None:
        return amax(rows, 1) if mode == "max" else summed(rows, 1) if mode == "sum" else rows.mean(1)
    if padding_idx < 0:
        padding_idx += weight.shape[0]
    counts = ne(input, padding_idx).unsqueeze(-1)
    if mode == "max":
        return where(counts.any(1), amax(where(counts, rows, -math.inf), 1), 0.0)
    total = summed(where(counts, rows, 0.0), 1)
    return total if mode == "sum" else total / clamp(summed(counts, 1), min=1).to(total.dtype)
