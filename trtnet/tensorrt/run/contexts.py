"""Execution contexts of a TensorRT engine: shapes and addresses set, work enqueued, outputs given.

One context runs one call at a time.
"""

from __future__ import annotations

import math
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...basics.arrays import from_numpy, is_torch, lasting, to_numpy
from ...basics.errors import ProviderError
from ...engine.context import BorrowingEngine
from ...engine.inputs import StreamLike, TensorSpec, one_kind, remember
from ...engine.options import RunOptions
from ...engine.revision import Revision
from ...graph.tensor import Array
from ..callbacks import LayerTimer, OutputAllocator
from ..device import Device
from .bound_call import OwnBoundCall, TensorRTBoundCall
from .device_array import CUDA, DeviceArray, Foreign, by_interface, capsule, check_place, foreign
from .execution import Native, Route
from .host_buffers import HostBuffers
from .loaded import Loaded, Owner
from .sources import ForeignSource, HostSource, Source, TorchSource
from .stream_lock import DEFAULT_STREAM, StreamLock

if TYPE_CHECKING:
    import torch


class Context(BorrowingEngine):
    """An execution context of a TensorRT engine: called as the engine is, over the same weights.

    Made by `engine.context()`. Use each from one thread at a time (calls take turns); contexts run beside each other.
    """

    engine: Loaded
    _replay: type[TensorRTBoundCall] = TensorRTBoundCall

    def __init__(self, engine: Loaded, shared_memory: bool = False, options: RunOptions | None = None) -> None:
        super().__init__(engine)
        self.closed = None
        self.options = options or engine.options
        self._shared = shared_memory
        self._stream_lock = engine.shared_stream_lock if shared_memory else StreamLock(engine.device)
        self._natives: dict[int, Native] = {}
        self._routes: dict[Any, Route] = {}
        self._host = HostBuffers(engine.device)
        self._bound: dict[Any, TensorRTBoundCall] = {}
        self._replaying = threading.Lock()
        self._current: Any = None
        self._alone = engine.device.alone
        self._kinds: tuple[type, ...] = ()  # of the last CUDA tensors that were new: to look there first is faster
        engine.register(self)

    @property
    def stream_locks(self) -> list[StreamLock]:
        return [self._stream_lock]

    def native(self, profile: int) -> Native:
        found = self._natives.get(profile)
        if found is None:
            memory = self.engine.shared_memory() if self._shared else None
            found = self._natives[profile] = Native(self.engine, profile, memory, self._stream_lock, self.options)
        return found

    def report_to(self, timer: LayerTimer) -> None:
        """Have TensorRT say after each call how long each layer took; the call waits for that."""
        with self._stream_lock.lock:
            for native in self._natives.values():
                native.context.profiler = timer.native

    def holds(self) -> tuple[int, int, int]:
        """How many execution contexts with scratch memory of their own; bytes of its buffers on the device and the
        host."""
        return (0 if self._shared else len(self._natives), *self._host.nbytes)

    def renew(self) -> None:
        """Drop the execution contexts and graphs; the next call makes new ones. The stream lock is held."""
        self._natives.clear()
        self._routes.clear()
        self._bound.clear()

    def release(self) -> None:
        """Drop all that it has on the device. The stream lock is held."""
        self.renew()
        self._host.clear()

    def abandon(self) -> None:
        """In a forked child: nothing is freed, and no thread is left that could release the lock."""
        self._stream_lock.lock = threading.Lock()

    # --- calls

    def _results(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        if self._alone:
            return self._of_their_kind(values, stream, graph)
        with self.engine.device.current():
            return self._of_their_kind(values, stream, graph)

    def _of_their_kind(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        first = values[0]
        if (
            is_torch(first)
            and first.is_cuda
            and (len(values) == 1 or tuple(map(type, values)) == self._kinds or all(map(is_torch, values)))
        ):
            if graph:
                return self._replayed(values, stream)
            return self._on_device(values, stream)
        kind = one_kind(self.inputs, values)
        if kind == "device":
            return self._foreign(values, stream, graph)
        if graph:
            raise ProviderError(
                "a CUDA graph reads its inputs on the GPU",
                expected="CUDA tensors",
                found=kind,
                remedy="leave graph=True out, or move the inputs to the GPU first: tensor.cuda()",
            )
        if kind == "array":
            values = [v.numpy() for v in values]
        results, revision = self._from_host(values)
        if kind == "torch":
            return [from_numpy(r) for r in results], revision
        return [Array(r) for r in results] if kind == "array" else list(results), revision

    def _on_device(self, values: list[Any], stream: StreamLike | None) -> tuple[list[Any], Revision]:
        """CUDA tensors of torch's: read where they lie, outputs from torch's allocator, on the caller's stream."""
        engine = self.engine
        try:
            key = tuple([(v.shape, v.dtype, v.device) for v in values])
        except RuntimeError:  # nested ones have no shape
            one_kind(self.inputs, values)
            raise
        route = self._routes.get(key)
        if route is None:
            route = self._new_route(key, values)
        layouts = engine.layouts
        for index, value in enumerate(values):
            if layouts or not value.is_contiguous():
                values[index] = engine.placed(self._input_names[index], value)
        handle = self._current(engine.device.ordinal) if stream is None else engine.stream_of(stream)
        if route.open:
            return self._call(route, TorchSource(engine, values), handle)
        results = [make(shape) for make, shape in route.makers]
        try:
            addresses = [v.data_ptr() for v in values]
        except RuntimeError:  # sparse ones have none
            one_kind(self.inputs, values)
            raise
        if 0 in addresses:
            one_kind(self.inputs, values)  # raises for one that was freed; an empty tensor has none
        addresses += [r.data_ptr() for r in results]
        with self._stream_lock.lock:
            if engine.closed:
                raise engine.closed_error()
            native = self._ready(route)
            if engine.aliases:
                self._place_together(route, addresses, handle)
            if addresses != native.addresses:
                native.set_addresses(route.names, addresses)
            self._enqueue(native, handle)
            revision = engine.revision
        if layouts:
            results = [engine.read(name, r, shape) for r, (name, shape, _) in zip(results, route.outputs)]
        if engine.converts:
            results = [r.to(s.dtype.torch) for r, s in zip(results, self.outputs)]
        return results, revision

    def _new_route(self, key: Any, values: list[Any]) -> Route:
        engine = self.engine
        one_kind(self.inputs, values)
        for spec, value in zip(self.inputs, values):
            engine.check_device(spec, value)
        route = Route(engine, values)
        self._kinds = tuple(map(type, values))
        torch = engine.torch
        self._current = engine.current_streams()
        route.outputs = [
            (spec.name, shape, engine.stored[spec.name].torch) for spec, shape in zip(engine.outputs, route.shapes)
        ]
        if not route.open:
            # a method of a tensor: 0.2 µs less than torch.empty with dtype and device
            route.makers = [
                (torch.empty(0, dtype=dtype, device=engine.torch_device).new_empty, engine.buffer_shape(name, shape))
                for name, shape, dtype in route.outputs
                if shape is not None
            ]
        return remember(self._routes, key, route)

    def _ready(self, route: Route) -> Native:
        """The execution context of the route's profile, set to its shapes. The stream lock is held."""
        native = self._natives.get(route.profile) or self.native(route.profile)
        if native.shapes is not route:
            native.set_shapes(route)
        live = native.live_weights
        if live is not None:
            live.check()
            if native.live != live.version:
                native.set_live()
        return native

    def _place_together(self, route: Route, addresses: list[int], stream: int) -> None:
        """Have each output that TensorRT writes into an input lie with a copy of that: the caller's stays as it is.
        The stream lock is held."""
        engine = self.engine
        for number, at in engine.aliases:
            nbytes = engine.stored[self._input_names[at]].nbytes(math.prod(route.inputs[at]))
            memory = addresses[len(self.inputs) + number]
            engine.device.copy(memory, addresses[at], nbytes, stream)
            addresses[at] = memory

    def _enqueue(self, native: Native, handle: int) -> None:
        context = native.context
        stream_lock = self._stream_lock
        if handle == DEFAULT_STREAM and self.engine.provider.waits_on_default_stream:
            side, device = stream_lock.side(), stream_lock.device
            stream_lock.enter(side)
            device.order(stream_lock.event, handle, side)
            done = context.execute_async_v3(side)
            device.order(stream_lock.event, side, handle)
        else:
            if handle != stream_lock.stream:
                stream_lock.enter(handle)
            done = context.execute_async_v3(handle)
        if native.debug is not None:
            native.debug.check()
        if not done:
            raise self.engine.failed()

    def _call(self, route: Route, source: Source, handle: int | None) -> tuple[list[Any], Revision]:
        """The outputs of a call with memory of `source`, on a stream; on one of the stream lock's own unless given."""
        engine = self.engine
        allocators: dict[str, OutputAllocator] = {}
        with self._stream_lock.lock:
            if engine.closed:
                raise engine.closed_error()
            native = self._ready(route)
            native.addresses = []
            context = native.context
            if handle is None:
                handle = self._stream_lock.side()
                self._stream_lock.enter(handle)
            addresses = list(source.inputs(handle))
            for spec, shape in zip(self.outputs, route.shapes):
                if shape is None:
                    allocator = allocators[spec.name] = OutputAllocator(engine.provider.trt, source.allocate)
                    context.set_output_allocator(spec.name, allocator.native)
                addresses.append(0 if shape is None else source.output(spec, shape))
            self._place_together(route, addresses, handle)
            for name, address in zip(route.names, addresses):
                if name not in allocators:
                    context.set_tensor_address(name, address)
            self._enqueue(native, handle)
            revision = engine.revision
            if allocators:
                engine.device.synchronize(handle)
            for allocator in allocators.values():
                if allocator.failure is not None:
                    raise allocator.failure
            shapes = [
                allocators[spec.name].shape if shape is None else shape
                for spec, shape in zip(self.outputs, route.shapes)
            ]
            allocated = {name: allocator.memory for name, allocator in allocators.items()}
            return source.results(shapes, allocated, handle), revision

    # --- NumPy arrays and CPU tensors

    def _from_host(self, values: list[Any]) -> tuple[list[np.ndarray], Revision]:
        """Host arrays copied in and out through page-locked memory; returns when the outputs are there."""
        engine = self.engine
        arrays = [to_numpy(v) if is_torch(v) else np.asarray(v) for v in values]
        key = tuple([(a.shape, a.dtype) for a in arrays])
        route = self._routes.get(key)
        if route is None:
            route = remember(self._routes, key, Route(engine, arrays))
        arrays = [engine.to_stored(spec, a) for spec, a in zip(self.inputs, arrays)]
        return self._call(route, HostSource(engine, self._host, arrays), None)

    # --- other libraries' arrays on the GPU

    def _foreign(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        """Outputs that offer DLPack and `__cuda_array_interface__`.

        Where torch is imported already they are torch tensors, which offer both; else DeviceArrays. The work is on
        `stream`; without one, on torch's current stream, or the default one.
        """
        engine, device = self.engine, self.engine.device
        torch = torch_here()
        handle = 0 if torch is None and stream is None else engine.stream_of(stream)
        if torch is not None:
            tensors = [_as_torch(torch, v, device, handle) for v in values]
            with engine._on_stream(handle):  # copies that torch makes for the call belong there, too
                return self._replayed(tensors, handle) if graph else self._on_device(tensors, handle)
        if graph or engine.layouts:
            raise ProviderError(
                "CUDA graphs and memory formats need PyTorch" if graph else "memory formats need PyTorch",
                expected="row-major inputs and outputs, graph=False",
                found="graph=True" if graph else "io_formats for " + ", ".join(engine.layouts),
                remedy="import torch before the call",
            )
        read = [foreign(value, device, handle) for value in values]
        results, revision = self._call(self._foreign_route(read), ForeignSource(engine, read), handle)
        return [
            r if r.dtype is spec.dtype else _as_int64(r, spec, device) for r, spec in zip(results, self.outputs)
        ], revision

    def _foreign_route(self, read: list[Foreign]) -> Route:
        engine = self.engine
        key = ("foreign", *[(one.shape, one.dtype) for one in read])
        route = self._routes.get(key)
        if route is not None:
            return route
        route = Route(engine, [_Like(one.shape, one.dtype.numpy) for one in read])
        for spec in self.inputs:
            if engine.stored[spec.name] is not spec.dtype:
                raise ProviderError(
                    f"{engine.provider} has no {spec.dtype}, and input {spec.name!r} is on the GPU",
                    expected=f"an array of {engine.stored[spec.name]}, or host data",
                    found=f"{spec.dtype} on {engine.device}",
                    remedy="record the input as int32: Input(shape, 'int32')",
                )
        return remember(self._routes, key, route)

    # --- CUDA graphs

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> TensorRTBoundCall:
        self.closed = self.closed or self.engine.closed
        if self.closed:
            raise self.closed_error()
        values = self._ordered(args, kwargs)
        with self.engine.device.current():
            return TensorRTBoundCall(self.engine, values, graph, self._shared, self.options)

    def _replayed(self, values: list[Any], stream: StreamLike | None) -> tuple[list[Any], Revision]:
        """One replay of the graph for these shapes: inputs copied to its buffers, outputs from them."""
        engine = self.engine
        if engine.torch.is_grad_enabled():
            with engine.torch.no_grad():
                return self._replayed(values, stream)
        handle = engine.stream_of(stream)
        key = tuple([(v.shape, v.dtype, v.device) for v in values])
        with self._replaying:
            bound = self._bound.get(key) or self._new_replay(key, values)
            bound.enter(handle)  # the buffers may still be in use on another stream
            for buffer, value in zip(bound.tensors, values):
                buffer.copy_(value)
            bound.run(handle)
            return [r.clone() for r in bound.results], bound.revision

    def _new_replay(self, key: Any, values: list[Any]) -> TensorRTBoundCall:
        engine = self.engine
        for spec, value in zip(self.inputs, values):
            engine.check_device(spec, value)
        engine._check(values)
        with lasting():
            buffers = [engine.buffer_like(n, v) for n, v in zip(self._input_names, values)]
        bound = self._bound[key] = self._replay(engine, buffers, True, self._shared, self.options)
        return bound

    # --- what belongs to the engine

    def close(self) -> None:
        """Wait for what is running in this context, and free it."""
        with self._stream_lock.lock, self.engine.device.current():
            self.engine.device.synchronize()
            self.release()
            self.closed = self.closed or "its context was closed"


class OwnContext(Context):
    """The context of an engine's own calls."""

    engine = Owner()
    _replay = OwnBoundCall


class _Like(NamedTuple):
    """What checks of inputs look at."""

    shape: tuple[int, ...]
    dtype: np.dtype


def torch_here() -> ModuleType | None:
    """torch, where somebody imported it already and it can use CUDA; else None."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return torch if cuda is not None and cuda.is_available() else None


def _as_torch(torch: ModuleType, value: Any, device: Device, stream: int) -> torch.Tensor:
    """A torch tensor over another library's memory."""
    if hasattr(value, "__dlpack_device__"):
        check_place(value, device, CUDA)
        return torch.from_dlpack(value.__dlpack__(stream=stream or 1))
    found = by_interface(value, device, stream)
    return torch.from_dlpack(capsule(found.address, found.shape, found.dtype, found.owner, (CUDA, device.ordinal)))


def _as_int64(array: DeviceArray, spec: TensorSpec, device: Device) -> DeviceArray:
    """int32, which TensorRT had in place of int64, as int64: by the host, for want of a kernel."""
    host = array.numpy().astype(spec.dtype.numpy)
    memory = device.allocate(host.nbytes)
    device.copy(memory.handle, host.ctypes.data, host.nbytes, array.stream)
    device.synchronize(array.stream)
    return DeviceArray(memory, array.shape, spec.dtype, device, array.stream)
