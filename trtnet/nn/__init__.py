"""Modules, named and built as torch.nn's."""

from ..tensor import Buffer, Parameter
from .module import Module

__all__ = ["Buffer", "Module", "Parameter"]
