"""The raw calls behind each line of `forward`."""

from __future__ import annotations

import difflib
import html
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from textwrap import indent

from ..basics.dims import format_shape
from ..basics.errors import ArgumentError
from ..basics.garbage import no_collection
from ..basics.location import Location
from ..basics.patterns import matches, patterns_of
from ..graph.graph import Graph, method
from ..graph.tensor import Operand, Producer, Tensor
from ..tensorrt.provider import Provider
from ..weights.recipes import Weight
from .script import writing
from .statements import Statements


@dataclass(frozen=True)
class ExplainedLayer:
    """One layer of the network.

    Attributes:
        name: as TensorRT's log shows it.
        module: path of the module that recorded it.
        kind: of layer, with its operation: "activation RELU".
        inputs, outputs: names, shapes and types: "image (batch, 1, 28, 28) float32".
        calls: the lines of Python that add it, with its weights and the sizes that it takes.
        instead_of: the kind of the layer that it is a part of, where this TensorRT lacks that one; else "".
    """

    name: str
    module: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: tuple[str, ...]
    instead_of: str = ""


@dataclass(frozen=True)
class ExplainedLine:
    """One line of the user's, and the layers that it recorded.

    Attributes:
        file, line: where it is; "" and 0 where that is not known.
        source: its text.
        layers: what it recorded, in order.
    """

    file: str
    line: int
    source: str
    layers: tuple[ExplainedLayer, ...]


class Explanation:
    """A graph as raw calls, by the lines of `forward`. `print` shows it, and so does a notebook.

    Attributes:
        title: what is explained.
        provider: the TensorRT whose calls these are.
        inputs, outputs: the calls that make the network's inputs, and mark its outputs.
        lines: what the user's lines recorded.
    """

    def __init__(
        self,
        title: str,
        provider: str,
        inputs: Sequence[str],
        lines: Sequence[ExplainedLine],
        outputs: Sequence[str],
    ) -> None:
        self.title, self.provider = title, provider
        self.inputs, self.lines, self.outputs = tuple(inputs), tuple(lines), tuple(outputs)

    def __str__(self) -> str:
        found = [f"{self.title}: {self.provider}"]
        if self.inputs:
            found += ["", "inputs", indent("\n".join(self.inputs), "    ")]
        for line in self.lines:
            found += ["", _where(line)]
            if line.source:
                found.append(indent(line.source, "    "))
            for layer in line.layers:
                found += [f"  {_headline(layer)}", indent("\n".join(layer.calls), "      ")]
        if self.outputs:
            found += ["", "outputs", indent("\n".join(self.outputs), "    ")]
        return "\n".join(found)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [_row("inputs", "", self.inputs)] if self.inputs else []
        for line in self.lines:
            rows.append(
                f'<tr><td colspan="2" style="text-align:left"><b>{html.escape(_where(line))}</b>'
                f"<pre>{html.escape(line.source)}</pre></td></tr>"
            )
            rows += [_row(layer.name, _headline(layer), layer.calls) for layer in line.layers]
        rows += [_row("outputs", "", self.outputs)] if self.outputs else []
        return f"<table><caption>{html.escape(f'{self.title}: {self.provider}')}</caption>{''.join(rows)}</table>"


def _row(name: str, about: str, calls: Sequence[str]) -> str:
    style = ' style="text-align:left; vertical-align:top"'
    left = f"<b>{html.escape(name)}</b><br>{html.escape(about.removeprefix(name).strip())}"
    return f"<tr><td{style}>{left}</td><td{style}><pre>{html.escape(chr(10).join(calls))}</pre></td></tr>"


def _where(line: ExplainedLine) -> str:
    return f"{line.file}:{line.line}" if line.file else "(no line of yours)"


def _headline(layer: ExplainedLayer) -> str:
    module = f" in {layer.module}" if layer.module else ""
    instead = f", a part of what stands for {layer.instead_of}" if layer.instead_of else ""
    shapes = f"{', '.join(layer.inputs)} -> {', '.join(layer.outputs)}".strip()
    return f"{layer.name}: {layer.kind}{module}{instead}\n    {shapes}"


@method
def explain(graph: Graph, part: str | None = None, provider: str | Provider | None = None) -> Explanation:
    with no_collection():
        made = writing(graph, provider)
        chosen = None if part is None else _chosen(made.graph, part)
        own = set(graph.layers)
        gone = {layer.name: layer for layer in own.difference(made.graph.layers)}
        calls: dict[Producer | None, list[str]] = {layer: [] for layer in made.graph.layers}
        before: list[str] = []
        after: list[str] = []
        for statement in Statements(made).all():
            if statement.of in ("IBuilderConfig", "Builder", "IOptimizationProfile"):
                continue
            if statement.layer is not None:
                calls[statement.layer].append(statement.text)
            elif any(calls.values()):
                after.append(statement.text)
            else:
                before.append(statement.text)
        lines: list[ExplainedLine] = []
        last: tuple[str, int] | None = None
        for layer in made.graph.layers:
            if chosen is not None and layer not in chosen:
                last = None
                continue
            place = _place(layer.location)
            told = _told(layer, tuple(calls[layer]), gone if layer not in own else {})
            if place == last:
                lines[-1] = ExplainedLine(*place, lines[-1].source, (*lines[-1].layers, told))
            else:
                source = layer.location.excerpt().partition("\n")[0] if layer.location is not None else ""
                lines.append(ExplainedLine(*place, source, (told,)))
            last = place
    title = graph.title if part is None else f"{part} of {graph.title}"
    whole = chosen is None
    return Explanation(title, str(made.provider), before if whole else (), lines, after if whole else ())


def _chosen(graph: Graph, part: str) -> set[Producer]:
    """The layers of a module and of those in it, by path or pattern; or the layer of this name. Raises ArgumentError
    where there is none."""
    (pattern,) = patterns_of(part, "part", 'graph.explain("encoder.layers.0")')
    found = {layer for layer in graph.layers if layer.name == pattern or matches(layer.path, (pattern, f"{pattern}.*"))}
    if not found:
        names = list(dict.fromkeys(name for layer in graph.layers for name in (layer.path, layer.name) if name))
        close = difflib.get_close_matches(pattern, names, 3, 0.4)
        raise ArgumentError(
            f"no layer was recorded in a module {part!r}, and none has that name",
            expected=", ".join(close or names[:8]),
            found=part,
            remedy="graph.explain() shows all",
        )
    return found


def _place(where: Location | None) -> tuple[str, int]:
    if where is None:
        return "", 0
    file = str(where).rpartition(":")[0]
    here = (
        os.path.relpath(file) if os.path.isabs(file) and os.path.splitdrive(file)[0] in ("", os.getcwd()[:2]) else file
    )
    return (file if here.startswith(os.pardir) else here), where.line


def part_of(layer: Producer, gone: Collection[str]) -> str | None:
    """The name of the layer that this one stands for a part of, among those that this TensorRT lacks."""
    return max((name for name in gone if f"{layer.name}/".startswith(f"{name}/")), key=len, default=None)


def _told(layer: Producer, calls: tuple[str, ...], gone: dict[str, Producer]) -> ExplainedLayer:
    origin = part_of(layer, gone)
    return ExplainedLayer(
        layer.name,
        layer.path,
        layer.headline(),
        tuple(_operand(one) for one in layer.inputs if one is not None),
        tuple(f"{format_shape(one.shape)} {one.dtype}" for one in layer.outputs),
        calls,
        "" if origin is None else gone[origin].headline(),
    )


def _operand(one: Operand) -> str:
    if isinstance(one, Weight):
        return f"{one.name or 'numbers'} {format_shape(one.shape)} {one.dtype}"
    assert isinstance(one, Tensor)
    name = f"{one.name} " if one.name else ""
    return f"{name}{format_shape(one.shape)} {one.dtype}"
