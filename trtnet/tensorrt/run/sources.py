"""Where the arrays of a call are: on the GPU as torch's or another library's, or on the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...engine.inputs import TensorSpec
from ..device import Owned, checked
from .device_array import DeviceArray, Foreign
from .host_buffers import HostBuffers
from .loaded import Loaded

if TYPE_CHECKING:
    import torch

    from ..callbacks import Memory

Shape = tuple[int, ...]


class Source(Protocol):
    """The memory of one call's inputs and outputs; all of it is asked for while the call's stream lock is held."""

    def inputs(self, stream: int) -> Iterator[int]:
        """Addresses on the GPU, in order; what has to be copied there is enqueued on `stream`."""

    def output(self, spec: TensorSpec, shape: Shape) -> int:
        """The address of memory for an output."""

    def allocate(self, nbytes: int) -> Memory:
        """Memory for an output whose shape the data decides."""

    def results(self, shapes: Sequence[Shape], allocated: Mapping[str, Any], stream: int) -> list[Any]:
        """The outputs, once the work is enqueued; `allocated` is the memory of those that `allocate` made it for."""


class TorchSource:
    """CUDA tensors of torch's, with row-major outputs from its allocator."""

    def __init__(self, engine: Loaded, values: list[Any]) -> None:
        self.engine = engine
        self.values = values
        self._memory: dict[str, torch.Tensor] = {}

    def inputs(self, stream: int) -> Iterator[int]:
        return (value.data_ptr() for value in self.values)

    def output(self, spec: TensorSpec, shape: Shape) -> int:
        stored, torch = self.engine.stored[spec.name], self.engine.torch
        memory = self._memory[spec.name] = torch.empty(shape, dtype=stored.torch, device=self.engine.torch_device)
        return int(memory.data_ptr())

    def allocate(self, nbytes: int) -> torch.Tensor:
        torch = self.engine.torch
        return torch.empty(max(nbytes, 1), dtype=torch.uint8, device=self.engine.torch_device)

    def results(self, shapes: Sequence[Shape], allocated: Mapping[str, Any], stream: int) -> list[Any]:
        found = []
        for spec, shape in zip(self.engine.outputs, shapes):
            dtype = self.engine.stored[spec.name].torch
            if spec.name in allocated:
                nbytes = int(np.prod(shape)) * dtype.itemsize
                result = allocated[spec.name][:nbytes].view(dtype).reshape(shape)
            else:
                result = self._memory[spec.name]
            found.append(result.to(spec.dtype.torch))
        return found


class HostSource:
    """NumPy arrays, as the engine stores them, copied in and out through page-locked memory; `results` waits."""

    def __init__(self, engine: Loaded, buffers: HostBuffers, arrays: list[np.ndarray]) -> None:
        self.engine = engine
        self.buffers = buffers
        self.arrays = arrays
        self._names = [spec.name for spec in engine.inputs]

    def inputs(self, stream: int) -> Iterator[int]:
        self.buffers.into_host(self._names, self.arrays)
        return (self.buffers.host_to_device(name, a, stream) for name, a in zip(self._names, self.arrays))

    def output(self, spec: TensorSpec, shape: Shape) -> int:
        count = int(np.prod(self.engine.buffer_shape(spec.name, shape)))
        return self.buffers.on_device(spec.name, self.engine.stored[spec.name].nbytes(count))

    def allocate(self, nbytes: int) -> Owned:
        return self.engine.device.allocate(nbytes)

    def results(self, shapes: Sequence[Shape], allocated: Mapping[str, Any], stream: int) -> list[Any]:
        engine, found = self.engine, []
        for spec, shape in zip(engine.outputs, shapes):
            memory = allocated[spec.name].handle if spec.name in allocated else self.buffers.address(spec.name)
            buffer, stored = engine.buffer_shape(spec.name, shape), engine.stored[spec.name]
            found.append(self.buffers.device_to_host(spec.name, memory, stored, buffer, stream))
        engine.device.synchronize(stream)
        # copies: the page-locked memory is used again by the next call
        return [
            np.array(engine.read(spec.name, array, shape), order="C").astype(spec.dtype.numpy, copy=False)
            for spec, shape, array in zip(engine.outputs, shapes, found)
        ]


class ForeignSource:
    """Other libraries' arrays on the GPU, with outputs as DeviceArrays."""

    def __init__(self, engine: Loaded, values: list[Foreign]) -> None:
        self.engine = engine
        self.values = values
        self._memory: dict[str, Owned] = {}
        self._anywhere: Owned | None = None  # for an empty input, which TensorRT does not read but wants an address of

    def inputs(self, stream: int) -> Iterator[int]:
        if self._anywhere is None and not all(value.address for value in self.values):
            self._anywhere = self.engine.device.allocate(1)
        anywhere = 0 if self._anywhere is None else self._anywhere.handle
        return (value.address or anywhere for value in self.values)

    def output(self, spec: TensorSpec, shape: Shape) -> int:
        memory = self.allocate(self.engine.stored[spec.name].nbytes(int(np.prod(shape))))
        self._memory[spec.name] = memory
        return int(memory.handle)

    def allocate(self, nbytes: int) -> Owned:
        return self.engine.device.allocate(nbytes)

    def results(self, shapes: Sequence[Shape], allocated: Mapping[str, Any], stream: int) -> list[Any]:
        device, event = self.engine.device, self.engine.device.event()
        checked(device.runtime.cudaEventRecord(event.handle, stream))
        memory = self._memory | dict(allocated)
        return [
            DeviceArray(memory[spec.name], shape, self.engine.stored[spec.name], device, stream, event)
            for spec, shape in zip(self.engine.outputs, shapes)
        ]
