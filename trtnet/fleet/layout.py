"""Where tensors lie in one run of bytes."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..basics import dtypes
from ..basics.arrays import as_array, check_memory, from_numpy, import_torch, is_torch, require_unmasked
from ..basics.errors import ArgumentTypeError, DtypeError, WeightsError, shown
from .roads import Values

if TYPE_CHECKING:
    import torch

ALIGNMENT = 64


class Entry(NamedTuple):
    """One tensor: its name, the name of its dtype, its shape, and where its bytes begin."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * dtypes.get(self.dtype).numpy.itemsize


@dataclass(frozen=True)
class Layout:
    """Tensors in a row, each at a multiple of 64 bytes.

    Attributes:
        entries: in order.
        size: bytes from the first one's begin to the last one's end.
    """

    entries: tuple[Entry, ...]
    size: int

    @classmethod
    def of(cls, values: Values) -> Layout:
        """The layout of these tensors. Raises DtypeError for a type that trtnet has not."""
        entries, at = [], 0
        for name, value in values.items():
            try:
                dtype = dtypes.get(value.dtype)
            except DtypeError:
                raise DtypeError(
                    f"the tensor {name!r} is of a type that cannot be published",
                    expected="one of " + ", ".join(known.name for known in dtypes.ALL),
                    found=str(value.dtype),
                    remedy="leave it out, or publish its real and imaginary parts as tensors of their own",
                ) from None
            entries.append(Entry(name, dtype.name, tuple(value.shape), at))
            at += -(-entries[-1].nbytes // ALIGNMENT) * ALIGNMENT
        return cls(tuple(entries), at)

    def fits(self, values: Values) -> bool:
        """Whether it is the layout of these tensors."""
        if len(values) != len(self.entries):
            return False
        for entry, (name, value) in zip(self.entries, values.items()):
            if entry.name != name or entry.shape != value.shape or entry.dtype != dtypes.get(value.dtype).name:
                return False
        return True

    @functools.cached_property
    def names(self) -> frozenset[str]:
        return frozenset([entry.name for entry in self.entries])

    def views(self, memory: memoryview, begin: int = 0) -> dict[str, np.ndarray]:
        """The tensors by name, as arrays over this memory from byte `begin` on."""
        return {
            entry.name: np.ndarray(entry.shape, dtypes.get(entry.dtype).numpy, memory, begin + entry.begin)
            for entry in self.entries
        }

    def fill(self, buffer: torch.Tensor, values: Values) -> None:
        """Copy tensors, of any device and layout, into a run of bytes (uint8), of any device."""
        for entry in self.entries:
            given: Any = values[entry.name]
            tensor = given if is_torch(given) else from_numpy(np.asarray(given, order="C"))
            flat = tensor.contiguous().reshape(-1).view(buffer.dtype)
            buffer[entry.begin : entry.begin + entry.nbytes].copy_(flat)

    def within(self, buffer: torch.Tensor) -> dict[str, Any]:
        """The tensors of such a run, where they are: on the CPU as arrays, which have types that torch has not."""
        if buffer.device.type == "cpu":
            return dict(self.views(buffer.numpy().data))
        torch = import_torch()
        found = {}
        for entry in self.entries:
            dtype = getattr(torch, dtypes.get(entry.dtype).name)
            found[entry.name] = buffer[entry.begin : entry.begin + entry.nbytes].view(dtype).view(entry.shape)
        return found

    @functools.cached_property
    def text(self) -> bytes:
        """What `loads` reads."""
        return json.dumps([list(entry[:3]) for entry in self.entries]).encode()

    @classmethod
    def loads(cls, text: bytes) -> Layout:
        """The layout of a `text`. Raises WeightsError for anything else."""
        try:
            entries, at = [], 0
            for name, dtype, shape in json.loads(text):
                entries.append(Entry(name, dtypes.get(dtype).name, tuple(map(int, shape)), at))
                at += -(-entries[-1].nbytes // ALIGNMENT) * ALIGNMENT
        except (ValueError, TypeError) as error:
            raise WeightsError(
                "the table of published tensors is damaged",
                expected="what a publisher wrote",
                found=str(error)[:200],
                remedy="publish again: the engine has the weights that it had",
            ) from None
        return cls(tuple(entries), at)


def plain(state: Any) -> dict[str, Any]:
    """The tensors of a state_dict, or of a module that has one, by key: NumPy's and torch's as they are, of any layout.

    Raises ArgumentTypeError for what is none, and WeightsError for a value that is no tensor.
    """
    given = state if isinstance(state, Mapping) else None
    if given is None and callable(method := getattr(state, "state_dict", None)):
        given = method()
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            "this is no state_dict",
            expected="tensors by name, or a module",
            found=shown(state),
            remedy="publish(module), or publish(module.state_dict())",
        )
    found: dict[str, Any] = {}
    for key, value in given.items():
        if not isinstance(key, str):
            raise ArgumentTypeError("the key of a tensor is no text", expected="a name", found=shown(key))
        if is_torch(value):
            check_memory(value, f"the tensor for {key!r}", WeightsError)
            found[key] = value.detach()
        elif isinstance(value, np.ndarray):
            require_unmasked(value)
            found[key] = value
        elif hasattr(type(value), "__array__"):
            found[key] = as_array(value)
        else:
            raise WeightsError(
                f"the value for {key!r} is no tensor",
                expected="a NumPy array or a torch tensor",
                found=shown(value),
                remedy="leave out of the state_dict what are no tensors: numbers and settings travel by other ways",
            )
    return found


class Places:
    """Where the tensors of a layout lie in one memory, which is filled, or read, again and again.

    Attributes:
        arrays: by name.
    """

    def __init__(self, layout: Layout, memory: memoryview, begin: int = 0) -> None:
        self.layout = layout
        self.arrays = layout.views(memory, begin)
        self._tensors: dict[str, torch.Tensor] = {}

    def fill(self, values: Values) -> None:
        """Copy tensors, of any device and layout, to their places."""
        for name, value in values.items():
            if is_torch(value):
                if name not in self._tensors:
                    self._tensors[name] = from_numpy(self.arrays[name])
                self._tensors[name].copy_(value)
            else:
                np.copyto(self.arrays[name], value)
