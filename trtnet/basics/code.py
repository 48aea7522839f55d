"""A user's function as part of a network: called as long as the process has it, known by a digest of it in files."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Code:
    """A function, by its name and by a digest of its source and of the plain values that it closes over; or an object
    of a user's class, whose name and digest are given.

    Attributes:
        function: what is called; None where the graph came from a file or another process, which hold no code.
        name: its qualified name.
        digest: SHA-256 of its source text; of its bytecode where there is no source.
    """

    __slots__ = ("digest", "function", "name")

    def __init__(self, function: Any, name: str = "", digest: str = "") -> None:
        self.function = function
        self.name = name or getattr(function, "__qualname__", type(function).__name__)
        self.digest = digest or _digest(function)

    def __repr__(self) -> str:
        return self.name


def source_of(body: Any) -> bytes:
    """The source text of a function or a class; what its code is made of where there is no source."""
    try:
        return inspect.getsource(body).encode()
    except (OSError, TypeError):  # typed at a prompt, built in, or an object that is called
        if isinstance(body, type):
            code: Any = [_plain(one.__code__) for one in vars(body).values() if inspect.isfunction(one)]
        else:
            code = _plain(body.__code__) if hasattr(body, "__code__") else type(body).__qualname__
        return repr(code).encode()


def _digest(function: Callable[..., Any]) -> str:
    hasher = hashlib.sha256()
    body = getattr(function, "__func__", function)
    hasher.update(source_of(body))
    for cell in getattr(body, "__closure__", None) or ():
        try:
            hasher.update(repr(_plain(cell.cell_contents)).encode())
        except ValueError:  # not set yet
            continue
    defaults = getattr(body, "__defaults__", None), sorted((getattr(body, "__kwdefaults__", None) or {}).items())
    hasher.update(repr(_plain(defaults)).encode())
    return hasher.hexdigest()


def _plain(value: Any) -> Any:
    """What of a value tells it from another one, and is the same in the next process."""
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, _plain(value.co_consts)
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return value if isinstance(value, _PLAIN) else type(value).__qualname__
