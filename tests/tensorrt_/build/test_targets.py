"""LeNet compiles for every GPU that TensorRT-RTX knows."""

from __future__ import annotations

import pytest
from harness import needs_rtx

import trtnet
from models.lenet import LeNet

TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")


def lenet(dtype: str = "float32") -> trtnet.Graph:
    batch = trtnet.Dim("batch", min=1, opt=8, max=64)
    return trtnet.record(LeNet().to(dtype), image=trtnet.Input((batch, 1, 28, 28), dtype))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("refit", [False, True])
def test_lenet_compiles(target, refit):
    assert set(TARGETS) <= set(needs_rtx().targets)
    dtype = "float16" if target == "sm75" else "float32"
    plan = trtnet.build_plan(lenet(dtype), [target], refit=refit, optimization_level=0)
    assert bytes(plan).startswith(b"vtrt")
    assert plan.targets == (target,)
    assert plan.stripped is refit


def test_turing_has_no_float32_matrix_multiply():
    needs_rtx()
    with pytest.raises(trtnet.errors.BuildError, match="FP32 GEMM is not supported") as error:
        trtnet.build_plan(lenet(), ["sm75"])
    assert error.value.module == "fc1"
    assert "x = F.relu(self.fc1(x.flatten(1)))" in str(error.value)
