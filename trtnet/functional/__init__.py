"""Functions named as torch's: inside a recording they record layers, outside they compute with NumPy.

`dispatch.py` has `operation`, which makes one function of both; each further file has one trade's functions, and
names those that users see in `__all__`. Tensors' methods are the same functions.

Where to add: a function in the file of its trade, decorated with `operation`, and in that file's `__all__`.
"""

from __future__ import annotations

from ..basics.errors import NameNotFoundError, instead_of
from ..graph.tensor import Tensor
from . import out  # what `out=` does
from .activation import *
from .activation import __all__ as _activation
from .arithmetic import *
from .arithmetic import __all__ as _arithmetic
from .attention import *
from .attention import __all__ as _attention
from .attributes import *
from .attributes import __all__ as _attributes
from .bitwise import *
from .bitwise import __all__ as _bitwise
from .broadcasting import *
from .broadcasting import __all__ as _broadcasting
from .casting import *
from .casting import __all__ as _casting
from .comparison import *
from .comparison import __all__ as _comparison
from .convolution import *
from .convolution import __all__ as _convolution
from .creation import *
from .creation import __all__ as _creation
from .dropout import *
from .dropout import __all__ as _dropout
from .folding import *
from .folding import __all__ as _folding
from .indexing import *
from .indexing import __all__ as _indexing
from .inplace import FUNCTIONS
from .joining import *
from .joining import __all__ as _joining
from .linear import *
from .linear import __all__ as _linear
from .loss import *
from .loss import __all__ as _loss
from .math import *
from .math import __all__ as _math
from .normalization import *
from .normalization import __all__ as _normalization
from .padding import *
from .padding import __all__ as _padding
from .picking import *
from .picking import __all__ as _picking
from .pooling import *
from .pooling import __all__ as _pooling
from .random import *
from .random import __all__ as _random
from .ranking import *
from .ranking import __all__ as _ranking
from .reduction import *
from .reduction import __all__ as _reduction
from .resize import *
from .resize import __all__ as _resize
from .scattering import *
from .scattering import __all__ as _scattering
from .selection import *
from .selection import __all__ as _selection
from .sequences import *
from .sequences import __all__ as _sequences
from .shape import *
from .shape import __all__ as _shape
from .signs import *
from .signs import __all__ as _signs
from .sorting import *
from .sorting import __all__ as _sorting
from .sparse import *
from .sparse import __all__ as _sparse
from .statistics import *
from .statistics import __all__ as _statistics
from .triangular import *
from .triangular import __all__ as _triangular
from .unary import *
from .unary import __all__ as _unary
from .windows import *
from .windows import __all__ as _windows
from .writing import *
from .writing import __all__ as _writing

for _name in FUNCTIONS:
    globals()[_name] = _function = getattr(Tensor, _name)
    _function.__module__ = __name__  # where pickle looks for it

__all__ = [
    *FUNCTIONS,
    *_activation,
    *_arithmetic,
    *_attention,
    *_attributes,
    *_bitwise,
    *_broadcasting,
    *_casting,
    *_comparison,
    *_convolution,
    *_creation,
    *_dropout,
    *_folding,
    *_indexing,
    *_joining,
    *_linear,
    *_loss,
    *_math,
    *_normalization,
    *_padding,
    *_picking,
    *_pooling,
    *_random,
    *_ranking,
    *_reduction,
    *_resize,
    *_scattering,
    *_selection,
    *_sequences,
    *_shape,
    *_signs,
    *_sorting,
    *_sparse,
    *_statistics,
    *_triangular,
    *_unary,
    *_windows,
    *_writing,
]


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    raise NameNotFoundError(
        f"trtnet.functional has no {name!r}",
        remedy=instead_of(name, __all__) or "write it with the functions there are",
    )
