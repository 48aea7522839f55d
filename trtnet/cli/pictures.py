"""Distributions as pictures, by matplotlib: of errors for `trtnet compare`, of latencies for `trtnet bench`."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..basics.disk import explained, replacing
from ..basics.errors import ArgumentError, ProviderError
from .results import check_place

SUFFIXES = (".png", ".svg")
MOST = 12
"""Panels of one picture."""
BINS = 50


def check_picture(path: Path) -> None:
    """Raises ArgumentError and ProviderError for a picture that could not be drawn, before anything is computed."""
    if path.suffix not in SUFFIXES:
        raise ArgumentError(
            "pictures are .png or .svg", found=str(path), remedy=f"--picture {path.with_suffix('.png')}"
        )
    check_place(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise ProviderError("pictures are drawn by matplotlib, which is not installed", remedy="pip install matplotlib")


def draw_errors(path: Path, title: str, errors: Mapping[str, np.ndarray], tolerance: float) -> None:
    """How many values of each output are off by how much; of many outputs those that are off most.

    Args:
        errors: by output: the difference of each value, by the output's root mean square.
    """
    worst = sorted(errors, key=lambda name: -float(errors[name].max(initial=0.0)))[:MOST]
    shown = [name for name in errors if name in worst]
    if len(shown) < len(errors):
        title += f" (the {len(shown)} of {len(errors)} outputs that differ most)"
    figure, panels = _figure(len(shown), title)
    for panel, name in zip(panels, shown):
        values = errors[name]
        drawn = values[(values > 0) & np.isfinite(values)]
        if drawn.size:
            panel.hist(drawn, bins=_logarithmic(drawn, 1.5))
        panel.set_xscale("log")
        if tolerance > 0:
            panel.axvline(tolerance, color="C3", linestyle="--", label=f"tolerance {tolerance:g}")
            panel.legend(fontsize="small")
        same, infinite = int((values == 0).sum()), int(np.isinf(values).sum())
        panel.set_title(
            f"{name}: {values.size:,} values, {same:,} the same" + (f", {infinite:,} infinitely off" * bool(infinite)),
            fontsize="medium",
            parse_math=False,
        )
        panel.set_xlabel("difference, of the output's root mean square")
        panel.set_ylabel("values")
    _save(path, figure)


def draw_latencies(path: Path, title: str, seconds: Mapping[str, Sequence[float]]) -> None:
    """How many calls took how long, one below the other; the median and 99 % as lines."""
    figure, panels = _figure(len(seconds), title, columns=1, shared=True)
    for panel, (name, values) in zip(panels, seconds.items()):
        milliseconds = np.asarray(values) * 1e3
        panel.hist(milliseconds, bins=_logarithmic(milliseconds, 1.05))
        panel.set_xscale("log")
        for percent, style in ((50, "-"), (99, "--")):
            at = float(np.percentile(milliseconds, percent))
            panel.axvline(at, color="C3", linestyle=style, label=f"{percent} %: {at:.3g} ms")
        panel.legend(fontsize="small")
        panel.set_title(f"{name}: {milliseconds.size:,} calls", fontsize="medium", parse_math=False)
        panel.set_ylabel("calls")
    panels[-1].set_xlabel("milliseconds, from the first copy to the last result")
    _save(path, figure)


def _logarithmic(values: np.ndarray, beyond: float) -> np.ndarray:
    """Edges of equal ratio, to `beyond` times the ends."""
    return np.geomspace(float(values.min()) / beyond, float(values.max()) * beyond, BINS)


def _figure(count: int, title: str, columns: int = 3, shared: bool = False) -> tuple[Any, list[Any]]:
    figures: Any = importlib.import_module("matplotlib.figure")
    columns = min(columns, max(count, 1))
    rows = math.ceil(max(count, 1) / columns)
    figure = figures.Figure(figsize=(max(5.0 * columns, 7.0), 3.2 * rows + 0.5), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=shared).flat)
    figure.suptitle(title, parse_math=False)
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels


def _save(path: Path, figure: Any) -> None:
    with explained(path, "picture"), replacing(path) as new:
        figure.savefig(new, dpi=120)
