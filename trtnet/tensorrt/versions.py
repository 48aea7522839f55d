"""What TensorRT's Python bindings of each version have: for networks that are written for one that is not here.

`versions.json` is made of what the bindings themselves say (tests/bindings/make.py).
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from ..basics.errors import ArgumentError


class Parameters(NamedTuple):
    """One signature of a method.

    Attributes:
        names: of the parameters, but for `self`.
        required: how many of them have no default.
        result: the class of what it gives.
    """

    names: tuple[str, ...]
    required: int
    result: str

    def take(self, count: int) -> bool:
        """Whether so many arguments fit."""
        return self.required <= count <= len(self.names)


class Names(Protocol):
    """The names that the bindings of one version have."""

    version: str

    def offers(self, name: str) -> bool:
        """Whether there is `trt.<name>`."""

    def members(self, cls: str) -> dict[str, bool] | None:
        """The members of a class, and whether each is a method; None of what is no class."""

    def is_enum(self, cls: str) -> bool: ...

    def calls(self, cls: str, method: str) -> tuple[Parameters, ...]:
        """The signatures of a method, where they are known."""


class Known:
    """The names of a version in `versions.json`, by its key there."""

    def __init__(self, key: str) -> None:
        data = _data()
        order = list(data["versions"])
        self.version: str = data["versions"][key]
        self._enums = frozenset(data["enums"].split())
        self._names: dict[str, set[str]] = {}
        self._calls: dict[str, tuple[Parameters, ...]] = {}
        for ranges, classes in data["names"].items():
            if _holds(ranges, key, order):
                for cls, text in classes.items():
                    self._names.setdefault(cls, set()).update(text.split())
        for ranges, methods in data["calls"].items():
            if _holds(ranges, key, order):
                for name, text in methods.items():
                    self._calls[name] = tuple(map(_parsed, text.split("|")))

    def offers(self, name: str) -> bool:
        return name in self._names or name in self._names["(module)"]

    def members(self, cls: str) -> dict[str, bool] | None:
        own = self._names.get(cls)
        if own is None:
            return None
        found: dict[str, bool] = {}
        for name in sorted(own):
            if name[0] == "<":
                found |= self.members(name[1:]) or {}
        return found | {name.lstrip("."): name[0] != "." for name in sorted(own) if name[0] != "<"}

    def is_enum(self, cls: str) -> bool:
        return cls in self._enums

    def calls(self, cls: str, method: str) -> tuple[Parameters, ...]:
        for owner in (cls, "ILayer"):
            if f"{owner}.{method}" in self._calls:
                return self._calls[f"{owner}.{method}"]
        return ()


class Installed:
    """The names of bindings that are installed."""

    def __init__(self, module: ModuleType) -> None:
        self.version: str = module.__version__
        self._module = module

    def offers(self, name: str) -> bool:
        return hasattr(self._module, name)

    def members(self, cls: str) -> dict[str, bool] | None:
        found = getattr(self._module, cls, None)
        if not isinstance(found, type):
            return None
        members = getattr(found, "__members__", None)
        if members is not None:
            return dict.fromkeys(members, False)
        names = (name for name in dir(found) if name[0] != "_" or name == "__init__")
        return {name: not isinstance(getattr(found, name), property) for name in names}

    def is_enum(self, cls: str) -> bool:
        return hasattr(getattr(self._module, cls, None), "__members__")

    def calls(self, cls: str, method: str) -> tuple[Parameters, ...]:
        text = getattr(getattr(self._module, cls, None), method, None).__doc__ or ""
        lines = (re.sub(r"^\d+\. ", "", line.strip()) for line in text.split("\n"))
        found = [line for line in lines if line.startswith(f"{method}(self")]
        return tuple(map(_of_docstring, found))


def _of_docstring(signature: str) -> Parameters:
    """`f(self: A, x: B, y: C = D) -> E`, as pybind11 writes it."""
    body = re.sub(r"<[^<>]*>", "None", signature)
    inside, _, result = body.partition("(")[2].rpartition(") -> ")
    parts = [part for part in re.split(r",\s*(?![^\[]*\])", inside) if part]
    names = [part.partition(":")[0].strip() for part in parts]
    optional = sum(" = " in part for part in parts)
    return Parameters(tuple(names[1:]), len(names) - 1 - optional, result.strip().rpartition(".")[2])


def _parsed(text: str) -> Parameters:
    inside, _, result = text.partition("-> ")
    names = inside.split()
    return Parameters(tuple(name.rstrip("*") for name in names), sum(name[-1] != "*" for name in names), result.strip())


@functools.cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).with_name("versions.json")).read_text())
    return found


def _holds(ranges: str, key: str, order: list[str]) -> bool:
    for part in ranges.split(","):
        first, _, last = part.partition("..")
        if part == "rtx":
            if key == order[-1]:
                return True
        elif order.index(first) <= order.index(key) <= order.index(last or first):
            return True
    return False


def names() -> list[str]:
    """Every TensorRT that is known, oldest first: "tensorrt==8.6.1", ..., "tensorrt_rtx==1.7.1"."""
    return [
        f"tensorrt_rtx=={key.removeprefix('rtx')}" if key.startswith("rtx") else f"tensorrt=={key}"
        for key in _data()["versions"]
    ]


def known(name: str, version: str = "") -> Known:
    """The names of TensorRT, or of TensorRT-RTX, of a version: of the newest that is known and not newer than that, or
    of the newest of all. Raises ArgumentError for an older one, and for what is no version."""
    keys = [key for key in _data()["versions"] if key.startswith("rtx") == (name == "tensorrt_rtx")]
    if not version:
        return _names(keys[-1])
    if not re.fullmatch(r"\d+(\.\d+)*(\.post\d+)?", version):
        raise _unknown(name, version, keys)
    wanted = _numbers(version)
    found = [key for key in keys if _numbers(key.removeprefix("rtx"))[: len(wanted)] <= wanted]
    if not found:
        raise _unknown(name, version, keys)
    return _names(found[-1])


_names = functools.cache(Known)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition(".post")[0].split("."))


def _unknown(name: str, version: str, keys: list[str]) -> ArgumentError:
    return ArgumentError(
        f"trtnet knows no {name} {version}",
        expected=f"{name}==VERSION, of {', '.join(key.removeprefix('rtx') for key in keys)} or newer",
        found=f"{name}=={version}",
        remedy=f"{name}=={keys[-1].removeprefix('rtx')} is the newest that is known",
    )
