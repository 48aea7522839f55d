"""Which parameters of a graph an engine lets be changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from ..basics.errors import ArgumentTypeError, WeightsError
from ..basics.patterns import matches
from ..graph.graph import Graph

Choice: TypeAlias = bool | str | Iterable[str]
"""All of them, none, or fnmatch patterns over `state_dict` keys."""


def refittable_names(graph: Graph, refit: Choice, what: str = "refit") -> frozenset[str]:
    """The parameters that `refit` (or `live`) selects. Raises WeightsError for a pattern that matches none, and for one
    that is the name of weights of 4 bits."""
    if isinstance(refit, bool):
        wide = [name for name, leaf in graph.parameters.items() if leaf.dtype.bits >= 8]  # the others stay
        names = wide if refit else []
        return frozenset(name for name in names if what == "refit" or name not in graph.frozen)
    chosen: set[str] = set()
    patterns = [refit] if isinstance(refit, str) else list(refit) if isinstance(refit, Iterable) else [refit]
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ArgumentTypeError(
                f"{what} is no pattern", expected="False, True, or patterns over state_dict keys", found=repr(pattern)
            )
        found = [name for name in graph.parameters if matches(name, [pattern])]
        if not found:
            raise WeightsError(
                f"the pattern {pattern!r} matches no parameter",
                expected="some of " + ", ".join(list(graph.parameters)[:8]),
                found=pattern,
                remedy="patterns are over the keys of graph.state_dict(); '*' matches any part of them",
            )
        if graph.parameters[found[0]].dtype.bits < 8 and found == [pattern]:
            raise WeightsError(
                "weights of 4 bits cannot be changed in an engine",
                expected="weights of 8 bits or more",
                found=f"{pattern}: {graph.parameters[pattern].dtype}",
                remedy=f"leave it out of {what}=, or keep it as floats, which the network quantizes",
            )
        chosen.update(name for name in found if graph.parameters[name].dtype.bits >= 8)
    if what == "live" and (frozen := sorted(chosen & graph.frozen.keys())):
        raise WeightsError(
            "parameters that forward reads as numbers cannot be live",
            expected="parameters that stay tensors in forward",
            found=", ".join(f"{name}, read at {graph.frozen[name]}" for name in frozen),
            remedy="keep them tensors in forward, or leave them out of live=",
        )
    leaves = {graph.parameters[name] for name in chosen}  # tied parameters by all their names
    return frozenset(name for name, leaf in graph.parameters.items() if leaf in leaves)
