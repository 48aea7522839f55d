"""One graph made of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..graph.graph import Graph
from ..graph.recorder import Recorder
from ..graph.tensor import Operand, Producer, Tensor
from ..layers.conditionals import Condition, ConditionalInput, Scope, branches, conditionals, confined


class Rewriting:
    """A graph in the making, of another one's layers: what stays as it is is shared, and in the place of what does not
    other layers are recorded, while the rewriting is entered.

    Attributes:
        of: the graph that is written anew.
        recorder, layers, names: what takes the layers; those that it has, and their names.
        replaced: what takes the place of tensors of the graph.
        scope: the branches of conditionals in which layers are being recorded.
    """

    def __init__(self, of: Graph) -> None:
        self.of = of
        self.recorder = Recorder(takes_values=True)
        self.recorder.regions = 1 + max((n for layer in of.layers if (n := layer.region) is not None), default=-1)
        self.layers, self.names = self.recorder.layers, self.recorder.names
        self.branches = branches(of.layers) if self.recorder.regions else {}
        self.scope: Scope = ()
        self._constants: dict[Scope, Any] = {(): self.recorder.constants}
        self.replaced: dict[Operand, Tensor] = {}

    def __enter__(self) -> Rewriting:
        self.recorder.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.recorder.__exit__(*exc)

    def share(self, layer: Producer) -> bool:
        """Have a layer as it is, if nothing that it takes was replaced and its name is free; whether that was done."""
        names, name = self.names, layer.name
        if name in names or not self.replaced.keys().isdisjoint(layer.inputs):
            return False
        names[name] = 1
        self.layers.append(layer)
        return True

    def in_place_of(self, layer: Producer | None) -> tuple[Operand, ...]:
        """Record what comes now in the place of this layer: with its path and source line, under names of its own.

        Returns what its operands are now.
        """
        self.recorder.origin = layer
        if layer is None:
            return ()
        if self.branches:  # TensorRT takes nothing from one branch to the other
            self.scope = self.branches.get(layer, ())
            self.recorder.constants = self._constants.setdefault(self.scope, {})
        replaced = self.replaced
        return tuple([replaced.get(o, o) for o in layer.inputs]) if replaced else layer.inputs

    def replace(self, layer: Producer, result: Any) -> None:
        """Have `result`, a tensor or a tuple of them, in place of what the layer gave."""
        self.replaced.update(zip(layer.outputs, result if isinstance(result, tuple) else (result,)))

    def _passed_in(self, condition: Condition, tensor: Tensor) -> Producer:
        """A conditional input for what branches take from outside."""
        self.recorder.origin = condition
        self.recorder.emit(ConditionalInput((tensor,), condition.conditional))
        return self.layers.pop()

    def graph(self, outputs: Mapping[str, Tensor], **changes: Any) -> Graph:
        """The graph with these outputs, by name, and other values of what else a Graph has."""
        for name, tensor in outputs.items():
            if tensor.recorder is self.recorder:
                tensor.name = name
        if self.recorder.spare:
            self.recorder.drop_spare(outputs.values())
            self.layers = self.recorder.layers
        if self.branches:
            for number in conditionals(self.layers):
                self.layers[:] = confined(self.layers, number, self._passed_in)
        self.recorder.layers, self.recorder.constants = [], {}  # tensors, which keep it, are not to keep each other
        return dataclasses.replace(self.of, layers=self.layers, outputs=dict(outputs), training=None, **changes)
