"""Modules called on concrete arrays, outside a recording: `self.torso(torch.zeros(1, 3, 84, 84)).shape[1]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..basics.dims import Size
from ..basics.dtypes import dtype as Dtype
from ..graph import forms
from ..graph.graph import Input
from ..graph.tensor import Array, Tensor
from ..nn.module import Module
from ..recording import record
from .engine import reference


class Computed(Array):
    """A result whose shape is known, and whose values are computed when they are first read."""

    __slots__ = ("_known", "_make")

    def __init__(self, shape: Size, dtype: Dtype, make: Callable[[], np.ndarray]) -> None:
        self._known = shape, dtype
        self._make: Callable[[], np.ndarray] | None = make

    def numpy(self) -> np.ndarray:
        if self._make is not None:
            self._array, self._make = self._make(), None
        return self._array

    def writeable(self) -> np.ndarray:
        self.numpy()
        return super().writeable()

    @property
    def shape(self) -> Size:  # type: ignore[override]
        return self._known[0]

    @property
    def dtype(self) -> Dtype:  # type: ignore[override]
        return self._known[1]


def has_arrays(values: Any) -> bool:
    """Whether an Array is among the values, in lists, tuples and dicts too."""
    for value in values:
        if isinstance(value, Array):
            return True
        if isinstance(value, (list, tuple)) and has_arrays(value):
            return True
        if isinstance(value, Mapping) and has_arrays(value.values()):
            return True
    return False


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(_mapped(v, change) for v in value)
    return {k: _mapped(v, change) for k, v in value.items()} if type(value) is dict else value


class _Call(Module):
    """One call of a module, with its Arrays as inputs."""

    def __init__(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.module = module
        self.arrays: list[Array] = []
        self.given = _mapped((args, kwargs), self._taken)

    def _taken(self, value: Array) -> Any:
        self.arrays.append(value)
        return value

    def forward(self, **inputs: Any) -> Any:
        left = iter(inputs.values())
        args, kwargs = _mapped(self.given, lambda _: next(left))
        return _mapped(
            self.module(*args, **kwargs), lambda t: t.clone() if isinstance(t, Array) or t.layer is None else t
        )


def call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `module` gives for concrete arrays. Shapes come from recording it; values, when they are read, from torch.

    As in a recording, dropout is the identity and BatchNorm uses its running statistics, which do not change.
    """
    once = _Call(module, args, kwargs)
    inputs: dict[str, Any] = {f"input_{i}": Input(a.shape, a.dtype) for i, a in enumerate(once.arrays)}
    graph = record(once, **inputs)
    found: dict[str, np.ndarray] = {}

    def make(name: str) -> np.ndarray:
        if not found:
            results = reference(graph)(*(np.asarray(a.numpy(), order="C") for a in once.arrays))
            found.update(zip(graph.outputs, forms.flat(graph.form, list(graph.outputs), results) or ()))
        return found[name]

    made = {n: Computed(t.shape, t.dtype, lambda n=n: make(n)) for n, t in graph.outputs.items()}  # type: ignore[misc]
    return forms.formed(graph.form, list(made), list(made.values()))
