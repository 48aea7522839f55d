"""What a picture of a graph shows: boxes in the boxes of their modules or of an engine's fused layers, and arrows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ..basics.dims import format_shape
from ..engine.fusion import EngineLayer, Fused, Fusion
from ..graph.graph import Graph
from ..graph.tensor import Producer, Tensor
from ..weights.recipes import Weight

FEW = 12
"""Layers that were fused are shown without the boxes of their modules where they are at most so many."""
LONG = 60
"""Letters of a kernel's name that are shown."""
KINDS_SHOWN = 4
"""Kinds of layers that are named of a group."""


class Color(NamedTuple):
    """A color, and what it says."""

    css: str
    says: str


KINDS = {
    "tensor": Color("#d5e8d4", "input, output"),
    "weights": Color("#dae8fc", "with weights"),
    "constant": Color("#f2f2f2", "constant"),
    "layer": Color("#ffffff", "without weights"),
}
DTYPES = {
    "float32": Color("#dae8fc", "float32"),
    "float16": Color("#ffe6cc", "float16"),
    "bfloat16": Color("#fff2cc", "bfloat16"),
    "float8_e4m3fn": Color("#f8cecc", "float8"),
    "int8": Color("#e1d5e7", "int8"),
    "int64": Color("#d5e8d4", "int64"),
    "int32": Color("#cce5d2", "int32"),
    "bool": Color("#e6e6e6", "bool"),
    "other": Color("#f5c2e7", "another type"),
}
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""From which share of a call's time on a color begins."""
TIMES = {
    f"time{number}": Color(css, f"≥ {least:.0%}" if least else "< 1% of the time")
    for number, (least, css) in enumerate(
        zip(SHARES, ("#fffdf5", "#fef0d9", "#fdd49e", "#fdbb84", "#fc8d59", "#e34a33"))
    )
}
MODULE = {"module": Color("#fffbe9", "module")}
ENGINE = {
    "fused": Color("#eef3fb", "layer of the engine"),
    "own": Color("#e1d5e7", "the engine's own"),
    "absent": Color("#fafafa", "in no layer of the engine"),
}
COLORS = KINDS | DTYPES | TIMES | MODULE | ENGINE


class Time(NamedTuple):
    """Milliseconds of a call, and their share of it."""

    milliseconds: float = 0.0
    share: float = 0.0

    def __str__(self) -> str:
        return f"{self.milliseconds:.4f} ms, {self.share:.1%}"

    @property
    def color(self) -> str:
        """A key of `TIMES`."""
        return f"time{max(number for number, least in enumerate(SHARES) if self.share >= least)}"

    @classmethod
    def sum(cls, times: Iterable[Time | None]) -> Time | None:
        """None of those that nobody measured."""
        known = [time for time in times if time is not None]
        return cls(sum(t.milliseconds for t in known), sum(t.share for t in known)) if known else None


class Group(NamedTuple):
    """A fused layer of an engine, as what boxes are in.

    Attributes:
        number: the engine's layers have many names alike.
        lines: what it says.
        color: a key of `COLORS`.
        time: that it took; None where nobody measured.
    """

    number: int
    lines: tuple[str, ...]
    color: str
    time: Time | None = None


class Module(NamedTuple):
    """A module, as what boxes are in.

    Attributes:
        call: one that is called at several places, with others between them, is several boxes: the number of this one.
    """

    name: str
    call: int = 1

    @property
    def lines(self) -> tuple[str, ...]:
        return (self.name,)


Place: TypeAlias = "Module | Group"
Path: TypeAlias = tuple[Place, ...]


@dataclass(slots=True)
class Box:
    """A layer, a module whose layers are not shown, or an input or output of the network.

    Attributes:
        lines: its text.
        path: what it is in.
        color: a key of `COLORS`.
        time: that an engine's layer took which was made of this one alone, or those of this module; None where nobody
            measured, or it is in a group.
    """

    lines: list[str]
    path: Path
    color: str
    time: Time | None = None


@dataclass(slots=True)
class Frame:
    """A module or a fused layer, with what is in it.

    Attributes:
        boxes: the numbers of its own boxes.
        time: of all that is in it.
    """

    boxes: list[int] = field(default_factory=list)
    frames: dict[Place, Frame] = field(default_factory=dict)
    time: Time | None = None


class Arrow(NamedTuple):
    """From a box to another, by their numbers; what stands at it; whether it leads back in a loop."""

    start: int
    end: int
    text: str
    is_back: bool = False


@dataclass(slots=True)
class Picture:
    """What is drawn; the arrows in their order, each once.

    Attributes:
        by: what the colors say.
    """

    title: str
    by: str = "kind"
    boxes: list[Box] = field(default_factory=list)
    arrows: dict[Arrow, None] = field(default_factory=dict)

    def add(self, box: Box) -> int:
        self.boxes.append(box)
        return len(self.boxes) - 1

    def frame(self) -> Frame:
        """The outermost module."""
        top = Frame()
        for number, box in enumerate(self.boxes):
            around = [top]
            for name in box.path:
                is_new = name not in around[-1].frames
                inner = around[-1].frames.setdefault(name, Frame())
                around.append(inner)
                if is_new and isinstance(name, Group):
                    _spend(around, name.time)
            around[-1].boxes.append(number)
            _spend(around, box.time)
        return top


def _spend(frames: Iterable[Frame], time: Time | None) -> None:
    for frame in frames:
        frame.time = Time.sum((frame.time, time))


@dataclass(frozen=True)
class Shown:
    """What of a graph is shown.

    Attributes:
        graph: as it is lowered.
        by: what colors say: "kind", "dtype" or "time".
        fusion: how its layers lie in an engine's; None where there is none.
        times: of the engine's layers, by name.
    """

    graph: Graph
    by: str = "kind"
    fusion: Fusion | None = None
    times: Mapping[str, Time] = field(default_factory=dict)

    def picture(self, depth: int | None = None) -> Picture:
        """The boxes and arrows; modules, and fused layers, that lie deeper than `depth` are one box each."""
        made = Picture(self.graph.title, self.by)
        placed = _Placed(self, made, depth)
        placed.inputs()
        for place, layer in enumerate(self.graph.layers):
            placed.layer(place, layer)
        placed.outputs()
        placed.own_layers()
        return made

    @property
    def depth(self) -> int:
        """How deep boxes lie in others."""
        return max((len(path) for path in self.paths()), default=0)

    def paths(self) -> list[Path]:
        """What each layer is in."""
        recorded = self.graph.layers
        paths = _modules(recorded)
        for number, group in enumerate(self.fusion.groups if self.fusion else ()):
            inside = sorted(group.places)
            if len(inside) == 1:
                continue  # its box says what the engine made of it
            shared = zip(*(paths[place] for place in inside))
            count = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, shared))
            time = self.time(group.layers)
            one = Group(number, tuple(self._told(group)), self.color(time, "fused"), time)
            for place in inside:
                rest = paths[place][count:] if len(inside) > FEW else ()
                paths[place] = (*paths[place][:count], one, *rest)
        return paths

    def _told(self, group: Fused) -> list[str]:
        """What of, and what an engine made of it."""
        kinds = dict.fromkeys(self.graph.layers[place].kind for place in sorted(group.places))
        kinds.pop("constant", None)
        names = list(kinds)
        first = ", ".join([*names[:KINDS_SHOWN], *["…"] * (len(names) > KINDS_SHOWN)])
        return [first, *self.lines_of(group.layers)]

    def lines_of(self, layers: Sequence[EngineLayer]) -> list[str]:
        """The time of an engine's layers, their kinds, kernels and formats."""
        time = self.time(layers)
        lines = [] if time is None else [str(time)]
        for layer in layers:
            kernel = layer.kernel if len(layer.kernel) <= LONG else f"{layer.kernel[: LONG - 1]}…"
            formats = dict.fromkeys(form for _, form in layer.writes)
            lines += [line for line in (layer.kind, kernel, *formats) if line]
        return lines

    def time(self, layers: Iterable[EngineLayer]) -> Time | None:
        """That these took; None where nobody measured."""
        return Time.sum(self.times.get(layer.name) for layer in layers)

    def color(self, time: Time | None, other: str) -> str:
        """By the time, where that is shown."""
        return time.color if self.by == "time" and time is not None else other


class _Placed:
    """A picture while it is made.

    Attributes:
        places: by a tensor the box that gives it.
        numbers: by a layer's place its box.
    """

    def __init__(self, shown: Shown, made: Picture, depth: int | None) -> None:
        self.shown, self.made, self.depth = shown, made, depth
        self.places: dict[Tensor, int] = {}
        self.numbers: dict[int, int] = {}
        self.ends: dict[str, int] = {}
        self._closed: dict[Path, int] = {}
        self._counts: dict[int, int] = {}
        self._paths = shown.paths()

    def inputs(self) -> None:
        for name, tensor in (*self.shown.graph.inputs.items(), *self.shown.graph.live.items()):
            self.places[tensor] = self.ends[name] = self.made.add(
                Box([f"input {name}", _typed(tensor)], (), self._end_color(tensor))
            )

    def layer(self, place: int, layer: Producer) -> None:
        path = self._paths[place]
        if self.depth is None or len(path) <= self.depth:
            number = self.made.add(self._box(place, layer, path))
        else:
            path = path[: self.depth + 1]
            is_within = any(isinstance(name, Group) for name in path)
            number = self._folded(path, None if is_within else self._time(place))
        self.numbers[place] = number
        for operand in layer.inputs:
            if isinstance(operand, Tensor) and self.places[operand] != number:
                self.made.arrows[Arrow(self.places[operand], number, _typed(operand))] = None
        self.places.update(dict.fromkeys(layer.outputs, number))

    def _folded(self, path: Path, time: Time | None, layers: int = 1) -> int:
        """The box of a module, or of a fused layer, whose layers are not shown; `layers` more of them."""
        last = path[-1]
        if path not in self._closed:
            self._closed[path] = self.made.add(Box([], path[:-1], "module" if isinstance(last, Module) else last.color))
        number = self._closed[path]
        box, count = self.made.boxes[number], self._counts.get(number, 0) + layers
        self._counts[number] = count
        told = f"{count} layer{'s' * (count != 1)}"
        if isinstance(last, Module):
            box.time = Time.sum((box.time, time))
            box.lines = [last.name, told, *([str(box.time)] if box.time is not None else [])]
            box.color = self.shown.color(box.time, "module")
        else:
            box.lines, box.time = [*last.lines, told], last.time
        return number

    def outputs(self) -> None:
        graph = self.shown.graph
        for place, layer in enumerate(graph.layers):
            if layer.feeds is not None and self.numbers[place] != self.places[layer.feeds]:
                arrow = Arrow(self.numbers[place], self.places[layer.feeds], _typed(layer.feeds), True)
                self.made.arrows[arrow] = None
        for name, tensor in graph.outputs.items():
            number = self.made.add(Box([f"output {name}", _typed(tensor)], (), self._end_color(tensor)))
            self.ends[name] = number
            self.made.arrows[Arrow(self.places[tensor], number, _typed(tensor))] = None

    def own_layers(self) -> None:
        """Copies between formats, and what else the engine has of its own, between what they read and write."""
        shown, fusion = self.shown, self.shown.fusion or Fusion()
        writers: dict[str, set[int]] = {}
        readers: dict[str, set[int]] = {}
        for group in fusion.groups:
            for layer in group.layers:
                for name, _ in layer.writes:
                    writers[name] = writers.get(name, set()) | group.places
                for name, _ in layer.reads:
                    readers[name] = readers.get(name, set()) | group.places
        for layer in fusion.own:
            sources = set().union(*(writers.get(name, set()) for name, _ in layer.reads))
            targets = set().union(*(readers.get(name, set()) for name, _ in layer.writes))
            ends = [
                {self.ends[name] for name, _ in names if name in self.ends} for names in (layer.reads, layer.writes)
            ]
            if not layer.reads:  # names are all that is known: it is beside what it copies for
                alike = [
                    group.places for group in fusion.groups if any(one.name == layer.copies_for for one in group.layers)
                ]
                path = self._common([*set().union(*alike)])
            else:
                path = () if any(ends) else self._common([*sources, *targets])
            time = shown.time([layer])
            if self.depth is None or len(path) <= self.depth:
                lines = ["copy" if layer.copies_for is not None else layer.name, *shown.lines_of([layer])]
                number = self.made.add(Box(lines, path, shown.color(time, "own"), time))
            else:
                number = self._folded(path[: self.depth + 1], time, 0)
            boxes = [{self.numbers[place] for place in places} for places in (sources, targets)]
            self._between(number, boxes[0] | ends[0], boxes[1] | ends[1])

    def _common(self, places: Sequence[int]) -> Path:
        """The modules that all of these layers are in."""
        paths = [[one for one in self._paths[place] if isinstance(one, Module)] for place in places]
        return tuple(names[0] for names in itertools.takewhile(lambda names: len(set(names)) == 1, zip(*paths)))

    def _between(self, number: int, sources: set[int], targets: set[int]) -> None:
        """Lead the arrows from what an engine's own layer reads to what reads it over its box."""
        for arrow in list(self.made.arrows):
            if arrow.start in sources and arrow.end in targets and not arrow.is_back:
                del self.made.arrows[arrow]
                for half in (arrow._replace(end=number), arrow._replace(start=number)):
                    if half.start != half.end:
                        self.made.arrows[half] = None

    def _time(self, place: int) -> Time | None:
        """That the engine's layer took whose first recorded layer this is."""
        fusion = self.shown.fusion
        if fusion is None or place not in fusion.owners:
            return None
        group = fusion.groups[fusion.owners[place]]
        return self.shown.time(group.layers) if place == min(group.places) else None

    def _box(self, place: int, layer: Producer, path: Path) -> Box:
        """Kind and operation, the weights by name, and what an engine made of it."""
        lines, shown, fusion = [layer.headline()], self.shown, self.shown.fusion
        for operand in layer.inputs:
            if isinstance(operand, Weight):
                leaves = list(dict.fromkeys(leaf.name for leaf in operand.leaves()))
                name = ", ".join(leaves) if len(leaves) > 1 or operand.name is None else operand.name
                lines.append(f"{name} {format_shape(operand.shape)}".strip())
        color = self._color(layer)
        if fusion is None:
            return Box(lines, path, color)
        if place not in fusion.owners:
            return Box(lines, path, "absent")
        group = fusion.groups[fusion.owners[place]]
        if len(group.places) > 1:
            return Box([*lines, layer.path] if layer.path and len(lines) == 1 else lines, path, color)
        time = shown.time(group.layers)
        return Box([*lines, *shown.lines_of(group.layers)], path, shown.color(time, color), time)

    def _color(self, layer: Producer) -> str:
        if self.shown.by == "dtype":
            return _dtype_color(layer.outputs[0]) if layer.outputs else "layer"
        if self.shown.by == "time":
            return "layer"
        weights = any(isinstance(operand, Weight) for operand in layer.inputs)
        return "constant" if layer.kind == "constant" else "weights" if weights else "layer"

    def _end_color(self, tensor: Tensor) -> str:
        return _dtype_color(tensor) if self.shown.by == "dtype" else "tensor"


def _modules(recorded: Sequence[Producer]) -> list[Path]:
    """The modules that each layer is in; those that the one before is in, too, were not left."""
    calls: dict[tuple[str, ...], int] = {}
    paths: list[Path] = []
    before: tuple[str, ...] = ()
    for layer in recorded:
        names = tuple(layer.path.split(".")) if layer.path else ()
        for end in range(1, len(names) + 1):
            if before[:end] != names[:end]:
                calls[names[:end]] = calls.get(names[:end], 0) + 1
        paths.append(tuple(Module(name, calls[names[: i + 1]]) for i, name in enumerate(names)))
        before = names
    return paths


def _typed(tensor: Tensor) -> str:
    return f"{format_shape(tensor.shape)} {tensor.dtype}"


def _dtype_color(tensor: Tensor) -> str:
    return tensor.dtype.name if tensor.dtype.name in DTYPES else "other"
