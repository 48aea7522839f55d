"""What the examples say where a package is missing."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def packages(*requirements: str, of: str) -> Iterator[None]:
    """Around imports: ends the program with the pip command where one fails; raises where `of` is no program."""
    try:
        yield
    except ModuleNotFoundError as error:
        if of != "__main__":
            raise
        print(f"error: {error}\n  remedy:   pip install {shlex.join(requirements)}", file=sys.stderr)
        sys.exit(2)
