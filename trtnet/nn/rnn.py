"""Recurrent modules, which trtnet has not: constructing one raises UnsupportedError."""

from __future__ import annotations

from typing import Any

from ..basics.errors import UnsupportedError
from .module import Module

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell"]


class RNNBase(Module):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.RNNBase("LSTM", 4, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    write the steps with Linear and activations in a Python loop over a fixed number of steps
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        raise UnsupportedError(
            f"{name} is not in trtnet: recurrent networks are not recorded",
            found=f"{name}({', '.join([*map(repr, args), *(f'{k}={v!r}' for k, v in kwargs.items())])})",
            remedy="write the steps with Linear and activations in a Python loop over a fixed number of steps",
        )


class RNN(RNNBase):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.RNN(4, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    write the steps with Linear and activations in a Python loop over a fixed number of steps
    """


class LSTM(RNNBase):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.LSTM(4, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    write the steps with Linear and activations in a Python loop over a fixed number of steps
    """


class GRU(RNNBase):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.GRU(4, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    write the steps with Linear and activations in a Python loop over a fixed number of steps
    """


class RNNCell(RNNBase):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.RNNCell(4, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    write the steps with Linear and activations in a Python loop over a fixed number of steps
    """


class LSTMCell(RNNBase):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.LSTMCell(4, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    write the steps with Linear and activations in a Python loop over a fixed number of steps
    """


class GRUCell(RNNBase):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    >>> try:
    ...     nn.GRUCell(4, 8)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    write the steps with Linear and activations in a Python loop over a fixed number of steps
    """
