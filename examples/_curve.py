"""What the examples that train share: their command line, and the picture of their learning curve."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure


def draw(curve: Sequence[tuple[int, float]], title: str, path: Path) -> None:
    """Mean return by steps, as a picture."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve), linewidth=1)
    axes.set(xlabel="steps", ylabel="mean return", title=title)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def report(description: str | None, title: str, train: object) -> None:
    """Train on one core, say what was reached in which time, and draw the curve where that is asked for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curve", type=Path, metavar="FILE", help="a picture of the learning curve")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.curve is not None and not given.curve.absolute().parent.is_dir():
        parser.error(f"--curve: there is no folder {given.curve.parent}")
    torch.set_num_threads(1)  # networks as small as these are slower by more
    started = time.perf_counter()
    _, engine, curve = train(seed=given.seed)  # type: ignore[operator]
    steps, reached = curve[-1]
    print(f"mean return {reached:.1f} after {steps:,} steps in {time.perf_counter() - started:.0f} s; {engine!r}")
    if given.curve is not None:
        draw(curve, title, given.curve)
