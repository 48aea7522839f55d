"""Where the time of a call goes: `trtnet profile`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..basics.errors import ArgumentError
from ..basics.tables import render
from ..engine.layer_times import CALLS, LayerTime, LayerTimes
from . import profile_files
from .cases import Case
from .console import print_text
from .results import check_suffix, write
from .timing import surroundings

BY = ("module", "line", "layer")
"""What times are added up by."""


@dataclass(frozen=True)
class Files:
    """What is written, each where it is named.

    Attributes:
        export_profile: in trtexec's form.
        flame: a flame graph, by its suffix.
        trace: of Chrome's form.
        json: everything, with each sample.
    """

    export_profile: Path | None = None
    flame: Path | None = None
    trace: Path | None = None
    json: Path | None = None

    def check(self) -> None:
        """Raises ArgumentError for a file that could not be written, before anything is measured."""
        paths = [path for path in (self.export_profile, self.trace, self.json, self.flame) if path is not None]
        for path in paths:
            check_suffix(path, tuple(profile_files.FLAMES) if path is self.flame else (".json",))
        if twice := [path for path, count in Counter(path.absolute() for path in paths).items() if count > 1]:
            raise ArgumentError(
                "two files have one name", expected="a name for each", found=str(twice[0]), remedy="name them apart"
            )

    def write(self, times: LayerTimes, case: Case) -> None:
        title = case.graph.title
        forms: list[tuple[Path | None, Callable[[], str]]] = [
            (self.export_profile, lambda: profile_files.trtexec(times, title)),
            (self.flame, lambda: profile_files.FLAMES[self.flame.suffix](times, title) if self.flame else ""),
            (self.trace, lambda: profile_files.trace(times, title)),
            (self.json, lambda: _data(times, case)),
        ]
        for path, text in forms:
            if path is not None:
                write(path, lambda new, text=text: new.write_text(text(), encoding="utf-8"))  # type: ignore[misc]


@dataclass(frozen=True)
class Asked:
    """What is measured and shown.

    Attributes:
        by: one of `BY`.
        depth: after how many names module paths are cut; None: not at all.
        calls: how many are measured.
        files: what is written.
    """

    by: str = "module"
    depth: int | None = None
    calls: int = CALLS
    files: Files = Files()

    def check(self) -> None:
        """Raises ArgumentError for what cannot be shown or written, before anything is measured."""
        if self.by not in BY:
            raise ArgumentError(
                f"times are not added up by {self.by!r}", expected=", ".join(BY), found=self.by, remedy="--by module"
            )
        if self.depth is not None and self.by != "module":
            raise ArgumentError(
                "--depth is for times by module",
                expected="--by module",
                found=f"--by {self.by}",
                remedy="leave --depth out",
            )
        self.files.check()


def profile(case: Case, asked: Asked) -> None:
    """Measure, print a table, and write the files."""
    times = case.engine.profile(*(case.inputs[name] for name in case.graph.inputs), calls=asked.calls)
    print_text(table(times, asked.by, asked.depth, case.graph.title))
    asked.files.write(times, case)


def table(times: LayerTimes, by: str, depth: int | None, title: str) -> str:
    """The times of layers, or their sums by module or source line, the slowest first."""
    if by == "layer":
        return str(times)

    def key(layer: LayerTime) -> str:
        return layer.where if by == "line" else ".".join(layer.module.split(".")[:depth])

    sums = times.lines() if by == "line" else times.modules(depth)
    counts = Counter(map(key, times.layers))
    whole = times.milliseconds or 1.0
    unnamed = "(not recorded: TensorRT's own)" if by == "line" else title
    rows = [(name or unnamed, f"{ms:.4f}", f"{ms / whole:.1%}", str(counts[name])) for name, ms in sums.items()]
    return render(
        ("at" if by == "line" else "module", "ms", "share", "layers"),
        rows,
        right=("ms", "share", "layers"),
        footer=times.told(),
    )


def _data(times: LayerTimes, case: Case) -> str:
    """Everything, with each sample, as JSON."""
    found = surroundings() | {
        "network": case.graph.title, "way": case.way, "batch": case.batch, "device": times.device,
        "calls": times.calls, "milliseconds": times.milliseconds, "modules": times.modules(), "lines": times.lines(),
        "layers": [asdict(layer) | {"median": layer.median} for layer in times.layers],
    }  # fmt: skip
    return json.dumps(found, indent=1, allow_nan=False) + "\n"
