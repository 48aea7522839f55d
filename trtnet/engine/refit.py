"""What a refit is asked for, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..weights.sources import ALL, Selection, Source
from .revision import Version


class Refit(NamedTuple):
    """What `engine.refit` was asked for; its arguments say what each is."""

    source: Source = ()
    selection: Selection = ALL
    finite: str | None = "warn"
    fresh_contexts: bool = False
    version: int | None = None
    verify: bool = False


@dataclass
class RefitReport:
    """What a refit did.

    Attributes:
        given: names of the parameters that were given.
        changed: names of the engine weights that were made anew from them.
        companions: engine weights that TensorRT wanted beside those, and got from the engine's own copy.
        unchanged: given parameters whose bytes the engine had already: nothing was done for them.
        converted: name and dtype of given values that were converted to the parameter's dtype.
        version: the trainer's number of these weights; None where it told none.
        previous: the version that the engine had before; "live" where tensors are bound. `went_back` compares them.
        verified: whether what the engine holds was read back, and compared with what was given.
        seconds: time it took.
        times: seconds by step: "check" (names, shapes, types), "wait" (for what was running), "gather" (given values
            into the engine's own memory), "recipes", "refit" (TensorRT's own work). The reference engine has the first.
    """

    given: list[str]
    changed: list[str]
    companions: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)
    version: int | None = None
    previous: Version = None
    verified: bool = False
    seconds: float = 0.0
    times: dict[str, float] = field(default_factory=dict)

    @property
    def went_back(self) -> bool:
        """Whether the version is lower than the one before."""
        return isinstance(self.version, int) and isinstance(self.previous, int) and self.version < self.previous

    def __str__(self) -> str:
        text = f"refitted {len(self.changed)} weights from {len(self.given)} parameters in {self.seconds * 1e3:.1f} ms"
        notes = []
        if self.version is not None:
            notes.append(f"version {self.version}" + (f", back from {self.previous}" if self.went_back else ""))
        if self.verified:
            notes.append("read back")
        if self.unchanged:
            notes.append(f"{len(self.unchanged)} parameters had these values already")
        if self.companions:
            notes.append(f"{len(self.companions)} companions from the engine's own copy")
        return text + (f" ({', '.join(notes)})" if notes else "")
