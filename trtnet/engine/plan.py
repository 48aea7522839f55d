"""A compiled network, and the files that it is saved as."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.disk import as_path, explained, require_folder
from ..basics.errors import ArgumentError, TrtnetError, WeightsError
from ..graph.graph import Graph
from ..weights.ledger import kept
from ..weights.recipes import Weight
from .files import Files
from .graph_json import DAMAGE, from_json, to_json, weights_from_json, weights_to_json


@dataclass(frozen=True, eq=False)
class EngineWeight:
    """Weights by their name in the engine.

    Attributes:
        weight: the parameter, recipe or constant that they are.
        dtype: as TensorRT stores them: int64 is int32 where it has no int64.
        array: their value when the plan was built; None where they were left out, or the plan was loaded.
        consumers: the layers that use them.
        idle: whether no output depends on them, so that TensorRT may have left them out.
    """

    weight: Weight
    dtype: dtypes.dtype
    array: np.ndarray | None = field(repr=False)
    consumers: tuple[str, ...] = ()
    idle: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled network: what TensorRT's runtime loads. `bytes(plan)` is the plan exactly as TensorRT wrote it.

    Attributes:
        targets: compute capabilities that it was compiled for; () means TensorRT's own default, or the GPU at hand.
        provider, version: the TensorRT that built it.
        seconds: how long the build took.
        stripped: whether it holds no refittable weights, so that a refit must come first.
        graph: the recorded graph.
        weights: the engine's weights by their names there.
        parameters: what refittable and live weights come from, as it was when the plan was built; copies, where
            somebody else may write to it.
        refittable: the parameters that can be refitted.
        live: the parameters that are inputs of the network, and those inputs' names.
        gpu: name and compute capability of the GPU that it was built on; None for plans made without one.
        options: what the build was told.
        profiles: (min, opt, max) by Dim, for each optimization profile.
        cached: whether it came from a plan cache.
        checked: the figures of the comparison with the reference (`Checked.plain`); None where there was none.
        plugins: what must be registered before it is loaded: creator, version, namespace, and the library's file name,
            path and SHA-256, which are None of TensorRT's own plugins.
        weights_version: the trainer's number of these weights; None where there is none.
    """

    data: bytes = field(repr=False)
    targets: tuple[str, ...]
    provider: str
    version: str
    seconds: float
    stripped: bool
    graph: Graph
    weights: Mapping[str, EngineWeight] = field(repr=False)
    parameters: Mapping[str, np.ndarray] = field(repr=False)
    refittable: frozenset[str] = frozenset()
    live: Mapping[str, str] = field(default_factory=dict)
    gpu: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    profiles: tuple[Mapping[str, tuple[int, int, int]], ...] = ()
    cached: bool = False
    checked: Mapping[str, Any] | None = None
    plugins: tuple[Mapping[str, Any], ...] = ()
    weights_version: int | None = None

    def kept(self) -> Plan:
        """With copies of arrays that somebody else may write to."""
        parameters = {name: kept(array) for name, array in self.parameters.items()}
        weights = dict(self.weights)
        for name, one in weights.items():
            for leaf in one.weight.leaves():
                given = self.parameters.get(leaf.name)
                if one.array is None or given is None:
                    continue
                if given is one.array:
                    weights[name] = replace(one, array=parameters[leaf.name])
                elif np.may_share_memory(given, one.array):
                    weights[name] = replace(one, array=kept(one.array))
        return replace(self, parameters=parameters, weights=weights)

    @property
    def manifest(self) -> dict[str, Any]:
        """What `save` writes beside the plan, and the plan's SHA-256."""
        return _described(self) | {"plan_sha256": hashlib.sha256(self.data).hexdigest()}

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def save(self, path: str | os.PathLike[str], weights: bool = True) -> Path:
        """Write `path` (it ends in `.engine` or `.trt`), `path.json` (the manifest), and `path.safetensors` where
        anything can be refitted or is live: the parameters' values.

        A crash at any moment leaves the old files loadable, or the new ones: see `engine.files`.

        Args:
            weights: False leaves the values out: an engine loaded from such files takes complete refits only.

        Raises:
            ArgumentError: another suffix, or a stripped plan without weights. WeightsNotFoundError: no such folder.
            WeightsError: the disk refuses.
        """
        path = as_path(path)
        if path.suffix not in SUFFIXES:
            raise ArgumentError(
                f"a plan's file name ends in {' or '.join(SUFFIXES)}",
                expected=file_name(self.graph, path.stem),
                found=str(path),
            )
        require_folder(path)
        if self.stripped and not weights:
            raise ArgumentError(
                "a stripped plan cannot be saved without weights",
                expected="weights=True",
                found="weights=False",
                remedy="leave it out: the plan itself holds no weights",
            )
        keep = self.refittable or self.live or self.stripped or self.provider == "reference"
        with explained(path, "plan"):
            Files(path).write(_described(self), self.data, self.parameters if weights and keep else None)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """The plan that `save` wrote; every file is compared with the SHA-256 that the manifest has of it.

        Raises:
            WeightsNotFoundError: a file is missing. WeightsError: one is cut off, changed or of another plan.
        """
        manifest, data, parameters = Files(as_path(path)).read()
        return restored(manifest, data, parameters)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (_described(self), self.data, dict(self.parameters))

    def __repr__(self) -> str:
        targets = ", ".join(self.targets) or "default targets"
        return f"Plan({len(self.data):,} bytes, {targets}, {self.provider} {self.version}, {self.seconds:.1f} s)"


FORMAT = 2
SUFFIXES = (".engine", ".trt")
PRECISIONS = {
    dtypes.float32: "fp32", dtypes.float16: "fp16", dtypes.bfloat16: "bf16", dtypes.float8_e4m3fn: "fp8",
    dtypes.float4_e2m1fn: "fp4",
}  # fmt: skip


def precision(graph: Graph) -> str:
    """The file name's PRECISION: the smallest floating-point type that the network computes in."""
    used = {t.dtype for layer in graph.layers for t in layer.outputs if t.dtype in PRECISIONS}
    return PRECISIONS[min(used, key=lambda d: d.bits)] if used else "int"


def file_name(graph: Graph, stem: str) -> str:
    """A plan's file name: its precision, and the types of inputs and outputs that are floats other than float32, as in
    `lenet.fp32.engine`, `lenet.fp16infp16out.engine` and `lenet.fp16.fp32infp16out.engine`."""
    inner = precision(graph)
    ends = {
        way: "".join(dict.fromkeys(PRECISIONS[t.dtype] for t in tensors.values() if t.dtype in PRECISIONS))
        for way, tensors in (("in", graph.inputs), ("out", graph.outputs))
    }
    if all(types in ("", "fp32") for types in ends.values()):
        return f"{stem}.{inner}.engine"
    outer = "".join(types + way for way, types in ends.items() if types)
    alike = all(types in ("", inner) for types in ends.values())
    return f"{stem}.{outer}.engine" if alike else f"{stem}.{inner}.{outer}.engine"


def _described(plan: Plan) -> dict[str, Any]:
    """The manifest without the SHA-256 of the plan and of the weights, which `Files` adds."""
    graph = plan.graph
    found = {
        "format": FORMAT,
        "module": graph.title,
        "inputs": {n: {"shape": [str(s) for s in t.shape], "dtype": t.dtype.name} for n, t in graph.inputs.items()},
        "outputs": {n: {"shape": [str(s) for s in t.shape], "dtype": t.dtype.name} for n, t in graph.outputs.items()},
        "dims": {
            n: {"min": d.min, "opt": d.opt, "max": d.max, "multiple_of": d.multiple_of} for n, d in graph.dims.items()
        },
        "result": graph.form,
        "weights": {
            name: {
                "recipe": repr(one.weight),
                "shape": list(one.weight.shape),
                "dtype": one.dtype.name,
                "parameters": list(dict.fromkeys(leaf.name for leaf in one.weight.leaves())),
                "consumers": list(one.consumers),
                "idle": one.idle,
                "left_out": plan.stripped and any(leaf.name in plan.refittable for leaf in one.weight.leaves()),
            }
            for name, one in plan.weights.items()
        },
        "recipes": weights_to_json({name: one.weight for name, one in plan.weights.items()}),
        "refittable": sorted(plan.refittable),
        "live": dict(plan.live),
        "precision": precision(graph),
        "provider": plan.provider,
        "version": plan.version,
        "targets": list(plan.targets),
        "stripped": plan.stripped,
        "gpu": None if plan.gpu is None else dict(plan.gpu),
        "options": dict(plan.options),
        "profiles": [{name: list(sizes) for name, sizes in profile.items()} for profile in plan.profiles],
        "seconds": plan.seconds,
        "checked": plan.checked,
        "structure": graph.structure_hash(),
        "graph": to_json(graph),
    }
    if plan.weights_version is not None:
        found["weights_version"] = plan.weights_version
    if plan.plugins:
        found["plugins"] = [dict(one) for one in plan.plugins]
    return found | {"meaning_sha256": _meaning(found)}


MEANING = ("inputs", "outputs", "result", "weights", "recipes", "refittable", "live", "stripped", "profiles", "graph")
"""The parts of a manifest that decide what a loaded engine computes, and what a name means."""


def _meaning(manifest: Mapping[str, Any]) -> str:
    parts = [manifest[name] for name in MEANING] + [manifest[name] for name in ("plugins",) if name in manifest]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _changed(what: str, expected: object, found: object) -> WeightsError:
    return WeightsError(
        f"this manifest is not as it was written: {what}",
        expected=expected,
        found=found,
        remedy="build the engine again, or restore the file",
    )


def _is_plugin(value: Any) -> bool:
    """Whether this says what a plan needs of a plugin."""
    named = [value[name] for name in ("creator", "version", "namespace")]
    return _texts(named) and all(value[n] is None or isinstance(value[n], str) for n in ("library", "path", "sha256"))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_FORMS: dict[str, Callable[[Any], bool]] = {
    "provider": lambda v: isinstance(v, str),
    "version": lambda v: isinstance(v, str),
    "structure": lambda v: isinstance(v, str),
    "targets": _texts,
    "refittable": _texts,
    "seconds": lambda v: type(v) in (int, float) and 0 <= v < math.inf,
    "stripped": lambda v: isinstance(v, bool),
    "live": lambda v: isinstance(v, dict) and _texts(list(v.values())),
    "gpu": lambda v: v is None or (isinstance(v, dict) and _texts([v["name"], v["capability"]])),
    "options": lambda v: isinstance(v, dict),
    "weights": lambda v: isinstance(v, dict) and all(_texts(one["consumers"]) for one in v.values()),
    "profiles": lambda v: (
        isinstance(v, list)
        and all(len(sizes) == 3 and all(type(s) is int for s in sizes) for one in v for sizes in one.values())
    ),
    "checked": lambda v: v is None or isinstance(v, dict),
    "weights_version": lambda v: v is None or type(v) is int,
    "plugins": lambda v: v is None or (isinstance(v, list) and all(map(_is_plugin, v))),
}
"""What each part of a manifest looks like that nothing else looks into."""
_MAY_LACK = ("checked", "plugins", "weights_version")


def restored(manifest: Mapping[str, Any], data: bytes, parameters: Mapping[str, np.ndarray]) -> Plan:
    """The plan of a manifest. Raises WeightsError where it is of another version, or not as it was written."""
    try:
        return _restored(manifest, data, parameters)
    except DAMAGE as error:
        if isinstance(error, TrtnetError):
            raise
        found = f"{type(error).__name__}: {error}"[:300]
        raise _changed("parts are missing or wrong", "what engine.save wrote", found) from error


def _check(manifest: Mapping[str, Any], graph: Graph) -> None:
    """Raises WeightsError for what nobody wrote so."""
    for name, looks_right in _FORMS.items():
        if not looks_right(manifest.get(name) if name in _MAY_LACK else manifest[name]):
            raise _changed(f"the part {name!r}", "what engine.save wrote", repr(manifest[name])[:200])
    parameters, leaves = graph.parameters, {leaf.name for leaf in graph.parameters.values()}
    for name, given, known in (
        ("refittable", manifest["refittable"], parameters.keys()),
        ("live", manifest["live"], leaves),
        ("profiles", [dim for one in manifest["profiles"] for dim in one], graph.dims.keys()),
        ("trainable", graph.trainable, parameters.keys()),
        ("buffers", graph.buffers, parameters.keys()),
        ("parameters", leaves, parameters.keys()),
    ):
        if unknown := [one for one in given if one not in known]:
            raise _changed(f"the part {name!r}", "names of the network", ", ".join(map(str, unknown[:8])))
    if manifest.get("meaning_sha256", (found := _meaning(manifest))) != found:
        raise _changed("something was changed", str(manifest["meaning_sha256"])[:16], found[:16])


def _restored(manifest: Mapping[str, Any], data: bytes, parameters: Mapping[str, np.ndarray]) -> Plan:
    if manifest.get("format") != FORMAT:
        raise WeightsError(
            "this manifest is of another version of trtnet",
            expected=f"format {FORMAT}",
            found=manifest.get("format"),
            remedy="load it with the version that wrote it, or build the engine again",
        )
    graph = from_json(manifest["graph"])
    if graph.structure_hash() != manifest["structure"]:
        raise WeightsError(
            "the network in this manifest is not the one that it was written for",
            expected=f"structure {manifest['structure'][:16]}",
            found=graph.structure_hash()[:16],
            remedy="the manifest was changed: build the engine again, or restore the file",
        )
    leaves = {leaf.name: leaf for leaf in graph.parameters.values()}
    recipes = weights_from_json(manifest["recipes"], leaves)
    if recipes.keys() != manifest["weights"].keys():
        raise WeightsError(
            "this manifest names other weights than it describes",
            expected=", ".join(list(recipes)[:8]),
            found=", ".join(list(manifest["weights"])[:8]),
            remedy="the manifest was changed: build the engine again, or restore the file",
        )
    _check(manifest, graph)
    for name, array in parameters.items():
        leaf = leaves.get(name)
        if leaf is None or tuple(array.shape) != tuple(leaf.shape) or dtypes.get(array.dtype) is not leaf.dtype:
            raise WeightsError(
                f"the weights file does not fit the manifest: {name!r}",
                expected="no such parameter" if leaf is None else f"{leaf.shape} {leaf.dtype}",
                found=f"{tuple(array.shape)} {array.dtype}",
                remedy="the files are of two engines: build the engine again, or restore them",
            )
        leaf.value.array = array
    weights = {
        name: EngineWeight(weight, dtypes.get(manifest["weights"][name]["dtype"]), None,
                           tuple(manifest["weights"][name]["consumers"]),
                           bool(manifest["weights"][name].get("idle")))
        for name, weight in recipes.items()
    }  # fmt: skip
    return Plan(
        data, tuple(manifest["targets"]), manifest["provider"], manifest["version"], manifest["seconds"],
        manifest["stripped"], graph, weights, parameters, frozenset(manifest["refittable"]), manifest["live"],
        manifest["gpu"], manifest["options"],
        tuple({name: tuple(sizes) for name, sizes in profile.items()} for profile in manifest["profiles"]),
        checked=manifest.get("checked"), plugins=tuple(manifest.get("plugins") or ()),
        weights_version=manifest.get("weights_version"),
    )  # fmt: skip
