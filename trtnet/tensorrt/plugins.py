"""Plugins of TensorRT's registry and of shared libraries: what there is, and what a network or a plan needs of it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..basics import dtypes
from ..basics.disk import as_path, writable_by
from ..basics.errors import ArgumentError, ArgumentTypeError, BuildError, ProviderError, instead_of, shown
from ..layers.targets import KernelRequest, NativePlugin, PluginField, PluginRequest
from . import provider as providers
from .kernels import ahead, compiling, shim, triton_code
from .kernels import launch as launches
from .provider import Provider

if TYPE_CHECKING:
    from .bindings import IPluginCreator

EXPORTS = ("getCreators", "getPluginCreators")
"""What a library exports that TensorRT itself can load, from a file or out of a plan: IPluginV3, IPluginV2."""

Key = tuple[str, str, str]

FUNCTION = "<function>"
"""Stands in the launch of a kernel for the function's name in the compiled code."""


class Creator(NamedTuple):
    """A plugin that networks can use.

    Attributes:
        name, version, namespace: of TensorRT's registry.
        fields: the types of its attributes, by name, as the creator says them.
    """

    name: str
    version: str
    namespace: str
    fields: Mapping[str, str]

    def __str__(self) -> str:
        named = f"{self.namespace}::{self.name}" if self.namespace else self.name
        return f"{named} {self.version} ({', '.join(f'{n}: {t}' for n, t in self.fields.items())})"


@dataclass(frozen=True)
class Library:
    """A shared library of plugins that this process has loaded.

    Attributes:
        path: where it was.
        sha256: of the file.
        keys: the creators that it registered.
        is_loadable: whether TensorRT itself can load it, and so keep it in a version-compatible plan.
    """

    path: Path
    sha256: str
    keys: frozenset[Key]
    is_loadable: bool


_libraries: dict[str, Library] = {}
_registered: list[Any] = []
_lock = threading.RLock()


def available(provider: str | None = None) -> list[Creator]:
    """The plugins that TensorRT's registry has: its own, and those of libraries that were loaded.

    Args:
        provider: the name of the TensorRT; "tensorrt" unless given. TensorRT-RTX has none: an empty list.

    Raises ProviderError where it is not installed.
    """
    found = providers.load(provider or "tensorrt")
    if not (found.has_layer("add_plugin_v2") or found.has_layer("add_plugin_v3")):
        return []
    return [_described(found, one) for one in found.plugin_creators()]


def load(path: str | os.PathLike[str], provider: str | None = None) -> list[Creator]:
    """Load a shared library of plugins into this process, once; the creators that it registered.

    It runs code of the library. Libraries register their creators when they are loaded (REGISTER_TENSORRT_PLUGIN), or
    export them (`getPluginCreators`, or `getCreators` of IPluginV3).

    Raises ProviderError: the file is not there, does not load, or registers nothing; or TensorRT-RTX, which has none.
    """
    found = providers.load(provider or "tensorrt")
    library = _loaded(found, as_path(path))
    return [_described(found, one) for one in found.plugin_creators() if _key(one) in library.keys]


def register(creator: Any, provider: str | None = None) -> Creator:
    """Register a creator of plugins that Python runs: an object of a class over `tensorrt.IPluginCreatorV3One`, that
    makes objects of one over `tensorrt.IPluginV3` (TensorRT 10 on). A `trtnet.Plugin` then names it as any other.

    It lives as long as the process. A process that loads a plan with its plugins registers it before.

    Raises ArgumentTypeError for what is no such creator; ProviderError: this TensorRT has none, or has another of that
    name and version.
    """
    found = providers.load(provider or "tensorrt")
    registry = found.plugin_registry
    kind = getattr(found.trt, "IPluginCreatorV3One", None)
    if kind is None:
        raise ProviderError(
            f"{found} has no plugins that Python runs",
            expected="TensorRT 10.0 or newer",
            found=str(found),
            remedy="use a library's plugin, or trtnet.kernel, which every TensorRT runs",
        )
    if not isinstance(creator, kind):
        raise ArgumentTypeError(
            "this is no creator of plugins",
            expected="an object of a class over tensorrt.IPluginCreatorV3One, with its name, version and field_names",
            found=shown(creator),
            remedy="give an object, and call IPluginCreatorV3One.__init__ in its own __init__",
        )
    with _lock:
        if not any(creator is one for one in _registered):
            key = _key(creator)
            known = found.plugin_creator(*key)
            if known is not None or not registry.register_creator(creator, key[2]):
                raise ProviderError(
                    f"the plugin {key[0]} {key[1]} is registered already",
                    expected="a name and version that no other creator has",
                    found=", ".join(str(one) for one in available(provider) if one.name == key[0])
                    or "TensorRT refused",
                    remedy="give it another version; a creator is registered once in a process",
                )
            _registered.append(creator)
    return _described(found, creator)


class Compilable(Protocol):
    """What has CUDA source: a `trtnet.kernel`."""

    @property
    def program(self) -> tuple[str, str, tuple[str, ...]]:
        """The source, the function's name, and NVRTC's options."""


def compiled(kernel: Compilable, arch: str | None = None) -> bytes:
    """The machine code of a `trtnet.kernel` for a GPU, as "sm_90"; for the one here unless given. NVRTC needs no GPU.

    Raises BuildError with the compiler's messages; ProviderError where NVRTC is not installed.
    """
    return compiling.compiled(*kernel.program, arch).code


def _key(creator: IPluginCreator) -> Key:
    return creator.name, creator.plugin_version, creator.plugin_namespace


def _types(provider: Provider, creator: IPluginCreator) -> dict[str, str]:
    """What a creator says of its fields: members of PluginFieldType by name."""
    said = creator.field_names
    fields = [said[i] for i in range(len(said))] if said is not None else []
    return {str(field.name): field.type.name for field in fields}


def _described(provider: Provider, creator: IPluginCreator) -> Creator:
    return Creator(*_key(creator), {name: kind.lower() for name, kind in _types(provider, creator).items()})


def _loaded(provider: Provider, path: Path) -> Library:
    provider.plugin_registry  # noqa: B018  # TensorRT's own library, and ProviderError where there are no plugins
    try:
        path = path.resolve()
        sha256 = _digest(path)
    except OSError as error:
        raise ProviderError(
            f"there is no plugin library at {path}",
            expected="a shared library (.so, .dll)",
            found=str(error),
            remedy="build it, or give the path where it lies: trtnet.plugins.load(path)",
        ) from None
    with _lock:
        known = _libraries.get(sha256)
        if known is not None:
            return known
        before = {_key(one) for one in provider.plugin_creators()}
        _show_tensorrt()
        try:
            library = ctypes.CDLL(str(path), mode=getattr(os, "RTLD_GLOBAL", 0) | getattr(os, "RTLD_NOW", 0))
        except OSError as error:
            raise ProviderError(
                f"the plugin library {path} does not load",
                details=str(error),
                expected=f"a library for {provider} and this machine",
                remedy="build it against this TensorRT and CUDA; a missing library that it needs must be on "
                "LD_LIBRARY_PATH",
            ) from error
        is_loadable = any(hasattr(library, name) for name in EXPORTS)
        if is_loadable and {_key(one) for one in provider.plugin_creators()} == before:
            provider.plugin_registry.load_library(str(path))
        keys = frozenset({_key(one) for one in provider.plugin_creators()} - before)
        if not keys:
            raise ProviderError(
                f"the library {path} registered no plugin",
                expected="REGISTER_TENSORRT_PLUGIN(MyCreator), or an exported getPluginCreators, and a name and "
                "version that are not registered yet",
                found="no new creator in TensorRT's registry",
                remedy="trtnet.plugins.available() shows what is there; restart Python to load another build",
            )
        made = _libraries[sha256] = Library(path, sha256, keys, is_loadable)
        return made


def _show_tensorrt() -> None:
    """Let libraries that do not name libnvinfer find its functions (getPluginRegistry): the bindings load it for
    themselves alone."""
    if sys.platform.startswith("linux"):
        paths = {
            line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libnvinfer.so" in line
        }
        for path in paths:
            ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_GLOBAL | os.RTLD_NOW)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _search(name: str, places: Iterable[str]) -> Path | None:
    """The first of the places, or of the folders of LD_LIBRARY_PATH, that has the library."""
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    for place in (*places, name, *(os.path.join(folder, name) for folder in folders if folder)):
        if os.path.isfile(place):
            return Path(place)
    return None


# --- for a network ----------------------------------------------------------------------------------------------------


class Made(NamedTuple):
    """A plugin for a network.

    Attributes:
        plugin: TensorRT's object.
        holds: what must live as long as the network: fields and their arrays.
        needs: what a plan with it needs to be loaded, for the manifest; None of what is part of the plan.
    """

    plugin: NativePlugin
    holds: tuple[Any, ...]
    needs: Mapping[str, Any] | None


def make(provider: Provider, wanted: PluginRequest) -> Made:
    """The plugin that a layer asks for.

    Raises:
        ProviderError: no such library or creator. ArgumentError: a field that the creator has not.
        ArgumentTypeError: a field of another type. BuildError: the creator refused the fields.
    """
    if wanted.kernel is not None:
        _require_types(provider, wanted.kernel)
        unsuitable = ""
        if provider.plugin_module is not None:
            try:
                return _kept(provider, provider.plugin_module, wanted.kernel)
            except ahead.Unsuitable as why:
                unsuitable = f"the kernel cannot be part of the plan, which needs no such plugin: {why}"
        wanted = _launching(provider, wanted.kernel, wanted, unsuitable)
    library = _library_of(provider, wanted)
    creator = provider.plugin_creator(wanted.creator, wanted.version, wanted.namespace)
    if creator is None:
        raise _unknown(provider, wanted)
    types = _types(provider, creator)
    arrays = [_array(provider, wanted, one, types) for one in wanted.fields]
    fields = [
        provider.trt.PluginField(one.name, array, provider.enum("PluginFieldType", kind))
        for one, (array, kind) in zip(wanted.fields, arrays)
    ]
    native = provider.make_plugin(creator, wanted.layer, fields)
    if native is None:
        raise BuildError(
            f"the creator of the plugin {wanted.creator} refused these fields",
            expected=", ".join(f"{name}: {kind.lower()}" for name, kind in types.items()) or "what the creator takes",
            found=", ".join(f"{one.name}={one.values}" for one in wanted.fields) or "no fields",
            remedy="what it said, if anything, is in the log of 'trtnet.tensorrt'; give the fields that it needs",
        )
    needs: dict[str, Any] = {
        "creator": wanted.creator, "version": wanted.version, "namespace": wanted.namespace,
        "library": None, "path": None, "sha256": None, "is_loadable": False,
    }  # fmt: skip
    if wanted.kernel is not None:  # it is built where it is needed
        needs |= {"path": str(wanted.places[0]), "is_loadable": True}
    elif library is not None:
        needs |= {"library": library.path.name, "path": str(library.path), "sha256": library.sha256}
        needs["is_loadable"] = library.is_loadable
    plugin = NativePlugin(native, provider.plugin_generation(native))
    return Made(plugin, (native, creator, *fields, *(array for array, _ in arrays)), needs)


def _require_types(provider: Provider, kernel: KernelRequest) -> None:
    """Raises ProviderError for tensors that this TensorRT has not."""
    tensors = set(kernel.launch.partition("\ngrid ")[0].split())
    if lacking := [name for name in ("int64", "bfloat16") if name in tensors and not provider.strongly_typed]:
        raise ProviderError(
            f"{provider} has no {' and no '.join(lacking)}, which the kernel {kernel.function} takes or gives",
            expected="float32, float16, int8, int32 or bool",
            found=", ".join(lacking),
            remedy="convert them before, and write the kernel for int32, and for float32 or float16",
        )


def _kept(provider: Provider, module: ModuleType, kernel: KernelRequest) -> Made:
    """A kernel that becomes part of the plan. Raises ahead.Unsuitable."""
    launch = launches.read(kernel.launch)
    ahead.require_suitable(launch, kernel.shapes)
    if kernel.triton is not None:
        compiled = triton_code.compiled(kernel.triton, kernel.function, kernel.options)
        function, text = compiled.function, compiled.text
        launch = launches.read(_as_triton(kernel.launch, compiled))
        ahead.require_suitable(launch, kernel.shapes)
    else:
        made = compiling.compiled(kernel.source, kernel.function, kernel.options, as_ptx=True)
        function, text = made.function, made.code.decode()
    definition = ahead.defined(provider, module, function, launch, text)
    return Made(NativePlugin(definition, 0), (definition,), None)


def _launching(provider: Provider, kernel: KernelRequest, wanted: PluginRequest, unsuitable: str) -> PluginRequest:
    """What a plugin that launches a kernel is made from: its code, for this machine's GPU.

    Args:
        unsuitable: why no plan holds the kernel itself, if there is a reason.
    """
    try:
        path = shim.library(provider)
    except ProviderError as error:
        error.details = "\n".join(filter(None, [error.details, unsuitable]))
        raise
    made: compiling.Compiled | triton_code.Compiled
    if kernel.triton is not None:
        made = triton_code.compiled(kernel.triton, kernel.function, kernel.options)
        launch = _as_triton(kernel.launch, made)
    else:
        made = compiling.compiled(kernel.source, kernel.function, kernel.options)
        launch = kernel.launch
    launch = launch.replace("\n", " ").replace(FUNCTION, made.function, 1)
    fields = (PluginField("launch", "text", launch), PluginField("code", "bytes", made.code.decode("latin-1")))
    return wanted._replace(
        creator=shim.CREATOR, version=shim.VERSION, library=path.name, places=(str(path),), fields=fields
    )


def _as_triton(launch: str, made: triton_code.Compiled) -> str:
    """The launch as Triton says it: threads, shared memory, and null pointers behind the arguments."""
    lines = []
    for line in launch.split("\n"):
        what, _, rest = line.partition(" ")
        if what == "block":
            line = f"block {made.threads} ; 1 ; 1 ;"
        elif what == "shared":
            line = f"shared {made.shared} ;"
        elif what == "arguments":
            count, _, arguments = rest.partition(" ")
            more = ["int64 0 ;"] * made.more
            line = " ".join(["arguments", str(int(count) + made.more), *filter(None, [arguments, *more])])
        lines.append(line)
    return "\n".join(lines)


def _library_of(provider: Provider, wanted: PluginRequest) -> Library | None:
    """The library that has the creator, loaded if need be; None where TensorRT itself has it."""
    key = (wanted.creator, wanted.version, wanted.namespace)
    known = next((one for one in _libraries.values() if key in one.keys), None)
    if not wanted.library:
        return known
    path = _search(wanted.library, wanted.places)
    if path is not None:
        found = _loaded(provider, path)
        if known is not None and found is not known:
            raise ProviderError(
                f"another library has registered the plugin {wanted.creator} {wanted.version} before",
                expected=str(path),
                found=str(known.path),
                remedy="load one of them only, or give one plugin another version",
            )
        return found
    if known is not None:
        return known
    raise ProviderError(
        f"the library {wanted.library} of the plugin {wanted.creator} is not there",
        expected=f"{wanted.library} beside the file of the class, in the working folder, or on LD_LIBRARY_PATH",
        found="no file at " + ", ".join(wanted.places or (wanted.library,)),
        remedy=f"build it, and load it before: trtnet.plugins.load('/path/to/{wanted.library}')",
    )


def _unknown(provider: Provider, wanted: PluginRequest) -> ProviderError:
    keys = [_key(one) for one in provider.plugin_creators()]
    others = [f"{name} {version}" for name, version, _ in keys if name == wanted.creator]
    near = instead_of(wanted.creator, sorted({name for name, _, _ in keys}))
    named = f"{wanted.namespace}::{wanted.creator}" if wanted.namespace else wanted.creator
    return ProviderError(
        f"{provider} has no plugin {named} of version {wanted.version}",
        expected=", ".join(others) or f"one of the {len(keys)} that trtnet.plugins.available() shows",
        found=f"{named} {wanted.version}",
        remedy="give that version"
        if others
        else near or "load its library before: library = '...' in the class, or trtnet.plugins.load(path)",
    )


# --- fields -----------------------------------------------------------------------------------------------------------

_MEMBERS = {
    "float16": "FLOAT16", "float32": "FLOAT32", "float64": "FLOAT64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "bfloat16": "BF16", "float8_e4m3fn": "FP8",
}  # fmt: skip
_NUMPY = {member: name for name, member in _MEMBERS.items()}
_OF_PYTHON = {"int": "INT32", "float": "FLOAT32", "text": "CHAR", "bytes": "CHAR"}


def _array(
    provider: Provider, wanted: PluginRequest, field: PluginField, types: Mapping[str, str]
) -> tuple[np.ndarray, str]:
    """A field's memory, and its member of PluginFieldType. Raises ArgumentError, ArgumentTypeError."""
    if types and field.name not in types:
        raise ArgumentError(
            f"the plugin {wanted.creator} has no field {field.name!r}",
            expected=", ".join(f"{name}: {kind.lower()}" for name, kind in types.items()),
            found=field.name,
            remedy=instead_of(field.name, types) or "leave it out",
        )
    said = types.get(field.name, "UNKNOWN")
    member = (_OF_PYTHON.get(field.type) or _MEMBERS.get(field.type, "UNKNOWN")) if said == "UNKNOWN" else said
    if isinstance(field.values, str):
        raw = field.values.encode("utf-8" if field.type == "text" else "latin-1")
        if member in ("CHAR", "INT8"):
            ended = raw + b"\0" if field.type == "text" else raw
            return np.frombuffer(ended, np.int8)[: len(raw)], member
        raise _wrong_type(wanted, field, member)
    if member == "DIMS" and field.type == "int":
        return _dims(provider, wanted, field), member
    dtype = dtypes.get(_NUMPY[member]) if member in _NUMPY else None
    if dtype is None or (field.type != "int" and not _fits(field.type, dtype)):
        raise _wrong_type(wanted, field, member)
    if not dtype.is_floating_point:
        limits = np.iinfo(dtype.numpy)
        if any(not limits.min <= value <= limits.max for value in field.values):
            raise _wrong_type(wanted, field, member)
    array = np.asarray(field.values).astype(dtype.numpy).reshape(-1)
    return array.view(f"u{array.itemsize}") if dtype in (dtypes.bfloat16, dtypes.float8_e4m3fn) else array, member


def _fits(kind: str, dtype: dtypes.dtype) -> bool:
    """Whether an attribute of this type may become a field of this one: Python's floats of any floating-point type,
    NumPy's values of their own."""
    return dtype.is_floating_point if kind == "float" else kind == dtype.name


def _dims(provider: Provider, wanted: PluginRequest, field: PluginField) -> np.ndarray:
    """A `Dims`: their number, and 8 sizes, of 64 bits from TensorRT 10 on."""
    if len(field.values) > 8:
        raise _wrong_type(wanted, field, "DIMS")
    size = "i8" if provider.strongly_typed else "i4"
    made = np.zeros(1, np.dtype([("count", "i4"), ("sizes", size, (8,))], align=True))
    made["count"] = len(field.values)
    made["sizes"][0, : len(field.values)] = field.values
    return made


def _wrong_type(wanted: PluginRequest, field: PluginField, member: str) -> ArgumentTypeError:
    values = field.values if isinstance(field.values, str) or field.shape else field.values[0]
    name = _NUMPY.get(member)
    return ArgumentTypeError(
        f"the field {field.name!r} of the plugin {wanted.creator} is of another type",
        expected=member.lower(),
        found=f"{field.type}: {str(values)[:80]}",
        remedy="give text"
        if member == "CHAR"
        else f"give a number that fits, or numpy.{name}(...)"
        if name is not None
        else "give a list of at most 8 whole numbers",
    )


# --- for a plan -------------------------------------------------------------------------------------------------------


def digests(needs: Iterable[Mapping[str, Any]]) -> list[str | None]:
    """What of a plan's plugins decides whether it is the same plan; the attributes are part of its structure."""
    return [one["sha256"] for one in needs]


def require_own(provider: Provider) -> None:
    """Have TensorRT's own plugins registered: a bare plan does not say what it needs."""
    if provider.has_layer("add_plugin_v2") or provider.has_layer("add_plugin_v3"):
        provider.plugin_registry  # noqa: B018


def require(provider: Provider, needs: Sequence[Mapping[str, Any]], folder: Path | None = None) -> None:
    """Have the plugins that a plan needs: a library of the same bytes is loaded from where it was, from `folder` (where
    the plan lies), or from LD_LIBRARY_PATH.

    Raises ProviderError that names what is missing.
    """
    if not needs:
        return
    for one in needs:
        if one.get("in_plan"):
            continue
        if one["creator"] == shim.CREATOR:
            _loaded(provider, shim.library(provider))
            continue
        key = (one["creator"], one["version"], one["namespace"])
        known = next((library for library in _libraries.values() if key in library.keys), None)
        if known is not None and one["sha256"] not in (None, known.sha256):
            warnings.warn(
                f"the plugin {one['creator']} is of another build than the plan was made with: {known.path}",
                stacklevel=3,
            )
        if known is None and provider.plugin_creator(*key) is None:
            _find(provider, one, folder)


def _find(provider: Provider, needed: Mapping[str, Any], folder: Path | None) -> None:
    """Load the library of a plugin that is not registered, if it is found as it was."""
    name, tried = needed["library"], []
    folders = [*([str(folder)] if folder is not None else []), *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
    places = [needed["path"], *(os.path.join(one, name) for one in folders if name and one)]
    for place in (Path(one) for one in places if one):
        if not place.is_file():
            tried.append(f"{place}: not there")
        elif writable_by(place.stat()) is not None:
            tried.append(f"{place}: others can write to it")
        elif _digest(place) != needed["sha256"]:
            tried.append(f"{place}: another build")
        else:
            _loaded(provider, place)
            return
    wanted = f"{needed['creator']} {needed['version']}"
    raise ProviderError(
        f"this plan needs the plugin {wanted}, which is not registered here",
        expected=f"{name}, SHA-256 {str(needed['sha256'])[:16]}" if name else f"{wanted} in TensorRT's own library",
        found="; ".join(tried) or "no such creator in TensorRT's registry",
        remedy=f"load it before: trtnet.plugins.load('/path/to/{name or 'library.so'}'); "
        "or load(path, provider='reference') where weights were saved",
    )
