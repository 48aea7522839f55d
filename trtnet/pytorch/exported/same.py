"""Operators that trtnet.functional has under the same name: called with the arguments of their schema."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ... import functional as F
from ...basics.errors import UnsupportedError, shown

NOWHERE = ("device", "layout", "pin_memory", "memory_format", "non_blocking")
"""Arguments that say where and how a tensor lies, which TensorRT decides."""

ALIASES = {
    "linalg_matrix_power": "matrix_power", "linalg_matmul": "matmul",
    "expit": "sigmoid", "gammaln": "lgamma", "log_sigmoid": "logsigmoid", "im2col": "unfold", "col2im": "fold",
    "native_channel_shuffle": "channel_shuffle",
}  # fmt: skip
"""Other names of functions, without `special_`."""


def function_of(packet: str) -> Callable[..., Any] | None:
    """The function that does what an operator does, by its name without overload."""
    name = packet.removesuffix("_copy").removeprefix("special_")
    name = ALIASES.get(name, name)
    found = getattr(F, name) if name in F.__all__ and not name.endswith("_") else None
    return found if callable(found) and list(_parameters(found)) != ["args", "kwargs"] else None  # those refuse


@functools.cache
def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def call(function: Callable[..., Any], schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a function with an operator's arguments, by their names.

    Raises UnsupportedError for an argument that the function has not, unless it is the operator's default.
    """
    positional, named = bound(function, schema, args, kwargs)
    return function(*positional, **named)


def bound(
    function: Callable[..., Any], schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """An operator's arguments as a function takes them."""
    parameters = _parameters(function)
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for argument, value in _given(schema, args, kwargs):
        name = "input" if argument.name == "self" else argument.name
        parameter = parameters.get(name)
        if parameter is not None and (
            _is_default(value, parameter.default) or (value == [] and parameter.default is not parameter.empty)
        ):
            continue  # a list that is left out says: as the kernel is large
        if not positional and not named and parameter is None:
            positional.append(value)  # the tensor, by whatever name
        elif parameter is not None and parameter.kind is parameter.VAR_POSITIONAL:
            positional += value if isinstance(value, (list, tuple)) else [value]
        elif parameter is not None and parameter.kind is not parameter.VAR_KEYWORD:
            named[name] = value
        elif argument.name in NOWHERE or (argument.name == "generator" and value is None):
            continue
        elif takes_any and argument.name in ("dtype", "size"):
            named[name] = value
        elif value is not None and not (argument.has_default_value() and _is_default(value, argument.default_value)):
            raise UnsupportedError(
                f"{schema.name.partition('::')[2]} is taken without its argument {argument.name!r}",
                expected=f"{argument.name}={argument.default_value!r}" if argument.has_default_value() else None,
                found=f"{argument.name}={shown(value)}",
                remedy=f"leave the argument out, or give the operator a converter: @trtnet.converts({schema.name!r})",
            )
    first = next(iter(parameters.values()), None)
    if first is not None and first.name in named and first.kind is first.POSITIONAL_OR_KEYWORD and not positional:
        positional.append(named.pop(first.name))
    return positional, named


def _given(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The arguments of a call, and those that were left out for their default."""
    arguments = {argument.name: argument for argument in schema.arguments}
    left = dict(arguments)
    for argument, value in zip(arguments.values(), args):
        yield left.pop(argument.name), value
    for name, value in kwargs.items():
        yield left.pop(name), value
    for argument in left.values():
        if argument.has_default_value():
            yield argument, argument.default_value


def _is_default(value: Any, default: Any) -> bool:
    return type(default) is type(value) and bool(default == value)
