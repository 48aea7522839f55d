"""Plans kept between runs: one file for each structure, and TensorRT's timings beside them.

The key of a plan is everything that it depends on: the network's structure, sizes and types, the options, the TensorRT
and the GPU, and the values of those weights that can be neither refitted nor bound. The same network with other values
of the others is the same plan, and is refitted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ArgumentError, WeightsError
from .storing import one_writer

if TYPE_CHECKING:
    from .graph import Graph
    from .lowering import Lowering
    from .options import BuildOptions
    from .provider import Provider

MAGIC = b"trtnet plan 1\n"


class PlanCache:
    """A folder of plans. Files are replaced as a whole, so several processes may share it.

    Raises ArgumentError where the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                f"the plan cache {self.folder} cannot be made",
                expected="a folder, or a place for one",
                found=str(error),
                remedy="build(graph, cache=another folder)",
            ) from error

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.plan"

    def read(self, key: str) -> tuple[bytes, str] | None:
        """The plan, and the digest of the weights that it was built with; None for what is not there or not whole."""
        try:
            raw = self.path(key).read_bytes()
        except OSError:
            return None
        head, found, rest = raw.partition(MAGIC)
        if head or not found:
            return None
        digest, _, body = rest.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        weights, _, data = body.partition(b"\n")
        return data, weights.decode()

    def write(self, key: str, data: bytes, weights: str) -> None:
        """Keep a plan; a folder that cannot be written gives one warning."""
        body = weights.encode() + b"\n" + data
        self._replace(self.path(key), MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    def _replace(self, path: Path, data: bytes) -> None:
        new = path.with_name(f".{secrets.token_hex(8)}.{path.name}")
        try:
            self._sweep()
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            warnings.warn(f"the plan cache cannot write {path}: {error}", stacklevel=2)

    def _sweep(self) -> None:
        """Remove what killed processes left, once it is an hour old."""
        import time

        for left in self.folder.glob(".*"):
            with contextlib.suppress(OSError):
                if left.name.endswith((".plan", ".cache")) and time.time() - left.stat().st_mtime > 3600:
                    left.unlink()

    # --- timings

    def timing_path(self, provider: Provider, gpu: str) -> Path:
        name = "".join(c if c.isalnum() or c in ".-" else "_" for c in f"{provider.name}-{provider.version}-{gpu}")
        return self.folder / f"timing-{name}.cache"

    def timings(self, provider: Provider, gpu: str) -> bytes:
        """TensorRT's timings so far; empty where there are none."""
        try:
            return self.timing_path(provider, gpu).read_bytes()
        except OSError:
            return b""

    def add_timings(self, provider: Provider, gpu: str, config: Any, cache: Any) -> None:
        """Keep what a build timed, together with what other builds did meanwhile."""
        path = self.timing_path(provider, gpu)
        with one_writer(path):
            data = provider.merged_timings(config, cache, self.timings(provider, gpu))
            if data is not None:
                self._replace(path, data)


def plan_key(
    lowering: Lowering,
    options: BuildOptions,
    provider: Provider,
    gpu: Any,
    changeable: Collection[str],
    extra: Any = (),
) -> str:
    """The name of a plan: a hash of everything that it depends on."""
    graph: Graph = lowering.graph
    text = {
        "structure": graph.structure_hash(),
        "options": options.plain(),
        "provider": [provider.name, provider.version],
        "gpu": gpu,
        "changeable": sorted(changeable),
        "extra": extra,
        "fixed": weights_digest(lowering, changeable, fixed=True),
    }
    return hashlib.sha256(json.dumps(text, sort_keys=True, default=str).encode()).hexdigest()


def weights_digest(lowering: Lowering, changeable: Collection[str], fixed: bool) -> str:
    """A hash of the values of the weights that are fixed, or of those that can be changed."""
    digest = hashlib.sha256()
    for holding in lowering.ledger:
        can_change = any(leaf.name in changeable for leaf in holding.weight.leaves())
        if can_change is not fixed:
            array = np.ascontiguousarray(holding.array)
            digest.update(f"{holding.name} {array.shape} {holding.dtype}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_folder(cache: Any) -> PlanCache | None:
    """The plan cache at a folder; None for None. Raises ArgumentError, WeightsError for what is no folder."""
    if cache is None:
        return None
    if not isinstance(cache, (str, os.PathLike)):
        raise ArgumentError("cache is a folder", expected="a path", found=repr(cache))
    if Path(cache).exists() and not Path(cache).is_dir():
        raise WeightsError(f"the plan cache {cache} is a file", expected="a folder", found=str(cache))
    return PlanCache(cache)
