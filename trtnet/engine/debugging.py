"""Tensors inside a network that are shown while it runs: who listens to which of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from ..basics.errors import ArgumentError, ArgumentTypeError
from ..basics.patterns import matches, patterns_of

Paths: TypeAlias = Mapping[str, tuple[str, ...]]
"""The module paths of each debug tensor, by its name in the engine."""
Listener: TypeAlias = Callable[[str, np.ndarray], object]


class Listening(NamedTuple):
    """A function that is shown debug tensors.

    Attributes:
        listener: called with module path and array.
        patterns: of the module paths that it is shown.
        paths: the module paths of the tensors that it is shown, by their names in the engine.
    """

    listener: Listener
    patterns: tuple[str, ...]
    paths: Paths

    @classmethod
    def of(cls, listener: Listener, tensors: str | Iterable[str], known: Paths, further: bool = False) -> Listening:
        """To those of the known tensors whose paths match. `further`: there may be others, whose names nobody knows.

        Raises ArgumentTypeError for what cannot be called, ArgumentError for a pattern that matches none.
        """
        if not callable(listener):
            raise ArgumentTypeError(
                "a debug listener is a function of a module path and an array",
                expected="listener(path, array), or None",
                found=type(listener).__name__,
            )
        patterns = tuple(patterns_of(tensors, "the tensors of a debug listener"))
        every = [path for paths in known.values() for path in paths]
        for pattern in patterns:
            if not further and not any(matches(path, [pattern]) for path in every):
                raise ArgumentError(
                    f"no debug tensor of this engine is {pattern!r}",
                    expected=", ".join(every) or "an engine that was built with debug_tensors=",
                    found=pattern,
                    remedy="build(graph, debug_tensors=[paths]): these alone can be shown",
                )
        matching = {name: tuple(p for p in paths if matches(p, patterns)) for name, paths in known.items()}
        return cls(listener, patterns, {name: paths for name, paths in matching.items() if paths})

    def show(self, name: str, array: np.ndarray) -> None:
        """Call the listener with a tensor of this name in the engine; each path gets an array of its own."""
        paths = self.paths.get(name)
        if paths is None:  # of TensorRT's own names
            paths = (name,) if matches(name, self.patterns) else ()
        for path in paths:
            self.listener(path, array if path == paths[-1] else array.copy())
