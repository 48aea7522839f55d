"""NumPy's .npz files: a zip of .npy files, one for each array.

Sources: the NumPy documentation (`numpy.savez`, `numpy.lib.format`).

The .npy format has no name for ml_dtypes' types (`numpy.savez` makes bfloat16 a raw `|V2`), so such an array is
stored as unsigned integers of the same size and named in one more entry, `__trtnet__.npy`: a string array of shape
(), the JSON object `{"dtypes": {"array": "bfloat16"}, "metadata": {...}}`. It is there only where it is needed;
`numpy.load` reads every such file, showing the integers and that entry.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..basics.errors import WeightsError
from ._common import Array, Arrays, corrupt, native

SIDE = "__trtnet__"
EXTENDED = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4")


def read(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file, never unpickling. Raises WeightsError for broken files and object arrays."""
    return _read(path)[0]


def read_one(path: Path) -> Array:
    """The array of a .npy file, never unpickling. Raises WeightsError, and OSError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return _numbers(path, path.name, np.lib.format.read_array(file, allow_pickle=False))
    except (WeightsError, OSError):
        raise
    except Exception as error:  # numpy, tokenize and ast raise a dozen kinds for damaged files
        if "allow_pickle" in str(error):
            raise _objects(path, path.name, "numpy.save(path, numpy.asarray(value, dtype='float32'))") from error
        what, remedy = "it cannot be read as NumPy's .npy or .npz", "write it with numpy.save or numpy.savez"
        raise corrupt(path, what, found=f"{type(error).__name__}: {error}"[:300], remedy=remedy) from error


def read_metadata(path: Path) -> dict[str, str]:
    """What `write` was given as metadata, empty for files that others wrote."""
    return _read(path, only=SIDE)[1]


def write(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Writes an uncompressed .npz file; the same arrays make the same bytes."""
    dtypes: dict[str, str] = {}
    stored: dict[str, Array] = {}
    for name, array in arrays.items():
        array = native(array)
        extended = array.dtype.name in EXTENDED
        if name == SIDE or "\0" in name or len(name.encode()) > 65_000 or not (extended or _plain(array.dtype)):
            raise WeightsError(
                f"an .npz file cannot hold {name[:80]!r}",
                expected=f"numbers or one of {', '.join(EXTENDED)}, under a short name without NUL other than {SIDE!r}",
                found=f"{array.dtype}, {name[:40]!r}",
                remedy="rename it, or convert it with .astype(...)",
            )
        if extended:
            dtypes[name] = array.dtype.name
            array = array.view(f"u{array.dtype.itemsize}")
        stored[name] = array
    if dtypes or metadata:
        stored[SIDE] = np.array(json.dumps({"dtypes": dtypes, "metadata": dict(metadata)}))
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in stored.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _plain(dtype: np.dtype[Any]) -> bool:
    return dtype.type.__module__ == "numpy" and dtype.kind in "biufc"


def _read(path: Path, only: str | None = None) -> tuple[dict[str, Array], dict[str, str]]:
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name == info.filename or name in arrays:
                    what = "twice" if name in arrays else "and is no array"
                    raise corrupt(path, f"{info.filename!r} is in it {what}", "one .npy file for each array")
                if only in (None, name):
                    arrays[name] = _member(path, archive, info)
        side = json.loads(str(arrays.pop(SIDE))) if SIDE in arrays else {}
        dtypes, metadata = side.get("dtypes", {}), side.get("metadata", {})
        if only is None:
            for name, dtype in dtypes.items():
                arrays[name] = _extended(path, name, arrays[name], dtype)
        return arrays, {str(key): str(value) for key, value in metadata.items()}
    except (WeightsError, OSError):
        raise
    except Exception as error:  # zipfile, zlib, json and numpy raise a dozen kinds for damaged files
        what = "it cannot be read as .npz"
        raise corrupt(path, what, "a zip of .npy files", f"{type(error).__name__}: {error}"[:300]) from error


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    try:
        with archive.open(info) as member:
            array: Array = np.lib.format.read_array(member, allow_pickle=False)
            if member.read(1):  # also makes zipfile compare the checksum
                raise corrupt(path, f"{info.filename!r} is longer than its array", f"{array.nbytes:,} bytes", "more")
    except ValueError as error:
        if isinstance(error, WeightsError) or "allow_pickle" not in str(error):
            raise
        again = "numpy.savez(path, **{name: numpy.asarray(value, dtype='float32')})"
        raise _objects(path, info.filename, again) from error
    return _numbers(path, info.filename, array)


def _objects(path: Path, name: str, again: str) -> WeightsError:
    return WeightsError(
        f"{path} holds Python objects in {name!r}",
        expected="an array of numbers",
        found="an object array, which only a pickle can load",
        remedy=f"write it again as numbers: {again}",
    )


def _numbers(path: Path, name: str, array: Array) -> Array:
    if array.dtype.kind == "V":
        raise WeightsError(
            f"{path} does not say the type of {name!r}",
            expected="numbers",
            found=f"raw {array.dtype.str}, as numpy.savez writes bfloat16 and float8",
            remedy="write it again with trtnet.weights.files.write, or as .safetensors",
        )
    return native(array)


def _extended(path: Path, name: str, array: Array, dtype: str) -> Array:
    if dtype not in EXTENDED:
        raise corrupt(path, f"the type of {name!r} is unknown", "one of " + ", ".join(EXTENDED), repr(dtype)[:80])
    wanted = np.dtype(getattr(ml_dtypes, dtype))
    if array.dtype != np.dtype(f"u{wanted.itemsize}"):
        raise corrupt(path, f"{name!r} is no {dtype}", f"unsigned integers of {wanted.itemsize} bytes", array.dtype)
    return array.view(wanted)
