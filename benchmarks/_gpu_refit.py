"""Rows of gpu.py: refits, delta refits and rebuilding."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from _gpu_device import packed_copy
from _gpu_rows import reported, saves, times
from _gpu_session import Case, Session, sgd_step

State = dict[str, torch.Tensor]
CHANGED = "layer3.0.conv1.weight"
ENGINE, USUAL = "engine.refit(state_dict)", "usual loop"


def refit(session: Session) -> None:
    for name in ("policy", "mlp42m", "lenet"):
        if session.wants(name):
            with session.part(name):
                case = session.case(name, 1)
                _full(session, case, session.build(case, refit=True), 15 if name == "mlp42m" else 60)


def refit_resnet18(session: Session) -> None:
    case = session.case("resnet18", 1)
    engine = session.build(case, refit=True)
    first, second = _full(session, case, engine, 15)
    with session.part("delta refit"):
        _delta(session, case, engine, first, second)
    with session.part("rebuilding"):
        _rebuild(session, case, engine, first, second)


def states(case: Case) -> tuple[State, State]:
    """Two complete state_dicts on the device that differ everywhere."""
    first = {name: value.clone() for name, value in case.model.state_dict().items()}
    second = {n: v * 1.01 + 1e-3 if v.is_floating_point() else v.clone() for n, v in first.items()}
    return first, second


class Timed:
    """`engine.refit` with each of some state_dicts in turn; keeps the times that its reports give."""

    def __init__(self, engine: Any, *states: State) -> None:
        self.refit = engine.refit
        self.states = itertools.cycle(states)
        self.reports: list[Any] = []

    def __call__(self) -> None:
        self.reports.append(self.refit(next(self.states)))

    def details(self) -> dict[str, Any]:
        return details(self.reports)


def details(reports: list[Any]) -> dict[str, Any]:
    """Medians of what the time went to, and how much was refitted."""
    last = reports[-1]
    return {
        "times": {k: statistics.median(r.times.get(k, 0.0) for r in reports) for k in last.times}
        | {"in all": statistics.median(r.seconds for r in reports)},
        "changed": len(last.changed), "companions": len(last.companions), "unchanged": len(last.unchanged),
        "given": len(last.given),
    }  # fmt: skip


def _full(session: Session, case: Case, engine: Any, repeats: int) -> tuple[State, State]:
    first, second = states(case)
    report = engine.refit(second)
    engine.refit(first)
    arrays = dict(case.state)
    if session.cuda:
        present = engine._refitting.arrays()
        arrays = {name: present[name] for name in dict.fromkeys([*report.changed, *report.companions])}
    tensors = {name: torch.from_numpy(array.copy()).to(session.device) for name, array in arrays.items()}
    nbytes = sum(array.nbytes for array in arrays.values())
    raw = session.same_plan(engine, case)
    loops = raw.refits(arrays)
    with session.clock.here(), torch.inference_mode():
        outputs = {"engine": engine(case.x)}
        raw.enqueue(session.clock.handle)()
        session.clock.synchronize()
        outputs["raw"] = raw.output.clone()
    agree, errors = session.agree(case, outputs)
    mine = Timed(engine, second, first)
    variants: dict[str, Callable[[], Any]] = {ENGINE: mine, **loops}
    variants[USUAL] = raw.usual_refit(tensors)
    variants["packed copy"] = packed_copy(nbytes, session.device)
    variants["optimiser's step"] = _step(case)
    samples = session.sample({name: session.once(call) for name, call in variants.items()}, repeats)
    raw_check = times(ENGINE, *loops, limit=1.10, plus="packed copy")
    if session.preloaded:  # the target is TensorRT as it comes
        raw_check = reported(ENGINE, *loops)
    usual_check = saves(ENGINE, USUAL, limit=3) if case.name == "mlp42m" else reported(ENGINE, USUAL)
    session.row(
        f"{case.label}, full refit", samples,
        [
            raw_check,
            usual_check,
            reported("optimiser's step", ENGINE),
        ],
        agree, errors=errors, bytes=nbytes, weights=len(arrays), **mine.details(),
    )  # fmt: skip
    return first, second


def _step(case: Case) -> Callable[[], None]:
    """SGD over all parameters, which is all that an update of live weights costs."""
    return sgd_step([p.detach().clone().requires_grad_() for p in case.model.parameters()], 1e-6)


def _delta(session: Session, case: Case, engine: Any, first: State, second: State) -> None:
    """One changed convolution, given in a full state_dict and alone, against all changed; they take turns.

    One of them beside TensorRT's own refit of the same weights, then each of them.
    """
    deltas = Deltas(engine, first, second)
    alone = deltas.alone(CHANGED)
    report = alone()
    arrays = dict(case.state)
    if session.cuda:
        present = engine._refitting.arrays()
        arrays = {name: present[name] for name in [*report.changed, *report.companions]}
    raw = session.same_plan(engine, case)
    loops = raw.refits(arrays)
    variants = {
        "all changed": deltas.full, "one changed, full state_dict": deltas.among_all(CHANGED),
        "one changed, given alone": alone, **loops,
    }  # fmt: skip
    samples = session.sample({name: session.once(call) for name, call in variants.items()}, 20)
    session.row(
        "ResNet-18, one convolution", samples,
        [times("one changed, full state_dict", "all changed", limit=0.10),
         times("one changed, given alone", "all changed", limit=0.10),
         reported("one changed, given alone", *loops)],
        changed=CHANGED, weights=list(arrays), bytes=sum(array.nbytes for array in arrays.values()),
        reports=deltas.details(),
    )  # fmt: skip
    kernels = [name for name, value in first.items() if value.dim() == 4]
    variants = {"all changed": deltas.full}
    variants |= {f"{name}, full state_dict": deltas.among_all(name) for name in kernels}
    variants |= {f"{name}, alone": deltas.alone(name) for name in kernels}
    found = session.sample({name: session.once(call) for name, call in variants.items()}, 10)
    medians = {name: statistics.median(values) for name, values in found.items()}
    session.row(
        f"ResNet-18, each of {len(kernels)} convolutions", {
            "all changed": found["all changed"],
            "one changed, full state_dict": [medians[f"{name}, full state_dict"] for name in kernels],
            "one changed, given alone": [medians[f"{name}, alone"] for name in kernels],
        },
        [times("one changed, full state_dict", "all changed", limit=0.10),
         times("one changed, given alone", "all changed", limit=0.10)],
        medians=medians,
    )  # fmt: skip


class Deltas:
    """Refits of all weights, or of one, that always change what they are said to change, and nothing else."""

    def __init__(self, engine: Any, first: State, second: State) -> None:
        self.engine, self.states = engine, itertools.cycle((second, first))
        self.now = dict(first)
        engine.refit(self.now)
        self.reports: dict[str, list[Any]] = {}

    def full(self) -> Any:
        self.now = dict(next(self.states))
        return self.keep("all changed", self.engine.refit(self.now))

    def among_all(self, name: str) -> Callable[[], Any]:
        values = itertools.cycle((self.now[name] * 0.98, self.now[name] * 0.97))

        def refit() -> Any:
            self.now[name] = next(values)
            return self.keep(f"{name}, full state_dict", self.engine.refit(self.now))

        return refit

    def alone(self, name: str) -> Callable[[], Any]:
        values = itertools.cycle((self.now[name] * 0.96, self.now[name] * 0.95))

        def refit() -> Any:
            self.now[name] = next(values)
            return self.keep(f"{name}, alone", self.engine.refit({name: self.now[name]}))

        return refit

    def keep(self, what: str, report: Any) -> Any:
        assert what == "all changed" or len(report.changed) == 1, report
        self.reports.setdefault(what, []).append(report)
        return report

    def details(self) -> dict[str, Any]:
        return {what: details(reports) for what, reports in self.reports.items()}


def _rebuild(session: Session, case: Case, engine: Any, first: State, second: State) -> None:
    mine = Timed(engine, second, first)
    builds: list[float] = []
    for _ in range(session.repeats(3)):
        build = functools.partial(session.build, case, refit=True)
        builds.append(session.clock.once(build))
    samples = session.sample({ENGINE: session.once(mine)}, 15)
    session.row(
        "ResNet-18, rebuilding", {**samples, "trtnet.build again": builds},
        [saves(ENGINE, "trtnet.build again", limit=50)], level=session.level(case.name),
    )  # fmt: skip
