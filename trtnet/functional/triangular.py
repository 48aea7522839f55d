"""Triangles and diagonals. Names, signatures and defaults as torch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..basics.dims import format_shape, maximum, minimum
from ..basics.errors import ShapeError
from ..graph.tensor import Tensor
from ..layers.shaping import expanded, reshaped
from .arithmetic import sub
from .comparison import ge, le, where
from .creation import arange, zeros
from .dispatch import axis_of, operation, refusing, tensor
from .inplace import install
from .joining import cat
from .padding import pad
from .reduction import sum as summed
from .shape import atleast_2d, movedim, transposed, unsqueeze
from .slicing import sliced

__all__ = ["block_diag", "diag", "diag_embed", "diagflat", "diagonal", "trace", "tril", "triu"]


def _difference(x: Tensor) -> Tensor:
    """Column less row of each element of the last two dimensions: concrete where both sizes are fixed."""
    if x.ndim < 2:
        raise ShapeError("a triangle is of at least 2 dimensions", found=f"{x.ndim} dimensions")
    rows, columns = x.shape[-2:]
    return sub(unsqueeze(arange(columns), 0), unsqueeze(arange(rows), 1))


@operation(lambda input, diagonal=0: np.tril(input, diagonal), method=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements at or below a diagonal of the last two dimensions; zeros above.

    Layers of the example: `constant`, `select`.

    >>> trtnet.tril(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 0.0], [3.0, 4.0]]
    """
    x = tensor(input)
    return where(le(_difference(x), diagonal), x, _zero(x))


@operation(lambda input, diagonal=0: np.triu(input, diagonal), method=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements at or above a diagonal of the last two dimensions; zeros below.

    Layers of the example: `constant`, `select`.

    >>> trtnet.triu(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 2.0], [0.0, 4.0]]
    """
    x = tensor(input)
    return where(ge(_difference(x), diagonal), x, _zero(x))


def _zero(x: Tensor) -> Any:
    return False if x.dtype.name == "bool" else 0


def _diagonal_numpy(input: np.ndarray, offset: int = 0, dim1: int = 0, dim2: int = 1) -> np.ndarray:
    found = np.diagonal(input, offset, axis_of(dim1, input.ndim), axis_of(dim2, input.ndim))
    if input.flags.writeable:
        found.setflags(write=True)
    return found


@operation(_diagonal_numpy, method=True, view=True)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements on a diagonal of two dimensions, as a new last dimension.

    Layers of the example: `shuffle`, `slice`.

    >>> trtnet.diagonal(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [1.0, 4.0]
    """
    x = tensor(input)
    a, b = axis_of(dim1, x.ndim), axis_of(dim2, x.ndim)
    if a == b:
        raise ShapeError("a diagonal is of two dimensions", found=f"dim1={dim1}, dim2={dim2}")
    x = transposed(x, (*(i for i in range(x.ndim) if i not in (a, b)), a, b))
    rows, columns = x.shape[-2:]
    length = maximum(minimum(rows + min(offset, 0), columns - max(offset, 0)), 0)
    # of the flattened matrix each (columns + 1)-th element
    first = minimum(offset if offset >= 0 else -offset * columns, rows * columns)
    front = tuple(x.shape[:-2])
    flat = reshaped(x, (*front, rows * columns))
    return sliced(flat, (*(0,) * len(front), first), (*front, length), (*(1,) * len(front), columns + 1))


def _diag_embed_numpy(input: np.ndarray, offset: int = 0, dim1: int = -2, dim2: int = -1) -> np.ndarray:
    size = input.shape[-1] + abs(offset)
    made = np.zeros((*input.shape[:-1], size, size), input.dtype)
    at = np.arange(input.shape[-1])
    made[..., at + max(-offset, 0), at + max(offset, 0)] = input
    return np.moveaxis(made, (-2, -1), (axis_of(dim1, made.ndim), axis_of(dim2, made.ndim)))


@operation(_diag_embed_numpy, method=True)
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as a diagonal of two, zeros elsewhere.

    Layers of the example: `shuffle`, `slice`, `constant`, `select`.

    >>> trtnet.diag_embed(trtnet.tensor([1.0, 2.0])).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    x = tensor(input)
    size = x.shape[-1]
    square = (*x.shape, size)
    equal = unsqueeze(arange(size), 0) == unsqueeze(arange(size), 1)
    made = where(equal, expanded(unsqueeze(x, -1), square), _zero(x))
    if offset:
        made = pad(made, (max(offset, 0), max(-offset, 0), max(-offset, 0), max(offset, 0)))
    return movedim(made, (-2, -1), (dim1, dim2))


@operation(lambda input, diagonal=0: np.diag(input, diagonal), method=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix, or the diagonal of a matrix.

    Layers of the example: `shuffle`, `slice`, `constant`, `select`.

    >>> trtnet.diag(trtnet.tensor([1.0, 2.0])).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    return diag_embed(input, diagonal) if input.ndim == 1 else globals()["diagonal"](input, diagonal)


@refusing
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements as the diagonal of a matrix.

    >>> trtnet.diagflat(trtnet.tensor([[1, 2]])).tolist()
    [[1, 0], [0, 2]]
    """
    return diag(input.reshape(-1), offset)


def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices one after the other on the diagonal of a larger one, zeros beside them; promoted to one dtype.

    Vectors are matrices of one row, numbers of one element.

    >>> trtnet.block_diag(trtnet.ones(1, 2), trtnet.full((1,), 5.0)).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 5.0]]
    """
    if any(x.ndim > 2 for x in tensors):
        raise ShapeError("block_diag takes matrices", found=" and ".join(format_shape(x.shape) for x in tensors))
    blocks = [atleast_2d(x) for x in tensors]
    widths = [x.shape[1] for x in blocks]
    rows = []
    for at, block in enumerate(blocks):
        beside = [zeros(block.shape[0], width, dtype=block.dtype) for width in widths]
        rows.append(cat([*beside[:at], block, *beside[at + 1 :]], 1))
    return cat(rows, 0)


@refusing
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix.

    >>> trtnet.trace(trtnet.eye(3)).item()
    3.0
    """
    if input.ndim != 2:
        raise ShapeError("trace takes a matrix", found=format_shape(input.shape))
    return summed(diagonal(input))


setattr(Tensor, "diagflat", diagflat)  # noqa: B010
setattr(Tensor, "trace", trace)  # noqa: B010
install({"tril": tril, "triu": triu})
