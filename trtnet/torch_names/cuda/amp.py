"""torch.cuda.amp's names, as in torch.amp."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ..compat import autocast as _autocast
from ..jit import decorator

__all__ = ["autocast", "custom_bwd", "custom_fwd"]

custom_fwd = custom_bwd = decorator


def autocast(enabled: bool = True, dtype: Any = None, cache_enabled: Any = None) -> AbstractContextManager[None]:
    """Only `enabled=False`, as trtnet.amp.autocast."""
    return _autocast("cuda", dtype, enabled)
