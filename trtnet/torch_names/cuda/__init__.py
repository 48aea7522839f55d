"""torch.cuda's names: recording uses no GPU, so there is none to be asked for."""

from __future__ import annotations

from typing import Any

from ..jit import never
from . import amp

__all__ = ["amp", "device_count", "empty_cache", "is_available", "is_current_stream_capturing", "synchronize"]

is_available = is_initialized = is_bf16_supported = is_current_stream_capturing = never


def device_count() -> int:
    return 0


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass


empty_cache = synchronize = manual_seed = manual_seed_all = _nothing
