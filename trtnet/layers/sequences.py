"""Layers over sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from .base import Layer, Operand, Output, require_computed, require_equal, require_floating
from .bounds import Bounds
from .casting import converted
from .constant import constant
from .gather import Gather
from .normalization import SoftMax
from .shaping import expanded, reshaped
from .targets import Features, Functions, ILayer, Network, Run

if TYPE_CHECKING:
    import torch


def _along(values: Tensor, axis: int, rank: int) -> Tensor:
    """A 1-D tensor with dimensions of size 1 around its own, which becomes `axis`."""
    shape: list[Any] = [1] * rank
    shape[axis] = values.shape[0]
    return constant(values, tuple(shape)) if isinstance(values, Array) else reshaped(values, tuple(shape))


@dataclass(slots=True, eq=False, repr=False)
class ReverseSequence(Layer):
    """`add_reverse_sequence`: for each index of `batch_axis` the first elements along `sequence_axis`, as many as the
    lengths (input 1, one for each index) say, in reverse order; the others as they are."""

    batch_axis: int = 1
    sequence_axis: int = 0

    kind: ClassVar[str] = "reverse_sequence"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        x, lengths = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(lengths, Tensor)
        require_computed("a reverse sequence", x)
        rank = len(x.shape)
        if not (0 <= self.batch_axis < rank and 0 <= self.sequence_axis < rank and rank > 1) or (
            self.batch_axis == self.sequence_axis
        ):
            raise ArgumentError(
                "the two axes of a reverse sequence are different dimensions of its input",
                expected=f"two of 0 to {rank - 1}" if rank > 1 else "an input of two dimensions or more",
                found=f"batch_axis={self.batch_axis}, sequence_axis={self.sequence_axis} of {format_shape(x.shape)}",
            )
        if lengths.dtype not in (dtypes.int32, dtypes.int64):
            raise DtypeError("lengths are whole numbers", expected="int64 or int32", found=lengths.dtype)
        if len(lengths.shape) != 1:
            raise ShapeError(
                "a reverse sequence takes one length for each index of its batch axis",
                expected=format_shape((x.shape[self.batch_axis],)),
                found=format_shape(lengths.shape),
            )
        require_equal(lengths.shape[0], x.shape[self.batch_axis], "a reverse sequence: another number of lengths")
        return ((x.shape, x.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        if position == 1:
            return Bounds((0,), (x.shape[self.sequence_axis],))
        return None if wanted is None else wanted.one()

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_reverse_sequence(*(lowering[x] for x in self.inputs))
        if layer is not None:
            layer.batch_axis = self.batch_axis
            layer.sequence_axis = self.sequence_axis
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs[:1]

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_reverse_sequence")

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """A gather, by element, of the places length - 1 - i where i is less than the length, else i."""
        x, lengths = inputs
        assert isinstance(x, Tensor)
        assert isinstance(lengths, Tensor)
        rank = len(x.shape)
        count = _along(converted(lengths, dtypes.int64), self.batch_axis, rank)
        at = _along(F.arange(x.shape[self.sequence_axis], dtype=dtypes.int64), self.sequence_axis, rank)
        places = F.where(F.lt(at, count), F.sub(F.sub(count, 1), at), at)
        made: Tensor = emit(Gather((x, expanded(places, tuple(x.shape))), axis=self.sequence_axis, mode="ELEMENT"))
        return made

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, lengths = inputs
        batch, sequence = self.batch_axis, self.sequence_axis
        rows = x.movedim((batch, sequence), (0, 1))
        at = run.torch.arange(rows.shape[1], device=x.device).expand(rows.shape[:2])
        count = lengths.long().unsqueeze(1)
        places = run.torch.where(at < count, count - 1 - at, at)
        places = places.reshape(*places.shape, *(1,) * (x.ndim - 2)).expand(rows.shape)
        return rows.gather(1, places).movedim((0, 1), (batch, sequence))


@dataclass(slots=True, eq=False, repr=False)
class RaggedSoftMax(Layer):
    """`add_ragged_softmax`: softmax over the first elements of each row of (N, Z, S), as many as the bounds (input 1,
    (N, Z, 1), int32) say; 0 for the others. A bound is 1 or more."""

    kind: ClassVar[str] = "ragged_softmax"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)

    def infer(self) -> tuple[Output, ...]:
        x, bounds = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(bounds, Tensor)
        require_floating("a ragged softmax", x)
        if len(x.shape) != 3 or len(bounds.shape) != 3 or bounds.shape[2] != 1:
            raise ShapeError(
                "a ragged softmax takes (N, Z, S), and the lengths of its rows as (N, Z, 1)",
                expected="three dimensions each",
                found=f"{format_shape(x.shape)} and {format_shape(bounds.shape)}",
                remedy="reshape both first; the softmax is over the last dimension",
            )
        if bounds.dtype is not dtypes.int32:
            raise DtypeError(
                "the lengths of a ragged softmax are int32",
                expected="int32",
                found=bounds.dtype,
                remedy="convert them first: .int()",
            )
        for axis in (0, 1):
            require_equal(x.shape[axis], bounds.shape[axis], f"ragged softmax: sizes differ in dimension {axis}")
        return ((x.shape, x.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return Bounds((1,), (x.shape[2],)) if position == 1 else None

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_ragged_softmax(*(lowering[x] for x in self.inputs))

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return ()

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_ragged_softmax")

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """A softmax with minus infinity in the place of the others."""
        x, bounds = inputs
        assert isinstance(x, Tensor)
        assert isinstance(bounds, Tensor)
        inside = F.lt(_along(F.arange(x.shape[2], dtype=dtypes.int32), 2, 3), bounds)
        made: Tensor = emit(SoftMax((F.where(inside, x, float("-inf")),), 2))
        return made

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, bounds = inputs
        inside = run.torch.arange(x.shape[2], device=x.device) < bounds
        return run.torch.where(inside, x, float("-inf")).softmax(2)
