"""What a context is: called as an engine is, over the weights of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..graph.graph import Graph
from ..weights.sources import Selection, Source
from ..weights.table import WeightTable
from .checked import Checked
from .debugging import Listener
from .engine import Engine, Snapshot
from .layer_times import CALLS, LayerTimes
from .memory import Memory
from .options import Option
from .refit import Refit, RefitReport
from .revision import Revision
from .update import Incoming, Update


class BorrowingEngine(Engine):
    """An engine whose graph, inputs, outputs and weights are another's; what changes weights changes them there.

    Attributes:
        engine: that other.
    """

    def __init__(self, engine: Engine) -> None:
        # no own graph, sizes and names: what Engine.__init__ makes is the engine's
        self.engine = engine
        self.graph = engine.graph
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.serial = engine.serial
        self.refittable, self.live = engine.refittable, engine.live
        self._input_names, self._sizes = engine._input_names, engine._sizes

    @property
    def checked(self) -> Checked | None:
        return self.engine.checked

    @checked.setter
    def checked(self, figures: Checked | None) -> None:
        self.engine.checked = figures

    @property
    def revision(self) -> Revision:
        return self.engine.revision

    @revision.setter
    def revision(self, revision: Revision) -> None:
        self.engine.revision = revision

    def _refit_with(
        self,
        asked: Refit,
        beside: Callable[[set[str]], dict[str, Any]] | None = None,
        before: Revision | None = None,
    ) -> RefitReport:
        return self.engine._refit_with(asked, beside, before)

    @property
    def _looks_while_copying(self) -> bool:  # type: ignore[override]
        return self.engine._looks_while_copying

    def _fixed_value(self, name: str) -> Any:
        return self.engine._fixed_value(name)

    def _receive(self, update: Update) -> Incoming:
        return self.engine._receive(update)

    def _adopt(self, incoming: Incoming, asked: Refit, before: Revision | None = None) -> RefitReport:
        return self.engine._adopt(incoming, asked, before)

    def inspect(self) -> dict[str, Any]:
        return self.engine.inspect()

    def memory(self) -> Memory:
        return self.engine.memory()

    def lowered(self) -> Graph:
        return self.engine.lowered()

    def draw(
        self,
        path: str | PathLike[str] | None = None,
        depth: int | None = None,
        *,
        color: str | None = None,
        times: LayerTimes | None = None,
    ) -> str:
        return self.engine.draw(path, depth, color=color, times=times)

    def profile(self, /, *args: Any, calls: int = CALLS, **kwargs: Any) -> LayerTimes:
        if self.closed:
            raise self.closed_error()
        return self.engine.profile(*args, calls=calls, **kwargs)

    def context(self, shared_memory: bool = False, **options: Option) -> Engine:
        return self.engine.context(shared_memory, **options)

    @property
    def debug_tensors(self) -> tuple[str, ...]:
        return self.engine.debug_tensors

    def set_debug_listener(self, listener: Listener | None, tensors: str | Iterable[str] = "*") -> None:
        self.engine.set_debug_listener(listener, tensors)

    def _bound_tensors(self) -> Mapping[str, Any]:
        return self.engine._bound_tensors()

    def _bind_weights(self, weights: Source, selection: Selection) -> None:
        self.engine._bind_weights(weights, selection)

    def snapshot(self) -> Snapshot:
        return self.engine.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        self.engine.restore(snapshot)

    @contextmanager
    def undone(self) -> Iterator[None]:
        with self.engine.undone():
            yield

    def parameters(self) -> dict[str, np.ndarray]:
        return self.engine.parameters()

    @property
    def weights(self) -> WeightTable:
        return self.engine.weights

    def save(self, path: str | PathLike[str], weights: bool = True) -> Path:
        return self.engine.save(path, weights)

    def clone(self) -> Engine:
        return self.engine.clone()

    def keep_checked(self, figures: Checked) -> None:
        self.engine.keep_checked(figures)

    def __repr__(self) -> str:
        return f"Context of {self.engine!r}"
