"""Sizes that Python code reads as text while torch exports it: f"mask_{x.shape[1]}". torch notes nothing of that."""

from __future__ import annotations

import contextlib
import linecache
import sys
from collections.abc import Iterator

import torch

from ...basics.location import Place
from .stacks import is_torchs


@contextlib.contextmanager
def noted() -> Iterator[list[Place]]:
    """The lines that read a size as text, which is then that of the example's size, and not of torch's symbol."""
    found: list[Place] = []
    before = torch.SymInt.__repr__

    def shown(self: torch.SymInt) -> str:
        frame = sys._getframe(1)
        file, line = frame.f_code.co_filename, frame.f_lineno
        if is_torchs(file) or self.node.hint is None:
            return before(self)
        place = Place(file, line, frame.f_code.co_name, linecache.getline(file, line).strip())
        if place not in found:
            found.append(place)
        return str(self.node.hint)

    torch.SymInt.__repr__ = shown
    try:
        yield found
    finally:
        torch.SymInt.__repr__ = before
