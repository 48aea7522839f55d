"""What is done in a forked child, where no thread is left that could release a lock."""

from __future__ import annotations

import os
import weakref
from typing import Any

FORKED = "this process was forked from the one that made it"
"""Why an engine cannot be used in a forked child."""

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def tell(owner: Any) -> None:
    """Have `owner._forked()` called in a forked child."""
    _owners.add(owner)


def _child() -> None:
    for owner in list(_owners):
        owner._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_child)
