"""Ranges that tools like Nsight Systems show, heard by a library that listens as they do (helpers/nvtx_ranges.c)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "helpers" / "nvtx_ranges.c"
CALLED = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import numpy as np
import trtnet
from networks import LEVEL, convolutions

graph = convolutions()
with trtnet.build(graph, **LEVEL) as engine:
    x = np.ones((2, 3, 8, 8), np.float32)
    engine(x)
    file = sys.argv[3]
    before = len(open(file).read().splitlines())
    engine(x)
    lines = open(file).read().splitlines()[before:]
    timed = [layer.name for layer in engine.profile(x).layers if layer.milliseconds]
print(json.dumps({"lines": lines, "timed": timed, "recorded": [layer.name for layer in graph.layers]}))
"""


def test_each_layer_has_a_range_named_after_its_module(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    library, ranges = tmp_path / "libranges.so", tmp_path / "ranges.txt"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE], check=True)
    environment = os.environ | {"NVTX_INJECTION64_PATH": str(library), "NVTX_RANGES": str(ranges)}
    folders = [str(pytestconfig.rootpath / folder) for folder in (".", "tests/helpers")]
    done = subprocess.run(
        [sys.executable, "-c", CALLED, *folders, str(ranges)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    pushed = [line.removeprefix("push ") for line in found["lines"] if line != "pop"]
    assert len(pushed) * 2 == len(found["lines"]), "each range ends"
    assert found["timed"]
    assert [name for name in found["timed"] if name not in pushed] == []
    assert any(name in range_ for range_ in pushed for name in found["recorded"]), pushed
