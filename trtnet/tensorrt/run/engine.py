"""The TensorRT engine: a plan that runs on a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ...basics import forking, interrupts
from ...basics.arrays import is_torch
from ...basics.errors import ProviderError, WeightsError
from ...engine.checked import Checked
from ...engine.debugging import Listener, Listening
from ...engine.engine import Snapshot
from ...engine.inputs import StreamLike
from ...engine.layer_times import CALLS, LayerTimes, require_calls
from ...engine.memory import Memory
from ...engine.options import Option, RunOptions
from ...engine.plan import Plan
from ...engine.refit import Refit, RefitReport
from ...engine.revision import Revision
from ...engine.update import Incoming, Update
from ...engine.weight_table import plan_table
from ...graph.graph import Graph
from ...graph.tensor import DeviceLike
from ...weights.ledger import kept
from ...weights.sources import Selection, Source
from ...weights.table import WeightTable
from ..callbacks import LayerTimer
from ..device import Device, ordinal
from ..provider import Provider
from .bare_plan import bare_plan
from .bound_call import TensorRTBoundCall
from .contexts import Context, OwnContext
from .loaded import Loaded, require, scratch_bytes
from .refitting import Received, Refitting


class _Received:
    """Values that were given for a refit so far: fixed ones in the memory of their next values, live ones as they will
    be written."""

    def __init__(self, engine: TensorRTEngine) -> None:
        self.engine = engine
        self.fixed = Received()
        self.live: dict[str, Any] = {}
        self.on_device = False

    def take(self, values: Mapping[str, Any]) -> int | None:
        """Take these, live ones without a copy; the stream that CUDA tensors among them are read on."""
        engine = self.engine
        stream = engine._reading(values)
        self.on_device = self.on_device or stream is not None
        live = {name: value for name, value in values.items() if name in engine.live}
        fixed = {name: value for name, value in values.items() if name not in engine.live}
        if live and engine.live_weights is not None:
            self.live |= engine.live_weights.prepared(live)
        if fixed:
            engine._changeable().receive(fixed, self.fixed, stream or 0)
        return stream

    def put(self, values: Mapping[str, Any], finite: str | None) -> None:
        engine = self.engine
        with engine._held():
            stream = self.take(values)
            for name in values.keys() & self.live.keys():
                value = self.live[name]
                self.live[name] = np.array(value) if isinstance(value, np.ndarray) else value.clone()
            if stream is not None:
                engine.device.synchronize(stream)

    def values(self) -> Mapping[str, Any]:
        with self.engine._held():
            return self.live | (self.engine._changeable().values(self.fixed) if self.fixed.given else {})


class TensorRTEngine(Loaded):
    """Runs a plan with TensorRT.

    CUDA tensors are read where they lie, on the caller's current stream, and nothing waits; NumPy arrays and CPU
    tensors are copied to the GPU and back. PyTorch is needed for torch tensors alone.

    Args:
        plan: what to run, and what its weights come from.
        provider: the TensorRT that runs it.
        device: the CUDA device: "cuda:1", 1, or torch's object; the first unless given.
        options: how it runs.
    """

    def __init__(
        self,
        plan: Plan,
        provider: Provider,
        device: DeviceLike | None = None,
        options: RunOptions = RunOptions(),  # noqa: B008
    ) -> None:
        super().__init__(plan, provider, device, options)
        self._refitting: Refitting | None = None
        self._written_to = False
        with self.device.current():
            self._default = OwnContext(self)
        forking.tell(self)

    @classmethod
    def bare(
        cls,
        data: bytes,
        provider: Provider,
        device: DeviceLike | None = None,
        options: RunOptions = RunOptions(),  # noqa: B008
    ) -> TensorRTEngine:
        """An engine from a plan without manifest: inputs and outputs are what TensorRT says of them."""
        found = Device(ordinal(device))
        with found.current():
            plan = bare_plan(data, provider, found)
        return cls(plan, provider, device, options)

    # --- calls

    def _results(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        return self._default._results(values, stream, graph)

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> TensorRTBoundCall:
        if self.closed:
            raise self.closed_error()
        values = self._ordered(args, kwargs)
        with self.device.current():
            return TensorRTBoundCall(self, values, graph)

    def context(self, shared_memory: bool = False, **options: Option) -> Context:
        if self.closed:
            raise self.closed_error()
        self.about_to_draw()
        chosen = self.options.with_context(options, shared_memory)
        require(self.provider, chosen)
        return Context(self, shared_memory, chosen)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Nothing refits or closes the engine, and Ctrl-C waits. Raises EngineError once closed."""
        with self._admin, interrupts.later():
            if self.closed:  # in a forked child CUDA cannot even be asked for the current device
                raise self.closed_error()
            with self.device.current():
                yield

    @contextlib.contextmanager
    def _paused(self) -> Iterator[list[Any]]:
        """Held; and no call enqueues anything, and nothing that was enqueued is still running."""
        with self._held(), contextlib.ExitStack() as stack:
            contexts = list(self._contexts)
            stream_locks = {
                id(stream_lock): stream_lock for context in contexts for stream_lock in context.stream_locks
            }
            for key in sorted(stream_locks):
                stack.enter_context(stream_locks[key].lock)
            # all of the device: contexts may have been dropped, and captured graphs replayed on any stream
            self.device.synchronize()
            yield contexts

    def close(self) -> None:
        with self._admin:
            if self.closed:
                return
            with self._paused() as contexts:
                if self.runtime_cache is not None:
                    self.runtime_cache.save()
                super().close()
                for context in contexts:
                    context.release()
                    context.closed = self.closed
                if self.live_weights is not None:
                    self.live_weights.release()
                self._refitting = self._shared = None
                del self._engine, self._runtime  # the engine first

    def _forked(self) -> None:
        """In a forked child CUDA cannot be called: the engine raises, and what it holds is never freed there."""
        self.closed = self.closed or forking.FORKED
        self._admin = threading.RLock()
        for context in list(self._contexts):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
            context.abandon()
            context.closed = self.closed
        for native in (self._engine, self._runtime, self._refitting, self._default):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))

    def __del__(self) -> None:
        if getattr(self, "closed", "not made") is None and getattr(self, "_default", None) is not None:
            with contextlib.suppress(Exception):  # at exit CUDA may be gone
                self.close()

    # --- weights

    def _changeable(self) -> Refitting:
        if self._refitting is None:
            if not self._engine.refittable:
                raise WeightsError("this engine was built without refit", remedy="build(graph, refit=True)")
            self._refitting = Refitting(self.provider, self._engine, self.plan, self.device)
        return self._refitting

    def _refit(self, values: dict[str, Any], asked: Refit, before: Revision | None) -> RefitReport:
        if asked.verify:
            raise ProviderError(
                f"{self.provider} gives no weights back that could be compared",
                expected="an engine whose weights can be read, as the reference's",
                found="verify=True",
                remedy="leave verify out, and compare what the engine computes with the reference's results",
            )
        started = time.perf_counter()
        with self._paused() as contexts:
            self._require_no_update()
            waited = time.perf_counter() - started
            received = _Received(self)
            stream = received.take(values)
            return self._changed(received, asked, before, contexts, stream, waited)

    def _receive(self, update: Update) -> _Received:
        with self._held():
            self._begin(update)
            return _Received(self)

    def _adopt(self, incoming: Incoming, asked: Refit, before: Revision | None = None) -> RefitReport:
        if not isinstance(incoming, _Received):
            raise TypeError(f"{incoming!r} is not of this engine's _receive")
        started = time.perf_counter()
        with self._paused() as contexts:
            waited = time.perf_counter() - started
            stream = self.stream_of(None) if incoming.on_device else None
            return self._changed(incoming, asked, before, contexts, stream, waited)

    def _changed(
        self,
        received: _Received,
        asked: Refit,
        before: Revision | None,
        contexts: list[Any],
        stream: int | None,
        waited: float,
    ) -> RefitReport:
        """Make what was received the present weights. Calls are paused."""
        live, fixed = received.live, received.fixed
        if self.live_weights is not None:
            self.live_weights.bindings.refuse(live)
        report = self._changeable().commit(fixed, stream or 0) if fixed.given else RefitReport([], [])
        report.times["wait"] = waited
        if live and self.live_weights is not None:  # last: a copy is not refused
            self.live_weights.write(live, stream or 0)
            report.changed += list(live)
        if self.provider.refits_on_device:
            self._refitted_on = stream
        for context in contexts:
            if asked.fresh_contexts:
                context.renew()
            if stream is not None:  # the next work waits for what was enqueued here
                for stream_lock in context.stream_locks:
                    stream_lock.stream = stream
        before = before or self.revision
        report.version, report.previous = asked.version, before.version
        self.revision = before.next(asked.version, bool(self._bound_tensors()))
        self._written_to = True
        return report

    def _bound_tensors(self) -> Mapping[str, Any]:
        return {} if self.live_weights is None else self.live_weights.bindings.tensors

    def _reading(self, values: Mapping[str, Any]) -> int | None:
        """The stream that given CUDA tensors were written on; None where there are none. Raises WeightsError for those
        on another device."""
        cuda = {name: value for name, value in values.items() if is_torch(value) and value.is_cuda}
        for name, value in cuda.items():
            if value.device.index != self.device.ordinal:
                raise WeightsError(
                    f"the new values for {name!r} are on another device",
                    expected=self.device,
                    found=value.device,
                    remedy=f"tensor.to('{self.device}'), or tensor.cpu()",
                )
        return self.stream_of(None) if cuda else None

    def set_debug_listener(self, listener: Listener | None, tensors: str | Iterable[str] = "*") -> None:
        chosen = None
        if listener is not None:
            chosen = Listening.of(listener, tensors, self._debug_paths, self._shows_unfused)
        with self._paused() as contexts:
            self.listening = chosen
            for context in contexts:
                context.renew()

    def refit_all(self) -> RefitReport:
        """Write the present value of every refittable weight: for a plan that was built with others, or stripped."""
        with self._paused():
            self._written_to = True
            return self._changeable().write_all()

    def snapshot(self) -> Snapshot:
        with self._paused():
            live = self.live_weights.state() if self.live_weights is not None else None
            changeable = self._changeable().state() if self._engine.refittable else None
            return self._snapshot((changeable, live))

    def restore(self, snapshot: Snapshot) -> None:
        self._check_snapshot(snapshot)
        changeable, live = snapshot.weights
        with self._paused():
            self._require_no_update()
            prepared = self.live_weights.prepared(live or {}) if self.live_weights is not None else {}
            if changeable is not None:
                self._changeable().bring_back(changeable)
            if prepared and self.live_weights is not None:
                self.live_weights.write(prepared)
            self.revision = self.revision.next(snapshot.revision.version, bool(self._bound_tensors()))
            self._written_to = True

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        written, refitting = self._written_to, self._refitting
        with super().undone():
            yield
        with self._paused():  # what a refit needs is made again when there is one
            self._written_to, self._refitting = written, refitting

    def _bind_weights(self, weights: Source, selection: Selection) -> None:
        if self.live_weights is None:
            raise WeightsError("this engine has no live weights", remedy="build(graph, live=True), or live='policy.*'")
        with self._paused():
            self._require_no_update()
            self.live_weights.bind(weights, selection)
            self.revision = self.revision.next("live", True)

    def parameters(self) -> dict[str, np.ndarray]:
        with self._paused():
            return {name: np.array(value) for name, value in self._parameters().items()}

    def _fixed_value(self, name: str) -> Any:
        return self.plan.parameters.get(name)

    def _parameters(self) -> dict[str, np.ndarray]:
        """Views of the present values."""
        found = dict(self.plan.parameters)
        if self._refitting is not None:
            found |= self._refitting.parameters()
        if self.live_weights is not None:
            found |= self.live_weights.parameters()
        return found

    def _present_plan(self) -> Plan:
        """The plan with the weights of this moment."""
        with self._paused():
            # from 10.14 on, what a stripped engine serializes cannot be refitted; its plan holds no weights anyhow
            whole = self._written_to and not self.plan.stripped
            data = bytes(self._engine.serialize()) if whole else self.plan.data
            weights = {name: replace(one, array=None) for name, one in self.plan.weights.items()}
            parameters = {name: kept(value) for name, value in self._parameters().items()}
            version = None if self.version == "live" else self.version
            return replace(self.plan, data=data, parameters=parameters, weights=weights, weights_version=version)

    def keep_checked(self, figures: Checked) -> None:
        super().keep_checked(figures)  # and for the manifest
        self.plan = replace(self.plan, checked=figures.plain())

    @property
    def weights(self) -> WeightTable:
        return plan_table(self.plan, frozenset(self.engine_names()))

    def engine_names(self) -> list[str]:
        """The names of the engine weights that TensorRT lets be refitted."""
        with self._held():
            return list(self.provider.refitter(self._engine).get_all_weights()) if self._engine.refittable else []

    def inspect(self) -> dict[str, Any]:
        with self._held():
            inspector = self._engine.create_engine_inspector()
            form = self.provider.trt.LayerInformationFormat.JSON
            found: dict[str, Any] = json.loads(inspector.get_engine_information(form))
            return found

    def memory(self) -> Memory:
        with self._held():
            held = [context.holds() for context in self._contexts]
            staged = (0, 0) if self._refitting is None else self._refitting.staging.held()
            own, buffers, pinned = (sum(one) for one in zip(*held, (0, *staged)))
            shared = 0 if self._shared is None else scratch_bytes(self._engine)
            return Memory(
                str(self.device),
                str(self.provider),
                self._weight_bytes(),
                self._streamed,
                0 if self.live_weights is None else self.live_weights.nbytes,
                self._scratch_by_profile(),
                own,
                shared,
                buffers,
                pinned,
                len(self.plan.data),
            )

    def profile(self, /, *args: Any, calls: int = CALLS, **kwargs: Any) -> LayerTimes:
        require_calls(calls)
        timer = LayerTimer(self.provider.trt)
        with self.context() as context:
            context(*args, **kwargs)
            context.report_to(timer)
            for _ in range(calls):
                timer.begin()
                context(*args, **kwargs)
            self.device.synchronize()
        return LayerTimes.of(timer.calls, self.lowered().layers, str(self.device))

    def lowered(self) -> Graph:
        return self.graph.for_provider(self.provider, bool(self.refittable))

    def save(self, path: str | PathLike[str], weights: bool = True) -> Path:
        return self._present_plan().save(path, weights=weights)

    def clone(self) -> TensorRTEngine:
        """Another engine with the same plan and present weights.

        Raises ProviderError where the network draws random numbers: it would draw the same ones.
        """
        if self.draws:
            raise ProviderError(
                "TensorRT takes no seed: a clone would draw the same random numbers as the engine",
                expected="a network that draws nothing",
                found=f"outputs that are drawn: {', '.join(self.draws)}",
                remedy='record(..., draws="inputs") makes the draws inputs, which every call may be given anew',
            )
        other = type(self)(self._present_plan(), self.provider, self.device.ordinal, self.options)
        if self.plan.stripped:
            other.refit_all()
        return other
