"""Keys as torch's wrappers write them: `module.` of DistributedDataParallel, `_orig_mod.` of torch.compile."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

WRAPPERS = ("module", "_orig_mod")
MOST = 6  # in one key


def unwrapped(keys: Iterable[str], wanted: Collection[str]) -> dict[str, str]:
    """The name that is meant by each key: itself where that is wanted, else without as few wrappers as make it so.

    Wrappers may come in any order and at any depth. Where modules really are called so, and two names are equally
    near, the key stays as it is.
    """
    found: dict[str, str] = {}
    plain: bool | None = None
    for key in keys:
        name = key
        if key not in wanted and any(wrapper in key for wrapper in WRAPPERS):
            parts = key.split(".")
            places = [at for at, part in enumerate(parts[:-1]) if part in WRAPPERS]
            hits = _nearest(parts, places, wanted) if len(places) <= MOST else []
            if len(hits) == 1:
                name = hits[0]
            elif places and not hits:  # what a parameter is computed from, perhaps
                if plain is None:
                    plain = not any(part in WRAPPERS for one in wanted for part in one.split(".")[:-1])
                if plain:
                    name = _without(parts, places)
        found[key] = name
    return found


def _without(parts: list[str], places: Collection[int]) -> str:
    return ".".join([part for at, part in enumerate(parts) if at not in places])


def _nearest(parts: list[str], places: list[int], wanted: Collection[str]) -> list[str]:
    """The wanted names that need the fewest wrappers left out."""
    for count in range(1, len(places) + 1):
        names = {_without(parts, left) for left in itertools.combinations(places, count)}
        if hits := sorted(name for name in names if name in wanted):
            return hits
    return []
