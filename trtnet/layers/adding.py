"""A function for each of TensorRT's `network.add_*`: `trtnet.layers.add_reverse_sequence(x, lengths, batch_axis=0)`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import format_shape
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
        unknown = [each for each in attributes if each not in kind.attributes]
        if unknown:
            raise ArgumentTypeError(
                f"{name}: a {kind.kind} layer has no attribute {unknown[0]!r}",
                expected=", ".join(kind.attributes) or "tensors alone",
                found=unknown[0],
                remedy=instead_of(unknown[0], kind.attributes) or "leave it out",
            )
        values = kind.chosen(operands) | {key: _value(kind, key, value) for key, value in attributes.items()}
        for key in ("axis", "axes"):
            if key in values:
                values[key] = _counted(kind, name, operands, values[key])
        try:
            made = kind(operands, **values)
        except TypeError as error:
            raise ArgumentTypeError(
                f"{name}: {str(error).partition('() ')[2] or error}",
                expected=f"the tensors in TensorRT's order, and {', '.join(kind.attributes) or 'nothing else'}",
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


def _value(kind: type[Layer], name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and "Dtype" in str(kind.__dataclass_fields__[name].type):
        return dtypes.get(value)
    return value


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
