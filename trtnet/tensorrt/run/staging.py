"""Where an engine keeps its weights between refits: fixed memory, allocated once.

Every parameter, and every engine weight that is computed from parameters, has one segment in a packed layout, which is
double-buffered: there are two buffers on the host (page-locked where there is CUDA) and, once CUDA tensors were given,
two on the device. A segment's present value is in one of the two; a refit writes the new value to the other, and flips
the segment when TensorRT has taken it, so that the old value is there until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ...basics.arrays import equal_bytes, lasting
from ...basics.dtypes import dtype as Dtype

if TYPE_CHECKING:
    import torch

CHUNK = 4096  # bytes: segments begin at multiples of it, and are compared in pieces of it on the device


@dataclass(slots=True)
class Segment:
    """Place and form of one value.

    Attributes:
        buffer: which buffer holds the present value.
        on_host, on_device: whether that buffer does so there.
    """

    name: str
    start: int
    nbytes: int
    dtype: Dtype
    shape: tuple[int, ...]
    buffer: int = 0
    on_host: bool = True
    on_device: bool = False

    @property
    def stop(self) -> int:
        """Where the next segment begins."""
        return self.start + -(-self.nbytes // CHUNK) * CHUNK


class Staging:
    """The packed segments.

    Args:
        items: name, dtype and shape of each segment, in order.
        pinned: allocates host memory of so many bytes.
        copy: `copy(to, source, nbytes, stream)`, asynchronous, between addresses of host or device.
        synchronize: waits for a stream.
    """

    def __init__(
        self,
        items: Iterable[tuple[str, Dtype, tuple[int, ...]]],
        pinned: Callable[[int], np.ndarray],
        copy: Callable[[int, int, int, int], None],
        synchronize: Callable[[int], None],
    ) -> None:
        self.segments: dict[str, Segment] = {}
        place = 0
        for name, dtype, shape in items:
            segment = Segment(name, place, dtype.nbytes(int(np.prod(shape))), dtype, tuple(shape))
            self.segments[name] = segment
            place = segment.stop
        self.nbytes = place
        self._pinned, self._copy, self.synchronize = pinned, copy, synchronize
        self._host: list[np.ndarray | None] = [None, None]
        self._device: list[Any] = [None, None]
        self._views: dict[tuple[str, int], torch.Tensor] = {}
        self._arrays: dict[tuple[str, int], np.ndarray] = {}
        self._addresses: dict[int, int] = {}
        self._compared: tuple[list[str], int, int, np.ndarray] | None = None  # names, and their places
        self._flags: np.ndarray | None = None

    def held(self) -> tuple[int, int]:
        """Bytes on the device, and on the host."""
        return sum(one.nbytes for one in self._device if one is not None), sum(
            one.nbytes for one in self._host if one is not None
        )

    # --- the host

    def host(self, name: str, buffer: int | None = None) -> np.ndarray:
        """A segment as an array over its fixed memory; of the buffer that holds its present value unless told."""
        segment = self.segments[name]
        buffer = segment.buffer if buffer is None else buffer
        found = self._arrays.get((name, buffer))
        if found is None:
            memory = self._memory(buffer)[segment.start : segment.start + segment.nbytes]
            found = self._arrays[name, buffer] = memory.view(segment.dtype.numpy).reshape(segment.shape)
        return found

    def _memory(self, buffer: int) -> np.ndarray:
        found = self._host[buffer]
        if found is None:
            found = self._host[buffer] = self._pinned(self.nbytes)
        return found

    def _address(self, buffer: int) -> int:
        if buffer not in self._addresses:
            self._addresses[buffer] = self._memory(buffer).ctypes.data
        return self._addresses[buffer]

    def new(self, name: str) -> np.ndarray:
        """The buffer that the next value goes to."""
        return self.host(name, 1 - self.segments[name].buffer)

    def present(self, name: str, stream: int = 0) -> np.ndarray:
        """The present value on the host, brought from the device where only that has it."""
        segment = self.segments[name]
        if not segment.on_host:
            self.device_to_host([name], stream, present=True)
            segment.on_host = True
        return self.host(name)

    def has(self, name: str, value: np.ndarray) -> bool:
        """Whether the present value has these very bytes. Looks at the beginning first: training changes it all."""
        return equal_bytes(self.present(name), np.asarray(value, order="C"))

    def flip(self, names: Iterable[str], *, host: bool = True, device: bool = False) -> None:
        """The new values are the present ones now."""
        for name in names:
            segment = self.segments[name]
            segment.buffer = 1 - segment.buffer
            segment.on_host, segment.on_device = host, device

    # --- the device, through torch

    def device(self, name: str, buffer: int, torch: ModuleType, where: torch.device) -> torch.Tensor:
        """A segment as a torch tensor over its fixed device memory."""
        found = self._views.get((name, buffer))
        if found is None:
            with lasting():
                if self._device[buffer] is None:
                    self._device[buffer] = torch.zeros(self.nbytes, dtype=torch.uint8, device=where)
                segment = self.segments[name]
                memory = self._device[buffer][segment.start : segment.start + segment.nbytes]
                found = self._views[name, buffer] = memory.view(segment.dtype.torch).reshape(segment.shape)
        return found

    def new_address(self, name: str) -> int:
        """Where the next value is on the device."""
        return int(self._views[name, 1 - self.segments[name].buffer].data_ptr())

    def host_to_device(self, names: Iterable[str], torch: ModuleType, where: torch.device, stream: int) -> None:
        """Have present values on the device, too."""
        for name in names:
            segment = self.segments[name]
            if not segment.on_device:
                target = self.device(name, segment.buffer, torch, where)
                self._copy(target.data_ptr(), self.host(name).ctypes.data, segment.nbytes, stream)
                segment.on_device = True

    def into_device(self, values: Mapping[str, Any], torch: ModuleType, where: torch.device, stream: int) -> None:
        """Copy CUDA tensors into the new buffers on the device, by a few kernels for all of them."""
        self.host_to_device(values, torch, where, stream)  # what they are compared with
        by_type: dict[Any, tuple[list[Any], list[Any]]] = {}
        for name, value in values.items():
            targets, sources = by_type.setdefault(value.dtype, ([], []))
            targets.append(self.device(name, 1 - self.segments[name].buffer, torch, where))
            sources.append(value)
        for targets, sources in by_type.values():
            torch._foreach_copy_(targets, sources)

    def into_host(self, values: Mapping[str, Any], stream: int) -> None:
        """Copy CUDA tensors straight to the new buffers on the host, each by itself; nothing waits.

        Those that are not contiguous are to be on their own stream, or the caller's until it has waited.
        """
        for name, value in values.items():
            segment, source = self.segments[name], value.contiguous()
            to = self._address(1 - segment.buffer) + segment.start
            self._copy(to, source.data_ptr(), segment.nbytes, stream)

    def differing(self, names: list[str], torch: ModuleType, stream: int) -> list[str]:
        """Those whose buffers on the device differ: one comparison over all of them, and one wait for its result."""
        if self._compared is None or self._compared[0] != names:
            segments = [self.segments[name] for name in names]
            start, stop = min(s.start for s in segments), max(s.stop for s in segments)
            self._compared = (
                names,
                start,
                stop,
                np.array([(s.start - start, s.stop - start) for s in segments]) // CHUNK,
            )
        _, start, stop, places = self._compared
        if start == stop:
            return []
        first, second = (buffer[start:stop].view(torch.int64) for buffer in self._device)
        flags = (first != second).view(-1, CHUNK // 8).any(1)
        if self._flags is None:
            self._flags = self._pinned(self.nbytes // CHUNK)
        self._copy(self._flags.ctypes.data, flags.data_ptr(), flags.numel(), stream)
        self.synchronize(stream)
        before = np.concatenate([[0], np.cumsum(self._flags[: flags.numel()], dtype=np.int64)])
        found = before[places[:, 1]] > before[places[:, 0]]
        return [name for name, differs in zip(names, found.tolist()) if differs]

    def device_to_host(self, names: Iterable[str], stream: int, present: bool = False, wait: bool = True) -> None:
        """Copy new (or present) buffers from the device to the host, neighbours together."""
        runs: list[list[int]] = []
        for segment in sorted((self.segments[name] for name in names), key=lambda s: s.start):
            buffer = segment.buffer if present else 1 - segment.buffer
            if runs and runs[-1][0] == buffer and runs[-1][2] == segment.start:
                runs[-1][2] = segment.stop
            else:
                runs.append([buffer, segment.start, segment.stop])
        for buffer, start, stop in runs:
            self._copy(self._address(buffer) + start, self._device[buffer].data_ptr() + start, stop - start, stream)
        if wait:
            self.synchronize(stream)
