"""What a run of many programs found: disagreements, refusals, and the calls that were covered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import functions
from .compare import Verdict
from .generate import Generator

Card = tuple[str, str, str]


@dataclass
class Report:
    """Attributes:
    programs, recorded: how many, and how many of them without a refused line.
    steps, refusals: how many lines, and the messages of those that were refused.
    tried, called, answered: cards that were dealt; that torch took; that trtnet recorded.
    """

    programs: int = 0
    recorded: int = 0
    dynamic: int = 0
    steps: int = 0
    compared: int = 0
    unstable: int = 0
    skipped: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    tried: Counter[Card] = field(default_factory=Counter)
    called: Counter[Card] = field(default_factory=Counter)
    answered: Counter[Card] = field(default_factory=Counter)
    disagreements: list[tuple[str, str]] = field(default_factory=list)

    def add(self, generator: Generator, verdict: Verdict) -> None:
        program = generator.program()
        self.programs += 1
        self.recorded += not verdict.refused
        self.dynamic += program.dynamic
        self.steps += len(program.steps)
        self.compared += verdict.compared
        self.unstable += verdict.unstable
        self.skipped += verdict.skipped
        for message, text in verdict.refused:
            self.refusals[message] += 1
            self.examples.setdefault(message, text)
        self.tried.update(card for card, _ in generator.tried)
        self.called.update(card for step in program.steps for card in step.cards)
        self.answered.update(card for step in verdict.program.steps for card in step.cards)

    def merge(self, other: Report) -> None:
        for name in ("programs", "recorded", "dynamic", "steps", "compared", "unstable", "skipped"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("refusals", "tried", "called", "answered"):
            getattr(self, name).update(getattr(other, name))
        self.examples = {**other.examples, **self.examples}
        self.disagreements += other.disagreements

    def functions(self, cards: Iterable[Card]) -> set[str]:
        return {name for name, _, _ in cards}

    def cells(self) -> tuple[set[Card], set[Card]]:
        """The calls that torch takes (a card that torch refused whenever it was dealt is none), and those recorded."""
        return set(self.called), set(self.answered)

    def summary(self) -> str:
        offered = set(functions.offered())
        called, answered = self.functions(self.called), self.functions(self.answered)
        never = sorted(offered - called)
        cells, recorded = self.cells()
        lines = [
            f"{self.programs} programs ({self.dynamic} dynamic), {self.steps} lines; {self.compared} tensors compared, "
            f"{self.unstable} left out as ill-conditioned, {self.skipped} runs skipped",
            f"recorded without a refusal: {self.recorded} programs ({self.share(self.recorded, self.programs)}); "
            f"lines refused: {sum(self.refusals.values())} ({self.share(sum(self.refusals.values()), self.steps)})",
            f"functions of {len(offered)} offered: {len(called & offered)} called "
            f"({self.share(len(called & offered), len(offered))}), "
            f"{len(answered & offered)} recorded",
            f"functions x kinds of argument that torch took: {len(cells)} called, {len(recorded)} recorded "
            f"({self.share(len(recorded), len(cells))}), of {len(set(self.tried) | cells)} dealt",
            f"left out: {len(functions.left_out())} names, for reasons given in functions.LEFT_OUT",
        ]
        if never:
            lines.append("never called: " + " ".join(never))
        return "\n".join(lines)

    def share(self, part: int, whole: int) -> str:
        return f"{100 * part / whole:.0f} %" if whole else "none"

    def table(self) -> str:
        """Functions by origin and family: recorded of called."""
        rows: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
        for card, count in sorted(self.called.items()):
            rows[card[0]][card[1:]] = f"{self.answered[card]}/{count}"
        return "\n".join(
            f"{name:28} " + "  ".join(f"{o} {f} {n}" for (o, f), n in row.items()) for name, row in rows.items()
        )

    def refused(self, most: int = 40) -> str:
        return "\n".join(f"{n:6} {m}   e.g. {self.examples[m]}" for m, n in self.refusals.most_common(most))
