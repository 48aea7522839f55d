"""A graph without the layers that no output depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from ..graph.graph import Graph, method
from ..graph.tensor import Producer, Tensor
from ..graph.training import Trained, Training


@method
def prune(graph: Graph) -> Graph:
    kept = _kept(graph)
    if len(kept) == len(graph.layers):
        return graph
    decided = {str(size) for layer in kept for size in layer.decides}
    return dataclasses.replace(
        graph,
        layers=[layer for layer in graph.layers if layer in kept],
        data_dims=graph.data_dims & decided,
        training=None if graph.training is None else _of_kept(graph.training, graph.layers, kept),
    )


def _kept(graph: Graph) -> set[Producer]:
    """The layers that have an effect; in training, too."""
    kept = graph.reaching(effects=True)
    if graph.training is None:
        return kept
    known = -1
    while known < len(kept):
        known = len(kept)
        trained = [one for layer, one in graph.training.instead.items() if layer in kept]
        needed = {o for one in (*trained, *_drops(graph.training, kept)) for o in one.inputs if isinstance(o, Tensor)}
        kept = graph.reaching(effects=True, more=needed)
    return kept


def _drops(training: Training, kept: Collection[Producer]) -> set[Trained]:
    """The dropouts through which something comes that is kept."""
    found = {drop for layer, _, drop in training.uses if layer in kept} | {*training.outputs.values()}
    given = {drop.outputs[0]: drop for _, drop in training.drops}
    pending = list(found)
    while pending:
        for operand in pending.pop().inputs:
            before = given.get(operand) if isinstance(operand, Tensor) else None
            if before is not None and before not in found:
                found.add(before)
                pending.append(before)
    return found


def _of_kept(training: Training, layers: list[Producer], kept: Collection[Producer]) -> Training:
    drops = _drops(training, kept)
    return Training(
        [(sum(one in kept for one in layers[:count]), drop) for count, drop in training.drops if drop in drops],
        [use for use in training.uses if use[0] in kept],
        training.outputs,
        {layer: trained for layer, trained in training.instead.items() if layer in kept},
        training.reasons,
        training.cuts,
    )
