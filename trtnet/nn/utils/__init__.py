"""torch.nn.utils' names. What rewrites weights is applied in PyTorch, before they come here."""

from __future__ import annotations

from typing import Any

from ...basics.errors import UnsupportedError
from . import parametrizations, rnn

__all__ = ["clip_grad_norm_", "parametrizations", "remove_weight_norm", "rnn", "spectral_norm", "weight_norm"]

weight_norm = parametrizations.weight_norm
spectral_norm = parametrizations.spectral_norm


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """The module itself: there is no weight norm here to remove."""
    return module


def clip_grad_norm_(*args: Any, **kwargs: Any) -> Any:
    """Raises UnsupportedError."""
    raise UnsupportedError("nothing here has gradients", remedy="train trtnet.to_torch(graph) in PyTorch")
