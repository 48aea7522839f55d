"""Modules, named and built as torch.nn's, with its parameter names and `state_dict` keys.

`module.py` has Module; each further file has the classes of one trade, small ones: parameters in `__init__`, one call
of functional/ in `forward`.

Where to add: a module in the file of its trade and in that file's `__all__`, and a line in the TABLE of
tests/nn/test_every_module.py, which compares it with torch's.
"""

from __future__ import annotations

from importlib import import_module

from .. import functional
from ..basics.errors import NameNotFoundError, instead_of
from ..graph.tensor import Buffer, Parameter
from . import init
from .activation import *
from .activation import __all__ as _activation
from .attention import *
from .attention import __all__ as _attention
from .batchnorm import *
from .batchnorm import __all__ as _batchnorm
from .container import *
from .container import __all__ as _container
from .conv import *
from .conv import __all__ as _conv
from .distance import *
from .distance import __all__ as _distance
from .dropout import *
from .dropout import __all__ as _dropout
from .linear import *
from .linear import __all__ as _linear
from .loss import *
from .loss import __all__ as _loss
from .module import Module
from .normalization import *
from .normalization import __all__ as _normalization
from .padding import *
from .padding import __all__ as _padding
from .pooling import *
from .pooling import __all__ as _pooling
from .rnn import *
from .rnn import __all__ as _rnn
from .shape import *
from .shape import __all__ as _shape
from .softmax import *
from .softmax import __all__ as _softmax
from .sparse import *
from .sparse import __all__ as _sparse
from .transformer import *
from .transformer import __all__ as _transformer
from .upsampling import *
from .upsampling import __all__ as _upsampling

__all__ = [
    *_activation,
    *_attention,
    *_batchnorm,
    *_container,
    *_conv,
    *_distance,
    *_dropout,
    *_linear,
    *_loss,
    *_normalization,
    *_padding,
    *_pooling,
    *_rnn,
    *_shape,
    *_softmax,
    *_sparse,
    *_transformer,
    *_upsampling,
    "Buffer",
    "Module",
    "Parameter",
    "functional",
    "init",
]


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in ("modules", "parameter", "utils"):
        return import_module(f"{__name__}.{name}")
    raise NameNotFoundError(
        f"trtnet.nn has no {name!r}",
        remedy=instead_of(name, __all__) or "write it as a Module of those there are",
    )
