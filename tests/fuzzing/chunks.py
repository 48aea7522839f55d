"""Some programs of a seed, in a process of their own: a pool's workers find no function of `__main__` here."""

from __future__ import annotations

import warnings

from .compare import Verdict, check
from .generate import programs
from .report import Report
from .shrink import shrink


def chunk(task: tuple[int, int, int]) -> Report:
    """`count` programs of a seed from `first` on."""
    import torch

    seed, first, count = task
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    report = Report()
    for number, (generator, program) in enumerate(programs(seed, first, count), first):
        verdict = check(program)
        report.add(generator, verdict)
        if verdict.difference is not None:
            small = shrink(verdict)
            title = f"# seed {seed}, program {number}"
            report.disagreements.append((signature(small), f"{title}\n{small.printed()}"))
    return report


def signature(verdict: Verdict) -> str:
    calls = sorted({card[0] for step in verdict.program.steps for card in step.cards})
    return f"{verdict.difference.kind}: {' '.join(calls)}"
