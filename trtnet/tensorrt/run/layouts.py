"""Memory formats of inputs and outputs other than row-major.

An engine takes and gives arrays by their ordinary shapes whatever the format is; these functions say where TensorRT
wants the elements. Source: the descriptions of `TensorFormat` in TensorRT's documentation of its Python API.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...basics.errors import ProviderError


@dataclass(frozen=True)
class Layout:
    """Where the elements of (..., channels, *space) lie.

    Attributes:
        name: of the format.
        space: how many axes follow the channels.
        vector: how many channels lie together; the channels are padded to a multiple of it.
        split: whether the rest of the channels stays in front of the space (..., C/v, *space, v), as in "chw4"; else
            all of them come last (..., *space, C), as in "hwc8".
    """

    name: str
    space: int
    vector: int
    split: bool

    def buffer_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the memory of an array of this shape."""
        axis, full = self._channels(shape)
        if self.split:
            return (*shape[:axis], full // self.vector, *shape[axis + 1 :], self.vector)
        return (*shape[:axis], *shape[axis + 1 :], full)

    def pack(self, x: Any) -> Any:
        """A contiguous array or torch tensor in the format's order: a view where the memory is so already, as that of a
        torch tensor in `channels_last` is for "hwc8" and a multiple of 8 channels."""
        shape = tuple(x.shape)
        axis, full = self._channels(shape)
        if full != shape[axis]:
            padded = [*shape[:axis], full, *shape[axis + 1 :]]
            given, x = x, np.zeros(padded, x.dtype) if isinstance(x, np.ndarray) else x.new_zeros(padded)
            x[_first(axis, shape[axis])] = given
        moved = axis
        if self.split:
            x = x.reshape(*shape[:axis], full // self.vector, self.vector, *shape[axis + 1 :])
            moved += 1
        order = [*range(moved), *range(moved + 1, x.ndim), moved]
        return np.asarray(x.transpose(order), order="C") if isinstance(x, np.ndarray) else x.permute(order).contiguous()

    def unpack(self, memory: Any, shape: tuple[int, ...]) -> Any:
        """The array of this shape in such memory: a view where channels come last."""
        axis, full = self._channels(shape)
        moved = axis + self.split
        order = [*range(moved), memory.ndim - 1, *range(moved, memory.ndim - 1)]
        x = memory.transpose(order) if isinstance(memory, np.ndarray) else memory.permute(order)
        if self.split:
            x = x.reshape(*shape[:axis], full, *shape[axis + 1 :])
        return x[_first(axis, shape[axis])]

    def _channels(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Their axis, and their padded number."""
        axis = len(shape) - 1 - self.space
        return axis, math.ceil(shape[axis] / self.vector) * self.vector


def _first(axis: int, count: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(count))


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("chw2", 2, 2, True), Layout("chw4", 2, 4, True), Layout("chw16", 2, 16, True),
        Layout("chw32", 2, 32, True), Layout("cdhw32", 3, 32, True),
        Layout("hwc", 2, 1, False), Layout("hwc8", 2, 8, False), Layout("hwc16", 2, 16, False),
        Layout("dhwc", 3, 1, False), Layout("dhwc8", 3, 8, False),
    )
}  # fmt: skip


def layouts_of(engine: Any, shapes: dict[str, tuple[Any, ...]]) -> dict[str, Layout]:
    """The layouts of those inputs and outputs of an ICudaEngine that are not row-major.

    Raises ProviderError for one of a DLA's own formats, or of too few axes.
    """
    found = {}
    for name, shape in shapes.items():
        form = engine.get_tensor_format(name).name.lower()
        if form == "linear":
            continue
        layout = LAYOUTS.get(form)
        if layout is None or len(shape) < layout.space + 1:
            raise ProviderError(
                f"trtnet does not know how {name!r} lies in memory",
                expected="linear, " + ", ".join(LAYOUTS),
                found=f"{form}, {len(shape)} axes",
                remedy="build it with another io_formats, or leave that out",
            )
        found[name] = layout
    return found
