"""Look-up in tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import format_shape
from ..errors import DtypeError, ShapeError, UnsupportedError
from ..graph import emit
from ..layers.gather import Gather
from ..tensor import Tensor
from .dispatch import operation, tensor

__all__ = ["embedding"]


def _embedding(
    input: np.ndarray,
    weight: np.ndarray,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> np.ndarray:
    return weight[input]


@operation(_embedding)
def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of the weight (count, size) at int64 or int32 indices of any shape: (*input, size).

    Indices are not checked. `padding_idx`, `scale_grad_by_freq` and `sparse` concern training alone. Raises
    UnsupportedError for `max_norm`.
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
    return emit(Gather((table, index), 0))
