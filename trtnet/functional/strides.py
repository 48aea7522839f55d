"""How torch would lay out a recorded tensor in memory, and what follows for whether a function gives a view or a copy.

Strides are worked out where they are asked for, at several sizes that the Dims may take: a rule that does not answer
the same at all of them is undecided, and so is one whose tensor was made by a layer that tells nothing of its strides.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..basics import dims
from ..basics.dims import SizeLike
from ..graph.recorder import recorder
from ..graph.tensor import Tensor
from ..layers.shaping import Shuffle, Slice
from ..layers.training import Dropout

Sizes = tuple[int, ...]
Rule = Callable[[Sizes, Sizes, Sizes], bool]
"""Whether torch gives a view: of the base's sizes and strides, and the result's sizes."""

DEEPEST = 200


class Decision(enum.Enum):
    """Whether two tensors share memory in torch; MAYBE where that depends on what is not known while recording."""

    YES = enum.auto()
    NO = enum.auto()
    MAYBE = enum.auto()


def contiguous_strides(sizes: Sizes) -> Sizes:
    """The strides of a tensor that lies in memory in row-major order."""
    made, step = [], 1
    for size in reversed(sizes):
        made.append(step)
        step *= max(size, 1)
    return tuple(reversed(made))


def is_contiguous(sizes: Sizes, strides: Sizes, order: Sizes | None = None) -> bool:
    """torch's `is_contiguous`; `order` names the dimensions from the slowest to the fastest."""
    step = 1
    for axis in reversed(range(len(sizes)) if order is None else order):
        if sizes[axis] != 1:
            if strides[axis] != step:
                return 0 in sizes
            step *= sizes[axis]
    return True


def overlaps(sizes: Sizes, strides: Sizes) -> bool:
    """Whether several elements may lie at one place in memory."""
    reach = 0
    for step, size in sorted((abs(step), size) for step, size in zip(strides, sizes) if size > 1):
        if step <= reach:
            return True
        reach += step * (size - 1)
    return False


def is_dense(sizes: Sizes, strides: Sizes) -> bool:
    """Whether the elements lie in memory without gaps, none at the place of another."""
    return is_contiguous(sizes, strides, tuple(sorted(range(len(sizes)), key=lambda axis: -strides[axis])))


def view_strides(sizes: Sizes, strides: Sizes, target: Sizes) -> Sizes | None:
    """The strides of the same memory in other sizes; None where there are none, and a reshape copies.

    The rule is torch's (`Tensor.view`): dimensions may be split, and neighbours joined that lie in memory one after
    the other.
    """
    if 0 in sizes:
        return contiguous_strides(target)
    if not sizes:
        return (1,) * len(target)
    made, at = [0] * len(target), len(target) - 1
    base, count, wanted = strides[-1], 1, 1
    for axis in reversed(range(len(sizes))):
        count *= sizes[axis]
        if axis and (sizes[axis - 1] == 1 or strides[axis - 1] == count * base):
            continue
        while at >= 0 and (wanted < count or target[at] == 1):
            made[at] = wanted * base
            wanted *= target[at]
            at -= 1
        if wanted != count:
            return None
        if axis:
            base, count, wanted = strides[axis - 1], 1, 1
    return tuple(made) if at == -1 else None


def elementwise_strides(shape: Sizes, operands: list[tuple[Sizes, Sizes]]) -> Sizes:
    """The strides of what an elementwise function of operands with these sizes and strides gives.

    The rule is torch's (`TensorIterator`): the dimensions are sorted by the strides of the first operand that tells
    two of them apart, those of size 1 among them; those of dimensions that are broadcast tell nothing. Operands of one
    shape need no sorting where all are contiguous, or lie alike and without gaps.
    """
    if all(tuple(sizes) == tuple(shape) for sizes, _ in operands):
        if all(is_contiguous(*operand) for operand in operands):
            return contiguous_strides(shape)
        if all(lies_channels_last(*operand, shape) for operand in operands) and len(shape) == 4:
            _, channels, height, width = shape
            return height * width * channels, 1, width * channels, channels
        first = tuple(operands[0][1])
        if all(tuple(strides) == first for _, strides in operands) and is_dense(shape, first):
            return first
    return _sorted_strides(shape, operands)


def copied_strides(shape: Sizes, strides: Sizes) -> Sizes:
    """The strides of a copy of a tensor (torch's `preserve_format`): its own where it lies without gaps."""
    return tuple(strides) if is_dense(shape, strides) else _sorted_strides(shape, [(shape, strides)])


def _sorted_strides(shape: Sizes, operands: list[tuple[Sizes, Sizes]]) -> Sizes:
    rank = len(shape)
    known = []
    for sizes, strides in operands:
        missing = rank - len(sizes)
        kept = tuple(
            0 if size == 1 and whole != 1 else step for size, whole, step in zip(sizes, shape[missing:], strides)
        )
        known.append((0,) * missing + kept)

    def is_slower(one: int, two: int) -> int:
        for strides in known:
            a, b = strides[one], strides[two]
            if a and b and a != b:
                return 1 if a > b else -1
            if a and b and shape[one] > shape[two]:
                return 1
        return 0

    order = list(reversed(range(rank)))  # from the fastest to the slowest
    for at in range(1, rank):
        place = at
        for before in reversed(range(at)):
            found = is_slower(order[before], order[place])
            if found > 0:
                order[before], order[place] = order[place], order[before]
                place = before
            elif found < 0:
                break
    made, step = [0] * rank, 1
    for axis in order:
        made[axis] = step
        step *= max(shape[axis], 1)
    return tuple(made)


# --- rules ------------------------------------------------------------------------------------------------------------


def can_be_viewed(sizes: Sizes, strides: Sizes, target: Sizes) -> bool:
    """The rule of `reshape` and its kin."""
    return view_strides(sizes, strides, target) is not None


def lies_contiguous(sizes: Sizes, strides: Sizes, target: Sizes) -> bool:
    """The rule of `contiguous()`."""
    return is_contiguous(sizes, strides)


def lies_channels_last(sizes: Sizes, strides: Sizes, target: Sizes) -> bool:
    """The rule of `contiguous(memory_format=channels_last)`."""
    rank = len(sizes)
    return rank in (4, 5) and is_contiguous(sizes, strides, (0, *range(2, rank), 1))


def decide(rule: Rule, base: Tensor, shape: Sequence[SizeLike]) -> Decision:
    """What `rule` says of a result of this shape, at all sizes that the Dims may take."""
    found: set[bool] = set()
    for sizes in _samples():
        strides = strides_of(base, sizes, {})
        if strides is None:
            return Decision.MAYBE
        found.add(rule(_numbers(base.shape, sizes), strides, _numbers(shape, sizes)))
        if len(found) > 1:
            return Decision.MAYBE
    return Decision.YES if True in found else Decision.NO


def known_strides(tensor: Tensor) -> tuple[Any, ...] | None:
    """The strides that torch's tensor has: numbers, or of row-major order expressions over Dims; None where they are
    not known."""
    samples = list(_samples())
    found = [strides_of(tensor, sizes, {}) for sizes in samples]
    if len(set(found)) == 1:
        return found[0]
    rows = tuple(dims.product(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
    return rows if all(_numbers(rows, sizes) == steps for sizes, steps in zip(samples, found)) else None


def _samples() -> Iterator[Mapping[str, int]]:
    """Sizes at which a rule may answer differently: the smallest, the next, the usual and the largest."""
    current, choices = recorder(), []
    for symbol in dims.symbols_of([*(s for t in current.inputs.values() for s in t.shape), *current.sizes]):
        step = symbol.multiple_of
        values = {symbol.min, min(symbol.min + step, symbol.max), symbol.opt, symbol.max}
        if symbol.min <= 1 <= symbol.max and step == 1:
            values |= {1, min(2, symbol.max)}
        choices.append([(str(symbol), value) for value in sorted(values)])
    for chosen in itertools.islice(itertools.product(*choices), 256):
        yield dict(chosen)


def _numbers(shape: Sequence[SizeLike], sizes: Mapping[str, int]) -> Sizes:
    return tuple(size if isinstance(size, int) else dims.evaluate(size, sizes) for size in shape)


# --- strides ----------------------------------------------------------------------------------------------------------


def strides_of(
    tensor: Tensor, sizes: Mapping[str, int], known: dict[int, Sizes | None], depth: int = 0
) -> Sizes | None:
    """The strides that torch's tensor would have at these sizes; None where that is not known.

    `known` holds those of the tensors on the way, by identity: many a tensor is used twice.
    """
    if id(tensor) not in known:
        known[id(tensor)] = _worked_out(tensor, sizes, known, depth)
    return known[id(tensor)]


def _worked_out(tensor: Tensor, sizes: Mapping[str, int], known: dict[int, Sizes | None], depth: int) -> Sizes | None:
    alias = tensor.alias
    if alias is not None:
        if alias.has_unknown_strides:
            return None
        if alias.strides is not None:
            return tuple(alias.strides)
        if alias.base is not None:
            return _of_view(tensor, sizes, known, depth)
    shape = _numbers(tensor.shape, sizes)
    layer = tensor.layer
    if layer is None:
        return contiguous_strides(shape)
    if not layer.is_dense or depth > DEEPEST:
        return None
    if (known_to_layer := layer.lies()) is not None:
        return known_to_layer
    for operand in recorder().handles.get(layer, layer.inputs):
        if type(operand) is Tensor:
            strides = strides_of(operand, sizes, known, depth + 1)
            if strides is None or not is_contiguous(_numbers(operand.shape, sizes), strides):
                return None
    return contiguous_strides(shape)


def _of_view(tensor: Tensor, sizes: Mapping[str, int], known: dict[int, Sizes | None], depth: int) -> Sizes | None:
    alias = tensor.alias
    strides = strides_of(alias.base, sizes, known, depth + 1)
    shape = _numbers(alias.base.shape, sizes)
    if strides is None:  # whether it is the tensor itself or a copy, `contiguous` gives one in row-major order
        return contiguous_strides(_numbers(tensor.shape, sizes)) if alias.rule is lies_contiguous else None
    if alias.rule is not None and not alias.rule(shape, strides, _numbers(tensor.shape, sizes)):
        return contiguous_strides(_numbers(tensor.shape, sizes))  # a copy
    for layer in alias.chain(tensor):
        if isinstance(layer, Slice):
            strides = tuple(s * step for s, step in zip(strides, _numbers(layer.stride, sizes)))
            shape = _numbers(layer.shape, sizes)
        elif isinstance(layer, Shuffle):
            for order, target in ((layer.first_transpose, layer.reshape_dims), (layer.second_transpose, None)):
                if order is not None:
                    shape, strides = tuple(shape[i] for i in order), tuple(strides[i] for i in order)
                if target is not None:
                    wanted = _numbers(target, sizes)
                    moved = view_strides(shape, strides, wanted)
                    if moved is None:
                        return None
                    shape, strides = wanted, moved
        elif not isinstance(layer, Dropout):
            return None
    return strides
