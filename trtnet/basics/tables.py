"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from unicodedata import combining, east_asian_width


def render(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), footer: str = ""
) -> str:
    """A table as plain text, one line for each row, as wide as it needs to be."""
    lines = [tuple(columns), *map(tuple, rows)]
    width = len if all(map(str.isascii, chain.from_iterable(lines))) else _width
    widest = [max(map(width, column)) for column in zip(*lines)]
    if width is len:
        cells = [f"%{size}s" if name in right else f"%-{size}s" for name, size in zip(columns, widest)]
        form = f"  {'   '.join(cells)}"
        texts = [(form % line).rstrip() for line in lines]
    else:
        to_right = [name in right for name in columns]
        texts = [f"  {'   '.join(map(_padded, line, widest, to_right))}".rstrip() for line in lines]
    texts[0] += f"\n {'─' * (sum(widest) + 3 * len(widest) - 1)}"
    return "\n".join([*texts, *(("", footer) if footer else ())])


def _padded(cell: str, width: int, to_right: bool) -> str:
    spaces = " " * (width - _width(cell))
    return spaces + cell if to_right else cell + spaces


def _width(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
