"""Inputs for a graph, drawn within what it allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..basics import dims, dtypes
from ..basics.arrays import is_torch, to_numpy
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError
from ..graph.graph import Graph
from ..graph.tensor import Producer, Tensor
from ..layers.bounds import FAR, UNKNOWN, Bounds

FREE = ((-16, 16), (0, 16), (0, 1))
"""Where whole numbers that nothing limits are drawn from; the next where the network cannot compute with those."""


PASSES = 4
"""How often a graph is gone through for what its indices may be, before a loop is said to change them."""


class Sampler:
    """Draws inputs of a graph: floats from a normal distribution, or evenly from the range of their Input; indices from
    all rows of the tables that they are for (each once where values are written to them, if there are enough); other
    whole numbers from -16 to 16 (see `FREE`), uint8 from 0 to 255; both bools.

    Attributes:
        bounds: what whole numbers inputs may hold, by name, where an index is made of them.
        is_known: whether every index follows from the inputs in a way that is understood: only then are all sure to lie
            in their tables.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        wanted: dict[Tensor, Bounds] = {}
        unknown: set[Tensor] = set()
        carries = any(layer.feeds is not None for layer in graph.layers)
        for number in range(PASSES):
            before, count = dict(wanted), len(unknown)
            for layer in reversed(graph.layers):
                _ask(layer, wanted, unknown)
            if not carries or (before == wanted and count == len(unknown)):
                break
            if number == PASSES - 1:  # an index that moves on with each iteration
                unknown.update(graph.inputs.values())
        self.bounds = {name: wanted[tensor].one() for name, tensor in graph.inputs.items() if tensor in wanted}
        self.is_known = unknown.isdisjoint(graph.inputs.values())

    def limits(self, name: str, sizes: Mapping[str, int]) -> tuple[float, float] | None:
        """The least and the greatest value of an input; None where nothing limits it. Raises ArgumentError where its
        range has none that the graph allows."""
        given, bounds = self.graph.ranges.get(name), self.bounds.get(name)
        if bounds is None:
            return given
        known = dict.fromkeys(self.graph.data_dims, 1) | dict(sizes)
        low, high = (dims.evaluate(side[0], known) for side in (bounds.low, bounds.high))
        high = max(low, high)
        if given is None:
            return low, high
        if given[1] < low or given[0] > high:
            raise ArgumentError(
                f"the range of the input {name!r} lies beside the table that it is an index of",
                expected=f"{low} to {high}",
                found=f"{given[0]} to {given[1]}",
                remedy=f"Input(shape, dtype, range=({low}, {high})), or leave range out",
            )
        return max(low, given[0]), min(high, given[1])

    def draw(self, sizes: Mapping[str, int], seed: int = 0, free: tuple[int, int] = FREE[0]) -> dict[str, np.ndarray]:
        """Arrays for all inputs, the same for the same seed; whole numbers that nothing limits from `free`."""
        chance = np.random.default_rng(seed)
        return {
            name: _drawn(
                chance,
                [dims.evaluate(s, sizes) for s in tensor.shape],
                tensor.dtype,
                self.limits(name, sizes),
                self.bounds.get(name),
                free,
            )
            for name, tensor in self.graph.inputs.items()
        }

    def given(self, sample: Any) -> dict[str, np.ndarray]:
        """The arrays of `check=sample`. Raises ArgumentTypeError, ArgumentError where they are not the inputs."""
        names = list(self.graph.inputs)
        if isinstance(sample, Mapping):
            found = dict(sample)
        else:
            found = dict(zip(names, sample if isinstance(sample, (tuple, list)) else (sample,)))
        arrays = {name: to_numpy(v) if is_torch(v) else np.asarray(v) for name, v in found.items()}
        if set(arrays) != set(names) or (isinstance(sample, (tuple, list)) and len(sample) != len(names)):
            raise ArgumentTypeError(
                "the sample for the check is not the network's inputs",
                expected="an array for each of " + ", ".join(names),
                found=", ".join(map(str, found)) or type(sample).__name__,
                remedy="check={" + ", ".join(f"{name!r}: array" for name in names) + "}, or check=True to draw them",
            )
        for name, array in arrays.items():
            if array.dtype != self.graph.inputs[name].dtype.numpy:
                raise DtypeError(
                    f"the sample for {name!r} has the wrong dtype",
                    expected=self.graph.inputs[name].dtype,
                    found=array.dtype,
                    remedy=f"array.astype(numpy.{self.graph.inputs[name].dtype.numpy.name})",
                )
        sizes = self.graph.bind({name: array.shape for name, array in arrays.items()})
        for name in self.bounds:
            low, high = self.limits(name, sizes) or (-np.inf, np.inf)
            array = arrays[name]
            if array.size and (array.min() < low or array.max() > high):
                raise ArgumentError(
                    f"the sample for {name!r} holds indices beside their table",
                    expected=f"{low:.0f} to {high:.0f}",
                    found=f"{array.min()} to {array.max()}",
                    remedy="give such as the network will get",
                )
        return {name: arrays[name] for name in names}


def _ask(layer: Producer, wanted: dict[Tensor, Bounds], unknown: set[Tensor]) -> None:
    """Note what a layer wants of its operands, by what is wanted of its outputs."""
    for output, tensor in enumerate((*layer.outputs, *([] if layer.feeds is None else [layer.feeds]))):
        for position, operand in enumerate(layer.inputs):
            if not isinstance(operand, Tensor):
                continue
            for before in (wanted.get(tensor), UNKNOWN if tensor in unknown else None):
                bounds = layer.takes(position, before, output)
                if bounds == UNKNOWN:
                    unknown.add(operand)
                elif bounds is not None:
                    wanted[operand] = bounds if operand not in wanted else wanted[operand].both(bounds)


def _drawn(
    chance: np.random.Generator,
    shape: list[int],
    dtype: dtypes.dtype,
    limits: tuple[float, float] | None,
    bounds: Bounds | None,
    free: tuple[int, int],
) -> np.ndarray:
    if dtype is dtypes.bool_:
        return _covering(chance, shape, 0, 1).astype(np.bool_)
    if dtype.is_floating_point and bounds is None:
        if limits is None:
            return np.asarray(chance.normal(size=shape)).astype(dtype.numpy)
        return np.asarray(chance.uniform(*limits, size=shape)).astype(dtype.numpy)
    if limits is None:
        limits = (0, 255) if dtype is dtypes.uint8 else free
    low, high = (int(np.ceil(limits[0])), int(np.floor(limits[1])))
    if low <= -FAR:  # one side is free
        low = min(high, free[0])
    if high >= FAR:
        high = max(low, free[1])
    if bounds is not None and bounds.distinct:
        return _distinct(chance, shape, max(low, 0), max(low, high, 0)).astype(dtype.numpy)
    return _covering(chance, shape, low, max(low, high)).astype(dtype.numpy)


def _distinct(chance: np.random.Generator, shape: list[int], low: int, high: int) -> np.ndarray:
    """Whole numbers from `low` to `high`, each once where there are enough, else once along each dimension."""
    count, known = int(np.prod(shape)), chance.permutation(np.arange(low, high + 1))
    if count <= len(known):
        return known[:count].reshape(shape)
    return known[np.sum(np.indices(shape), axis=0) % len(known)] if shape else known[:1].reshape(shape)


def _covering(chance: np.random.Generator, shape: list[int], low: int, high: int) -> np.ndarray:
    """Whole numbers from `low` to `high`: each of them where there is room, else both ends and some between."""
    count = int(np.prod(shape))
    values = chance.integers(low, high, count, endpoint=True)
    if high - low < count:
        values[: high - low + 1] = np.arange(low, high + 1)
    elif count > 1:
        values[:2] = low, high
    return chance.permutation(values).reshape(shape)
