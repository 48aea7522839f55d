"""`trtnet upgrade-check`: two Pythons, of which the other is this one with something changed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, fails, row_of
from harness import needs_rtx

pytest.importorskip("torch")
NET = """
import os
import torch
from trtnet import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 2)

    def forward(self, x):
        if "FAIL" in os.environ:
            raise ValueError("not with this one")
        return {"y": self.last(self.first(x)), "scaled": x * float(os.environ.get("SCALE", "1"))}

class Torchs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(3)
        self.linear = torch.nn.Linear(3, 2, dtype=torch.float32)

    def forward(self, x):
        return self.linear(self.norm(x)).cumsum(1)
"""
QUICK = ("--duration", "0.02")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trtnet under test, also where another one is installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def other(folder: Path, before: str, flags: str = "") -> str:
    """A Python with these variables in its environment."""
    if os.name != "posix":
        pytest.skip("the other Python is a shell script")
    path = folder / "python"
    path.write_text(f'#!/bin/sh\n{before} exec "{sys.executable}" {flags} "$@"\n')
    path.chmod(0o755)
    return str(path)


def found(*arguments: object) -> tuple[int, str, str, dict[str, Any]]:
    code, text, notes = call("upgrade-check", *arguments, *QUICK, "--json", "found.json")
    return code, text, notes, json.loads(Path("found.json").read_text(), parse_constant=pytest.fail)


def test_the_same_twice(folder: Path) -> None:
    code, text, notes, data = found("net.py:Net", "-i", "x=n=1..4..8,3", "-a", "width=5", "--python", sys.executable)
    assert code == 0, text
    assert "they agree within 0.001 of each output's root mean square" in text
    assert row_of(text, "y")[3:6] == ["0", "0", "1.000000000"]
    assert "no --weights: both have the same random initial values" in notes
    here, there = data["here"], data["there"]
    for name in ("provider", "layers", "composed", "difference", "versions", "machine"):
        assert here.get(name) == there.get(name)
    assert here["difference"] < 1e-6
    assert [one["shape"] for one in data["outputs"]] == [[4, 2], [4, 3]]
    for side in (here, there):
        assert side["phases"]["wall"]["median"] > 0
        if side["cannot_execute"] is not None:
            assert "there PyTorch computed the outputs, and was timed: no TensorRT runs" in notes


def test_plans_of_a_tensorrt_that_does_not_run_here(folder: Path) -> None:
    needs_rtx()
    _, text, _, data = found("net.py:Torchs", "-i", "x=2x3", "--python", sys.executable, "--half")
    assert data["here"]["plan"] > 1000
    assert data["there"]["plan"] > 1000
    assert f"{data['there']['plan']:,} bytes" in text
    assert data["here"]["provider"].startswith("tensorrt")


def test_a_difference_is_found(folder: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3), np.float32)
    np.save("x.npy", x)
    arguments = ("net.py:Net", "-i", "x=x.npy", "--python", other(folder, "SCALE=1.5"))
    code, text, _, data = found(*arguments)
    assert code == 1
    assert "they differ by more than 0.001 in scaled" in text
    assert row_of(text, "scaled")[-1] == "differs"
    y, scaled = data["outputs"]
    assert (y["name"], y["largest"]) == ("y", 0.0), "both had the same weights"
    assert scaled["largest"] == pytest.approx(np.abs(x * 0.5).max() / np.sqrt(np.mean(np.float64(x) ** 2)), rel=1e-5)
    assert found(*arguments, "--tolerance", "10")[0] == 0


def test_what_cannot_be_asked(folder: Path) -> None:
    arguments = ("upgrade-check", "net.py:Net", "-i", "x=2x3", *QUICK, "--json", "found.json", "--python")
    text = fails(*arguments, "nowhere/python")
    assert "there is no Python nowhere/python" in text
    assert "remedy:   --python /path/to/venv/bin/python" in text
    text = fails(*arguments, other(folder, "", "-I -S"))
    assert "has no trtnet that could be asked" in text
    assert "-m pip install 'trtnet==" in text
    text = fails(*arguments, other(folder, "FAIL=1"))
    assert "python ended with an error" in text
    assert "not with this one" in text
    text = fails(*arguments, "true")
    assert "true is no Python" in text
    assert "remedy:   --python /path/to/venv/bin/python" in text
    assert not list(folder.glob("found.json*"))
    assert "name it found.json" in fails(*arguments[:-2], "found.txt", "--python", sys.executable)
    assert call("upgrade-check", "net.py:Net")[0] == 2  # without --python
