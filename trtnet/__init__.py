"""TensorRT networks written like PyTorch modules, with weights that change in milliseconds.

Everything is loaded when it is first used, so that `import trtnet` costs little more than `import numpy`.
"""

from __future__ import annotations

import sys as _sys
from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING, Any

from .dims import Dim, Size, sym_int
from .dtypes import bfloat16, dtype, float8_e4m3fn, float16, float32, float64, int4, int8, int16, int32, int64, uint8
from .errors import TrtnetError

if TYPE_CHECKING:
    from . import functional as functional
    from . import nn as nn
    from .building import build, build_plan, diverges
    from .compat import *
    from .engine import Engine, RefitReport, Snapshot
    from .functional import *
    from .graph import Graph, Input
    from .hotswap import HotSwap
    from .limits import finfo, iinfo
    from .options import BuildOptions
    from .plan import Plan
    from .recording import record
    from .reference import reference, to_torch
    from .saving import load
    from .tensor import Array, Tensor, frozen, manual_seed
    from .tensor import Device as device

__version__ = "0.1.0"

_HOMES = {
    "building": ("build", "build_plan", "diverges"),
    "compat": (
        "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "FloatTensor", "Generator", "HalfTensor",
        "IntTensor",
        "LongTensor", "_C", "_assert", "autocast", "backends", "channels_last", "channels_last_3d", "compile",
        "compiler",
        "contiguous_format", "distributed", "e", "enable_grad", "fx", "get_autocast_cpu_dtype",
        "get_autocast_dtype", "get_autocast_gpu_dtype", "get_default_dtype", "inf", "inference_mode",
        "is_autocast_cpu_enabled", "is_autocast_enabled", "is_grad_enabled", "is_inference_mode_enabled",
        "is_tensor", "nan",
        "newaxis", "no_grad", "onnx", "pi", "preserve_format", "set_grad_enabled", "strided",
    ),
    "engine": ("Engine", "RefitReport", "Snapshot"),
    "graph": ("Graph", "Input"),
    "options": ("BuildOptions",),
    "plan": ("Plan",),
    "hotswap": ("HotSwap",),
    "limits": ("finfo", "iinfo"),
    "recording": ("record",),
    "reference": ("reference", "to_torch"),
    "saving": ("load",),
    "tensor": ("Array", "Device", "Tensor", "frozen", "manual_seed"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = (
    "amp",
    "autograd",
    "cuda",
    "distributions",
    "dtypes",
    "errors",
    "functional",
    "jit",
    "linalg",
    "nn",
    "provider",
    "utils",
)
_ALIASES = {
    "bool": "bool_",
    "float": "float32",
    "half": "float16",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    found: Any
    if name in _MODULES or _find_spec(f"{__name__}.{name}") is not None:  # `from . import dims`, in the package itself
        return _import_module(f"{__name__}.{name}")
    if name in _ALIASES:
        found = getattr(_import_module(f"{__name__}.dtypes"), _ALIASES[name])
    elif name in _HOME:
        if _HOME[name] == "tensor":
            _import_module(f"{__name__}.functional")  # gives tensors their methods
        found = getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name == "device":
        found = __getattr__("Device")
    else:
        functional = _import_module(f"{__name__}.functional")
        if name not in functional.__all__:
            return _missing(name)
        found = getattr(functional, name)
    globals()[name] = found
    return found


def _missing(name: str) -> Any:
    from .errors import NameNotFoundError, instead_of

    raise NameNotFoundError(
        f"trtnet has no {name!r}",
        remedy=instead_of(name, [known for known in __dir__() if not known.startswith("_")])
        or "write it with the functions there are",
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES, *_ALIASES, *_import_module(f"{__name__}.functional").__all__})


class _Package(_ModuleType):
    """Two functions have the names of the files beside them: importing `trtnet/tensor.py` must not hide
    `trtnet.tensor`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _import_module, (__name__,)  # cloudpickle knows modules by their very type

    @property
    def tensor(self) -> Any:
        return _import_module(f"{__name__}.functional").tensor

    @tensor.setter
    def tensor(self, value: Any) -> None:
        pass

    @property
    def reference(self) -> Any:
        return _import_module(f"{__name__}.reference").reference

    @reference.setter
    def reference(self, value: Any) -> None:
        pass


_sys.modules[__name__].__class__ = _Package
