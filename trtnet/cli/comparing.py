"""Two ways to compute one network, on the same inputs: `trtnet compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..basics.arrays import from_numpy, import_torch, is_torch, to_numpy
from ..basics.dims import format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError
from ..basics.tables import render
from ..building import build
from ..engine.engine import Engine
from ..graph import forms
from ..graph.graph import Graph
from ..loading import load
from ..pytorch.engine import reference
from ..pytorch.sampling import Sampler
from ..rewriting.extra_outputs import module_paths, with_outputs
from ..weights import npz
from .console import out
from .model import is_torch_module, load_model
from .weight_files import give

Arrays = Mapping[str, np.ndarray]
EXAMPLES = "reference, float64, tensorrt, tensorrt_rtx, FILE.npz, FILE.engine or FILE.py:Class"
PROVIDERS = ("tensorrt", "tensorrt_rtx")


@dataclass(frozen=True)
class Row:
    """One tensor, as both sides have it. Errors are relative to the root mean square of the second side's values.

    Attributes:
        name: an output, or a module's path.
        largest: the largest difference; infinite where one side is NaN or infinite and the other is not the same.
        l2: the root mean square of the differences.
        cosine: of the angle between the two; None where a side is zero or nothing is finite.
        nonfinite: how many values of each side are NaN or infinite.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    l2: float
    cosine: float | None
    nonfinite: tuple[int, int]

    def differs(self, tolerance: float) -> bool:
        return not self.largest <= tolerance


def row(name: str, one: np.ndarray, other: np.ndarray) -> Row:
    """Compare two arrays. NaN is like NaN, and an infinity like the same one. Raises ArgumentError for other shapes."""
    if one.shape != other.shape:
        raise ArgumentError(
            f"{name!r} has not the same shape on both sides",
            expected=format_shape(one.shape),
            found=format_shape(other.shape),
            remedy="compare what was computed on the same inputs",
        )
    a, b = (side.astype(np.float64).reshape(-1) for side in (one, other))
    finite = np.isfinite(a) & np.isfinite(b)
    alike = finite | (a == b) | (np.isnan(a) & np.isnan(b))
    bad = int((~np.isfinite(a)).sum()), int((~np.isfinite(b)).sum())
    x, y = a[finite], b[finite]
    scale = float(np.sqrt(np.mean(y * y))) if y.size else 0.0
    difference = np.abs(x - y)
    worst, mean = (float(difference.max()), float(np.sqrt(np.mean(difference**2)))) if x.size else (0.0, 0.0)
    if worst:
        worst, mean = (worst / scale, mean / scale) if scale else (np.inf, np.inf)
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    cosine = float(x @ y / lengths) if lengths else None
    return Row(name, one.shape, worst if alike.all() else np.inf, mean, cosine, bad)


def table(rows: Sequence[Row], tolerance: float) -> str:
    """The rows as text."""
    columns = ("tensor", "shape", "largest", "L2", "cosine", "not finite", "")
    lines = [
        (
            one.name,
            format_shape(one.shape),
            f"{one.largest:.3g}",
            f"{one.l2:.3g}",
            "" if one.cosine is None else f"{one.cosine:.9f}",
            f"{one.nonfinite[0]}, {one.nonfinite[1]}" if any(one.nonfinite) else "",
            "differs" if one.differs(tolerance) else "",
        )
        for one in rows
    ]
    return render(columns, lines, right=("largest", "L2", "cosine"))


class Side:
    """One way to compute: what the command line calls A or B.

    Attributes:
        text: its name there.
        inner: whether it can show what modules inside give.
    """

    def __init__(self, text: str, graph: Graph, arguments: Mapping[str, Any]) -> None:
        self.text, self.graph = text, graph
        self._arguments = arguments
        self.inner = text in ("reference", "float64", *PROVIDERS)
        path = Path(text)
        known = path.suffix in (".npz", ".engine") or ":" in text or path.suffix == ".py"
        if not self.inner and not known:
            raise ArgumentError(
                f"there is no such way to compute: {text!r}",
                expected=EXAMPLES,
                found=text,
                remedy="for instance float64",
            )

    def outputs(self, inputs: Arrays, paths: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """The network's outputs by name, or those of the modules at these paths."""
        if self.inner:
            graph = with_outputs(self.graph, paths) if paths else self.graph
            found = dict(zip(graph.outputs, _flat(graph, _call(self._engine(graph), inputs))))
            return {path: found[path] for path in paths} if paths else found
        if self.text.endswith(".npz"):
            return npz.read(Path(self.text))
        if self.text.endswith(".engine"):
            engine = load(self.text)
            return dict(zip(engine.graph.outputs, _flat(engine.graph, _call(engine, inputs))))
        return self._module(inputs)

    def _engine(self, graph: Graph) -> Engine:
        if self.text == "reference":
            return reference(graph)
        if self.text in PROVIDERS:
            return build(graph, provider=self.text, check=False)
        return reference(graph, dtype="float64")

    def _module(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """What a torch.nn.Module with the graph's weights gives."""
        module: Any = load_model(self.text, self._arguments, inputs)
        state = self.graph.state_dict()
        if not is_torch_module(module):
            raise ArgumentTypeError(
                f"{self.text} is no torch.nn.Module",
                expected="one with the network's keys",
                found=type(module).__name__,
            )
        torch = import_torch()
        give(module, state, "the network's weights", f"write {self.text} with the network's own names and sizes")
        module.eval()
        with torch.no_grad():
            result = module(**{name: from_numpy(np.array(value)) for name, value in inputs.items()})
        return dict(zip(self.graph.outputs, _flat(self.graph, result)))


def _call(engine: Engine, inputs: Arrays) -> Any:
    given: dict[str, Any] = dict(inputs)
    return engine(**given)


def _flat(graph: Graph, result: Any) -> list[np.ndarray]:
    found = forms.flat(graph.form, list(graph.outputs), result)
    if found is None:
        raise ArgumentTypeError(
            "the two sides do not return the same form", expected=str(graph.form), found=type(result).__name__
        )
    return [to_numpy(one.detach()) if is_torch(one) else np.asarray(one) for one in found]


def drawn(graph: Graph) -> dict[str, np.ndarray]:
    """Inputs at the Dims' best sizes, the same at each call."""
    return Sampler(graph).draw({name: dim.opt for name, dim in graph.dims.items()})


def compare(a: Side, b: Side, inputs: Arrays, tolerance: float) -> bool:
    """Compare two sides, print what was found, and say whether they agree."""
    ours, theirs = a.outputs(inputs), b.outputs(inputs)
    if missing := [name for name in ours if name not in theirs]:
        raise ArgumentError(
            f"{b.text} has no output {missing[0]!r}", expected=", ".join(ours), found=", ".join(theirs) or "none"
        )
    rows = [row(name, ours[name], theirs[name]) for name in ours]
    _print(table(rows, tolerance))
    wrong = [one.name for one in rows if one.differs(tolerance)]
    if not wrong:
        _print(f"\n{a.text} and {b.text} agree within {tolerance:g} of each output's root mean square")
        return True
    _print(f"\n{a.text} and {b.text} differ by more than {tolerance:g} in {', '.join(wrong)}")
    if a.inner and b.inner:
        _print(_first(a, b, inputs, tolerance))
    return False


def _print(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _first(a: Side, b: Side, inputs: Arrays, tolerance: float) -> str:
    """The first module, in the order of recording, whose tensors differ."""
    paths = module_paths(a.graph)
    if not paths:
        return "no modules in it can be compared"
    ours, theirs = a.outputs(inputs, paths), b.outputs(inputs, paths)
    for path in paths:
        one = row(path, ours[path], theirs[path])
        if one.differs(tolerance):
            return f"the first module that differs: {path}\n{table([one], tolerance)}"
    return "no module differs when its tensors are outputs, too: what is compiled then is another network"
