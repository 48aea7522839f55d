"""TensorRT's Python bindings of every version, as far as calls can be judged: by signatures, members and enums.

`tests/bindings/api.json` holds what the real bindings of 16 versions say of themselves. A `Bindings` is one of them as
a module: it has that version's classes, attributes and enum members and no others, takes the calls that its signatures
take, raises TypeError and AttributeError as pybind11 does for others, and computes nothing: a layer has outputs of
which nothing is known. What is shown by it is that calls conform, not that TensorRT computes what was meant.
"""

from __future__ import annotations

import enum
import functools
import json
import numbers
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import bindings_state
import numpy as np

DATA = Path(__file__).resolve().parent.parent / "bindings" / "api.json"


@functools.cache
def data() -> dict[str, Any]:
    return json.loads(DATA.read_text())


@functools.cache
def versions() -> list[str]:
    """Short names, oldest first: "8.6.1", "10.0.1", …, "11.4", "rtx1.7.1"."""
    return list(data()["versions"])


def _holds(ranges: str, version: str) -> bool:
    """Whether a range of the file ("8.6.1", "10.0.1..11.4,rtx") has this version."""
    order = versions()
    for part in ranges.split(","):
        first, _, last = part.partition("..")
        if part == "rtx":
            if version == order[-1]:
                return True
        elif order.index(first) <= order.index(version) <= order.index(last or first):
            return True
    return False


def _of(per: dict[str, Any], version: str) -> Any:
    return next((value for ranges, value in per.items() if _holds(ranges, version)), None)


class Bindings(ModuleType):
    """The bindings of one version.

    Attributes:
        inferred: name: (member of DataType, shape) of tensors inside and of outputs, which TensorRT would infer.
    """

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt_rtx" if version.startswith("rtx") else "tensorrt")
        self.inferred: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.__version__ = data()["versions"][version]
        entries = {
            name: entry
            for name, entry in data()["api"].items()
            if name != "(module)" and any(_holds(r, version) for r in entry["in"])
        }
        for name in entries:
            self._make(name, entries, version)
        module = data()["api"]["(module)"]
        for name, per in module["functions"].items():
            found = _of(per, version)
            if found is not None:
                setattr(self, name, _Function(self, name, found, bound=False))

    def _make(self, name: str, entries: dict[str, Any], version: str) -> type:
        known = self.__dict__.get(name)
        if isinstance(known, type):
            return known
        entry = entries[name]
        if "enum" in entry:
            members = {m: number for m, per in entry["enum"].items() if (number := _of(per, version)) is not None}
            made: type = enum.IntEnum(name, members)
        else:
            bases = _of(entry.get("bases", {}), version) or []
            parents = tuple(self._make(base, entries, version) for base in bases if base in entries)
            kind = bytes if name == "IHostMemory" else parents[0] if parents else _Native
            made = type(name, (kind,), {"_module": self, "__module__": self.__name__})
            for method, per in entry.get("methods", {}).items():
                signatures = _of(per, version)
                if signatures is not None and method not in ("__enter__", "__exit__", "_pybind11_conduit_v1_"):
                    setattr(made, method, _Function(self, f"{name}.{method}", signatures).method())
            for prop, per in entry.get("props", {}).items():
                access = _of(per, version)
                if access is not None and prop != "__doc__":
                    setattr(made, prop, _Property(prop, access))
        setattr(self, name, made)
        return made

    def new(self, name: str) -> Any:
        """An object of a class, as the bindings themselves make them."""
        cls = getattr(self, name)
        return bytes.__new__(cls, b"a plan") if issubclass(cls, bytes) else object.__new__(cls)


class _Native:
    """An object of the bindings'."""

    _module: Bindings

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if type(self).__module__ == self._module.__name__ and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)


class _Property:
    """An attribute that may be read, and perhaps set."""

    def __init__(self, name: str, access: str) -> None:
        self.name, self.access = name, access

    def __get__(self, owner: Any, cls: Any = None) -> Any:
        if owner is None:
            return self
        found = vars(owner).get(self.name)
        return _UNSET.get(self.name, found) if found is None else found

    def __set__(self, owner: Any, value: Any) -> None:
        if self.access != "rw":
            raise AttributeError(f"property {self.name!r} of {type(owner).__name__!r} object has no setter")
        vars(owner)[self.name] = value


_UNSET = {
    "num_layers": 0, "num_inputs": 0, "num_outputs": 0, "shape": (), "has_implicit_batch_dimension": False,
    "persistent_cache_limit": 0,
}  # fmt: skip


class _Function:
    """A function or method with pybind11's signatures, one of which must take a call."""

    def __init__(self, module: Bindings, name: str, signatures: Sequence[str], bound: bool = True) -> None:
        self.module, self.name, self.bound = module, name, bound
        self.texts = list(signatures)
        self.signatures = [parsed(one) for one in signatures]

    def method(self) -> Callable[..., Any]:
        if self.name.endswith(".__init__"):

            def construct(owner: Any, *args: Any, **kwargs: Any) -> None:
                if not self.signatures:
                    raise TypeError(f"{type(owner).__name__}: No constructor defined!")
                given = self._take((owner, *args), kwargs)[1]
                bindings_state.remember(self.name, (owner, *args), None, given)

            return construct

        def call(*args: Any, **kwargs: Any) -> Any:
            return self(*args, **kwargs)

        return call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result, given = self._take(args, kwargs)
        if kwargs:
            args = tuple(given.values())
        method = self.name.rpartition(".")[2]
        if method.startswith("set_") and len(args) > 1:  # what was set is what `get_` gives
            vars(args[0])[f"get_{method[4:]}", *args[1:-1]] = args[-1]
        elif method.startswith("get_") and args and (method, *args[1:]) in vars(args[0]):
            return vars(args[0])[method, *args[1:]]
        made = self._made(result)
        if (args and isinstance(args[0], _Native)) or not self.bound:
            made = bindings_state.remember(self.name, args, made, given)
        return _kept(self.name, args, made)

    def _take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The annotation of the result, and the arguments by name. Raises TypeError as pybind11 does."""
        if not self.texts:
            return "object", {}
        for signature in self.signatures:
            given = signature.bound(args, kwargs)
            if given is not None and all(
                name == "self" or takes(self.module, signature.takes.get(name, "object"), value)
                for name, value in given.items()
            ):
                return signature.result, given
        shown = ", ".join([*(repr(a) for a in args[self.bound :]), *(f"{k}={v!r}" for k, v in kwargs.items())])
        raise TypeError(f"{self.name}({shown}): incompatible function arguments; supported: {'; '.join(self.texts)}")

    def _made(self, result: str) -> Any:
        if isinstance(getattr(self.module, result, None), type):
            cls = getattr(self.module, result)
            if issubclass(cls, enum.Enum):
                return next(iter(cls))
            return self.module.new(result)
        plain = {"bool": True, "int": 0, "str": "", "None": None, "float": 0.0}
        return plain.get(result, [] if result.lower().startswith("list") else None)


def _kept(name: str, args: tuple[Any, ...], made: Any) -> Any:
    """The object that was given before for the same arguments, like a layer's output; else `made`."""
    method = name.rpartition(".")[2]
    if not isinstance(made, _Native) or not method.startswith("get_") or not args or not isinstance(args[0], _Native):
        return made
    return vars(args[0]).setdefault((method, *args[1:]), made)


_NAMES = {
    "typing.SupportsInt": "int", "typing.SupportsFloat": "float", "typing_extensions.Buffer": "buffer",
    "nvinfer1::IEngineInspector": "EngineInspector", "nvinfer1::v_1_0::": "", "nvinfer1::": "",
    "detail::accessorNone": "IPluginRegistry", "Iterable": "object",
    "collections.abc.Iterable": "object",
}  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """One of pybind11's signatures.

    Attributes:
        takes: the parameters' names, and what each takes; a name with stars takes any further ones.
        required: the names without a default.
        result: what is returned.
    """

    takes: dict[str, str]
    required: frozenset[str]
    result: str

    def bound(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The arguments by name; None where they do not fit."""
        names = [name for name in self.takes if name[0] != "*"]
        given = dict(zip(names, args))
        if len(args) > len(names) and "*args" not in self.takes:
            return None
        for name, value in kwargs.items():
            if name in given or (name not in self.takes and "**kwargs" not in self.takes):
                return None
            given[name] = value
        return given if self.required <= given.keys() else None


@functools.cache
def parsed(text: str) -> Signature:
    """The signature that pybind11 writes into a docstring."""
    body = re.sub(r"<[^<>]*>", "None", re.sub(r"<[^<>]*<[^<>]*>[^<>]*>", "None", text))
    for theirs, ours in _NAMES.items():
        body = body.replace(theirs, ours)
    inside, arrow, result = body.partition("(")[2].rpartition(") -> ")
    if not arrow:  # a plain Python function's
        inside, result = body.partition("(")[2].rpartition(")")[0], "object"
    takes: dict[str, str] = {}
    required = set()
    for part in _parts(inside):
        declared, _, default = part.partition(" = ")
        name, _, annotation = declared.partition(":")
        name = name.strip()
        if name in ("*", "/", ""):
            continue
        takes[name] = annotation.strip() or "object"
        if not default and name[0] != "*":
            required.add(name)
    return Signature(takes, frozenset(required), result.strip())


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [part.strip() for part in found if part.strip()]


def takes(module: Bindings, annotation: str, value: Any) -> bool:
    """Whether pybind11 converts `value` to what a signature asks for."""
    if annotation in ("object", "capsule", "typing_extensions.CapsuleType", "Callable", "handle"):
        return True
    if " | " in annotation:
        return any(takes(module, one.strip(), value) for one in annotation.split(" | "))
    if annotation.startswith("Optional["):
        return value is None or takes(module, annotation[9:-1], value)
    if annotation == "None":
        return value is None
    if annotation == "bool":
        return isinstance(value, (bool, np.bool_))
    if annotation == "int":
        return isinstance(value, numbers.Integral) or hasattr(value, "__index__")
    if annotation == "float":
        return isinstance(value, numbers.Real)
    if annotation in ("str", "FallbackString"):
        return isinstance(value, str)
    if annotation == "buffer":
        return isinstance(value, (bytes, bytearray, memoryview, np.ndarray))
    if annotation in ("Dims", "Dims2", "Dims3", "Dims4", "DimsHW", "Permutation"):
        return isinstance(value, getattr(module, annotation)) or _are_integers(value)
    if annotation == "PluginFieldCollection_":
        return isinstance(value, (module.PluginFieldCollection, module.PluginFieldCollection_))
    if annotation == "Weights":
        return isinstance(value, (module.Weights, np.ndarray))
    if annotation == "ndarray":
        return isinstance(value, np.ndarray)
    match = re.fullmatch(r"(?:List|list|Sequence|collections\.abc\.Sequence)\[(.*)\]", annotation)
    if match:
        return isinstance(value, (list, tuple)) and all(takes(module, match[1], one) for one in value)
    cls = getattr(module, annotation, None)
    if isinstance(cls, type):
        return (value is None and not issubclass(cls, enum.Enum)) or isinstance(value, cls)
    return True


def _are_integers(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(isinstance(one, numbers.Integral) for one in value)
