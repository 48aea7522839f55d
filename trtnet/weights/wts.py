"""The .wts text files of wang-xinyu's tensorrtx and pytorchx.

Source: tensorrtx' own description of the format. The first line is the number of entries; each further line is
`name n hex hex ...`, n float32 values of 8 hexadecimal digits, most significant byte first. Shapes and types are not
stored: integers (BatchNorm's `num_batches_tracked`) are written as float32 too.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..basics.errors import WeightsError
from ._common import Array, Arrays, corrupt, native, no_metadata

_CHUNK = 1 << 20


def read(path: Path) -> dict[str, Array]:
    """float32 arrays of one dimension, in the file's order. Raises WeightsError naming the line."""
    arrays: dict[str, Array] = {}
    count: int | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if count is None:
                count = _number(path, number, line.strip(), "the number of entries")
            elif line.strip():
                if len(arrays) == count:
                    raise _broken(path, number, "there are more entries than line 1 says", f"{count} entries", "more")
                name, values = _entry(path, number, line)
                if name in arrays:
                    raise _broken(path, number, f"{name!r} is there twice", "each name once", "a second entry")
                arrays[name] = values
    if count is None:
        raise _broken(path, 1, "the file is empty", "the number of entries", "nothing")
    if len(arrays) < count:
        raise _broken(path, 1, "entries are missing", f"{count} entries, as line 1 says", f"{len(arrays)} entries")
    return arrays


def write(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Writes a .wts file of float32 arrays, and of integers and bools that float32 holds.

    Raises WeightsError for others, and for names with spaces.
    """
    no_metadata(".wts", metadata)
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") != np.float32 and not _held(array):
            raise WeightsError(
                f"a .wts file cannot hold {name!r}",
                expected="float32, or integers that float32 holds exactly",
                found=str(array.dtype),
                remedy="convert it: array.astype(numpy.float32), or write .safetensors, which keeps every type",
            )
        if name.encode().split() != [name.encode()]:
            raise WeightsError(
                f"a .wts file cannot hold the name {name!r}",
                expected="a name without spaces or line breaks",
                found=repr(name),
                remedy="rename it, or write .safetensors",
            )
    with path.open("wb") as file:
        file.write(b"%d\n" % len(arrays))
        for name, array in arrays.items():
            values = native(array).reshape(-1)
            file.write(f"{name} {values.size}".encode())
            for start in range(0, values.size, _CHUNK):
                part = values[start : start + _CHUNK].astype(">f4").tobytes()
                file.write(b" " + part.hex(" ", 4).encode())
            file.write(b"\n")


def _held(array: Array) -> bool:
    return array.dtype.kind in "iub" and np.array_equal(array.astype(np.float32).astype(np.float64), array)


def _entry(path: Path, number: int, line: bytes) -> tuple[str, Array]:
    parts = line.split(None, 2)
    try:
        name = parts[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(path, number, "the name is no text", "UTF-8", repr(parts[0][:40])) from error
    size = _number(path, number, parts[1] if len(parts) > 1 else b"", f"the number of values of {name!r}")
    text = parts[2].rstrip() if len(parts) > 2 else b""
    digits: bytes | None = None
    if size and len(text) == 9 * size - 1:  # as every writer lays it out: one space between values
        grid = np.frombuffer(text + b" ", np.uint8).reshape(size, 9)
        if (grid[:, 8] == ord(" ")).all():
            digits = grid[:, :8].tobytes()
    if digits is None:
        tokens = text.split()
        if len(tokens) != size:
            problem = f"{name!r} has too {'few' if len(tokens) < size else 'many'} values"
            raise _broken(path, number, problem, f"{size:,} values", f"{len(tokens):,}")
        if set(map(len, tokens)) - {8}:
            _check(path, number, name, tokens)
        digits = b"".join(tokens)
    try:
        raw = binascii.unhexlify(digits)
    except binascii.Error:
        _check(path, number, name, text.split())
        raise
    return name, np.frombuffer(raw, ">f4").astype(np.float32)


def _check(path: Path, number: int, name: str, tokens: list[bytes]) -> None:
    """Raises WeightsError for the first value that is not 8 hexadecimal digits."""
    for index, token in enumerate(tokens):
        if len(token) != 8 or token.strip(b"0123456789abcdefABCDEF"):
            problem = f"value {index} of {name!r} is no float32"
            raise _broken(path, number, problem, "8 hexadecimal digits", repr(token.decode("latin-1")[:40]))


def _number(path: Path, number: int, text: bytes, what: str) -> int:
    if not text.isdigit() or len(text) > 18:
        raise _broken(path, number, f"{what} is missing or wrong", "a number", repr(text.decode("latin-1")[:40]))
    return int(text)


def _broken(path: Path, number: int, problem: str, expected: str, found: str) -> WeightsError:
    return corrupt(path, f"line {number}: {problem}", expected, found)
