"""Python's search for reference cycles: not where it finds nothing, and not where what it frees does harm."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_paused = 0
_wanted = False


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No search while many objects are made that all stay, since it takes as long as making them; and none while
    TensorRT or CUDA could not bear that an object of theirs is destroyed.

    It is the process's own setting, and is back when the last thread has left; where nobody wants the search, nothing
    is changed.
    """
    global _paused, _wanted
    with _lock:
        if not _paused:
            _wanted = gc.isenabled()
            gc.disable()
        _paused += 1
    try:
        yield
    finally:
        with _lock:
            _paused -= 1
            if not _paused and _wanted:
                gc.enable()
