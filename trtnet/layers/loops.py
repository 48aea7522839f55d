"""Loops: the layers that bound one, each with its number. What is computed in its body stands between them.

A loop's recurrences come first, then its trip limit (a WHILE one behind what its condition is computed by), iterators,
the body, and the outputs. Every recurrence has an output of kind LAST_VALUE, which says what the recurrence is in
the next iteration: so no layer takes what comes behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..basics.dims import Size, SizeLike
from ..graph.regions import Division
from ..graph.tensor import Producer, Tensor
from .base import Layer, Operand, Output, require_computed
from .bounds import Bounds
from .targets import ILayer, Network, Run

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False)
class Iterations:
    """Where a run is in a loop.

    Attributes:
        number: of the iteration, from 0.
        count: how many there are, where that is known.
        stopped: whether there is no further one.
        following: what the recurrences are in the next one, by their tensors.
        kept: the values of each iteration, by the tensor of all.
    """

    number: int = 0
    count: int = 0
    stopped: bool = False
    following: dict[Tensor, Any] = field(default_factory=dict)
    kept: dict[Tensor, list[Any]] = field(default_factory=dict)

    @property
    def part(self) -> int | None:
        return None if self.stopped else 0

    def passed(self) -> None:
        self.number += 1


class Bounding:
    """What the layers have in common that bound a loop."""

    __slots__ = ()

    is_offered: ClassVar[bool] = False

    loop: int

    @property
    def region(self) -> int | None:
        return self.loop

    def divide(self, layers: Sequence[Producer]) -> Division:
        """What depends on the loop is its body; with a loop or conditional inside all that bounds that one."""
        inside = {self.loop}
        known = 0
        body: list[Producer] = []
        outside: list[Producer] = []
        while known < len(inside):
            known = len(inside)
            body, outside = [], []
            depending: set[Operand] = set()
            for layer in layers:
                if layer.region not in inside and depending.isdisjoint(layer.inputs):
                    outside.append(layer)
                    continue
                body.append(layer)
                depending.update(layer.outputs)
                if layer.region is not None:
                    inside.add(layer.region)
        after: list[Producer] = [one for one in body if isinstance(one, LoopOutput) and one.loop == self.loop]
        return Division(outside, [], (body,), after)

    def begun(self) -> Iterations:
        """A run is at the beginning of this loop."""
        return Iterations()


@dataclass(slots=True, eq=False, repr=False)
class Recurrence(Bounding, Layer):
    """`ILoop.add_recurrence`: what an iteration gives to the next one; the input in the first."""

    loop: int

    kind: ClassVar[str] = "recurrence"
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        initial = self.inputs[0]
        assert isinstance(initial, Tensor)
        require_computed("a loop", initial)
        return ((initial.shape, initial.dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.loop(self.loop).add_recurrence(lowering[self.inputs[0]])

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return wanted

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = run.regions[self.loop].following.get(self.outputs[0], inputs[0])
        return value


@dataclass(slots=True, eq=False, repr=False)
class TripLimit(Bounding, Layer):
    """`ILoop.add_trip_limit`: how often the body is run. COUNT: `length` times. WHILE: as long as the input, a bool
    without dimensions that is computed of recurrences of this loop and of what is outside, is true; it is asked before
    each iteration."""

    loop: int
    limit_kind: str
    length: SizeLike | None = None

    kind: ClassVar[str] = "trip_limit"
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        return ()

    def add_to(self, lowering: Network) -> ILayer | None:
        limit = lowering[self.inputs[0]] if self.length is None else lowering.scalar(self.length)
        return lowering.loop(self.loop).add_trip_limit(limit, lowering.enum("TripLimit", self.limit_kind))

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None

    def compute(self, run: Run, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        turn = run.regions[self.loop]
        if self.length is None:
            turn.stopped = not bool(inputs[0])
        else:
            turn.count = run.size(self.length)
            turn.stopped = turn.number >= turn.count
        return ()


@dataclass(slots=True, eq=False, repr=False)
class Iterator(Bounding, Layer):
    """`ILoop.add_iterator`: the input's part at one place of `axis`, the next one in each iteration; from the end on
    where it is in `reverse`."""

    loop: int
    axis: int = 0
    reverse: bool = False

    kind: ClassVar[str] = "iterator"
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        require_computed("a loop", x)
        return ((Size((*x.shape[: self.axis], *x.shape[self.axis + 1 :])), x.dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.loop(self.loop).add_iterator(lowering[self.inputs[0]], self.axis, self.reverse)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return wanted

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        turn = run.regions[self.loop]
        return inputs[0].select(self.axis, turn.count - 1 - turn.number if self.reverse else turn.number)


@dataclass(slots=True, eq=False, repr=False)
class LoopOutput(Bounding, Layer):
    """`ILoop.add_loop_output`: what is known of a loop when it has run.

    LAST_VALUE: inputs: the recurrence's next value, and the recurrence, which is given as it is at the end.
    CONCATENATE, REVERSE: input: a value of each iteration; all `length` of them along a new dimension, `axis`, the last
    one first in REVERSE.
    """

    loop: int
    output_kind: str
    axis: int = 0
    length: SizeLike | None = None

    kind: ClassVar[str] = "loop_output"
    rounds: ClassVar[bool] = False

    @property
    def feeds(self) -> Tensor | None:
        if self.output_kind != "LAST_VALUE":
            return None
        current = self.inputs[1]
        assert isinstance(current, Tensor)
        return current

    def infer(self) -> tuple[Output, ...]:
        value, current = self.inputs[0], self.feeds
        assert isinstance(value, Tensor)
        require_computed("a loop", value)
        assert current is None or isinstance(current.layer, Recurrence)
        if self.length is None:
            return ((value.shape, value.dtype),)
        return ((Size((*value.shape[: self.axis], self.length, *value.shape[self.axis :])), value.dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        loop, value = lowering.loop(self.loop), lowering[self.inputs[0]]
        kind = lowering.enum("LoopOutput", self.output_kind)
        current = self.feeds
        if current is not None:
            _ = value.dtype  # TensorRT-RTX infers it when it is asked, and refuses some loops where nobody did
            lowering.boundary(current).set_input(1, value)
            return loop.add_loop_output(lowering[current], kind)
        layer = loop.add_loop_output(value, kind, self.axis)
        assert self.length is not None
        if layer is not None:
            layer.set_input(1, lowering.scalar(self.length))
        return layer

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return wanted

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        turn, made = run.regions[self.loop], self.outputs[0]
        current = self.feeds
        if not turn.stopped:
            if current is not None:
                turn.following[current] = inputs[0]
            else:
                turn.kept.setdefault(made, []).append(inputs[0])
            return inputs[0]
        if current is not None:
            return inputs[1]
        values = turn.kept.get(made)
        if not values:
            return run.torch.zeros(run.shape(made.shape), dtype=run.dtype(made.dtype), device=run.device)
        return run.torch.stack(values[::-1] if self.output_kind == "REVERSE" else values, self.axis)
