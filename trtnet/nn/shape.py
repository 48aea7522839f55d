"""Modules that give the same elements another shape."""

from __future__ import annotations

from collections.abc import Sequence

from ..basics.dims import SizeLike
from ..basics.errors import UnsupportedError
from ..functional import resize as F
from ..functional.dispatch import Ints
from ..functional.folding import fold, unfold
from ..functional.shape import flatten, unflatten
from ..graph.tensor import Tensor
from .module import Module

__all__ = ["ChannelShuffle", "Flatten", "Fold", "PixelShuffle", "PixelUnshuffle", "Unflatten", "Unfold"]


class Flatten(Module):
    """Several dimensions as one.

    Args:
        start_dim, end_dim: the first and the last of them.

    Shape: (N, A, B, …) to (N, A * B * …) unless said otherwise; any dtype.
    Layers: one `shuffle`.

    >>> graph = trtnet.record(nn.Flatten(), input=Input((2, 3, 4, 5)))
    >>> graph.outputs["output"].shape
    Size([2, 60])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension as several.

    Args:
        dim: its number; torch's named dimensions raise UnsupportedError.
        unflattened_size: the sizes; one of them may be -1.

    Shape: (…, A * B, …) to (…, A, B, …); any dtype.
    Layers: one `shuffle`.

    >>> graph = trtnet.record(nn.Unflatten(1, (3, 4)), input=Input((2, 12)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 4])
    """

    def __init__(self, dim: int | str, unflattened_size: Sequence[SizeLike]) -> None:
        super().__init__()
        if isinstance(dim, str):
            raise UnsupportedError(
                "named dimensions are not built here", found=repr(dim), remedy="give the dimension's number"
            )
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class PixelShuffle(Module):
    """Channels as pixels: each place's r * r values become a square of r by r pixels.

    Args:
        upscale_factor: r.

    Shape: (…, C * r * r, H, W) to (…, C, H * r, W * r); any dtype.
    Layers: two `shuffle`.

    >>> graph = trtnet.record(nn.PixelShuffle(2), input=Input((1, 12, 4, 4)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Pixels as channels: what PixelShuffle made, back.

    Args:
        downscale_factor: r.

    Shape: (…, C, H * r, W * r) to (…, C * r * r, H, W); any dtype.
    Layers: two `shuffle`.

    >>> graph = trtnet.record(nn.PixelUnshuffle(2), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 12, 4, 4])
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """The channels of several groups interleaved: a0 a1 b0 b1 to a0 b0 a1 b1.

    Args:
        groups: how many groups; C is a multiple.

    Shape: (N, C, …), in and out alike; any dtype.
    Layers: two `shuffle`.

    >>> graph = trtnet.record(nn.ChannelShuffle(2), input=Input((1, 4, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 8, 8])
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Unfold(Module):
    """The windows of images as columns, so that a matrix product with a kernel is a convolution.

    Args:
        kernel_size: the window's size, a number or (height, width).
        dilation, padding, stride: as a convolution's.

    Shape: (N, C, H, W) to (N, C * h * w, number of windows); static H and W; any dtype.
    Layers: `gather`, `constant` and `shuffle`, and `padding` where there is some.

    >>> graph = trtnet.record(nn.Unfold(2, stride=2), input=Input((1, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 12, 16])
    """

    def __init__(self, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns added up as images: the transpose of Unfold.

    Args:
        output_size: (height, width) of the images.
        kernel_size: the window's size, a number or (height, width).
        dilation, padding, stride: as a convolution's.

    Shape: (N, C * h * w, number of windows) to (N, C, *output_size); float32, float16 or bfloat16.
    Layers: `gather`, `select`, `reduce`, `constant` and `shuffle`.

    >>> graph = trtnet.record(nn.Fold((8, 8), 2, stride=2), input=Input((1, 12, 16)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        output_size: SizeLike | Sequence[SizeLike],
        kernel_size: Ints,
        dilation: Ints = 1,
        padding: Ints = 0,
        stride: Ints = 1,
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
