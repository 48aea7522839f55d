"""The layers of a network that is trained, of its graph and of what was noted for training."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from ..graph.tensor import Operand, Producer
from ..graph.training import Trained, Training
from ..layers.base import Layer
from ..layers.targets import Run

L = TypeVar("L", bound=Producer)


class Either(Layer):
    """A recorded layer, and what takes its place while the module at the path `owner` is in training, or always."""

    __slots__ = ("owner", "recorded", "trained")

    def __init__(self, recorded: Producer, trained: Trained) -> None:
        self.inputs = (*recorded.inputs, *trained.inputs)
        self.outputs, self.name = recorded.outputs, recorded.name
        self.path, self.location = recorded.path, recorded.location
        self.recorded, self.trained = recorded, trained
        self.owner = trained.owner

    @property
    def draws(self) -> bool:
        return True

    def compute(self, run: Run, *inputs: Any) -> Any:
        count = len(self.recorded.inputs)
        if self.trained.in_both or run.trains(self.owner):
            return self.trained.compute(run, *inputs[count:])
        return self.recorded.compute(run, *inputs[:count])


def trained_layers(training: Training, recorded: list[Producer]) -> list[Producer]:
    """The layers of the network that is trained, which give the recorded tensors."""
    through: dict[Producer, dict[int, Trained]] = {}
    for layer, index, drop in training.uses:
        through.setdefault(layer, {})[index] = drop
    drops = list(reversed(training.drops))
    made: list[Producer] = []
    for number, layer in enumerate(recorded):
        while drops and drops[-1][0] <= number:
            made.append(drops.pop()[1])
        trained, given = training.instead.get(layer), through.get(layer, {})
        inputs = tuple(given[i].outputs[0] if i in given else o for i, o in enumerate(layer.inputs))
        if given:
            layer = _with_inputs(layer, inputs)
        made.append(layer if trained is None else Either(layer, _with_inputs(trained, trained.given(inputs))))
    return made + [drop for _, drop in reversed(drops)]


def _with_inputs(layer: L, inputs: tuple[Operand, ...]) -> L:
    changed = copy.copy(layer)
    changed.inputs = inputs
    return changed
