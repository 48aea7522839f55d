"""Layers in a row that one layer does: views of views, which torch takes apart into reshapes and transposes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...graph.recorder import Recorder
from ...graph.tensor import Producer, Tensor


def merge(current: Recorder, results: Iterable[object]) -> None:
    """Put one layer in the place of two where the first is used by the second alone and one does what both do."""
    if current.regions:
        return  # what is inside of a loop stays there
    taken = [operand for layer in current.layers for operand in layer.inputs if isinstance(operand, Tensor)]
    taken += [result for result in results if type(result) is Tensor]
    uses = Counter(current.settle(one) for one in taken)
    gone: set[Producer] = set()
    layers: list[Producer] = []
    for layer in current.layers:
        while (one := _both(layer, uses)) is not None:
            assert isinstance(layer.inputs[0], Tensor)
            assert layer.inputs[0].layer is not None
            gone.add(layer.inputs[0].layer)
            one.outputs, one.name, one.path, one.location = layer.outputs, layer.name, layer.path, layer.location
            one.outputs[0].layer = layer = one
        layers.append(layer)
    current.layers = [layer for layer in layers if layer not in gone]


def _both(layer: Producer, uses: Counter[Tensor]) -> Producer | None:
    """What does a layer, and the one before it that it alone uses."""
    given = layer.inputs[0] if layer.inputs else None
    if not isinstance(given, Tensor) or given.layer is None or uses[given] != 1:
        return None
    made: Producer | None = layer.following(given.layer)
    if made is None or made.infer() != ((layer.outputs[0].shape, layer.outputs[0].dtype),):
        return None
    return made
