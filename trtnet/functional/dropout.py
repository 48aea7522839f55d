"""Dropout, which is the identity in a network."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, UnsupportedError

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]


def _identity(name: str, input: Any, p: float, training: bool) -> Any:
    if not 0.0 <= p <= 1.0:
        raise ArgumentError("a dropout probability is between 0 and 1", expected="0 to 1", found=p)
    if training and p > 0:
        raise UnsupportedError(
            f"{name} cannot drop anything inside a network",
            expected="training=False",
            found="training=True",
            remedy=f"write F.{name}(x, p, training=self.training), which is False while recording",
        )
    return input


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """The input as it is. Raises UnsupportedError for `training=True` (torch's default) unless p is 0."""
    return _identity("dropout", input, p, training)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """As dropout."""
    return _identity("dropout1d", input, p, training)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """As dropout."""
    return _identity("dropout2d", input, p, training)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """As dropout."""
    return _identity("dropout3d", input, p, training)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """The input as it is. Raises UnsupportedError for `training=True` unless p is 0."""
    return _identity("alpha_dropout", input, p, training)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """As alpha_dropout."""
    return _identity("feature_alpha_dropout", input, p, training)
