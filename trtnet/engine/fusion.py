"""What a built engine's layers were made of: those that were recorded, by TensorRT's own account of the engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..basics.errors import ArgumentError, shown
from ..graph.tensor import Producer, Tensor
from .layer_times import within

_COPY = re.compile(r"Reformatting CopyNode for (Input|Output) Tensor \d+ to (.*)", re.S)
_RESHAPE = re.compile(r"reshape_(?:before|after)_(.*)", re.S)
_UNNAMED = re.compile(r"\(Unnamed Layer\* (\d+)\) \[([\w ]+)\]_output(_\d+)?")


@dataclass(frozen=True)
class EngineLayer:
    """A layer of a built engine. All but the name is there for engines that were built with
    `profiling_verbosity="detailed"` alone.

    Attributes:
        name: as `engine.profile` and trtexec name it, too.
        kind: TensorRT's "LayerType": "CaskConvolution", "Myelin", "Reformat", ...
        kernel: the tactic's name, "" where it has none.
        reads, writes: its tensors' names, with format and type as TensorRT words them.
    """

    name: str
    kind: str = ""
    kernel: str = ""
    reads: tuple[tuple[str, str], ...] = ()
    writes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, told: Any) -> EngineLayer:
        """Of one of `engine.inspect()["Layers"]`: a name, an object, or its JSON."""
        if isinstance(told, str) and told.lstrip().startswith("{") and '"Name"' in told:
            told = json.loads(told)
        if isinstance(told, str):
            return cls(told)
        reads, writes = (
            tuple((str(one.get("Name", "")), str(one.get("Format/Datatype", ""))) for one in told.get(key, ()))
            for key in ("Inputs", "Outputs")
        )
        return cls(told["Name"], told.get("LayerType", ""), told.get("TacticName", ""), reads, writes)

    @property
    def copies_for(self) -> str | None:
        """The name of the layer whose input or output it brings into another format; None where it is no such copy."""
        found = _COPY.fullmatch(self.name)
        return found and found[2]


@dataclass
class Fused:
    """Recorded layers that an engine runs as one, or as several that cannot be told apart.

    Attributes:
        layers: the engine's.
        places: of the recorded ones, in their order.
    """

    layers: list[EngineLayer]
    places: set[int]


@dataclass
class Fusion:
    """How the recorded layers lie in an engine's.

    Attributes:
        groups: what was made of recorded layers.
        own: the engine's own layers, such as copies between formats.
        owners: by the place of a recorded layer the number of its group. A layer that is in no group was left out, or
            its work is done in a layer whose name does not tell.
    """

    groups: list[Fused] = field(default_factory=list)
    own: list[EngineLayer] = field(default_factory=list)
    owners: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, layers: Iterable[EngineLayer], recorded: Sequence[Producer]) -> Fusion:
        """By the names that TensorRT composes of the recorded ones, and by those of the tensors that are written; what
        lies between two layers of a group, and constants that only one group reads, are in it as well."""
        made, places = cls(), {layer.name: place for place, layer in enumerate(recorded)}
        for layer in layers:
            reshape = _RESHAPE.fullmatch(layer.name)
            name = reshape[1] if reshape else layer.name
            found = set() if layer.copies_for is not None else set(within(name, places))
            known = sorted({made.owners[place] for place in found if place in made.owners})
            if not found:
                made.own.append(layer)
                continue
            if known:
                made.groups[known[0]].layers.append(layer)
            else:
                known = [len(made.groups)]
                made.groups.append(Fused([layer], set()))
            new = found - set(made.owners)
            made.groups[known[0]].places |= new
            made.owners |= dict.fromkeys(new, known[0])
        made._take_what_is_written(recorded)
        made._take_what_lies_inside(recorded)
        return made

    def _take_what_is_written(self, recorded: Sequence[Producer]) -> None:
        """What a group writes was recorded in it, whatever its name tells."""
        place_of = _places_of_tensors(
            [name for g in self.groups for one in g.layers for name, _ in one.writes], recorded
        )
        for number, group in enumerate(self.groups):
            written = {place_of[name] for layer in group.layers for name, _ in layer.writes if name in place_of}
            group.places |= written - set(self.owners)
            self.owners |= dict.fromkeys(written - set(self.owners), number)

    def _take_what_lies_inside(self, recorded: Sequence[Producer]) -> None:
        place_of = {tensor: place for place, layer in enumerate(recorded) for tensor in layer.outputs}
        sources = [
            [place_of[operand] for operand in layer.inputs if isinstance(operand, Tensor) and operand in place_of]
            for layer in recorded
        ]
        readers: list[list[int]] = [[] for _ in recorded]
        for place, found in enumerate(sources):
            for source in found:
                readers[source].append(place)
        before = self._reached(sources, range(len(recorded)))
        after = self._reached(readers, range(len(recorded) - 1, -1, -1))
        for place in set(range(len(recorded))) - set(self.owners):
            if len(both := before[place] & after[place]) == 1:
                self.owners[place] = both.pop()
        for place in range(len(recorded) - 1, -1, -1):
            if place not in self.owners and not any(isinstance(operand, Tensor) for operand in recorded[place].inputs):
                owners = {self.owners.get(reader) for reader in readers[place]}
                if len(owners) == 1 and (owner := owners.pop()) is not None:
                    self.owners[place] = owner
        for place, number in self.owners.items():
            self.groups[number].places.add(place)

    def _reached(self, neighbours: Sequence[Sequence[int]], order: Iterable[int]) -> list[set[int]]:
        """The groups that each layer comes to by layers that are in none."""
        found: list[set[int]] = [set() for _ in neighbours]
        for place in order:
            for other in neighbours[place]:
                found[place] |= {self.owners[other]} if other in self.owners else found[other]
        return found


def _places_of_tensors(names: Iterable[str], recorded: Sequence[Producer]) -> dict[str, int]:
    """Which recorded layer gives a tensor of the engine: by the tensor's own name, or by TensorRT's, which has the
    layer's number and kind. Numbers are believed only if every one's kind is right: helper layers would shift them."""
    found = {t.name: place for place, layer in enumerate(recorded) for t in layer.outputs if t.name is not None}
    numbered = {name: match for name in names if (match := _UNNAMED.fullmatch(name))}
    for match in numbered.values():
        place = int(match[1])
        if place >= len(recorded) or recorded[place].kind.replace("_", "") != match[2].replace(" ", "").lower():
            return found
    return {name: int(match[1]) for name, match in numbered.items() if match[3] is None} | found


def engine_layers(inspection: Any) -> list[EngineLayer]:
    """The layers of what `engine.inspect()` gives, or trtexec's `--exportLayerInfo` writes.

    Raises ArgumentError for anything else.
    """
    layers = inspection.get("Layers") if isinstance(inspection, Mapping) else None
    try:
        if isinstance(layers, list) and layers:
            return [EngineLayer.of(layer) for layer in layers]
    except (KeyError, TypeError, AttributeError, ValueError):
        pass
    raise ArgumentError(
        "this does not tell an engine's layers",
        expected='what engine.inspect() gives: {"Layers": [...]}',
        found=shown(inspection),
        remedy="engine=engine, or json.load of what engine.inspect() gave or trtexec --exportLayerInfo wrote",
    )
