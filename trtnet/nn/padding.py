"""Modules that put elements around a tensor."""

from __future__ import annotations

from typing import Any

from ..functional.dispatch import tuple_of
from ..functional.padding import pad
from ..graph.tensor import Tensor
from .module import Module

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d",
    "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


class _Pad(Module):
    spatial: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = tuple_of(padding, 2 * self.spatial, "padding")

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    value: float
    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """(…, W) with `value` around it; padding is a number or (left, right)."""

    spatial = 1


class ConstantPad2d(_ConstantPad):
    """(…, H, W) with `value` around it; padding is a number or (left, right, top, bottom)."""

    spatial = 2


class ConstantPad3d(_ConstantPad):
    """(…, D, H, W) with `value` around it; padding is a number or (left, right, top, bottom, front, back)."""

    spatial = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """(…, W) with zeros around it; padding is a number or (left, right)."""

    spatial = 1


class ZeroPad2d(_ZeroPad):
    """(…, H, W) with zeros around it; padding is a number or (left, right, top, bottom)."""

    spatial = 2


class ZeroPad3d(_ZeroPad):
    """(…, D, H, W) with zeros around it; padding is a number or (left, right, top, bottom, front, back)."""

    spatial = 3


class ReflectionPad1d(_Pad):
    """(…, W) with its mirror image, without the edge, around it."""

    spatial, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """(…, H, W) with its mirror image, without the edge, around it."""

    spatial, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """(…, D, H, W) with its mirror image, without the edge, around it."""

    spatial, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """(…, W) with its edge repeated around it."""

    spatial, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """(…, H, W) with its edge repeated around it."""

    spatial, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """(…, D, H, W) with its edge repeated around it."""

    spatial, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """(…, W) with what is at its other end around it."""

    spatial, mode = 1, "circular"


class CircularPad2d(_Pad):
    """(…, H, W) with what is at its other end around it."""

    spatial, mode = 2, "circular"


class CircularPad3d(_Pad):
    """(…, D, H, W) with what is at its other end around it."""

    spatial, mode = 3, "circular"
