"""Which parameter is which engine weight, and whether the built engine lets it be changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..basics.errors import BuildError
from ..graph.graph import Graph
from ..weights.recipes import Leaf, Weight
from ..weights.table import WeightRow, WeightTable
from .plan import Plan


def table(
    graph: Graph,
    weights: Mapping[str, Weight],
    refittable: Collection[str],
    live: Mapping[str, str],
    known: Collection[str] | None = None,
) -> WeightTable:
    """The rows of a graph's parameters.

    Args:
        weights: the engine's weights by their names there.
        refittable: the keys that refit was asked for.
        live: the parameters that are inputs of the network, by their own names, and those inputs' names.
        known: the engine weights that TensorRT's Refitter names; None where no TensorRT built the engine (every weight
            is what was asked for).
    """
    known = None if known is None else frozenset(known)
    made: dict[str, list[tuple[str, Weight]]] = {}
    for name, weight in weights.items():
        for leaf in dict.fromkeys(weight.leaves()):
            made.setdefault(leaf.name, []).append((name, weight))
    used = used_by(graph)
    rows = []
    for key, leaf in graph.parameters.items():
        own = made.get(leaf.name, [])
        names = tuple(name for name, _ in own)
        if leaf.name in live and leaf.frozen is None:
            names, status, reason = (live[leaf.name],), "live", "an input of the network"
        else:
            status, reason = _status(key, leaf, own, refittable, known, used)
        rows.append(WeightRow(key, tuple(leaf.shape), leaf.dtype.name, names, status, reason))
    return WeightTable(rows)


def plan_table(plan: Plan, known: Collection[str] | None) -> WeightTable:
    """`table` of a plan."""
    known = None if known is None else frozenset(known)
    weights = {n: one.weight for n, one in plan.weights.items() if known is None or n in known or not one.idle}
    return table(plan.graph, weights, plan.refittable, plan.live, known)


def _status(
    key: str,
    leaf: Leaf,
    weights: list[tuple[str, Weight]],
    refittable: Collection[str],
    known: Collection[str] | None,
    used: Collection[str],
) -> tuple[str, str]:
    """The status of a parameter that is not live, and why."""
    if leaf.frozen is not None:
        return "frozen", f"a number at {leaf.frozen.place}"
    if leaf.name not in used:
        return "unused", "no output depends on it"
    if leaf.dtype.bits < 8:
        return "fixed", "of 4 bits"
    if key not in refittable:
        return "fixed", "not chosen by refit" if refittable else "built without refit"
    lost = [name for name, _ in weights if known is not None and name not in known]
    if lost:
        return "fixed", "TensorRT does not let " + ", ".join(lost) + " be refitted"
    if all(isinstance(weight, Leaf) for _, weight in weights):
        return "refittable", "as it is"
    return "refittable", "through a recipe"


def used_by(graph: Graph) -> set[str]:
    """Names of the parameters that an output depends on."""
    operands = (o for layer in graph.reaching() for o in layer.inputs)
    return {leaf.name for o in operands if isinstance(o, Weight) for leaf in o.leaves()}


def require_refittable(plan: Plan, known: Collection[str]) -> None:
    """Raises BuildError where a parameter that was to be refittable is not."""
    wrong = [r for r in plan_table(plan, known) if r.status == "fixed" and r.parameter in plan.refittable]
    if wrong:
        raise BuildError(
            "TensorRT did not keep these parameters refittable",
            expected=", ".join(r.parameter for r in wrong[:8]),
            found="\n".join(f"{r.parameter}: {r.reason}" for r in wrong[:8]),
            remedy="choose others with refit=[patterns], or make them live=[patterns]; a change of the layer that uses "
            "them may help, too",
        )
