"""Ctrl-C at every place of a function."""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import os
import signal
import sys
import threading

import numpy as np
from cases import randomize
from networks import Policy, same

import trtnet

PLACES = os.path.dirname(trtnet.__file__) + os.sep, contextlib.__file__
X = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)


def everywhere(use, step=1):
    """Calls `use` until it is done without, with Ctrl-C at the first event of tracing in trtnet's files or contextlib,
    then at the (1 + step)-th, and so on. Yields whether it raised KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for place in itertools.count(0, step):
            events, interrupted = itertools.count(), False
            sys.settrace(functools.partial(tracing, events, place))
            try:
                use()
            except KeyboardInterrupt:
                interrupted = True
            finally:
                sys.settrace(None)
            yield interrupted
            if next(events) <= place:
                assert not interrupted
                return
    finally:
        signal.signal(signal.SIGINT, before)


def tracing(events, place, frame, event, _):
    """What traces a frame."""
    if not frame.f_code.co_filename.startswith(PLACES):
        return None
    begun = set()

    def trace(frame, event, _):
        line = frame.f_lineno
        if event == "line" and linecache.getline(frame.f_code.co_filename, line).lstrip().startswith("with "):
            if line in begun:  # between the block and its __exit__, where Python hears no signal
                return trace
            begun.add(line)
        if next(events) == place and not in_a_finalizer(frame):
            signal.raise_signal(signal.SIGINT)
        return trace

    return trace(frame, event, None)


def in_a_finalizer(frame):
    """There Python drops any exception."""
    while frame is not None:
        if frame.f_code.co_name in ("_free", "__del__"):
            return True
        frame = frame.f_back
    return False


def elsewhere(use):
    """What `use` gives in another thread, which must not find a lock held."""
    found = []
    thread = threading.Thread(target=lambda: found.append(use()), daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert found, "it failed, or a lock is held"
    return found[0]


def states():
    """Weights of networks.Policy; three, because HotSwap's engines would keep two."""
    return [{n: np.array(v) for n, v in randomize(Policy(), seed).state_dict().items()} for seed in (1, 2, 3)]


def changes_all_or_nothing(target, given, give, step=1):
    """Whether `give(one)` changes the target's weights to those of one of `given`, or Ctrl-C leaves all as they were.

    `given` has what `give` takes for each of `states()`.
    """
    wanted = []
    for one in given:
        give(one)
        wanted.append(target(X))
    generation, done, places = target.generation, 0, 0

    def use():
        give(given[done % 3])

    for interrupted in everywhere(use, step):
        changed = same(target(X), wanted[done % 3])
        assert changed or same(target(X), wanted[done % 3 - 1])
        assert changed or interrupted
        done, places = done + changed, places + 1
        assert target.generation == generation + done
        found, state = elsewhere(getattr(target, "active", target).parameters), states()[done % 3 - 1]
        assert all(np.array_equal(found[name], state[name]) for name in found)
    assert 1 < done < places, "Ctrl-C came before and after the change"
