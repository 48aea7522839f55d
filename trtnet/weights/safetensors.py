"""Safetensors files, mapped and not copied, and sharded checkpoints of them.

Source: the safetensors format specification (the README of the safetensors project). A file is the
header's length (8 bytes, unsigned, little-endian), the header (JSON in UTF-8 that starts with `{` and may end
in spaces: name -> dtype, shape, data_offsets; `__metadata__` -> text by text) and the data, row-major and
little-endian, as are all machines that TensorRT runs on. The tensors cover the data without overlap or hole.
"""

from __future__ import annotations

import io
import json
import math
import mmap as mapping
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from ..basics.errors import WeightsError, WeightsNotFoundError
from ._common import Array, Arrays, check_bool, corrupt, mapped, native, some

HEADER_LIMIT = 100_000_000  # the specification's own, against denial of service

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file; `begin` and `end` count from the start of the file."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def read(path: Path, *, mmap: bool = True) -> dict[str, Array]:
    """The tensors of a .safetensors file, in the header's order.

    With `mmap` the arrays are read-only views of one mapping of the file, which lives as long as any of them;
    only a tensor whose offset is no multiple of its item size is copied. Without it they are copies of their own.
    Raises WeightsError for a file that is cut off, damaged or holds a type that NumPy has not.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        entries, _ = _header(path, file, size)
        if mmap:
            try:
                memory = mapping.mmap(file.fileno(), size, access=mapping.ACCESS_READ)
            except ValueError as error:
                raise corrupt(path, "it shrank while it was read", f"{size:,} bytes", str(error)) from error
            arrays = {entry.name: _view(path, entry, memory) for entry in entries}
        else:
            arrays = {entry.name: _copy(path, entry, file) for entry in sorted(entries, key=lambda e: e.begin)}
    for entry in entries:
        check_bool(path, entry.name, arrays[entry.name])
    return {entry.name: arrays[entry.name] for entry in entries}


def parse(path: Path, data: bytes) -> dict[str, Array]:
    """The tensors of a file's bytes, which have been read: read-only views of them. `path` is for messages."""
    entries, _ = _header(path, io.BytesIO(data), len(data))
    arrays = {entry.name: _view(path, entry, data) for entry in entries}
    for name, array in arrays.items():
        check_bool(path, name, array)
    return arrays


def read_metadata(path: Path) -> dict[str, str]:
    """The file's `__metadata__`, empty where it has none. Raises WeightsError as `read` does."""
    with path.open("rb") as file:
        return _header(path, file, os.fstat(file.fileno()).st_size)[1]


def write(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Writes a .safetensors file through the safetensors library.

    Its NumPy functions go by the name of the dtype and so take ml_dtypes' bfloat16 and float8 as well
    (found with 0.4.3 and 0.8.0), but neither strided arrays nor a tensor called `__metadata__`. It writes several
    metadata in any order, and 0.8.0 leaves a file that only its owner may read, which `files.write` sets right.
    Raises WeightsError, and OSError where the disk refuses.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    taken = [dtype for dtype in DTYPES.values() if dtype.kind != "c"]  # 0.4.3 has no complex64
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in taken:
            raise WeightsError(
                f"a .safetensors file cannot hold {name!r}",
                expected="one of " + ", ".join(str(dtype) for dtype in taken),
                found=str(array.dtype),
                remedy=f"convert {name!r} with .astype(...), or leave it out",
            )
    if "__metadata__" in arrays:
        raise WeightsError("a .safetensors file cannot hold a tensor called '__metadata__'", remedy="rename it")
    try:
        save_file({name: native(array) for name, array in arrays.items()}, path, dict(metadata) or None)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_sharded(path: Path, *, mmap: bool = True) -> dict[str, Array]:
    """The tensors that a `NAME.safetensors.index.json` lists, from the shards beside it.

    The format is Hugging Face's sharded checkpoint: `weight_map` gives the shard's file name by tensor name. What a
    shard holds beyond the list is not returned. Raises WeightsError, and WeightsNotFoundError for missing shards.
    """
    placed = _index(path)["weight_map"]
    missing = sorted({shard for shard in placed.values() if not path.with_name(shard).is_file()})
    if missing:
        raise WeightsNotFoundError(
            f"shards of {path} are missing",
            expected=f"{len(set(placed.values()))} shards in {path.parent}",
            found=f"all but {some(missing)}",
            remedy="download the missing shards into the same folder",
        )
    shards = {shard: read(path.with_name(shard), mmap=mmap) for shard in sorted(set(placed.values()))}
    absent = [f"{name} ({shard})" for name, shard in placed.items() if name not in shards[shard]]
    if absent:
        raise WeightsError(
            f"{path} lists tensors that its shards do not hold",
            expected=some(absent),
            found=", ".join(f"{shard}: {len(held)} tensors" for shard, held in shards.items()),
            remedy="download the index and all shards again, from one revision",
        )
    return {name: shards[shard][name] for name, shard in placed.items()}


def read_sharded_metadata(path: Path) -> dict[str, str]:
    """The `metadata` of a sharded checkpoint's index, its values as text."""
    found = _index(path).get("metadata", {})
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _index(path: Path) -> dict[str, Any]:
    index = _json(path, path.read_bytes(), "the index")
    placed = index.get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(shard, str) for shard in placed.values()):
        raise corrupt(path, "it has no weight_map", '{"weight_map": {tensor: file name}}', f"keys {some(index)}")
    for name, shard in placed.items():
        if "\0" in shard or "/" in shard or "\\" in shard or not shard.lower().endswith(".safetensors"):
            raise WeightsError(
                f"{path} places {name!r} in a file that is no shard beside it",
                expected="the name of a .safetensors file in the same folder",
                found=repr(shard),
                remedy="take the index from a source that you trust",
            )
    return index


def _header(path: Path, file: BinaryIO, size: int) -> tuple[list[Entry], dict[str, str]]:
    """What the file holds, with every number checked against the file's size."""
    if size < 10:
        raise corrupt(path, "it is too short for a safetensors file", "at least 10 bytes", f"{size} bytes")
    length = int.from_bytes(file.read(8), "little")
    most = min(HEADER_LIMIT, size - 8)
    if not 2 <= length <= most:
        raise corrupt(path, "its header's length does not fit", f"2 to {most:,} bytes", f"{length:,} bytes")
    text = file.read(length)
    if len(text) != length or not text.startswith(b"{"):
        raise corrupt(path, "it has no safetensors header", "a JSON object", repr(text[:20]))
    header = _json(path, text, "the header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise corrupt(path, "its __metadata__ is not text", "text by text", repr(metadata)[:80])
    start = 8 + length
    entries = [_entry(path, name, spec, start, size) for name, spec in header.items()]
    reached = start
    for entry in sorted(entries, key=lambda e: (e.begin, e.end)):
        if entry.begin != reached:
            what = "overlaps the tensor before it" if entry.begin < reached else "leaves a hole before it"
            raise corrupt(path, f"{entry.name!r} {what}", f"offset {reached - start:,}", f"{entry.begin - start:,}")
        reached = entry.end
    if reached != size:
        raise corrupt(path, "its tensors do not cover it", f"{reached:,} bytes, as the header says", f"{size:,} bytes")
    return entries, metadata


def _entry(path: Path, name: str, spec: Any, start: int, size: int) -> Entry:
    def sizes(value: Any) -> bool:
        return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)

    if not isinstance(spec, dict) or not {"dtype", "shape", "data_offsets"} <= set(spec):
        raise corrupt(path, f"the entry of {name!r} is no tensor", "dtype, shape and data_offsets", repr(spec)[:80])
    kind, shape, offsets = spec["dtype"], spec["shape"], spec["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise WeightsError(
            f"{path} holds {name!r} in a type that trtnet cannot read",
            expected="one of " + ", ".join(DTYPES),
            found=f"dtype {kind!r}"[:80],
            remedy="write the file again with the tensor in one of these types, or without it",
        )
    if not sizes(shape) or len(shape) > 64:  # NumPy's most, and a bound on the product
        raise corrupt(path, f"the shape of {name!r} is wrong", "a list of sizes", repr(shape)[:80])
    if not sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size - start:
        raise corrupt(
            path,
            f"the data of {name!r} lie outside the file, which may be cut off",
            f"offsets [begin, end] from 0 to {size - start:,}",
            repr(offsets)[:80],
        )
    dtype = DTYPES[kind]
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != offsets[1] - offsets[0]:
        raise corrupt(
            path,
            f"the data of {name!r} do not fit its shape",
            f"{wanted:,} bytes for {kind} {shape}"[:200],
            f"{offsets[1] - offsets[0]:,} bytes",
        )
    return Entry(name, dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _shaped(path: Path, entry: Entry, make: Callable[..., Array], **arguments: Any) -> Array:
    try:
        return make(entry.shape, entry.dtype, **arguments)
    except (ValueError, OverflowError) as error:  # more dimensions, or larger empty ones, than NumPy has
        what = f"NumPy cannot hold the shape of {entry.name!r}"
        raise corrupt(path, what, "a shape that NumPy takes", str(entry.shape)[:80], details=str(error)) from error


def _view(path: Path, entry: Entry, memory: mapping.mmap | bytes) -> Array:
    return mapped(_shaped(path, entry, np.ndarray, buffer=memory, offset=entry.begin))


def _copy(path: Path, entry: Entry, file: BinaryIO) -> Array:
    array = _shaped(path, entry, np.empty)
    raw = array.reshape(-1).view(np.uint8)
    file.seek(entry.begin)
    if file.readinto(raw.data) != raw.size:  # type: ignore[attr-defined]
        raise corrupt(path, "it shrank while it was read", f"{entry.end:,} bytes", "fewer")
    return array


def _json(path: Path, raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises WeightsError for anything else, and for one that gives a key twice."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            (twice, times), *_ = Counter(key for key, _ in items).most_common(1)
            raise ValueError(f"{twice!r} is there {times} times")
        for key in result:
            key.encode()  # refuses half a surrogate pair, which could not be written or printed
        return result

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise corrupt(path, f"{what} is no JSON", "a JSON object in UTF-8, no key twice", str(error)[:200]) from error
    if not isinstance(value, dict):
        raise corrupt(path, f"{what} is no JSON object", "a JSON object", repr(value)[:80])
    return value
