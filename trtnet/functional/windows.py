"""Windows for the transforms of sound: concrete vectors. Names, signatures and defaults as torch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.errors import ArgumentError
from ..graph.tensor import Array
from .creation import _ignore
from .dispatch import refusing

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]


def _window(name: str, length: int, periodic: bool, dtype: Any, options: Any, value: Callable[..., Any]) -> Array:
    """`value` of the positions, of which the last one is 1; a periodic window leaves that one out."""
    _ignore(name, options)
    to = dtypes.get(dtype) if dtype is not None else dtypes.float32
    if length < 0 or not to.is_floating_point:
        raise ArgumentError(
            f"{name} takes a length, and a floating-point dtype", expected="0 or more", found=f"{length}, {to}"
        )
    if length == 1:
        return Array(np.ones(1, to.numpy))
    last = length if periodic else length - 1
    return Array(np.asarray(value(np.arange(length) / max(last, 1))).astype(to.numpy))


@refusing
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: Any = None,
    **options: Any,
) -> Array:
    """alpha - beta * cos(2 pi n / N), with N = window_length, or one less where it is not periodic.

    >>> trtnet.hamming_window(4, periodic=False, alpha=0.5, beta=0.5).tolist()
    [0.0, 0.75, 0.75, 0.0]
    """
    return _window(
        "hamming_window", window_length, periodic, dtype, options, lambda x: alpha - beta * np.cos(2 * math.pi * x)
    )


@refusing
def hann_window(window_length: int, periodic: bool = True, *, dtype: Any = None, **options: Any) -> Array:
    """(1 - cos(2 pi n / N)) / 2, with N = window_length, or one less where it is not periodic.

    >>> trtnet.hann_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return _window(
        "hann_window", window_length, periodic, dtype, options, lambda x: 0.5 - 0.5 * np.cos(2 * math.pi * x)
    )


@refusing
def blackman_window(window_length: int, periodic: bool = True, *, dtype: Any = None, **options: Any) -> Array:
    """0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N), with N = window_length, or one less where it is not periodic.

    >>> round(trtnet.blackman_window(4)[1].item(), 6)
    0.34
    """

    def value(x: np.ndarray) -> Any:
        return 0.42 - 0.5 * np.cos(2 * math.pi * x) + 0.08 * np.cos(4 * math.pi * x)

    return _window("blackman_window", window_length, periodic, dtype, options, value)


@refusing
def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Any = None, **options: Any) -> Array:
    """1 - |2 n / N - 1|, with N = window_length, or one less where it is not periodic.

    >>> trtnet.bartlett_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return _window("bartlett_window", window_length, periodic, dtype, options, lambda x: 1 - np.abs(2 * x - 1))


@refusing
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None, **options: Any
) -> Array:
    """I0(beta * sqrt(1 - (2 n / N - 1)^2)) / I0(beta), with N = window_length, or one less where it is not periodic.

    >>> trtnet.kaiser_window(3, periodic=False)[1].item()
    1.0
    """

    def value(x: np.ndarray) -> Any:
        return np.i0(beta * np.sqrt(np.maximum(1 - (2 * x - 1) ** 2, 0))) / np.i0(beta)

    return _window("kaiser_window", window_length, periodic, dtype, options, value)
