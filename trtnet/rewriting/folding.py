"""Whole numbers and bools that no input reaches, computed here: for a TensorRT that gets some of them wrong while it
builds."""

from __future__ import annotations

import numpy as np

from ..basics.dims import SizeLike
from ..graph.graph import Graph
from ..graph.tensor import Producer, Tensor
from ..layers.casting import Identity
from ..layers.constant import Constant
from ..weights.recipes import Literal
from .rewriting import Rewriting

MOST = 1 << 20
"""Elements of a result that is computed here."""


def folded(graph: Graph) -> Graph:
    """The graph with what it computes of constant whole numbers and bools as constants."""
    known, constants = _known(graph), _constants(graph)
    made = known.keys() - constants
    if not made:
        return graph
    used = {o for layer in graph.layers if made.isdisjoint(layer.outputs) for o in layer.inputs}
    used |= {*graph.outputs.values()}
    rewriting = Rewriting(graph)
    with rewriting:
        for layer in graph.layers:
            output = layer.outputs[0] if layer.outputs else None
            if output in known and output not in used:
                continue
            if output in made:
                assert output is not None
                rewriting.in_place_of(layer)
                constant = Constant((Literal(known[output]),), known[output].shape)
                rewriting.replace(layer, rewriting.recorder.emit(constant))
            elif not rewriting.share(layer):
                rewriting.replace(layer, layer.again(rewriting.in_place_of(layer), rewriting.recorder))
        outputs = {name: rewriting.replaced.get(t, t) for name, t in graph.outputs.items()}
    return rewriting.graph(outputs)


def _known(graph: Graph) -> dict[Tensor, np.ndarray]:
    known: dict[Tensor, np.ndarray] = {}
    for layer in graph.layers:
        found = _value(layer, known)
        if found is not None:
            known[layer.outputs[0]] = found
    return known


def _value(layer: Producer, known: dict[Tensor, np.ndarray]) -> np.ndarray | None:
    if len(layer.outputs) != 1 or layer.draws or layer.region is not None:
        return None
    output = layer.outputs[0]
    if output.dtype.is_floating_point or output.dtype.bits < 8 or not all(isinstance(s, int) for s in output.shape):
        return None
    if int(output.shape.numel()) > MOST:
        return None
    values = []
    for operand in layer.inputs:
        value = operand.array if isinstance(operand, Literal) else None
        if isinstance(operand, Tensor):
            value = known.get(operand)
        if value is None:
            return None
        values.append(value)
    if not values:
        return None
    try:
        made = layer.fold(_number, *values)
    except _Unknown:
        return None
    return None if made is None else np.asarray(made, output.dtype.numpy, order="C")


class _Unknown(Exception):
    """A size that is a Dim."""


def _number(size: SizeLike) -> int:
    if isinstance(size, int):
        return size
    raise _Unknown


def with_copied_constants(graph: Graph) -> Graph:
    """The graph with an identity between each constant and the output that it is."""
    constants = _constants(graph)
    if constants.isdisjoint(graph.outputs.values()):
        return graph
    rewriting = Rewriting(graph)
    with rewriting:
        for layer in graph.layers:
            rewriting.share(layer)
        outputs = dict(graph.outputs)
        for name, tensor in graph.outputs.items():
            if tensor in constants:
                rewriting.in_place_of(tensor.layer)
                outputs[name] = rewriting.recorder.emit(Identity((tensor,)))
    return rewriting.graph(outputs)


def _constants(graph: Graph) -> set[Tensor]:
    return {layer.outputs[0] for layer in graph.layers if isinstance(layer, Constant)}
