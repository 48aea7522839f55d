"""einops for tensors of trtnet: `rearrange`, `reduce`, `repeat`, `einsum`, `pack`, and the layers Rearrange and Reduce.

`einops.rearrange(x, ...)` works inside a recording as it is; `from einops.layers.torch import Rearrange` becomes
`from trtnet.einops import Rearrange`. Needs einops, which trtnet does not install.
"""

from __future__ import annotations

from typing import Any

from einops import _backends  # type: ignore[import-not-found, unused-ignore]
from einops.layers import RearrangeMixin, ReduceMixin  # type: ignore[import-not-found, unused-ignore]

from .. import functional as F
from ..graph.tensor import Tensor
from ..nn.module import Module

__all__ = ["Rearrange", "Reduce"]


class Backend(_backends.AbstractBackend):  # type: ignore[misc, unused-ignore]
    """How einops works on trtnet's tensors; it finds the class by itself."""

    framework_name = "trtnet"

    def is_appropriate_type(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor)

    def reduce(self, x: Any, operation: str, axes: Any) -> Any:
        return getattr(F, {"min": "amin", "max": "amax"}.get(operation, operation))(x, tuple(axes))

    def transpose(self, x: Any, axes: Any) -> Any:
        return F.permute(x, axes)

    def stack_on_zeroth_dimension(self, tensors: list[Any]) -> Any:
        return F.stack(tensors)

    def add_axis(self, x: Any, new_position: int) -> Any:
        return F.unsqueeze(x, new_position)

    def add_axes(self, x: Any, n_axes: int, pos2len: dict[int, Any]) -> Any:
        for position in sorted(pos2len):
            x = F.unsqueeze(x, position)
        return F.expand(x, [pos2len.get(i, -1) for i in range(n_axes)])

    def tile(self, x: Any, repeats: Any) -> Any:
        return F.tile(x, repeats)

    def concat(self, tensors: list[Any], axis: int) -> Any:
        return F.cat(tensors, axis)

    def is_float_type(self, x: Any) -> bool:
        return bool(x.dtype.is_floating_point)

    def einsum(self, pattern: str, *x: Any) -> Any:
        return F.einsum(pattern, *x)


class Rearrange(RearrangeMixin, Module):  # type: ignore[misc, unused-ignore]
    """einops.layers.torch.Rearrange."""

    def forward(self, input: Any) -> Any:
        return self._apply_recipe(input)


class Reduce(ReduceMixin, Module):  # type: ignore[misc, unused-ignore]
    """einops.layers.torch.Reduce."""

    def forward(self, input: Any) -> Any:
        return self._apply_recipe(input)
