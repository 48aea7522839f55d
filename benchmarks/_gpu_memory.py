"""Rows of gpu.py: memory of the GPU that an engine takes, and the most that its build, its check and its refit take.

What TensorRT and the CUDA runtime take is seen by nobody but the driver, which counts the whole GPU: nothing else is to
run on it meanwhile.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import torch
from _gpu_networks import pair_of
from _gpu_rows import reported
from _gpu_session import Session

import trtnet
from trtnet.pytorch import checking

NETWORKS = ("lenet", "resnet18", "resnet50", "vit_b_16", "bert", "unet")
PERIOD = 0.002  # seconds between two looks at the driver's count


def free_bytes(session: Session) -> int:
    """Bytes of the GPU that nobody has, torch's unused ones included."""
    if not session.cuda:
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info()[0])


class Peak:
    """The most bytes of the GPU that were taken within its block, beyond those that were taken before it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.bytes, self.seconds = 0, 0.0

    def __enter__(self) -> Peak:
        self._before = self._least = free_bytes(self.session)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._started = time.perf_counter()
        return self

    def _watch(self) -> None:
        while self.session.cuda and not self._done.wait(PERIOD):
            self._least = min(self._least, int(torch.cuda.mem_get_info()[0]))

    def __exit__(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self._started
        self._done.set()
        self._thread.join()
        self.bytes = self._before - self._least


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
