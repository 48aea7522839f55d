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
from typing import Any

from . import dtypes
from .errors import ArgumentError, WeightsError, WeightsNotFoundError
from .graph import Graph
from .lowering import Lowering
from .weights.recipes import VERSION, Weight


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled network: what TensorRT's runtime loads. `bytes(plan)` is the plan exactly as TensorRT wrote it.

    Attributes:
        targets: compute capabilities that it was compiled for; () means TensorRT's own default.
        provider: name and version of the TensorRT that built it.
        seconds: how long the build took.
        stripped: whether it holds no refittable weights, so that a refit must come first.
        manifest: what `save` writes beside it.
        weights: the parameters that its weights come from, as they were when it was built; nothing is copied.
    """

    data: bytes
    targets: tuple[str, ...]
    provider: str
    seconds: float
    stripped: bool
    manifest: Mapping[str, Any]
    graph: Graph
    weights: Mapping[str, Any] = field(default_factory=dict, repr=False)

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

            write(at, self.weights)
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
        return f"Plan({len(self.data):,} bytes, {targets}, {self.provider}, {self.seconds:.1f} s)"


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


def engine_weights(lowering: Lowering) -> dict[str, Weight]:
    return {h.name: h.weight for h in lowering.ledger} | lowering.placeholders


def manifest(graph: Graph, lowering: Lowering, data: bytes, targets: Sequence[str]) -> dict[str, Any]:
    weights = engine_weights(lowering)
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
                "recipe": repr(weight),
                "shape": list(weight.shape),
                "dtype": weight.dtype.name,
                "parameters": list(dict.fromkeys(leaf.name for leaf in weight.leaves())),
                "left_out": name in lowering.placeholders,
            }
            for name, weight in weights.items()
        },
        "precision": precision(graph),
        "provider": lowering.provider.name,
        "version": lowering.provider.version,
        "targets": list(targets),
        "structure": graph.structure_hash(),
        "plan_sha256": hashlib.sha256(data).hexdigest(),
    }
