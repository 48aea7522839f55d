"""Similarities and distances."""

from __future__ import annotations

from ..functional import normalization as F
from ..graph.tensor import Tensor
from .module import Module

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class CosineSimilarity(Module):
    """x1 · x2 / (max(|x1|, eps) * max(|x2|, eps)): the cosine of the angle between them along a dimension.

    Args:
        dim: the dimension of the vectors.
        eps: the smallest length that is divided by.

    Shape: two shapes that broadcast; the result is without dim. float32, float16 or bfloat16.
    Layers: `elementwise`, `reduce`, `unary` and `constant`.

    >>> nn.CosineSimilarity()(trtnet.tensor([[1.0, 0.0]]), trtnet.tensor([[0.0, 2.0]])).numpy()
    array([0.], dtype=float32)
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """sum(|x1 - x2 + eps| ** p) ** (1 / p) over the last dimension.

    Args:
        p: the order of the norm.
        eps: what is added to the differences.
        keepdim: whether the last dimension stays, with size 1.

    Shape: two shapes that broadcast, (…, D) to (…) or (…, 1); float32, float16 or bfloat16.
    Layers: `elementwise`, `constant`, `unary`, `reduce` and `shuffle`.

    >>> nn.PairwiseDistance()(trtnet.tensor([[3.0, 0.0]]), trtnet.tensor([[0.0, 4.0]])).numpy()
    array([5.], dtype=float32)
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
