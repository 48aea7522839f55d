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
    """The identity: nothing is dropped when a network runs. In training torch's `dropout`."""


class Dropout1d(_Dropout):
    """The identity; in training torch's `dropout1d`."""

    function = "dropout1d"


class Dropout2d(_Dropout):
    """The identity; in training torch's `dropout2d`."""

    function = "dropout2d"


class Dropout3d(_Dropout):
    """The identity; in training torch's `dropout3d`."""

    function = "dropout3d"


class AlphaDropout(_Dropout):
    """The identity; in training torch's `alpha_dropout`."""

    function = "alpha_dropout"
    takes_inplace = False  # torch's module leaves it aside


class FeatureAlphaDropout(_Dropout):
    """The identity; in training torch's `feature_alpha_dropout`."""

    function = "feature_alpha_dropout"
    takes_inplace = False  # torch's module leaves it aside
