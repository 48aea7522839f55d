"""Tests here run a TensorRT engine on a CUDA GPU; without one each is skipped and says why.

With TRTNET_REQUIRE_GPU=1 they fail instead: for a machine that is known to have one.
"""

import functools
import os

import pytest


@functools.cache
def missing() -> str | None:
    from trtnet import provider

    return provider.can_execute()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = missing()
    if reason is None:
        return
    if os.environ.get("TRTNET_REQUIRE_GPU") == "1":
        pytest.fail(f"TRTNET_REQUIRE_GPU=1, but {reason}", pytrace=False)
    pytest.skip(reason)
