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
import stat
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...basics.disk import as_path, read_bytes, replacing, sweep, writable_by
from ...basics.errors import ArgumentError
from ...engine.checked import Checked
from ...graph.graph import Graph
from ..provider import Provider
from .configuration import merged_timings
from .lowering import Lowering
from .options import BuildOptions

if TYPE_CHECKING:
    from ..bindings import IBuilderConfig, ITimingCache

MAGIC = b"trtnet plan 1\n"


class PlanCache:
    """A folder of plans. Files are replaced as a whole, so several processes may share it.

    What is found there is run, so nobody else may write to it, as with ssh's files: another user's plans are not
    taken. Raises ArgumentError where the folder cannot be made, or others can write to it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = as_path(folder)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            others = writable_by(self.folder.stat())
        except OSError as error:
            raise ArgumentError(
                f"the plan cache {self.folder} cannot be made",
                expected="a folder, or a place for one",
                found=str(error),
                remedy="build(graph, cache=another folder)",
            ) from error
        if others is not None:
            raise ArgumentError(
                f"others can write to the plan cache {self.folder}: {others}",
                expected="a folder that is yours, and that nobody else can write to: a plan is run as it is found",
                found=stat.filemode(self.folder.stat().st_mode),
                remedy=f"chmod go-w '{self.folder}', or build(graph, cache=a folder of your own)",
            )

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.plan"

    def read(self, key: str) -> tuple[bytes, str] | None:
        """The plan, and the digest of the weights that it was built with; None for what is not there, not whole, or
        another user's."""
        try:
            raw = read_bytes(self.path(key), owned=True)
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
        data = MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body
        self._replace(self.path(key), lambda: data)

    def checked(self, key: str, data: bytes) -> dict[str, Any] | None:
        """The figures of the check that this very plan has passed; None where it has not."""
        try:
            found = json.loads(read_bytes(self._checked_path(key), owned=True))
            same = found["plan_sha256"] == hashlib.sha256(data).hexdigest()
            return Checked.of(found["checked"]).plain() if same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep_checked(self, key: str, data: bytes, figures: dict[str, Any]) -> None:
        """Remember that a plan has passed its check."""
        text = json.dumps({"plan_sha256": hashlib.sha256(data).hexdigest(), "checked": figures})
        self._replace(self._checked_path(key), text.encode)

    def _checked_path(self, key: str) -> Path:
        return self.folder / f"{key}.checked"

    def _replace(self, path: Path, make: Callable[[], bytes | None]) -> None:
        """Write what `make` gives, while no other process does; a folder that cannot be written gives one warning."""
        try:
            sweep(self.folder)
            with replacing(path) as new:
                data = make()
                if data is not None:
                    new.write_bytes(data)
                    new.chmod(new.stat().st_mode & ~0o022)
        except OSError as error:
            warnings.warn(f"the plan cache cannot write {path}: {error}", stacklevel=3)

    # --- timings

    def timing_path(self, provider: Provider, gpu: str) -> Path:
        name = "".join(c if c.isalnum() or c in ".-" else "_" for c in f"{provider.name}-{provider.version}-{gpu}")
        return self.folder / f"timing-{name}.cache"

    def timings(self, provider: Provider, gpu: str) -> bytes:
        """TensorRT's timings so far; empty where there are none."""
        try:
            return read_bytes(self.timing_path(provider, gpu), owned=True)
        except OSError:
            return b""

    def copy_timings(self, folder: str | os.PathLike[str]) -> None:
        """Copy the timings so far to another folder."""
        for path in self.folder.glob("timing-*.cache"):
            with contextlib.suppress(OSError):
                (Path(folder) / path.name).write_bytes(read_bytes(path, owned=True))

    def add_timings(self, provider: Provider, gpu: str, config: IBuilderConfig, cache: ITimingCache) -> None:
        """Keep what a build timed, together with what other builds did meanwhile."""
        self._replace(
            self.timing_path(provider, gpu),
            lambda: merged_timings(config, cache, self.timings(provider, gpu)),
        )


def plan_key(
    lowering: Lowering,
    options: BuildOptions,
    provider: Provider,
    gpu: Mapping[str, str] | None,
    changeable: Collection[str],
    extra: Sequence[object] = (),
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
            array = np.asarray(holding.array, order="C")
            digest.update(f"{holding.name} {array.shape} {holding.dtype}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_folder(cache: str | os.PathLike[str] | None, force: bool = False) -> PlanCache | None:
    """The plan cache at a folder; None for None. Raises ArgumentError for what is no folder, or not only yours; and
    where a plan is to be replaced (`force`) in none."""
    if cache is None:
        if force:
            raise ArgumentError(
                "there is no plan cache in which a plan could be replaced",
                expected="cache=FOLDER beside force=True",
                found="no cache",
                remedy="leave force out: without a cache every build compiles",
            )
        return None
    if not isinstance(cache, (str, os.PathLike)):
        raise ArgumentError("cache is a folder", expected="a path", found=repr(cache))
    return PlanCache(cache)
