"""Convolutions and their transposes."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..functional import convolution
from ..errors import ArgumentError
from ..functional.dispatch import tuple_of
from ..tensor import Parameter, Tensor
from . import init
from .module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
