"""What a file of engines or of weights is: `trtnet inspect`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..basics.dims import format_shape
from ..basics.disk import as_path
from ..basics.errors import ArgumentError, ProviderError
from ..basics.tables import render
from ..engine.checked import Checked
from ..engine.files import Files
from ..engine.plan import SUFFIXES, Plan, precision
from ..loading import check_plan
from ..weights import files
from .model import no_file

CHUNK = 1 << 20


def described(path: Path) -> str:
    """What a file is, as text. Raises ArgumentError for a suffix that is neither an engine's nor a weight file's, and
    WeightsError for a file that is damaged."""
    path = as_path(path)
    name = path.name.lower()
    if name.endswith(tuple(f"{suffix}.json" for suffix in SUFFIXES)):
        path = path.with_name(path.name[: -len(".json")])
    if path.suffix.lower() in SUFFIXES:
        return _engine(path)
    if any(name.endswith(suffix) for suffix in files.SUFFIXES):
        return _weights(path)
    if not path.exists():
        raise no_file(path)
    raise ArgumentError(
        "this file's suffix is not one that trtnet writes or reads",
        expected=", ".join((*SUFFIXES, *files.SUFFIXES)),
        found=str(path),
        remedy="a plan under another name is looked at as FILE.engine: copy it",
    )


def _engine(path: Path) -> str:
    if not Files(path).exists():
        return _bare(path)
    plan = Plan.load(path)  # which compares each file with its SHA-256
    graph = plan.graph
    parts = [_facts(path, plan)]
    rows = [
        (kind, name, format_shape(t.shape), t.dtype.name)
        for kind, tensors in (("input", graph.inputs), ("output", graph.outputs))
        for name, t in tensors.items()
    ]
    parts.append(render(("", "name", "shape", "dtype"), rows))
    if plan.profiles or graph.dims:
        sizes = [(name, *map(str, (d.min, d.opt, d.max))) for name, d in graph.dims.items()]
        parts.append(render(("size", "least", "best", "greatest"), sizes, right=("least", "best", "greatest")))
    if plan.checked is not None:
        parts.append(f"compared with the reference when it was built:\n{Checked.of(plan.checked)}")
    return "\n\n".join(parts)


def _facts(path: Path, plan: Plan) -> str:
    graph = plan.graph
    if plan.gpu:
        where = f"{plan.gpu['name']} ({plan.gpu['capability']})"
    else:
        where = ", ".join(plan.targets) or "TensorRT-RTX's default GPUs"
    total = sum(leaf.nbytes for leaf in {id(leaf): leaf for leaf in graph.parameters.values()}.values())
    options = ", ".join(f"{n}={v}" for n, v in plan.options.items() if v not in (None, False, "none", [], {}, ()))
    facts = {
        "network": graph.title,
        "plan": f"{len(plan.data):,} bytes" if plan.provider != "reference" else "none: the reference engine's files",
        "built by": f"{plan.provider} {plan.version}" + (f", in {plan.seconds:.1f} s" if plan.seconds else ""),
        "for": where if plan.provider != "reference" else "PyTorch",
        "runs here": _runs_here(plan, path),
        "precision": precision(graph),
        "layers": f"{len(graph.layers):,}, structure {graph.structure_hash()[:16]}",
        "weights": f"{len(graph.parameters):,} parameters, {total:,} bytes" + _changeable(plan),
        "version": "" if plan.weights_version is None else f"{plan.weights_version}, as the trainer numbers them",
        "options": options,
        "plugins": ", ".join(f"{p['creator']} {p['version']}" for p in plan.plugins),
    }
    width = max(map(len, facts))
    lines = [f"  {name:<{width}}  {value}" for name, value in facts.items() if value]
    return f"{path}: an engine\n" + "\n".join(lines)


def _changeable(plan: Plan) -> str:
    parts = []
    if plan.refittable:
        parts.append(f"{len(plan.refittable)} refittable")
    if plan.live:
        parts.append(f"{len(plan.live)} live")
    if plan.stripped:
        parts.append("none of them in the plan")
    if not parts:
        parts.append("fixed")
    return "; " + ", ".join(parts)


def _runs_here(plan: Plan, path: Path) -> str:
    if plan.provider == "reference":
        return "yes, in PyTorch"
    try:
        check_plan(plan, path.parent)
    except ProviderError as error:
        reason = error.details or "".join(
            f"; {what} {value}" for what, value in (("it takes", error.expected), ("here is", error.found)) if value
        )
        return f"no: {error.problem}" + (f" ({reason.strip('; ')})" if reason else "")
    return "yes"


def _bare(path: Path) -> str:
    if not path.is_file():
        raise no_file(path)
    return (
        f"{path}: a plan of {path.stat().st_size:,} bytes, without trtnet's manifest ({path.name}.json)\n"
        "  Which TensorRT and GPU it is for, only TensorRT can say: trtnet.load(path), where it runs."
    )


def _weights(path: Path) -> str:
    arrays, metadata = files.read(path), files.read_metadata(path)
    rows = [_row(name, array) for name, array in arrays.items()]
    numbers = ("elements", "bytes", "least", "mean", "greatest", "not finite")
    total = sum(array.size for array in arrays.values())
    nbytes = sum(array.nbytes for array in arrays.values())
    footer = f"{len(arrays)} arrays, {total:,} elements, {nbytes:,} bytes"
    text = f"{path}: weights\n" + render(("name", "shape", "dtype", *numbers), rows, right=numbers, footer=footer)
    if metadata:
        text += "\n\nmetadata:\n" + "\n".join(f"  {name}: {value}" for name, value in metadata.items())
    return text


def _row(name: str, array: np.ndarray) -> tuple[str, ...]:
    shape = (name, format_shape(array.shape), str(array.dtype), f"{array.size:,}", f"{array.nbytes:,}")
    if not array.size or array.dtype.kind == "c":
        return (*shape, "", "", "", "")
    least, total, greatest, bad = np.inf, 0.0, -np.inf, 0
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):  # a mapped file of any size is read piece by piece
        part = flat[start : start + CHUNK].astype(np.float64)
        finite = part[np.isfinite(part)]
        bad += part.size - finite.size
        if finite.size:
            least, greatest = min(least, finite.min()), max(greatest, finite.max())
            total += finite.sum()
    if bad == array.size:
        return (*shape, "", "", "", f"{bad:,}")
    return (*shape, f"{least:.4g}", f"{total / (array.size - bad):.4g}", f"{greatest:.4g}", f"{bad:,}" if bad else "")
