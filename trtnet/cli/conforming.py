"""Whether a TensorRT of some version takes a network, by the signatures of its bindings: `trtnet check`."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from ..basics.errors import ArgumentError, TrtnetError
from ..basics.tables import render
from ..graph.graph import Graph
from ..layers.targets import PluginRequest
from ..teaching.calls import provider_of
from ..teaching.explaining import part_of
from ..teaching.script import writing
from ..tensorrt import versions
from ..weights.recipes import Value
from .console import out, print_text

SINCE = {"bfloat16": 80, "float8_e4m3fn": 89, "float4_e2m1fn": 100, "float8_e8m0fnu": 100}
"""The compute capability from which on there is a type (NVIDIA's support matrix of TensorRT)."""


CAPABILITIES = frozenset((50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 88, 89, 90, 100, 101, 103, 110, 120, 121))
"""The compute capabilities that there are, from Maxwell on (NVIDIA's list for CUDA 12 and 13)."""

LARGE = 1 << 16
"""Elements of a weight from which on it is not drawn."""


@dataclass(frozen=True)
class Verdict:
    """What one TensorRT makes of a network.

    Attributes:
        provider: its name and version.
        target: the GPU, by its compute capability; "" where none was asked for.
        layers: how many it gets; 0 where it is refused.
        composed: the layers that this version lacks and that others stand for, and how many of each kind there are.
        plugins: what must be there besides, and is not looked for: plugins, and what compiles kernels.
        problem: why it is refused; "" where it is taken.
        module, remedy: where that is, and what to do.
    """

    provider: str
    target: str = ""
    layers: int = 0
    composed: dict[str, int] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=list)
    problem: str = ""
    module: str = ""
    remedy: str = ""

    @property
    def taken(self) -> bool:
        return not self.problem


def verdict(graph: Graph, provider: str, target: str = "") -> Verdict:
    """Lower the graph onto a network that knows the bindings of that version and nothing more.

    Args:
        provider: "tensorrt==10.13", "tensorrt_rtx", ...
        target: "sm86", ...: whether that GPU has the network's types; of TensorRT-RTX, whether it compiles for it.

    Raises ArgumentError for a provider that is not known, and for what is no target.
    """
    found = provider_of(provider)
    name = str(found)
    if target and not (re.fullmatch(r"sm[0-9]{2,3}", target) and int(target[2:]) in CAPABILITIES):
        raise ArgumentError(
            "a target is a GPU's compute capability",
            expected=", ".join(f"sm{one}" for one in sorted(CAPABILITIES)),
            found=target,
            remedy="--target sm86 is 8.6, an RTX 30",
        )
    try:
        made = writing(graph, provider, (target,) if target and found.targets else (), takes_plugins=True)
    except TrtnetError as error:
        return Verdict(name, target, problem=error.problem, module=error.module or "", remedy=error.remedy or "")
    if target and (late := _too_late(made.graph, int(target.removeprefix("sm")))):
        return Verdict(
            name, target, problem=f"{target} has no {late}", remedy="cast to a type that this GPU has, or name another"
        )
    plugins = list(dict.fromkeys(_told(one) for one in made.lowering.wanted))
    return Verdict(name, target, len(made.graph.layers), composed(graph, made.graph), plugins)


def _told(wanted: PluginRequest) -> str:
    """A plugin, in words."""
    if wanted.kernel is not None:
        return f"the kernel {wanted.kernel.function}"
    return f"the plugin {wanted.creator} {wanted.version}" + (f" of {wanted.library}" if wanted.library else "")


def composed(graph: Graph, made: Graph) -> dict[str, int]:
    """The kinds of the graph's layers that other layers stand for in what was made of it, and how many of each."""
    own = set(graph.layers)
    gone = {layer.name: layer for layer in own.difference(made.layers)}
    instead = {part_of(layer, gone) for layer in made.layers if layer not in own}
    return dict(sorted(Counter(gone[name].kind for name in instead if name).items()))


def _too_late(graph: Graph, capability: int) -> str:
    """A type of the network that GPUs of this compute capability do not have."""
    tensors = (*graph.inputs.values(), *(tensor for layer in graph.layers for tensor in layer.outputs))
    types = {tensor.dtype.name for tensor in tensors}
    return next((name for name, since in SINCE.items() if name in types and capability < since), "")


def _draw_nothing(graph: Graph) -> None:
    """Let large weights without values be zeros, which take no memory: no verdict hangs on them."""
    for leaf in graph.parameters.values():
        if leaf.value.array is None and leaf.count >= LARGE and leaf.dtype.bits >= 8:
            leaf.value = Value(make=functools.partial(np.zeros, leaf.shape, leaf.dtype.numpy))


def check(graph: Graph, providers: Sequence[str], targets: Sequence[str], as_json: bool) -> bool:
    """Print what each TensorRT makes of a network, every version that is known unless some are named; whether all of
    them take it."""
    _draw_nothing(graph)
    with np.errstate(all="ignore"):
        found = [
            verdict(graph, provider, target)
            for provider in providers or versions.names() for target in targets or ("",)
        ]  # fmt: skip
    if as_json:
        text = json.dumps([asdict(one) | {"taken": one.taken} for one in found], indent=1)
        print_text(text)
    else:
        rows = [
            (one.provider, one.target, "yes" if one.taken else "no", str(one.layers or ""), _about(one))
            for one in found
        ]
        titles = ("TensorRT", "target", "takes it", "layers", "composed of other layers, and what it needs; or why not")
        print_text(render(titles, rows, right=("layers",)))
        out.print("Judged by the signatures of each version's bindings; nothing was compiled.", markup=False)
    return all(one.taken for one in found)


def _about(one: Verdict) -> str:
    if one.taken:
        kinds = [kind + (f" ({count})" if count > 1 else "") for kind, count in one.composed.items()]
        needs = [f"needs {', '.join(one.plugins)}"] if one.plugins else []
        return "; ".join([", ".join(kinds)] * bool(kinds) + needs)
    where = f" in {one.module}" if one.module else ""
    return f"{one.problem}{where}" + (f": {one.remedy}" if one.remedy else "")
