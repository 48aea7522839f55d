"""A graph as steps in PyTorch: what the reference engine runs, and a module to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..basics.arrays import import_torch
from ..basics.dims import Dim, format_shape
from ..basics.errors import ProviderError, TrtnetError
from ..graph.graph import Graph
from ..graph.regions import Region, Turn, arranged
from ..graph.tensor import Producer
from ..layers.targets import Run
from ..weights.recipes import Leaf, TorchOperations, Weight, evaluate

if TYPE_CHECKING:
    import torch

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
        self.steps: list[Step | RegionStep] = []
        constant: set[int] = set()
        self._numbers, self._constant = numbers, constant

        number = self._number
        constant.add(number(None))
        self.inputs = [number(t) for t in (*graph.inputs.values(), *graph.live.values())]
        self._add(arranged(graph.layers), self.steps)
        self.outputs = [number(t) for t in graph.outputs.values()]
        self.count = len(numbers)
        _free_after_use(self.steps, constant | set(self.outputs))

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _add(self, layers: Sequence[Producer | Region], steps: list[Step | RegionStep]) -> None:
        """Add the steps of layers to `steps`, or to those that depend on weights alone."""
        constant = self._constant
        for layer in layers:
            if isinstance(layer, Region):
                steps.append(self._region(layer))
                continue
            given = []
            for operand in layer.inputs:
                known = operand in self._numbers
                slot = self._number(operand)
                if isinstance(operand, Weight) and not known:
                    self.weights.append((slot, operand))
                    constant.add(slot)
                given.append(slot)
            made = [self._number(t) for t in layer.outputs]
            is_constant = constant.issuperset(given) and not layer.draws and not _is_dynamic(layer)
            is_constant = is_constant and layer.region is None
            step = Step(layer, tuple(given), tuple(made))
            (self.constant_steps if is_constant else steps).append(step)
            if is_constant:
                constant.update(made)

    def _region(self, region: Region) -> RegionStep:
        before: list[Step | RegionStep] = []
        after: list[Step | RegionStep] = []
        self._add(region.before, before)
        parts: list[list[Step | RegionStep]] = [[] for _ in region.parts]
        for part, steps in zip(region.parts, parts):
            self._add(part, steps)
        self._add(region.after, after)
        step = RegionStep(region, before, parts, after)
        for steps in parts:
            made = {slot for one in steps for slot in one.outputs}
            _free_after_use(
                steps, (set(self._numbers.values()) - made) | {slot for one in after for slot in one.inputs}
            )
        return step

    def constants(self, read: Callable[[Leaf], Any], device: torch.device) -> list[Any]:
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

    def watch_constants(self, slots: list[Any], device: Any, watch: Watch) -> None:
        """Call `watch` for each step that depends on weights alone, with the slots of `constants`."""
        run = Run(self.torch, device, {}, self.double, self.explains)
        for step in self.constant_steps:
            watch(run, step, slots)

    def run(
        self,
        slots: list[Any],
        inputs: list[Any],
        device: torch.device,
        sizes: Mapping[str, int],
        watch: Watch | None = None,
        module: torch.nn.Module | None = None,
    ) -> list[Any]:
        """The outputs for these inputs, of the torch module `module` if any. `slots` is used up; `watch` is called
        after each step, and may change them."""
        for slot, value in zip(self.inputs, inputs):
            slots[slot] = value
        found = dict(sizes)  # layers may add to it
        run = Run(self.torch, device, found, self.double, self.explains, module)
        if watch is not None:  # such a run is no call of a user's, whose draws it would change
            run._generator = self.torch.Generator(device).manual_seed(0)
        _run(self.steps, run, slots, watch)
        return [slots[slot] for slot in self.outputs]


def _run(
    steps: Sequence[Step | RegionStep], run: Run, slots: list[Any], watch: Watch | None, turn: Turn | None = None
) -> None:
    """Do the steps, as long as `turn` is not stopped."""
    for step in steps:
        if isinstance(step, RegionStep):
            step.run(run, slots, watch)
        else:
            step(run, slots, free=watch is None)
            if watch is not None:
                watch(run, step, slots)
                step.free(slots)
        if turn is not None and turn.stopped:
            return


def _free_after_use(steps: Sequence[Step | RegionStep], keep: set[int]) -> None:
    """Have each step empty the slots that none behind it reads, but for those to keep."""
    seen: set[int] = set()
    for step in reversed(steps):
        last = {*step.inputs, *step.outputs} - keep - seen
        step.frees = tuple(last)
        seen |= last


class RegionStep:
    """A loop or a conditional: its parts, one at a time, as the layers say that bound it.

    Attributes:
        inputs: the slots that it reads; outputs: those that it fills, on the way too.
        frees: the slots that no step behind it reads.
    """

    __slots__ = ("after", "before", "first", "frees", "inputs", "number", "outputs", "parts")

    def __init__(
        self,
        region: Region,
        before: list[Step | RegionStep],
        parts: list[list[Step | RegionStep]],
        after: list[Step | RegionStep],
    ) -> None:
        self.number, self.first = region.number, region.first
        self.before, self.parts, self.after = before, parts, after
        steps = [*before, *(step for part in parts for step in part), *after]
        made = {slot for step in steps for slot in step.outputs}
        self.outputs: tuple[int, ...] = tuple(made)
        self.inputs: tuple[int, ...] = tuple({slot for step in steps for slot in step.inputs} - made)
        self.frees: tuple[int, ...] = ()

    def run(self, run: Run, slots: list[Any], watch: Watch | None) -> None:
        turn = run.regions[self.number] = self.first.begun()
        _run(self.before, run, slots, watch)
        while turn.part is not None:
            _run(self.parts[turn.part], run, slots, watch, turn)
            turn.passed()
        _run(self.after, run, slots, watch)
        del run.regions[self.number]
        for slot in self.frees:
            slots[slot] = None


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
