"""The page of TensorRT's layer kinds, docs/layers.md, made from the code.

    python docs/layers.py             write the page
    python docs/layers.py --compile   first note in docs/layers.json which kinds TensorRT-RTX compiles here
    python docs/layers.py --execute   first note there which kinds TensorRT executes here as the reference does

Rows are what tests/bindings/api.json knows of TensorRT's LayerType; what is noted comes of the networks of
tests/helpers/cases.py.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import numpy as np  # noqa: E402
from cases import CASES, DATA_SIZED, recorded  # noqa: E402
from networks import flat  # noqa: E402

import trtnet  # noqa: E402
import trtnet.functional  # noqa: E402
import trtnet.layers  # noqa: E402
import trtnet.torch_names.ops  # noqa: E402
from trtnet.basics import dtypes  # noqa: E402
from trtnet.errors import TrtnetError  # noqa: E402
from trtnet.graph.recorder import emit  # noqa: E402
from trtnet.layers.base import Layer  # noqa: E402

PAGE, SHOWN = ROOT / "docs" / "layers.md", ROOT / "docs" / "layers.json"
API = json.loads((ROOT / "tests" / "bindings" / "api.json").read_text())
VERSIONS = [version for version in API["versions"] if not version.startswith("rtx")]
OTHER_KIND = {
    "ATTENTION_INPUT": "attention", "ATTENTION_OUTPUT": "attention", "PLUGIN_V2": "plugin", "PLUGIN_V3": "plugin",
}  # fmt: skip
OWN = "the plugin's own composition"
WITHOUT = {"RNN_V2": "a loop, or its steps one by one", "PLUGIN": OWN, "PLUGIN_V2": OWN, "PLUGIN_V3": OWN}
WRITTEN_AS = {
    "RNN_V2": "`nn.RNN`, `nn.LSTM`, `nn.GRU`",
    "PLUGIN": "`trtnet.Plugin`, `trtnet.kernel`", "PLUGIN_V2": "`trtnet.Plugin`, `trtnet.kernel`",
    "PLUGIN_V3": "`trtnet.Plugin`, `trtnet.kernel`",
    "RECURRENCE": "`trtnet.scan`, `trtnet.while_loop`", "ITERATOR": "`trtnet.scan`",
    "TRIP_LIMIT": "`trtnet.scan`, `trtnet.while_loop`", "LOOP_OUTPUT": "`trtnet.scan`, `trtnet.while_loop`",
    "CONDITION": "`trtnet.cond`", "CONDITIONAL_INPUT": "`trtnet.cond`", "CONDITIONAL_OUTPUT": "`trtnet.cond`",
    "IDENTITY": "an output that is an input, or another output",
}  # fmt: skip
HEAD = """# TensorRT's layers

Every kind of layer that an `INetworkDefinition` has, in any of the versions whose bindings were read ({versions}), and
how it is written here. This page is made from the code (`python docs/layers.py`).

- **recorded by**: names of `torch` (`F.` for `trtnet.functional`, `nn.` for modules) that record it, the most direct
  first; each name's docstring says which layers it records. `trtnet.layers.add_…` records each kind by itself.
- **TensorRT**: the versions that have it, and TensorRT-RTX (RTX).
- **without it**: what is recorded for a TensorRT that lacks the kind, or these attributes or dtypes of it: the exact
  composition of other layers, or a `ProviderError` that says what to do.
- **dtypes**: of the data that it takes. Each TensorRT has its own share: 8.6 has no bfloat16, and int64 as int32.
- **shown**: R, computed by the reference and compared with PyTorch; C, compiled by {compiled}; E, executed by
  {executed}, and equal to the reference.

{count} kinds, {ours} of them written here; of the {old} that TensorRT 8.6 has, {ran} were executed ({share:.0%}).

| kind | recorded by | TensorRT | without it | dtypes | shown |
|---|---|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--execute", action="store_true")
    options = parser.parse_args()
    shown = json.loads(SHOWN.read_text()) if SHOWN.exists() else {}
    if options.compile:
        shown["compiled"] = {"by": str(trtnet.provider.load("tensorrt_rtx")), "kinds": sorted(compiled())}
    if options.execute:
        shown["executed"] = executed()
    SHOWN.write_text(json.dumps(shown, indent=1) + "\n")
    PAGE.write_text(page(shown))


# --- what was shown


def compiled() -> set[str]:
    """Of the networks that tests/layers/test_layer_kinds.py has TensorRT-RTX compile."""
    provider = trtnet.provider.load("tensorrt_rtx")
    graphs = (recorded(name)[0].for_provider(provider) for name in CASES if name not in DATA_SIZED)
    return {layer.kind for graph in graphs for layer in graph.layers if layer.kind}


def executed() -> dict[str, Any]:
    """Build and run each network with TensorRT here; a kind counts where one with it gives the reference's numbers."""
    import torch

    provider = trtnet.provider.load("tensorrt")
    found: set[str] = set()
    for name in CASES:
        graph, inputs = recorded(name)
        try:
            engine = trtnet.build(graph, provider="tensorrt", optimization_level=0, check=False)
        except TrtnetError as error:
            print(f"{name}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        if agree(engine(**inputs), trtnet.reference(graph)(**inputs)):
            found |= {layer.kind for layer in graph.for_provider(provider).layers if layer.kind}
        else:
            print(f"{name}: other numbers", file=sys.stderr)
    day = datetime.date.today().isoformat()
    return {"by": str(provider), "on": torch.cuda.get_device_name(), "day": day, "kinds": sorted(found)}


def agree(found: Any, wanted: Any) -> bool:
    return all(
        np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-3, atol=1e-4, equal_nan=True)
        for a, b in zip(flat(found), flat(wanted), strict=True)
    )


# --- the page


def page(shown: dict[str, Any]) -> str:
    classes, names = kinds(), recorders()
    ran, built = set(shown["executed"]["kinds"]), set(shown["compiled"]["kinds"])
    taken = accepted(classes)
    rows, counts = [], {"ours": 0, "old": 0, "ran": 0}
    methods = API["api"]["INetworkDefinition"]["methods"]
    for member, there in sorted(API["api"]["LayerType"]["enum"].items()):
        kind = OTHER_KIND.get(member, member.lower())
        adding = [f"add_{name}{end}" for name in (member.lower(), kind) for end in ("_nd", "")]
        ranges = next((methods[name] for name in adding if name in methods), there)
        ours = kind in classes or member in WRITTEN_AS
        counts["ours"] += ours
        if "8.6.1" in spelled(ranges):
            counts["old"] += 1
            counts["ran"] += kind in ran
        marks = [mark for mark, there in zip("RCE", (kind in classes, kind in built, kind in ran)) if there]
        rows.append([
            member, WRITTEN_AS.get(member) or direct(names.get(kind, []), kind, classes), versions(ranges),
            without(member, kind, classes, ranges), taken.get(kind) or "as given", " ".join(marks) or "no",
        ])  # fmt: skip
    executed = shown["executed"]
    text = HEAD.format(
        versions=f"{VERSIONS[0]} to {VERSIONS[-1]}, and TensorRT-RTX", compiled=shown["compiled"]["by"],
        executed=f"{executed['by']} on an {executed['on']} ({executed['day']})", count=len(rows),
        share=counts["ran"] / counts["old"], **counts,
    )  # fmt: skip
    return text + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def kinds() -> dict[str, list[type[Layer]]]:
    """The classes of each kind."""
    for module in pkgutil.iter_modules(trtnet.layers.__path__):
        importlib.import_module(f"trtnet.layers.{module.name}")
    found: dict[str, list[type[Layer]]] = {}
    for kind in _below(Layer):
        if kind.kind and kind.__module__.startswith("trtnet.layers."):
            found.setdefault(kind.kind, []).append(kind)
    return found


def _below(kind: type[Layer]) -> Iterator[type[Layer]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def recorders() -> dict[str, list[str]]:
    """The names whose docstrings say that they record a kind, those that record least else first."""
    found: dict[str, list[tuple[int, str]]] = {}
    rooms = (("F.", trtnet.functional), ("nn.", trtnet.nn), ("trtnet.ops.", trtnet.torch_names.ops))
    for prefix, room in rooms:
        for name in getattr(room, "__all__", dir(room)):
            doc = inspect.getdoc(getattr(room, name, None)) or ""
            said = re.search(r"^ *Layers(?: of the example)?: (.+?)\.$", doc, re.M | re.S)
            listed = re.findall(r"`(\w+)`", said[1]) if said else []
            for kind in listed:
                found.setdefault(kind, []).append((len(listed), prefix + name))
    return {kind: [name for _, name in sorted(names)] for kind, names in found.items()}


def direct(names: list[str], kind: str, classes: dict[str, list[type[Layer]]]) -> str:
    if not names:
        return f"`trtnet.layers.add_{kind}`" if kind in classes else "`trtnet.raw`"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(f"`{name}`" for name in names[:4]) + more


def spelled(ranges: Iterable[str]) -> list[str]:
    """The versions that api.json's ranges ("8.6.1..10.15,rtx") hold."""
    found = []
    for part in (part for one in ranges for part in one.split(",")):
        first, _, last = part.partition("..")
        if part == "rtx":
            found.append(part)
        else:
            found += VERSIONS[VERSIONS.index(first) : VERSIONS.index(last or first) + 1]
    return found


def versions(ranges: Iterable[str]) -> str:
    has = spelled(ranges)
    numbered = [version for version in VERSIONS if version in has]
    span = f"{numbered[0]} on" if numbered[-1] == VERSIONS[-1] else f"{numbered[0]} to {numbered[-1]}"
    said = "all" if numbered == VERSIONS else span if len(numbered) > 1 else numbered[0]
    return said + ", RTX" * ("rtx" in has)


def without(member: str, kind: str, classes: dict[str, list[type[Layer]]], ranges: Iterable[str]) -> str:
    if member in WITHOUT:
        return WITHOUT[member]
    if any(one.compose is not Layer.compose for one in classes.get(kind, ())):
        return "composed"
    lacking = [version for version in VERSIONS if version not in spelled(ranges)]
    return "ProviderError" if lacking else "all have it"


def accepted(classes: dict[str, list[type[Layer]]]) -> dict[str, str]:
    """The dtypes that each kind's data may have, by trying each on the layers of the networks."""
    wanted = [dtype for dtype in vars(dtypes).values() if isinstance(dtype, dtypes.dtype) and dtype.name != "float64"]
    found: dict[str, set[str]] = {kind: set() for kind in classes}
    for name in CASES:
        for layer in recorded(name)[0].layers:
            if layer.kind in found and layer.inputs and layer.region is None:
                found[layer.kind] |= {dtype.name for dtype in wanted if takes(layer, dtype)}
    order = [dtype.name for dtype in wanted]
    return {kind: ", ".join(sorted(some, key=order.index)) for kind, some in found.items()}


def takes(layer: Layer, dtype: Any) -> bool:
    """Whether the layer can be recorded with this dtype in place of its data's: that of its result, or of its first
    operand."""
    present = [operand.dtype for operand in layer.inputs if operand is not None]
    data = layer.outputs[0].dtype if layer.outputs and layer.outputs[0].dtype in present else present[0]

    def call(**given: Any) -> Any:
        operands = tuple(given.get(f"x{i}") for i in range(len(layer.inputs)))
        return emit(type(layer)(operands, **{field: getattr(layer, field) for field in layer.attributes}))

    try:
        made = trtnet.record(call, **{
            f"x{i}": trtnet.Input(operand.shape, dtype if operand.dtype is data else operand.dtype)
            for i, operand in enumerate(layer.inputs)
            if operand is not None
        })  # fmt: skip
    except (TrtnetError, AssertionError):  # asserted by kinds that take weights alone
        return False
    gives_it = not layer.outputs or layer.outputs[0].dtype is not data
    return gives_it or next(iter(made.outputs.values())).dtype is dtype  # else it was of sizes


if __name__ == "__main__":
    main()
