"""The largest and smallest elements and where they are. Names, signatures and defaults as torch's.

TensorRT finds at most 3840 elements in order, so `sort` of a longer dimension raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike
from ..basics.errors import ArgumentError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.casting import converted
from ..layers.reduction import TopK
from ..layers.shaping import reshaped
from . import arithmetic
from .dispatch import axes_of, axis_of, operation, refusing, tensor
from .reduction import amax, amin
from .shape import size_of, transposed

__all__ = ["aminmax", "argmax", "argmin", "argsort", "max", "min", "msort", "sort", "topk"]


class Sorted(NamedTuple):
    """Values in order, and where they were (int64)."""

    values: Any
    indices: Any


class Extremum(NamedTuple):
    """The largest or smallest values along one dimension, and where they are (int64)."""

    values: Any
    indices: Any


class RecordedExtremum(tuple[Any, Any]):
    """An Extremum of a recorded tensor: layers are recorded when their results are asked for.

    `x.max(1).values` and `x.max(1)[0]` are one reduction; indices, and both by unpacking, are one top-k layer.
    """

    _fields = ("values", "indices")

    def __new__(cls, x: Tensor, op: str, axis: int, keepdim: bool) -> RecordedExtremum:
        made = super().__new__(cls, (None, None))
        made._of = (x, op, axis, keepdim)
        made._found = [None, None]
        return made

    @staticmethod
    def _make(values: Any) -> Extremum:
        return Extremum._make(values)

    _of: tuple[Tensor, str, int, bool]
    _found: list[Any]

    @property
    def values(self) -> Tensor:
        if self._found[0] is None:
            x, op, axis, keepdim = self._of
            self._found[0] = (amax if op == "MAX" else amin)(x, axis, keepdim)
        return self._found[0]

    @property
    def indices(self) -> Tensor:
        if self._found[1] is None:
            x, op, axis, keepdim = self._of
            values, indices = (_without(t, axis, keepdim) for t in ranked(x, op, 1, axis))
            self._found = [values if self._found[0] is None else self._found[0], indices]
        return self._found[1]

    def __iter__(self) -> Iterator[Any]:
        indices = self.indices
        return iter((self.values, indices))

    def __getitem__(self, index: Any) -> Any:
        if index in (0, -2):
            return self.values
        return self.indices if index in (1, -1) else tuple(self)[index]

    def __repr__(self) -> str:
        return f"Extremum({self._of[1]} of {self._of[0]!r} along {self._of[2]})"


def ranked(x: Tensor, op: str, k: SizeLike, axis: int) -> tuple[Tensor, Tensor]:
    """Values and int64 indices of a top-k layer, which wants two dimensions and one of the last four."""
    before, rank = x, x.ndim
    if rank == 1:
        x, axis = reshaped(x, (1, *x.shape)), 1
    moved = axis < x.ndim - 4
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    if moved:
        x = transposed(x, order)
    if x.dtype is dtypes.bool_:
        x = converted(x, dtypes.int32)
    values, indices = emit(TopK((x,), op, k, (x.ndim - 1 if moved else axis,)))
    made = []
    for result, dtype in ((values, before.dtype), (indices, dtypes.int64)):
        if moved:
            result = transposed(result, tuple(int(i) for i in np.argsort(order)))
        if rank == 1:
            result = reshaped(result, tuple(result.shape[1:]))
        made.append(converted(result, dtype))
    return made[0], made[1]


def _without(x: Tensor, axis: int, keepdim: bool) -> Tensor:
    return x if keepdim else reshaped(x, (*x.shape[:axis], *x.shape[axis + 1 :]))


# --- topk, sort -------------------------------------------------------------------------------------------------------


def _order(array: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(array, axis, kind="stable")
    # equal elements keep their order
    reverse = np.flip(np.argsort(np.flip(array, axis), axis, kind="stable"), axis)
    return array.shape[axis] - 1 - reverse


def _topk_numpy(input: np.ndarray, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    axis = axis_of(dim, input.ndim)
    if not 0 <= int(k) <= input.shape[axis]:
        raise ArgumentError("topk: k is out of range", expected=f"0 to {input.shape[axis]}", found=k)
    order = np.take(_order(input, axis, largest), np.arange(int(k)), axis)
    return Sorted(np.take_along_axis(input, order, axis), order)


@operation(_topk_numpy, method=True)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """The k largest (or smallest) elements along `dim` in order, and their indices (int64); k may be a Dim.

    Which of several equal elements come first is TensorRT's choice.

    Layers of the example: `shuffle`, `topk`, `cast`.

    >>> [x.tolist() for x in trtnet.topk(trtnet.tensor([3.0, 1.0, 2.0]), 2)]
    [[3.0, 2.0], [0, 2]]
    """
    x = tensor(input)
    return Sorted(*ranked(x, "MAX" if largest else "MIN", size_of(k), axis_of(dim, x.ndim)))


def _sort_numpy(input: np.ndarray, dim: int = -1, descending: bool = False, stable: bool = False) -> Sorted:
    if not input.ndim:
        return Sorted(input, np.zeros((), np.int64))
    axis = axis_of(dim, input.ndim)
    order = _order(input, axis, descending)
    return Sorted(np.take_along_axis(input, order, axis), order)


@operation(_sort_numpy, method=True, order="first")
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Sorted:
    """The elements in order along `dim`, and where they were (int64): a top-k layer over the whole dimension.

    Raises UnsupportedError for more than 3840 elements, and for `stable`: TensorRT orders equal elements its own way.

    Layers of the example: `shuffle`, `topk`, `cast`.

    >>> [x.tolist() for x in trtnet.sort(trtnet.tensor([3.0, 1.0, 2.0]))]
    [[1.0, 2.0, 3.0], [1, 2, 0]]
    """
    if stable:
        raise UnsupportedError(
            "TensorRT's order of equal elements is its own", found="stable=True", remedy="leave stable out"
        )
    x = tensor(input)
    axis = axis_of(dim, x.ndim)
    return Sorted(*ranked(x, "MAX" if descending else "MIN", x.shape[axis], axis))


@refusing
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort the elements along `dim`.

    Layers of the example: `shuffle`, `topk`, `cast`.

    >>> trtnet.argsort(trtnet.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    return sort(input, dim, descending, stable).indices


setattr(Tensor, "argsort", argsort)  # noqa: B010


@refusing
def msort(input: Tensor) -> Tensor:
    """The values sorted along the first dimension.

    Layers of the example: `shuffle`, `topk`, `cast`.

    >>> trtnet.msort(trtnet.tensor([3.0, 1.0, 2.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    return sort(input, 0).values


setattr(Tensor, "msort", msort)  # noqa: B010


# --- one extremum -----------------------------------------------------------------------------------------------------


def _arg_numpy(find: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def compute(input: np.ndarray, dim: int | None = None, keepdim: bool = False) -> np.ndarray:
        if dim is None:
            found = np.asarray(find(input))
            return found.reshape((1,) * input.ndim) if keepdim else found
        axis = axis_of(dim, input.ndim)
        found = np.asarray(find(input, axis) if input.ndim else 0)
        return np.expand_dims(found, axis) if keepdim and input.ndim else found

    return compute


def _arg(x: Tensor, op: str, dim: int | None, keepdim: bool) -> Tensor:
    if dim is None:
        rank = x.ndim
        found = ranked(reshaped(x, (x.shape.numel(),)), op, 1, 0)[1]
        return reshaped(found, (1,) * rank if keepdim else ())
    axis = axis_of(dim, x.ndim)
    return _without(ranked(x, op, 1, axis)[1], axis, keepdim)


@operation(_arg_numpy(np.argmax), method=True)
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element is (int64), along `dim` or in the flattened tensor.

    Layers of the example: `shuffle`, `topk`, `cast`.

    >>> trtnet.argmax(trtnet.tensor([3.0, 1.0, 2.0])).item()
    0
    """
    return _arg(tensor(input), "MAX", dim, keepdim)


@operation(_arg_numpy(np.argmin), method=True)
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest element is (int64), along `dim` or in the flattened tensor.

    Layers of the example: `shuffle`, `topk`, `cast`.

    >>> trtnet.argmin(trtnet.tensor([3.0, 1.0, 2.0])).item()
    1
    """
    return _arg(tensor(input), "MIN", dim, keepdim)


def _max_numpy(input: np.ndarray, dim: int, keepdim: bool) -> Extremum:
    return Extremum(_amax(input, dim, keepdim), _arg_numpy(np.argmax)(input, dim, keepdim))


def _min_numpy(input: np.ndarray, dim: int, keepdim: bool) -> Extremum:
    return Extremum(_amin(input, dim, keepdim), _arg_numpy(np.argmin)(input, dim, keepdim))


def _amax(input: np.ndarray, dim: int, keepdim: bool) -> np.ndarray:
    return input.max(axes_of(dim, input.ndim) if input.ndim else (), keepdims=keepdim)


def _amin(input: np.ndarray, dim: int, keepdim: bool) -> np.ndarray:
    return input.min(axes_of(dim, input.ndim) if input.ndim else (), keepdims=keepdim)


@operation(_max_numpy)
def _max_along(input: Tensor, dim: int, keepdim: bool) -> RecordedExtremum:
    return RecordedExtremum(tensor(input), "MAX", axis_of(dim, input.ndim), keepdim)


@operation(_min_numpy)
def _min_along(input: Tensor, dim: int, keepdim: bool) -> RecordedExtremum:
    return RecordedExtremum(tensor(input), "MIN", axis_of(dim, input.ndim), keepdim)


@refusing
def max(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None
) -> Tensor | Extremum | RecordedExtremum:
    """max(x): the largest element. max(x, dim): values and indices along a dimension. max(x, y): elementwise.

    Layers of the example: `topk`, `cast`, `shuffle`.

    >>> [x.tolist() for x in trtnet.max(trtnet.tensor([[1.0, 2.0], [4.0, 3.0]]), 1)]
    [[2.0, 4.0], [1, 0]]
    """
    if other is not None or isinstance(dim, Tensor):
        return arithmetic.maximum(input, dim if other is None else other)
    return amax(input) if dim is None else _max_along(input, dim, keepdim)


@refusing
def min(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None
) -> Tensor | Extremum | RecordedExtremum:
    """min(x): the smallest element. min(x, dim): values and indices along a dimension. min(x, y): elementwise.

    Layers of the example: `topk`, `cast`, `shuffle`.

    >>> [x.tolist() for x in trtnet.min(trtnet.tensor([[1.0, 2.0], [4.0, 3.0]]), 1)]
    [[1.0, 3.0], [0, 1]]
    """
    if other is not None or isinstance(dim, Tensor):
        return arithmetic.minimum(input, dim if other is None else other)
    return amin(input) if dim is None else _min_along(input, dim, keepdim)


Tensor.max, Tensor.min = max, min  # type: ignore[attr-defined]


class Range(NamedTuple):
    """The smallest and the largest values."""

    min: Any
    max: Any


@refusing
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Range:
    """The smallest and the largest elements along `dim`, or of all.

    Layers of the example: `reduce`.

    >>> [x.tolist() for x in trtnet.aminmax(trtnet.tensor([3.0, 1.0, 2.0]))]
    [1.0, 3.0]
    """
    given = () if dim is None else dim
    return Range(amin(input, given, keepdim), amax(input, given, keepdim))


Tensor.aminmax = aminmax  # type: ignore[attr-defined]
