"""Tests here run a TensorRT engine on a CUDA GPU; without one each is skipped and says why.

With TRTNET_REQUIRE_GPU=1 they fail instead: for a machine that is known to have one. Under pytest-xdist each worker has
one GPU, in turn, and what needs a GPU's memory to itself, or two GPUs, is left to `pytest tests/gpu -m alone`.
"""

import functools
import os

import pytest

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "alone: not beside others: it fills or measures the GPU's memory, or takes two GPUs"
    )
    if WORKER:
        import torch

        count = torch.cuda.device_count()  # asks the driver's library, and does not start CUDA
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
        if count:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(WORKER.removeprefix("gw")) % len(visible)]


@functools.cache
def missing() -> str | None:
    from trtnet import provider

    return provider.can_execute()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = missing()
    if reason is None:
        if WORKER and item.get_closest_marker("alone"):
            pytest.skip("it fills or measures the GPU's memory, or needs two GPUs: pytest tests/gpu -m alone")
        return
    if os.environ.get("TRTNET_REQUIRE_GPU") == "1":
        pytest.fail(f"TRTNET_REQUIRE_GPU=1, but {reason}", pytrace=False)
    pytest.skip(reason)
