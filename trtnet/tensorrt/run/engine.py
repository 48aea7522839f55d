"""The TensorRT engine: a plan that runs on a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...basics import dtypes, forking, interrupts
from ...basics.arrays import import_torch, is_torch
from ...basics.errors import BuildError, ProviderError, ShapeError, WeightsError
from ...engine.checked import Checked
from ...engine.engine import Engine, RefitReport, Snapshot, TensorSpec
from ...engine.plan import Plan
from ...engine.weight_table import plan_table
from ...weights.ledger import kept
from ...weights.table import WeightTable
from ..device import Device, Owned, ordinal
from ..provider import Provider
from .bound_call import BoundCall
from .contexts import Context, Lane
from .layouts import layouts_of
from .refitting import Refitting

if TYPE_CHECKING:
    from .live_memory import LiveMemory


class TensorRTEngine(Engine):
    """Runs a plan with TensorRT.

    CUDA tensors are read where they lie, on the caller's current stream, and nothing waits; NumPy arrays and CPU
    tensors are copied to the GPU and back. PyTorch is needed for torch tensors alone.

    Args:
        plan: what to run, and what its weights come from.
        provider: the TensorRT that runs it.
        device: the CUDA device: "cuda:1", 1, or torch's object; the first unless given.
    """

    def __init__(self, plan: Plan, provider: Provider, device: Any = None) -> None:
        super().__init__(plan.graph)
        self.provider = provider
        self.device = Device(ordinal(device))
        with self.device.current():
            self._load(plan)
        forking.tell(self)

    def _load(self, plan: Plan) -> None:
        provider = self.provider
        self._runtime = provider.trt.Runtime(provider.logger)
        if plan.options.get("version_compatible"):
            self._runtime.engine_host_code_allowed = True  # such a plan has a part of TensorRT in it
        with provider.recorded(self._runtime) as errors:
            self._engine = self._runtime.deserialize_cuda_engine(plan.data)
        if self._engine is None:
            raise BuildError(
                f"{provider} could not load the plan",
                details=errors.text() or "(TensorRT gave no reason)",
                expected=f"a plan of {provider} for {self.device.properties[1]}",
                found=f"{len(plan.data):,} bytes, built by {plan.provider} {plan.version}",
                remedy="build it here: a plan is for one version of TensorRT and one kind of GPU; if memory ran out, "
                "close other engines first",
            )
        self.plan = plan = plan.kept()
        self.checked = None if plan.checked is None else Checked.of(plan.checked)
        self.refittable = plan.refittable
        self.live = frozenset(n for n, leaf in plan.graph.parameters.items() if leaf.name in plan.live)
        self.profiles = self._engine.num_optimization_profiles
        self.stored = {s.name: provider.stored(s.dtype) for s in (*self.inputs, *self.outputs)}
        self.converts = any(self.stored[s.name] is not s.dtype for s in self.outputs)
        self.layouts = layouts_of(self._engine, {s.name: s.shape for s in (*self.inputs, *self.outputs)})
        self._check_types()
        self._admin = threading.RLock()
        self._scratch = threading.Lock()
        self._contexts: weakref.WeakSet[Any] = weakref.WeakSet()
        self._shared: Owned | None = None
        self._streams: Callable[[int], int] | None = None
        self._torch_device: Any = None
        self.draws = self.graph.drawn_outputs()
        self._drawing: weakref.WeakSet[Any] = weakref.WeakSet()
        self.shared_lane = Lane(self.device)
        self.live_weights: LiveMemory | None = None
        if plan.live:
            from .live_memory import LiveMemory

            self.live_weights = LiveMemory(plan, provider, self.device)
        self._refitting: Refitting | None = None
        self._written_to = False
        self._refitted_on: int | None = None
        own: Any = weakref.proxy(self)
        self._default = Context(own)  # no cycle: dropping the engine frees it

    @classmethod
    def bare(cls, data: bytes, provider: Provider, device: Any = None) -> TensorRTEngine:
        """An engine from a plan without manifest: inputs and outputs are what TensorRT says of them."""
        from .bare_plan import described

        found = Device(ordinal(device))
        with found.current():
            plan = described(data, provider, found)
        return cls(plan, provider, device)

    def _check_types(self) -> None:
        for name, dtype in self.stored.items():
            found = self._engine.get_tensor_dtype(name)
            if found != self.provider.data_type(dtype):
                raise BuildError(
                    f"TensorRT changed the dtype of {name!r}",
                    expected=dtype.name,
                    found=found,
                    remedy="this plan is of another network, or TensorRT did not keep to the recorded types: report it",
                )

    # --- what contexts ask for

    @property
    def torch(self) -> Any:
        """torch, which has been imported where there are torch tensors."""
        return sys.modules.get("torch") or import_torch()

    @property
    def torch_device(self) -> Any:
        if self._torch_device is None:
            self._torch_device = self.torch.device("cuda", self.device.ordinal)
        return self._torch_device

    def stream_of(self, stream: Any) -> int:
        """The address of the stream to run on: the given one, else the caller's current one."""
        if stream is None:
            return self.current_streams()(self.device.ordinal)
        if isinstance(stream, int):
            return stream
        found = getattr(stream, "cuda_stream", None)
        if found is None and hasattr(stream, "__cuda_stream__"):
            found = stream.__cuda_stream__()[1]
        return int(stream) if found is None else int(found)

    def current_streams(self) -> Callable[[int], int]:
        """What gives the address of torch's current stream on a device."""
        if self._streams is None:
            self._streams = _current_streams(self.torch)
        return self._streams

    def make_context(self, memory: int | None) -> Any:
        """A new IExecutionContext, with scratch memory of its own unless it is given an address."""
        with self.device.current(), self.provider.recorded(self._engine) as errors:
            context = self.provider.create_context(self._engine, memory)
        if context is None:
            raise ProviderError(
                f"{self.provider} made no execution context",
                details=errors.text() or "(TensorRT gave no reason)",
                expected="free GPU memory for its scratch space",
                remedy="close other engines or contexts, use engine.context(shared_memory=True), or build with a "
                "smaller workspace",
            )
        return context

    def about_to_draw(self, native: Any = None) -> None:
        """An execution context is to be made. Raises ProviderError where there is one, and the network draws."""
        if not self.draws:
            return
        if self._drawing:
            raise ProviderError(
                "TensorRT takes no seed: two execution contexts would draw the same random numbers",
                expected="one execution context of a network that draws: that of the engine's own calls, one "
                "engine.context(), or one bound call, for shapes of one optimization profile",
                found=f"another one, while these outputs are drawn: {', '.join(self.draws)}",
                remedy='record(..., draws="inputs") makes the draws inputs, which every call may be given anew; or '
                "close the other context first: the new one begins the same numbers again",
            )
        if native is not None:
            self._drawing.add(native)

    def shared_memory(self) -> int:
        """The address of the scratch memory that contexts share."""
        with self._scratch:  # not _admin: the caller holds its lane's lock, for which a refit waits that holds _admin
            if self._shared is None:
                self._shared = self.device.allocate(self.provider.scratch_bytes(self._engine))
            return self._shared.handle

    def profile_for(self, sizes: dict[str, int]) -> int:
        """The optimization profile for these sizes: of those that they fit, the one whose opt is nearest."""
        profiles = self.plan.profiles
        if len(profiles) < 2:
            return 0
        fitting = [
            (sum(abs(sizes[name] - opt) / opt for name, (_, opt, _) in profile.items() if name in sizes), index)
            for index, profile in enumerate(profiles)
            if all(low <= sizes[name] <= high for name, (low, _, high) in profile.items() if name in sizes)
        ]
        if not fitting:
            raise ShapeError(
                "no optimization profile has these sizes",
                expected=" or ".join(str(dict(p)) for p in profiles),
                found=str(sizes),
                remedy="build with a profile that has them: build(graph, profiles=[...])",
            )
        return min(fitting)[1]

    def check_device(self, spec: TensorSpec, value: Any) -> None:
        """Raises ProviderError for a CUDA tensor on another device, or of int64 where TensorRT has none."""
        if not is_torch(value):
            return
        if not value.is_cuda or value.device.index != self.device.ordinal:
            raise ProviderError(
                f"input {spec.name!r} is on another device",
                expected=self.device,
                found=value.device,
                remedy=f"tensor.to('{self.device}'), or build the engine there: device='{value.device}'",
            )
        if self.stored[spec.name] is not spec.dtype and dtypes.get(value.dtype) is dtypes.int64:
            raise ProviderError(
                f"{self.provider} has no int64, and input {spec.name!r} is on the GPU",
                expected="an int32 tensor or host data",
                found="a CUDA int64 tensor",
                remedy="record the input as int32: Input(shape, 'int32')",
            )

    def to_stored(self, spec: TensorSpec, array: np.ndarray) -> np.ndarray:
        """A host array as TensorRT takes it: contiguous in the input's format, and int32 where it has no int64."""
        stored = self.stored[spec.name]
        if stored is not spec.dtype:
            limits = np.iinfo(stored.numpy)
            if array.size and (array.min() < limits.min or array.max() > limits.max):
                raise ShapeError(
                    f"input {spec.name!r} does not fit {stored}, which {self.provider} has in place of {spec.dtype}",
                    expected=f"{limits.min} to {limits.max}",
                    found=f"{array.min()} to {array.max()}",
                    remedy="give smaller numbers",
                )
            array = array.astype(stored.numpy)
        return self.placed(spec.name, np.ascontiguousarray(array))

    def placed(self, name: str, value: Any) -> Any:
        """An input in the order that its format has in memory."""
        layout = self.layouts.get(name)
        if layout is not None:
            return layout.pack(value)
        return value if isinstance(value, np.ndarray) else value.contiguous()

    def buffer_like(self, name: str, value: Any) -> Any:
        """A copy of a CUDA tensor, in the order that the input's format has in memory where that is a tensor's."""
        layout = self.layouts.get(name)
        if layout is None:
            return value.clone(memory_format=self.torch.contiguous_format)
        return layout.unpack(layout.pack(value).clone(), tuple(value.shape))

    def room(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an output's memory."""
        layout = self.layouts.get(name)
        return shape if layout is None else layout.room(shape)

    def read(self, name: str, memory: Any, shape: tuple[int, ...]) -> Any:
        """An output of this shape from its memory."""
        layout = self.layouts.get(name)
        return memory if layout is None else layout.unpack(memory, shape)

    def failed(self) -> ProviderError:
        return ProviderError(
            f"{self.provider} could not run the engine",
            details="its reasons are in the log of 'trtnet.tensorrt'",
            remedy="if GPU memory ran out, run smaller batches or close other engines",
        )

    def register(self, context: Any) -> None:
        with self._admin:
            self._contexts.add(context)
            for lane in context.lanes:
                if lane.stream is None:  # its first work waits for a refit that goes on on the device
                    lane.stream = self._refitted_on

    # --- calls

    def _results(self, values: list[Any], stream: Any, graph: bool) -> tuple[list[Any], int]:
        return self._default._results(values, stream, graph)

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> Any:
        if self.closed:
            raise self._is_closed()
        values = self._ordered(args, kwargs)
        with self.device.current():
            return BoundCall(self, values, graph)

    def context(self, shared_memory: bool = False) -> Context:
        if self.closed:
            raise self._is_closed()
        self.about_to_draw()
        return Context(self, shared_memory)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Nothing refits or closes the engine, and Ctrl-C waits. Raises EngineError once closed."""
        with self._admin, interrupts.later():
            if self.closed:  # in a forked child CUDA cannot even be asked for the current device
                raise self._is_closed()
            with self.device.current():
                yield

    @contextlib.contextmanager
    def _paused(self) -> Iterator[list[Any]]:
        """Held; and no call enqueues anything, and nothing that was enqueued is still running."""
        with self._held(), contextlib.ExitStack() as stack:
            contexts = list(self._contexts)
            lanes = {id(lane): lane for context in contexts for lane in context.lanes}
            for key in sorted(lanes):
                stack.enter_context(lanes[key].lock)
            # all of the device: contexts may have been dropped, and captured graphs replayed on any stream
            self.device.synchronize()
            yield contexts

    def close(self) -> None:
        with self._admin:
            if self.closed:
                return
            with self._paused() as contexts:
                super().close()
                for context in contexts:
                    context.release()
                    context.closed = self.closed
                if self.live_weights is not None:
                    self.live_weights.release()
                self._refitting = self._shared = None
                self._engine = self._runtime = None

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

    def _refit(self, values: dict[str, Any], fresh_contexts: bool, generation: int | None = None) -> RefitReport:
        live = {name: v for name, v in values.items() if name in self.live}
        fixed = {name: v for name, v in values.items() if name not in self.live}
        started = time.perf_counter()
        with self._paused() as contexts:
            waited = time.perf_counter() - started
            stream = self._reading(values)
            prepared = self.live_weights.prepared(live) if self.live_weights is not None else {}
            report = self._changeable().apply(fixed, stream or 0) if fixed else RefitReport([], [])
            report.times["wait"] = waited
            if prepared and self.live_weights is not None:  # last: a copy is not refused
                self.live_weights.write(prepared, stream or 0)
                report.changed += list(live)
            if self.provider.refits_on_device:
                self._refitted_on = stream
            for context in contexts:
                if fresh_contexts:
                    context.renew()
                if stream is not None:  # the next work waits for what was enqueued here
                    for lane in context.lanes:
                        lane.stream = stream
            self.generation = self.generation + 1 if generation is None else generation
            self._written_to = True
        return report

    def _reading(self, values: dict[str, Any]) -> int | None:
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
            prepared = self.live_weights.prepared(live or {}) if self.live_weights is not None else {}
            if changeable is not None:
                self._changeable().bring_back(changeable)
            if prepared and self.live_weights is not None:
                self.live_weights.write(prepared)
            self.generation += 1
            self._written_to = True

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        written, refitting = self._written_to, self._refitting
        with super().undone():
            yield
        with self._paused():  # what a refit needs is made again when there is one
            self._written_to, self._refitting = written, refitting

    def bind_weights(self, weights: Any, *, prefix: str = "") -> None:
        if self.live_weights is None:
            raise WeightsError("this engine has no live weights", remedy="build(graph, live=True), or live='policy.*'")
        with self._paused():
            self.live_weights.bind(weights, prefix)
            self.generation += 1

    def parameters(self) -> dict[str, np.ndarray]:
        with self._paused():
            return {name: np.array(value) for name, value in self._parameters().items()}

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
            return replace(self.plan, data=data, parameters=parameters, weights=weights)

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
        other = type(self)(self._present_plan(), self.provider, self.device.ordinal)
        if self.plan.stripped:
            other.refit_all()
        return other


def _current_streams(torch: Any) -> Callable[[int], int]:
    """What gives the address of torch's current stream on a device; by the function that torch's own compiler calls
    where there is one (0.2 µs in place of 9)."""
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    if raw is not None:
        return raw
    return lambda ordinal: int(torch.cuda.current_stream(ordinal).cuda_stream)
