"""Operators of networks: convolutions, norms, pooling, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .... import functional as F
from ....basics.dims import SizeLike
from ....graph.tensor import Tensor
from ..table import Missing, converts

Ints = Sequence[int]
INDICES = Missing("the places of the maxima are used, which TensorRT's pooling does not give",
                  "leave return_indices out")  # fmt: skip


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# --- convolutions -----------------------------------------------------------------------------------------------------


def _convolves(name: str) -> None:
    @converts(f"aten::{name}", f"aten::{name}.padding")
    def record(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints | int = 1,
        padding: Ints | str | int = 0,
        dilation: Ints | int = 1,
        groups: int = 1,
    ) -> Tensor:
        made: Tensor = getattr(F, name)(input, weight, bias, _tuple(stride), _tuple(padding), _tuple(dilation), groups)
        return made


for _name in ("conv1d", "conv2d", "conv3d"):
    _convolves(_name)


@converts("aten::convolution")
def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    transposed: bool,
    output_padding: Ints,
    groups: int,
) -> Tensor:
    count = len(stride)
    if transposed:
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[count - 1]
        more = _tuple(output_padding)
        return function(input, weight, bias, _tuple(stride), _tuple(padding), more, groups, _tuple(dilation))
    plain = (F.conv1d, F.conv2d, F.conv3d)[count - 1]
    return plain(input, weight, bias, _tuple(stride), _tuple(padding), _tuple(dilation), groups)


@converts("aten::conv_tbc")
def _conv_tbc(self: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    made = F.conv1d(F.permute(self, (1, 2, 0)), F.permute(weight, (2, 1, 0)), bias, 1, pad)
    return F.permute(made, (2, 0, 1))


# --- norms ------------------------------------------------------------------------------------------------------------


@converts("aten::batch_norm")
def _batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@converts("aten::_native_batch_norm_legit_no_training")
def _batch_norm_inference(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
) -> list[Any]:
    missing = Missing("what a norm saves for its gradient is used", "use its first result alone")
    return [F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps), missing, missing]


@converts("aten::_native_batch_norm_legit.no_stats")
def _batch_norm_of_input(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float
) -> list[Any]:
    missing = Missing("what a norm saves for its gradient is used", "use its first result alone")
    return [F.batch_norm(input, None, None, weight, bias, True, momentum, eps), missing, missing]


@converts("aten::layer_norm")
def _layer_norm(
    input: Tensor,
    normalized_shape: Ints,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    return F.layer_norm(input, tuple(normalized_shape), weight, bias, eps)


@converts("aten::native_layer_norm")
def _native_layer_norm(
    input: Tensor, normalized_shape: Ints, weight: Tensor | None, bias: Tensor | None, eps: float
) -> list[Any]:
    missing = Missing("the mean of a layer norm is used", "compute it: x.mean(-1)")
    return [F.layer_norm(input, tuple(normalized_shape), weight, bias, eps), missing, missing]


@converts("aten::group_norm")
def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    return F.group_norm(input, num_groups, weight, bias, eps)


@converts("aten::native_group_norm")
def _native_group_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    N: SizeLike,
    C: SizeLike,
    HxW: SizeLike,
    group: int,
    eps: float,
) -> list[Any]:
    missing = Missing("the mean of a group norm is used", "compute it: x.mean(-1)")
    return [F.group_norm(input, group, weight, bias, eps), missing, missing]


@converts("aten::instance_norm")
def _instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@converts("aten::_fused_rms_norm")
def _fused_rms_norm(input: Tensor, normalized_shape: Ints, weight: Tensor | None, eps: float | None) -> list[Any]:
    missing = Missing("what a norm saves for its gradient is used", "use its first result alone")
    return [F.rms_norm(input, tuple(normalized_shape), weight, eps), missing]


@converts("aten::rms_norm")
def _rms_norm(input: Tensor, normalized_shape: Ints, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    return F.rms_norm(input, tuple(normalized_shape), weight, eps)


# --- pooling ----------------------------------------------------------------------------------------------------------


def _pooled(kind: str) -> None:
    """Max and average pooling, whose arguments are lists in torch's operators."""
    for count in (1, 2, 3):
        function = getattr(F, f"{kind}_pool{count}d")

        @converts(f"aten::{kind}_pool{count}d")
        def pool(self: Tensor, kernel_size: Ints, stride: Ints = (), *options: Any, function: Any = function) -> Tensor:
            made: Tensor = function(self, tuple(kernel_size), _tuple(stride) or None, *map(_tuple, options))
            return made

        if kind == "max":

            @converts(f"aten::max_pool{count}d_with_indices")
            def both(self: Tensor, kernel_size: Ints, stride: Ints = (), *options: Any, pool: Any = pool) -> list[Any]:
                return [pool(self, kernel_size, stride, *options), INDICES]

        adaptive = getattr(F, f"adaptive_{kind}_pool{count}d")

        @converts(f"aten::adaptive_{kind}_pool{count}d", f"aten::_adaptive_{kind}_pool{count}d")
        def adapted(self: Tensor, output_size: Ints, adaptive: Any = adaptive, kind: str = kind) -> Any:
            made = adaptive(self, tuple(output_size))
            return [made, INDICES] if kind == "max" else made


_pooled("max")
_pooled("avg")


# --- resizing ---------------------------------------------------------------------------------------------------------


def _resized(name: str, mode: str, has_corners: bool, antialias: bool = False) -> None:
    def by_sizes(input: Tensor, output_size: Ints | None, *rest: Any) -> Tensor:
        """`.vec`: sizes, or factors."""
        corners = bool(rest[0]) if has_corners else None
        factors = rest[-1]
        if output_size is not None:
            return F.interpolate(input, tuple(output_size), None, mode, corners, None, antialias)
        return F.interpolate(input, None, tuple(factors), mode, corners, None, antialias)

    def by_scales(self: Tensor, output_size: Sequence[SizeLike], *rest: Any) -> Tensor:
        """`.default`: sizes, and the factors that they were made by, if so."""
        corners = bool(rest[0]) if has_corners else None
        factors = rest[1:] if has_corners else rest
        if factors and all(isinstance(factor, float) for factor in factors):
            return F.interpolate(self, None, tuple(factors), mode, corners, None, antialias)
        return F.interpolate(self, tuple(output_size), None, mode, corners, None, antialias)

    converts(f"aten::{name}.vec")(by_sizes)
    converts(f"aten::{name}.default")(by_scales)


for _count, _linear in ((1, "linear"), (2, "bilinear"), (3, "trilinear")):
    _resized(f"upsample_nearest{_count}d", "nearest", False)
    _resized(f"_upsample_nearest_exact{_count}d", "nearest-exact", False)
    _resized(f"upsample_{_linear}{_count}d", _linear, True)
_resized("upsample_bicubic2d", "bicubic", True)
_resized("_upsample_bilinear2d_aa", "bilinear", True, True)
_resized("_upsample_bicubic2d_aa", "bicubic", True, True)


@converts("aten::grid_sampler", "aten::grid_sampler_2d", "aten::grid_sampler_3d")
def _grid_sample(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    mode = ("bilinear", "nearest", "bicubic")[interpolation_mode]
    return F.grid_sample(input, grid, mode, ("zeros", "border", "reflection")[padding_mode], align_corners)


@converts("aten::affine_grid_generator")
def _affine_grid(theta: Tensor, size: Sequence[SizeLike], align_corners: bool) -> Tensor:
    return F.affine_grid(theta, tuple(size), align_corners)


@converts("aten::im2col")
def _im2col(self: Tensor, kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Tensor:
    return F.unfold(self, tuple(kernel_size), tuple(dilation), tuple(padding), tuple(stride))


@converts("aten::col2im")
def _col2im(
    self: Tensor, output_size: Sequence[SizeLike], kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints
) -> Tensor:
    sizes = tuple(kernel_size), tuple(dilation), tuple(padding), tuple(stride)
    return F.fold(self, tuple(output_size), *sizes)


# --- attention and recurrence -----------------------------------------------------------------------------------------


@converts("aten::lstm.input")
def _lstm(input: Tensor, hx: Sequence[Tensor], params: Sequence[Tensor], *options: Any) -> list[Tensor]:
    return list(F.lstm(input, tuple(hx), params, *options))


@converts("aten::lstm_cell")
def _lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> list[Tensor]:
    return list(F.lstm_cell(input, tuple(hx), w_ih, w_hh, b_ih, b_hh))
