"""`trtnet profile` on a GPU: TensorRT's own layers, call by call, in the forms of other tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from networks import LEVEL, convolutions
from typer.testing import CliRunner

import trtnet
from trtnet.cli import profile_files
from trtnet.cli.commands import app

MODELS = Path(trtnet.__file__).parents[1] / "models"


@pytest.mark.parametrize("refit", [False, True])
def test_tensorrts_layers_in_each_form(refit: bool) -> None:
    graph = convolutions()
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)
    with trtnet.build(graph, refit=refit, **LEVEL) as engine:
        times = engine.profile(x, calls=7)
    assert times.layers
    for layer in times.layers:
        assert len(layer.samples) == times.calls == 7
        assert layer.milliseconds == pytest.approx(np.mean(layer.samples))
        assert 0 <= min(layer.samples) <= layer.median <= max(layer.samples)
    nothing = [layer.name for layer in times.layers if max(layer.samples) == 0]  # reshapes, and copies for them
    assert all("reshape" in name or "CopyNode" in name for name in nothing), f"{nothing} took no time"
    assert sum(layer.share for layer in times.layers) == pytest.approx(1)
    first, *exported = json.loads(profile_files.trtexec(times, "Net"))
    assert first == {"count": 7}
    assert [one["name"] for one in exported] == [layer.name for layer in times.layers]
    assert sum(one["timeMs"] for one in exported) == pytest.approx(7 * times.milliseconds)
    events = json.loads(profile_files.trace(times, "Net"))["traceEvents"]
    assert events[-1]["ts"] == pytest.approx(1e3 * times.milliseconds, abs=1e-3 * len(times.layers))
    lines = profile_files.folded(times, "Net").splitlines()
    assert len(lines) == len(times.layers)
    assert any(";conv" in line for line in lines), lines


def test_the_command(tmp_path: Path) -> None:
    files = {"--flame": tmp_path / "f.svg", "--trace": tmp_path / "t.json", "--json": tmp_path / "j.json"}
    model = str(MODELS / "lenet.py:LeNet")
    arguments = [part for option, path in files.items() for part in (option, str(path))]
    shape = ["-i", "image=8x1x28x28", "--option", f"optimization_level={LEVEL['optimization_level']}"]
    made = CliRunner().invoke(app, ["profile", model, *shape, "--calls", "3", "--half", *arguments])
    assert made.exit_code == 0, made.output
    assert all(path.exists() for path in files.values())
    found = json.loads(files["--json"].read_text())
    assert (found["way"], found["batch"], found["calls"]) == ("TensorRT", 8, 3)
    assert found["device"].startswith("cuda")
    assert any(one["module"] for one in found["layers"]), found["layers"]
    assert any("lenet.py:" in line for line in found["lines"]), found["lines"]
