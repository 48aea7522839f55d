"""Numbers that Python code reads of parameters, buffers and constants while torch exports it: `if self.count > 3`.

What is computed of these alone is known before the network runs. It is computed when a number of it is read; the
parameters that it is of are then frozen in the recording.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

from ...basics.location import Instruction, Location
from .stacks import is_torchs

_READERS = ("__int__", "__float__", "__bool__", "__index__", "item", "tolist")
_WRITERS = ("__setitem__", "set_", "data")


class _Known(NamedTuple):
    """A tensor whose value is known: computed by a call, of these parameters."""

    make: Callable[[], Any]
    keys: frozenset[str]


class Reads(TorchFunctionMode):
    """Follows what is computed of parameters, buffers and constants.

    Args:
        values: the parameters and buffers, by key.

    Attributes:
        frozen: those of which a number was read, with the user's line.
    """

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.values = values
        self.frozen: dict[str, Location | None] = {}
        self.known: Any = WeakIdKeyDictionary()

    def begin(self, named: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Take the tensors that stand for the parameters while torch traces."""
        self.known = WeakIdKeyDictionary()
        for key, tensor in named:
            if key in self.values:
                value = self.values[key]
                self.known[tensor] = _Known(lambda value=value: value, frozenset([key]))  # type: ignore[misc]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_dynamo_compiling():  # a branch of torch.cond, the body of a loop
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        given = list(_tensors((args, kwargs)))
        known = [self._known(one) for one in given]
        if name in _READERS and len(known) == 1 and known[0] is not None:
            return self._read(known[0], func, kwargs)
        made = func(*args, **kwargs)
        if name in _WRITERS or (name.endswith("_") and not name.endswith("__")) or "out" in kwargs:
            if any(one is not None for one in known):
                self.known = WeakIdKeyDictionary()  # views of what was changed are changed too
        elif given and isinstance(made, torch.Tensor) and all(one is not None for one in known):
            keys = frozenset[str]().union(*(one.keys for one in known if one is not None))
            self.known[made] = _Known(lambda: func(*self._real(args), **self._real(kwargs)), keys)
        return made

    def _known(self, tensor: torch.Tensor) -> _Known | None:
        found: _Known | None = self.known.get(tensor)
        if found is None and type(tensor) is torch.Tensor and not torch._is_functional_tensor(tensor):
            found = self.known[tensor] = _Known(lambda: tensor, frozenset())  # an attribute that is a tensor
        return found

    def _real(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.known[value].make()
        if isinstance(value, (tuple, list)):
            return type(value)([self._real(one) for one in value])
        return {key: self._real(one) for key, one in value.items()} if isinstance(value, dict) else value

    def _read(self, known: _Known, func: Any, kwargs: Any) -> Any:
        with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
            found = func(known.make().cpu(), **kwargs)
        for key in known.keys:
            self.frozen.setdefault(key, _line())
        return found


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _line() -> Location | None:
    frame: Any = sys._getframe(1)
    while frame is not None and is_torchs(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else Instruction(frame.f_code, frame.f_lasti)
