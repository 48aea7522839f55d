"""Softmax and normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..graph import emit
from ..layers.normalization import SoftMax
from ..tensor import Tensor
from .dispatch import axis_of, floating, operation, tensor

__all__ = ["softmax"]


def _softmax(input: np.ndarray, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> np.ndarray:
    x = input if dtype is None else input.astype(dtypes.get(dtype).numpy)
    powers = np.exp(x - x.max(dim, keepdims=True))
    return powers / powers.sum(dim, keepdims=True)


def _prepared(name: str, input: Any, dim: int | None, dtype: Any) -> tuple[Tensor, int]:
    x = tensor(input)
    if dtype is not None:
        from .casting import to

        x = to(x, dtype)
    floating(name, x)
    if dim is None:  # torch's own old rule
        dim = 0 if len(x.shape) in (0, 1, 3) else 1
    return x, axis_of(dim, len(x.shape))


@operation(_softmax, method=True)
def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    x, axis = _prepared("softmax", input, dim, dtype)
    return emit(SoftMax((x,), axis))
