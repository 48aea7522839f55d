"""What the benchmarks share: timing of interleaved variants, the machine, the table and its file."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"
sys.path.insert(0, str(FOLDER.parent))  # models/

PACKAGES = ("numpy", "torch", "tensorrt_rtx", "safetensors", "ml_dtypes")


def options(description: str, **extra: Any) -> argparse.Namespace:
    """The command line: `--quick` for tiny sizes and few repeats, `--output` for the folder of the JSON file."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few repeats: whether it runs, no figures")
    parser.add_argument("--output", type=Path, metavar="DIR", help="for the JSON file (default: benchmarks/results)")
    for name, value in extra.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    given = parser.parse_args()
    if given.output is None and given.quick:
        parser.error("--quick needs --output: its figures are no results")
    return given


# --- measuring --------------------------------------------------------------------------------------------------------


def interleaved(
    variants: dict[str, Callable[[], Any]], repeats: int, warmup: int = 3, collect: bool = True
) -> dict[str, list[Any]]:
    """What each variant returns, `repeats` times after `warmup`; they take turns in a shuffled order.

    What ran before leaves caches warm or cold; after a shuffle that is the same for all.

    The garbage collector runs before each one (unless `collect` is False), and stays on.
    """
    names = list(variants)
    results: dict[str, list[Any]] = {name: [] for name in names}
    shuffle = random.Random(0).shuffle
    for turn in range(warmup + repeats):
        shuffle(names)
        for name in names:
            if collect:
                gc.collect()
            result = variants[name]()
            if turn >= warmup:
                results[name].append(result)
    return results


def timed(function: Callable[[], Any], calls: int = 1) -> float:
    """Seconds for one call, the mean of `calls`."""
    started = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - started) / calls


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Minimum, median and 90th percentile."""
    ordered = sorted(samples)
    return {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p90": ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))],
        "samples": len(ordered),
    }


# --- the machine ------------------------------------------------------------------------------------------------------


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"] + f", {platform.system()} {platform.release()}"
    except (AttributeError, OSError, KeyError):
        return platform.platform()


def machine() -> dict[str, Any]:
    return {"cpu": _cpu(), "cores": os.cpu_count(), "memory": _memory(), "os": _distribution()}


def versions() -> dict[str, str]:
    import trtnet

    found = {"trtnet": trtnet.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


# --- the table --------------------------------------------------------------------------------------------------------


def report(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    results: Any,
    given: argparse.Namespace,
    **settings: Any,
) -> None:
    """Print the table, write `NAME.json`, and put the table into README.md if it is the real one."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=max(Console().width, 150)).print(table)  # never so narrow that figures are cut
    data = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions(),
        "machine": machine(),
        "settings": settings,
        "results": results,
        "table": {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]},
    }
    folder = given.output or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if given.output is None:
        README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")


def markdown(data: dict[str, Any]) -> str:
    """The tables of one result file, and where they were measured."""
    made, found = data["machine"], data["versions"]
    lines = []
    for table in data.get("tables") or [data["table"]]:
        if "tables" in data:
            lines += [f"**{table['title']}**", ""]
        lines += [
            "| " + " | ".join(table["columns"]) + " |",
            "|" + "|".join(["---"] + ["---:"] * (len(table["columns"]) - 1)) + "|",
            *("| " + " | ".join(row) + " |" for row in table["rows"]),
            "",
        ]
    gpu = f"{made['gpu']}, driver {made['driver']}; " if "gpu" in made else ""
    lines.append(
        f"{data['date']}; {gpu}{made['cpu']}, {made['cores']} cores, {made['memory']}, {made['os']}; "
        + ", ".join(f"{name} {version}" for name, version in found.items())
        + "."
    )
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """README.md with the tables of results/*.json between their marks."""
    for path in sorted(RESULTS.glob("*.json")):
        start, end = f"<!-- {path.stem} -->\n", f"<!-- end of {path.stem} -->\n"
        before, found, rest = text.partition(start)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise SystemExit(f"benchmarks/README.md has no place for {path.name}: {start}{end}")
        text = f"{before}{start}{markdown(json.loads(path.read_text(encoding='utf-8')))}\n{end}{after}"
    return text


def milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"
