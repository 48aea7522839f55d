"""Where a TensorRT engine reads its live weights: in memory of its own, until a trainer's tensors are bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gpu import Device
from .interchange import is_torch, to_numpy
from .live import Bindings
from .plan import Plan
from .provider import Provider
from .weights.ownership import converted


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
        for name in self.leaves:
            self._write(name, plan.parameters[name])

    @property
    def version(self) -> int:
        return self.bindings.version

    def check(self) -> None:
        self.bindings.check()

    def addresses(self) -> list[tuple[str, int]]:
        """Input name and address of each."""
        bound = self.bindings.tensors
        return [
            (self._inputs[name], bound[name].data_ptr() if bound else self._own[name].handle) for name in self.leaves
        ]

    def bind(self, weights: Any, prefix: str) -> None:
        self.bindings.bind(self._keys, weights, prefix)

    def check_writable(self, values: dict[str, Any]) -> None:
        self.bindings.refuse(values)

    def write(self, values: dict[str, Any], stream: int) -> None:
        """Copy new values into the engine's own memory."""
        for name, value in values.items():
            if is_torch(value) and value.is_cuda and self._stored[name] is self.leaves[name].dtype:
                value = value.contiguous()
                self.device.copy(self._own[name].handle, value.data_ptr(), value.nbytes, stream)
            else:
                self._write(name, to_numpy(value) if is_torch(value) else value)
        self.device.synchronize(stream)

    def _write(self, name: str, value: np.ndarray) -> None:
        leaf = self.leaves[name]
        array = np.ascontiguousarray(converted(value, leaf, self._stored[name]))
        self.device.copy(self._own[name].handle, array.ctypes.data, array.nbytes, 0)
        self.device.synchronize(0)

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

    def state(self) -> dict[str, np.ndarray] | None:
        """Copies of what is the engine's own; None where a trainer's tensors are bound."""
        return None if self.bindings.tensors else self.parameters()

    def bring_back(self, state: dict[str, np.ndarray]) -> None:
        self.bindings.refuse(state)
        for name, array in state.items():
            self._write(name, array)
