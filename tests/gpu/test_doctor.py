"""`trtnet doctor` on a GPU: what the driver and nvidia-smi say."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from trtnet.cli import doctor
from trtnet.tensorrt.device import loads_lazily


@pytest.mark.parametrize("mode", ["LAZY", "EAGER"])
def test_how_kernels_are_loaded(mode: str) -> None:
    if loads_lazily() is None:
        pytest.skip("this driver does not say how it loads kernels (before CUDA 11.7)")
    code = "from trtnet.tensorrt.device import loads_lazily; print(loads_lazily())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"CUDA_MODULE_LOADING": mode}, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == (str(mode == "LAZY"), 0), done.stderr


def test_the_gpu_is_told() -> None:
    found = [fact.found for fact in doctor.inspect_machine().machine if fact.name == "GPU"]
    assert found
    assert all(", sm" in text for text in found), found
