"""Dropout, which is the identity in a network, and drops where `to_torch(graph)` is trained."""

from __future__ import annotations

from typing import ClassVar

from .. import functional as F
from ..basics.errors import ArgumentError
from ..graph.tensor import Tensor
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    function: ClassVar[str] = "dropout"
    takes_inplace: ClassVar[bool] = True

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ArgumentError("a dropout probability is between 0 and 1", expected="0 to 1", found=p)
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        found: Tensor = getattr(F, self.function)(input, self.p, self.training, self.inplace and self.takes_inplace)
        return found

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """The identity when a network runs; elements are dropped where `to_torch(graph)` is trained.

    Args:
        p: the probability with which torch's `dropout` drops in training, from 0 to 1.
        inplace: accepted; whether the input's memory is written to in training.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: none; an output that is an input of the network gets an `identity`.

    >>> nn.Dropout(0.5)(trtnet.tensor([[1.0, 2.0]])).numpy()
    array([[1., 2.]], dtype=float32)
    """


class Dropout1d(_Dropout):
    """The identity when a network runs; channels of (N, C, L) are dropped where `to_torch(graph)` is trained.

    Args:
        p: the probability with which torch's `dropout1d` drops in training, from 0 to 1.
        inplace: accepted; whether the input's memory is written to in training.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: none; an output that is an input of the network gets an `identity`.

    >>> nn.Dropout1d(0.5)(trtnet.tensor([[1.0, 2.0]])).numpy()
    array([[1., 2.]], dtype=float32)
    """

    function = "dropout1d"


class Dropout2d(_Dropout):
    """The identity when a network runs; channels of (N, C, H, W) are dropped where `to_torch(graph)` is trained.

    Args:
        p: the probability with which torch's `dropout2d` drops in training, from 0 to 1.
        inplace: accepted; whether the input's memory is written to in training.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: none; an output that is an input of the network gets an `identity`.

    >>> nn.Dropout2d(0.5)(trtnet.tensor([[1.0, 2.0]])).numpy()
    array([[1., 2.]], dtype=float32)
    """

    function = "dropout2d"


class Dropout3d(_Dropout):
    """The identity when a network runs; channels of (N, C, D, H, W) are dropped where `to_torch(graph)` is trained.

    Args:
        p: the probability with which torch's `dropout3d` drops in training, from 0 to 1.
        inplace: accepted; whether the input's memory is written to in training.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: none; an output that is an input of the network gets an `identity`.

    >>> nn.Dropout3d(0.5)(trtnet.tensor([[1.0, 2.0]])).numpy()
    array([[1., 2.]], dtype=float32)
    """

    function = "dropout3d"


class AlphaDropout(_Dropout):
    """The identity when a network runs; elements, in SELU networks, are dropped where `to_torch(graph)` is trained.

    Args:
        p: the probability with which torch's `alpha_dropout` drops in training, from 0 to 1.
        inplace: accepted; left aside, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: none; an output that is an input of the network gets an `identity`.

    >>> nn.AlphaDropout(0.5)(trtnet.tensor([[1.0, 2.0]])).numpy()
    array([[1., 2.]], dtype=float32)
    """

    function = "alpha_dropout"
    takes_inplace = False  # torch's module leaves it aside


class FeatureAlphaDropout(_Dropout):
    """The identity when a network runs; channels, in SELU networks, are dropped where `to_torch(graph)` is trained.

    Args:
        p: the probability with which torch's `feature_alpha_dropout` drops in training, from 0 to 1.
        inplace: accepted; left aside, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: none; an output that is an input of the network gets an `identity`.

    >>> nn.FeatureAlphaDropout(0.5)(trtnet.tensor([[1.0, 2.0]])).numpy()
    array([[1., 2.]], dtype=float32)
    """

    function = "feature_alpha_dropout"
    takes_inplace = False  # torch's module leaves it aside
