"""The lines of models/README.md that stand for the samples of TensorRT's guide run, and give what they promise."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from harness import needs_rtx

ROOT = Path(__file__).parents[2]
README = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## The samples of TensorRT's guide, here\n")[2].partition("\n## ")[0]
LINES = re.findall(r"\| `((?:trtnet|python) [^`]+)` \|$", SECTION, re.M)
GIVES = {
    "build": r"\.engine  [\d,]+ bytes for sm86",
    "demo": r"\d+ of \d+",
    "bench": r"median",
    "10_int8": r"positive",
    "12_reinforcement": r"without a refit",
    "soft_clip": r"after a refit of clip\.scale to 0: 0\.0000",
    "character_lstm": r"(?:at dawn, .+\n\s*){3}",
}
"""By a word of the line: what it prints."""


@pytest.mark.parametrize("line", LINES)
def test_a_sample_runs(line: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    needs_rtx()
    for folder in ("models", "weights", "notebooks", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    program, *arguments = shlex.split(line)
    command = [sys.executable, *(["-m", "trtnet"] if program == "trtnet" else []), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "COLUMNS": "150", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (promised,) = (gives for word, gives in GIVES.items() if word in line)
    assert re.search(promised, done.stdout), done.stdout


def test_each_row_has_a_line() -> None:
    assert len(LINES) == len(re.findall(r"^\| ", SECTION, re.M)) - 1
