"""Where a TensorRT engine reads its live weights: in memory of its own, until a trainer's tensors are bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...basics.arrays import is_torch, to_numpy
from ...engine.bindings import Bindings
from ...engine.plan import Plan
from ...weights.ledger import as_stored
from ...weights.sources import Selection, Source
from ..device import Device
from ..provider import Provider


class LiveMemory:
    """The live parameters of one engine.

    Attributes:
        bindings: the tensors that are bound.
        version: changes when the addresses do.
    """

    def __init__(self, plan: Plan, provider: Provider, device: Device) -> None:
        keys = {name: leaf for name, leaf in plan.graph.parameters.items() if leaf.name in plan.live}
        self._keys = plan.graph.parameters
        self._inputs = plan.live
        self.leaves = {leaf.name: leaf for leaf in keys.values()}
        self.device = device
        self.bindings = Bindings(self.leaves.values(), device)
        self._stored = {name: provider.stored(leaf.dtype) for name, leaf in self.leaves.items()}
        self._own = {name: device.allocate(self._stored[name].nbytes(leaf.count)) for name, leaf in self.leaves.items()}
        self.write(self.prepared({name: plan.parameters[name] for name in self.leaves}))

    @property
    def nbytes(self) -> int:
        """What the engine's own memory takes."""
        return sum(self._stored[name].nbytes(self.leaves[name].count) for name in self._own)

    @property
    def version(self) -> int:
        return self.bindings.version

    def check(self) -> None:
        self.bindings.now.check()

    def addresses(self) -> list[tuple[str, int]]:
        """Input name and address of each."""
        bound = self.bindings.tensors
        return [
            (self._inputs[name], bound[name].data_ptr() if bound else self._own[name].handle) for name in self.leaves
        ]

    def bind(self, weights: Source, selection: Selection) -> None:
        self.bindings.bind(self._keys, weights, selection)

    def prepared(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """New values as `write` takes them: contiguous, and of the types that are stored. Raises what that raises."""
        self.bindings.refuse(values)
        found: dict[str, Any] = {}
        for name, value in values.items():
            if is_torch(value) and value.is_cuda and self._stored[name] is self.leaves[name].dtype:
                found[name] = value.contiguous()
            else:
                array = to_numpy(value) if is_torch(value) else value
                found[name] = np.asarray(as_stored(array, self.leaves[name], self._stored[name]), order="C")
        return found

    def write(self, prepared: Mapping[str, Any], stream: int = 0) -> None:
        """Copy new values into the engine's own memory."""
        for name, value in prepared.items():
            source = value.ctypes.data if isinstance(value, np.ndarray) else value.data_ptr()
            self.device.copy(self._own[name].handle, source, value.nbytes, stream)
        self.device.synchronize(stream)

    def parameters(self) -> dict[str, np.ndarray]:
        """Present values, copied to the host."""
        bound = self.bindings.tensors
        if bound:
            return {name: to_numpy(tensor) for name, tensor in bound.items()}
        found = {}
        for name, leaf in self.leaves.items():
            array = np.empty(leaf.shape, self._stored[name].numpy)
            self.device.copy(array.ctypes.data, self._own[name].handle, array.nbytes, 0)
            found[name] = array
        self.device.synchronize(0)
        return {name: array.astype(self.leaves[name].dtype.numpy, copy=False) for name, array in found.items()}

    def release(self) -> None:
        """Free the engine's own memory, and let go of a trainer's tensors."""
        self._own.clear()
        self.bindings.release()

    def state(self) -> dict[str, np.ndarray] | None:
        """Copies of what is the engine's own; None where a trainer's tensors are bound."""
        return None if self.bindings.tensors else self.parameters()
