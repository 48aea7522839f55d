"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from .dims import format_shape
from .provider import Newest
from .weights.recipes import Weight

if TYPE_CHECKING:
    from .graph import Graph
    from .provider import Provider


def render(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    title: str = "",
    footer: str = "",
) -> str:
    """A table as plain text, as wide as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=title or None, caption=footer or None, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left"
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    text = StringIO()
    widest = 40 + sum(max([len(name), *(len(row[i]) for row in rows)]) + 3 for i, name in enumerate(columns))
    Console(file=text, width=max(widest, len(title), len(footer)), color_system=None, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def summary(graph: Graph, provider: Provider | None = None) -> str:
    """Layer, module path, output shape, dtype, parameters and bytes of each layer, as it is lowered on `provider`."""
    graph = graph.for_provider(provider or Newest())
    rows = []
    counted: set[str] = set()
    sized: set[str] = set()
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
        shapes = ", ".join(format_shape(t.shape) for t in layer.outputs)
        kinds = ", ".join(dict.fromkeys(t.dtype.name for t in layer.outputs))
        rows.append(
            (
                layer.headline(),
                layer.path,
                shapes,
                kinds,
                f"{count:,}" if count else "",
                f"{nbytes:,}" if nbytes else "",
            )
        )
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
