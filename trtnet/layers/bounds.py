"""Which whole numbers a tensor may hold, so that every index that is made of it lies in its table."""

from __future__ import annotations

from typing import NamedTuple

from ..basics.dims import SizeLike, maximum, minimum

FAR = 2**31 - 1
"""Farther than any index."""


class Bounds(NamedTuple):
    """From `low` to `high`, both included: one pair, or one for each place along the last dimension; `distinct` where
    two of one number leave open what becomes of them.

    Not to be known (`UNKNOWN`) is to have no pair: what holds then cannot be said.
    """

    low: tuple[SizeLike, ...]
    high: tuple[SizeLike, ...]
    distinct: bool = False

    @classmethod
    def below(cls, *sizes: SizeLike) -> Bounds:
        """The indices of dimensions of these sizes."""
        return cls((0,) * len(sizes), tuple(size - 1 for size in sizes))

    def one(self) -> Bounds:
        """One pair for all places."""
        if len(self.low) < 2:
            return self
        low, high = self.low[0], self.high[0]
        for a, b in zip(self.low[1:], self.high[1:]):
            low, high = maximum(low, a), minimum(high, b)
        return Bounds((low,), (high,), self.distinct)

    def both(self, other: Bounds) -> Bounds:
        """What lies in both."""
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
