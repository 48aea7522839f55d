"""Layers that make one number of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ProviderError, ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..weights.recipes import Literal
from .base import Layer, Operand, Output, require_at_least, require_computed
from .bounds import Bounds
from .casting import converted
from .constant import constant
from .shaping import Slice, expanded
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch

_NUMBERS = (dtypes.float32, dtypes.float16, dtypes.bfloat16, dtypes.int64, dtypes.int32, dtypes.int8, dtypes.uint8)
REDUCTIONS = ("SUM", "PROD", "MAX", "MIN", "AVG")


def _numbers(kind: str, x: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    require_computed(f"a {kind} layer", x)
    if x.dtype not in _NUMBERS:
        raise DtypeError(
            f"a {kind} layer does not take {x.dtype}",
            expected=", ".join(d.name for d in _NUMBERS),
            found=f"{x.dtype} {format_shape(x.shape)}",
            remedy="convert it first: x.float(), or x.int() of a bool tensor",
        )
    return x


def _mask(axes: tuple[int, ...]) -> int:
    """TensorRT's form of a set of dimensions."""
    return sum(1 << axis for axis in axes)


@dataclass(slots=True, eq=False, repr=False)
class Reduce(Layer):
    """`add_reduce`: SUM, PROD, MAX, MIN or AVG over `axes`, which stay as dimensions of size 1 with `keep_dims`."""

    op: str
    axes: tuple[int, ...]
    keep_dims: bool = False

    kind: ClassVar[str] = "reduce"
    reads: ClassVar[Mapping[str, str] | None] = {}
    computes_sizes: ClassVar[bool] = True

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        return self.op not in ("MAX", "MIN")

    @property
    def leaves_bytes(self) -> bool:  # type: ignore[override]
        return self.op in ("SUM", "PROD")

    def infer(self) -> tuple[Output, ...]:
        x = _numbers("reduce", self.inputs[0])
        if self.op not in REDUCTIONS:
            raise ArgumentError("there is no such reduction", expected=", ".join(REDUCTIONS), found=self.op)
        axes = self.axes
        if self.op == "AVG" and not x.dtype.is_floating_point:
            raise DtypeError("an average is a floating-point number", expected="a floating-point tensor", found=x.dtype)
        if self.op in ("MAX", "MIN") and any(isinstance(x.shape[a], int) and x.shape[a] == 0 for a in axes):
            raise ShapeError("nothing has no maximum", found=format_shape(x.shape))
        if self.keep_dims:
            return ((Size(1 if axis in axes else size for axis, size in enumerate(x.shape)), x.dtype),)
        return ((Size(size for axis, size in enumerate(x.shape) if axis not in axes), x.dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        operation = lowering.enum("ReduceOperation", self.op)
        return lowering.network.add_reduce(lowering[self.inputs[0]], operation, _mask(self.axes), self.keep_dims)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        if self.op == "SUM":
            return x.sum(self.axes, self.keep_dims, dtype=x.dtype)
        if self.op == "AVG":
            return x.mean(self.axes, self.keep_dims)
        if self.op == "MAX":
            return x.amax(self.axes, self.keep_dims)
        if self.op == "MIN":
            return x.amin(self.axes, self.keep_dims)
        for axis in sorted(self.axes, reverse=True):
            x = x.prod(axis, self.keep_dims, dtype=x.dtype)
        return x


@dataclass(slots=True, eq=False, repr=False)
class TopK(Layer):
    """`add_topk`: the k largest (MAX) or smallest (MIN) along one dimension in order, and their indices (int32).

    k is at most 3840, and may be a Dim; TensorRT wants at least two dimensions, and one of the last four.
    """

    op: str
    k: SizeLike
    axes: tuple[int, ...]

    kind: ClassVar[str] = "topk"
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"op": ("MAX", "MIN")}
    rounds: ClassVar[bool] = False
    LIMIT: ClassVar[int] = 3840

    def infer(self) -> tuple[Output, ...]:
        x = _numbers("top-k", self.inputs[0])
        if len(self.axes) != 1 or (isinstance(self.k, int) and self.k < 0):
            raise ArgumentError(
                "a top-k layer finds some elements of one dimension",
                expected="k of 0 or more, and one dimension in axes",
                found=self.describe(),
                remedy="k=1, axes=(1,), for example",
            )
        (axis,) = self.axes
        rank = len(x.shape)
        if rank < 2 or axis < rank - 4:
            raise ShapeError(
                "a top-k layer takes one of the last four dimensions of at least two", found=f"{axis} of {rank}"
            )
        k, size = self.k, x.shape[axis]
        largest = k if isinstance(k, int) else k.bounds[1]
        if largest > self.LIMIT:
            raise UnsupportedError(
                "TensorRT finds at most 3840 largest elements",
                expected=f"k up to {self.LIMIT}",
                found=f"k = {k}, at most {largest}",
            )
        if k != size:
            require_at_least(size, k, f"top-k: k = {k} is larger than the dimension of size {size}")
        shape = Size((*x.shape[:axis], k, *x.shape[axis + 1 :]))
        return ((shape, x.dtype), (shape, dtypes.int32))

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None if output or wanted is None else wanted.one()

    def picks(self, output: int) -> int | None:
        return self.axes[0] if output == 1 else None

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        held = source.operand(native, 1) if native.num_inputs > 1 else None
        given = cls.read_attributes(native, source, *cls.attributes)
        if held is not None:
            (given["k"],) = source.numbers(held, "k of a top-k layer")
        return cls((source.operand(native, 0),), **given)

    def add_to(self, lowering: Network) -> ILayer | None:
        k = self.k
        number = 1 if isinstance(k, Dim) else k
        operation = lowering.enum("TopKOperation", self.op)
        layer = lowering.network.add_topk(lowering[self.inputs[0]], operation, number, _mask(self.axes))
        if layer is not None and isinstance(k, Dim):
            layer.set_input(1, lowering.scalar(k))
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return () if index else self.inputs[:1]

    def supported(self, provider: Features) -> bool:
        return provider.activates_integers or self.outputs[0].dtype.is_floating_point

    def compose(self, F: Functions, *inputs: Operand) -> tuple[Tensor, ...]:
        """Of whole numbers, before TensorRT 9: one by reductions; several of those that float32 holds exactly as such.

        Raises ProviderError for several of others.
        """
        x = inputs[0]
        assert isinstance(x, Tensor)
        if self.k == 1:
            return self._extremum(F, x)
        if not fits_float32(x):
            raise ProviderError(
                f"this TensorRT finds the {self.k} {'largest' if self.op == 'MAX' else 'smallest'} of floats alone, or "
                "of whole numbers that float32 holds exactly",
                expected="float32 or float16; or whole numbers made of uint8, int8, bool or float32",
                found=f"{x.dtype} {format_shape(x.shape)}",
                remedy="convert it first: x.float(), exact up to 2^24; or TensorRT 10",
                module=self.path or None,
                where=self.location,
            )
        values, places = emit(TopK((converted(x, dtypes.float32),), self.op, self.k, self.axes))
        return converted(values, x.dtype), places

    def _extremum(self, F: Functions, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first of the largest (smallest) and its place."""
        (axis,) = self.axes
        size = x.shape[axis]
        value = emit(Reduce((x,), self.op, self.axes, True))
        row = F.reshape(F.arange(size, dtype=dtypes.int32), [size if a == axis else 1 for a in range(len(x.shape))])
        place = emit(Reduce((F.where(F.eq(x, value), row, size),), "MIN", self.axes, True))
        return value, place

    def compute(self, run: Run, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, k, (axis,), largest = inputs[0], run.size(self.k), self.axes, self.op == "MAX"
        if k == 1:
            # the first of several equal ones, as torch's argmax
            values, indices = (x.max if largest else x.min)(axis, keepdim=True)
        elif k == x.shape[axis]:
            values, indices = x.sort(dim=axis, descending=largest, stable=True)
        else:
            values, indices = x.topk(k, axis, largest)
        return values, indices.to(run.torch.int32)


def fits_float32(x: Tensor) -> bool:
    """Whether float32 surely holds the whole numbers of a tensor exactly: it is made of bytes or floats by moves and
    casts alone, or its least and greatest are known."""
    tensor: Operand = x
    while isinstance(tensor, Tensor):
        dtype = tensor.dtype
        if dtype.is_floating_point or dtype in (dtypes.uint8, dtypes.int8, dtypes.bool_):
            return True
        layer = tensor.layer
        if layer is None:
            return False
        known = layer.holds(fixed=True)
        if known is not None:
            ends = [end.bounds[at] if isinstance(end, Dim) else end for at, end in enumerate(known)]
            return ends[0] >= -(2**24) and ends[1] <= 2**24
        if layer.rounds or len(layer.inputs) != 1:
            return False
        tensor = layer.inputs[0]
    return False


@dataclass(slots=True, eq=False, repr=False)
class Cumulative(Layer):
    """`add_cumulative`: sums of the elements up to each one along `axis` (TensorRT 10.8 and later, else composed)."""

    axis: int
    op: str = "SUM"
    exclusive: bool = False
    reverse: bool = False

    kind: ClassVar[str] = "cumulative"
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"op": ("SUM",)}
    leaves_bytes: ClassVar[bool] = True

    def infer(self) -> tuple[Output, ...]:
        x = _numbers("cumulative", self.inputs[0])
        if x.dtype is dtypes.int8:
            raise DtypeError("a cumulative layer does not take int8", found=x.dtype, remedy="convert it first: x.int()")
        return ((x.shape, x.dtype),)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        x = source.operand(native, 0)
        assert x is not None
        (axis,) = source.numbers(source.operand(native, 1), "the axis of a cumulative layer")
        given = cls.read_attributes(native, source, "op", "exclusive", "reverse")
        return cls((x,), axis=int(axis) % len(x.shape), **given)

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_cumulative(
            lowering[self.inputs[0]],
            lowering.scalar(self.axis),
            lowering.enum("CumulativeOperation", self.op),
            self.exclusive,
            self.reverse,
        )

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return None if self.exclusive else self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        if self.reverse:
            x = x.flip(self.axis)
        y = x.cumsum(self.axis, dtype=x.dtype)
        if self.exclusive and (size := x.shape[self.axis]):  # y - x would round, and is NaN from an infinity on
            first = run.torch.zeros_like(x.narrow(self.axis, 0, 1))
            y = run.torch.cat([first, y.narrow(self.axis, 0, size - 1)], self.axis)
        return y.flip(self.axis) if self.reverse else y

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_cumulative")

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """As many shifted sums as the size has binary digits, so that nothing reaches what is before it, and integers
        stay whole; float16 and bfloat16 in float32."""
        given, axis = inputs[0], self.axis
        assert isinstance(given, Tensor)
        x = converted(given, dtypes.float32) if given.dtype in (dtypes.float16, dtypes.bfloat16) else given
        size, rank = x.shape[axis], len(x.shape)

        def shifted(x: Tensor, by: int) -> Tensor:
            shape = tuple(by if a == axis else s for a, s in enumerate(x.shape))
            zeros = expanded(constant(Literal(np.zeros((1,) * rank, x.dtype.numpy))), shape)
            return emit(Slice((F.cat([zeros, x], axis),), (0,) * rank, tuple(x.shape), (1,) * rank))

        if self.reverse:
            x = F.flip(x, axis)
        if self.exclusive:
            x = shifted(x, 1)
        reach = 1
        while reach < (size if isinstance(size, int) else size.bounds[1]):
            x = F.add(x, shifted(x, reach))
            reach *= 2
        return converted(F.flip(x, axis) if self.reverse else x, given.dtype)
