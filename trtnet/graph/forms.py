"""What `forward` returned: one tensor, or tuples and dicts of tensors, nested as they are, in which None may stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..basics.dims import Size
from ..basics.errors import ArgumentError

Place: TypeAlias = "str | list[Place] | dict[str, Place] | None"
"""An output's name, None, or several of them."""

Form = str | list[Place] | dict[str, Place]
"""`"one"`, `"tuple"` or `"dict"`; where there are Nones, tuples or dicts among the values, a list or a dict of the
outputs' names with Nones, lists and dicts in it."""


def named(result: Any) -> tuple[Form, dict[str, Any]]:
    """The form of what `forward` returned, and what it returned by the outputs' names, without Nones.

    Raises ArgumentError where two of nested outputs would have one name.
    """
    found: dict[str, Any] = {}
    place = _place(result, None, found)
    if isinstance(place, list):
        return "tuple" if all(isinstance(name, str) for name in place) else place, found
    if isinstance(place, dict):
        return "dict" if all(isinstance(name, str) for name in place.values()) else place, found
    return "one", {"output": result}


def _place(value: Any, name: Any, found: dict[Any, Any]) -> Any:
    """Where the values of a result stand, by names that are made of keys and positions."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        inner = "" if name is None else f"{name}_"
        keys = {key: f"{inner}{key}" if inner and isinstance(key, str) else key for key in value}
        return {key: _place(value[key], key_name, found) for key, key_name in keys.items()}
    if isinstance(value, (tuple, list)) and not isinstance(value, Size):
        start = "output" if name is None else name
        return [_place(part, f"{start}_{index}", found) for index, part in enumerate(value)]
    if name in found:
        raise ArgumentError(
            f"two outputs would have the same name {name!r}",
            expected="names that differ, also those that are made of a key and a position",
            found=name,
            remedy="rename the key in the dict that forward returns",
        )
    found[name] = value
    return "output" if name is None else name


def with_marks(form: Form, marks: Iterable[str]) -> Form:
    """The form of a result, as a dict by the outputs' names, with marked tensors behind its own."""
    if isinstance(form, str):
        return "dict"
    own = {f"output_{index}": place for index, place in enumerate(form)} if isinstance(form, list) else form
    return own | {name: name for name in marks}


def _places(form: Form, names: Sequence[str]) -> Place:
    return list(names) if form == "tuple" else {name: name for name in names} if form == "dict" else form


def formed(form: Form, names: Sequence[str], results: Sequence[Any]) -> Any:
    """The outputs, given in the order of their names, in a form."""
    if form == "one":
        return results[0]
    if form == "tuple":
        return tuple(results)
    found = dict(zip(names, results))
    return found if form == "dict" else _filled(form, found)


def _filled(place: Place, found: Mapping[str, Any]) -> Any:
    if isinstance(place, list):
        return tuple([_filled(inner, found) for inner in place])
    if isinstance(place, dict):
        return {key: _filled(inner, found) for key, inner in place.items()}
    return None if place is None else found[place]


def flat(form: Form, names: Sequence[str], given: Any) -> list[Any] | None:
    """The outputs in the order of their names, of a value in this form; None where it has another one."""
    if form == "one":
        return None if isinstance(given, (tuple, list, dict)) else [given]
    found: dict[str, Any] = {}
    return [found[name] for name in names] if _fits(_places(form, names), given, found) else None


def _fits(place: Place, given: Any, found: dict[str, Any]) -> bool:
    """Whether a value stands in these places; what of it is no None goes to `found`."""
    if isinstance(place, list):
        if not isinstance(given, (tuple, list)) or len(given) != len(place):
            return False
        return all(_fits(inner, part, found) for inner, part in zip(place, given))
    if isinstance(place, dict):
        needed = {key for key, inner in place.items() if inner is not None}
        if not isinstance(given, Mapping) or not needed <= set(given) <= set(place):
            return False
        return all(_fits(place[key], given[key], found) for key in needed)
    if place is not None:
        found[place] = given
    return True


def names_in(form: Any) -> list[Any]:
    """The outputs' names in lists and dicts, one after the other, without Nones."""
    waiting = [form]
    names: list[Any] = []
    while waiting:
        place = waiting.pop()
        if isinstance(place, (list, dict)):
            waiting += reversed(list(place.values()) if isinstance(place, dict) else place)
        elif place is not None:
            names.append(place)
    return names
