"""cuda-python's runtime with the host's memory as the device's, and torch tensors that say they are on it.

Engines run on it as far as calls are concerned (`conformity.py`): memory is allocated, copied and freed, streams and
graphs are numbers, and everything is done at once.
"""

from __future__ import annotations

import ctypes
import itertools
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

OK = 0


class HostCUDA:
    """What `trtnet.tensorrt.device` calls of `cuda.bindings.runtime`. What is freed twice, or copied from or to memory
    that was freed, fails.

    Attributes:
        live: address and size of what is allocated.
        opened: how often memory of another process, which is this one, is open, by its address.
    """

    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaError_t = SimpleNamespace(cudaSuccess=OK)
    cudaGraphExec_t = staticmethod(int)

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}
        self.freed: dict[int, Any] = {}
        self.opened: Counter[int] = Counter()
        self._numbers = itertools.count(1 << 20)
        self._capturing: set[int] = set()

    def cudaGetDeviceCount(self) -> Any:
        return OK, 1

    def cudaGetDevice(self) -> Any:
        return OK, 0

    def cudaSetDevice(self, ordinal: int) -> Any:
        return (OK,)

    def cudaGetDeviceProperties(self, ordinal: int) -> Any:
        return OK, SimpleNamespace(name=b"a host", major=9, minor=0)

    cudaMemoryType = SimpleNamespace(cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3)

    def cudaPointerGetAttributes(self, address: int) -> Any:
        return OK, SimpleNamespace(type=2, device=0)

    def cudaGetLastError(self) -> Any:
        return (OK,)

    def cudaMalloc(self, nbytes: int) -> Any:
        memory = ctypes.create_string_buffer(nbytes + 256)
        address = -(-ctypes.addressof(memory) // 256) * 256
        self.live[address] = memory
        return OK, address

    cudaIpcMemLazyEnablePeerAccess = 1

    class cudaIpcMemHandle_t:
        """64 bytes, in which the address stands."""

        def __init__(self) -> None:
            self.bytes = ctypes.create_string_buffer(64)

        def getPtr(self) -> int:
            return ctypes.addressof(self.bytes)

    def cudaIpcGetMemHandle(self, address: int) -> Any:
        handle = self.cudaIpcMemHandle_t()
        ctypes.memmove(handle.getPtr(), address.to_bytes(8, "little"), 8)
        return OK, handle

    def cudaIpcOpenMemHandle(self, handle: cudaIpcMemHandle_t, flags: int) -> Any:
        address = int.from_bytes(handle.bytes.raw[:8], "little")
        if address not in self.live:
            return 1, 0
        self.opened[address] += 1
        return OK, address

    def cudaIpcCloseMemHandle(self, address: int) -> Any:
        assert self.opened[address] > 0, "memory that is not open is closed"
        self.opened[address] -= 1
        return (OK,)

    def cudaGetErrorName(self, error: int) -> Any:
        return OK, b"cudaErrorInvalidResourceHandle"

    def cudaGetErrorString(self, error: int) -> Any:
        return OK, b"invalid resource handle"

    def cudaHostAlloc(self, nbytes: int, flags: int) -> Any:
        return self.cudaMalloc(nbytes)

    def cudaFree(self, address: int) -> Any:
        self.freed[address] = self.live.pop(address)  # kept, so that nothing else comes to lie there
        return (OK,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to: int, source: int, nbytes: int, kind: int, stream: int) -> Any:
        assert kind == 4
        assert self.freed.keys().isdisjoint((to, source)), "memory that was freed is copied"
        ctypes.memmove(to, source, nbytes)
        return (OK,)

    def _made(self, *flags: int) -> Any:
        return OK, next(self._numbers)

    cudaStreamCreateWithFlags = cudaEventCreateWithFlags = _made

    def _done(self, *given: Any) -> Any:
        return (OK,)

    cudaStreamDestroy = cudaEventDestroy = cudaEventRecord = cudaStreamWaitEvent = cudaDeviceSynchronize = _done
    cudaStreamSynchronize = cudaGraphDestroy = cudaGraphExecDestroy = cudaGraphLaunch = _done

    def cudaStreamIsCapturing(self, stream: int) -> Any:
        return OK, int(stream in self._capturing)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> Any:
        self._capturing.add(stream)
        return (OK,)

    def cudaStreamEndCapture(self, stream: int) -> Any:
        self._capturing.remove(stream)
        return OK, next(self._numbers)

    cudaGraphInstantiate = _made


# --- torch ------------------------------------------------------------------------------------------------------------


class OnDevice(torch.Tensor):
    """A tensor of the host's that says it is on the GPU; with its number as the device's, it fits an engine there."""

    is_cuda = True
    device = torch.device("cpu", 0)


OnDevice.__module__ = "torch"


def on_device(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).as_subclass(OnDevice)


class Foreign:
    """An array of another library's on the GPU."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.ascontiguousarray(array)
        self.__cuda_array_interface__ = dict(self.array.__array_interface__) | {"version": 3, "stream": None}


class TorchHere:
    """torch, for which "cuda" is the host."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def device(self, kind: Any, index: int = 0) -> Any:
        return torch.device("cpu", index)
