"""How long calls take, on this machine's CPU or on a GPU: samples, and what they come to."""

from __future__ import annotations

import itertools
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from .. import __version__

PHASES = {
    "wall": "host: from the first copy to the last result",
    "enqueue": "host: to put the call on the stream",
    "h2d": "GPU: inputs copied to it",
    "compute": "GPU: between the copies",
    "d2h": "GPU: outputs copied from it",
}

Sample = dict[str, float]
"""Seconds of each phase of one call."""


class Clock(Protocol):
    """Runs a query and says how long each phase took."""

    def sample(self, query: Query) -> Sample: ...


@dataclass(frozen=True)
class Query:
    """One call, and the copies around it.

    Attributes:
        call: the computation, on tensors that stay where they are.
        before, after: the copies of inputs and of outputs; None where there are none.
    """

    call: Callable[[], Any]
    before: Callable[[], Any] | None = None
    after: Callable[[], Any] | None = None


class HostClock:
    """For what is over when the call returns."""

    def sample(self, query: Query) -> Sample:
        started = time.perf_counter()
        query.call()
        return {"wall": time.perf_counter() - started}


class GpuClock:
    """By CUDA events on a stream of its own.

    Args:
        spin: whether the host asks again and again whether the GPU is done, and does not sleep meanwhile.
    """

    def __init__(self, spin: bool = False) -> None:
        self.stream = torch.cuda.Stream()
        self.spin = spin
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]
        self._under_way: tuple[Query, float, float] | None = None

    def sample(self, query: Query) -> Sample:
        self.start(query)
        return self.finish()

    def start(self, query: Query) -> None:
        """Put a query on the stream; the one before it is finished."""
        begun, copied, computed, ended = self._events
        with torch.cuda.stream(self.stream), torch.inference_mode():
            started = time.perf_counter()
            begun.record(self.stream)  # to ask torch for its stream takes the host microseconds each time
            if query.before is not None:
                query.before()
            copied.record(self.stream)
            asked = time.perf_counter()
            query.call()
            enqueued = time.perf_counter()
            computed.record(self.stream)
            if query.after is not None:
                query.after()
            ended.record(self.stream)
        self._under_way = query, started, enqueued - asked

    def finish(self) -> Sample:
        """Wait for the query that was started."""
        assert self._under_way is not None
        query, started, enqueue = self._under_way
        begun, copied, computed, ended = self._events
        while self.spin and not ended.query():
            pass
        ended.synchronize()
        over = time.perf_counter()
        found = {"wall": over - started, "enqueue": enqueue, "compute": _between(copied, computed)}
        if query.before is not None:
            found["h2d"] = _between(begun, copied)
        if query.after is not None:
            found["d2h"] = _between(computed, ended)
        return found


def _between(first: torch.cuda.Event, last: torch.cuda.Event) -> float:
    return first.elapsed_time(last) / 1e3


FEWEST = 10
"""Calls that are measured at least, unless they take too long or a number is asked for."""


def patience(duration: float) -> float:
    """The seconds after which fewer calls than `FEWEST` will do."""
    return max(3 * duration, 10.0)


def measure(clock: Clock, query: Query, duration: float, warmup: float, iterations: int | None = None) -> list[Sample]:
    """Samples of a query, one after the other: after `warmup` seconds, for `duration` seconds and at least `iterations`
    times; unless that is given, `FEWEST` times, or as often as there is `patience` for."""
    until = time.perf_counter() + warmup
    clock.sample(query)
    while time.perf_counter() < until:
        clock.sample(query)
    fewest, most = (FEWEST, patience(duration)) if iterations is None else (iterations, math.inf)
    samples: list[Sample] = []
    begun = time.perf_counter()
    taken = 0.0
    while taken < duration or (len(samples) < fewest and taken < most):
        samples.append(clock.sample(query))
        taken = time.perf_counter() - begun
    return samples


class Lane(Protocol):
    """What has one query under way at a time, beside those of other lanes."""

    def start(self) -> None: ...

    def finish(self) -> Sample: ...


@dataclass(frozen=True)
class StreamLane:
    """The same query again and again, on a stream of its own."""

    clock: GpuClock
    query: Query

    def start(self) -> None:
        self.clock.start(self.query)

    def finish(self) -> Sample:
        return self.clock.finish()


def measure_at_once(
    lanes: Sequence[Lane], duration: float, warmup: float, iterations: int
) -> tuple[list[Sample], float]:
    """Samples of the queries of all lanes, of which each has one under way all the time; and the seconds in which so
    many were finished. One thread starts them and waits for the oldest, as trtexec does."""
    for lane in lanes:
        lane.start()
    in_turn = itertools.cycle(lanes)
    until = time.perf_counter() + warmup
    for lane in itertools.islice(in_turn, len(lanes)):
        _next(lane)
    while time.perf_counter() < until:
        _next(next(in_turn))
    samples: list[Sample] = []
    begun = time.perf_counter()
    while len(samples) < iterations or time.perf_counter() < begun + duration:
        samples.append(_next(next(in_turn)))
    seconds = time.perf_counter() - begun
    for lane in itertools.islice(in_turn, len(lanes)):
        lane.finish()
    return samples, seconds


def _next(lane: Lane) -> Sample:
    found = lane.finish()
    lane.start()
    return found


@dataclass(frozen=True)
class Spread:
    """What many seconds come to. `variation` is the standard deviation by the mean."""

    min: float
    max: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float
    variation: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Percentiles between two samples are interpolated, as NumPy's are.

        >>> Spread.of([1.0, 2.0, 3.0]).median
        2.0
        """
        p90, p95, p99 = np.percentile(seconds, [90, 95, 99]).tolist()
        mean = statistics.fmean(seconds)
        spread = statistics.pstdev(seconds, mean) / mean if mean else 0.0
        return cls(min(seconds), max(seconds), mean, statistics.median(seconds), p90, p95, p99, spread)


@dataclass(frozen=True)
class Timed:
    """One way to compute a network, at one size.

    Attributes:
        way: "TensorRT", "PyTorch eager", ...
        batch: how many are computed by one call; 0 where that is not known.
        samples: the calls.
        difference: the largest one from the reference, relative to its largest value; None of what was not compared.
        note: why there are no samples.
        facts: what else is known: seconds to build, layers, ...
        seconds: in which so many calls were over, where several were under way at a time.
    """

    way: str
    batch: int = 0
    samples: list[Sample] = field(default_factory=list)
    difference: float | None = None
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    def phases(self) -> dict[str, Spread]:
        kinds = [phase for phase in PHASES if self.samples and phase in self.samples[0]]
        return {phase: Spread.of([one[phase] for one in self.samples]) for phase in kinds}

    @property
    def throughput(self) -> float:
        """Calls a second: one after the other, or those of all streams."""
        total = sum(one["wall"] for one in self.samples) if self.seconds is None else self.seconds
        return len(self.samples) / total if total else 0.0


def surroundings() -> dict[str, Any]:
    """What figures were made with and on, as JSON says it."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"trtnet": __version__, "python": platform.python_version(), "torch": torch.__version__},
        "machine": {"cpu": platform.processor() or platform.machine(), "gpu": gpu, "os": platform.platform()},
    }


def as_json(value: float | None) -> float | str | None:
    """As JSON takes it, which has no word for infinity and NaN."""
    return value if value is None or math.isfinite(value) else str(value)
