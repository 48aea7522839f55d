"""Modules, named and built as torch.nn's."""

import importlib as _i
from pathlib import Path as _P

from .. import functional
from ..tensor import Buffer, Parameter
from .module import Module

__all__ = ["Buffer", "Module", "Parameter"]
for _name in sorted(p.stem for p in _P(__file__).parent.glob("*.py") if p.stem not in ("__init__", "module")):
    try:
        _module = _i.import_module(f"{__name__}.{_name}")
    except (ImportError, AttributeError, SyntaxError) as _e:
        print("not yet:", _name, _e)
        continue
    if _name == "init":
        continue
    for _n in getattr(_module, "__all__", []):
        if hasattr(_module, _n):
            globals()[_n] = getattr(_module, _n)
            __all__.append(_n)
