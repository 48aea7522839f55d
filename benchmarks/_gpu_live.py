"""Rows of gpu.py: weights that are inputs of the network, where the trainer has them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from _gpu_rows import nothing, reported, times
from _gpu_session import TOLERANCES, Case, Session, reference_of, sgd_step

CALLS = 20
LIMITS = {"policy": 1.20, "lenet": 1.05, "resnet18": 1.05}


def live(session: Session) -> None:
    for dtype in ("float32", "float16"):
        for name, batches in (("policy", (1, 256)), ("lenet", (1, 32))):
            for batch in batches:
                _one(session, name, batch, dtype)
    if session.wants("mlp42m"):
        with session.part("42 M MLP"):
            case = session.case("mlp42m", 1)
            _update(session, case, _live(session, case))
    for name, batches, level in (("policy", (1, 256), 5), ("lenet", (1, 32), 4)):  # 5 is refused for convolutions
        for batch in batches:
            _one(session, name, batch, "float32", level)


def live_resnet18(session: Session) -> None:
    for dtype, batch in (("float32", 1), ("float32", 8), ("float16", 1), ("float16", 8)):
        _one(session, "resnet18", batch, dtype)


def _one(session: Session, name: str, batch: int, dtype: str, level: int | None = None) -> None:
    what = f"{name} {dtype} batch {batch}" + (f" level {level}" if level else "")
    if not session.wants(what):
        return
    with session.part(what):
        case = session.case(name, batch, dtype)
        engine = _live(session, case, level)
        _inference(session, case, session.build(case, level), engine, level)
        if dtype == "float32" and batch == 1 and level is None:
            _update(session, case, engine)


def _live(session: Session, case: Case, level: int | None = None) -> Any:
    engine = session.build(case, level, live=True)
    engine.bind_weights(case.model)
    return engine


def _inference(session: Session, case: Case, constant: Any, engine: Any, level: int | None) -> None:
    x, title = case.x, case.title + (f", level {level}" if level else "")
    settings = {"optimization_level": level} if level else {}
    with session.clock.here(), torch.inference_mode():
        bound = {
            "live weights": session.bind(engine, x, graph=True), "constants": session.bind(constant, x, graph=True),
        }  # fmt: skip
        agree, errors = session.agree(case, {name: call() for name, call in bound.items()})
    samples = session.sample({name: session.both(call, CALLS) for name, call in bound.items()}, 60)
    latency = {name: [s[1] for s in found] for name, found in samples.items()}
    against = reported("live weights", "constants")
    if case.dtype == "float32":
        against = times("live weights", "constants", limit=LIMITS[case.name])
    session.row(f"{title}, call and wait", latency, [against], agree, errors=errors, calls_per_sample=CALLS, **settings)
    with session.part(f"{title}, the GPU's time"):
        with session.clock.here(), torch.inference_mode():
            plain = {"live weights": session.bind(engine, x), "constants": session.bind(constant, x)}
        samplers = {name: session.clock.on_device(call) for name, call in plain.items()}
        session.row(
            f"{title}, the GPU's time", session.sample(samplers, 40), [reported("live weights", "constants")], agree,
            **settings,
        )  # fmt: skip


def _update(session: Session, case: Case, engine: Any) -> None:
    """The optimiser's step on weights that an engine reads, and on a copy that none reads; they take turns."""
    with session.clock.here(), torch.inference_mode():
        call = session.bind(engine, case.x, graph=True)
        output = call()
        before = case.error(output)
    alone = copy.deepcopy(case.model)
    steps = {
        "step, weights bound": sgd_step(list(case.model.parameters()), 1e-4),
        "step alone": sgd_step(list(alone.parameters()), 1e-4),
    }
    samples = session.sample({name: session.once(call) for name, call in steps.items()}, 100)
    with session.clock.here(), torch.inference_mode():
        output = call()  # the graph that was captured before all those steps
        moved = case.error(output)
    case.expected = reference_of(case.model, case.x)
    after = case.error(output)
    visible = after <= TOLERANCES[case.dtype] < moved
    session.row(
        f"{case.label}, an update", samples, [nothing("step, weights bound", "step alone")], visible,
        error_before=before, error_to_old_weights=moved, error_to_new_weights=after,
    )  # fmt: skip
