"""A function for each of TensorRT's `network.add_*`: `trtnet.layers.add_reverse_sequence(x, lengths, batch_axis=0)`."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.arrays import is_torch
from ..basics.dims import Dim, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ArgumentTypeError, NameNotFoundError, instead_of, shown
from ..graph.recorder import recorder
from ..graph.tensor import Array, Operand, Tensor
from .base import Layer
from .constant import constant


def kinds() -> Iterator[type[Layer]]:
    """The classes of all kinds in this folder that are loaded; not what somebody made of one."""
    pending = [Layer]
    found: dict[str, type[Layer]] = {}
    while pending:
        for kind in pending.pop().__subclasses__():
            if not kind.__module__.startswith(f"{__package__}."):
                continue
            found[f"{kind.__module__}.{kind.__name__}"] = kind  # a dataclass with slots leaves the class behind it
            pending.append(kind)
    yield from found.values()


def methods() -> dict[str, type[Layer]]:
    """The kinds by the names of the methods of an INetworkDefinition that add them."""
    return {name: kind for kind in kinds() if kind.is_offered for name in kind.methods}


@functools.cache
def adder(name: str) -> Callable[..., Any]:
    """The function of this name. Raises NameNotFoundError where there is none."""
    kind = methods().get(name)
    if kind is None:
        raise NameNotFoundError(
            f"trtnet.layers has no {name!r}",
            remedy=instead_of(name, methods()) or "trtnet.raw(function, ...) adds any calls of TensorRT's own",
        )

    def add(*inputs: Any, **attributes: Any) -> Any:
        given = inputs[0] if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)) else inputs
        operands = tuple(_operand(kind, index, value) for index, value in enumerate(given))
        names = [each for each in kind.attributes if each not in kind.chooses]
        unknown = [each for each in attributes if each not in names]
        if unknown:
            raise ArgumentTypeError(
                f"{name}: a {kind.kind} layer has no attribute {unknown[0]!r}",
                expected=", ".join(names) or "tensors alone",
                found=unknown[0],
                remedy=instead_of(unknown[0], names) or "leave it out",
            )
        _check_operands(name, kind, operands)
        values = {key: _value(kind, name, key, value) for key, value in attributes.items()}
        values |= kind.chosen(operands, values)
        for key in ("axis", "axes"):
            if values.get(key) is not None:
                values[key] = _counted(kind, name, operands, values[key])
        try:
            made = kind(operands, **values)
        except TypeError as error:
            raise ArgumentTypeError(
                f"{name}: {str(error).partition('() ')[2] or error}",
                expected=f"the tensors in TensorRT's order, and {', '.join(names) or 'nothing else'}",
                found=", ".join(map(shown, given)) or "no tensor",
                remedy="give them by keyword",
            ) from None
        return recorder().emit(made)

    add.__name__ = add.__qualname__ = name
    add.__doc__ = inspect.getdoc(kind)
    return add


def _operand(kind: type[Layer], index: int, value: Any) -> Operand:
    """A tensor, or weights where TensorRT takes them at this place."""
    if value is None or type(value) is Tensor:
        return value
    if isinstance(value, (bool, int, float, np.generic, np.ndarray)):
        numbers = np.asarray(value)
        narrow = {"f": np.float32, "i": np.int32}.get(numbers.dtype.kind if numbers.dtype.itemsize == 8 else "")
        value = Array(numbers.astype(narrow) if narrow is not None and not isinstance(value, np.ndarray) else numbers)
    if not isinstance(value, Array):
        raise ArgumentTypeError(
            f"add_{kind.kind} takes tensors and numbers as its operands", found=shown(value), remedy="give a tensor"
        )
    return recorder().weight(value) if index in kind.weight_attributes else constant(value)


def _check_operands(name: str, kind: type[Layer], given: tuple[Operand, ...]) -> None:
    """Raises ArgumentTypeError for too few and too many inputs, and for None where there must be one."""
    needed, least, most = kind.input_counts
    needed = needed if most is not None else len(given)
    lacking = any(one is None for one in given[:needed])
    if lacking or len(given) < least or (most is not None and len(given) > most):
        wanted = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise ArgumentTypeError(
            f"{name}: these are not the inputs of a {kind.kind} layer",
            expected=f"{wanted} of them" + (f", the first {needed} not None" if needed else ""),
            found=", ".join(map(shown, given)) or "none",
            remedy=f"give them in TensorRT's order; help(trtnet.layers.{name}) says it",
        )


def _value(kind: type[Layer], method: str, name: str, value: Any) -> Any:
    """An attribute as its kind declares it. Raises ArgumentTypeError for another type, ArgumentError for a text that is
    no member of TensorRT's enum."""
    declared = str(kind.__dataclass_fields__[name].type)
    if name == kind.open_sizes and isinstance(value, (list, tuple)) and any(size is None for size in value):
        known = iter(_value(kind, method, name, [size for size in value if size is not None]))
        return tuple([None if size is None else next(known) for size in value])
    for one in declared.split(" | "):
        with contextlib.suppress(_Unlike):
            found = _as(one, value)
            break
    else:
        raise ArgumentTypeError(
            f"{method}: the attribute {name!r} is of another type",
            expected=" or ".join(_said(one) for one in declared.split(" | ")),
            found=shown(value),
            remedy=f"{name}={_EXAMPLES.get(declared.partition(' | ')[0], '...')}, for example",
        )
    choices = kind.choices.get(name)
    if choices is not None and found not in choices:
        raise ArgumentError(
            f"{method}: {name} is none of the known ones",
            expected=" or ".join(filter(None, (", ".join(choices[:-1]), choices[-1]))),
            found=found,
            remedy=instead_of(found, choices),
        )
    return found


class _Unlike(Exception):
    """A value that is not of a declared type."""


_EXAMPLES = {
    "int": "1",
    "SizeLike": "1",
    "float": "1.0",
    "bool": "True",
    "Dtype": "trtnet.float32",
    "tuple[int, ...]": "(1, 1)",
    "tuple[int, int]": "(1, 1)",
    "tuple[SizeLike, ...]": "(1, 1)",
    "tuple[float, ...]": "(1.0, 1.0)",
}
_SAID = {
    "int": "a whole number",
    "SizeLike": "a whole number or a Dim",
    "float": "a number",
    "bool": "True or False",
    "str": "text",
    "Dtype": "a dtype",
    "None": "None",
}


def _said(declared: str) -> str:
    if declared.startswith("tuple["):
        inside = declared[6:-1].split(", ")
        return f"{'several' if inside[1] == '...' else len(inside)} of: {_said(inside[0])}"
    return _SAID[declared]


def _as(declared: str, value: Any) -> Any:
    """`value` as a type that the fields of layers have. Raises _Unlike."""
    if declared.startswith("tuple["):
        if not isinstance(value, (list, tuple)):
            raise _Unlike
        inside = declared[6:-1].split(", ")
        if inside[1] != "..." and len(value) != len(inside):
            raise _Unlike
        return tuple([_as(inside[0], one) for one in value])
    if declared == "Dtype":
        if not isinstance(value, (str, Dtype, np.dtype, type)) and not is_torch(value):
            raise _Unlike
        return dtypes.get(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) != (declared == "bool") or not isinstance(value, _TYPES[declared]):
        raise _Unlike
    return value


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "SizeLike": (int, Dim),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "None": (type(None),),
}


def _counted(kind: type[Layer], name: str, operands: tuple[Operand, ...], axes: Any) -> Any:
    """Dimensions counted from 0, where they are counted from the end."""
    first = operands[0] if operands else None
    if first is None:
        return axes
    several = axes if isinstance(axes, tuple) else (axes,)
    rank = kind.rank_of_axes(len(first.shape), len(several))
    for axis in several:
        if not isinstance(axis, int) or isinstance(axis, bool) or not -rank <= axis < rank:
            raise ArgumentError(
                f"{name}: there is no dimension {axis}",
                expected=f"{-rank} to {rank - 1}",
                found=f"{axis} of {format_shape(first.shape)}",
            )
    return tuple(axis % rank for axis in several) if isinstance(axes, tuple) else axes % rank
