"""Functions named as torch's: inside a recording they record layers, outside they compute with NumPy."""

# wired by hand when the families are complete
import importlib as _i
from pathlib import Path as _P

__all__ = []
for _name in sorted(p.stem for p in _P(__file__).parent.glob("*.py") if p.stem != "__init__"):
    try:
        _module = _i.import_module(f"{__name__}.{_name}")
    except (ImportError, AttributeError, SyntaxError) as _e:
        print("not yet:", _name, _e)
        continue
    for _n in getattr(_module, "__all__", []):
        if hasattr(_module, _n):
            globals()[_n] = getattr(_module, _n)
            __all__.append(_n)
