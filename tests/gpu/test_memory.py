"""engine.memory on a GPU, against what the driver says is free."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from networks import LEVEL

import trtnet
from trtnet import Input, nn

pytest.importorskip("torch")
MiB = 1 << 20


def taken() -> int:
    """Bytes of the GPU that are not free."""
    import torch

    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


@pytest.mark.alone
@pytest.mark.parametrize("live", [False, True])
def test_the_sum_is_what_the_driver_misses(live: bool) -> None:
    """256 MiB of weights, 64 MiB of arrays; CUDA's and TensorRT's own are there before, by another engine."""
    net = nn.Sequential(nn.Linear(8192, 4096), nn.ReLU(), nn.Linear(4096, 8192))
    graph = trtnet.record(net, input=Input((1024, 8192)))
    x = np.ones((1024, 8192), np.float32)
    weights = sum(value.nbytes for value in graph.state_dict().values())
    warm = trtnet.build(graph, live=live, check=False, **LEVEL)
    warm(x)
    plan = warm.plan
    before = taken()
    with type(warm)(plan, warm.provider) as engine:
        engine(x)
        found, more = engine.memory(), taken() - before
        assert found.contexts == 1
        assert found.buffers == 2 * x.nbytes
        assert found.live == (weights if live else 0)
        assert found.weights is None or live or found.weights == pytest.approx(weights, rel=0.05)
        fixed = found.plan if found.weights is None else found.weights
        known = fixed + found.live + max(found.scratch) + found.buffers
        assert known == pytest.approx(more, rel=0.15, abs=32 * MiB), (found, more)
    gc.collect()
    assert taken() - before < 0.1 * known
    warm.close()
