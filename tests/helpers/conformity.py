"""Graphs, options and engines that go through the bindings of every version; as a script, it prints a table of what is
taken, refused and composed."""

from __future__ import annotations

import functools
from typing import Any

from bindings import versions
from cases import CASES, recorded
from judged_engines import STEPS, judged, provider_of

import trtnet
from trtnet.errors import ProviderError
from trtnet.rewriting.composing import for_provider
from trtnet.tensorrt.build.configuration import configure
from trtnet.tensorrt.build.lowering import Lowering
from trtnet.tensorrt.build.options import FLAGS, BuildOptions
from trtnet.tensorrt.provider import Provider

OPTIONS: list[tuple[str, Any]] = [
    *((name, True) for name in ("tf32", "sparsity", "version_compatible", *FLAGS)),
    ("workspace", 1 << 20),
    *(("memory_pools", {pool: 1 << 20}) for pool in ("dla_managed_sram", "dla_local_dram", "tactic_dram")),
    ("optimization_level", 4),
    ("max_aux_streams", 2),
    ("avg_timing_iterations", 3),
    ("max_num_tactics", 8),
    ("hardware_compatibility", "ampere_plus"),
    ("hardware_compatibility", "same_compute_capability"),
    ("engine_capability", "safety"),
    ("profiling_verbosity", "detailed"),
    ("dla_core", 0),
    ("tactic_sources", ("cublas",)),
    ("tactic_sources", ("jit_convolutions",)),
    ("tiling_level", "full"),
    ("l2_limit_for_tiling", 1 << 20),
    ("runtime_platform", "windows_amd64"),
    ("build_route", "one"),
]


@functools.cache
def graphs() -> list[tuple[str, trtnet.Graph]]:
    return [(name, recorded(name)[0]) for name in CASES]


def lowered(graph: trtnet.Graph, provider: Provider, refit: bool) -> Lowering:
    network = provider.create_network(provider.builder())
    return Lowering(for_provider(graph, provider, refit), network, provider).run()


def configured(provider: Provider, options: BuildOptions) -> Any:
    config = provider.builder().create_builder_config()
    configure(provider, config, options)
    return config


def table() -> None:
    """What each version takes, refuses and gets composed of other layers."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="Calls judged by the signatures of the bindings; nothing was computed")
    titles = ("networks taken", "refused", "options taken", "refused ", "engine steps taken", "refused  ", "composed")
    for title in ("version", *titles):
        shown.add_column(title)
    for version in versions():
        provider = provider_of(version)
        refused, composed, options = [], set(), []
        for name, graph in graphs():
            try:
                made = lowered(graph, provider, True).graph
            except ProviderError:
                refused.append(name)
                continue
            composed |= {layer.kind for layer in graph.layers} - {layer.kind for layer in made.layers}
        for name, value in OPTIONS:
            try:
                configured(provider, BuildOptions(**{name: value}))
            except ProviderError:
                options.append(name if not isinstance(value, (str, tuple, dict)) else f"{name}={value}")
        steps = [name for name in STEPS if judged(version, name) is not None]
        shown.add_row(
            version,
            str(len(graphs()) - len(refused)),
            ", ".join(refused),
            str(len(OPTIONS) - len(options)),
            ", ".join(options),
            str(len(STEPS) - len(steps)),
            ", ".join(steps),
            ", ".join(sorted(composed)),
        )
    Console().print(shown)


if __name__ == "__main__":
    table()
