"""Python's search for reference cycles, where it would find none."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No search while many objects are made that all stay: it takes as long as making them.

    It is the process's own setting, and is back afterwards; where nobody wants the search, nothing is changed.
    """
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()
