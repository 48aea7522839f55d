"""Ctrl-C at many places of refits and of calls."""

from __future__ import annotations

import pytest
from interrupting import X, changes_all_or_nothing, everywhere, states
from networks import LEVEL, close, policy, same

import trtnet

torch = pytest.importorskip("torch")

STEP = 5


def on_gpu(state):
    return {name: torch.from_numpy(value).cuda() for name, value in state.items()}


@pytest.mark.parametrize("where", ["numpy", "cuda", "own live weights"])
def test_refit(where):
    engine = trtnet.build(policy(), refit=where != "own live weights", live=where == "own live weights", **LEVEL)
    given = states() if where == "numpy" else [on_gpu(state) for state in states()]
    changes_all_or_nothing(engine, given, engine.refit, STEP)


def test_refit_with_fresh_contexts():
    engine = trtnet.build(policy(), refit=True, **LEVEL)
    bound = engine.bind(torch.from_numpy(X).cuda(), graph=True)
    changes_all_or_nothing(engine, states(), lambda state: engine.refit(state, fresh_contexts=True), 3 * STEP)
    assert same(bound(), engine(X))


def test_hot_swap():
    swap = trtnet.HotSwap(trtnet.build(policy(), refit=True, **LEVEL))
    changes_all_or_nothing(swap, [on_gpu(state) for state in states()], swap.refit, STEP)


def test_restore():
    engine, snapshots = trtnet.build(policy(), refit=True, **LEVEL), []
    for state in states():
        engine.refit(state)
        snapshots.append(engine.snapshot())
    changes_all_or_nothing(engine, snapshots, engine.restore, STEP)


def test_bind_weights():
    engine = trtnet.build(policy(), live=True, **LEVEL)
    changes_all_or_nothing(engine, [on_gpu(state) for state in states()], engine.bind_weights, STEP)


@pytest.mark.parametrize("kind", ["numpy", "cuda", "graph", "bound", "bound graph", "context"])
def test_calls(kind):
    """The next call answers as ever."""
    engine = trtnet.build(policy(), **LEVEL)
    inputs = [X, X[::-1].copy()]
    wanted = [trtnet.reference(policy(), dtype="float64")(x) for x in inputs]
    if kind != "numpy":
        inputs = [torch.from_numpy(x).cuda() for x in inputs]
    calls = [engine, engine]
    if kind.startswith("bound"):
        bound = [engine.bind(x, graph="graph" in kind) for x in inputs]
        calls = [lambda x: bound[0](), lambda x: bound[1]()]
    elif kind == "graph":
        calls = [lambda x: engine(x, graph=True)] * 2
    elif kind == "context":
        calls[1] = lambda x: engine.context()(x)
    places = 0
    for _ in everywhere(lambda: calls[1](inputs[1])):
        for number in (0, 1, 0):  # the last before and the first after Ctrl-C are another's than that
            close(calls[number](inputs[number]), wanted[number])
        places += 1
    assert places > 5
