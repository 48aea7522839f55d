"""Slices whose bounds the network computes: `x[:, start : start + 4]`, `x[:n]`, `narrow(x, 1, start, 4)`.

What lies between two bounds is of a known length where the one is the other and a size; else the data decides it, and
the length is a new Dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..basics import dtypes
from ..basics.dims import Size, SizeLike, ceil_divide, format_shape, minimum
from ..basics.errors import DtypeError, UnsupportedError
from ..graph.recorder import Recorder, emit, recorder
from ..graph.tensor import Tensor
from ..layers.base import is_nonnegative
from ..layers.casting import Cast, Identity, converted
from ..layers.constant import Constant, constant
from ..layers.elementwise import ElementWise
from ..layers.gather import Gather, Scatter
from ..layers.generation import Fill
from ..layers.shaping import Shuffle, Slice, expanded, reshaped
from ..layers.sizes import MOST
from ..weights.recipes import Literal
from .arithmetic import add, floor_divide, mul, sub
from .comparison import clamp, lt, where
from .creation import arange
from .dispatch import size_tensor, tensor
from .memory import view_of
from .selection import signature
from .slicing import part

Bound = SizeLike | Tensor


class _Cut(NamedTuple):
    """A slice's input 1, and what it takes: `sizes` holds `length` where the data decides that."""

    start: Tensor
    length: SizeLike
    sizes: Tensor | None


_made: WeakKeyDictionary[Recorder, dict[Any, _Cut]] = WeakKeyDictionary()


def cut(x: Tensor, axis: int, start: Bound, stop: Bound, step: int) -> Tensor:
    """Record `x[start:stop:step]` of one dimension, of which a bound is computed: a slice layer."""
    for bound in (start, stop):
        if isinstance(bound, Tensor):
            _check_bound(bound)
    size = x.shape[axis]
    if (size if isinstance(size, int) else size.bounds[1]) > MOST:
        raise UnsupportedError(
            "a slice with a bound that is computed in the network takes no dimension as large",
            expected=f"at most {MOST:,} elements",
            found=format_shape(x.shape),
            remedy="trtnet.narrow(x, dim, start, length) takes any",
        )
    current = recorder()
    start, stop = (current.settle(bound) if isinstance(bound, Tensor) else bound for bound in (start, stop))
    known = _made.setdefault(current, {})
    body = current.bodies[-1] if current.bodies else None
    key = (body, axis, x.ndim, size, step, *(signature(b) if isinstance(b, Tensor) else b for b in (start, stop)))
    found = known.get(key)
    if found is None:
        length = _distance(start, stop)
        if length is not None:
            found = _fixed(x, axis, start, stop, ceil_divide(length, step))
        else:
            found = _open(x, axis, start, stop, step)
        known[key] = found
    ones = (1,) * x.ndim
    shape = (*x.shape[:axis], found.length, *x.shape[axis + 1 :])
    operands = (x, found.start) if found.sizes is None else (x, found.start, found.sizes)
    decided = () if found.sizes is None else (found.length,)
    strides = (*ones[:axis], step, *ones[axis + 1 :])
    made = emit(Slice(operands, (), Size(shape), strides, decided=decided))  # type: ignore[arg-type]
    return view_of(made, x, any_layer=True)


def _check_bound(bound: Tensor) -> None:
    if bound.dtype not in (dtypes.int32, dtypes.int64) or bound.shape.numel() != 1:
        raise DtypeError(
            "the bound of a slice is one whole number",
            expected="() int64 or int32",
            found=f"{format_shape(bound.shape)} {bound.dtype}",
            remedy="pick one and convert it: x[i[0].long() : stop]",
        )


def _fixed(x: Tensor, axis: int, start: Bound, stop: Bound, length: SizeLike) -> _Cut:
    """Of known length: where `stop` counts from the end `start` does too, and else TensorRT is to find it outside."""
    assert isinstance(start, Tensor)
    assert isinstance(stop, Tensor)
    first, end = _number(start), _number(stop)
    if not _is_nonnegative(start):
        first = where(lt(end, 0), add(first, size_tensor(x.shape[axis])), first)
    return _Cut(_along(first, axis, x.ndim), length, None)


def _open(x: Tensor, axis: int, start: Bound, stop: Bound, step: int) -> _Cut:
    """Both bounds counted from the start, and no further than the dimension: as Python has it."""
    size = x.shape[axis]
    first, end = (_within(bound, size) for bound in (start, stop))
    taken = sub(end, first)
    if step > 1:
        taken = floor_divide(add(taken, step - 1), step)
    most = size if isinstance(size, int) else size.bounds[1]
    length = recorder().data_dim("slice", -(-most // step))
    return _Cut(_along(first, axis, x.ndim), length, reshaped(clamp(taken, min=0), (1,)))


def _within(bound: Bound, size: SizeLike) -> Tensor:
    if not isinstance(bound, Tensor):
        return size_tensor(minimum(bound, size))
    end, number = size_tensor(size), _number(bound)
    if not _is_nonnegative(bound):
        number = clamp(where(lt(number, 0), add(number, end), number), min=0)
    return where(lt(number, end), number, end)


def _is_nonnegative(bound: Tensor) -> bool:
    return is_nonnegative(bound)


def _number(bound: Tensor) -> Tensor:
    return converted(reshaped(bound, ()), dtypes.int64)


def _along(number: Tensor, axis: int, rank: int) -> Tensor:
    """A number in the place of one dimension, and zeros."""
    if rank == 1:
        return reshaped(number, (1,))
    return mul(reshaped(number, (1,)), constant(np.eye(rank, dtype=np.int64)[axis]))


# --- how far two bounds are apart


def _distance(start: Bound, stop: Bound) -> SizeLike | None:
    """`stop - start`, where that is a size, and no negative one; else None."""
    if not isinstance(start, Tensor) or not isinstance(stop, Tensor):
        return None
    one, two = _terms(start), _terms(stop)
    if one[0] != two[0]:
        return None
    length = two[1] - one[1]
    return length if (length if isinstance(length, int) else length.bounds[0]) > 0 else None


def _terms(value: Tensor) -> tuple[dict[Any, SizeLike], SizeLike]:
    """A whole number as a sum: what is computed, each with its factor, and a size."""
    layer = value.layer
    held = None if layer is None else layer.holds(fixed=True)
    if held is not None and (held[0] is held[1] or held[0] == held[1]):
        return {}, held[0]
    if layer is None or value.shape.numel() != 1:
        return {signature(value): 1}, 0
    parts = [_terms(operand) for operand in layer.inputs if isinstance(operand, Tensor)]
    if isinstance(layer, (Cast, Identity, Shuffle)) and len(parts) == 1 and not value.dtype.is_floating_point:
        inner = layer.inputs[0]
        if isinstance(inner, Tensor) and not inner.dtype.is_floating_point:
            return parts[0]
    if isinstance(layer, ElementWise) and not value.dtype.is_floating_point and len(parts) == 2:
        (left, a), (right, b) = parts
        if layer.op in ("SUM", "SUB"):
            sign = 1 if layer.op == "SUM" else -1
            terms = {key: left.get(key, 0) + sign * right.get(key, 0) for key in (*left, *right)}
            return {key: factor for key, factor in terms.items() if factor != 0}, a + sign * b
        if layer.op == "PROD" and (not left or not right):
            factor, terms, rest = (a, right, b) if not left else (b, left, a)
            return {key: one * factor for key, one in terms.items()}, rest * factor
    return {signature(value): 1}, 0


def written(x: Tensor, layer: Slice, value: Tensor) -> Tensor:
    """Record `x` with `value` in the place of a slice of it that `cut` recorded."""
    if layer.decided:
        raise UnsupportedError(
            "a slice whose size the data decides cannot be written to",
            expected="a size that is known: x[start : start + 4] = value",
            found=f"a slice of {format_shape(layer.shape)}",
            remedy="choose where it is: trtnet.where((i >= start) & (i < stop), value, x) of i = trtnet.arange(n)",
        )
    parts = zip(layer.shape, x.shape, layer.stride)
    axis = next((axis for axis, (size, whole, step) in enumerate(parts) if size != whole or step != 1), None)
    if axis is None:
        return value
    start = layer.inputs[1]
    assert isinstance(start, Tensor)
    first = reshaped(part(start, 0, axis, 1), ())
    return put(x, axis, _places(first, layer.shape[axis], layer.stride[axis]), value)


def put(x: Tensor, axis: int, at: Tensor, value: Tensor) -> Tensor:
    """Record `x` with `value` at positions of one dimension: a scatter layer."""
    index = expanded(reshaped(at, (at.shape[0], *(1,) * (x.ndim - axis - 1))), tuple(value.shape))
    made: Tensor = emit(Scatter((x, index, value), axis=axis))
    return made


def is_run(at: Tensor) -> bool:
    """Whether positions are a first one and those that follow it, each once."""
    layer = at.layer
    if not isinstance(layer, ElementWise) or layer.op != "SUM" or at.ndim != 1:
        return False
    first, numbers = layer.inputs
    if first is None or first.shape != (1,):
        return False
    made = numbers.layer if isinstance(numbers, Tensor) else None
    if isinstance(made, Fill):
        return not made.draws and len(made.inputs) == 0 and made.beta == 1
    weight = made.inputs[0] if isinstance(made, Constant) else None
    return isinstance(weight, Literal) and bool((np.diff(weight.array.reshape(-1)) == 1).all())


def _places(first: Tensor, count: SizeLike, step: SizeLike = 1) -> Tensor:
    return add(_number(first), mul(tensor(arange(count)), step) if step != 1 else tensor(arange(count)))


# --- one index for each element: what loops take, and CUDA graphs


def picked(x: Tensor, axis: int, first: Tensor, count: SizeLike) -> Tensor:
    """Record `count` elements of one dimension from a computed one on: a gather layer."""
    made = emit(Gather((x, _places(first, count)), axis=axis))
    return view_of(made, x, any_layer=True)
