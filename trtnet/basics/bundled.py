"""What comes with trtnet beside its code: the networks of models/, and LeNet's weights."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .errors import ProviderError

PACKAGE = Path(__file__).resolve().parents[1]


def bundled(path: str) -> Path:
    """`models/lenet.py` and the like, in the installed package or in a checkout."""
    for root in (PACKAGE / "_bundled", PACKAGE.parent):
        if (root / path).is_file():
            return root / path
    raise ProviderError(
        f"{path} is not beside the installed trtnet",
        expected=f"{PACKAGE / '_bundled' / path}, or a checkout",
        remedy="install trtnet again: pip install --force-reinstall 'trtnet[demo]'",
    )


@functools.cache
def models() -> ModuleType:
    """The package of these networks, whose NETWORKS lists them; a user's own package `models` is another one."""
    init = bundled("models/__init__.py")
    name = "trtnet_models"
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(init.parent)])
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
