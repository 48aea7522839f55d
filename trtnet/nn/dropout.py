"""Dropout, which is the identity in a network."""

from __future__ import annotations

from ..errors import ArgumentError
from ..tensor import Tensor
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ArgumentError("a dropout probability is between 0 and 1", expected="0 to 1", found=p)
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return input

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """The identity: nothing is dropped when a network runs."""


class Dropout1d(_Dropout):
    """The identity."""


class Dropout2d(_Dropout):
    """The identity."""


class Dropout3d(_Dropout):
    """The identity."""


class AlphaDropout(_Dropout):
    """The identity."""


class FeatureAlphaDropout(_Dropout):
    """The identity."""
