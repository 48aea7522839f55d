"""TensorRT networks written like PyTorch modules, with weights that change in milliseconds."""

from . import dtypes, errors, functional, nn
from .functional import *
from .compat import *
from .dims import Dim, Size
from .dtypes import (
    bfloat16,
    bool_ as bool,
    dtype,
    float8_e4m3fn,
    float16,
    float32,
    float64,
    int4,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from .errors import TrtnetError
from .graph import Graph, Input
from .recording import record
from .building import Plan, build, build_plan
from .engine import Engine, RefitReport, Snapshot
from .reference import reference, to_torch
from .tensor import Array, Device as device, Tensor, manual_seed

__version__ = "0.1.0"

half, double, long, short = float16, float64, int64, int16
