"""The reference engine: a graph run in PyTorch, the oracle and the engine of machines without a GPU."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..basics import dims, dtypes, forking, interrupts
from ..basics.arrays import from_numpy, import_torch, is_torch, lasting, to_numpy
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, ArgumentTypeError, EngineError, ProviderError, WeightsError
from ..basics.location import user_level
from ..engine.bindings import Bindings, Bound
from ..engine.choice import Choice, refittable_names
from ..engine.context import BorrowingEngine
from ..engine.debugging import Listener, Listening
from ..engine.engine import Engine, Snapshot, is_nonfinite, tell_nonfinite
from ..engine.inputs import StreamLike, TensorSpec, one_kind
from ..engine.layer_times import CALLS, LayerTimes, require_calls
from ..engine.memory import Memory
from ..engine.options import Option, RunOptions
from ..engine.plan import Plan
from ..engine.refit import Refit, RefitReport
from ..engine.revision import Revised, Revision
from ..engine.update import Incoming, Update
from ..engine.weight_table import table
from ..graph.graph import Graph
from ..graph.tensor import DeviceLike
from ..layers.targets import Run
from ..rewriting.extra_outputs import NO_DEBUG_TENSORS, DebugTensors, with_tensors
from ..rewriting.live_inputs import with_live
from ..weights.ledger import kept
from ..weights.recipes import Leaf, Value
from ..weights.sources import Selection, Source
from ..weights.table import WeightTable
from .program import Program, Step, Watch
from .reused_memory import ReusedMemory

if TYPE_CHECKING:
    import torch


class _State(NamedTuple):
    """The weights that a call runs with: taken as one, so that a refit beside it cannot mix old and new.

    Attributes:
        slots: everything that depends on weights alone; None until it is needed.
        held: the storages of those.
        live: the engine's own values of the live parameters.
        revision: which weights these are.
        bound: the trainer's tensors.
    """

    slots: list[Any] | None
    held: frozenset[int]
    live: list[torch.Tensor]
    revision: Revision
    bound: Bound


class _Received:
    """Values that an update has put so far: tensors of the engine's own."""

    def __init__(self, engine: ReferenceEngine) -> None:
        self.engine = engine
        self._values: dict[str, torch.Tensor] = {}

    def put(self, values: Mapping[str, Any], finite: str | None) -> None:
        with self.engine._held():
            self.engine.bindings.refuse(values)
            self._values |= self.engine._copied(values, finite)

    def values(self) -> Mapping[str, Any]:
        return self._values


class ReferenceEngine(Engine):
    """Runs a graph in PyTorch, layer by layer, on the CPU or a CUDA device.

    Args:
        graph: what to run.
        device: torch's name of a device.
        dtype: None for the recorded types, or "float64": every float is computed in float64, recorded casts included.
        raw: with float64, whether inputs and outputs are float64 too.
        live: names of the parameters that `bind_weights` binds.
        values: the values of the parameters that the network uses, by the parameters' own names; they are not copied.
            The graph's, copied, unless given: nobody else can write to an engine's values.
        debug: the tensors that `set_debug_listener` can show.
    """

    _looks_while_copying = True

    def __init__(
        self,
        graph: Graph,
        *,
        device: str = "cpu",
        dtype: DtypeLike | None = None,
        raw: bool = False,
        live: Collection[str] = (),
        values: Mapping[str, Any] | None = None,
        debug: DebugTensors = NO_DEBUG_TENSORS,
    ) -> None:
        self._state = _State(None, frozenset(), [], Revision(), Bound.of({}))
        self._lock = threading.RLock()
        forking.tell(self)
        super().__init__(graph)
        if dtype is not None and dtypes.get(dtype) is not dtypes.float64:
            raise ArgumentError(
                "a reference runs in the recorded types or in float64", expected="None or 'float64'", found=dtype
            )
        double = dtype is not None
        if raw and not double:
            raise ArgumentError("raw=True needs dtype='float64'")
        self.torch = import_torch()
        self.device = self._found(device)
        self._double = double
        self._raw = raw
        self._debug, self._debug_paths = debug, debug.paths
        self._listening: Listening | None = None
        rewritten = with_live(with_tensors(graph, debug.inner), live)
        self._program = Program(rewritten, double)
        self.live = frozenset(live)
        self._live = [graph.parameters[name] for name in rewritten.live]
        self.bindings = Bindings(self._live, self.device)
        if raw:
            self.inputs = [
                TensorSpec(s.name, s.shape, dtypes.float64 if s.dtype.is_floating_point else s.dtype)
                for s in self.inputs
            ]
        used = {leaf for _, _, weight in graph.weights() for leaf in weight.leaves()}
        self._leaves = {leaf.name: leaf for leaf in graph.parameters.values() if leaf in used}
        if values is None:
            graph.check_values()
            there = {name: leaf.value for name, leaf in self._leaves.items() if leaf.value.there}
            values = {name: from_numpy(kept(value.read())).to(self.device) for name, value in there.items()}
        self._values = dict(values)
        self._reused = ReusedMemory()
        self.watch: Watch | None = None
        """Called after each layer of a call: what compares engines looks at tensors inside, and stops what is late."""

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self.closed = self.closed or forking.FORKED

    def _found(self, device: DeviceLike) -> torch.device:
        torch = self.torch
        try:
            found = torch.device(device)
        except RuntimeError as error:
            raise ArgumentError(
                "torch has no such device", expected="cpu, cuda or cuda:0", found=repr(device), details=str(error)
            ) from None
        try:
            torch.empty(1, device=found)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ProviderError(
                f"this torch cannot use the device {device}",
                found=f"torch {torch.__version__}",
                details=str(error).splitlines()[0],
                remedy="leave device out to run on the CPU",
            ) from None
        return found

    @property
    def revision(self) -> Revision:
        return self._state.revision

    @revision.setter
    def revision(self, revision: Revision) -> None:
        self._state = self._state._replace(revision=revision)

    # --- weights

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """No other thread changes weights, and Ctrl-C waits. Raises EngineError once closed."""
        with self._lock, interrupts.later():
            if self.closed:
                raise self.closed_error()
            yield

    def _read(self, leaf: Leaf) -> torch.Tensor:
        found = self._values.get(leaf.name)
        return from_numpy(Value().read()) if found is None else found  # which says that there is no value

    def _fixed_value(self, name: str) -> Any:
        return self._values.get(name)

    def _refit(self, values: dict[str, Any], asked: Refit, before: Revision | None) -> RefitReport:
        with self._held():
            self._require_no_update()
            self.bindings.refuse(values)
            present, revision = self._values, self.revision
            report = self._changed(self._copied(values, asked.finite), asked, before)
            if asked.verify:
                if wrong := self._differing(values):
                    self._replace(present, revision)
                    raise EngineError(
                        "the engine holds other weights than it was given",
                        details="the old weights are back in place",
                        expected="the bytes that were given",
                        found=", ".join(wrong[:8]),
                        remedy="refit again; if this comes twice, the memory of this machine is at fault",
                    )
                report.verified = True
            return report

    def _differing(self, values: Mapping[str, Any]) -> list[str]:
        """The parameters whose values, as they are held, are not these."""
        wrong = []
        for name, value in values.items():
            given = from_numpy(value) if isinstance(value, np.ndarray) else value
            if not same_bytes(self._values[name].to(given.device), given):
                wrong.append(name)
        return wrong

    def _copied(self, values: Mapping[str, Any], finite: str | None) -> dict[str, torch.Tensor]:
        """The engine's own copies; says so, or raises, where they hold NaN or infinity."""
        made, bad = {}, []
        for name, value in values.items():
            given = from_numpy(value) if isinstance(value, np.ndarray) else value
            made[name], known = self._reused.copied(name, given, self.device, look=finite is not None)
            if finite is not None and not known and is_nonfinite(value, finite):
                bad.append(name)
        if finite is not None:
            tell_nonfinite(bad, finite)
        return made

    def _changed(self, given: dict[str, torch.Tensor], asked: Refit, before: Revision | None) -> RefitReport:
        """Take values that nobody else has. The lock is held."""
        before = before or self.revision
        values = self._values
        unchanged = [name for name, tensor in given.items() if name in values and same_bytes(values[name], tensor)]
        new = given.keys() - set(unchanged)
        changed = [name for name in given if name in self.bindings.leaves and name in new]
        for _, weight in self._program.weights:
            if weight.name is not None and any(leaf.name in new for leaf in weight.leaves()):
                changed.append(weight.name)
        self._replace(values | given, before.next(asked.version, bool(self.bindings.tensors)))
        return RefitReport(
            list(given), list(dict.fromkeys(changed)), unchanged=unchanged, version=asked.version,
            previous=before.version,
        )  # fmt: skip

    def _receive(self, update: Update) -> _Received:
        with self._held():
            self._begin(update)
            return _Received(self)

    def _adopt(self, incoming: Incoming, asked: Refit, before: Revision | None = None) -> RefitReport:
        with self._held():
            given = dict(incoming.values())
            self.bindings.refuse(given)
            return self._changed(given, asked, before)

    def _bound_tensors(self) -> Mapping[str, Any]:
        return self.bindings.tensors

    def _replace(self, values: dict[str, Any], revision: Revision) -> None:
        before = self._values
        self._values = values
        try:
            slots = self._make_slots()
        except BaseException:
            self._values = before
            raise
        self._use(slots, revision)

    def _use(self, slots: list[Any], revision: Revision) -> _State:
        tensor = self.torch.Tensor
        held = frozenset(v.untyped_storage().data_ptr() for v in slots if isinstance(v, tensor))
        live = [self._read(leaf) for leaf in self._live]
        self._state = _State(slots, held, live, revision, self.bindings.now)
        return self._state

    def _make_slots(self) -> list[Any]:
        with self.torch.inference_mode():
            return self._program.constants(self._read, self.device)

    def snapshot(self) -> Snapshot:
        with self._held():
            return self._snapshot(dict(self._values))

    def restore(self, snapshot: Snapshot) -> None:
        self._check_snapshot(snapshot)
        with self._held():
            self._require_no_update()
            self._replace(
                dict(snapshot.weights), self.revision.next(snapshot.revision.version, bool(self.bindings.tensors))
            )

    def _bind_weights(self, weights: Source, selection: Selection) -> None:
        if not self.live:
            raise WeightsError("this engine has no live weights", remedy="build(graph, live=True), or live='policy.*'")
        with self._held():
            self._require_no_update()
            self.bindings.bind(
                self.graph.parameters, weights, selection, lambda new: self.graph.check_values(new, self.parameters)
            )
            state = self._state
            self._state = state._replace(revision=state.revision.next("live", True), bound=self.bindings.now)

    def parameters(self) -> dict[str, np.ndarray]:
        with self._held():
            return {name: np.array(to_numpy(self._present(leaf))) for name, leaf in self._leaves.items()}

    def _present(self, leaf: Leaf) -> torch.Tensor:
        bound = self.bindings.tensors.get(leaf.name)
        return self._read(leaf) if bound is None else bound

    @property
    def weights(self) -> WeightTable:
        if self.closed:
            raise self.closed_error()
        graph = self.graph
        made = {weight.name: weight for _, _, weight in graph.weights() if weight.name is not None}
        live = {leaf.name: f"{leaf.name}@live" if leaf.name in graph.inputs else leaf.name for leaf in self._live}
        return table(graph, made, self.refittable, live)

    def clone(self) -> ReferenceEngine:
        with self._held():
            # values are never written to, except those of a trainer
            revision = self.revision
            values = self._values | {name: tensor.detach().clone() for name, tensor in self.bindings.tensors.items()}
        other = type(self)(
            self.graph,
            device=str(self.device),
            dtype="float64" if self._double else None,
            raw=self._raw,
            live=self.live,
            values=values,
            debug=self._debug,
        )
        other.refittable = self.refittable
        other.revision = Revision(0, None if revision.version == "live" else revision.version)
        return other

    def inspect(self) -> dict[str, Any]:
        with self._held():
            names = [*self.graph.inputs, *self.graph.outputs]
            return {"Layers": [layer.name for layer in self.graph.layers], "Bindings": names}

    def memory(self) -> Memory:
        with self._held():
            live = {leaf.name for leaf in self._live}
            own = [value for name, value in self._values.items() if name not in live]
            made = [slot for slot in self._state.slots or () if isinstance(slot, self.torch.Tensor)]
            taken = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in (*own, *made)}
            lively = sum(self._values[name].nbytes for name in live if name in self._values)
            runner = f"PyTorch {self.torch.__version__}"
            return Memory(str(self.device), runner, sum(taken.values()), live=lively, buffers=self._reused.idle)

    def profile(self, /, *args: Any, calls: int = CALLS, **kwargs: Any) -> LayerTimes:
        if self.closed:
            raise self.closed_error()
        require_calls(calls)
        self(*args, **kwargs)
        values = self._in_torch(self._ordered(args, kwargs))
        sizes = self._check(values)
        cuda = self.torch.cuda if self.device.type == "cuda" else None
        taken: list[dict[str, float]] = []
        begun = 0.0

        def watch(run: Run, step: Step, slots: list[Any]) -> None:
            nonlocal begun
            if cuda is not None:
                cuda.synchronize(self.device)
            name, call = step.layer.name, taken[-1]
            call[name] = call.get(name, 0.0) + (time.perf_counter() - begun) * 1e3
            begun = time.perf_counter()

        for _ in range(calls):
            taken.append({})
            begun = time.perf_counter()
            self._run(list(values), sizes, watch, show=False)
        return LayerTimes.of(taken, self.graph.layers, str(self.device))

    def save(self, path: str | PathLike[str], weights: bool = True) -> Path:
        if self.closed:
            raise self.closed_error()
        return _plan_of(self).save(path, weights=weights)

    # --- calls

    def _results(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        return super()._results(self._in_torch(values), stream, graph)

    def _in_torch(self, values: list[Any]) -> list[Any]:
        """Arrays on a device as torch tensors of their memory; others as they are."""
        if isinstance(values[0], np.ndarray) or one_kind(self.inputs, values) != "device":
            return values
        torch = self.torch
        return [torch.from_dlpack(v) if hasattr(v, "__dlpack__") else torch.as_tensor(v) for v in values]

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> ReferenceBoundCall:
        if self.closed:
            raise self.closed_error()
        return ReferenceBoundCall(self, self._ordered(args, kwargs))

    def context(self, shared_memory: bool = False, **options: Option) -> ReferenceContext:
        if self.closed:
            raise self.closed_error()
        RunOptions().with_context(options, shared_memory)
        return ReferenceContext(self)

    def watch_constants(self, watch: Watch) -> None:
        """Call `watch` for each layer that depends on weights alone: those are computed once, and not in a call."""
        self._program.watch_constants(self._state.slots or self._make_slots(), self.device, watch)

    def _run(
        self, values: list[Any], sizes: dict[str, int], watch: Watch | None = None, show: bool = True
    ) -> tuple[list[Any], Revision]:
        torch = self.torch
        if is_torch(values[0]):
            values = [v.contiguous() for v in values]
            mode = torch.no_grad  # what is made in inference mode can be neither changed nor differentiated
        else:
            values = [from_numpy(np.asarray(v, order="C")) for v in values]
            mode = torch.inference_mode
        state = self._state
        if state.slots is None:
            with self._lock:
                state = self._state
                if state.slots is None:
                    state = self._use(self._make_slots(), state.revision)
        assert state.slots is not None
        state.bound.check()
        bound = state.bound.tensors
        values += [bound[leaf.name].detach() for leaf in self._live] if bound else state.live
        with mode():
            if self._double:
                values = [v.double() if v.is_floating_point() else v for v in values]
            if self.device.type != "cpu" or any(v.device.type != "cpu" for v in values):
                values = [v.to(self.device) for v in values]
            results = self._program.run(state.slots.copy(), values, self.device, sizes, watch or self.watch)
            results, inner = results[: len(self.outputs)], results[len(self.outputs) :]
            if self._double and not self._raw:
                results = [r.to(s.dtype.torch) for r, s in zip(results, self.outputs)]
        # outputs are the caller's own: a view of an input, of weights or of another output is copied
        taken = {v.untyped_storage().data_ptr() for v in values}
        for index, result in enumerate(results):
            result = result.contiguous()
            address = result.untyped_storage().data_ptr()
            if address in state.held or address in taken:
                result = result.clone(memory_format=torch.contiguous_format)
                address = result.untyped_storage().data_ptr()
            taken.add(address)
            results[index] = result
        if self._listening is not None and show:
            self._show(self._listening, results, inner)
        return results, state.revision

    def set_debug_listener(self, listener: Listener | None, tensors: str | Iterable[str] = "*") -> None:
        with self._held():
            self._listening = None if listener is None else Listening.of(listener, tensors, self._debug_paths)

    def _show(self, listening: Listening, results: list[Any], inner: list[Any]) -> None:
        """Show the tensors inside, and the outputs that are debug tensors, in the recorded types."""
        found = {spec.name: result for spec, result in zip(self.outputs, results)}
        found |= dict(zip(self._debug.inner, inner))
        types = {spec.name: spec.dtype for spec in self.outputs}
        types |= {name: tensor.dtype for name, tensor in self._debug.inner.items()}
        for name in listening.paths:
            listening.show(name, np.array(to_numpy(found[name].to(types[name].torch))))


class ReferenceBoundCall(Revised):
    """A call on fixed tensors: reads what they hold, and gives the same output tensors each time.

    Attributes:
        tensors: the input tensors. One that was moved or resized since raises at the next call.
        result: the outputs, in the form that `forward` returned. Each call overwrites them.
        revision: which weights the last call ran with.
    """

    def __init__(self, engine: ReferenceEngine, values: list[Any]) -> None:
        one_kind(engine.inputs, values)
        for spec, value in zip(engine.inputs, values):
            if not (is_torch(value) and value.device == engine.device and value.is_contiguous()):
                raise ArgumentTypeError(
                    f"input {spec.name!r} cannot be bound",
                    expected=f"a contiguous torch tensor on {engine.device}",
                    found=type(value).__name__
                    if not is_torch(value)
                    else f"a tensor on {value.device}"
                    if value.device != engine.device
                    else "one that is not contiguous",
                    remedy=f"tensor.to('{engine.device}').contiguous(), kept and written to in place: "
                    "buffer.copy_(new)",
                )
        sizes = engine._check(values)
        open_dims = engine.graph.data_dims
        if any(
            not isinstance(s, int) and not open_dims.isdisjoint(map(str, s.symbols))
            for spec in engine.outputs
            for s in spec.shape
        ):
            raise ProviderError(
                "a call whose output shapes the data decides cannot be bound",
                expected="outputs of fixed shapes",
                remedy="call the engine itself",
            )
        self.engine = engine
        self.tensors = values
        self.revision = engine.revision
        torch = engine.torch
        with lasting():
            self.results = [
                torch.zeros(
                    [dims.evaluate(s, sizes) for s in spec.shape],
                    dtype=torch.float64 if engine._raw and spec.dtype.is_floating_point else spec.dtype.torch,
                    device=engine.device,
                )
                for spec in engine.outputs
            ]
        self.result = engine._formed(self.results)
        self._places = self._found()
        self._lock = threading.Lock()

    def _found(self) -> list[tuple[int, tuple[int, ...]]]:
        return [(value.data_ptr(), tuple(value.shape)) for value in self.tensors]

    def __call__(self, stream: StreamLike | None = None) -> Any:
        """Run on what the bound tensors hold now."""
        engine = self.engine
        if engine.closed:
            raise engine.closed_error()
        found = self._found()
        if found != self._places:
            names = [spec.name for spec, a, b in zip(engine.inputs, found, self._places) if a != b]
            raise EngineError(
                f"a bound tensor was moved or resized: {', '.join(names)}",
                expected="the memory that engine.bind was given",
                found="another address or shape",
                remedy="write to it in place (buffer.copy_(new)), or bind again",
            )
        with self._lock:
            results, self.revision = engine._results(list(self.tensors), stream, False)
            for target, result in zip(self.results, results):
                target.copy_(result)
        return self.result

    def close(self) -> None:
        """There is nothing to free; the call can be made again, as on a GPU."""


class ReferenceContext(BorrowingEngine):
    """Called as the engine is, over the same weights; closed by itself, or with the engine."""

    engine: ReferenceEngine

    def __init__(self, engine: ReferenceEngine) -> None:
        super().__init__(engine)
        self._closed: str | None = None

    @property
    def closed(self) -> str | None:
        return self._closed or self.engine.closed

    @closed.setter
    def closed(self, reason: str | None) -> None:
        self._closed = reason

    def _results(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        return self.engine._results(values, stream, graph)

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> ReferenceBoundCall:
        if self.closed:
            raise self.closed_error()
        return self.engine.bind(*args, graph=graph, **kwargs)

    def close(self) -> None:
        self._closed = self.closed or "its context was closed"


def _plan_of(engine: ReferenceEngine) -> Plan:
    """What is saved of it: a manifest and the weights; nothing is compiled, and so there is no `.engine` file."""
    graph = engine.graph
    with engine._held():
        parameters, version = engine.parameters(), engine.version
    return Plan(
        b"", (), "reference", "", 0.0, False, graph, {}, parameters, engine.refittable,
        {graph.parameters[name].name: name for name in engine.live}, options={"debug_tensors": engine._debug.paths},
        weights_version=None if version == "live" else version,
    )  # fmt: skip


INTEGERS = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}


def same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of one dtype hold the same bytes: NaN is NaN, and 0.0 is not -0.0."""
    torch = import_torch()
    integer = getattr(torch, INTEGERS[a.element_size()])
    return bool(torch.equal(a.view(integer), b.view(integer)))


def reference(
    graph: Graph, *, device: str = "cpu", dtype: DtypeLike | None = None, raw: bool = False, live: Choice = False
) -> ReferenceEngine:
    """An Engine that runs the graph in PyTorch, here and now.

    Args:
        device, dtype, raw: ReferenceEngine's.
        live: False, True, or patterns over `state_dict` keys: the parameters that `bind_weights` binds, as in `build`.
    """
    names = refittable_names(graph, live, "live")
    return ReferenceEngine(graph, device=device, dtype=dtype, raw=raw, live=names)


def to_torch(graph: Graph) -> torch.nn.Module:
    """The graph as a torch.nn.Module to train, with nested modules and the same parameter names.

    Its parameters start from the graph's values, copied. Recipes are differentiable; ranges of Dims are not enforced,
    so that minibatches of any size run; equalities between sizes are. With a float64 input every float is computed in
    float64 (`torch.autograd.gradcheck`).

    It is in eval mode at first. After `.train()`, of the whole or of a part, dropout drops (by torch's own generator),
    BatchNorm uses the batch's statistics and updates its buffers, as the recorded modules say. `.train()` raises
    UnsupportedError where forward decided by `self.training` in Python, and where the graph is a form of the recorded
    one (with extra outputs, say): what that does in training is not known.

    Gradients are those of the recorded layers. Where forward keeps some back (`detach`, `.data`, `no_grad`), or has a
    backward of its own (`autograd.Function`), it warns, with the lines: train the torch module of that file there.
    """
    import_torch()
    from .module import Recorded

    if graph.training is not None and graph.training.cuts:
        places = [f"{cut.text} at {cut.location}" for cut in graph.training.cuts]
        shown = ", ".join(places[:3]) + (f", and {len(places) - 3} more" if len(places) > 3 else "")
        warnings.warn(
            f"the gradients of this module are those of its layers, and forward has others: {shown}. What it computes "
            "is right; to train the model, train its own file in PyTorch, and refit the engine with that",
            stacklevel=user_level(),
        )
    return Recorded(graph)
