"""`out=`: the result of a function, written into a tensor that is given, as torch does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..basics.dims import Size
from ..basics.errors import ArgumentTypeError, DtypeError, shown
from ..graph.tensor import Array, Parameter, Tensor
from ..layers.base import require_shape
from ..layers.shaping import reshaped
from . import memory
from .concrete import category
from .dispatch import tensor, writes_out
from .inplace import is_elementwise, reads_what_it_writes, rebind, write_concrete
from .strides import Decision, decide, lies_contiguous

__all__ = ["written"]


@writes_out
def written(call: Callable[..., Any], function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What `call(*args, **kwargs)` gives without `out`, written into that tensor, or tuple of tensors, which is given
    back. A result type that follows from `dtype` follows from the tensor's where no dtype is given.

    An empty tensor takes the result's shape.

    Raises:
        DtypeError: the result is floating-point and the tensor is not, or numbers meet a tensor of bools.
        ShapeError: the tensor has other sizes, and elements.
        UnsupportedError: the tensor shares memory with an argument that is read in another order than it is written;
            or it was made outside of the recording.
    """
    rest = {name: value for name, value in kwargs.items() if name != "out"}
    out = kwargs["out"]
    if out is None:
        return call(*args, **rest)
    if isinstance(out, Tensor) and rest.get("dtype") is None and "dtype" in inspect.signature(function).parameters:
        rest["dtype"] = out.dtype
    result = call(*args, **rest)
    operands = list(_tensors((*args, *rest.values())))
    if not isinstance(result, tuple):
        return _write(function, out, result, operands)
    if not isinstance(out, (tuple, list)) or len(out) != len(result):
        raise ArgumentTypeError(
            f"{function.__name__} writes {len(result)} results",
            expected=f"out=({', '.join(['a tensor'] * len(result))})",
            found=shown(out),
        )
    made = [_write(function, one, value, operands) for one, value in zip(out, result)]
    return result._make(made) if hasattr(result, "_make") else tuple(made)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)) and not isinstance(value, Size):
            yield from _tensors(value)


def _write(function: Callable[..., Any], given: Any, result: Any, operands: list[Tensor]) -> Tensor:
    name = function.__name__
    if not isinstance(given, Tensor):
        raise ArgumentTypeError(f"{name}: out is a tensor", expected="a tensor", found=shown(given))
    out: Any = given
    _check_memory(function, out, operands)
    if category(result.dtype.numpy) > category(out.dtype.numpy):
        raise DtypeError(
            f"{name}: the result does not fit the dtype of out",
            expected=f"out of {result.dtype}, or of another dtype of its kind",
            found=f"out of {out.dtype}",
            remedy=f"out=trtnet.empty(..., dtype=trtnet.{result.dtype})",
        )
    _check_shape(name, out, result)
    is_resized = out.shape != result.shape and _may_be_resized(out)
    if type(out) is not Tensor and type(result) is not Tensor:
        if is_resized:
            out._array = np.empty_like(result.numpy(), out.dtype.numpy)  # in the same order
        return write_concrete(out, result)
    value = tensor(result)
    if is_resized:
        memory.become_recorded(out)
        out.shape, out.alias.strides = value.shape, None
        if decide(lies_contiguous, value, value.shape) is not Decision.YES:
            memory.forget_strides(out)
    return rebind(out, reshaped(value, tuple(out.shape)))


def _may_be_resized(out: Tensor) -> bool:
    """Whether it is empty, and nothing else sees its memory."""
    return type(out) is Array and out.alias is None and 0 in out.shape


def _check_shape(name: str, out: Tensor, result: Tensor) -> None:
    if out.shape == result.shape or _may_be_resized(out):
        return
    problem = f"{name}: the result does not fit the shape of out"
    remedy = "give an empty tensor, which takes the result's shape: out=trtnet.empty(0)"
    require_shape(out.shape, result.shape, problem, remedy)


def _check_memory(function: Callable[..., Any], out: Tensor, operands: list[Tensor]) -> None:
    """Elementwise functions may write over any argument, those with an in-place form over their first."""
    name, remedy = function.__name__, "leave out= away, and write the result: x.copy_(result)"
    if not is_elementwise(function):
        others = operands[1:] if operands and operands[0] is out and hasattr(Tensor, name + "_") else operands
        if any(operand is out for operand in others):
            raise reads_what_it_writes(name, out, remedy)
    if type(out) is Tensor:
        memory.refuse_hazards(out, operands)
    elif not isinstance(out, Parameter):
        for operand in operands:
            if type(operand) is Array and operand is not out and memory.overlap(out.numpy(), operand.numpy()):
                raise reads_what_it_writes(name, operand, remedy)
