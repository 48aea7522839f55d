"""Softmax and its kin."""

from __future__ import annotations

from ..basics.dims import format_shape
from ..basics.errors import ShapeError
from ..functional import normalization as F
from ..graph.tensor import Tensor
from .module import Module

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]


class _Softmax(Module):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Softmax):
    """exp(x) / sum(exp(x)) along a dimension.

    Args:
        dim: the dimension along which they sum to 1; None chooses it as torch does, by the number of dimensions.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `softmax`.

    >>> nn.Softmax(dim=1)(trtnet.tensor([[0.0, 0.0], [0.0, 200.0]])).numpy()
    array([[0.5, 0.5],
           [0. , 1. ]], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class LogSoftmax(_Softmax):
    """log(exp(x) / sum(exp(x))) along a dimension, also where the softmax itself would be 0.

    Args:
        dim: the dimension along which they sum to 1; None chooses it as torch does, by the number of dimensions.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `log_softmax`, which is lowered as several layers.

    >>> nn.LogSoftmax(dim=1)(trtnet.tensor([[0.0, 0.0], [0.0, 200.0]])).numpy().round(3)
    array([[  -0.693,   -0.693],
           [-200.   ,    0.   ]], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmin(_Softmax):
    """exp(-x) / sum(exp(-x)) along a dimension.

    Args:
        dim: the dimension along which they sum to 1; None chooses it as torch does, by the number of dimensions.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: `unary` (NEG) and `softmax`.

    >>> nn.Softmin(dim=1)(trtnet.tensor([[0.0, 0.0], [0.0, 200.0]])).numpy()
    array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """exp(x) / sum(exp(x)) over the channels, at each place of an image.

    Shape: (N, C, H, W) or (C, H, W), in and out alike; float32, float16 or bfloat16.
    Layers: one `softmax`.

    >>> nn.Softmax2d()(trtnet.zeros(4, 1, 1)).flatten().numpy()
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        if len(input.shape) not in (3, 4):
            raise ShapeError(
                "Softmax2d takes 3 or 4 dimensions",
                expected="(batch, channels, height, width)",
                found=format_shape(input.shape),
            )
        return F.softmax(input, -3)
