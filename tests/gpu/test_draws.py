"""Random numbers inside a network: TensorRT draws them at each call, as they should be distributed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from networks import LEVEL

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet.errors import ProviderError
from trtnet.graph.recorder import emit
from trtnet.layers.generation import Fill

torch = pytest.importorskip("torch")

ROWS = Dim("rows", min=1, opt=1000, max=1000)
COUNT = 1_000_000


def drawn(x):
    """Uniform, normal and whole numbers: of a dynamic size, of a fixed one, and in half precision."""
    return {
        "uniform": x + trtnet.rand(x.shape[0], 1000),
        "normal": x + trtnet.randn_like(x),
        "whole": trtnet.randint(-3, 7, (x.shape[0], 1000), dtype=trtnet.int32),
        "fixed": trtnet.rand(4, 250),
        "normal_fixed": trtnet.randn(1000),
        "half": trtnet.rand(1000, 1000, dtype=trtnet.float16),
        "one": trtnet.rand(()),
    }


def built():
    return trtnet.build(trtnet.record(drawn, x=Input((ROWS, 1000))), **LEVEL)


@pytest.fixture(scope="module")
def engine():
    return built()


def zeros(rows):
    return torch.zeros(rows, 1000, device="cuda")


def copied(result):
    return {name: value.float().cpu().numpy().copy() for name, value in result.items()}


def all_differ(results):
    for a, b in itertools.combinations(results, 2):
        for name in a:
            assert not np.array_equal(a[name], b[name]), name


def test_calls_differ(engine):
    all_differ([copied(engine(zeros(rows))) for rows in (7, 7, 7)])
    all_differ([copied({k: torch.from_numpy(np.asarray(v)) for k, v in engine(x).items()})
                for x in (np.zeros((5, 1000), np.float32),) * 2])  # fmt: skip


def test_a_second_context_would_draw_the_same_and_is_refused(engine):
    x, refused = zeros(6), "two execution contexts would draw the same random numbers"
    engine(x)
    for further in (engine.context, lambda: engine.bind(x), lambda: engine(x, graph=True)):
        with pytest.raises(ProviderError, match=refused) as caught:
            further()
        assert 'record(..., draws="inputs")' in caught.value.remedy
    with pytest.raises(ProviderError, match="a clone would draw the same"):
        trtnet.HotSwap(engine)
    with built() as other:
        first, second = other.context(), other.context()
        all_differ([copied(first(x)), copied(first(x))])
        for call in (second, other):
            with pytest.raises(ProviderError, match=refused):
                call(x)
        first.close()
        copied(second(x))


def test_two_engines_draw_the_same():
    """What the documentation says of TensorRT 8.6: should this fail, contexts need not be refused."""
    x = zeros(6)
    with built() as one, built() as other:
        for a, b in zip(copied(one(x)).values(), copied(other(x)).values(), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("graph", [False, True])
def test_bound_calls_and_replayed_graphs_differ(graph):
    with built() as engine:
        bound = engine.bind(zeros(6), graph=graph)
        results = []
        for _ in range(4):
            result = bound()
            torch.cuda.synchronize()
            results.append(copied(result))
        all_differ(results)


def test_draws_within_one_call_differ():
    """Two layers of one kind and size are two draws."""
    graph = trtnet.record(
        lambda x: (x + trtnet.rand(5000), x + trtnet.rand(5000), x + trtnet.randn(5000), x + trtnet.randn(5000)),
        x=Input((1,)),
    )
    with trtnet.build(graph, **LEVEL) as engine:
        results = [r.cpu().numpy() for r in engine(torch.zeros(1, device="cuda"))]
    for a, b in itertools.combinations(results, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 6 / math.sqrt(5000)


def moments(values, mean, variance, fourth, slack=0.0):
    """Mean and variance within six standard errors. `fourth`: the fourth central moment."""
    values = np.asarray(values, np.float64).reshape(-1)
    assert abs(values.mean() - mean) < 6 * math.sqrt(variance / values.size) + slack
    assert abs(values.var() - variance) < 6 * math.sqrt((fourth - variance**2) / values.size) + slack


def test_mean_and_variance_of_a_million(engine):
    found = copied(engine(zeros(1000)))
    assert found["uniform"].size == COUNT
    moments(found["uniform"], 0.5, 1 / 12, 1 / 80)
    moments(found["half"], 0.5, 1 / 12, 1 / 80, 3e-4)  # rounded to 2**-11
    moments(found["normal"], 0.0, 1.0, 3.0)
    moments(found["whole"], 1.5, 99 / 12, 120.8625)
    share = np.bincount(found["whole"].astype(np.int64).reshape(-1) + 3, minlength=10) / COUNT
    assert share.size == 10
    assert np.abs(share - 0.1).max() < 6 * math.sqrt(0.09 / COUNT)
    for name in ("uniform", "half", "fixed", "one"):
        assert found[name].min() >= 0
        assert found[name].max() < 1
    neighbours = np.corrcoef(found["normal"].reshape(-1)[:-1], found["normal"].reshape(-1)[1:])[0, 1]
    assert abs(neighbours) < 6 / math.sqrt(COUNT)


def test_the_upper_end_of_rand():
    """2**28 numbers, of which CUDA's own generator would give about 8 that are 1."""
    size = (2**10, 2**14)
    graph = trtnet.record(
        lambda x: {
            "largest": x + trtnet.rand(size).amax(),
            "smallest": x + trtnet.rand(size).amin(),
            "half": x + trtnet.rand(size, dtype=trtnet.float16).amax().float(),
            "raw": x + emit(Fill((), size, "RANDOM_UNIFORM", dtypes.float32, 0.0, 1.0)).amax(),
        },
        x=Input((1,)),
    )
    with trtnet.build(graph, **LEVEL) as engine:
        found = [copied(engine(torch.zeros(1, device="cuda"))) for _ in range(16)]
    for one in found:
        assert 0.999 < one["largest"] < 1
        assert 0.999 < one["half"] < 1
        assert 0 <= one["smallest"] < 1e-4
        assert 0.999 < one["raw"] <= 1


def test_multinomial_draws_by_weight():
    weights = np.array([1.0, 0.0, 3.0, 4.0], np.float32)
    rows = torch.from_numpy(np.tile(weights, (100_000, 1))).cuda()
    graph = trtnet.record(
        lambda p: (trtnet.multinomial(p, 1), trtnet.multinomial(p, 2), trtnet.multinomial(p, 3, replacement=True)),
        p=Input((Dim("b", min=1, opt=100_000, max=100_000), 4)),
    )
    with trtnet.build(graph, **LEVEL) as engine:
        one, two, three = (r.cpu().numpy() for r in engine(rows))
    p = weights / 8
    for column in (one[:, 0], two[:, 0], *three.T):
        share = np.bincount(column.astype(np.int64), minlength=4) / len(column)
        assert np.all(np.abs(share - p) <= 6 * np.sqrt(p * (1 - p) / len(column)))
    for a, b in itertools.product(range(4), repeat=2):
        wanted = 0.0 if a == b else p[a] * p[b] / (1 - p[a])
        share = ((two[:, 0] == a) & (two[:, 1] == b)).mean()
        assert abs(share - wanted) <= 6 * math.sqrt(wanted * (1 - wanted) / len(two))


def test_half_precision_network():
    """A network in FP16 that adds noise; the noise is drawn in float32 and rounded."""
    graph = trtnet.record(
        lambda x: (x + trtnet.randn_like(x), x.clone().uniform_(-1, 1), x.clone().bernoulli_(0.25)),
        x=Input((ROWS, 1000), "float16"),
    )
    with trtnet.build(graph, **LEVEL) as engine:
        x = torch.zeros(1000, 1000, dtype=torch.float16, device="cuda")
        first, second = ([r.float().cpu().numpy() for r in engine(x)] for _ in range(2))
    for a, b in zip(first, second):
        assert not np.array_equal(a, b)
    moments(first[0], 0.0, 1.0, 3.0, 1e-3)
    moments(first[1], 0.0, 1 / 3, 1 / 5, 1e-3)
    moments(first[2], 0.25, 3 / 16, 0.25 * 0.75**4 + 0.75 * 0.25**4)


NOT_MOVED_BY_DATA = {
    "bernoulli": lambda x: x.clone().bernoulli_(0.25),
    "scaled": lambda x: trtnet.rand(x.shape[0], 1000) * 2.0 - 1.0,
    "beside a mask": lambda x: (x + trtnet.randn_like(x), x.clone().uniform_(-1, 1), x.clone().bernoulli_(0.25)),
    "whole": lambda x: (trtnet.randint(0, 9, (1000,)), trtnet.rand(1000) < 0.5),
    "sampled": lambda x: (trtnet.multinomial(trtnet.ones(50, 9), 1), trtnet.randperm(500)),
    "dropped": lambda x: (x + 1) * (trtnet.rand(x.shape[0], 1000) < 0.5).to(x.dtype),
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("batch", [1000, ROWS], ids=["static", "dynamic"])
@pytest.mark.parametrize("level", [0, 3])
def test_what_is_computed_of_draws_and_constants_alone_differs(level, batch, dtype):
    """8.6 computed `rand(n) < 0.25` once for all calls, before a pooling kept draws apart."""
    for name, call in NOT_MOVED_BY_DATA.items():
        graph = trtnet.record(call, x=Input((batch, 1000), dtype))
        with trtnet.build(graph, provider="tensorrt", optimization_level=level, check=False) as engine:
            x = torch.zeros(1000, 1000, dtype=getattr(torch, dtype), device="cuda")
            results = [engine(x) for _ in range(3)]
            results = [r if isinstance(r, tuple) else (r,) for r in results]
            all_differ([copied({f"{name} {i}": v for i, v in enumerate(r)}) for r in results])


def test_draws_as_inputs_equal_the_reference():
    graph = trtnet.record(drawn, x=Input((ROWS, 1000)), draws="inputs")
    rng = np.random.default_rng(0)
    given = {"x": np.zeros((20, 1000), np.float32)}
    for name, tensor in list(graph.inputs.items())[1:]:
        shape = [s if isinstance(s, int) else 20 for s in tensor.shape]
        draw = rng.standard_normal if name.startswith("normal") else rng.random
        given[name] = np.asarray(draw(size=shape), np.float32)
    wanted = trtnet.reference(graph)(**given)
    with trtnet.build(graph, **LEVEL) as engine:
        found = engine(**given)
        again = engine(**given)
    for name, value in found.items():
        np.testing.assert_allclose(np.asarray(value, np.float64), np.asarray(wanted[name], np.float64), rtol=1e-3)
        np.testing.assert_array_equal(value, again[name])
