"""Parameters that forward reads as numbers: they follow where that can be recorded, else they are frozen by name."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import WeightsError

ONE = np.ones((2, 3), np.float32)
OLD = {"a": np.float32(2), "w": np.array([1, 2, 3], np.float32), "n": np.array([2], np.int64)}
NEW = {"a": np.float32(7), "w": np.array([4, 5, 6], np.float32)}


def made(package: Any, module: Any, body: Callable[..., Any]) -> Any:
    class Net(module.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = module.Parameter(package.tensor(OLD["a"]))
            self.w = module.Parameter(package.tensor(OLD["w"]))
            self.register_buffer("n", package.tensor(OLD["n"]))

        def forward(self, x):
            return body(package, self, x)

    return Net()


FOLLOWS = [
    "m = T.zeros(3); m[0] = s.a; y = x * m", "m = T.zeros(2, 3); m[1] = s.w; y = x @ m.T",
    "m = T.zeros(3); m[T.tensor([True, False, True])] = s.a; y = x * m", "m = T.zeros(3).copy_(s.w); y = x * m",
    "y = x * T.zeros(3).fill_(s.a)", "y = x * T.tensor(s.a)", "y = x * T.tensor([s.a, s.a, 1.0])",
    "y = x * T.as_tensor([s.a, 1, s.a])", "y = x * T.FloatTensor([s.a, s.a, 1.0])", "y = x + T.linspace(0, s.a, 3)",
    "y = x + T.logspace(0, s.a, 3)", "y = x * T.full((3,), s.a)", "y = x + copy.deepcopy(s.w)",
    "y = x + copy.copy(s.w)",
    "y = x.masked_fill(x > 0, s.a)", "y = x + x.new_tensor(s.w)", "y = x * T.full_like(x, s.a)",
    "y = x + T.stack([s.a, s.w[0], s.w[2]])", "y = x + s.w.detach().clone()", "y = x + T.Tensor([s.a, s.a, 2])",
]  # fmt: skip


@pytest.mark.parametrize("size", [2, Dim("batch", 1, 2, 8)])
@pytest.mark.parametrize("statements", FOLLOWS)
def test_what_can_be_recorded_follows_the_parameter(statements: str, size: Any) -> None:
    def body(T, s, x):
        names = {"T": T, "s": s, "x": x, "copy": copy}
        number = T is torch and ("space" in statements or "full" in statements)  # torch takes numbers there alone
        exec(statements.replace("s.a)", "s.a.item())").replace("s.a,", "s.a.item(),") if number else statements, names)
        return names["y"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.tensor(tensor)
        theirs = made(torch, torch.nn, body)
        theirs.load_state_dict({k: torch.tensor(v) for k, v in NEW.items()}, strict=False)
        wanted = theirs(torch.from_numpy(ONE)).detach().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = trtnet.record(made(trtnet, nn, body), x=Input((size, 3)))
    assert not graph.frozen
    engine = trtnet.reference(graph)
    engine.refit(NEW)
    np.testing.assert_allclose(engine(ONE), wanted, rtol=1e-6)
    graph.load_state_dict(NEW, strict=False)
    np.testing.assert_allclose(trtnet.reference(graph)(ONE), wanted, rtol=1e-6)


NUMBERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "item": ("a", lambda s: s.a.item()),
    "float": ("a", lambda s: float(s.a)),
    "int": ("a", lambda s: int(s.a)),
    "math": ("a", lambda s: math.exp(s.a)),
    "tolist": ("w", lambda s: s.w.tolist()[0]),
    "range": ("n", lambda s: len(range(int(s.n)))),
    "a buffer": ("n", lambda s: s.n.item()),
    "NumPy's scalar": ("a", lambda s: np.float32(s.a.item())),
    "bool": ("a", lambda s: 1.0 if s.a else 0.0),
    "numpy()": ("a", lambda s: float(s.a.detach().numpy() if isinstance(s.a, torch.Tensor) else s.a.numpy())),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_a_number_freezes_the_parameter(case: str) -> None:
    name, read = NUMBERS[case]

    def body(T, s, x):
        return x * read(s)

    module = made(trtnet, nn, body)
    with pytest.warns(UserWarning, match=f"^{name} is read as a number at .*test_frozen.py") as caught:
        graph = trtnet.record(module, x=Input((2, 3)))
    assert len(caught) == 1
    assert "trtnet.frozen(parameter)" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert list(graph.frozen) == [name]
    assert f"frozen:  {name}, a number at" in graph.summary()

    engine = trtnet.reference(graph)
    same = {key: np.asarray(value) for key, value in module.state_dict().items()}
    engine.refit(same)
    other = same | {name: same[name] + 1}
    for change in (engine.refit, graph.load_state_dict):
        with pytest.raises(WeightsError, match="frozen in this graph") as refused:
            change(other)
        assert f"{name}: read as a number at" in str(refused.value)
        assert "record it again" in str(refused.value)
    np.testing.assert_array_equal(engine(ONE), trtnet.reference(graph)(ONE))

    module.load_state_dict(other)  # the remedy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = trtnet.record(module, x=Input((2, 3)))
    theirs = made(torch, torch.nn, body)
    theirs.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in other.items()})
    np.testing.assert_allclose(trtnet.reference(again)(ONE), theirs(torch.from_numpy(ONE)).detach().numpy(), rtol=1e-6)


def scaled(T: Any, s: Any, x: Any) -> Any:
    return x * s.a.item() + s.w


def frozen_graph() -> trtnet.Graph:
    with pytest.warns(UserWarning, match="a is read as a number"):
        return trtnet.record(made(trtnet, nn, scaled), x=Input((2, 3)))


def test_each_parameter_is_named_once() -> None:
    def body(T, s, x):
        return x * s.a.item() * float(s.a) + s.w.tolist()[1]

    with pytest.warns(UserWarning, match="is read as a number") as caught:
        trtnet.record(made(trtnet, nn, body), x=Input((2, 3)))
    assert [str(w.message).split()[0] for w in caught] == ["a", "w"]


@pytest.mark.parametrize("where", ["in forward", "before"])
def test_frozen_says_that_it_is_meant(where: str) -> None:
    def body(T, s, x):
        return x * (float(trtnet.frozen(s.a)) if where == "in forward" else s.a.item())

    module = made(trtnet, nn, body)
    if where == "before":
        assert trtnet.frozen(module.a).item() == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = trtnet.record(module, x=Input((2, 3)))
    assert list(graph.frozen) == ["a"]
    with pytest.raises(WeightsError, match="frozen"):
        graph.load_state_dict(NEW, strict=False)
    with pytest.raises(trtnet.TrtnetError, match="frozen takes a parameter"):
        trtnet.frozen(2.0)


def test_a_torch_module_of_a_frozen_graph() -> None:
    module = trtnet.to_torch(frozen_graph())
    assert not module.a.requires_grad
    assert module.w.requires_grad
    state = module.state_dict()
    module.load_state_dict(state)
    with pytest.raises(WeightsError, match="frozen in this graph"):
        module.load_state_dict(state | {"a": torch.tensor(3.0)})


def test_a_frozen_parameter_cannot_be_live() -> None:
    graph = frozen_graph()
    with pytest.raises(WeightsError, match="reads as numbers cannot be live") as caught:
        trtnet.build(graph, provider="reference", live=["a", "w"])
    assert "a, read at" in str(caught.value)
    engine = trtnet.build(graph, provider="reference", live=True)
    learner = trtnet.to_torch(graph)
    engine.bind_weights(learner)
    with pytest.raises(WeightsError, match="frozen in this graph"):
        engine.bind_weights({"w": learner.w.detach(), "n": learner.n, "a": torch.tensor(3.0)})


def test_tables_and_files_name_what_is_frozen(tmp_path: Any) -> None:
    graph = frozen_graph()
    engine = trtnet.build(graph, provider="reference", refit=True)
    row = engine.weights["a"]
    assert row.status == "frozen"
    assert "test_frozen.py" in row.reason
    path = engine.save(tmp_path / "net.fp32.engine")
    loaded = trtnet.load(path)
    assert list(loaded.graph.frozen) == ["a"]
    with pytest.raises(WeightsError, match="frozen in this graph"):
        loaded.refit({"a": np.float32(5)})
    loaded.refit({"a": np.float32(2), "w": NEW["w"]})


def test_parameters_are_not_written_in_forward() -> None:
    def fill(T, s, x):
        s.w.fill_(3)
        return x * s.w

    def item(T, s, x):
        s.w[0] = 3
        return x * s.w

    def part(T, s, x):
        v = s.w[1:]
        v += 1
        return x * s.w

    for body in (fill, item, part):
        module = made(trtnet, nn, body)
        with pytest.raises(trtnet.TrtnetError, match="a parameter cannot be changed in forward") as caught:
            trtnet.record(module, x=Input((2, 3)))
        assert "clone()" in str(caught.value)
        np.testing.assert_array_equal(module.w.numpy(), OLD["w"])

    def cured(T, s, x):
        w = s.w.clone()
        w[0] = 3
        return x * w

    graph = trtnet.record(made(trtnet, nn, cured), x=Input((2, 3)))
    np.testing.assert_array_equal(trtnet.reference(graph)(ONE), ONE * [3, 2, 3])
