"""Sizes and positions that a recorded tensor holds, in place of numbers: of a slice, a resize, a shuffle, a fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import recorder
from ..graph.tensor import Operand, Tensor
from .bounds import UNKNOWN, Bounds
from .targets import ITensor, Network, Run

if TYPE_CHECKING:
    import torch

MOST = 1 << 24
"""The largest of them: they come from the GPU in float32, in which larger whole numbers are rounded."""

SHOWN = 64
"""The largest that is tried of a size that may be any."""


def greatest(size: SizeLike) -> int:
    """The largest value of a size, no more than MOST."""
    return min(size if isinstance(size, int) else size.bounds[1], MOST)


def chosen_sizes(
    kind: str,
    operands: Sequence[Operand],
    index: int,
    given: Mapping[str, Any],
    field: str,
    most: Sequence[int] | None = None,
) -> dict[str, Any]:
    """For the None in the sizes `field` a new Dim each, which the operand at `index` decides; of all sizes where they
    are not given. `most` are the largest, MOST where it is left out."""
    sizes, tensor = given.get(field), operands[index] if index < len(operands) else None
    if not isinstance(tensor, Tensor):
        if isinstance(sizes, tuple) and None in sizes:
            raise ArgumentError(
                f"{field} of a {kind} layer is None where a tensor holds the size, and there is none",
                expected=f"a tensor of sizes as input {index}, or sizes alone",
                found=str(sizes),
                remedy=f"give the tensor: the inputs of add_{kind} are in TensorRT's order",
            )
        return {"decided": ()}
    if sizes is None:
        sizes = (None,) * (tensor.shape[0] if len(tensor.shape) == 1 and isinstance(tensor.shape[0], int) else 0)
    ends = [MOST] * len(sizes) if most is None or len(most) != len(sizes) else most
    made = tuple(
        recorder().data_dim(kind, end) if size is None else size for size, end in zip(sizes, ends, strict=True)
    )
    return {field: made, "decided": tuple(new for new, old in zip(made, sizes) if old is None)}


def check_numbers(kind: str, what: str, numbers: Operand, *counts: int) -> None:
    """Raises where sizes or positions are no whole numbers, one for each dimension; and in a loop or a branch, of which
    TensorRT takes nothing to the host."""
    if not isinstance(numbers, Tensor):
        return
    bodies = recorder().bodies
    if bodies:
        raise UnsupportedError(
            f"{what} of a {kind} layer are computed, in {bodies[-1].what}",
            expected="numbers, or sizes of shapes: TensorRT takes computed ones to the host, and none from there",
            found=repr(numbers),
            remedy="pick elements by an index: trtnet.narrow(x, dim, start, length), x[start + trtnet.arange(length)]",
        )
    if numbers.dtype not in (dtypes.int32, dtypes.int64):
        raise DtypeError(
            f"{what} of a {kind} layer are whole numbers",
            expected="int64 or int32",
            found=f"{numbers.dtype} {format_shape(numbers.shape)}",
            remedy="convert them: .long()",
        )
    if len(numbers.shape) != 1 or numbers.shape[0] not in counts:
        raise ShapeError(
            f"{what} of a {kind} layer are one number for each dimension",
            expected=" or ".join(format_shape((count,)) for count in dict.fromkeys(counts)),
            found=format_shape(numbers.shape),
            remedy="put them together: trtnet.stack([a, b])",
        )


def check_small(kind: str, shape: Sequence[SizeLike]) -> None:
    """Raises ShapeError where a dimension has more elements than a computed position can name."""
    for size in shape:
        if (size if isinstance(size, int) else size.bounds[1]) > MOST:
            raise ShapeError(
                f"a {kind} layer with computed positions takes no dimension as large",
                expected=f"at most {MOST:,} elements",
                found=format_shape(shape),
                remedy="pick the elements by an index: x[start + trtnet.arange(length)]",
            )


def is_of_sizes(tensor: Tensor) -> bool:
    """Whether it is computed of constants and of inputs' sizes, by layers with which TensorRT computes shapes."""
    pending, seen = [tensor], set()
    while pending:
        layer = pending.pop().layer
        if layer is None or not (layer.computes_sizes or layer.reads_sizes):
            return False
        if layer not in seen and not layer.reads_sizes:
            seen.add(layer)
            pending += [operand for operand in layer.inputs if isinstance(operand, Tensor)]
    return True


def computed(
    run: Run, kind: str, sizes: Sequence[SizeLike], decided: Sequence[Dim], held: torch.Tensor | None
) -> list[int]:
    """The sizes of a run, those that are decided as `held` has them. Raises IndexError where it cannot."""
    if held is None or not decided:
        return run.shape(sizes)
    numbers = [int(number) for number in held.tolist()]
    if len(numbers) == len(decided) != len(sizes):
        rest = iter(numbers)
        numbers = [next(rest) if size in decided else run.size(size) for size in sizes]
    for size, number in zip(sizes, numbers):
        if isinstance(size, Dim) and size in decided:
            if not 0 <= number <= size.bounds[1]:
                raise IndexError(f"the size {number} of a {kind} is not from 0 to {size.bounds[1]}")
            run.data_decides(size, number)
        elif number != run.size(size):
            raise IndexError(f"a {kind} was recorded with the size {size}, and the tensor of sizes holds {number}")
    return numbers


def taken(sizes: Sequence[SizeLike], decided: Sequence[Dim], held: Operand, ends: Sequence[int]) -> Bounds:
    """The sizes that a tensor may hold."""
    assert isinstance(held, Tensor)
    pairs = [(0, end) if size in decided else (size, size) for size, end in zip(sizes, ends, strict=True)]
    if held.shape[0] != len(sizes):
        pairs = [pair for pair, size in zip(pairs, sizes) if size in decided]
    return Bounds(tuple(low for low, _ in pairs), tuple(high for _, high in pairs)) if pairs else UNKNOWN


def shape_tensor(lowering: Network, sizes: Sequence[SizeLike], decided: Sequence[Dim], held: Operand) -> ITensor:
    """The sizes as a shape tensor; a size that was recorded as a number, or hangs on inputs' sizes, is that."""
    if not isinstance(held, Tensor) or not decided:
        return lowering.shape_tensor(sizes)
    return lowering.held_sizes(sizes, decided, held)


def decide(lowering: Network, shape: Size, decided: Sequence[Dim], output: ITensor) -> None:
    """Have the sizes known that a layer decides."""
    for axis, size in enumerate(shape):
        if isinstance(size, Dim) and size in decided:
            lowering.data_decides(size, output, axis)
