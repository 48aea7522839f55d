"""One table of element types: trtnet's name, TensorRT's, NumPy's and torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import ml_dtypes
import numpy as np

from .errors import DtypeError

if TYPE_CHECKING:
    import torch


class dtype:
    """An element type.

    Attributes:
        name: as in torch: `float32`, `bfloat16`, `bool`.
        tensorrt: the member of `tensorrt.DataType`, or None where TensorRT has none.
        numpy: the NumPy dtype (ml_dtypes' for bfloat16, float8, float4 and int4).
        bits: size of one element.
    """

    __slots__ = ("bits", "is_floating_point", "is_signed", "name", "numpy", "tensorrt")

    def __init__(self, name: str, tensorrt: str | None, numpy: Any, bits: int = 0) -> None:
        self.name = name
        self.tensorrt = tensorrt
        self.numpy = np.dtype(numpy)
        self.bits = bits or self.numpy.itemsize * 8
        self.is_floating_point = "float" in name
        self.is_signed = name not in ("bool", "uint8")

    @property
    def itemsize(self) -> int:
        """Bytes of one element in NumPy; 1 for those of 4 bits, of which TensorRT has two in a byte (`packed`)."""
        return max(1, self.bits // 8)

    def nbytes(self, count: int) -> int:
        """Bytes that TensorRT takes for `count` elements."""
        return (count * self.bits + 7) // 8

    @property
    def torch(self) -> torch.dtype:
        """torch's dtype of the same name; of those of 4 bits, with which torch does not compute, one that holds their
        numbers: int8, float32. Raises DtypeError where torch has none."""
        import torch

        if self.bits < 8:
            return torch.float32 if self.is_floating_point else torch.int8
        found = getattr(torch, self.name, None)
        if not isinstance(found, torch.dtype):
            raise DtypeError(f"torch {torch.__version__} has no {self.name}")
        return found

    def __repr__(self) -> str:
        return f"trtnet.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (get, (self.name,))


float32 = dtype("float32", "FLOAT", np.float32)
float16 = dtype("float16", "HALF", np.float16)
bfloat16 = dtype("bfloat16", "BF16", ml_dtypes.bfloat16)
float8_e4m3fn = dtype("float8_e4m3fn", "FP8", ml_dtypes.float8_e4m3fn)
float8_e8m0fnu = dtype("float8_e8m0fnu", "E8M0", ml_dtypes.float8_e8m0fnu)
float4_e2m1fn = dtype("float4_e2m1fn", "FP4", ml_dtypes.float4_e2m1fn, bits=4)
int8 = dtype("int8", "INT8", np.int8)
int4 = dtype("int4", "INT4", ml_dtypes.int4, bits=4)
uint8 = dtype("uint8", "UINT8", np.uint8)
int32 = dtype("int32", "INT32", np.int32)
int64 = dtype("int64", "INT64", np.int64)
bool_ = dtype("bool", "BOOL", np.bool_)
float64 = dtype("float64", None, np.float64)
int16 = dtype("int16", None, np.int16)

ALL = (
    float32, float16, bfloat16, float8_e4m3fn, float8_e8m0fnu, float4_e2m1fn, int8, int4, uint8, int32, int64, bool_,
    float64, int16,
)  # fmt: skip
ALIASES = {"float": float32, "half": float16, "double": float64, "int": int32, "long": int64, "short": int16}

_BY_NAME = {d.name: d for d in ALL} | ALIASES
_BY_NUMPY = {d.numpy: d for d in ALL}
_BY_TORCH: dict[Any, dtype] = {}
_BY_PYTHON: dict[type, dtype] = {float: float32, int: int64, bool: bool_}


DtypeLike: TypeAlias = "dtype | np.dtype[Any] | type | str | torch.dtype"
"""What names an element type: `get` says which."""


def get(value: Any) -> dtype:
    """The dtype that a name, a Python type, a NumPy dtype or a torch dtype means.

    Raises DtypeError for anything else; float64 is a dtype, refused only where a network would hold it.
    """
    if isinstance(value, dtype):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if isinstance(value, type) and value in _BY_PYTHON:
        return _BY_PYTHON[value]
    if type(value).__module__ == "torch":
        found = _BY_TORCH.get(value)
        if found is None:
            found = _BY_TORCH[value] = get(str(value).removeprefix("torch."))
        return found
    try:
        return _BY_NUMPY[np.dtype(value)]
    except (TypeError, KeyError, ValueError, SyntaxError):  # NumPy reads text as Python
        raise DtypeError(
            "this is no element type that trtnet knows",
            expected="one of " + ", ".join(d.name for d in ALL),
            found=repr(value)[:200],
        ) from None


def for_network(value: Any, what: str = "a tensor") -> dtype:
    """`get`, and DtypeError for the types that TensorRT has not."""
    found = get(value)
    if found.tensorrt is None:
        other = "float32" if found is float64 else "int32"
        raise DtypeError(
            f"TensorRT has no {found.name}",
            expected=f"{what} of one of " + ", ".join(d.name for d in ALL if d.tensorrt),
            found=found.name,
            remedy=f"convert it to {other} first: .to(trtnet.{other}) or array.astype(numpy.{other})",
        )
    return found
