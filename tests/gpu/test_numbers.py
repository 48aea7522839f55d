"""Numbers that TensorRT's kernels might round, contract, flush or lose: torch's values, from an engine."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, flat
from quotients import compare, pairs

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.nn.attention import SDPBackend, sdpa_kernel

torch = pytest.importorskip("torch")

QUICK = {**LEVEL, "check": False}
"""Here the comparison with torch is the test."""
COUNT = 200_000
DIVISORS = (1.0, -4.0, 0.5, 3.0, -3.0, 0.1, 2 * np.pi, 1e-30, 1e38)


@pytest.mark.parametrize("level", [0, 3])
def test_remainders_are_torchs_to_the_bit(level):
    """By two tensors and by numbers, beside multiples too, for quotients up to 2^33; level 3 fuses and contracts."""
    a, b = pairs(COUNT)
    rows = {f"number_{at}": pairs(COUNT // 8, divisor, seed=at)[0] for at, divisor in enumerate(DIVISORS)}

    def call(x, y, **given):
        found = {"remainder": x % y, "fmod": trtnet.fmod(x, y), "floor_divide": x // y}
        for at, divisor in enumerate(DIVISORS):
            row = given[f"number_{at}"]
            found[f"remainder_{at}"] = row % divisor
            if at % 3 == 0 or level == 0:
                found[f"fmod_{at}"] = trtnet.fmod(row, divisor)
        return found

    specs = {name: Input(array.shape) for name, array in {"x": a, "y": b, **rows}.items()}
    graph = trtnet.record(call, **specs)
    engine = trtnet.build(graph, **{**QUICK, "optimization_level": level})
    found = engine(x=a, y=b, **rows)
    for name, array in found.items():
        kind, _, at = name.partition("_") if name != "floor_divide" else (name, "", "")
        if at:
            row = rows[f"number_{at}"]
            compare(kind, array, row, np.full(row.shape, DIVISORS[int(at)], np.float32))
        else:
            compare(name, array, a, b)


def test_remainders_in_half_precision():
    generator = np.random.default_rng(0)
    a, b = (generator.normal(0, 10, 4000).astype(np.float16) for _ in range(2))
    b[b == 0] = 1
    usable = np.abs(b) > 6.2e-5
    graph = trtnet.record(
        lambda x, y: (x % y, trtnet.fmod(x, y)), x=Input((4000,), "float16"), y=Input((4000,), "float16")
    )
    for mine, function in zip(trtnet.build(graph, **QUICK)(a, b), (torch.remainder, torch.fmod), strict=True):
        theirs = function(torch.from_numpy(a), torch.from_numpy(b)).numpy()
        assert np.array_equal(np.asarray(mine)[usable & (theirs != 0)], theirs[usable & (theirs != 0)])


MASK = np.array([[True, True, False], [False, False, False], [True, False, True]])


ATTENTION = {
    "bool": lambda f, T, q, mask, added: f.scaled_dot_product_attention(q, q, q, mask),
    "added": lambda f, T, q, mask, added: f.scaled_dot_product_attention(q, q, q, added),
    "half": lambda f, T, q, mask, added: f.scaled_dot_product_attention(*[q.to(T.float16)] * 3, added.to(T.float16)),
    "causal": lambda f, T, q, mask, added: f.scaled_dot_product_attention(q, q, q, is_causal=True),
    "all": lambda f, T, **given: tuple(ATTENTION[name](f, T, **given) for name in ("bool", "added", "causal")),
}


@pytest.mark.parametrize("batch", [2, Dim("batch", 1, 2, 4)], ids=["static", "dynamic"])
@pytest.mark.parametrize(("name", "backend"), [*((name, "MATH") for name in ATTENTION), ("all", "FLASH_ATTENTION")])
def test_rows_that_are_masked_entirely(name, backend, batch):
    q = np.random.default_rng(0).normal(size=(2, 4, 3, 8)).astype(np.float32)
    added, call = np.where(MASK, np.float32(0.5), np.float32(-np.inf)), ATTENTION[name]
    with sdpa_kernel(SDPBackend[backend]):
        graph = trtnet.record(
            lambda **given: call(F, trtnet, **given),
            q=Input((batch, 4, 3, 8)),
            mask=Input((3, 3), "bool"),
            added=Input((3, 3)),
        )
    assert ("attention" in [layer.kind for layer in graph.layers]) == (backend != "MATH")
    found = trtnet.build(graph, **{**QUICK, "optimization_level": 2})(q=q, mask=MASK, added=added)
    wanted = call(
        torch.nn.functional, torch, q=torch.from_numpy(q), mask=torch.from_numpy(MASK), added=torch.from_numpy(added)
    )
    for mine, theirs in zip(flat(found), flat(wanted), strict=True):
        mine, tolerance = np.asarray(mine).astype(np.float32), 1e-5 if mine.dtype != np.float16 else 5e-3
        np.testing.assert_allclose(mine, theirs.float().numpy(), rtol=tolerance, atol=tolerance)
    if name == "bool":
        assert not np.asarray(found)[:, :, 1].any()


@pytest.mark.parametrize("rows", [3, Dim("rows", 1, 3, 6)], ids=["static", "dynamic"])
def test_negative_indices(rows):
    x = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    i, j = np.array([-1, 0, -3], np.int64), np.array([3, -4, -1], np.int64)

    def call(T, x, i, j):
        written = x * 1
        written[i[:2], j[:2]] = 7.0
        columns = x * 1
        columns[:, j] = -1.0
        return (
            x[i], x[:, j], x[i, j], x[i[0]], T.take(x, i * 8 + 1), T.take_along_dim(x, i.reshape(3, 1, 1), 0),
            x[..., i // 3], written, columns, x[T.argmax(x[:, 0], 0)],
        )  # fmt: skip

    specs = {"x": Input((rows, 4, 2)), "i": Input((3,), "int64"), "j": Input((3,), "int64")}
    graph = trtnet.record(lambda **given: call(trtnet, **given), **specs)
    found = trtnet.build(graph, **QUICK)(x=x, i=i, j=j)
    for mine, theirs in zip(found, call(torch, *map(torch.from_numpy, (x, i, j))), strict=True):
        assert np.array_equal(np.asarray(mine), theirs.numpy())


VALUES = np.array(
    [np.nan, np.inf, -np.inf, 0, -0.0, 1e-30, -1e-30, 1e-7, -1e-7, 3e-5, 1e-3, 0.2499, -0.2499, 0.3, -0.3, 0.36, -0.36,
     0.5, -0.5, 1, -1, 1.5, 2.5, -2.5, 5.5, 8, -8, 30, -30, 1e4, 1e10, -1e10, 3e38],
    np.float32,
)  # fmt: skip
BINARY = ("atan2", "hypot", "logaddexp", "xlogy")
UNARY = ("expm1", "log1p", "erfc", "sinc")


def test_what_is_no_number_and_what_is_small():
    x, y = (v.reshape(-1) for v in np.meshgrid(VALUES, VALUES))

    def call(T, x, y):
        return {n: getattr(T, n)(x) for n in UNARY} | {n: getattr(T, n)(x, y) for n in BINARY} | {
            "searchsorted": T.searchsorted(T.tensor([-1.0, 0.0, 2.5]), x)
        }  # fmt: skip

    graph = trtnet.record(lambda **given: call(trtnet, **given), x=Input(x.shape), y=Input(y.shape))
    found = trtnet.build(graph, **{**QUICK, "optimization_level": 3})(x=x, y=y)
    wanted = call(torch, torch.from_numpy(x), torch.from_numpy(y))
    wrong = {}
    for name, theirs in wanted.items():
        rtol = 2e-5 if name == "sinc" else 5e-6
        absolute = 1e-6 if name == "sinc" else 2e-38  # sines of large angles; subnormal results may be flushed
        theirs, mine = theirs.numpy(), np.asarray(found[name])
        usable = (np.abs(x) < 100) | ~np.isfinite(x) if name == "sinc" else np.ones(x.shape, bool)
        at = np.flatnonzero(usable & ~np.isclose(mine, theirs, rtol=rtol, atol=absolute, equal_nan=True))
        if at.size:
            wrong[name] = [(x[i], y[i], mine[i], theirs[i]) for i in at[:8]]
    assert wrong == {}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_with_a_hole(value):
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype(np.float32)
    x[1, 2, 3, 4] = value

    def call(f, x):
        columns = f.unfold(x, 3, padding=1, stride=(1, 2))
        return (
            f.interpolate(x, size=(4, 3), mode="area"), f.interpolate(x, size=(3, 5), mode="area"),
            f.interpolate(x, scale_factor=1.3, mode="bilinear"), f.interpolate(x, scale_factor=1.05, mode="nearest"),
            f.interpolate(x, size=(4, 4), mode="bilinear", antialias=True), columns,
            f.fold(columns, (8, 9), 3, padding=1, stride=(1, 2)),
        )  # fmt: skip

    graph = trtnet.record(lambda x: call(F, x), x=Input(x.shape))
    found = trtnet.build(graph, **QUICK)(x)
    for at, (mine, theirs) in enumerate(zip(found, call(torch.nn.functional, torch.from_numpy(x)), strict=True)):
        np.testing.assert_allclose(np.asarray(mine), theirs.numpy(), rtol=1e-5, atol=1e-5, err_msg=f"output {at}")
