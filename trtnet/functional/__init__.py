"""Functions named as torch's: inside a recording they record layers, outside they compute with NumPy.

`dispatch.py` has `operation`, which makes one function of both; each further file has one trade's functions, and
names those that users see in `__all__`. Tensors' methods are the same functions.

Where to add: a function in the file of its trade, decorated with `operation`, and in that file's `__all__`.
"""

from types import ModuleType as _ModuleType

from ..basics.errors import NameNotFoundError as _NameNotFoundError
from ..basics.errors import instead_of as _instead_of
from ..graph.tensor import Tensor as _Tensor
from . import out as _out  # what `out=` does
from .activation import *
from .arithmetic import *
from .attention import *
from .attributes import *
from .bitwise import *
from .broadcasting import *
from .casting import *
from .comparison import *
from .control import *
from .convolution import *
from .creation import *
from .dropout import *
from .folding import *
from .indexing import *
from .inplace import FUNCTIONS as _FUNCTIONS
from .inplace import document as _document
from .joining import *
from .linear import *
from .loss import *
from .math import *
from .normalization import *
from .padding import *
from .picking import *
from .pooling import *
from .quantization import *
from .random import *
from .ranking import *
from .raw import *
from .recurrent import *
from .reduction import *
from .resize import *
from .scattering import *
from .selection import *
from .sequences import *
from .shape import *
from .signs import *
from .sorting import *
from .sparse import *
from .statistics import *
from .triangular import *
from .unary import *
from .windows import *
from .writing import *

for _name in _FUNCTIONS:
    globals()[_name] = _function = getattr(_Tensor, _name)
    _function.__module__ = __name__  # where pickle looks for it

__all__ = [name for name, value in globals().items() if name[0] != "_" and not isinstance(value, _ModuleType)]
for _name in __all__:
    if _name[-1] == "_":
        _document(_name, globals()[_name])


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    raise _NameNotFoundError(
        f"trtnet.functional has no {name!r}",
        remedy=_instead_of(name, __all__) or "write it with the functions there are",
    )
