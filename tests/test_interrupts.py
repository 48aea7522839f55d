"""Ctrl-C at every place of what changes weights: all of it was done, or nothing, and no lock is held."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from cases import randomize
from networks import Policy, policy, same

torch = pytest.importorskip("torch")

from interrupting import elsewhere, everywhere  # noqa: E402

import trtnet  # noqa: E402
from trtnet import interrupts  # noqa: E402

X = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)


def states():
    return [{n: np.array(v) for n, v in randomize(Policy(), seed).state_dict().items()} for seed in (1, 2, 3)]


def check(target, give, step=1):
    """`give(state)` changes target's weights to a state, or Ctrl-C leaves all of them as they were."""
    wanted = []
    for state in states():
        give(state)
        wanted.append(target(X))
    engine, given = getattr(target, "active", target), states()
    generation, done, places = target.generation, 0, 0

    def use():
        give(given[done % 3])

    for interrupted in everywhere(use, step):
        changed = same(target(X), wanted[done % 3])
        assert changed or same(target(X), wanted[done % 3 - 1])
        assert changed or interrupted
        done, places = done + changed, places + 1
        assert target.generation == generation + done
        engine = getattr(target, "active", target)
        found = elsewhere(engine.parameters)
        assert all(np.array_equal(found[name], given[done % 3 - 1][name]) for name in found)
    assert 1 < done < places, "Ctrl-C came before and after the change"


def test_refit():
    engine = trtnet.reference(policy())
    check(engine, engine.refit)


def test_hot_swap():
    swap = trtnet.HotSwap(trtnet.reference(policy()))
    check(swap, swap.refit)


def test_restore():
    engine = trtnet.reference(policy())
    snapshots = {}
    for state in states():
        engine.refit(state)
        snapshots[state["value.bias"].tobytes()] = engine.snapshot()
    check(engine, lambda state: engine.restore(snapshots[state["value.bias"].tobytes()]))


def test_bind_weights():
    engine = trtnet.reference(policy(), live=list(policy().parameters))
    tensors = {s["value.bias"].tobytes(): {n: torch.from_numpy(v) for n, v in s.items()} for s in states()}
    check(engine, lambda state: engine.bind_weights(tensors[state["value.bias"].tobytes()]))


def test_heard_once_and_by_the_handler_that_was_there():
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with interrupts.later():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            with interrupts.later():
                signal.raise_signal(signal.SIGINT)
            assert heard == []
        assert heard == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT] * 2
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with interrupts.later():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        elsewhere(lambda: interrupts.later().__enter__())
        assert heard == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_and_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught, interrupts.later():  # noqa: PT012
            signal.raise_signal(signal.SIGINT)
            raise ValueError("of its own")
        assert isinstance(caught.value.__context__, ValueError)
    finally:
        signal.signal(signal.SIGINT, before)
