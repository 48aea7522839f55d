"""`shm:NAME`: one copy of the weights in the memory of this machine, for all its processes.

A folder of /dev/shm has the `head` and two or more slots. A publish fills a slot that is not the newest and that nobody
reads, marks it as whole, and then names it in the head by one store of 8 bytes. So the newest weights are whole
whenever their publisher dies, and a slot that is being filled is named by nobody.

A slot's first word is a sequence number, odd while it is filled. Who reads or fills a slot also holds a lock on its
file (flock): the system gives it back when a process dies, and it orders the memory of both, on processors too that do
not by themselves. A reader that was stopped keeps its slot; the publisher makes a further one instead of waiting.

These are files mapped by `mmap`, which is what POSIX shared memory is on Linux, and not multiprocessing's SharedMemory:
its resource tracker removes, in Python 3.11 and 3.12, what a process has merely opened, once that process ends.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..basics import forking
from ..basics.disk import writable_by
from ..basics.errors import ArgumentError, FleetError, ProviderError, WeightsError
from .layout import ALIGNMENT, Layout, Places
from .roads import Head, Pulse, Receiver, Road, Sender, Sent, Update, Values

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MAGIC = 0x74727466_6C656574  # "trtfleet"
NEWEST, BEATS, HEARTBEAT, CLOSED = 1, 2, 3, 4
"""Words of the head, after the magic number."""
SEQUENCE, NOTE, TABLE = 1, 2, 3
"""Words of a slot, after the magic number: its sequence, and the lengths of its two texts."""
WORDS, NOTE_PLACE, TABLE_PLACE = 8, 64, 1024
SLOT_BITS = 20
"""The newest slot is named by its number, in so many bits, below the number of the publish."""
OLD = 3600.0


class SharedMemory(Road):
    """`shm:NAME`: for the processes of one user on one machine. Needs flock, as Linux and macOS have it.

    Args:
        name: letters, digits, `-`, `_` and `.`.

    Attributes:
        scheme: that of its URL.
    """

    interval = 0.002
    scheme = "shm"

    def __init__(self, name: str) -> None:
        if fcntl is None:
            raise ProviderError(
                "this system cannot lock shared memory so that a dead process frees it",
                expected=f"Linux or macOS, for {self.scheme}:",
                remedy="follow a folder: 'dir:PATH'",
            )
        if not re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII):
            raise ArgumentError(
                "shared memory cannot have this name",
                expected=f"letters, digits, '-', '_' and '.': {self.scheme}:policy",
                found=repr(name)[:200],
            )
        self.name = name
        kind = "" if self.scheme == "shm" else f"{self.scheme}:"
        self.folder = place() / f"trtnet-{os.getuid()}-{kind}{name}"

    def __repr__(self) -> str:
        return f"'{self.scheme}:{self.name}'"

    def sender(self, heartbeat: float) -> SharedMemorySender:
        return SharedMemorySender(self.folder, heartbeat)

    def receiver(self) -> SharedMemoryReceiver:
        return SharedMemoryReceiver(self.folder)


def place() -> Path:
    """Where files are memory: /dev/shm; elsewhere than on Linux, the folder for temporary files."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def remove_left(seconds: float = OLD) -> list[str]:
    """Remove shared memory of this user whose publisher died, or was killed, and of which nothing was heard for so many
    seconds; the names that it had. Publishers do so when they are made, for an hour.

    Followers that are still there keep what they have, and see the next publisher of their name.
    """
    removed = []
    mine = f"trtnet-{os.getuid()}-"
    for folder in place().glob(f"{mine}*"):
        with contextlib.suppress(OSError):
            heard = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - heard < seconds:
                continue
            lock = _lock(folder)
            if lock is None:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            removed.append(folder.name.removeprefix(mine))
    return removed


def _lock(folder: Path) -> int | None:
    """The publisher's lock on a folder, as a file that is open; None where another has it. Raises OSError."""
    path = folder / "publisher"
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _try(opened, fcntl.LOCK_EX):
                os.close(opened)
                return None
            if os.path.samestat(os.fstat(opened), os.stat(path)):
                return opened
        except FileNotFoundError:  # it was removed just now
            pass
        os.close(opened)
        folder.mkdir(mode=0o700, exist_ok=True)


def _try(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Mapped:
    """A file of memory: its words, its bytes, and the file that locks are held on.

    Raises FileNotFoundError, and other OSErrors, as open does.
    """

    def __init__(self, path: Path, write: bool = False) -> None:
        self.path = path
        self.file = os.open(path, os.O_RDWR if write else os.O_RDONLY)
        try:
            self.size = os.fstat(self.file).st_size
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            self.memory = memoryview(mmap.mmap(self.file, self.size, access=access))
            self.words = np.frombuffer(self.memory, np.uint64, WORDS)
            self._places: Places | None = None
            if int(self.words[0]) != MAGIC:
                raise ValueError("another magic number")
        except ValueError as error:  # an empty file, or another's
            os.close(self.file)
            raise OSError(f"{path} is not trtnet's: {error}") from None
        except OSError:
            os.close(self.file)
            raise

    @classmethod
    def new(cls, path: Path, size: int, reserve: bool = True) -> Mapped:
        """A new file of so many bytes, which are there (`reserve`): what is lacking is said now, and not by a bus error
        later."""
        draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        opened = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if reserve and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(opened, 0, size)
            else:
                os.truncate(opened, size)
            os.pwrite(opened, MAGIC.to_bytes(8, "little"), 0)
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        finally:
            os.close(opened)
        return cls(path, write=True)

    def try_lock(self, write: bool = False) -> bool:
        return _try(self.file, fcntl.LOCK_EX if write else fcntl.LOCK_SH)

    def unlock(self) -> None:
        fcntl.flock(self.file, fcntl.LOCK_UN)

    def places(self, layout: Layout, begin: int) -> Places:
        """Where tensors lie in it."""
        if self._places is None or self._places.layout is not layout:
            self._places = Places(layout, self.memory, begin)
        return self._places

    def text(self, at: int, length: int) -> bytes:
        return bytes(self.memory[at : at + length])

    def is_current(self) -> bool:
        """Whether its path still leads to it."""
        try:
            return os.path.samestat(os.fstat(self.file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)  # the memory goes with the last array over it
            self.file, self._places = -1, None


def _begin(table: bytes) -> int:
    """The byte of a slot at which its tensors begin."""
    return -(-(TABLE_PLACE + len(table)) // ALIGNMENT) * ALIGNMENT


def _number(path: Path) -> int:
    return int(path.name.removeprefix("slot-"))


class SharedMemorySender(Sender):
    """Fills slots. Raises FleetError where another publisher has the name.

    Attributes:
        reserves: whether a slot's bytes are memory.
    """

    reserves = True

    def __init__(self, folder: Path, heartbeat: float) -> None:
        self.folder = folder
        self.session = secrets.token_hex(8)
        self._slots: dict[int, Mapped] = {}
        self._layout = Layout((), 0)
        self._head: Mapped | None = None
        remove_left()
        try:
            self._file = self._taken()
            self._head = self._open(heartbeat)
        except OSError as error:
            self._release()
            raise WeightsError(
                f"the shared memory {folder} cannot be used",
                found=str(error),
                remedy="make room in it, or choose another name; containers take a size for it: --shm-size",
            ) from error
        forking.tell(self)

    def _taken(self) -> int:
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        if who := writable_by(self.folder.stat()):
            raise OSError(f"it may be written by {who}")
        lock = _lock(self.folder)
        if lock is None:
            raise FleetError(
                "another publisher has this name",
                expected="one publisher for each name",
                found=str(self.folder),
                remedy="close that one, or choose another name",
            )
        return lock

    def _open(self, heartbeat: float) -> Mapped:
        """The head; with what a publisher before left, dead or closed."""
        for left in self.folder.glob(".*"):
            left.unlink(missing_ok=True)
        for path in self.folder.glob("slot-*"):
            try:
                self._slots[_number(path)] = Mapped(path, write=True)
            except (OSError, ValueError):
                path.unlink(missing_ok=True)
        try:
            head = Mapped(self.folder / "head", write=True)
        except OSError:
            head = Mapped.new(self.folder / "head", WORDS * 8)
        head.words[HEARTBEAT] = np.float64(heartbeat).view(np.uint64)
        head.words[CLOSED] = 0
        newest = self._slots.get(int(head.words[NEWEST]) & (1 << SLOT_BITS) - 1)
        if newest is not None:
            with contextlib.suppress(WeightsError):
                self.last = _note(newest)[0]
        elif int(head.words[NEWEST]):  # lost; nobody else names it
            head.words[NEWEST] = 0
        return head

    # --- sending

    def send(self, values: Values, version: int, structure: str | None) -> Sent:
        head = self._head
        assert head is not None
        if not self._layout.fits(values):
            self._layout = Layout.of(values)
        layout, table = self._layout, self._layout.text
        begin = _begin(table)
        count = (int(head.words[NEWEST]) >> SLOT_BITS) + 1
        now = Head(self.session, count, version, time.time())
        number, slot = self._free(begin + layout.size)
        try:
            words = slot.words
            words[SEQUENCE] = 2 * count - 1
            slot.memory[TABLE_PLACE : TABLE_PLACE + len(table)] = table
            note = json.dumps([*now, structure, *self._filled(slot, layout, begin, values)]).encode()
            slot.memory[NOTE_PLACE : NOTE_PLACE + len(note)] = note
            words[NOTE], words[TABLE] = len(note), len(table)
            words[SEQUENCE] = 2 * count
        finally:
            slot.unlock()
        head.words[NEWEST] = count << SLOT_BITS | number
        self.beat()
        self.last = now
        return Sent(now, layout.size, tuple(values))

    def _filled(self, slot: Mapped, layout: Layout, begin: int, values: Values) -> tuple[Any, ...]:
        """Put tensors into a slot; what is to be noted of them."""
        slot.places(layout, begin).fill(values)
        return ()

    def _free(self, size: int) -> tuple[int, Mapped]:
        """A slot of this size, locked, that is not the newest and that nobody reads: a new one, rather than to wait."""
        found = self._unused(size)
        for _ in range(10):
            if found is not None or len(self._slots) < 2:
                break
            time.sleep(1e-4)  # who only looks at what is the newest is done soon
            found = self._unused(size)
        if found is not None:
            return found
        assert self._head is not None
        number = ((int(self._head.words[NEWEST]) >> SLOT_BITS) + 1) % (1 << SLOT_BITS)  # used once
        try:
            made = Mapped.new(self.folder / f"slot-{number}", size, self.reserves)
        except OSError as error:
            raise WeightsError(
                f"there is no room for {size:,} bytes in {self.folder.parent}; what was published before is there",
                found=str(error),
                remedy="make room in it; containers take a size for it: --shm-size",
            ) from error
        made.try_lock(write=True)
        self._slots[number] = made
        return number, made

    def _unused(self, size: int) -> tuple[int, Mapped] | None:
        """One of the slots, locked. Smaller ones, and what is beyond one further one, are removed."""
        assert self._head is not None
        newest = int(self._head.words[NEWEST])
        found: tuple[int, Mapped] | None = None
        spare = 0
        for number, slot in list(self._slots.items()):
            if (newest and number == newest & (1 << SLOT_BITS) - 1) or not slot.try_lock(write=True):
                continue
            if slot.size >= size and found is None:
                found = number, slot
            elif slot.size >= size and spare == 0:
                spare = 1
                slot.unlock()
            else:
                slot.path.unlink(missing_ok=True)
                slot.close()
                del self._slots[number]
        return found

    def beat(self) -> None:
        if self._head is not None:
            self._head.words[BEATS] += np.uint64(1)

    # --- ending

    def close(self) -> None:
        """Remove the memory: followers keep what they have."""
        if self._head is not None:
            self._head.words[CLOSED] = 1
            shutil.rmtree(self.folder, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()
        if self._head is not None:
            self._head.close()
            self._head = None
        if (file := self.__dict__.pop("_file", None)) is not None:
            os.close(file)

    def _forked(self) -> None:
        """The lock is the parent's: it must not live on in a child when the parent dies."""
        self._release()


def _note(slot: Mapped) -> tuple[Head, str | None, tuple[Any, ...]]:
    """What a slot says of itself, for who holds its lock, and of its tensors. Raises WeightsError."""
    try:
        found = json.loads(slot.text(NOTE_PLACE, int(slot.words[NOTE])))
        session, sequence, version, published, structure, *more = found
    except (ValueError, TypeError) as error:
        raise damaged(slot, str(error)[:200]) from None
    return Head(session, sequence, version, published), structure, tuple(more)


def damaged(slot: Mapped, found: str) -> WeightsError:
    return WeightsError(
        f"the shared memory {slot.path} is damaged",
        expected="what a publisher wrote",
        found=found,
        remedy="publish again: the engine has the weights that it had",
    )


class Slots:
    """The slots as a reader has them open, and the head."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head: Mapped | None = None
        self.opened = 0
        """How many heads were opened: another one counts anew."""
        self._slots: dict[int, Mapped] = {}

    def newest(self) -> int:
        """The word that names the newest slot; 0 where there is none."""
        if self.head is not None and not self.head.is_current():
            self.close()  # another publisher has made it anew
        if self.head is None:
            try:
                self.head = Mapped(self.folder / "head")
                self.opened += 1
            except FileNotFoundError:
                return 0
            except OSError as error:
                raise WeightsError(
                    f"the shared memory {self.folder} cannot be read",
                    found=str(error),
                    remedy="remove that folder, and make the publisher again",
                ) from error
        return int(self.head.words[NEWEST])

    @contextlib.contextmanager
    def locked(self) -> Iterator[tuple[int, Mapped] | None]:
        """The newest slot, whole and locked against the publisher, and the word that named it."""
        slot, word = None, 0
        for _ in range(100):  # each time that one fails, the publisher has gone on
            word = self.newest()
            slot = self._slot(word & (1 << SLOT_BITS) - 1) if word else None
            if slot is None or not slot.try_lock():
                slot = None
            elif int(slot.words[SEQUENCE]) % 2 or not slot.words[NOTE]:
                slot.unlock()
                slot = None
            if slot is not None or not word:
                break
        try:
            yield None if slot is None else (word, slot)
        finally:
            if slot is not None and slot.file >= 0:
                slot.unlock()

    def _slot(self, number: int) -> Mapped | None:
        found = self._slots.get(number)
        if found is None:
            try:
                found = Mapped(self.folder / f"slot-{number}")
            except OSError:  # it was removed just now
                return None
            for other in list(self._slots)[:-2]:  # removed ones among them
                self._slots.pop(other).close()
            self._slots[number] = found
        return found

    def close(self) -> None:
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()
        if self.head is not None:
            self.head.close()
            self.head = None


class SharedMemoryReceiver(Receiver):
    """Reads slots where they are: what is received is memory of the publisher's, locked for the length of the block."""

    def __init__(self, folder: Path) -> None:
        self._looking, self._reading = Slots(folder), Slots(folder)  # a lock is one for each file that is open
        self._seen: tuple[tuple[int, int], Head] | None = None
        self._table: tuple[bytes, Layout] = b"", Layout((), 0)
        self._pulse = Pulse()
        self._lock = threading.Lock()
        forking.tell(self)

    def head(self) -> Head | None:
        with self._lock:
            word = self._looking.newest()
            if word and (self._seen is None or self._seen[0] != (self._looking.opened, word)):
                with self._looking.locked() as found:
                    if found is not None:
                        self._seen = (self._looking.opened, found[0]), _note(found[1])[0]
            return None if self._seen is None else self._seen[1]

    @contextlib.contextmanager
    def receive(self) -> Iterator[Update | None]:
        with self._reading.locked() as found:
            if found is None:
                yield None
                return
            slot = found[1]
            head, structure, noted = _note(slot)
            table = slot.text(TABLE_PLACE, int(slot.words[TABLE]))
            if table != self._table[0]:
                self._table = table, Layout.loads(table)
            layout = self._table[1]
            begin = _begin(table)
            if begin + layout.size > slot.size:
                raise damaged(slot, "fewer bytes than its table says")
            values = self._values(slot, layout, begin, head, noted)
            yield Update(head, structure, layout.names, values, layout.size)

    def _values(self, slot: Mapped, layout: Layout, begin: int, head: Head, noted: tuple[Any, ...]) -> Values:
        """The tensors of a slot that is locked, and whole."""
        return slot.places(layout, begin).arrays

    def forget(self) -> None:
        """Every receive gives everything."""

    def alive(self) -> bool | None:
        with self._lock:
            self._looking.newest()
            head = self._looking.head
            if head is None or int(head.words[CLOSED]):
                return False
            return self._pulse.beats(int(head.words[BEATS]), float(head.words[HEARTBEAT].view(np.float64)))

    def close(self) -> None:
        with self._lock:
            self._looking.close()
            self._reading.close()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._looking.close()
        self._reading.close()
