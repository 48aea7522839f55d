"""Where in the user's code, and in which module, torch.export met an operator."""

from __future__ import annotations

import re
from typing import Any

from ...basics.location import PACKAGE, Location, Place

_FRAME = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)\n(?P<text>.*)')
_OURS = re.compile(rf"[/\\](torch|{PACKAGE})[/\\]")


def place_of(node: Any) -> Location | None:
    """The last line of a node's stack that is no line of torch's or ours; None where it has none."""
    found: re.Match[str] | None = None
    for frame in _FRAME.finditer(node.meta.get("stack_trace") or ""):
        if not is_torchs(frame["file"]):
            found = frame
    if found is None:
        return None
    return Place(found["file"], int(found["line"]), found["function"], found["text"].strip())


def is_torchs(file: str) -> bool:
    """Whether a file is torch's own, or ours: not what a user would look for."""
    return (bool(_OURS.search(file)) and "site-packages" in file) or file.startswith("<") or _is_beside_us(file)


def _is_beside_us(file: str) -> bool:
    return file.startswith(_HERE)


_HERE = __file__.rpartition("pytorch")[0]


def path_of(node: Any) -> str:
    """The path of the innermost module that a node is of, in the module that was recorded."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path: str = list(stack.values())[-1][0]
    return inside(path)


OWNER = "owner"
"""The attribute by which the module that is exported holds the one that is recorded."""


def inside(name: str) -> str:
    """A path or a key without the name of the module that was put around for the export."""
    return "" if name == OWNER else name.removeprefix(f"{OWNER}.")


def shown(node: Any) -> str:
    """An operator as torch writes it: aten.add.Tensor."""
    target = node.target
    module = getattr(target, "__module__", "")
    named = getattr(target, "__name__", None)
    if hasattr(target, "_schema"):
        return str(target)
    return f"{module}.{named}" if module in ("_operator", "math") else str(named or target)
