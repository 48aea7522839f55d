"""The actors' end: an engine gets the newest weights of a road."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from typing import Any, Literal, NamedTuple, Self

from ..basics import forking
from ..basics.errors import (
    ArgumentError,
    ArgumentTypeError,
    FleetError,
    StaleWeightsError,
    TrtnetError,
    WeightsError,
    shown,
)
from ..basics.location import user_level
from ..engine.engine import Engine, RefitReport
from .publishing import Metrics
from .roads import Head, Update, Where, road

OnLag = Literal["warn", "block", "raise"]


class _Key(NamedTuple):
    """Which publish."""

    session: str
    sequence: int


class Follower:
    """Gives an engine the newest weights of a road: by `poll`, in a thread (`start`), or by `await follower.next()`.

    Weights are applied by `engine.refit`, all or nothing, once they are there as a whole: a call of the engine runs
    with those of one version, never with a mixture. Where calls must not wait for a refit, follow with a
    `trtnet.HotSwap`. What is damaged, of another structure, or lacks keys of the publish before, is refused, and the
    engine keeps what it has. Where others refitted the engine meanwhile, the next publish brings every key again.

    Args:
        engine: an Engine that can be refitted, or a HotSwap.
        where: as the Publisher's.
        prefix: as `refit`'s: stripped from the keys that have it.
        finite: as `refit`'s: what NaN and infinity do.
        max_lag: how far the engine's version may be behind the newest one in calls of this follower,
            `follower(x)`; None for any.
        on_lag: what such a call does when it is further behind: "warn" (once for each version), "block" until the
            engine has caught up, or "raise" StaleWeightsError.
        patience: seconds after which a call that blocks raises StaleWeightsError.

    Attributes:
        version: the trainer's number of the weights that the engine has from here; None before the first.
        error: what went wrong last in the thread; None once weights were applied after it.
    """

    def __init__(
        self,
        engine: Engine,
        where: Where,
        *,
        prefix: str = "",
        finite: str | None = "warn",
        max_lag: int | None = None,
        on_lag: OnLag = "warn",
        patience: float = 30.0,
    ) -> None:
        if not isinstance(engine, Engine):
            raise ArgumentTypeError(
                "a follower gives weights to an engine",
                expected="what trtnet.build, load or reference gave, or a HotSwap",
                found=shown(engine),
                remedy="Follower(trtnet.build(graph, refit=True), where)",
            )
        if on_lag not in ("warn", "block", "raise"):
            raise ArgumentError("on_lag is none of the known ones", expected="'warn', 'block' or 'raise'", found=on_lag)
        if max_lag is not None and (type(max_lag) is not int or max_lag < 0):
            raise ArgumentError("max_lag counts versions", expected="0 or more, or None", found=shown(max_lag))
        self.engine = engine
        self.road = road(where)
        self.max_lag, self.on_lag, self.patience = max_lag, on_lag, patience
        self.closed: str | None = None
        self.error: TrtnetError | None = None
        self._prefix, self._finite = prefix, finite
        self._structure = engine.graph.structure_hash()
        self._receiver = self.road.receiver()
        self._applied: Head | None = None
        self._names: frozenset[str] = frozenset()
        self._generation = engine.generation
        self._report: RefitReport | None = None
        self._warned: _Key | None = None
        self._thread: threading.Thread | None = None
        self._interval = self.road.interval
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._news = threading.Condition()
        self._counts: Metrics = dict.fromkeys(
            ("refits", "bytes", "changed", "failures", "went_back", "calls", "waits", "waited", "seconds"), 0.0
        )
        forking.tell(self)

    # --- receiving

    def poll(self) -> RefitReport | None:
        """Apply the newest weights, if the engine has not got them; what the refit did, None if there was nothing new.

        Raises:
            WeightsError, DtypeError: they are damaged, or of another structure. The engine has what it had.
            FleetError: this follower was closed.
        """
        with self._turn:
            self._check_open()
            try:
                newest = self._receiver.head()
                if newest is None or _key(newest) == _key(self._applied):
                    return None
                if self.engine.generation != self._generation:  # refitted by others: what changed is not enough
                    self._receiver.forget()
                with self._receiver.receive() as update:
                    if update is None or _key(update.head) == _key(self._applied):
                        return None
                    report = self._apply(update)
            except TrtnetError:
                self._counts["failures"] += 1
                raise
            self._took(update, report)
            return report

    def _apply(self, update: Update) -> RefitReport:
        if update.structure not in (None, self._structure):
            raise WeightsError(
                f"version {update.head.version} was published for a network of another structure",
                expected=f"structure {self._structure[:16]}, this engine's",
                found=f"structure {str(update.structure)[:16]}",
                remedy="build this engine from the graph that the publisher names, or publish to another place",
            )
        if lacking := self._names - update.names:
            raise WeightsError(
                f"version {update.head.version} lacks weights of the one before: the engine would have a mixture",
                expected="every key at each publish",
                found="without " + ", ".join(sorted(lacking)[:8]),
                remedy="publish the whole state_dict each time, or make the Follower again",
            )
        version = update.head.version
        return self.engine.refit(update.values, prefix=self._prefix, finite=self._finite, version=version)

    def _took(self, update: Update, report: RefitReport) -> None:
        before, head = self._applied, update.head
        self._names, self._generation = update.names, self.engine.generation
        counts = self._counts
        counts["refits"] += 1
        counts["bytes"] += update.bytes
        counts["changed"] += len(report.changed)
        counts["seconds"] += report.seconds
        with self._news:
            self._applied, self._report, self.error = head, report, None
            self._news.notify_all()
        if before is not None and head.version < before.version:
            counts["went_back"] += 1
            warnings.warn(
                f"the weights of {self.road!r} went back from version {before.version} to {head.version}",
                stacklevel=user_level(),
            )

    # --- by a thread

    def start(self, interval: float | None = None) -> Self:
        """Poll in a thread from now on, every `interval` seconds (by default, as the road has it), until `close`.

        What cannot be applied is warned of once, counted in `metrics()` and kept as `error`; the next publish is tried
        again.
        """
        self._check_open()
        if self._thread is not None:
            raise FleetError("this follower runs in a thread already", found=repr(self), remedy="start() it once")
        self._interval = self.road.interval if interval is None else interval
        self._thread = threading.Thread(target=self._run, name="trtnet follower", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.poll()
            except TrtnetError as error:
                if self.closed:
                    return
                if self.error is None or str(error.problem) != str(self.error.problem):
                    warnings.warn(f"a follower of {self.road!r} keeps what it has: {error}", stacklevel=2)
                with self._news:
                    self.error = error
                    self._news.notify_all()

    async def next(self) -> RefitReport:
        """Wait until newer weights than now are applied: by this call, or by the thread where one was started.

        Raises as `poll` does. Other tasks of the event loop run meanwhile.
        """
        before = self._applied
        while True:
            if self._thread is None:
                report = await asyncio.to_thread(self.poll)
                if report is not None:
                    return report
            else:
                self._check_open()
                if self.error is not None:
                    raise self.error
                if self._applied is not before and self._report is not None:
                    return self._report
            await asyncio.sleep(self._interval)

    # --- staleness

    @property
    def version(self) -> int | None:
        return None if self._applied is None else self._applied.version

    @property
    def lag(self) -> int | None:
        """How far the engine's version is from the newest one, in the trainer's numbers; None while nothing was
        published. An engine that has got nothing counts as one of version 0, and never as up to date."""
        return self._lag(self._receiver.head())

    def _lag(self, newest: Head | None) -> int | None:
        if newest is None:
            return None
        if _key(newest) == _key(self._applied):
            return 0
        return max(1, abs(newest.version - (self.version or 0)))

    @property
    def age(self) -> float | None:
        """Seconds since the engine's weights were published, by this machine's clock; None before the first."""
        return None if self._applied is None else max(0.0, time.time() - self._applied.published)

    @property
    def alive(self) -> bool | None:
        """Whether the publisher lives: whether a sign of it was seen within its heartbeat. At the first look it is
        believed; None where the road cannot tell."""
        return self._receiver.alive()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the engine, with weights that are not further behind than `max_lag`."""
        self._check_open()
        self._counts["calls"] += 1
        if self.max_lag is not None:
            self._enforce(self.max_lag)
        return self.engine(*args, **kwargs)

    def _enforce(self, most: int) -> None:
        newest = self._receiver.head()
        lag = self._lag(newest)
        if lag is None or lag <= most:
            return
        if self.on_lag == "block":
            self._caught_up(most)
            return
        if self.on_lag == "raise":
            raise self._stale(lag)
        if self._warned != _key(newest):
            self._warned = _key(newest)
            warnings.warn(f"{self._stale(lag).problem}; max_lag is {most}", stacklevel=user_level())

    def _caught_up(self, most: int) -> None:
        """Return once the lag is small enough."""
        started = time.monotonic()
        self._counts["waits"] += 1
        try:
            while True:
                if self._thread is None:
                    self.poll()
                lag = self.lag
                if lag is None or lag <= most:
                    return
                if time.monotonic() - started > self.patience:
                    raise self._stale(lag)
                with self._news:
                    self._news.wait(min(self._interval, self.patience))
        finally:
            self._counts["waited"] += time.monotonic() - started

    def _stale(self, lag: int) -> StaleWeightsError:
        how = "it polls in a thread" if self._thread else "nobody polls but who calls follower.poll()"
        return StaleWeightsError(
            f"the engine's weights are {lag} versions behind the newest ones",
            expected=f"at most {self.max_lag}",
            found=f"version {self.version}; {how}",
            details=None if self.error is None else str(self.error),
            remedy="follower.start() once, or follower.poll() before calls",
        )

    def metrics(self) -> Metrics:
        """Since this follower was made: `refits`, `bytes`, `changed` (engine weights), `failures`, `went_back`,
        `calls`, `waits`, `waited` (seconds), `seconds` (of refits); and now: `version`, `lag`, `age` where they are
        known, and `alive` (1 or 0)."""
        now = {"version": self.version, "lag": self.lag, "age": self.age, "alive": self.alive}
        return {**self._counts, **{name: float(value) for name, value in now.items() if value is not None}}

    # --- ending

    def _check_open(self) -> None:
        if self.closed:
            raise FleetError(
                f"this follower cannot be used any more: {self.closed}",
                expected="an open follower, in the process that made it",
                found=repr(self),
                remedy="make another one: trtnet.fleet.Follower(engine, where)",
            )

    def close(self) -> None:
        """End the thread and leave the road; the engine goes on with the weights that it has."""
        self.closed = self.closed or "it was closed"
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._turn:
            self._receiver.close()

    def _forked(self) -> None:
        self._turn, self._news, self._stop = threading.Lock(), threading.Condition(), threading.Event()
        self.closed = self.closed or forking.FORKED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Follower({self.road!r}, version {self.version})"


def _key(head: Head | None) -> _Key | None:
    return None if head is None else _Key(head.session, head.sequence)
