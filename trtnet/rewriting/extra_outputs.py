"""Tensors inside a network as further outputs, by module path."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping

from ..basics.errors import ArgumentError
from ..graph.graph import Graph
from ..graph.regions import interior
from ..graph.tensor import Producer, Tensor
from ..layers.casting import Identity
from .rewriting import Rewriting


def with_outputs(graph: Graph, paths: str | Iterable[str]) -> Graph:
    """The graph with what the modules at these paths (or patterns) gave as outputs of their own.

    A module's tensor is that of the last layer that was recorded in it. The result is a dict then: the ordinary outputs
    by their names, and the paths. Raises ArgumentError for a path that no layer has.
    """
    latest: dict[str, Producer] = {}
    for layer in graph.layers:
        parts = layer.path.split(".") if layer.path else []
        for end in range(1, len(parts) + 1):
            latest[".".join(parts[:end])] = layer
    inside = interior(graph.layers)  # of loops and conditionals, whose tensors TensorRT gives no output of
    last = {path: layer.outputs[0] for path, layer in latest.items() if layer not in inside}
    patterns = [paths] if isinstance(paths, str) else list(paths)
    chosen: dict[str, Tensor] = {}
    for pattern in patterns:
        found = fnmatch.filter(last, pattern)
        if not found:
            close = difflib.get_close_matches(pattern, last, 3, 0.4)
            raise ArgumentError(
                f"no layer was recorded in a module {pattern!r}",
                expected=", ".join(close or list(last)[:8]) or "a module with layers",
                found=pattern,
                remedy="graph.summary() shows the module paths; those inside of a loop or a conditional give none",
            )
        chosen |= {path: last[path] for path in found}
    return with_tensors(graph, chosen)


def with_tensors(graph: Graph, chosen: Mapping[str, Tensor]) -> Graph:
    """The graph with these tensors of its own as further outputs, by name; the result is a dict then."""
    if not chosen:
        return graph
    outputs = dict(graph.outputs)
    taken = set(graph.outputs.values()) | set(graph.inputs.values())
    rewriting = Rewriting(graph)
    for layer in graph.layers:
        rewriting.share(layer)
    with rewriting:
        for path, tensor in chosen.items():
            outputs[path] = tensor
            if tensor in taken:  # TensorRT names a tensor once
                rewriting.in_place_of(tensor.layer)
                outputs[path] = rewriting.recorder.emit(Identity((tensor,)))
            taken.add(tensor)
    return rewriting.graph(outputs, form="dict")
