"""Rows of gpu.py: what calls in one thread wait for while another refits."""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import torch
from _gpu_refit import states
from _gpu_rows import reported
from _gpu_session import Session

import trtnet
from trtnet.tensorrt.run import refit_without_gil as unlocked

SWAP, LOCKED, ONE, NONE = "HotSwap", "HotSwap, refit by the bindings", "one engine", "no refit"


def serving(session: Session) -> None:
    for name in ("policy", "resnet18"):
        if session.wants(name):
            with session.part(name):
                _one(session, name)


def _one(session: Session, name: str) -> None:
    case = session.case(name, 1)
    one = session.build(case, refit=True)
    swap = trtnet.HotSwap(one.clone())
    first, second = states(case)
    third = {n: v * 0.99 if v.is_floating_point() else v for n, v in first.items()}
    turns = {id(target): itertools.cycle((second, third, first)) for target in (one, swap)}  # two, and each would stay

    def refit(target: Any) -> Callable[[], None]:
        def give() -> None:
            assert target.refit(next(turns[id(target)])).changed

        return give

    for target in (one, swap):
        for _ in range(3):  # the weights of the model are the last
            refit(target)()
    with session.clock.here(), torch.inference_mode():
        agree, errors = session.agree(case, {SWAP: swap(case.x), ONE: one(case.x)})
    seconds = statistics.median(session.clock.once(refit(swap)) for _ in range(session.repeats(6)))

    def locked() -> None:
        with mock.patch.object(unlocked, "refit", lambda refitter: refitter.refit_cuda_engine()):
            refit(swap)()

    with ThreadPoolExecutor(1) as pool:
        calls = {
            SWAP: (swap, refit(swap)), LOCKED: (swap, locked), ONE: (one, refit(one)),
            NONE: (swap, functools.partial(time.sleep, seconds)),
        }  # fmt: skip
        samplers = {
            label: functools.partial(_calls, session, pool, functools.partial(engine, case.x), work)
            for label, (engine, work) in calls.items()
        }
        found = session.sample(samplers, 40)
    # while a refit holds the others up there is a call or two, whose median says nothing
    rows: list[tuple[str, list[str], list[Any]]] = [
        ("the slowest call", [*calls], [reported(SWAP, NONE), reported(SWAP, LOCKED), reported(ONE, NONE)]),
        ("the median call", [SWAP, NONE], [reported(SWAP, NONE)]),
    ]
    for index, (which, labels, checks) in enumerate(rows):
        session.row(
            f"{case.title}, {which} during a refit", {label: [s[index] for s in found[label]] for label in labels},
            checks, agree, errors=errors, refit_seconds=seconds, optimization_level=session.level(name),
        )  # fmt: skip


def _calls(session: Session, pool: ThreadPoolExecutor, call: Any, work: Any) -> tuple[float, float]:
    """The longest and the median time from the end of one call to that of the next, until the other thread is done."""
    clock, found = session.clock, []
    with clock.here(), torch.inference_mode():
        call()
        clock.synchronize()
        ended = time.perf_counter()
        other = pool.submit(work)
        while not other.done() or not found:
            call()
            clock.synchronize()
            began, ended = ended, time.perf_counter()
            found.append(ended - began)
    other.result()
    return max(found), statistics.median(found)
