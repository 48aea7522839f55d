"""Serving without waiting for refits: two engines, one of which serves while the other is refitted."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from ..basics import forking, interrupts
from ..basics.arrays import import_torch
from ..basics.errors import ArgumentTypeError
from ..weights.sources import ALL, Selection, Source, named_values
from .bound_call import BoundCall
from .context import BorrowingEngine
from .debugging import Listener
from .engine import Engine, Snapshot, next_serial
from .inputs import StreamLike
from .memory import Memory
from .options import Option
from .refit import Refit, RefitReport
from .revision import Revised, Revision
from .update import Incoming, Update

_Made = TypeVar("_Made")


class _Swapping(BorrowingEngine):
    """An engine that runs another, which changes between calls."""

    @property
    def active(self) -> Engine:
        raise NotImplementedError

    @property
    def closed(self) -> str | None:
        return self.active.closed

    @closed.setter
    def closed(self, reason: str | None) -> None:
        self.active.closed = reason

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the engine, or the context, that is active now."""
        return self.active(*args, **kwargs)

    def _results(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        return self.active._results(values, stream, graph)


class HotSwap(_Swapping):
    """Keeps two engines of one plan, refits the idle one, and swaps them between calls: a call does not wait
    for a refit, unless it began before two of them and its thread did not run meanwhile.

    An Engine in all else. Takes twice the engine's memory.

    Args:
        engine: the engine to start with; the second is made from it.

    Attributes:
        engine, active: the engine that serves now.
    """

    def __init__(self, engine: Engine) -> None:
        if isinstance(engine, _Swapping):
            raise ArgumentTypeError(
                "a HotSwap keeps two engines, and this is another's",
                expected="an engine of trtnet.build, trtnet.load or trtnet.reference, or its context",
                found=repr(engine),
                remedy="call this HotSwap itself: its calls do not wait for refits",
            )
        super().__init__(engine)
        self.serial = next_serial()
        self._identity = secrets.token_hex(16)
        self._structure = None
        self._idle = engine.clone()
        self._behind: set[str] = set()
        bound = engine._bound_tensors()
        if bound:
            self._idle.bind_weights(bound)
        self._bound = bool(bound)
        self._idle.revision = engine.revision
        self._lock = threading.Lock()
        forking.tell(self)

    def _forked(self) -> None:
        self._lock = threading.Lock()

    @property
    def active(self) -> Engine:
        return self.engine

    # --- calls

    def _both(self, make: Callable[[Engine], _Made]) -> dict[int, _Made]:
        """What `make` makes of each engine, by the engine's number."""
        with self._lock:
            return {engine.serial: make(engine) for engine in (self.engine, self._idle)}

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> SwappingBoundCall:
        """As `Engine.bind`: each call runs the engine that is active then, and gives the same arrays."""
        return SwappingBoundCall(self, self._both(lambda engine: engine.bind(*args, graph=graph, **kwargs)))

    def context(self, shared_memory: bool = False, **options: Option) -> SwappingContext:
        """As `Engine.context`: a context of each engine; a call runs that of the engine that is active then."""
        return SwappingContext(self, self._both(lambda engine: engine.context(shared_memory, **options)))

    def set_debug_listener(self, listener: Listener | None, tensors: str | Iterable[str] = "*") -> None:
        self._both(lambda engine: engine.set_debug_listener(listener, tensors))

    def memory(self) -> Memory:
        """Of both engines."""
        with self._lock:
            return self.engine.memory() + self._idle.memory()

    def warmup(self) -> None:
        for engine in (self.engine, self._idle):
            engine.warmup()

    # --- weights

    def _refit_with(
        self,
        asked: Refit,
        beside: Callable[[set[str]], dict[str, Any]] | None = None,
        before: Revision | None = None,
    ) -> RefitReport:
        """A refit of the idle engine, which then becomes the active one. Refits take turns.

        The idle engine also gets what only the active one was given; the report counts that as changed.
        """
        with self._lock, interrupts.later():
            idle, active = self._idle, self.engine
            changed: set[str] = set()

            def lacking(given: set[str]) -> dict[str, Any]:
                changed.update(given)
                return self._lacking(given)

            # at once: a call that was held up may run on it even now
            report = idle._refit_with(asked, lacking, active.revision)
            self._idle, self.engine, self._behind = active, idle, changed
            return report

    def _lacking(self, given: set[str]) -> dict[str, Any]:
        """What the active engine was given and the idle one not, beside what is given now."""
        names = self._behind - given
        present = self.engine.parameters() if names else {}
        return {name: present[name] for name in names & present.keys()}

    def _receive(self, update: Update) -> Incoming:
        with self._lock:
            return self._idle._receive(update)

    def _adopt(self, incoming: Incoming, asked: Refit, before: Revision | None = None) -> RefitReport:
        with self._lock, interrupts.later():
            idle, active, given = self._idle, self.engine, set(incoming.values())
            incoming.put(self._lacking(given), None)
            report = idle._adopt(incoming, asked, active.revision)
            self._idle, self.engine, self._behind = active, idle, given
            return report

    def _bind_weights(self, weights: Source, selection: Selection) -> None:
        """Of both engines."""
        with self._lock, interrupts.later():
            given = named_values(weights, self.graph.parameters, selection, live=True).values  # pairs come once
            for engine in (self._idle, self.engine):  # what does not fit is refused by the first
                engine._bind_weights(given, ALL)
            self._bound = True
            self._behind -= {self.graph.parameters[name].name for name in self.live}

    def snapshot(self) -> Snapshot:
        with self._lock:
            changeable = self.refittable - self.live if self._bound else self.refittable | self.live
            present = self.engine.parameters()
            return self._snapshot({name: value for name, value in present.items() if name in changeable})

    def restore(self, snapshot: Snapshot) -> None:
        """As `Engine.restore`: a refit of the idle engine, which then becomes the active one."""
        self._check_snapshot(snapshot)
        version = snapshot.revision.version
        self.refit(snapshot.weights, finite=None, version=None if version == "live" else version)

    @contextmanager
    def undone(self) -> Iterator[None]:
        with Engine.undone(self):  # by the snapshots above
            yield

    def parameters(self) -> dict[str, np.ndarray]:
        with self._lock:
            return self.engine.parameters()

    # --- both engines

    def save(self, path: str | PathLike[str], weights: bool = True) -> Path:
        with self._lock:
            return self.engine.save(path, weights)

    def clone(self) -> Engine:
        """Another engine, a single one, with the present weights."""
        with self._lock:
            return self.engine.clone()

    def close(self) -> None:
        """Close both engines."""
        with self._lock:
            self.engine.close()
            self._idle.close()

    def __repr__(self) -> str:
        return f"HotSwap of {self.engine!r}"


class SwappingBoundCall(Revised):
    """What `HotSwap.bind` gives: a bound call of each engine.

    Attributes:
        tensors: the input tensors. A tensor that was moved or resized since raises at the next call.
        results, result: the outputs, also in the form that `forward` returned. Each call overwrites them.
        revision: which weights the last call ran with.
    """

    def __init__(self, engine: HotSwap, calls: dict[int, BoundCall]) -> None:
        self.engine = engine
        self._calls = calls
        self._first = first = next(iter(calls.values()))
        self.tensors, self.results, self.result = first.tensors, first.results, first.result
        self.revision = first.revision

    def __call__(self, stream: StreamLike | None = None) -> Any:
        """Run on what the bound tensors hold now, with the engine that is active."""
        engine = self.engine.engine
        call = self._calls[engine.serial]
        call(stream)
        if call is not self._first:
            cuda = stream is not None and self.results[0].is_cuda
            with import_torch().no_grad(), engine._on_stream(stream) if cuda else nullcontext():
                for target, result in zip(self.results, call.results):
                    target.copy_(result)
        self.revision = call.revision
        return self.result

    def close(self) -> None:
        """Close the bound calls of both engines."""
        for call in self._calls.values():
            call.close()

    def __reduce__(self) -> NoReturn:
        self.engine.__reduce__()


class SwappingContext(_Swapping):
    """What `HotSwap.context` gives: a context of each engine; what changes weights changes the HotSwap's."""

    engine: HotSwap

    def __init__(self, engine: HotSwap, contexts: dict[int, Engine]) -> None:
        super().__init__(engine)
        self._contexts = contexts

    @property
    def active(self) -> Engine:
        return self._contexts[self.engine.active.serial]

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> SwappingBoundCall:
        calls = {serial: one.bind(*args, graph=graph, **kwargs) for serial, one in self._contexts.items()}
        return SwappingBoundCall(self.engine, calls)

    def warmup(self) -> None:
        for context in self._contexts.values():
            context.warmup()

    def close(self) -> None:
        """Close the contexts; the HotSwap goes on."""
        for context in self._contexts.values():
            context.close()
