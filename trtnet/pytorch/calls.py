"""What engines offer beside plain calls, for the reference engine: with the meaning that it has on a GPU."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics import dims, interrupts
from ..basics.arrays import is_torch, lasting, to_numpy
from ..basics.errors import ArgumentTypeError, EngineError, ProviderError
from ..engine.borrowing import Borrowed
from ..engine.engine import Engine
from ..engine.inputs import one_kind
from ..weights.recipes import Leaf

if TYPE_CHECKING:
    from ..engine.weight_table import WeightTable
    from ..rewriting.live_inputs import Bindings


class ReferenceCalls(Engine):
    """`bind`, `context`, `clone`, `save` and what they need."""

    torch: Any
    device: Any
    bindings: Bindings
    _double: bool
    _raw: bool
    _live: list[Leaf]
    _leaves: dict[str, Leaf]
    _values: dict[str, Any]
    _lock: Any
    """Held while weights are changed."""

    def _read(self, leaf: Leaf) -> Any:
        raise NotImplementedError

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """No other thread changes weights, and Ctrl-C waits. Raises EngineError once closed."""
        with self._lock, interrupts.later():
            if self.closed:
                raise self._is_closed()
            yield

    def _results(self, values: list[Any], stream: Any, graph: bool) -> tuple[list[Any], int]:
        if not isinstance(values[0], np.ndarray) and one_kind(self.inputs, values) == "device":
            torch = self.torch
            values = [torch.from_dlpack(v) if hasattr(v, "__dlpack__") else torch.as_tensor(v) for v in values]
        return super()._results(values, stream, graph)

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> ReferenceBound:
        if self.closed:
            raise self._is_closed()
        return ReferenceBound(self, self._ordered(args, kwargs))

    def context(self, shared_memory: bool = False) -> ReferenceContext:
        if self.closed:
            raise self._is_closed()
        return ReferenceContext(self)

    # --- weights

    def parameters(self) -> dict[str, np.ndarray]:
        with self._held():
            return {name: np.array(to_numpy(self._present(leaf))) for name, leaf in self._leaves.items()}

    def _present(self, leaf: Leaf) -> Any:
        bound = self.bindings.tensors.get(leaf.name)
        return self._read(leaf) if bound is None else bound

    @property
    def weights(self) -> WeightTable:
        from ..engine.weight_table import table

        if self.closed:
            raise self._is_closed()
        return table(_Described(self), None)  # type: ignore[arg-type]

    def clone(self) -> Engine:
        options: dict[str, Any] = {"dtype": "float64" if self._double else None, "raw": self._raw, "live": self.live}
        with self._held():
            # values are never written to, except those of a trainer
            bound = {name: tensor.detach().clone() for name, tensor in self.bindings.tensors.items()}
            options["values"] = self._values | bound
        other = type(self)(self.graph, device=str(self.device), **options)  # type: ignore[call-arg]
        other.refittable = self.refittable
        return other

    def inspect(self) -> dict[str, Any]:
        with self._held():
            names = [*self.graph.inputs, *self.graph.outputs]
            return {"Layers": [layer.name for layer in self.graph.layers], "Bindings": names}

    def save(self, path: str | PathLike[str], weights: bool = True) -> Path:
        if self.closed:
            raise self._is_closed()
        from ..loading import save_reference

        return save_reference(self, path, weights)  # type: ignore[arg-type]


class _Described:
    """What the audit reads of a Plan: the weights that a TensorRT engine of this graph would have."""

    def __init__(self, engine: ReferenceCalls) -> None:
        from ..engine.plan import EngineWeight

        self.graph = graph = engine.graph
        self.refittable = engine.refittable
        self.live = {
            leaf.name: f"{leaf.name}@live" if leaf.name in graph.inputs else leaf.name for leaf in engine._live
        }
        self.weights: dict[str, EngineWeight] = {}
        for _, _, weight in graph.weights():
            if weight.name is not None:
                self.weights[weight.name] = EngineWeight(weight, weight.dtype, None)


class ReferenceBound:
    """A call on fixed tensors: reads what they hold, and gives the same output tensors each time.

    Attributes:
        tensors: the input tensors. One that was moved or resized since raises at the next call.
        result: the outputs, in the form that `forward` returned. Each call overwrites them.
        generation: how many times the weights had been changed at the last call.
    """

    def __init__(self, engine: ReferenceCalls, values: list[Any]) -> None:
        one_kind(engine.inputs, values)
        for spec, value in zip(engine.inputs, values):
            if not (is_torch(value) and value.device == engine.device and value.is_contiguous()):
                raise ArgumentTypeError(
                    f"input {spec.name!r} cannot be bound",
                    expected=f"a contiguous torch tensor on {engine.device}",
                    found=type(value).__name__
                    if not is_torch(value)
                    else f"a tensor on {value.device}"
                    if value.device != engine.device
                    else "one that is not contiguous",
                    remedy=f"tensor.to('{engine.device}').contiguous(), kept and written to in place: "
                    "buffer.copy_(new)",
                )
        sizes = engine._check(values)
        open_dims = engine.graph.data_dims
        if any(
            not isinstance(s, int) and not open_dims.isdisjoint(map(str, s.symbols))
            for spec in engine.outputs
            for s in spec.shape
        ):
            raise ProviderError(
                "a call whose output shapes the data decides cannot be bound",
                expected="outputs of fixed shapes",
                remedy="call the engine itself",
            )
        self.engine = engine
        self.tensors = values
        self.generation = engine.generation
        torch = engine.torch
        with lasting():
            self.results = [
                torch.zeros(
                    [dims.evaluate(s, sizes) for s in spec.shape],
                    dtype=torch.float64 if engine._raw and spec.dtype.is_floating_point else spec.dtype.torch,
                    device=engine.device,
                )
                for spec in engine.outputs
            ]
        self.result = engine._formed(self.results)
        self._places = self._found()
        self._lock = threading.Lock()

    def _found(self) -> list[tuple[int, tuple[int, ...]]]:
        return [(value.data_ptr(), tuple(value.shape)) for value in self.tensors]

    def __call__(self, stream: Any = None) -> Any:
        """Run on what the bound tensors hold now."""
        engine = self.engine
        if engine.closed:
            raise engine._is_closed()
        found = self._found()
        if found != self._places:
            names = [spec.name for spec, a, b in zip(engine.inputs, found, self._places) if a != b]
            raise EngineError(
                f"a bound tensor was moved or resized: {', '.join(names)}",
                expected="the memory that engine.bind was given",
                found="another address or shape",
                remedy="write to it in place (buffer.copy_(new)), or bind again",
            )
        with self._lock:
            results, self.generation = engine._results(list(self.tensors), stream, False)
            for target, result in zip(self.results, results):
                target.copy_(result)
        return self.result

    def close(self) -> None:
        """There is nothing to free; the call can be made again, as on a GPU."""


class ReferenceContext(Borrowed):
    """Called as the engine is, over the same weights; closed by itself, or with the engine."""

    def __init__(self, engine: ReferenceCalls) -> None:
        super().__init__(engine)
        self._closed: str | None = None

    @property
    def closed(self) -> str | None:  # type: ignore[override]
        return self._closed or self.engine.closed

    def _results(self, values: list[Any], stream: Any, graph: bool) -> tuple[list[Any], int]:
        return self.engine._results(values, stream, graph)

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> ReferenceBound:
        if self.closed:
            raise self._is_closed()
        return self.engine.bind(*args, graph=graph, **kwargs)

    def close(self) -> None:
        self._closed = self.closed or "its context was closed"
