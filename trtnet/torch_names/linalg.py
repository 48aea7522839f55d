"""torch.linalg's names, as far as TensorRT's layers go."""

from __future__ import annotations

from typing import Any

from ..basics.errors import UnsupportedError
from ..functional import matmul, vector_norm
from ..functional.reduction import norm as _norm

__all__ = ["matmul", "norm", "vecdot", "vector_norm"]


def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The vector norm over `dim`, or over all elements; of the matrix norms only the Frobenius norm.

    Raises UnsupportedError for the others: TensorRT computes no singular values.
    """
    axes = A.ndim if dim is None else len(dim) if isinstance(dim, (tuple, list)) else 1
    if ord not in (None, "fro") and axes == 2:
        raise UnsupportedError(
            "of the matrix norms only the Frobenius norm can be computed",
            found=f"ord={ord!r}",
            remedy="trtnet.linalg.vector_norm(x, ord, dim) is the norm of all elements",
        )
    return _norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """Sums of products along one dimension."""
    return (x * y).sum(dim)
