"""The limits of element types, as torch.finfo and torch.iinfo."""

from __future__ import annotations

import math

import ml_dtypes

from ..basics.dtypes import DtypeLike
from . import dtypes
from .errors import DtypeError

__all__ = ["finfo", "iinfo"]


class finfo:
    """The limits of a floating-point dtype: bits, eps, max, min, tiny, smallest_normal, resolution; Python floats."""

    def __init__(self, type: DtypeLike = dtypes.float32) -> None:
        dtype = dtypes.get(type)
        if not dtype.is_floating_point:
            raise DtypeError("finfo takes a floating-point dtype", found=dtype.name, remedy="trtnet.iinfo(dtype)")
        limits = ml_dtypes.finfo(dtype.numpy)
        self.dtype = dtype.name
        self.bits = dtype.bits
        self.eps = float(limits.eps)
        self.max = float(limits.max)
        self.min = float(limits.min)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = 10.0 ** -int(limits.nmant * math.log10(2))

    def __repr__(self) -> str:
        shown = ("resolution", "min", "max", "eps", "smallest_normal", "tiny", "dtype")
        return f"finfo({', '.join(f'{name}={getattr(self, name)}' for name in shown)})"


class iinfo:
    """The limits of an integer dtype: bits, max, min; Python ints."""

    def __init__(self, type: DtypeLike) -> None:
        dtype = dtypes.get(type)
        if dtype.is_floating_point or dtype is dtypes.bool_:
            raise DtypeError("iinfo takes an integer dtype", found=dtype.name, remedy="trtnet.finfo(dtype)")
        limits = ml_dtypes.iinfo(dtype.numpy)
        self.dtype = dtype.name
        self.bits = dtype.bits
        self.max = int(limits.max)
        self.min = int(limits.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
