"""torch.nn.modules' names: `nn.modules.batchnorm._BatchNorm`, `from torch.nn.modules.utils import _pair`."""

from __future__ import annotations

import sys as _sys
from typing import Any

from ... import nn as _nn
from .. import (
    activation,
    batchnorm,
    container,
    conv,
    distance,
    dropout,
    linear,
    module,
    normalization,
    padding,
    pooling,
    rnn,
    sparse,
    transformer,
    upsampling,
)
from ..batchnorm import _BatchNorm, _InstanceNorm
from ..conv import _ConvNd
from . import utils

instancenorm = batchnorm

_FILES = {
    "activation": "activation", "batchnorm": "batchnorm", "container": "container", "conv": "conv",
    "distance": "distance", "dropout": "dropout", "instancenorm": "batchnorm", "linear": "linear", "module": "module",
    "normalization": "normalization", "padding": "padding", "pooling": "pooling", "rnn": "rnn", "sparse": "sparse",
    "transformer": "transformer", "upsampling": "upsampling",
}  # fmt: skip
for _name, _file in _FILES.items():
    _sys.modules[f"{__name__}.{_name}"] = globals()[_file]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_nn, name)
