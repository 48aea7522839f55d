"""einops for tensors of trtnet: `rearrange`, `reduce`, `repeat`, `einsum`, `pack`, and the layers Rearrange and Reduce.

`einops.rearrange(x, ...)` works inside a recording as it is; `from einops.layers.torch import Rearrange` becomes
`from trtnet.einops import Rearrange`. Needs einops, which trtnet does not install.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from einops import _backends  # type: ignore[import-not-found, unused-ignore]
from einops.layers import RearrangeMixin, ReduceMixin  # type: ignore[import-not-found, unused-ignore]

from .. import functional as F
from ..basics.dims import SizeLike
from ..graph.tensor import Tensor
from ..nn.module import Module

__all__ = ["Rearrange", "Reduce"]


class Backend(_backends.AbstractBackend):  # type: ignore[misc, unused-ignore]
    """How einops works on trtnet's tensors; it finds the class by itself."""

    framework_name = "trtnet"

    def is_appropriate_type(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor)

    def reduce(self, x: Tensor, operation: str, axes: Iterable[int]) -> Tensor:
        return getattr(F, {"min": "amin", "max": "amax"}.get(operation, operation))(x, tuple(axes))

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return F.permute(x, axes)

    def stack_on_zeroth_dimension(self, tensors: list[Tensor]) -> Tensor:
        return F.stack(tensors)

    def add_axis(self, x: Tensor, new_position: int) -> Tensor:
        return F.unsqueeze(x, new_position)

    def add_axes(self, x: Tensor, n_axes: int, pos2len: dict[int, SizeLike]) -> Tensor:
        for position in sorted(pos2len):
            x = F.unsqueeze(x, position)
        return F.expand(x, [pos2len.get(i, -1) for i in range(n_axes)])

    def tile(self, x: Tensor, repeats: Sequence[int]) -> Tensor:
        return F.tile(x, repeats)

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        return F.cat(tensors, axis)

    def is_float_type(self, x: Tensor) -> bool:
        return bool(x.dtype.is_floating_point)

    def einsum(self, pattern: str, *x: Tensor) -> Tensor:
        return F.einsum(pattern, *x)


class Rearrange(RearrangeMixin, Module):  # type: ignore[misc, unused-ignore]
    """einops.layers.torch.Rearrange."""

    def forward(self, input: Tensor) -> Tensor:
        return self._apply_recipe(input)


class Reduce(ReduceMixin, Module):  # type: ignore[misc, unused-ignore]
    """einops.layers.torch.Reduce."""

    def forward(self, input: Tensor) -> Tensor:
        return self._apply_recipe(input)
