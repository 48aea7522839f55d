"""What every engine offers beside plain calls, on the reference engine: code from a laptop must run on a GPU."""

from __future__ import annotations

import copy
import gc
import inspect
import os
import pickle
import re
import signal
import threading
import warnings
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import Tied
from threads import at_once, beside

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Dim, Input, nn  # noqa: E402
from trtnet import functional as F  # noqa: E402
from trtnet.engine.engine import Engine  # noqa: E402
from trtnet.engine.hotswap import HotSwap  # noqa: E402
from trtnet.errors import (  # noqa: E402
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    EngineError,
    NameNotFoundError,
    ShapeError,
    WeightsError,
)
from trtnet.pytorch.engine import ReferenceEngine  # noqa: E402
from trtnet.recording import RESERVED  # noqa: E402
from trtnet.tensorrt.run.device_array import CPU, DeviceArray  # noqa: E402

B = Dim("b", min=1, opt=3, max=8)
SHAPE = (B, 4)


class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.fc2.bias = self.tied = self.fc1.bias.__class__(np.zeros(3, np.float32))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


class Two(One):
    def forward(self, x):
        hidden = F.relu(self.fc1(x))
        return hidden, self.fc2(hidden).argmax(1)


class Named(One):
    def forward(self, x, bias):
        hidden = self.fc1(x) + bias
        return {"hidden": hidden, "result": self.fc2(hidden)}


def engine_of(module=One, **options):
    trtnet.manual_seed(0)
    inputs = {"x": Input(SHAPE), "bias": Input((6,))} if module is Named else {"x": Input(SHAPE)}
    return trtnet.reference(trtnet.record(module(), **inputs), **options)


def x(batch=2, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 4)).astype(np.float32)


def weights(seed, graph):
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(a.shape).astype(np.float32) for name, a in graph.state_dict().items()
            if not name.startswith("tied")}  # fmt: skip


# --- generations ------------------------------------------------------------------------------------------------------


def test_calls_say_which_weights_they_ran_with():
    engine = engine_of(Named)
    bias = np.zeros(6, np.float32)
    plain = engine(x(), bias)
    result, generation = engine(x(), bias=bias, with_generation=True)
    assert generation == engine.generation == 0
    assert list(result) == ["hidden", "result"]
    np.testing.assert_array_equal(result["hidden"], plain["hidden"])
    engine.refit({"fc1.bias": np.ones(6, np.float32)})
    assert engine(x(), bias, with_generation=True)[1] == engine.generation == 1
    engine.restore(engine.snapshot())
    assert engine(x(), bias, with_generation=True)[1] == 2


def test_a_generation_is_that_of_the_weights_under_refits():
    """Weights are all equal to the generation's number, so the result tells which weights a call ran with."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(np.zeros((4, 64), np.float32))
            self.b = nn.Parameter(np.zeros(64, np.float32))

        def forward(self, x):
            return x @ self.a + self.b

    engine = trtnet.reference(trtnet.record(Sum(), x=Input((1, 4))))
    stop, wrong = threading.Event(), []

    def call(number):
        while not stop.is_set():
            result, generation = engine(np.ones((1, 4), np.float32), with_generation=True)
            if not (result == 5 * generation).all():
                wrong.append((generation, result[0, :3]))

    with beside(call, range(3)):
        try:
            for number in range(1, 200):
                engine.refit({"a": np.full((4, 64), number, np.float32), "b": np.full(64, number, np.float32)})
        finally:
            stop.set()
    assert not wrong


def test_refits_from_several_threads_lose_nothing():
    engine = engine_of()
    names = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    wanted = weights(7, engine.graph)

    def refit(name):
        for _ in range(25):
            engine.refit({name: wanted[name]})

    at_once(refit, names)
    assert engine.generation == 100
    found = engine.parameters()
    for name in names:
        np.testing.assert_array_equal(found[engine.graph.parameters[name].name], wanted[name])


def test_versions_are_the_trainers_own():
    engine = engine_of()
    assert (engine.version, engine(x(), with_version=True)[1]) == (None, None)
    report = engine.refit(weights(1, engine.graph), version=17)
    assert (report.version, report.previous, report.went_back) == (17, None, False)
    assert (engine.version, engine.generation) == (17, 1)
    result, generation, version = engine(x(), with_generation=True, with_version=True)
    np.testing.assert_array_equal(result, engine(x()))
    assert (generation, version) == (1, 17)
    snapshot = engine.snapshot()
    report = engine.refit(weights(2, engine.graph), version=np.int64(9))
    assert (report.version, report.previous, report.went_back) == (9, 17, True)
    assert "version 9, back from 17" in str(report)
    assert "version 10" in str(engine.refit(weights(3, engine.graph), version=10))
    context, call = engine.context(), engine.bind(torch.from_numpy(x()))
    assert (context.version, context(x(), with_version=True)[1]) == (10, 10)
    engine.restore(snapshot)
    assert (engine.version, call.version) == (17, 10)
    call()
    assert (call.version, call.generation, engine.clone().version) == (17, 4, 17)
    assert engine.refit({"fc1.bias": np.ones(6, np.float32)}).version is None
    assert engine.version is None, "nobody said of which version these are"
    with engine.undone():
        engine.refit(weights(2, engine.graph), version=3)
        assert engine.version == 3
    assert engine.version is None


@pytest.mark.parametrize("version", ["17", 1.5, True, [1]], ids=repr)
def test_versions_are_whole_numbers(version):
    engine = engine_of()
    with pytest.raises(ArgumentTypeError, match="version is no whole number"):
        engine.refit(weights(1, engine.graph), version=version)
    assert engine.generation == 0


def test_a_refused_refit_keeps_the_version():
    engine = engine_of()
    engine.refit(weights(1, engine.graph), version=1)
    for wrong in ({"nothing": np.zeros(3)}, {"fc1.bias": np.zeros(7, np.float32)}):
        with pytest.raises(WeightsError):
            engine.refit(wrong, version=2)
    assert (engine.version, engine.generation) == (1, 1)


@pytest.mark.parametrize("weights_too", [True, False])
def test_versions_are_saved(tmp_path, weights_too):
    engine = engine_of()
    for number in (5, None):
        engine.refit(weights(1, engine.graph), version=number)
        path = engine.save(tmp_path / "one.fp32.engine")
        assert (trtnet.load(path).version, trtnet.load(path).generation) == (number, 0)


def test_live_weights_have_the_version_live():
    engine = engine_of(live=["fc1.weight"])
    state = weights(1, engine.graph)
    engine.refit(state, version=4)
    assert engine.version == 4, "the engine reads its own memory until tensors are bound"
    swap = trtnet.HotSwap(engine)
    assert swap.version == 4
    learner = {"fc1.weight": torch.from_numpy(state.pop("fc1.weight"))}
    engine.bind_weights(learner)
    assert engine(x(), with_version=True)[1] == engine.version == "live"
    report = engine.refit(state, version=5)
    assert (report.version, report.previous, engine.version) == (5, "live", "live")
    engine.restore(engine.snapshot())
    assert engine.version == "live"
    assert engine.clone().version is None, "a copy of what the trainer had by then"


def test_a_hot_swap_of_an_engine_whose_weights_are_bound():
    engine = engine_of(live=["fc1.weight"])
    learner = torch.ones(6, 4)
    engine.bind_weights({"fc1.weight": learner})
    swap = trtnet.HotSwap(engine)
    swap.refit({"fc1.bias": np.ones(6, np.float32)})
    before = swap(x())
    learner.mul_(2)
    assert swap.version == "live"
    assert not np.array_equal(swap(x()), before), "both engines read what the trainer writes"


def test_versions_of_a_hot_swap():
    swap = trtnet.HotSwap(engine_of())
    context, call = swap.context(), swap.bind(torch.from_numpy(x()))
    snapshots = {}
    for number in (3, 8, 5, None):
        report = swap.refit(weights(number or 1, swap.graph), version=number)
        assert (report.version, report.went_back) == (number, number == 5)
        call()
        found = {swap.version, call.version, context.version, swap(x(), with_version=True)[1]}
        assert found == {number, context(x(), with_version=True)[1]}
        snapshots[number] = swap.snapshot()
    swap.restore(snapshots[8])
    assert swap.version == 8
    with swap.undone():
        swap.refit(weights(9, swap.graph), version=9)
    assert (swap.version, swap.generation) == (8, 5)


@pytest.mark.parametrize("make", [trtnet.reference, lambda graph: trtnet.HotSwap(trtnet.reference(graph))],
                         ids=["engine", "hot swap"])  # fmt: skip
def test_a_version_is_that_of_the_weights_under_refits(make):
    net = nn.Linear(4, 64)
    engine = make(trtnet.record(net, input=Input((1, 4))))
    engine.refit({"weight": np.zeros((64, 4), np.float32), "bias": np.zeros(64, np.float32)}, version=0)
    stop, wrong = threading.Event(), []

    def call(number):
        while not stop.is_set():
            result, version = engine(np.ones((1, 4), np.float32), with_version=True)
            if not (result == 5 * version).all():
                wrong.append((version, result[0, :3]))

    with beside(call, range(3)):
        try:
            for number in range(100, 0, -1):
                state = {"weight": np.full((64, 4), number, np.float32), "bias": np.full(64, number, np.float32)}
                engine.refit(state, version=number)
        finally:
            stop.set()
    assert not wrong


# --- out= -------------------------------------------------------------------------------------------------------------


def test_out_of_one_array():
    engine = engine_of()
    out = np.empty((2, 3), np.float32)
    assert engine(x(), out=out) is out
    np.testing.assert_array_equal(out, engine(x()))
    tensor = torch.empty(2, 3)
    assert engine(torch.from_numpy(x()), out=tensor) is tensor
    np.testing.assert_array_equal(tensor, out)


def test_out_of_a_tuple():
    engine = engine_of(Two)
    out = (np.empty((2, 6), np.float32), np.empty(2, np.int64))
    found = engine(x(), out=out)
    assert isinstance(found, tuple)
    assert found[0] is out[0]
    assert found[1] is out[1]
    for mine, wanted in zip(out, engine(x()), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    (a, b), generation = engine(x(3), out=[np.empty((3, 6), np.float32), np.empty(3, np.int64)], with_generation=True)
    assert (a.shape, b.shape, generation) == ((3, 6), (3,), 0)


def test_out_of_a_dict():
    engine = engine_of(Named)
    bias = np.ones(6, np.float32)
    out = {"result": np.empty((2, 3), np.float32), "hidden": np.empty((2, 6), np.float32)}  # in any order
    found = engine(x(), bias, out=out)
    assert list(found) == ["hidden", "result"]
    for name, wanted in engine(x(), bias).items():
        assert found[name] is out[name]
        np.testing.assert_array_equal(found[name], wanted)


def test_out_may_be_a_view():
    engine = engine_of()
    whole = np.zeros((4, 6), np.float32)
    engine(x(), out=whole[1:3, ::2])
    np.testing.assert_array_equal(whole[1:3, ::2], engine(x()))
    assert not whole[:, 1::2].any()
    assert not whole[[0, 3]].any()


@pytest.mark.parametrize(
    ("module", "out", "expected"),
    [
        (One, (np.empty((2, 3), np.float32),), "one array"),
        (One, {"output": np.empty((2, 3), np.float32)}, "one array"),
        (Two, np.empty((2, 6), np.float32), "2 arrays"),
        (Two, (np.empty((2, 6), np.float32),), "2 arrays"),
        (Named, {"hidden": np.empty((2, 6), np.float32)}, "a dict of hidden, result"),
        (Named, (1, 2), "a dict of hidden, result"),
    ],
)
def test_out_of_another_form(module, out, expected):
    given = (x(), np.zeros(6, np.float32)) if module is Named else (x(),)
    with pytest.raises(ArgumentTypeError, match="out has not the form of the result") as caught:
        engine_of(module)(*given, out=out)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("out", "kind", "message"),
    [
        (torch.empty(2, 3), ArgumentTypeError, "another kind than the inputs"),
        ([[0.0] * 3] * 2, ArgumentTypeError, "form"),
        (trtnet.zeros(2, 3), ArgumentTypeError, "another kind than the inputs"),
        ("abc", ArgumentTypeError, "another kind than the inputs"),
        (np.empty((3, 3), np.float32), ShapeError, "wrong shape"),
        (np.empty((2, 3, 1), np.float32), ShapeError, "wrong shape"),
        (np.empty((2, 3), np.float64), DtypeError, "wrong dtype"),
        (np.empty((2, 3), np.float16), DtypeError, "wrong dtype"),
    ],
)
def test_out_that_does_not_fit(out, kind, message):
    with pytest.raises(kind, match=message):
        engine_of()(x(), out=out)


def test_numpy_out_for_torch_inputs():
    with pytest.raises(ArgumentTypeError, match="another kind than the inputs") as caught:
        engine_of()(torch.from_numpy(x()), out=np.empty((2, 3), np.float32))
    assert "a torch tensor" in str(caught.value)


# --- arrays of other libraries ----------------------------------------------------------------------------------------


def test_dlpack_in_gives_an_object_that_offers_it():
    class Owner:
        array = x()
        handle = array.ctypes.data

    engine = engine_of()
    found = engine(DeviceArray(Owner, (2, 4), trtnet.float32, None, _kind=CPU))
    np.testing.assert_array_equal(np.from_dlpack(found), engine(x()))


# --- life -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [One, Two, Named])
def test_warmup(module):
    engine = engine_of(module)
    assert engine.warmup() is None
    assert engine.generation == 0


def test_a_closed_engine_says_so_at_every_use():
    engine = engine_of(live=["fc1.bias"])
    snapshot, live = engine.snapshot(), {"fc1.bias": torch.zeros(6)}
    context, bound = engine.context(), engine.bind(torch.zeros(2, 4))
    engine.close()
    engine.close()
    uses = {
        "call": lambda: engine(x()),
        "bind": lambda: engine.bind(torch.zeros(2, 4)),
        "bound": bound,
        "context": engine.context,
        "in a context": lambda: context(x()),
        "bound in a context": lambda: context.bind(torch.zeros(2, 4)),
        "refit": lambda: engine.refit(engine.graph.state_dict()),
        "snapshot": engine.snapshot,
        "restore": lambda: engine.restore(snapshot),
        "parameters": engine.parameters,
        "weights": lambda: engine.weights,
        "bind_weights": lambda: engine.bind_weights(live),
        "clone": engine.clone,
        "save": lambda: engine.save("never.engine"),
        "warmup": engine.warmup,
    }
    for name, use in uses.items():
        with pytest.raises(EngineError, match="cannot be used any more: it was closed") as caught:
            use()
        assert "build or load it again" in str(caught.value), name


def test_with():
    with engine_of() as engine:
        assert engine(x()).shape == (2, 3)
    assert engine.closed == "it was closed"
    with pytest.raises(EngineError, match="closed"):
        engine(x())
    with pytest.raises(KeyError), engine_of() as engine:
        raise KeyError
    assert engine.closed


@pytest.mark.parametrize("use", [pickle.dumps, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("make", [engine_of, lambda: engine_of().context()])
def test_engines_are_not_pickled(use, make):
    with pytest.raises(EngineError, match="cannot be pickled or copied") as caught:
        use(make())
    assert "engine.save(path)" in str(caught.value)


def test_a_dropped_engine_is_freed_at_once():
    engine = engine_of()
    engine(x())
    engine.context()(x())
    engine.bind(torch.zeros(2, 4))()
    gone = weakref.ref(engine)
    gc.disable()
    try:
        del engine
        assert gone() is None
    finally:
        gc.enable()


def test_specs_and_repr():
    engine = engine_of(Named)
    assert [(s.name, s.dtype) for s in engine.inputs] == [("x", trtnet.float32), ("bias", trtnet.float32)]
    assert [s.name for s in engine.outputs] == ["hidden", "result"]
    assert repr(engine).startswith("ReferenceEngine(x=(")
    assert repr(engine.context()) == f"Context of {engine!r}"


# --- refits -----------------------------------------------------------------------------------------------------------


def test_a_report_says_what_changed():
    engine = engine_of()
    state = weights(1, engine.graph)
    first = engine.refit(state)
    assert first.unchanged == []
    assert set(first.given) == set(state)
    assert first.seconds > 0
    again = engine.refit(state)
    assert again.changed == []
    assert set(again.unchanged) == set(again.given)
    assert re.search(
        r"refitted 0 weights from 6 parameters in .* ms \(6 parameters had these values already\)", str(again)
    )
    one = engine.refit(state | {"fc1.bias": state["fc1.bias"] + 1})
    assert len(one.unchanged) == 5
    assert one.changed == ["fc1.bias"] or any("fc1.bias" in name for name in one.changed)
    assert engine.generation == 3


def test_bytes_decide_what_changed():
    engine = engine_of()
    zeros, nan = np.zeros(6, np.float32), np.full(6, np.nan, np.float32)
    engine.refit({"fc1.bias": zeros})
    assert engine.refit({"fc1.bias": -zeros}).unchanged == []
    engine.refit({"fc1.bias": nan}, finite=None)
    assert engine.refit({"fc1.bias": nan.copy()}, finite=None).unchanged == ["fc1.bias"]
    assert engine.refit({"fc1.bias": (nan.view(np.uint32) + 1).view(np.float32)}, finite=None).unchanged == []


def test_fixed_weights_are_refused():
    graph = engine_of().graph
    with pytest.warns(UserWarning, match="reference") if trtnet.provider.executing() is None else pytest.warns():
        engine = trtnet.build(graph, refit="fc2.*")
    before = engine(x())
    with pytest.raises(WeightsError, match="fixed when the engine was built") as caught:
        engine.refit({"fc1.bias": np.ones(6, np.float32), "fc2.bias": np.ones(3, np.float32)})
    assert "fc1.bias" in str(caught.value)
    np.testing.assert_array_equal(engine(x()), before)
    engine.refit({"fc2.bias": np.ones(3, np.float32)})
    assert (engine(x()) != before).any()


class Trunk(nn.Module):
    """A trunk in half precision, a head, and a critic that no output depends on; `again` is tied to the trunk."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head, self.critic = nn.Linear(4, 6).half(), nn.Linear(6, 3), nn.Linear(6, 1)
        self.register_buffer("scale", np.array([2.0, 0.0, np.nan, 1.0], np.float32))
        self.again = self.trunk

    def forward(self, x):
        y = self.trunk(x.half()).float()
        self.critic(y)
        return self.head(y) * self.scale[0]


def heads(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = trtnet.build(trtnet.record(Trunk(), x=Input((2, 4))), provider="reference", refit="head.*")
    return HotSwap(engine) if kind == "swap" else engine.context() if kind == "context" else engine


def given_state(engine, version):
    """Of all parameters, as a trainer has them: the head's of this version, the rest as they were."""
    state = {name: np.array(value) for name, value in engine.graph.state_dict().items()}
    return state | {"head.bias": np.full(3, version, np.float32), "critic.bias": np.full(1, version, np.float32)}


@pytest.mark.parametrize("kind", ["engine", "swap", "context"])
@pytest.mark.parametrize("how", [np.array, lambda value: torch.from_numpy(np.array(value)), torch.nn.Parameter])
def test_fixed_weights_of_equal_value_are_passed_over(kind, how):
    engine = heads(kind)
    zeros = np.zeros((2, 4), np.float32)
    before = engine(zeros)
    for version in (1, 2):
        state = given_state(engine, version)
        make = how if how is not torch.nn.Parameter else lambda value: torch.nn.Parameter(torch.from_numpy(value))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of the NaN in what is passed over
            report = engine.refit({name: make(value) for name, value in state.items()}, version=version)
        assert report.given == ["head.weight", "head.bias"]
        assert report.changed == ["head.bias"]
        assert engine.version == version
        with engine.update(version=version + 10, complete=True) as update:
            for name, value in given_state(engine, version + 10).items():
                update.put(name, make(value))
        assert update.report.changed == ["head.bias"]
    np.testing.assert_allclose(engine(zeros) - before, 2 * (12 - engine.graph.state_dict()["head.bias"]) + 0 * before)


def test_a_fixed_weight_of_another_value_changes_nothing():
    engine = heads("engine")
    before = engine(np.ones((2, 4), np.float32))
    state = given_state(engine, 7)
    for name, value in state.items():
        if not name.startswith(("trunk.", "again.")):
            continue
        other = value.copy()
        other.reshape(-1)[-1] += 1
        keys = dict.fromkeys((name, name.replace("trunk", "again"), name.replace("again", "trunk")), other)
        with pytest.raises(WeightsError, match="were fixed when the engine was built, and other values") as caught:
            engine.refit(state | keys)
        assert name in caught.value.found
        with pytest.raises(WeightsError, match="other values are given"), engine.update() as update:
            update.put(name, other)
    negative = state | {"scale": np.array([2.0, -0.0, np.nan, 1.0], np.float32)}
    with pytest.raises(WeightsError, match="other values are given") as caught:
        engine.refit(negative)
    assert caught.value.found == "scale"
    assert engine.generation == 0
    np.testing.assert_array_equal(engine(np.ones((2, 4), np.float32)), before)


def test_fixed_weights_are_compared_with_the_engines_own_and_not_with_the_modules_present_ones():
    net = Trunk()
    graph = trtnet.record(net, x=Input((2, 4)))
    engine = trtnet.build(graph, provider="reference", refit="head.*")
    new = {name: np.array(value) + 1 for name, value in net.state_dict().items()}
    net.load_state_dict(new)
    with pytest.raises(WeightsError, match="other values are given"):
        engine.refit(net)


def test_fixed_weights_of_equal_value_after_saving(tmp_path):
    engine = heads("engine")
    path = engine.save(tmp_path / "heads.engine")
    loaded = trtnet.load(path, provider="reference")
    loaded.refit(given_state(engine, 5))
    with pytest.raises(WeightsError, match="other values are given"):
        loaded.refit({"trunk.bias": np.ones(6, np.float16)})


@pytest.mark.parametrize("finite", ["no", True, 1])
def test_finite_is_checked(finite):
    with pytest.raises(ArgumentTypeError, match="finite is none of the known ones"):
        engine_of().refit({}, finite=finite)


def test_parameters_are_the_present_ones_and_copies():
    engine = engine_of()
    state = weights(3, engine.graph)
    engine.refit(state)
    found = engine.parameters()
    assert set(found) >= {"fc1.weight", "fc1.bias", "fc2.weight"}
    for name in ("fc1.weight", "fc1.bias", "fc2.weight"):
        np.testing.assert_array_equal(found[name], state[name], strict=True)
    before = engine(x())
    found["fc1.weight"][:] = 0
    np.testing.assert_array_equal(engine(x()), before)
    assert engine.refit(engine.parameters()).changed == []


# --- bind -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("module", [One, Two, Named])
def test_a_bound_call_reads_its_tensors_and_keeps_its_results(module, graph):
    engine = engine_of(module)
    given = [torch.from_numpy(x(3))] + ([torch.zeros(6)] if module is Named else [])
    call = engine.bind(*given, graph=graph)
    assert call.tensors == given
    first = call()
    assert first is call.result
    for seed in range(3):
        given[0].copy_(torch.from_numpy(x(3, seed)))
        assert call() is first
        found, wanted = engine._flat(first), engine._flat(engine(*given))
        for mine, theirs in zip(found, wanted, strict=True):
            assert mine.dtype == theirs.dtype
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_bound_call_takes_names_and_follows_refits():
    engine = engine_of(Named)
    call = engine.bind(torch.from_numpy(x()), bias=torch.zeros(6))
    before = {name: value.clone() for name, value in call().items()}
    assert call.generation == 0
    engine.refit({"fc1.bias": engine.parameters()["fc1.bias"] + 1})
    assert call.generation == 0
    found = call()
    assert call.generation == 1
    torch.testing.assert_close(found["hidden"] - before["hidden"], torch.ones(2, 6))


def test_float64_results_of_a_bound_call():
    engine = engine_of(dtype="float64", raw=True)
    call = engine.bind(torch.from_numpy(x()).double())
    assert call().dtype is torch.float64
    torch.testing.assert_close(call.result, engine(torch.from_numpy(x()).double()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("value", "problem", "found", "remedy"),
    [
        (x(), "cannot be bound", "ndarray", "buffer.copy_(new)"),
        (torch.zeros(4, 2).t(), "cannot be bound", "not contiguous", "buffer.copy_(new)"),
        (torch.zeros(2, 4, device="meta"), "has no memory", "on the meta device", "give tensors that hold values"),
        ([1.0], "is no array", "list", "numpy.asarray"),
    ],
)
def test_what_cannot_be_bound(value, problem, found, remedy):
    with pytest.raises(ArgumentTypeError, match=f"input 'x' {problem}") as caught:
        engine_of().bind(value)
    assert found in str(caught.value)
    assert remedy in str(caught.value)


def test_bound_tensors_are_checked():
    engine = engine_of()
    with pytest.raises(DtypeError, match="wrong dtype"):
        engine.bind(torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(ShapeError, match="b"):
        engine.bind(torch.zeros(9, 4))
    with pytest.raises(ArgumentTypeError, match="not the engine's inputs"):
        engine.bind()
    with pytest.raises(ArgumentTypeError, match="not the engine's inputs"):
        engine.bind(torch.zeros(2, 4), torch.zeros(2, 4))


@pytest.mark.parametrize(
    "move",
    [
        lambda t: t.set_(torch.ones(2, 4)),
        lambda t: setattr(t, "data", torch.ones(2, 4)),
        lambda t: t.resize_(1, 4),
        lambda t: t.untyped_storage().resize_(0),
    ],
)
def test_a_bound_tensor_that_was_moved(move):
    engine = engine_of()
    tensor = torch.zeros(2, 4)
    call = engine.bind(tensor)
    call()
    move(tensor)
    with pytest.raises(EngineError, match="moved or resized: x") as caught:
        call()
    assert "bind again" in str(caught.value)


def test_bound_memory_is_kept_alive():
    engine = engine_of()
    call = engine.bind(torch.from_numpy(x()))
    gc.collect()
    np.testing.assert_array_equal(call(), engine(x()))


# --- contexts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared_memory", [False, True])
def test_contexts_are_called_as_the_engine_is(shared_memory):
    engine = engine_of(Named)
    bias = np.ones(6, np.float32)
    one, other = engine.context(shared_memory), engine.context(shared_memory=shared_memory)
    wanted = engine(x(), bias)
    for context in (one, other):
        found, generation = context(x(), bias=bias, with_generation=True)
        assert generation == 0
        np.testing.assert_array_equal(found["result"], wanted["result"])
    assert one.inputs == engine.inputs
    assert one.outputs == engine.outputs
    out = {"result": np.empty((2, 3), np.float32), "hidden": np.empty((2, 6), np.float32)}
    assert one(x(), bias, out=out)["result"] is out["result"]
    with pytest.raises(ShapeError):
        one(x(9), bias)


def test_contexts_share_weights_and_close_by_themselves():
    engine = engine_of()
    one, other = engine.context(), engine.context()
    bound = one.bind(torch.from_numpy(x()))
    report = one.refit({"fc1.bias": np.ones(6, np.float32)})
    assert report.given == ["fc1.bias"]
    assert (one.generation, other.generation, engine.generation) == (1, 1, 1)
    for found in (one(x()), other(x()), bound()):
        np.testing.assert_array_equal(found, engine(x()))
    snapshot = one.snapshot()
    np.testing.assert_array_equal(one.parameters()["fc1.bias"], np.ones(6, np.float32))
    np.testing.assert_array_equal(one.clone()(x()), engine(x()))
    assert one.weights["fc1.bias"].status == "refittable"
    other.refit({"fc1.bias": np.zeros(6, np.float32)})
    one.restore(snapshot)
    np.testing.assert_array_equal(engine.parameters()["fc1.bias"], np.ones(6, np.float32))
    with one:
        pass
    with pytest.raises(EngineError, match="its context was closed"):
        one(x())
    with pytest.raises(EngineError, match="its context was closed"):
        one.bind(torch.zeros(2, 4))
    np.testing.assert_array_equal(other(x()), engine(x()))
    engine.close()
    with pytest.raises(EngineError, match="it was closed"):
        other(x())


def test_eight_threads_with_a_context_each():
    engine = engine_of()
    values = [x(1 + index % 8, index) for index in range(8)]
    wanted = [engine(value) for value in values]
    failures = []

    def work(index):
        context = engine.context()
        for _ in range(20):
            found = context(values[index])
            if not np.array_equal(found, wanted[index]):
                failures.append(index)

    at_once(work, range(8))
    assert not failures


def test_what_was_made_in_inference_mode_serves_outside_of_it():
    engine, tensor = engine_of(), torch.from_numpy(x())
    with torch.inference_mode():
        call = engine.bind(tensor)
        call()
    np.testing.assert_array_equal(call(), engine(tensor))
    engine.refit({"fc1.bias": torch.ones(6)})
    np.testing.assert_array_equal(call(), engine(tensor))


@pytest.mark.parametrize("assign", [False, True])
def test_what_is_written_to_the_module_does_not_reach_the_engine(assign):
    net = One()
    learner = {name: torch.from_numpy(np.array(value)) for name, value in net.state_dict().items()}
    if assign:
        net.load_state_dict(learner, assign=True)
    engine = trtnet.reference(trtnet.record(net, x=Input(SHAPE)))
    arrays = net.state_dict() if not assign else {name: tensor.numpy() for name, tensor in learner.items()}
    old = {name: np.array(value) for name, value in arrays.items()}
    before = trtnet.reference(trtnet.record(net, x=Input(SHAPE)))(x())
    for array in arrays.values():
        array *= 1.5
        array += 0.25
    np.testing.assert_array_equal(engine(x()), before)
    found = engine.parameters()
    assert all(np.array_equal(found[name], old[name]) for name in found)
    snapshot = engine.snapshot()
    report = engine.refit(arrays)
    assert set(report.unchanged).isdisjoint(found)
    after = engine(x())
    assert (after != before).any()
    for array in arrays.values():
        array *= 3
    np.testing.assert_array_equal(engine(x()), after)
    engine.restore(snapshot)
    np.testing.assert_array_equal(engine(x()), before)


def freed(how, shape):
    tensor = torch.ones(*shape, device="meta" if how == "meta" else None)
    if how == "part":
        tensor = torch.ones(2, *shape)[1]
    if how != "meta":
        tensor.untyped_storage().resize_(0 if how == "all" else tensor.nbytes + 4)
    return tensor


@pytest.mark.parametrize("how", ["all", "part", "meta"])
@pytest.mark.parametrize("finite", ["warn", None])
def test_freed_tensors_are_refused(how, finite):
    engine = engine_of(live=["fc1.bias"])
    before = engine(x())
    whole = {"fc1.bias": torch.zeros(6), "fc2.weight": torch.zeros(3, 6)}
    for name in whole:
        with pytest.raises(WeightsError, match=rf"(?s){name}.*has no memory.*freed.*give tensors that hold values"):
            engine.refit(whole | {name: freed(how, whole[name].shape)}, finite=finite)
        np.testing.assert_array_equal(engine(x()), before)
    with pytest.raises(WeightsError, match="has no memory"):
        engine.bind_weights({"fc1.bias": freed(how, (6,))})
    with pytest.raises(WeightsError, match="has no memory"):
        One().load_state_dict({"fc1.bias": freed(how, (6,))}, strict=False)
    if how == "all":
        with pytest.raises(trtnet.TrtnetError):
            engine(freed(how, (2, 4)))
    np.testing.assert_array_equal(engine(x()), before)


# --- clones and HotSwap -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"live": ["fc1.weight", "fc1.bias"]}])
def test_a_clone_has_the_present_weights_and_goes_its_own_way(options):
    engine = engine_of(**options)
    engine.refit(weights(1, engine.graph))
    other = engine.clone()
    assert type(other) is type(engine)
    assert other.generation == 0
    assert other.serial != engine.serial
    assert (other.refittable, other.live) == (engine.refittable, engine.live)
    before = engine(x())
    np.testing.assert_array_equal(other(x()), before)
    other.refit(weights(2, engine.graph))
    np.testing.assert_array_equal(engine(x()), before)
    assert (other(x()) != before).any()
    with pytest.raises(ArgumentTypeError, match="no snapshot of this engine"):
        other.restore(engine.snapshot())


def test_a_clone_of_bound_weights_has_its_own():
    engine = engine_of(live=["fc1.weight", "fc1.bias"])
    learner = {name: torch.from_numpy(a) for name, a in weights(1, engine.graph).items() if name.startswith("fc1")}
    engine.bind_weights(learner)
    other, before = engine.clone(), engine(x())
    learner["fc1.bias"].add_(3)
    assert (engine(x()) != before).any()
    np.testing.assert_array_equal(other(x()), before)
    np.testing.assert_array_equal(engine.parameters()["fc1.bias"], learner["fc1.bias"])


def test_hotswap():
    engine = engine_of()
    swap = HotSwap(engine)
    model = dict(engine.graph.state_dict())
    for number in range(1, 8):
        part = {k: v for k, v in weights(number, engine.graph).items() if number % 3 == 0 or number % 2 == ("fc1" in k)}
        report = swap.refit(part)
        model |= part
        assert set(report.given) == set(part)
        assert swap.generation == number
        fresh = engine_of()
        fresh.refit({k: v for k, v in model.items() if not k.startswith("tied")})
        found, generation = swap(x(), with_generation=True)
        assert generation == number
        np.testing.assert_array_equal(found, fresh(x()))


@given(st.data())
def test_hotswap_with_failing_refits(data):
    """Whatever is given, and whatever fails: the active engine has what was given last."""
    engine = engine_of()
    names = [n for n in engine.graph.state_dict() if not n.startswith("tied")]
    swap, single = HotSwap(engine), engine_of()
    for number in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.lists(st.sampled_from(names), unique=True))
        part = {name: value for name, value in weights(number, engine.graph).items() if name in chosen}
        if data.draw(st.booleans(), label="fails"):
            before = swap.generation
            with pytest.raises(WeightsError):
                swap.refit(part | {"fc1.bias": np.zeros(5, np.float32)})
            assert swap.generation == before
        else:
            swap.refit(part)
            single.refit(part)
        np.testing.assert_array_equal(swap(x()), single(x()))


def test_hotswap_catches_up_with_what_is_not_given():
    swap, single = HotSwap(engine_of()), engine_of()
    state = weights(1, swap.active.graph)
    for step in range(3):
        report = swap.refit({f"module.{k}": v + np.float32(step) for k, v in state.items()}, prefix="module.")
        assert set(report.given) == set(state)
        every = report.changed
    report = swap.refit({"fc1.bias": state["fc1.bias"]})
    assert report.given == ["fc1.bias"]
    assert set(report.changed) == set(every), "the other engine had not had the third"
    report = swap.refit({"fc2.weight": state["fc2.weight"]})
    assert set(report.changed) == {"fc2.weight", "fc1.bias"}
    single.refit({k: v + np.float32(2) for k, v in state.items()} | {"fc1.bias": state["fc1.bias"]})
    single.refit({"fc2.weight": state["fc2.weight"]})
    np.testing.assert_array_equal(swap(x()), single(x()))


def test_a_call_that_was_held_up_runs_with_weights_that_there_were():
    """It took the active engine, which two refits later is changed while it runs."""
    swap = HotSwap(engine_of())
    held, states = swap.active, [weights(seed, swap.active.graph) for seed in (1, 2)]
    found, wanted, use = [], [], ReferenceEngine._use

    def looking(self, slots, generation):
        state = use(self, slots, generation)
        if self is held:
            found.append(held(x(), with_generation=True))
        return state

    single = engine_of()
    part = {"fc2.weight": states[1]["fc2.weight"]}
    for state in (states[0], part):
        single.refit(state)
        wanted.append(single(x()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReferenceEngine, "_use", looking)
        swap.refit(states[0])
        swap.refit(part)
    assert [generation for _, generation in found] == [2]
    np.testing.assert_array_equal(found[0][0], wanted[1])


def test_hotswap_refuses_as_an_engine_does():
    swap = HotSwap(engine_of())
    for wrong in (5, [np.zeros(3, np.float32)]):
        with pytest.raises(ArgumentTypeError, match="weights are given by name"):
            swap.refit(wrong)
    assert swap.generation == 0


def test_a_snapshot_is_given_to_restore():
    engine = engine_of()
    swap, snapshot = HotSwap(engine_of()), engine.snapshot()
    for take in (engine.refit, swap.refit, engine.context().refit, One().load_state_dict):
        with pytest.raises(ArgumentTypeError, match="weights are given by name") as caught:
            take(snapshot)
        assert caught.value.found == "Snapshot"
        assert "engine.restore(snapshot)" in caught.value.remedy
    assert engine.generation == 0


def test_hotswap_takes_tied_names():
    tied = trtnet.record(Tied(lambda: nn.Linear(4, 4, bias=False)), x=Input((2, 4)))
    swap = HotSwap(trtnet.reference(tied))
    for number in range(1, 5):
        value = np.eye(4, dtype=np.float32) * number
        swap.refit({"b.weight": value})
        np.testing.assert_array_equal(swap(np.ones((2, 4), np.float32)), np.full((2, 4), number**2))


def test_hotswap_never_serves_a_mixture():
    engine = engine_of()
    states = [weights(seed, engine.graph) for seed in range(3)]  # not two, which each engine would keep
    swap = HotSwap(engine)
    wanted = []
    for state in states:
        swap.refit(state)
        wanted.append(swap(x()))
    stop, wrong = threading.Event(), []

    def serve(number):
        while not stop.is_set():
            found, generation = swap(x(), with_generation=True)
            if not np.array_equal(found, wanted[(generation - 1) % 3]):
                wrong.append(generation)

    with beside(serve, range(3)):
        try:
            for number in range(100):
                assert swap.refit(states[number % 3]).changed
        finally:
            stop.set()
    assert not wrong
    assert swap.generation == 103


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_another_thread_holds_the_locks():
    engine = engine_of()
    swap, state = HotSwap(engine), weights(1, engine.graph)
    context, bound = engine.context(), engine.bind(torch.from_numpy(x()))
    held, done = threading.Event(), threading.Event()

    def hold():
        with swap._lock, engine._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        uses = (
            lambda: engine(x()), engine.context, lambda: engine.refit(state), engine.parameters, engine.snapshot,
            engine.clone, engine.inspect, lambda: engine.weights, lambda: swap(x()), lambda: swap.refit(state),
            lambda: engine.save("never.engine"), lambda: context(x()), bound,
        )  # fmt: skip
        refused = 0
        for use in uses:
            try:
                use()
            except EngineError as error:
                refused += "this process was forked" in str(error) and "'spawn'" in str(error)
        os._exit(7 if refused == len(uses) else refused)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_hotswap_has_everything_that_an_engine_has(tmp_path):
    engine = engine_of()
    swap = HotSwap(engine)
    assert isinstance(swap, Engine)
    assert (swap.graph, swap.inputs, swap.outputs) == (engine.graph, engine.inputs, engine.outputs)
    assert swap.serial not in (engine.serial, swap._idle.serial)
    swap.warmup()
    swap.refit(weights(3, engine.graph))
    assert swap.active is not engine
    wanted, single = swap(x()), engine_of()
    single.refit(weights(3, engine.graph))
    np.testing.assert_array_equal(wanted, single(x()))
    for name, value in swap.parameters().items():
        np.testing.assert_array_equal(value, single.parameters()[name])
    assert str(swap.weights) == str(single.weights)
    assert swap.inspect() == single.inspect()
    np.testing.assert_array_equal(swap.clone()(x()), wanted)
    assert type(swap.clone()) is type(engine)
    np.testing.assert_array_equal(trtnet.load(swap.save(tmp_path / "net.engine"))(x()), wanted)
    assert repr(swap) == f"HotSwap of {swap.active!r}"
    for one in (swap, swap.context()):
        with pytest.raises(ArgumentTypeError, match="a HotSwap keeps two engines"):
            HotSwap(one)


def test_snapshots_of_a_hotswap():
    """They outlive swaps: neither engine need be the one that was active."""
    engine = engine_of()
    swap = HotSwap(engine)
    swap.refit(weights(1, engine.graph))
    snapshot, before = swap.snapshot(), swap(x())
    for seed in (2, 3):
        swap.refit({"fc1.bias": weights(seed, engine.graph)["fc1.bias"]})
        assert (swap(x()) != before).any()
        swap.restore(snapshot)
        np.testing.assert_array_equal(swap(x()), before)
    assert swap.generation == 5
    with swap.undone():
        swap.refit(weights(4, engine.graph))
        assert (swap(x()) != before).any()
    np.testing.assert_array_equal(swap(x()), before)
    assert swap.generation == 5
    for other in (engine.snapshot(), HotSwap(engine_of()).snapshot()):
        with pytest.raises(ArgumentTypeError, match="no snapshot of this engine"):
            swap.restore(other)


def test_bound_calls_and_contexts_of_a_hotswap():
    engine = engine_of()
    swap = HotSwap(engine)
    context, tensor = swap.context(), torch.from_numpy(x())
    bound, other = swap.bind(tensor), context.bind(tensor)
    result = bound.result
    for number in range(1, 5):
        swap.refit(weights(number, engine.graph))
        wanted = swap(x())
        assert bound() is result
        assert bound.generation == number
        np.testing.assert_array_equal(result, wanted)
        np.testing.assert_array_equal(other(), wanted)
        found, generation = context(x(), with_generation=True)
        np.testing.assert_array_equal(found, wanted)
        assert (generation, context.generation) == (number, number)
    tensor.resize_(0)
    with pytest.raises(EngineError, match="moved or resized"):
        bound()
    context.refit(weights(9, engine.graph))
    assert swap.generation == 5
    context.close()
    with pytest.raises(EngineError, match="its context was closed"):
        context(x())
    np.testing.assert_array_equal(swap(x()), swap.context()(x()))
    again = swap.context()
    swap.close()
    for use in (lambda: again(x()), swap.context, swap.snapshot, lambda: swap.bind(torch.from_numpy(x()))):
        with pytest.raises(EngineError, match="it was closed"):
            use()


def test_live_weights_of_a_hotswap():
    swap = HotSwap(engine_of(live=["fc1.weight", "fc1.bias"]))
    graph = swap.graph
    swap.refit(weights(1, graph))  # the idle engine is behind with these
    learner = {name: torch.from_numpy(a) for name, a in weights(2, graph).items() if name.startswith("fc1")}
    swap.bind_weights(learner)
    assert swap.generation == 2
    others = {name: value for name, value in weights(3, graph).items() if not name.startswith("fc1")}
    for number in range(3):
        learner["fc1.bias"].add_(1)
        snapshot = swap.snapshot()
        swap.refit(others)
        single = engine_of()
        single.refit(others | {name: tensor.numpy() for name, tensor in learner.items()})
        np.testing.assert_array_equal(swap(x()), single(x()))
        swap.restore(snapshot)
        assert swap.generation == 2 * number + 4


def test_hotswap_of_a_context():
    engine = engine_of()
    swap = HotSwap(engine.context())
    for seed in range(1, 5):
        swap.refit(weights(seed, engine.graph))
        other = engine_of()
        other.refit(weights(seed, engine.graph))
        np.testing.assert_array_equal(swap(x()), other(x()))
    assert swap.generation == 4


def test_a_context_has_everything_that_an_engine_has():
    engine = engine_of()
    context = engine.context()
    own = {"__init__", "__call__", "__enter__", "__exit__", "__reduce__", "bind", "close", "warmup"}
    own |= {
        "keep_checked",
        "closed_error",
        "refit",
        "bind_weights",
        "update",
    }  # a refit ends in _refit_with, which is handed on
    missing = [
        name
        for name, value in vars(Engine).items()
        if (callable(value) or isinstance(value, property))
        and not name.startswith("_")
        and name not in own
        and not any(name in vars(cls) for cls in type(context).__mro__[: type(context).__mro__.index(Engine)])
    ]
    assert missing == []
    context.refit(weights(3, engine.graph))
    snapshot, before = context.snapshot(), context(x())
    engine.refit(weights(4, engine.graph))
    context.restore(snapshot)
    np.testing.assert_array_equal(engine(x()), before)
    assert context.inspect() == engine.inspect()


def test_inspect_names_the_layers_and_bindings():
    engine = engine_of()
    found = engine.inspect()
    assert found["Layers"] == [layer.name for layer in engine.graph.layers]
    assert found["Bindings"] == [*engine.graph.inputs, *engine.graph.outputs]
    engine.close()
    with pytest.raises(EngineError, match="it was closed"):
        engine.inspect()


def test_an_input_named_self():
    graph = trtnet.record(lambda self, x: self - x, self=Input((2,)), x=Input((2,)))
    engine, a, b = trtnet.reference(graph), np.array([5, 6], np.float32), np.array([1, 2], np.float32)
    for one in (engine, engine.context(), HotSwap(engine)):
        np.testing.assert_array_equal(one(self=a, x=b), a - b)
    bound = engine.bind(self=torch.from_numpy(a), x=torch.from_numpy(b))
    np.testing.assert_array_equal(bound().numpy(), a - b)
    np.testing.assert_array_equal(engine.context().bind(self=torch.from_numpy(a), x=torch.from_numpy(b))(), a - b)


def test_what_calls_take_beside_inputs_cannot_name_one():
    parameters = inspect.signature(Engine.__call__).parameters.values()
    options = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert set(options) == set(RESERVED)
    for name in options:
        with pytest.raises(ArgumentError, match=rf"(?s)'{name}' cannot be the name of an input.*rename"):
            trtnet.record(lambda **inputs: next(iter(inputs.values())) + 1, **{name: Input((2,))})


def test_hotswap_closes_both():
    with HotSwap(engine_of()) as swap:
        swap.refit(weights(1, swap.active.graph))
        engines = [swap.active, swap._idle]
    assert [engine.closed for engine in engines] == ["it was closed"] * 2
    for use in (lambda: swap(x()), lambda: swap.refit(weights(2, engines[0].graph))):
        with pytest.raises(EngineError, match="it was closed"):
            use()


# --- the audit, and files ---------------------------------------------------------------------------------------------


def test_weights_lists_every_parameter():
    engine = engine_of(live=["fc1.bias"])
    assert {row.parameter: row.status for row in engine.weights} == {
        **dict.fromkeys(engine.graph.parameters, "refittable"),
        "fc1.bias": "live", "unused.weight": "unused", "unused.bias": "unused",
    }  # fmt: skip
    assert "fc1.weight" in str(engine.weights)


def test_save_and_load(tmp_path):
    engine = engine_of()
    engine.refit(weights(5, engine.graph))
    engine.save(tmp_path / "net.fp32.engine")
    other = trtnet.load(tmp_path / "net.fp32.engine")
    assert type(other) is type(engine)
    np.testing.assert_array_equal(other(x()), engine(x()))


def test_no_such_name():
    with pytest.raises((AttributeError, NameNotFoundError)):
        engine_of().nothing  # noqa: B018
