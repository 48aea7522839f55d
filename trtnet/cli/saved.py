"""Outputs in files: NumPy's `.npz`, and the JSON in which Polygraphy keeps what its runners gave.

Source: Polygraphy's `comparator/struct.py` and `json/serde.py` (0.53). Its RunResults is a list of runners, each with
one IterationResult for each set of inputs; an array is the bytes of a .npy file, in base64.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..basics.disk import write_text
from ..basics.errors import ArgumentError, WeightsError
from ..weights import npz
from .model import no_file

KIND = "polygraphy_class"
Arrays = Mapping[str, np.ndarray]


def split(text: str) -> tuple[Path, str] | None:
    """A file of outputs, and the runner that is named behind it; None for what is no such file's name.

    >>> split("outputs.json:float64")
    (PosixPath('outputs.json'), 'float64')
    """
    if text.endswith((".npz", ".json")):
        return Path(text), ""
    name, found, runner = text.partition(".json:")
    return (Path(f"{name}.json"), runner) if found else None


def read(path: Path, runner: str = "") -> dict[str, np.ndarray]:
    """Outputs by name.

    Args:
        runner: which of the runners in a file of Polygraphy's; "" where there is one.

    Raises WeightsError for a damaged file, ArgumentError where it is not clear which outputs of the file are meant.
    """
    if not path.is_file():
        raise no_file(path)
    if path.suffix == ".npz":
        return npz.read(path)
    try:
        runners = _runners(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} does not hold Polygraphy's outputs",
            expected="what polygraphy run --save-outputs or trtnet compare --save wrote",
            found=f"{type(error).__name__}: {error}"[:300],
            remedy="write it again; torch tensors in it are not read",
        ) from error
    names = [name for name, _ in runners]
    if (names.count(runner) if runner else len(names)) != 1:
        raise ArgumentError(
            f"{path} holds the outputs of {len(names)} runners",
            expected=f"one of {', '.join(names)}" if names else "the outputs of a runner",
            found=runner or "none named",
            remedy=f"name one: {path}:{names[0]}" if names else "write it again, with outputs",
        )
    iterations = next(outputs for name, outputs in runners if runner in ("", name))
    if len(iterations) != 1:
        raise ArgumentError(
            f"{path} holds outputs for {len(iterations)} sets of inputs",
            expected="one",
            found=str(len(iterations)),
            remedy="polygraphy run --iterations 1 --save-outputs FILE.json",
        )
    return iterations[0]


def _runners(data: Any) -> list[tuple[str, list[dict[str, np.ndarray]]]]:
    if data[KIND] != "RunResults":
        raise ValueError(f"it holds {data[KIND]}")
    return [(str(name), [_outputs(one) for one in iterations]) for name, iterations in data["lst"]]


def _outputs(iteration: Any) -> dict[str, np.ndarray]:
    return {name: _array(one["values"]) for name, one in iteration["outputs"].items()}


def _array(data: Any) -> np.ndarray:
    if data[KIND] != "ndarray":
        raise ValueError(f"an output is {data[KIND]}")
    try:
        raw = base64.b64decode(data["array"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"an array is no base64: {error}") from error
    return np.asarray(np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False))


def write(path: Path, runners: Mapping[str, Arrays]) -> None:
    """Write outputs by runner as Polygraphy does, for `polygraphy run --load-outputs`, `polygraphy inspect data` and
    `read`. What NumPy has no name for, like bfloat16, is written as float32. Raises WeightsError where the disk
    refuses."""
    listed = [
        [name, [{"outputs": {k: _lazy(v) for k, v in outputs.items()}, "runtime": None, "runner_name": name,
                 KIND: "IterationResult"}]]
        for name, outputs in runners.items()
    ]  # fmt: skip
    write_text(path, json.dumps({"lst": listed, KIND: "RunResults"}, indent=1) + "\n")


def _lazy(array: np.ndarray) -> dict[str, Any]:
    file = io.BytesIO()
    plain = array if array.dtype.isbuiltin == 1 else array.astype(np.float32)
    np.lib.format.write_array(file, np.asarray(plain, order="C"), allow_pickle=False)
    values = {"array": base64.b64encode(file.getvalue()).decode(), KIND: "ndarray"}
    return {"values": values, KIND: "LazyArray"}
