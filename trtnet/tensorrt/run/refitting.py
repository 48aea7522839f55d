"""New weights for a live engine, by parameter name: recipes evaluated, TensorRT's Refitter called, all or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...basics.arrays import import_torch, is_torch, packed, to_numpy
from ...basics.errors import WeightsError
from ...engine.plan import EngineWeight, Plan
from ...engine.refit import RefitReport
from ...weights.ledger import as_stored
from ...weights.recipes import Leaf, TorchOperations, evaluate
from ..callbacks import ErrorRecorder
from ..device import Device, Owned
from ..provider import Provider
from . import refit_without_gil
from .staging import Staging

if TYPE_CHECKING:
    import torch

    from ...layers.targets import Weights
    from ..bindings import ICudaEngine, Refitter

State = dict[str, np.ndarray]
REFITTERS = 32  # that are kept
VALUES, VALUES_EACH = 1 << 11, 16  # that one is given, in all or for each weight; the bindings keep a reference to each
HOST_BYTES, HOST_TENSORS = 1 << 22, 24  # what is on the host sooner than a comparison on the GPU is done
OWN_COPY_BYTES = 1 << 20  # of a tensor, beside which what a copy of its own costs does not count
NUMPY_BYTES = 1 << 16  # that NumPy is done with sooner than the GPU is told what to do


@dataclass(slots=True)
class KeptRefitter:
    """A Refitter that was given some weights, which it refits again, and the companions that TensorRT asked for.

    Attributes:
        companions: None until it was given the weights.
        values: what it was given: arrays, which are held, and addresses on the device.
        times: how many values it was given so far.
    """

    refitter: Refitter
    errors: ErrorRecorder
    companions: list[str] | None = None
    values: dict[str, np.ndarray | int] = field(default_factory=dict)
    times: int = 0


class New(NamedTuple):
    """The segments whose new buffers on the host, and on the device, hold the values of a refit."""

    host: set[str]
    device: set[str]


@dataclass(slots=True)
class Received:
    """Parameters that were given so far, those of them that differ from the present ones, and where those are."""

    given: dict[str, None] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    new: New = field(default_factory=lambda: New(set(), set()))
    seconds: float = 0.0


class Refitting:
    """The engine's own copy of its parameters and weights, and what refits it.

    TensorRT cannot give weights back, so what it asks for beside the given weights comes from this copy.

    A Refitter refits every weight that it was ever given, from what is in that memory by then ("the weights memory
    can be updated directly", documentation of IRefitter; 8.6 was seen to do so). So there is one for each set of
    weights, the last few of which are kept; it is given only what lies elsewhere than before.
    """

    def __init__(self, provider: Provider, engine: ICudaEngine, plan: Plan, device: Device) -> None:
        self.provider = provider
        self.engine = engine
        self.device = device
        self._known = frozenset(self._refitter().get_all_weights())
        self.weights: dict[str, EngineWeight] = {
            name: one for name, one in plan.weights.items() if name in self._known or not one.idle
        }
        self.missing = {
            leaf.name for e in self.weights.values() for leaf in e.weight.leaves() if leaf.name not in plan.parameters
        }
        self._constants = {n: e for n, e in self.weights.items() if e.weight.name is None or e.dtype.bits < 8}
        changing = {name: one for name, one in self.weights.items() if name not in self._constants}
        leaves = {leaf.name: leaf for e in changing.values() for leaf in e.weight.leaves()}
        # a parameter that is an engine weight as it stands has one segment for both
        self._segments = {
            name: one.weight.name
            for name, one in changing.items()
            if isinstance(one.weight, Leaf) and one.dtype is one.weight.dtype
        }
        self._made = {n: e for n, e in self.weights.items() if n not in self._segments and n not in self._constants}
        self._segments |= {name: f"{name}\0made" for name in self._made}
        nbytes = {name: leaf.dtype.nbytes(leaf.count) for name, leaf in leaves.items()}
        self._needs = {name: frozenset(leaf.name for leaf in one.weight.leaves()) for name, one in self._made.items()}
        self._light = {name for name, needs in self._needs.items() if sum(nbytes[n] for n in needs) <= NUMPY_BYTES}
        self._heavy = {leaf for name in self._made.keys() - self._light for leaf in self._needs[name]}
        items = [(name, leaf.dtype, leaf.shape) for name, leaf in leaves.items()]
        items += [(self._segments[name], e.dtype, e.weight.shape) for name, e in self._made.items()]
        self.staging = Staging(items, device.pinned, device.copy, device.synchronize)
        for name in leaves:
            if name in plan.parameters:
                np.copyto(self.staging.host(name), plan.parameters[name].reshape(leaves[name].shape))
        for name, one in self._made.items():
            if self._complete(one):
                array = one.array
                if array is None:
                    array = self._evaluated(one, lambda leaf: self.staging.host(leaf.name))
                np.copyto(self.staging.host(self._segments[name]), array.reshape(one.weight.shape))
        self._operations: CachingOperations | None = None
        self._literals: dict[str, np.ndarray] = {}
        self._refitters: dict[frozenset[str], KeptRefitter] = {}
        self._natives: dict[tuple[str, int], Weights] = {}  # of arrays over fixed memory
        self._training: tuple[frozenset[str], int] = frozenset(), 0
        self._side: Owned | None = None
        self._event: Owned | None = None
        self._users: dict[str, list[str]] = {name: [] for name in leaves}
        for name, one in changing.items():
            for leaf in dict.fromkeys(one.weight.leaves()):
                self._users[leaf.name].append(name)

    def _complete(self, one: EngineWeight) -> bool:
        return self.missing.isdisjoint(leaf.name for leaf in one.weight.leaves())

    @staticmethod
    def _evaluated(one: EngineWeight, read: Callable[[Leaf], np.ndarray]) -> np.ndarray:
        return packed(as_stored(evaluate(one.weight, read), one.weight, one.dtype), one.dtype)

    def _refitter(self) -> Refitter:
        return self.provider.refitter(self.engine)

    # --- a refit

    def apply(self, given: Mapping[str, Any], stream: int = 0) -> RefitReport:
        """Refit from new parameter values. Raises WeightsError with the old weights back in place.

        CUDA tensors are read in the order of `stream`.
        """
        received = Received()
        self.receive(given, received, stream)
        return self.commit(received, stream)

    def receive(self, given: Mapping[str, Any], received: Received, stream: int = 0) -> None:
        """Copy new parameter values into the memory that the next weights come from; what was given may be freed."""
        started = time.perf_counter()
        changed, new = self._receive({name: value for name, value in given.items() if name in self._users}, stream)
        received.changed += changed
        received.new.host.update(new.host)
        received.new.device.update(new.device)
        received.given.update(dict.fromkeys(given))
        received.seconds += time.perf_counter() - started

    def values(self, received: Received) -> dict[str, Any]:
        """What was received: arrays, or torch tensors of what is on the device alone. Views of fixed memory."""
        found: dict[str, Any] = {}
        changed, new, staging = set(received.changed), received.new, self.staging
        for name in received.given:
            if name not in self._users:
                continue
            if name not in changed:
                found[name] = staging.present(name)
            elif name in new.host:
                found[name] = staging.new(name)
            else:
                where, buffer = import_torch().device("cuda", self.device.ordinal), 1 - staging.segments[name].buffer
                found[name] = staging.device(name, buffer, import_torch(), where)
        return found

    def commit(self, received: Received, stream: int = 0) -> RefitReport:
        """Refit from what was received. Raises WeightsError with the old weights back in place."""
        given, changed, new = received.given, received.changed, received.new
        report = RefitReport(list(given), [])
        not_given = self.missing - given.keys()
        if not_given:
            raise WeightsError(
                "this engine was loaded without weights, and its first refit must be complete",
                expected="every parameter",
                found="without " + ", ".join(sorted(not_given)[:8]),
                remedy="give all of them at once: engine.refit(module.state_dict())",
            )
        flipped = set(changed)
        report.unchanged = [name for name in given if name in self._users and name not in flipped]
        report.times["gather"] = received.seconds
        started = time.perf_counter()
        weights = list(dict.fromkeys(w for name in changed for w in self._users[name]))
        made = [name for name in weights if name in self._made]
        self._make(made, flipped, new, stream)
        report.times["recipes"] = time.perf_counter() - started
        started = time.perf_counter()
        staging = self.staging
        values: dict[str, np.ndarray | int] = {}
        for name in weights:
            segment = self._segments[name]
            values[name] = staging.new(segment) if segment in new.host else staging.new_address(segment)
        report.companions = self._write(values, stream)
        report.times["refit"] = time.perf_counter() - started
        report.changed = weights
        for segment in (*changed, *(self._segments[name] for name in made)):
            staging.flip([segment], host=segment in new.host, device=segment in new.device)
        self.missing.clear()
        return report

    def _receive(self, given: Mapping[str, Any], stream: int) -> tuple[list[str], New]:
        """Copy given values to the new buffers; which of them differ from the present ones, and where they are."""
        staging, new = self.staging, New(set(), set())
        cuda = {name: value for name, value in given.items() if is_torch(value) and value.is_cuda}
        brought: Mapping[str, Any] = {}
        if cuda and self._is_little(cuda):
            staging.into_host(cuda, stream)
            staging.synchronize(stream)
            brought, cuda = cuda, {}
        changed = []
        for name, value in given.items():
            if name in cuda:
                continue
            if name in brought:
                value = staging.new(name)
            elif is_torch(value):
                value = to_numpy(value)
            if name in self.missing or not staging.has(name, value):
                if name not in brought:
                    np.copyto(staging.new(name), value)
                changed.append(name)
        new.host.update(changed)
        if cuda:
            where = next(iter(cuda.values())).device
            different, fetched = self._gather(cuda, import_torch(), where, stream)
            found = [name for name in cuda if name in different or name in self.missing]
            new.device.update(found)
            if fetched:
                new.host.update(found)
            changed += found
        return changed, new

    def _is_little(self, cuda: Mapping[str, Any]) -> bool:
        """Whether these are on the host sooner than the GPU has compared them, and nothing on the GPU needs them."""
        if self.provider.refits_on_device or len(cuda) > HOST_TENSORS or not self._heavy.isdisjoint(cuda):
            return False
        return sum(self.staging.segments[name].nbytes for name in cuda) <= HOST_BYTES

    def _gather(
        self, cuda: Mapping[str, Any], torch: ModuleType, where: torch.device, stream: int
    ) -> tuple[set[str], bool]:
        """Copy CUDA tensors to the new buffers on the device; which of them differ, and whether all of them are on the
        host as well, where TensorRT reads them: those of a training loop, which changes them all each time. Their copy
        to the host goes on while the GPU compares."""
        staging, device = self.staging, self.device
        names = frozenset(cuda)
        before, streak = self._training
        training = not self.provider.refits_on_device and names == before and streak >= 2
        if training:
            if self._side is None or self._event is None:
                self._side, self._event = device.stream(), device.event()
            side = self._side.handle
            large = sum(staging.segments[name].nbytes for name in names) >= OWN_COPY_BYTES * len(names)
            cuda = {name: value.contiguous() for name, value in cuda.items()}  # until they are copied
            try:
                if large:  # a copy of each takes less time than to pack them first
                    device.order(self._event, stream, side)
                    staging.into_host(cuda, side)
                staging.into_device(cuda, torch, where, stream)
                if not large:
                    device.order(self._event, stream, side)
                    staging.device_to_host(cuda, side, wait=False)
                different = set(staging.differing(list(cuda), torch, stream))
            finally:
                device.synchronize(side)
        else:
            staging.into_device(cuda, torch, where, stream)
            different = set(staging.differing(list(cuda), torch, stream))
        self._training = names, (streak + 1 if names == before else 1) if different == names else 0
        return different, training

    def _make(self, names: Iterable[str], changed: set[str], new: New, stream: int) -> None:
        """Evaluate engine weights into their new buffers, and have on the host what TensorRT reads there.

        In torch where the changed parameters are on the GPU, else in NumPy; also the few numbers of a normalization,
        where they must be on the host anyhow, and the GPU would take longer to be told than to compute.
        """
        staging, direct = self.staging, self.provider.refits_on_device
        torch: Any = None
        where: Any = None
        if new.device:
            torch = import_torch()
            where = torch.device("cuda", self.device.ordinal)

        def on_device(leaf: Leaf) -> Any:
            buffer = staging.segments[leaf.name].buffer
            return staging.device(leaf.name, 1 - buffer if leaf.name in changed else buffer, torch, where)

        def on_host(leaf: Leaf) -> np.ndarray:
            return staging.new(leaf.name) if leaf.name in changed else staging.present(leaf.name, stream)

        on_the_host = []
        for name in names:
            one, segment, leaves = self.weights[name], self._segments[name], self._needs[name]
            if leaves.isdisjoint(new.device) or (name in self._light and not direct):
                on_the_host.append(name)
                continue
            for leaf in (leaves & changed) - new.device:  # given on the host beside others on the GPU
                target = staging.device(leaf, 1 - staging.segments[leaf].buffer, torch, where)
                self.device.copy(target.data_ptr(), staging.new(leaf).ctypes.data, target.nbytes, stream)
            staging.host_to_device(leaves - changed, torch, where, stream)
            if self._operations is None:
                self._operations = CachingOperations(where)
            with torch.no_grad():
                value = evaluate(one.weight, on_device, self._operations)
                target = staging.device(segment, 1 - staging.segments[segment].buffer, torch, where)
                target.copy_(value.reshape(target.shape))
            new.device.add(segment)
        lacking = set() if direct else new.device - new.host
        if lacking:
            staging.device_to_host(lacking, stream)
            new.host.update(lacking)
        for name in on_the_host:
            one, segment = self.weights[name], self._segments[name]
            np.copyto(staging.new(segment), self._evaluated(one, on_host).reshape(one.weight.shape))
            new.host.add(segment)

    def _write(self, new: Mapping[str, np.ndarray | int], stream: int = 0) -> list[str]:
        """Set weights (arrays, or addresses on the device) and refit; the names of the companions that TensorRT asked
        for."""
        if not new:
            return []
        absent = [name for name in new if name not in self._known]
        if absent:
            raise WeightsError(
                "TensorRT did not keep these weights refittable",
                found=", ".join(absent),
                remedy="print(engine.weights) says which are; build the graph again with these weights",
            )
        try:
            return self._refit(new, stream)
        except BaseException:
            if not self.missing:
                self._refit({name: self._present(name) for name in new})
            raise

    def _present(self, name: str) -> np.ndarray:
        """The present value of an engine weight, constants that are no parameter included."""
        constant = self._constants.get(name)
        if constant is None:
            return self.staging.present(self._segments[name])
        if name not in self._literals:
            array = (
                self._evaluated(constant, lambda leaf: self.staging.present(leaf.name))
                if constant.array is None
                else constant.array
            )
            self._literals[name] = np.asarray(array, order="C")
        return self._literals[name]

    def _refit(self, new: Mapping[str, np.ndarray | int], stream: int = 0) -> list[str]:
        provider, names = self.provider, frozenset(new)
        kept = self._refitters.pop(names, None)  # one that fails is not kept
        if kept is None or kept.times >= max(VALUES, VALUES_EACH * len(names)):
            refitter = self._refitter()
            kept = KeptRefitter(refitter, provider.error_recorder(refitter))
        kept.errors.clear()
        self._set(kept, new)
        if kept.companions is None:
            kept.companions = self._asked_for(kept.refitter)
        self._set(kept, {name: self._present(name) for name in kept.companions})
        if not execute(provider, kept.refitter, stream, any(isinstance(v, int) for v in new.values())):
            raise self._refused(new, kept.errors.text())
        if len(self._refitters) >= REFITTERS:
            del self._refitters[next(iter(self._refitters))]
        self._refitters[names] = kept  # the last to be dropped
        return list(kept.companions)

    def _asked_for(self, refitter: Refitter) -> list[str]:
        """What TensorRT wants beside the weights that it was given."""
        names = list(refitter.get_missing_weights())
        unknown = [name for name in names if name not in self.weights]
        if unknown:
            raise WeightsError(
                "TensorRT asks for weights that trtnet did not name",
                found=", ".join(unknown),
                remedy="build the plan with trtnet, which names every weight",
            )
        return names

    def _set(self, kept: KeptRefitter, values: Mapping[str, np.ndarray | int]) -> None:
        provider = self.provider
        for name, value in values.items():
            before = kept.values.get(name)
            if before is value or (isinstance(value, int) and isinstance(before, int) and before == value):
                continue
            one = self.weights[name]
            if isinstance(value, int):
                taken = _set_on_device(provider, kept.refitter, name, one, value)
            else:
                native = self._natives.get((name, id(value)))
                if native is None:
                    native = self._natives[name, id(value)] = provider.weights(value, one.dtype, count=one.weight.count)
                taken = kept.refitter.set_named_weights(name, native)
            if not taken:
                raise WeightsError(
                    f"TensorRT refused new values for {name!r}",
                    expected=f"{one.weight.count} elements of {one.dtype}",
                    found="another number or type in the plan",
                    remedy="this plan is of another network: build it again",
                )
            kept.values[name] = value
            kept.times += 1

    @staticmethod
    def _refused(new: Iterable[str], reason: str) -> WeightsError:
        return WeightsError(
            "TensorRT refused the refit",
            found=", ".join(new),
            details=(reason or "(TensorRT gave no reason)") + "\nthe old weights are back in place",
            remedy="print(engine.weights) shows which weights the engine has",
        )

    def write_all(self) -> RefitReport:
        """Write every present weight: for a plan that holds others, or none."""
        if self.missing:
            raise WeightsError(
                "this engine has no values for these parameters",
                found=", ".join(sorted(self.missing)[:8]),
                remedy="engine.refit(state_dict) with all of them",
            )
        names = [name for name in self.weights if name in self._known]
        self._refit({name: self._present(name) for name in names})
        return RefitReport(list(self._users), names)

    # --- states

    def parameters(self) -> State:
        """Present values by parameter name; views of the fixed memory."""
        return {name: self.staging.present(name) for name in self._users if name not in self.missing}

    def arrays(self) -> State:
        """Present values by engine weight name; views of the fixed memory."""
        return {name: self._present(name) for name in self.weights}

    def state(self) -> State:
        """Copies of every segment as it is now."""
        if self.missing:
            raise WeightsError(
                "this engine was loaded without weights: there is nothing to take a snapshot of",
                remedy="engine.refit(state_dict) first",
            )
        return {name: self.staging.present(name).copy() for name in self.staging.segments}

    def bring_back(self, state: State) -> None:
        """Write the engine weights of `state` back; nothing is evaluated again."""
        different = [name for name, array in state.items() if not self.staging.has(name, array)]
        for name in different:
            np.copyto(self.staging.new(name), state[name])
        changed = set(different)
        weights = [w for w, segment in self._segments.items() if segment in changed]
        self._write({name: self.staging.new(self._segments[name]) for name in weights})
        self.staging.flip(different)


class CachingOperations(TorchOperations):
    """Constants of recipes are copied to the GPU once."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._cached: dict[int, tuple[np.ndarray, torch.Tensor]] = {}

    def constant(self, array: np.ndarray) -> torch.Tensor:
        found = self._cached.get(id(array))
        if found is None:
            found = self._cached[id(array)] = (array, super().constant(array))
        return found[1]


def _set_on_device(provider: Provider, refitter: Refitter, name: str, one: EngineWeight, address: int) -> bool:
    weights = provider.trt.Weights(provider.data_type(one.dtype), address, one.weight.count)
    return bool(refitter.set_named_weights(name, weights, provider.trt.TensorLocation.DEVICE))


def execute(provider: Provider, refitter: Refitter, stream: int, on_device: bool) -> bool:
    """Whether TensorRT took the weights that were set."""
    if on_device:
        return bool(refitter.refit_cuda_engine_async(stream))
    if provider.version.startswith("8.6."):  # by version: it is a layout in memory, which has no name
        return refit_without_gil.refit(refitter)
    return bool(refitter.refit_cuda_engine())
