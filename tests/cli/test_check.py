"""`trtnet check`: which TensorRTs take a network, what they get composed, and why others refuse it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bindings import versions as known_to_the_tests
from judged_engines import provider_of
from typer.testing import CliRunner

import trtnet
from trtnet import Input, nn
from trtnet.cli import conforming
from trtnet.cli.commands import app
from trtnet.cli.conforming import verdict
from trtnet.errors import ArgumentError
from trtnet.rewriting.composing import for_provider
from trtnet.tensorrt import versions

NET = """
import trtnet
from trtnet import nn
from trtnet import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(4)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.norm(self.norm(x)))

class Few(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Quantized()

    def forward(self, x):
        return self.inner(x)

class Quantized(nn.Module):
    def forward(self, x):
        return F.dequantize(F.quantize_per_tensor(x, 0.5, 0, "float8_e4m3fn"))

class Half(nn.Module):
    def forward(self, x):
        return x.to("bfloat16") * 2
"""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["check", *arguments], env={"COLUMNS": "200"})


def found(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code in (0, 1), result.output
    made: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.exit_code == (not all(one["taken"] for one in made))
    return made


def test_every_version_is_checked(folder: Path) -> None:
    made = found("net.py:Net", "-i", "x=batch=1..2..8,4")
    assert [one["provider"].split()[0] for one in made] == ["tensorrt"] * 15 + ["tensorrt_rtx"]
    assert len(made) == len(known_to_the_tests()) == len(versions.names())
    assert all(one["taken"] and one["composed"]["rms_normalization"] == 2 for one in made)


def test_the_layers_are_those_that_the_bindings_get(folder: Path) -> None:
    """Beside the calls that the conformity tests judge."""
    namespace: dict[str, Any] = {}
    exec(compile(NET, "net.py", "exec"), namespace)
    graph = trtnet.record(namespace["Net"](), x=Input((2, 4)))
    for name, version in zip(versions.names(), known_to_the_tests(), strict=True):
        assert verdict(graph, name).layers == len(for_provider(graph, provider_of(version)).layers)


PLUGINS = """
import trtnet
from trtnet import nn

class SoftClip(trtnet.Plugin):
    creator, version = "SoftClip", "1"

    def shapes(self, x):
        return [x, (x.shape, trtnet.float32)]

    def reference(self, x):
        return x, x * 2

halve = trtnet.kernel(
    "extern \\"C\\" __global__ void halve(const float* x, float* y, int n) { y[threadIdx.x] = x[threadIdx.x] / 2; }",
    shapes=lambda x: x, grid=1, arguments=lambda x: [4], reference=lambda x: x / 2,
)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.clip = SoftClip()

    def forward(self, x):
        a, b = self.clip(x)
        return halve(a) + b.FLOAT
"""


@pytest.mark.parametrize("batch", ["4", "batch=4..4..8"])
def test_what_a_plugin_needs_is_said_and_the_other_layers_are_judged(folder: Path, batch: str) -> None:
    (folder / "plugged.py").write_text(PLUGINS.replace(".FLOAT", ""))
    given = ("plugged.py:Net", "-i", f"x={batch},1")
    made = found(*given)
    *taken, rtx = made
    assert all(one["taken"] and one["layers"] == 3 for one in taken), made
    assert {tuple(one["plugins"]) for one in taken} == {("the plugin SoftClip 1", "the kernel halve")}
    assert not rtx["taken"]
    assert "composition" in rtx["remedy"] + rtx["problem"]
    text = run(*given).stdout
    assert "needs the plugin SoftClip 1, the kernel halve" in " ".join(text.split())
    (folder / "plugged.py").write_text(PLUGINS.replace(".FLOAT", ".to('bfloat16').float()"))
    old, new = found(*given, "--provider", "tensorrt==8.6.1", "--provider", "tensorrt==10.13")
    assert "bfloat16" in old["problem"]
    assert new["plugins"] == ["the plugin SoftClip 1", "the kernel halve"]


def test_a_refusal_has_its_module_and_what_to_do(folder: Path) -> None:
    arguments = ("net.py:Few", "-i", "x=2,4", "--provider", "tensorrt==8.6.1", "--provider", "tensorrt==10.13")
    old, new = found(*arguments)
    assert not old["taken"]
    assert old["module"] == "inner"
    assert "float8_e4m3fn" in old["problem"]
    assert old["remedy"]
    assert new["taken"]
    result = run(*arguments)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert next(line for line in lines if "8.6.1" in line).split()[2] == "no"
    assert next(line for line in lines if "10.13" in line).split()[2] == "yes"
    assert "nothing was compiled" in result.stdout


def test_json_is_json_whatever_the_terminals_width(folder: Path) -> None:
    arguments = ["check", "net.py:Few", "-i", "x=2,4", "--provider", "tensorrt==8.6.1", "--json"]
    narrow = CliRunner().invoke(app, arguments, env={"COLUMNS": "40"})
    (one,) = json.loads(narrow.stdout)
    assert [one] == found(*arguments[1:-1])
    assert len(one["remedy"]) > 40


@pytest.mark.parametrize(
    ("network", "target", "taken"),
    [
        ("Half", "sm75", False),
        ("Half", "sm80", True),
        ("Few", "sm86", False),
        ("Few", "sm89", True),
        ("Net", "sm75", True),
    ],
)
def test_types_that_a_gpu_has(folder: Path, network: str, target: str, taken: bool) -> None:
    (one,) = found(f"net.py:{network}", "-i", "x=2,4", "--provider", "tensorrt==10.13", "-t", target)
    assert one["taken"] is taken
    assert one["target"] == target
    if not taken:
        assert one["problem"].startswith(f"{target} has no ")


def test_a_target_of_tensorrt_rtx(folder: Path) -> None:
    made = found("net.py:Net", "-i", "x=2,4", "--provider", "tensorrt_rtx==1.7.1", "-t", "sm86", "-t", "sm60")
    assert [one["taken"] for one in made] == [True, False]
    assert "cannot compile for these targets" in made[1]["problem"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--provider", "tensorflow"), "there is no such provider"),
        (("--provider", "tensorrt==7.0"), "trtnet knows no tensorrt 7.0"),
        (("-t", "86"), "a target is a GPU's compute capability"),
        (("-t", "sm999"), "a target is a GPU's compute capability"),
        (("-t", "sm86", "-t", "sm85"), "found:    sm85"),
    ],
)
def test_what_is_no_provider_or_target(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("net.py:Net", "-i", "x=2,4", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert run("net.py:Net", "-i", "x=2,4", "-t", "sm86", "--provider", "tensorrt").exit_code == 0


def test_a_remedy_is_followed() -> None:
    graph = trtnet.record(lambda x: x * 2, x=Input((2, 4)))
    with pytest.raises(ArgumentError) as caught:
        verdict(graph, "tensorrt", "8.6")
    assert caught.value.remedy == "--target sm86 is 8.6, an RTX 30"
    assert verdict(graph, "tensorrt", "sm86").taken


def test_large_weights_are_not_drawn(folder: Path) -> None:
    drawn: list[tuple[int, ...]] = []

    def initial(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        drawn.append(shape)
        return random.random(shape, np.float32)

    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(shape=(1, 4), initializer=initial)
            self.table = nn.Parameter(shape=(300, 300), initializer=initial)

        def forward(self, x: Any) -> Any:
            rows = self.table / self.table.norm(dim=1, keepdim=True)
            return x * self.scale + rows[0, :4]

    graph = trtnet.record(Large(), x=Input((2, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert conforming.check(graph, [], [], True)
    assert (300, 300) not in drawn
    assert verdict(trtnet.record(Large(), x=Input((2, 4))), "tensorrt==8.6.1") == verdict(graph, "tensorrt==8.6.1")
    assert (300, 300) in drawn
