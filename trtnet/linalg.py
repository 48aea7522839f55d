"""torch.linalg's names, as far as TensorRT's layers go."""

from __future__ import annotations

from typing import Any

from .functional import matmul, vector_norm
from .functional.reduction import norm as _norm

__all__ = ["matmul", "norm", "vecdot", "vector_norm"]


def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:  # noqa: N803
    """The vector norm over `dim`, or over all elements; of the matrix norms only the Frobenius norm."""
    return _norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """Sums of products along one dimension."""
    return (x * y).sum(dim)
