"""`trtnet profile`: what is added up, and the files for other tools."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

import trtnet
from trtnet import Dim, Input, nn
from trtnet.cli import profile_files
from trtnet.cli.cases import Case
from trtnet.cli.commands import app
from trtnet.cli.profiling import Asked, Files, profile, table
from trtnet.engine.layer_times import LayerTime, LayerTimes
from trtnet.errors import ArgumentError

NET = """
from trtnet import nn
from trtnet import functional as F

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(x).exp()

class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.body = nn.Sequential(Block(), Block())
        self.head = nn.Linear(3, width)

    def forward(self, x):
        y = self.body(x).tanh()
        return self.head(y)
"""
LINES = {"fc": 11, "tanh": 20, "head": 21}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["profile", *arguments, "--provider", "reference"], env={"COLUMNS": "250"})


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a printed table, by the first."""
    lines = text.splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in lines[: lines.index("")]}


def layer(name: str, module: str, *samples: float, where: str = "") -> LayerTime:
    return LayerTime(name, float(np.mean(samples)), 0.0, module, where, samples)


TIMES = LayerTimes(
    (
        layer("body.0/convolution + body.0/relu", "body.0", 3.0, 1.0, 2.0, where="net.py:7"),
        layer("copy", "", 0.5, 0.5, 0.5),
        layer("body.1.a/<mul>; x", "body.1.a", 1.0, 1.0, 4.0, where="net.py:8"),
        layer("tanh", "", 1.0, 1.0, 1.0, where="net.py:9"),
        layer("body.0/late", "body.0", 0.25, 0.25, 0.25, where="net.py:7"),
    ),
    3,
    "cuda:0",
)


# --- the command ------------------------------------------------------------------------------------------------------


def test_times_by_module_line_and_layer(folder: Path) -> None:
    made = run("net.py:Net", "-i", "x=2x3", "--calls", "3", "--json", "all.json")
    assert made.exit_code == 0, made.output
    found = json.loads(Path("all.json").read_text())
    assert (found["network"], found["way"], found["batch"], found["calls"]) == ("Net", "reference", 2, 3)
    by_name = {one["name"]: one for one in found["layers"]}
    for one in by_name.values():
        assert one["milliseconds"] == pytest.approx(np.mean(one["samples"]))
        assert one["median"] == np.median(one["samples"])
    assert {one["module"] for one in by_name.values()} == {"body.0", "body.0.fc", "body.1", "body.1.fc", "", "head"}
    sums = {
        path: sum(one["milliseconds"] for one in by_name.values() if one["module"] == path) for path in found["modules"]
    }
    assert found["modules"] == pytest.approx(sums)
    printed = rows(made.output)
    assert set(printed) == {"body.0", "body.0.fc", "body.1", "body.1.fc", "Net", "head"}
    for path, (ms, share, count) in printed.items():
        inside = [one for one in by_name.values() if one["module"] == path.replace("Net", "")]
        spent = sum(one["milliseconds"] for one in inside)
        assert float(ms) == pytest.approx(spent, abs=1e-4)
        assert float(share.rstrip("%")) == pytest.approx(100 * spent / found["milliseconds"], abs=0.06)
        assert int(count) == len(inside)
    assert set(rows(run("net.py:Net", "-i", "x=2x3", "--depth", "1").output)) == {"body", "Net", "head"}
    lines = rows(run("net.py:Net", "-i", "x=2x3", "--by", "line").output)
    text = NET.splitlines()
    assert {text[int(line.rpartition(":")[2]) - 1].strip() for line in lines} == {
        "return self.fc(x).exp()", "y = self.body(x).tanh()", "return self.head(y)",
    }  # fmt: skip
    made = run("net.py:Net", "-i", "x=2x3", "--by", "layer")
    assert set(rows(made.output)) == set(by_name)


def test_each_file_is_written(folder: Path) -> None:
    trtnet.reference(trtnet.record(nn.Linear(3, 4), input=Input((Dim("n", 1, 2, 8), 3)))).save("net.engine")
    np.save("x.npy", np.ones((5, 3), np.float32))
    made = run(
        "net.engine", "-i", "input=x.npy", "--export-profile", "e.json", "--flame", "f.svg", "--trace", "t.json",
        "--json", "j.json", "--calls", "2",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    for name in ("e.json", "f.svg", "t.json", "j.json"):
        assert f"{name} written" in made.output
        assert Path(name).stat().st_size
    assert json.loads(Path("j.json").read_text())["batch"] == 5
    assert json.loads(Path("e.json").read_text())[0] == {"count": 2}


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("--by", "kind"), ("times are not added up by 'kind'", "module, line, layer", "--by module")),
        (("--by", "line", "--depth", "1"), ("--depth is for times by module", "leave --depth out")),
        (("--flame", "f.png"), ("its file name ends in .svg or .folded or .json", "name it f.svg")),
        (("--trace", "t.txt"), ("its file name ends in .json", "name it t.json")),
        (("--export-profile", "no/e.json"), ("there is no folder no",)),
        (("--trace", "a.json", "--json", "./a.json"), ("two files have one name", "name them apart")),
        (("--calls", "0"), ("Invalid value for '--calls'",)),
        (("--batch", "0"), ("Invalid value for '--batch'",)),
        (("--option", "colour=red"), ("colour",)),
        (("--provider", "caffe"), ("caffe",)),
    ],
)
def test_wrong_arguments(folder: Path, arguments: tuple[str, ...], messages: tuple[str, ...]) -> None:
    before = set(folder.iterdir())
    made = CliRunner().invoke(app, ["profile", "net.py:Net", "-i", "x=2x3", *arguments], env={"COLUMNS": "250"})
    assert made.exit_code == 2, made.output
    for message in messages:
        assert message in made.output
    assert {one for one in folder.iterdir() if one.name != "__pycache__"} == before


def test_an_engines_file_has_its_options(folder: Path) -> None:
    trtnet.reference(trtnet.record(nn.Linear(3, 4), input=Input((2, 3)))).save("net.engine")
    made = run("net.engine", "--option", "tf32=true", "--half")
    assert made.exit_code == 2
    assert "an engine's file has its weights, types and shapes" in made.output
    assert "--half, --option" in made.output


def test_an_input_may_be_called_calls() -> None:
    graph = trtnet.record(lambda calls: calls * 2, calls=Input((2,)))
    profile(Case(graph, trtnet.reference(graph), {"calls": np.ones(2, np.float32)}, 2, {}), Asked(calls=1))


# --- the forms --------------------------------------------------------------------------------------------------------


def test_sums_of_what_tensorrt_made() -> None:
    assert rows(table(TIMES, "module", None, "Net")) == {
        "body.0": ["2.2500", "39.1%", "2"], "body.1.a": ["2.0000", "34.8%", "1"], "Net": ["1.5000", "26.1%", "2"],
    }  # fmt: skip
    assert rows(table(TIMES, "module", 1, "Net"))["body"] == ["4.2500", "73.9%", "3"]
    lines = table(TIMES, "line", None, "Net")
    assert "net.py:7                         2.2500   39.1%" in lines
    assert "(not recorded: TensorRT's own)   0.5000    8.7%        1" in lines


def test_trtexecs_form() -> None:
    first, *layers = json.loads(profile_files.trtexec(TIMES, "Net"))
    assert first == {"count": 3}
    assert layers[0] == {
        "name": "body.0/convolution + body.0/relu", "timeMs": 6.0, "averageMs": 2.0, "medianMs": 2.0, "percentage": 0.0,
    }  # fmt: skip
    assert [one["medianMs"] for one in layers] == [2.0, 0.5, 1.0, 1.0, 0.25]
    graph = trtnet.record(lambda x: (x * 2).exp(), x=Input((2,)))
    times = trtnet.reference(graph).profile(np.ones(2, np.float32), calls=4)
    _, *layers = json.loads(profile_files.trtexec(times, ""))
    assert sum(one["percentage"] for one in layers) == pytest.approx(100)
    for one in layers:
        assert one["timeMs"] == pytest.approx(4 * one["averageMs"])


def test_folded_stacks() -> None:
    """As flamegraph.pl reads a line: the last word is a number, and ";" is between names."""
    assert profile_files.folded(TIMES, "Net").splitlines() == [
        "Net;body;0;body.0/convolution + body.0/relu 2000000",
        "Net;copy 500000",
        "Net;body;1;a;body.1.a/<mul>, x 2000000",
        "Net;tanh 1000000",
        "Net;body;0;body.0/late 250000",
    ]


def test_speedscopes_form() -> None:
    """By its schema, as far as that has fields of a sampled profile."""
    found = json.loads(profile_files.speedscope(TIMES, "Net"))
    assert found["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    (profile,) = found["profiles"]
    frames = [frame["name"] for frame in found["shared"]["frames"]]
    assert len(set(frames)) == len(frames)
    assert [";".join(frames[number] for number in stack) for stack in profile["samples"]] == [
        line.rpartition(" ")[0].replace("<mul>,", "<mul>;") for line in profile_files.folded(TIMES, "Net").splitlines()
    ]
    assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
    assert (profile["type"], profile["unit"], profile["startValue"]) == ("sampled", "nanoseconds", 0)
    assert profile["endValue"] == sum(profile["weights"]) == 5_750_000
    located = {frame["name"]: (frame["file"], frame["line"]) for frame in found["shared"]["frames"] if "file" in frame}
    assert located["tanh"] == ("net.py", 9)
    assert "copy" not in located


def slices(text: str) -> list[tuple[tuple[str, ...], float, float, dict[str, Any]]]:
    """The names around each slice and its own, when it begins, how long it takes, and its begin, as viewers find them:
    an end is of what was begun last. Fails for what goes back in time, or ends another."""
    found: list[Any] = []
    opened: list[int] = []
    now = 0.0
    for event in json.loads(text)["traceEvents"]:
        if event["ph"] == "M":
            continue
        assert event["ts"] >= now
        now = event["ts"]
        if event["ph"] == "B":
            around = found[opened[-1]][0] if opened else ()
            opened.append(len(found))
            found.append([(*around, event["name"]), now, None, event])
        else:
            last = found[opened.pop()]
            assert (event["ph"], event["name"]) == ("E", last[3]["name"])
            last[2] = now - last[1]
    assert not opened
    return [tuple(one) for one in found]


def test_a_trace_nests_layers_in_modules() -> None:
    text = profile_files.trace(TIMES, "Net")
    found = slices(text)
    assert [names for names, *_ in found] == [
        ("Net",),
        ("Net", "body"),
        ("Net", "body", "0"),
        ("Net", "body", "0", "body.0/convolution + body.0/relu"),
        ("Net", "copy"),
        ("Net", "body"),
        ("Net", "body", "1"),
        ("Net", "body", "1", "a"),
        ("Net", "body", "1", "a", "body.1.a/<mul>; x"),
        ("Net", "tanh"),
        ("Net", "body"),
        ("Net", "body", "0"),
        ("Net", "body", "0", "body.0/late"),
    ]
    layers = [(start, took) for _, start, took, begin in found if begin["cat"] == "layer"]
    assert layers == [(0, 2000), (2000, 500), (2500, 2000), (4500, 1000), (5500, 250)]  # one after the other, in µs
    assert found[9][3]["args"] == {"module": "", "at": "net.py:9", "median ms": 1.0, "share": 0.0}
    assert [begin["args"]["module"] for *_, begin in found[5:9]] == ["body", "body.1", "body.1.a", "body.1.a"]
    names = {event["name"]: event["args"]["name"] for event in json.loads(text)["traceEvents"] if event["ph"] == "M"}
    assert names["process_name"] == "Net: 5 layers, 5.7500 ms a call on cuda:0, the mean of 3"


def test_odd_times_lie_one_after_the_other() -> None:
    """With times whose sums are not exact."""
    samples = np.random.default_rng(0).exponential(0.01, (200, 3))
    times = LayerTimes(
        tuple(layer(f"{n}", f"m{n // 7}.{n // 3}", *row.tolist()) for n, row in enumerate(samples)), 3, "cpu"
    )
    found = slices(profile_files.trace(times, "Net"))
    own = [(names, start, took) for names, start, took, begin in found if begin["cat"] == "layer"]
    assert [names[1:] for names, *_ in own] == [(f"m{n // 7}", f"{n // 3}", f"{n}") for n in range(200)]
    for (_, start, took), (_, after, _) in itertools.pairwise(own):
        assert after == pytest.approx(start + took, abs=1e-9)
    assert sum(took for *_, took in own) == pytest.approx(1e3 * times.milliseconds, abs=0.2)


def test_a_flame_graph_has_each_module_once() -> None:
    picture = ElementTree.fromstring(profile_files.svg(TIMES, "Net"))
    space = "{http://www.w3.org/2000/svg}"
    told = {}
    for group in picture.iter(f"{space}g"):
        box = group.find(f"{space}rect")
        assert box is not None
        told[str(group.findtext(f"{space}title")).partition(": ")[0]] = (float(box.get("x")), float(box.get("width")))
    assert list(told) == [
        "Net", "body", "body.0", "body.0/convolution + body.0/relu", "body.0/late", "body.1", "body.1.a",
        "body.1.a/<mul>; x", "copy", "tanh",
    ]  # fmt: skip
    whole = told["Net"][1]
    assert {name: round(width / whole * 5.75, 3) for name, (_, width) in told.items()} == {
        "Net": 5.75, "body": 4.25, "body.0": 2.25, "body.0/convolution + body.0/relu": 2.0, "body.0/late": 0.25,
        "body.1": 2.0, "body.1.a": 2.0, "body.1.a/<mul>; x": 2.0, "copy": 0.5, "tanh": 1.0,
    }  # fmt: skip
    for inner, outer in (("body.0/late", "body.0"), ("body.1.a", "body.1"), ("body.1", "body"), ("tanh", "Net")):
        (left, width), (around, wide) = told[inner], told[outer]
        assert around - 0.02 <= left <= left + width <= around + wide + 0.02


def test_no_time_at_all_is_a_picture_still() -> None:
    nothing = LayerTimes((layer("a", "m", 0.0),), 1, "cpu")
    for form in (profile_files.svg, profile_files.trace, profile_files.speedscope, profile_files.folded):
        assert form(nothing, "Net")
    assert rows(table(nothing, "module", None, "Net"))["m"] == ["0.0000", "0.0%", "1"]


def test_files_are_checked_before() -> None:
    with pytest.raises(ArgumentError, match="two files have one name"):
        Files(trace=Path("a.json"), flame=Path("a.json")).check()
    Files(trace=Path("a.json"), flame=Path("b.json")).check()
