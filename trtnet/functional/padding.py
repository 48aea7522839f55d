"""Elements around a tensor. Names, signatures and defaults as torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..basics.dims import Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.base import require_at_least
from ..layers.constant import constant
from ..layers.shaping import Padding, Slice
from .dispatch import operation, scalar, tensor
from .shape import has_dims, sizes_of

__all__ = ["pad"]

_MODES = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


def _amounts(shape: tuple[SizeLike, ...], pad: Sequence[SizeLike], mode: str) -> list[tuple[SizeLike, SizeLike]]:
    """Before and after, for each dimension."""
    if mode not in _MODES:
        raise ArgumentError("there is no such padding", expected=", ".join(_MODES), found=repr(mode))
    given = sizes_of((tuple(pad),))
    if len(given) % 2 or len(given) > 2 * len(shape):
        raise ShapeError(
            "pad takes two numbers for each padded dimension, the last dimension first",
            expected=f"2, 4, … up to {2 * len(shape)} numbers for {format_shape(shape)}",
            found=format_shape(given),
        )
    amounts: list[tuple[SizeLike, SizeLike]] = [(0, 0)] * len(shape)
    for i in range(len(given) // 2):
        amounts[-1 - i] = (given[2 * i], given[2 * i + 1])
    for axis, (size, (before, after)) in enumerate(zip(shape, amounts)):
        if isinstance(size, int) and isinstance(before, int) and isinstance(after, int) and size + before + after < 0:
            raise ShapeError(
                f"the padding cuts off more than there is in dimension {axis}",
                expected=f"at most {size}",
                found=(before, after),
            )
        if mode in ("reflect", "circular"):
            for amount in (before, after):
                _check_room(size, amount, axis, mode)
    return amounts


def _check_room(size: SizeLike, amount: SizeLike, axis: int, mode: str) -> None:
    """Reflections lack the edge, and a tensor goes round once at most, as in torch."""
    if isinstance(amount, int) and amount <= 0:
        return
    needed = amount + 1 if mode == "reflect" else amount
    problem = f"{mode} padding by {amount} needs at least {needed} elements in dimension {axis} of size {size}"
    require_at_least(size, needed, problem)


def _pad_numpy(
    input: np.ndarray, pad: Sequence[SizeLike], mode: str = "constant", value: float | None = None
) -> np.ndarray:
    if has_dims(pad):
        return globals()["pad"](constant(input), pad, mode, value)
    amounts: Any = _amounts(input.shape, pad, mode)
    if mode == "constant":
        cut = tuple(slice(max(-a, 0), s - max(-b, 0)) for s, (a, b) in zip(input.shape, amounts))
        wide = [(max(a, 0), max(b, 0)) for a, b in amounts]
        return np.pad(input[cut], wide, constant_values=0 if value is None else value)
    for axis, (before, after) in enumerate(amounts):
        size = input.shape[axis]
        if (before, after) != (0, 0):
            input = np.take(input, _positions(np.arange(-before, size + after), size, mode, before, after), axis)
    return input


def _positions(at: np.ndarray, size: int, mode: str, before: int, after: int) -> np.ndarray:
    """Which elements stand at positions that may lie outside."""
    if mode == "replicate":
        return np.clip(at, 0, size - 1)
    if mode == "circular":  # goes round what is left when negative amounts have cut
        first, last = max(-before, 0), size - max(-after, 0)
        return (at - first) % (last - first) + first
    at = at % max(2 * (size - 1), 1)
    return np.where(at < size, at, 2 * (size - 1) - at)


@operation(_pad_numpy)
def pad(input: Tensor, pad: Sequence[SizeLike], mode: str = "constant", value: float | None = None) -> Tensor:
    """`input` with elements around it: (left, right, top, bottom, …), the last dimension first; negative ones cut off.

    mode: "constant" (`value`, 0), "reflect", "replicate" or "circular". A padding layer where that is enough (zeros
    around the last two of four or more dimensions), else a slice that reaches outside its input.

    Layers of the example: `constant`, `slice`.

    >>> trtnet.pad(trtnet.tensor([[1.0, 2.0]]), (1, 2), value=9.0).tolist()
    [[9.0, 1.0, 2.0, 9.0, 9.0]]
    """
    x = tensor(input)
    amounts = _amounts(x.shape, pad, mode)
    if all(isinstance(v, int) and v == 0 for amount in amounts for v in amount):
        return x
    zero = value is None or (isinstance(value, (int, float)) and value == 0)
    last_two = all(amount == (0, 0) for amount in amounts[:-2]) and not has_dims(*amounts)
    if mode == "constant" and zero and last_two and x.ndim >= 4 and x.dtype.is_floating_point:
        before, after = zip(*amounts[-2:])
        return emit(Padding((x,), before, after))
    if mode == "circular" and any(isinstance(v, int) and v < 0 for amount in amounts for v in amount):
        # torch goes round what is left when negative amounts have cut
        cut = [_negative(amount) for amount in amounts]
        return _sampled((_sampled((x,), cut, "STRICT_BOUNDS"),), [_positive(amount) for amount in amounts], "WRAP")
    if all(isinstance(v, int) and v <= 0 for amount in amounts for v in amount):
        return _sampled((x,), amounts, "STRICT_BOUNDS")
    inputs: tuple[Any, ...] = (x,)
    if mode == "constant" and not zero:
        inputs = (x, None, None, None, scalar(value, x.dtype, 0))
    return _sampled(inputs, amounts, _MODES[mode])


def _negative(amount: tuple[SizeLike, SizeLike]) -> tuple[SizeLike, SizeLike]:
    before, after = (v if isinstance(v, int) and v < 0 else 0 for v in amount)
    return before, after


def _positive(amount: tuple[SizeLike, SizeLike]) -> tuple[SizeLike, SizeLike]:
    before, after = (0 if isinstance(v, int) and v < 0 else v for v in amount)
    return before, after


def _sampled(inputs: tuple[Any, ...], amounts: list[tuple[SizeLike, SizeLike]], mode: str) -> Tensor:
    x = inputs[0]
    start = tuple(-before for before, _ in amounts)
    shape = Size(before + size + after for size, (before, after) in zip(x.shape, amounts))
    return emit(Slice(inputs, start=start, shape=shape, stride=(1,) * x.ndim, mode=mode))
