"""Changes of element type, and the methods that name a device. Names and signatures as torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dtypes import DtypeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentTypeError, DtypeError
from ..graph.recorder import emit
from ..graph.tensor import Array, Device, Parameter, Tensor
from ..layers.base import UNCOMPUTED
from ..layers.casting import Identity, converted
from .concrete import promote
from .dispatch import MemoryFormat, like_a_copy, operation, tensor
from .shape import contiguous

__all__ = ["cast", "is_floating_point", "promote_types", "to"]

KEEPS_ORDER = True

_DEVICES = ("cpu", "cuda", "meta", "mps")


def dtype_of(value: Any) -> Dtype | None:
    """The dtype that an argument of `to` names; None for a device."""
    if isinstance(value, Dtype):
        return value
    if value is None or (isinstance(value, (Device, int)) and not isinstance(value, bool)):
        return None
    if isinstance(value, str) and value not in dtypes._BY_NAME:
        if value.partition(":")[0] not in _DEVICES:
            raise ArgumentTypeError("this is neither a dtype nor a device", found=repr(value))
        return None
    if type(value).__module__ == "torch" and type(value).__name__ == "device":
        return None
    return dtypes.get(value)


def _wanted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Dtype | None:
    for name in kwargs:
        if name not in ("dtype", "device", "other", "non_blocking", "copy", "memory_format"):
            raise ArgumentTypeError(f"to() has no argument {name!r}", expected="to(dtype), to(device) or to(other)")
    found = None if kwargs.get("dtype") is None else dtypes.get(kwargs["dtype"])
    if isinstance(kwargs.get("other"), Tensor):
        found = kwargs["other"].dtype
    for index, value in enumerate(args):
        if isinstance(value, Tensor):
            found = value.dtype
        elif isinstance(value, bool) and index:  # non_blocking, copy
            continue
        else:
            found = dtype_of(value) or found
    return found


def _is_copy(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    flags = [a for a in args if isinstance(a, bool)]
    return bool(kwargs.get("copy")) or (len(flags) > 1 and flags[1])


def _to_numpy(input: np.ndarray, *args: DtypeLike | Tensor | bool | None, **kwargs: Any) -> np.ndarray | Array:
    arrays = tuple(Array(a) if isinstance(a, np.ndarray) else a for a in args)
    wanted = _wanted(arrays, {k: Array(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()})
    return Array(_astype(input, wanted or dtypes.get(input.dtype), _is_copy(args, kwargs)))


def _astype(array: np.ndarray, to: Dtype, copy: bool = False) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        made = array.astype(to.numpy, copy=copy)
    return made if made is array else like_a_copy(made, array)


@operation(_to_numpy, view=True, gives_itself=True)
def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`input` in another dtype; the tensor itself where it has that dtype.

    Takes what torch takes: a dtype, a device (which changes nothing), another tensor, `dtype=`, `device=`, `other=`,
    `non_blocking=`, `copy=`, `memory_format=`.

    >>> trtnet.tensor([1, 2]).to(trtnet.float16).dtype
    trtnet.float16
    """
    if not isinstance(input, Tensor):
        raise ArgumentTypeError("to() is a method of tensors", found=repr(input))
    x = tensor(input)
    wanted = _wanted(args, kwargs)
    if wanted is None or wanted is x.dtype:
        return emit(Identity((x,))) if _is_copy(args, kwargs) else x
    return converted(x, wanted)


def _method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """As torch's `Tensor.to`."""
    memory_format = kwargs.pop("memory_format", None)
    if memory_format is not None and "channels_last" in str(memory_format):
        made = contiguous(_method(self, *args, **kwargs), memory_format)
        return made
    if isinstance(self, Array) and not isinstance(self, Parameter):
        wanted = _wanted(args, kwargs)
        if (wanted is None or wanted is self.dtype) and not _is_copy(args, kwargs):
            return self
    return to(self, *args, **kwargs)


def _convert_to(name: str, found: Dtype) -> Callable[..., Tensor]:
    def convert(self: Tensor, memory_format: MemoryFormat | None = None) -> Tensor:
        return _method(self, found)

    convert.__name__ = name
    convert.__doc__ = f"As `to(trtnet.{found})`."
    return convert


for _name, _dtype in (
    ("float", dtypes.float32), ("half", dtypes.float16), ("bfloat16", dtypes.bfloat16), ("double", dtypes.float64),
    ("int", dtypes.int32), ("long", dtypes.int64), ("bool", dtypes.bool_), ("byte", dtypes.uint8),
    ("char", dtypes.int8), ("short", dtypes.int16),
):  # fmt: skip
    setattr(Tensor, _name, _convert_to(_name, _dtype))


def cast(input: Tensor, dtype: DtypeLike) -> Tensor:
    """`input` in another dtype.

    >>> trtnet.functional.cast(trtnet.tensor([1.5, -2.5]), trtnet.int32).tolist()
    [1, -2]
    """
    return _method(input, dtypes.get(dtype))


def _type(self: Tensor, dtype: DtypeLike | None = None, non_blocking: bool = False) -> Tensor | str:
    """The dtype's name without arguments, else as `to(dtype)`."""
    if dtype is None:
        names = {"float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "float64": "Double", "int32": "Int"}
        names |= {"int64": "Long", "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short"}
        return f"torch.{names.get(self.dtype.name, self.dtype.name)}Tensor"
    return _method(self, dtypes.get(dtype))


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """`self` in the dtype of `other`."""
    return _method(self, other.dtype)


def _same(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor itself: where it lies is TensorRT's business."""
    return self


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point one.

    >>> trtnet.is_floating_point(trtnet.tensor([1.0]))
    True
    """
    return input.dtype.is_floating_point


def promote_types(type1: DtypeLike, type2: DtypeLike) -> Dtype:
    """The smallest dtype that holds what both hold: float32 of float16 and bfloat16, int16 of uint8 and int8.

    TensorRT has no int16 and no float64 in a network; a dtype of either is refused where it would get into one. Raises
    DtypeError for types of few bits, which nothing is computed in.

    >>> trtnet.promote_types(trtnet.float16, "int64")
    trtnet.float16
    """
    first, second = dtypes.get(type1), dtypes.get(type2)
    if first is not second and (few := [one for one in (first, second) if one in UNCOMPUTED]):
        raise DtypeError(
            f"{few[0]} is promoted to no other type",
            expected="floating point of 16 bits and more, integers of 8 and more, bool",
            found=f"{first} and {second}",
        )
    return dtypes.get(promote(first.numpy, second.numpy))


for _name, _function in (
    ("to", _method), ("type", _type), ("type_as", _type_as), ("cpu", _same), ("cuda", _same), ("pin_memory", _same),
):  # fmt: skip
    setattr(Tensor, _name, _function)
