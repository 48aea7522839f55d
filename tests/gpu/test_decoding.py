"""A cache of keys and values, rotary positions and attention to it on TensorRT, token by token: torch's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, decoded_by_torch, decoding

import trtnet

torch = pytest.importorskip("torch")

TOKENS = np.random.default_rng(0).standard_normal((2, 5, 16)).astype(np.float32)


def compare(found, place, state, dtype):
    wanted = decoded_by_torch(state, TOKENS)[:, place]
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(np.asarray(found)[:, 0].astype(np.float64), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [2, trtnet.Dim("batch", 1, 2, 4)], ids=["static", "dynamic"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_calls_leave_the_cache_as_it_is(batch, dtype):
    graph = decoding(batch, dtype=dtype)
    engine = trtnet.build(graph, **LEVEL)
    keys = values = np.full((2, 2, 6, 8), 7, dtype)
    for place in range(5):
        before = keys.copy()
        y, new, values = engine(TOKENS[:, place : place + 1].astype(dtype), keys, values, np.full(2, place, np.int32))
        assert np.array_equal(keys, before)
        assert np.array_equal(np.delete(np.asarray(new), place, 2), np.delete(before, place, 2))
        keys = np.asarray(new)
        compare(y, place, graph.state_dict(), dtype)


@pytest.mark.parametrize("captured", [False, True])
def test_bound_calls_and_cuda_tensors(captured):
    """The bound caches are written into where TensorRT does so; where not, the results are copied back."""
    graph = decoding(2)
    engine = trtnet.build(graph, **LEVEL)
    x = torch.from_numpy(TOKENS[:, :1]).contiguous().cuda()
    keys, values = (torch.full((2, 2, 6, 8), 7.0, device="cuda") for _ in range(2))
    count = torch.zeros(2, dtype=torch.int32, device="cuda")
    call = engine.bind(x, keys, values, count, graph=captured)
    for place in range(5):
        x.copy_(torch.from_numpy(TOKENS[:, place : place + 1]))
        count.fill_(place)
        by_call = engine(x, keys.clone(), values.clone(), count, graph=captured)[0]
        y, new_keys, new_values = call()
        for buffer, new in ((keys, new_keys), (values, new_values)):
            buffer.copy_(new)
        compare(y.cpu(), place, graph.state_dict(), "float32")
        torch.testing.assert_close(by_call, y, rtol=1e-6, atol=1e-6)
