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
    first = next(iter(parameters), None)
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    named: dict[str, Any] = {}
    for argument, value in _given(schema, args, kwargs):
        name = "input" if argument.name == "self" else argument.name
        if not named and name not in parameters and first is not None:
            name = first  # the tensor, by whatever name
        parameter = parameters.get(name)
        if parameter is not None and parameter.kind is not parameter.VAR_KEYWORD:
            is_left_out = value == [] and parameter.default is not parameter.empty  # as large as the kernel
            if not is_left_out and not _is_default(value, parameter.default):
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
    return _by_place(parameters, named), named


def _by_place(parameters: Mapping[str, inspect.Parameter], named: dict[str, Any]) -> list[Any]:
    """Take out of `named` what can be given by place."""
    found: list[Any] = []
    for name, parameter in parameters.items():
        if name not in named or parameter.kind is parameter.KEYWORD_ONLY:
            break
        value = named.pop(name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            return [*found, *(value if isinstance(value, (list, tuple)) else [value])]
        found.append(value)
    return found


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
