"""Reading and writing weight files: one mapping from name to NumPy array, whatever the format.

| suffix                    | read                                | write                      |
|---------------------------|-------------------------------------|----------------------------|
| `.safetensors`            | mapped, not copied                  | its types, and metadata    |
| `.safetensors.index.json` | all shards beside it, mapped        | no                         |
| `.npz`                    | never unpickling                    | numbers, and metadata      |
| `.pt`, `.pth`, `.bin`     | with torch's weights_only, mapped   | torch's types              |
| `.wts`                    | float32 without shapes              | float32, small integers    |

bfloat16 and float8 are ml_dtypes' types. Types that TensorRT has not (float64, complex) are read and written as they
are, where the format has them. Neither torch nor safetensors is imported before it is needed.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..basics.arrays import require_unmasked
from ..basics.disk import as_path, explained, replacing, require_folder
from ..basics.errors import ArgumentError, ArgumentTypeError, WeightsError, WeightsNotFoundError
from . import npz, safetensors, torch_files, wts
from ._common import Array, Writer, corrupt, some

Reader = Callable[[Path, bool], dict[str, Array]]

_INDEX = ".safetensors.index.json"
_READERS: dict[str, Reader] = {
    ".safetensors": lambda path, mmap: safetensors.read(path, mmap=mmap),
    _INDEX: lambda path, mmap: safetensors.read_sharded(path, mmap=mmap),
    ".npz": lambda path, mmap: npz.read(path),
    ".pt": lambda path, mmap: torch_files.read(path, mmap=mmap),
    ".pth": lambda path, mmap: torch_files.read(path, mmap=mmap),
    ".bin": lambda path, mmap: torch_files.read(path, mmap=mmap),
    ".wts": lambda path, mmap: wts.read(path),
}
_WRITERS: dict[str, Writer] = {
    ".safetensors": safetensors.write,
    ".npz": npz.write,
    ".pt": torch_files.write,
    ".pth": torch_files.write,
    ".bin": torch_files.write,
    ".wts": wts.write,
}
_METADATA: dict[str, Callable[[Path], dict[str, str]]] = {
    ".safetensors": safetensors.read_metadata,
    _INDEX: safetensors.read_sharded_metadata,
    ".npz": npz.read_metadata,
}

SUFFIXES = tuple(_READERS)


def read(path: str | os.PathLike[str], *, mmap: bool = True) -> dict[str, Array]:
    """The arrays of a weight file by name, C-contiguous and aligned.

    Args:
        path: a file; its suffix (one of `SUFFIXES`, in any case) says the format.
        mmap: let `.safetensors` and PyTorch's files be read-only views of the mapped file. To change such a file while
            an array of it lives is undefined (replacing it, as `write` does, is safe); engines have copies. False: read
            copies.

    Raises:
        ArgumentError: an unknown suffix.
        WeightsNotFoundError: no such file, or a shard of it is missing.
        WeightsError: the file cannot be read, is damaged or cut off, or holds something else than arrays.
        ProviderError: the format needs torch, which is not installed.
    """
    where = _existing(path)
    reader = _READERS[_suffix(where, _READERS)]
    try:
        return reader(where, bool(mmap))
    except WeightsNotFoundError:
        raise
    except (OSError, MemoryError) as error:
        raise _unreadable(where, error) from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text that a weight file carries beside its arrays; empty for formats that carry none.

    `.safetensors`: `__metadata__`; `.safetensors.index.json`: `metadata`; `.npz`: what `write` put there.
    Raises as `read` does.
    """
    where = _existing(path)
    suffix = _suffix(where, _READERS)
    try:
        return _METADATA[suffix](where) if suffix in _METADATA else {}
    except (OSError, MemoryError) as error:
        raise _unreadable(where, error) from error


def keeps_metadata(path: str | os.PathLike[str]) -> bool:
    """Whether `write` puts metadata into files of this suffix. Raises ArgumentError for one that it does not write."""
    return _suffix(as_path(path), _WRITERS) in _METADATA


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays of any layout and byte order into a weight file, all or nothing.

    The file is written beside `path` under another name, flushed to the disk and then renamed, so that a crash
    leaves the old file or the new one. A link is followed; an old file's permissions are kept.

    Args:
        path: the file; its suffix says the format.
        arrays: by name, in this order where the format keeps one.
        metadata: text by text, for `.safetensors` and `.npz`.

    Raises:
        ArgumentError: an unknown suffix, or metadata for a format that has no place for it.
        ArgumentTypeError: something else than a mapping from text to arrays, or from text to text.
        WeightsNotFoundError: the folder does not exist.
        WeightsError: the format cannot hold a name or a type, or the disk refuses.
    """
    where = as_path(path)
    writer = _WRITERS[_suffix(where, _WRITERS)]
    arrays, metadata = _arrays(arrays), _texts(metadata or {})
    target = Path(os.path.realpath(where))
    if target.is_dir():
        raise WeightsError(f"{where} is a folder", expected="the name of a file", remedy=f"name a file in {where}")
    if target.exists() and not target.is_file():  # which root could replace by a file, through a link too
        raise WeightsError(
            f"{where} is no regular file",
            expected="a weight file",
            found=f"{target}, which stays",
            remedy="name a file",
        )
    require_folder(target)
    with explained(where), replacing(target) as new:
        new.touch()
        mode = (target if target.exists() else new).stat().st_mode
        writer(new, arrays, metadata)
        new.chmod(stat.S_IMODE(mode))


def _suffix(path: Path, known: Mapping[str, object]) -> str:
    name = path.name.lower()
    suffix = next((suffix for suffix in known if name.endswith(suffix)), None)
    if suffix is None:
        raise ArgumentError(
            f"the suffix of {path} names no weight format" + (" that can be written" if known is _WRITERS else ""),
            expected="one of " + ", ".join(known),
            found=repr("".join(path.suffixes[-1:])) if path.suffix else "no suffix",
            remedy="give the file the suffix of its format",
        )
    return suffix


def _existing(path: str | os.PathLike[str]) -> Path:
    where = as_path(path)
    try:
        if where.is_file():
            return where
        folder = where if where.is_dir() else where.parent
        names = sorted(os.listdir(folder)) if folder.is_dir() else None
    except OSError as error:
        raise _unreadable(where, error) from error
    if folder == where:
        inside = [name for name in names or () if name.lower().endswith(SUFFIXES)]
        raise WeightsError(
            f"{where} is a folder",
            expected="a weight file",
            found=f"a folder with {some(inside)}" if inside else "a folder without weight files",
            remedy=f"name a file in it: {where / inside[0]}" if inside else "name a file",
        )
    if where.exists():
        raise WeightsError(f"{where} is no regular file", expected="a weight file", remedy="name a file")
    if names is None:
        remedy = f"the folder {where.parent} does not exist; check the path (relative ones start at {Path.cwd()})"
    elif near := difflib.get_close_matches(where.name, names, 1, 0.4):
        remedy = f"did you mean {where.with_name(near[0])}?"
    else:
        remedy = f"check the path (relative ones start at {Path.cwd()})"
    raise WeightsNotFoundError(f"there is no file {where}", remedy=remedy)


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, MemoryError):
        return corrupt(path, "it asks for more memory than there is", found=str(error) or None)
    return WeightsError(
        f"{path} cannot be read", found=str(error), remedy="check that you may read it, or download or copy it again"
    )


def _arrays(arrays: Mapping[str, Array]) -> dict[str, Array]:
    if not isinstance(arrays, Mapping):
        raise ArgumentTypeError("arrays is no mapping", expected="name -> array", found=type(arrays).__name__)
    result: dict[str, Array] = {}
    for name, value in arrays.items():
        _text(name, "the name of an array")
        if not isinstance(value, np.ndarray | np.generic):
            raise ArgumentTypeError(
                f"{name!r} is no array",
                expected="a numpy.ndarray",
                found=type(value).__name__,
                remedy="convert it: numpy.asarray(value), or tensor.detach().cpu().numpy()",
            )
        require_unmasked(value)
        result[name] = np.asarray(value)
    return result


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise ArgumentTypeError("metadata is no mapping", expected="text -> text", found=type(metadata).__name__)
    for key, value in metadata.items():
        _text(key, "a key of metadata")
        _text(value, f"metadata[{key!r}]")
    return dict(metadata)


def _text(value: object, what: str) -> None:
    if not isinstance(value, str):
        remedy = "convert it with str(...) or json.dumps(...)"
        raise ArgumentTypeError(f"{what} is no text", expected="str", found=repr(value)[:80], remedy=remedy)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{what} is no Unicode text", expected="text for UTF-8", found=repr(value)) from error
