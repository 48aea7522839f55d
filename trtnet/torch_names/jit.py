"""torch.jit's names: nothing is scripted or traced here, so decorators give back what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from typing import Final as Final

T = TypeVar("T")


def same(function: T, *args: Any, **kwargs: Any) -> T:
    return function


def decorator(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A decorator with or without arguments that gives the function itself."""
    return function if callable(function) else same


def never(*args: Any, **kwargs: Any) -> bool:
    return False


def annotate(the_type: Any, the_value: T) -> T:
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    import builtins

    return builtins.isinstance(obj, target_type)


trace: Callable[..., Any] = same
trace_module: Callable[..., Any] = same
script = script_method = script_if_tracing = _script_if_tracing = decorator
ignore = unused = export = interface = _overload = _overload_method = decorator
is_scripting = is_tracing = never
