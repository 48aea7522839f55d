"""Engines that TensorRT built, compared with the reference as every build does; and each kind of weights refitted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cases import CASES, randomize
from networks import LEVEL, any_batch, close, convolutions, policy, same
from random_networks import network

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.engine.graph_json import kinds as layer_kinds
from trtnet.errors import BuildError
from trtnet.layers.activation import Activation
from trtnet.pytorch import checking
from trtnet.pytorch.engine import ReferenceEngine

torch = pytest.importorskip("torch")


def right(engine, weights=("as built",)):
    """The figures of an engine that passed."""
    figures = engine.checked
    assert figures.passed, str(figures)
    assert {row.output for row in figures.rows} == {spec.name for spec in engine.outputs}
    assert {row.weights for row in figures.rows} == set(weights)
    assert figures.unchecked == {}
    assert all(row.error <= row.allowed for row in figures.rows)
    assert figures.seconds > 0
    assert figures.device == ("cuda:0" if torch.cuda.is_available() else "cpu")
    return figures


BOTH = ("as built", "after a refit")


# --- right engines pass -----------------------------------------------------------------------------------------------


def test_a_right_engine_passes_with_figures(tmp_path):
    graph = convolutions()
    engine = trtnet.build(graph, **LEVEL)
    figures = right(engine)
    assert engine.plan.manifest["checked"] == figures.plain()
    with trtnet.load(engine.save(tmp_path / "net.fp32.engine")) as again:
        assert str(again.checked) == str(figures)
    assert json.loads((tmp_path / "net.fp32.engine.json").read_text())["checked"]["device"] == figures.device
    assert str(engine.clone().checked) == str(figures)
    assert trtnet.build(graph, check=False, **LEVEL).checked is None
    assert not trtnet.diverges(graph, **LEVEL)


@pytest.mark.parametrize("options", [{"refit": True}, {"live": True}, {"refit": "conv.*", "live": "fc.*"}])
def test_a_refittable_engine_is_as_before(options):
    graph = convolutions()
    engine = trtnet.build(graph, **options, **LEVEL)
    right(engine, BOTH)
    assert engine.generation == 0
    assert engine._present_plan().data == engine.plan.data, "nothing was written to it, for all that a file would say"
    other = trtnet.build(graph, check=False, **options, **LEVEL)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    close(engine(x), trtnet.reference(graph, dtype="float64")(x))
    before, after = other.parameters(), engine.parameters()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_weights_are_put_back_bit_for_bit():
    graph = policy()
    engine = trtnet.build(graph, refit=True, check=False, **LEVEL)
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    before = engine(x)
    figures, wrong = checking.check(engine, graph, ordinal=0)
    assert wrong is None
    assert {row.weights for row in figures.rows} == set(BOTH)
    assert same(engine(x), before)
    assert engine.generation == 0


def test_every_profile():
    profiles = [{"batch": (1, 1, 1)}, {"batch": (2, 8, 64)}]
    engine = trtnet.build(policy(any_batch()), profiles=profiles, **LEVEL)
    assert [row.sizes for row in right(engine).rows] == [{"batch": 1}, {"batch": 1}, {"batch": 8}, {"batch": 8}]


def test_a_sample_of_the_users_own():
    x = np.linspace(-1, 1, 7 * 16, dtype=np.float32).reshape(7, 16)
    engine = trtnet.build(policy(any_batch()), check={"x": x}, **LEVEL)
    assert {row.sizes["batch"] for row in right(engine).rows} == {7}
    right(trtnet.build(policy(any_batch()), check=torch.from_numpy(x).cuda(), **LEVEL))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("seed", range(5))
def test_no_false_alarm(seed, dtype):
    """Images, tokens with argmax, rows that are sorted."""
    engine = trtnet.build(network(seed, dtype), **LEVEL)
    assert not engine.checked.skipped
    assert sum(row.verdict == "right" for row in engine.checked.rows) >= len(engine.outputs) - 1, str(engine.checked)


def test_a_cached_plan_that_passed_is_not_compared_again(tmp_path):
    graph = policy()
    first = trtnet.build(graph, cache=tmp_path, **LEVEL)
    second = trtnet.build(graph, cache=tmp_path, **LEVEL)
    assert second.plan.cached
    assert str(second.checked) == str(right(first)), "the very figures, seconds included"
    third = trtnet.build(graph, cache=tmp_path, check=np.ones((4, 16), np.float32), **LEVEL)
    assert third.plan.cached
    assert str(third.checked) != str(first.checked), "on a sample of one's own it is"


def test_the_references_memory_is_free_again():
    trtnet.build(policy(), **LEVEL).close()  # what libraries keep
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    engine = trtnet.build(trtnet.record(nn.Linear(4096, 4096), input=Input((4, 4096))), refit=True, **LEVEL)
    right(engine, BOTH)
    assert torch.cuda.memory_reserved() - before < 64 << 20, "its weights alone are 128 MiB"


def test_no_time_for_it(monkeypatch):
    monkeypatch.setattr(checking, "LEAST", 0.0)
    monkeypatch.setattr(checking, "SHARE", 0.0)
    engine = trtnet.build(policy(), **LEVEL)
    assert "the reference takes longer" in engine.checked.skipped
    assert not engine.closed


# --- wrong ones do not ------------------------------------------------------------------------------------------------


def test_another_weight_fails_with_its_module(monkeypatch):
    read, factor = ReferenceEngine._read, {"bn.weight": 2}
    monkeypatch.setattr(ReferenceEngine, "_read", lambda self, leaf: read(self, leaf) * factor.get(leaf.name, 1))
    with pytest.raises(BuildError, match=r"(?s)output 'output' differs .*the first module .* is bn ") as caught:
        trtnet.build(convolutions(), **LEVEL)
    error = caught.value
    assert error.module == "bn"
    assert error.where.file.endswith("networks.py")
    assert "wrong, too, or not to be built: optimization_level=3" in error.details
    assert "trtnet.diverges(graph, x)" in error.remedy
    found = trtnet.diverges(convolutions(), **LEVEL)
    assert (found.module, found.right_with) == ("bn", ())


def test_a_layer_that_computes_something_else_fails(monkeypatch):
    compute, more = Activation.compute, {"TANH": 0.05}
    monkeypatch.setattr(Activation, "compute", lambda self, run, x: compute(self, run, x) + more.get(self.type, 0))
    with pytest.raises(BuildError, match="output 'logits' differs") as caught:
        trtnet.build(policy(any_batch()), refit=True, **LEVEL)
    assert caught.value.module == "policy.1"
    assert "fixed weights (no refit, no live)" in caught.value.details
    assert trtnet.build(policy(), check=False, **LEVEL).checked is None, "handed over as it is"


# --- each kind of weights, refitted and put back ----------------------------------------------------------------------


class After(nn.Module):
    """A module by itself, and behind (for indices: in front of) a LayerNorm, a softmax and a residual sum."""

    def __init__(self, make, shape):
        super().__init__()
        self.alone, self.normed, self.soft, self.summed = (make() for _ in range(4))
        self.is_index = isinstance(self.alone, nn.Embedding)
        self.norm = nn.LayerNorm(6 if self.is_index else shape[-1])

    def forward(self, x):
        if self.is_index:
            y = self.summed(x)
            others = self.norm(self.normed(x)), F.softmax(self.soft(x), -1), y + F.tanh(y)
        else:
            others = self.normed(self.norm(x)), self.soft(F.softmax(x, -1) - 0.1), self.summed(x + F.tanh(x))
        return dict(zip(("alone", "layer_norm", "softmax", "residual"), (self.alone(x), *others), strict=True))


class Position(nn.Module):
    """A parameter that is a constant of the network."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(trtnet.zeros(1, 5, 12))

    def forward(self, x):
        return x + self.position


class Product(nn.Module):
    """A parameter in a product of matrices that is no Linear."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(trtnet.zeros(12, 7))

    def forward(self, x):
        return trtnet.einsum("bsi,ij->bsj", x, self.matrix) @ self.matrix.T


SEQUENCE = {"x": np.random.default_rng(0).standard_normal((2, 5, 12)).astype(np.float32)}
OWN = {
    "position": (SEQUENCE, Position),
    "product": (SEQUENCE, Product),
    "bilinear_heads": (SEQUENCE, lambda: nn.Sequential(nn.Linear(12, 12, bias=False), nn.GELU(), nn.Linear(12, 3))),
}


def with_weights():
    """The cases of every layer kind that has weights."""
    found = {}
    for name, (inputs, make) in CASES.items():
        module = make()
        if isinstance(module, nn.Module) and module.state_dict():
            found[name] = (inputs, make)
    return found | OWN


KINDS = with_weights()
DYNAMIC = ("conv2d", "linear", "layer_norm", "group_norm", "attention", "embedding", "position")


def test_every_kind_of_weights_is_here():
    kinds = set()
    for inputs, make in KINDS.values():
        (array,) = inputs.values()
        graph = trtnet.record(After(make, array.shape), x=Input(array.shape, array.dtype))
        kinds |= {layer.kind for layer, _, weight in graph.weights() if any(True for _ in weight.leaves())}
    assert kinds >= {cls.kind for cls in layer_kinds().values() if cls.weight_attributes}


@pytest.mark.parametrize("name", [*KINDS, *(f"{name}, dynamic" for name in DYNAMIC)])
def test_refit_compare_and_restore(name):
    inputs, make = KINDS[name.removesuffix(", dynamic")]
    (x,) = inputs.values()
    shape = (Dim("batch", 1, len(x), len(x) + 2), *x.shape[1:]) if name.endswith("dynamic") else x.shape
    graph = trtnet.record(randomize(After(make, x.shape), 3), x=Input(shape, x.dtype))
    engine = trtnet.build(graph, refit=True, check=False, **LEVEL)
    reference = trtnet.reference(graph, dtype="float64")
    before, snapshot = engine(x), engine.snapshot()
    close(before, reference(x))
    chance = np.random.default_rng(1)
    state = {
        key: (value * chance.uniform(0.7, 1.3, value.shape)).astype(value.dtype)
        for key, value in graph.state_dict().items()
        if value.dtype.kind == "f"
    }
    engine.refit(state)
    reference.refit(state)
    after = engine(x)
    close(after, reference(x))
    for output in before:
        assert not np.array_equal(before[output], after[output]), f"{output} has other weights"
    one = next(iter(state))
    engine.refit({one: state[one] * 0.5})
    reference.refit({one: state[one] * 0.5})
    close(engine(x), reference(x))
    engine.restore(snapshot)
    assert same(engine(x), before)
