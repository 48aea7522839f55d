"""Serving without waiting for refits: two engines, one of which serves while the other is refitted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ..basics import forking, interrupts
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
        forking.tell(self)

    def _forked(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the engine that is active now."""
        return self.active(*args, **kwargs)

    @property
    def generation(self) -> int:
        return self.active.generation

    def refit(
        self,
        state_dict: Mapping[str, Any],
        *,
        prefix: str = "",
        finite: str | None = "warn",
        fresh_contexts: bool = False,
    ) -> RefitReport:
        """As `Engine.refit`, on the idle engine, which then becomes the active one. Refits take turns.

        The idle engine also gets what only the active one was given; the report counts that as changed.
        """
        with self._lock, interrupts.later():
            idle, active = self._idle, self.active
            changed: set[str] = set()

            def lacking(given: set[str]) -> dict[str, Any]:
                changed.update(given)
                names = self._behind - given
                present = active.parameters() if names else {}
                return {name: present[name] for name in names & present.keys()}

            # at once: a call that was held up may run on it even now
            report = idle._give(state_dict, prefix, finite, fresh_contexts, lacking, active.generation + 1)
            self._idle, self.active, self._behind = active, idle, changed
            return report

    def close(self) -> None:
        with self._lock:
            self.active.close()
            self._idle.close()

    def __enter__(self) -> HotSwap:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
