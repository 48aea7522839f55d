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
from ..engine.plan import SUFFIXES
from ..graph import forms
from ..graph.graph import Graph
from ..loading import load
from ..pytorch.engine import reference
from ..pytorch.sampling import Sampler
from ..rewriting.extra_outputs import module_paths, with_outputs
from . import saved
from .console import note, print_text
from .exported import onnx_runtime
from .model import is_torch_module, load_model
from .pictures import draw_errors
from .weight_files import give

Arrays = Mapping[str, np.ndarray]
EXAMPLES = "reference, float64, tensorrt, tensorrt_rtx, onnxruntime, FILE.npz, FILE.json, FILE.engine or FILE.py:Class"
PROVIDERS = ("tensorrt", "tensorrt_rtx")
INNER = ("reference", "float64", "onnxruntime", *PROVIDERS)
"""Ways that can show what modules inside give."""


@dataclass(frozen=True)
class Row:
    """One tensor, as both sides have it. Errors are relative to the root mean square of the second side's values.

    Attributes:
        name: an output, or a module's path.
        largest: the largest difference; infinite where one side is NaN or infinite and the other is not the same.
        l2: the root mean square of the differences.
        cosine: of the angle between the two; None where a side is zero or nothing is finite.
        nonfinite: how many values of each side are NaN or infinite.
        whole: whether both are whole numbers or bools, as indices are: then the next one is another, however large.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    l2: float
    cosine: float | None
    nonfinite: tuple[int, int]
    whole: bool

    def differs(self, tolerance: float) -> bool:
        return not self.largest <= (0 if self.whole else tolerance)


def beyond(rows: Sequence[Row], tolerance: float) -> str:
    """What there is more of between the sides than may be, and in which tensors; "" where there is nothing."""
    wrong = [one for one in rows if one.differs(tolerance)]
    small = any(one.largest <= tolerance for one in wrong)
    names = ", ".join(one.name for one in wrong)
    return names and f"differ by more than {tolerance:g}{', or in whole numbers,' if small else ''} in {names}"


def errors(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The difference of each value, by the root mean square of the second array's finite ones: 0 of the same, and of
    NaN and NaN; infinite where one alone is not finite.

    >>> errors(np.array([1.0, 2.0, np.nan]), np.array([1.0, 1.0, 1.0])).tolist()
    [0.0, 1.0, inf]
    """
    a, b = (side.astype(np.float64).reshape(-1) for side in (one, other))
    finite = np.isfinite(a) & np.isfinite(b)
    found = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.inf)
    x, y = a[finite], b[finite]
    scale = float(np.sqrt(np.mean(y * y))) if y.size else 0.0
    if scale:
        found[finite] = np.abs(x - y) / scale
    if _whole(one, other):  # float64 does not hold all that 64 bits do
        found[((one != other).reshape(-1)) & (found == 0)] = 1 / (scale or 1)
    return found


def _whole(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype.kind in "iub" and other.dtype.kind in "iub"


def row(name: str, one: np.ndarray, other: np.ndarray) -> Row:
    """Compare two arrays. NaN is like NaN, and an infinity like the same one. Raises ArgumentError for other shapes."""
    if one.shape != other.shape:
        raise ArgumentError(
            f"{name!r} has not the same shape on both sides",
            expected=format_shape(one.shape),
            found=format_shape(other.shape),
            remedy="compare what was computed on the same inputs",
        )
    for side in (one, other):
        if side.dtype.kind not in "iubf" and side.dtype.type.__module__ != "ml_dtypes":
            raise ArgumentError(f"{name!r} holds no real numbers", expected="numbers or bools", found=side.dtype)
    off = errors(one, other)
    a, b = (side.astype(np.float64).reshape(-1) for side in (one, other))
    bad = int((~np.isfinite(a)).sum()), int((~np.isfinite(b)).sum())
    finite = np.isfinite(a) & np.isfinite(b)
    mean = float(np.sqrt(np.mean(off[finite] ** 2))) if finite.any() else 0.0
    x, y = a[finite], b[finite]
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    cosine = float(x @ y / lengths) if lengths else None
    return Row(name, one.shape, float(off.max(initial=0.0)), mean, cosine, bad, _whole(one, other))


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

    def __init__(self, text: str, graph: Graph, arguments: Mapping[str, Any], half: bool = False) -> None:
        self.text, self.graph = text, graph
        self._arguments, self._half = arguments, half
        self._saved = saved.split(text)
        self.inner = text in INNER
        path = Path(text)
        known = self._saved is not None or path.suffix in (*SUFFIXES, ".py") or ":" in text
        if not self.inner and not known:
            raise ArgumentError(
                f"there is no such way to compute: {text!r}",
                expected=EXAMPLES,
                found=text,
                remedy="for instance float64",
            )

    def outputs(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The network's outputs by name. Raises ArgumentError for a file that lacks one; what it has beside them is
        told."""
        if self.inner:
            return self._computed(self.graph, inputs)
        if self._saved is not None:
            found = saved.read(*self._saved)
        elif self.text.endswith(SUFFIXES):
            engine = load(self.text)
            found = dict(zip(engine.graph.outputs, _flat(engine.graph, _call(engine, inputs))))
        else:
            return self._module(inputs)
        wanted = self.graph.outputs
        if missing := [name for name in wanted if name not in found]:
            raise ArgumentError(
                f"{self.text} has no output {missing[0]!r}",
                expected=", ".join(wanted),
                found=", ".join(found) or "none",
            )
        if more := [name for name in found if name not in wanted]:
            note(f"{self.text} has more, which is not compared: {', '.join(more)}")
        return {name: found[name] for name in wanted}

    def modules(self, inputs: Arrays, paths: Sequence[str]) -> dict[str, np.ndarray]:
        """What the modules at these paths give."""
        found = self._computed(with_outputs(self.graph, paths), inputs)
        return {path: found[path] for path in paths}

    def _computed(self, graph: Graph, inputs: Arrays) -> dict[str, np.ndarray]:
        if self.text == "onnxruntime":
            return dict(zip(graph.outputs, onnx_runtime(graph, inputs)()))
        return dict(zip(graph.outputs, _flat(graph, _call(self._engine(graph), inputs))))

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
        if self._half:
            module.half()
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


def compare(
    a: Side, b: Side, inputs: Arrays, tolerance: float, keep: Path | None = None, picture: Path | None = None
) -> bool:
    """Compare two sides, print what was found, and say whether they agree.

    Args:
        keep: where the outputs of both go, as Polygraphy's JSON.
        picture: where the distribution of the errors is drawn.
    """
    ours, theirs = a.outputs(inputs), b.outputs(inputs)
    rows = [row(name, ours[name], theirs[name]) for name in ours]
    print_text(table(rows, tolerance))
    if keep is not None:
        saved.write(keep, {a.text: ours, (b.text if b.text != a.text else f"{b.text} again"): theirs})
    if picture is not None:
        off = {name: errors(ours[name], theirs[name]) for name in ours}
        draw_errors(picture, f"{a.graph.title}: {a.text} and {b.text}", off, tolerance)
    wrong = beyond(rows, tolerance)
    if wrong:
        print_text(f"\n{a.text} and {b.text} {wrong}")
    else:
        print_text(f"\n{a.text} and {b.text} agree within {tolerance:g} of each output's root mean square")
    if wrong or any(any(one.nonfinite) for one in rows):
        _print_modules(a, b, inputs, tolerance, bool(wrong))
    return not wrong


def _print_modules(a: Side, b: Side, inputs: Arrays, tolerance: float, differ: bool) -> None:
    """The first module, in the order of recording, whose tensors differ; and the first with NaN or infinities."""
    sides = [side for side in dict.fromkeys((a, b)) if side.inner]
    paths = module_paths(a.graph)
    if not sides or not paths:
        print_text("no modules in it can be compared")
        return
    found = {side.text: side.modules(inputs, paths) for side in sides}
    if differ and len(sides) == 2:
        print_text(_first(paths, found[a.text], found[b.text], tolerance))
    for side in sides:
        for path in paths:
            if text := _odd(found[side.text][path]):
                print_text(f"the first module that is not finite in {side.text}: {path} ({text})")
                break


def _first(paths: Sequence[str], ours: Arrays, theirs: Arrays, tolerance: float) -> str:
    for path in paths:
        one = row(path, ours[path], theirs[path])
        if one.differs(tolerance):
            return f"the first module that differs: {path}\n{table([one], tolerance)}"
    return "no module differs when its tensors are outputs, too: what is compiled then is another network"


def _odd(array: np.ndarray) -> str:
    """How many values are NaN or infinite; "" for none."""
    values = array.astype(np.float64)
    nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    parts = [f"{count:,} {what}" for count, what in ((nan, "NaN"), (infinite, "infinite")) if count]
    return f"{', '.join(parts)} of {values.size:,}" if parts else ""
