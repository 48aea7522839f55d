"""Files that are replaced as a whole, by writers that take turns, and read only where they are files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from .errors import ArgumentError, ArgumentTypeError, WeightsError, WeightsNotFoundError


def as_path(value: str | os.PathLike[str]) -> Path:
    """A path of the user's. Raises ArgumentTypeError and ArgumentError for what names no file on any disk."""
    try:
        path = Path(value)
        raw = os.fsencode(path)
    except TypeError:
        found = repr(value)[:80]
        raise ArgumentTypeError("a file is named by a path", expected="str or os.PathLike", found=found) from None
    except UnicodeEncodeError:
        raw = b"\0"
    if b"\0" in raw:
        raise ArgumentError("no file can have this name", expected="text without NUL", found=repr(str(path))[:80])
    return path


def user_cache() -> Path:
    """Where what is built for this machine is kept unless told otherwise: `trtnet` in the user's folder of caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trtnet"


def lock_file(path: Path, whose: str = "") -> Path:
    """A file for the writers of `path` to lock: not beside it, where it would stay."""
    key = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"trtnet-{key}{whose}.lock"


@contextlib.contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """This machine's writers of a file take turns: those of other users too, where these may share a lock."""
    lock = FileLock(lock_file(path), mode=0o666)
    try:
        lock.acquire()
    except PermissionError:  # it is another user's
        lock = FileLock(lock_file(path, f"-{getattr(os, 'getuid', int)()}"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, of the same name; what is there when the block is left takes the place of `path`.

    It is flushed to the disk first, so that a crash leaves the old file or the new one. It lies in a hidden folder
    beside `path`, where libraries may have temporary files of their own; the next writer of `path` removes what a
    killed one left. Raises OSError.
    """
    with one_writer(path):
        remove_left(path)
        folder = path.with_name(f"{_hidden(path)}{secrets.token_hex(8)}.tmp")
        folder.mkdir()
        try:
            new = folder / path.name
            yield new
            if new.exists():
                with new.open("rb+") as file:
                    os.fsync(file.fileno())
                os.replace(new, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sync(path.parent)


@contextlib.contextmanager
def explained(path: Path, what: str = "file") -> Iterator[None]:
    """What the disk refuses while `path` is written, which stays as it was, as WeightsError."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"{path} could not be written",
            found=str(error),
            remedy=f"make room, or check the folder's permissions; an old {what} of this name is unchanged",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file of text, the whole of it or nothing. Raises WeightsError where the disk refuses."""
    with explained(path), replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def require_folder(path: Path) -> None:
    """Raises WeightsNotFoundError where the folder of a file that is to be written does not exist."""
    if not path.parent.is_dir():
        raise WeightsNotFoundError(
            f"the folder {path.parent} does not exist",
            expected="an existing folder",
            found=str(path.parent),
            remedy="create it first: path.parent.mkdir(parents=True)",
        )


def remove_left(path: Path) -> None:
    """Remove what killed writers of `path` left. For its one writer."""
    for left in path.parent.glob(f"{_hidden(path)}*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def sweep(folder: Path, seconds: float = 3600) -> None:
    """Remove what killed writers of any file in `folder` left so long ago."""
    for left in folder.glob(".trtnet-*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > seconds:
                shutil.rmtree(left, ignore_errors=True)


def _hidden(path: Path) -> str:
    return f".trtnet-{hashlib.sha256(path.name.encode(errors='surrogateescape')).hexdigest()[:16]}-"


def sync(folder: Path) -> None:
    """Have renames in a folder reach the disk, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def read_bytes(path: Path, owned: bool = False) -> bytes:
    """The bytes of a file. Raises OSError, also for what is no file: a pipe would be waited for, for ever.

    With `owned` the file must be of this process's user, or root's, and not writable by others (see `writable_by`).
    """
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if owned and (who := writable_by(found)):
            raise PermissionError(errno.EPERM, f"writable by {who}", str(path))
        return file.read()


def writable_by(found: os.stat_result) -> str | None:
    """Who else may write to a file or folder: another owner (not root), its group, or everybody. None for nobody, and
    where the system has no owners."""
    if not hasattr(os, "getuid"):
        return None
    if found.st_uid not in (os.getuid(), 0):
        return f"its owner, the user {found.st_uid}"
    if found.st_mode & stat.S_IWOTH:
        return "everybody"
    return f"its group, {found.st_gid}" if found.st_mode & stat.S_IWGRP else None
