"""Arguments of `forward` that hold several tensors: Inputs in tuples, lists and dicts, each an input of the network."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from ..basics.dims import Size
from .graph import Input


def holds_inputs(value: Any) -> bool:
    """Whether there is an Input in a tuple, a list or a dict."""
    return any(isinstance(part, Input) or holds_inputs(part) for _, part in _parts(value))


def mapped(name: str, value: Any, leaf: Callable[[str, Any], Any], inside: bool = False) -> Any:
    """An argument with what `leaf` gives in the place of each Input, and of each value beside one.

    Args:
        leaf: called with the name of an input, which is made of the argument's name and of keys, positions and the
            fields of named tuples: `states_0`, `states_pi_1`; and with what stands there.
        inside: whether it stands beside an Input itself: then it may hold plain values alone, or nothing.
    """
    if not (holds_inputs(value) or (inside and _is_container(value))):
        return leaf(name, value)
    parts = [mapped(f"{name}_{key}", part, leaf, True) for key, part in _parts(value)]
    if isinstance(value, (OrderedDict, defaultdict)):
        made = value.copy()
        made.update(zip(value, parts))
        return made
    if isinstance(value, Mapping):
        return dict(zip(value, parts))
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def inputs_of(given: Mapping[str, Any]) -> dict[str, Input]:
    """The Inputs of arguments by the names of the network's inputs."""
    found: dict[str, Input] = {}

    def leaf(name: str, value: Any) -> None:
        if isinstance(value, Input):
            found[name] = value

    for name, value in given.items():
        mapped(name, value, leaf)
    return found


def filled(given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with values in the place of the Inputs, by the names of the network's inputs."""

    def leaf(name: str, value: Any) -> Any:
        return values.get(name, value) if isinstance(value, Input) else value

    return {name: mapped(name, value, leaf) for name, value in given.items()}


def values_of(given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in the place of each Input in values of the same form, by the names of the network's inputs."""
    found: dict[str, Any] = {}
    for name, spec in given.items():
        _collect(name, spec, values.get(name), found)
    return found


def _collect(name: str, spec: Any, value: Any, found: dict[str, Any]) -> None:
    if isinstance(spec, Input):
        found[name] = value
    elif holds_inputs(spec):
        for (key, part), (_, own) in zip(_parts(spec), _parts(value)):
            _collect(f"{name}_{key}", part, own, found)


def _is_container(value: Any) -> bool:
    return isinstance(value, (tuple, list, Mapping)) and not isinstance(value, Size)


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """Keys or positions, and what stands there; nothing of what is no tuple, list or dict."""
    if isinstance(value, Mapping):
        return list(value.items())
    if not _is_container(value):
        return []
    return list(zip(getattr(value, "_fields", range(len(value))), value))
