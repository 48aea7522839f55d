"""Layers that sample their input between its elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ProviderError, ShapeError
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output, require_computed, require_equal, require_floating
from .bounds import UNKNOWN, Bounds
from .sizes import SHOWN, check_numbers, chosen_sizes, computed, decide, shape_tensor, taken
from .targets import ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch

# (mode, coordinates, rounding) that torch.nn.functional.interpolate computes: its mode, and whether corners are aligned
_TORCH = {
    ("NEAREST", "ASYMMETRIC", "FLOOR"): ("nearest", None),
    ("NEAREST", "HALF_PIXEL", "HALF_UP"): ("nearest-exact", None),
    ("LINEAR", "HALF_PIXEL"): ("linear", False),
    ("LINEAR", "ALIGN_CORNERS"): ("linear", True),
    ("CUBIC", "HALF_PIXEL"): ("bicubic", False),
    ("CUBIC", "ALIGN_CORNERS"): ("bicubic", True),
}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(slots=True, eq=False, repr=False)
class Resize(Layer):
    """`add_resize`: (N, C, *spatial) with other spatial sizes, given as the output's `shape` or as `scales`.

    Output element i is taken at, of n input and m output elements, i*n/m (ASYMMETRIC), (i + 0.5)*n/m - 0.5
    (HALF_PIXEL) or i*(n - 1)/(m - 1) (ALIGN_CORNERS): `tensorrt.ResizeCoordinateTransformation`. NEAREST rounds that
    as `nearest_rounding` says; LINEAR takes 2 elements along each dimension; CUBIC 4, in two dimensions.

    Input 1 holds the sizes where the network computes them: whole numbers, one for each dimension. Those that it
    decides are None in `shape`, and a Dim is made for each; the first two are the input's. TensorRT takes them to the
    host when it runs. It takes no scales that are computed.
    """

    shape: tuple[SizeLike, ...] | None = None
    scales: tuple[float, ...] | None = None
    resize_mode: str = "NEAREST"
    coordinate_transformation: str = "ASYMMETRIC"
    nearest_rounding: str = "FLOOR"
    selector_for_single_pixel: str = "FORMULA"
    exclude_outside: bool = False
    cubic_coeff: float = -0.75
    decided: tuple[Dim, ...] = ()

    kind: ClassVar[str] = "resize"
    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 1, 2)
    chooses: ClassVar[tuple[str, ...]] = ("decided",)
    later: ClassVar[tuple[str, ...]] = ("decided",)
    open_sizes: ClassVar[str] = "shape"
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "resize_mode": ("NEAREST", "LINEAR", "CUBIC"),
        "coordinate_transformation": ("ASYMMETRIC", "HALF_PIXEL", "ALIGN_CORNERS"),
        "nearest_rounding": ("FLOOR", "CEIL", "HALF_UP", "HALF_DOWN"),
        "selector_for_single_pixel": ("FORMULA", "UPPER"),
    }

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        x = operands[0] if operands else None
        if isinstance(x, Tensor) and len(operands) > 1 and "shape" not in given:
            given = {"shape": (*x.shape[:2], *(None,) * (len(x.shape) - 2))}
        return chosen_sizes(cls.kind, operands, 1, given, "shape")

    @property
    def decides(self) -> tuple[Dim, ...]:
        return self.decided

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        check_numbers("resize", "the sizes", self.operand(1), len(x.shape), len(self.decided))
        require_floating("a resize layer", x)
        if (self.shape is None) == (self.scales is None):
            raise ArgumentError("a resize layer takes a shape or scales", found=self.describe())
        if self.shape is not None:
            shape = Size(self.shape)
        else:
            assert self.scales is not None
            fractions = [Fraction(s) for s in self.scales]
            shape = Size(size * f.numerator // f.denominator for size, f in zip(x.shape, fractions))
        if len(shape) != len(x.shape) or shape[:2] != x.shape[:2]:
            raise ShapeError(
                "a resize layer keeps the first two dimensions",
                expected=format_shape(x.shape[:2]),
                found=format_shape(shape),
            )
        return ((shape, x.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position != 1 or not self.decided or self.shape is None:
            return None if position == 1 or wanted is None else UNKNOWN
        return taken(self.shape, self.decided, self.inputs[1], [SHOWN] * len(self.shape))

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        held = source.operand(native, 1) if native.num_inputs > 1 else None
        names = [name for name in cls.attributes if name not in ("shape", "scales", "decided")]
        given = cls.read_attributes(native, source, *names)
        given["scales"] = source.attribute(native, "scales", "tuple[float, ...]") or None
        if held is not None:
            given["shape"] = source.numbers(held, "the shape of a resize layer")
        else:
            given["shape"] = None if given["scales"] else source.attribute(native, "shape", "tuple[int, ...]")
        return cls((source.operand(native, 0),), **given)

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_resize(lowering[self.inputs[0]])
        if layer is None:
            return None
        modes = "InterpolationMode" if lowering.provider.has("InterpolationMode", "LINEAR") else "ResizeMode"
        layer.resize_mode = lowering.enum(modes, self.resize_mode)
        if self.scales is not None:
            layer.scales = list(self.scales)
        elif lowering.is_static(self.shape or ()):
            layer.shape = self.shape
        else:
            layer.set_input(1, shape_tensor(lowering, self.shape or (), self.decided, self.operand(1)))
            decide(lowering, self.outputs[0].shape, self.decided, layer.get_output(0))
        layer.coordinate_transformation = lowering.enum(
            "ResizeCoordinateTransformation", self.coordinate_transformation
        )
        layer.selector_for_single_pixel = lowering.enum("ResizeSelector", self.selector_for_single_pixel)
        layer.nearest_rounding = lowering.enum("ResizeRoundMode", self.nearest_rounding)
        if self.resize_mode == "CUBIC":
            layer.exclude_outside = int(self.exclude_outside)
            layer.cubic_coeff = self.cubic_coeff
        return layer

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, held = inputs[0], inputs[1] if len(inputs) > 1 else None
        size = computed(run, "resize", self.outputs[0].shape, self.decided, held)[2:]
        key: tuple[str, ...] = (self.resize_mode, self.coordinate_transformation)
        if self.resize_mode == "NEAREST":
            key = (*key, self.nearest_rounding)
        known = _TORCH.get(key)
        if known is not None and self.cubic_coeff == -0.75 and not self.exclude_outside and x.ndim <= 5:
            mode, align = known
            if mode == "linear":
                mode = _LINEAR[x.ndim - 2]
            return run.torch.nn.functional.interpolate(x, size, mode=mode, align_corners=align)
        for axis, target in enumerate(size, 2):
            if target != x.shape[axis]:
                index, weight = taps(
                    x.shape[axis],
                    target,
                    self.resize_mode,
                    self.coordinate_transformation,
                    self.nearest_rounding,
                    coefficient=self.cubic_coeff,
                    exclude_outside=self.exclude_outside,
                )
                parts = []
                for i, w in zip(index.T, weight.T):
                    factor = run.torch.as_tensor(
                        w.reshape(-1, *(1,) * (x.ndim - axis - 1)), dtype=x.dtype, device=x.device
                    )
                    parts.append(x.index_select(axis, run.torch.as_tensor(i, device=x.device)) * factor)
                x = sum(parts)
        return x


def taps(
    size: int,
    target: int,
    mode: str,
    coordinates: str,
    rounding: str = "FLOOR",
    *,
    scale: float | None = None,
    coefficient: float = -0.75,
    exclude_outside: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """For each of `target` elements the input elements that it is made of, and their weights: (target, k) each.

    `scale` is the distance of two output elements in input elements, n/m where it is left out. The formulas are
    those of ATen's UpSample.h, which TensorRT's documentation of IResizeLayer agrees with.
    """
    at = np.arange(target, dtype=np.float64)
    step = size / target if scale is None else scale
    if coordinates == "ALIGN_CORNERS":
        source = at * ((size - 1) / (target - 1) if target > 1 else 0.0)
    elif coordinates == "HALF_PIXEL":
        source = (at + 0.5) * step - 0.5
    else:
        source = at * step
    if mode == "NEAREST":
        rounded = {
            "FLOOR": np.floor(source),
            "CEIL": np.ceil(source),
            "HALF_UP": np.floor(source + 0.5),
            "HALF_DOWN": np.ceil(source - 0.5),
        }[rounding]
        return np.clip(rounded, 0, size - 1).astype(np.int64)[:, None], np.ones((target, 1))
    if mode == "LINEAR":
        source = np.clip(source, 0, None)
        low = np.clip(np.floor(source), 0, size - 1)
        part = np.clip(source - low, 0, 1)
        return (np.stack([low, np.minimum(low + 1, size - 1)], 1).astype(np.int64), np.stack([1 - part, part], 1))
    low = np.floor(source)
    part = (source - low)[:, None]
    distance = np.abs(np.concatenate([part + 1, part, 1 - part, 2 - part], 1))
    a = coefficient
    weight = np.where(
        distance <= 1,
        ((a + 2) * distance - (a + 3)) * distance**2 + 1,
        ((distance - 5) * distance + 8) * distance * a - 4 * a,
    )
    index = low[:, None] + np.arange(-1, 3)
    if exclude_outside:
        weight = np.where((index < 0) | (index >= size), 0, weight)
        weight /= weight.sum(1, keepdims=True)
    return np.clip(index, 0, size - 1).astype(np.int64), weight


_SAMPLE_MODES = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
_GRID_MODES = {"LINEAR": "bilinear", "NEAREST": "nearest", "CUBIC": "bicubic"}


@dataclass(slots=True, eq=False, repr=False)
class GridSample(Layer):
    """`add_grid_sample`: (N, C, *spatial) at the positions of a grid (N, *output, number of dimensions), from -1 to 1.

    Outside the input: zeros (FILL), the edge (CLAMP) or the mirror image (REFLECT).
    """

    interpolation_mode: str = "LINEAR"
    align_corners: bool = False
    sample_mode: str = "FILL"

    kind: ClassVar[str] = "grid_sample"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "interpolation_mode": tuple(_GRID_MODES),
        "sample_mode": tuple(_SAMPLE_MODES),
    }

    def infer(self) -> tuple[Output, ...]:
        x, grid = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(grid, Tensor)
        rank, found = len(x.shape), f"{format_shape(x.shape)} and {format_shape(grid.shape)}"
        if rank not in (4, 5) or len(grid.shape) != rank or grid.shape[-1] != rank - 2:
            raise ShapeError(
                "grid_sample takes (N, C, H, W) and a grid (N, H, W, 2), or both with a depth and 3",
                expected="an input of 4 or 5 dimensions and a grid of as many",
                found=found,
            )
        require_computed("grid_sample", x)
        if not x.dtype.is_floating_point or x.dtype is not grid.dtype:
            raise DtypeError(
                "grid_sample takes an input and a grid of one floating-point dtype", found=f"{x.dtype}, {grid.dtype}"
            )
        if self.interpolation_mode == "CUBIC" and rank != 4:
            raise ShapeError("cubic sampling takes 4 dimensions", found=found)
        require_equal(x.shape[0], grid.shape[0], f"grid_sample: batch sizes differ: {found}")
        return ((Size((*x.shape[:2], *grid.shape[1:-1])), x.dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        x, grid = self.inputs
        assert isinstance(x, Tensor)
        if len(x.shape) == 5 and not lowering.provider.samples_volumes:
            raise ProviderError(
                f"{lowering.provider} samples images, not volumes",
                expected="an input of 4 dimensions",
                found=format_shape(x.shape),
                remedy="sample slices of 4 dimensions, or build with TensorRT 11.3 or TensorRT-RTX",
            )
        layer = lowering.network.add_grid_sample(lowering[x], lowering[grid])
        if layer is not None:
            layer.interpolation_mode = lowering.enum("InterpolationMode", self.interpolation_mode)
            layer.align_corners = self.align_corners
            layer.sample_mode = lowering.enum("SampleMode", self.sample_mode)
        return layer

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.nn.functional.grid_sample(
            *inputs,
            mode=_GRID_MODES[self.interpolation_mode],
            padding_mode=_SAMPLE_MODES[self.sample_mode],
            align_corners=self.align_corners,
        )
