"""What the readers and writers of every weight format share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..basics.errors import ArgumentError, WeightsError

Array: TypeAlias = np.ndarray[Any, Any]
Arrays: TypeAlias = Mapping[str, Array]
Writer: TypeAlias = Callable[[Path, Arrays, Mapping[str, str]], None]


def corrupt(path: Path, problem: str, expected: object = None, found: object = None, **more: Any) -> WeightsError:
    """The error for a file that is cut off or damaged."""
    more.setdefault("remedy", "download or copy the file again")
    return WeightsError(f"{path} is damaged: {problem}", expected=expected, found=found, **more)


def native(array: Array) -> Array:
    """The array itself where it is C-contiguous and in this machine's byte order, else a copy that is."""
    array = np.asarray(array, order="C")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def mapped(array: Array) -> Array:
    """`array`, a view of a file's own bytes, made read-only; copied first where its address is not aligned."""
    if array.__array_interface__["data"][0] % array.dtype.itemsize:
        array = array.copy()
    array.flags.writeable = False
    return array


def check_bool(path: Path, name: str, array: Array) -> None:
    """Raises WeightsError for bytes that are neither 0 nor 1, with which NumPy would compute nonsense."""
    if array.dtype == np.bool_ and array.size and (worst := int(array.view(np.uint8).max())) > 1:
        raise corrupt(path, f"{name!r} is no bool tensor", "bytes of 0 and 1", f"a byte of {worst}")


def some(names: Iterable[str], most: int = 8) -> str:
    """The first few of many names, for an error message."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def no_metadata(suffix: str, metadata: Mapping[str, str]) -> None:
    """Raises ArgumentError for a format that has no place for metadata."""
    if metadata:
        raise ArgumentError(
            f"a {suffix} file has no place for metadata",
            expected="no metadata",
            found=some(metadata),
            remedy="write a .safetensors or .npz file, or leave metadata out",
        )
