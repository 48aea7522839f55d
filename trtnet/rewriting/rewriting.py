"""One graph made of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..graph.graph import Graph
from ..graph.recorder import Recorder
from ..graph.tensor import Operand, Producer, Tensor


class Rewriting:
    """A graph in the making, of another one's layers: what stays as it is is shared, and in the place of what does not
    other layers are recorded, while the rewriting is entered.

    Attributes:
        of: the graph that is written anew.
        recorder, layers, names: what takes the layers; those that it has, and their names.
        replaced: what takes the place of tensors of the graph.
    """

    def __init__(self, of: Graph) -> None:
        self.of = of
        self.recorder = Recorder(takes_values=True)
        self.layers, self.names = self.recorder.layers, self.recorder.names
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
        replaced = self.replaced
        return tuple([replaced.get(o, o) for o in layer.inputs]) if replaced else layer.inputs

    def replace(self, layer: Producer, result: Any) -> None:
        """Have `result`, a tensor or a tuple of them, in place of what the layer gave."""
        self.replaced.update(zip(layer.outputs, result if isinstance(result, tuple) else (result,)))

    def graph(self, outputs: Mapping[str, Tensor], **changes: Any) -> Graph:
        """The graph with these outputs, by name, and other values of what else a Graph has."""
        for name, tensor in outputs.items():
            if tensor.recorder is self.recorder:
                tensor.name = name
        return dataclasses.replace(self.of, layers=self.layers, outputs=dict(outputs), training=None, **changes)
