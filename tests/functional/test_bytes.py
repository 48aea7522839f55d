"""uint8 inside a network: torch's numbers, as recorded and as lowered, where int32 is in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from harness import lower_and_compare, rtx

import trtnet
from trtnet import Dim, Input

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (2, 3, 4)).astype(np.uint8)
WHOLE = RNG.integers(-1000, 1000, (2, 3, 4)).astype(np.int32)
FLOAT = (RNG.random((2, 3, 4)) * 255).astype(np.float32)
BATCH = Dim("batch", min=1, opt=2, max=4)

FUNCTIONS: dict[str, Any] = {
    "casts": lambda m, u, i, f: (i.to(m.uint8), i.long().byte(), f.byte(), (f > 9).byte(), u.to(m.int8), u.to(m.bool)),
    "casts inside": lambda m, u, i, f: (i.byte().float() / 2, f.byte() + 1.5, i.char().byte().int(), i.byte().char()),
    "sums": lambda m, u, i, f: (u + u, u - 100, u * u, u * 3, 7 - u, u + 300, -u, u * -1),
    "divisions": lambda m, u, i, f: (u // 3, u % 7, u / 255, u / 2.0, u // (u * 0 + 5)),
    "comparisons": lambda m, u, i, f: (u > 100, u == 300, u >= -1, u < u.flip(0), u != 7, (u > 9) * u),
    "moves": lambda m, u, i, f: (u.flatten(), u.permute(2, 0, 1), u[:, 1:], u[:, [2, 0]], m.cat([u, i.byte()])),
    "choices": lambda m, u, i, f: (m.where(u > 9, u, 7 - u), u.masked_fill(u > 9, 3), u.maximum(~u), u.clamp(5, 90)),
    "reductions": lambda m, u, i, f: (u.sum(1), u.amax(1), u.min(), u.max(1).values, u.any(), u.float().mean()),
    "reductions to bytes": lambda m, u, i, f: tuple(
        one
        for made in (m.sum(u, 1, dtype=m.uint8), m.prod(u, 2, dtype=m.uint8), m.cumsum(u, 1, dtype=m.uint8))
        for one in (made, made.float() / 2, made > 60)
    ),
    "bits": lambda m, u, i, f: (u & 15, u | 3, u ^ u.flip(1), ~u, u << 3, u >> 2),
    "itself": lambda m, u, i, f: (u, u.clone(), u.clone() + 1, u.float()),
    "constants": lambda m, u, i, f: (u + m.tensor([1, 2, 250, 255], dtype=m.uint8), m.tensor([9, 255], dtype=m.uint8)),
    "in place": lambda m, u, i, f: in_place(u),
}  # fmt: skip


def in_place(u: Any) -> Any:
    u = u * 1
    u[:, 0] = 7
    u += 250
    v = u.permute(1, 0, 2)
    v *= 2
    return u


@pytest.mark.parametrize("batch", [2, BATCH], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bytes(name: str, batch: Any) -> None:
    function = FUNCTIONS[name]
    wanted = function(torch, *(torch.from_numpy(a.copy()) for a in (IMAGE, WHOLE, FLOAT)))
    specs = {n: Input((batch, 3, 4), str(a.dtype)) for n, a in zip("uif", (IMAGE, WHOLE, FLOAT))}
    graph = trtnet.record(lambda u, i, f: function(trtnet, u, i, f), **specs)
    lowering = lower_and_compare(graph)
    for one in (graph, lowering.graph if lowering else graph):
        found = trtnet.reference(one)(IMAGE, WHOLE, FLOAT)
        found, expected = (r if isinstance(r, tuple) else (r,) for r in (found, wanted))
        for number, (mine, torchs) in enumerate(zip(found, expected, strict=True)):
            assert mine.dtype == torchs.numpy().dtype, number
            np.testing.assert_allclose(mine, torchs.numpy(), rtol=1e-6, err_msg=f"output {number}")


def test_an_image_that_is_scaled_costs_one_cast() -> None:
    graph = trtnet.record(lambda u: u.float() / 255, u=Input((2, 3), "uint8"))
    found = rtx()
    if found is not None:
        assert graph.for_provider(found) is graph


@pytest.mark.parametrize("batch", [9, Dim("batch", min=1, opt=9, max=12)])
def test_shifts_of_bytes_past_their_bits(batch) -> None:
    """By a number, by a tensor of bytes, and by a concrete one; all eight bits fall away."""
    x = np.array([249, 128, 255, 1, 0, 200, 255, 129, 64], np.uint8)
    by = np.array([249, 8, 7, 9, 8, 1, 0, 7, 6], np.uint8)

    def program(T, x, y):
        constant = T.tensor(200, dtype=T.uint8)
        return x >> y, x << y, x >> 8, x >> 7, x << 8, constant >> 8, T.bitwise_right_shift(x, y)

    wanted = program(torch, torch.from_numpy(x), torch.from_numpy(by))
    graph = trtnet.record(
        lambda x, y: program(trtnet, x, y)[:5], x=Input((batch,), "uint8"), y=Input((batch,), "uint8")
    )
    for found, theirs in zip(trtnet.reference(graph)(x=x, y=by), wanted):
        np.testing.assert_array_equal(found, theirs.numpy())
    for found, theirs in zip(program(trtnet, trtnet.tensor(x), trtnet.tensor(by)), wanted, strict=True):
        np.testing.assert_array_equal(found.numpy(), theirs.numpy())
