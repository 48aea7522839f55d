"""`ipc:NAME`: weights from one process to others by the memory of their GPU, which CUDA lets them share.

The slots, and who may fill and read them, are those of `shm:`, but a slot's tensors lie on the GPU: its file has only
what CUDA opens that memory by, and a sum of its bytes. They are copied into it once by the publisher, and once by each
follower, into memory of its own; what that holds must have the same sum, since nobody promises what is in the memory of
a process that was killed. Nothing passes through the host.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..basics import dtypes
from ..basics.arrays import import_torch
from ..basics.errors import FleetError, ProviderError, WeightsError
from ..tensorrt.device import Device, Owned, checked
from ..tensorrt.run.device_array import DeviceArray
from .layout import Layout
from .roads import Head, Values
from .shared_memory import SEQUENCE, Mapped, SharedMemory, SharedMemoryReceiver, SharedMemorySender, damaged

if TYPE_CHECKING:
    from pathlib import Path

    import torch

HANDLE = 64
"""Bytes of a cudaIpcMemHandle_t."""
HERE: set[str] = set()
"""Sessions of this process's publishers: CUDA opens no memory in the process that shares it."""


class CudaIPC(SharedMemory):
    """`ipc:NAME`: for the processes of one user on one machine that see the same GPU, each its own current one.

    A publisher takes its weights with it when it ends: followers keep what they have, and those that come later wait
    for the next one. Needs PyTorch with CUDA, and cuda-python.

    Args:
        name: letters, digits, `-`, `_` and `.`.
    """

    scheme = "ipc"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        if not import_torch().cuda.is_available():
            raise ProviderError("ipc: needs a CUDA device", remedy="use 'shm:NAME', which needs none")

    def sender(self, heartbeat: float) -> CudaIPCSender:
        return CudaIPCSender(self.folder, heartbeat)

    def receiver(self) -> CudaIPCReceiver:
        return CudaIPCReceiver(self.folder)


def _current() -> Device:
    return Device(import_torch().cuda.current_device())


def _bytes(memory: Owned, size: int, device: Device) -> torch.Tensor:
    """Memory of a device as a tensor of bytes, which keeps it."""
    found: torch.Tensor = import_torch().from_dlpack(DeviceArray(memory, (size,), dtypes.uint8, device))
    return found


def _sum(data: torch.Tensor) -> int:
    """Of the bytes, eight by eight; waits for them. Another order of addition gives the same."""
    return int(data.view(import_torch().int64).sum())


class CudaIPCSender(SharedMemorySender):
    """Fills memory of the GPU, of which each slot has a piece as long as it lives."""

    reserves = False

    def __init__(self, folder: Path, heartbeat: float) -> None:
        self.device = _current()
        self._memory: WeakKeyDictionary[Mapped, tuple[str, torch.Tensor]] = WeakKeyDictionary()
        super().__init__(folder, heartbeat)
        HERE.add(self.session)

    def _open(self, heartbeat: float) -> Mapped:
        head = super()._open(heartbeat)
        for slot in self._slots.values():  # of a publisher before, with whom its memory went
            slot.words[SEQUENCE] = 1  # not whole, for those who have it open
            slot.path.unlink(missing_ok=True)
            slot.close()
        self._slots.clear()
        return head

    def _release(self) -> None:
        super()._release()
        HERE.discard(self.session)

    def _filled(self, slot: Mapped, layout: Layout, begin: int, values: Values) -> tuple[Any, ...]:
        if slot not in self._memory:
            memory = self.device.allocate(slot.size)
            with self.device.current():
                handle = checked(self.device.runtime.cudaIpcGetMemHandle(memory.handle))
            key = ctypes.string_at(int(handle.getPtr()), HANDLE).hex()
            self._memory[slot] = key, _bytes(memory, slot.size, self.device)
        key, data = self._memory[slot]
        part = data[begin : begin + layout.size]
        layout.fill(part, values)
        return key, _sum(part)


class CudaIPCReceiver(SharedMemoryReceiver):
    """Copies what lies in the publisher's memory into its own, which the next receive uses again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.device = _current()
        self._memory: WeakKeyDictionary[Mapped, tuple[str, torch.Tensor]] = WeakKeyDictionary()
        self._own: torch.Tensor | None = None

    def _values(self, slot: Mapped, layout: Layout, begin: int, head: Head, noted: tuple[Any, ...]) -> Values:
        if head.session in HERE:
            raise FleetError(
                "a publisher on ipc: and this follower are in one process",
                expected="two processes: CUDA opens no memory in the process that shares it",
                found=f"the session {head.session}",
                remedy="engine.refit(learner) needs no road",
            )
        key, total = noted
        if slot not in self._memory or self._memory[slot][0] != key:
            self._memory[slot] = key, self._opened(slot, key)
        part = self._memory[slot][1][begin : begin + layout.size]
        if self._own is None or self._own.shape != part.shape:
            self._own = import_torch().empty_like(part)
        self._own.copy_(part)
        if (found := _sum(self._own)) != total:
            raise damaged(slot, f"bytes of the sum {found}, where {total} was published")
        return layout.within(self._own)

    def _opened(self, slot: Mapped, key: str) -> torch.Tensor:
        runtime = self.device.runtime
        handle = runtime.cudaIpcMemHandle_t()
        ctypes.memmove(int(handle.getPtr()), bytes.fromhex(key), HANDLE)
        try:
            with self.device.current():
                address = int(checked(runtime.cudaIpcOpenMemHandle(handle, runtime.cudaIpcMemLazyEnablePeerAccess)))
        except ProviderError as error:
            raise WeightsError(
                "the publisher's memory on the GPU cannot be opened",
                expected=f"a publisher that lives, and {self.device} its GPU too",
                found=str(error.found),
                details=str(error.problem),
                remedy="make the publisher again, in a process that sees this GPU",
            ) from None
        return _bytes(Owned(self.device, address, runtime.cudaIpcCloseMemHandle), slot.size, self.device)

    def close(self) -> None:
        super().close()
        self._own = None
