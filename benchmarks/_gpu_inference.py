"""Rows of gpu.py: inference against the same network by hand, PyTorch eager and torch.compile."""

from __future__ import annotations

import functools
from typing import Any

import torch
from _gpu_rows import equal, faster, reported
from _gpu_session import Session

GRAPHS = ("raw graph (torch)", "raw graph (cuda-python)")
ORDER = (("float32", 1), ("float16", 1), ("float32", 32), ("float16", 32))


def inference(session: Session, name: str) -> None:
    for dtype, batch in ORDER:
        what = f"{name} {dtype} batch {batch}"
        if session.wants(what):
            with session.part(what):
                _one(session, name, dtype, batch)


def _one(session: Session, name: str, dtype: str, batch: int) -> None:
    case = session.case(name, batch, dtype)
    session.compile(case)
    engine = session.build(case, cache=session.cache)
    raw, built = session.by_hand(case)
    x, clock = case.x, session.clock
    with clock.here(), torch.inference_mode():
        variants: dict[str, Any] = {
            "bound call, graph=True": session.bind(engine, x, graph=True),
            "engine(x)": functools.partial(engine, x),
            "raw enqueue": raw.enqueue(clock.handle),
            **raw.graphs(clock),
            "PyTorch eager": functools.partial(case.model, x),
        }
        outputs = {name: variants[name]() for name in variants if not name.startswith("raw")}
        variants["raw enqueue"]()
        clock.synchronize()
        outputs["raw"] = raw.output
    calls = 50 if name == "lenet" else 10
    samplers = {name: session.both(call, calls) for name, call in variants.items()}
    compiled, found = session.compiled(calls)
    samplers |= compiled
    if "torch.compile output" in found:
        outputs["torch.compile"] = found.pop("torch.compile output")
    agree, errors = session.agree(case, outputs)
    settings = {"errors": errors, "level": session.level(name), "by_hand": built, **found}
    samples = session.sample(samplers, 30)
    session.row(
        f"{case.title}, call and wait", {n: [s[1] for s in v] for n, v in samples.items()},
        [
            reported("bound call, graph=True", *GRAPHS),
            faster("bound call, graph=True", "PyTorch eager"),
            faster("bound call, graph=True", "torch.compile"),
        ],
        agree, calls_per_sample=calls, **settings,
    )  # fmt: skip
    with session.part(f"{case.title}, the GPU's time"):
        with clock.here(), torch.inference_mode():
            plain = session.bind(engine, x)
        mine = clock.on_device(plain)
        on_device = {"trtnet": mine, "by hand": clock.on_device(raw.enqueue_current())}
        session.row(
            f"{case.title}, the GPU's time", session.sample(on_device, 60), [equal("trtnet", "by hand")], agree,
            **settings,
        )  # fmt: skip
        if dtype == "float16" and session.cuda and (name == "lenet" or session.given.more):
            free, built = session.by_hand(case, held=False)
            on_device = {"trtnet": mine, "by hand, free": clock.on_device(free.enqueue_current())}
            session.row(
                f"{case.title}, the GPU's time, types left to TensorRT", session.sample(on_device, 40),
                [reported("trtnet", "by hand, free")], by_hand=built,
            )  # fmt: skip
