"""What a forward keeps on its module: constants, and where they were computed of weights, these are frozen."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import trtnet
from trtnet import Dim, Input
from trtnet.errors import WeightsError

torch = pytest.importorskip("torch")

X = torch.linspace(-1, 1, 8).reshape(2, 4)


class Cached(torch.nn.Module):
    """Keeps what it makes of `a` and the buffer `b`; `c` is used at each call."""

    def __init__(self):
        super().__init__()
        self.a, self.c = torch.nn.Parameter(torch.randn(3, 4)), torch.nn.Parameter(torch.randn(3))
        self.register_buffer("b", torch.rand(()) + 1)
        self.cache = None

    def made(self):
        return (self.a / self.b).detach()

    def kept(self):
        if self.cache is None:
            self.cache = self.made()
        return self.cache

    def forward(self, x):
        return x @ self.kept().t() + self.c


class Attached(Cached):
    def made(self):
        return self.a / self.b


class NotThere(Cached):
    def __init__(self):
        super().__init__()
        del self.cache

    def kept(self):
        if not hasattr(self, "cache"):
            self.cache = self.made()
        return self.cache


class InDict(Cached):
    def __init__(self):
        super().__init__()
        self.cache = {}

    def kept(self):
        return self.cache.setdefault("scaled", self.made()) if "scaled" not in self.cache else self.cache["scaled"]


class InTuple(Cached):
    def kept(self):
        if self.cache is None:
            self.cache = 1, [self.made()]
        return self.cache[1][0]


class Versioned(Cached):
    """Makes it again when it sees that the weight was changed."""

    seen = None

    def kept(self):
        if self.seen != (version := self.a._version):
            self.cache, self.seen = self.made(), version
        return self.cache


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner = torch.nn.Linear(4, 4), Cached()

    def forward(self, x):
        return self.inner(self.first(x))


def warm(kind):
    torch.manual_seed(0)
    module = kind()
    module(X)
    return module


def others(module):
    return {key: value * 2 + 1 for key, value in module.state_dict().items()}


@pytest.mark.parametrize("kind", [Cached, Attached, NotThere, InDict, InTuple, Versioned, Outer])
@pytest.mark.parametrize("rows", [2, Dim("rows", min=1, opt=2, max=4)])
def test_weights_that_a_cache_was_computed_of_are_frozen(kind, rows):
    module = warm(kind)
    wanted, inside = module(X).detach().numpy(), "inner." if kind is Outer else ""
    held = dict((module.inner if inside else module).__dict__)
    with pytest.warns(UserWarning, match=f"^{inside}cache holds what an earlier call") as caught:
        graph = trtnet.record(module, x=Input((rows, 4)))
    text = str(caught[0].message)
    of = "a" if kind is Versioned else f"{inside}a, {inside}b"  # which does not look at the buffer
    assert f"computed of {of}: a constant in this graph" in text
    assert f"module.{inside}cache = None" in text
    assert caught[0].filename == __file__
    assert held == (module.inner if inside else module).__dict__
    engine = trtnet.reference(graph)
    np.testing.assert_allclose(engine(X.numpy()), wanted, rtol=1e-5, atol=1e-6)
    new = others(module)
    with pytest.raises(WeightsError, match="frozen in this graph") as refused:
        engine.refit(new)
    assert f"{inside}a: read as a number at {inside}cache, which an earlier call of the module filled" in str(
        refused.value
    )
    engine.refit({key: value for key, value in new.items() if key.rpartition(".")[2] not in ("a", "b")})
    assert not np.allclose(engine(X.numpy()), wanted)


def fresh_with(kind, state):
    module = kind()
    module.load_state_dict(state)
    return module


@pytest.mark.parametrize("kind", [Cached, Attached, NotThere, InDict, InTuple, Outer])
def test_an_empty_cache_is_computed_by_the_network(kind):
    torch.manual_seed(0)
    module = kind()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = trtnet.reference(trtnet.record(module, x=Input((2, 4))))
    new = others(module)
    engine.refit(new)
    wanted = fresh_with(kind, new)(X).detach().numpy()
    np.testing.assert_allclose(engine(X.numpy()), wanted, rtol=1e-5, atol=1e-5)


def test_frozen_by_a_cache_after_saving(tmp_path):
    module = warm(Cached)
    with pytest.warns(UserWarning, match="^cache holds"):
        graph = trtnet.record(module, x=Input((2, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = trtnet.build(graph, provider="reference", refit=True).save(tmp_path / "cached.engine")
    with pytest.raises(WeightsError, match="frozen in this graph"):
        trtnet.load(path, provider="reference").refit(others(module))


class Rotary(torch.nn.Module):
    """A table that grows with the length, as an attribute and by length; and one that was made at once."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.table, self.tables, self.scale = None, {}, torch.tensor([1.0, 2.0, 3.0, 4.0])

    def forward(self, x):
        if self.table is None or len(self.table) < x.shape[1]:
            self.table = torch.arange(x.shape[1] * 4.0).reshape(-1, 4).cos()
        if "half" not in self.tables:
            self.tables["half"] = self.table[:, :4] / 2
        return self.linear(x) * self.table[: x.shape[1]] + self.tables["half"][: x.shape[1]] * self.scale


@pytest.mark.parametrize("is_warm", [False, True])
def test_tables_of_sizes_freeze_nothing(is_warm):
    module, x = Rotary(), torch.randn(1, 6, 4)
    if is_warm:
        module(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = trtnet.reference(trtnet.record(module, x=Input((1, 6, 4))))
    assert (module.table is None) is not is_warm
    new = others(module)
    engine.refit(new)
    wanted = fresh_with(Rotary, new)(x).detach().numpy()
    np.testing.assert_allclose(engine(x.numpy()), wanted, rtol=1e-5, atol=1e-5)


class Listed(torch.nn.Module):
    """Takes its weights by a list, by a function and by a dict."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Parameter(torch.randn(4, 4)), torch.nn.Parameter(torch.randn(4))
        self.register_buffer("c", torch.randn(4))
        weight = self.b
        self.listed, self.shift, self.by_name = [self.a], lambda x: x + weight, {"c": self.c}

    def forward(self, x):
        return self.shift(x @ self.listed[0]) * self.by_name["c"]


def test_a_weight_that_a_list_or_a_function_holds_is_that_weight():
    torch.manual_seed(0)
    module, new = Listed(), Listed()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = trtnet.reference(trtnet.record(module, x=Input((2, 4))))
    np.testing.assert_allclose(engine(X.numpy()), module(X).detach().numpy(), rtol=1e-5, atol=1e-6)
    engine.refit(new.state_dict())
    np.testing.assert_allclose(engine(X.numpy()), new(X).detach().numpy(), rtol=1e-5, atol=1e-6)


class Viewed(torch.nn.Module):
    """Holds views of a weight; the other one it takes as it is."""

    def __init__(self, view):
        super().__init__()
        self.a, self.b = torch.nn.Parameter(torch.randn(4, 4)), torch.nn.Parameter(torch.randn(4))
        self.view = view(self.a.detach())

    def forward(self, x):
        return x @ self.view + self.b


@pytest.mark.parametrize("view", [torch.t, lambda a: a[1:2].t(), lambda a: a.view(-1)[5:9].view(4, 1)])
def test_a_weight_of_which_the_module_holds_a_view_is_frozen(view):
    torch.manual_seed(0)
    module = Viewed(view)
    with pytest.warns(UserWarning, match="^the module holds a view of a: a constant in this graph") as caught:
        graph = trtnet.record(module, x=Input((2, 4)))
    assert caught[0].filename == __file__
    engine = trtnet.reference(graph)
    engine.refit({"b": torch.zeros(4)})
    with torch.no_grad():
        module.b.zero_()
    np.testing.assert_allclose(engine(X.numpy()), module(X).detach().numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(WeightsError, match="a: read as a number at a view of it that the module holds"):
        engine.refit(others(module))


def test_a_part_of_the_same_memory_beside_a_weight_is_a_constant():
    memory = torch.arange(24.0)
    module = Viewed(torch.t)
    module.a = torch.nn.Parameter(memory[:16].view(4, 4))
    module.view = memory[20:].view(4, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = trtnet.reference(trtnet.record(module, x=Input((2, 4))))
    engine.refit(others(module) | {"b": torch.zeros(4)})
    np.testing.assert_allclose(engine(X.numpy()), (X @ module.view).numpy() + np.zeros(4), rtol=1e-5)
