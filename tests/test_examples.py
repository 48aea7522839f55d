"""What lies in examples/ runs without a GPU, and is what TensorRT-RTX compiles."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from harness import lower_and_compare

import trtnet
from trtnet import Input
from trtnet.tensorrt.kernels import shim

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"


@pytest.fixture
def soft_clip() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soft_clip", PLUGIN / "soft_clip.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("rows", [2, trtnet.Dim("batch", min=1, opt=2, max=8)])
def test_the_plugins_reference_and_composition_are_the_same(soft_clip, rows):
    pytest.importorskip("torch")
    net = soft_clip.Net()
    net.clip.scale = trtnet.nn.Parameter(np.linspace(0.5, 2, 8).astype(np.float32))
    graph = trtnet.record(net, image=Input((rows, 3, 6, 5)))
    composed = graph.for_provider(trtnet.provider.load("tensorrt_rtx")) if lower_and_compare(graph) else graph
    image = np.random.default_rng(0).standard_normal((2, 3, 6, 5))
    found = trtnet.reference(graph, dtype="float64", raw=True)(image)
    np.testing.assert_allclose(found, trtnet.reference(composed, dtype="float64", raw=True)(image), rtol=1e-9)
    conv = trtnet.reference(trtnet.record(net.conv, input=Input((2, 3, 6, 5))), dtype="float64", raw=True)(image)
    scale = np.linspace(0.5, 2, 8).astype(np.float32).reshape(1, 8, 1, 1)
    np.testing.assert_allclose(found, 0.5 * np.tanh(conv * scale / 0.5), rtol=1e-7)


def test_the_example_runs(soft_clip, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(soft_clip, "LIBRARY", Path("nowhere.so"))
    soft_clip.main()
    assert re.search(r"after a refit of clip\.scale to 0: 0\.0000", capsys.readouterr().out)


def test_the_library_builds(tmp_path):
    """By nvcc, for any GPU: where that and TensorRT's headers are."""
    folder = next((one for one in shim._places() if (one / "NvInferRuntime.h").is_file()), None)
    if folder is None or shutil.which("nvcc") is None or shutil.which("cmake") is None:
        pytest.skip("CMake, nvcc and TensorRT's headers are not all installed")
    for command in (
        ["cmake", "-S", str(PLUGIN), "-B", str(tmp_path), f"-DTENSORRT_ROOT={folder.parent}",
         "-DCMAKE_CUDA_ARCHITECTURES=80"],
        ["cmake", "--build", str(tmp_path)],
    ):  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "libsoft_clip.so").exists()
