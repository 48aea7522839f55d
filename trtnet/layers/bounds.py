"""The range of whole numbers that a tensor may hold, so that every index computed from it lies inside its table."""

from __future__ import annotations

from typing import NamedTuple

from ..basics.dims import SizeLike, maximum, minimum

FAR = 2**31 - 1
"""Beyond any index."""


class Bounds(NamedTuple):
    """A closed range, from `low` to `high`: one pair for the whole tensor, or one for each position along the last
    dimension. `distinct`: duplicate numbers leave the result undetermined, as in a scatter.

    `UNKNOWN` has no pair: the range cannot be determined.
    """

    low: tuple[SizeLike, ...]
    high: tuple[SizeLike, ...]
    distinct: bool = False

    @classmethod
    def below(cls, *sizes: SizeLike) -> Bounds:
        """The valid indices of dimensions of these sizes."""
        return cls((0,) * len(sizes), tuple(size - 1 for size in sizes))

    def one(self) -> Bounds:
        """One pair for all positions: the intersection of their ranges."""
        if len(self.low) < 2:
            return self
        low, high = self.low[0], self.high[0]
        for a, b in zip(self.low[1:], self.high[1:]):
            low, high = maximum(low, a), minimum(high, b)
        return Bounds((low,), (high,), self.distinct)

    def both(self, other: Bounds) -> Bounds:
        """The intersection of two ranges."""
        if not self.low or not other.low:
            return UNKNOWN
        if len(self.low) != len(other.low):
            a, b = self.one(), other.one()
        else:
            a, b = self, other
        return Bounds(
            tuple(maximum(x, y) for x, y in zip(a.low, b.low)),
            tuple(minimum(x, y) for x, y in zip(a.high, b.high)),
            a.distinct or b.distinct,
        )


UNKNOWN = Bounds((), ())
