"""`dir:PATH`: weights as safetensors files in a folder, which machines may share.

Each publish writes the tensors that changed into one new file, `VERSION-SESSION-SEQUENCE.safetensors`, and then
replaces `manifest.json`, which says of every tensor in which file it is and what its bytes hash to (xxh3_128). So
whoever dies, the manifest names whole files; and what a file holds is believed only after its hash was computed again.

A new publisher takes the folder over by writing `publisher.json`; one that finds another's name there stops. `beat` is
a number that a living publisher counts up.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..basics import dtypes, forking
from ..basics.arrays import is_torch, to_numpy
from ..basics.disk import as_path, explained, read_bytes, sync
from ..basics.errors import ArgumentError, FleetError, ProviderError, WeightsError, WeightsNotFoundError
from ..weights import safetensors
from .layout import Layout
from .roads import Head, Pulse, Receiver, Road, Sender, Sent, Update, Values

MANIFEST, PUBLISHER, BEAT = "manifest.json", "publisher.json", "beat"
FORMAT = 1
WASTE = 2
"""How many times the bytes of the weights the files may have, before all tensors are written into one again."""


class Folder(Road):
    """`dir:PATH`: a folder, made where it does not exist. Needs the package xxhash: `pip install 'trtnet[fleet]'`.

    Args:
        path: of the folder.
        keep: of how many publishes the files stay, for followers that are reading older ones.
    """

    def __init__(self, path: str | PathLike[str], keep: int = 2) -> None:
        if not str(path):
            raise ArgumentError("dir: names no folder", expected="dir:PATH", found="'dir:'")
        if keep < 1:
            raise ArgumentError("the newest weights must stay", expected="keep=1 or more", found=keep)
        self.path = as_path(path)
        self.keep = keep
        self.hash = _hasher()

    def __repr__(self) -> str:
        return f"'dir:{self.path}'"

    def sender(self, heartbeat: float) -> FolderSender:
        return FolderSender(self, heartbeat)

    def receiver(self) -> FolderReceiver:
        return FolderReceiver(self)


def _hasher() -> Callable[[Any], str]:
    try:
        from xxhash import xxh3_128_hexdigest
    except ImportError:
        raise ProviderError(
            "weights in a folder are hashed by xxhash, which is not installed", remedy="pip install 'trtnet[fleet]'"
        ) from None
    found: Callable[[Any], str] = xxh3_128_hexdigest
    return found


def _digest(hashed: Callable[[Any], str], array: np.ndarray) -> str:
    """Of a tensor: its type and shape, and its bytes."""
    data = np.asarray(array, order="C").reshape(-1).view(np.uint8)
    return f"{dtypes.get(array.dtype).name}{list(array.shape)}:{hashed(data)}".replace(" ", "")


class FolderSender(Sender):
    """Writes files."""

    def __init__(self, road: Folder, heartbeat: float) -> None:
        self.road, self.path = road, road.path
        self.session = secrets.token_hex(8)
        self._beats = 0
        self._tensors: dict[str, list[str]] = {}
        self._kept: list[set[str]] = []
        self._sizes: dict[str, int] = {}
        self._sequence = 0
        with explained(self.path, "folder"):
            self.path.mkdir(parents=True, exist_ok=True)
            for left in self.path.glob(".*.tmp"):  # a library may have had files of its own in it
                shutil.rmtree(left, ignore_errors=True)
            self._drafts = self.path / f".{self.session}.tmp"
            self._drafts.mkdir()
            manifest = None
            with contextlib.suppress(OSError, WeightsError):  # what is damaged is replaced
                manifest = _read(self.path / MANIFEST, road.hash)
            if manifest is not None:
                self.last, self._sequence = _head(manifest), manifest["sequence"]
                self._tensors = manifest["tensors"]
                self._keep(_files(manifest["tensors"]))
            self._write(PUBLISHER, json.dumps({"session": self.session, "heartbeat": heartbeat}).encode())

    # --- sending

    def send(self, values: Values, version: int, structure: str | None) -> Sent:
        Layout.of(values)  # which refuses types that trtnet has not
        arrays = {name: to_numpy(value) if is_torch(value) else value for name, value in values.items()}
        digests = {name: _digest(self.road.hash, array) for name, array in arrays.items()}
        with explained(self.path / MANIFEST, "manifest"):
            self._own()
            changed = [name for name in arrays if self._tensors.get(name, ["", ""])[1] != digests[name]]
            tensors = {name: self._tensors[name] for name in arrays if name not in set(changed)}
            total = sum(array.nbytes for array in arrays.values())
            there = sum(self._size(name) for name in _files(tensors))
            if tensors and there + sum(arrays[name].nbytes for name in changed) > WASTE * total:
                changed, tensors = list(arrays), {}
            now = Head(self.session, self._sequence + 1, version, time.time())
            moved = 0
            if changed:
                name = f"{version}-{self.session[:8]}-{now.sequence}.safetensors"
                moved = self._write(name, {key: arrays[key] for key in changed})
                self._sizes[name] = moved
                tensors |= {key: [name, digests[key]] for key in changed}
            manifest = {"format": FORMAT, **now._asdict(), "structure": structure, "tensors": tensors}
            self._write(MANIFEST, _sealed(manifest, self.road.hash))
            sync(self.path)
        self.last, self._sequence, self._tensors = now, now.sequence, tensors
        self._keep(_files(tensors))
        self.beat()
        return Sent(now, moved, tuple(changed))

    def _own(self) -> None:
        """Raises FleetError where another publisher took the folder over."""
        try:
            owner = json.loads(read_bytes(self.path / PUBLISHER))["session"]
        except (OSError, ValueError, KeyError, TypeError):
            owner = None  # damaged, or removed by hand
        if owner not in (None, self.session):
            raise FleetError(
                f"another publisher has taken {self.path} over",
                expected="one publisher for each folder",
                found=f"the session {owner}",
                remedy="let one of the two publish, or give each a folder of its own",
            )

    def _size(self, name: str) -> int:
        if name not in self._sizes:
            try:
                self._sizes[name] = (self.path / name).stat().st_size
            except OSError:
                self._sizes[name] = 1 << 62  # it is lost: write all again
        return self._sizes[name]

    def _write(self, name: str, what: bytes | Mapping[str, np.ndarray]) -> int:
        """Write a file in a hidden folder, and rename it when it is whole and on the disk; its size. Raises OSError."""
        draft = self._drafts / name
        try:
            if isinstance(what, bytes):
                draft.write_bytes(what)
            else:
                draft.touch()
                mode = draft.stat().st_mode
                safetensors.write(draft, what, {})
                draft.chmod(stat.S_IMODE(mode))  # the library leaves one that its owner alone may read
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            os.replace(draft, self.path / name)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        return size

    def _keep(self, files: set[str]) -> None:
        """Remove the files that no manifest of the last few names."""
        self._kept = [*self._kept, files][-self.road.keep :]
        needed = set().union(*self._kept)
        for path in self.path.glob("*-*-*.safetensors"):
            if path.name not in needed:
                with contextlib.suppress(OSError):  # the next publish will
                    path.unlink(missing_ok=True)
        self._sizes = {name: size for name, size in self._sizes.items() if name in needed}

    def beat(self) -> None:
        self._beats += 1
        with contextlib.suppress(OSError), (self.path / BEAT).open("w") as file:
            file.write(f"{self.session} {self._beats}")

    def close(self) -> None:
        """The files stay, for followers that come later."""
        with contextlib.suppress(OSError):
            self._write(BEAT, b"closed")
        shutil.rmtree(self._drafts, ignore_errors=True)


def _files(tensors: Mapping[str, list[str]]) -> set[str]:
    return {file for file, _ in tensors.values()}


def _head(manifest: Mapping[str, Any]) -> Head:
    return Head(*(manifest[name] for name in Head._fields))


def _sealed(manifest: dict[str, Any], hashed: Callable[[Any], str]) -> bytes:
    text = json.dumps(manifest)
    return json.dumps(manifest | {"checksum": hashed(text.encode())}).encode()


def _read(path: Path, hashed: Callable[[Any], str]) -> dict[str, Any]:
    """A manifest whose checksum is right. Raises OSError and WeightsError."""
    raw = read_bytes(path)
    try:
        manifest: dict[str, Any] = json.loads(raw)
        said = manifest.pop("checksum")
        if hashed(json.dumps(manifest).encode()) != said:
            raise ValueError("its checksum is another")
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}, and this trtnet reads {FORMAT}")
        for file, digest in manifest["tensors"].values():
            if not (isinstance(digest, str) and file == Path(file).name):
                raise ValueError(f"{file!r} is no file beside it")
        _head(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no manifest of published weights",
            expected="what a publisher wrote, whole",
            found=f"{type(error).__name__}: {error}"[:300],
            remedy="publish again: the engine has the weights that it had",
        ) from None
    return manifest


class FolderReceiver(Receiver):
    """Reads the tensors whose hash is another than what was received last, and compares that of their bytes."""

    def __init__(self, road: Folder) -> None:
        self.road, self.path = road, road.path
        self._held: dict[str, str] = {}
        self._state: tuple[int, int, int] | None = None
        self._manifest: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._pulse = Pulse()
        forking.tell(self)

    def _forked(self) -> None:
        self._lock = threading.Lock()

    def _newest(self) -> dict[str, Any] | None:
        with self._lock:
            try:
                found = os.stat(self.path / MANIFEST)
                state = found.st_ino, found.st_mtime_ns, found.st_size
                if state != self._state:
                    self._manifest = _read(self.path / MANIFEST, self.road.hash)
                    self._state = state
            except FileNotFoundError:
                return None
            except OSError as error:
                raise WeightsError(
                    f"{self.path / MANIFEST} cannot be read", found=str(error), remedy="check that you may read it"
                ) from error
            return self._manifest

    def head(self) -> Head | None:
        manifest = self._newest()
        return None if manifest is None else _head(manifest)

    @contextlib.contextmanager
    def receive(self) -> Iterator[Update | None]:
        while True:
            manifest = self._newest()
            if manifest is None:
                yield None
                return
            try:
                values = self._values(manifest)
                break
            except WeightsNotFoundError:
                if self._newest() is manifest:
                    raise
        moved = sum(array.nbytes for array in values.values())
        yield Update(_head(manifest), manifest["structure"], frozenset(manifest["tensors"]), values, moved)
        self._held = {name: digest for name, (_, digest) in manifest["tensors"].items()}

    def _values(self, manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
        wanted = {name: told for name, told in manifest["tensors"].items() if self._held.get(name) != told[1]}
        values = {}
        for file in sorted(_files(wanted)):
            path = self.path / file
            try:
                arrays = safetensors.read(path, mmap=False)
            except FileNotFoundError:
                raise WeightsNotFoundError(
                    f"{path}, which the manifest names, is not there",
                    expected="the files of the newest publish",
                    remedy="publish again, or copy the whole folder",
                ) from None
            except OSError as error:
                raise WeightsError(
                    f"{path} cannot be read", found=str(error), remedy="check that you may read it"
                ) from error
            for name, (where, digest) in wanted.items():
                if where != file:
                    continue
                found = _digest(self.road.hash, arrays[name]) if name in arrays else "no such tensor"
                if found != digest:
                    raise WeightsError(
                        f"{path} holds other values for {name!r} than were published",
                        expected=digest,
                        found=found,
                        remedy="publish again: the engine has the weights that it had",
                    )
                values[name] = arrays[name]
        return {name: values[name] for name in wanted}

    def alive(self) -> bool | None:
        try:
            heartbeat = float(json.loads(read_bytes(self.path / PUBLISHER))["heartbeat"])
            beat = read_bytes(self.path / BEAT)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return beat != b"closed" and self._pulse.beats(beat, heartbeat)

    def forget(self) -> None:
        self._held = {}

    def close(self) -> None:
        self._held = {}
