"""A graph as steps in PyTorch: what the reference engine runs, and a module to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..basics.arrays import import_torch
from ..basics.dims import Dim, format_shape
from ..basics.errors import ProviderError, TrtnetError
from ..graph.graph import Graph
from ..graph.tensor import Producer
from ..layers.targets import Run
from ..weights.recipes import Leaf, TorchOperations, Weight, evaluate

Watch = Callable[[Run, "Step", list[Any]], None]


class Program:
    """A graph as a list of steps over numbered slots.

    What depends on weights alone is computed once for each set of weights, everything else at each run. A slot is
    emptied after its last use, so a run holds no more than it needs.
    """

    def __init__(self, graph: Graph, double: bool = False, explains: bool = True) -> None:
        self.graph = graph
        self.explains = explains
        self.torch = import_torch()
        self.double = double
        numbers: dict[Any, int] = {}
        self.weights: list[tuple[int, Weight]] = []
        self.constant_steps: list[Step] = []
        self.steps: list[Step] = []
        constant: set[int] = set()

        def number(key: Any) -> int:
            return numbers.setdefault(key, len(numbers))

        nothing = number(None)
        constant.add(nothing)
        self.inputs = [number(t) for t in (*graph.inputs.values(), *graph.live.values())]
        for layer in graph.layers:
            given = []
            for operand in layer.inputs:
                known = operand in numbers
                slot = number(operand)
                if isinstance(operand, Weight) and not known:
                    self.weights.append((slot, operand))
                    constant.add(slot)
                given.append(slot)
            made = [number(t) for t in layer.outputs]
            is_constant = constant.issuperset(given) and not layer.draws and not _is_dynamic(layer)
            step = Step(layer, tuple(given), tuple(made))
            (self.constant_steps if is_constant else self.steps).append(step)
            if is_constant:
                constant.update(made)
        self.outputs = [number(t) for t in graph.outputs.values()]
        self.count = len(numbers)
        keep = constant | set(self.outputs)
        seen: set[int] = set()
        for step in reversed(self.steps):
            last = {*step.inputs, *step.outputs} - keep - seen
            step.frees = tuple(last)
            seen |= last

    def constants(self, read: Callable[[Leaf], Any], device: Any) -> list[Any]:
        """The slots with everything that depends on weights alone."""
        torch = self.torch
        slots: list[Any] = [None] * self.count
        operations = TorchOperations(device, self.double)
        for slot, weight in self.weights:
            slots[slot] = operations.storage(evaluate(weight, read, operations), weight.dtype)
        run = Run(torch, device, {}, self.double, self.explains)
        for step in self.constant_steps:
            step(run, slots, free=False)
        return slots

    def run(
        self,
        slots: list[Any],
        inputs: list[Any],
        device: Any,
        sizes: Mapping[str, int],
        watch: Watch | None = None,
        module: Any = None,
    ) -> list[Any]:
        """The outputs for these inputs, of the torch module `module` if any. `slots` is used up; `watch` is called
        after each step, and may change them."""
        for slot, value in zip(self.inputs, inputs):
            slots[slot] = value
        found = dict(sizes)  # layers may add to it
        run = Run(self.torch, device, found, self.double, self.explains, module)
        if watch is not None:  # such a run is no call of a user's, whose draws it would change
            run._generator = self.torch.Generator(device).manual_seed(0)
        for step in self.steps:
            step(run, slots, free=watch is None)
            if watch is not None:
                watch(run, step, slots)
                step.free(slots)
        return [slots[slot] for slot in self.outputs]


class Step:
    """One layer with its slots."""

    __slots__ = ("compute", "frees", "inputs", "layer", "outputs", "single", "widen")

    def __init__(self, layer: Producer, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        self.layer = layer
        self.compute = layer.compute
        self.inputs = inputs
        self.outputs = outputs
        self.single = outputs[0] if len(outputs) == 1 else None
        self.frees: tuple[int, ...] = ()
        self.widen = False

    def __call__(self, run: Run, slots: list[Any], free: bool = True) -> None:
        values = [slots[i] for i in self.inputs]
        if self.widen:
            result = self._widened(run, values)
        else:
            try:
                result = self.compute(run, *values)
            except TrtnetError:
                raise
            except (RuntimeError, IndexError) as error:
                if "not implemented for" not in str(error) or run._double:
                    if not run.explains:
                        raise
                    raise self._explained(error, values) from error
                self.widen = True  # a half type that torch has not on this device: float32, rounded after the layer
                result = self._widened(run, values)
        if self.single is not None:
            slots[self.single] = result
        else:
            for slot, value in zip(self.outputs, result):
                slots[slot] = value
        if free:
            self.free(slots)

    def free(self, slots: list[Any]) -> None:
        """Empty the slots that no later step reads."""
        for slot in self.frees:
            slots[slot] = None

    def _explained(self, error: Exception, values: list[Any]) -> ProviderError:
        layer = self.layer
        operands = ", ".join("none" if v is None else f"{format_shape(v.shape)} {v.dtype}" for v in values)
        return ProviderError(
            f"PyTorch could not compute this {layer.kind} layer",
            details=str(error),
            expected="values that the layer takes",
            found=f"{layer.name}: {layer!r} of {operands}",
            module=layer.path or None,
            where=layer.location,
            remedy="look at the values that reach this line (an index out of range?), and at the memory that is left",
        )

    def _widened(self, run: Run, values: list[Any]) -> Any:
        torch = run.torch
        small = (torch.float16, torch.bfloat16)
        wide = [v.float() if isinstance(v, torch.Tensor) and v.dtype in small else v for v in values]
        result = self.compute(run, *wide)
        if self.single is not None:
            return result.to(self.layer.outputs[0].dtype.torch)
        return tuple(r.to(t.dtype.torch) for r, t in zip(result, self.layer.outputs))


def _is_dynamic(layer: Producer) -> bool:
    """Whether an attribute depends on a Dim."""

    def dynamic(value: Any) -> bool:
        return isinstance(value, Dim) or (isinstance(value, (tuple, list)) and any(dynamic(v) for v in value))

    return any(dynamic(getattr(layer, name)) for name in layer.attributes)
