"""Images of other sizes. Names, signatures and defaults as torch's.

torch's modes and TensorRT's settings (ATen's UpSample.h; documentation of IResizeLayer):

    nearest                    NEAREST, ASYMMETRIC, rounding FLOOR
    nearest-exact              NEAREST, HALF_PIXEL, rounding HALF_UP
    linear, bilinear, trilinear  LINEAR, HALF_PIXEL, or ALIGN_CORNERS with selector UPPER
    bicubic                    CUBIC with coefficient -0.75, HALF_PIXEL or ALIGN_CORNERS

TensorRT finds the distance of two samples from the sizes. Where torch's differs (a scale_factor that is not exactly
output size / input size), and for "area" and antialiasing, which TensorRT has not, the elements that each output is
made of are gathered, weighed and summed, which needs fixed sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, divide_exactly, format_shape, maximum, minimum, product
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from ..layers.base import require_floating
from ..layers.constant import constant
from ..layers.gather import Gather
from ..layers.matrix import MatrixMultiply
from ..layers.reduction import Reduce
from ..layers.resize import GridSample, Resize, taps
from ..layers.shaping import Shuffle, reshaped
from .arithmetic import in_float32, in_type, mul
from .concrete import floats
from .creation import arange, full
from .dispatch import operation, size_tensor, tensor
from .joining import meshgrid, stack
from .shape import size_of, sizes_of, transposed

__all__ = [
    "affine_grid",
    "channel_shuffle",
    "grid_sample",
    "interpolate",
    "pixel_shuffle",
    "pixel_unshuffle",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]

_MODES = {
    "nearest": ("NEAREST", (1, 2, 3)), "nearest-exact": ("NEAREST", (1, 2, 3)), "linear": ("LINEAR", (1,)),
    "bilinear": ("LINEAR", (2,)), "trilinear": ("LINEAR", (3,)), "bicubic": ("CUBIC", (2,)),
    "area": ("AREA", (1, 2, 3)),
}  # fmt: skip


X = TypeVar("X", Tensor, np.ndarray)


class _Plan:
    """What interpolate's arguments mean: TensorRT's mode and coordinates, output sizes, torch's sampling distances."""

    def __init__(
        self,
        shape: tuple[SizeLike, ...],
        size: SizeLike | Sequence[SizeLike] | None,
        scale_factor: float | Sequence[float] | None,
        mode: str,
        align_corners: bool | None,
        recompute_scale_factor: bool | None,
        antialias: bool,
    ) -> None:
        self.mode = _checked_mode(shape, size, scale_factor, mode, align_corners, antialias)
        self.antialias = antialias
        self.rounding = "HALF_UP" if mode == "nearest-exact" else "FLOOR"
        self.coordinates = "ASYMMETRIC" if mode == "nearest" else "ALIGN_CORNERS" if align_corners else "HALF_PIXEL"
        self.exact = True
        self.scales: tuple[float, ...] | None = None
        self.before: tuple[SizeLike, ...] = tuple(shape[2:])
        self.steps: list[float | None] = [None] * len(self.before)
        if size is None:
            numbers = [float(factor) for factor in self._for_each(scale_factor, "scale_factor")]
            self.after = tuple(_scaled(s, f) for s, f in zip(self.before, numbers))
            self._sample_by(numbers, mode, keeps_steps=not recompute_scale_factor and mode != "area")
        elif recompute_scale_factor:
            raise ArgumentError("recompute_scale_factor goes with scale_factor", found="size")
        else:
            self.after = sizes_of(tuple(self._for_each(size, "size")))
        for s in self.after:
            if isinstance(s, int) and s < 1:
                raise ShapeError("interpolate gives nothing", found=format_shape(self.after))
        self.same = self.after == self.before and (self.exact or antialias)  # torch copies then

    def _for_each(self, given: Any, name: str) -> list[Any]:
        """What was given for all dimensions at once, or for each."""
        spatial = len(self.before)
        values = list(given) if isinstance(given, (tuple, list)) else [given] * spatial
        if len(values) != spatial:
            raise ShapeError(f"{name} takes {spatial} numbers", found=format_shape(values))
        return values

    def _sample_by(self, factors: list[float], mode: str, keeps_steps: bool) -> None:
        """torch's sampling distances by scale factors, and whether TensorRT's, by the sizes or by `scales`, are these.

        ATen copies an axis of unchanged size in the linear modes, and in "nearest" of images, where it also repeats the
        elements of one that doubles (UpSampleKernel.cpp: nearest_idx).
        """
        fractions = [Fraction(factor) for factor in factors]
        if keeps_steps and self.coordinates != "ALIGN_CORNERS":
            linear = self.mode == "LINEAR" and not self.antialias
            image = mode == "nearest" and len(factors) == 2
            self.steps = [
                None if ((linear or image) and s == a) or (image and a == 2 * s) else 1 / f
                for s, a, f in zip(self.before, self.after, factors)
            ]
            self.exact = all(
                step is None or s * f.numerator == a * f.denominator
                for step, s, a, f in zip(self.steps, self.before, self.after, fractions)
            )
        if (
            self.exact
            and all(_is_binary(f) for f in factors)
            and all(divide_exactly(s * f.numerator, f.denominator) is not None for s, f in zip(self.before, fractions))
        ):
            self.scales = (1.0, 1.0, *factors)


def _checked_mode(
    shape: tuple[SizeLike, ...],
    size: SizeLike | Sequence[SizeLike] | None,
    scale_factor: float | Sequence[float] | None,
    mode: str,
    align_corners: bool | None,
    antialias: bool,
) -> str:
    """TensorRT's mode. Raises ArgumentError or ShapeError for arguments that do not go together."""
    if mode not in _MODES:
        raise ArgumentError("there is no such interpolation", expected=", ".join(_MODES), found=repr(mode))
    found, ranks = _MODES[mode]
    if len(shape) - 2 not in ranks:
        raise ShapeError(
            f'mode "{mode}" does not fit a tensor of {len(shape)} dimensions',
            expected=" or ".join(f"{r + 2} dimensions" for r in ranks),
            found=format_shape(shape),
        )
    if align_corners is not None and found in ("NEAREST", "AREA"):
        raise ArgumentError("align_corners goes with linear, bilinear, trilinear and bicubic", found=f'mode="{mode}"')
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError("antialias goes with bilinear and bicubic", found=f'mode="{mode}"')
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            "interpolate takes either size or scale_factor", found=f"size={size}, scale_factor={scale_factor}"
        )
    return found


def _is_binary(factor: float) -> bool:
    """Whether float32 holds the factor and its products with sizes."""
    return Fraction(factor).denominator <= 256 and Fraction(factor).numerator < 65536


def _scaled(size: SizeLike, factor: float) -> SizeLike:
    if isinstance(size, int):
        return math.floor(float(size) * factor)
    fraction = Fraction(factor)
    if fraction.denominator > 4096:
        raise UnsupportedError(
            "this scale_factor has no exact size over a dynamic dimension",
            expected="a factor such as 2, 0.5 or 1.25",
            found=f"{factor} of {size}",
            remedy="give size=(…) made of Dims: size=(h * 3 // 10, w * 3 // 10)",
        )
    return size * fraction.numerator // fraction.denominator


def _parts(size: int, target: int, plan: _Plan, step: float | None) -> tuple[np.ndarray, np.ndarray]:
    """(target, k) each: the input elements that each output element is made of, and their weights, as in ATen.

    Nothing else has a part in it, so that a NaN or an infinity reaches what it reaches in torch.
    """
    if plan.mode == "AREA":
        windows = [(i * size // target, -(-(i + 1) * size // target)) for i in range(target)]
        return _alike([(first, np.full(last - first, 1 / (last - first))) for first, last in windows])
    if plan.antialias:
        return _antialiased(size, target, plan, step)
    return taps(size, target, plan.mode, plan.coordinates, plan.rounding, scale=step)


def _alike(windows: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Windows (first element, weights) of several lengths as those of one: shorter ones take their last element
    several times, each time with a part of its weight."""
    length = max(len(weight) for _, weight in windows)
    index = np.zeros((len(windows), length), np.int64)
    weights = np.zeros((len(windows), length))
    for i, (first, weight) in enumerate(windows):
        count = len(weight)
        index[i] = first + np.minimum(np.arange(length), count - 1)
        weights[i, : count - 1] = weight[:-1]
        weights[i, count - 1 :] = weight[-1] / (length - count + 1)
    return index, weights


def _antialiased(size: int, target: int, plan: _Plan, step: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The filter is as wide as the distance of two samples (ATen's UpSampleKernel.cpp, after Pillow's)."""
    scale = size / target if step is None else step
    if plan.coordinates == "ALIGN_CORNERS":
        scale = (size - 1) / (target - 1) if target > 1 else 0.0
    width = 2 if plan.mode == "LINEAR" else 4
    support = width / 2 * max(scale, 1.0)
    inverse = 1 / scale if scale >= 1 else 1.0
    windows = []
    for i in range(target):
        center = scale * (i + 0.5)
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), size)
        distance = np.abs((np.arange(first, last) - center + 0.5) * inverse)
        if plan.mode == "LINEAR":
            weight = np.clip(1 - distance, 0, None)
        else:
            a = -0.5
            near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
            far = (((distance - 5) * distance + 8) * distance - 4) * a
            weight = np.where(distance < 1, near, np.where(distance < 2, far, 0))
        windows.append((first, weight / weight.sum()))
    return _alike(windows)


def _nearest(size: int, target: int, plan: _Plan, step: float | None) -> np.ndarray:
    """Indices in float32 arithmetic, as ATen's."""
    distance = np.float32(size) / np.float32(target) if step is None else np.float32(step)
    at = np.arange(target, dtype=np.float32)
    source = np.floor((at + np.float32(0.5)) * distance) if plan.rounding == "HALF_UP" else np.floor(at * distance)
    return np.clip(source, 0, size - 1).astype(np.int64)


def _interpolate_numpy(
    input: np.ndarray,
    size: SizeLike | Sequence[SizeLike] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> np.ndarray | Tensor:
    plan = _Plan(input.shape, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    if any(isinstance(s, Dim) for s in plan.after):
        return interpolate(constant(input), size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    result = input
    before: Any
    after: Any
    for axis, (before, after, step) in enumerate(zip(plan.before, plan.after, plan.steps), 2):
        if plan.mode == "NEAREST":
            result = np.take(result, _nearest(before, after, plan, step), axis)
        else:
            values = floats(result)[0].astype(np.float64)
            index, weight = _parts(before, after, plan, step)
            with np.errstate(invalid="ignore"):
                parts = np.take(values, index, axis) * weight.reshape(*weight.shape, *(1,) * (values.ndim - axis - 1))
                result = parts.sum(axis + 1)
    return result.astype(input.dtype)


@operation(_interpolate_numpy)
def interpolate(
    input: Tensor,
    size: SizeLike | Sequence[SizeLike] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """(N, C, *spatial) with other spatial sizes: `size`, or the present ones times `scale_factor`, rounded down.

    Sizes may be Dims. Raises UnsupportedError where the sizes are dynamic and TensorRT's resize layer does not sample
    as torch does (the module's docstring says when).

    Layers of the example: `resize`.

    >>> trtnet.interpolate(trtnet.tensor([[[1.0, 2.0]]]), scale_factor=2).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    x = tensor(input)
    require_floating("interpolate", x)
    plan = _Plan(x.shape, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    if plan.same:
        return x
    if not plan.exact or plan.mode == "AREA" or plan.antialias:
        return _by_constants(x, plan, mode)
    settings: dict[str, Any] = {
        "resize_mode": plan.mode,
        "coordinate_transformation": plan.coordinates,
        "nearest_rounding": plan.rounding,
    }
    if plan.coordinates == "ALIGN_CORNERS":
        settings["selector_for_single_pixel"] = "UPPER"  # the formula would divide by zero
    if plan.scales is not None:
        return emit(Resize((x,), scales=plan.scales, **settings))
    return emit(Resize((x,), shape=Size((*x.shape[:2], *plan.after)), **settings))


def _by_constants(x: Tensor, plan: _Plan, mode: str) -> Tensor:
    for axis, (before, after, step) in enumerate(zip(plan.before, plan.after, plan.steps), 2):
        if not isinstance(before, int) or not isinstance(after, int):
            raise UnsupportedError(
                f'"{mode}" over the dynamic size {before} cannot be left to TensorRT\'s resize layer'
                + (
                    ""
                    if plan.exact
                    else ": it takes the distance of two samples from the sizes, torch from scale_factor"
                ),
                found=f"{before} to {after}",
                remedy="recompute_scale_factor=True or size=(…), a Dim(..., multiple_of=…) that makes the sizes exact, "
                "or fixed sizes",
            )
        if plan.mode == "NEAREST":
            x = emit(Gather((x, constant(_nearest(before, after, plan, step))), axis=axis))
            continue
        index, weight = _parts(before, after, plan, step)
        behind = (1,) * (x.ndim - axis - 1)
        factors = Array(weight.reshape(*weight.shape, *behind).astype(np.float32))
        (parts,) = in_float32(emit(Gather((x, constant(index)), axis=axis)))
        x = in_type(emit(Reduce((mul(parts, factors),), "SUM", (axis + 1,), False)), x.dtype)
    return x


def upsample(
    input: Tensor,
    size: SizeLike | Sequence[SizeLike] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """As `interpolate`.

    Layers of the example: `resize`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.upsample(x, scale_factor=2), x=trtnet.Input((1, 3, 4, 4)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor,
    size: SizeLike | Sequence[SizeLike] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """As `interpolate` with mode "nearest".

    Layers of the example: `resize`.

    >>> function = lambda x: trtnet.functional.upsample_nearest(x, scale_factor=2)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 4, 4)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(
    input: Tensor,
    size: SizeLike | Sequence[SizeLike] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """As `interpolate` with mode "bilinear" and aligned corners.

    Layers of the example: `resize`.

    >>> function = lambda x: trtnet.functional.upsample_bilinear(x, scale_factor=2)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 4, 4)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 8, 8])
    """
    return interpolate(input, size, scale_factor, "bilinear", True)


# --- channels and pixels ----------------------------------------------------------------------------------------------


def _divided(size: SizeLike, by: int, what: str) -> SizeLike:
    if isinstance(size, int) and size % by:
        raise ShapeError(f"{what} must be divisible by {by}", expected=f"a multiple of {by}", found=size)
    return size // by


def _rearranged(x: X, first: tuple[Any, ...], order: tuple[int, ...], last: tuple[Any, ...]) -> X:
    """Reshape, transpose, reshape: of a recorded tensor in two layers, of an array now."""
    if isinstance(x, np.ndarray):
        return x.reshape(first).transpose(order).reshape(last)
    return reshaped(emit(Shuffle((x,), reshape_dims=Size(first), second_transpose=order)), last)


def _image(name: str, shape: tuple[SizeLike, ...]) -> tuple[Any, ...]:
    if len(shape) < 3:
        raise ShapeError(f"{name} takes (…, C, H, W)", expected="3 dimensions or more", found=format_shape(shape))
    return Size(shape[:-3]).numel(), *shape[-3:]


def _pixel_shuffled(x: X, upscale_factor: int) -> X:
    r = size_of(upscale_factor)
    n, c, h, w = _image("pixel_shuffle", x.shape)
    out = _divided(c, r * r, "pixel_shuffle: the number of channels")  # type: ignore[arg-type]
    return _rearranged(x, (n, out, r, r, h, w), (0, 1, 4, 2, 5, 3), (*x.shape[:-3], out, h * r, w * r))


@operation(_pixel_shuffled)
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(…, C·r², H, W) to (…, C, H·r, W·r).

    Layers of the example: `shuffle`.

    >>> trtnet.pixel_shuffle(trtnet.tensor([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]), 2).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """
    return _pixel_shuffled(tensor(input), upscale_factor)


def _pixel_unshuffled(x: X, downscale_factor: int) -> X:
    r = size_of(downscale_factor)
    n, c, h, w = _image("pixel_unshuffle", x.shape)
    height, width = (_divided(s, r, "pixel_unshuffle: height and width") for s in (h, w))  # type: ignore[arg-type]
    return _rearranged(x, (n, c, height, r, width, r), (0, 1, 3, 5, 2, 4), (*x.shape[:-3], c * r * r, height, width))


@operation(_pixel_unshuffled)
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(…, C, H·r, W·r) to (…, C·r², H, W).

    Layers of the example: `shuffle`.

    >>> trtnet.pixel_unshuffle(trtnet.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 2).tolist()
    [[[1.0]], [[2.0]], [[3.0]], [[4.0]]]
    """
    return _pixel_unshuffled(tensor(input), downscale_factor)


def _channel_shuffled(x: X, groups: int) -> X:
    if len(x.shape) < 3:
        raise ShapeError(
            "channel_shuffle takes (N, C, …)", expected="3 dimensions or more", found=format_shape(x.shape)
        )
    n, c = x.shape[:2]
    each = _divided(c, groups, "channel_shuffle: the number of channels")
    return _rearranged(x, (n, groups, each, Size(x.shape[2:]).numel()), (0, 2, 1, 3), tuple(x.shape))


@operation(_channel_shuffled)
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, C, …) with the channels of the groups interleaved.

    Layers of the example: `shuffle`.

    >>> trtnet.channel_shuffle(trtnet.tensor([[[1.0], [2.0], [3.0], [4.0]]]), 2).tolist()
    [[[1.0], [3.0], [2.0], [4.0]]]
    """
    return _channel_shuffled(tensor(input), groups)


# --- grids ------------------------------------------------------------------------------------------------------------

_GRID = {"bilinear": "LINEAR", "nearest": "NEAREST", "bicubic": "CUBIC"}
_OUTSIDE = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}


@operation()
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """(N, C, H, W) at the positions (x, y) of a grid (N, H', W', 2), from -1 to 1; or the same with depth.

    Layers of the example: `grid_sample`.

    >>> function = lambda x, grid: trtnet.functional.grid_sample(x, grid)
    >>> graph = trtnet.record(function, x=trtnet.Input((1, 3, 8, 8)), grid=trtnet.Input((1, 4, 5, 2)))
    >>> graph.outputs["output"].shape
    Size([1, 3, 4, 5])
    """
    if mode not in _GRID or padding_mode not in _OUTSIDE:
        raise ArgumentError(
            "grid_sample: there is no such mode",
            expected=f"{', '.join(_GRID)}; {', '.join(_OUTSIDE)}",
            found=f"{mode}, {padding_mode}",
        )
    return emit(GridSample((tensor(input), tensor(grid)), _GRID[mode], bool(align_corners), _OUTSIDE[padding_mode]))


@operation()
def affine_grid(theta: Tensor, size: Sequence[SizeLike], align_corners: bool | None = None) -> Tensor:
    """The grid (N, H, W, 2) of the affine maps theta (N, 2, 3), for an output of size (N, C, H, W); in 3-D likewise.

    Layers of the example: `constant`, `shuffle`, `matrix_multiply`.

    >>> function = lambda theta: trtnet.functional.affine_grid(theta, (1, 3, 4, 5))
    >>> graph = trtnet.record(function, theta=trtnet.Input((1, 2, 3)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 5, 2])
    """
    x, sizes = tensor(theta), sizes_of((tuple(size),))
    spatial = sizes[2:]
    if x.ndim != 3 or len(spatial) not in (2, 3) or tuple(x.shape[1:]) != (len(spatial), len(spatial) + 1):
        raise ShapeError(
            "affine_grid takes theta (N, 2, 3) and a size (N, C, H, W), or (N, 3, 4) and (N, C, D, H, W)",
            found=f"theta {format_shape(x.shape)}, size {format_shape(sizes)}",
        )
    lines = [_line(s, bool(align_corners), x.dtype) for s in spatial]
    points = list(reversed(meshgrid(*lines, indexing="ij")))
    points.append(full(spatial, 1.0, dtype=x.dtype))
    base = tensor(stack(points, -1).reshape(1, product(spatial), len(spatial) + 1))
    made = emit(MatrixMultiply((base, transposed(x, (0, 2, 1)))))
    return reshaped(made, (x.shape[0], *spatial, len(spatial)))


def _line(size: SizeLike, align_corners: bool, dtype: Dtype) -> Tensor:
    """The coordinates of the centres of `size` pixels from -1 to 1, or from corner to corner."""
    if isinstance(size, int):
        places = np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
        return Array((places if align_corners else places * (size - 1) / size).astype(dtype.numpy))
    at = arange(size).to(dtypes.float32) * 2.0
    if align_corners:
        several, steps = minimum(size - 1, 1), maximum(size - 1, 1)  # of one pixel the middle, as torch
        line = at / size_tensor(steps, dtypes.float32) - size_tensor(several, dtypes.float32)
    else:
        line = (at + 1.0) / size_tensor(size, dtypes.float32) - 1.0
    return line.to(dtype)
