"""Layers that pick elements by index, and put them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.tensor import Tensor
from ..weights.demands import Demand
from ..weights.recipes import Literal
from .base import (
    Layer,
    Operand,
    Output,
    Position,
    check_computed,
    check_constants,
    held,
    require_at_least,
    require_computed,
    require_equal,
)
from .bounds import Bounds
from .casting import within
from .shaping import MAX_RANK
from .targets import ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


def _index(layer: Layer, position: int = 1) -> Tensor:
    index = layer.inputs[position]
    assert isinstance(index, Tensor)
    if index.dtype not in (dtypes.int32, dtypes.int64):
        raise DtypeError(
            "indices are whole numbers",
            expected="int64 or int32",
            found=f"{index.dtype} {format_shape(index.shape)}",
            remedy="convert them: index.long(); choose with trtnet.where(mask, a, b) where the index is a mask",
        )
    return index


def _table(layer: Gather | Scatter, axis: int) -> Bounds:
    """The valid range of a layer's indices."""
    data, index = layer.inputs[:2]
    assert isinstance(data, Tensor)
    assert isinstance(index, Tensor)
    if layer.mode != "ND":
        return Bounds.below(data.shape[axis])
    skipped = layer.num_elementwise_dims if isinstance(layer, Gather) else 0
    return Bounds.below(*data.shape[skipped : skipped + int(index.shape[-1])])


def _check_table(layer: Gather | Scatter, axis: int) -> None:
    """Raises ShapeError for indices into an empty dimension."""
    data, index = layer.inputs[:2]
    assert isinstance(data, Tensor)
    assert isinstance(index, Tensor)
    skipped = layer.num_elementwise_dims if isinstance(layer, Gather) else 0
    axes = range(skipped, skipped + int(index.shape[-1])) if layer.mode == "ND" else (axis,)
    for at in axes:
        size = data.shape[at]
        if isinstance(size, int) and size == 0:
            sizes = index.shape[:-1] if layer.mode == "ND" else index.shape
            if all((s if isinstance(s, int) else s.bounds[0]) > 0 for s in sizes):
                raise ShapeError(
                    f"dimension {at} of {format_shape(data.shape)} has no element to be named by an index",
                    expected="at least 1 element, or an index without elements",
                    found=f"an index {format_shape(index.shape)}",
                    remedy="leave the index out where the dimension is empty: its size is known while recording",
                )


def _within_table(layer: Gather | Scatter) -> tuple[Demand, ...]:
    """Indices that are weights lie inside the table, at the greatest values of its Dims and at the least. Of data that
    have no elements nothing is read."""
    data = layer.inputs[0]
    if data is not None and 0 in data.shape:
        return ()
    bounds = _table(layer, layer.axis)

    def demand(least: bool) -> Demand:
        ends = [high if isinstance(high, int) else max(high.bounds[not least], 0) for high in bounds.high]

        def wrong(index: np.ndarray) -> np.ndarray:
            return (index < 0) | (index > np.asarray(ends if layer.mode == "ND" else ends[0]))

        return Demand(
            1,
            wrong,
            ShapeError,
            f"an index of a {layer.kind} is out of range" + (" where the dimension is smallest" if least else ""),
            expected=" and ".join(
                f"0 to {high}" if isinstance(high, int) or not least else f"0 to {high}, which may be {end}"
                for high, end in zip(bounds.high, ends)
            ),
            remedy="record with a Dim of a larger min: nothing checks on a GPU what is read beside the dimension"
            if least
            else "indices count from the start of the dimension, and there are no more than it has elements",
            least=least,
        )

    is_dynamic = any(isinstance(high, Dim) for high in bounds.high)
    return (demand(False), demand(True)) if is_dynamic else (demand(False),)


def _check_held(layer: Gather | Scatter) -> None:
    """Raises ShapeError for indices that are no weights, and of which it is known that they may leave the table: an
    `arange` of a Dim. Where the table's size depends on Dims it is checked at each call, too."""
    known = held(layer.inputs[1], fixed=True)
    bounds = _table(layer, layer.axis)
    if known is None or len(bounds.high) != 1:
        return
    size = bounds.high[0] + 1
    low, high = known[0], known[1]
    least = low if isinstance(low, int) else low.bounds[0]
    most = high if isinstance(high, int) else high.bounds[1]
    if least < 0 or (isinstance(size, int) and most >= size):
        raise ShapeError(
            f"an index of a {layer.kind} may be out of range",
            expected=f"0 to {bounds.high[0]}",
            found=f"{low} to {high}" + ("" if isinstance(high, int) else f", at most {most}"),
            remedy="record with a Dim of a smaller max, or with a larger table",
        )
    if not isinstance(size, int):
        require_at_least(size, high + 1, f"an index of a {layer.kind} is out of range")


@dataclass(slots=True, eq=False, repr=False)
class Gather(Layer):
    """`add_gather_v2`: elements of the data (input 0) at the indices (input 1), which are not negative.

    DEFAULT: whole slices along `axis`; the dimensions of the indices take its place. ELEMENT: one element for each
    index, both of one rank. ND: the last dimension of the indices holds positions in the leading dimensions of the
    data, after `num_elementwise_dims` that both have.
    """

    axis: int = 0
    mode: str = "DEFAULT"
    num_elementwise_dims: int = 0

    kind: ClassVar[str] = "gather"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)
    computes_sizes: ClassVar[bool] = True
    methods: ClassVar[tuple[str, ...]] = ("add_gather", "add_gather_v2")
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        data, index = self.inputs[0], _index(self)
        assert isinstance(data, Tensor)
        require_computed("a gather", data)
        count = self.num_elementwise_dims
        if not 0 <= count <= min(len(data.shape), len(index.shape)):
            raise ArgumentError(
                "num_elementwise_dims of a gather are first dimensions of the data and the indices",
                expected=f"0 to {min(len(data.shape), len(index.shape))}",
                found=count,
            )
        shape: Size
        for axis in range(count):
            require_equal(data.shape[axis], index.shape[axis], f"gather: sizes differ in dimension {axis}")
        if self.mode == "DEFAULT":
            if count > 1:
                raise ArgumentError("num_elementwise_dims is 0 or 1 in mode DEFAULT", found=count)
            shape = Size((*data.shape[: self.axis], *index.shape[count:], *data.shape[self.axis + 1 :]))
        elif self.mode == "ELEMENT":
            if len(data.shape) != len(index.shape):
                raise ShapeError(
                    "the data and the indices of a gather by element have one rank",
                    expected=format_shape(data.shape),
                    found=format_shape(index.shape),
                )
            shape = Size(index.shape)
        elif self.mode == "ND":
            depth = index.shape[-1]
            if not isinstance(depth, int) or not 0 < depth <= len(data.shape) - count:
                raise ShapeError(
                    "the last dimension of the indices holds positions in the data",
                    expected=f"1 to {len(data.shape) - count}",
                    found=depth,
                )
            shape = Size((*index.shape[:-1], *data.shape[count + depth :]))
        else:
            raise ArgumentError("there is no such gather mode", expected="DEFAULT, ELEMENT or ND", found=self.mode)
        if len(shape) > MAX_RANK:
            raise ShapeError("TensorRT's tensors have at most 8 dimensions", found=format_shape(shape))
        if 0 in data.shape:
            _check_table(self, self.axis)
        else:
            check_constants(self)
            _check_held(self)
            check_computed(self)
        return ((shape, data.dtype),)

    def demands(self) -> tuple[Demand, ...]:
        return _within_table(self)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return _table(self, self.axis) if position == 1 else wanted.one() if wanted is not None else None

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        x, index = values
        if self.mode == "ND" or self.num_elementwise_dims or not x.shape[self.axis]:
            return None
        index = index.clip(0, x.shape[self.axis] - 1)  # it has a demand of its own that they lie in the table
        return x.take(index, self.axis) if self.mode == "DEFAULT" else np.take_along_axis(x, index, self.axis)

    def add_to(self, lowering: Network) -> ILayer | None:
        data, index = self.inputs
        layer = lowering.network.add_gather_v2(lowering[data], lowering[index], lowering.enum("GatherMode", self.mode))
        if layer is not None:
            layer.axis = self.axis
            if self.num_elementwise_dims:
                layer.num_elementwise_dims = self.num_elementwise_dims
        return layer

    @property
    def expands(self) -> bool:
        index = self.inputs[1]
        assert isinstance(index, Tensor)
        at = index.layer
        indices = at.inputs[0] if at is not None and at.inputs else None
        return isinstance(indices, Literal) and len(np.unique(indices.array)) < indices.array.size

    def origin(self, positions: tuple[Position, ...]) -> tuple[Position, ...] | None:
        data, index = self.inputs[:2]
        assert isinstance(data, Tensor)
        assert isinstance(index, Tensor)
        if self.mode == "DEFAULT" and not index.ndim:
            return (*positions[: self.axis], index, *positions[self.axis :])
        return None if self.expands else (None,) * len(data.shape)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs[:1]

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, index = inputs
        torch, count = run.torch, self.num_elementwise_dims
        if not x.numel():  # nothing is read, whatever the indices are
            return x.new_empty(run.shape(self.outputs[0].shape))
        if self.mode == "ELEMENT":
            return torch.gather(x, self.axis, index.long())
        if self.mode == "DEFAULT" and count == 0:
            if index.ndim == 1:
                return x.index_select(self.axis, index)
            shape = (*x.shape[: self.axis], *index.shape, *x.shape[self.axis + 1 :])
            return x.index_select(self.axis, index.reshape(-1)).reshape(shape)
        if self.mode == "DEFAULT":
            return torch.stack([a.index_select(self.axis - 1, i.reshape(-1)).reshape(
                *a.shape[: self.axis - 1], *i.shape, *a.shape[self.axis :]) for a, i in zip(x, index)])  # fmt: skip
        within(index, "an index is negative")
        rows = [
            torch.arange(x.shape[axis], device=x.device).reshape(-1, *(1,) * (index.ndim - axis - 2))
            for axis in range(count)
        ]
        return x[(*rows, *index.long().unbind(-1))]


@dataclass(slots=True, eq=False, repr=False)
class Scatter(Layer):
    """`add_scatter`: the data (input 0) with the updates (input 2) written at the indices (input 1).

    ELEMENT: one update for each index, along `axis`. ND: the last dimension of the indices holds positions in the
    leading dimensions of the data. Where two indices are the same, either update may stay.
    """

    axis: int = 0
    mode: str = "ELEMENT"

    kind: ClassVar[str] = "scatter"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (3, 3, 3)
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        data, index, updates = self.inputs[0], _index(self), self.inputs[2]
        assert isinstance(data, Tensor)
        assert isinstance(updates, Tensor)
        require_computed("a scatter", data)
        if updates.dtype is not data.dtype:
            raise DtypeError(
                "a scatter writes values of the data's dtype",
                expected=data.dtype,
                found=updates.dtype,
                remedy=f"convert them: .to(trtnet.{data.dtype})",
            )
        expected: tuple[SizeLike, ...]
        if self.mode == "ELEMENT":
            expected = tuple(index.shape)
        elif self.mode == "ND":
            depth = index.shape[-1]
            if not isinstance(depth, int) or not 0 < depth <= len(data.shape):
                raise ShapeError("the last dimension of the indices holds positions in the data", found=depth)
            expected = (*index.shape[:-1], *data.shape[depth:])
        else:
            raise ArgumentError("there is no such scatter mode", expected="ELEMENT or ND", found=self.mode)
        problem = f"the updates of a scatter do not fit: {format_shape(updates.shape)}, not {format_shape(expected)}"
        if len(updates.shape) != len(expected) or (self.mode == "ELEMENT" and len(expected) != len(data.shape)):
            raise ShapeError(problem, expected=format_shape(expected), found=format_shape(updates.shape))
        for a, b in zip(updates.shape, expected):
            require_equal(a, b, problem)
        if 0 in data.shape:
            _check_table(self, self.axis)
        else:
            check_constants(self)
            _check_held(self)
            check_computed(self)
        return ((data.shape, data.dtype),)

    def demands(self) -> tuple[Demand, ...]:
        return _within_table(self)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position == 1:
            return _table(self, self.axis)._replace(distinct=True)
        return None if wanted is None else wanted.one()

    def add_to(self, lowering: Network) -> ILayer | None:
        data, index, updates = (lowering[x] for x in self.inputs)
        layer = lowering.network.add_scatter(data, index, updates, lowering.enum("ScatterMode", self.mode))
        if layer is not None and self.mode == "ELEMENT":
            layer.axis = self.axis
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs[::2]

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, index, updates = inputs
        if self.mode == "ELEMENT":
            return x.scatter(self.axis, index.long(), updates)
        within(index, "an index is negative")
        return x.index_put(tuple(index.long().unbind(-1)), updates)

    def either(self, run: Run, number: int, *inputs: torch.Tensor) -> torch.Tensor | None:
        """With the updates written in another order."""
        x, index, updates = inputs
        generator = run.torch.Generator().manual_seed(number)
        if self.mode == "ELEMENT":
            order = run.torch.randperm(index.shape[self.axis], generator=generator).to(index.device)
            return self.compute(run, x, index.index_select(self.axis, order), updates.index_select(self.axis, order))
        index = index.reshape(-1, index.shape[-1])
        updates = updates.reshape(index.shape[0], *x.shape[index.shape[-1] :])
        order = run.torch.randperm(index.shape[0], generator=generator).to(index.device)
        return self.compute(run, x, index[order], updates[order])


@dataclass(slots=True, eq=False, repr=False)
class OneHot(Layer):
    """`add_one_hot`: `depth` values for each index (input 0) at `axis`: values[1] (input 1) there, else values[0]."""

    depth: int = 1
    axis: int = -1

    kind: ClassVar[str] = "one_hot"
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)
    rounds: ClassVar[bool] = False

    @classmethod
    def rank_of_axes(cls, rank: int, count: int) -> int:
        return rank + 1

    def infer(self) -> tuple[Output, ...]:
        index, values = _index(self, 0), self.inputs[1]
        assert isinstance(values, Tensor)
        if tuple(values.shape) != (2,):
            raise ShapeError(
                "a one-hot layer takes two values: off, on", expected="(2,)", found=format_shape(values.shape)
            )
        if isinstance(self.depth, int) and self.depth < 0:
            raise ArgumentError("the depth of a one-hot layer is the number of classes", found=self.depth)
        check_constants(self)
        check_computed(self)
        axis = self.axis % (len(index.shape) + 1)
        return ((Size((*index.shape[:axis], self.depth, *index.shape[axis:])), values.dtype),)

    def demands(self) -> tuple[Demand, ...]:
        return (self.demand(self.depth),)

    @staticmethod
    def demand(depth: SizeLike) -> Demand:
        """What the classes are."""
        depth = depth if isinstance(depth, int) else depth.bounds[1]
        return Demand(
            0,
            lambda index: (index < 0) | (index >= depth),
            ShapeError,
            "a class of a one-hot encoding is out of range",
            expected=f"0 to {depth - 1}",
            remedy="give a number of classes (num_classes, depth) of the largest class + 1, or more",
        )

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return Bounds.below(self.depth) if position == 0 else wanted.one() if wanted is not None else None

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        (depth,) = source.numbers(source.operand(native, 2), "the depth of a one-hot layer")
        operands = source.operand(native, 0), source.operand(native, 1)
        return cls(operands, depth=int(depth), axis=source.attribute(native, "axis", "int"))

    def add_to(self, lowering: Network) -> ILayer | None:
        index, values = self.inputs
        return lowering.network.add_one_hot(lowering[index], lowering[values], lowering.scalar(self.depth), self.axis)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs[1:]

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        index, values = inputs
        axis = self.axis % (index.ndim + 1)
        numbers = run.torch.arange(run.size(self.depth), device=index.device).reshape(-1, *(1,) * (index.ndim - axis))
        return run.torch.where(index.unsqueeze(axis) == numbers, values[1], values[0])
