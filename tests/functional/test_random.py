"""Random numbers: drawn now outside of a recording, at each call inside one, or given as inputs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from harness import lower_and_compare, needs_rtx

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Dim, Input, nn  # noqa: E402
from trtnet import functional as F  # noqa: E402
from trtnet.engine.graph_json import from_json, to_json  # noqa: E402
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError  # noqa: E402

B = Dim("b", min=1, opt=4, max=9)
X = np.full((4, 3), 0.3, np.float32)


def test_random_numbers() -> None:
    trtnet.manual_seed(1)
    first = [
        trtnet.rand(2, 3),
        trtnet.randn(50),
        trtnet.randint(3, 9, (40,)),
        trtnet.randint(5, (4,)),
        trtnet.randperm(6),
    ]
    trtnet.manual_seed(1)
    second = [
        trtnet.rand(2, 3),
        trtnet.randn(50),
        trtnet.randint(3, 9, (40,)),
        trtnet.randint(5, (4,)),
        trtnet.randperm(6),
    ]
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert [str(a.dtype) for a in first] == ["float32", "float32", "int64", "int64", "int64"]
    assert first[0].shape == (2, 3)
    assert set(first[2].tolist()) <= set(range(3, 9))
    assert sorted(first[4].tolist()) == list(range(6))
    assert trtnet.rand_like(first[1]).shape == (50,)
    assert trtnet.randn_like(first[1], dtype=trtnet.float16).dtype is trtnet.float16
    assert not np.array_equal(trtnet.randn(50).numpy(), trtnet.randn(50).numpy())


def flat(result):
    return list(result) if isinstance(result, tuple) else [result]


DRAWS = {
    "rand": lambda T, x: T.rand(x.shape[0], 3),
    "rand of a size": lambda T, x: T.rand((2, 3), dtype=T.float16),
    "rand without dimensions": lambda T, x: T.rand(()) + T.rand(()),
    "randn": lambda T, x: T.randn(size=(x.shape[0], 2)),
    "randn bfloat16": lambda T, x: T.randn(5, dtype=T.bfloat16),
    "rand_like": lambda T, x: T.rand_like(x),
    "randn_like": lambda T, x: T.randn_like(x, dtype=T.float16),
    "randint": lambda T, x: T.randint(1000, (x.shape[0], 2)),
    "randint from": lambda T, x: T.randint(-500, 700, (3,), dtype=T.int32),
    "randint to a size": lambda T, x: T.randint(0, x.shape[0] * 100, (7,)),
    "randint of floats": lambda T, x: T.randint(2, 900, size=(4,), dtype=T.float32),
    "randint_like": lambda T, x: T.randint_like(x, 1000),
    "randint_like from": lambda T, x: T.randint_like(x, -3, 900, dtype=T.int64),
    "randperm": lambda T, x: T.randperm(40),
    "randperm int32": lambda T, x: T.randperm(30, dtype=T.int32),
    "normal of tensors": lambda T, x: T.normal(x, x[:1].abs() + 1),
    "normal of a mean": lambda T, x: T.normal(x, 0.5),
    "normal of a deviation": lambda T, x: T.normal(2.0, x + 1),
    "normal of numbers": lambda T, x: T.normal(2.0, 3.0, (4, 2)),
    "bernoulli": lambda T, x: T.bernoulli(x.repeat(1, 20)),
    "bernoulli of a number": lambda T, x: T.bernoulli(x.repeat(1, 20), 0.5),
    "bernoulli, the method": lambda T, x: x.repeat(1, 20).bernoulli(),
    "multinomial": lambda T, x: T.multinomial(x.repeat(1, 30), 7),
    "multinomial of one": lambda T, x: T.multinomial(x.repeat(1, 90), 1) + T.multinomial(x.repeat(1, 90), 1),
    "multinomial with replacement": lambda T, x: x.multinomial(20, replacement=True),
    "multinomial of a row": lambda T, x: T.multinomial(x[0].repeat(30), 9),
    "uniform_": lambda T, x: x.clone().uniform_(-2, 3),
    "normal_": lambda T, x: (x * 2).normal_(mean=1.0, std=2.0),
    "normal_ half": lambda T, x: x.half().normal_(),
    "exponential_": lambda T, x: (x * 2).exponential_(0.5),
    "bernoulli_": lambda T, x: x.repeat(1, 20).bernoulli_(),
    "bernoulli_ of a tensor": lambda T, x: x.repeat(1, 20).bernoulli_(x.repeat(1, 20)),
    "bernoulli_ of integers": lambda T, x: x.repeat(1, 20).int().bernoulli_(0.5),
    "random_": lambda T, x: x.clone().random_(1000),
    "random_ from": lambda T, x: x.long().random_(-5, 900),
    "log_normal_": lambda T, x: x.clone().log_normal_(),
    "cauchy_": lambda T, x: x.clone().cauchy_(1.0, 2.0),
    "geometric_": lambda T, x: x.repeat(1, 20).geometric_(0.1),
    "a part": lambda T, x: part_drawn(x.clone()),
    "empty": lambda T, x: T.empty(4, 2).normal_(),
    "empty, by name": lambda T, x: drawn_into(T.zeros(5, 3), lambda y: y.uniform_(-1, 1)),
    "a part of zeros": lambda T, x: drawn_into(T.zeros(5, 3), lambda y: y[1:, 0].exponential_())[1:, 0],
    "new_empty": lambda T, x: x.new_empty(x.shape[0], 2).random_(1000) + 0,
    "full of half": lambda T, x: T.full((3, 7), 0.5).bernoulli_(),
}  # fmt: skip


def drawn_into(x, draw):
    draw(x)
    return x * 1


def part_drawn(x):
    x[1:, 0].normal_()
    return x[1:, 0]


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_drawn_at_each_call_in_torchs_shape_and_type(name, dynamic) -> None:
    graph = trtnet.record(lambda x: DRAWS[name](trtnet, x), x=Input((B if dynamic else 4, 3)))
    assert graph.drawn_outputs() == ["output"]
    assert any(layer.draws for layer in graph.layers)
    engine = trtnet.reference(graph)
    trtnet.manual_seed(5)
    first, second = engine(x=X), engine(x=X)
    assert not np.array_equal(first, second)
    trtnet.manual_seed(5)
    again = trtnet.reference(graph)
    np.testing.assert_array_equal(again(x=X), first)
    np.testing.assert_array_equal(again(x=X), second)
    trtnet.manual_seed(6)
    assert not np.array_equal(engine(x=X), first)
    wanted = DRAWS[name](torch, torch.from_numpy(X))
    assert first.shape == tuple(wanted.shape)
    assert graph.outputs["output"].dtype.torch == wanted.dtype
    lower_and_compare(graph)
    read = from_json(to_json(graph))
    assert read.structure_hash() == graph.structure_hash()
    assert read.drawn_outputs() == ["output"]


@pytest.mark.parametrize("name", DRAWS)
def test_drawn_now_in_torchs_shape_and_type(name) -> None:
    trtnet.manual_seed(5)
    first, second = (DRAWS[name](trtnet, trtnet.tensor(X)) for _ in range(2))
    wanted = DRAWS[name](torch, torch.from_numpy(X))
    assert tuple(first.shape) == tuple(wanted.shape)
    assert first.dtype.torch == wanted.dtype
    assert not np.array_equal(first.numpy(), second.numpy())
    trtnet.manual_seed(5)
    np.testing.assert_array_equal(DRAWS[name](trtnet, trtnet.tensor(X)).numpy(), first.numpy())


COUNT = 200_000


@pytest.mark.parametrize(
    ("draw", "mean", "variance", "low", "high"),
    [
        (lambda T, x: T.rand(COUNT), 0.5, 1 / 12, 0, 1),
        (lambda T, x: T.rand(COUNT, dtype=T.float16).float(), 0.5, 1 / 12, 0, 1),
        (lambda T, x: T.rand(COUNT, dtype=T.bfloat16).float(), 0.5, 1 / 12, 0, 1),
        (lambda T, x: T.randn(COUNT), 0, 1, -math.inf, math.inf),
        (lambda T, x: T.randint(-3, 7, (COUNT,)).float(), 1.5, 99 / 12, -3, 7),
        (lambda T, x: x.expand(COUNT).clone().uniform_(-2, 3), 0.5, 25 / 12, -2, 3.0001),
        (lambda T, x: x.expand(COUNT).clone().normal_(1, 2), 1, 4, -math.inf, math.inf),
        (lambda T, x: x.expand(COUNT).clone().exponential_(0.5), 2, 4, 0, math.inf),
        (lambda T, x: x.expand(COUNT).clone().geometric_(0.25), 4, 12, 1, math.inf),
        (lambda T, x: x.expand(COUNT).clone().bernoulli_(0.25), 0.25, 3 / 16, 0, 1.5),
        (lambda T, x: x.expand(COUNT).clone().log_normal_(0, 0.5).log(), 0, 0.25, -math.inf, math.inf),
        (lambda T, x: T.bernoulli(x.expand(COUNT)), 0.3, 0.21, 0, 1.5),
        (lambda T, x: x.expand(COUNT).clone().random_(2, 6), 3.5, 15 / 12, 2, 6),
        (lambda T, x: T.normal(x.expand(COUNT), 2.0), 0.3, 4, -math.inf, math.inf),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_mean_variance_and_range(draw, mean, variance, low, high, inside) -> None:
    trtnet.manual_seed(1)
    x = np.array([0.3], np.float32)
    if inside:
        found = trtnet.reference(trtnet.record(lambda x: draw(trtnet, x), x=Input((1,))))(x=x)
    else:
        found = draw(trtnet, trtnet.tensor(x)).numpy()
    found = found.astype(np.float64)
    assert found.min() >= low
    assert found.max() < high
    centred = (found - found.mean()) ** 2
    assert abs(found.mean() - mean) < 6 * math.sqrt(variance / COUNT) + 4e-3 * (high == 1)  # bfloat16 has 8 bits
    assert abs(centred.mean() - variance) < 6 * centred.std() / math.sqrt(COUNT) + 4e-3 * (high == 1)


def test_the_median_of_a_cauchy_distribution() -> None:
    graph = trtnet.record(lambda x: x.clone().cauchy_(1.0, 2.0), x=Input((COUNT,)))
    found = trtnet.reference(graph)(x=np.zeros(COUNT, np.float32))
    np.testing.assert_allclose(np.quantile(found, [0.25, 0.5, 0.75]), [-1, 1, 3], atol=0.05)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("inside", [True, False])
def test_multinomial_draws_by_weight(replacement, inside) -> None:
    """All ordered pairs occur as often as drawing one after the other says."""
    weights = np.array([1.0, 0.0, 3.0, 4.0], np.float32)
    rows = np.tile(weights, (50_000, 1))
    trtnet.manual_seed(2)
    if inside:
        graph = trtnet.record(lambda p: trtnet.multinomial(p, 2, replacement), p=Input((B, 4)))
        wide = trtnet.record(lambda p: trtnet.multinomial(p, 2, replacement), p=Input(rows.shape))
        lower_and_compare(graph)
        found = trtnet.reference(wide)(p=rows)
    else:
        found = trtnet.multinomial(trtnet.tensor(rows), 2, replacement).numpy()
    assert found.dtype == np.int64
    assert found.shape == (50_000, 2)
    p = weights / weights.sum()
    for a, b in itertools.product(range(4), repeat=2):
        left = p[b] if replacement else (p[b] / (1 - p[a]) if a != b else 0.0)
        wanted = p[a] * left
        share = ((found[:, 0] == a) & (found[:, 1] == b)).mean()
        assert abs(share - wanted) <= 6 * math.sqrt(wanted * (1 - wanted) / 50_000), (a, b)


def test_permutations_are_permutations() -> None:
    graph = trtnet.record(lambda x: x + trtnet.randperm(50), x=Input((1,), "int64"))
    engine = trtnet.reference(graph)
    seen = [engine(x=np.zeros(1, np.int64)) for _ in range(5)]
    for one in seen:
        assert sorted(one.tolist()) == list(range(50))
    assert len({tuple(one.tolist()) for one in seen}) == 5


def test_a_draw_is_one_draw_however_often_it_is_used() -> None:
    def forward(x):
        noise = trtnet.randn_like(x)
        return x + noise, noise * 2, x + 1, trtnet.randn_like(x)

    graph = trtnet.record(forward, x=Input((B, 3)))
    assert graph.drawn_outputs() == ["output_0", "output_1", "output_3"]
    a, b, _, d = trtnet.reference(graph)(x=X)
    np.testing.assert_allclose((a - X) * 2, b, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(b, d * 2)


def test_the_same_seed_draws_the_same_in_float64_and_in_clones() -> None:
    graph = trtnet.record(lambda x: x * 0 + trtnet.randn_like(x), x=Input((B, 3)))
    engine = trtnet.reference(graph)
    found = []
    for one in (engine, engine.clone(), engine.context(), trtnet.reference(graph, dtype="float64")):
        trtnet.manual_seed(9)
        found.append(one(x=X))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_draws_as_inputs() -> None:
    def forward(x):
        return {
            "uniform": x + trtnet.rand(x.shape[0], 3),
            "normal": x.clone().normal_(1, 2),
            "whole": trtnet.randint(10, 20, (4,)),
            "half": trtnet.rand(4, dtype=trtnet.float16) + 0,
            "chosen": trtnet.multinomial(x, 1),
            "one": trtnet.rand(()),
        }

    graph = trtnet.record(forward, x=Input((B, 3)), draws="inputs")
    shapes = {name: str(tensor.shape) for name, tensor in graph.inputs.items()}
    assert shapes == {
        "x": "(b, 3)", "uniform_0": "(b, 3)", "normal_0": "(b, 3)", "uniform_1": "(4,)", "uniform_2": "(4,)",
        "uniform_3": "(b, 3)", "uniform_4": "()",
    }  # fmt: skip
    assert {str(tensor.dtype) for tensor in graph.inputs.values()} == {"float32"}
    assert graph.drawn_outputs() == []
    assert list(graph.ranges) == [name for name in graph.inputs if name.startswith("uniform")]
    assert not any(layer.draws for layer in graph.layers)
    lower_and_compare(graph)
    rng = np.random.default_rng(0)
    u = {n: rng.random(size=(4, 3) if i in (0, 3) else (4,)).astype(np.float32) for i, n in enumerate(
        ("uniform_0", "uniform_1", "uniform_2", "uniform_3"))}  # fmt: skip
    u["uniform_2"][0] = np.nextafter(np.float32(1), np.float32(0))
    noise = rng.standard_normal((4, 3)).astype(np.float32)
    last = np.float32(0.25)
    found = trtnet.reference(graph)(x=X, normal_0=noise, uniform_4=last, **u)
    np.testing.assert_allclose(found["uniform"], X + u["uniform_0"], rtol=1e-6)
    np.testing.assert_allclose(found["normal"], 1 + 2 * noise, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["whole"], 10 + np.floor(u["uniform_1"] * 10))
    assert found["half"].max() < 1
    np.testing.assert_allclose(found["half"], u["uniform_2"], atol=1e-3)
    gumbel = -np.log(-np.log(u["uniform_3"]))
    np.testing.assert_array_equal(found["chosen"][:, 0], (np.log(X) + gumbel).argmax(1))
    assert found["one"] == last


def test_names_of_draws_that_are_taken() -> None:
    graph = trtnet.record(
        lambda uniform_0: uniform_0 + trtnet.rand(3) + trtnet.rand(3), uniform_0=Input((3,)), draws="inputs"
    )
    assert list(graph.inputs) == ["uniform_0", "uniform_1", "uniform_2"]


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(x) + trtnet.randn_like(x)


def test_a_module_to_train_draws_by_torchs_seed() -> None:
    module = trtnet.to_torch(trtnet.record(Noisy(), x=Input((B, 3))))
    x = torch.from_numpy(X)
    torch.manual_seed(3)
    first, second = module(x), module(x)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(module(x), first)
    first.sum().backward()
    assert module.fc.weight.grad.abs().sum() > 0


def test_initial_values_are_drawn_once() -> None:
    """Parameters are weights, whenever they are drawn: by nn.init, in a module that is made inside forward."""

    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(trtnet.empty(3))
            nn.init.normal_(self.weight)
            self.buffer = nn.Buffer(trtnet.randn(3))

        def forward(self, x):
            return x * self.weight + self.buffer

    graph = trtnet.record(Made(), x=Input((B, 3)))
    assert not any(layer.draws for layer in graph.layers)
    engine = trtnet.reference(graph)
    np.testing.assert_array_equal(engine(x=X), engine(x=X))


def refused(kind, match, function, **options):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, x=Input((B, 3)), **options)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return caught.value


def test_what_cannot_be_drawn_names_a_way_that_works() -> None:
    generator = trtnet.Generator().manual_seed(0)
    error = refused(UnsupportedError, "cannot come from a generator", lambda x: trtnet.rand(3, generator=generator) + x)
    assert 'draws="inputs"' in error.remedy
    for draw in (
        lambda x: trtnet.rand(3, generator=generator) + x,
        lambda x: trtnet.multinomial(x, 1, generator=generator),
        lambda x: x.clone().normal_(generator=generator),
        lambda x: trtnet.bernoulli(x, generator=generator),
    ):
        refused(UnsupportedError, "cannot come from a generator", draw)
        assert len(trtnet.record(draw, x=Input((B, 3)), draws="inputs").inputs) == 2

    error = refused(UnsupportedError, "random numbers have 24 bits", lambda x: trtnet.randint(2**25, (3,)))
    assert "two draws" in error.remedy
    graph = trtnet.record(
        lambda x: trtnet.randint(2**10, (3,)) * 2**15 + trtnet.randint(2**15, (3,)) + x.long()[0], x=Input((B, 3))
    )
    assert trtnet.reference(graph)(x=X).min() >= 0
    error = refused(UnsupportedError, "needs its upper end", lambda x: x.random_())
    assert "random_(16777216)" in error.remedy
    trtnet.record(lambda x: x.clone().random_(16777216), x=Input((B, 3)))
    for name in ("poisson", "binomial"):
        error = refused(UnsupportedError, f"{name}: TensorRT draws", lambda x, name=name: getattr(trtnet, name)(x))
        assert "record(module, noise=Input(shape))" in error.remedy
    refused(UnsupportedError, "3840", lambda x: trtnet.randperm(5000))
    error = refused(
        UnsupportedError,
        "that the data decides cannot be an input",
        lambda x: x[x > 0] + trtnet.rand_like(x[x > 0]),
        draws="inputs",
    )
    assert "take a part" in error.remedy


def test_wrong_arguments() -> None:
    refused(DtypeError, "rand draws floating-point", lambda x: trtnet.rand(3, dtype=trtnet.int64))
    refused(DtypeError, "normal_ draws floating-point", lambda x: x.long().normal_())
    refused(DtypeError, "TensorRT has no float64", lambda x: trtnet.rand(3, dtype=trtnet.float64))
    refused(DtypeError, "takes floating-point weights", lambda x: trtnet.multinomial(x.long(), 1))
    refused(ShapeError, "one or two dimensions", lambda x: trtnet.multinomial(x[None], 1))
    refused(ShapeError, "negative", lambda x: trtnet.rand(-3))
    refused(ArgumentError, "more samples than there are weights", lambda x: trtnet.multinomial(x, 4))
    refused(ArgumentError, "one sample or more", lambda x: trtnet.multinomial(x, 0))
    refused(ArgumentError, "upper end must be above", lambda x: trtnet.randint(3, 3, (2,)))
    refused(ArgumentError, "probability is between", lambda x: x.bernoulli_(1.5))
    refused(ArgumentError, "not negative", lambda x: x.normal_(0, -1))
    refused(ArgumentError, "below the lower", lambda x: x.uniform_(1, 0))
    refused(ArgumentTypeError, "a size", lambda x: trtnet.normal(0.0, 1.0))
    refused(ArgumentError, "draws= says what", lambda x: x + 1, draws="layer")
    refused(ArgumentError, "draws= says what", lambda x, draws: x + draws, draws=Input((3,)))
    with pytest.raises(ArgumentTypeError, match="outside its recording"):
        trtnet.rand(B, 3)
    for bad in ([[0.0, 0.0]], [[1.0, -1.0]], [[1.0, math.nan]]):
        with pytest.raises(ArgumentError, match="no weights to draw from"):
            trtnet.multinomial(trtnet.tensor(bad), 1)


def test_a_parameter_of_the_network_is_not_drawn_again() -> None:
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(trtnet.ones(3))

        def forward(self, x):
            self.weight.data.normal_()
            return x * self.weight

    with pytest.raises(UnsupportedError, match="a parameter cannot be changed in forward"):
        trtnet.record(Wrong(), x=Input((B, 3)))


def test_dropout_stays_the_identity() -> None:
    graph = trtnet.record(lambda x: F.dropout(x, 0.5, training=False) + 1, x=Input((B, 3)))
    assert not any(layer.draws for layer in graph.layers)


@pytest.mark.parametrize("draw", [trtnet.rand, trtnet.randn])
def test_a_plan_holds_no_numbers_that_were_drawn_beforehand(draw) -> None:
    """A million float32 would be 4 MB of the plan, as they are where they are constants."""
    needs_rtx()
    numbers = trtnet.tensor(np.random.default_rng(0).normal(size=1_000_000).astype(np.float32))
    drawn, constant = (
        len(bytes(trtnet.build_plan(trtnet.record(make, x=Input((1,))), targets=["sm86"])))
        for make in (lambda x: x + draw(1_000_000), lambda x: x + numbers)
    )
    assert constant > 3_000_000
    assert drawn < 1_000_000


# --- TensorRT 8.6, which draws once where it fuses a draw with others


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("rows", [4, Dim("rows", min=1, opt=4, max=8)])
def test_a_pooling_keeps_a_draw_apart(monkeypatch, rows, refit) -> None:
    found = needs_rtx()
    graph = trtnet.record(
        lambda x: (trtnet.rand(x.shape[0], 3) < 0.25, trtnet.randint(5, (6,)), trtnet.randn(()) * 2,
                   x + trtnet.randn_like(x), trtnet.multinomial(x.abs() + 1, 1), trtnet.rand(2, x.shape[0], 2, 5)),
        x=Input((rows, 2)),
    )  # fmt: skip
    assert graph.for_provider(found, refit) is graph
    monkeypatch.setattr(found, "draws_anew", False)
    lowered = graph.for_provider(found, refit)
    fills = [layer for layer in lowered.layers if layer.draws]
    assert len(fills) == 6
    for fill in fills:
        reached = set(fill.outputs)
        behind = [layer for layer in lowered.layers if not reached.isdisjoint(layer.inputs)]
        while [layer.kind for layer in behind] == ["shuffle"]:
            reached = set(behind[0].outputs)
            behind = [layer for layer in lowered.layers if not reached.isdisjoint(layer.inputs)]
        assert [layer.kind for layer in behind] == ["pooling"]
    lower_and_compare(lowered)
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
    results = []
    for one in (graph, lowered):
        trtnet.manual_seed(0)
        results.append(trtnet.reference(one)(x))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))
