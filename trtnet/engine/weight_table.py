"""Which parameter is which engine weight, and whether the built engine lets it be changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..basics.dims import format_shape
from ..basics.errors import BuildError
from ..basics.tables import render
from ..weights.recipes import Leaf, Weight

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .plan import Plan


@dataclass(frozen=True)
class WeightRow:
    """One parameter.

    Attributes:
        parameter: its `state_dict` key.
        shape, dtype: as recorded.
        engine_weights: the names of the engine weights that are made of it; of a live parameter, the network's input.
        status: "refittable", "live", "fixed", "frozen" (read as a number while recording) or "unused".
        reason: why.
    """

    parameter: str
    shape: tuple[int, ...]
    dtype: str
    engine_weights: tuple[str, ...]
    status: str
    reason: str


class WeightTable:
    """The rows of `engine.weights`; prints as a table."""

    def __init__(self, rows: list[WeightRow]) -> None:
        self.rows = rows
        self._by_name = {row.parameter: row for row in rows}

    def __iter__(self) -> Iterator[WeightRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, parameter: str) -> WeightRow:
        return self._by_name[parameter]

    def __str__(self) -> str:
        rows = [
            (r.parameter, format_shape(r.shape), r.dtype, r.status, ", ".join(r.engine_weights) or "-", r.reason)
            for r in self.rows
        ]
        counts = {status: sum(r.status == status for r in self.rows) for status in ("refittable", "live", "fixed")}
        footer = f"{len(rows)} parameters: " + ", ".join(f"{count} {status}" for status, count in counts.items())
        return render(("parameter", "shape", "dtype", "status", "engine weights", "why"), rows, footer=footer)

    __repr__ = __str__


def table(plan: Plan, known: Collection[str] | None) -> WeightTable:
    """The rows of a plan's graph.

    Args:
        known: the engine weights that TensorRT's Refitter names; None where no TensorRT built the engine (every weight
            is what was asked for).
    """
    known = None if known is None else frozenset(known)
    weights: dict[str, list[tuple[str, Weight]]] = {}
    for name, one in plan.weights.items():
        for leaf in dict.fromkeys(one.weight.leaves()):
            weights.setdefault(leaf.name, []).append((name, one.weight))
    used = _reaching(plan.graph)
    return WeightTable([_row(key, leaf, plan, weights.get(leaf.name, []), known, used) for key, leaf in
                        plan.graph.parameters.items()])  # fmt: skip


def _row(
    key: str,
    leaf: Leaf,
    plan: Plan,
    weights: list[tuple[str, Weight]],
    known: Collection[str] | None,
    used: Collection[str],
) -> WeightRow:
    names = tuple(name for name, _ in weights)
    if leaf.frozen is not None:
        return WeightRow(key, tuple(leaf.shape), leaf.dtype.name, names, "frozen", f"a number at {leaf.frozen.place}")
    if leaf.name in plan.live:
        status, reason, names = "live", "an input of the network", (plan.live[leaf.name],)
    elif leaf.name not in used:
        status, reason = "unused", "no output depends on it"
    elif key not in plan.refittable:
        status, reason = "fixed", "not chosen by refit" if plan.refittable else "built without refit"
    else:
        lost = [name for name in names if known is not None and name not in known]
        if lost:
            status, reason = "fixed", "TensorRT does not let " + ", ".join(lost) + " be refitted"
        elif all(isinstance(weight, Leaf) for _, weight in weights):
            status, reason = "refittable", "as it is"
        else:
            status, reason = "refittable", "through a recipe"
    return WeightRow(key, tuple(leaf.shape), leaf.dtype.name, names, status, reason)


def _reaching(graph: Graph) -> set[str]:
    """Names of the parameters that an output depends on."""
    needed: set[Any] = set(graph.outputs.values())
    found: set[str] = set()
    for layer in reversed(graph.layers):
        if needed.isdisjoint(layer.outputs):
            continue
        for operand in layer.inputs:
            if isinstance(operand, Weight):
                found.update(leaf.name for leaf in operand.leaves())
            elif operand is not None:
                needed.add(operand)
    return found


def require_refittable(plan: Plan, known: Collection[str]) -> None:
    """Raises BuildError where a parameter that was to be refittable is not."""
    wrong = [r for r in table(plan, known) if r.status == "fixed" and r.parameter in plan.refittable]
    if wrong:
        raise BuildError(
            "TensorRT did not keep these parameters refittable",
            expected=", ".join(r.parameter for r in wrong[:8]),
            found="\n".join(f"{r.parameter}: {r.reason}" for r in wrong[:8]),
            remedy="choose others with refit=[patterns], or make them live=[patterns]; a change of the layer that uses "
            "them may help, too",
        )
