"""Rows of gpu.py: memory of the GPU that an engine takes, and the most that its build, its check and its refit take.

What TensorRT and the CUDA runtime take is seen by nobody but the driver, which counts the whole GPU: nothing else is to
run on it meanwhile.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from _gpu_networks import Peak, free_bytes, pair_of
from _gpu_rows import reported
from _gpu_session import Session

import trtnet
from trtnet.pytorch import checking

NETWORKS = ("lenet", "resnet18", "resnet50", "vit_b_16", "bert", "unet")


def memory(session: Session) -> None:
    """Refittable engines of batch 1, each built, called, compared with the reference and refitted."""
    names = NETWORKS[:1] if session.quick else NETWORKS
    for dtype, name in itertools.product(("float32", "float16"), names):
        if session.wants(f"{name} {dtype}"):
            with session.part(f"{name} {dtype}"):
                _one(session, name, dtype)


def _one(session: Session, name: str, dtype: str) -> None:
    pair = pair_of(session, name, dtype, 1)
    state = {key: value for key, value in pair.model.state_dict().items() if value.is_floating_point()}
    options: dict[str, Any] = {"provider": "reference", "refit": True}
    if session.cuda:
        level = session.given.level or 3
        options |= {"provider": "tensorrt", "optimization_level": level, "check": False}
    free = free_bytes(session)
    with Peak(session) as building:
        engine = trtnet.build(pair.graph, **options)
    with torch.inference_mode():
        engine(**pair.inputs)
    taken = free - free_bytes(session)
    with Peak(session) as check:
        figures, _ = checking.check(engine, pair.graph, ordinal=0 if session.cuda else None, refit=True)
    with Peak(session) as refitting:
        engine.refit(state)
    peaks = {"build": building, "check": check, "refit": refitting}
    session.row(
        f"{pair.title}, refittable", {what: [one.seconds] for what, one in peaks.items()}, [reported("refit", "build")],
        figures.passed, engine=taken, peaks={what: one.bytes for what, one in peaks.items()}, told=str(engine.memory()),
        weights=sum(value.numel() * value.element_size() for value in state.values()),
    )  # fmt: skip
    told = ", ".join(f"{what} {one.bytes >> 20}" for what, one in peaks.items())
    session.say(f"{pair.title}: MiB of the GPU: engine {taken >> 20}; at most beyond what was taken before: {told}")
    engine.close()
