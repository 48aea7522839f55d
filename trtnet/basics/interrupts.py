"""Ctrl-C, where it would leave an engine half changed."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what signal wraps, which looks for enums: 9 µs of each refit
import contextlib
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Ctrl-C is heard at the end of this."""
    before = _signal.getsignal(_signal.SIGINT)
    # only the main thread hears it; and a handler that is none is "ignored", or not Python's
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[tuple[int, Any]] = []
    try:
        _signal.signal(_signal.SIGINT, lambda number, frame: heard.append((number, frame)))
        yield
    finally:
        _signal.signal(_signal.SIGINT, before)
        if heard:
            before(*heard[0])
