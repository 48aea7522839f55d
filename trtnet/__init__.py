"""TensorRT networks written like PyTorch modules, with weights that change in milliseconds.

Everything is loaded when it is first used, so that `import trtnet` costs little more than `import numpy`.
"""

from __future__ import annotations

import sys as _sys
from importlib import import_module as _import_module
from importlib.machinery import ModuleSpec as _ModuleSpec
from importlib.util import find_spec as _find_spec
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING, Any

from .basics.dims import Dim as Dim
from .basics.dims import Size as Size
from .basics.dims import sym_int as sym_int
from .basics.dtypes import bfloat16 as bfloat16
from .basics.dtypes import dtype as dtype
from .basics.dtypes import float4_e2m1fn as float4_e2m1fn
from .basics.dtypes import float8_e4m3fn as float8_e4m3fn
from .basics.dtypes import float8_e8m0fnu as float8_e8m0fnu
from .basics.dtypes import float16 as float16
from .basics.dtypes import float32 as float32
from .basics.dtypes import float64 as float64
from .basics.dtypes import int4 as int4
from .basics.dtypes import int8 as int8
from .basics.dtypes import int16 as int16
from .basics.dtypes import int32 as int32
from .basics.dtypes import int64 as int64
from .basics.dtypes import uint8 as uint8
from .basics.errors import TrtnetError as TrtnetError

if TYPE_CHECKING:
    from . import fleet as fleet
    from . import functional as functional
    from . import nn as nn
    from .basics import dtypes as dtypes
    from .basics import errors as errors
    from .basics.limits import finfo as finfo
    from .basics.limits import iinfo as iinfo
    from .building import build as build
    from .building import build_plan as build_plan
    from .building import diverges as diverges
    from .engine.engine import Engine as Engine
    from .engine.engine import RefitReport as RefitReport
    from .engine.engine import Snapshot as Snapshot
    from .engine.hotswap import HotSwap as HotSwap
    from .engine.options import RunOptions as RunOptions
    from .engine.plan import Plan as Plan
    from .functional import *
    from .graph.graph import Graph as Graph
    from .graph.graph import Input as Input
    from .graph.tensor import Array as Array
    from .graph.tensor import Device as Device
    from .graph.tensor import Tensor as Tensor
    from .graph.tensor import frozen as frozen
    from .graph.tensor import manual_seed as manual_seed
    from .loading import load as load
    from .nn.kernel import kernel as kernel
    from .nn.plugin import Plugin as Plugin
    from .pytorch.engine import reference as reference
    from .pytorch.engine import to_torch as to_torch
    from .pytorch.exported.table import converts as converts
    from .recording import record as record
    from .teaching import learn as learn
    from .teaching.reading import from_network as from_network
    from .tensorrt import plugins as plugins
    from .tensorrt import provider as provider
    from .tensorrt.build.options import BuildOptions as BuildOptions
    from .torch_names import amp as amp
    from .torch_names import autograd as autograd
    from .torch_names import cuda as cuda
    from .torch_names import distributions as distributions
    from .torch_names import jit as jit
    from .torch_names import linalg as linalg
    from .torch_names import ops as ops
    from .torch_names import utils as utils
    from .torch_names.compat import *
    from .weights.lora import lora as lora

    device = Device
    bool, half, float, double = dtypes.bool_, float16, float32, float64
    short, int, long = int16, int32, int64

__version__ = "0.1.0"

_HOMES = {
    "building": ("build", "build_plan", "diverges"),
    "torch_names.compat": (
        "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "FloatTensor", "Generator", "HalfTensor",
        "IntTensor",
        "LongTensor", "_C", "_assert", "_assert_async", "autocast", "backends", "channels_last", "channels_last_3d",
        "compile", "compiler",
        "contiguous_format", "distributed", "e", "enable_grad", "fx", "get_autocast_cpu_dtype",
        "get_autocast_dtype", "get_autocast_gpu_dtype", "get_default_dtype", "inf", "inference_mode",
        "is_autocast_cpu_enabled", "is_autocast_enabled", "is_grad_enabled", "is_inference_mode_enabled",
        "is_tensor", "nan",
        "newaxis", "no_grad", "onnx", "pi", "preserve_format", "set_grad_enabled", "strided",
    ),
    "engine.engine": ("Engine", "RefitReport", "Snapshot"),
    "graph.graph": ("Graph", "Input"),
    "tensorrt.build.options": ("BuildOptions",),
    "engine.options": ("RunOptions",),
    "engine.plan": ("Plan",),
    "engine.hotswap": ("HotSwap",),
    "basics.limits": ("finfo", "iinfo"),
    "recording": ("record",),
    "teaching.reading": ("from_network",),
    "pytorch.exported.table": ("converts",),
    "pytorch.engine": ("reference", "to_torch"),
    "loading": ("load",),
    "nn.kernel": ("kernel",),
    "weights.lora": ("lora",),
    "nn.plugin": ("Plugin",),
    "graph.tensor": ("Array", "Device", "Tensor", "frozen", "manual_seed"),
}  # fmt: skip
_GIVEN = dict.fromkeys(_HOMES["graph.tensor"], "functional") | dict.fromkeys(
    ("Graph", "Plan", "from_network"), "recording"
)
"""What gives tensors and graphs their methods."""
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = {
    "basics": ("dtypes", "errors"),
    "teaching": ("learn",),
    "tensorrt": ("plugins", "provider"),
    "torch_names": ("amp", "autograd", "cuda", "distributions", "einops", "jit", "linalg", "ops", "utils"),
}
_ROOM = {name: room for room, names in _ROOMS.items() for name in names}
_MODULES = ("fleet", "functional", "nn", *_ROOM)
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
    if name in _MODULES or _find_spec(f"{__name__}.{name}") is not None:  # `from . import nn`, in the package itself
        return _import_module(f"{__name__}.{name}")
    if name in _ALIASES:
        found = getattr(_import_module(f"{__name__}.basics.dtypes"), _ALIASES[name])
    elif name in _HOME:
        if name in _GIVEN:
            _import_module(f"{__name__}.{_GIVEN[name]}")
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
    from .basics.errors import NameNotFoundError, instead_of

    raise NameNotFoundError(
        f"trtnet has no {name!r}",
        remedy=instead_of(name, [known for known in __dir__() if not known.startswith("_")])
        or "write it with the functions there are",
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES, *_ALIASES, *_import_module(f"{__name__}.functional").__all__})


class _Elsewhere:
    """Finds `trtnet.errors`, `trtnet.cuda.amp`… where they live, so that a module has one copy under both names."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> _ModuleSpec | None:
        package, _, rest = name.partition(".")
        room = _ROOM.get(rest.partition(".")[0]) if package == __name__ else None
        return _ModuleSpec(name, cls()) if room else None  # type: ignore[arg-type]

    def create_module(self, spec: _ModuleSpec) -> _ModuleType:
        rest = spec.name.partition(".")[2]
        module = _import_module(f"{__name__}.{_ROOM[rest.partition('.')[0]]}.{rest}")
        self.spec = module.__spec__
        return module

    def exec_module(self, module: _ModuleType) -> None:
        module.__spec__ = self.spec


_sys.meta_path.insert(0, _Elsewhere)


class _Package(_ModuleType):
    def __reduce__(self) -> tuple[Any, ...]:
        return _import_module, (__name__,)  # cloudpickle knows modules by their very type


_sys.modules[__name__].__class__ = _Package
