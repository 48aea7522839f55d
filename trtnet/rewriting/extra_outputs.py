"""Tensors inside a network as further outputs, by module path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..basics.errors import ArgumentError
from ..basics.patterns import matches, patterns_of
from ..graph.graph import Graph
from ..graph.regions import interior
from ..graph.tensor import Producer, Tensor
from ..layers.casting import Identity
from .rewriting import Rewriting


def with_outputs(graph: Graph, paths: str | Iterable[str]) -> Graph:
    """The graph with what the modules at these paths (or patterns) gave as outputs of their own.

    The result is a dict then: the ordinary outputs by their names, and the paths. Raises ArgumentError for a path that
    no layer has.
    """
    return with_tensors(graph, tensors_at(graph, paths, "extra_outputs"))


def tensors_at(graph: Graph, paths: str | Iterable[str], what: str) -> dict[str, Tensor]:
    """What the modules at these paths (or patterns) gave: the tensor of the last layer that was recorded in each.

    Raises ArgumentError for a path that no layer has; ArgumentTypeError for what is no path, `what` being the argument.
    """
    last = _last(graph)
    patterns = patterns_of(paths, what, f"{what}=['encoder.layers.0']: graph.summary() shows the module paths")
    chosen: dict[str, Tensor] = {}
    for pattern in patterns:
        found = [path for path in last if matches(path, [pattern])]
        if not found:
            close = difflib.get_close_matches(pattern, last, 3, 0.4)
            raise ArgumentError(
                f"no layer was recorded in a module {pattern!r}",
                expected=", ".join(close or list(last)[:8]) or "a module with layers",
                found=pattern,
                remedy="graph.summary() shows the module paths; those inside of a loop or a conditional give none",
            )
        chosen |= {path: last[path] for path in found}
    return chosen


def _last(graph: Graph) -> dict[str, Tensor]:
    """The tensor of the last layer that was recorded in each module, by its path."""
    latest: dict[str, Producer] = {}
    for layer in graph.layers:
        parts = layer.path.split(".") if layer.path else []
        for end in range(1, len(parts) + 1):
            latest[".".join(parts[:end])] = layer
    inside = interior(graph.layers)  # of loops and conditionals, whose tensors TensorRT gives no output of
    return {path: layer.outputs[0] for path, layer in latest.items() if layer not in inside}


def module_paths(graph: Graph) -> list[str]:
    """The paths that `with_outputs` takes, in the order in which their tensors were recorded."""
    last = _last(graph)
    order = {layer: place for place, layer in enumerate(graph.layers)}
    taken = {*graph.inputs, *graph.outputs}
    return sorted((path for path in last if path not in taken), key=lambda path: order[last[path].layer])  # type: ignore[index]


class DebugTensors(NamedTuple):
    """Tensors that an engine can show while it runs.

    Attributes:
        paths: the module paths of each, by its name in the engine.
        inner: those that are no outputs of the network, by their names.
    """

    paths: dict[str, tuple[str, ...]]
    inner: dict[str, Tensor]

    @classmethod
    def at(cls, graph: Graph, paths: str | Iterable[str]) -> DebugTensors:
        """What the modules at these paths (or patterns) gave. Raises ArgumentError for a path that no layer has."""
        names = {tensor: name for name, tensor in graph.outputs.items()}
        taken, found = {*graph.inputs, *graph.outputs}, cls({}, {})
        for path, tensor in tensors_at(graph, paths, "debug_tensors").items():
            name = names.get(tensor)
            if name is None:
                name = names[tensor] = path if path not in taken else f"{path}@debug"
                found.inner[name] = tensor
            found.paths[name] = (*found.paths.get(name, ()), path)
        return found


NO_DEBUG_TENSORS = DebugTensors({}, {})


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
