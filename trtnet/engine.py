"""What every engine is: named inputs in, the form that `forward` returned out, weights by `state_dict` key."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from . import dtypes
from .dims import format_shape
from .dtypes import dtype as Dtype
from .errors import ArgumentTypeError, DtypeError, WeightsError
from .graph import Graph
from .interchange import to_numpy
from .tensor import Array, Tensor
from .weights.loading import match


class TensorSpec(NamedTuple):
    """Name, shape (ints and Dims) and dtype of an input or output."""

    name: str
    shape: tuple[Any, ...]
    dtype: Dtype

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> TensorSpec:
        return cls(name, tensor.shape, tensor.dtype)


@dataclass
class RefitReport:
    """What a refit did.

    Attributes:
        given: names of the parameters that were given.
        changed: names of the engine weights that were made anew from them.
        companions: engine weights that TensorRT wanted beside those, and got from the engine's own copy.
        converted: name and dtype of given values that were converted to the parameter's dtype.
        seconds: time it took.
    """

    given: list[str]
    changed: list[str]
    companions: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        text = f"refitted {len(self.changed)} weights from {len(self.given)} parameters in {self.seconds * 1e3:.1f} ms"
        if self.companions:
            text += f" ({len(self.companions)} companions from the engine's own copy)"
        return text


@dataclass(frozen=True)
class Snapshot:
    """The weights of an engine at one moment; `engine.restore` takes it. Opaque."""

    engine: int
    generation: int
    weights: Any


_serials = itertools.count()


class Engine:
    """Runs a graph. The reference engine and the TensorRT engine take the same calls with the same meaning.

    `engine(x=array)` or `engine(array)`: NumPy in, NumPy out; torch in, torch out. The result has the form that
    `forward` returned: one array, a tuple, or a dict.

    Attributes:
        graph: the recorded graph.
        inputs, outputs: TensorSpecs, in order.
        generation: how many times the weights were changed.
        serial: a number of its own in this process.
        refittable: the parameters that `refit` takes.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs = [TensorSpec.of(name, tensor) for name, tensor in graph.inputs.items()]
        self.outputs = [TensorSpec.of(name, tensor) for name, tensor in graph.outputs.items()]
        self.generation = 0
        self.serial = next(_serials)
        self.refittable: frozenset[str] = frozenset(graph.parameters)
        self._input_names = tuple(graph.inputs)
        self._sizes: dict[tuple[tuple[int, ...], ...], dict[str, int]] = {}

    # --- calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network. Raises ShapeError, DtypeError or ArgumentTypeError before anything runs."""
        values = self._ordered(args, kwargs)
        kind = one_kind(self.inputs, values)
        if kind == "array":
            values = [v.numpy() for v in values]
        sizes = self._check(values)
        results = self._run(values, sizes)
        if kind == "torch":
            results = [r.to(values[0].device) for r in results]
        else:
            results = [to_numpy(r) for r in results]
            if kind == "array":
                results = [Array(r) for r in results]
        form = self.graph.form
        if form == "one":
            return results[0]
        if form == "tuple":
            return tuple(results)
        return dict(zip(self.graph.outputs, results))

    def _ordered(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        names = self._input_names
        if len(args) + len(kwargs) == len(names):
            try:
                return [*args, *(kwargs[name] for name in names[len(args) :])]
            except KeyError:
                pass
        given = [*names[: len(args)], *kwargs]
        raise ArgumentTypeError(
            "these are not the engine's inputs",
            expected=", ".join(names),
            found=", ".join(given) + (f" and {len(args) - len(names)} more" if len(args) > len(names) else "")
            or "none",
            remedy="engine(" + ", ".join(f"{name}=array" for name in names) + ")",
        )

    def _run(self, values: list[Any], sizes: dict[str, int]) -> list[Any]:
        """Outputs as torch tensors of the caller's own, from checked NumPy arrays or torch tensors."""
        raise NotImplementedError

    def _check(self, values: list[Any]) -> dict[str, int]:
        """Dtypes at every call, shapes at the first with those shapes; the sizes of the Dims."""
        for spec, value in zip(self.inputs, values):
            if value.dtype != spec.dtype.numpy and _known(value.dtype) is not spec.dtype:
                raise DtypeError(
                    f"input {spec.name!r} has the wrong dtype",
                    expected=spec.dtype.name,
                    found=str(_known(value.dtype) or value.dtype),
                    remedy=f"array.astype(numpy.{spec.dtype.name}), or tensor.to(torch.{spec.dtype.name})",
                )
        shapes = tuple([tuple(value.shape) for value in values])
        sizes = self._sizes.get(shapes)
        if sizes is None:
            sizes = self.graph.bind(dict(zip(self._input_names, shapes)))
            if len(self._sizes) > 1024:
                self._sizes.clear()
            self._sizes[shapes] = sizes
        return sizes

    # --- weights

    def refit(self, state_dict: Mapping[str, Any], *, prefix: str = "", finite: str | None = "warn") -> RefitReport:
        """Give the engine new weights by parameter name; a subset is enough. All or nothing.

        Args:
            state_dict: arrays or torch tensors by `state_dict` key. fp32, fp16 and bf16 convert.
            prefix: stripped from the keys that have it (`module.`, `_orig_mod.`).
            finite: what NaN and infinity do: "warn" (CUDA tensors are not looked at), "raise" or None (not looked for).

        Raises:
            WeightsError, DtypeError: before anything is changed.
        """
        started = time.perf_counter()
        if finite not in ("warn", "raise", None):
            raise ArgumentTypeError(
                "finite is none of the known ones", expected="'warn', 'raise' or None", found=repr(finite)
            )
        parameters = self.graph.parameters
        matched = match(parameters, state_dict, partial=True, prefix=prefix, source="the weights given to refit")
        fixed = [name for name in matched.values if name not in self.refittable]
        if fixed:
            raise WeightsError(
                "these weights were fixed when the engine was built",
                expected="some of " + ", ".join(sorted(self.refittable)[:8])
                if self.refittable
                else "none: it was built without refit",
                found=", ".join(fixed[:8]),
                remedy="build(graph, refit=True), or refit=[patterns] that match these names",
            )
        self._check_finite(matched.values, finite)
        report = self._refit({parameters[name].name: value for name, value in matched.values.items()})
        report.given = list(matched.values)
        report.converted = matched.converted
        self.generation += 1
        report.seconds = time.perf_counter() - started
        return report

    def _refit(self, values: dict[str, Any]) -> RefitReport:
        raise NotImplementedError

    def _check_finite(self, values: Mapping[str, Any], finite: str | None) -> None:
        from .weights.loading import nonfinite, warn_of

        if finite is None:
            return
        names = []
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                bad = nonfinite(value)
            elif not value.is_floating_point() or (value.is_cuda and finite == "warn"):  # to look there takes time
                continue
            else:
                bad = not bool(value.isfinite().all())
            if bad:
                names.append(name)
        if names and finite == "raise":
            raise WeightsError(
                "these weights hold NaN or infinity",
                expected="finite numbers",
                found=", ".join(names),
                remedy="find out where they come from, or refit(..., finite=None)",
            )
        warn_of(names)

    def snapshot(self) -> Snapshot:
        """The engine's weights as they are now, for `restore`."""
        raise NotImplementedError

    def restore(self, snapshot: Snapshot) -> None:
        """Bring back the weights of a snapshot of this engine, bit for bit."""
        raise NotImplementedError

    def _check_snapshot(self, snapshot: Snapshot) -> None:
        if not isinstance(snapshot, Snapshot) or snapshot.engine != self.serial:
            raise ArgumentTypeError(
                "this is no snapshot of this engine", expected="what engine.snapshot() gave", found=repr(snapshot)
            )

    def __repr__(self) -> str:
        inputs = ", ".join(f"{s.name}={format_shape(s.shape)}" for s in self.inputs)
        outputs = ", ".join(f"{s.name}={format_shape(s.shape)}" for s in self.outputs)
        return f"{type(self).__name__}({inputs} -> {outputs})"


def _known(dtype: Any) -> Dtype | None:
    try:
        return dtypes.get(dtype)
    except DtypeError:
        return None


def is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def kind_of(spec: TensorSpec, value: Any) -> str:
    """ "numpy" or "torch". Raises ArgumentTypeError for what is neither."""
    if is_torch(value):
        return "torch"
    if isinstance(value, (np.ndarray, np.generic)):
        return "numpy"
    if isinstance(value, Array):
        return "array"
    if isinstance(value, Tensor):
        raise value._no_value(f"input {spec.name!r}")
    raise ArgumentTypeError(
        f"input {spec.name!r} is no array",
        expected="a NumPy array or a torch tensor",
        found=type(value).__name__,
        remedy=f"numpy.asarray(value, numpy.{spec.dtype.name})",
    )


def one_kind(specs: list[TensorSpec], values: list[Any]) -> str:
    """The one kind that all the inputs of a call have."""
    kinds = [kind_of(spec, value) for spec, value in zip(specs, values)]
    if len(set(kinds)) > 1:
        raise ArgumentTypeError(
            "the inputs of a call must be of one kind", expected=f"all {kinds[0]}", found=", ".join(kinds)
        )
    return kinds[0]
