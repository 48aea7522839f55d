"""Each benchmark runs, with tiny sizes; no figure is looked at. benchmarks/README.md shows what results/ holds."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem != "gpu")
MACHINE = {"cpu", "cores", "memory", "os"}


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    if name in ("recording", "memory", "recurrent"):
        pytest.importorskip("tensorrt_rtx")
    if name == "memory" and not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc/self/status here")
    command = [sys.executable, FOLDER / f"{name}.py", "--quick", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert data["benchmark"] == name
    assert {"trtnet", "python", "numpy"} <= set(data["versions"])
    assert set(data["machine"]) == MACHINE
    assert data["table"]["title"].split()[0] in done.stdout
    assert all(len(row) == len(data["table"]["columns"]) for row in data["table"]["rows"])


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(FOLDER.parent), "COLUMNS": "200"}


def load(name: str):
    """A file of benchmarks/ as a module."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


def test_the_readme_shows_the_results() -> None:
    common = load("_common")
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in sorted((FOLDER / "results").glob("*.json")):
        assert f"<!-- {path.stem} -->\n" in text, f"README.md has no place for {path.name}"
    assert common.with_tables(text) == text, "README.md does not show what results/ holds: run the benchmark again"


def test_every_benchmark_has_results() -> None:
    found = {path.stem for path in (FOLDER / "results").glob("*.json")}
    assert sorted(name for name in found if "-tensorrt" not in name) == NAMES


def test_what_weights_in_motion_cost_is_what_was_measured() -> None:
    page = (FOLDER.parent / "docs" / "weights-in-motion.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## What it costs")
    shown = {cells[1].strip(): cells[2:5] for line in section.splitlines() if len(cells := line.split("|")) == 6}
    told = {
        "shm:": "`shm:`",
        "dir:": "`dir:`",
        "dir:, one tensor of 16 changed": "`dir:`, one tensor of 16 changed",
        "ray:": "`ray:`",
        "shared tensors, counter": "by hand: shared tensors and a counter",
        "safetensors file": "by hand: a safetensors file, renamed",
        "npz file": "by hand: an npz file, renamed",
        "ray.put": "by hand: `ray.put` and an actor",
    }
    for row in json.loads((FOLDER / "results" / "fleet.json").read_text(encoding="utf-8"))["table"]["rows"]:
        (place, name), found = row[0].split(": ", 1), row[2]
        if name in told and place.endswith(" 1 follower"):
            column = ["0.1 MB", "10 MB", "500 MB"].index(place.partition(",")[0])
            assert shown[told[name]][column].strip() == found, row[0]


# --- gpu.py: all of it that needs no GPU ------------------------------------------------------------------------------


def gpu(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "gpu.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


@pytest.mark.parametrize(
    ("groups", "only", "expected"),
    [
        ("calls", "", ("engine(x)", "bound call, graph=True", "raw enqueue", "PyTorch eager", "torch.compile")),
        ("refit", "policy,mlp42m", ("engine.refit(state_dict)", "usual loop", "packed copy", "optimiser's step")),
        ("refit-resnet18", "", ("one changed, given alone", "trtnet.build again")),
        ("serving", "", ("HotSwap", "HotSwap, refit by the bindings", "one engine", "no refit")),
        ("check", "policy,lenet", ("check", "build")),
        ("live", "policy,mlp42m", ("live weights", "constants", "step, weights bound")),
        ("recurrent", "256 steps,8 steps", ("loop", "unrolled", "loop, graph=True", "PyTorch eager")),
        ("networks", "lenet float32 batch 1", ("trtnet", "PyTorch eager")),
        ("bench", "", ("trtnet bench", "raw calls")),
        ("fleet", "", ("shm:", "dist:", "copy within the GPU", "copy to the next GPU")),
        ("inference-lenet", "batch 1", ("bound call, graph=True", "by hand", "torch.compile")),
    ],
)
def test_the_rows_of_the_gpu(groups: str, only: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = gpu("--quick", "--output", tmp_path, "--groups", f"{groups}", "--only", only)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert data["errors"] == {}
    assert {"trtnet", "python", "torch"} <= set(data["versions"])
    assert set(data["machine"]) >= MACHINE
    measured = {name for row in data["results"] for name in row["seconds"]}
    assert measured >= set(expected)
    for row in data["results"]:
        assert row["agree"] is not False, row["what"]
        for found in row["seconds"].values():
            assert found["min"] <= found["p10"] <= found["median"] <= found["p90"]
    for table in data["tables"]:
        assert table["title"] in done.stdout
        assert all(len(line) == len(table["columns"]) for line in table["rows"])


def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    if load("_gpu_rows").cannot_run() is None:
        pytest.skip("there is a GPU here")
    done = gpu("--output", tmp_path)
    assert done.returncode == 0
    assert "nothing was measured" in done.stdout
    assert not list(tmp_path.iterdir())


def test_arguments_of_the_gpu() -> None:
    module = load("gpu")
    assert module.arguments([]).chosen == list(module.GROUPS)
    assert module.arguments(["--groups", "inference"]).chosen == [g for g in module.GROUPS if "inference-" in g]
    assert module.arguments(["--groups", "refit-resnet18,calls"]).chosen == ["calls", "refit-resnet18"]
    assert module.arguments(["--groups", "refit"]).chosen == ["refit"]
    assert module.arguments(["--groups", "refit*"]).chosen == ["refit", "refit-resnet18"]
    for wrong in (["--groups", "refits"], ["--quick"], ["--group", "none"]):
        with pytest.raises(SystemExit):
            module.arguments(wrong)


def test_checks() -> None:
    rows = load("_gpu_rows")
    samples = {"a": [10e-6, 12e-6, 11e-6], "b": [4e-6] * 3, "c": [8e-6] * 3, "copy": [2e-6] * 3}
    samples |= {"long": [20.0] * 3, "short": [1.1] * 3}
    checks = [
        rows.more("a", "b", "c", limit=6e-6), rows.more("a", "b", limit=8e-6), rows.times("a", "c", limit=1.3),
        rows.times("a", "c", limit=1.3, plus="copy"), rows.saves("b", "a", limit=3), rows.saves("b", "c", limit=2),
        rows.faster("b", "a"), rows.faster("a", "b"), rows.equal("c", "c"), rows.equal("a", "c"), rows.equal("b", "c"),
        rows.nothing("c", "b"), rows.share("c", "a", limit=0.05), rows.share("short", "long", limit=0.05),
        rows.share("short", "long", limit=0.06), rows.reported("a", "b"), rows.faster("a", "absent"),
    ]  # fmt: skip
    met = [check["met"] for check in rows.Row("calls", "one", samples, checks).data()["checks"]]
    assert met == [
        False, True, False, True, False, True, True, False, True, False, True, False, True, False, True, None, None,
    ]  # fmt: skip
    first = rows.Row("calls", "one", samples, checks[:1]).data()
    assert first["checks"][0]["fastest"] == "b"
    assert first["seconds"]["a"] == {"median": 11e-6, "p10": 10e-6, "p90": 12e-6, "min": 10e-6, "samples": 3}
    (table,) = rows.tables([first], {})
    assert table["rows"][0] == [
        "one: a", "11.0 µs (10.0 to 12.0)", "b", "4.0 µs (4.0 to 4.0)", "+7.0 µs", "at most +6 µs", "missed",
    ]  # fmt: skip
    differing = rows.Row("calls", "one", samples, checks[1:2], agree=False).data()
    assert rows.tables([differing], {})[0]["rows"][0][-1] == "outputs differ"
    assert "failed: ValueError: no" in rows.tables([], {"live-resnet18": "Traceback\nValueError: no\n"})[0]["rows"][0]


def test_rows_of_several_runs_are_joined(tmp_path: Path) -> None:
    rows = load("_gpu_rows")
    made = {"gpu": "NVIDIA H100 80GB HBM3", "driver": "580", "cpu": "c", "cores": 1, "memory": "m", "os": "o"}
    files = []
    for number, (group, seconds) in enumerate((("refit", 1.0), ("calls", 2.0), ("refit", 3.0))):
        row = rows.Row(group, "one", {"a": [seconds], "b": [1.0]}, [rows.reported("a", "b")]).data()
        data = {
            "versions": {"tensorrt": "8.6.1"}, "machine": made, "settings": {}, "date": f"day {number}",
            "results": [row], "errors": {"live": "it failed"} if number == 0 else {},
        }  # fmt: skip
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(data), encoding="utf-8")
    done = gpu("--merge", *files, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "out" / "h100-tensorrt8.6.json").read_text(encoding="utf-8"))
    ours = [row for row in data["results"] if row["what"] == "one"]
    assert [(row["group"], row["seconds"]["a"]["median"]) for row in ours] == [("calls", 2.0), ("refit", 3.0)]
    assert data["errors"]["live"] == "it failed"
    assert data["date"] == "day 2"
    text = load("_common").markdown(data)
    assert "NVIDIA H100 80GB HBM3, driver 580" in text
    assert text.count("| what | trtnet |") == len(data["tables"]) >= 3


def test_rows_of_a_stopped_group_are_kept(tmp_path: Path) -> None:
    module, rows = load("gpu"), load("_gpu_rows")
    results = module.Results(module.arguments(["--output", str(tmp_path)]))
    file = tmp_path / "calls"
    about = {"versions": {}, "machine": {}, "settings": {}}
    one = rows.Row("calls", "one", {"a": [1.0], "b": [2.0]}, [rows.faster("a", "b")]).data()
    file.write_text(json.dumps({"about": about, "rows": [one], "error": None, "seconds": 1.0}), encoding="utf-8")
    assert results.take("calls", file)
    assert not results.take("calls", file, "stopped after 480 s")
    assert not results.take("live", tmp_path / "absent", "its process ended with 1")
    results.write()
    data = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [row["what"] for row in data["results"]] == ["one"]
    assert data["errors"] == {"calls": "stopped after 480 s", "live": "its process ended with 1"}
    assert [table["rows"][-1][4] for table in data["tables"]] == [
        "failed: stopped after 480 s", "failed: its process ended with 1",
    ]  # fmt: skip


def test_a_group_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = gpu("--quick", "--output", tmp_path, "--groups", "live-resnet18", "--limit", "0")
    assert done.returncode == 1
    assert "failed, wholly or in part: live-resnet18" in done.stderr


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ["policy", "lenet", "resnet18", "googlenet"])
def test_the_networks_by_hand(name: str, half: bool) -> None:
    """The same layers as trtnet's, where those are not folded, with the same shapes; weights folded as they must be."""
    trt = pytest.importorskip("tensorrt_rtx")
    torch = pytest.importorskip("torch")
    import inspect

    import trtnet

    plain, raws, session = load("_gpu_models"), load("_gpu_raw"), load("_gpu_session")
    shape = (2, *plain.shape(name, True))
    model, net = plain.trained(name, True), session.module(name, True)
    state = {key: value.numpy() for key, value in model.state_dict().items() if value.is_floating_point()}
    net.load_state_dict(state)
    parameter = list(inspect.signature(type(net).forward).parameters)[1]
    graph = trtnet.record(net, **{parameter: trtnet.Input(shape)})
    difference = trtnet.reference(graph)(torch.zeros(shape) + 0.5)
    difference = difference["prob"] if isinstance(difference, dict) else difference
    with torch.no_grad():
        wanted = model(torch.zeros(shape) + 0.5)
    assert float((difference - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())

    logger = trtnet.provider.load("tensorrt_rtx").logger
    raw = raws.Raw(trt, logger, state, half)
    raws.NETWORKS[name](raw, shape)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    lowering = graph.lower(network)

    def layers(of):
        found = [of.get_layer(index) for index in range(of.num_layers)]
        kept = [layer for layer in found if layer.type not in (trt.LayerType.SCALE, trt.LayerType.REDUCE)]
        return Counter((layer.type, tuple(layer.get_output(0).shape)) for layer in kept)

    extra = layers(raw.network) - layers(network)
    assert sum(extra.values()) <= 1  # the mean, a reduction in trtnet's
    assert all(kind == trt.LayerType.POOLING for kind, _ in extra)
    assert not layers(network) - layers(raw.network)
    assert tuple(raw.network.get_output(0).shape) == tuple(network.get_output(0).shape)
    del lowering

    if name == "googlenet":
        at, eps = "inception4c.branch2.1", 0.001
        one, two, norm = f"{at}.conv", model.inception4c.branch2[1].conv, model.inception4c.branch2[1].bn
    elif name == "resnet18":
        one, two, norm = "layer3.0.downsample.0", model.layer3[0].downsample[0], model.layer3[0].downsample[1]
        eps = 1e-5
    else:
        return
    x = torch.randn(1, two.in_channels, 9, 9, dtype=torch.float64)
    assert norm.eps == eps
    wanted = norm.double()(two.double()(x)).detach()
    kernel, bias = (torch.from_numpy(raw.arrays[f"{one}.{part}"].astype(np.float64)) for part in ("kernel", "bias"))
    found = torch.nn.functional.conv2d(x, kernel, bias, two.stride, two.padding)
    assert float((found - wanted).abs().max()) <= (3e-3 if half else 1e-5) * float(wanted.abs().max())


def test_a_network_by_hand_is_built(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    pytest.importorskip("torch")
    import trtnet

    plain, raws = load("_gpu_models"), load("_gpu_raw")
    state = {key: value.numpy() for key, value in plain.trained("lenet", True).state_dict().items()}
    raw = raws.Raw(trt, trtnet.provider.load("tensorrt_rtx").logger, state, half=True)
    raws.NETWORKS["lenet"](raw, (1, 1, 28, 28))
    plan, seconds = raw.build(3, raws.timing_cache(tmp_path))
    assert plan[:4] == b"vtrt"
    assert seconds > 0
