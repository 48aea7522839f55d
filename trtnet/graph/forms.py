"""What `forward` returned: one tensor, a tuple or a dict of tensors, in which None may stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Form = str | list[str | None] | dict[str, str | None]
"""`"one"`, `"tuple"` or `"dict"`; where some values were None, the outputs' names and None in a list or a dict."""


def named(result: Any) -> tuple[Form, dict[str, Any]]:
    """The form of what `forward` returned, and what it returned by the outputs' names, without Nones."""
    if isinstance(result, Mapping):
        values = dict(result)
        names = {key: None if value is None else key for key, value in values.items()}
        form: Form = names if None in names.values() else "dict"
    elif isinstance(result, (tuple, list)):
        values = {f"output_{i}": value for i, value in enumerate(result)}
        places = [None if value is None else name for name, value in values.items()]
        form = places if None in places else "tuple"
    else:
        return "one", {"output": result}
    return form, {name: value for name, value in values.items() if value is not None}


def formed(form: Form, names: Sequence[str], results: Sequence[Any]) -> Any:
    """The outputs, given in the order of their names, in a form."""
    if form == "one":
        return results[0]
    if form == "tuple":
        return tuple(results)
    found = dict(zip(names, results))
    if form == "dict":
        return found
    if isinstance(form, list):
        return tuple([None if name is None else found[name] for name in form])
    assert isinstance(form, dict)
    return {key: None if name is None else found[name] for key, name in form.items()}


def flat(form: Form, names: Sequence[str], given: Any) -> list[Any] | None:
    """The outputs in the order of their names, of a value in this form; None where it has another one."""
    if form == "one":
        return None if isinstance(given, (tuple, list, dict)) else [given]
    if form == "tuple" or isinstance(form, list):
        places = list(names) if form == "tuple" else form
        if not isinstance(given, (tuple, list)) or len(given) != len(places):
            return None
        return [value for name, value in zip(places, given) if name is not None]
    keys = list(names) if form == "dict" else list(form)
    if not isinstance(given, Mapping) or not set(names) <= set(given) <= set(keys):
        return None
    return [given[name] for name in names]
