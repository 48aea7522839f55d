"""What every test shares: Hypothesis profiles, and threads that do not fight over the cores."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# The same examples everywhere, so that a commit which passes here passes there.
# TRTNET_HYPOTHESIS=thorough searches anew, and longer.
common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=25, derandomize=True, **common)
settings.register_profile("thorough", max_examples=500, **common)
settings.load_profile(os.environ.get("TRTNET_HYPOTHESIS", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Under pytest-xdist: share the cores out. OpenMP reads the variable when torch is first imported."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    if not workers:
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
