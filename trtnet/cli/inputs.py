"""The other arguments of the command line, as Python: --input, --arg, --workspace."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim
from ..basics.errors import ArgumentError, WeightsError
from ..graph.graph import Input
from ..weights import npz
from .model import no_file

SIZE = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<min>\d+)\.\.(?P<mid>\d+)(?:\.\.(?P<max>\d+))?(?:/(?P<step>\d+))?")
BYTES = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
SIZES = ("workspace", "memory_pools", "l2_limit_for_tiling")
"""The build options that are numbers of bytes, and may have a unit."""
INPUT_REMEDY = (
    "--input image=1x1x28x28, with a type --input tokens=1x77:int64, "
    "with a dynamic size --input image=batch=1..8..64x1x28x28"
)


def parse_inputs(texts: Iterable[str]) -> dict[str, Input]:
    """`NAME=SHAPE[:DTYPE]` each, as Inputs by name.

    A size is a number, `NAME=MIN..MAX[/STEP]`, `NAME=MIN..BEST..MAX[/STEP]`, or a NAME whose range is given elsewhere.
    """
    split: dict[str, tuple[list[str], str, str]] = {}
    named: dict[str, Dim] = {}
    for text in texts:
        name, rest = _named(text, "--input", INPUT_REMEDY)
        if name in split:
            raise _twice(name, text)
        shape, dtype = split_dtype(rest)
        if shape == "scalar":
            sizes = []
        else:
            sizes = [s.strip() for s in (shape.split(",") if "," in shape else re.split(r"(?<=\d)[xX](?=\w)", shape))]
        for size in sizes:
            if match := SIZE.fullmatch(size):
                dim = _dim(match)
                if named.setdefault(dim.name or "", dim) != dim:
                    raise ArgumentError(
                        f"the size {dim.name!r} has two ranges",
                        found=f"{named[dim.name or '']!r} and {dim!r}",
                        remedy="give the range once; elsewhere the name alone is enough",
                    )
        split[name] = sizes, dtype or "float32", text
    return {
        name: Input(tuple(_size(s, named, text) for s in sizes), dtype) for name, (sizes, dtype, text) in split.items()
    }


def _named(text: str, option: str, remedy: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals or not name.isidentifier() or not rest:
        raise _unread(text, option, remedy)
    return name, rest


def _unread(text: str, option: str, remedy: str) -> ArgumentError:
    return ArgumentError(f"{option} {text} cannot be read", expected="name=value", found=text, remedy=remedy)


def split_dtype(text: str) -> tuple[str, str]:
    """`shape:dtype` or `file:dtype` in two; the dtype is '' where none is given."""
    value, colon, last = text.rpartition(":")
    if colon and last.isidentifier():
        return value, dtypes.get(last).name
    return text, ""


def _dim(match: re.Match[str]) -> Dim:
    name, low, middle, high, step = match.group("name", "min", "mid", "max", "step")
    best, top = (_number(middle), _number(high)) if high else (None, _number(middle))
    return Dim(name, min=_number(low), opt=best, max=top, multiple_of=_number(step or "1"))


def _number(text: str) -> int:
    if len(text) > 18:
        raise ArgumentError(
            f"--input: a size of {len(text):,} digits",
            expected="at most 18",
            found=f"{text[:18]}...",
            remedy=INPUT_REMEDY,
        )
    return int(text)


def _size(text: str, named: Mapping[str, Dim], whole: str) -> int | Dim:
    if text.isdecimal():
        return _number(text)
    if match := SIZE.fullmatch(text):
        return named[match["name"]]
    if text in named:
        return named[text]
    if match := re.fullmatch(r"([A-Za-z_]\w*?)[xX](\d\w*)", text):
        remedy = f"separate sizes by commas where one is a name: {match[1]},{','.join(re.split('[xX]', match[2]))}"
    elif text.isidentifier():
        remedy = f"say its range once: {text}=1..8..64 (smallest, best, largest)"
    else:
        remedy = INPUT_REMEDY
    raise ArgumentError(
        f"--input {whole}: the size {text!r} cannot be read",
        expected="a number, name=min..best..max, or a name whose range is given elsewhere",
        found=text,
        remedy=remedy,
    )


def read_arrays(texts: Iterable[str]) -> dict[str, np.ndarray]:
    """`name=file.npy[:dtype]`, or `file.npz` whose arrays are named as the inputs."""
    arrays: dict[str, np.ndarray] = {}

    def add(name: str, array: np.ndarray, text: str) -> None:
        if name in arrays:
            raise _twice(name, text)
        arrays[name] = array

    for text in texts:
        if "=" not in text and text.lower().endswith(".npz"):
            loaded = _load(Path(text))
            if isinstance(loaded, np.ndarray):
                raise ArgumentError(
                    f"{text} holds one array without a name", found="a .npy file", remedy=f"--input NAME={text}"
                )
            for name, one in loaded.items():
                add(name, one, text)
            continue
        name, rest = _named(text, "--input", "--input image=digit.npy, or --input arrays.npz")
        file, dtype = split_dtype(rest)
        array = _load(Path(file))
        if not isinstance(array, np.ndarray):
            if len(array) != 1 and name not in array:
                raise ArgumentError(
                    f"{file} holds several arrays" if array else f"{file} holds no arrays",
                    expected=f"one, or one named {name!r}",
                    found=", ".join(array) or "none",
                    remedy=f"--input {file}, when all of them are inputs" if array else "write it with numpy.savez",
                )
            array = array[name] if name in array else next(iter(array.values()))
        add(name, _converted(name, array, dtype) if dtype else array, text)
    for name, array in arrays.items():
        if array.dtype in (np.float64, np.int16):
            wanted = "float32" if array.dtype == np.float64 else "int32"
            raise ArgumentError(
                f"TensorRT has no {array.dtype}, which is what the file for {name!r} holds",
                expected=wanted,
                found=str(array.dtype),
                remedy=f"let it be converted: --input {name}=FILE:{wanted}",
            )
    return arrays


def _converted(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """An array in another type, which holds its values but for rounding."""
    wanted = dtypes.for_network(dtype, f"input {name!r}")
    given = array.astype(np.float64) if array.dtype.type.__module__ == "ml_dtypes" else array
    if given.dtype.kind not in "iufb":
        raise _not_converted(name, dtype, "numbers or bools", str(array.dtype))
    with np.errstate(all="ignore"):
        made = array.astype(wanted.numpy)
        if wanted.is_floating_point:
            lost = np.isfinite(given) & ~np.isfinite(made.astype(np.float64))
        else:
            lost = (made.astype(bool) if wanted is dtypes.bool_ else made) != given
    if lost.any():
        raise _not_converted(name, dtype, f"values that {dtype} has", f"{given[lost].flat[0]}")
    return made


def _not_converted(name: str, dtype: str, expected: str, found: str) -> ArgumentError:
    return ArgumentError(
        f"the file for {name!r} is not to be converted to {dtype}",
        expected=expected,
        found=found,
        remedy="write the file in the type that the network takes",
    )


def _twice(name: str, text: str) -> ArgumentError:
    return ArgumentError(
        f"--input names {name!r} twice", expected="a name once", found=text, remedy="leave one of them out"
    )


def parse_shapes_and_files(texts: Iterable[str]) -> tuple[dict[str, Input], dict[str, np.ndarray]]:
    """Inputs by name, of shapes or of the arrays of files; and these arrays."""
    texts = list(texts)
    files = [text for text in texts if text.lower().endswith((".npy", ".npz")) or ".npy:" in text.lower()]
    arrays = read_arrays(files)
    shapes = parse_inputs(text for text in texts if text not in files)
    if both := [name for name in shapes if name in arrays]:
        raise ArgumentError(
            f"--input names {both[0]!r} twice",
            expected="a shape or a file",
            found="both",
            remedy="leave one of them out",
        )
    return {name: Input(array.shape, array.dtype) for name, array in arrays.items()} | shapes, arrays


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """The array of a .npy file, or those of an .npz file by name; by its first bytes, as NumPy does."""
    if not path.is_file():
        raise no_file(path)
    try:
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
        return npz.read(path) if archive else npz.read_one(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read", details=str(error), remedy="may you read it?") from error


# --- the rest ---------------------------------------------------------------------------------------------------------


def parse_arguments(texts: Iterable[str]) -> dict[str, Any]:
    """`name=value` each: a Python literal (`classes=10`, `sizes=(3,5)`, `bias=False`), else text."""
    result: dict[str, Any] = {}
    for text in texts:
        name, rest = _named(text, "--arg", "--arg classes=10")
        if name in result:
            raise ArgumentError(
                f"--arg names {name!r} twice", expected="a name once", found=text, remedy="leave one of them out"
            )
        try:
            result[name] = ast.literal_eval(rest)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            result[name] = rest
    return result


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """`name=value` each, of `BuildOptions`: `tf32=true`, `workspace=256M`, `tactic_sources=cublas,cudnn`, and
    `memory_pools.tactic_dram=1G`, `io_formats.image=hwc8` for one of several.

    Raises ArgumentError for what is no such text. Which options there are is known to `BuildOptions`.
    """
    result: dict[str, Any] = {}
    for text in texts:
        left, _, value = text.partition("=")
        name, dot, key = left.partition(".")
        if not all(part.isidentifier() for part in ((name, key) if dot else (name,))) or not value:
            raise _unread(text, "--option", "--option tf32=true")
        if name == "profile_stream":
            raise ArgumentError(
                "a command cannot be given a CUDA stream",
                expected="options that are numbers, names or true and false",
                found=text,
                remedy="trtnet.build(graph, profile_stream=stream), in Python",
            )
        whole = value.strip()
        found: Any = whole
        if whole.lower() in ("true", "false", "none"):
            found = {"true": True, "false": False, "none": None}[whole.lower()]
        elif name in SIZES and BYTES.fullmatch(whole):
            found = parse_bytes(whole)
        elif re.fullmatch(r"-?\d{1,18}", whole):
            found = int(whole)
        elif name == "tactic_sources":
            found = tuple(part.strip() for part in whole.split(",") if part.strip())
        beside = result.get(name)
        taken = name in result if not dot or not isinstance(beside, dict) else key in beside
        if taken:
            raise ArgumentError(
                f"the option {name + dot + key} is given twice", expected="each option once", found=text,
                remedy="leave one of them out",
            )  # fmt: skip
        if dot:
            result.setdefault(name, {})[key] = found
        else:
            result[name] = found
    return result


def parse_bytes(text: str | None) -> int | None:
    """`256M`, `1GiB`, `1048576`: bytes; K, M and G are powers of 1024, as TensorRT's tools count."""
    if text is None:
        return None
    match = BYTES.fullmatch(text.strip())
    if match is None or ("." in match[1] and not match[2]):
        raise ArgumentError(
            f"{text!r} is no size",
            expected="a number of bytes, or one with K, M or G",
            found=text,
            remedy="--workspace 256M",
        )
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
