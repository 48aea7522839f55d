"""`trtnet trtexec`: trtexec's flags as trtnet's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import needs_rtx
from typer.testing import CliRunner

import trtnet
from trtnet import Dim, Input, nn
from trtnet.cli.commands import app
from trtnet.cli.trtexec import ELSEWHERE, FLAGS, READ, translated
from trtnet.errors import ArgumentError

NET = """
from trtnet import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        return self.fc(x)
"""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["trtexec", *arguments], env={"COLUMNS": "250"})


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ("--shapes=x:8x3", ["bench M --input x=8x3"]),
        ("--shapes=x:8x3,y:1", ["bench M --input x=8x3 --input y=1"]),
        (
            "--minShapes=x:1x3x32,y:1x5 --optShapes=x:8x3x64,y:8x5 --maxShapes=x:64x3x96,y:64x5",
            ["bench M --input x=batch=1..8..64,3,size1=32..64..96 --input y=batch,5"],
        ),
        (
            "--minShapes=x:1x3 --optShapes=x:8x3 --maxShapes=x:64x3 --shapes=x:32x3 --dumpProfile",
            [
                "bench M --input x=batch=1..8..64,3 --batch 32",
                "profile M --input x=batch=1..8..64,3 --batch 32 --by layer",
            ],
        ),
        (
            "--minShapes=x:1x3 --optShapes=x:8x3 --maxShapes=x:64x3 --shapes=x:8x3",
            ["bench M --input x=batch=1..8..64,3"],
        ),
        ("--minShapes=x:1x3 --shapes=x:8x3 --maxShapes=x:64x3", ["bench M --input x=batch=1..8..64,3"]),
        (
            "--saveEngine=a.engine --fp16 --builderOptimizationLevel=5 --noTF32",
            ["build M -o a.engine --half --level 5", "bench M --half --option optimization_level=5"],
        ),
        ("--saveEngine=a.engine --skipInference --stripWeights", ["build M -o a.engine --refit"]),
        (
            "--saveEngine=a.engine --buildOnly --memPoolSize=workspace:1024,dlaSRAM:512K --maxAuxStreams=2 --vc",
            [
                "build M -o a.engine --option memory_pools.workspace=1024M --option memory_pools.dla_managed_sram=512K "
                "--option max_aux_streams=2 --option version_compatible=true"
            ],
        ),
        (
            "--iterations=5 --duration=0 --warmUp=250 --useSpinWait --useCudaGraph --noDataTransfers "
            "--exportTimes=t.json",
            ["bench M --iterations 5 --duration 0 --warmup 0.25 --spin --graph --no-transfers --json t.json"],
        ),
        ("--refit", ["bench M --refit"]),
        ("--streams=4", ["bench M --streams 4"]),
        ("--infStreams=2", ["bench M --streams 2"]),
        ("--shapes=x:8x3 --dumpProfile", ["bench M --input x=8x3", "profile M --input x=8x3 --by layer"]),
        (
            "--exportProfile=p.json --fp16 --builderOptimizationLevel=5 --maxAuxStreams=2 --iterations=3",
            [
                "bench M --half --option optimization_level=5 --option max_aux_streams=2 --iterations 3",
                "profile M --option optimization_level=5 --option max_aux_streams=2 --export-profile p.json --half",
            ],
        ),
        ("--saveEngine=a.engine --skipInference --dumpProfile", ["build M -o a.engine"]),
        (
            "--saveEngine=a.trt --timingCacheFile=t.cache --verbose",
            ["build M -o a.trt --timing-cache t.cache --verbose", "bench M --verbose"],
        ),
    ],
)
def test_flags_as_commands(flags: str, lines: list[str]) -> None:
    assert [" ".join(line) for line in translated(["M", *flags.split()]).lines()] == lines


def test_a_loaded_engine_has_its_shapes() -> None:
    made = translated(["--loadEngine=a.engine", "--shapes=x:8x3,y:8", "--iterations=3"])
    assert made.lines() == [["bench", "a.engine", "--batch", "8", "--iterations", "3"]]
    made = translated(["--loadEngine=a.engine", "--shapes=x:8x3", "--dumpProfile"])
    assert made.lines()[1] == ["profile", "a.engine", "--batch", "8", "--by", "layer"]


def test_two_files_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    result = run("net.py:Net", "--shapes=x:8x3", "--exportTimes=a.json", f"--exportProfile={tmp_path / 'a.json'}")
    assert result.exit_code == 2
    assert "error: --exportTimes and --exportProfile name one file" in result.output
    assert not (tmp_path / "a.json").exists()


def test_each_flag_has_one_place() -> None:
    assert not set(FLAGS) & set(ELSEWHERE)
    assert not set(READ) & (set(FLAGS) | set(ELSEWHERE))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_done_otherwise(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"--{name} is not one of those that are done here") as caught:
        translated(["M", f"--{name}=1"])
    assert caught.value.remedy == (ELSEWHERE[name] or "leave it out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--useCudaGraphs"], "did you mean 'useCudaGraph'"),
        (["--shapes=8x3"], "--shapes takes names with shapes"),
        (["--minShapes=x:1x3", "--optShapes=x:8x3x4"], "have different ranks"),
        (["--minShapes=x:1x3", "--maxShapes=x:8x3"], "the best shapes are missing"),
        (
            ["--optShapes=x:8x3", "--maxShapes=x:8x9", "--shapes=x:8x9"],
            "differ from --optShapes in more than the batch",
        ),
        (["--optShapes=x:8x3,y:1", "--shapes=x:4x3"], "differ from --optShapes in more than the batch"),
        (["--optShapes=x:8x3", "--shapes=x:8x3,y:1"], "differ from --optShapes in more than the batch"),
        (["--memPoolSize=heap:3"], "--memPoolSize takes pools with sizes"),
        (["--warmUp"], "a number is missing"),
        (["other"], "one network is to be built or loaded"),
        (["--skipInference"], "nothing would be done"),
    ],
)
def test_wrong_flags(arguments: list[str], message: str) -> None:
    made = run("M", *arguments)
    assert made.exit_code == 2
    assert message in made.output


def test_it_builds_and_times(folder: Path) -> None:
    needs_rtx()
    made = run(
        "net.py:Net", "--shapes=x:2x3", "--saveEngine=n.engine", "--iterations=3", "--duration=0", "--warmUp=0",
        "--exportTimes=t.json",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "trtnet build net.py:Net --input x=2x3 -o n.engine\n" in made.stdout
    assert "trtnet bench net.py:Net --input x=2x3 --iterations 3 --duration 0 --warmup 0 --json t.json\n" in made.stdout
    assert (folder / "n.engine").exists()
    assert (folder / "t.json").exists()


def test_an_error_of_a_command_is_its_exit_code(folder: Path) -> None:
    assert run("--loadEngine=none.engine").exit_code == 2
    graph = trtnet.record(nn.Linear(3, 4), input=Input((Dim("n", 1, 2, 4), 3)))
    trtnet.build(graph, provider="reference").save("net.engine")
    quick = ("--iterations=3", "--duration=0", "--warmUp=0")
    assert run("--loadEngine=net.engine", "--shapes=input:4x3", *quick).exit_code == 0
    assert run("--loadEngine=net.engine", "--shapes=input:5x3", *quick).exit_code == 2
    made = run("--loadEngine=net.engine", "--shapes=input:4x3", *quick, "--exportProfile=p.json")
    assert made.exit_code == 0, made.output
    assert [set(one) for one in json.loads(Path("p.json").read_text())] == [
        {"count"}, {"name", "timeMs", "averageMs", "medianMs", "percentage"},
    ]  # fmt: skip


def test_a_loaded_engine_is_not_told_how_to_be_built() -> None:
    flags = [
        "--loadEngine=a.engine",
        "--maxAuxStreams=2",
        "--iterations=3",
        "--builderOptimizationLevel=5",
        "--dumpProfile",
    ]
    assert translated(flags).lines() == [
        ["bench", "a.engine", "--iterations", "3"], ["profile", "a.engine", "--by", "layer"],
    ]  # fmt: skip
