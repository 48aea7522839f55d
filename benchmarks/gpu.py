"""TensorRT engines on a GPU: calls, refits, live weights and inference, against TensorRT's own API and PyTorch.

    python benchmarks/gpu.py                              every group of rows, one process each
    python benchmarks/gpu.py --groups calls,refit*        some; "inference" is all that begin so
    python benchmarks/gpu.py --merge FILE...              no measuring: rows of other runs into results/ and README.md

Rows are written as they are measured: what was done when a group fails or is stopped is kept. Without a GPU it says so
and ends; `--quick --output DIR` tries everything that needs none.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import README, RESULTS, with_tables
from _gpu_rows import cannot_run, merged, tables
from rich.console import Console
from rich.table import Table

from trtnet import TrtnetError
from trtnet.cli import preload

GROUPS = (
    "calls", "refit", "refit-resnet18", "preload", "preload-resnet18", "serving", "check", "live", "live-resnet18",
    "recurrent", "networks", "bench", "memory", "fleet", "inference-lenet", "inference-resnet18", "inference-googlenet",
)  # fmt: skip


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default="", help="which rows, by commas: " + ", ".join(GROUPS))
    parser.add_argument("--only", default="", help="parts of a group whose name has one of these: lenet,float16,...")
    parser.add_argument("--output", type=Path, metavar="DIR", help="for the JSON file (default: benchmarks/results)")
    parser.add_argument(
        "--merge", nargs="*", type=Path, metavar="FILE",
        help="keep the rows of the result file that are not measured now; with files, take theirs and measure nothing",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, default=480, help="seconds that a group may take (default 480)")
    parser.add_argument("--level", type=int, help="optimization level (default 3; 2 for ResNet-18 and GoogLeNet)")
    parser.add_argument(
        "--compile-mode", default="reduce-overhead", metavar="MODE", help="of torch.compile; max-autotune takes minutes"
    )
    parser.add_argument("--more", action="store_true", help="FP16 by hand without held types for all")
    parser.add_argument("--compile-python", default="", help="the Python of torch.compile (default: python3)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few repeats: whether it runs, no figures")
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args(given)
    if found.output is None and found.quick and found.group is None:
        parser.error("--quick needs --output: its figures are no results")
    wanted = [name.strip() for name in found.groups.split(",") if name.strip()]
    named = [_named(name) for name in wanted]
    if not all(named):
        parser.error(f"--groups takes {', '.join(GROUPS)}, and patterns: refit*")
    found.chosen = [g for g in GROUPS if not named or any(g in groups for groups in named)]
    if not found.compile_python:
        found.compile_python = sys.executable if found.quick else shutil.which("python3") or sys.executable
    return found


def _named(name: str) -> list[str]:
    """The groups that a name of the command line means."""
    if name in GROUPS:
        return [name]
    return [g for g in GROUPS if g.startswith(f"{name}-") or fnmatch.fnmatchcase(g, name)]


# --- one group, in its process ----------------------------------------------------------------------------------------


def run_group(given: argparse.Namespace) -> int:
    from _gpu_session import Session

    session = Session(given.group, given, given.file)
    name, _, what = given.group.partition("-")
    if name == "calls":
        from _gpu_calls import calls as function
    elif name in ("refit", "preload"):
        from _gpu_refit import refit, refit_resnet18

        function = refit_resnet18 if what else refit
    elif name == "serving":
        from _gpu_serving import serving as function
    elif name == "check":
        from _gpu_check import check as function
    elif name == "live":
        from _gpu_live import live, live_resnet18

        function = live_resnet18 if what else live
    elif name == "recurrent":
        from _gpu_recurrent import recurrent as function
    elif name == "networks":
        from _gpu_networks import networks as function
    elif name == "bench":
        from _gpu_bench import bench as function
    elif name == "memory":
        from _gpu_memory import memory as function
    elif name == "fleet":
        from _gpu_fleet import fleet as function
    else:
        from _gpu_inference import inference

        def function(session: Session) -> None:
            inference(session, what)

    return 0 if session.run(function) else 1


# --- all of them ------------------------------------------------------------------------------------------------------


def measure(given: argparse.Namespace) -> int:
    """Run each group in a process of its own; the result file is written again whenever one has new rows."""
    failed = []
    data = Results(given)
    with tempfile.TemporaryDirectory(prefix="gpu-rows-") as folder:
        for group in given.chosen:
            file = Path(folder) / f"{group}.json"
            command = [
                sys.executable, __file__, "--group", group, "--file", file, "--limit", given.limit, "--only",
                given.only, "--compile-python", given.compile_python, "--compile-mode", given.compile_mode,
            ]  # fmt: skip
            command += ["--quick"] if given.quick else []
            command += ["--more"] if given.more else []
            command += ["--level", given.level] if given.level is not None else []
            print(f"== {group}", flush=True)
            try:
                process = subprocess.Popen([str(part) for part in command], env=environment(group))
            except TrtnetError as error:
                data.errors[group] = error.problem
                failed.append(group)
                continue
            stopped = time.monotonic() + given.limit
            late = False
            try:
                while process.poll() is None:
                    time.sleep(0.5)
                    data.take(group, file)
                    if time.monotonic() > stopped:
                        late = True
                        break
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            problem = ""
            if late:
                problem = f"stopped after {given.limit:.0f} s"
            elif process.returncode or not file.exists():
                problem = f"its process ended with {process.returncode}"
            if not data.take(group, file, problem):
                failed.append(group)
    data.show()
    if failed:
        print("failed, wholly or in part: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def environment(group: str) -> dict[str, str]:
    """What a group's process gets: `preload` ones the library that answers for the driver."""
    found = dict(os.environ)
    if group.startswith("preload"):
        found["LD_PRELOAD"] = ":".join([*found.get("LD_PRELOAD", "").split(), str(preload.library())])
    return found


class Results:
    """The result file, `h100-tensorrt8.6.json` where that is what it was measured with."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.folder: Path = given.output or RESULTS
        self.old: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.errors: dict[str, str] = {}
        self.about: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}

    def take(self, group: str, file: Path, problem: str = "") -> bool:
        """Take the rows that a group's process has written so far; whether they are all that it was to give."""
        if not file.exists():
            if problem:
                self.errors[group] = problem
            return False
        found = json.loads(file.read_text(encoding="utf-8"))
        size = len(found["rows"])
        ended = bool(found.get("ended"))
        if size == self._sizes.get(group, -1) and not problem and not ended:
            return True
        self._sizes[group] = size
        error = found["error"] or (problem if not ended else "")
        self.errors.pop(group, None)
        if error:
            self.errors[group] = error
        if not self.about and self.given.merge is not None:
            self._begin(found["about"])
        self.about = found["about"]
        for row in found["rows"]:
            row["seconds_of_group"] = found["seconds"]
        self.rows = merged(self.rows, found["rows"], GROUPS)
        self.write()
        return not error

    def name(self) -> str:
        gpu, version = self.about["machine"].get("gpu"), self.about["versions"].get("tensorrt")
        if gpu is None or version is None:
            return "gpu"
        short = next((w for w in gpu.lower().split() if any(c.isdigit() for c in w)), gpu.lower().replace(" ", "-"))
        return f"{short}-tensorrt{'.'.join(version.split('.')[:2])}"

    def _begin(self, about: dict[str, Any]) -> None:
        """Take over what an earlier run measured: from the folder, or from results/."""
        self.about = about
        for folder in (self.folder, RESULTS):
            path = folder / f"{self.name()}.json"
            if path.exists():
                self._join(json.loads(path.read_text(encoding="utf-8")))
                return

    def _join(self, data: dict[str, Any]) -> None:
        self.rows = merged(self.rows, data["results"], GROUPS)
        for group in {row["group"] for row in data["results"]}:
            self.errors.pop(group, None)
        self.errors.update(data["errors"])

    def join(self, files: list[Path]) -> None:
        """The rows of these files, later ones in place of earlier ones, into the result file."""
        for file in files:
            data = json.loads(file.read_text(encoding="utf-8"))
            about = {key: data[key] for key in ("versions", "machine", "settings")}
            if not self.about:
                self._begin(about)
            self.about = about
            self.date = data["date"]
            self._join(data)
        self.write()

    date = ""

    def write(self) -> None:
        data = {
            "benchmark": "gpu",
            "date": self.date or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            **self.about,
            "results": self.rows,
            "errors": self.errors,
            "tables": self.tables(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name()}.json"
        new = path.with_name(f".{path.name}.new")
        new.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        new.replace(path)

    def tables(self) -> list[dict[str, Any]]:
        return tables(self.rows, self.errors)

    def show(self) -> None:
        """Print the tables, and put them into README.md if they are the real ones."""
        console = Console(width=max(Console().width, 230))
        for made in self.tables():
            table = Table(title=made["title"], title_justify="left", title_style="bold")
            for index, column in enumerate(made["columns"]):
                table.add_column(column, justify="left" if index in (0, 2) else "right")
            for row in made["rows"]:
                table.add_row(*row)
            console.print(table)
        if self.folder == RESULTS:
            README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> int:
    given = arguments()
    if given.group is not None:
        code = run_group(given)
        sys.stdout.flush()
        os._exit(code)  # nothing is left to do, and what TensorRT does at exit may take long
    if given.merge:
        results = Results(given)
        results.join(given.merge)
        results.show()
        return 0
    if not given.quick:
        reason = cannot_run()
        if reason is not None:
            print(f"gpu.py measures TensorRT on a GPU, and {reason}: nothing was measured")
            return 0
    return measure(given)


if __name__ == "__main__":
    sys.exit(main())
