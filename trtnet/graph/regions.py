"""Loops and conditionals among a graph's layers, which are a plain list.

What bounds a loop or a conditional, a region, are layers of it that bear its number (`Layer.region`): the first and the
last of them stand before and behind all that is computed inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .tensor import Operand, Producer


class Division(NamedTuple):
    """The layers from a region's first to its last, by what they are to it.

    Attributes:
        outside: those that do not depend on it, and stand there by chance.
        before: what is done once on entering it.
        parts: what is done again and again, or one of several.
        after: what gives its results.
    """

    outside: list[Producer]
    before: list[Producer]
    parts: tuple[list[Producer], ...]
    after: list[Producer]


class Turn(Protocol):
    """Where a run in PyTorch is in a region.

    Attributes:
        stopped: whether nothing more of this part is to be computed.
    """

    stopped: bool

    @property
    def part(self) -> int | None:
        """The part to compute next; None when the region is done."""

    def passed(self) -> None:
        """A part was computed, or stopped."""


@dataclass(slots=True, eq=False)
class Region:
    """A loop or a conditional: as `Division`, with the regions inside of its parts."""

    number: int
    first: Producer
    before: list[Producer]
    parts: tuple[list[Producer | Region], ...]
    after: list[Producer]

    def inner(self) -> Iterator[Producer]:
        """Every layer of which TensorRT makes no tensor outside: all but those that give the results."""
        yield from self.before
        ends = set(self.after)
        for part in self.parts:
            for one in part:
                if not isinstance(one, Region):
                    if one not in ends:
                        yield one
                    continue
                yield from one.inner()
                yield from one.after


def last_of(layers: Sequence[Producer]) -> dict[int, int]:
    """The place of the last layer of each region, by its number."""
    return {layer.region: place for place, layer in enumerate(layers) if layer.region is not None}


def arranged(layers: Sequence[Producer], within: int | None = None) -> list[Producer | Region]:
    """The layers, with a Region in the place of each loop and conditional; `within` is the region that they are of."""
    last = last_of(layers)
    last.pop(within, None)  # type: ignore[arg-type]
    if not last:
        return list(layers)
    found: list[Producer | Region] = []
    place = 0
    while place < len(layers):
        layer = layers[place]
        number = layer.region
        if number is None or number == within:
            found.append(layer)
            place += 1
            continue
        end = last[number] + 1
        division = layer.divide(layers[place:end])
        found += arranged(division.outside, within)
        parts = tuple(arranged(part, number) for part in division.parts)
        found.append(Region(number, layer, division.before, parts, division.after))
        place = end
    return found


def regions(layers: Sequence[Producer]) -> list[Region]:
    """The outermost loops and conditionals."""
    return [one for one in arranged(layers) if isinstance(one, Region)]


def are_nested(layers: Sequence[Producer]) -> bool:
    """Whether what is computed inside of a loop or a conditional is read in there alone, and after it.

    What no result needs may be read elsewhere: a loop stands outside of one around it, if nothing but such a layer in
    it depends on that one.
    """
    homes: dict[Operand, tuple[int, ...]] = {}

    def fit(found: Sequence[Producer | Region], path: tuple[int, ...]) -> bool:
        for one in found:
            if isinstance(one, Region):
                own = (*path, one.number)
                if not fit(one.before, own) or not all(fit(part, (*own, n)) for n, part in enumerate(one.parts)):
                    return False
                homes.update((t, path) for layer in one.after for t in layer.outputs)
                continue
            if any((home := homes.get(o)) is not None and path[: len(home)] != home for o in one.inputs):
                return False
            homes.update((t, path) for t in one.outputs)
        return True

    found = arranged(layers)
    homes.update((t, (-1,)) for layer in layers for t in layer.outputs)  # until it is computed
    return not any(isinstance(one, Region) for one in found) or fit(found, ())


def interior(layers: Sequence[Producer]) -> set[Producer]:
    """The layers inside of loops and conditionals, whose tensors TensorRT gives no output of."""
    return {layer for region in regions(layers) for layer in region.inner()}


def depths(layers: Sequence[Producer]) -> list[int]:
    """In how many loops and conditionals each layer stands; one that bounds them stands outside."""
    last = last_of(layers)
    if not last:
        return [0] * len(layers)
    open_: list[int] = []
    found = []
    for place, layer in enumerate(layers):
        number = layer.region
        if number is not None and number not in open_:
            open_.append(number)
        found.append(open_.index(number) if number is not None else len(open_))
        open_ = [one for one in open_ if last[one] > place]
    return found
