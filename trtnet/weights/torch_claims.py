"""What the pickle in a PyTorch checkpoint claims of the archive around it, checked before torch believes it.

torch maps, or reads, as many bytes as the pickle says from where a record begins, whatever its size: a damaged claim
would make a neighbour's bytes into weights. The pickle is read as a list of operations here, and never run.

Sources: PyTorch's `torch.serialization` (persistent ids are ("storage", class, record, device, count), records lie
under `data/` beside `data.pkl`), Python's `pickletools`, and the ZIP format's local file headers (APPNOTE 4.3.7).
"""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..basics.errors import WeightsError
from ._common import corrupt

_MARK = object()
_SIZES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "ComplexFloat": 8,
    "ComplexDouble": 16, "QInt32": 4,
}  # fmt: skip
"""Bytes of an element of torch's classes of storages; 1 of all others."""


def check(path: Path) -> bool:
    """Whether every record that tensors lie in is stored as it is, so that it can be mapped.

    Raises WeightsError for a claim that is larger than its record, and for records that are not where the archive says.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            records = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in records if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1 or len(records) != len(archive.infolist()):
                raise corrupt(path, "it is no archive of torch.save", "one data.pkl, no record twice", pickles)
            claims = list(_claims(archive.read(pickles[0])))
            ends = sorted([*(info.header_offset for info in records.values()), archive.start_dir])
            folder = pickles[0].removesuffix("data.pkl")
            plain = True
            for key, count in {(key, count * _SIZES.get(kind, 1)) for key, kind, count in claims}:
                info = records.get(f"{folder}data/{key}")
                if info is None or info.file_size < count:
                    raise corrupt(
                        path,
                        f"its pickle claims more of the record {key!r} than there is",
                        f"{count:,} bytes",
                        "no such record" if info is None else f"{info.file_size:,} bytes",
                    )
                _check_place(path, file, info, ends)
                plain = plain and info.compress_type == zipfile.ZIP_STORED
            return plain
    except WeightsError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, LookupError, TypeError, EOFError,
            NotImplementedError, RuntimeError, OverflowError) as error:  # fmt: skip
        raise corrupt(
            path, "its archive cannot be read", "a file written by torch.save", f"{type(error).__name__}: {error}"[:300]
        ) from error


def stored(path: Path) -> BinaryIO:
    """The archive with nothing compressed, in memory; every record's checksum is compared. Raises WeightsError."""
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(made, "w") as plain:
            for info in archive.infolist():
                plain.writestr(info.filename, archive.read(info))
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise corrupt(path, "a record cannot be read", found=f"{type(error).__name__}: {error}"[:300]) from error
    made.seek(0)
    return made


def _check_place(path: Path, file: BinaryIO, info: zipfile.ZipInfo, ends: list[int]) -> None:
    file.seek(info.header_offset)
    header = struct.unpack("<4s22xHH", file.read(30))
    name = file.read(header[1])
    begin = info.header_offset + 30 + header[1] + header[2]
    end = min((end for end in ends if end > info.header_offset), default=0)
    if header[0] != b"PK\x03\x04" or name != info.orig_filename.encode() or begin + info.compress_size > end:
        raise corrupt(path, f"the record {info.filename!r} is not where its archive says", "its header and bytes there")


def _claims(pickle: bytes) -> Iterator[tuple[str, str, int]]:
    """Record, class and number of elements of every storage that the pickle names."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for operation, argument, _ in pickletools.genops(pickle):
        name, before = operation.name, operation.stack_before
        if name == "MARK":
            stack.append(_MARK)
        elif name.endswith("BINGET") or name == "GET":
            stack.append(memo[argument])
        elif name.endswith("BINPUT") or name == "PUT":
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif not before and operation.stack_after:
            stack.append(argument)
        else:
            taken: list[Any] = []
            if pickletools.markobject in before:
                while (top := stack.pop()) is not _MARK:
                    taken.append(top)
                before = before[: before.index(pickletools.markobject)]
            taken += [stack.pop() for _ in before]
            made: Any = tuple(reversed(taken)) if name.startswith("TUPLE") else None
            if name == "STACK_GLOBAL":
                made = f"{taken[1]} {taken[0]}"
            stack += [made] * len(operation.stack_after)
            if name == "BINPERSID":
                match taken[0]:
                    case ("storage", str(kind), str(key), _, int(count)) if count >= 0:
                        yield key, kind.rpartition(" ")[2].removesuffix("Storage"), count
                    case _:
                        raise ValueError("a persistent id that is no storage")
