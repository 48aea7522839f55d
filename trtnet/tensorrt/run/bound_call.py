"""Calls whose buffers are fixed: one enqueue, or one replay of a CUDA graph."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from ...basics.arrays import is_torch, lasting
from ...basics.errors import ArgumentTypeError, EngineError, ProviderError
from ...engine.inputs import StreamLike, TensorSpec, one_kind
from ...engine.options import RunOptions
from ...engine.revision import Revised
from ..device import Owned
from .execution import Native, Route
from .layouts import Layout
from .loaded import Loaded, Owner
from .stream_lock import DEFAULT_STREAM, StreamLock


def _require_fixed(engine: Loaded, route: Route, graph: bool) -> None:
    """Raises ProviderError where not all of a call can be fixed, or not captured where it is to be a CUDA graph."""
    if route.open:
        raise ProviderError(
            "a call whose output shapes the data decides cannot be bound",
            expected="outputs of fixed shapes",
            remedy="call the engine itself",
        )
    if graph and engine.streams_weights:
        raise ProviderError(
            "a call that copies weights to the GPU cannot be captured as a CUDA graph",
            expected="an engine without a weight_streaming_budget",
            found="graph=True",
            remedy="leave graph=True out, or give the engine room for all its weights",
        )
    if graph and (reading := next((one for one in engine.graph.layers if one.reads_back), None)) is not None:
        raise ProviderError(
            "a network with sizes or positions that the data decides cannot be captured as a CUDA graph",
            expected="a network without them: TensorRT reads them back to the host at each call",
            found=f"{reading.name}: {reading!r}",
            module=reading.path or None,
            remedy="leave graph=True out; for a slice from a computed start: trtnet.narrow(x, dim, start, length)",
        )
    if graph and not engine.provider.captures_loops and any(one.region is not None for one in engine.graph.layers):
        raise ProviderError(
            "a network with a loop or a conditional cannot be captured as a CUDA graph",
            expected=f"a network without them: {engine.provider} has the host read how to go on",
            found="graph=True",
            remedy="leave graph=True out; or unroll a short loop: a Python for over the steps",
        )


class TensorRTBoundCall(Revised):
    """Runs an engine on fixed CUDA tensors: `call()` reads what they hold, and gives the same output tensors each time.

    Made by `engine.bind`, with the engine's device the current one. It has an execution context of its own; use it from
    one thread at a time.

    Attributes:
        tensors: the input tensors. A tensor that was moved or resized since raises at the next call.
        result: the outputs, in the form that `forward` returned. Each call overwrites them. One that TensorRT writes
            into an input, as of a cache, is that tensor.
        revision: which weights the last call ran with.
    """

    def __init__(
        self,
        engine: Loaded,
        values: list[Any],
        graph: bool,
        shared_memory: bool = False,
        options: RunOptions | None = None,
    ) -> None:
        for spec, value in zip(engine.inputs, values):
            if not is_torch(value) or not value.is_cuda:
                found = f"a tensor on {value.device}" if is_torch(value) else type(value).__name__
                raise _cannot_be_bound(spec, found, engine.layouts.get(spec.name))
            engine.check_device(spec, value)
        one_kind(engine.inputs, values)
        self.engine = engine
        self.closed: str | None = None
        self.tensors = values
        self.revision = engine.revision
        self._storages = [value.untyped_storage() for value in values]
        self._route = Route(engine, values)
        for spec, value in zip(engine.inputs, values):
            if engine.placed(spec.name, value).data_ptr() != value.data_ptr():
                found = f"one that is not contiguous there: strides {value.stride()}"
                raise _cannot_be_bound(spec, found, engine.layouts.get(spec.name))
        _require_fixed(engine, self._route, graph)
        self._shared, self._options = shared_memory, options
        self._stream_lock = engine.shared_stream_lock if shared_memory else StreamLock(engine.device)
        self._lock = self._stream_lock.lock
        self._alone = engine.device.alone
        self._current, self._ordinal = engine.current_streams(), engine.device.ordinal
        self._graph = graph
        self._side = engine.provider.waits_on_default_stream and not graph
        self._raw: list[Any] = []
        self.results: list[Any] = []
        self._converts: list[tuple[Any, str, Any]] = []
        self._make_outputs(values)
        self.result = engine._formed(self.results)
        self._addresses, self._counts = [v.data_ptr() for v in values], [v.numel() for v in values]
        self._one = values[0] if len(values) == 1 else None
        self._first, self._count = self._addresses[0], self._counts[0]
        self._execute: Callable[[int], bool] | None = None
        self._native: Native | None = None
        self._captured: Owned | None = None
        self._live = engine.live_weights
        self._version = -1
        engine.register(self)
        with self._lock:
            self._again()

    def _make_outputs(self, values: list[Any]) -> None:
        """The memory of the outputs, and the results over it, or of their own where they lie otherwise."""
        engine, torch = self.engine, self.engine.torch
        with lasting():
            written = dict(engine.aliases)
            for number, (spec, shape) in enumerate(zip(engine.outputs, self._route.shapes)):
                assert shape is not None
                buffer, dtype = engine.buffer_shape(spec.name, shape), engine.stored[spec.name].torch
                if number in written:
                    raw = values[written[number]]
                else:
                    raw = torch.empty(buffer, dtype=dtype, device=engine.torch_device)
                result = engine.read(spec.name, raw, shape)
                if dtype != spec.dtype.torch or result.untyped_storage().data_ptr() != raw.untyped_storage().data_ptr():
                    result = torch.empty(shape, dtype=spec.dtype.torch, device=engine.torch_device)
                    self._converts.append((result, spec.name, raw))
                self._raw.append(raw)
                self.results.append(result)

    @property
    def stream_locks(self) -> list[StreamLock]:
        return [self._stream_lock]

    def holds(self) -> tuple[int, int, int]:
        """As `Context.holds`; its inputs and outputs are torch's."""
        return int(self._native is not None and not self._shared), 0, 0

    def renew(self) -> None:
        """Drop the execution context and graph; the next call makes new ones. The stream lock is held."""
        self._execute = self._native = self._captured = None

    release = renew

    def abandon(self) -> None:
        """In a forked child: nothing is freed, and no thread is left that could release the lock."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object((self._native, self._captured)))
        self._lock = self._stream_lock.lock = threading.Lock()
        self._execute = None

    def _prepare(self) -> Callable[[int], bool]:
        engine, device = self.engine, self.engine.device
        if self._graph and engine.listening is not None:
            raise ProviderError(
                "a CUDA graph shows no debug tensors",
                expected="calls without graph=True, or no debug listener",
                found="graph=True",
                remedy="engine.set_debug_listener(None) before calls that replay a CUDA graph",
            )
        memory = engine.shared_memory() if self._shared else None
        native = Native(engine, self._route.profile, memory, self._stream_lock, self._options)
        native.set_shapes(self._route)
        context = native.context
        for spec, address in zip(engine.inputs, self._addresses):
            context.set_tensor_address(spec.name, address)
        for spec, raw in zip(engine.outputs, self._raw):
            context.set_tensor_address(spec.name, raw.data_ptr())
        if self._live is not None:
            self._live.check()
            native.set_live()
            self._version = self._live.version
        if not self._graph:
            run = context.execute_async_v3
            self._execute, self._native = run if native.debug is None else native.debug.checked(run), native
            return self._execute
        side = self._stream_lock.side()
        current = engine.stream_of(None)
        device.order(self._stream_lock.event, current, side)
        self._stream_lock.enter(side)

        def enqueue(stream: int) -> None:
            if not context.execute_async_v3(stream):
                raise engine.failed()

        enqueue(side)  # the first enqueue after new shapes does more than the later ones
        device.synchronize(side)
        captured = device.capture(enqueue, side)
        launch, executable = device.runtime.cudaGraphLaunch, device.runtime.cudaGraphExec_t(captured.handle)
        self._native, self._captured = native, captured
        success = device.runtime.cudaError_t.cudaSuccess
        self._execute = execute = lambda stream: launch(executable, stream)[0] is success
        return execute

    def __call__(self, stream: StreamLike | None = None) -> Any:
        """Run on what the bound tensors hold now; on the caller's stream, in its order."""
        if self._alone:
            return self.run(self._current(self._ordinal) if stream is None else self.engine.stream_of(stream))
        if self.engine.closed:  # after a fork, too, where CUDA cannot be asked for the current device
            raise self.engine.closed_error()
        with self.engine.device.current():
            return self.run(self._current(self._ordinal) if stream is None else self.engine.stream_of(stream))

    def run(self, handle: int) -> Any:
        """A call on the stream at this address, with the engine's device the current one."""
        one = self._one
        if one is not None:
            if one.data_ptr() != self._first or one.numel() != self._count:
                raise self._moved()
        elif [v.data_ptr() for v in self.tensors] != self._addresses or self._resized():
            raise self._moved()
        stream_lock = self._stream_lock
        with self._lock:
            if self._live is not None:
                self._live.check()
                if self._live.version != self._version:
                    self._execute = None
            execute = self._execute or self._again()
            if self._side and handle == DEFAULT_STREAM:
                side, device = stream_lock.side(), stream_lock.device
                stream_lock.enter(side)
                device.order(stream_lock.event, handle, side)
                done = execute(side)
                device.order(stream_lock.event, side, handle)
            else:
                if handle != stream_lock.stream:
                    stream_lock.enter(handle)
                done = execute(handle)
            self.revision = self.engine.revision
        if not done:
            raise self.engine.failed()
        if self._converts:
            with self.engine._on_stream(handle):
                for result, name, raw in self._converts:
                    result.copy_(self.engine.read(name, raw, tuple(result.shape)))
        return self.result

    def enter(self, stream: int) -> None:
        """What follows on this stream waits for the last call."""
        if stream != self._stream_lock.stream:
            with self._lock:
                self._stream_lock.enter(stream)

    def _again(self) -> Callable[[int], bool]:
        """The first call, or the first after everything was dropped. The stream lock is held."""
        if self.engine.closed:
            raise self.engine.closed_error()
        if self._native is not None and self.engine.draws:
            self.engine.device.synchronize()
            self.renew()  # there is one context at a time
        return self._prepare()

    def close(self) -> None:
        """Wait for what is running, and free the context and the graph."""
        with self._lock, self.engine.device.current():
            self.engine.device.synchronize()
            self.renew()

    def _resized(self) -> bool:
        return [v.numel() for v in self.tensors] != self._counts

    def _moved(self) -> EngineError:
        names = [
            spec.name
            for spec, value, address, count in zip(self.engine.inputs, self.tensors, self._addresses, self._counts)
            if value.data_ptr() != address or value.numel() != count
        ]
        return EngineError(
            f"a bound tensor was moved or resized: {', '.join(names)}",
            expected="the memory that engine.bind was given",
            found="another address or size",
            remedy="write to it in place (buffer.copy_(new)), or bind again",
        )


class OwnBoundCall(TensorRTBoundCall):
    """The replays of an engine's own calls."""

    engine = Owner()


def _cannot_be_bound(spec: TensorSpec, found: str, layout: Layout | None) -> ArgumentTypeError:
    remedy = "tensor.cuda().contiguous(), kept and written to in place: buffer.copy_(new)"
    if layout is not None:
        remedy = (
            "tensor.to(memory_format=torch.channels_last) lies so where the channels come last and none are added; "
            "call the engine itself for other formats"
        )
    form = "contiguous" if layout is None else f"in memory as {layout.name!r} says"
    return ArgumentTypeError(
        f"input {spec.name!r} cannot be bound",
        expected=f"a CUDA tensor of torch's, {form}",
        found=found,
        remedy=remedy,
    )
