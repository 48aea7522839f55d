"""Page-locked memory for calls with host arrays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...basics.dtypes import dtype as Dtype
from ..device import Device, Owned


class HostBuffers:
    """Page-locked and device memory for calls with host arrays, by input and output name; it grows as needed."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._host: dict[str, np.ndarray] = {}
        self._device: dict[str, tuple[int, Owned]] = {}

    @property
    def nbytes(self) -> tuple[int, int]:
        """What they take on the device, and on the host."""
        return sum(size for size, _ in list(self._device.values())), sum(
            one.nbytes for one in list(self._host.values())
        )

    def into_host(self, names: Iterable[str], arrays: list[np.ndarray]) -> None:
        """Copy the arrays into page-locked memory."""
        for name, array in zip(names, arrays):
            target = self._pinned(name, array.nbytes)[: array.nbytes]
            np.copyto(target.view(array.dtype).reshape(array.shape), array)

    def _pinned(self, name: str, nbytes: int) -> np.ndarray:
        found = self._host.get(name)
        if found is None or found.nbytes < nbytes:
            found = self._host[name] = self.device.pinned(max(nbytes, 1))
        return found

    def on_device(self, name: str, nbytes: int) -> int:
        """The address of device memory of at least so many bytes."""
        size, memory = self._device.get(name, (-1, None))
        if memory is None or size < nbytes:
            memory = self.device.allocate(nbytes)
            self._device[name] = (nbytes, memory)
        return memory.handle

    def host_to_device(self, name: str, array: np.ndarray, stream: int) -> int:
        """Copy an input to the device; its address there."""
        address = self.on_device(name, array.nbytes)
        self.device.copy(address, self._host[name].ctypes.data, array.nbytes, stream)
        return address

    def address(self, name: str) -> int:
        return self._device[name][1].handle

    def device_to_host(self, name: str, memory: int, dtype: Dtype, shape: tuple[int, ...], stream: int) -> np.ndarray:
        """A view of the page-locked memory that an output is being copied to."""
        nbytes = dtype.nbytes(int(np.prod(shape)))
        target = self._pinned(name, nbytes)[:nbytes]
        self.device.copy(target.ctypes.data, memory, nbytes, stream)
        return target.view(dtype.numpy).reshape(shape)

    def clear(self) -> None:
        """Free all of it."""
        self._host.clear()
        self._device.clear()
