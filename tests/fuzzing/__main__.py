"""Runs many programs: `python tests/fuzzing --programs 1000 --seed 3 --workers 2`.

Prints each disagreement, shrunk, as a program that runs by itself, then what was refused and what was covered.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "helpers"), str(TESTS.parent)]

from fuzzing.chunks import chunk  # noqa: E402
from fuzzing.report import Report  # noqa: E402


def results(tasks: list[tuple[int, int, int]], workers: int) -> Iterator[Report]:
    if workers < 2:
        yield from map(chunk, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=50) as pool:
        yield from pool.imap_unordered(chunk, tasks)


def compile_all(seed: int, count: int) -> bool:
    """Whether TensorRT-RTX compiles `count` programs, 50 to a network; it needs no GPU."""
    import harness

    from fuzzing.packed import agreeing, build_all

    warnings.simplefilter("ignore")
    started = time.monotonic()
    outcome = build_all(
        agreeing(seed, count),
        lambda graph: harness.compile_network(harness.lower_and_compare(graph, compile=False)),  # type: ignore[arg-type]
        50,
    )
    for title, found in (("refused", outcome.refused), ("failed", outcome.failed)):
        for program, text in found:
            print(f"--- {title}: {text}\n" + "\n".join(step.text for step in program.steps))
    compiled = sum(len(pack.programs) for pack, _ in outcome.built)
    print(
        f"seed {seed}: TensorRT-RTX compiled {compiled} programs of {count} in {len(outcome.built)} networks, refused "
        f"{len(outcome.refused)}, failed on {len(outcome.failed)}; {time.monotonic() - started:.0f} s"
    )
    return not outcome.failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first program, to run one again")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--coverage", action="store_true", help="print the table of functions and kinds of argument")
    parser.add_argument("--save", type=Path, help="a folder for the programs that disagree")
    parser.add_argument("--compile", action="store_true", help="have TensorRT-RTX compile them, 50 to a network")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.compile:
        return not compile_all(options.seed, options.programs)
    size = min(100, max(1, options.programs // max(options.workers, 1)))
    end = options.first + options.programs
    tasks = [(options.seed, first, min(size, end - first)) for first in range(options.first, end, size)]
    total, started = Report(), time.monotonic()
    for report in results(tasks, options.workers):
        total.merge(report)
        for title, text in report.disagreements:
            print(f"--- {title}\n{text}", flush=True)
            if options.save:
                options.save.mkdir(parents=True, exist_ok=True)
                name = text.split("\n")[0].strip("# ").replace(", ", "-").replace(" ", "")
                (options.save / f"{name}.py").write_text(text)
        if total.programs % 1000 < report.programs:
            spent = time.monotonic() - started
            print(f"{total.programs} programs, {spent:.0f} s", file=sys.stderr, flush=True)
    print("--- refused\n" + total.refused())
    if options.coverage:
        print("--- covered: recorded of called\n" + total.table())
    print("--- summary\n" + total.summary())
    speed = total.programs / (time.monotonic() - started)
    print(f"seed {options.seed}: {len(total.disagreements)} disagreements; {speed:.0f} programs a second")
    return bool(total.disagreements)


if __name__ == "__main__":
    sys.exit(main())
