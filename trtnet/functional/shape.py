"""Shapes: the same elements, seen otherwise. Names, signatures and defaults as torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, divide_exactly, format_shape, maximum, minimum, product
from ..basics.dtypes import dtype
from ..basics.errors import ArgumentTypeError, ShapeError, UnsupportedError, shown
from ..graph.recorder import emit
from ..graph.tensor import Array, Parameter, Tensor, current_recorder
from ..graph.training import cut_gradients
from ..layers.casting import Identity
from ..layers.constant import constant
from ..layers.shaping import Shuffle, reshaped
from .dispatch import Axes, Ints, MemoryFormat, Sizes, axes_of, axis_of, operation, steps_of, tensor, with_steps
from .memory import another_handle, change_shape, mark_same
from .strides import (
    Decision,
    can_be_viewed,
    contiguous_strides,
    decide,
    known_strides,
    lies_channels_last,
    lies_contiguous,
    view_strides,
)

__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "clone",
    "contiguous",
    "detach",
    "flatten",
    "is_complex",
    "is_same_size",
    "is_signed",
    "moveaxis",
    "movedim",
    "numel",
    "permute",
    "ravel",
    "reshape",
    "reshape_as",
    "squeeze",
    "swapaxes",
    "swapdims",
    "sym_max",
    "sym_min",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
]

# --- sizes ------------------------------------------------------------------------------------------------------------


def size_of(value: SizeLike | Tensor) -> SizeLike:
    """One size: an int or a Dim. Raises ArgumentTypeError for anything else, a recorded Tensor without a value among
    it."""
    if type(value) is int or isinstance(value, Dim):
        return value
    if type(value) is Tensor:
        known = value._known_value()
        if known is None:
            raise ArgumentTypeError(
                "a recorded tensor is no size",
                expected="an int or a Dim",
                found=repr(value),
                remedy="take sizes from shapes: x.shape[0] is an int, or a Dim that stands for the size",
            )
        value = known
    if isinstance(value, (float, bool)) or not hasattr(value, "__index__"):
        raise ArgumentTypeError("a size must be a whole number", expected="an int or a Dim", found=shown(value))
    return int(value.__index__())


def sizes_of(given: tuple[Any, ...], keyword: Any = None) -> tuple[SizeLike, ...]:
    """Sizes that were given one by one, or as one sequence."""
    if keyword is not None and not given:
        given = (keyword,)
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = tuple(given[0])
    elif len(given) == 1 and isinstance(given[0], Array) and given[0].ndim:
        given = tuple(given[0].tolist())
    return tuple(size_of(s) for s in given)


def has_dims(*values: Any | Sequence[SizeLike]) -> bool:
    """Whether a Dim is among the values, in sequences and slices too."""
    for value in values:
        if isinstance(value, Dim):
            return True
        if isinstance(value, (tuple, list)) and has_dims(*value):
            return True
        if isinstance(value, slice) and has_dims(value.start, value.stop, value.step):
            return True
    return False


def not_negative(sizes: tuple[SizeLike, ...]) -> None:
    for size in sizes:
        if isinstance(size, int) and size < 0:
            raise ShapeError("a size cannot be negative", found=format_shape(sizes))


# --- reshape ----------------------------------------------------------------------------------------------------------


def resolved(shape: Size, sizes: tuple[SizeLike, ...]) -> tuple[SizeLike, ...]:
    """`sizes` with -1 worked out.

    Where the division has a remainder at some sizes only, the result is a floor division, and the reshape's own check
    that the number of elements stays is kept for each call.
    """
    unknown = [axis for axis, size in enumerate(sizes) if isinstance(size, int) and size == -1]
    if not unknown:
        not_negative(sizes)
        return sizes
    if len(unknown) > 1:
        raise ShapeError("only one size can be -1", found=format_shape(sizes))
    at = unknown[0]
    others = (*sizes[:at], *sizes[at + 1 :])
    not_negative(others)
    total, known = product(shape), product(others)
    if isinstance(known, int) and known == 0:
        raise ShapeError("-1 has no single value where another size is 0", found=format_shape(sizes))
    size = divide_exactly(total, known)
    if size is None:
        if isinstance(total, int) and isinstance(known, int):
            raise ShapeError(
                f"a reshape must keep the number of elements: {format_shape(shape)} to {format_shape(sizes)}",
                expected=f"{total} elements",
                found=f"a multiple of {known}",
            )
        size = total // known
    return (*sizes[:at], size, *sizes[at + 1 :])


def transposed(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Record a permutation; `x` itself where nothing changes."""
    if order == tuple(range(len(order))):
        return x
    return emit(Shuffle((x,), first_transpose=order))


def _reshaped_numpy(input: np.ndarray, sizes: SizeLike | Sequence[SizeLike]) -> np.ndarray:
    made = input.reshape(sizes)
    if 1 not in made.shape or not made.size:
        return made
    return with_steps(made, view_strides(input.shape, steps_of(input), made.shape))


def _reshape_numpy(input: np.ndarray, *size: Sizes, shape: Sizes | None = None) -> np.ndarray | Tensor:
    sizes = sizes_of(size, shape)
    if has_dims(sizes):
        return reshape(constant(input), sizes)
    return _reshaped_numpy(input, resolved(Size(input.shape), sizes))


@operation(_reshape_numpy, method=True, view=can_be_viewed)
def reshape(input: Tensor, *size: Sizes, shape: Sizes | None = None) -> Tensor:
    """`input` with other sizes and as many elements; one of them may be -1, which stays symbolic over Dims.

    Raises ShapeError where the number of elements differs, at min, opt or max of a Dim while recording, and at the
    actual sizes on each call.

    Layers of the example: `shuffle`.

    >>> trtnet.reshape(trtnet.tensor([1.0, 2.0, 3.0, 4.0]), (2, -1)).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    x = tensor(input)
    return reshaped(x, resolved(x.shape, sizes_of(size, shape)))


def _view_numpy(input: np.ndarray, *size: Any) -> np.ndarray | Tensor:
    if len(size) == 1 and not isinstance(size[0], (tuple, list, int, Dim, np.ndarray, np.integer)):
        return input.view(dtypes.get(size[0]).numpy)
    return _reshape_numpy(input, *size)


@operation(_view_numpy, method=True, view=can_be_viewed)
def view(input: Tensor, *size: Any) -> Tensor:
    """As `reshape`. Raises UnsupportedError for a dtype in place of sizes.

    >>> trtnet.tensor([1.0, 2.0, 3.0, 4.0]).view(2, -1).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if len(size) == 1 and (isinstance(size[0], dtype) or type(size[0]).__module__ == "torch"):
        raise UnsupportedError(
            "TensorRT cannot see the bytes of a tensor as another dtype",
            found=f"view({size[0]})",
            remedy="convert the values with x.to(dtype)",
        )
    return reshape(input, *size)


@operation(lambda input, other: _reshaped_numpy(input, other.shape), method=True, view=can_be_viewed)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` with the shape of `other`.

    >>> trtnet.tensor([1.0, 2.0]).reshape_as(trtnet.zeros(2, 1)).tolist()
    [[1.0], [2.0]]
    """
    return reshape(input, tuple(other.shape))


@operation(lambda input, other: _reshaped_numpy(input, other.shape), method=True, view=can_be_viewed)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` with the shape of `other`.

    >>> trtnet.tensor([1.0, 2.0]).view_as(trtnet.zeros(2, 1)).tolist()
    [[1.0], [2.0]]
    """
    return reshape(input, tuple(other.shape))


def _flattened(shape: tuple[SizeLike, ...], start_dim: int, end_dim: int) -> tuple[SizeLike, ...]:
    shape, rank = tuple(shape), len(shape)
    start, end = axis_of(start_dim, rank, "start_dim"), axis_of(end_dim, rank, "end_dim")
    if start > end:
        raise ShapeError("flatten: start_dim comes after end_dim", found=f"start_dim={start_dim}, end_dim={end_dim}")
    return (*shape[:start], product(shape[start : end + 1]), *shape[end + 1 :])


def _flatten_numpy(input: np.ndarray, start_dim: int = 0, end_dim: int = -1) -> np.ndarray:
    shape = _flattened(input.shape, start_dim, end_dim)
    return input if shape == input.shape else _reshaped_numpy(input, shape)


@operation(_flatten_numpy, method=True, view=can_be_viewed, gives_itself=True)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim as one.

    Layers of the example: `shuffle`.

    >>> trtnet.flatten(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    x = tensor(input)
    return reshaped(x, _flattened(x.shape, start_dim, end_dim))


@operation(lambda input: np.asarray(input, order="C").reshape(-1), method=True, view=lies_contiguous)
def ravel(input: Tensor) -> Tensor:
    """All dimensions as one.

    Layers of the example: `shuffle`.

    >>> trtnet.ravel(trtnet.tensor([[1.0, 2.0]])).tolist()
    [1.0, 2.0]
    """
    x = tensor(input)
    return reshaped(x, (x.shape.numel(),))


def _unflattened(shape: tuple[SizeLike, ...], dim: int, sizes: SizeLike | Sequence[SizeLike]) -> tuple[SizeLike, ...]:
    axis = axis_of(dim, len(shape))
    given = sizes_of((sizes,))
    if not given:
        raise ShapeError("unflatten: sizes must not be empty")
    return (*shape[:axis], *resolved(Size((shape[axis],)), given), *shape[axis + 1 :])


def _unflatten_numpy(input: np.ndarray, dim: int, sizes: SizeLike | Sequence[SizeLike]) -> np.ndarray | Tensor:
    return _reshape_numpy(input, _unflattened(input.shape, dim, sizes))


@operation(_unflatten_numpy, method=True, view=can_be_viewed)
def unflatten(input: Tensor, dim: int, sizes: SizeLike | Sequence[SizeLike]) -> Tensor:
    """Dimension `dim` as several; one of `sizes` may be -1.

    Layers of the example: `shuffle`.

    >>> trtnet.unflatten(trtnet.tensor([1.0, 2.0, 3.0, 4.0]), 0, (2, 2)).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    x = tensor(input)
    return reshaped(x, _unflattened(x.shape, dim, sizes))


# --- dimensions in another order --------------------------------------------------------------------------------------


def _order(rank: int, dims: tuple[Any, ...], keyword: Any) -> tuple[int, ...]:
    given = keyword if keyword is not None and not dims else dims
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = given[0]
    order = tuple(axis_of(d, rank) for d in given)
    if len(order) != rank or len(set(order)) != rank:
        raise ShapeError(
            "permute takes every dimension once",
            expected=f"the dimensions 0 to {rank - 1} in some order",
            found=tuple(given),
        )
    return order


def _permute_numpy(input: np.ndarray, *order: int | Sequence[int], dims: Axes = None) -> np.ndarray:
    return input.transpose(_order(input.ndim, order, dims))


@operation(_permute_numpy, method=True, view=True)
def permute(input: Tensor, *order: int | Sequence[int], dims: Axes = None) -> Tensor:
    """The dimensions in another order.

    Layers of the example: `shuffle`.

    >>> trtnet.permute(trtnet.tensor([[1.0, 2.0]]), (1, 0)).tolist()
    [[1.0], [2.0]]
    """
    x = tensor(input)
    return transposed(x, _order(x.ndim, order, dims))


def _swapped(rank: int, a: int, b: int) -> tuple[int, ...]:
    order = list(range(rank))
    if rank:
        i, j = axis_of(a, rank, "dim0"), axis_of(b, rank, "dim1")
        order[i], order[j] = order[j], order[i]
    else:
        axis_of(a, 0), axis_of(b, 0)
    return tuple(order)


def _transpose_numpy(input: np.ndarray, dim0: int, dim1: int) -> np.ndarray:
    return input.transpose(_swapped(input.ndim, dim0, dim1))


@operation(_transpose_numpy, method=("transpose", "swapaxes", "swapdims"), view=True)
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged.

    Layers of the example: `shuffle`.

    >>> trtnet.transpose(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), 0, 1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    x = tensor(input)
    return transposed(x, _swapped(x.ndim, dim0, dim1))


swapdims = transpose


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two dimensions exchanged.

    Layers of the example: `shuffle`.

    >>> trtnet.swapaxes(trtnet.tensor([[1.0, 2.0]]), 0, 1).tolist()
    [[1.0], [2.0]]
    """
    return transpose(input, axis0, axis1)


def _matrix(rank: int) -> tuple[int, ...]:
    if rank > 2:
        raise ShapeError(
            "t() takes a tensor of at most 2 dimensions", found=f"{rank} dimensions", remedy="x.transpose(-2, -1)"
        )
    return (1, 0) if rank == 2 else tuple(range(rank))


@operation(lambda input: input.transpose(_matrix(input.ndim)), method=True, view=True)
def t(input: Tensor) -> Tensor:
    """A matrix transposed; vectors and scalars as they are.

    Layers of the example: `shuffle`.

    >>> trtnet.t(trtnet.tensor([[1.0, 2.0]])).tolist()
    [[1.0], [2.0]]
    """
    x = tensor(input)
    return transposed(x, _matrix(x.ndim))


def _all_reversed(self: Tensor) -> Tensor:
    """The dimensions in reverse order."""
    return permute(self, tuple(reversed(range(self.ndim))))


def _matrix_transposed(self: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if self.ndim < 2:
        raise ShapeError(".mT takes a tensor of at least 2 dimensions", found=format_shape(self.shape))
    return transpose(self, -2, -1)


def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged: there are no complex numbers.

    >>> trtnet.adjoint(trtnet.tensor([[1, 2]])).tolist()
    [[1], [2]]
    """
    return _matrix_transposed(input)


setattr(Tensor, "adjoint", adjoint)  # noqa: B010
Tensor.T = property(_all_reversed)  # type: ignore[attr-defined]
Tensor.mT = property(_matrix_transposed)  # type: ignore[attr-defined]
Tensor.H = property(_matrix_transposed)  # type: ignore[attr-defined]
Tensor.mH = property(_matrix_transposed)  # type: ignore[attr-defined]


def _moved(rank: int, source: Ints, destination: Ints) -> tuple[int, ...]:
    sources = [axis_of(d, rank, "source") for d in (source if isinstance(source, (tuple, list)) else (source,))]
    targets = [
        axis_of(d, rank, "destination")
        for d in (destination if isinstance(destination, (tuple, list)) else (destination,))
    ]
    if len(sources) != len(targets) or len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise ShapeError("movedim takes as many different sources as destinations", found=f"{source} and {destination}")
    order = [-1] * rank
    for s, d in zip(sources, targets):
        order[d] = s
    rest = iter(axis for axis in range(rank) if axis not in sources)
    return tuple(axis if axis >= 0 else next(rest) for axis in order)


def _movedim_numpy(input: np.ndarray, source: Ints, destination: Ints) -> np.ndarray:
    return input.transpose(_moved(input.ndim, source, destination))


@operation(_movedim_numpy, method=("movedim", "moveaxis"), view=True)
def movedim(input: Tensor, source: Ints, destination: Ints) -> Tensor:
    """Dimensions at `source` moved to `destination`, the others in their order.

    Layers of the example: `shuffle`.

    >>> trtnet.movedim(trtnet.tensor([[1.0, 2.0]]), 0, 1).tolist()
    [[1.0], [2.0]]
    """
    x = tensor(input)
    return transposed(x, _moved(x.ndim, source, destination))


moveaxis = movedim

# --- dimensions of size 1 ---------------------------------------------------------------------------------------------


def _squeezed(shape: tuple[SizeLike, ...], dim: Axes) -> tuple[SizeLike, ...]:
    axes = axes_of(dim, len(shape)) if dim is None or not isinstance(dim, (tuple, list)) or dim else ()
    return tuple(
        size for axis, size in enumerate(shape) if axis not in axes or not (isinstance(size, int) and size == 1)
    )


def _squeeze_numpy(input: np.ndarray, dim: Axes = None) -> np.ndarray:
    left = len(_squeezed(input.shape, dim))
    if left == input.ndim:
        return input.view()
    axes = range(input.ndim) if dim is None else axes_of(dim, input.ndim)
    return input.squeeze(tuple(axis for axis in axes if input.shape[axis] == 1))


@operation(_squeeze_numpy, method=True, view=True)
def squeeze(input: Tensor, dim: Axes = None) -> Tensor:
    """Without the dimensions of size 1: all, or those named that have it. A Dim is never 1.

    Layers of the example: `shuffle`.

    >>> trtnet.squeeze(trtnet.tensor([[1.0, 2.0]])).tolist()
    [1.0, 2.0]
    """
    x = tensor(input)
    return reshaped(x, _squeezed(x.shape, dim))


def _unsqueezed(shape: tuple[SizeLike, ...], dim: int) -> tuple[SizeLike, ...]:
    axis = axis_of(dim, len(shape) + 1)
    return (*shape[:axis], 1, *shape[axis:])


def _unsqueeze_numpy(input: np.ndarray, dim: int) -> np.ndarray:
    axis, steps = axis_of(dim, input.ndim + 1), steps_of(input)
    step = input.shape[axis] * steps[axis] if axis < input.ndim else 1
    made = input.reshape((*input.shape[:axis], 1, *input.shape[axis:]))
    return with_steps(made, (*steps[:axis], step, *steps[axis:]))


@operation(_unsqueeze_numpy, method=True, view=True)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of size 1 at `dim`.

    Layers of the example: `shuffle`.

    >>> trtnet.unsqueeze(trtnet.tensor([1.0, 2.0]), 1).tolist()
    [[1.0], [2.0]]
    """
    x = tensor(input)
    return reshaped(x, _unsqueezed(x.shape, dim))


def _at_least(count: int, orders: dict[int, tuple[int | None, ...]]) -> Any:
    def apply(*tensors: Any) -> Any:
        values = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
        made = []
        for value in values:
            rank = value.ndim
            if rank < count:
                value = reshape(value, tuple(1 if i is None else value.shape[i] for i in orders[rank]))
            made.append(value)
        return made[0] if len(made) == 1 and values is tensors else tuple(made)

    apply.__name__ = apply.__qualname__ = f"atleast_{count}d"
    apply.__doc__ = (
        f"Tensors of at least {count} dimension{'s' if count > 1 else ''}.\n\n"
        f">>> trtnet.atleast_{count}d(trtnet.tensor(2.0)).shape\n{Size((1,) * count)!r}\n"
    )
    return apply


atleast_1d = _at_least(1, {0: (None,)})
atleast_2d = _at_least(2, {0: (None, None), 1: (None, 0)})
atleast_3d = _at_least(3, {0: (None,) * 3, 1: (None, 0, None), 2: (0, 1, None)})

# --- copies -----------------------------------------------------------------------------------------------------------


def contiguous(input: Tensor, memory_format: MemoryFormat | None = None) -> Tensor:
    """`input` in row-major order: itself where torch's tensor would lie so, else a copy. TensorRT chooses the memory
    formats of the network, so that no layer is recorded.

    >>> trtnet.tensor([[1.0, 2.0]]).t().contiguous().is_contiguous()
    True
    """
    last = str(memory_format).rpartition(".")[2].startswith("channels_last")
    if isinstance(input, Array) and not (isinstance(input, Parameter) and current_recorder.get() is not None):
        array = input.numpy()
        return input if array.flags.c_contiguous and not last else Array(np.array(array, order="C"))
    x = tensor(input)
    return mark_same(another_handle(x, x, lies_channels_last if last else lies_contiguous), x)


setattr(Tensor, "contiguous", contiguous)  # noqa: B010


@operation(lambda input, *, memory_format=None: input.copy(), method=True, order="first")
def clone(input: Tensor, *, memory_format: MemoryFormat | None = None) -> Tensor:
    """A copy: an identity layer, so that an input may be an output.

    Layers of the example: none.

    >>> trtnet.clone(trtnet.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return emit(Identity((tensor(input),)))


@operation(lambda input: input[...], view=True)
def same_memory(input: Tensor) -> Tensor:
    """`input`, in a second tensor of its memory."""
    return tensor(input)


@operation(lambda input: input[...], method=True, view=True)
def detach(input: Tensor) -> Tensor:
    """`input`, in a second tensor of its memory: trtnet computes no gradients, and `to_torch` does not detach.

    >>> trtnet.tensor([1.0, 2.0]).detach().tolist()
    [1.0, 2.0]
    """
    cut_gradients("forward detaches")
    return tensor(input)


def _detach_(self: Tensor) -> Tensor:
    """The tensor itself: trtnet computes no gradients."""
    cut_gradients("forward detaches")
    return self


setattr(Tensor, "detach_", _detach_)  # noqa: B010


def numel(input: Tensor) -> SizeLike:
    """The number of elements: an int, or an expression over Dims.

    >>> trtnet.numel(trtnet.tensor([[1.0, 2.0]]))
    2
    """
    return input.numel()


def sym_max(a: SizeLike, b: SizeLike) -> SizeLike:
    """The larger of two sizes: in place of Python's `max`, which must know while recording which one that is.

    An int, or of a Dim an expression, as `max(n, 3)`.

    >>> trtnet.sym_max(2, 3)
    3
    """
    return maximum(size_of(a), size_of(b))


def sym_min(a: SizeLike, b: SizeLike) -> SizeLike:
    """The smaller of two sizes, in place of Python's `min`.

    >>> trtnet.sym_min(2, 3)
    2
    """
    return minimum(size_of(a), size_of(b))


# --- what is asked of tensors -----------------------------------------------------------------------------------------


def _stride(self: Tensor, dim: int | None = None) -> Any:
    """How many elements lie in memory between neighbours of each dimension, or of one, in torch's tensor.

    Raises UnsupportedError where a dynamic size, or a layout that torch may choose, leaves that open.
    """
    if isinstance(self, Array) and not (isinstance(self, Parameter) and current_recorder.get() is not None):
        array = self.numpy()
        steps: tuple[Any, ...] = tuple(step // max(array.itemsize, 1) for step in array.strides)
    elif isinstance(self, Parameter):
        steps = contiguous_strides(tuple(int(size) for size in self.shape))
    else:
        known = known_strides(self)
        if known is None:
            raise UnsupportedError(
                "the strides of this tensor are not known while recording",
                found=repr(self),
                remedy="make a tensor in row-major order first: x.contiguous()",
            )
        steps = known
    return steps if dim is None else steps[axis_of(dim, len(steps))]


def _is_contiguous(self: Tensor, memory_format: MemoryFormat | None = None) -> bool:
    """Whether torch's tensor lies in memory in row-major order, or channels last; False where that is not known, as
    `contiguous` costs nothing."""
    last = str(memory_format).rpartition(".")[2].startswith("channels_last")
    rule = lies_channels_last if last else lies_contiguous
    if isinstance(self, Array) and not isinstance(self, Parameter):
        array = self.numpy()
        sizes = tuple(int(size) for size in array.shape)
        return rule(sizes, tuple(step // max(array.itemsize, 1) for step in array.strides), sizes)
    if isinstance(self, Parameter):
        sizes = tuple(int(size) for size in self.shape)
        return rule(sizes, contiguous_strides(sizes), sizes)
    return decide(rule, self, self.shape) is Decision.YES


def _nbytes(self: Tensor) -> SizeLike:
    """The bytes of all elements."""
    return self.numel() * self.dtype.itemsize


def _itemsize(self: Tensor) -> int:
    """The bytes of one element."""
    return int(self.dtype.itemsize)


def is_complex(input: Tensor) -> bool:
    """False: there are no complex numbers.

    >>> trtnet.is_complex(trtnet.tensor([1.0, -2.0]))
    False
    """
    return False


def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers.

    >>> trtnet.is_signed(trtnet.tensor([1.0, -2.0]))
    True
    """
    return bool(input.dtype.is_signed)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same sizes; two Dims are the same only if their expressions are.

    >>> trtnet.is_same_size(trtnet.zeros(2), trtnet.ones(2))
    True
    """
    return bool(input.shape == other.shape)


for _name, _method in {
    "stride": _stride,
    "is_contiguous": _is_contiguous,
    "element_size": _itemsize,
    "itemsize": property(_itemsize),
    "nbytes": property(_nbytes),
    "is_complex": is_complex,
    "is_signed": is_signed,
    "is_same_size": is_same_size,
    "is_sparse": False,
    "is_quantized": False,
    "is_meta": False,
    "is_nested": False,
}.items():
    setattr(Tensor, _name, _method)


def _reshaping(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that gives a tensor another shape in place; views of it keep theirs."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if type(self) is Tensor:
            change_shape(self, lambda value: function(value, *args, **kwargs))
            return self
        if type(self) is not Array:
            raise UnsupportedError(
                f"{function.__name__}_ changes the shape of a parameter",
                found=repr(self),
                remedy=f"x = x.{function.__name__}(...)",
            )
        before = tuple(self.shape)
        self._array = function(self, *args, **kwargs).numpy()
        if self.alias is not None:
            self.alias.change_shape(
                lambda value: function(value, *args, **kwargs),
                lambda value: (
                    function(value, *args, **kwargs) if function in (transpose, t) else reshape(value, before)
                ),
            )
        return self

    method.__name__ = f"{function.__name__}_"
    method.__doc__ = f"`{function.__name__}`, in place."
    return method


for _function in (squeeze, unsqueeze, transpose, t):
    setattr(Tensor, f"{_function.__name__}_", _reshaping(_function))
for _name in ("swapaxes_", "swapdims_"):
    setattr(Tensor, _name, vars(Tensor)["transpose_"])
