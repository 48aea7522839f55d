"""`trtnet bench` on a GPU: its phases, and each way's numbers."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import call
from networks import LEVEL, convolutions

import trtnet
from trtnet.cli.benching import Asked, timed
from trtnet.cli.cases import Case

pytest.importorskip("torch")
WAYS = ("eager", "graph", "compile", "reference")


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("transfers", [False, True])
def test_phases_and_numbers(graph: bool, transfers: bool) -> None:
    recorded = convolutions()
    inputs = {"x": np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)}
    with trtnet.build(recorded, refit=True, **LEVEL) as engine:
        asked = Asked(
            WAYS[: 1 if graph else 4], duration=0.05, graph=graph, spin=transfers, transfers=transfers, refit=not graph
        )
        rebuilt = functools.partial(trtnet.build, recorded, **LEVEL)
        found = {one.way: one for one in timed(Case(recorded, engine, inputs, 2, {}, rebuilt), asked)}
    phases = {"wall", "enqueue", "compute", *(("h2d", "d2h") if transfers else ())}
    beside = ("TensorRT, weights fixed", "TensorRT, live weights") if not graph else ()
    for way in ("TensorRT", "its layers in PyTorch", *beside):
        one = found[way]
        assert not one.note
        assert one.difference is not None
        assert one.difference < 1e-4
        for sample in one.samples:
            assert set(sample) == phases
            assert 0 < sample["compute"] <= sample["wall"]
            assert sample["enqueue"] <= sample["wall"]
    if not graph:
        for way in ("its layers, CUDA graph", "reference, CPU"):
            assert found[way].difference is not None, found[way].note
            assert found[way].difference < 1e-4
        assert found["refit of every weight"].samples
        assert found["live update of every weight"].samples


def test_a_module_of_torchs_runs_itself() -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
    recorded = trtnet.record(module, input=trtnet.Input((2, 3, 8, 8)))
    inputs = {"input": np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)}
    with trtnet.build(recorded, **LEVEL) as engine:
        case = Case(recorded, engine, inputs, 2, {}, module=module)
        found = list(timed(case, Asked(("eager", "graph"), duration=0.05, transfers=False)))
    assert [one.way for one in found] == ["TensorRT", "PyTorch eager", "PyTorch, CUDA graph"]
    for one in found:
        assert one.difference is not None, one.note
        assert one.difference < 1e-3  # of convolutions, in which torch takes TF32
    assert module.training
    assert {str(one.device) for one in module.parameters()} == {"cpu"}


@pytest.mark.parametrize("graph", [False, True])
def test_streams(graph: bool) -> None:
    recorded = convolutions()
    inputs = {"x": np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)}
    with trtnet.build(recorded, **LEVEL) as engine:
        asked = Asked(duration=0.05, warmup=0.01, graph=graph, streams=3)
        one, three = timed(Case(recorded, engine, inputs, 2, {}), asked)
    assert (one.way, three.way) == ("TensorRT", "TensorRT, 3 streams")
    assert three.difference is not None
    assert three.difference < 1e-4
    assert three.seconds is not None
    assert three.throughput == len(three.samples) / three.seconds
    for sample in three.samples:
        assert set(sample) == {"wall", "enqueue", "compute", "h2d", "d2h"}
        assert 0 < sample["compute"] <= sample["wall"]


def test_upgrade_check_with_the_same_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(trtnet.__file__).parents[1]))
    (tmp_path / "net.py").write_text("from trtnet import nn\n\n\ndef net():\n    return nn.Linear(3, 4)\n")
    code, text, _ = call(
        "upgrade-check", "net.py:net", "-i", "input=n=1..4..8,3", "--python", sys.executable, "--duration", 0.05,
        "--json", "found.json",
    )  # fmt: skip
    assert code == 0, text
    found = json.loads((tmp_path / "found.json").read_text())
    for side in (found["here"], found["there"]):
        assert side["cannot_execute"] is None
        assert side["plan"] > 0
        assert side["difference"] < 1e-4
        assert {"wall", "enqueue", "h2d", "compute", "d2h"} == side["phases"].keys()
