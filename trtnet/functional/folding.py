"""Sliding windows as columns, and columns summed back: convolutions by kernels of ones and zeros."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..dims import SizeLike, format_shape
from ..errors import ShapeError
from ..tensor import Array, Tensor
from .convolution import conv2d, conv_transpose2d
from .dispatch import floating, operation, tensor, tuple_of
from .shape import reshape, size_of

__all__ = ["fold", "unfold"]


def _picking(channels: int, kernel: tuple[int, ...], dtype: Any) -> Array:
    """(channels * window, 1, h, w): each output takes one element of the window of its channel."""
    window = prod(kernel)
    return Array(np.tile(np.eye(window, dtype=dtype).reshape(window, 1, *kernel), (channels, 1, 1, 1)))


@operation()
def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of (N, C, H, W) or (C, H, W) as columns: (N, C * h * w, windows)."""
    x = tensor(input)
    floating("unfold", x)
    if len(x.shape) not in (3, 4) or not isinstance(x.shape[-3], int):
        raise ShapeError(
            "unfold takes images of a fixed number of channels", expected="(N, C, H, W)", found=format_shape(x.shape)
        )
    channels, kernel = x.shape[-3], tuple_of(kernel_size, 2, "kernel_size")
    columns = conv2d(x, _picking(channels, kernel, x.dtype.numpy), None, stride, padding, dilation, channels)
    return columns.flatten(-2)


@operation()
def fold(
    input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns (N, C * h * w, windows) summed into images (N, C, *output_size): unfold's transpose."""
    x = tensor(input)
    floating("fold", x)
    kernel, d, p, s = (
        tuple_of(v, 2, n)
        for v, n in ((kernel_size, "kernel_size"), (dilation, "dilation"), (padding, "padding"), (stride, "stride"))
    )
    window = prod(kernel)
    if len(x.shape) not in (2, 3) or not isinstance(x.shape[-2], int) or x.shape[-2] % window:
        raise ShapeError(
            "fold takes columns of whole windows", expected=f"(N, C * {window}, windows)", found=format_shape(x.shape)
        )
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    sizes: tuple[SizeLike, ...] = tuple(size_of(v) for v in given)
    reach = [size + 2 * p[i] - d[i] * (kernel[i] - 1) - 1 for i, size in enumerate(sizes)]
    counts = [r // s[i] + 1 for i, r in enumerate(reach)]
    rest = []
    for i, r in enumerate(reach):
        left = r % s[i] if s[i] > 1 else 0
        if not isinstance(left, int):
            raise ShapeError(
                "fold to a dynamic size that its stride may not divide",
                found=format_shape(sizes),
                remedy="make the size a multiple of the stride: Dim(..., multiple_of=...)",
            )
        rest.append(left)
    channels = x.shape[-2] // window
    columns = reshape(x, (*x.shape[:-1], *counts))
    return conv_transpose2d(columns, _picking(channels, kernel, x.dtype.numpy), None, s, p, tuple(rest), channels, d)
