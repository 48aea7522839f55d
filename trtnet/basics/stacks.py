"""Calls that are nested deeper than one thread's stack holds."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from typing import Any

LEVELS = 64
"""How many nested modules one thread calls. Each takes two frames or more of Python's thousand."""


def on_a_new_stack(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `function` in a thread of its own, in this thread's context, and wait for it."""
    context = copy_context()
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(context.run(function, *args, **kwargs))
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="trtnet-deep", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors.pop()
    return results.pop()
