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
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from .errors import WeightsError, WeightsNotFoundError

MANIFEST, WEIGHTS = ".json", ".safetensors"


def _lock_file(path: Path, whose: str = "") -> Path:
    """A file for the writers of `path` to lock: not beside it, where it would stay."""
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"trtnet-{key}{whose}.lock"


@contextlib.contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """This machine's writers of a file take turns: those of other users too, where these may share a lock."""
    lock = FileLock(_lock_file(path), mode=0o666)
    try:
        lock.acquire()
    except PermissionError:  # it is another user's
        lock = FileLock(_lock_file(path, f"-{getattr(os, 'getuid', int)()}"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
        """Replace the files. Raises OSError; until then, and then, the old ones are there."""
        with one_writer(self.path):
            self._finish()
            try:
                written = dict(manifest)
                if weights is None:
                    written["weights_sha256"] = None
                else:
                    from .weights.files import write

                    write(self.next(WEIGHTS), weights)
                    with self.next(WEIGHTS).open("rb") as file:
                        written["weights_sha256"] = _digest(file)
                if data or manifest["provider"] != "reference":
                    _write(self.next(""), data)
                written["plan_sha256"] = hashlib.sha256(data).hexdigest()
                written["plan_bytes"] = len(data)
                draft = self.path.with_name(f".{self.path.name}.draft{MANIFEST}")
                _write(draft, json.dumps(written, indent=1).encode())
                _sync(self.path.parent)
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
        if waiting.exists():
            _sync(self.path.parent)
            manifest = json.loads(waiting.read_bytes())
            for suffix in (WEIGHTS, ""):
                if self.next(suffix).exists():
                    os.replace(self.next(suffix), self.place(suffix))
            if manifest["weights_sha256"] is None:
                self.place(WEIGHTS).unlink(missing_ok=True)
            if manifest["provider"] == "reference":
                self.path.unlink(missing_ok=True)
            os.replace(waiting, self.place(MANIFEST))
            _sync(self.path.parent)
        self._clean()

    def _clean(self) -> None:
        for suffix in (WEIGHTS, ""):
            self.next(suffix).unlink(missing_ok=True)
        for left in self.path.parent.glob(f".{_escaped(self.path.name)}.draft*"):
            left.unlink(missing_ok=True)

    # --- reading

    def exists(self) -> bool:
        """Whether there is a manifest."""
        return self.next(MANIFEST).exists() or self.place(MANIFEST).exists()

    def read(self) -> tuple[dict[str, Any], bytes, dict[str, np.ndarray]]:
        """Manifest, plan and mapped weights, each as the manifest says. Writes nothing beside them."""
        before = self._state()
        try:
            return self._read()
        except (FileNotFoundError, WeightsError):
            if before == self._state():
                raise
        with self._unchanging():  # another process was replacing them
            return self._read()

    @contextlib.contextmanager
    def _unchanging(self) -> Iterator[None]:
        """Keep this machine's writers away, where its folder for temporary files lets us."""
        lock = FileLock(_lock_file(self.path), mode=0o666)
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
            manifest = json.loads(where.read_bytes())
            digest, weights_digest = manifest["plan_sha256"], manifest["weights_sha256"]
        except FileNotFoundError:
            raise self._missing(where, "the manifest") from None
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise WeightsError(
                f"{where} is no manifest of an engine",
                expected="what engine.save wrote",
                found=f"{type(error).__name__}: {error}",
                remedy="save the engine again, or restore the file",
            ) from None

        def found(suffix: str) -> Path:
            return self.next(suffix) if committed and self.next(suffix).exists() else self.place(suffix)

        data = b""
        if manifest["provider"] != "reference":
            path = found("")
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                raise self._missing(path, "the plan") from None
            if hashlib.sha256(data).hexdigest() != digest:
                whole = manifest.get("plan_bytes")
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
                arrays = _read_weights(path, weights_digest)
            except FileNotFoundError:
                raise self._missing(path, "the weights") from None
        return manifest, data, arrays

    def _missing(self, path: Path, what: str) -> WeightsNotFoundError:
        return WeightsNotFoundError(
            f"{what} of this engine is not there",
            expected=str(path),
            found="no such file",
            remedy="an engine is saved as NAME.engine, NAME.engine.json and, where it can be refitted, "
            "NAME.engine.safetensors: copy them together",
        )


def _read_weights(path: Path, digest: str) -> dict[str, np.ndarray]:
    """The mapped weights of the very file that has this SHA-256."""
    from .weights.files import read

    with path.open("rb") as file:  # while it is open no other file gets its number
        found = _digest(file)
        arrays = read(path) if found == digest else {}
        same = os.path.samestat(os.fstat(file.fileno()), path.stat())
    if found != digest or not same:
        raise WeightsError(
            f"{path} holds other weights than the manifest names",
            expected=f"SHA-256 {digest[:16]}",
            found=f"SHA-256 {found[:16]}" if same else "a file that was replaced while it was read",
            remedy="copy the three files of an engine together; save it again where one is lost",
        )
    return arrays


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Have renames in a folder reach the disk, where the system lets a folder be opened."""
    with contextlib.suppress(OSError, AttributeError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
