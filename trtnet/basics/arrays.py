"""NumPy and torch over the same memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics.dtypes import DtypeLike
from . import dtypes
from .dtypes import dtype as Dtype
from .errors import ArgumentError, ArgumentTypeError, DtypeError, ProviderError, ShapeError, TrtnetError, shown

if TYPE_CHECKING:
    import torch


def is_torch(value: Any) -> bool:
    """Whether a value is torch's, a tensor or a dtype; torch is not imported for it."""
    return type(value).__module__.partition(".")[0] == "torch"


def import_torch() -> ModuleType:
    """torch, or ProviderError with the remedy."""
    try:
        import torch
    except ImportError:
        raise ProviderError(
            "this needs PyTorch, which is not installed", remedy="pip install 'trtnet[torch]'"
        ) from None
    return torch


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """For tensors that are kept.

    Those made in torch's inference mode, views too, can be written to in it alone. Leaving it turns gradients on, with
    which a copy of an input would hold all that the input was computed from.
    """
    torch = import_torch()
    with torch.inference_mode(False), torch.no_grad():
        yield


_THROUGH = {"bfloat16": np.uint16, "float8_e4m3fn": np.uint8, "float8_e8m0fnu": np.uint8}
_WIDER = {"int4": np.int8, "float4_e2m1fn": np.float32}
"""What holds the numbers of types that torch has no tensors of."""


def from_numpy(array: np.ndarray) -> torch.Tensor:
    """A torch tensor over the same memory, ml_dtypes' types included; of those of 4 bits a copy, in a wider type."""
    torch = import_torch()
    name = "" if array.dtype.isbuiltin == 1 else array.dtype.name  # the name takes NumPy longer than all the rest
    if name in _WIDER:
        array = array.astype(_WIDER[name])
    if name in _THROUGH:
        array = array.view(np.int16 if name == "bfloat16" else np.uint8)
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))  # torch warns otherwise; warnings.catch_warnings is not for threads
    tensor = torch.from_numpy(array)
    return tensor.view(getattr(torch, name)) if name in _THROUGH else tensor


class _Writable:
    """A read-only array as one that may be written: for torch, which has no such thing and does not write here."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def is_freed(tensor: torch.Tensor) -> bool:
    """Whether a tensor has not the memory that it names: freed, made smaller, or of torch's meta device."""
    count = tensor.numel()
    if not count:
        return False
    if not tensor.is_contiguous():
        count = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    nbytes = (tensor.storage_offset() + count) * tensor.element_size()
    return tensor.untyped_storage().nbytes() < nbytes or tensor.data_ptr() == 0


def _unusual(tensor: torch.Tensor) -> tuple[str, str | None] | None:
    """What a tensor is that is no plain array of numbers in memory, and what makes one of it; None for one that is."""
    torch = import_torch()
    if not isinstance(tensor, torch.Tensor):
        return f"a {type(tensor).__name__}", None
    if torch.nn.parameter.is_lazy(tensor):
        return "a parameter without a shape", "call the lazy module once"
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        whole = hasattr(tensor, "full_tensor")
        return f"a {type(tensor).__name__}", "tensor.full_tensor()" if whole else "give the tensor that it wraps"
    if tensor.is_nested:
        return "a nested tensor", "tensor.to_padded_tensor(0)"
    if tensor.layout is not torch.strided:
        return f"a {str(tensor.layout).removeprefix('torch.')} tensor", "tensor.to_dense()"
    return ("a quantized tensor", "tensor.dequantize()") if tensor.is_quantized else None


def check_memory(tensor: torch.Tensor, what: str = "this tensor", error: type[TrtnetError] = ArgumentError) -> None:
    """Raises the error for a tensor whose memory was freed, or that has none as arrays have: sparse, nested, a DTensor,
    a fake one, one of the meta device."""
    if (unusual := _unusual(tensor)) is not None:
        raise error(f"{what} is no plain tensor", expected="a dense tensor", found=unusual[0], remedy=unusual[1])
    if is_freed(tensor):
        raise error(
            f"{what} has no memory",
            expected=f"{tensor.numel()} elements of {str(tensor.dtype).removeprefix('torch.')}",
            found="a tensor that was freed, made smaller, or is on the meta device",
            remedy="give tensors that hold values",
        )


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A NumPy array over the same memory (a copy where the tensor is on a GPU or not contiguous).

    Raises ArgumentError for a tensor whose memory was freed.
    """
    torch = import_torch()
    check_memory(tensor)
    tensor = tensor.detach().cpu().contiguous()
    name = str(tensor.dtype).removeprefix("torch.")
    if name in _THROUGH:
        integers = tensor.view(torch.int16 if name == "bfloat16" else torch.uint8).numpy()
        return integers.view(_THROUGH[name]).view(dtypes.get(name).numpy)
    return tensor.numpy()


def equal_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether contiguous arrays have the same bytes. Looks at the beginning first: training changes it all."""
    mine, other = a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8)
    return mine[:64].tobytes() == other[:64].tobytes() and np.array_equal(mine[64:], other[64:])


def packed(array: np.ndarray, dtype: Dtype) -> np.ndarray:
    """An array as TensorRT reads it from memory: itself; of 4 bits, where NumPy has one element in a byte, two in each,
    the first of them in its lower half."""
    if dtype.bits != 4:
        return array
    halves = np.asarray(array, order="C").reshape(-1).view(np.uint8) & 15
    if halves.size % 2:
        halves = np.append(halves, np.uint8(0))
    return halves[::2] | halves[1::2] << 4


def overflow(array: np.ndarray, dtype: Dtype) -> tuple[str, str] | None:
    """What whole numbers of `dtype` may be, and what these are, where some do not fit; else None."""
    limits = np.iinfo(dtype.numpy)
    if not array.size or (limits.min <= array.min() and array.max() <= limits.max):
        return None
    return f"{limits.min} to {limits.max}", f"{array.min()} to {array.max()}"


def require_unmasked(array: Any) -> None:
    """Raises ArgumentTypeError for a masked array of NumPy's, whose memory holds anything where it is masked."""
    if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
        raise ArgumentTypeError(
            "a masked array has no numbers where it is masked",
            expected="a NumPy array without a mask",
            found=f"a masked array {array.shape}, {np.ma.count_masked(array)} of {array.size} masked",
            remedy="fill it: array.filled(0.0)",
        )


def as_array(value: Any, dtype: DtypeLike | None = None) -> np.ndarray:
    """A C-contiguous NumPy array of a trtnet Array, a NumPy or torch tensor, a list or a number, copied only if it must
    be.

    Without `dtype`, Python floats become float32 as in torch, and arrays keep theirs. Raises what `value.numpy()` does.
    """
    if isinstance(value, np.ndarray):
        require_unmasked(value)
        array = np.asarray(value)  # a matrix, which multiplies otherwise, is an array
    elif is_torch(value):
        array = to_numpy(value)
    elif hasattr(type(value), "numpy"):
        array = value.numpy()
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ShapeError(f"this makes no array: {error}", found=shown(value)) from None
        if array.dtype == np.float64 and not isinstance(value, np.generic):
            array = array.astype(np.float32)
    if dtype is not None:
        array = array.astype(dtypes.get(dtype).numpy, copy=False)
    if array.dtype.byteorder not in "=|" or array.dtype.kind == "O":
        raise DtypeError("this array's element type cannot be used", expected="a native NumPy type", found=array.dtype)
    return array if array.flags.c_contiguous else np.asarray(array, order="C")
