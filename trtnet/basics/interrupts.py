"""Ctrl-C, where it would leave an engine half changed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Ctrl-C is heard at the end of this."""
    before = signal.getsignal(signal.SIGINT)
    # only the main thread hears it; and a handler that is none is "ignored", or not Python's
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[tuple[int, Any]] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: heard.append((number, frame)))
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            before(*heard[0])
