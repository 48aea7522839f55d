"""Each benchmark runs, with tiny sizes; no figure is looked at. benchmarks/README.md shows what results/ holds."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    if name in ("recording", "memory"):
        pytest.importorskip("tensorrt_rtx")
    if name == "memory" and not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc/self/status here")
    command = [sys.executable, FOLDER / f"{name}.py", "--quick", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert data["benchmark"] == name
    assert {"trtnet", "python", "numpy"} <= set(data["versions"])
    assert {"cpu", "cores", "memory", "os"} == set(data["machine"])
    assert data["table"]["title"].split()[0] in done.stdout
    assert all(len(row) == len(data["table"]["columns"]) for row in data["table"]["rows"])


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(FOLDER.parent), "COLUMNS": "200"}


def test_the_readme_shows_the_results() -> None:
    spec = importlib.util.spec_from_file_location("benchmarks_common", FOLDER / "_common.py")
    assert spec is not None
    assert spec.loader is not None
    common = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(common)
    sys.path[:] = before
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in sorted((FOLDER / "results").glob("*.json")):
        assert f"<!-- {path.stem} -->\n" in text, f"README.md has no place for {path.name}"
    assert common.with_tables(text) == text, "README.md does not show what results/ holds: run the benchmark again"


def test_every_benchmark_has_results() -> None:
    assert sorted(path.stem for path in (FOLDER / "results").glob("*.json")) == NAMES
