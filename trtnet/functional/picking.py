"""The functions that pick elements by position, and put them. Names, signatures and defaults as torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.errors import ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from ..layers.base import require_at_least
from ..layers.constant import Constant, constant
from ..layers.gather import Gather, OneHot, Scatter
from ..layers.shaping import Shuffle, expanded, reshaped
from ..weights.recipes import Literal
from .arithmetic import add, mul
from .broadcasting import broadcast_shapes
from .comparison import where
from .creation import arange
from .cutting import is_run, picked, put
from .dispatch import Ints, Value, axis_of, is_computed, is_recorded, operation, owner_of, size_tensor, tensor
from .indexing import (
    counted_from_start,
    from_end,
    from_start,
    record_where_selected,
    recorded_index,
    select,
    write_gathered,
    written_value,
)  # fmt: skip
from .inplace import install
from .joining import unknown_parts
from .memory import view_of, writers
from .scattering import scatter_reduced, scatter_reduced_numpy
from .shape import has_dims, reshape, size_of, sizes_of, transposed
from .slicing import part, sliced
from .strides import Decision, decide, lies_contiguous

__all__ = [
    "as_strided",
    "gather",
    "index_select",
    "narrow",
    "one_hot",
    "repeat_interleave",
    "scatter",
    "take",
    "take_along_dim",
    "unbind",
]


def _narrowed(
    shape: tuple[SizeLike, ...], dim: int, start: SizeLike | Tensor, length: SizeLike
) -> tuple[int, SizeLike, SizeLike]:
    axis = axis_of(dim, len(shape))
    size, first, count = shape[axis], size_of(start), size_of(length)
    if isinstance(first, int) and first < 0:
        first = size + first
    problem = f"narrow: elements {start} to {start} + {length} do not lie in a dimension of size {size}"
    end = first + count
    if any(isinstance(v, int) and v < 0 for v in (first, count)):
        raise ShapeError(problem, expected=f"0 to {size}", found=f"{first} to {end}")
    require_at_least(size, end, problem)
    return axis, first, count


def _narrow_numpy(input: np.ndarray, dim: int, start: Any, length: SizeLike) -> np.ndarray | Tensor:
    if has_dims(start, length):
        return narrow(constant(input), dim, start, length)
    axis, first, count = _narrowed(input.shape, dim, start, length)
    return input[(slice(None),) * axis + (slice(first, first + count),)]


@operation(_narrow_numpy, method=True, view=True)
def narrow(input: Tensor, dim: int, start: SizeLike | Tensor, length: SizeLike) -> Tensor:
    """`length` elements of one dimension from `start` on.

    A start that is computed in the network records a gather in place of the slice: nothing goes to the host when it
    runs, so that it may be in loops and in CUDA graphs. It is an index: counted from the end where it is negative, and
    out of range an error of the reference, and whatever lies there on a GPU.

    Layers of the example: `slice`.

    >>> trtnet.narrow(trtnet.tensor([1.0, 2.0, 3.0]), 0, 1, 2).tolist()
    [2.0, 3.0]
    """
    record_where_selected(input, (start,))
    x = tensor(input)
    if is_computed(start):
        axis, size = axis_of(dim, x.ndim), x.shape[axis_of(dim, x.ndim)]
        _, _, count = _narrowed(x.shape, dim, 0, length)
        return picked(x, axis, from_end(tensor(start), size), count)
    axis, first, count = _narrowed(x.shape, dim, start, length)
    return part(x, axis, first, count)


def _index_select_numpy(input: np.ndarray, dim: int, index: np.ndarray) -> np.ndarray:
    axis = axis_of(dim, input.ndim)
    return np.take(input, counted_from_start("index_select", np.atleast_1d(index), input.shape[axis], axis), axis)


@operation(_index_select_numpy, method=True)
def index_select(input: Tensor, dim: int, index: Value) -> Tensor:
    """The elements at a 1-D index of one dimension.

    Layers of the example: `gather`.

    >>> trtnet.index_select(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 0, trtnet.tensor([1, 1])).tolist()
    [[3.0, 4.0], [3.0, 4.0]]
    """
    x, axis = tensor(input), axis_of(dim, input.ndim)
    known = index.numpy() if isinstance(index, Array) and not is_recorded(index) else index
    if isinstance(known, (np.ndarray, list)):
        known = counted_from_start("index_select", np.atleast_1d(np.asarray(known)), x.shape[axis], axis)
    i = recorded_index(known) if isinstance(known, np.ndarray) else tensor(known)
    if i.ndim > 1:
        raise ShapeError("index_select takes a 1-D index", found=format_shape(i.shape))
    return emit(Gather((x, reshaped(i, (1,)) if i.ndim == 0 else i), axis=axis))


def element_index(name: str, index: Tensor, size: SizeLike, axis: int = 0) -> Tensor:
    """An index that is not counted from the end; a constant one is checked."""
    if isinstance(index, Array) and not is_recorded(index):
        return constant(counted_from_start(name, index.numpy(), size, axis))
    return tensor(index)


def _index_from_end(index: Tensor, size: SizeLike) -> Tensor:
    """An index of which negative numbers count from the end."""
    if isinstance(index, Array) and not is_recorded(index):
        return recorded_index(from_start(index.numpy(), size, 0))
    return from_end(tensor(index), size)


def _gather_numpy(input: np.ndarray, dim: int, index: np.ndarray, *, sparse_grad: bool = False) -> np.ndarray:
    axis = axis_of(dim, input.ndim)
    counted_from_start("gather", index, input.shape[axis], axis)
    whole = tuple(slice(None) if a == axis else slice(s) for a, s in enumerate(index.shape))
    return np.take_along_axis(input[whole], index, axis)


@operation(_gather_numpy, method=True)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """One element of `input` for each element of `index`, along `dim`; its sizes are at most those of `input`.

    Layers of the example: `gather`.

    >>> trtnet.gather(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, trtnet.tensor([[1], [0]])).tolist()
    [[2.0], [3.0]]
    """
    x, axis = tensor(input), axis_of(dim, input.ndim)
    i = element_index("gather", index, x.shape[axis], axis)
    if i.ndim != x.ndim:
        raise ShapeError("gather takes an index of as many dimensions", expected=x.ndim, found=format_shape(i.shape))
    sizes = tuple(x.shape[a] if a == axis else size for a, size in enumerate(i.shape))
    for a, (size, wanted) in enumerate(zip(x.shape, sizes)):
        if isinstance(size, int) and isinstance(wanted, int) and wanted > size:
            raise ShapeError(f"gather: the index is larger in dimension {a}", expected=f"at most {size}", found=wanted)
    return emit(Gather((sliced(x, (0,) * x.ndim, sizes, (1,) * x.ndim), i), axis=axis, mode="ELEMENT"))


def _take_along_dim_numpy(input: np.ndarray, indices: np.ndarray, dim: int | None = None) -> np.ndarray:
    if dim is None:
        return input.reshape(-1)[counted_from_start("take_along_dim without dim", indices.reshape(-1), input.size)]
    axis = axis_of(dim, input.ndim)
    shape = np.broadcast_shapes(
        *(tuple(1 if a == axis else s for a, s in enumerate(v.shape)) for v in (input, indices))
    )
    values, at = (
        np.broadcast_to(v, tuple(v.shape[axis] if a == axis else s for a, s in enumerate(shape)))
        for v in (input, indices)
    )
    return np.take_along_axis(values, at, axis)


@operation(_take_along_dim_numpy, method=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As `gather`, with the other dimensions broadcast; over the flattened tensors without `dim`.

    Layers of the example: `constant`, `elementwise`, `select`, `gather`.

    >>> trtnet.take_along_dim(trtnet.tensor([[1.0, 2.0]]), trtnet.tensor([[1, 0]]), 1).tolist()
    [[2.0, 1.0]]
    """
    x = tensor(input)
    if dim is None:
        i = element_index("take_along_dim without dim", indices, x.shape.numel())
        return emit(Gather((x.flatten(), i.flatten())))
    axis = axis_of(dim, x.ndim)
    i = _index_from_end(indices, x.shape[axis])
    others = broadcast_shapes(*(tuple(1 if a == axis else s for a, s in enumerate(v.shape)) for v in (x, i)))
    whole = [expanded(v, tuple(v.shape[axis] if a == axis else s for a, s in enumerate(others))) for v in (x, i)]
    return emit(Gather(tuple(whole), axis=axis, mode="ELEMENT"))


@operation(lambda input, index: input.reshape(-1)[index], method=True)
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at `index` of the flattened tensor, in the shape of `index`.

    Layers of the example: `shuffle`, `constant`, `elementwise`, `select`, `gather`.

    >>> trtnet.take(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), trtnet.tensor([0, 3])).tolist()
    [1.0, 4.0]
    """
    x = reshaped(tensor(input), (tensor(input).shape.numel(),))
    return emit(Gather((x, _index_from_end(index, x.shape[0]))))


def _scatter_numpy(
    input: np.ndarray, dim: int, index: np.ndarray, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> np.ndarray:
    if reduce is not None:
        return scatter_reduced_numpy(input, dim, index, value if src is None else src, reduce)
    result, axis = input.copy(), axis_of(dim, input.ndim)
    counted_from_start("scatter", index, input.shape[axis], axis)
    written = value if src is None else src
    if isinstance(written, np.ndarray) and written.ndim:
        written = written[tuple(slice(s) for s in index.shape)]
    places: list[Any] = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    result[tuple(places)] = written
    return result


@operation(_scatter_numpy, method=True)
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """`input` with the elements of `src` (or one number) written along `dim`, one for each element of `index`.

    `reduce`, "add" or "multiply": as `scatter_reduce`, with the input's own elements.

    Layers of the example: `scatter`.

    >>> trtnet.scatter(trtnet.tensor([1.0, 2.0, 3.0]), 0, trtnet.tensor([2]), trtnet.tensor([9.0])).tolist()
    [1.0, 2.0, 9.0]
    """
    if reduce is not None:
        return scatter_reduced(tensor(input), dim, index, value if src is None else src, reduce)
    x, axis = tensor(input), axis_of(dim, input.ndim)
    i = element_index("scatter", index, x.shape[axis], axis)
    written = written_value(x, value if src is None else src)
    sizes = tuple(i.shape)
    if written.ndim == 0:
        written = expanded(reshaped(written, (1,) * x.ndim), sizes)
    return emit(Scatter((x, i, sliced(written, (0,) * x.ndim, sizes, (1,) * x.ndim)), axis=axis))


def _windows(size: SizeLike, length: int, step: int) -> np.ndarray:
    if not isinstance(size, int):
        raise UnsupportedError("unfold needs a dimension of fixed size", found=f"{size!r}")
    if not 0 < length <= size or step < 1:
        raise ShapeError(
            "unfold: the windows do not fit", expected=f"a size of 1 to {size}", found=f"size {length}, step {step}"
        )
    return np.arange(0, size - length + 1, step)[:, None] + np.arange(length)


def _unfold_numpy(input: np.ndarray, dimension: int, size: int, step: int) -> np.ndarray:
    axis = axis_of(dimension, input.ndim)
    _windows(input.shape[axis], size, step)
    whole = np.lib.stride_tricks.sliding_window_view(input, size, axis, writeable=input.flags.writeable)
    return whole[(slice(None),) * axis + (slice(None, None, step),)]


def _write_windows(x: Tensor, layer: Gather, value: Tensor, positions: Any) -> Tensor:
    """`x` with `value` in the place of windows of it that do not overlap."""
    index = layer.inputs[1]
    assert isinstance(index, Tensor)
    if not index.ndim:
        return write_gathered(x, layer, value, positions)
    axis, length = layer.axis, x.shape[layer.axis]
    if layer.mode == "DEFAULT" and is_run(index):
        return put(x, axis, index, value)
    if not isinstance(index.layer, Constant) or not isinstance(length, int):
        raise UnsupportedError(
            "a change cannot be written at places that depend on a dynamic size",
            found=f"a view of shape {format_shape(value.shape)}",
            remedy="copy it first: x.as_strided(...).clone()",
        )
    (indices,) = index.layer.inputs
    at = indices.array  # type: ignore[union-attr]
    if layer.mode != "DEFAULT" or len(np.unique(at)) != at.size:
        raise UnsupportedError(
            "a change cannot be written through windows that overlap",
            found=f"windows of {at.shape[-1]} elements",
            remedy="copy them first: x.unfold(...).clone(), or make their step as large as they are",
        )
    places = np.full(length, -1)
    places[at.reshape(-1)] = np.arange(at.size)
    flat = reshaped(value, (*x.shape[:axis], at.size, *x.shape[axis + 1 :]))
    spread = emit(Gather((flat, constant(np.maximum(places, 0))), axis=axis))
    return where(constant((places >= 0).reshape(-1, *(1,) * (x.ndim - axis - 1))), spread, x)


writers[Gather] = _write_windows


@operation(_unfold_numpy, method="unfold", view=True)
def _unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements of a dimension, `step` apart, as a new last dimension."""
    x, axis = tensor(input), axis_of(dimension, input.ndim)
    made = emit(Gather((x, constant(_windows(x.shape[axis], size, step))), axis=axis))
    made = transposed(made, (*(a for a in range(made.ndim) if a != axis + 1), axis + 1))
    return view_of(made, x, any_layer=True)


def _strided(
    shape: Sequence[SizeLike], size: Any, stride: Any, offset: Any
) -> tuple[tuple[SizeLike, ...], tuple[SizeLike, ...]]:
    """Sizes and steps of `as_strided`, within the tensor."""
    sizes, steps = sizes_of((tuple(size),)), sizes_of((tuple(stride),))
    if len(sizes) != len(steps):
        raise ShapeError("as_strided takes as many strides as sizes", expected=len(sizes), found=len(steps))
    if offset is None:
        offset = 0
    if any(isinstance(v, int) and v < 0 for v in (*sizes, *steps, offset)):
        raise ShapeError("as_strided: sizes, strides and offset are not negative", found=f"{sizes}, {steps}, {offset}")
    if not any(isinstance(s, int) and s == 0 for s in sizes):
        reach = offset + 1
        for count, step in zip(sizes, steps):
            reach = reach + (count - 1) * step
        problem = f"as_strided: the elements do not lie within the {format_shape(shape)} that there are"
        require_at_least(Size(shape).numel(), reach, problem)
    return sizes, steps


def _refuse_offset(shape: tuple[SizeLike, ...]) -> None:
    raise UnsupportedError(
        "torch counts storage_offset from the start of the memory, of which this tensor may be a part",
        expected="no storage_offset, and elements from the tensor's own first on",
        found=f"a tensor of shape {format_shape(shape)} that is a view",
        remedy="leave storage_offset out, or pick the elements by index: x.reshape(-1)[index]",
    )


def _begins_its_memory(x: Tensor) -> bool:
    while x.alias is not None and x.alias.base is not None:
        if not all(isinstance(layer, Shuffle) for layer in x.alias.chain(x)):
            return False
        x = x.alias.base
    return True


def _not_contiguous(shape: tuple[SizeLike, ...]) -> UnsupportedError:
    return UnsupportedError(
        "as_strided takes a tensor that is known to lie in memory in row-major order",
        found=f"a tensor of shape {format_shape(shape)} that may lie otherwise",
        remedy="pick the elements by index: x.reshape(-1)[index]",
    )


def _as_strided_numpy(
    input: np.ndarray, size: SizeLike | Sequence[SizeLike], stride: Ints, storage_offset: int | None = None
) -> np.ndarray | Tensor:
    if has_dims(size, stride, storage_offset):
        return as_strided(constant(input), size, stride, storage_offset)
    sizes, steps = _strided(input.shape, size, stride, storage_offset)
    if not input.flags.c_contiguous:
        raise _not_contiguous(input.shape)
    if storage_offset is not None and input.base is not None and input.ctypes.data != owner_of(input).ctypes.data:
        _refuse_offset(input.shape)
    flat = input.reshape(-1)[storage_offset or 0 :]
    return np.lib.stride_tricks.as_strided(
        flat, tuple(map(int, sizes)), [int(s) * input.itemsize for s in steps], writeable=input.flags.writeable
    )


@operation(_as_strided_numpy, method=True, view=True)
def as_strided(
    input: Tensor, size: SizeLike | Sequence[SizeLike], stride: int | Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """The elements at all sums of a multiple of each stride below each size, counted from `storage_offset`.

    They are counted over the elements of the tensor itself, which must lie in memory in row-major order: what torch
    reaches beyond a slice of a larger tensor is refused. A view, which can be written to where no element is there
    twice and no size is dynamic.

    Raises ShapeError for what reaches beyond the tensor, UnsupportedError where its order in memory is not known.

    >>> trtnet.as_strided(trtnet.arange(5), (3, 2), (1, 2)).tolist()
    [[0, 2], [1, 3], [2, 4]]
    """
    x = tensor(input)
    if decide(lies_contiguous, x, x.shape) is not Decision.YES:
        raise _not_contiguous(x.shape)
    if storage_offset is not None and not _begins_its_memory(x):
        _refuse_offset(x.shape)
    sizes, steps = _strided(x.shape, size, stride, storage_offset)
    places: Any = storage_offset or 0
    for axis, (count, step) in enumerate(zip(sizes, steps)):
        own = (1,) * axis + (count,) + (1,) * (len(sizes) - axis - 1)
        places = add(places, reshape(mul(arange(count), step if isinstance(step, int) else size_tensor(step)), own))
    flat = reshaped(x, (x.shape.numel(),))
    made = emit(Gather((flat, recorded_index(places.numpy()) if type(places) is Array else tensor(places))))
    return view_of(made, x, any_layer=True)


def _one_hot_numpy(tensor: np.ndarray, num_classes: int = -1) -> np.ndarray:
    depth = int(tensor.max()) + 1 if num_classes == -1 else num_classes
    OneHot.demand(depth).check(tensor)
    return (tensor[..., None] == np.arange(depth)).astype(np.int64)


@operation(_one_hot_numpy)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 ones at the indices and zeros elsewhere, in a new last dimension of `num_classes`.

    Layers of the example: `constant`, `one_hot`.

    >>> trtnet.one_hot(trtnet.tensor([0, 2]), 3).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if num_classes == -1:
        raise UnsupportedError(
            "one_hot of a recorded tensor needs the number of classes", remedy="one_hot(x, num_classes=10)"
        )
    values = constant(Literal(np.array([0, 1], np.int64)))
    return emit(OneHot((recorded_index(tensor), values), size_of(num_classes)))  # type: ignore[arg-type]


def _unbind_numpy(input: np.ndarray, dim: int = 0) -> tuple[np.ndarray, ...]:
    moved = np.moveaxis(input, axis_of(dim, input.ndim), 0)
    return tuple(moved[i, ...] for i in range(len(moved)))


@operation(_unbind_numpy, method=True, view=True)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The elements of one dimension of fixed size, which falls away.

    Layers of the example: `slice`, `shuffle`.

    >>> [x.tolist() for x in trtnet.unbind(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]))]
    [[1.0, 2.0], [3.0, 4.0]]
    """
    x, axis = tensor(input), axis_of(dim, input.ndim)
    size = x.shape[axis]
    if isinstance(size, Dim):
        raise unknown_parts("unbind", size)
    return tuple(select(x, axis, i) for i in range(size))


def _interleaved(
    shape: Sequence[SizeLike], dim: int, times: SizeLike
) -> tuple[tuple[SizeLike, ...], tuple[SizeLike, ...], tuple[SizeLike, ...]]:
    axis = axis_of(dim, len(shape))
    before, size, after = tuple(shape[:axis]), shape[axis], tuple(shape[axis + 1 :])
    return (*before, size, 1, *after), (*before, size, times, *after), (*before, size * times, *after)


def _repeat_interleave_numpy(
    input: np.ndarray, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> np.ndarray | Tensor:
    if has_dims(repeats):
        return repeat_interleave(constant(input), repeats, dim)
    return np.repeat(input, repeats, None if dim is None else axis_of(dim, input.ndim))


@operation(_repeat_interleave_numpy, method=True)
def repeat_interleave(
    input: Tensor, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element `repeats` times, one after the other, along `dim`, or of the flattened tensor.

    `repeats` is a number, a Dim, or a concrete tensor with a number for each element.

    Layers of the example: `shuffle`, `slice`.

    >>> trtnet.repeat_interleave(trtnet.tensor([1.0, 2.0]), 2).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    x = tensor(input)
    if dim is None:
        x, dim = reshaped(x, (x.shape.numel(),)), 0
    if isinstance(repeats, Tensor) and repeats.ndim and not (type(repeats) is not Tensor and repeats.shape == (1,)):
        if type(repeats) is Tensor:
            raise UnsupportedError(
                "repeat_interleave with numbers that are computed in the network has no size that TensorRT knows",
                found=repr(repeats),
                remedy="give the numbers as ints or as a concrete tensor",
            )
        counts = repeats.numpy()
        return index_select(x, dim, np.repeat(np.arange(len(counts)), counts))
    times = sizes_of((repeats,))[0]
    unsqueezed, wide, flat = _interleaved(x.shape, dim, times)
    if times == 1:
        return x
    return reshaped(expanded(reshaped(x, unsqueezed), wide), flat)


install({"scatter": scatter})
