"""The functions that pick elements by position, and put them. Names, signatures and defaults as torch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import SizeLike, format_shape
from ..errors import ShapeError, UnsupportedError
from ..graph import emit, recorder_constant
from ..layers.base import require_at_least
from ..layers.gather import Gather, OneHot, Scatter
from ..memory import mark_view, writers
from ..tensor import Array, Tensor
from ..weights.recipes import Literal
from .broadcasting import broadcast_shapes, expanded
from .comparison import where
from .dispatch import axis_of, is_recorded, operation, tensor
from .indexing import (
    from_end,
    from_start,
    part,
    recorded_index,
    sliced,
    write_gathered,
    written_value,
)
from .inplace import install
from .shape import constant, has_dims, reshaped, size_of, transposed

__all__ = [
    "gather",
    "index_select",
    "narrow",
    "one_hot",
    "scatter",
    "take",
    "take_along_dim",
]


def _narrowed(shape: Any, dim: int, start: Any, length: Any) -> tuple[int, SizeLike, SizeLike]:
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


def _narrow_numpy(input: np.ndarray, dim: int, start: Any, length: Any) -> Any:
    if has_dims(start, length):
        return narrow(constant(input), dim, start, length)
    axis, first, count = _narrowed(input.shape, dim, start, length)
    return input[(slice(None),) * axis + (slice(first, first + count),)]


@operation(_narrow_numpy, method=True, view=True)
def narrow(input: Tensor, dim: int, start: Any, length: Any) -> Tensor:
    """`length` elements of one dimension from `start` on."""
    x = tensor(input)
    axis, first, count = _narrowed(x.shape, dim, start, length)
    return part(x, axis, first, count)


def _index_select_numpy(input: np.ndarray, dim: int, index: np.ndarray) -> Any:
    return np.take(input, np.atleast_1d(index), axis_of(dim, input.ndim))


@operation(_index_select_numpy, method=True)
def index_select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The elements at a 1-D index of one dimension."""
    x, axis = tensor(input), axis_of(dim, input.ndim)
    known = index.numpy() if isinstance(index, Array) and not is_recorded(index) else index
    if isinstance(known, (np.ndarray, list)):
        known = from_start(np.atleast_1d(np.asarray(known)), x.shape[axis], axis)
    i = recorded_index(known) if isinstance(known, np.ndarray) else tensor(known)
    if i.ndim > 1:
        raise ShapeError("index_select takes a 1-D index", found=format_shape(i.shape))
    return emit(Gather((x, reshaped(i, (1,)) if i.ndim == 0 else i), axis=axis))


def _element_index(name: str, index: Any, size: SizeLike) -> Tensor:
    """An index that is not counted from the end; a constant one is checked."""
    if isinstance(index, Array) and not is_recorded(index):
        array = index.numpy()
        if array.size and array.min() < 0:
            raise ShapeError(
                f"{name} counts no index from the end",
                expected=f"0 to {size} - 1",
                found=array.min(),
                remedy="count it from the start, or use x[index], take or take_along_dim",
            )
        return constant(from_start(array, size, 0))
    return tensor(index)


def _index_from_end(index: Any, size: SizeLike) -> Tensor:
    """An index of which negative numbers count from the end."""
    if isinstance(index, Array) and not is_recorded(index):
        return recorded_index(from_start(index.numpy(), size, 0))
    return from_end(tensor(index), size)


def _gather_numpy(input: np.ndarray, dim: int, index: np.ndarray, *, sparse_grad: bool = False) -> Any:
    axis = axis_of(dim, input.ndim)
    whole = tuple(slice(None) if a == axis else slice(s) for a, s in enumerate(index.shape))
    return np.take_along_axis(input[whole], index, axis)


@operation(_gather_numpy, method=True)
def gather(input: Tensor, dim: int, index: Any, *, sparse_grad: bool = False) -> Tensor:
    """One element of `input` for each element of `index`, along `dim`; its sizes are at most those of `input`."""
    x, axis = tensor(input), axis_of(dim, input.ndim)
    i = _element_index("gather", index, x.shape[axis])
    if i.ndim != x.ndim:
        raise ShapeError("gather takes an index of as many dimensions", expected=x.ndim, found=format_shape(i.shape))
    sizes = tuple(x.shape[a] if a == axis else size for a, size in enumerate(i.shape))
    for a, (size, wanted) in enumerate(zip(x.shape, sizes)):
        if isinstance(size, int) and isinstance(wanted, int) and wanted > size:
            raise ShapeError(f"gather: the index is larger in dimension {a}", expected=f"at most {size}", found=wanted)
    return emit(Gather((sliced(x, (0,) * x.ndim, sizes, (1,) * x.ndim), i), axis=axis, mode="ELEMENT"))


def _take_along_dim_numpy(input: np.ndarray, indices: np.ndarray, dim: int | None = None) -> Any:
    if dim is None:
        return input.reshape(-1)[indices.reshape(-1)]
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
def take_along_dim(input: Tensor, indices: Any, dim: int | None = None) -> Tensor:
    """As `gather`, with the other dimensions broadcast; over the flattened tensors without `dim`."""
    x = tensor(input)
    if dim is None:
        i = _element_index("take_along_dim without dim", indices, x.shape.numel())
        return emit(Gather((x.flatten(), i.flatten())))
    axis = axis_of(dim, x.ndim)
    i = _index_from_end(indices, x.shape[axis])
    others = broadcast_shapes(*(tuple(1 if a == axis else s for a, s in enumerate(v.shape)) for v in (x, i)))
    whole = [expanded(v, tuple(v.shape[axis] if a == axis else s for a, s in enumerate(others))) for v in (x, i)]
    return emit(Gather(tuple(whole), axis=axis, mode="ELEMENT"))


@operation(lambda input, index: input.reshape(-1)[index], method=True)
def take(input: Tensor, index: Any) -> Tensor:
    """The elements at `index` of the flattened tensor, in the shape of `index`."""
    x = reshaped(tensor(input), (tensor(input).shape.numel(),))
    return emit(Gather((x, _index_from_end(index, x.shape[0]))))


def _scatter_numpy(
    input: np.ndarray, dim: int, index: np.ndarray, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Any:
    if reduce is not None:
        from .scattering import scatter_reduced_numpy

        return scatter_reduced_numpy(input, dim, index, value if src is None else src, reduce)
    result, axis = input.copy(), axis_of(dim, input.ndim)
    written = value if src is None else src
    if isinstance(written, np.ndarray) and written.ndim:
        written = written[tuple(slice(s) for s in index.shape)]
    places: list[Any] = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    result[tuple(places)] = written
    return result


@operation(_scatter_numpy, method=True)
def scatter(input: Tensor, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: Any = None) -> Tensor:
    """`input` with the elements of `src` (or one number) written along `dim`, one for each element of `index`.

    `reduce`, "add" or "multiply": as `scatter_reduce`, with the input's own elements.
    """
    if reduce is not None:
        from .scattering import scatter_reduced

        return scatter_reduced(tensor(input), dim, index, value if src is None else src, reduce)
    x, axis = tensor(input), axis_of(dim, input.ndim)
    i = _element_index("scatter", index, x.shape[axis])
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


def _unfold_numpy(input: np.ndarray, dimension: int, size: int, step: int) -> Any:
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
    (indices,) = index.layer.inputs  # type: ignore[union-attr]
    at = indices.array  # type: ignore[union-attr]
    if layer.mode != "DEFAULT" or len(np.unique(at)) != at.size:
        raise UnsupportedError(
            "a change cannot be written through windows that overlap",
            found=f"windows of {at.shape[-1]} elements",
            remedy="copy them first: x.unfold(...).clone(), or make their step as large as they are",
        )
    axis, length = layer.axis, int(x.shape[layer.axis])
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
    mark_view(made, x, any_layer=True)
    return made


def _one_hot_numpy(tensor: np.ndarray, num_classes: int = -1) -> Any:
    depth = int(tensor.max()) + 1 if num_classes == -1 else num_classes
    return (tensor[..., None] == np.arange(depth)).astype(np.int64)


@operation(_one_hot_numpy)
def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """int64 ones at the indices and zeros elsewhere, in a new last dimension of `num_classes`."""
    if num_classes == -1:
        raise UnsupportedError(
            "one_hot of a recorded tensor needs the number of classes", remedy="one_hot(x, num_classes=10)"
        )
    values = recorder_constant(Literal(np.array([0, 1], np.int64)))
    return emit(OneHot((recorded_index(tensor), values), size_of(num_classes)))  # type: ignore[arg-type]


install({"scatter": scatter})
