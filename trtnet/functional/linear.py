"""Linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import emit
from ..layers.matrix import FullyConnected
from ..tensor import Tensor
from .dispatch import operand, operation, tensor

__all__ = ["linear"]


def _linear(input: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    product = input @ weight.T
    return product if bias is None else product + bias


@operation(_linear)
def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """(..., in) by a weight (out, in) and a bias (out,): (..., out). All of one floating-point dtype."""
    return emit(FullyConnected((tensor(input), operand(weight), operand(bias))))
