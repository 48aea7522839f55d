"""Rows of gpu.py: what a call costs."""

from __future__ import annotations

import functools
from typing import Any

import torch
from _gpu_device import Clock
from _gpu_rows import faster, more, reported
from _gpu_session import Session

CALLS = 50
GRAPHS = ("raw graph (torch)", "raw graph (cuda-python)")
COPIES = "raw graph, x copied in, a new y"


def calls(session: Session) -> None:
    """`engine(x)` and bound calls against raw enqueues, raw graph replays, PyTorch eager and torch.compile."""
    for batch in (1, 256):
        with session.part(f"batch {batch}"):
            _batch(session, batch)


def _batch(session: Session, batch: int) -> None:
    case = session.case("policy", batch)
    session.compile(case)
    engine = session.build(case, refit=True)
    raw = session.same_plan(engine, case)
    x, handle = case.x, session.clock.handle
    with session.clock.here(), torch.inference_mode():
        bound, replayed = session.bind(engine, x), session.bind(engine, x, graph=True)
        variants: dict[str, Any] = {
            "engine(x)": functools.partial(engine, x),
            "engine(x, graph=True)": functools.partial(engine, x, graph=True),
            "bound call": bound,
            "bound call, graph=True": replayed,
            "raw enqueue": raw.enqueue(handle),
            **raw.graphs(session.clock),
            COPIES: raw.with_copies(session.clock, x),
            "PyTorch eager": functools.partial(case.model, x),
        }
        outputs = {name: variants[name]() for name in variants if not name.startswith("raw")}
        variants["raw enqueue"]()
        session.clock.synchronize()
        outputs["raw"] = raw.output
    samplers = {name: session.both(call, CALLS) for name, call in variants.items()}
    compiled, found = session.compiled(CALLS)
    samplers |= compiled
    if "torch.compile output" in found:
        outputs["torch.compile"] = found.pop("torch.compile output")
    agree, errors = session.agree(case, outputs)
    samples = session.sample(samplers, 100)
    checks = [
        more("engine(x)", "raw enqueue", limit=5e-6),
        more("bound call", "raw enqueue", limit=0.5e-6),
        more("bound call, graph=True", *GRAPHS, limit=0.5e-6),
        more("engine(x, graph=True)", COPIES, limit=8e-6),
    ]
    session.row(
        f"batch {batch}, the host's time", {n: [s[0] for s in v] for n, v in samples.items()}, checks, agree,
        calls_per_sample=CALLS, errors=errors, **found,
    )  # fmt: skip
    for kind, subject in ((reported, "engine(x)"), (faster, "bound call"), (faster, "bound call, graph=True")):
        checks += [kind(subject, "PyTorch eager"), kind(subject, "torch.compile")]
    session.row(
        f"batch {batch}, call and wait", {n: [s[1] for s in v] for n, v in samples.items()}, checks, agree,
        calls_per_sample=CALLS, errors=errors, **found,
    )  # fmt: skip
    _default_stream(session, engine, raw, x, batch)


def _default_stream(session: Session, engine: Any, raw: Any, x: torch.Tensor, batch: int) -> None:
    clock: Clock = type(session.clock)(own=False)
    with clock.here(), torch.inference_mode():
        variants = {
            "engine(x)": functools.partial(engine, x),
            "bound call": session.bind(engine, x),
            "raw enqueue": raw.enqueue(clock.handle),
        }
    samples = session.sample({name: session.both(call, CALLS, clock) for name, call in variants.items()}, 60)
    for index, what in enumerate(("the host's time", "call and wait")):
        session.row(
            f"batch {batch}, default stream, {what}", {n: [s[index] for s in v] for n, v in samples.items()},
            [reported("engine(x)", "raw enqueue"), reported("bound call", "raw enqueue")], calls_per_sample=CALLS,
        )  # fmt: skip
