"""Memory for the values of a refit, used again by a later one."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics.arrays import import_torch

if TYPE_CHECKING:
    import torch

LEAST = 1 << 16
"""Bytes of a value from which on fresh memory costs more than the copy into it: the system gives it page by page."""
PIECE = 1 << 16
"""Elements that a processor's cache holds."""


class ReusedMemory:
    """Copies values on the CPU into memory that was used before, by values that nobody has any more.

    Each name has that of its value, and of the one before: an engine that is refitted again and again holds its weights
    twice. What calls, snapshots and clones still have is left to them.
    """

    def __init__(self) -> None:
        self._places: dict[str, list[tuple[torch.Tensor, weakref.ref[_Place]]]] = {}

    def copied(
        self, name: str, value: torch.Tensor, device: torch.device, look: bool = False
    ) -> tuple[torch.Tensor, bool]:
        """A copy of its own, on the device; and whether (`look`) it was found on the way that all of it is finite."""
        nbytes = value.numel() * value.element_size()
        if device.type != "cpu" or nbytes < LEAST:
            return value.to(device, copy=True), False
        torch = import_torch()
        places = self._places.setdefault(name, [])
        free = [place for place, holder in places if holder() is None and place.nbytes == nbytes]
        place = free[0] if free else torch.empty(nbytes, dtype=torch.uint8)
        holder = _Place(place)
        # the tensor has the array, which has the holder: that is gone when the last tensor over this memory is
        made = torch.from_numpy(np.asarray(holder)).view(value.dtype).view(value.shape)
        self._places[name] = [*(one for one in places if one[0] is not place), (place, weakref.ref(holder))][-2:]
        if look and value.dtype is torch.float32 and value.device.type == "cpu" and value.is_contiguous():
            return made, _copy_finite(value.numpy().reshape(-1), made.numpy().reshape(-1))
        return made.copy_(value), False

    @property
    def idle(self) -> int:
        """Bytes that nobody has now."""
        pieces = [piece for pieces in self._places.values() for piece in pieces]
        return sum(place.nbytes for place, holder in pieces if holder() is None)


def _copy_finite(source: np.ndarray, to: np.ndarray) -> bool:
    """Copy, and say whether all of it is finite: piece by piece, so that it is read from memory once.

    The sum of a piece's squares is finite where all of it is, unless the numbers are very large.
    """
    found = True
    with np.errstate(all="ignore"):
        for start in range(0, len(to), PIECE):
            part = to[start : start + PIECE]
            np.copyto(part, source[start : start + PIECE])
            found = found and math.isfinite(np.dot(part, part))
    return found


class _Place:
    """Somebody who has a piece of memory."""

    def __init__(self, place: torch.Tensor) -> None:
        self.place = place
        self.__array_interface__: dict[str, Any] = place.numpy().__array_interface__
