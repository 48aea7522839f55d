"""Where the time of a call goes: by layer, with the module and the source line that recorded it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..basics.tables import render
from ..graph.tensor import Producer

CALLS = 20
"""How many calls are measured."""

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
    """

    name: str
    milliseconds: float
    share: float
    module: str = ""
    where: str = ""


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
    def of(cls, totals: Mapping[str, float], recorded: Sequence[Producer], calls: int, device: str) -> LayerTimes:
        """Of the milliseconds that each layer took in all calls, and the layers that were recorded."""
        places = {layer.name: place for place, layer in enumerate(recorded)}
        whole = sum(totals.values()) or 1.0
        rows = []
        for name, spent in totals.items():
            within = [recorded[place] for place in _within(name, places)]
            where = next((str(layer.location) for layer in within if layer.location), "")
            rows.append(LayerTime(name, spent / calls, spent / whole, _module(within), where))
        return cls(tuple(rows), calls, device)

    @property
    def milliseconds(self) -> float:
        """Of all layers together, for one call; what is between them, and copies from and to the host, not counted."""
        return sum(layer.milliseconds for layer in self.layers)

    def modules(self, depth: int | None = None) -> dict[str, float]:
        """Milliseconds by module path, cut after `depth` names; the slowest first."""
        found: dict[str, float] = {}
        for layer in self.layers:
            path = ".".join(layer.module.split(".")[:depth])
            found[path] = found.get(path, 0.0) + layer.milliseconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        rows = [
            (layer.name, f"{layer.milliseconds:.4f}", f"{layer.share:.1%}", layer.module, layer.where)
            for layer in self.layers
        ]
        return render(
            ("layer", "ms", "share", "module", "at"),
            rows,
            right=("ms", "share"),
            footer=f"{len(rows)} layers, {self.milliseconds:.4f} ms a call on {self.device}, the mean of {self.calls}",
        )


def _within(name: str, places: Mapping[str, int]) -> list[int]:
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
