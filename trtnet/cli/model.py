"""MODEL on the command line: the user's file, and what it raises."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.errors import ArgumentError, ArgumentTypeError, TrtnetError
from ..basics.location import PACKAGE, Instruction
from ..graph.graph import Graph, Input
from ..nn.module import Module
from ..recording import record

EXAMPLE = "models/lenet.py:LeNet"
OTHER_FILES = (".onnx", ".engine", ".plan", ".trt", ".pt", ".pth", ".safetensors", ".npz", ".wts")


class ModelError(TrtnetError):
    """The user's own file, class or forward failed."""


class FileMissingError(TrtnetError, FileNotFoundError):
    """There is no file of that name."""


def load_model(text: str, arguments: Mapping[str, Any], inputs: Iterable[str] = ()) -> Callable[..., Any]:
    """The network that MODEL names: `path/to/file.py:Class`, `package.module:Class`, or without `:Class` the only one.

    A class, or a function that makes a module, is called with `arguments`. A function whose parameters include all of
    `inputs` is the network itself.
    """
    source, name = _split(text)
    module = load_module(source)
    found = _pick(module, source, name)
    label = getattr(found, "__name__", type(found).__name__)
    if isinstance(found, Module) or is_torch_module(found):
        return found
    given = set(inputs)
    if inspect.isfunction(found) and given and given <= set(inspect.signature(found).parameters):
        return found
    with user_code(f"{label}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"):
        made = found(**arguments)
    if isinstance(made, Module) or is_torch_module(made):
        return made
    raise ModelError(
        f"{label}(...) made no module",
        expected="a module of trtnet.nn or torch.nn",
        found=type(made).__name__,
        remedy="name a class of modules, or a function that returns one",
    )


def _split(text: str) -> tuple[str, str]:
    source, colon, name = text.rpartition(":")
    if colon and name.isidentifier():
        return source, name
    if colon and not name:
        return source, ""
    return text, ""


def load_module(source: str) -> ModuleType:
    """The module of a file path or of an importable name."""
    path = Path(source)
    is_other = path.suffix.lower() in OTHER_FILES
    if path.suffix == ".py" or (path.is_file() and not is_other):
        if not path.is_file():
            raise no_file(path)
        return load_file(path)
    if is_other:
        raise ArgumentError(
            f"MODEL {source!r} is a file of another kind",
            expected="path/to/file.py:Class, or package.module:Class",
            found=source,
            remedy=_instead(path.suffix.lower()),
        )
    if path.is_dir() or not all(part.isidentifier() for part in source.split(".")):
        raise ArgumentError(
            f"MODEL {source!r} is neither a Python file nor a module",
            expected="path/to/file.py:Class, or package.module:Class",
            found=source,
            remedy=f"for instance {EXAMPLE}",
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with user_code(f"import {source}"):
        return importlib.import_module(source)


def _instead(suffix: str) -> str:
    """The remedy for a MODEL with one of OTHER_FILES."""
    if suffix in (".engine", ".plan", ".trt"):
        remedy = (
            f"name the network that it was built from: {EXAMPLE}; a plan is of one TensorRT, and no network is built "
            "anew from it; `trtnet run`, `bench`, `profile` and `inspect` take an .engine, `compare` as A or B"
        )
    else:
        told = "ONNX files are not read" if suffix == ".onnx" else "its weights are given by --weights FILE"
        remedy = f"write the network as a Python file, and name its class: {EXAMPLE}; {told}"
    return remedy


def load_file(path: Path) -> ModuleType:
    """A Python file as a module; its own folder is where it imports from, as for a script.

    Where the folder is a package, `from .other import` finds its other files, too.
    """
    path = path.resolve()
    name = f"model_file_{path.stem}"
    if (path.parent / "__init__.py").is_file() and path.stem != "__init__":
        name = f"{load_package(path.parent).__name__}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ArgumentError(
            f"{path} is no Python file",
            expected="a file that ends in .py",
            found=path.name,
            remedy=f"for instance {EXAMPLE}",
        )
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return _executed(spec, f"the import of {path.name}")


def load_package(folder: Path) -> ModuleType:
    """A folder's `__init__.py`, under a name that no other package has."""
    folder = folder.resolve()
    name = f"model_folder_{zlib.crc32(bytes(folder)):08x}"
    if name in sys.modules:
        return sys.modules[name]
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(folder)])
    assert spec is not None
    return _executed(spec, f"the import of {folder.name}/__init__.py")


def _executed(spec: ModuleSpec, what: str) -> ModuleType:
    """The module of a spec, known to Python's imports unless its code fails."""
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        with user_code(what):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _pick(module: ModuleType, source: str, name: str) -> Any:
    own = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and _is_kind(value) and value.__module__ == module.__name__
    }
    if not name:
        if len(own) == 1:
            return next(iter(own.values()))
        raise ArgumentError(
            f"MODEL must say which class of {source} is meant",
            expected=f"{source}:Class",
            found=f"{len(own)} modules there" + (f": {', '.join(own)}" if own else ""),
            remedy=f"write {source}:{next(reversed(own), 'Class')}",
        )
    if not hasattr(module, name):
        # only what could be meant: its own classes and functions
        functions = {k: v for k, v in vars(module).items() if inspect.isfunction(v)}
        choices = [*own, *(k for k, v in functions.items() if v.__module__ == module.__name__)]
        near = nearest(name, choices)
        raise ModelError(
            f"{source} has no {name}",
            expected="one of " + ", ".join(choices) if choices else "a class of trtnet.nn modules",
            found=name,
            remedy=f"did you mean {source}:{near}?" if near else f"look into {source}",
        )
    found = getattr(module, name)
    if not callable(found):
        raise ModelError(
            f"{name} in {source} is no network",
            expected="a class of trtnet.nn modules, or a function that makes one",
            found=type(found).__name__,
        )
    return found


def nearest(name: str, choices: Iterable[str]) -> str | None:
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower, 1, 0.5)
    return by_lower[near[0]] if near else None


def no_file(path: Path) -> TrtnetError:
    """For what is no regular file: nothing, a folder, or what might be read from for ever."""
    folder = path.parent
    if path.exists():
        return ArgumentError(
            f"{path} is no regular file",
            expected="a file",
            found="a folder" if path.is_dir() else "a pipe, a socket or a device",
            remedy="name a file",
        )
    remedy = f"check the path (relative ones start at {Path.cwd()})"
    if folder.is_dir():
        near = difflib.get_close_matches(path.name, [entry.name for entry in folder.iterdir()], 1, 0.5)
        if near:
            remedy = f"did you mean {folder / near[0]}?"
    return FileMissingError(f"there is no file {path}", remedy=remedy)


def is_torch_module(value: Any) -> bool:
    """Whether it is a torch.nn.Module; torch itself is not imported for that."""
    return _is_torch(type(value))


def _is_torch(kind: type) -> bool:
    return any((c.__module__, c.__name__) == ("torch.nn.modules.module", "Module") for c in kind.__mro__)


def _is_kind(kind: type) -> bool:
    return issubclass(kind, Module) or _is_torch(kind)


class user_code:
    """Turns what the user's own code raises into a ModelError at their line; trtnet's own errors pass."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, (TrtnetError, KeyboardInterrupt, GeneratorExit)):
            return
        where = None
        for frame, _ in traceback.walk_tb(trace):
            module = frame.f_globals.get("__name__", "")
            if module.partition(".")[0] not in (PACKAGE, "importlib"):
                where = Instruction(frame.f_code, _instruction(trace, frame))
        text = "".join(traceback.format_exception_only(type(error), error)).strip()
        remedy = None
        if isinstance(error, ModuleNotFoundError) and error.name:
            remedy = (
                "give a file as path/to/file.py:Class; a module must be importable from here"
                if self.what == f"import {error.name}"
                else f"install what provides {error.name.partition('.')[0]!r}, or put its folder on PYTHONPATH"
            )
        elif isinstance(error, TypeError) and self.what.endswith(")"):
            remedy = "constructor arguments are given as --arg name=value"
        raise ModelError(
            f"{self.what} raised {type(error).__name__}", details=text, where=where, remedy=remedy
        ) from error


def _instruction(trace: TracebackType | None, frame: FrameType) -> int:
    while trace is not None:
        if trace.tb_frame is frame:
            return trace.tb_lasti
        trace = trace.tb_next
    return frame.f_lasti


def halved(
    network: Any, inputs: Mapping[str, Input], arrays: Mapping[str, np.ndarray]
) -> tuple[Any, dict[str, Input], Mapping[str, np.ndarray]]:
    """A network, its inputs and their arrays with float16 in the place of float32."""
    half = (
        network.half() if is_torch_module(network) else network.to("float16") if isinstance(network, Module) else None
    )
    if half is None:
        raise ArgumentError(
            "--half is for modules",
            expected="a module, whose weights become float16",
            found=type(network).__name__,
            remedy="let the function take float16: --input x=1x3:float16",
        )
    specs = {
        name: Input(spec.shape, "float16", spec.range) if spec.dtype is dtypes.float32 else spec
        for name, spec in inputs.items()
    }
    return half, specs, {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in arrays.items()}


def record_model(network: Callable[..., Any], inputs: Mapping[str, Any]) -> Graph:
    """`trtnet.record`, with what forward wants said in the command line's own terms."""
    forward: Any = getattr(network, "forward", network)
    known = inspect.signature(forward).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    required = [n for n, p in known.items() if p.default is p.empty and p.kind in kinds]
    missing = [n for n in required if n not in inputs]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    extra = [] if takes_any else [n for n in inputs if n not in known]
    if missing or extra:
        title = getattr(network, "__name__", None) or type(network).__name__
        raise ArgumentTypeError(
            f"{title} needs other inputs",
            expected=", ".join(required) or "none",
            found=", ".join(inputs) or "none",
            remedy="one for each argument of forward: " + " ".join(f"--input {n}=..." for n in required),
        )
    with user_code("forward()"):
        return record(network, **inputs)
