"""Windows for the transforms of sound: concrete vectors. Names, signatures and defaults as torch's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError
from ..graph.tensor import Array
from .creation import _ignore
from .dispatch import Option, refusing

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]


class _Rounded:
    """An array whose every step is rounded to its type, as torch's is: what cancels leaves the same rest."""

    def __init__(self, array: np.ndarray, dtype: dtypes.dtype) -> None:
        self.dtype = dtype
        self.array = array.astype(dtype.numpy)

    def _step(self, function: Callable[..., Any], *numbers: float) -> _Rounded:
        wide = np.float64 if self.dtype is dtypes.float64 else np.float32
        return _Rounded(np.asarray(function(self.array.astype(wide), *map(wide, numbers))), self.dtype)

    def __mul__(self, number: float) -> _Rounded:
        return self._step(np.multiply, number)

    def __add__(self, number: float) -> _Rounded:
        return self._step(np.add, self.array.dtype.type(number))

    def __sub__(self, other: _Rounded) -> _Rounded:
        return self._step(lambda array: array - other.array.astype(array.dtype))

    def cos(self) -> _Rounded:
        return self._step(np.cos)


def _window(
    name: str,
    length: int,
    periodic: bool,
    dtype: DtypeLike | None,
    options: Mapping[str, Option],
    value: Callable[[_Rounded, int], _Rounded],
) -> Array:
    """`value` of the positions and the last one; a periodic window leaves that one out."""
    _ignore(name, options)
    to = dtypes.get(dtype) if dtype is not None else dtypes.float32
    if length < 0 or not to.is_floating_point:
        raise ArgumentError(
            f"{name} takes a length, and a floating-point dtype", expected="0 or more", found=f"{length}, {to}"
        )
    if length == 1:
        return Array(np.ones(1, to.numpy))
    last = max(length if periodic else length - 1, 1)
    return Array(value(_Rounded(np.arange(last + 1), to), last).array[:length])


@refusing
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: DtypeLike | None = None,
    **options: Option,
) -> Array:
    """alpha - beta * cos(2 pi n / N), with N = window_length, or one less where it is not periodic.

    >>> trtnet.hamming_window(4, periodic=False, alpha=0.5, beta=0.5).numpy().round(3)
    array([0.  , 0.75, 0.75, 0.  ], dtype=float32)
    """
    return _window(
        "hamming_window",
        window_length,
        periodic,
        dtype,
        options,
        lambda n, last: (n * (2 * math.pi / last)).cos() * -beta + alpha,
    )


@refusing
def hann_window(
    window_length: int, periodic: bool = True, *, dtype: DtypeLike | None = None, **options: Option
) -> Array:
    """(1 - cos(2 pi n / N)) / 2, with N = window_length, or one less where it is not periodic.

    >>> trtnet.hann_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return _window(
        "hann_window",
        window_length,
        periodic,
        dtype,
        options,
        lambda n, last: (n * (2 * math.pi / last)).cos() * -0.5 + 0.5,
    )


@refusing
def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DtypeLike | None = None, **options: Option
) -> Array:
    """0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N), with N = window_length, or one less where it is not periodic.

    >>> round(trtnet.blackman_window(4)[1].item(), 6)
    0.34
    """

    def value(n: _Rounded, last: int) -> _Rounded:
        half = n * (math.pi / last)
        return (half * 4).cos() * 0.08 - (half * 2).cos() * 0.5 + 0.42

    return _window("blackman_window", window_length, periodic, dtype, options, value)


@refusing
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DtypeLike | None = None, **options: Option
) -> Array:
    """1 - |2 n / N - 1|, with N = window_length, or one less where it is not periodic.

    >>> trtnet.bartlett_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """

    def value(n: _Rounded, last: int) -> _Rounded:
        rising = n * (2 / last)
        falling = rising * -1 + 2
        middle = (last >> 1) + 1
        return _Rounded(np.concatenate([rising.array[:middle], falling.array[middle:]]), n.dtype)

    return _window("bartlett_window", window_length, periodic, dtype, options, value)


@refusing
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DtypeLike | None = None, **options: Option
) -> Array:
    """I0(beta * sqrt(1 - (2 n / N - 1)^2)) / I0(beta), with N = window_length, or one less where it is not periodic.

    >>> trtnet.kaiser_window(3, periodic=False)[1].item()
    1.0
    """

    def value(n: _Rounded, last: int) -> _Rounded:
        place = 2 * n.array.astype(np.float64) / last - 1
        return _Rounded(np.i0(beta * np.sqrt(np.maximum(1 - place**2, 0))) / np.i0(beta), n.dtype)

    return _window("kaiser_window", window_length, periodic, dtype, options, value)
