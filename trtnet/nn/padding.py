"""Modules that put elements around a tensor."""

from __future__ import annotations

from ..functional.dispatch import Ints, tuple_of
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

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        self.padding = tuple_of(padding, 2 * self.spatial, "padding")

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    value: float
    mode = "constant"

    def __init__(self, padding: Ints, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """The input with one value around it.

    Args:
        padding: how many on each side: a number, or (left, right); a negative number cuts off.
        value: the number.

    Shape: (…, L), each size larger by what is on its two sides; any dtype.
    Layers: one `slice` (its mode FILL) and the value as a `constant`; for zeros as ZeroPad.

    >>> graph = trtnet.record(nn.ConstantPad1d(1, 0.5), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10])
    """

    spatial = 1


class ConstantPad2d(_ConstantPad):
    """The input with one value around it.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom); a negative number cuts off.
        value: the number.

    Shape: (…, H, W), each size larger by what is on its two sides; any dtype.
    Layers: one `slice` (its mode FILL) and the value as a `constant`; for zeros as ZeroPad.

    >>> graph = trtnet.record(nn.ConstantPad2d(1, 0.5), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10])
    """

    spatial = 2


class ConstantPad3d(_ConstantPad):
    """The input with one value around it.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom, front, back); a negative number cuts
            off.
        value: the number.

    Shape: (…, D, H, W), each size larger by what is on its two sides; any dtype.
    Layers: one `slice` (its mode FILL) and the value as a `constant`; for zeros as ZeroPad.

    >>> graph = trtnet.record(nn.ConstantPad3d(1, 0.5), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10, 10])
    """

    spatial = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Ints) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """The input with zeros around it.

    Args:
        padding: how many on each side: a number, or (left, right); a negative number cuts off.

    Shape: (…, L), each size larger by what is on its two sides; any dtype.
    Layers: one `padding` for two dimensions, else one `slice` (its mode FILL).

    >>> graph = trtnet.record(nn.ZeroPad1d(1), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10])
    """

    spatial = 1


class ZeroPad2d(_ZeroPad):
    """The input with zeros around it.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom); a negative number cuts off.

    Shape: (…, H, W), each size larger by what is on its two sides; any dtype.
    Layers: one `padding` for two dimensions, else one `slice` (its mode FILL).

    >>> graph = trtnet.record(nn.ZeroPad2d(1), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10])
    """

    spatial = 2


class ZeroPad3d(_ZeroPad):
    """The input with zeros around it.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom, front, back); a negative number cuts
            off.

    Shape: (…, D, H, W), each size larger by what is on its two sides; any dtype.
    Layers: one `padding` for two dimensions, else one `slice` (its mode FILL).

    >>> graph = trtnet.record(nn.ZeroPad3d(1), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10, 10])
    """

    spatial = 3


class ReflectionPad1d(_Pad):
    """The input with its mirror image around it, without the edge: 3 2 | 1 2 3 | 2 1.

    Args:
        padding: how many on each side: a number, or (left, right).

    Shape: (…, L), each size larger by what is on its two sides, which are below the size; any dtype.
    Layers: one `slice` (its mode REFLECT).

    >>> graph = trtnet.record(nn.ReflectionPad1d(1), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10])
    """

    spatial, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The input with its mirror image around it, without the edge: 3 2 | 1 2 3 | 2 1.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom).

    Shape: (…, H, W), each size larger by what is on its two sides, which are below the size; any dtype.
    Layers: one `slice` (its mode REFLECT).

    >>> graph = trtnet.record(nn.ReflectionPad2d(1), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10])
    """

    spatial, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """The input with its mirror image around it, without the edge: 3 2 | 1 2 3 | 2 1.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom, front, back).

    Shape: (…, D, H, W), each size larger by what is on its two sides, which are below the size; any dtype.
    Layers: one `slice` (its mode REFLECT).

    >>> graph = trtnet.record(nn.ReflectionPad3d(1), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10, 10])
    """

    spatial, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The input with its edge repeated around it: 1 1 | 1 2 3 | 3 3.

    Args:
        padding: how many on each side: a number, or (left, right).

    Shape: (…, L), each size larger by what is on its two sides; any dtype.
    Layers: one `slice` (its mode CLAMP).

    >>> graph = trtnet.record(nn.ReplicationPad1d(1), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10])
    """

    spatial, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The input with its edge repeated around it: 1 1 | 1 2 3 | 3 3.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom).

    Shape: (…, H, W), each size larger by what is on its two sides; any dtype.
    Layers: one `slice` (its mode CLAMP).

    >>> graph = trtnet.record(nn.ReplicationPad2d(1), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10])
    """

    spatial, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The input with its edge repeated around it: 1 1 | 1 2 3 | 3 3.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom, front, back).

    Shape: (…, D, H, W), each size larger by what is on its two sides; any dtype.
    Layers: one `slice` (its mode CLAMP).

    >>> graph = trtnet.record(nn.ReplicationPad3d(1), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10, 10])
    """

    spatial, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """The input with what is at its other end around it: 2 3 | 1 2 3 | 1 2.

    Args:
        padding: how many on each side: a number, or (left, right).

    Shape: (…, L), each size larger by what is on its two sides, which are at most the size; any dtype.
    Layers: one `slice` (its mode WRAP).

    >>> graph = trtnet.record(nn.CircularPad1d(1), input=Input((1, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10])
    """

    spatial, mode = 1, "circular"


class CircularPad2d(_Pad):
    """The input with what is at its other end around it: 2 3 | 1 2 3 | 1 2.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom).

    Shape: (…, H, W), each size larger by what is on its two sides, which are at most the size; any dtype.
    Layers: one `slice` (its mode WRAP).

    >>> graph = trtnet.record(nn.CircularPad2d(1), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10])
    """

    spatial, mode = 2, "circular"


class CircularPad3d(_Pad):
    """The input with what is at its other end around it: 2 3 | 1 2 3 | 1 2.

    Args:
        padding: how many on each side: a number, or (left, right, top, bottom, front, back).

    Shape: (…, D, H, W), each size larger by what is on its two sides, which are at most the size; any dtype.
    Layers: one `slice` (its mode WRAP).

    >>> graph = trtnet.record(nn.CircularPad3d(1), input=Input((1, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 10, 10, 10])
    """

    spatial, mode = 3, "circular"
