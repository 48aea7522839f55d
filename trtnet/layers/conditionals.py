"""Conditionals: the layers that bound one, each with its number. Its branches are computed between them.

What a branch takes from outside comes through a conditional input, as TensorRT wants it (`confined`); nothing of a
branch is used outside but through a conditional output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..graph.regions import Division, Region, arranged, last_of
from ..graph.tensor import Producer, Tensor
from .base import Layer, Operand, Output, require_computed
from .bounds import Bounds
from .targets import ILayer, Network, Run

if TYPE_CHECKING:
    import torch


Scope = tuple[tuple[int, int], ...]
"""The conditionals that a layer is in, the innermost last, each with the number of the branch."""


@dataclass(slots=True, eq=False)
class Choice:
    """Where a run is in a conditional: which branch it takes, and whether that was computed."""

    taken: bool = False
    done: bool = False
    stopped: bool = False

    @property
    def part(self) -> int | None:
        return None if self.done else 0 if self.taken else 1

    def passed(self) -> None:
        self.done = True


class Bounding:
    """What the layers have in common that bound a conditional."""

    __slots__ = ()

    is_offered: ClassVar[bool] = False

    conditional: int

    @property
    def region(self) -> int | None:
        return self.conditional

    def divide(self, layers: Sequence[Producer]) -> Division:
        """A branch is what its results are computed by, as far as it stands here; what no result needs is left out."""
        own = {layer for layer in layers if layer.region == self.conditional}
        before = [layer for layer in layers if layer in own and not isinstance(layer, ConditionalOutput)]
        after: list[Producer] = [layer for layer in layers if layer in own and isinstance(layer, ConditionalOutput)]
        branches = [_needed(layers, [end.inputs[branch] for end in after], own) for branch in (0, 1)]
        inside = set(before).union(*branches)
        parts = tuple([layer for layer in layers if layer in branch] for branch in branches)
        return Division(_beside([layer for layer in layers if layer not in own], inside), before, parts, after)

    def begun(self) -> Choice:
        """A run is at the beginning of this conditional."""
        return Choice()


class Passing(Bounding):
    """What the layers have in common through which tensors come into a conditional, and out of it, as they are."""

    __slots__ = ()

    inputs: tuple[Operand, ...]

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        require_computed("a conditional", x)
        return ((x.shape, x.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return wanted

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs


def _needed(layers: Sequence[Producer], results: Sequence[Operand], own: set[Producer]) -> set[Producer]:
    """Those of the layers that the results are computed by, but for `own`; with a loop or conditional all that bounds
    it."""
    makers = {tensor: layer for layer in layers if layer not in own for tensor in layer.outputs}
    bounding: dict[int, list[Producer]] = {}
    for layer in layers:
        if layer.region is not None and layer not in own:
            bounding.setdefault(layer.region, []).append(layer)
    found: set[Producer] = set()
    pending = [makers[tensor] for tensor in results if isinstance(tensor, Tensor) and tensor in makers]
    while pending:
        layer = pending.pop()
        if layer in found:
            continue
        found.add(layer)
        pending += [makers[o] for o in layer.inputs if isinstance(o, Tensor) and o in makers]
        if layer.region is not None:
            pending += bounding[layer.region]
    return found


def _beside(layers: Sequence[Producer], inside: set[Producer]) -> list[Producer]:
    """Those of the layers that depend on none that is inside; of a loop or conditional all that bounds it, or none."""
    found: list[Producer] = []
    torn: set[int] = set()
    known = -1
    while known < len(torn):
        known = len(torn)
        found, reached = [], {t for layer in inside for t in layer.outputs}
        for layer in layers:
            if layer in inside:
                continue
            if layer.region not in torn and reached.isdisjoint(layer.inputs):
                found.append(layer)
                continue
            reached.update(layer.outputs)
            if layer.region is not None:
                torn.add(layer.region)
    return found


@dataclass(slots=True, eq=False, repr=False)
class Condition(Bounding, Layer):
    """`IIfConditional.set_condition`: a bool without dimensions, which says which branch is computed."""

    conditional: int

    kind: ClassVar[str] = "condition"
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        return ()

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.conditional(self.conditional).set_condition(lowering[self.inputs[0]])

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None

    def compute(self, run: Run, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        run.regions[self.conditional].taken = bool(inputs[0])
        return ()


@dataclass(slots=True, eq=False, repr=False)
class ConditionalInput(Passing, Layer):
    """`IIfConditional.add_input`: a tensor from outside, for the branches."""

    conditional: int

    kind: ClassVar[str] = "conditional_input"
    rounds: ClassVar[bool] = False

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.conditional(self.conditional).add_input(lowering[self.inputs[0]])

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0]


@dataclass(slots=True, eq=False, repr=False)
class ConditionalOutput(Passing, Layer):
    """`IIfConditional.add_output`: what the branch that is taken gives, of the two inputs: the first where the
    condition is true. Both are of one shape and type."""

    conditional: int

    kind: ClassVar[str] = "conditional_output"
    rounds: ClassVar[bool] = False

    def add_to(self, lowering: Network) -> ILayer | None:
        conditional = lowering.conditional(self.conditional)
        return conditional.add_output(lowering[self.inputs[0]], lowering[self.inputs[1]])

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0] if run.regions[self.conditional].taken else inputs[1]


def branches(layers: Sequence[Producer]) -> dict[Producer, Scope]:
    """The scopes of the layers that are in branches."""
    found: dict[Producer, Scope] = {}
    if Condition not in set(map(type, layers)):
        return found

    def note(one: Producer | Region, scope: Scope) -> None:
        if not isinstance(one, Region):
            if scope:
                found[one] = scope
            return
        for layer in (*one.before, *one.after):
            note(layer, scope)
        chooses = isinstance(one.first, Condition)
        for number, part in enumerate(one.parts):
            for inner in part:
                note(inner, (*scope, (one.number, number)) if chooses else scope)

    for one in arranged(layers):
        note(one, ())
    return found


def confined(layers: list[Producer], number: int, take: Callable[[Condition, Tensor], Producer]) -> list[Producer]:
    """The layers, in which everything that the branches of a conditional use from outside comes through an input of it.

    `take` gives such an input layer, for a tensor.
    """
    places = [place for place, layer in enumerate(layers) if layer.region == number]
    start, end = places[0], places[-1] + 1
    first = layers[start]
    assert isinstance(first, Condition)
    division = first.divide(layers[start:end])
    inside = {layer for part in division.parts for layer in part}
    known = {tensor for layer in (*division.before, *inside) for tensor in layer.outputs}
    taken = {layer.inputs[0]: layer.outputs[0] for layer in division.before[1:]}
    added: list[Producer] = []
    for layer in layers[start:end]:
        if layer not in inside:
            continue
        for tensor in layer.inputs:
            if isinstance(tensor, Tensor) and tensor not in known and tensor not in taken:
                made = take(first, tensor)
                taken[tensor] = made.outputs[0]
                added.append(made)
        if not taken.keys().isdisjoint(layer.inputs):
            layer.inputs = tuple([o if o in known else taken.get(o, o) for o in layer.inputs])
    left = {*division.before, *inside, *division.after}
    kept = [layer for layer in layers[start + 1 : end] if layer in left]
    return [*layers[:start], *division.outside, first, *added, *kept, *layers[end:]]


def conditionals(layers: Sequence[Producer]) -> list[int]:
    """The numbers of all conditionals, those inside before those that they are in."""
    last = last_of(layers)
    found = {layer.region for layer in layers if isinstance(layer, Condition)}
    return sorted((number for number in found if number is not None), key=last.__getitem__)
