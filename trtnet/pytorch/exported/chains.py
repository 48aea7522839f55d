"""Slices of slices: `x[:, 0::2, 1, 1:3]` is one operator for each dimension in torch, and one layer here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

_SLICE, _SELECT = torch.ops.aten.slice.Tensor, torch.ops.aten.select.int
_NAMES = {_SLICE: ("input", "dim", "start", "end", "step"), _SELECT: ("input", "dim", "index")}
_END = 1 << 62
"""What torch writes for an end that was left out is larger."""


class Chain(NamedTuple):
    """Slices one of another.

    Attributes:
        root: the node that the first one is of.
        nodes: the slices, the last of them the one that the chain is in the place of.
    """

    root: Any
    nodes: tuple[Any, ...]

    def inputs(self) -> Iterator[Any]:
        """The nodes that are needed for it."""
        yield self.root
        for node in self.nodes:
            yield from (one for one in node.all_input_nodes if one is not node.args[0])

    def key(self, value: Callable[[Any], Any]) -> tuple[Any, ...]:
        """What the root is indexed by; `value` gives a node's arguments."""
        axes = list(range(self.root.meta["val"].dim()))
        key: list[Any] = [slice(None)] * len(axes)
        for node in self.nodes:
            given = {name: value(argument) for name, argument in _arguments(node).items() if name != "input"}
            dim = given.get("dim", 0) % len(axes)
            if node.target is _SELECT:
                key[axes.pop(dim)] = given["index"]
            else:
                key[axes[dim]] = slice_of(given.get("start"), given.get("end"), given.get("step", 1))
        return tuple(key)


def slice_of(start: Any, end: Any, step: Any) -> slice:
    """Python's slice, of what torch writes down for one."""
    return slice(start, None if isinstance(end, int) and end >= _END else end, step)


def _arguments(node: Any) -> dict[str, Any]:
    return dict(zip(_NAMES[node.target], node.args)) | node.kwargs


def chains(graph: Any) -> dict[Any, Chain]:
    """The slices of slices in a graph that take no dimension twice."""
    found: dict[Any, Chain] = {}
    taken: dict[Any, tuple[list[int], set[int]]] = {}
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in _NAMES or "val" not in node.meta:
            continue
        before = node.args[0]
        rank = before.meta["val"].dim() if "val" in before.meta else 0
        if not rank:
            continue
        dim = _arguments(node).get("dim", 0)
        axes, used = taken.get(before, (list(range(rank)), set()))
        follows = before in taken and axes[dim % rank] not in used
        if not follows:
            axes, used = list(range(rank)), set()
        left = [axis for place, axis in enumerate(axes) if not (node.target is _SELECT and place == dim % rank)]
        taken[node] = left, used | {axes[dim % rank]}
        if follows:
            chain = found.get(before, Chain(before.args[0], (before,)))
            found[node] = Chain(chain.root, (*chain.nodes, node))
    return found
