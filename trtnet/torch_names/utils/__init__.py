"""torch.utils' names that model files use."""

from . import checkpoint

__all__ = ["checkpoint"]
