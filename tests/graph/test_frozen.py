"""Parameters that forward reads as numbers: they follow where that can be recorded, else they are frozen by name."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentTypeError, UnsupportedError, WeightsError
from trtnet.weights.recipes import Value

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


# --- numbers of what is computed


class Table:
    """Parameters and buffers of several dtypes, in torch's and in trtnet's module."""

    @staticmethod
    def of(package: Any, module: Any, dtype: str, body: Callable[..., Any]) -> Any:
        draw = np.random.default_rng(0)
        floats = dtype in ("float32", "float16", "bfloat16")

        def values(*shape: int) -> torch.Tensor:
            numbers = torch.tensor(draw.normal(size=shape) * (1 if floats else 3), dtype=torch.float32)
            return numbers.to(getattr(torch, dtype))

        class Net(module.Module):
            def __init__(self) -> None:
                super().__init__()
                for name, shape in {"w": (3, 4), "b": (3, 4), "a": ()}.items():
                    value = values(*shape)
                    given = value if package is torch else trtnet.as_tensor(value)
                    if floats:
                        setattr(self, name, module.Parameter(given, requires_grad=False))
                    else:
                        self.register_buffer(name, given)
                self.tied = self.w
                self.register_buffer("n", package.tensor([2]))
                self.register_buffer("i", package.tensor([2, 0, 5, -3]))
                self.register_buffer("mask", package.tensor([True, False, True, False]))
                self.register_buffer("no", package.tensor([False, False]))

            def forward(self, x):
                return body(package, self, x)

        return Net()


READS: dict[str, str] = {  # an expression, and what it freezes
    "s.w.max().item()": "w",
    "float(s.w[0, 1])": "w",
    "float(s.w[0].sum())": "w",
    "s.w.detach().numpy().astype('f4').tolist()": "w",
    "np.asarray(s.w.abs().float()).tolist()": "w",
    "int((s.a * 2).sum())": "a",
    "s.w.abs().max().tolist()": "w",
    "bool(T.equal(s.w, s.b))": "b w",
    "bool(T.equal(s.w, s.w.clone()))": "w",
    "T.equal(s.w, s.n)": "",
    "T.allclose(s.w, s.b), T.allclose(s.w, s.tied)": "b w",
    "f'{s.w.max()}'": "w",
    "f'{s.a * 2:.3f} {s.w.abs().sum():8.1f}'": "a w",
    "s.w.float().mean().item()": "w",
    "s.w.sum(0).tolist(), s.w.cumsum(0).tolist(), s.w.prod().item()": "w",
    "(s.w.float() @ s.b.float().T)[0].tolist()": "b w",
    "(s.w + s.b).tolist(), (s.w - s.b).tolist(), (s.w * s.b).tolist()": "b w",
    "(s.w * 2).tolist(), (s.w / 3).tolist()": "w",
    "s.w.argmax().item(), s.w.argmin(1).tolist(), s.w.topk(2)[0].tolist(), s.w.sort()[0].tolist()": "w",
    "s.w.median().item()": "w",
    "T.where(s.w > 0, s.w, s.b).tolist()": "b w",
    "s.w.t()[1].tolist(), s.w.reshape(-1)[3:5].tolist(), s.w.triu().tolist()": "w",
    "s.w.int().tolist(), s.w.half().tolist(), s.w.long().sum().item()": "w",
    "s.w.abs().float().softmax(-1).tolist(), s.w.float().exp().tolist()": "w",
    "(s.w > s.b).all().item(), bool((s.w > s.b).any())": "b w",
    "min(s.w[0]).item(), max(s.w[1, 0], s.w[1, 1]).item()": "w",
    "round(float(s.w[0, 0]), 2), math.floor(s.w[0, 0])": "w",
    "float(s.tied[0, 0])": "w",
    "bool(s.mask.any()), bool(s.no.any()), 1 if s.mask.all() else 0": "mask no",
    "s.mask.sum().item(), (~s.mask).tolist(), s.mask.nonzero().tolist(), s.mask.float().mean().item()": "mask",
    "s.i[0].item(), s.i.sum().item(), (s.i // 2).tolist(), (s.i % 3).tolist(), (s.i / 2).tolist()": "i",
    "list(range(int(s.n + 1))), list(range(s.n + 1)), [5, 6, 7][s.n.sum()]": "n",
    "2 in s.i, 7 in s.i, 2 in s.n": "i n",
    "tuple(T.zeros(s.n + 1).shape), tuple(x[:, : s.n[0] - 1].shape[1:])": "n",
    "tuple(x.reshape(-1, s.n.sum() + 1).shape[1:])": "n",
    "changed(s.w)": "w",
    "viewed(s.w)": "w",
    "filled(T, s.w)": "w",
    "counted(s.n)": "n",
    "len(list(s.i)), [int(v) for v in s.i]": "i",
}


def changed(w: Any) -> Any:
    copy = w.clone()
    before = copy.sum().item()
    copy.mul_(2)
    copy[0] += 1
    between = copy.tolist()
    copy[1:, 2].zero_()
    return before, between, copy.tolist(), w.sum().item()


def viewed(w: Any) -> Any:
    copy = w.clone()
    row, column = copy[1], copy.t()[2]
    row.add_(1)
    found = [column.tolist(), copy.tolist()]
    column.zero_()
    return [*found, row.tolist(), copy.sum().item()]


def filled(T: Any, w: Any) -> Any:
    made = T.zeros(2, 4, dtype=w.dtype)
    made[1] = w[2]
    made[:, 0] += 1
    return made.tolist()


def counted(n: Any) -> Any:
    steps, total = 0, n * 1
    while total.sum() < 500:
        total = total + n * 3
        steps += 1
    return steps, total.tolist()


@pytest.mark.parametrize("size", [2, Dim("batch", 1, 2, 8)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64"])
def test_a_number_that_is_computed_is_torchs_and_freezes_what_it_came_from(dtype: str, size: Any) -> None:
    for expression, frozen in READS.items():
        found: list[Any] = []
        if "detach()" in expression and dtype == "bfloat16":  # which torch makes no array of
            expression = expression.replace("detach()", "float()")

        def body(T, s, x, expression=expression, found=found):
            helpers = {"changed": changed, "viewed": viewed, "filled": filled, "counted": counted}
            found.append(eval(expression, {"T": T, "s": s, "x": x, "np": np, "math": math, **helpers}))
            return x + 1

        Table.of(torch, torch.nn, dtype, body)(torch.ones(2, 3))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            graph = trtnet.record(Table.of(trtnet, nn, dtype, body), x=Input((size, 3)))
        assert repr(found[1]) == repr(found[0]), (dtype, expression)
        assert sorted(graph.frozen.keys() - {"tied"}) == frozen.split(), expression
        assert ("tied" in graph.frozen) is ("w" in graph.frozen)
        assert sorted(str(w.message).partition(" is read")[0] for w in caught) == frozen.split(), expression
        assert all(w.filename == "<string>" or w.filename == __file__ for w in caught)
        kinds = [layer.kind for layer in graph.layers if layer.kind not in ("slice", "shuffle")]
        assert kinds == ["constant", "elementwise"], (expression, graph.summary())


OTHER = {"a": np.float32(2), "w": np.array([1, 2, 8], np.float32), "n": np.array([2], np.int64)}


def scaled_by_largest(T: Any, s: Any, x: Any) -> Any:
    largest = s.w.abs().max().item()  # READ HERE
    return x * largest * s.a + (x if (s.n > 1).any() else -x)


def test_a_graph_with_a_computed_number_refuses_other_values_of_what_it_came_from() -> None:
    module = made(trtnet, nn, scaled_by_largest)
    with pytest.warns(UserWarning, match="is read as a number at .*test_frozen.py:") as caught:
        graph = trtnet.record(module, x=Input((Dim("batch", 1, 2, 8), 3)))
    source = Path(__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(source, 1) if text.endswith("# READ HERE"))
    assert str(caught[0].message).startswith(f"w is read as a number at {__file__}:{line}: ")
    assert "trtnet.frozen(parameter)" in str(caught[0].message)
    assert [str(w.message).split()[0] for w in caught] == ["w", "n"]
    engine = trtnet.reference(graph)
    np.testing.assert_array_equal(engine(ONE), ONE * 7)
    for change in (engine.refit, graph.load_state_dict):
        with pytest.raises(WeightsError, match="frozen in this graph") as refused:
            change(OTHER)
        assert f"w: read as a number at {__file__}:{line}" in str(refused.value)
    engine.refit(OLD | {"a": np.float32(5)})
    np.testing.assert_array_equal(engine(ONE), ONE * 16)
    module.load_state_dict(OTHER)  # the remedy
    with pytest.warns(UserWarning, match="is read as a number"):
        again = trtnet.record(module, x=Input((2, 3)))
    np.testing.assert_array_equal(trtnet.reference(again)(ONE), ONE * 17)


def test_frozen_silences_numbers_that_are_computed_of_it() -> None:
    module = made(trtnet, nn, scaled_by_largest)
    trtnet.frozen(module.w)
    trtnet.frozen(module.n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = trtnet.record(module, x=Input((2, 3)))
    assert sorted(graph.frozen) == ["n", "w"]


def test_a_parameter_that_is_read_and_used_stays_a_frozen_weight() -> None:
    def body(T, s, x):
        return x * s.w if s.w.sum() > 3 else x

    with pytest.warns(UserWarning, match="w is read"):
        graph = trtnet.record(made(trtnet, nn, body), x=Input((2, 3)))
    engine = trtnet.build(graph, provider="reference", refit=True)
    assert engine.weights["w"].status == "frozen"
    np.testing.assert_array_equal(engine(ONE), ONE * OLD["w"])
    with pytest.raises(WeightsError, match="frozen in this graph"):
        engine.refit(NEW)


READINGS: dict[str, Callable[[Any], Any]] = {
    "bool()": bool,
    "int()": int,
    "float()": float,
    "an index": range,
    ".item()": lambda t: t.item(),
    ".tolist()": lambda t: t.tolist(),
    ".numpy()": lambda t: t.detach().numpy(),
    "a NumPy array": np.asarray,
    "a format": lambda t: f"{t:.2f}",
}
UNKNOWN: dict[str, Callable[..., Any]] = {
    "an input": lambda s, x: (x * s.w).sum(),
    "what an input was written to": lambda s, x: filled_from(s, x)[0, 0],
    "a draw": lambda s, x: trtnet.rand(3).sum() * s.a,
    "a dynamic size": lambda s, x: s.w.expand(x.shape[0], 3).sum(),
    "a size that an input decides": lambda s, x: trtnet.ones(x[x > 0].shape).sum() * s.a,
}


def filled_from(s: Any, x: Any) -> Any:
    made = trtnet.zeros(2, 3) * s.a
    made[0] = x[0]
    return made


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("of", UNKNOWN)
def test_what_an_input_decides_has_no_value(of: str, reading: str) -> None:
    def body(T, s, x):
        READINGS[reading](UNKNOWN[of](s, x))
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is frozen
        with pytest.raises(ArgumentTypeError, match="a recorded tensor has none before the network runs") as caught:
            trtnet.record(made(trtnet, nn, body), x=Input((Dim("batch", 1, 2, 8), 3)))
    assert caught.value.problem.startswith(reading)
    assert "trtnet.where(condition, a, b)" in str(caught.value)


def test_comparisons_of_whole_tensors_that_an_input_decides_are_refused() -> None:
    for compare in (trtnet.equal, trtnet.allclose):
        with pytest.raises(UnsupportedError, match="gives a Python bool"):
            trtnet.record(made(trtnet, nn, lambda T, s, x, c=compare: x if c(x, s.w) else -x), x=Input((3,)))


def test_a_tensor_of_another_recording_has_no_number() -> None:
    kept = []
    trtnet.record(made(trtnet, nn, lambda T, s, x: kept.append(s.a * 2) or x + 1), x=Input((3,)))
    with pytest.raises(ArgumentTypeError, match="none before the network runs"):
        float(kept[0])
    with pytest.raises(trtnet.TrtnetError, match="belongs to another graph"):
        trtnet.record(made(trtnet, nn, lambda T, s, x: x * float(kept[0])), x=Input((3,)))


def test_a_parameter_without_a_value_is_no_number() -> None:
    for read in (lambda s: s.w.max().item(), lambda s: s.w.tolist()):
        module = made(trtnet, nn, lambda T, s, x, read=read: read(s) and x)
        module.w.value = Value()
        with pytest.raises(WeightsError, match="w is read as a number, and has no value") as caught:
            trtnet.record(module, x=Input((3,)))
        assert "read(s)" in str(caught.value) or "lambda s" in str(caught.value)
        assert caught.value.remedy == "load weights before recording: module.load_state_dict, module.load_weights"
        module.load_state_dict(OLD)
        with pytest.warns(UserWarning, match="w is read"):
            trtnet.record(module, x=Input((3,)))


def test_an_array_that_is_read_cannot_be_written_to() -> None:
    def body(T, s, x):
        array = s.w.detach().abs().numpy()
        array += 1  # in torch a change of memory that may be a tensor's
        return x

    module = made(trtnet, nn, body)
    with pytest.warns(UserWarning, match="w is read"), pytest.raises(ValueError, match="read-only"):
        trtnet.record(module, x=Input((3,)))


def test_recordings_that_ask_for_no_number_keep_their_layers() -> None:
    def spare(T, s, x):
        s.w.abs().max()
        return x + s.w

    def read(T, s, x):
        s.w.abs().max().item()
        return x + s.w

    graph = trtnet.record(made(trtnet, nn, spare), x=Input((3,)))
    assert [layer.kind for layer in graph.layers] == ["constant", "unary", "reduce", "elementwise"]
    with pytest.warns(UserWarning, match="w is read"):
        graph = trtnet.record(made(trtnet, nn, read), x=Input((3,)))
    assert [layer.kind for layer in graph.layers] == ["constant", "elementwise"]


def test_a_number_behind_dropout_cannot_be_trained() -> None:
    def body(T, s, x):
        return x * T.nn.functional.dropout(s.w * 1, 0.5, s.training).sum().item()

    with pytest.warns(UserWarning, match="w is read"):
        graph = trtnet.record(made(trtnet, nn, body), x=Input((2, 3)))
    np.testing.assert_array_equal(trtnet.reference(graph)(ONE), ONE * 6)
    module = trtnet.to_torch(graph)
    np.testing.assert_array_equal(module(torch.from_numpy(ONE)), ONE * 6)
    with pytest.raises(UnsupportedError, match="forward reads a number that is another one in training"):
        module.train()


@pytest.mark.parametrize("read", ["running_var", "num_batches_tracked", None])
def test_statistics_that_are_read_as_numbers_cannot_be_trained(read: str | None) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            y = self.norm(x)
            return y if read is None or getattr(self.norm, read).max() > 0.5 else y + 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = trtnet.record(Net(), x=Input((Dim("batch", 2, 2, 8), 3)))
    module = trtnet.to_torch(graph)
    if read is None:
        module.train()(torch.from_numpy(ONE))
        assert module.norm.num_batches_tracked == 1
        return
    with pytest.raises(UnsupportedError, match=f"training changes norm.{read}, which forward reads as a number"):
        module.train()
    np.testing.assert_allclose(module(torch.from_numpy(ONE)).detach(), trtnet.reference(graph)(ONE), rtol=1e-6)
