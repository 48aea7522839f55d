"""Memory for the values of a refit, used again by a later one."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics.arrays import import_torch

if TYPE_CHECKING:
    import torch

LEAST = 1 << 16
"""Bytes of a value from which on fresh memory costs more than the copy into it: the system gives it page by page."""


class ReusedMemory:
    """Copies values on the CPU into memory that was used before, by values that nobody has any more.

    Each name has that of its value, and of the one before: an engine that is refitted again and again holds its weights
    twice. What calls, snapshots and clones still have is left to them.
    """

    def __init__(self) -> None:
        self._places: dict[str, list[tuple[torch.Tensor, weakref.ref[_Place]]]] = {}

    def copied(self, name: str, value: torch.Tensor, device: torch.device) -> torch.Tensor:
        """A copy of its own, on the device."""
        nbytes = value.numel() * value.element_size()
        if device.type != "cpu" or nbytes < LEAST:
            return value.to(device, copy=True)
        torch = import_torch()
        places = self._places.setdefault(name, [])
        free = [place for place, holder in places if holder() is None and place.nbytes == nbytes]
        place = free[0] if free else torch.empty(nbytes, dtype=torch.uint8)
        holder = _Place(place)
        # the tensor has the array, which has the holder: that is gone when the last tensor over this memory is
        made = torch.from_numpy(np.asarray(holder)).view(value.dtype).view(value.shape)
        self._places[name] = [*(one for one in places if one[0] is not place), (place, weakref.ref(holder))][-2:]
        return made.copy_(value)

    @property
    def idle(self) -> int:
        """Bytes that nobody has now."""
        pieces = [piece for pieces in self._places.values() for piece in pieces]
        return sum(place.nbytes for place, holder in pieces if holder() is None)


class _Place:
    """Somebody who has a piece of memory."""

    def __init__(self, place: torch.Tensor) -> None:
        self.place = place
        self.__array_interface__: dict[str, Any] = place.numpy().__array_interface__
