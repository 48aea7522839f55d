"""The same network on the TensorRTs of two Pythons: `trtnet upgrade-check`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..basics.arrays import to_numpy
from ..basics.disk import write_text
from ..basics.errors import ArgumentError, ProviderError
from ..basics.tables import render
from ..graph.graph import Graph
from ..nn.module import Module
from ..weights import npz
from .benching import seconds
from .comparing import Row, beyond, row, table
from .console import note, print_text
from .model import is_torch_module
from .one_side import ASKED, FOUND, INPUTS, OUTPUTS, Question
from .timing import as_json

Arrays = Mapping[str, np.ndarray]


def require_python(text: str) -> str:
    """The path of a Python. Raises ArgumentError for what is no program."""
    found = shutil.which(text)
    if found is None:
        raise ArgumentError(
            f"there is no Python {text}",
            expected="the path of a program",
            found=text,
            remedy="--python /path/to/venv/bin/python",
        )
    return found


def save_weights(network: Any, folder: Path) -> Path | None:
    """A file with a module's weights, so that both sides have the same; None of what has none."""
    if isinstance(network, Module):
        if not network.state_dict():
            return None
        network.save_weights(folder / "weights.safetensors")
        return folder / "weights.safetensors"
    if is_torch_module(network):
        arrays = {name: to_numpy(value.detach()) for name, value in network.state_dict().items()}
        npz.write(folder / "weights.npz", arrays, {})
        return folder / "weights.npz"
    return None


def upgrade_check(
    graph: Graph, arrays: Arrays, question: Question, python: str, tolerance: float, file: Path | None
) -> bool:
    """Ask both Pythons, print what they say side by side, and say whether the outputs agree.

    Args:
        arrays: the inputs.
        python: the other one; the first is this one.
        file: where everything goes as JSON.
    """
    with tempfile.TemporaryDirectory() as name:
        here, ours = _ask(sys.executable, Path(name) / "here", arrays, question)
        there, theirs = _ask(python, Path(name) / "there", arrays, question)
    rows = [row(name, theirs[name], ours[name]) for name in graph.outputs]
    print_text(_facts(here, there))
    print_text(f"\nhow the outputs there differ from those here:\n{table(rows, tolerance)}\n")
    wrong = beyond(rows, tolerance)
    print_text(f"they {wrong}" if wrong else f"they agree within {tolerance:g} of each output's root mean square")
    for where, side in (("here", here), ("there", there)):
        if side["cannot_execute"] is not None:
            note(f"{where} PyTorch computed the outputs, and was timed: no TensorRT runs ({side['cannot_execute']})")
    if here["versions"]["trtnet"] != there["versions"]["trtnet"]:
        note("trtnet is another one there, too: what differs may come of that")
    if file is not None:
        _write(file, here, there, rows, tolerance)
    return not wrong


def _ask(python: str, folder: Path, arrays: Arrays, question: Question) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What one Python finds, and the outputs there."""
    folder.mkdir()
    (folder / ASKED).write_text(json.dumps(asdict(question)), encoding="utf-8")
    npz.write(folder / INPUTS, arrays, {})
    command = [python, "-P", "-m", "trtnet.cli.one_side", str(folder)]  # by its own trtnet, not one in this folder
    made = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if made.returncode:
        said = made.stderr.strip()[-2000:]
        if re.search("No module named '?trtnet", said):
            raise ProviderError(
                f"{python} has no trtnet that could be asked",
                details=said,
                remedy=f"{python} -m pip install 'trtnet=={__version__}', or put a checkout of it on PYTHONPATH",
            )
        raise ProviderError(f"{python} ended with an error", details=said)
    if not (folder / FOUND).is_file():
        raise ProviderError(
            f"{python} is no Python",
            expected="a Python, which runs what it is asked",
            found="a program that ended without a word",
            details=made.stderr.strip()[-2000:] or None,
            remedy="--python /path/to/venv/bin/python",
        )
    found: dict[str, Any] = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    return found | {"python": python}, npz.read(folder / OUTPUTS)


def _facts(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    rows = [
        (title, *(value(one) for one in (here, there)))
        for title, value in (
            ("Python", lambda one: one["python"]),
            ("trtnet", lambda one: one["versions"]["trtnet"]),
            ("PyTorch", lambda one: one["versions"]["torch"]),
            ("TensorRT", lambda one: one["provider"] or "none"),
            ("computed by", lambda one: "TensorRT" if one["cannot_execute"] is None else "PyTorch, the reference"),
            ("on", lambda one: one["machine"]["gpu"] or one["machine"]["cpu"]),
            ("plan", lambda one: f"{one['plan']:,} bytes" if "plan" in one else "none was built"),
            ("built in", lambda one: seconds(one["seconds"]) if "seconds" in one else ""),
            ("layers", lambda one: f"{one['layers']:,}"),
            ("composed of others", lambda one: _kinds(one.get("composed", {}))),
            ("from float64", lambda one: "" if one["difference"] is None else f"{float(one['difference']):.1e}"),
        )
    ]
    for phase in here["phases"]:
        pair = [one["phases"].get(phase) for one in (here, there)]
        for figure, title in (("median", f"{phase}, median"), ("p99", f"{phase}, 99 %")):
            texts = [seconds(one[figure]) if one else "" for one in pair]
            if all(pair) and pair[0][figure]:
                texts[1] += f" (× {pair[1][figure] / pair[0][figure]:.2f})"
            rows.append((title, *texts))
    return render(("", "here", "there"), [one for one in rows if any(one[1:])])


def _kinds(composed: Mapping[str, int]) -> str:
    return ", ".join(kind + (f" ({count})" if count > 1 else "") for kind, count in composed.items())


def _write(file: Path, here: Any, there: Any, rows: Sequence[Row], tolerance: float) -> None:
    outputs = [asdict(one) | {"largest": as_json(one.largest), "l2": as_json(one.l2)} for one in rows]
    text = json.dumps({"here": here, "there": there, "tolerance": tolerance, "outputs": outputs}, indent=1)
    write_text(file, text + "\n")
