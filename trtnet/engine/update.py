"""New weights as they arrive: `engine.update()`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import numpy as np

from ..basics import interrupts
from ..basics.arrays import as_array, is_torch
from ..basics.errors import ArgumentTypeError, EngineError, WeightsError
from ..basics.patterns import matches
from ..graph.graph import Graph
from ..weights._common import some
from ..weights.matching import Matched
from ..weights.parametrizations import computed, is_piece
from ..weights.sources import Named, meant
from .refit import Refit, RefitReport
from .revision import Revision, number
from .weight_table import used_by


class Incoming(Protocol):
    """An engine's own next copy of weights, by the parameters' own names."""

    def put(self, values: Mapping[str, Any], finite: str | None) -> None:
        """Copy these; the caller may overwrite what it gave. An engine that looks for NaN and infinity while it copies
        does what `finite` says."""

    def values(self) -> Mapping[str, Any]:
        """What was put so far."""


class Updated(Protocol):
    """What an update asks of an engine."""

    graph: Graph
    refittable: frozenset[str]
    live: frozenset[str]

    @property
    def parameters(self) -> Callable[[], dict[str, np.ndarray]]: ...
    def _bound_tensors(self) -> Mapping[str, Any]: ...
    def _fitting(self, given: Named, asked: Refit, text: str) -> Matched: ...
    def _receive(self, update: Update) -> Incoming: ...
    def _adopt(self, incoming: Incoming, asked: Refit, before: Revision | None = None) -> RefitReport: ...


class Update:
    """What `engine.update()` gives, for one `with` block.

    Attributes:
        version: the trainer's number of these weights; may be set until the block ends.
        complete: whether every weight must have been put when the block ends.
        given: the names of the parameters that were put so far.
        report: what was done, once the block has ended.
    """

    def __init__(self, engine: Updated, asked: Refit, complete: bool = False) -> None:
        self.engine = engine
        self.complete = complete
        self.open = False
        self.given: dict[str, None] = {}
        self.report: RefitReport | None = None
        self._asked = asked
        self._incoming: Incoming | None = None
        self._pieces: dict[str, Any] = {}
        self._converted: dict[str, str] = {}
        self._names: set[str] = set()
        self._foreign = 0
        self._lock = threading.Lock()
        self._begun = 0.0

    @property
    def version(self) -> int | None:
        return self._asked.version

    @version.setter
    def version(self, version: int | None) -> None:
        self._asked = self._asked._replace(version=number(version))

    def put(self, name: str, value: Any) -> None:
        """Copy one weight into the engine's next copy. Raises as `refit` does; the update goes on if that is caught.

        Args:
            name: its `state_dict` key; one that `prefix=` or `select=` do not mean is somebody else's.
            value: an array or a torch tensor, all of it.
        """
        with self._lock:
            if not self.open or self._incoming is None:
                raise self._closed()
            if not isinstance(name, str):
                raise ArgumentTypeError("weights are given by name", expected="text", found=repr(name)[:80])
            parameters = self.engine.graph.parameters
            key = meant(name, parameters, self._asked.selection)
            if key is None:
                self._foreign += 1
                return
            given: Mapping[str, Any] = {key: value}
            if key not in parameters and is_piece(key, parameters):
                given = self._complete(key, value)
            if given:
                self._put(given, self._incoming)

    def _complete(self, key: str, value: Any) -> dict[str, Any]:
        """The weights that can be computed now that this piece has come."""
        self._pieces[key] = value.detach().clone() if is_torch(value) else np.array(as_array(value))
        made = computed(self.engine.graph.parameters, self._pieces)
        self._pieces = {name: one for name, one in made.items() if name in self._pieces}
        return {name: one for name, one in made.items() if name not in self._pieces}

    def _put(self, given: Mapping[str, Any], incoming: Incoming) -> None:
        parameters = self.engine.graph.parameters
        matched = self.engine._fitting(Named(given), self._asked, "the weights put into the update")
        new = {parameters[name].name: value for name, value in matched.values.items()}
        for name in [name for name in new if name in self._names]:
            if not np.array_equal(_bytes(incoming.values()[name]), _bytes(new[name])):
                raise WeightsError(
                    "a weight was put twice, with two values",
                    expected="each weight once; tied ones with one value",
                    found=name,
                    remedy="put each weight once; engine.update() begins anew",
                )
            del new[name]
        incoming.put(new, self._asked.finite)
        self._names.update(new)
        self.given.update(dict.fromkeys(matched.values))
        self._converted |= matched.converted

    def __enter__(self) -> Self:
        if self.report is not None or self.open:
            raise self._closed()
        self._begun = time.perf_counter()
        try:
            self._incoming = self.engine._receive(self)
        except BaseException:
            self.open = False
            raise
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        try:
            with self._lock:
                if kind is None and self._incoming is not None:
                    self._commit(self._incoming)
        finally:
            self.open, self._incoming = False, None

    def _commit(self, incoming: Incoming) -> None:
        if self._pieces:  # of which others are missing: names that no parameter has
            self.engine._fitting(Named(self._pieces), self._asked, "the weights put into the update")
        if self._foreign and not self.given:
            prefix, select, _ = self._asked.selection
            raise WeightsError(
                "nothing that was put is meant by prefix= and select=",
                expected=", ".join(f"{part!r}" for part in (prefix, *(select or ())) if part),
                found=f"{self._foreign} other names",
                remedy="put what the engine has under that prefix, or give another one",
            )
        parameters = self.engine.graph.parameters
        if self.complete:
            self._require_all()
        self.engine.graph.check_values(incoming.values(), self.engine.parameters)
        with interrupts.later():
            report = self.engine._adopt(incoming, self._asked)
            report.given, report.converted = list(self.given), self._converted
            same = set(report.unchanged)
            report.unchanged = [name for name in report.given if parameters[name].name in same]
            report.seconds = time.perf_counter() - self._begun
            self.report = report

    def _require_all(self) -> None:
        """Raises WeightsError unless every weight was put that the network uses, a `state_dict` holds, and `select=`
        means; of tied parameters, one of them."""
        graph, select = self.engine.graph, self._asked.selection.select
        leaves = graph.parameters
        changeable = self.engine.refittable | (frozenset() if self.engine._bound_tensors() else self.engine.live)
        wanted = [
            name for name, leaf in leaves.items()
            if name in changeable and leaf.frozen is None and leaf.persistent
        ]  # fmt: skip
        if select is not None:
            wanted = [name for name in wanted if matches(name, select)] or wanted
        if all(leaves[name].name in self._names for name in wanted):
            return
        used = used_by(graph)
        wanted = [name for name in wanted if leaves[name].name in used or f"{leaves[name].name}@live" in graph.inputs]
        if missing := [name for name in wanted if leaves[name].name not in self._names]:
            raise WeightsError(
                "the update ended before every weight was put",
                expected=f"{len(wanted)} weights",
                found="without " + some(missing),
                remedy="put these too; without complete=True, what is not put keeps its value",
            )

    def _closed(self) -> EngineError:
        return EngineError(
            "this update is not open",
            expected="one with block for each update",
            found="one that is over" if self.report is not None else "one that was not begun, or failed, or is open",
            remedy="with engine.update() as update: update.put(name, value)",
        )


def _bytes(value: Any) -> np.ndarray:
    return np.asarray(as_array(value), order="C").reshape(-1).view(np.uint8)
