"""Packs of programs built and compared in a process of their own: should it die, it is known over what."""

from __future__ import annotations

import faulthandler
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trtnet

from .compare import Difference, Verdict, check
from .packed import Pack, build_all
from .program import Program
from .shrink import shrink

Entry = tuple[Program, str]


@dataclass
class Report:
    """What became of programs; each entry is of one of them, with what was said.

    Attributes:
        wrong: numbers that are not torch's.
        failed: not built, though nothing refused it.
        refused: refused by trtnet.
        crashed: the process died.
        built: how many were built.
        compared: how many outputs were compared.
    """

    wrong: list[Entry] = field(default_factory=list)
    failed: list[Entry] = field(default_factory=list)
    refused: list[Entry] = field(default_factory=list)
    crashed: list[Entry] = field(default_factory=list)
    built: int = 0
    compared: int = 0

    def add(self, other: Report) -> None:
        for name in ("wrong", "failed", "refused", "crashed"):
            getattr(self, name).extend(getattr(other, name))
        self.built += other.built
        self.compared += other.compared

    def faults(self) -> list[tuple[str, Program, str]]:
        """What must not be: its kind, the program, and what was said."""
        return [(kind, *entry) for kind in ("crashed", "failed", "wrong") for entry in getattr(self, kind)]


def outcome(programs: Sequence[Program], refit: bool, options: dict[str, Any]) -> Report:
    """Build the programs, in parts where they do not build as one, and compare at every batch size that all take."""
    report = Report()
    found = build_all(programs, lambda graph: trtnet.build(graph, refit=refit, check=False, **options), len(programs))
    report.failed, report.refused = found.failed, found.refused
    for pack, engine in found.built:
        report.built += len(pack.programs)
        _compare(pack, engine, refit, report)
        engine.close()
    return report


def _compare(pack: Pack, engine: Any, refit: bool, report: Report) -> None:
    for generation in range(1 + refit):
        if generation:
            engine.refit(pack.weights(1))
        for batch in (3, 5, 2):
            outputs = engine(**pack.inputs(batch))
            for program, verdict in pack.compare(outputs, batch, generation):
                report.compared += verdict.compared
                if verdict.difference:
                    report.wrong.append((program, f"batch {batch}: {verdict.difference.text}"))


def _work(connection: Any) -> None:
    faulthandler.enable()
    while (job := connection.recv()) is not None:
        connection.send(outcome(*job))


class Apart:
    """The process. Dead, it is started again for the next programs."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self._process: Any = None
        self._connection: Any = None

    def __call__(self, programs: Sequence[Program], refit: bool = False) -> Report:
        """What became of the programs; where they take the process down, half of them at a time."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._connection.send((list(programs), refit, self.options))
            found: Report = self._connection.recv()
            return found
        except (EOFError, ConnectionError):
            self._process.join()
            died = f"the process died of signal {-self._process.exitcode}"
            self._process = None
        report = Report()
        if len(programs) == 1:
            report.crashed.append((programs[0], died))
            return report
        middle = (len(programs) + 1) // 2
        for part in (programs[:middle], programs[middle:]):
            report.add(self(part, refit))
        return report

    def printed(self, report: Report, refit: bool = False, most: int = 3) -> list[str]:
        """The faults of a report, each as a program that runs by itself; the first `most` made small."""
        found = []
        for number, (kind, program, said) in enumerate(report.faults()):
            verdict = Verdict(program, difference=Difference(kind, said))
            if number < most:
                verdict = smallest(verdict, lambda one: self([one], refit))
            found.append(f"# seed {program.seed}\n{verdict.printed()}")
        return found

    def close(self) -> None:
        if self._process is not None:
            self._connection.send(None)
            self._process.join()
            self._process = None


def smallest(verdict: Verdict, again: Callable[[Program], Report], most: int = 40) -> Verdict:
    """A program of a fault, as small as it gets in `most` tries: the reference must give torch's numbers, and `again`
    the same fault."""

    def test(program: Program) -> Verdict:
        agreed = check(program)
        if agreed.difference is not None or agreed.skipped:
            return Verdict(program)
        faults = again(agreed.program).faults()
        return Verdict(agreed.program, difference=Difference(faults[0][0], faults[0][2]) if faults else None)

    return shrink(verdict, test, most)
