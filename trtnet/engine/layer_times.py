"""Where the time of a call goes: by layer, with the module and the source line that recorded it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..basics.errors import ArgumentError
from ..basics.tables import render
from ..graph.tensor import Producer

CALLS = 20
"""How many calls are measured unless told."""

_ENDS = re.compile(r"\.\.\.|[\s\[\](){},|+:;]+")


@dataclass(frozen=True)
class LayerTime:
    """One layer of an engine, or several recorded ones that TensorRT made one of.

    Attributes:
        name: as the engine names it.
        milliseconds: the mean of the calls.
        share: of the sum of all layers' times.
        module: the path of the module that all of its layers were recorded in.
        where: the source line of the first of them; empty for what was not recorded, as copies between formats.
        samples: the milliseconds of each call; of all turns of a loop, and 0 where a call did not come to it.
    """

    name: str
    milliseconds: float
    share: float
    module: str = ""
    where: str = ""
    samples: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Milliseconds that half of the calls did not exceed."""
        return statistics.median(self.samples)


@dataclass(frozen=True)
class LayerTimes:
    """What `engine.profile` measured; prints as a table.

    Attributes:
        layers: in the order in which they ran.
        calls: of how many calls the times are the mean.
        device: where they ran.
    """

    layers: tuple[LayerTime, ...]
    calls: int
    device: str

    @classmethod
    def of(cls, calls: Sequence[Mapping[str, float]], recorded: Sequence[Producer], device: str) -> LayerTimes:
        """Of the milliseconds that each layer took in each call, and the layers that were recorded."""
        places = {layer.name: place for place, layer in enumerate(recorded)}
        names = dict.fromkeys(name for call in calls for name in call)
        whole = sum(sum(call.values()) for call in calls) or 1.0
        rows = []
        for name in names:
            made_of = [recorded[place] for place in within(name, places)]
            where = next((str(layer.location) for layer in made_of if layer.location), "")
            samples = tuple(call.get(name, 0.0) for call in calls)
            spent = sum(samples)
            rows.append(LayerTime(name, spent / len(calls), spent / whole, _module(made_of), where, samples))
        return cls(tuple(rows), len(calls), device)

    @property
    def milliseconds(self) -> float:
        """Of all layers together, for one call; what is between them, and copies from and to the host, not counted."""
        return sum(layer.milliseconds for layer in self.layers)

    def modules(self, depth: int | None = None) -> dict[str, float]:
        """Milliseconds by module path, cut after `depth` names; the slowest first."""
        return self._summed(lambda layer: ".".join(layer.module.split(".")[:depth]))

    def lines(self) -> dict[str, float]:
        """Milliseconds by source line, "" for what was not recorded; the slowest first."""
        return self._summed(lambda layer: layer.where)

    def _summed(self, key: Callable[[LayerTime], str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for layer in self.layers:
            found[key(layer)] = found.get(key(layer), 0.0) + layer.milliseconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def told(self) -> str:
        """All of it in a line."""
        count = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return f"{count}, {self.milliseconds:.4f} ms a call on {self.device}, the mean of {self.calls}"

    def __str__(self) -> str:
        rows = [
            (
                layer.name, f"{layer.milliseconds:.4f}", f"{layer.median:.4f}", f"{layer.share:.1%}", layer.module,
                layer.where,
            )
            for layer in self.layers
        ]  # fmt: skip
        return render(
            ("layer", "ms", "median", "share", "module", "at"),
            rows,
            right=("ms", "median", "share"),
            footer=self.told(),
        )


def require_calls(calls: int) -> None:
    """Raises ArgumentError for a number of calls to measure that is no whole number from 1 on."""
    if not isinstance(calls, int) or calls < 1:
        raise ArgumentError(
            "at least one call is measured",
            expected="calls: a whole number from 1 on",
            found=repr(calls),
            remedy="engine.profile(x, calls=20)",
        )


def within(name: str, places: Mapping[str, int]) -> list[int]:
    """The recorded layers that a layer of TensorRT's was made of: `{ForeignNode[a...b]}` of those from a to b."""
    found = [places[part] for part in _ENDS.split(name) if part in places]
    if "..." in name and len(found) > 1:
        return list(range(min(found), max(found) + 1))
    return found


def _module(layers: Sequence[Producer]) -> str:
    """The path that all of them have in common."""
    paths = [layer.path.split(".") for layer in layers]
    common = []
    for names in zip(*paths):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return ".".join(common)
