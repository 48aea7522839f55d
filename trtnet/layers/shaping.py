"""Layers that move elements about without computing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, format_shape, product
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.graph import Graph
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..weights.recipes import Weight, permute, reshape
from .base import Layer, Operand, Output, Position, require_computed, require_equal, same_count, unreadable
from .bounds import UNKNOWN, Bounds
from .casting import Cast, Identity
from .sizes import (
    check_numbers,
    check_small,
    chosen_sizes,
    computed,
    decide,
    greatest,
    is_of_sizes,
    shape_tensor,
    taken,
)
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False, repr=False)
class Shuffle(Layer):
    """`add_shuffle`: a transpose, a reshape, a transpose; each may be left out (None).

    The sizes of the reshape may come from input 1, whole numbers of one dimension: those that are None in
    `reshape_dims`, of which a Dim is made. As many elements as there are, which TensorRT checks when it runs.
    """

    first_transpose: tuple[int, ...] | None = None
    reshape_dims: tuple[SizeLike, ...] | None = None
    second_transpose: tuple[int, ...] | None = None
    decided: tuple[Dim, ...] = ()

    kind: ClassVar[str] = "shuffle"
    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 1, 2)
    chooses: ClassVar[tuple[str, ...]] = ("decided",)
    later: ClassVar[tuple[str, ...]] = ("decided",)
    open_sizes: ClassVar[str] = "reshape_dims"
    rounds: ClassVar[bool] = False
    is_view: ClassVar[bool] = True
    computes_sizes: ClassVar[bool] = True

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        x = operands[0] if operands else None
        sizes = given.get("reshape_dims") or ()
        most = [greatest(x.shape.numel())] * len(sizes) if isinstance(x, Tensor) else None
        return chosen_sizes(cls.kind, operands, 1, given, "reshape_dims", most)

    @property
    def decides(self) -> tuple[Dim, ...]:
        return self.decided

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        require_computed("a shuffle", x)
        shape = self._between()
        if self.reshape_dims is not None:
            if self.decided:
                check_numbers("shuffle", "the sizes", self.operand(1), len(self.reshape_dims), len(self.decided))
            else:
                same_count(shape, self.reshape_dims)
            shape = Size(self.reshape_dims)
        if self.second_transpose is not None:
            shape = _in_order(shape, self.second_transpose)
        if len(shape) > MAX_RANK:
            raise _too_many(shape)
        return ((shape, x.dtype),)

    def _between(self) -> Size:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return x.shape if self.first_transpose is None else _in_order(x.shape, self.first_transpose)

    def as_weight(self, of: Callable[[Operand], Weight | None]) -> Weight | None:
        weight = of(self.inputs[0])
        if weight is None or self.decided:
            return None
        if self.first_transpose is not None:
            weight = permute(weight, self.first_transpose)
        if self.reshape_dims is not None:
            weight = reshape(weight, tuple([size for size in self.reshape_dims if isinstance(size, int)]))
        return weight if self.second_transpose is None else permute(weight, self.second_transpose)

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        x = values[0]
        if self.decided:
            return None
        if self.first_transpose is not None:
            x = x.transpose(self.first_transpose)
        if self.reshape_dims is not None:
            x = x.reshape([size(one) for one in self.reshape_dims])
        return x if self.second_transpose is None else x.transpose(self.second_transpose)

    def following(self, before: Any) -> Shuffle | None:
        if not isinstance(before, Shuffle) or before.decided or self.decided:
            return None
        middle = _then(before.second_transpose, self.first_transpose)
        if before.reshape_dims is None:
            first, sizes, second = _then(before.first_transpose, middle), self.reshape_dims, self.second_transpose
            return Shuffle(
                before.inputs, *((_then(first, second), None, None) if sizes is None else (first, sizes, second))
            )
        if self.reshape_dims is None:
            second = _then(middle, self.second_transpose)
            return Shuffle(before.inputs, before.first_transpose, before.reshape_dims, second)
        moved = [axis for axis in middle or () if not _is_one(before.reshape_dims[axis])]
        if moved != sorted(moved):
            return None
        return Shuffle(before.inputs, before.first_transpose, self.reshape_dims, self.second_transpose)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position == 1:
            return UNKNOWN if self.decided else None
        return None if wanted is None else wanted.one()

    @property
    def reorders(self) -> bool:
        return self.first_transpose is not None or self.second_transpose is not None

    @classmethod
    def failing(cls, graph: Graph, provider: Features, refit: bool) -> Collection[Layer]:
        """Outputs that are reshapes of what another one is, where `Abilities.writes_reshaped_outputs` is False."""
        if provider.writes_reshaped_outputs:
            return ()
        outputs = set(graph.outputs.values())
        root: dict[Operand, Any] = {}  # of reshapes and casts: what they are of, and the types on the way
        last: dict[Operand, Layer] = {}  # and the last reshape on the way
        for layer in graph.layers:
            before = layer.inputs[0] if layer.inputs else None
            if isinstance(layer, Cast):
                root[layer.outputs[0]] = root.get(before, before), layer.to_type
                if before in last:
                    last[layer.outputs[0]] = last[before]
            elif isinstance(layer, cls) and not layer.reorders:
                root[layer.outputs[0]] = root.get(before, before)
                last[layer.outputs[0]] = layer
        shared = Counter(root.get(tensor, tensor) for tensor in outputs)
        return [last[tensor] for tensor in outputs if tensor in last and shared[root[tensor]] > 1]

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """The reshape, and a copy of it."""
        made: Tensor = emit(Identity((emit(Shuffle(inputs, reshape_dims=self.reshape_dims)),)))
        return made

    def origin(self, positions: tuple[Position, ...]) -> tuple[Position, ...] | None:
        if self.second_transpose is not None:
            positions = tuple(positions[i] for i in inverse(self.second_transpose))
        between = self._between()
        if self.reshape_dims is not None:
            if without_ones(between) == without_ones(self.reshape_dims):
                left = iter(p for p, size in zip(positions, self.reshape_dims) if not _is_one(size))
                positions = tuple(0 if _is_one(size) else next(left) for size in between)
            else:
                positions = tuple(0 if _is_one(size) else None for size in between)
        if self.first_transpose is not None:
            positions = tuple(positions[i] for i in inverse(self.first_transpose))
        return positions

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        x = source.operand(native, 0)
        assert x is not None
        first, second = (
            source.attribute(native, name, "tuple[int, ...]") for name in ("first_transpose", "second_transpose")
        )
        between = tuple(x.shape[i] for i in first[: len(x.shape)])
        held = source.operand(native, 1) if native.num_inputs > 1 else None
        given: tuple[SizeLike, ...]
        if held is not None:
            given = source.numbers(held, "the sizes of a shuffle layer")
        else:
            given = source.attribute(native, "reshape_dims", "tuple[int, ...]")
            if not given and len(tuple(native.get_output(0).shape)) > 0:  # no reshape
                given = between
        if held is None and source.attribute(native, "zero_is_placeholder", "bool"):
            given = tuple(between[axis] if size == 0 else size for axis, size in enumerate(given))
        if -1 in given:
            rest = product(size for size in given if size != -1)
            given = tuple(product(between) // rest if size == -1 else size for size in given)
        first, second = first[: len(x.shape)], second[: len(given)]
        is_moved, is_moved_again = (order != tuple(range(len(order))) for order in (first, second))
        return cls(
            (x,), first if is_moved else None, None if given == between else given, second if is_moved_again else None
        )

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        return of(self.inputs[0]) if len(self.outputs[0].shape) < 2 else None

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_shuffle(lowering[self.inputs[0]])
        if layer is None:
            return None
        if self.first_transpose is not None:
            layer.first_transpose = self.first_transpose
        if self.decided and self.reshape_dims is not None:
            layer.zero_is_placeholder = False
            layer.set_input(1, shape_tensor(lowering, self.reshape_dims, self.decided, self.operand(1)))
            decide(lowering, Size(self.reshape_dims), self.decided, layer.get_output(0))
        elif self.reshape_dims is not None:
            # numbers where TensorRT takes them: 0 copies a dimension of the input, one -1 is worked out
            before, numbers, empty = self._between(), [], False
            for axis, size in enumerate(self.reshape_dims):
                if not isinstance(size, Dim):
                    numbers.append(size)
                    empty = empty or size == 0
                elif axis < len(before) and before[axis] == size:
                    numbers.append(0)
                else:
                    numbers.append(-1)
                    empty = empty or size.bounds[0] < 1
            if numbers.count(-1) <= 1 and not empty:
                layer.reshape_dims = tuple(numbers)
            else:
                layer.zero_is_placeholder = False
                if lowering.is_static(self.reshape_dims):
                    layer.reshape_dims = tuple(numbers)
                else:
                    layer.set_input(1, lowering.shape_tensor(self.reshape_dims))
        if self.second_transpose is not None:
            layer.second_transpose = self.second_transpose
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs[:1]

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        if self.first_transpose is not None:
            x = x.permute(self.first_transpose)
        if self.reshape_dims is not None:
            held = inputs[1] if len(inputs) > 1 else None
            x = x.reshape(computed(run, "shuffle", self.reshape_dims, self.decided, held))
        if self.second_transpose is not None:
            x = x.permute(self.second_transpose)
        return x


def _in_order(shape: Size, order: tuple[int, ...]) -> Size:
    return Size(map(tuple(shape).__getitem__, order))


def _then(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """One permutation in the place of two, of which None changes nothing."""
    if first is None or second is None:
        return second if first is None else first
    made = tuple(map(first.__getitem__, second))
    return None if made == tuple(range(len(made))) else made


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes this one."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def without_ones(shape: Iterable[SizeLike]) -> list[SizeLike]:
    return [size for size in shape if not _is_one(size)]


def _is_one(size: SizeLike) -> bool:
    return isinstance(size, int) and size == 1


MAX_RANK = 8


def _too_many(shape: Size) -> ShapeError:
    return ShapeError(
        "TensorRT's tensors have at most 8 dimensions",
        expected=f"at most {MAX_RANK}",
        found=format_shape(shape),
        remedy="put neighbouring dimensions together with flatten before they are split again",
    )


@dataclass(slots=True, eq=False, repr=False)
class Slice(Layer):
    """`add_slice`: element i of the output is element start + i*stride of the input, in each dimension.

    A stride of 0 repeats one element (expand). Outside the input, `mode` says what is there: STRICT_BOUNDS nothing,
    WRAP the input again, CLAMP its edge, REFLECT its mirror image without the edge, FILL the tensor at input 4
    (no dimensions; 0 where it is left out).

    Inputs 1, 2 and 3 are start, size and stride where the network computes them: whole numbers, one for each dimension.
    Then `start` or `stride` is left out, and sizes that the tensor decides are None in `shape`: a Dim is made for each.
    TensorRT takes them to the host when it runs, and fails the call where they lie outside the input.
    """

    start: tuple[SizeLike, ...] = ()
    shape: tuple[SizeLike, ...] = ()
    stride: tuple[SizeLike, ...] = ()
    mode: str = "STRICT_BOUNDS"
    decided: tuple[Dim, ...] = ()

    kind: ClassVar[str] = "slice"
    chooses: ClassVar[tuple[str, ...]] = ("decided",)
    later: ClassVar[tuple[str, ...]] = ("decided",)
    open_sizes: ClassVar[str] = "shape"
    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 1, 5)
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"mode": ("STRICT_BOUNDS", "WRAP", "CLAMP", "REFLECT", "FILL")}
    rounds: ClassVar[bool] = False

    @property
    def computes_sizes(self) -> bool:  # type: ignore[override]
        return self.mode == "STRICT_BOUNDS"

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        x = operands[0] if operands else None
        inside = given.get("mode", "STRICT_BOUNDS") == "STRICT_BOUNDS" and all(map(bool, given.get("stride", (0,))))
        most = [greatest(size) for size in x.shape] if isinstance(x, Tensor) and inside else None
        return chosen_sizes(cls.kind, operands, 2, given, "shape", most)

    @property
    def decides(self) -> tuple[Dim, ...]:
        return self.decided

    @property
    def is_computed(self) -> bool:
        """Whether start, size or stride are tensors."""
        return len(self.inputs) > 1 and any(isinstance(held, Tensor) for held in self.inputs[1:4])

    @property
    def reads_back(self) -> bool:
        return any(isinstance(held, Tensor) and not is_of_sizes(held) for held in self.inputs[1:4])

    @property
    def is_view(self) -> bool:  # type: ignore[override]
        return self.mode == "STRICT_BOUNDS" and not self.is_computed and all(step >= 0 for step in self.stride)

    reorders: ClassVar[bool] = False

    def is_apart_from(self, other: Layer) -> bool:
        if not isinstance(other, Slice) or self.is_computed or other.is_computed:
            return False
        for axis in range(len(self.shape)):
            mine, its = ((s.start[axis], s.stride[axis], s.shape[axis]) for s in (self, other))
            if mine[1] == its[1] == 1 and (_is_before(mine, its) or _is_before(its, mine)):
                return True
            step, gap = mine[1], mine[0] - its[0]
            if step == its[1] and isinstance(step, int) and step > 1 and isinstance(gap, int) and gap % step:
                return True
        return False

    @property
    def expands(self) -> bool:
        return any(isinstance(step, int) and step == 0 for step in self.stride)

    def origin(self, positions: tuple[Position, ...]) -> tuple[Position, ...] | None:
        if self.is_computed:
            return None if self.expands else (None,) * len(positions)
        found: list[Position] = []
        for position, start, size, step in zip(positions, self.start, self.shape, self.stride):
            if position is None and _is_one(size):
                position = 0
            if isinstance(step, int) and step == 0:
                if position is None:
                    return None
                found.append(0)
            else:
                found.append(None if position is None or isinstance(position, Tensor) else start + position * step)
        return tuple(found)

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        if self.mode != "STRICT_BOUNDS" or self.is_computed:
            return None
        x = values[0]
        for axis, (start, count, step) in enumerate(zip(self.start, self.shape, self.stride)):
            x = x.take(size(start) + size(step) * np.arange(size(count)), axis)
        return x

    def infer(self) -> tuple[Output, ...]:
        x, fill = self.inputs[0], self.operand(4)
        assert isinstance(x, Tensor)
        if self.is_computed:
            self._check_computed(x)
        elif not len(self.start) == len(self.shape) == len(self.stride) == len(x.shape):
            raise ShapeError(
                "a slice needs a start, a size and a stride for each dimension",
                expected=format_shape(x.shape),
                found=self.describe(),
            )
        if len(x.shape) > MAX_RANK:
            raise _too_many(x.shape)
        require_computed("a slice", x)
        if fill is not None and fill.dtype is not x.dtype:
            raise DtypeError("what a slice fills with has its input's dtype", expected=x.dtype, found=fill.dtype)
        shape = self.shape
        return ((shape if type(shape) is Size else Size(shape), x.dtype),)

    def _check_computed(self, x: Tensor) -> None:
        rank = len(x.shape)
        check_numbers("slice", "the starts", self.operand(1), rank)
        check_numbers("slice", "the sizes", self.operand(2), rank, len(self.decided))
        check_numbers("slice", "the strides", self.operand(3), rank)
        check_small("slice", x.shape)
        for what, index in (("start", 1), ("shape", 2), ("stride", 3)):
            sizes, held = getattr(self, what), isinstance(self.operand(index), Tensor)
            if len(sizes) != rank and (sizes or not held or index == 2):
                raise ShapeError(
                    f"{what} of a slice has a number for each dimension",
                    expected=format_shape(x.shape),
                    found=str(sizes),
                    remedy=f"give {what}=(...), or a tensor as input {index}" + " and shape=(...)" * (index == 2),
                )
            if held and sizes and index != 2:
                raise ArgumentError(
                    f"{what} of a slice is given twice",
                    expected=f"{what}=(...), or a tensor as input {index}",
                    found=f"{what}={sizes}, and a tensor",
                    remedy=f"leave {what}= out, or the tensor",
                )

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position not in (1, 2, 3):
            return None if wanted is None else wanted.one()
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        steps = self.stride
        if position == 3 or self.mode != "STRICT_BOUNDS" or not all(isinstance(s, int) and s >= 0 for s in steps):
            return UNKNOWN
        if position == 2:
            ends = [greatest(size) for size in x.shape]
            return taken(self.shape, self.decided, self.inputs[2], ends) if self.start == (0,) * x.ndim else UNKNOWN
        last = tuple(size - 1 - (count - 1) * step for size, count, step in zip(x.shape, self.shape, steps))
        return UNKNOWN if self.decided else Bounds((0,) * x.ndim, last)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        x, fill = source.operand(native, 0), source.operand(native, 4)
        if native.num_inputs > 5 or len(getattr(native, "axes", None) or ()):
            raise unreadable(cls.kind, "it slices along some axes")
        sizes = []
        for index, name in enumerate(("start", "shape", "stride"), 1):
            held = source.operand(native, index)
            if held is not None:
                sizes.append(source.numbers(held, f"the {name} of a slice layer"))
            else:
                sizes.append(source.attribute(native, name, "tuple[int, ...]"))
        start, shape, stride = sizes
        mode = source.attribute(native, "mode", "str")
        return cls((x,) if fill is None else (x, None, None, None, fill), start, shape, stride, mode)

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        known = of(self.inputs[0]) if len(self.shape) == 1 and self.operand(1) is None else None
        start, count, step = self.start, self.shape, self.stride
        if known is None or not all(isinstance(n, int) for n in (*start, *count, *step)):
            return None
        places = [int(start[0]) + index * int(step[0]) for index in range(int(count[0]))]
        return tuple(known[place] for place in places) if all(0 <= p < len(known) for p in places) else None

    def add_to(self, lowering: Network) -> ILayer | None:
        rank = len(self.shape)
        given = (self.start, self.shape, self.stride)
        numbers = [sizes if sizes and lowering.is_static(sizes) else (1,) * rank for sizes in given]
        layer = lowering.network.add_slice(lowering[self.inputs[0]], *numbers)
        if layer is None:
            return None
        for index, sizes in enumerate(given, 1):
            held = self.operand(index)
            if index != 2 and isinstance(held, Tensor):
                layer.set_input(index, lowering.held_numbers(held))
            elif not lowering.is_static(sizes):
                layer.set_input(index, shape_tensor(lowering, sizes, self.decided, held))
        decide(lowering, Size(self.shape), self.decided, layer.get_output(0))
        if self.mode != "STRICT_BOUNDS":
            layer.mode = lowering.enum("SampleMode", self.mode)
        fill = self.operand(4)
        if fill is not None:
            layer.set_input(4, lowering[fill])
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return (self.inputs[0], self.operand(4))

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        start, shape, stride = self._numbers(run, inputs)
        if self.mode == "STRICT_BOUNDS":
            index, flipped = [], []
            for axis, (first, size, step) in enumerate(zip(start, shape, stride)):
                if size == 0:
                    index.append(slice(0, 0))
                elif step == 0:
                    index.append(slice(first, first + 1))
                elif step < 0:
                    flipped.append(axis)
                    index.append(slice(first + (size - 1) * step, first + 1, -step))
                else:
                    index.append(slice(first, first + (size - 1) * step + 1, step))
            x = x[tuple(index)]
            if flipped:
                x = x.flip(flipped)
            return x.expand(shape) if 0 in stride else x
        if (
            self.mode == "FILL"
            and not self.is_computed
            and all(
                step == 1 and -size <= first <= length
                for first, size, step, length in zip(start, shape, stride, x.shape)
            )
        ):
            value = inputs[4].item() if len(inputs) > 4 else 0
            pads = []
            for axis in reversed(range(len(shape))):
                pads += [-start[axis], start[axis] + shape[axis] - x.shape[axis]]
            return run.torch.nn.functional.pad(x, pads, value=value)
        outside = None
        for axis, (first, size, step) in enumerate(zip(start, shape, stride)):
            if (first, size, step) == (0, x.shape[axis], 1):
                continue
            length = x.shape[axis]
            at = first + step * run.torch.arange(size, device=x.device)
            if self.mode == "WRAP":
                at = at % length
            elif self.mode == "REFLECT":
                period = max(2 * (length - 1), 1)
                at = at % period
                at = run.torch.where(at < length, at, period - at)
            else:
                if self.mode == "FILL":
                    missed = ((at < 0) | (at >= length)).reshape(-1, *(1,) * (x.ndim - axis - 1))
                    outside = missed if outside is None else outside | missed
                at = at.clamp(0, length - 1)
            x = x.index_select(axis, at)
        if outside is not None:
            value = inputs[4] if len(inputs) > 4 else x.new_zeros(())
            x = run.torch.where(outside, value, x)
        return x

    def _numbers(self, run: Run, inputs: Sequence[torch.Tensor | None]) -> list[list[int]]:
        """Start, size and stride. Raises IndexError where computed ones lie outside the input."""
        if not self.is_computed:
            return [run.shape(self.start), run.shape(self.shape), run.shape(self.stride)]
        start, held, stride = (inputs[i] if i < len(inputs) else None for i in (1, 2, 3))
        found = [
            run.shape(self.start) if start is None else start.tolist(),
            computed(run, "slice", self.shape, self.decided, held),
            run.shape(self.stride) if stride is None else stride.tolist(),
        ]
        assert inputs[0] is not None
        for axis, (first, size, step, length) in enumerate(zip(*found, inputs[0].shape)):
            last = first + (size - 1) * step
            inside = 0 <= first < length and 0 <= last < length if size else 0 <= first <= length
            if self.mode == "STRICT_BOUNDS" and not inside:
                raise IndexError(
                    f"the slice takes {size} elements from {first} on, by steps of {step}, "
                    f"of dimension {axis} of size {length}"
                )
        return found


def _is_before(one: tuple[SizeLike, ...], two: tuple[SizeLike, ...]) -> bool:
    """Whether a range (start, stride 1, size) ends before another begins, at any size."""
    gap = two[0] - (one[0] + one[2])
    return (gap if isinstance(gap, int) else gap.bounds[0]) >= 0


@dataclass(slots=True, eq=False, repr=False)
class Concatenation(Layer):
    """`add_concatenation`: any number of tensors, joined along one dimension."""

    axis: int = 0

    kind: ClassVar[str] = "concatenation"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 1, None)
    rounds: ClassVar[bool] = False
    computes_sizes: ClassVar[bool] = True

    def infer(self) -> tuple[Output, ...]:
        first = self.inputs[0]
        assert isinstance(first, Tensor)
        require_computed("a concatenation", first)
        total: SizeLike = 0
        for x in self.inputs:
            assert isinstance(x, Tensor)
            if x.dtype is not first.dtype:
                raise DtypeError(
                    "only tensors of one dtype can be concatenated",
                    expected="one dtype; TensorRT casts nothing by itself",
                    found=", ".join(str(t.dtype) for t in self.tensors),
                    remedy="convert them first: .to(dtype)",
                )
            if len(x.shape) != len(first.shape):
                raise self._mismatch()
            for axis, (a, b) in enumerate(zip(first.shape, x.shape)):
                if axis != self.axis and a != b:
                    if isinstance(a, int) and isinstance(b, int):
                        raise self._mismatch()
                    require_equal(a, b, self._mismatch().problem)
            total = total + x.shape[self.axis]
        return ((Size((*first.shape[: self.axis], total, *first.shape[self.axis + 1 :])), first.dtype),)

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        return np.concatenate(values, self.axis)

    def _mismatch(self) -> ShapeError:
        shapes = " and ".join(format_shape(t.shape) for t in self.tensors)
        return ShapeError(
            f"concatenated tensors differ in a dimension other than {self.axis}: {shapes}",
            expected=f"the same sizes in every dimension but {self.axis}",
            found=shapes,
        )

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if wanted is None:
            return None
        sizes = [size for x in self.tensors if isinstance(size := x.shape[-1], int)]
        last = self.axis == len(self.outputs[0].shape) - 1
        if not last or len(wanted.low) < 2 or len(sizes) < len(self.inputs):
            return wanted.one()
        start = sum(sizes[:position])
        end = start + sizes[position]
        return wanted._replace(low=wanted.low[start:end], high=wanted.high[start:end])

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        parts = [of(one) for one in self.inputs]
        if any(part is None for part in parts) or len(self.outputs[0].shape) != 1:
            return None
        return tuple(number for part in parts for number in part or ())

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_concatenation([lowering[x] for x in self.inputs])
        if layer is not None:
            layer.axis = self.axis
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.cat(inputs, self.axis)


@dataclass(slots=True, eq=False, repr=False)
class Padding(Layer):
    """`add_padding_nd`: zeros around the last two dimensions of (..., H, W); negative numbers cut off."""

    pre_padding: tuple[int, int] = (0, 0)
    post_padding: tuple[int, int] = (0, 0)

    kind: ClassVar[str] = "padding"
    reads: ClassVar[Mapping[str, str] | None] = {"pre_padding": "pre_padding_nd", "post_padding": "post_padding_nd"}
    methods: ClassVar[tuple[str, ...]] = ("add_padding_nd",)
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        require_computed("a padding layer", x)
        if len(x.shape) < 4 or not x.dtype.is_floating_point:
            raise ShapeError(
                "a padding layer takes floating-point tensors of at least 4 dimensions",
                found=f"{format_shape(x.shape)} {x.dtype}",
            )
        last = tuple(s + a + b for s, a, b in zip(x.shape[-2:], self.pre_padding, self.post_padding))
        return ((Size((*x.shape[:-2], *last)), x.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None if wanted is None else wanted.one()

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_padding_nd(lowering[self.inputs[0]], self.pre_padding, self.post_padding)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        (top, left), (bottom, right) = self.pre_padding, self.post_padding
        return run.torch.nn.functional.pad(inputs[0], (left, right, top, bottom))


@dataclass(slots=True, eq=False, repr=False)
class Shape(Layer):
    """`add_shape`: the sizes of a tensor as a 1-D tensor of int64 (int32 on TensorRT 8.6)."""

    kind: ClassVar[str] = "shape"
    reads: ClassVar[Mapping[str, str] | None] = {}
    rounds: ClassVar[bool] = False
    reads_sizes: ClassVar[bool] = True

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((Size((len(x.shape),)), dtypes.int64),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return tuple(x.shape)

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_shape(lowering[self.inputs[0]])

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return ()

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.tensor(inputs[0].shape, dtype=run.torch.int64, device=inputs[0].device)


class _Ones:
    """What layers have in common that add or take dimensions of size 1, each a reshape where TensorRT has no such."""

    __slots__ = ()

    inputs: tuple[Operand, ...]
    outputs: tuple[Tensor, ...]

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None if wanted is None else wanted.one()

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        x = inputs[0]
        assert isinstance(x, Tensor)
        return reshaped(x, tuple(self.outputs[0].shape))

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].reshape(run.shape(self.outputs[0].shape))


@dataclass(slots=True, eq=False, repr=False)
class Squeeze(_Ones, Layer):
    """`add_squeeze`: without the dimensions `axes`, each of size 1 (TensorRT 10.7 and later, else a shuffle)."""

    axes: tuple[int, ...] = ()

    kind: ClassVar[str] = "squeeze"
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        require_computed("a squeeze", x)
        axes = _counted(self.axes, len(x.shape), "squeeze")
        for axis in axes:
            require_equal(x.shape[axis], 1, f"squeeze: dimension {axis} of {format_shape(x.shape)} is not of size 1")
        return ((Size([size for axis, size in enumerate(x.shape) if axis not in axes]), x.dtype),)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        x = source.operand(native, 0)
        assert x is not None
        rank = len(x.shape)
        axes = source.numbers(source.operand(native, 1), "the axes of a squeeze layer")
        return cls((x,), tuple(int(axis) % rank for axis in axes))

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_squeeze(lowering[self.inputs[0]], lowering.shape_tensor(self.axes))

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_squeeze") and bool(self.axes)


@dataclass(slots=True, eq=False, repr=False)
class Unsqueeze(_Ones, Layer):
    """`add_unsqueeze`: with dimensions of size 1 more, the `axes` of the output (TensorRT 10.7 and later, else a
    shuffle)."""

    axes: tuple[int, ...] = ()

    kind: ClassVar[str] = "unsqueeze"
    rounds: ClassVar[bool] = False

    @classmethod
    def rank_of_axes(cls, rank: int, count: int) -> int:
        return rank + count

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        require_computed("a unsqueeze", x)
        rank = len(x.shape) + len(self.axes)
        axes = _counted(self.axes, rank, "unsqueeze")
        left = iter(x.shape)
        shape = Size([1 if axis in axes else next(left) for axis in range(rank)])
        if rank > MAX_RANK:
            raise _too_many(shape)
        return ((shape, x.dtype),)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        x = source.operand(native, 0)
        assert x is not None
        rank = len(x.shape) + len(source.numbers(source.operand(native, 1), cls.kind))
        axes = source.numbers(source.operand(native, 1), "the axes of a unsqueeze layer")
        return cls((x,), tuple(int(axis) % rank for axis in axes))

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_unsqueeze(lowering[self.inputs[0]], lowering.shape_tensor(self.axes))

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_unsqueeze") and bool(self.axes)


def _counted(axes: tuple[int, ...], rank: int, kind: str) -> set[int]:
    """The dimensions, counted from 0. Raises ArgumentError where one is not there, or is named twice."""
    found = {axis + rank if axis < 0 else axis for axis in axes}
    if len(found) != len(axes) or not found <= set(range(rank)):
        raise ArgumentError(
            f"the axes of {kind} are different dimensions",
            expected=f"{-rank} to {rank - 1}, each once" if rank else "none: there are no dimensions",
            found=axes,
        )
    return found


# --- recorded by other layers and by functions


def reshaped(x: Tensor, sizes: tuple[SizeLike, ...]) -> Tensor:
    """Record a reshape to these sizes (no -1); `x` itself where it has them."""
    if sizes == x.shape:
        return x
    made: Tensor = emit(Shuffle((x,), reshape_dims=Size(sizes)))
    return made


def expanded(x: Tensor, target: tuple[SizeLike, ...]) -> Tensor:
    """Record an expansion to these sizes (no -1), a slice of stride 0; `x` itself where it has them."""
    missing = len(target) - len(x.shape)
    x = reshaped(x, (1,) * missing + tuple(x.shape))
    strides = tuple(1 if size == wanted else 0 for size, wanted in zip(x.shape, target))
    if all(strides):
        return x
    made: Tensor = emit(Slice((x,), start=(0,) * len(target), shape=Size(target), stride=strides))
    return made
