"""A Graph in PyTorch: the oracle, the engine of machines without a GPU, and a module to train."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..basics import dtypes, forking
from ..basics.arrays import from_numpy, import_torch, is_torch
from ..basics.errors import ArgumentError, ProviderError, WeightsError
from ..engine.engine import RefitReport, Snapshot, TensorSpec
from ..graph.graph import Graph
from ..rewriting.live_inputs import Bindings, Bound, with_live
from ..weights.ledger import kept
from ..weights.recipes import Leaf, Value
from .calls import ReferenceCalls
from .program import Program, Watch

if TYPE_CHECKING:
    import torch


class _State(NamedTuple):
    """The weights that a call runs with: taken as one, so that a refit beside it cannot mix old and new.

    Attributes:
        slots: everything that depends on weights alone; None until it is needed.
        held: the storages of those.
        live: the engine's own values of the live parameters.
        generation: how many times the weights were changed.
        bound: the trainer's tensors.
    """

    slots: list[Any] | None
    held: frozenset[int]
    live: list[Any]
    generation: int
    bound: Bound


class ReferenceEngine(ReferenceCalls):
    """Runs a graph in PyTorch, layer by layer, on the CPU or a CUDA device.

    Args:
        graph: what to run.
        device: torch's name of a device.
        dtype: None for the recorded types, or "float64": every float is computed in float64, recorded casts included.
        raw: with float64, whether inputs and outputs are float64 too.
        live: names of the parameters that `bind_weights` binds.
        values: the values of the parameters that the network uses, by the parameters' own names; they are not copied.
            The graph's, copied, unless given: nobody else can write to an engine's values.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        device: str = "cpu",
        dtype: Any = None,
        raw: bool = False,
        live: Collection[str] = (),
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self._state = _State(None, frozenset(), [], 0, Bound.of({}))
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
        rewritten = with_live(graph, live)
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
            there = {name: leaf.value for name, leaf in self._leaves.items() if leaf.value.there}
            values = {name: from_numpy(kept(value.read())).to(self.device) for name, value in there.items()}
        self._values = dict(values)
        self.watch: Watch | None = None
        """Called after each layer of a call: what compares engines looks at tensors inside, and stops what is late."""

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self.closed = self.closed or forking.FORKED

    def _found(self, device: Any) -> Any:
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
    def generation(self) -> int:
        return self._state.generation

    @generation.setter
    def generation(self, value: int) -> None:
        self._state = self._state._replace(generation=value)

    # --- weights

    def _read(self, leaf: Leaf) -> Any:
        found = self._values.get(leaf.name)
        return from_numpy(Value().read()) if found is None else found  # which says that there is no value

    def _refit(self, values: dict[str, Any], fresh_contexts: bool, generation: int | None = None) -> RefitReport:
        with self._held():
            self.bindings.refuse(values)
            new, unchanged = dict(self._values), []
            for name, value in values.items():
                tensor = from_numpy(value) if isinstance(value, np.ndarray) else value
                new[name] = tensor.to(self.device, copy=True)
                before = self._values.get(name)
                if before is not None and same_bytes(before, new[name]):
                    unchanged.append(name)
            given = values.keys() - set(unchanged)
            changed = [name for name in values if name in self.bindings.leaves and name in given]
            for _, weight in self._program.weights:
                if weight.name is not None and any(leaf.name in given for leaf in weight.leaves()):
                    changed.append(weight.name)
            self._replace(new, generation)
        return RefitReport(list(values), list(dict.fromkeys(changed)), unchanged=unchanged)

    def _replace(self, values: dict[str, Any], generation: int | None = None) -> None:
        before = self._values
        self._values = values
        try:
            slots = self._make_slots()
        except BaseException:
            self._values = before
            raise
        self._use(slots, self.generation + 1 if generation is None else generation)

    def _use(self, slots: list[Any], generation: int) -> _State:
        tensor = self.torch.Tensor
        held = frozenset(v.untyped_storage().data_ptr() for v in slots if isinstance(v, tensor))
        live = [self._read(leaf) for leaf in self._live]
        self._state = _State(slots, held, live, generation, self.bindings.now)
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
            self._replace(dict(snapshot.weights))

    def bind_weights(self, weights: Any, *, prefix: str = "") -> None:
        if not self.live:
            raise WeightsError("this engine has no live weights", remedy="build(graph, live=True), or live='policy.*'")
        with self._held():
            self.bindings.bind(self.graph.parameters, weights, prefix)
            state = self._state
            self._state = state._replace(generation=state.generation + 1, bound=self.bindings.now)

    # --- calls

    def _run(self, values: list[Any], sizes: dict[str, int]) -> tuple[list[Any], int]:
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
                    state = self._use(self._make_slots(), state.generation)
        assert state.slots is not None
        state.bound.check()
        bound = state.bound.tensors
        values += [bound[leaf.name].detach() for leaf in self._live] if bound else state.live
        with mode():
            if self._double:
                values = [v.double() if v.is_floating_point() else v for v in values]
            if self.device.type != "cpu" or any(v.device.type != "cpu" for v in values):
                values = [v.to(self.device) for v in values]
            results = self._program.run(state.slots.copy(), values, self.device, sizes, self.watch)
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
        return results, state.generation


def same_bytes(a: Any, b: Any) -> bool:
    """Whether two tensors of one dtype hold the same bytes: NaN is NaN, and 0.0 is not -0.0."""
    if a.numel() == 0:
        return True
    integers = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}
    torch = import_torch()
    a, b = (t.contiguous().view(-1).view(getattr(torch, integers[t.element_size()])) for t in (a, b))
    return bool(torch.equal(a, b))


def reference(
    graph: Graph, *, device: str = "cpu", dtype: Any = None, raw: bool = False, live: Collection[str] = ()
) -> ReferenceEngine:
    """An Engine that runs the graph in PyTorch, here and now. The arguments are ReferenceEngine's."""
    return ReferenceEngine(graph, device=device, dtype=dtype, raw=raw, live=live)


def to_torch(graph: Graph) -> torch.nn.Module:
    """The graph as a torch.nn.Module to train, with nested modules and the same parameter names.

    Its parameters start from the graph's values, copied. Recipes are differentiable; ranges of Dims are not enforced,
    so that minibatches of any size run; equalities between sizes are. With a float64 input every float is computed in
    float64 (`torch.autograd.gradcheck`).

    It is in eval mode at first. After `.train()`, of the whole or of a part, dropout drops (by torch's own generator),
    BatchNorm uses the batch's statistics and updates its buffers, as the recorded modules say. `.train()` raises
    UnsupportedError where forward decided by `self.training` in Python, and where the graph is a form of the recorded
    one (with extra outputs, say): what that does in training is not known.
    """
    import_torch()
    from .module import Recorded

    return Recorded(graph)
