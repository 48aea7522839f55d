"""Everything that holds weights, as one mapping from name to value: state dicts, modules, pairs, nested dicts, files.

`named_values` is the one road by which `refit`, `load_state_dict` and `bind_weights` read what they are given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar

from ..basics.arrays import import_torch
from ..basics.cycles import refuse_cycle
from ..basics.errors import ArgumentError, ArgumentTypeError, WeightsError
from ..basics.patterns import matches, patterns_of
from ._common import some
from .files import read
from .wrappers import WRAPPERS, unwrapped

_Given = TypeVar("_Given")


class HasStateDict(Protocol):
    """A module, torch's or trtnet's."""

    def state_dict(self) -> Mapping[str, Any]: ...


class OpenFile(Protocol):
    """What `safetensors.safe_open` gives."""

    def keys(self) -> Iterable[str]: ...
    def get_tensor(self, name: str) -> object: ...


class Opaque:
    """Holds weights, but not by name."""

    instead: ClassVar[str]
    """What to do with it where weights by name are wanted."""


class File(NamedTuple):
    """A weights file, and whether it is to be mapped."""

    path: str | PathLike[str]
    mmap: bool = True


Source: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]] | HasStateDict | OpenFile | str | PathLike[str] | File
"""A state_dict; a module, torch's or trtnet's; pairs of name and value; dicts in dicts (TensorDict), whose keys are
joined by "."; the path of a weights file; or an open `safetensors.safe_open`."""

Rename: TypeAlias = Mapping[str, str | None] | Callable[[str], str | None]
"""New names by old ones, or a function that gives them; None leaves a value out. A key of a mapping that ends in "."
renames the beginning of names."""


class Lazy(Mapping[str, Any]):
    """Values that are made when they are read: only those that are meant are."""


class Selection(NamedTuple):
    """Which values of a source are meant, and by which names.

    Attributes:
        prefix: keys that begin with it are meant, without it; all others are somebody else's.
        rename: applied to what is left of the keys.
        select: patterns (`fnmatch`) over the names that come of it; all others are somebody else's.
    """

    prefix: str = ""
    select: tuple[str, ...] | None = None
    rename: Rename | None = None

    @classmethod
    def of(cls, prefix: str, select: str | Iterable[str] | None, rename: Rename | None) -> Selection:
        """What is asked for. Raises ArgumentTypeError for what are no patterns, and for what gives no names."""
        if not prefix and select is None and rename is None:
            return ALL
        if select is not None and not isinstance(select, Iterable):
            raise ArgumentTypeError("select is no pattern", expected="text, or several", found=repr(select)[:80])
        if rename is not None and not isinstance(rename, Mapping) and not callable(rename):
            raise ArgumentTypeError(
                "rename gives no names",
                expected="a dict of old name: new name, or a function of the name",
                found=type(rename).__name__,
                remedy="rename={'pi.': 'actor.'}, or rename=lambda name: name.lower()",
            )
        return cls(prefix, None if select is None else tuple(patterns_of(select, "select")), rename)


ALL = Selection()


class Named(NamedTuple):
    """Values by the names that are meant.

    Attributes:
        text: how messages call them; None of what has no name of its own.
        flat: whether values are 1-D float32, which take the parameter's shape and dtype (tensorrtx's `.wts`).
    """

    values: Mapping[str, Any]
    text: str | None = None
    flat: bool = False


@dataclass(frozen=True)
class _Later:
    """A value that is read when it is known to be wanted.

    Attributes:
        read: gives it.
        optional: whether a module's state_dict does not have it: it is left out where nothing asks for it.
        pieces: the keys that it is computed from, which are left out where it is taken.
    """

    read: Callable[[], Any]
    optional: bool = False
    pieces: frozenset[str] = frozenset()


def named_values(
    source: Source,
    wanted: Collection[str],
    selection: Selection = ALL,
    *,
    buffers: Collection[str] | None = None,
    live: bool = False,
) -> Named:
    """The values of a source by the names of parameters. Nothing is copied that need not be.

    What torch's wrappers put into keys (`module.`, `_orig_mod.`) is seen through, in any order and at any depth, by the
    names that are wanted. Names that nobody wants stay in the mapping: the caller refuses them.

    Args:
        wanted: the names of the parameters.
        buffers: those of them that are also taken from a module's buffers beside its state_dict; all, unless given.
        live: whether the tensors themselves are meant, because somebody reads what is written to them later: then a
            weight that is computed (a parametrization) is refused.

    Raises:
        ArgumentTypeError: something that holds no weights. ArgumentError: a pattern, or a name to be renamed, that
            matches nothing.
        WeightsError: no key begins with the prefix, a name is given twice, or a file cannot be read.
    """
    if selection is ALL and isinstance(source, dict) and all(key in wanted for key in source):
        return Named(source)
    found, text, flat = _read(source, live)
    names = _prefixed(found, selection.prefix)
    names = _renamed(names, selection.rename)
    seen = unwrapped(dict.fromkeys(names.values()), wanted)
    names = _selected({full: seen[name] for full, name in names.items()}, selection.select)
    return Named(_values(found, names, wanted, wanted if buffers is None else buffers, live), text, flat)


# --- what sources are -------------------------------------------------------------------------------------------------


def _read(source: Any, live: bool) -> tuple[dict[str, Any], str | None, bool]:
    """Values by the source's own keys, how to call them, and whether they are flat."""
    if isinstance(source, str | PathLike):
        source = File(source)
    if isinstance(source, File):
        return dict(read(source.path, mmap=source.mmap)), str(source.path), str(source.path).lower().endswith(".wts")
    if isinstance(source, Lazy):
        return {name: _Later(functools.partial(source.__getitem__, name)) for name in source}, None, False
    if isinstance(source, Mapping):
        try:
            return dict(_flattened(source)), None, False
        except RecursionError:
            refuse_cycle("the dict of weights", "weights", source)
            raise
    if callable(getattr(source, "state_dict", None)):
        return _module(source, live), None, False
    if callable(getattr(source, "get_tensor", None)) and callable(getattr(source, "keys", None)):
        names = _from_open(source, source.keys, "names")
        return {name: _Later(_reader(source, name)) for name in names}, None, False
    if isinstance(source, Iterable) and not isinstance(source, bytes) and not hasattr(source, "shape"):
        return _paired(source), None, False
    raise _no_source(source)


def _no_source(found: Any) -> ArgumentTypeError:
    return ArgumentTypeError(
        "weights are given by name",
        expected="a state_dict, a module, pairs of name and array, nested dicts, a path, or an open safetensors file",
        found=type(found).__name__,
        remedy=found.instead
        if isinstance(found, Opaque)
        else "give the module itself, module.state_dict(), or the path of its weights file",
    )


def _flattened(source: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in source.items():
        if not isinstance(key, str):
            raise ArgumentTypeError("weights are given by name", expected="keys of text", found=repr(key)[:80])
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{above}{key}.")
        else:
            yield above + key, value


def _paired(source: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in source:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ArgumentTypeError(
                "weights are given by name",
                expected="pairs of a name and an array",
                found=repr(pair)[:80],
                remedy="give pairs, as of module.named_parameters() and state_dict.items()",
            )
        name, value = pair
        if name in found:
            raise _twice(name, name)
        found[name] = value
    return dict(_flattened(found))


def _reader(source: OpenFile, name: str) -> Callable[[], Any]:
    return lambda: _from_open(source, lambda: source.get_tensor(name), f"tensor {name!r}")


def _from_open(source: object, give: Callable[[], _Given], what: str) -> _Given:
    try:
        return give()
    except Exception as error:
        raise WeightsError(
            f"the open file gives no {what}",
            details=f"{type(error).__name__}: {error}"[:300],
            expected="a file that is open, and a type that its framework has",
            found=type(source).__name__,
            remedy="give the path of the file in place of what safe_open made of it",
        ) from error


def _module(module: Any, live: bool) -> dict[str, Any]:
    """The state_dict of a module; of torch's also buffers that are not in it, and weights that are computed."""
    if not hasattr(module, "named_buffers"):
        return dict(_flattened(module.state_dict()))
    if not hasattr(module, "_load_from_state_dict"):  # trtnet's own
        found = dict(module.state_dict())
    else:
        state = module.state_dict(keep_vars=live)
        found = {key: value for key, value in state.items() if key.rpartition(".")[2] != "_extra_state"}
        if any("parametrizations." in key for key in found):
            found |= {key: value for key, value in _parametrized(module) if key not in found}
    for key, value in module.named_buffers(remove_duplicate=False):
        if key not in found:
            found[key] = _Later(lambda value=value: value, optional=True)  # type: ignore[misc]
    return found


def _parametrized(module: Any) -> Iterator[tuple[str, _Later]]:
    """The weights that `torch.nn.utils.parametrize` computes at each access, by the names that they have."""
    for path, one in module.named_modules(remove_duplicate=False):
        at = f"{path}." if path else ""
        for name, how in getattr(one, "parametrizations", {}).items():
            pieces = frozenset(f"{at}parametrizations.{name}.{key}" for key in how.state_dict())
            yield at + name, _Later(lambda one=one, name=name: _computed(one, name), True, pieces)  # type: ignore[misc]


def _computed(module: Any, name: str) -> Any:
    """A parametrized tensor as in evaluation: in training a spectral norm would go on with its iteration."""
    with import_torch().no_grad(), _evaluating(module.parametrizations[name]):
        return getattr(module, name).detach().contiguous()


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    training = [one for one in module.modules() if one.training]
    for one in training:
        one.training = False
    try:
        yield
    finally:
        for one in training:
            one.training = True


def meant(key: str, wanted: Collection[str], selection: Selection) -> str | None:
    """The name that is meant by one key of many that come one by one; None where it is somebody else's."""
    prefix, select, rename = selection
    name: str | None = _without(key, prefix) if prefix else key
    if name is not None and prefix and not prefix.endswith("."):
        name = name.removeprefix(".")
    if name and rename is not None:
        name = _new_name(name, rename, set())
    if not name:
        return None
    name = unwrapped([name], wanted)[name]
    return name if select is None or matches(name, select) else None


# --- which are meant --------------------------------------------------------------------------------------------------


def _prefixed(keys: Iterable[str], prefix: str) -> dict[str, str]:
    """What is left of the keys that begin with the prefix, by key."""
    if not prefix:
        return {key: key for key in keys}
    keys = list(keys)
    found = {key: rest for key in keys if (rest := _without(key, prefix)) is not None}
    if not prefix.endswith(".") and any(rest.startswith(".") for rest in found.values()):  # the module was meant
        found = {key: rest[1:] for key, rest in found.items() if rest.startswith(".")}
    found = {key: rest for key, rest in found.items() if rest}
    if not found:
        first = dict.fromkeys(key.partition(".")[0] + "." if "." in key else key for key in keys)
        raise WeightsError(
            f"no key begins with the prefix {prefix!r}",
            expected=f"{prefix}...",
            found=some(first) or "no keys",
            remedy="prefix= selects the keys that begin with it, and strips it: give one that there is",
        )
    return found


def _without(key: str, prefix: str) -> str | None:
    """What is left of a key behind the prefix; wrappers may stand before and within that. None where it has none."""
    if key.startswith(prefix):
        return key[len(prefix) :]
    if not any(wrapper in key for wrapper in WRAPPERS):
        return None
    *whole, last = prefix.split(".")
    parts = key.split(".")
    for part in whole:
        while parts and parts[0] != part and parts[0] in WRAPPERS:
            del parts[0]
        if not parts or parts[0] != part:
            return None
        del parts[0]
    while last and len(parts) > 1 and not parts[0].startswith(last) and parts[0] in WRAPPERS:
        del parts[0]
    rest = ".".join(parts)
    return rest[len(last) :] if rest.startswith(last) else None


def _renamed(names: dict[str, str], rename: Rename | None) -> dict[str, str]:
    if rename is None:
        return names
    used: set[str] = set()
    found = {full: new for full, name in names.items() if (new := _new_name(name, rename, used)) is not None}
    if isinstance(rename, Mapping) and (left := [one for one in rename if one not in used]):
        raise ArgumentError(
            "rename has names that are not given",
            expected=some(names.values()),
            found=some(left),
            remedy="name what is given, behind the prefix; a name that ends in '.' stands for all that begin with it",
        )
    return found


def _new_name(name: str, rename: Rename, used: set[str]) -> str | None:
    """The new name, or None to leave it out; entries of a mapping that fit are put into `used`."""
    new = _mapped(name, rename, used) if isinstance(rename, Mapping) else rename(name)
    if new is not None and not isinstance(new, str):
        raise ArgumentTypeError(
            f"rename gives no name for {name!r}",
            expected="text, or None to leave it out",
            found=repr(new)[:80],
            remedy="have the function return the name as it is where it needs no other",
        )
    return new


def _mapped(name: str, rename: Mapping[str, str | None], used: set[str]) -> str | None:
    plain = ".".join([part for part in name.split(".")[:-1] if part not in WRAPPERS] + name.split(".")[-1:])
    for one in dict.fromkeys((name, plain)):
        if one in rename:
            used.add(one)
            return rename[one]
        beginnings = [old for old in rename if old.endswith(".") and one.startswith(old)]
        if beginnings:
            old = max(beginnings, key=len)
            used.add(old)
            new = rename[old]
            return None if new is None else new + one[len(old) :]
    return name


def _selected(names: dict[str, str], select: tuple[str, ...] | None) -> dict[str, str]:
    if select is None:
        return names
    if idle := [one for one in select if not any(matches(name, [one]) for name in names.values())]:
        raise ArgumentError(
            "select matches nothing",
            expected=some(dict.fromkeys(names.values())) or "no names",
            found=some(idle),
            remedy="give patterns over the names behind prefix and rename: select='head.*'",
        )
    return {full: name for full, name in names.items() if matches(name, select)}


def _values(
    found: Mapping[str, Any],
    names: Mapping[str, str],
    wanted: Collection[str],
    buffers: Collection[str],
    live: bool,
) -> dict[str, Any]:
    """The values by name."""
    taken = {full for full, name in names.items() if name in wanted}
    pieces: set[str] = set()
    for full in taken:
        value = found[full]
        if isinstance(value, _Later) and value.pieces:
            if live:
                raise WeightsError(
                    f"the weight {names[full]!r} is computed at each use, and cannot be read where it is",
                    expected="a parameter or buffer that the module writes to in place",
                    found="a parametrization of " + ", ".join(sorted(value.pieces)),
                    remedy="build(graph, refit=True) and engine.refit(module); or "
                    "torch.nn.utils.parametrize.remove_parametrizations(module, name)",
                )
            pieces |= value.pieces
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for full, name in names.items():
        value = found[full]
        if full in pieces and name not in wanted:
            continue
        if isinstance(value, _Later) and value.optional and name not in (wanted if value.pieces else buffers):
            continue
        if name in values:
            raise _twice(name, full if full != name else places[name])
        places[name] = full
        values[name] = value.read() if isinstance(value, _Later) else value
    return values


def _twice(name: str, full: str) -> WeightsError:
    return WeightsError(
        "a name is given twice",
        details=f"  {name}: given twice, as {full!r} too",
        expected="each name once",
        found=name,
        remedy="prefix= and select= take a part of what is given",
    )


def is_sharded(value: object) -> bool:
    """Whether a tensor is one of several processes' parts: torch's DTensor."""
    return type(value).__name__ == "DTensor"
