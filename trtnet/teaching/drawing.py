"""A recorded graph as a picture: boxes by module, shapes and types on the arrows.

Graphviz, a program of its own, lays it out and draws it; without it there is Mermaid's text, which GitHub, GitLab and
JupyterLab draw.
"""

from __future__ import annotations

import html
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..basics.dims import format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError, ProviderError, shown
from ..graph.graph import Graph, method
from ..graph.tensor import Producer, Tensor
from ..layers.targets import Features
from ..rewriting.composing import for_provider
from ..tensorrt.abilities import Newest
from ..tensorrt.provider import Provider
from ..weights.recipes import Weight

PICTURES = (".svg", ".png", ".pdf")
"""What Graphviz draws."""
TEXTS = (".mmd", ".dot", ".gv")

MOST = 300
"""Boxes that Graphviz lays out in a second or two; of a larger graph inner modules are drawn as one box each."""
SECONDS = 60
"""How long Graphviz may take: with a thousand boxes it takes minutes."""

COLORS = {"tensor": "#d5e8d4", "weights": "#dae8fc", "constant": "#f2f2f2", "module": "#fff2cc", "layer": "#ffffff"}
"""By what a box is: an input or output of the network, a layer with weights, a constant, a module, another layer."""


@dataclass(slots=True)
class Box:
    """A layer, a module whose layers are not shown, or an input or output of the network.

    Attributes:
        lines: its text.
        path: the modules that it is in.
        color: a key of `COLORS`.
    """

    lines: list[str]
    path: tuple[str, ...]
    color: str


@dataclass(slots=True)
class Frame:
    """A module, with what is in it.

    Attributes:
        boxes: the numbers of its own boxes.
    """

    boxes: list[int] = field(default_factory=list)
    frames: dict[str, Frame] = field(default_factory=dict)


@dataclass(slots=True)
class Picture:
    """What is drawn.

    Attributes:
        arrows: from which box to which, by their numbers, what stands at it, and whether it leads back in a loop.
    """

    title: str
    boxes: list[Box] = field(default_factory=list)
    arrows: dict[tuple[int, int, str, bool], None] = field(default_factory=dict)

    def add(self, box: Box) -> int:
        self.boxes.append(box)
        return len(self.boxes) - 1

    def frame(self) -> Frame:
        """The outermost module."""
        top = Frame()
        for number, box in enumerate(self.boxes):
            inner = top
            for name in box.path:
                inner = inner.frames.setdefault(name, Frame())
            inner.boxes.append(number)
        return top


def picture(graph: Graph, depth: int | None = None) -> Picture:
    """The boxes and arrows of a graph; modules deeper than `depth` are one box each."""
    made = Picture(graph.title)
    places: dict[Tensor, int] = {}
    modules: dict[tuple[str, ...], int] = {}
    counts: dict[int, int] = {}
    for name, tensor in (*graph.inputs.items(), *graph.live.items()):
        places[tensor] = made.add(Box([f"input {name}", _typed(tensor)], (), "tensor"))
    back: list[tuple[int, Tensor]] = []
    for layer in graph.layers:
        path = tuple(layer.path.split(".")) if layer.path else ()
        if depth is None or len(path) <= depth:
            place = made.add(Box(_told(layer), path, _color(layer)))
        else:
            path = path[: depth + 1]
            found = modules.get(path)
            place = modules[path] = found if found is not None else made.add(Box([path[-1], ""], path[:-1], "module"))
            counts[place] = counts.get(place, 0) + 1
            made.boxes[place].lines[1] = f"{counts[place]} layer{'s' * (counts[place] != 1)}"
        for operand in layer.inputs:
            if isinstance(operand, Tensor) and places[operand] != place:
                made.arrows[places[operand], place, _typed(operand), False] = None
        if layer.feeds is not None:
            back.append((place, layer.feeds))
        places.update(dict.fromkeys(layer.outputs, place))
    for place, tensor in back:
        if place != places[tensor]:
            made.arrows[place, places[tensor], _typed(tensor), True] = None
    for name, tensor in graph.outputs.items():
        place = made.add(Box([f"output {name}", _typed(tensor)], (), "tensor"))
        made.arrows[places[tensor], place, _typed(tensor), False] = None
    return made


def _typed(tensor: Tensor) -> str:
    return f"{format_shape(tensor.shape)} {tensor.dtype}"


def _color(layer: Producer) -> str:
    weights = any(isinstance(operand, Weight) for operand in layer.inputs)
    return "constant" if layer.kind == "constant" else "weights" if weights else "layer"


def _told(layer: Producer) -> list[str]:
    """Kind and operation, and the weights by name."""
    lines = [layer.headline()]
    for operand in layer.inputs:
        if isinstance(operand, Weight):
            name = operand.name or ", ".join(dict.fromkeys(leaf.name for leaf in operand.leaves()))
            lines.append(f"{name} {format_shape(operand.shape)}".strip())
    return lines


# --- as text ----------------------------------------------------------------------------------------------------------


def as_dot(given: Picture) -> str:
    """Graphviz's language."""
    lines = [
        f"digraph {_quoted([given.title or 'graph'])} {{",
        '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=11, margin="0.12,0.06"]',
        '  edge [fontname="Helvetica", fontsize=9, fontcolor="#555555"]',
        '  graph [fontname="Helvetica", fontsize=11, labeljust=l, style=rounded, color="#999999"]',
    ]

    def box(number: int) -> str:
        one = given.boxes[number]
        return f'n{number} [label={_quoted(one.lines)}, fillcolor="{COLORS[one.color]}"]'

    numbers = itertools.count()
    lines += _framed(
        given.frame(), box, lambda name: f"subgraph cluster_{next(numbers)} {{ label={_quoted([name])}", "}", 1
    )
    for start, end, text, is_back in given.arrows:
        style = ", style=dashed, constraint=false" if is_back else ""
        lines.append(f"  n{start} -> n{end} [label={_quoted([text])}{style}]")
    return "\n".join([*lines, "}", ""])


def as_mermaid(given: Picture) -> str:
    """Mermaid's language, a flowchart."""
    numbers = itertools.count()

    def box(number: int) -> str:
        one = given.boxes[number]
        return f'n{number}["{"<br>".join(map(_escaped, one.lines))}"]:::{one.color}'

    lines = ["flowchart TD", *_framed(
        given.frame(), box, lambda name: f'subgraph m{next(numbers)}["{_escaped(name)}"]', "end", 1
    )]  # fmt: skip
    for start, end, text, is_back in given.arrows:
        lines.append(f'  n{start} {"-.->" if is_back else "-->"}|"{_escaped(text)}"| n{end}')
    lines += [f"  classDef {name} fill:{color},stroke:#999" for name, color in COLORS.items()]
    return "\n".join([*lines, ""])


def _framed(
    frame: Frame, box: Callable[[int], str], begin: Callable[[str], str], end: str, depth: int
) -> Iterator[str]:
    """The boxes of a module and of those in it, from the outermost; without recursion, as they may be nested deep."""
    pending: list[tuple[int, str, Frame | None]] = [(depth - 1, "", frame)]
    while pending:
        level, name, one = pending.pop()
        indent = "  " * level
        if one is None:
            yield indent + end
            continue
        if level >= depth:
            yield indent + begin(name)
            pending.append((level, "", None))
        for number in one.boxes:
            yield f"{indent}  {box(number)}"
        pending += [(level + 1, inner, of) for inner, of in reversed(one.frames.items())]


def _quoted(lines: Sequence[str]) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def _escaped(text: str) -> str:
    """Text in which Mermaid sees no signs of its own: they are written by its entities."""
    return text.translate(_ENTITIES)


_ENTITIES = str.maketrans({"#": "#35;", '"': "#quot;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\n": " "})


# --- as a picture -----------------------------------------------------------------------------------------------------


def _drawn(given: Picture, form: str) -> bytes:
    """What Graphviz makes of it. Raises ProviderError where it is not installed, or fails."""
    program = shutil.which("dot")
    if program is None:
        raise ProviderError(
            f"a picture as {form} is drawn by Graphviz, which is not installed",
            expected="the program dot",
            found="none on PATH",
            remedy="install Graphviz (apt install graphviz, brew install graphviz, winget install graphviz); or write "
            'Mermaid\'s text, graph.draw("net.mmd")',
        )
    try:
        done = subprocess.run(
            [program, f"-T{form}", "-Gnslimit=1", "-Gnslimit1=1"],  # iterations of its simplex, for each box
            input=as_dot(given).encode(), capture_output=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        reason = "" if done.stdout and not done.returncode else done.stderr.decode(errors="replace").strip()[-2000:]
    except subprocess.TimeoutExpired:
        reason = f"it was stopped after {SECONDS} seconds"
    if reason or not done.stdout:
        raise ProviderError(
            "Graphviz could not draw this graph",
            details=reason,
            found=f"{len(given.boxes)} boxes, {len(given.arrows)} arrows",
            remedy="draw fewer boxes, graph.draw(path, depth=1); or write a text for another program: net.dot",
        )
    return done.stdout


@method
def draw(
    graph: Graph,
    path: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    depth: int | None = None,
) -> str:
    if depth is not None and (not isinstance(depth, int) or isinstance(depth, bool) or depth < 0):
        raise ArgumentTypeError(
            "depth is how many modules deep the layers are shown",
            expected="a whole number, 0 for the outermost module's own",
            found=shown(depth),
            remedy="depth=1",
        )
    layers = for_provider(graph, _features(provider))
    if path is None:
        return as_mermaid(picture(layers, depth))
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in (*PICTURES, *TEXTS):
        raise ArgumentError(
            "graph.draw knows no such file",
            expected=", ".join((*PICTURES, *TEXTS)),
            found=str(target),
            remedy='graph.draw("net.svg"), or graph.draw("net.mmd") for Mermaid\'s text',
        )
    made = picture(layers, depth) if depth is not None or suffix in TEXTS else _fitting(layers)
    text = as_mermaid(made) if suffix == ".mmd" else as_dot(made)
    data = _drawn(made, suffix[1:]) if suffix in PICTURES else text.encode()
    target.write_bytes(data)
    return data.decode() if suffix == ".svg" else text


def _features(provider: Provider | None) -> Features:
    return provider or Newest()


def _fitting(graph: Graph) -> Picture:
    """The picture with the most of its modules' insides that has at most `MOST` boxes, or else the fewest."""
    made = picture(graph)
    deepest = max((layer.path.count(".") + 1 for layer in graph.layers if layer.path), default=0)
    for depth in range(deepest - 1, -1, -1):
        if len(made.boxes) <= MOST:
            break
        made = picture(graph, depth)
    return made


@method
def _repr_html_(graph: Graph) -> str:
    made = _fitting(for_provider(graph, Newest()))
    if shutil.which("dot") is None or len(made.boxes) > MOST:
        return f"<pre>{html.escape(graph.summary())}</pre>"
    svg = _drawn(made, "svg").decode()
    return svg[svg.index("<svg") :]
