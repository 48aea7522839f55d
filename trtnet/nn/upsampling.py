"""Modules that make images larger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..basics.dims import SizeLike
from ..functional.resize import interpolate
from ..graph.tensor import Tensor
from .module import Module

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(Module):
    """Images of another size, by the nearest pixels or between them.

    Args:
        size: the new spatial sizes, or
        scale_factor: what the present ones are multiplied by, then rounded down.
        mode: "nearest", "linear" (L), "bilinear" and "bicubic" (H, W), "trilinear" (D, H, W).
        align_corners: whether the corners' centres keep their places, but for nearest.
        recompute_scale_factor: as torch's.

    Shape: (N, C, *spatial) to (N, C, *new spatial); float32, float16 or bfloat16.
    Layers: one `resize`.

    >>> graph = trtnet.record(nn.Upsample(scale_factor=2), input=Input((1, 3, 4, 4)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        size: SizeLike | Sequence[SizeLike] | None = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        if isinstance(scale_factor, (tuple, list)):
            self.scale_factor: Any = tuple(float(f) for f in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        given = f"scale_factor={self.scale_factor!r}" if self.scale_factor is not None else f"size={self.size!r}"
        return f"{given}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images of another size, by the nearest pixels.

    Args:
        size: (height, width), or
        scale_factor: what the present ones are multiplied by, then rounded down.

    Shape: (N, C, H, W) to (N, C, H', W'); float32, float16 or bfloat16.
    Layers: one `resize`.

    >>> graph = trtnet.record(nn.UpsamplingNearest2d(scale_factor=2), input=Input((1, 3, 4, 4)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """

    def __init__(
        self, size: SizeLike | Sequence[SizeLike] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images of another size, between the four nearest pixels, with aligned corners.

    Args:
        size: (height, width), or
        scale_factor: what the present ones are multiplied by, then rounded down.

    Shape: (N, C, H, W) to (N, C, H', W'); float32, float16 or bfloat16.
    Layers: one `resize`.

    >>> graph = trtnet.record(nn.UpsamplingBilinear2d(scale_factor=2), input=Input((1, 3, 4, 4)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """

    def __init__(
        self, size: SizeLike | Sequence[SizeLike] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
