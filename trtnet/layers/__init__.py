"""One small class for each kind of TensorRT layer.

A class says three things of its kind: the shape and type of what it gives, how it is added to an
`INetworkDefinition`, and what it computes in PyTorch. What it may ask of its surroundings is in `targets.py`. Nothing
else in trtnet knows kinds.

`add_...`, a function for each `network.add_...` of TensorRT's (`adding.py`), records a layer of that kind: the tensors
in TensorRT's order, its attributes by TensorRT's names, members of its enums as text.

Where to add: a kind as a class in the file of its trade (`base.py` has what it may say), and a network with it in
tests/helpers/cases.py; what one TensorRT gets wrong as `supported` or `failing` of the kind, with `compose` in its
place.
"""

from collections.abc import Callable as _Callable
from typing import Any as _Any

from . import (
    activation,
    assertion,
    attention,
    casting,
    constant,
    convolution,
    distributed,
    elementwise,
    experts,
    gather,
    generation,
    matrix,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
    selection,
    sequences,
    shaping,
)
from .adding import adder as _adder
from .adding import methods as _methods


def __getattr__(name: str) -> _Callable[..., _Any]:
    if not name.startswith("add_"):
        raise AttributeError(f"trtnet.layers has no {name!r}")
    return _adder(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_methods()})
