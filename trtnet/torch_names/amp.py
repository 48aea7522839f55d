"""torch.amp's names: nothing is cast silently, so only `autocast(enabled=False)` is accepted."""

from .compat import autocast, get_autocast_dtype
from .jit import decorator, never

__all__ = ["autocast", "custom_bwd", "custom_fwd", "get_autocast_dtype", "is_autocast_available"]

custom_fwd = custom_bwd = decorator
is_autocast_available = never
