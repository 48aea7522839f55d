"""What the comparison of an engine with the reference found: figures, which `engine.checked` and the manifest keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..basics.errors import WeightsError
from ..basics.tables import render

BUILT, PERTURBED = "as built", "after a refit"


@dataclass(frozen=True)
class CheckedOutput:
    """One output, at one profile's opt sizes, with one set of weights.

    Attributes:
        output: its name.
        sizes: of the Dims.
        weights: "as built", or "after a refit" to perturbed weights.
        error: the largest difference, relative to the output's root mean square; None where nothing was compared.
        mean_error: the root mean square of the differences, likewise.
        allowed, mean_allowed: the most that these may be.
        unchecked: what of the output was not compared, and why; empty where all was.
        wrong: whether the difference is larger than rounding explains.
    """

    output: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    weights: str = BUILT
    error: float | None = None
    mean_error: float | None = None
    allowed: float = 0.0
    mean_allowed: float = 0.0
    unchecked: str = ""
    wrong: bool = False

    @property
    def verdict(self) -> str:
        return "wrong" if self.wrong else "unchecked" if self.error is None else "right"


@dataclass(frozen=True)
class Checked:
    """The figures of a check; prints as a table.

    Attributes:
        rows: one for each output, profile and set of weights.
        device: where the reference ran: "cpu", "cuda:0".
        seconds: how long the check took, without loading torch and its GPU libraries.
        skipped: what was left out, and why; empty where nothing was.
    """

    rows: tuple[CheckedOutput, ...] = ()
    device: str = ""
    seconds: float = 0.0
    skipped: str = ""

    @property
    def wrong(self) -> tuple[CheckedOutput, ...]:
        """The rows that are wrong."""
        return tuple(row for row in self.rows if row.wrong)

    @property
    def unchecked(self) -> dict[str, str]:
        """Outputs that were not compared, wholly or in part, and why."""
        return {row.output: row.unchecked for row in self.rows if row.unchecked}

    @property
    def passed(self) -> bool:
        """Whether something was compared, nothing was left out, and nothing is wrong."""
        return bool(self.rows) and not self.skipped and not self.wrong

    def plain(self) -> dict[str, Any]:
        """As JSON takes it: numbers that are not finite as text."""
        found = asdict(self)
        found["rows"] = [
            {key: repr(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
            for row in found["rows"]
        ]
        return found

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Checked:
        """The figures of `plain`. Raises WeightsError for what is none."""
        try:
            return cls._of(plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(
                "the figures of the check in this manifest cannot be read",
                expected="what engine.save wrote",
                found=f"{type(error).__name__}: {error}",
                remedy="the manifest was changed: build the engine again, or restore the file",
            ) from error

    @classmethod
    def _of(cls, plain: Mapping[str, Any]) -> Checked:
        rows = []
        for row in plain["rows"]:
            numbers = ("error", "mean_error", "allowed", "mean_allowed")
            given: Any = {k: float(v) if k in numbers and v is not None else v for k, v in row.items()}
            rows.append(CheckedOutput(**given))
        return cls(tuple(rows), plain["device"], plain["seconds"], plain["skipped"])

    def __str__(self) -> str:
        rows = [
            (
                row.output, ", ".join(f"{n}={s}" for n, s in row.sizes.items()) or "-", row.weights,
                _number(row.error), _number(row.allowed), row.verdict, row.unchecked or "-",
            )
            for row in self.rows
        ]  # fmt: skip
        where = f"compared with the reference on {self.device} in {self.seconds:.2f} s" if self.rows else ""
        footer = "; ".join(part for part in (where, self.skipped) if part)
        titles = ("output", "sizes", "weights", "error", "allowed", "verdict", "unchecked")
        return render(titles, rows, footer=footer)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
