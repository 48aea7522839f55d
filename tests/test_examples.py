"""What lies in examples/ runs without a GPU, and is what TensorRT-RTX compiles."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("script", "missing", "packages"),
    [
        ("examples/cleanrl_ppo.py", "gymnasium", "'trtnet[rl]'"),
        ("examples/cleanrl_ppo.py", "matplotlib", "'trtnet[rl]'"),
        ("examples/cleanrl_sac.py", "torch", "'trtnet[rl]'"),
        ("examples/rllib_engine.py", "ray", "'trtnet[rl]' 'ray[rllib]'"),
        ("examples/stable_baselines3_rollouts.py", "stable_baselines3", "'trtnet[torch]' stable-baselines3"),
        ("examples/torchrl_weight_sync.py", "tensordict", "'trtnet[rl]' torchrl"),
        ("models/train_character_lstm.py", "torch", "'trtnet[torch]'"),
        ("models/train_lenet.py", "sklearn", "'trtnet[demo]'"),
        ("models/train_lenet.py", "torch", "'trtnet[demo]'"),
    ],
)
def test_a_missing_package_is_told_with_what_installs_it(script, missing, packages, tmp_path):
    (tmp_path / f"{missing}.py").write_text("import missing")
    path = os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])))
    run = subprocess.run(
        [sys.executable, ROOT / script], env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    told = f"error: No module named 'missing'\n  remedy:   pip install {packages}\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", told)
    assert f"pip install {packages}" in (ROOT / script).read_text()


def test_a_curve_that_could_not_be_written_is_told_before_anything_is_trained(tmp_path):
    pytest.importorskip("gymnasium")
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / "cleanrl_ppo.py", "--curve", tmp_path / "nowhere" / "ppo.png"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.endswith(f"error: --curve: there is no folder {tmp_path / 'nowhere'}\n")


def test_lenets_training_says_which_file_is_missing(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"")
    run = subprocess.run(
        [sys.executable, ROOT / "models" / "train_lenet.py", "--data", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.endswith(f"error: --data: there is no t10k-labels-idx1-ubyte.gz in {tmp_path}\n")
