"""A recorded graph as a table: one row for each layer."""

from __future__ import annotations

from collections.abc import Collection

from ...basics.dims import Size, format_shape
from ...basics.garbage import no_collection
from ...basics.tables import render
from ...graph.graph import Graph, method
from ...graph.regions import depths
from ...graph.tensor import Producer, Tensor
from ...layers.targets import Features
from ...rewriting.composing import for_provider
from ...weights.recipes import Leaf, Weight
from ..abilities import Newest
from ..provider import Provider

IDLE = "*"
"""Marks a layer that no output depends on."""


@method
def summary(graph: Graph, provider: Provider | None = None) -> str:
    with no_collection():
        return _shown(graph, provider or Newest())


def _shown(graph: Graph, provider: Features) -> str:
    """The text. What was made for it is gone before the search for cycles begins again."""
    shown = for_provider(graph, provider)
    text = _summary(shown, graph)
    for layer in set(shown.layers).difference(graph.layers):
        layer.outputs = ()
    return text


def _summary(graph: Graph, recorded: Graph) -> str:
    effective = graph.reaching(effects=True)
    rows, parameters, buffers, size = _rows(graph, effective)
    pruned = ": graph.prune() leaves it out" if len(recorded.reaching(effects=True)) != len(recorded.layers) else ""
    inputs = ", ".join(f"{name} {format_shape(t.shape)} {t.dtype}" for name, t in graph.inputs.items())
    outputs = ", ".join(f"{name} {format_shape(t.shape)} {t.dtype}" for name, t in graph.outputs.items())
    ranges = ", ".join(f"{d}: {d.min} to {d.max}, best at {d.opt}" for d in graph.dims.values())
    frozen = ", ".join(f"{name}, a number at {place}" for name, place in graph.frozen.items())
    beside = f", {buffers:,} values in buffers" if buffers else ""
    recorded_as = f" (recorded as {len(recorded.layers)})" if len(recorded.layers) != len(graph.layers) else ""
    footer = f"{len(graph.layers)} layers{recorded_as}, {parameters:,} parameters{beside}, {size:,} bytes of weights"
    return "\n".join(
        line
        for line in (
            f"{graph.title}",
            f"  inputs:  {inputs}",
            f"  outputs: {outputs}",
            f"  sizes:   {ranges}" if ranges else "",
            f"  frozen:  {frozen}" if frozen else "",
            render(
                ("layer", "module", "output shape", "dtype", "parameters", "bytes"), rows, right=("parameters", "bytes")
            ),
            f"  {footer}",
            f"  {IDLE} no output depends on it{pruned}" if len(effective) != len(graph.layers) else "",
        )
        if line
    )


def _rows(graph: Graph, effective: Collection[Producer]) -> tuple[list[tuple[str, ...]], int, int, int]:
    """A row for each layer; the parameters as torch counts them, what is in buffers, and the bytes of all weights."""
    rows: list[tuple[str, ...]] = []
    counted: set[str] = set()
    sized: set[str | int] = set()
    shapes: dict[Size, str] = {}
    parameters = buffers = size = 0
    for layer, depth in zip(graph.layers, depths(graph.layers)):
        count = nbytes = 0
        for operand in layer.inputs:
            if type(operand) is Tensor or not isinstance(operand, Weight):
                continue
            key = operand.name or id(operand)
            if key in sized:
                continue
            sized.add(key)
            elements = operand.count
            nbytes += operand.dtype.nbytes(elements)
            for leaf in (operand,) if type(operand) is Leaf else operand.leaves():
                if leaf.name not in counted:
                    counted.add(leaf.name)
                    if leaf.name in graph.buffers:
                        buffers += leaf.count
                    else:
                        count += leaf.count
        parameters += count
        size += nbytes
        outputs = layer.outputs
        if len(outputs) == 1:
            shape, kind = outputs[0].shape, outputs[0].dtype.name
            text = shapes.get(shape)
            if text is None:
                text = shapes[shape] = format_shape(shape)
        else:
            text = ", ".join([format_shape(t.shape) for t in outputs])
            kind = ", ".join(dict.fromkeys([t.dtype.name for t in outputs]))
        name = "  " * depth + layer.headline() + ("" if layer in effective else f" {IDLE}")
        rows.append((name, layer.path, text, kind, f"{count:,}" if count else "", f"{nbytes:,}" if nbytes else ""))
    return rows, parameters, buffers, size
