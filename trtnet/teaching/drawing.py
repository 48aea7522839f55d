"""A recorded graph as a picture: boxes by module, shapes and types on the arrows.

Graphviz, a program of its own, lays it out and draws it. Without it there is a page for a browser, whose boxes open and
close and are laid out by dagre (page/dagre.min.js), and Mermaid's text, which GitHub, GitLab and JupyterLab draw.
"""

from __future__ import annotations

import html
import importlib.resources
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..basics.errors import ArgumentError, ArgumentTypeError, ProviderError, shown
from ..engine.engine import Engine
from ..engine.fusion import EngineLayer, Fusion, engine_layers
from ..engine.layer_times import LayerTimes
from ..graph.graph import Graph, method
from ..layers.targets import Features
from ..rewriting.composing import for_provider
from ..tensorrt.abilities import Newest
from ..tensorrt.provider import Provider
from .calls import provider_of
from .picture import COLORS, KINDS, MODULE, Frame, Group, Module, Picture, Place, Shown, Time

PAGE = ".html"
PICTURES = (".svg", ".png", ".pdf")
"""What Graphviz draws."""
TEXTS = (".mmd", ".dot", ".gv")

MOST = 300
"""Boxes that Graphviz lays out in a second or two; of a larger graph inner modules are drawn as one box each."""
RUN = 100
"""Layers of one module that a page shows together, where that has more than twice as many."""
HEIGHT = 480
"""Of a picture in a notebook, in pixels."""
SECONDS = 60
"""How long Graphviz may take: with a thousand boxes it takes minutes."""


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
        style = ', style="filled,rounded,dashed"' if one.color == "absent" else ""
        return f'n{number} [label={_quoted(one.lines)}, fillcolor="{COLORS[one.color].css}"{style}]'

    numbers = itertools.count()

    def begin(name: Place) -> str:
        fill = "" if isinstance(name, Module) else f', style="filled,rounded", fillcolor="{COLORS[name.color].css}"'
        # \\l: lines that begin at the left
        return f"subgraph cluster_{next(numbers)} {{ graph [label={_quoted(name.lines, 'l')}{fill}]"

    lines += _framed(given.frame(), box, begin, "}", 1)
    for start, end, text, is_back in given.arrows:
        style = ", style=dashed, constraint=false" if is_back else ""
        lines.append(f"  n{start} -> n{end} [label={_quoted([text])}{style}]")
    return "\n".join([*lines, "}", ""])


def as_mermaid(given: Picture) -> str:
    """Mermaid's language, a flowchart."""
    numbers = itertools.count()
    filled: list[str] = []

    def box(number: int) -> str:
        one = given.boxes[number]
        return f'n{number}["{"<br>".join(map(_escaped, one.lines))}"]:::{one.color}'

    def begin(name: Place) -> str:
        number = next(numbers)
        if not isinstance(name, Module):
            filled.append(f"  style m{number} fill:{COLORS[name.color].css},stroke:#999")
        return f'subgraph m{number}["{"<br>".join(map(_escaped, name.lines))}"]'

    lines = ["flowchart TD", *_framed(given.frame(), box, begin, "end", 1)]
    for start, end, text, is_back in given.arrows:
        lines.append(f'  n{start} {"-.->" if is_back else "-->"}|"{_escaped(text)}"| n{end}')
    colors = dict.fromkeys((*KINDS, *MODULE, *(box.color for box in given.boxes)))
    lines += [f"  classDef {name} fill:{COLORS[name].css},stroke:#999" for name in colors]
    return "\n".join([*lines, *filled, ""])


def _framed(
    frame: Frame, box: Callable[[int], str], begin: Callable[[Place], str], end: str, depth: int
) -> Iterator[str]:
    """The boxes of a module and of those in it, from the outermost; without recursion, as they may be nested deep."""
    pending: list[tuple[int, Place, Frame | None]] = [(depth - 1, Module(""), frame)]
    while pending:
        level, name, one = pending.pop()
        indent = "  " * level
        if one is None:
            yield indent + end
            continue
        if level >= depth:
            yield indent + begin(name)
            pending.append((level, name, None))
        for number in one.boxes:
            yield f"{indent}  {box(number)}"
        pending += [(level + 1, inner, of) for inner, of in reversed(one.frames.items())]


def _quoted(lines: Sequence[str], ends: str = "n") -> str:
    """A text of Graphviz's; a line ends with "n" where it stands in the middle, with "l" at the left."""
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for line in lines]
    return '"' + f"\\{ends}".join(escaped) + (f"\\{ends}" if ends != "n" and len(escaped) > 1 else "") + '"'


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


# --- as a page --------------------------------------------------------------------------------------------------------


def as_page(given: Picture) -> str:
    """A page of its own, without anything from elsewhere, whose boxes open and close."""
    frames: list[dict[str, Any]] = []
    inside = [-1] * len(given.boxes)
    pending: list[tuple[int, Frame]] = [(-1, given.frame())]
    while pending:
        parent, frame = pending.pop()
        for begin in range(0, len(frame.boxes), RUN):
            run, place = frame.boxes[begin : begin + RUN], parent
            if len(frame.boxes) > 2 * RUN:
                place = len(frames)
                time = Time.sum(given.boxes[number].time for number in run)
                frames.append(_told(Module(f"layers {begin + 1} to {begin + len(run)}"), parent, time, given.by))
            for number in run:
                inside[number] = place
        for name, inner in frame.frames.items():
            frames.append(_told(name, parent, inner.time, given.by))
            pending.append((len(frames) - 1, inner))
    boxes = [
        {"label": box.lines, "frame": frame, "color": COLORS[box.color].css, "absent": box.color == "absent"}
        for box, frame in zip(given.boxes, inside)
    ]
    groups = {name.color for box in given.boxes for name in box.path if isinstance(name, Group)}
    used = {box.color for box in given.boxes} | groups | ({"module"} if len(groups) < len(frames) else set())
    legend = [[color.css, color.says] for name, color in COLORS.items() if name in used]
    told = {"title": given.title, "frames": frames, "boxes": boxes, "arrows": list(given.arrows), "legend": legend}
    parts = {
        "title": html.escape(given.title),
        "dagre": _read("dagre.min.js"),
        "picture": json.dumps(told, ensure_ascii=False).replace("</", "<\\/"),
        "script": _read("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def _told(name: Place, parent: int, time: Time | None, by: str) -> dict[str, Any]:
    """A module, or a fused layer: `parent` is the number of the one that it is in."""
    if not isinstance(name, Module):
        return {"label": name.lines, "parent": parent, "color": COLORS[name.color].css}
    color = time.color if by == "time" and time is not None else "module"
    lines = [*name.lines, *([str(time)] if time is not None else [])]
    return {"label": lines, "parent": parent, "color": COLORS["module"].css, "closed": COLORS[color].css}


def _read(name: str) -> str:
    return importlib.resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


class Drawing(str):
    """The text of a picture, which a notebook shows as the picture.

    Attributes:
        picture: what is drawn.
    """

    picture: Picture

    @classmethod
    def of(cls, text: str, picture: Picture) -> Drawing:
        made = cls(text)
        made.picture = picture
        return made

    def _repr_html_(self) -> str:
        source = html.escape(as_page(self.picture)).replace(
            "\n", "&#10;"
        )  # no blank line, at which Markdown would end it
        style = f"width: 100%; height: {HEIGHT}px; border: 1px solid #ddd"
        return f'<iframe srcdoc="{source}" style="{style}"></iframe>'


# --- the method -------------------------------------------------------------------------------------------------------


@method
def draw(
    graph: Graph,
    path: str | os.PathLike[str] | None = None,
    provider: Provider | str | None = None,
    depth: int | None = None,
    *,
    color: str | None = None,
    engine: Engine | Mapping[str, Any] | None = None,
    times: LayerTimes | Sequence[Mapping[str, Any]] | None = None,
) -> Drawing:
    if depth is not None and (not isinstance(depth, int) or isinstance(depth, bool) or depth < 0):
        raise ArgumentTypeError(
            "depth is how many modules deep the layers are shown",
            expected="a whole number, 0 for the outermost module's own",
            found=shown(depth),
            remedy="depth=1",
        )
    spent = _spent(times)
    given = _given(graph, provider, _color(color, spent), engine, spent)
    if path is None:
        made = given.picture(depth)
        return Drawing.of(as_mermaid(made), made)
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in (PAGE, *PICTURES, *TEXTS):
        raise ArgumentError(
            "graph.draw knows no such file",
            expected=", ".join((PAGE, *PICTURES, *TEXTS)),
            found=str(target),
            remedy='graph.draw("net.html"), graph.draw("net.svg"), or graph.draw("net.mmd") for Mermaid\'s text',
        )
    made = given.picture(depth) if depth is not None or suffix not in PICTURES else _fitting(given)
    text = as_page(made) if suffix == PAGE else as_mermaid(made) if suffix == ".mmd" else as_dot(made)
    data = _drawn(made, suffix[1:]) if suffix in PICTURES else text.encode()
    target.write_bytes(data)
    return Drawing.of(data.decode() if suffix == ".svg" else text, made)


def _spent(times: Any) -> dict[str, Time]:
    """By the name of an engine's layer: what engine.profile gave, or trtexec's --exportProfile. Empty for None."""
    if isinstance(times, LayerTimes):
        return {one.name: Time(one.milliseconds, one.share) for one in times.layers}
    try:
        rows = [one for one in times or () if "count" not in one]
        return {str(one["name"]): Time(float(one["averageMs"]), one["percentage"] / 100) for one in rows}
    except (TypeError, KeyError, ValueError):
        raise ArgumentTypeError(
            "these do not tell the times of an engine's layers",
            expected="LayerTimes, or the list that trtexec --exportProfile writes",
            found=shown(times),
            remedy="times=engine.profile(x), or json.load of what trtnet profile or trtexec wrote",
        ) from None


def _color(color: str | None, times: Mapping[str, Time]) -> str:
    if color not in (None, "kind", "dtype", "time") or (color == "time" and not times):
        raise ArgumentError(
            "colors say no such thing" if color != "time" else "colors cannot say times that nobody measured",
            expected="'kind', 'dtype', or 'time' with times=",
            found=shown(color),
            remedy="times=engine.profile(x)" if color == "time" else "color='kind'",
        )
    return color or ("time" if times else "kind")


def _given(
    graph: Graph,
    provider: Provider | str | None,
    by: str,
    engine: Engine | Mapping[str, Any] | None,
    times: Mapping[str, Time],
) -> Shown:
    """What is drawn. Raises ArgumentError for the layers, or the times, of another engine."""
    if engine is None and not times:
        return Shown(for_provider(graph, _features(provider)), by)
    if isinstance(engine, Engine):
        if engine.graph is not graph and engine.graph.structure_hash() != graph.structure_hash():
            raise _another("this is an engine of another network", repr(engine.graph))
        candidates = [engine.lowered()]
        layers = engine_layers(engine.inspect())
    else:
        candidates = [for_provider(graph, _features(provider), refit) for refit in (False, True)]
        layers = [EngineLayer(name) for name in times] if engine is None else engine_layers(engine)
    fused = [(Fusion.of(layers, lowered.layers), lowered) for lowered in candidates]
    fusion, lowered = max(fused, key=lambda one: len(one[0].owners))
    if not fusion.owners:
        raise _another("no layer of this engine was made of the graph's", layers[0].name)
    known = {layer.name for layer in layers}
    if spare := [name for name in times if name not in known]:
        raise _another("these times are of another engine", spare[0])
    return Shown(lowered, by, fusion, times)


def _another(problem: str, found: str) -> ArgumentError:
    return ArgumentError(
        problem,
        expected="the graph, inspection and times of one engine",
        found=found,
        remedy='engine.draw("net.html", times=engine.profile(x)); of stored ones, provider= says whose TensorRT it was',
    )


def _features(provider: Provider | str | None) -> Features:
    return provider_of(provider) if isinstance(provider, str) else provider or Newest()


def _fitting(given: Shown) -> Picture:
    """The picture with the most of its modules' insides that has at most `MOST` boxes, or else the fewest."""
    made = given.picture()
    for depth in range(given.depth - 1, -1, -1):
        if len(made.boxes) <= MOST:
            break
        made = given.picture(depth)
    return made


@method
def _repr_html_(graph: Graph, engine: Engine | None = None) -> str:
    made = _given(graph, None, "kind", engine, {}).picture()
    return Drawing.of("", made)._repr_html_()
