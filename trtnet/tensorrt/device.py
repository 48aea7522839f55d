"""One CUDA device through cuda-python: streams, events, memory and graphs. Nothing here needs PyTorch.

Memory, streams and graphs are freed with the Python object that stands for them, except in a forked child, where CUDA
cannot be called.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from ..basics.errors import ProviderError
from ..basics.garbage import no_collection
from ..graph.tensor import DeviceLike


@functools.cache
def cuda() -> ModuleType:
    """`cuda.bindings.runtime` of cuda-python, or ProviderError with the remedy."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise ProviderError(
            "running TensorRT needs cuda-python",
            details=f"{type(error).__name__}: {error}",
            remedy="pip install 'trtnet[cuda]'",
        ) from None
    return runtime


def checked(result: tuple[Any, ...]) -> Any:
    """What a call of cuda-python gave beside its error code. Raises ProviderError with CUDA's own words."""
    error, *values = result
    if int(error) != 0:
        runtime = cuda()
        name = runtime.cudaGetErrorName(error)[1]
        text = runtime.cudaGetErrorString(error)[1]
        name, text = (t.decode() if isinstance(t, bytes) else str(t) for t in (name, text))
        runtime.cudaGetLastError()  # it would come back at the next call
        out_of_memory = name == "cudaErrorMemoryAllocation"
        raise ProviderError(
            f"CUDA: {text}",
            found=name,
            remedy="free GPU memory (close engines that are not needed, torch.cuda.empty_cache()), or run smaller "
            "batches"
            if out_of_memory
            else "an earlier kernel or call may have failed: run with CUDA_LAUNCH_BLOCKING=1 to find it",
        )
    return values[0] if len(values) == 1 else tuple(values)


class Owned:
    """Something of CUDA's, freed when this object dies.

    Attributes:
        handle: its address, as an int.
    """

    def __init__(self, device: Device, handle: int, free: Callable[[int], Any]) -> None:
        self.handle = handle
        self._finalizer = weakref.finalize(self, _free, device, handle, free, os.getpid())
        self._finalizer.atexit = False  # CUDA may be gone by then, and the driver frees all at exit

    def free(self) -> None:
        self._finalizer()


def _free(device: Device, handle: int, free: Callable[[int], Any], process: int) -> None:
    if os.getpid() == process:
        with device.current():
            free(handle)


class _Current:
    """A thread's current device, for a `with` block."""

    __slots__ = ("before", "device")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.before = device.ordinal

    def __enter__(self) -> None:
        self.before = int(checked(self.device.runtime.cudaGetDevice()))
        if self.before != self.device.ordinal:
            self.device.use()

    def __exit__(self, *exc: object) -> None:
        if self.before != self.device.ordinal:
            self.device.runtime.cudaSetDevice(self.before)


_NOTHING = contextlib.nullcontext()


class Device:
    """A CUDA device, by its ordinal. Raises ProviderError where there is none of that number.

    Attributes:
        alone: whether it is the only one, so that there is nothing to switch.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self.ordinal = ordinal
        self.runtime = cuda()
        count = checked(self.runtime.cudaGetDeviceCount())
        if not 0 <= ordinal < count:
            raise ProviderError(
                f"there is no CUDA device {ordinal}",
                expected=f"cuda:0 to cuda:{count - 1}",
                found=f"cuda:{ordinal}",
                remedy="build(graph, device='cuda:0')",
            )
        self.alone = count == 1

    def __repr__(self) -> str:
        return f"cuda:{self.ordinal}"

    def use(self) -> None:
        """Make it the calling thread's current device, for good: in threads of trtnet's own."""
        self.runtime.cudaSetDevice(self.ordinal)

    def current(self) -> AbstractContextManager[None]:
        """Make it the calling thread's current device for a `with` block; then the caller's own is that again."""
        if self.alone:
            self.use()
            return _NOTHING
        return _Current(self)

    @functools.cached_property
    def properties(self) -> tuple[str, str]:
        """Name and compute capability, like ("NVIDIA H100 80GB HBM3", "sm90")."""
        found = checked(self.runtime.cudaGetDeviceProperties(self.ordinal))
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return name.rstrip("\0"), f"sm{found.major}{found.minor}"

    def described(self) -> dict[str, str]:
        """What a plan is for."""
        name, capability = self.properties
        return {"name": name, "capability": capability}

    # --- memory

    def allocate(self, nbytes: int) -> Owned:
        """Memory on the device, 256-byte aligned, at least one byte."""
        with self.current():
            address = int(checked(self.runtime.cudaMalloc(max(nbytes, 1))))
        return Owned(self, address, self.runtime.cudaFree)

    def pinned(self, nbytes: int) -> np.ndarray:
        """Page-locked host memory as bytes; freed with the last array over it."""
        with self.current():
            address = int(checked(self.runtime.cudaHostAlloc(max(nbytes, 1), 0)))
        buffer = (ctypes.c_uint8 * max(nbytes, 1)).from_address(address)
        buffer.owner = Owned(self, address, self.runtime.cudaFreeHost)  # type: ignore[attr-defined]
        return np.frombuffer(memoryview(buffer), np.uint8, nbytes)

    def copy(self, to: int, source: int, nbytes: int, stream: int) -> None:
        """Copy in the order of a stream; the kinds of memory are found by their addresses."""
        if nbytes:
            kind = self.runtime.cudaMemcpyKind.cudaMemcpyDefault
            checked(self.runtime.cudaMemcpyAsync(to, source, nbytes, kind, stream))

    # --- streams, events

    def stream(self) -> Owned:
        """A stream that does not wait for the default one."""
        with self.current():
            made = checked(self.runtime.cudaStreamCreateWithFlags(self.runtime.cudaStreamNonBlocking))
        return Owned(self, int(made), self.runtime.cudaStreamDestroy)

    def event(self) -> Owned:
        with self.current():
            made = checked(self.runtime.cudaEventCreateWithFlags(self.runtime.cudaEventDisableTiming))
        return Owned(self, int(made), self.runtime.cudaEventDestroy)

    def order(self, event: Owned, first: int, then: int) -> None:
        """What comes on stream `then` waits for what is on stream `first` now."""
        runtime = self.runtime
        checked(runtime.cudaEventRecord(event.handle, first))
        checked(runtime.cudaStreamWaitEvent(then, event.handle, 0))

    def is_capturing(self, stream: int) -> bool:
        return int(checked(self.runtime.cudaStreamIsCapturing(stream))) != 0

    def synchronize(self, stream: int | None = None) -> None:
        """Wait for a stream, or for everything on the device."""
        with self.current():
            if stream is None:
                checked(self.runtime.cudaDeviceSynchronize())
            else:
                checked(self.runtime.cudaStreamSynchronize(stream))

    # --- graphs

    def capture(self, enqueue: Callable[[int], Any], stream: int) -> Owned:
        """What `enqueue(stream)` enqueues, as an executable graph.

        Nothing is collected meanwhile: memory that a forgotten engine frees would end the capture.
        """
        runtime = self.runtime
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(runtime.cudaStreamBeginCapture(stream, mode))
        try:
            with no_collection():
                enqueue(stream)
        except BaseException:
            graph = runtime.cudaStreamEndCapture(stream)[1]
            if graph is not None and int(graph):
                runtime.cudaGraphDestroy(graph)
            runtime.cudaGetLastError()
            raise
        graph = checked(runtime.cudaStreamEndCapture(stream))
        try:
            executable = checked(runtime.cudaGraphInstantiate(graph, 0))
        finally:
            runtime.cudaGraphDestroy(graph)
        return Owned(self, int(executable), runtime.cudaGraphExecDestroy)


def ordinal(device: DeviceLike | None) -> int:
    """The number of a CUDA device: of "cuda:1", 1, torch's object; 0 for None. Raises ProviderError for others."""
    if device is None:
        return 0
    if isinstance(device, int):
        return device
    kind, _, number = str(device).partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise ProviderError(
            f"TensorRT does not run on {device!r}",
            expected="a CUDA device: 'cuda:0'",
            remedy="build(graph, provider='reference', device=...) runs elsewhere",
        )
    return int(number or 0)


def _driver() -> ctypes.CDLL | None:
    """The driver's own library, initialised; None where there is none, or no device."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None
    device = ctypes.c_int()
    return None if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0) else driver


def _attribute(driver: ctypes.CDLL, attribute: int) -> int | None:
    """An attribute of the first device, by its number in cuda.h."""
    value = ctypes.c_int()
    return None if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0) else value.value


def capability() -> tuple[int, int] | None:
    """Compute capability of the first CUDA device, by the driver itself; None where there is none."""
    driver = _driver()
    if driver is None:
        return None
    major, minor = (_attribute(driver, a) for a in (75, 76))  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
    return None if major is None or minor is None else (major, minor)


def loads_lazily() -> bool | None:
    """Whether the driver loads kernels when they are first used; None where there is no device, or it cannot say."""
    driver = _driver()
    mode = ctypes.c_int()
    if driver is None or not hasattr(driver, "cuModuleGetLoadingMode"):  # before CUDA 11.7
        return None
    return None if driver.cuModuleGetLoadingMode(ctypes.byref(mode)) else mode.value == 2  # CU_MODULE_LAZY_LOADING


def clock_rate_seconds() -> float | None:
    """How long the driver takes to tell the first device's clock rate, for which TensorRT asks at each refit."""
    driver = _driver()
    if driver is None:
        return None
    times = []
    for _ in range(5):
        started = time.perf_counter()
        if _attribute(driver, 13) is None:  # CU_DEVICE_ATTRIBUTE_CLOCK_RATE
            return None
        times.append(time.perf_counter() - started)
    return min(times)
