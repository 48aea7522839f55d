"""A saved engine's three files, replaced so that a crash at any moment leaves the old engine or the new one.

New files are written beside their places, under hidden names that end in `.next`. The rename of the new manifest to its
`.next` name is the moment from which the new engine counts: every other file is complete by then. The files are renamed
to their places after it, the manifest last. A reader that finds a `.next` manifest takes that, and the other files from
where they are; the next writer finishes what a killed one left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ..basics.disk import lock_file, one_writer, read_bytes, remove_left, sync
from ..basics.errors import WeightsError, WeightsNotFoundError
from ..weights import files, safetensors

MANIFEST, WEIGHTS = ".json", ".safetensors"


class Files:
    """The plan at `path`, `path.json` and `path.safetensors`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def next(self, suffix: str) -> Path:
        # the weights' suffix says their format
        stem = f".{self.path.name}.next"
        return self.path.with_name(stem + suffix)

    # --- writing

    def write(self, manifest: Mapping[str, Any], data: bytes, weights: Mapping[str, np.ndarray] | None) -> None:
        """Replace the files. Raises OSError; until then, and then, the old ones are there. Raises WeightsError where a
        folder has a file's place."""
        for place in map(self.place, ("", MANIFEST, WEIGHTS)):
            if place.is_dir():
                raise WeightsError(
                    f"{place} is a folder",
                    expected="the place of a file",
                    found=str(place),
                    remedy="remove it, or save the engine under another name",
                )
        with one_writer(self.path):
            self._finish()
            try:
                written = dict(manifest)
                if weights is None:
                    written["weights_sha256"] = None
                else:
                    files.write(self.next(WEIGHTS), weights)
                    with self.next(WEIGHTS).open("rb") as file:
                        written["weights_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
                if data or manifest["provider"] != "reference":
                    _write(self.next(""), data)
                written["plan_sha256"] = hashlib.sha256(data).hexdigest()
                written["plan_bytes"] = len(data)
                draft = self.path.with_name(f".{self.path.name}.draft{MANIFEST}")
                _write(draft, json.dumps(written, indent=1).encode())
                sync(self.path.parent)
                os.replace(draft, self.next(MANIFEST))
            except BaseException:
                if not self.next(MANIFEST).exists():
                    self._clean()
                raise
            with contextlib.suppress(OSError):  # the new engine counts already, from where its files are
                self._finish()

    def _finish(self) -> None:
        """Bring what counts to its place, and remove the rest."""
        waiting = self.next(MANIFEST)
        try:
            manifest = _read_manifest(waiting)
        except FileNotFoundError:
            pass
        except WeightsError:  # a damaged disk, or a hand: nobody can load it
            waiting.unlink()
        else:
            sync(self.path.parent)
            for suffix in (WEIGHTS, ""):
                if self.next(suffix).exists():
                    os.replace(self.next(suffix), self.place(suffix))
            if manifest["weights_sha256"] is None:
                self.place(WEIGHTS).unlink(missing_ok=True)
            if manifest["provider"] == "reference":
                self.path.unlink(missing_ok=True)
            os.replace(waiting, self.place(MANIFEST))
            sync(self.path.parent)
        self._clean()

    def _clean(self) -> None:
        for suffix in (WEIGHTS, ""):
            self.next(suffix).unlink(missing_ok=True)
            remove_left(self.next(suffix))
        for left in self.path.parent.glob(f".{_escaped(self.path.name)}.draft*"):
            left.unlink(missing_ok=True)

    # --- reading

    def exists(self) -> bool:
        """Whether there is a manifest. Raises WeightsError for what can be no file: a name that is too long."""
        try:
            return self.next(MANIFEST).exists() or self.place(MANIFEST).exists()
        except OSError as error:
            raise WeightsError(f"{self.path} cannot be read", found=str(error), remedy="check the path") from error

    def read(self) -> tuple[dict[str, Any], bytes, dict[str, np.ndarray]]:
        """Manifest, plan and weights, each as the manifest says. Nothing is mapped, and nothing written beside them.

        Raises WeightsError and WeightsNotFoundError.
        """
        before = self._state()
        try:
            try:
                return self._read()
            except (OSError, WeightsError):
                if before == self._state():
                    raise
            with self._unchanging():  # another process was replacing them
                return self._read()
        except (OSError, MemoryError) as error:
            if isinstance(error, WeightsNotFoundError):
                raise
            raise WeightsError(
                f"the engine {self.path} cannot be read",
                found=str(error) or type(error).__name__,
                remedy="check that its files are files that you may read, or save the engine again",
            ) from error

    @contextlib.contextmanager
    def _unchanging(self) -> Iterator[None]:
        """Keep this machine's writers away, where its folder for temporary files lets us."""
        lock = FileLock(lock_file(self.path), mode=0o666)
        try:
            lock.acquire()
        except OSError:
            time.sleep(0.1)
        try:
            yield
        finally:
            lock.release()

    def _state(self) -> list[Any]:
        found: list[Any] = []
        for suffix in (MANIFEST, WEIGHTS, ""):
            for path in (self.next(suffix), self.place(suffix)):
                with contextlib.suppress(OSError):
                    status = path.stat()
                    found.append((str(path), status.st_ino, status.st_mtime_ns, status.st_size))
        return found

    def _read(self) -> tuple[dict[str, Any], bytes, dict[str, np.ndarray]]:
        committed = self.next(MANIFEST).exists()
        where = self.next(MANIFEST) if committed else self.place(MANIFEST)
        try:
            manifest = _read_manifest(where)
        except FileNotFoundError:
            raise self._missing(where, "the manifest") from None
        digest, weights_digest = manifest["plan_sha256"], manifest["weights_sha256"]

        def found(suffix: str) -> Path:
            return self.next(suffix) if committed and self.next(suffix).exists() else self.place(suffix)

        data = b""
        if manifest["provider"] != "reference":
            path = found("")
            try:
                data = read_bytes(path)
            except FileNotFoundError:
                raise self._missing(path, "the plan") from None
            if hashlib.sha256(data).hexdigest() != digest:
                size = manifest.get("plan_bytes")
                whole = size if isinstance(size, int) else len(data)
                raise WeightsError(
                    f"{path} is not the plan that its manifest describes",
                    expected=f"{whole:,} bytes with SHA-256 {digest[:16]}",
                    found=f"{len(data):,} bytes with SHA-256 {hashlib.sha256(data).hexdigest()[:16]}"
                    + (": cut off" if len(data) < whole else ": changed, or another plan"),
                    remedy="copy the file again, together with its .json, or build the engine again",
                )
        arrays: dict[str, np.ndarray] = {}
        if weights_digest is not None:
            path = found(WEIGHTS)
            try:
                raw = read_bytes(path)
            except FileNotFoundError:
                raise self._missing(path, "the weights") from None
            if (have := hashlib.sha256(raw).hexdigest()) != weights_digest:
                raise WeightsError(
                    f"{path} holds other weights than the manifest names",
                    expected=f"SHA-256 {weights_digest[:16]}",
                    found=f"SHA-256 {have[:16]}",
                    remedy="copy the three files of an engine together; save it again where one is lost",
                )
            arrays = safetensors.parse(path, raw)
        return manifest, data, arrays

    def _missing(self, path: Path, what: str) -> WeightsNotFoundError:
        return WeightsNotFoundError(
            f"{what} of this engine is not there",
            expected=str(path),
            found="no such file",
            remedy="an engine is saved as NAME.engine, NAME.engine.json and, where it can be refitted, "
            "NAME.engine.safetensors: copy them together",
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    """What a manifest says. Raises OSError, and WeightsError where it does not say what the other files are."""
    try:
        manifest = json.loads(read_bytes(path))
        provider, digest, weights = (manifest[key] for key in ("provider", "plan_sha256", "weights_sha256"))
        if not (isinstance(provider, str) and isinstance(digest, str) and isinstance(weights, str | None)):
            raise TypeError("provider, plan_sha256 and weights_sha256 are text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no manifest of an engine",
            expected="what engine.save wrote",
            found=f"{type(error).__name__}: {error}"[:300],
            remedy="save the engine again, or restore the file",
        ) from None
    found: dict[str, Any] = manifest
    return found


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
