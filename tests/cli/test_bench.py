"""`trtnet bench`: what is timed, what it comes to, and what it is compared with."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import trtnet
from trtnet import Dim, Input
from trtnet.cli import benching, pictures, timing
from trtnet.cli.benching import Asked, parse_against, seconds, timed
from trtnet.cli.cases import Case, parse_batches
from trtnet.cli.commands import app
from trtnet.cli.model import halved
from trtnet.cli.timing import HostClock, Query, Spread, Timed, measure, measure_at_once
from trtnet.engine.graph_json import from_json, to_json
from trtnet.errors import ArgumentError

NET = """
import torch

import trtnet
from trtnet import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        return {"a": self.fc(x), "b": (x.sum(1), x * 2)}

class Free(nn.Module):
    def forward(self, x):
        return x * 2

def half(x):
    return x * 0.5

class Drawn(nn.Module):
    def forward(self, x):
        return trtnet.rand((3,)) + x, x * 2

class Odd(nn.Module):
    def forward(self, x):
        return (x - x) / (x - x), x / (x - x), x.argmax(1), x.to("bfloat16") * 2

class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.heads(x, x, x, need_weights=False)[0]

class Torch(torch.nn.Module):
    calls = []

    def __init__(self):
        super().__init__()
        self.fc, self.norm, self.drop = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)

    def forward(self, x, *, shift):
        self.calls.append((self.training, x.dtype))
        y = self.norm(self.fc(x))
        return {"z": (self.drop(y), None), "a": x - shift}

class Tired(torch.nn.Module):
    left = None

    def forward(self, x):
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise RuntimeError("no more")
        return x * 2

made = Torch()
"""
TORCH = ("-i", "x=2x3", "-i", "shift=2x3")
QUICK = ("--duration", "0", "--warmup", "0", "--iterations", "3")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", *arguments, "--reference"], env={"COLUMNS": "250"})


def results(*arguments: str) -> list[dict[str, Any]]:
    made = run(*arguments, *QUICK, "--json", "found.json")
    assert made.exit_code == 0, made.output
    found: list[dict[str, Any]] = json.loads(Path("found.json").read_text())["results"]
    return found


# --- samples ----------------------------------------------------------------------------------------------------------


def test_what_samples_come_to() -> None:
    values = np.random.default_rng(0).exponential(size=500).tolist()
    found = Spread.of(values)
    assert (found.min, found.max, found.median) == (min(values), max(values), statistics.median(values))
    assert found.mean == pytest.approx(np.mean(values))
    np.testing.assert_allclose((found.p90, found.p95, found.p99), np.quantile(values, [0.9, 0.95, 0.99]))
    assert found.variation == pytest.approx(np.std(values) / np.mean(values))
    one = Timed("x", 8, [{"wall": 0.5}, {"wall": 1.5}])
    assert one.throughput == 1.0
    assert list(one.phases()) == ["wall"]


def test_how_many_samples_there_are() -> None:
    calls: list[int] = []
    found = measure(HostClock(), Query(lambda: calls.append(1)), 0.0, 0.0, 7)
    assert len(found) == 7
    assert len(calls) == 8  # one before, which is not counted
    assert all(set(one) == {"wall"} for one in found)
    assert len(measure(HostClock(), Query(lambda: None), 0.02, 0.0, 1)) > 20


@pytest.mark.parametrize(
    ("call", "duration", "iterations", "count"),
    [
        (0.5, 3.0, None, 10),  # 10 calls take 5 s
        (0.125, 3.0, None, 24),
        (2.5, 3.0, None, 4),  # 10 s are enough
        (2.5, 5.0, None, 6),  # three times the duration
        (60.0, 3.0, None, 1),
        (60.0, 0.0, None, 1),
        (60.0, 3.0, 7, 7),
        (2.5, 3.0, 1, 2),
    ],
)
def test_few_calls_are_measured_where_they_take_long(call, duration, iterations, count, monkeypatch) -> None:
    """By a clock that goes on by a call's seconds."""
    now = 0.0

    def take() -> None:
        nonlocal now
        now += call

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now))
    found = measure(HostClock(), Query(take), duration, 0.0, iterations)
    assert [one["wall"] for one in found] == [call] * count


def test_few_calls_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "patience", lambda duration: 1e-9)
    few = ("--duration", "0", "--warmup", "0")
    made = run("net.py:Net", "-i", "x=2x3", *few, "--json", "found.json")
    (found,) = json.loads(Path("found.json").read_text())["results"]
    assert len(found["samples"]) == 1
    assert re.search(r"note: reference: calls measured: 1, in [\d.]+ .?s; --iterations 10 measures more", made.stderr)
    made = run("net.py:Net", "-i", "x=2x3", *few, "--iterations", "3", "--json", "found.json")
    assert len(json.loads(Path("found.json").read_text())["results"][0]["samples"]) == 3
    assert "calls measured" not in made.stderr


def test_each_lane_has_one_query_under_way() -> None:
    events: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name, self.count = name, 0

        def start(self) -> None:
            events.append(f"start {self.name}")

        def finish(self) -> dict[str, float]:
            events.append(f"finish {self.name}")
            self.count += 1
            return {"wall": float(self.count)}

    lanes = [Named("a"), Named("b"), Named("c")]
    samples, taken = measure_at_once(lanes, 0.0, 0.0, 4)
    begun = ["start a", "start b", "start c"]
    turns = [f"{what} {name}" for name in "abcabca" for what in ("finish", "start")]
    assert events == [*begun, *turns, "finish b", "finish c", "finish a"]
    assert [one["wall"] for one in samples] == [2.0, 2.0, 2.0, 3.0]  # those of the first turn warm up
    assert taken > 0
    assert Timed("x", 8, samples, seconds=2.0).throughput == 2.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.5 s"),
        (0.0123456, "12.3 ms"),
        (4.56e-5, "45.6 µs"),
        (1e-7, "0.1 µs"),
        (0.9996, "1000 ms"),
        (1234.5, "1234 s"),
    ],
)
def test_seconds_as_text(value: float, text: str) -> None:
    assert seconds(value) == text


# --- what PyTorch runs ------------------------------------------------------------------------------------------------


def loaded() -> Any:
    """net.py as the command line loaded it last."""
    return sys.modules["model_file_net"]


def calls_of(*arguments: str) -> list[Any]:
    """Those of the module in net.py, those of its recording among them."""
    results("net.py:Torch", *arguments)
    calls: list[Any] = loaded().Torch.calls
    return calls


@pytest.mark.parametrize(
    "inputs",
    [
        (*TORCH, "--batch", "3,5"),
        ("-i", "x=n=2..3..8,3", "-i", "shift=n=2..3..8,3", "--batch", "3,5"),
        (*TORCH, "--half"),
    ],
)
def test_a_module_of_torchs_runs_itself(folder: Path, inputs: tuple[str, ...]) -> None:
    """In eval mode, with its arguments by name; its results are compared in the order of the recording's."""
    found = results("net.py:Torch", *inputs, "--against", "eager")
    batches = (3, 5) if "--batch" in inputs else (2,)
    assert [(one["way"], one["batch"]) for one in found] == [
        (way, batch) for batch in batches for way in ("reference", "PyTorch eager")
    ]
    assert all(one["difference"] < (2e-3 if "--half" in inputs else 1e-5) for one in found)
    more = calls_of(*inputs, "--against", "eager")[len(calls_of(*inputs)) :]
    assert len(more) == 5 * len(batches)  # one to compare, one before, and three that are timed
    made = calls_of(*inputs, "--against", "eager")
    assert not any(training for training, _ in made)
    assert {str(dtype) for _, dtype in made} == {"torch.float16" if "--half" in inputs else "torch.float32"}


def test_the_users_module_stays_as_it_was(folder: Path) -> None:
    found = {one["way"]: one for one in results("net.py:made", *TORCH, "--against", "eager,graph", "--refit")}
    assert list(found)[:4] == ["reference", "PyTorch eager", "PyTorch, CUDA graph", "first refit"]
    assert found["PyTorch, CUDA graph"]["note"] == "there is no GPU here to replay a CUDA graph"
    for way in ("reference", "PyTorch eager", "reference, weights fixed", "reference, live weights"):
        assert found[way]["difference"] < 1e-5
    module = loaded().made
    assert module.training
    assert module.drop.training
    assert int(module.norm.num_batches_tracked) == 0
    assert all(one.requires_grad and one.grad is None for one in module.parameters())


def test_a_module_that_keeps_computed_tensors(folder: Path) -> None:
    """As those of torch.nn.utils.weight_norm do, which copy.deepcopy takes not."""
    (folder / "other.py").write_text(
        "import torch\n\n\ndef normed():\n    return torch.nn.utils.weight_norm(torch.nn.Linear(3, 4))\n"
    )
    found = results("other.py:normed", "-i", "input=2x3", "--against", "eager")
    assert [one["way"] for one in found] == ["reference", "PyTorch eager"], found
    assert all(one["difference"] < 1e-5 for one in found), found


@pytest.mark.parametrize("model", ["net.py:Net", "net.engine"])
def test_layers_are_called_so(folder: Path, model: str) -> None:
    graph = trtnet.record(net(folder), x=Input((2, 3)))
    trtnet.build(graph, provider="reference").save("net.engine")
    shape = ("-i", "x=2x3") if model == "net.py:Net" else ()
    made = run(model, *shape, "--against", "eager", *QUICK)
    assert "its layers in PyTorch" in made.stdout
    assert "PyTorch eager" not in made.output
    assert made.stdout.splitlines()[-1].endswith("is measured where MODEL is the torch.nn.Module itself")
    for arguments in ((model, *shape, "--against", "graph"), ("net.py:Torch", *TORCH, "--against", "eager")):
        assert "its layers:" not in run(*arguments, *QUICK).output


def test_attention_is_one_call_of_torchs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network is recorded anew for it; what the engine is built from has the products and the softmax."""
    calls: list[int] = []
    right = torch.nn.functional.scaled_dot_product_attention

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return right(*args, **kwargs)

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", counted)
    first, second = results("net.py:Attends", "-i", "x=2x3x4", "--against", "eager")
    assert len(calls) == 5
    assert first["difference"] < 1e-5
    assert second["difference"] < 1e-5


def test_a_way_that_fails_while_it_is_timed_is_said(folder: Path) -> None:
    run("net.py:Torch", *TORCH, *QUICK)
    module = loaded().Tired()
    graph = trtnet.record(module, x=Input((2, 3)))
    module.left = 4
    x = {"x": np.ones((2, 3), np.float32)}
    case = Case(graph, trtnet.reference(graph), x, 2, {}, module=module)
    _, second = timed(case, Asked(("eager",), duration=0, warmup=0, iterations=3))
    assert (second.way, second.samples, second.note) == ("PyTorch eager", [], "no more")


def test_an_output_that_is_missing_differs() -> None:
    graph = trtnet.record(lambda x: (x, x * 2), x=Input((2,)))
    x = np.ones(2)
    assert benching._difference(graph, [x], [x, x]) == np.inf
    assert benching._difference(graph, [x, x], [x, x]) == 0


@pytest.mark.parametrize(
    ("said", "told"),
    [("a.c:5: fatal error: no Python.h\nend\n", "a.c:5: fatal error: no Python.h"), ("what\nit is\n", "it is")],
)
def test_what_a_compiler_writes_is_kept_from_the_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], said: str, told: str
) -> None:
    def broken(module: Any) -> Any:
        subprocess.run([sys.executable, "-c", f"import sys; sys.stderr.write({said!r} * 50)"], check=True)
        raise RuntimeError("gcc ended with 1")

    monkeypatch.setattr("torch.compile", broken)
    made = run("net.py:Net", "-i", "x=2x3", "--against", "compile", *QUICK)
    assert made.exit_code == 0
    assert f"its layers, torch.compile was not measured: gcc ended with 1: {told}\n" in made.output
    assert capfd.readouterr().err == ""


def test_what_is_said_while_it_compiles_well_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def compiled(module: Any) -> Any:
        os.write(2, b"a word of torch's\n")
        return module

    monkeypatch.setattr("torch.compile", compiled)
    _, second = results("net.py:Torch", *TORCH, "--against", "compile")
    assert (second["way"], len(second["samples"])) == ("torch.compile", 3)
    assert second["difference"] < 1e-5
    assert capfd.readouterr().err == "a word of torch's\n"


# --- the command ------------------------------------------------------------------------------------------------------


def test_each_way_gives_the_references_numbers(folder: Path) -> None:
    found = results("net.py:Net", "-i", "x=batch=1..2..8,3", "--batch", "1,8", "--against", "eager,reference")
    assert [(one["way"], one["batch"]) for one in found] == [
        (way, batch) for batch in (1, 8) for way in ("reference", "its layers in PyTorch", "reference, CPU")
    ]
    for one in found:
        assert one["difference"] < 1e-6
        assert len(one["samples"]) == 3
        walls = [sample["wall"] for sample in one["samples"]]
        assert one["phases"]["wall"]["median"] == statistics.median(walls)
        assert one["throughput"] == pytest.approx(one["batch"] * 3 / sum(walls))


def test_a_wrong_way_shows_its_difference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = benching.Layers.forward
    monkeypatch.setattr(
        benching.Layers, "forward", lambda self, **given: tuple(one * 2 for one in right(self, **given))
    )
    first, second = results("net.py:Net", "-i", "x=2x3", "--against", "eager")
    assert first["difference"] < 1e-6
    assert second["difference"] > 0.1


def test_fixed_sizes_are_recorded_once_for_each_batch(folder: Path) -> None:
    found = results("net.py:Net", "-i", "x=2x3", "--batch", "3,5")
    assert [one["batch"] for one in found] == [3, 5]
    assert [one["layers"] for one in found] == [len(trtnet.record(net(folder), x=Input((2, 3))).layers)] * 2


def net(folder: Path) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile(NET, str(folder / "net.py"), "exec"), namespace)
    return namespace["Net"]()


def test_half_precision(folder: Path) -> None:
    np.save("x.npy", np.ones((2, 3), np.float32))
    (one,) = results("net.py:Net", "-i", "x=x.npy", "--half")
    assert one["difference"] < 2e-3
    graph_of_half, specs, arrays = halved(net(folder), {"x": Input((2, 3))}, {"x": np.ones((2, 3), np.float32)})
    assert str(specs["x"].dtype) == str(arrays["x"].dtype) == "float16"
    assert trtnet.record(graph_of_half, **specs).state_dict()["fc.weight"].dtype == np.float16


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_refits_are_timed_and_put_back(folder: Path, dtype: str) -> None:
    graph = trtnet.record(net(folder).to(dtype), x=Input((2, 3), dtype))
    case = Case(graph, trtnet.reference(graph), {"x": np.ones((2, 3), trtnet.dtypes.get(dtype).numpy)}, 2, {})
    before = {name: np.array(value) for name, value in case.engine.parameters().items()}
    found = list(timed(case, Asked(duration=0, warmup=0, iterations=4, refit=True)))
    assert [(one.way, len(one.samples)) for one in found] == [
        ("reference", 4), ("first refit", 1), ("refit of every weight", 4),
        ("refit of all, of which fc.bias changed", 4), ("refit of fc.bias", 4),
        ("reference, weights fixed", 0), ("reference, live weights", 0),
    ]  # fmt: skip
    assert found[-1].note == found[-2].note == "an engine's file is not built anew: name the network"
    assert case.engine.generation == 1 + 3 * 5 + 1
    assert all(np.array_equal(value, before[name]) for name, value in case.engine.parameters().items())


def test_refits_of_one_engine_are_timed_once(folder: Path) -> None:
    """For each size there is no other first refit; where the network is built for each, there is."""
    for shape, count in (("x=n=1..2..4,3", 1), ("x=2x3", 2)):
        found = [one["way"] for one in results("net.py:Net", "-i", shape, "--batch", "2,4", "--refit")]
        assert [found.count(way) for way in ("first refit", "refit of fc.bias")] == [count, count]
        assert found.count("reference, live weights") == 2
    graph = trtnet.record(net(folder), x=Input((Dim("n", 1, 2, 4), 3)))
    trtnet.build(graph, provider="reference", refit=True).save("net.engine")
    assert [one["way"] for one in results("net.engine", "--batch", "2,4", "--refit")].count("first refit") == 1


def test_a_file_of_an_engine(folder: Path) -> None:
    graph = trtnet.record(net(folder), x=Input((Dim("n", 1, 2, 4), 3)))
    trtnet.build(graph, provider="reference").save("net.engine")
    found = results("net.engine", "--batch", "2,4")
    assert [(one["way"], one["batch"]) for one in found] == [("reference", 2), ("reference", 4)]


def test_refits_of_a_file_are_timed(folder: Path) -> None:
    graph = trtnet.record(net(folder), x=Input((2, 3)))
    trtnet.build(graph, provider="reference", refit=True).save("net.engine")
    found = {one["way"]: one["note"] for one in results("net.engine", "--refit")}
    refits = ["first refit", "refit of every weight", "refit of all, of which fc.bias changed", "refit of fc.bias"]
    assert [way for way, reason in found.items() if not reason] == ["reference", *refits]


def test_what_refits_cost_is_beside_fixed_and_live_weights(folder: Path) -> None:
    found = {one["way"]: one for one in results("net.py:Net", "-i", "x=2x3", "--refit")}
    assert list(found)[-3:] == ["reference, weights fixed", "reference, live weights", "live update of every weight"]
    for way in ("reference", "reference, weights fixed", "reference, live weights"):
        assert found[way]["difference"] < 1e-5
        assert found[way]["samples"]
    assert found["live update of every weight"]["samples"]


def test_a_file_whose_plan_alone_has_the_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one of TensorRT's that cannot be refitted: it is timed, and compared with nothing."""
    graph = trtnet.record(net(folder), x=Input((2, 3)))
    engine, x = trtnet.reference(graph), {"x": np.ones((2, 3), np.float32)}
    engine(**x)
    without = from_json(to_json(graph))
    first, second = timed(Case(without, engine, x, 2, {}), Asked(("eager",), duration=0, warmup=0, iterations=3))
    assert (first.way, len(first.samples), first.difference) == ("reference", 3, None)
    assert (second.samples, second.note) == ([], "these weights have no value")
    assert "nothing is compared: the plan alone has the weights" in capsys.readouterr().err
    assert next(timed(Case(graph, engine, x, 2, {}), Asked(duration=0, iterations=1))).difference < 1e-6


def test_what_cannot_be_measured_is_said(folder: Path) -> None:
    made = run("net.py:Net", "-i", "x=2x3", "--against", "graph", *QUICK)
    assert made.exit_code == 0
    assert "its layers, CUDA graph was not measured: there is no GPU here" in made.output
    assert "wall: host: from the first copy to the last result" in made.stdout
    assert "a second: calls × batch" in made.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.py:Net", "-i", "x=2x3", "--batch", "0"), "--batch takes sizes"),
        (("net.py:Net", "-i", "x=2x3", "--against", "keras"), "there is no way 'keras' to compute a network"),
        (("net.py:Net", "-i", "x=n=1..2..4,3", "--batch", "5"), "a batch of 5 is beyond the network's"),
        (("net.py:Net", "-i", "x=2x3", "--graph"), "the reference replays no CUDA graph"),
        (("net.py:Net", "-i", "x=2x3", "--streams", "2"), "the reference runs on no streams"),
        (("net.py:Net", "-i", "x=2x3", "--streams", "0"), "Invalid value for '--streams'"),
        (("net.py:half", "-i", "x=2x3", "--half"), "--half is for modules"),
        (("net.py:Free", "-i", "x=2x3", "--refit"), "nothing can be refitted"),
        (("net.py:Net", "-i", "x=2x3", "--json", "found.txt"), "its file name ends in .json"),
        (("net.py:Net", "-i", "x=2x3", "--json", "no/found.json"), "there is no folder no"),
        (("net.py:Net", "-i", "x=2x3", "--picture", "found.pdf"), "pictures are .png or .svg"),
        (("net.py:Net", "-i", "x=2x3", "--picture", "no/found.png"), "there is no folder no"),
        (("none.engine",), "none.engine"),
        (("net.py:Net", "-i", "x=2x3", "--json", "folder.json"), "folder.json is a folder"),
        (("net.py:Net", "-i", "x=2x3", "--warmup", "inf"), "Invalid value for '--warmup'"),
        (("net.py:Net", "-i", "x=x.npy", "-i", "x=2x3"), "--input names 'x' twice"),
        (("net.py:Net", "-i", "x=x.npy", "--batch", "2,5"), "the array for 'x' has another batch"),
        (("net.engine", "-i", "x=x.npy", "--batch", "3"), "the array for 'x' has another batch"),
        (("net.engine", "--half"), "an engine's file has its weights, types and shapes"),
        (("net.engine", "-i", "x=2x3", "--weights", "w.npz"), "found:    --weights, a shape"),
    ],
)
def test_wrong_arguments(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    (folder / "folder.json").mkdir()
    np.save("x.npy", np.ones((2, 3), np.float32))
    dynamic(folder).save("net.engine")
    made = run(*QUICK, *arguments)
    assert made.exit_code == 2, made.output
    assert message in made.output
    assert not list(folder.glob("found*"))


def dynamic(folder: Path) -> Any:
    return trtnet.reference(trtnet.record(net(folder), x=Input((Dim("n", 1, 4, 8), 3))))


def test_arrays_decide_how_many_are_computed(folder: Path) -> None:
    """And with it the rate."""
    np.save("x.npy", np.ones((2, 3), np.float32))
    dynamic(folder).save("net.engine")
    for arguments in (("net.engine",), ("net.py:Net",), ("net.engine", "--batch", "2"), ("net.py:Net", "--batch", "2")):
        (one,) = results(*arguments, "-i", "x=x.npy")
        assert one["batch"] == 2
        assert one["throughput"] == pytest.approx(2 * 3 / sum(sample["wall"] for sample in one["samples"]))


def test_what_is_drawn_is_not_compared(folder: Path) -> None:
    for one in results("net.py:Drawn", "-i", "x=2x3", "--against", "eager"):
        assert one["difference"] < 1e-6


def test_odd_numbers_agree_with_the_same(folder: Path) -> None:
    np.save("x.npy", np.ones((2, 3), np.float32))
    made = results("net.py:Odd", "-i", "x=x.npy", "--against", "eager")
    assert [(one["way"], one["difference"]) for one in made] == [("reference", 0.0), ("its layers in PyTorch", 0.0)]


def test_a_slow_networks_rate_is_not_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for walls, rate in (([2.0, 2.25], "0.471"), ([0.125, 0.125], "8"), ([0.0001, 0.0001], "10,000")):
        benching.report([Timed("x", 1, [{"wall": wall} for wall in walls])], None)
        assert rate in capsys.readouterr().out.splitlines()[2].split()


@pytest.mark.parametrize(
    ("mine", "theirs", "text"),
    [
        ([1.0, np.nan], [1.0, np.nan], "0.0"),
        ([1.0, 3.0], [1.0, np.nan], "nan"),
        ([np.inf, 3.0], [np.inf, 2.0], "0.5"),
        ([np.inf, 2.0], [-np.inf, 2.0], "inf"),
        ([0.0, 1e-3], [0.0, 0.0], "inf"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "inf"),
    ],
)
def test_differences(folder: Path, mine: Any, theirs: Any, text: str) -> None:
    graph = trtnet.record(lambda x: x * 2, x=Input((2,)))
    found = benching._difference(graph, [np.float32(mine)], [np.float64(theirs)])
    assert str(found) == text
    benching.report([Timed("x", 2, [{"wall": 1.0}], found)], folder / "found.json")
    kept = json.loads((folder / "found.json").read_text(), parse_constant=pytest.fail)
    assert float(kept["results"][0]["difference"]) == pytest.approx(found, nan_ok=True)


def test_a_way_that_fails_by_any_error_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: Any) -> Any:
        raise AttributeError("no attribute 'language'")

    monkeypatch.setattr("torch.compile", broken)
    made = run("net.py:Net", "-i", "x=2x3", "--against", "compile", *QUICK)
    assert made.exit_code == 0
    assert "its layers, torch.compile was not measured: AttributeError: no attribute 'language'" in made.output


def test_a_fixed_batch_of_a_file(folder: Path) -> None:
    trtnet.build(trtnet.record(net(folder), x=Input((2, 3))), provider="reference").save("net.engine")
    assert results("net.engine", "--batch", "2")[0]["batch"] == 2
    made = run("net.engine", "--batch", "3", *QUICK)
    assert made.exit_code == 2
    assert "the batch of this network is fixed" in made.output


def test_a_picture_counts_every_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the pictures")
    figures: list[Any] = []
    save = pictures._save
    monkeypatch.setattr(pictures, "_save", lambda path, figure: (figures.append(figure), save(path, figure)))
    found = results("net.py:Net", "-i", "x=n=1..2..4,3", "--batch", "1,4", "--against", "eager", "--picture", "t.png")
    assert (folder / "t.png").read_bytes().startswith(b"\x89PNG")
    panels = figures[0].axes
    assert [panel.get_title() for panel in panels] == [f"{one['way']}, batch {one['batch']}: 3 calls" for one in found]
    for panel, one in zip(panels, found):
        assert sum(bar.get_height() for bar in panel.patches) == 3
        median = one["phases"]["wall"]["median"] * 1e3
        assert panel.lines[0].get_xdata()[0] == pytest.approx(median)
        assert panel.get_legend().get_texts()[0].get_text() == f"50 %: {median:.3g} ms"


def test_remedies_of_arguments() -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_batches("one")
    assert caught.value.remedy == "--batch 1,8,64"
    assert parse_batches("1,8,64") == (1, 8, 64)
    with pytest.raises(ArgumentError) as caught:
        parse_against(["jax"])
    assert caught.value.remedy == "--against eager,compile"
    assert parse_against(["eager,compile", "eager"]) == ("eager", "compile")
