"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width

from ...basics.dims import format_shape
from ...basics.garbage import no_collection
from ..provider import Newest
from ...weights.recipes import Weight

if TYPE_CHECKING:
    from ...graph.graph import Graph
    from ..provider import Provider


def render(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), footer: str = ""
) -> str:
    """A table as plain text, one line for each row, as wide as it needs to be."""
    padded = []
    total = 0
    for name, cells in zip(columns, zip(*rows) if rows else [()] * len(columns)):
        column = (name, *cells)
        widths = list(map(len if "".join(column).isascii() else _width, column))
        widest = max(widths)
        total += widest + 3
        spaces = [" " * (widest - width) for width in range(widest + 1)]
        if name in right:
            padded.append([spaces[width] + cell for cell, width in zip(column, widths)])
        else:
            padded.append([cell + spaces[width] for cell, width in zip(column, widths)])
    head, *body = [f"  {'   '.join(line)}".rstrip() for line in zip(*padded)]
    return "\n".join([head, " " + "─" * (total - 1), *body, *(("", footer) if footer else ())])


def _width(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def summary(graph: Graph, provider: Provider | None = None) -> str:
    """Layer, module path, output shape, dtype, parameters and bytes of each layer, as it is lowered on `provider`."""
    with no_collection():
        return _summary(graph.for_provider(provider or Newest()))


def _summary(graph: Graph) -> str:
    rows, parameters, size = _rows(graph)
    inputs = ", ".join(f"{name} {format_shape(t.shape)} {t.dtype}" for name, t in graph.inputs.items())
    outputs = ", ".join(f"{name} {format_shape(t.shape)} {t.dtype}" for name, t in graph.outputs.items())
    ranges = ", ".join(f"{d}: {d.min} to {d.max}, best at {d.opt}" for d in graph.dims.values())
    frozen = ", ".join(f"{name}, a number at {place}" for name, place in graph.frozen.items())
    footer = f"{len(graph.layers)} layers, {parameters:,} parameters, {size:,} bytes of weights"
    return "\n".join(
        line
        for line in (
            f"{graph.title}",
            f"  inputs:  {inputs}",
            f"  outputs: {outputs}",
            f"  sizes:   {ranges}" if ranges else "",
            f"  frozen:  {frozen}" if frozen else "",
            render(
                ("layer", "module", "output shape", "dtype", "parameters", "bytes"), rows, right=("parameters", "bytes")
            ),
            f"  {footer}",
        )
        if line
    )


def _rows(graph: Graph) -> tuple[list[tuple[str, ...]], int, int]:
    """A row for each layer; the parameters, and the bytes of all weights."""
    rows: list[tuple[str, ...]] = []
    counted: set[str] = set()
    sized: set[str] = set()
    shapes: dict[int, str] = {}  # layers share their shapes
    parameters = size = 0
    for layer in graph.layers:
        count = nbytes = 0
        for operand in layer.inputs:
            if isinstance(operand, Weight):
                for leaf in operand.leaves():
                    if leaf.name not in counted:
                        counted.add(leaf.name)
                        count += leaf.count
                if (name := operand.name or str(id(operand))) not in sized:
                    sized.add(name)
                    nbytes += operand.nbytes
        parameters += count
        size += nbytes
        texts = []
        for tensor in layer.outputs:
            shape = tensor.shape
            text = shapes.get(id(shape))
            if text is None:
                text = shapes[id(shape)] = format_shape(shape)
            texts.append(text)
        kinds = dict.fromkeys([t.dtype.name for t in layer.outputs])
        rows.append(
            (
                layer.headline(),
                layer.path,
                ", ".join(texts),
                ", ".join(kinds),
                f"{count:,}" if count else "",
                f"{nbytes:,}" if nbytes else "",
            )
        )
    return rows, parameters, size
