"""New weights for a live engine, by parameter name: recipes evaluated, TensorRT's Refitter told, all or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from .engine import RefitReport
from .errors import WeightsError
from .lowering import Lowering
from .provider import Provider
from .weights.ownership import converted
from .weights.recipes import Leaf, Weight, evaluate

State = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


class Refitting:
    """The engine's own copy of its parameters and weights, and what refits it.

    TensorRT cannot give weights back, so what it asks for beside the given weights comes from this copy.
    """

    def __init__(self, provider: Provider, engine: Any, lowering: Lowering, device: Any) -> None:
        self.provider = provider
        self.engine = engine
        self.device = device
        self.weights: dict[str, Weight] = {h.name: h.weight for h in lowering.ledger}
        self._stored = {h.name: h.dtype for h in lowering.ledger}
        copies: dict[int, np.ndarray] = {}

        def own(array: np.ndarray) -> np.ndarray:
            # nobody writes to a read-only one (a mapped file)
            if not array.flags.writeable:
                return array
            if id(array) not in copies:
                copies[id(array)] = array.copy()
            return copies[id(array)]

        self._parameters = {leaf.name: own(leaf.value.read()) for w in self.weights.values() for leaf in w.leaves()}
        self._arrays = {h.name: own(h.array) for h in lowering.ledger}

    def apply(self, given: dict[str, np.ndarray]) -> RefitReport:
        """Refit from new parameter values. Raises WeightsError with the old weights back in place."""
        parameters = self._parameters | {n: np.array(v) for n, v in given.items() if n in self._parameters}

        def read(leaf: Leaf) -> np.ndarray:
            return parameters[leaf.name]

        changed = {
            name: converted(evaluate(weight, read), weight, self._stored[name])
            for name, weight in self.weights.items()
            if any(leaf.name in given for leaf in weight.leaves())
        }
        companions = self._write(changed)
        self._parameters = parameters
        self._arrays = self._arrays | changed
        return RefitReport(list(given), list(changed), companions)

    def state(self) -> State:
        """Parameters and engine weights as they are now."""
        return dict(self._parameters), dict(self._arrays)

    def bring_back(self, state: State) -> None:
        """Write the engine weights of `state` back; nothing is evaluated again."""
        parameters, arrays = state
        self._write({name: array for name, array in arrays.items() if array is not self._arrays[name]})
        self._parameters, self._arrays = dict(parameters), dict(arrays)

    def _write(self, new: dict[str, np.ndarray]) -> list[str]:
        """Set weights and refit; the names of the companions that TensorRT asked for."""
        if not new:
            return []
        known = set(self.all_names())
        absent = [name for name in new if name not in known]
        if absent:
            raise WeightsError(
                "TensorRT did not keep these weights refittable",
                found=", ".join(absent),
                remedy="build the graph again with these weights",
            )
        try:
            return self._refit(new)
        except WeightsError:
            self._refit({name: self._arrays[name] for name in new})
            raise

    def all_names(self) -> list[str]:
        """The names of every weight that TensorRT lets be refitted."""
        return list(self.provider.refitter(self.engine).get_all_weights())

    def _refit(self, new: dict[str, np.ndarray]) -> list[str]:
        # a new Refitter each time: it keeps a reference to every array that it was ever given
        refitter = self.provider.refitter(self.engine)
        held = []
        companions: list[str] = []

        def give(name: str, array: np.ndarray) -> None:
            held.append(np.ascontiguousarray(array))
            if not refitter.set_named_weights(name, self.provider.weights(held[-1], self._stored[name])):
                raise WeightsError(
                    f"TensorRT refused new values for {name!r}",
                    expected=f"{self.weights[name].count} elements of {self._stored[name]}",
                    found=f"{held[-1].size} of {held[-1].dtype}",
                )

        for name, array in new.items():
            give(name, array)
        for name in refitter.get_missing_weights():
            if name not in self._arrays:
                raise WeightsError("TensorRT asks for weights that trtnet did not name", found=name)
            give(name, self._arrays[name])
            companions.append(name)
        if not refitter.refit_cuda_engine():
            raise WeightsError(
                "TensorRT refused the refit", found=", ".join(new), details="the old weights are back in place"
            )
        return companions
