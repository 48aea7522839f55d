"""Modules, named and built as torch.nn's, with its parameter names and `state_dict` keys.

`module.py` has Module; each further file has the classes of one trade, small ones: parameters in `__init__`, one call
of functional/ in `forward`.

Where to add: a module in the file of its trade and in that file's `__all__`, and a line in the TABLE of
tests/nn/test_every_module.py, which compares it with torch's.
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from .. import functional as functional
from ..basics.errors import NameNotFoundError as _NameNotFoundError
from ..basics.errors import instead_of as _instead_of
from . import init as init
from .activation import *
from .attention import *
from .batchnorm import *
from .container import *
from .conv import *
from .distance import *
from .dropout import *
from .linear import *
from .loss import *
from .module import Module as Module
from .normalization import *
from .padding import *
from .parameter import *
from .pooling import *
from .rnn import *
from .shape import *
from .softmax import *
from .sparse import *
from .transformer import *
from .upsampling import *

__all__ = [name for name, value in globals().items() if name[0] != "_" and not isinstance(value, _ModuleType)]
__all__ += ["functional", "init"]


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in ("modules", "utils"):
        return _import_module(f"{__name__}.{name}")
    raise _NameNotFoundError(
        f"trtnet.nn has no {name!r}",
        remedy=_instead_of(name, __all__) or "write it as a Module of those there are",
    )
