"""A compiled network, and the files that it is saved as."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes
from .errors import ArgumentError, WeightsError, WeightsNotFoundError
from .graph import Graph
from .weights.recipes import VERSION, Weight

if TYPE_CHECKING:
    from .lowering import Lowering
    from .provider import Provider


@dataclass(frozen=True, eq=False)
class EngineWeight:
    """Weights by their name in the engine.

    Attributes:
        weight: the parameter, recipe or constant that they are.
        dtype: as TensorRT stores them: int64 is int32 where it has no int64.
        array: their value when the plan was built; None where they were left out, or the plan was loaded.
        consumers: the layers that use them.
    """

    weight: Weight
    dtype: dtypes.dtype
    array: np.ndarray | None = field(repr=False)
    consumers: tuple[str, ...] = ()


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
        parameters: what refittable and live weights come from, as it was when the plan was built; nothing is copied.
        refittable: the parameters that can be refitted.
        live: the parameters that are inputs of the network, and those inputs' names.
        gpu: name and compute capability of the GPU that it was built on; None for plans made without one.
        options: what the build was told.
        profiles: (min, opt, max) by Dim, for each optimization profile.
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

    @classmethod
    def of(
        cls,
        graph: Graph,
        lowering: Lowering,
        data: bytes,
        *,
        provider: Provider,
        targets: Sequence[str] = (),
        seconds: float = 0.0,
        stripped: bool = False,
        refittable: frozenset[str] = frozenset(),
        live: Mapping[str, str] | None = None,
        gpu: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        profiles: Sequence[Mapping[str, tuple[int, int, int]]] = (),
    ) -> Plan:
        """What a build gave, with everything that an engine is made from."""
        weights = {h.name: EngineWeight(h.weight, h.dtype, h.array, tuple(h.consumers)) for h in lowering.ledger}
        for name, weight in lowering.placeholders.items():
            weights[name] = EngineWeight(weight, provider.stored(weight.dtype), None)
        leaves = {leaf.name: leaf for one in weights.values() for leaf in one.weight.leaves()}
        leaves |= {graph.parameters[name].name: graph.parameters[name] for name in live or ()}
        return cls(
            data, tuple(targets), provider.name, provider.version, seconds, stripped, graph, weights,
            {name: leaf.value.read() for name, leaf in leaves.items()}, refittable, dict(live or {}), gpu,
            dict(options or {}), tuple(profiles),
        )  # fmt: skip

    @property
    def manifest(self) -> dict[str, Any]:
        """What `save` writes beside the plan."""
        return manifest(self)

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `path` (which ends in `.engine`), `path.json` (the manifest), and `path.safetensors` where it is
        stripped.

        The files are written beside their places first, and then renamed, the manifest last; it holds the SHA-256
        of the
        others. When anything fails the old files are back.

        Raises:
            ArgumentError: another suffix. WeightsNotFoundError: no such folder. WeightsError: the disk refuses.
        """
        path = Path(path)
        if path.suffix != ".engine":
            raise ArgumentError(
                "a plan's file name ends in .engine",
                expected=f"{path.stem}.{self.manifest['precision']}.engine",
                found=str(path),
            )
        if not path.parent.is_dir():
            raise WeightsNotFoundError(
                f"the folder {path.parent} does not exist",
                expected="an existing folder",
                found=str(path.parent),
                remedy="create it first: path.parent.mkdir(parents=True)",
            )
        manifest = dict(self.manifest)

        def write_weights(at: Path) -> None:
            from .weights.files import write

            write(at, self.parameters)
            digest = hashlib.sha256()
            with at.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            manifest["weights_sha256"] = digest.hexdigest()

        files: dict[Path, Callable[[Path], Any]] = {}
        if self.stripped:
            files[path.with_name(path.name + ".safetensors")] = write_weights
        files[path] = lambda at: at.write_bytes(self.data)
        files[path.with_name(path.name + ".json")] = lambda at: at.write_bytes(json.dumps(manifest, indent=1).encode())
        try:
            _replace_together(files)
        except OSError as error:
            raise WeightsError(
                f"{path} could not be written",
                found=str(error),
                remedy="make room, or check the folder's permissions; an old plan of this name is unchanged",
            ) from error
        return path

    def __repr__(self) -> str:
        targets = ", ".join(self.targets) or "default targets"
        return f"Plan({len(self.data):,} bytes, {targets}, {self.provider} {self.version}, {self.seconds:.1f} s)"


def _replace_together(files: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write files by their functions, all or none: beside their places first, then renamed in this order."""
    token = secrets.token_hex(8)
    new = {path: path.with_name(f".{token}.new.{path.name}") for path in files}
    old = {path: path.with_name(f".{token}.old.{path.name}") for path in files}
    replaced: list[Path] = []
    try:
        for path, write in files.items():
            write(new[path])
            with new[path].open("rb+") as file:
                os.fsync(file.fileno())
        for path in files:
            if path.exists():
                shutil.copy2(path, old[path])
            replaced.append(path)
            os.replace(new[path], path)
    except BaseException:
        for path in replaced:
            if old[path].exists():
                os.replace(old[path], path)
            elif not new[path].exists():
                path.unlink(missing_ok=True)
        raise
    finally:
        for path in (*new.values(), *old.values()):
            path.unlink(missing_ok=True)


PRECISIONS = {dtypes.float32: "fp32", dtypes.float16: "fp16", dtypes.bfloat16: "bf16", dtypes.float8_e4m3fn: "fp8"}


def precision(graph: Graph) -> str:
    """The file name's PRECISION: the smallest floating-point type that the network computes in."""
    used = {t.dtype for layer in graph.layers for t in layer.outputs if t.dtype.is_floating_point}
    return PRECISIONS[min(used, key=lambda d: d.bits)] if used else "int"


def manifest(plan: Plan) -> dict[str, Any]:
    graph = plan.graph
    return {
        "format": 1,
        "module": graph.title,
        "inputs": {n: {"shape": [str(s) for s in t.shape], "dtype": t.dtype.name} for n, t in graph.inputs.items()},
        "outputs": {n: {"shape": [str(s) for s in t.shape], "dtype": t.dtype.name} for n, t in graph.outputs.items()},
        "dims": {
            n: {"min": d.min, "opt": d.opt, "max": d.max, "multiple_of": d.multiple_of} for n, d in graph.dims.items()
        },
        "result": graph.form,
        "recipes": VERSION,
        "weights": {
            name: {
                "recipe": repr(one.weight),
                "shape": list(one.weight.shape),
                "dtype": one.dtype.name,
                "parameters": list(dict.fromkeys(leaf.name for leaf in one.weight.leaves())),
                "left_out": plan.stripped and one.array is None,
            }
            for name, one in plan.weights.items()
        },
        "precision": precision(graph),
        "provider": plan.provider,
        "version": plan.version,
        "targets": list(plan.targets),
        "structure": graph.structure_hash(),
        "plan_sha256": hashlib.sha256(plan.data).hexdigest(),
    }
