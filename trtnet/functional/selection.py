"""What masks select: results whose sizes the data decides. Names, signatures and defaults as torch's.

While recording, such a size is a new Dim, `nonzero_0`, that no input has: at least 0, at most the number of elements.
One mask has one such Dim, however often it is used or computed, so `x[x > 0] * y[x > 0]` fits; sizes of two masks are
never known to be equal. Engines give outputs of such sizes as large as they came out; they cannot be bound to fixed
buffers.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.errors import DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import Recorder, emit, recorder
from ..graph.tensor import Producer, Tensor
from ..layers.base import Operand, require_equal
from ..layers.casting import converted
from ..layers.constant import Constant, constant
from ..layers.elementwise import ElementWise, Select, Unary
from ..layers.gather import Gather
from ..layers.selection import NonZero
from ..layers.shaping import Shuffle, Slice, expanded, reshaped
from ..weights.recipes import Literal, Weight
from .broadcasting import broadcast_shapes
from .dispatch import operation, scalar, tensor
from .shape import transposed

__all__ = ["argwhere", "masked_select", "nonzero"]

_found: WeakKeyDictionary[Recorder, dict[Any, Tensor]] = WeakKeyDictionary()


def _positions(x: Tensor) -> Tensor:
    """Where `x` is not zero, (rank, count); recorded once for each value."""
    current = recorder()
    if not x.shape:
        raise UnsupportedError(
            "TensorRT finds no elements in a tensor without dimensions",
            found=repr(x),
            remedy="give it one: x.reshape(1)",
        )
    known = _found.setdefault(current, {})
    key = signature(current.settle(x))
    found = known.get(key)
    if found is None:
        mask = x if x.dtype is dtypes.bool_ else _is_not_zero(x)
        elements = x.shape.numel()
        most = elements.bounds[1] if isinstance(elements, Dim) else elements
        count = current.data_dim("nonzero", most)
        found = known[key] = emit(NonZero((mask,), count))
    return found


def _is_not_zero(x: Tensor) -> Tensor:
    made: Tensor = emit(Unary((emit(ElementWise((x, scalar(0, x.dtype, x.ndim)), "EQUAL")),), "NOT"))
    return made


DEEPEST = 4
SMALL = 64
"""How many layers behind a mask are compared, and bytes of a constant."""


def signature(value: Operand, depth: int = DEEPEST) -> Any:
    """What tells a value from others: equal where two values were computed in the same way from the same ones."""
    if not isinstance(value, Tensor):
        if isinstance(value, Literal) and value.array.nbytes <= SMALL:
            return str(value.array.dtype), value.array.shape, value.array.tobytes()
        return id(value)
    layer = value.layer
    if layer is None:
        return value
    if not depth or layer.draws or layer in recorder().training.instead:
        return layer, value.index
    made = (
        type(layer),
        value.index,
        tuple(getattr(layer, name) for name in layer.attributes),
        tuple(signature(operand, depth - 1) for operand in layer.inputs),
    )
    try:
        hash(made)
    except TypeError:
        return layer, value.index
    return made


def columns(mask: Tensor) -> list[Tensor]:
    """Where a recorded mask is True: one index for each of its dimensions."""
    found = _positions(mask)
    rank, count = found.shape
    if rank == 1:
        return [reshaped(found, (count,))]
    rows = [emit(Slice((found,), start=(axis, 0), shape=(1, count), stride=(1, 1))) for axis in range(rank)]
    return [reshaped(row, (count,)) for row in rows]


def check_mask(shape: tuple[SizeLike, ...], mask: Tensor, axis: int = 0) -> None:
    """Raises ShapeError unless a recorded mask has the sizes of the dimensions from `axis` on."""
    if mask.ndim > len(shape) - axis:
        raise ShapeError(
            "the mask has more dimensions than the tensor", expected=format_shape(shape), found=format_shape(mask.shape)
        )
    for step, length in enumerate(mask.shape):
        problem = f"the mask does not fit dimension {axis + step} of {format_shape(shape)}"
        require_equal(shape[axis + step], length, problem)


def selected(x: Tensor, mask: Tensor) -> Tensor:
    """`x[mask]` of a recorded mask over the leading dimensions."""
    check_mask(x.shape, mask)
    if mask.ndim == 1:
        return emit(Gather((x, columns(mask)[0])))
    return emit(Gather((x, transposed(_positions(mask), (1, 0))), mode="ND"))


# --- what is computed of a selection, computed of the whole -----------------------------------------------------------


def spread(value: Tensor, mask: Tensor, axis: int) -> Tensor | None:
    """Record a tensor that holds, where the mask over the dimensions from `axis` on is True, the elements of `value`,
    which was computed elementwise from what this mask selected of tensors of its shape; None where it was not.

    `value` has a single dimension in place of the mask's. The layers that computed it are left out of the graph where
    nothing else uses them.
    """
    current = recorder()
    found = _found.get(current, {}).get(signature(current.settle(mask)))
    if found is None:
        return None
    value, count = current.settle(value), found.shape[1]
    sources: dict[Tensor, Tensor] = {}  # what was selected, and from what
    order: dict[Producer, None] = {}
    pending = [value]
    while pending:
        one = pending[-1]
        layer = one.layer
        if layer is None or one.shape[axis] != count:
            return None
        if layer in order or one in sources:
            pending.pop()
        elif (source := _source(layer, found, mask, axis)) is not None:
            sources[one] = source
        elif not layer.is_elementwise or not all(_is_spread(o, axis, count) for o in layer.inputs):
            return None
        else:
            operands = [o for o in layer.inputs if isinstance(o, Tensor) and o.shape[axis] == count]
            needed = [o for o in operands if o not in sources and o.layer not in order]
            pending += needed
            if not needed:
                order[layer] = None
    assert value.layer is not None
    current.spare.append(value.layer)
    with current.values():
        return _replayed(value, list(order), sources, mask, axis)


def _source(layer: Producer, found: Tensor, mask: Tensor, axis: int) -> Tensor | None:
    """The tensor of which a layer selects the elements at a mask, found to be True at `found`."""
    if not isinstance(layer, Gather) or layer.num_elementwise_dims:
        return None
    data, index = layer.inputs
    assert isinstance(data, Tensor)
    at = index
    while isinstance(at, Tensor) and isinstance(at.layer, Shuffle):
        at = at.layer.inputs[0]
    by_mask = (layer.mode == "ND" and axis == 0) if mask.ndim > 1 else (layer.mode == "DEFAULT" and layer.axis == axis)
    fits = by_mask and at is found and data.shape[axis : axis + mask.ndim] == mask.shape
    return data if fits else None


def _is_spread(operand: Operand, axis: int, count: SizeLike) -> bool:
    """Whether an operand has one element for each that was selected, or one for all of them."""
    return isinstance(operand, Tensor) and (operand.shape[axis] == count or _is_one(operand.shape[axis]))


def _is_one(size: SizeLike) -> bool:
    return isinstance(size, int) and size == 1


def _replayed(value: Tensor, order: list[Producer], sources: dict[Tensor, Tensor], mask: Tensor, axis: int) -> Tensor:
    made = dict(sources)
    if order:  # to which what is not selected may give an infinite derivative
        for selection, source in sources.items():
            if source.dtype.is_floating_point:
                after = source.ndim - mask.ndim - axis
                condition = reshaped(mask, (*(1,) * axis, *mask.shape, *(1,) * after))
                made[selection] = emit(Select((condition, source, scalar(0, source.dtype, source.ndim))))

    def operand(given: Operand) -> Tensor:
        assert isinstance(given, Tensor)
        if given not in made:
            shape = (*given.shape[:axis], *(1,) * mask.ndim, *given.shape[axis + 1 :])
            layer = given.layer
            weight = layer.inputs[0] if isinstance(layer, Constant) else None
            made[given] = constant(weight, shape) if isinstance(weight, Weight) else reshaped(given, shape)
        return made[given]

    for layer in order:
        attributes = {name: getattr(layer, name) for name in layer.attributes}
        made[layer.outputs[0]] = emit(type(layer)(tuple(operand(o) for o in layer.inputs), **attributes))
    return made[value]


def _masked_select_numpy(input: np.ndarray, mask: np.ndarray) -> np.ndarray:
    input, mask = np.broadcast_arrays(input, mask)
    return input[mask]


@operation(_masked_select_numpy, method=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask (bool) is True, broadcast against each other: one dimension, sized by the data.

    Layers of the example: `non_zero`, `shuffle`, `gather`.

    >>> trtnet.masked_select(trtnet.tensor([1.0, 2.0]), trtnet.tensor([True, False])).tolist()
    [1.0]
    """
    x, chosen = tensor(input), tensor(mask)
    if chosen.dtype is not dtypes.bool_:
        raise DtypeError("a mask is of bools", expected="bool", found=chosen.dtype, remedy="compare first: mask != 0")
    shape = broadcast_shapes(x.shape, chosen.shape) or Size((1,))
    return selected(expanded(x, shape), expanded(chosen, shape))


def _nonzero_numpy(
    input: np.ndarray, *, out: None = None, as_tuple: bool = False
) -> np.ndarray | tuple[np.ndarray, ...]:
    if as_tuple:
        return tuple(found.astype(np.int64) for found in np.nonzero(np.atleast_1d(input)))
    return np.argwhere(input).astype(np.int64)


@operation(_nonzero_numpy, method=True, strided=True)
def nonzero(input: Tensor, *, out: Tensor | None = None, as_tuple: bool = False) -> Any:
    """The indices (int64) of the elements that are not zero, in row-major order: (count, rank).

    With `as_tuple` one index of shape (count,) for each dimension. The count is sized by the data.

    >>> trtnet.nonzero(trtnet.tensor([0.0, 2.0, 3.0])).tolist()
    [[1], [2]]
    """
    x = tensor(input)
    if as_tuple:
        return tuple(converted(index, dtypes.int64) for index in columns(x))
    return converted(transposed(_positions(x), (1, 0)), dtypes.int64)


@operation(np.argwhere, method=True, strided=True)
def argwhere(input: Tensor) -> Tensor:
    """The indices (int64) of the elements that are not zero: (count, rank).

    >>> trtnet.argwhere(trtnet.tensor([0.0, 2.0, 3.0])).tolist()
    [[1], [2]]
    """
    made: Tensor = nonzero(input)
    return made
