"""torch.nn.parameter's names."""

from ..tensor import Buffer, Parameter

__all__ = ["Buffer", "Parameter"]
