"""How a kernel is launched: the text that the C++ plugin reads (kernel_plugin.cpp says its form), for Python."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...basics.dims import maximum, minimum

Words = tuple[str, ...]
"""A size in postfix form, without the semicolon at its end."""

DIMS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "*": operator.mul, "/": operator.floordiv, "%": operator.mod, "max": maximum, "min": minimum,
}  # fmt: skip
"""What the signs of a size mean for whole numbers and Dims."""


class Output(NamedTuple):
    """The type's name and the shape of an output."""

    type: str
    shape: tuple[Words, ...]


class Argument(NamedTuple):
    """A number behind the tensors: its type's name, and the size or the number itself."""

    type: str
    words: Words

    @property
    def value(self) -> int | float | None:
        """The number; None where it depends on the inputs' shapes."""
        if self.type in ("float", "double"):
            return float(self.words[0])
        return None if depends(self.words) else int(evaluate(self.words, _nowhere, DIMS))


class Launch(NamedTuple):
    """What the text says."""

    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    grid: tuple[Words, ...]
    block: tuple[Words, ...]
    shared: Words
    arguments: tuple[Argument, ...]


def read(text: str) -> Launch:
    """The launch that is written in `text`, in this project's own form."""
    words = iter(text.split())

    def counted() -> int:
        return int(next(words))

    def size() -> Words:
        return tuple(iter(words.__next__, ";"))

    def argument() -> Argument:
        kind = next(words)
        return Argument(kind, (next(words),) if kind in ("float", "double") else size())

    def skip(count: int) -> None:
        for _ in range(count):
            next(words)

    skip(4)  # trtnet-kernel 1 <function> inputs
    inputs = tuple([next(words) for _ in range(counted())])
    skip(1)
    outputs = tuple([Output(next(words), tuple([size() for _ in range(counted())])) for _ in range(counted())])
    skip(1)
    grid = (size(), size(), size())
    skip(1)
    block = (size(), size(), size())
    skip(1)
    shared = size()
    skip(1)
    return Launch(inputs, outputs, grid, block, shared, tuple([argument() for _ in range(counted())]))


def depends(words: Words) -> bool:
    """Whether a size is not the same for all shapes of the inputs."""
    return any(word[0] == "d" for word in words)


def evaluate(
    words: Words, size_of: Callable[[int, int], Any], operations: Mapping[str, Callable[[Any, Any], Any]]
) -> Any:
    """The size that `words` say, where `size_of` gives size `axis` of input `index`, and `operations` computes."""
    stack: list[Any] = []
    for word in words:
        if word in operations:
            last = stack.pop()
            stack[-1] = operations[word](stack[-1], last)
        elif word[0] == "d":
            index, _, axis = word[1:].partition(",")
            stack.append(size_of(int(index), int(axis)))
        else:
            stack.append(int(word))
    return stack[0]


def _nowhere(index: int, axis: int) -> Any:
    raise AssertionError("a size without dimensions has one")
