"""Ctrl-C at every place of what changes weights: all of it was done, or nothing, and no lock is held."""

from __future__ import annotations

import signal

import pytest
from interrupting import changes_all_or_nothing, elsewhere, states
from networks import policy

import trtnet
from trtnet.basics import interrupts

torch = pytest.importorskip("torch")


def test_refit():
    engine = trtnet.reference(policy())
    changes_all_or_nothing(engine, states(), engine.refit)


def test_hot_swap():
    swap = trtnet.HotSwap(trtnet.reference(policy()))
    changes_all_or_nothing(swap, states(), swap.refit)


def test_restore():
    engine, snapshots = trtnet.reference(policy()), []
    for state in states():
        engine.refit(state)
        snapshots.append(engine.snapshot())
    changes_all_or_nothing(engine, snapshots, engine.restore)


def test_bind_weights():
    engine = trtnet.reference(policy(), live=list(policy().parameters))
    tensors = [{name: torch.from_numpy(value) for name, value in state.items()} for state in states()]
    changes_all_or_nothing(engine, tensors, engine.bind_weights)


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
