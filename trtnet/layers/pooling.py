"""Pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..basics.dims import Size, SizeLike, format_shape
from ..basics.errors import ShapeError
from ..graph.tensor import Tensor
from .base import Each, Layer, Output, require_floating, unreadable
from .targets import ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


_EACH = Each(window_size=1, stride=1, pre_padding=None, post_padding=None)


@dataclass(slots=True, eq=False, repr=False)
class Pooling(Layer):
    """`add_pooling_nd`: MAX or AVERAGE of windows over the last two or three of (N, C, *spatial).

    Sizes are rounded down; a window beyond the right edge is written as post-padding. Padding counts as minus infinity
    for MAX. For AVERAGE it is left out of the divisor, or counts as zeros if `average_count_excludes_padding` is False.
    """

    type: str
    window_size: tuple[int, ...]
    stride: tuple[int, ...]
    pre_padding: tuple[int, ...]
    post_padding: tuple[int, ...]
    average_count_excludes_padding: bool = True

    kind: ClassVar[str] = "pooling"
    reads: ClassVar[Mapping[str, str] | None] = {"window_size": "window_size_nd", "stride": "stride_nd"}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("MAX", "AVERAGE")}
    methods: ClassVar[tuple[str, ...]] = ("add_pooling_nd",)

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        return self.type not in ("MAX", "MIN")

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        spatial = len(self.window_size)
        if len(x.shape) != spatial + 2:
            raise ShapeError(
                f"{spatial}-D pooling takes an input of {spatial + 2} dimensions",
                expected="(batch, channels" + ", size" * spatial + ")",
                found=format_shape(x.shape),
            )
        require_floating("pooling", x)
        _EACH.require(self, spatial)
        batch, channels, *sizes = x.shape
        shape: list[SizeLike] = [batch, channels]
        for size, window, stride, before, after in zip(
            sizes, self.window_size, self.stride, self.pre_padding, self.post_padding, strict=True
        ):
            room = size + (before + after - window)
            if (room if isinstance(room, int) else room.min) < 0:
                raise ShapeError(
                    "the pooling window is larger than the padded input",
                    expected=f"at least {window} in dimension {len(shape)}",
                    found=f"{format_shape(x.shape)}, padding {before} + {after}",
                )
            shape.append(room // stride + 1)
        return ((Size(shape), x.dtype),)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        mode = source.attribute(native, "padding_mode", "str")
        if not mode.startswith("EXPLICIT"):
            raise unreadable(cls.kind, f"its padding_mode is {mode}")
        if source.attribute(native, "type", "str") not in ("MAX", "AVERAGE"):
            raise unreadable(cls.kind, "it blends maxima and averages")
        return cls.as_told(native, source)

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_pooling_nd(
            lowering[self.inputs[0]], lowering.enum("PoolingType", self.type), self.window_size
        )
        if layer is None:
            return None
        layer.stride_nd = self.stride
        if any(self.pre_padding) or any(self.post_padding):
            layer.pre_padding = self.pre_padding
            layer.post_padding = self.post_padding
        if self.type == "AVERAGE":
            layer.average_count_excludes_padding = self.average_count_excludes_padding
        return layer

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        functional = run.torch.nn.functional
        window, stride, padding = self.window_size, self.stride, self.pre_padding
        flat = len(window) == 2
        ceil = self._as_ceil(x.shape)
        if self.type == "MAX":
            pool = run.torch.max_pool2d if flat else run.torch.max_pool3d
            if ceil is None:
                x, padding = functional.pad(x, self._both(), value=float("-inf")), (0,) * len(window)
            return pool(x, window, stride, padding, 1, bool(ceil))
        pool = functional.avg_pool2d if flat else functional.avg_pool3d
        excludes = self.average_count_excludes_padding
        if ceil is not None and (excludes or not ceil):
            return pool(x, window, stride, padding, ceil, not excludes)
        padded = functional.pad(x, self._both())
        if not excludes:
            return pool(padded, window, stride)
        ones = functional.pad(run.torch.ones_like(x[:1, :1]), self._both())
        return pool(padded, window, stride) / pool(ones, window, stride)

    def _both(self) -> list[int]:
        both = zip(reversed(self.pre_padding), reversed(self.post_padding), strict=True)
        return [p for pair in both for p in pair]

    def _as_ceil(self, shape: Sequence[int]) -> bool | None:
        """torch's `ceil_mode` that pads in this way, or None where neither does."""
        pre, post, stride, window = self.pre_padding, self.post_padding, self.stride, self.window_size
        if not any(pre) and not any(post):
            return False
        if any(2 * p > w for p, w in zip(pre, window, strict=True)):
            return None
        if pre == post:
            return False
        for axis, size in enumerate(shape[2:]):
            inner = size + 2 * pre[axis] - window[axis]
            above = -(-inner // stride[axis])
            if above * stride[axis] >= size + pre[axis]:
                above -= 1
            if above != (size + pre[axis] + post[axis] - window[axis]) // stride[axis] or post[axis] < pre[axis]:
                return None
        return True
