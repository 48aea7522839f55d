"""Convolutions in one, two and three dimensions, and their transposes."""

from __future__ import annotations

from typing import Any

from ..basics.dims import format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.constant import with_shape
from ..layers.convolution import Convolution, Deconvolution
from ..layers.shaping import reshaped
from ..weights.recipes import Weight
from .arithmetic import add
from .dispatch import Ints, operand, operation, tensor, tuple_of
from .padding import pad

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def batched(name: str, input: Tensor, spatial: int) -> tuple[Tensor, bool]:
    """The input with a batch dimension, and whether it lacked one."""
    x = tensor(input)
    if len(x.shape) == spatial + 1:
        return reshaped(x, (1, *x.shape)), True
    if len(x.shape) != spatial + 2:
        sizes = ", size" * spatial
        raise ShapeError(
            f"{name} takes an input of {spatial + 2} dimensions, or of {spatial + 1} without a batch",
            expected=f"(batch, channels{sizes})",
            found=format_shape(x.shape),
            remedy="x.unsqueeze(0) adds a dimension, x.flatten(...) and x.reshape(...) change their number",
        )
    return x, False


def widen(x: Tensor) -> Tensor:
    """(N, C, L) to (N, C, 1, L)."""
    return reshaped(x, (x.shape[0], x.shape[1], 1, x.shape[2]))


def narrow(x: Tensor) -> Tensor:
    """(N, C, 1, L) to (N, C, L).

    Layers of the example: `slice`.

    >>> trtnet.narrow(trtnet.tensor([1.0, 2.0, 3.0]), 0, 1, 2).tolist()
    [2.0, 3.0]
    """
    return reshaped(x, (x.shape[0], x.shape[1], x.shape[3]))


def kernel_of(name: str, weight: Tensor | Weight, spatial: int) -> Any:
    """The kernel as weights or as a tensor of fixed sizes."""
    kernel = operand(weight)
    if kernel is None or len(kernel.shape) != spatial + 2:
        raise ShapeError(
            f"the weight of {name} has {spatial + 2} dimensions",
            expected="(out, in / groups" + ", size" * spatial + ")",
            found="None" if kernel is None else format_shape(kernel.shape),
        )
    if type(kernel) is Tensor and not all(isinstance(size, int) for size in kernel.shape):
        raise ShapeError(
            f"the weight of {name} must have fixed sizes", expected="ints", found=format_shape(kernel.shape)
        )
    return kernel


def _number(groups: int) -> int:
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ArgumentError("groups is a whole number, at least 1", found=repr(groups))
    return groups


def _named_padding(
    name: str, padding: str, strides: tuple[int, ...], dilations: tuple[int, ...], size: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The padding before and after that "same" or "valid" stands for."""
    if padding not in ("same", "valid"):
        raise ArgumentError(
            f"{name} does not know this padding", expected="'same', 'valid' or numbers", found=repr(padding)
        )
    if padding == "same" and any(s != 1 for s in strides):
        raise ArgumentError(
            "padding='same' is not for strided convolutions",
            expected="stride 1",
            found=strides,
            remedy="give the padding as numbers",
        )
    total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilations, size, strict=True)]
    return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)


def _convolve(
    spatial: int,
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    groups: int,
) -> Tensor:
    name = f"conv{spatial}d"
    x, alone = batched(name, input, spatial)
    kernel, shift = kernel_of(name, weight, spatial), operand(bias)
    strides, dilations = tuple_of(stride, spatial, "stride"), tuple_of(dilation, spatial, "dilation")
    out, _, *sizes = kernel.shape
    size = tuple(sizes)
    if isinstance(padding, str):
        before, after = _named_padding(name, padding, strides, dilations, size)
    else:
        before = after = tuple_of(padding, spatial, "padding")
    if min(before) < 0:
        raise ArgumentError(f"the padding of {name} cannot be negative", found=padding)
    if spatial == 1:
        x, kernel = widen(x), kernel if isinstance(kernel, Weight) else widen(kernel)
        size, strides, dilations = (1, *size), (1, *strides), (1, *dilations)
        before, after = (0, *before), (0, *after)
    y = emit(
        Convolution(
            (x, kernel, shift),
            num_output_maps=out,
            kernel_size=size,
            stride=strides,
            pre_padding=before,
            post_padding=after,
            dilation=dilations,
            num_groups=_number(groups),
        )
    )
    return _finish(y, spatial, alone)


def _finish(y: Tensor, spatial: int, alone: bool) -> Tensor:
    if spatial == 1 and alone:
        return reshaped(y, (y.shape[1], y.shape[3]))
    if spatial == 1:
        return narrow(y)
    return reshaped(y, y.shape[1:]) if alone else y


def _transpose(
    spatial: int,
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None,
    stride: Ints,
    padding: Ints | str,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Tensor:
    name = f"conv_transpose{spatial}d"
    if isinstance(padding, str):
        raise ArgumentTypeError(
            f"the padding of {name} is a number", expected="a number or a tuple", found=repr(padding)
        )
    x, alone = batched(name, input, spatial)
    kernel, shift = kernel_of(name, weight, spatial), operand(bias)
    strides, dilations = tuple_of(stride, spatial, "stride"), tuple_of(dilation, spatial, "dilation")
    before, extra = tuple_of(padding, spatial, "padding"), tuple_of(output_padding, spatial, "output_padding")
    if min(before) < 0 or min(extra) < 0:
        raise ArgumentError(
            f"the padding of {name} cannot be negative", found=f"padding {padding}, output_padding {output_padding}"
        )
    for more, step, dilate in zip(extra, strides, dilations, strict=True):
        if more >= max(step, dilate):
            raise ArgumentError(
                "output_padding must be smaller than stride or dilation",
                expected=f"less than {max(step, dilate)}",
                found=output_padding,
            )
    out, size = kernel.shape[1], tuple(kernel.shape[2:])
    if spatial == 1:
        x, kernel = widen(x), kernel if isinstance(kernel, Weight) else widen(kernel)
        size, strides, dilations = (1, *size), (1, *strides), (1, *dilations)
        before, extra = (0, *before), (0, *extra)
    after = tuple(b - e for b, e in zip(before, extra, strict=True))
    maps = out * _number(groups)
    # TensorRT cuts the padding off the output; what output_padding adds beyond it holds nothing but the bias
    beyond = tuple(max(0, -a) for a in after)
    y = emit(
        Deconvolution(
            (x, kernel, None if any(beyond) else shift),
            num_output_maps=maps,
            kernel_size=size,
            stride=strides,
            pre_padding=before,
            post_padding=tuple(max(0, a) for a in after),
            dilation=dilations,
            num_groups=groups,
        )
    )
    if any(beyond):
        y = pad(y, tuple(p for b in reversed(beyond) for p in (0, b)))
        if shift is not None:
            y = add(y, with_shape(shift, (1, maps, *(1,) * len(size))))
    return _finish(y, spatial, alone)


@operation()
def conv1d(
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """(N, C, L), or (C, L), by a kernel (K, C/groups, k): (N, K, L'). `padding` is a number, "same" or "valid".

    Layers of the example: `shuffle`, `convolution`.

    >>> function = lambda x, w: trtnet.functional.conv1d(x, w, padding=1)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 8)), w=trtnet.Input((4, 3, 3)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 8])
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


@operation()
def conv2d(
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """(N, C, H, W), or (C, H, W), by a kernel (K, C/groups, h, w), a weight or a tensor of the same dtype.

    Layers of the example: `convolution`.

    >>> function = lambda x, w: trtnet.functional.conv2d(x, w, padding=1)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 8, 8)), w=trtnet.Input((4, 3, 3, 3)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 8, 8])
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


@operation()
def conv3d(
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """(N, C, D, H, W), or (C, D, H, W), by a kernel (K, C/groups, d, h, w).

    Layers of the example: `convolution`.

    >>> function = lambda x, w: trtnet.functional.conv3d(x, w, padding=1)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 8, 8, 8)), w=trtnet.Input((4, 3, 3, 3, 3)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 8, 8, 8])
    """
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


@operation()
def conv_transpose1d(
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """(N, C, L), or (C, L), by a kernel (C, K/groups, k).

    Layers of the example: `shuffle`, `deconvolution`.

    >>> function = lambda x, w: trtnet.functional.conv_transpose1d(x, w, stride=2)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 8)), w=trtnet.Input((3, 4, 3)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 17])
    """
    return _transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@operation()
def conv_transpose2d(
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """(N, C, H, W), or (C, H, W), by a kernel (C, K/groups, h, w).

    Layers of the example: `deconvolution`.

    >>> function = lambda x, w: trtnet.functional.conv_transpose2d(x, w, stride=2)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 8, 8)), w=trtnet.Input((3, 4, 3, 3)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 17, 17])
    """
    return _transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@operation()
def conv_transpose3d(
    input: Tensor,
    weight: Tensor | Weight,
    bias: Tensor | Weight | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """(N, C, D, H, W), or (C, D, H, W), by a kernel (C, K/groups, d, h, w).

    Layers of the example: `deconvolution`.

    >>> function = lambda x, w: trtnet.functional.conv_transpose3d(x, w, stride=2)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 8, 8, 8)), w=trtnet.Input((3, 4, 3, 3, 3)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 17, 17, 17])
    """
    return _transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
