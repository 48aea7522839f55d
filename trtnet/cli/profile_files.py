"""The times of layers in the forms of other tools: trtexec's JSON, flame graphs, traces."""

from __future__ import annotations

import html
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.layer_times import LayerTime, LayerTimes

WIDTH, HEIGHT, MARGIN, LETTER = 1200, 18, 10, 6.7  # of a picture, a row, its edges and a letter, in pixels
LEAST = 0.1  # pixels: what is narrower is not drawn


def trtexec(times: LayerTimes, title: str) -> str:
    """What trtexec writes with --exportProfile: the number of calls, then each layer in the order of their runs."""
    layers = [
        {
            "name": layer.name, "timeMs": sum(layer.samples), "averageMs": layer.milliseconds,
            "medianMs": layer.median, "percentage": 100 * layer.share,
        }
        for layer in times.layers
    ]  # fmt: skip
    return _json([{"count": times.calls}, *layers])


def folded(times: LayerTimes, title: str) -> str:
    """A line for each layer: network, modules and layer with ";" between them, and nanoseconds. flamegraph.pl, inferno
    and speedscope read it."""
    lines = [f"{';'.join(name.replace(';', ',') for name in _stack(one, title))} {_ns(one)}" for one in times.layers]
    return "\n".join(lines) + "\n"


def speedscope(times: LayerTimes, title: str) -> str:
    """The format of speedscope.app, which shows it in the order of time, too."""
    stacks = [_stack(layer, title) for layer in times.layers]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for stack in stacks for name in stack))}
    frames: list[dict[str, Any]] = [{"name": name} for name in numbers]
    for layer in times.layers:
        file, _, line = layer.where.rpartition(":")
        if line.isdecimal():
            frames[numbers[layer.name]] |= {"file": file, "line": int(line)}
    weights = [_ns(layer) for layer in times.layers]
    profile = {
        "type": "sampled", "name": f"{title}: {times.told()}", "unit": "nanoseconds", "startValue": 0,
        "endValue": sum(weights), "samples": [[numbers[name] for name in stack] for stack in stacks],
        "weights": weights,
    }  # fmt: skip
    schema = "https://www.speedscope.app/file-format-schema.json"
    return _json({"$schema": schema, "name": title, "shared": {"frames": frames}, "profiles": [profile]})


def trace(times: LayerTimes, title: str) -> str:
    """One call on an axis of time, by the means, modules around their layers: the trace events of Chrome, which
    ui.perfetto.dev and chrome://tracing open."""
    place = {"pid": 1, "tid": 1}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "args": {"name": f"{title}: {times.told()}"}, **place},
        {"ph": "M", "name": "thread_name", "args": {"name": f"layers on {times.device}"}, **place},
    ]
    opened: list[_Span] = []

    def close(depth: int) -> None:
        while len(opened) > depth:
            span = opened.pop()
            events.append({"ph": "E", "name": span.name, "ts": (span.start + span.nanoseconds) / 1000, **place})

    # begins and ends, not begins and durations: those are added in floating point, and lie across each other then
    for span in _spans(times.layers, title):
        close(span.depth)
        args: dict[str, Any] = {"module": span.layer.module if span.layer is not None else span.path}
        if span.layer is not None:
            args |= {"at": span.layer.where, "median ms": span.layer.median, "share": span.layer.share}
        kind = "module" if span.layer is None else "layer"
        events.append({"ph": "B", "name": span.name, "cat": kind, "ts": span.start / 1000, "args": args, **place})
        opened.append(span)
    close(0)
    return _json({"traceEvents": events, "displayTimeUnit": "ns"})


def svg(times: LayerTimes, title: str) -> str:
    """A flame graph, the network on top; what the pointer is on is told with its time."""
    spans = list(_spans(_by_module(times.layers), title))
    whole = max(spans[0].nanoseconds, 1) if spans else 1
    height = HEIGHT * (max((span.depth for span in spans), default=0) + 3) + MARGIN
    scale = (WIDTH - 2 * MARGIN) / whole
    head = f"{title}: {times.told()}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="monospace" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{HEIGHT}">{html.escape(head)}</text>',
    ]
    for span in spans:
        left, width = MARGIN + scale * span.start, scale * span.nanoseconds
        if width < LEAST:
            continue
        top = HEIGHT * (span.depth + 2) - MARGIN
        told = f"{span.nanoseconds / 1e6:.4f} ms, {span.nanoseconds / whole:.1%}"
        where = "" if span.layer is None or not span.layer.where else f", {span.layer.where}"
        label = span.name if span.layer is None else span.name.removeprefix(f"{span.layer.module}/")
        name = html.escape(label[: int((width - 4) / LETTER)] if width > 4 else "")
        parts.append(
            f"<g><title>{html.escape(span.path or span.name)}: {html.escape(told + where)}</title>"
            f'<rect x="{left:.2f}" y="{top}" width="{width:.2f}" height="{HEIGHT - 1}" fill="{_color(span)}"/>'
            f'<text x="{left + 2:.2f}" y="{top + HEIGHT - 6}">{name}</text></g>'
        )
    return "\n".join([*parts, "</svg>\n"])


FLAMES: Mapping[str, Callable[[LayerTimes, str], str]] = {".svg": svg, ".folded": folded, ".json": speedscope}
"""The forms of a flame graph, by the suffix of the file."""


@dataclass(frozen=True)
class _Span:
    """A layer, or a module for as long as layers of it follow each other.

    Attributes:
        path: the module's, and of a layer its name.
        depth: how many there are around it.
        start, nanoseconds: when it begins, and how long it takes.
        layer: None of a module.
    """

    name: str
    path: str
    depth: int
    start: int
    nanoseconds: int
    layer: LayerTime | None = None


def _spans(layers: Sequence[LayerTime], title: str) -> Iterator[_Span]:
    """All of them, what is around others first."""
    found: list[_Span] = []
    opened: list[tuple[str, int]] = []
    now = 0

    def close(depth: int) -> None:
        while len(opened) > depth:
            name, start = opened.pop()
            path = ".".join([*(one for one, _ in opened[1:]), *([name] if opened else [])])
            found.append(_Span(name, path, len(opened), start, now - start))

    for layer in layers:
        path = _stack(layer, title)[:-1]
        shared = 0
        while shared < min(len(path), len(opened)) and path[shared] == opened[shared][0]:
            shared += 1
        close(shared)
        opened += [(name, now) for name in path[shared:]]
        found.append(_Span(layer.name, layer.name, len(path), now, _ns(layer), layer))
        now += _ns(layer)
    close(0)
    return iter(sorted(found, key=lambda span: (span.start, span.depth)))


def _by_module(layers: Sequence[LayerTime]) -> list[LayerTime]:
    """The layers of each module together, in the order in which the modules began."""
    first: dict[tuple[str, ...], int] = {}

    def prefixes(layer: LayerTime) -> list[tuple[str, ...]]:
        names = tuple(_stack(layer, "")[:-1])
        return [names[:size] for size in range(1, len(names) + 1)]

    for number, layer in enumerate(layers):
        for prefix in prefixes(layer):
            first.setdefault(prefix, number)
    places = {id(layer): [*(first[one] for one in prefixes(layer)), number] for number, layer in enumerate(layers)}
    return sorted(layers, key=lambda layer: places[id(layer)])


def _stack(layer: LayerTime, title: str) -> list[str]:
    """The network, the modules from the outermost on, the layer."""
    return [title, *(layer.module.split(".") if layer.module else ()), layer.name]


def _ns(layer: LayerTime) -> int:
    return round(layer.milliseconds * 1e6)


def _color(span: _Span) -> str:
    """Blue for layers, warm for modules; the same name has the same."""
    number = zlib.crc32(span.name.encode())
    if span.layer is None:
        return f"hsl({25 + number % 30}, 85%, {66 + number // 30 % 12}%)"
    return f"hsl({195 + number % 25}, 60%, {76 + number // 25 % 10}%)"


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False) + "\n"
