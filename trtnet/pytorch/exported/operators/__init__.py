"""Operators whose counterpart in functional/ has another name, or takes its arguments otherwise."""

from . import creation, elementwise, indexing, network, nothing, shape

__all__ = ["creation", "elementwise", "indexing", "network", "nothing", "shape"]
