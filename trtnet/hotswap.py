"""Serving without waiting for refits: two engines, one of which serves while the other is refitted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from .engine import Engine, RefitReport


class HotSwap:
    """Keeps two engines of one plan, refits the idle one, and swaps them between calls: a call never waits for a refit.

    Called as the engine is. Takes twice the engine's memory.

    TensorRT 8.6's Python bindings hold the interpreter's lock during a refit, so Python threads of the same process do
    wait there, for TensorRT's own part of it; from 9.1 on they do not.

    Args:
        engine: the engine to start with; the second is made from it.
    """

    def __init__(self, engine: Engine) -> None:
        self.active = engine
        self._idle = engine.clone()
        self._idle.generation = engine.generation
        self._behind: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the engine that is active now."""
        return self.active(*args, **kwargs)

    @property
    def generation(self) -> int:
        return self.active.generation

    def refit(self, state_dict: Mapping[str, Any], **options: Any) -> RefitReport:
        """As `Engine.refit`, on the idle engine, which then becomes the active one. Refits take turns."""
        with self._lock:
            idle, active = self._idle, self.active
            leaves, prefix = active.graph.parameters, options.get("prefix") or ""
            given = {leaves[name].name for name in (str(k).removeprefix(prefix) for k in state_dict) if name in leaves}
            if self._behind - given:
                present = active.parameters()
                idle.refit({name: present[name] for name in (self._behind - given) & present.keys()}, finite=None)
                self._behind &= given
            report = idle.refit(state_dict, **options)
            idle.generation = active.generation + 1
            self._idle, self.active = active, idle
            # by their own names, where keys are of tied ones
            self._behind = {leaves[name].name for name in report.given}
            return report

    def close(self) -> None:
        self.active.close()
        self._idle.close()

    def __enter__(self) -> HotSwap:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
