"""torch.nn.parameter's names."""

from ..graph.tensor import Buffer, Parameter

__all__ = ["Buffer", "Parameter"]
