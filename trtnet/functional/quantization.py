"""Tensors rounded to a grid of few numbers. Names, signatures and defaults as torch's.

In a network they are TensorRT's quantize and dequantize layers, which TensorRT builds together with the convolutions
and matrix products between them into kernels that compute with few bits. It knows no zero points: what is rounded is
x / scale, as whole numbers from -128 to 127.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..basics import dtypes
from ..basics.arrays import is_torch
from ..basics.dims import SizeLike
from ..basics.dtypes import DtypeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, shown
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from ..layers.casting import converted
from ..layers.constant import Constant, constant
from ..layers.quantization import QUANTIZED, SCALES, Dequantize, Quantize
from ..layers.shaping import reshaped
from ..weights.recipes import Literal
from .arithmetic import maximum, minimum, mul
from .dispatch import axis_of, operation, tensor

if TYPE_CHECKING:
    import torch

__all__ = [
    "dequantize", "fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine", "quantize_per_channel",
    "quantize_per_tensor",
]  # fmt: skip

Number: TypeAlias = "Tensor | float | np.ndarray"
Whole: TypeAlias = "Tensor | int | Sequence[int] | np.ndarray"


def _fake_numpy(input: np.ndarray, scale: Number, zero_point: Whole, quant_min: int, quant_max: int) -> np.ndarray:
    name = "fake_quantize_per_tensor_affine"
    return _fake_computed(name, input, scale, zero_point, quant_min, quant_max, None)


def _fake_channels_numpy(
    input: np.ndarray, scale: Number, zero_point: Whole, axis: int, quant_min: int, quant_max: int
) -> np.ndarray:
    axis = axis_of(axis, np.ndim(input), "axis")
    return _fake_computed("fake_quantize_per_channel_affine", input, scale, zero_point, quant_min, quant_max, axis)


def _fake_computed(
    name: str, input: np.ndarray, scale: Number, zero_point: Whole, quant_min: int, quant_max: int, axis: int | None
) -> np.ndarray:
    """With the checks of what is recorded."""
    x, steps = np.asarray(input), _numbers(name, scale)
    _check_scales(tuple(steps.shape), x.shape, axis)
    ends = _range(name, dtypes.get(x.dtype), zero_point, quant_min, quant_max, steps.shape)
    SCALES.check(steps)
    shape = (1,) * x.ndim if axis is None else tuple(-1 if d == axis else 1 for d in range(x.ndim))
    steps, low, high = (one.reshape(shape) for one in (steps, *ends))
    whole = np.clip(np.rint(x.astype(np.float32) / steps), low, high).astype(np.float32)
    return np.asarray((whole * steps).astype(x.dtype))


@operation(_fake_numpy)
def fake_quantize_per_tensor_affine(
    input: Tensor, scale: Number, zero_point: Whole, quant_min: int, quant_max: int
) -> Tensor:
    """The nearest of the numbers scale * (q - zero_point), q from `quant_min` to `quant_max`: input / scale rounded
    to whole numbers, half to even, cut off at both ends, times the scale.

    The result has the input's dtype. TensorRT rounds to -128 to 127 without a zero point: `quant_min - zero_point`
    and `quant_max - zero_point` lie in there. A scale that is a parameter stays one; a zero point is a number.

    Unlike torch: x / scale, where torch multiplies by 1 / scale; what lies in the middle between two numbers but for
    the last bit may become the other one.

    Layers of the example: `constant`, `quantize`, `dequantize`.

    >>> trtnet.fake_quantize_per_tensor_affine(trtnet.tensor([0.24, -0.26, 99.0]), 0.1, 0, -128, 127).tolist()
    [0.20000000298023224, -0.30000001192092896, 12.699999809265137]
    """
    return _fake("fake_quantize_per_tensor_affine", tensor(input), scale, zero_point, quant_min, quant_max, None)


@operation(_fake_channels_numpy)
def fake_quantize_per_channel_affine(
    input: Tensor, scale: Number, zero_point: Whole, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """As `fake_quantize_per_tensor_affine`, with a scale and a zero point for each index of the dimension `axis`.

    TensorRT has this for weights; of other tensors it is a division, one quantization and a product.

    Layers of the example: `constant`, `quantize`, `dequantize`.

    >>> scale, zero_point = trtnet.tensor([0.125, 0.5]), trtnet.tensor([0, 0])
    >>> def forward(x):
    ...     return trtnet.fake_quantize_per_channel_affine(x, scale, zero_point, 0, -128, 127)
    >>> forward(trtnet.tensor([[0.24, -0.26], [0.24, -0.26]])).tolist()
    [[0.25, -0.25], [0.0, -0.5]]
    >>> graph = trtnet.record(forward, x=trtnet.Input((2, 2)))
    """
    x = tensor(input)
    axis = axis_of(axis, x.ndim, "axis")
    return _fake("fake_quantize_per_channel_affine", x, scale, zero_point, quant_min, quant_max, axis)


def _wholes(name: str, zero_point: Whole, *given: object) -> np.ndarray:
    """The zero points. Raises ArgumentTypeError where they, or the other numbers given, are no whole numbers."""
    known = isinstance(zero_point, (int, np.integer, Array, np.ndarray, list, tuple)) and type(zero_point) is not bool
    zero = np.asarray(zero_point) if known else np.zeros((), np.float32)
    if zero.dtype.kind not in "iu" or not all(isinstance(end, (int, np.integer)) for end in given[1:]):
        raise ArgumentTypeError(
            f"{name}: zero_point, quant_min and quant_max are whole numbers"
            if given[1:]
            else f"{name}: a zero point is a whole number",
            expected="0, -128 and 127, perhaps" if given[1:] else "0",
            found=", ".join(map(shown, given)),
        )
    return zero


def _range(
    name: str, dtype: Dtype, zero_point: Whole, quant_min: int, quant_max: int, shape: tuple[SizeLike, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the range, counted from the zero points."""
    if dtype in QUANTIZED or not dtype.is_floating_point:
        raise DtypeError(
            f"{name} takes floating-point tensors",
            expected="float32, float16 or bfloat16",
            found=dtype,
            remedy="convert it first: x.float()",
        )
    zero = _wholes(name, zero_point, zero_point, quant_min, quant_max)
    if quant_min > quant_max:
        raise ArgumentError(
            f"{name}: quant_min is more than quant_max",
            expected=f"at most {quant_max}",
            found=quant_min,
            remedy="give the smaller one first: quant_min=-128, quant_max=127",
        )
    if not ((quant_min <= zero) & (zero <= quant_max)).all():
        raise ArgumentError(
            f"{name}: the zero point is one of the numbers from quant_min to quant_max",
            expected=f"{quant_min} to {quant_max}",
            found=shown(zero_point),
        )
    count = shape[0] if shape else 1
    if zero.size != 1 and zero.shape != (count,):
        raise ShapeError(
            f"{name}: there are as many zero points as scales",
            expected=f"({count},)",
            found=zero.shape,
            remedy="give one for each scale, or one number",
        )
    low, high = quant_min - zero.astype(np.int64), quant_max - zero.astype(np.int64)
    if low.min() < -128 or high.max() > 127:
        raise ArgumentError(
            f"{name}: TensorRT quantizes to whole numbers from -128 to 127, without a zero point",
            expected="quant_min - zero_point of -128 or more, and quant_max - zero_point of 127 or less",
            found=f"{int(low.min())} and {int(high.max())}",
            remedy="use quant_min=-128, quant_max=127, zero_point=0, and a scale of the largest absolute value / 127; "
            "or in floating point: (x / scale).round().clamp(quant_min - zero_point, quant_max - zero_point) * scale",
        )
    return low, high


def _fake(
    name: str, x: Tensor, scale: Number, zero_point: Whole, quant_min: int, quant_max: int, axis: int | None
) -> Tensor:
    steps = _scales(name, scale, x, axis)
    low, high = _range(name, x.dtype, zero_point, quant_min, quant_max, tuple(steps.shape))
    if not x.shape:
        return reshaped(_fake(name, reshaped(x, (1,)), steps, zero_point, quant_min, quant_max, None), ())
    wide = x
    if low.max() > -128 or high.min() < 127:
        wide = _cut(x, steps, low, high, axis)
    made: Tensor = emit(Dequantize((_quantized(wide, steps, dtypes.int8, axis), steps), x.dtype, axis))
    return made


def _cut(x: Tensor, steps: Tensor, low: np.ndarray, high: np.ndarray, axis: int | None) -> Tensor:
    """What is beyond the ends of a range that is smaller than int8's, cut off."""
    shape = tuple(-1 if d == axis else 1 for d in range(x.ndim))
    weight = steps.layer.inputs[0] if isinstance(steps.layer, Constant) else None
    ends: list[Tensor] = []
    for end in (low, high):
        whole = np.broadcast_to(end.astype(np.float32), [s for s in steps.shape if isinstance(s, int)])
        if isinstance(weight, Literal):
            ends.append(constant(Array((weight.array * whole).reshape(shape).astype(x.dtype.numpy))))
        else:
            ends.append(converted(mul(steps, Array(whole)).reshape(shape), x.dtype))
    return minimum(maximum(x, ends[0]), ends[1])


def _numbers(name: str, scale: Number) -> np.ndarray:
    """Scales that are numbers."""
    if isinstance(scale, (bool, str)) or (made := np.asarray(scale)).dtype.kind not in "fiuV":
        raise ArgumentTypeError(
            f"{name}: scales are numbers", expected="a number, or a tensor of them", found=shown(scale)
        )
    return made.astype(np.float32)


def _check_scales(sizes: tuple[SizeLike, ...], of: Sequence[SizeLike], axis: int | None) -> None:
    """Raises ShapeError for another number of scales than one, or than one for each index of the axis."""
    count = sizes[0] if len(sizes) == 1 else None if sizes else 1
    if count != (1 if axis is None or not of else of[axis]):
        raise ShapeError(
            "a quantization has one scale" + ("" if axis is None else " for each index of its axis"),
            expected="one number" if axis is None else f"({of[axis]},), as dimension {axis} of {tuple(of)}",
            found=sizes,
            remedy="one for each channel: fake_quantize_per_channel_affine, quantize_per_channel"
            if axis is None
            else "one for all: fake_quantize_per_tensor_affine, quantize_per_tensor",
        )


def _scales(name: str, scale: Number, x: Tensor, axis: int | None) -> Tensor:
    """The scale as a float32 tensor: without dimensions, or with one for each index of the axis."""
    value = scale if isinstance(scale, (Tensor, Array)) else Array(_numbers(name, scale))
    shape: tuple[SizeLike, ...] = () if axis is None else (x.shape[axis],)
    _check_scales(tuple(value.shape), tuple(x.shape), axis)
    if type(value) is Tensor:
        return converted(reshaped(value, shape), dtypes.float32)
    assert isinstance(value, Array)
    return converted(constant(value, tuple([s for s in shape if isinstance(s, int)])), dtypes.float32)


def _quantized(x: Tensor, steps: Tensor, to: Dtype, axis: int | None) -> Tensor:
    made: Tensor = emit(Quantize((x, steps), to, axis))
    return made


@operation()
def quantize_per_tensor(input: Tensor, scale: Number, zero_point: Whole, dtype: DtypeLike | torch.dtype) -> Tensor:
    """input / scale, rounded to the numbers of a type of few bits: a quantized tensor, which `dequantize` turns back.

    `dtype`: torch.qint8 or int8 (whole numbers, half to even, from -128 to 127), float8_e4m3fn (to ±448), int4,
    float4_e2m1fn. Zero points are 0.

    Unlike torch: the result is a tensor of that dtype, and holds no scale; `dequantize` knows it while it is recorded.

    Layers of the example: `constant`, `quantize`, `dequantize`.

    >>> def forward(x):
    ...     return trtnet.quantize_per_tensor(x, 0.5, 0, trtnet.int8).dequantize()
    >>> graph = trtnet.record(forward, x=trtnet.Input((3,)))
    >>> trtnet.reference(graph)(x=trtnet.tensor([0.2, 0.3, 99.0]).numpy()).tolist()
    [0.0, 0.5, 63.5]
    """
    x = tensor(input)
    return _to_few_bits("quantize_per_tensor", x, scale, zero_point, dtype, None)


@operation()
def quantize_per_channel(
    input: Tensor, scales: Number, zero_points: Whole, axis: int, dtype: DtypeLike | torch.dtype
) -> Tensor:
    """As `quantize_per_tensor`, with a scale for each index of the dimension `axis`.

    Layers of the example: `constant`, `quantize`, `dequantize`.

    >>> def forward(x):
    ...     steps = trtnet.tensor([0.5, 0.25])
    ...     return trtnet.quantize_per_channel(x, steps, trtnet.tensor([0, 0]), 0, trtnet.int8).dequantize()
    >>> graph = trtnet.record(forward, x=trtnet.Input((2,)))
    >>> trtnet.reference(graph)(x=trtnet.tensor([0.3, 0.3]).numpy()).tolist()
    [0.5, 0.25]
    """
    x = tensor(input)
    return _to_few_bits("quantize_per_channel", x, scales, zero_points, dtype, axis_of(axis, x.ndim, "axis"))


def _to_few_bits(
    name: str, x: Tensor, scale: Number, zero_point: Whole, dtype: DtypeLike | torch.dtype, axis: int | None
) -> Tensor:
    text = str(dtype).removeprefix("torch.") if is_torch(dtype) else dtype
    to = dtypes.int8 if text == "qint8" else None if text in ("quint8", "qint32", "quint4x2") else dtypes.get(dtype)
    if to not in QUANTIZED:
        raise DtypeError(
            f"{name}: TensorRT quantizes to other types",
            expected="torch.qint8, or " + ", ".join(map(str, QUANTIZED)),
            found=str(dtype),
            remedy="quantize to int8, without a zero point: dtype=trtnet.int8",
        )
    if _wholes(name, zero_point, zero_point).any():
        raise ArgumentError(
            f"{name}: TensorRT quantizes without a zero point",
            expected="0",
            found=shown(zero_point),
            remedy="use 0, and a scale of the largest absolute value / 127",
        )
    return _quantized(x, _scales(name, scale, x, axis), to, axis)


def _dequantize_numpy(tensor: np.ndarray) -> np.ndarray:
    if tensor.dtype.kind != "f" and dtypes.get(tensor.dtype) is not dtypes.bfloat16:
        raise _unscaled(repr(tensor))
    return tensor.astype(np.float32)


def _unscaled(found: str) -> ArgumentError:
    return ArgumentError(
        "this tensor knows no scale to be dequantized by",
        expected="what a quantize layer gave",
        found=found,
        remedy="say the scale: trtnet.layers.add_dequantize(x, scale)",
    )


@operation(_dequantize_numpy, method=True)
def dequantize(tensor: Tensor) -> Tensor:
    """What was quantized, by `quantize_per_tensor`, `quantize_per_channel` or `trtnet.layers.add_quantize`, times its
    scale; other floating-point tensors as float32.

    The result has the dtype of what was quantized. Raises ArgumentError for quantized tensors of unknown scale.

    Layers of the example: `constant`, `quantize`, `dequantize`.

    >>> graph = trtnet.record(lambda x: trtnet.layers.add_quantize(x, 0.5).dequantize(), x=trtnet.Input((2,)))
    >>> trtnet.reference(graph)(x=trtnet.tensor([0.2, 0.3]).numpy()).tolist()
    [0.0, 0.5]
    """
    layer = tensor.layer
    if isinstance(layer, Quantize) and not isinstance(layer, Dequantize):
        x, scale = layer.tensors
        made: Tensor = emit(Dequantize((tensor, scale), x.dtype, layer.axis, layer.block_shape))
        return made
    if not tensor.dtype.is_floating_point or tensor.dtype in QUANTIZED:
        raise _unscaled(repr(tensor))
    return converted(tensor, dtypes.float32)
