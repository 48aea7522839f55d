"""Serving without waiting for refits: two engines, one of which serves while the other is refitted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from . import interrupts
from .engine import Engine, RefitReport


class HotSwap:
    """Keeps two engines of one plan, refits the idle one, and swaps them between calls: a call does not wait
    for a refit, unless it began before two of them and its thread did not run meanwhile.

    Called as the engine is. Takes twice the engine's memory.

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
        if self.active.closed:  # a forked child takes no lock
            raise self.active._is_closed()
        with self._lock, interrupts.later():
            idle, active = self._idle, self.active
            report = idle.refit(state_dict, **options)
            # by their own names, where keys are of tied ones
            given = {active.graph.parameters[name].name for name in report.given}
            lacking = self._behind - given
            self._behind |= given  # until it is the active one
            if lacking:
                present = active.parameters()
                idle.refit({name: present[name] for name in lacking & present.keys()}, finite=None)
            idle.generation = active.generation + 1
            self._idle, self.active, self._behind = active, idle, given
            return report

    def close(self) -> None:
        self.active.close()
        self._idle.close()

    def __enter__(self) -> HotSwap:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
