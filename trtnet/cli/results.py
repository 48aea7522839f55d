"""What commands write: the files that are named, and what `trtnet run` shows and keeps of a network's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.disk import explained, replacing
from ..basics.errors import ArgumentError, WeightsError
from ..basics.tables import render
from ..engine.engine import Engine
from ..engine.plan import SUFFIXES
from ..tensorrt.build.options import CHOICES, FORMATS, POOLS, SINCE, BuildOptions
from ..weights import npz
from .console import out, say

ROWS, TOP = 8, 5


def print_results(engine: Engine, results: Mapping[str, np.ndarray]) -> None:
    """Shape, type and range of each output; for one or two dimensions the largest values of the first rows."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("output", "shape", "dtype", "min", "mean", "max"):
        table.add_column(column, justify="left" if column in ("output", "shape", "dtype") else "right")
    for name, array in results.items():
        numbers = ["", "", ""]
        if array.size:
            wide = array if array.dtype.kind in "iub" else array.astype(np.float64)
            numbers = [_number(wide.min(), 6), _number(np.mean(wide, dtype=np.float64), 6), _number(wide.max(), 6)]
        table.add_row(Text(name), format_shape(array.shape), dtypes.get(array.dtype).name, *numbers)
    out.print(f"by {type(engine).__name__}")
    out.print(table)
    for name, array in results.items():
        if array.ndim in (1, 2) and array.shape[-1] > 1 and array.size:
            _print_top(name, array.reshape(-1, array.shape[-1]))
        elif array.size == 1:
            out.print(f"{name} = {array.reshape(-1)[0]}", markup=False)


def _number(value: Any, digits: int) -> str:
    """A whole number as it is, as an index must be; another one with so many digits."""
    return str(int(value)) if value.dtype.kind in "iub" else f"{float(value):.{digits}g}"


def _print_top(name: str, rows: np.ndarray) -> None:
    count = min(TOP, rows.shape[1])
    title = Text(f"{name}: the {count} largest of each row (index: value)")
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("row", justify="right")
    for _ in range(count):
        table.add_column("")
    for number, row in enumerate(rows[:ROWS]):
        values = row.astype(np.float64)
        order = np.argsort(-values, kind="stable")[:count]
        table.add_row(str(number), *(f"[cyan]{i}[/]: {_number(row[i], 4)}" for i in order))
    out.print(table)
    if len(rows) > ROWS:
        out.print(f"  and {len(rows) - ROWS} rows more")


def check_output(path: Path) -> None:
    """Raises ArgumentError for an output that could not be written, before anything is computed."""
    if path.suffix not in (".npz", ".npy", ""):
        raise ArgumentError(
            "outputs are kept as .npz, as .npy, or in a folder",
            found=str(path),
            remedy=f"-o {path.with_suffix('.npz')}",
        )
    if not path.suffix and path.exists() and not path.is_dir():
        raise ArgumentError(f"{path} is a file", expected="a folder", remedy=f"-o {path}.npz, or another folder")
    if path.suffix:
        check_place(path)


def build_options() -> str:
    """Every option of a build, what it is unless given, and since which TensorRT there is it."""
    rows = []
    for option in fields(BuildOptions):
        standard = "" if option.default is MISSING or option.default is None else str(option.default)
        values = ", ".join(CHOICES.get(option.name, ())) or OF_SEVERAL.get(option.name, "")
        rows.append((option.name, standard, SINCE.get(option.name, "8.6"), values))
    return render(("option", "unless given", "since", "values"), rows)


OF_SEVERAL = {
    "memory_pools": "memory_pools.NAME=SIZE, of " + ", ".join(POOLS),
    "io_formats": "io_formats.INPUT=FORMAT, of " + ", ".join(FORMATS),
    "tactic_sources": "names by commas: cublas,cudnn",
    "profile_stream": "in Python alone",
}


def check_json(path: Path) -> None:
    """Raises ArgumentError for a file of JSON that could not be written, before anything is computed."""
    check_suffix(path, (".json",))


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raises ArgumentError for a file that has none of these suffixes, or could not be written."""
    if path.suffix not in suffixes:
        raise ArgumentError(
            f"its file name ends in {' or '.join(suffixes)}",
            found=str(path),
            remedy=f"name it {path.with_suffix(suffixes[0])}",
        )
    check_place(path)


def check_place(path: Path) -> None:
    """Raises ArgumentError where a file cannot be written: in no folder, or in a folder's place."""
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder", expected="a file", found="a folder", remedy="name a file")
    _check_folder(path)


def check_plan_file(path: Path) -> None:
    """Raises ArgumentError for a plan that could not be saved, before anything is built."""
    if path.suffix not in SUFFIXES:
        raise ArgumentError(
            f"a plan's file name ends in {' or '.join(SUFFIXES)}",
            found=str(path),
            remedy=f"-o {path.with_suffix('.engine')}",
        )
    check_place(path)


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise ArgumentError(f"there is no folder {path.parent}", remedy=f"create it first: mkdir {path.parent}")


def save_results(path: Path, results: Mapping[str, np.ndarray]) -> None:
    """One `.npz`, one `.npy`, or a folder of them. NumPy's own types only: bfloat16 is kept as float32."""
    arrays: dict[str, Any] = {n: a if a.dtype.isbuiltin == 1 else a.astype(np.float32) for n, a in results.items()}
    if path.suffix == ".npz":
        write(path, lambda new: npz.write(new, arrays, {}))
    elif path.suffix == ".npy":
        if len(arrays) != 1:
            raise ArgumentError(
                "one .npy file holds one output", found=", ".join(arrays), remedy=f"-o {path.with_suffix('.npz')}"
            )
        write(path, lambda new: np.save(new, *arrays.values()))
    else:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(
                f"the folder {path} could not be made", details=str(error), remedy="-o another folder, or FILE.npz"
            ) from error
        for name, array in arrays.items():
            write(path / f"{file_name(name)}.npy", lambda new, array=array: np.save(new, array))  # type: ignore[misc]


def file_name(name: str) -> str:
    """An output's name as a file's, a different one for each: `a/b` is `a%2Fb`, so that none leaves its folder."""
    return "".join(c if c.isalnum() or c in " ._-" else f"%{ord(c):02X}" for c in name)


def write(path: Path, content: Callable[[Path], object]) -> None:
    """Write a file, the whole of it or nothing, and say so."""
    with explained(path), replacing(path) as new:
        content(new)
    say(f"[bold]{escape(str(path))}[/] written")
