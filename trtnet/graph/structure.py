"""The structure of a graph as one hash: what stays when weights change."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..basics.dims import Dim
from ..basics.dtypes import dtype as Dtype
from ..weights.recipes import VERSION, Leaf, Literal, Recipe, Weight
from .graph import Graph
from .tensor import Tensor


def structure_hash(graph: Graph) -> str:
    """SHA-256 of layers, wiring, Dim ranges, dtypes, weight names, recipes and constants; no paths, no source lines."""
    numbers: dict[Tensor, int] = {}
    for tensor in graph.inputs.values():
        numbers[tensor] = len(numbers)
    for tensor in graph.live.values():
        numbers[tensor] = len(numbers)
    layers = []
    for layer in graph.layers:
        operands = [numbers[o] if type(o) is Tensor else _weight(o) for o in layer.inputs]
        layers.append([layer.kind, operands, {name: _plain(getattr(layer, name)) for name in layer.attributes}])
        for tensor in layer.outputs:
            numbers[tensor] = len(numbers)
    text = {
        "recipes": VERSION,
        "dims": {name: [d.min, d.opt, d.max, d.multiple_of] for name, d in sorted(graph.dims.items())},
        "inputs": {name: [_plain(tuple(t.shape)), t.dtype.name] for name, t in graph.inputs.items()},
        "outputs": {name: numbers[t] for name, t in graph.outputs.items()},
        "form": graph.form,
        "live": list(graph.live),
        "layers": layers,
    }
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()


def _weight(weight: Any) -> Any:
    if isinstance(weight, Leaf):
        return ["parameter", weight.name, list(weight.shape), weight.dtype.name]
    if isinstance(weight, Recipe):
        arguments = [_weight(a) for a in weight.arguments]
        return [
            "recipe",
            weight.operation,
            arguments,
            {k: _plain(v) for k, v in weight.attributes.items()},
            weight.dtype.name,
        ]
    if isinstance(weight, Literal):
        digest = hashlib.sha256(weight.array.tobytes()).hexdigest()
        return ["constant", digest, list(weight.shape), weight.dtype.name]
    assert not isinstance(weight, Weight)
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, Dim):
        return {"size": str(value)}
    if isinstance(value, Dtype):
        return value.name
    return value
