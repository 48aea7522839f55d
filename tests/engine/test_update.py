"""`engine.update()`: weights as they arrive, one commit, all or nothing."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from interrupting import changes_all_or_nothing, states
from networks import policy
from threads import beside

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Input, nn  # noqa: E402
from trtnet.errors import ArgumentTypeError, DtypeError, EngineError, WeightsError  # noqa: E402

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def net() -> Any:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def reference() -> Any:
    return trtnet.reference(trtnet.record(net(), input=Input((2, 3))))


def hot_swap() -> Any:
    return trtnet.HotSwap(reference())


def state(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(one.shape).astype(np.float32) for name, one in net().state_dict().items()}


def same(engine: Any, wanted: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(value, wanted[name]) for name, value in engine.parameters().items())


both = pytest.mark.parametrize("make", [reference, hot_swap])


@both
@pytest.mark.parametrize("move", [np.array, torch.tensor], ids=["arrays", "tensors"])
def test_what_was_put_may_be_overwritten(make: Any, move: Any) -> None:
    engine, buffer = make(), move(np.zeros(12, np.float32))
    for number in range(1, 4):
        before, wanted = engine(X), state(number)
        with engine.update() as update:
            for name, value in wanted.items():
                part = buffer[: value.size].reshape(value.shape)  # one buffer for all, as of a socket
                part[...] = move(value)
                update.put(name, part)
            assert np.array_equal(engine(X), before), "the old weights, until the end"
            update.version = number
        assert same(engine, wanted)
        assert (engine.version, engine.generation) == (number, number)
        assert update.report.given == list(wanted) == list(update.given)
        other = reference()
        other.refit(wanted)
        assert np.array_equal(engine(X), other(X))


@both
@pytest.mark.parametrize("error", [ConnectionError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_an_exception_leaves_the_engine_as_it_was(make: Any, error: type[BaseException]) -> None:
    engine = make()
    engine.refit(state(1), version=1)
    with pytest.raises(error), engine.update(version=2) as update:  # noqa: PT012
        update.put("0.weight", state(2)["0.weight"])
        raise error
    assert same(engine, state(1))
    assert (engine.version, engine.generation, update.report) == (1, 1, None)
    engine.refit(state(3), version=3)
    assert same(engine, state(3))


@both
def test_others_are_refused_while_one_is_open(make: Any) -> None:
    engine = make()
    snapshot, learner = engine.snapshot(), torch.nn.Sequential()
    with engine.update() as update:
        update.put("0.bias", np.ones(4, np.float32))
        for other in (
            lambda: engine.refit(state(1)),
            lambda: engine.context().refit(state(1)),
            lambda: engine.restore(snapshot),
            lambda: engine.update().__enter__(),
            update.__enter__,
        ):
            with pytest.raises(EngineError, match="update"):
                other()
        assert engine(X).shape == (2, 2)
    assert engine.generation == 1
    assert np.array_equal(engine.parameters()["0.bias"], np.ones(4)), learner
    with pytest.raises(EngineError, match="not open"):
        update.put("0.bias", np.ones(4, np.float32))


def test_one_that_was_dropped_is_over() -> None:
    engine = reference()
    engine.update().__enter__()
    engine.refit(state(1))
    assert same(engine, state(1))


@both
def test_what_does_not_fit_is_refused_at_once_and_the_update_goes_on(make: Any) -> None:
    engine = make()
    with engine.update() as update:
        for name, value, kind in (
            ("0.wieght", np.ones((4, 3), np.float32), WeightsError),
            ("0.weight", np.ones((3, 4), np.float32), WeightsError),
            ("0.weight", np.ones((4, 3), np.int32), DtypeError),
            (3, np.ones(3), ArgumentTypeError),
        ):
            with pytest.raises(kind):
                update.put(name, value)
        update.put("0.bias", np.ones(4))
        update.put("0.bias", np.ones(4, np.float32))
        with pytest.raises(WeightsError, match="put twice"):
            update.put("0.bias", np.zeros(4, np.float32))
    assert np.array_equal(engine.parameters()["0.bias"], np.ones(4))
    assert update.report.converted == {"0.bias": "float64"}


def test_names_are_those_of_a_refit() -> None:
    engine = reference()
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    agent = torch.nn.Module()
    agent.actor, agent.critic = torch.nn.utils.parametrizations.weight_norm(module[0]), torch.nn.Linear(3, 1)
    with engine.update(prefix="actor.", rename=lambda name: "0." + name) as update:
        for name, value in torch.compile(agent).state_dict().items():
            update.put(name, value)
    assert sorted(update.report.given) == ["0.bias", "0.weight"]
    np.testing.assert_allclose(engine.parameters()["0.weight"], module[0].weight.detach(), rtol=1e-6)
    before = engine.parameters()
    with pytest.raises(WeightsError, match=r"original1"), engine.update() as update:
        update.put("2.parametrizations.weight.original1", np.ones((2, 4), np.float32))
    with pytest.raises(WeightsError, match="nothing that was put is meant"), engine.update(select="2.*") as update:
        update.put("0.bias", np.ones(4, np.float32))
    assert same(engine, before)


def test_what_selects_is_read_once_and_checked_at_once() -> None:
    engine = trtnet.reference(trtnet.record(nn.Linear(3, 2), input=Input((1, 3))))
    state = {name: value + 1 for name, value in engine.parameters().items()}
    with engine.update(select=iter(["weight", "bias"])) as update:
        for name, value in state.items():
            update.put(name, value)
    assert sorted(update.report.given) == ["bias", "weight"]
    for wrong, text in (({"select": 3}, "select is no pattern"), ({"rename": 3}, "rename gives no names")):
        with pytest.raises(ArgumentTypeError, match=text):
            engine.update(**wrong)
    with pytest.raises(ArgumentTypeError, match="rename gives no name for 'bias'"), engine.update(rename=len) as update:
        update.put("bias", state["bias"])
    assert same(engine, state)


def test_calls_beside_an_update_see_all_of_it_or_nothing() -> None:
    engine = trtnet.HotSwap(trtnet.reference(trtnet.record(nn.Linear(4, 64), input=Input((1, 4)))))
    engine.refit({"weight": np.zeros((64, 4), np.float32), "bias": np.zeros(64, np.float32)}, version=0)
    stop, wrong = threading.Event(), []

    def call(number: int) -> None:
        while not stop.is_set():
            result, version = engine(np.ones((1, 4), np.float32), with_version=True)
            if not (result == 5 * version).all():
                wrong.append((version, result[0, :3]))

    with beside(call, range(2)):
        try:
            for number in range(1, 60):
                with engine.update(version=number) as update:
                    update.put("weight", np.full((64, 4), number, np.float32))
                    update.put("bias", np.full(64, number, np.float32))
        finally:
            stop.set()
    assert not wrong


def test_chunks_are_not_kept() -> None:
    count, size = 8, 1 << 18
    engine = trtnet.reference(trtnet.record(nn.Sequential(*[nn.Linear(512, 512, bias=False) for _ in range(count)]),
                                            input=Input((1, 512))))  # fmt: skip
    engine(np.ones((1, 512), np.float32))
    tracemalloc.start()
    try:
        with engine.update() as update:
            for number in range(count):
                update.put(f"{number}.weight", np.full((512, 512), number, np.float32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * 4 * size, "NumPy's arrays: one chunk at a time; the engine's own copy is torch's"


def put(engine: Any) -> Any:
    def give(one: dict[str, np.ndarray]) -> None:
        with engine.update() as update:
            for name, value in one.items():
                update.put(name, value)

    return give


@pytest.mark.parametrize("swap", [False, True])
def test_ctrl_c(swap: bool) -> None:
    engine: Any = trtnet.reference(policy())
    engine = trtnet.HotSwap(engine) if swap else engine
    changes_all_or_nothing(engine, states(), put(engine), step=7)


@both
def test_a_sender_that_ends_early(make: Any) -> None:
    """`complete=True`: as a stream that ends between two weights and raises nothing."""
    engine, first = make(), state(1)
    engine.refit(first)
    before = engine(X)

    def ends_early() -> None:
        with engine.update(complete=True) as update:
            for name in list(first)[:-1]:
                update.put(name, state(2)[name])

    with pytest.raises(WeightsError, match="the update ended before every weight was put") as caught:
        ends_early()
    assert caught.value.expected == "4 weights"
    assert caught.value.found == "without 2.bias"
    assert same(engine, first)
    np.testing.assert_array_equal(engine(X), before)
    with engine.update(complete=True, version=3) as update:
        for name, value in state(2).items():
            update.put(name, value)
    assert same(engine, state(2))


def test_tied_and_frozen_weights_complete_an_update() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight
            self.scale = nn.Parameter(np.float32(2.0))

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x)) * trtnet.frozen(self.scale).item()

    engine = trtnet.reference(trtnet.record(Tied(), x=Input((2, 3))))
    with engine.update(complete=True) as update:
        for name in ("a.weight", "a.bias", "b.bias"):
            update.put(name, np.ones_like(engine.parameters()[name]))
    assert update.report is not None
    assert engine.generation == 1


class Spare(nn.Module):
    """Has weights that no output depends on, and a buffer that no `state_dict` holds."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(3, 3), nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)  # with num_batches_tracked
        self.register_buffer("scale", trtnet.tensor([2.0]), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.norm(self.used(x)) * self.scale


def spare() -> Any:
    return trtnet.reference(trtnet.record(Spare().eval(), x=Input((2, 3))))


@pytest.mark.parametrize("named", [lambda engine: Spare().state_dict(), lambda engine: engine.parameters()])
def test_what_senders_have_completes_an_update(named: Any) -> None:
    """A trainer sends its `state_dict`, which lacks `scale`; another engine what the network uses."""
    engine = spare()
    sent = {name: np.array(value) + np.array(value).dtype.type(1) for name, value in named(engine).items()}
    with engine.update(complete=True) as update:
        for name, value in sent.items():
            update.put(name, value)
    assert np.array_equal(engine.parameters()["used.bias"], sent["used.bias"])
    for left_out in ("used.bias", "norm.running_var"):
        assert incomplete(engine, sent.keys() - {left_out}, sent).found == f"without {left_out}"


def incomplete(engine: Any, names: Any, sent: dict[str, Any], **options: Any) -> WeightsError:
    def sends() -> None:
        with engine.update(complete=True, **options) as update:
            for name in names:
                update.put(name, sent[name])

    with pytest.raises(WeightsError, match="before every weight was put") as caught:
        sends()
    return caught.value


@pytest.mark.parametrize("swap", [False, True])
def test_live_weights_of_the_engines_own_belong_to_an_update(swap: bool) -> None:
    """Until they are a trainer's."""
    graph = trtnet.record(Spare().eval(), x=Input((2, 3)))
    engine: Any = trtnet.build(graph, provider="reference", refit=["norm.*"], live=["used.*"])
    engine = trtnet.HotSwap(engine) if swap else engine
    sent = {name: value + np.float32(1) for name, value in engine.parameters().items() if name != "scale"}
    norm = [name for name in sent if name.startswith("norm.")]
    assert incomplete(engine, norm, sent).found == "without used.weight, used.bias"
    with engine.update(complete=True) as update:
        for name, value in sent.items():
            update.put(name, value)
    engine.bind_weights({name: torch.zeros(sent[name].shape) for name in ("used.weight", "used.bias")})
    with engine.update(complete=True) as update:
        for name in norm:
            update.put(name, sent[name])
    assert set(update.given) == set(norm)


def test_a_part_that_is_selected_completes_an_update() -> None:
    engine = spare()
    sent = {name: value + np.float32(1) for name, value in engine.parameters().items()}
    with engine.update(complete=True, prefix="actor.", select="used.*") as update:
        for name, value in sent.items():
            update.put(f"actor.{name}", value)
    assert set(update.given) == {"used.weight", "used.bias"}
    error = incomplete(engine, ["used.weight"], sent, select="used.*")
    assert (error.expected, error.found) == ("2 weights", "without used.bias")
    assert incomplete(engine, [], sent, select="usde.*").found.startswith("without used.weight, used.bias, ")
