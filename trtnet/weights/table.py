"""Which parameter is which engine weight, and whether it can be changed: what `engine.weights` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..basics.dims import format_shape
from ..basics.tables import render


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
