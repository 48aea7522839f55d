"""Execution contexts of a TensorRT engine: shapes and addresses set, work enqueued, outputs given.

One context runs one call at a time. Each has a lane: a lock, and the stream that its last work is on. Work that comes
on another stream waits for that, on the GPU; nothing waits on the host, and no call pays for it while the stream stays
the same.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ...basics import dims
from ...basics.arrays import from_numpy, is_torch, lasting, to_numpy
from ...basics.dims import format_shape
from ...basics.errors import EngineError, ProviderError, ShapeError
from ...engine.borrowing import Borrowed
from ...engine.engine import TensorSpec
from ...engine.inputs import one_kind
from ...graph.tensor import Array
from ..device import Device, Owned
from .host_buffers import HostBuffers

if TYPE_CHECKING:
    from .engine import TensorRTEngine

DEFAULT_STREAM = 0


class Lane:
    """A lock, and the stream that the last work under it went to."""

    def __init__(self, device: Device) -> None:
        self.lock = threading.Lock()
        self.device = device
        self.stream: int | None = None
        self.event = device.event()
        self._side: Owned | None = None

    def side(self) -> int:
        """A stream of the lane's own: for calls from the CPU, and in place of the default stream, on which TensorRT
        may synchronise the device (its warning in `enqueueV3`)."""
        if self._side is None:
            self._side = self.device.stream()
        return self._side.handle

    def enter(self, stream: int) -> None:
        """Work is about to be enqueued on this stream."""
        if stream == self.stream:
            return
        if self.stream is not None and not self.device.is_capturing(stream):
            try:
                if self.device.is_capturing(self.stream):
                    raise EngineError(
                        "this call would become part of a CUDA graph that is being captured on another stream",
                        expected="calls in one context on the stream of the capture alone",
                        found=f"a call on stream {stream:#x} during a capture on stream {self.stream:#x}",
                        remedy="call engine.context() for the other stream, or wait for the end of the capture",
                    )
                self.device.order(self.event, self.stream, stream)
            except ProviderError:  # that stream is gone
                self.device.synchronize()
        self.stream = stream


class Native:
    """One IExecutionContext, on one optimization profile.

    Attributes:
        shapes: the input shapes that it is set to.
        live: which version of the live weights' addresses it is set to.
    """

    def __init__(self, engine: TensorRTEngine, profile: int, memory: int | None, lane: Lane) -> None:
        engine.about_to_draw(self)
        self.context = engine.make_context(memory)
        self.memory = memory
        self.shapes: Any = None
        self.live = -1
        self.addresses: list[int] = []
        self.engine = engine
        if engine.profiles > 1 or self.context.active_optimization_profile != profile:
            side = lane.side()
            if not self.context.set_optimization_profile_async(profile, side):
                raise ProviderError(
                    f"{engine.provider} gives no second context on optimization profile {profile}",
                    expected="a plan that lets contexts share a profile",
                    remedy="build the plan with trtnet, which asks for that (PROFILE_SHARING_0806), or close the other "
                    "context first",
                )
            engine.device.synchronize(side)

    def set_shapes(self, route: Route) -> None:
        context = self.context
        self.shapes = None  # until all are set
        for name, shape in route.dynamic:
            if not context.set_input_shape(name, shape):
                raise ShapeError(f"TensorRT refused the shape of {name!r}", found=format_shape(shape))
        self.shapes = route

    def set_addresses(self, names: tuple[str, ...], addresses: list[int]) -> None:
        self.addresses = []  # until all are set
        for name, address in zip(names, addresses):
            self.context.set_tensor_address(name, address)
        self.addresses = addresses

    def set_live(self) -> None:
        live = self.engine.live_weights
        assert live is not None
        for name, address in live.addresses():
            self.context.set_tensor_address(name, address)
        self.live = live.version


class Route:
    """What calls with the same shapes, dtypes and devices have in common.

    Attributes:
        profile: the optimization profile that they run on.
        dynamic: (input, shape) of the inputs that have Dims.
        shapes: the outputs' shapes; None for one that the data decides.
    """

    __slots__ = ("dynamic", "inputs", "makers", "names", "open", "outputs", "profile", "shapes", "sizes")

    def __init__(self, engine: TensorRTEngine, values: list[Any]) -> None:
        sizes = self.sizes = engine._check(values)
        self.profile = engine.profile_for(sizes)
        given = [tuple(v.shape) for v in values]
        self.inputs = given
        self.dynamic = [
            (spec.name, shape)
            for spec, shape in zip(engine.inputs, given)
            if any(not isinstance(s, int) for s in spec.shape)
        ]
        open_dims = engine.graph.data_dims
        self.shapes: list[tuple[int, ...] | None] = [
            None
            if any(not isinstance(s, int) and not open_dims.isdisjoint(map(str, s.symbols)) for s in spec.shape)
            else tuple([dims.evaluate(s, sizes) for s in spec.shape])
            for spec in engine.outputs
        ]
        self.open = any(shape is None for shape in self.shapes)
        self.names = (*(spec.name for spec in engine.inputs), *(spec.name for spec in engine.outputs))
        self.outputs: list[tuple[str, Any, Any]] = []
        """Name, shape and torch dtype, for calls with CUDA tensors."""
        self.makers: list[tuple[Any, tuple[int, ...]]] = []
        """What makes each output's memory, and the shape of that, for calls with CUDA tensors."""
        if self.open and engine.layouts:
            raise ProviderError(
                "outputs whose shapes the data decides are row-major only",
                found="io_formats for " + ", ".join(engine.layouts),
                remedy="build without io_formats",
            )


class Context(Borrowed):
    """An execution context of a TensorRT engine: called as the engine is, over the same weights.

    Made by `engine.context()`. Use each from one thread at a time (calls take turns); contexts run beside each other.
    """

    def __init__(self, engine: TensorRTEngine, shared_memory: bool = False) -> None:
        super().__init__(engine)
        self.closed = None
        self._shared = shared_memory
        self._lane = engine.shared_lane if shared_memory else Lane(engine.device)
        self._natives: dict[int, Native] = {}
        self._routes: dict[Any, Route] = {}
        self._host: Any = None
        self._bound: dict[Any, Any] = {}
        self._replaying = threading.Lock()
        self._current: Any = None
        self._alone = engine.device.alone
        engine.register(self)

    @property
    def lanes(self) -> list[Lane]:
        return [self._lane]

    def native(self, profile: int) -> Native:
        found = self._natives.get(profile)
        if found is None:
            memory = self.engine.shared_memory() if self._shared else None
            found = self._natives[profile] = Native(self.engine, profile, memory, self._lane)
        return found

    def renew(self) -> None:
        """Drop the execution contexts and graphs; the next call makes new ones. The lane's lock is held."""
        self._natives.clear()
        self._routes.clear()
        self._bound.clear()

    def release(self) -> None:
        """Drop all that it has on the device. The lane's lock is held."""
        self.renew()
        self._host = None

    def abandon(self) -> None:
        """In a forked child: nothing is freed, and no thread is left that could release the lock."""
        self._lane.lock = threading.Lock()

    # --- calls

    def _results(self, values: list[Any], stream: Any, graph: bool) -> tuple[list[Any], int]:
        if self._alone:
            return self._of_their_kind(values, stream, graph)
        with self.engine.device.current():
            return self._of_their_kind(values, stream, graph)

    def _of_their_kind(self, values: list[Any], stream: Any, graph: bool) -> tuple[list[Any], int]:
        first = values[0]
        if is_torch(first) and first.is_cuda:
            if graph:
                return self._replayed(values, stream)
            return self._on_device(values, stream)
        kind = one_kind(self.inputs, values)
        if kind == "device":
            from .device_array import run_foreign

            return run_foreign(self, values, stream, graph)
        if graph:
            raise ProviderError(
                "a CUDA graph reads its inputs on the GPU",
                expected="CUDA tensors",
                found=kind,
                remedy="leave graph=True out, or move the inputs to the GPU first: tensor.cuda()",
            )
        if kind == "array":
            values = [v.numpy() for v in values]
        results, generation = self._from_host(values)
        if kind == "torch":
            return [from_numpy(r) for r in results], generation
        return [Array(r) for r in results] if kind == "array" else list(results), generation

    def _on_device(self, values: list[Any], stream: Any) -> tuple[list[Any], int]:
        """CUDA tensors of torch's: read where they lie, outputs from torch's allocator, on the caller's stream."""
        engine = self.engine
        try:
            key = tuple([(v.shape, v.dtype, v.device) for v in values])
        except (AttributeError, RuntimeError):
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
            return self._open(route, values, handle)
        results = [make(shape) for make, shape in route.makers]
        try:
            addresses = [v.data_ptr() for v in values]
        except RuntimeError:  # sparse ones have none
            one_kind(self.inputs, values)
            raise
        addresses += [r.data_ptr() for r in results]
        with self._lane.lock:
            if engine.closed:
                raise engine._is_closed()
            native = self._ready(route)
            if addresses != native.addresses:
                native.set_addresses(route.names, addresses)
            self._enqueue(native.context, handle)
            generation = engine.generation
        if layouts:
            results = [engine.read(name, r, shape) for r, (name, shape, _) in zip(results, route.outputs)]
        if engine.converts:
            results = [r.to(s.dtype.torch) for r, s in zip(results, self.outputs)]
        return results, generation

    def _new_route(self, key: Any, values: list[Any]) -> Route:
        engine = self.engine
        one_kind(self.inputs, values)
        for spec, value in zip(self.inputs, values):
            engine.check_device(spec, value)
        route = Route(engine, values)
        torch = engine.torch
        self._current = engine.current_streams()
        route.outputs = [
            (spec.name, shape, engine.stored[spec.name].torch) for spec, shape in zip(engine.outputs, route.shapes)
        ]
        if not route.open:
            # a method of a tensor: 0.2 µs less than torch.empty with dtype and device
            route.makers = [
                (torch.empty(0, dtype=dtype, device=engine.torch_device).new_empty, engine.room(name, shape))
                for name, shape, dtype in route.outputs
                if shape is not None
            ]
        return self._keep(key, route)

    def _keep(self, key: Any, route: Route) -> Route:
        if len(self._routes) > 1024:
            self._routes.clear()
        self._routes[key] = route
        return route

    def _ready(self, route: Route) -> Native:
        """The execution context of the route's profile, set to its shapes. The lane's lock is held."""
        native = self._natives.get(route.profile) or self.native(route.profile)
        if native.shapes is not route:
            native.set_shapes(route)
        live = self.engine.live_weights
        if live is not None:
            live.check()
            if native.live != live.version:
                native.set_live()
        return native

    def _enqueue(self, context: Any, handle: int) -> None:
        lane = self._lane
        if handle == DEFAULT_STREAM and self.engine.provider.waits_on_default_stream:
            side, device = lane.side(), lane.device
            lane.enter(side)
            device.order(lane.event, handle, side)
            done = context.execute_async_v3(side)
            device.order(lane.event, side, handle)
        else:
            if handle != lane.stream:
                lane.enter(handle)
            done = context.execute_async_v3(handle)
        if not done:
            raise self.engine.failed()

    def _open(self, route: Route, values: list[Any], handle: int) -> tuple[list[Any], int]:
        """Outputs whose shapes the data decides: TensorRT asks for their memory, and the host waits for the shapes."""
        engine, torch = self.engine, self.engine.torch
        allocators = {}
        with self._lane.lock:
            if engine.closed:
                raise engine._is_closed()
            native = self._ready(route)
            native.addresses = []
            context = native.context
            for name, value in zip(self._input_names, values):
                context.set_tensor_address(name, value.data_ptr())
            for name, _, _ in route.outputs:
                allocators[name] = engine.provider.output_allocator(
                    lambda size: torch.empty(max(size, 1), dtype=torch.uint8, device=engine.torch_device)
                )
                context.set_output_allocator(name, allocators[name].native)
            self._enqueue(context, handle)
            generation = engine.generation
            engine.device.synchronize(handle)
        for allocated in allocators.values():
            if allocated.failure is not None:
                raise allocated.failure
        results = []
        for spec, (name, _, dtype) in zip(self.outputs, route.outputs):
            allocated = allocators[name]
            size = int(np.prod(allocated.shape)) * dtype.itemsize
            result = allocated.memory[:size].view(dtype).reshape(allocated.shape)
            results.append(result.to(spec.dtype.torch))
        return results, generation

    # --- NumPy arrays and CPU tensors

    def _from_host(self, values: list[Any]) -> tuple[list[np.ndarray], int]:
        """Host arrays copied in and out through page-locked memory; returns when the outputs are there."""
        engine, device = self.engine, self.engine.device
        arrays = [to_numpy(v) if is_torch(v) else np.asarray(v) for v in values]
        key = tuple([(a.shape, a.dtype) for a in arrays])
        route = self._routes.get(key)
        if route is None:
            route = self._keep(key, Route(engine, arrays))
        arrays = [engine.to_stored(spec, a) for spec, a in zip(self.inputs, arrays)]
        with self._lane.lock:
            if engine.closed:
                raise engine._is_closed()
            if self._host is None:
                self._host = HostBuffers(device)
            native = self._ready(route)
            native.addresses = []
            context = native.context
            stream = self._lane.side()
            self._lane.enter(stream)
            host = self._host
            host.take(self._input_names, arrays)
            for name, array in zip(self._input_names, arrays):
                context.set_tensor_address(name, host.put(name, array, stream))
            wanted: list[tuple[TensorSpec, Any]] = []
            allocators = {}
            for spec, shape in zip(self.outputs, route.shapes):
                if shape is None:
                    allocators[spec.name] = engine.provider.output_allocator(device.allocate)
                    context.set_output_allocator(spec.name, allocators[spec.name].native)
                else:
                    nbytes = engine.stored[spec.name].nbytes(int(np.prod(engine.room(spec.name, shape))))
                    context.set_tensor_address(spec.name, host.room(spec.name, nbytes))
                wanted.append((spec, shape))
            if not context.execute_async_v3(stream):
                raise engine.failed()
            generation = engine.generation
            if allocators:
                device.synchronize(stream)
            results = []
            for spec, shape in wanted:
                if shape is None:
                    shape, memory = allocators[spec.name].shape, allocators[spec.name].memory.handle
                else:
                    memory = host.address(spec.name)
                room = engine.room(spec.name, shape)
                results.append((spec, shape, host.fetch(spec.name, memory, engine.stored[spec.name], room, stream)))
            device.synchronize(stream)
            # copies: the page-locked memory is used again by the next call
            return [
                np.array(engine.read(spec.name, a, shape), order="C").astype(spec.dtype.numpy, copy=False)
                for spec, shape, a in results
            ], generation

    # --- CUDA graphs

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> Any:
        from .bound_call import BoundCall

        self.closed = self.closed or self.engine.closed
        if self.closed:
            raise self._is_closed()
        values = self._ordered(args, kwargs)
        with self.engine.device.current():
            return BoundCall(self.engine, values, graph, self._shared)

    def _replayed(self, values: list[Any], stream: Any) -> tuple[list[Any], int]:
        """One replay of the graph for these shapes: inputs copied to its buffers, outputs from them."""
        from .bound_call import BoundCall

        engine = self.engine
        key = tuple([(v.shape, v.dtype, v.device) for v in values])
        with self._replaying, engine.torch.no_grad():
            bound = self._bound.get(key)
            if bound is None:
                for spec, value in zip(self.inputs, values):
                    engine.check_device(spec, value)
                engine._check(values)
                with lasting():
                    buffers = [engine.buffer_like(n, v) for n, v in zip(self._input_names, values)]
                bound = self._bound[key] = BoundCall(engine, buffers, True, self._shared)
            bound.enter(engine.stream_of(stream))  # the buffers may still be in use on another stream
            for buffer, value in zip(bound.tensors, values):
                buffer.copy_(value)
            bound(stream=stream)
            return [r.clone() for r in bound.results], bound.generation

    # --- what belongs to the engine

    def close(self) -> None:
        """Wait for what is running in this context, and free it."""
        with self._lane.lock, self.engine.device.current():
            self.engine.device.synchronize()
            self.release()
            self.closed = self.closed or "its context was closed"
