"""Pooling in one, two and three dimensions: max, average, adaptive, power-average."""

from __future__ import annotations

from typing import Any

from ..dims import format_shape
from ..errors import ArgumentError, ShapeError, UnsupportedError
from ..graph import emit
from ..layers.pooling import Pooling
from ..tensor import Tensor
from .convolution import batched, narrow, reshaped, widen
from .dispatch import operation, tuple_of

__all__ = ["avg_pool2d", "max_pool2d"]


def _windows(name: str, spatial: int, kernel: Any, stride: Any, padding: Any) -> tuple[tuple[int, ...], ...]:
    window = tuple_of(kernel, spatial, "kernel_size")
    step = window if stride is None or stride == () or stride == [] else tuple_of(stride, spatial, "stride")
    before = tuple_of(padding, spatial, "padding")
    if min(window) < 1 or min(step) < 1:
        raise ArgumentError(f"kernel_size and stride of {name} are at least 1", found=f"kernel_size {window}, stride {step}")
    if min(before) < 0 or any(2 * p > w for p, w in zip(before, window, strict=True)):
        raise ArgumentError(
            f"the padding of {name} is at most half of its kernel", expected=f"0 to {tuple(w // 2 for w in window)}", found=before
        )
    return window, step, before


def _beyond(x: Tensor, extents: tuple[int, ...], step: tuple[int, ...], before: tuple[int, ...], name: str) -> tuple[int, ...]:
    """What `ceil_mode` pads behind each axis beyond the padding: the last window starts inside the input or its left padding."""
    beyond = []
    for axis, (extent, s, p) in enumerate(zip(extents, step, before, strict=True)):
        size = x.shape[axis + 2]
        extra = -(size + 2 * p - extent) % s
        if not isinstance(extra, int):
            raise UnsupportedError(
                f"{name}: with ceil_mode the padding of a dynamic size must be the same for all its values",
                expected=f"a size that leaves one remainder of the stride {s}", found=f"{size} in {format_shape(x.shape)}",
                remedy=f"say so with Dim(..., multiple_of={s}), or use ceil_mode=False",
            )
        beyond.append(0 if extra >= extent - p else extra)
    return tuple(beyond)


def _flag(name: str, value: Any) -> None:
    if value:
        raise UnsupportedError(
            f"{name} gives no indices: TensorRT's pooling has none", found="return_indices=True", remedy="leave return_indices out"
        )


def _shaped(name: str, spatial: int, input: Any) -> tuple[Tensor, bool]:
    x, alone = batched(name, input, spatial)
    return (widen(x) if spatial == 1 else x), alone


def finish(y: Tensor, spatial: int, alone: bool) -> Tensor:
    if spatial == 1:
        y = narrow(y)
    return reshaped(y, y.shape[1:]) if alone else y


def _max(
    spatial: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool
) -> Tensor:
    name = f"max_pool{spatial}d"
    _flag(name, return_indices)
    window, step, before = _windows(name, spatial, kernel_size, stride, padding)
    dilations = tuple_of(dilation, spatial, "dilation")
    x, alone = _shaped(name, spatial, input)
    if spatial == 1:
        window, step, before, dilations = (1, *window), (1, *step), (0, *before), (1, *dilations)
    extents = tuple(d * (w - 1) + 1 for d, w in zip(dilations, window, strict=True))
    beyond = _beyond(x, extents, step, before, name) if ceil_mode else (0,) * len(window)
    after = tuple(p + b for p, b in zip(before, beyond, strict=True))
    if any(d != 1 for d in dilations):
        raise UnsupportedError("dilation")
    return finish(emit(Pooling((x,), "MAX", window, step, before, after)), spatial, alone)


@operation()
def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest value of each window of (N, C, H, W) or (C, H, W)."""
    return _max(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
