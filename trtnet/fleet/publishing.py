"""The trainer's end: weights go onto a road."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from ..basics import forking
from ..basics.errors import ArgumentError, ArgumentTypeError, FleetError, shown
from ..engine.engine import Engine
from ..graph.graph import Graph
from ..weights.sources import HasStateDict
from .layout import plain
from .roads import Sender, Where, road

Structured: TypeAlias = Graph | Engine | str
Metrics: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class PublishReport:
    """What a publish did.

    Attributes:
        version: the trainer's number.
        bytes: how many were moved.
        changed: names of the tensors that were moved: those that differ from the last publish, where the road tells.
        seconds: time it took.
    """

    version: int
    bytes: int
    changed: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        return (
            f"published version {self.version}: {len(self.changed)} tensors, {self.bytes:,} bytes "
            f"in {self.seconds * 1e3:.1f} ms"
        )


class Publisher:
    """Publishes a trainer's weights on a road, where any number of Followers find them.

    A publish is whole or it did not happen, whoever is killed. There is one Publisher for each place: shared memory
    refuses a second one, in a folder the newest one counts. A Publisher belongs to the process that made it.

    Args:
        where: `dir:PATH`, `shm:NAME`, a path (of a folder), or a Road.
        graph: whose weights these are, a Graph or an Engine (or a structure hash); followers with an engine of another
            structure then refuse them. Without it names, shapes and dtypes alone are compared.
        heartbeat: followers take this publisher for dead when they see no sign of it for so many seconds.

    Attributes:
        version: the version that was published last, by an earlier publisher too; None if there is none.

    >>> folder = tempfile.mkdtemp()
    >>> engine = trtnet.reference(trtnet.record(nn.Linear(2, 1, bias=False), input=Input((1, 2))))
    >>> with Publisher(f"dir:{folder}", graph=engine) as publisher:
    ...     report = publisher.publish({"weight": np.ones((1, 2), np.float32)}, version=17)
    >>> report.changed
    ('weight',)
    >>> follower = Follower(engine, f"dir:{folder}")
    >>> follower.poll().changed, follower.version
    (['weight'], 17)
    >>> engine(np.ones((1, 2), np.float32)).item()
    2.0
    """

    def __init__(self, where: Where, *, graph: Structured | None = None, heartbeat: float = 5.0) -> None:
        if not heartbeat > 0:
            raise ArgumentError("a heartbeat is a time", expected="seconds, more than 0", found=shown(heartbeat))
        self.structure = structure_of(graph)
        self.road = road(where)
        self._sender = self.road.sender(float(heartbeat))
        self._sender.beat()
        self.version = None if self._sender.last is None else self._sender.last.version
        self.closed: str | None = None
        self._lock = threading.Lock()
        self._counts: Metrics = dict.fromkeys(("publishes", "bytes", "changed", "failures", "seconds"), 0.0)
        self._stop = threading.Event()
        forking.tell(self)
        self._thread = threading.Thread(
            target=_beat, args=(self._sender.beat, self._stop, heartbeat / 4), name="trtnet publisher", daemon=True
        )
        self._thread.start()
        self._end = weakref.finalize(self, _left, self._sender, self._stop, self._thread, os.getpid())

    def publish(self, state: Mapping[str, Any] | HasStateDict, version: int | None = None) -> PublishReport:
        """Publish these weights.

        Args:
            state: a state_dict (of NumPy arrays or torch tensors, of any device), or the module that has one.
            version: the trainer's number, a step or an update; the last one and 1 unless given. It may go back, as when
                training goes on from an older checkpoint: followers then say so, and follow.

        Raises:
            ArgumentTypeError, WeightsError, DtypeError: it is no state_dict of tensors.
            WeightsError: there is no room. What was published before is there.
            FleetError: this publisher was closed, or another one has taken its place.
        """
        started = time.perf_counter()
        with self._lock:
            if self.closed:
                raise FleetError(
                    f"this publisher cannot publish any more: {self.closed}",
                    expected="an open publisher, in the process that made it",
                    found=repr(self),
                    remedy="make another one: trtnet.fleet.Publisher(where)",
                )
            if version is None:
                version = 0 if self.version is None else self.version + 1
            if type(version) is not int or not -(1 << 63) <= version < 1 << 63:
                raise ArgumentTypeError("a version is a whole number", expected="an int", found=shown(version))
            try:
                sent = self._sender.send(plain(state), version, self.structure)
            except BaseException:
                self._counts["failures"] += 1
                raise
            self.version = version
            report = PublishReport(version, sent.bytes, sent.changed, time.perf_counter() - started)
            for name, count in (("publishes", 1), ("bytes", sent.bytes), ("changed", len(sent.changed))):
                self._counts[name] += count
            self._counts["seconds"] += report.seconds
            return report

    def metrics(self) -> Metrics:
        """Since this publisher was made: `publishes`, `bytes`, `changed` (tensors), `failures`, `seconds`; and the
        `version`, once there is one."""
        version = {} if self.version is None else {"version": float(self.version)}
        return {**self._counts, **version}

    def close(self) -> None:
        """Leave the place to another publisher. Shared memory is given back, the files of a folder stay."""
        with self._lock:
            if self.closed:
                return
            self.closed = "it was closed"
        self._end()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self.closed = self.closed or forking.FORKED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Publisher({self.road!r}, version {self.version})"


def _left(sender: Sender, stop: threading.Event, thread: threading.Thread, process: int) -> None:
    """Close a publisher's end: at `close`, when nobody has the publisher any more, or when Python ends."""
    if os.getpid() == process:
        stop.set()
        thread.join()
        sender.close()


def _beat(beat: Callable[[], None], stop: threading.Event, seconds: float) -> None:
    while not stop.wait(seconds):
        beat()


def structure_of(graph: Structured | None) -> str | None:
    """The structure hash that is meant."""
    if graph is None or isinstance(graph, str):
        return graph
    if isinstance(graph, Engine):
        return graph.graph.structure_hash()
    if isinstance(graph, Graph):
        return graph.structure_hash()
    raise ArgumentTypeError(
        "this has no structure",
        expected="a Graph, an Engine, or a structure hash",
        found=shown(graph),
        remedy="Publisher(where, graph=trtnet.record(...)), or leave it out",
    )
