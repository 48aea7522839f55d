"""Rows of gpu.py: what `trtnet bench` says of an engine, beside TensorRT's own calls on the same plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _gpu_device import RawEngine, checked
from _gpu_networks import pair_of
from _gpu_rows import equal, more
from _gpu_session import Session

import trtnet
from trtnet.cli.benching import Asked, Case, engine_query

NETWORKS = ("lenet", "resnet18", "vit_b_16")
CALLS = 20


def bench(session: Session) -> None:
    """The GPU's and the host's time of a call with its copies, of networks in half precision, by either."""
    for name in NETWORKS[:1] if session.quick else NETWORKS:
        if session.wants(name):
            with session.part(name):
                _network(session, name)


def _network(session: Session, name: str) -> None:
    pair = pair_of(session, name, "float16", 1)
    options = {"provider": "tensorrt" if session.cuda else "reference"}
    if session.cuda:
        options |= {"optimization_level": session.given.level or 3, "check": False}
    engine = trtnet.build(pair.graph, **options)
    inputs = {key: value.cpu().numpy() for key, value in pair.inputs.items()}
    clock, query, outputs = engine_query(Case(pair.graph, engine, inputs, 1, {}), Asked())
    x = next(iter(pair.inputs.values()))
    raw = _raw(session, engine, x) if session.cuda else _on_host(engine, x)
    expected = pair.expected.cpu().numpy()
    scale = float(np.abs(expected).max())
    error = float(np.abs(outputs[0].astype(np.float64) - expected).max()) / scale
    agree = error <= 3e-2
    samplers = {"trtnet bench": lambda: _several(lambda: clock.sample(query)), "raw calls": lambda: _several(raw)}
    samples = session.sample(samplers, 50)
    phases = ("compute", "enqueue") if session.cuda else ("wall",)
    for phase in phases:
        check = more("trtnet bench", "raw calls", limit=1e-6)
        if phase == "compute":
            check = equal("trtnet bench", "raw calls", limit=0.02)
        what = {"compute": "the GPU's time", "enqueue": "the host's time", "wall": "the host's time"}[phase]
        session.row(
            f"{pair.title}, {what}", {n: [one[phase] for one in v] for n, v in samples.items()}, [check], agree,
            calls_per_sample=CALLS, errors={"trtnet bench": error},
        )  # fmt: skip
    engine.close()


def _several(sample: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The medians of calls that follow each other."""
    found = [sample() for _ in range(CALLS)]
    return {phase: float(np.median([one[phase] for one in found])) for phase in found[0]}


def _on_host(engine: Any, x: torch.Tensor) -> Callable[[], dict[str, float]]:
    def sample() -> dict[str, float]:
        started = time.perf_counter()
        engine(x)
        return {"wall": time.perf_counter() - started}

    return sample


def _raw(session: Session, engine: Any, x: torch.Tensor) -> Callable[[], dict[str, float]]:
    """A sample of the same plan by `execute_async_v3`, between copies from and to page-locked memory."""
    from cuda.bindings import runtime

    raw = RawEngine(session.provider, bytes(engine.plan), x.clone())
    stream = runtime.cudaStream_t(session.clock.handle)
    host, answer = raw.x.cpu().pin_memory(), torch.empty_like(raw.output, device="cpu").pin_memory()
    kind = runtime.cudaMemcpyKind.cudaMemcpyDefault
    sizes = [t.numel() * t.element_size() for t in (host, answer)]
    events = [checked(runtime.cudaEventCreate()) for _ in range(2)]
    execute, handle = raw.context.execute_async_v3, session.clock.handle

    def sample(held: Sequence[Any] = (raw, host, answer)) -> dict[str, float]:
        checked(runtime.cudaMemcpyAsync(raw.x.data_ptr(), host.data_ptr(), sizes[0], kind, stream))
        checked(runtime.cudaEventRecord(events[0], stream))
        started = time.perf_counter()
        execute(handle)
        enqueued = time.perf_counter()
        checked(runtime.cudaEventRecord(events[1], stream))
        checked(runtime.cudaMemcpyAsync(answer.data_ptr(), raw.output.data_ptr(), sizes[1], kind, stream))
        checked(runtime.cudaStreamSynchronize(stream))
        spent = checked(runtime.cudaEventElapsedTime(*events))
        return {"enqueue": enqueued - started, "compute": spent / 1e3}

    return sample
