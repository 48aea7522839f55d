"""Dropout, which is the identity in a network. What drops when `to_torch(graph)` is trained is noted."""

from __future__ import annotations

from typing import Any

from ..basics.errors import ArgumentError, UnsupportedError
from ..graph.tensor import Tensor, current_recorder
from ..graph.training import Mode, cannot_train
from ..layers.training import Dropout
from . import memory
from .inplace import rebind
from .shape import same_memory

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]


_BATCHED = {"dropout1d": 3, "dropout3d": 5}
"""The ranks for which these give the tensor itself. To others torch adds a batch dimension that it takes off again,
which gives a second tensor of the same memory."""


def _identity(name: str, input: Tensor, p: float, training: bool | Mode, inplace: bool) -> Tensor:
    if not 0.0 <= p <= 1.0:
        raise ArgumentError("a dropout probability is between 0 and 1", expected="0 to 1", found=p)
    if type(training) is Mode:
        if p > 0:
            return _noted(name, input, float(p), training, inplace)
    elif training and p > 0:
        raise UnsupportedError(
            f"{name} cannot drop anything inside a network",
            expected="training=False",
            found="training=True",
            remedy=f"write F.{name}(x, p, training=self.training), which is False while recording",
        )
    return input if inplace or len(input.shape) == _BATCHED.get(name, len(input.shape)) else same_memory(input)


def _noted(name: str, x: Tensor, p: float, mode: Mode, inplace: bool) -> Tensor:
    current = current_recorder.get()
    if current is None or type(x) is not Tensor:
        cannot_train(f"{name} of what the network does not compute", mode.owner)
        return x
    made = current.emit(Dropout((x,), name, p, mode.owner))
    if inplace:
        return rebind(x, made)
    return memory.mark_same(made, x)  # in evaluation torch gives the tensor itself


def _written(base: Tensor, layer: Dropout, value: Tensor, positions: Any) -> Tensor:
    cannot_train("what dropout gave was changed in place, and what it was given was used again", layer.owner)
    return value


memory.writers[Dropout] = _written


def dropout(input: Tensor, p: float = 0.5, training: bool | Mode = True, inplace: bool = False) -> Tensor:
    """The input as it is; with `training=self.training`, `to_torch` drops in training.

    Raises UnsupportedError for `training=True` (torch's default) unless p is 0.

    >>> trtnet.functional.dropout(trtnet.tensor([1.0, 2.0]), training=False).tolist()
    [1.0, 2.0]
    """
    return _identity("dropout", input, p, training, inplace)


def dropout1d(input: Tensor, p: float = 0.5, training: bool | Mode = True, inplace: bool = False) -> Tensor:
    """As dropout.

    Layers of the example: none.

    >>> trtnet.dropout1d(trtnet.tensor([[1.0, 2.0]]), training=False).tolist()
    [[1.0, 2.0]]
    """
    return _identity("dropout1d", input, p, training, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool | Mode = True, inplace: bool = False) -> Tensor:
    """As dropout.

    Layers of the example: none.

    >>> trtnet.dropout2d(trtnet.tensor([[1.0, 2.0]]), training=False).tolist()
    [[1.0, 2.0]]
    """
    return _identity("dropout2d", input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool | Mode = True, inplace: bool = False) -> Tensor:
    """As dropout.

    Layers of the example: none.

    >>> trtnet.dropout3d(trtnet.tensor([[1.0, 2.0]]), training=False).tolist()
    [[1.0, 2.0]]
    """
    return _identity("dropout3d", input, p, training, inplace)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool | Mode = False, inplace: bool = False) -> Tensor:
    """The input as it is. Raises UnsupportedError for `training=True` unless p is 0.

    >>> trtnet.functional.alpha_dropout(trtnet.tensor([1.0, 2.0]), training=False).tolist()
    [1.0, 2.0]
    """
    return _identity("alpha_dropout", input, p, training, inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool | Mode = False, inplace: bool = False
) -> Tensor:
    """As alpha_dropout.

    >>> trtnet.functional.feature_alpha_dropout(trtnet.tensor([[1.0, 2.0]]), training=False).tolist()
    [[1.0, 2.0]]
    """
    return _identity("feature_alpha_dropout", input, p, training, inplace)
