"""Who holds the arrays that TensorRT points to.

TensorRT copies no weights: a network holds addresses until its build has returned ("deep copies are not made",
documentation of `tensorrt.Weights`). The Ledger owns every array that a network was given.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from ctypes import addressof, c_char
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..basics.arrays import overflow, packed
from ..basics.dims import format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import WeightsError
from ..basics.tables import render
from .recipes import Leaf, Weight, evaluate

T = TypeVar("T")


def kept(array: np.ndarray) -> np.ndarray:
    """The array where nobody can write to it, else a copy for which that is so: a view of memory that somebody else may
    write to, or of a mapped file, is copied."""
    base: Any = array
    while isinstance(base, np.ndarray) and not base.flags.writeable:
        base = base.base
    if base is None or isinstance(base, bytes):
        return array
    array = array.copy()
    array.flags.writeable = False
    return array


@dataclass(slots=True, eq=False)
class Holding:
    """One array as TensorRT reads it: its name in the engine, where it came from, and which layers point to it.

    A constant that is no parameter is named after the first layer that uses it: in a refittable engine TensorRT asks
    for the constants that it fused with the weights, too.
    """

    name: str
    array: np.ndarray
    dtype: Dtype
    shape: tuple[int, ...]
    owner: str
    weight: Weight
    address: int
    consumers: list[str]
    given: Any = None
    """What TensorRT was given for it: `Provider.weights`."""

    @property
    def nbytes(self) -> int:
        return int(self.array.nbytes)


class Ledger:
    """Every array that one network points to, each at an address of its own.

    Arrays that need no change are held as they are: a memory-mapped file is never copied.
    """

    def __init__(self) -> None:
        self._by_key: dict[Any, Holding] = {}
        self._by_address: dict[int, Holding] = {}
        self._names: dict[str, int] = {}
        self._others: list[Any] = []

    def hold(self, weight: Weight, dtype: Dtype, consumer: str) -> Holding:
        """The array of `weight` in `dtype` (its own, except int64 where TensorRT has none), held from now on."""
        name = weight.name
        key = name or weight
        holding = self._by_key.get(key)
        if holding is not None:
            holding.consumers.append(consumer)
        else:
            if isinstance(weight, Leaf):
                array = weight.value.read()
                owner = "the module's own" if array.base is None or _base(array) is None else "memory-mapped file"
            else:
                array = evaluate(weight, _read)
                owner = "recipe" if name else "constant"
            if dtype is not weight.dtype:
                array, owner = as_stored(array, weight, dtype), f"converted to {dtype.name}"
            if dtype.bits < 8:
                array, owner = packed(array, dtype), "two elements in a byte"
            address = _address(array)
            flags = array.flags
            if not flags.c_contiguous or not flags.aligned or address in self._by_address or not array.size:
                # two weights at one address cannot have two names
                array, owner = array.copy(), "copy"
                address = _address(array)
            name = name or self._constant_name(consumer)
            if len(name) > SHORT:
                name = engine_name(name)
            holding = Holding(name, array, dtype, weight.shape, owner, weight, address, [consumer])
            self._by_key[key] = self._by_address[address] = holding
        return holding

    def _constant_name(self, consumer: str) -> str:
        name = f"{consumer}:constant"
        uses = self._names[name] = self._names.get(name, 0) + 1
        return name if uses == 1 else f"{name}_{uses}"

    def keep(self, held: T) -> T:
        """Hold what is no weight: the numbers of a shape, a plugin and its attributes."""
        self._others.append(held)
        return held

    def __iter__(self) -> Iterator[Holding]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def nbytes(self) -> int:
        """Bytes of all the arrays, mapped ones included."""
        return sum(h.nbytes for h in self)

    def table(self) -> str:
        """Name, shape, dtype, bytes, owner and consumers of every array."""
        rows = [
            (h.name, format_shape(h.shape), h.dtype.name, f"{h.nbytes:,}", h.owner, ", ".join(h.consumers))
            for h in self
        ]
        footer = f"{len(self)} arrays, {self.nbytes:,} bytes"
        return render(("name", "shape", "dtype", "bytes", "owner", "consumers"), rows, right=("bytes",), footer=footer)

    __str__ = table


MOST = 4095
"""Bytes that a name has at most in TensorRT."""
SHORT = MOST // 4
"""Characters of a name that has no more, whatever they are."""


def engine_name(name: str, most: int = MOST) -> str:
    """`name`, or where TensorRT takes no name as long as that, its beginning, a hash of it and its end."""
    if len(name) <= most // 4 or len(raw := name.encode()) <= most:  # a character takes 4 bytes at most
        return name
    side = most // 10
    return f"{name[:side]}...{hashlib.sha256(raw).hexdigest()}...{name[-side:]}"


def _read(leaf: Leaf) -> np.ndarray:
    return leaf.value.read()


def _address(array: np.ndarray) -> int:
    if array.flags.writeable:
        try:
            return addressof(c_char.from_buffer(array))  # type: ignore[arg-type]  # four times as fast
        except (TypeError, ValueError):  # empty, not contiguous, or of a type that has no buffer (bfloat16)
            pass
    return int(array.ctypes.data)


def _base(array: np.ndarray) -> mmap.mmap | np.ndarray | None:
    """The memory map that an array is a view of, if it is one."""
    base: Any = array
    while base is not None:
        if isinstance(base, mmap.mmap):
            return base
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return None


def as_stored(array: np.ndarray, weight: Weight, dtype: Dtype) -> np.ndarray:
    """`array` as `dtype`: itself, or int64 as int32 where TensorRT has no int64. Raises WeightsError where it
    does not fit."""
    if dtype is weight.dtype:
        return array
    if wrong := overflow(array, dtype):
        raise WeightsError(
            f"these {weight.dtype} weights do not fit {dtype}, which this TensorRT has in its place",
            expected=wrong[0],
            found=f"{wrong[1]} in {weight!r}",
        )
    return array.astype(dtype.numpy)
