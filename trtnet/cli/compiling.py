"""A network's plan in a file: `trtnet build`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from ..basics.errors import ProviderError
from ..building import build, build_plan
from ..engine.plan import Plan, file_name
from ..graph.graph import Graph
from ..tensorrt import provider as providers
from ..tensorrt.run.engine import TensorRTEngine
from .console import say


def compiled(
    graph: Graph, output: Path | None, provider: str | None, targets: Sequence[str], options: Mapping[str, Any]
) -> None:
    """Build a graph, save its plan, and print what it is.

    Args:
        output: the plan's file; None: one in the present folder, of the network's name and types.
        provider: "tensorrt": built on the GPU here; "tensorrt_rtx": compiled for the targets; None: by TensorRT-RTX
            where it is installed, else by TensorRT where that runs.
        options: of `trtnet.build` and `build_plan`.
    """
    path = output or Path(file_name(graph, graph.title.lower()))
    provider = provider or _installed()
    if provider == "tensorrt" and not targets:
        with build(graph, provider=provider, **options) as engine:
            assert isinstance(engine, TensorRTEngine)
            plan = engine.plan
            engine.save(path)
    else:
        plan = build_plan(graph, targets or None, provider=provider, **options)
        plan.save(path)
    _print(path, plan)


def _installed() -> str:
    try:
        return providers.load("tensorrt_rtx").name
    except ProviderError:
        if (executing := providers.executing()) is None:
            raise
        return executing.name


def _print(path: Path, plan: Plan) -> None:
    name = escape(str(path))
    place = plan.gpu["name"] if plan.gpu else ", ".join(plan.targets) or "its default targets"
    how = "from the plan cache" if plan.cached else f"in {plan.seconds:.1f} s"
    say(f"[bold]{name}[/]  {len(plan):,} bytes for {escape(place)}, {how}, by {plan.provider}")
    say(f"{name}.json  the manifest")
    if plan.stripped:
        say(f"{name}.safetensors  the weights, which the plan itself does not hold")
