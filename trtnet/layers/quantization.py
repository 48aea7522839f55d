"""Numbers in few bits, and back: quantize, dequantize, and quantize by the data's own range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Size, SizeLike, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, DtypeError, ProviderError, ShapeError
from ..graph.recorder import emit, recorder
from ..graph.tensor import Tensor
from ..weights.demands import Demand
from ..weights.recipes import Literal, Weight, cast
from .base import Layer, Operand, Output, check_constants, require_floating, unreadable
from .casting import Cast, converted
from .constant import Constant, constant
from .shaping import reshaped
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch

QUANTIZED = (dtypes.int8, dtypes.float8_e4m3fn, dtypes.int4, dtypes.float4_e2m1fn)
"""What tensors are quantized to."""
_WHOLE = {dtypes.int8: (-128, 127), dtypes.int4: (-8, 7)}
_FLOATS = {dtypes.float8_e4m3fn: (3, -6, 448.0), dtypes.float4_e2m1fn: (1, 0, 6.0)}
"""Bits behind the point, the exponent of the smallest normal number, and the largest number."""
MOST = float(np.finfo(np.float32).max)
CLOSE = 2.0**-8
"""Of a step: what lies so close to the middle between two numbers is rounded either way where roundings are changed."""


def _no_scales(array: np.ndarray) -> np.ndarray:
    scales = np.asarray(array, np.float32)
    return ~((scales > 0) & np.isfinite(scales))


SCALES = Demand(
    1,
    _no_scales,
    ArgumentError,
    "the scales of a quantization are positive and finite",
    expected="more than 0",
    remedy="of values of a range it is the largest absolute one / 127",
)


def largest(dtype: Dtype) -> float:
    """The largest number of a type that tensors are quantized to."""
    return _WHOLE[dtype][1] if dtype in _WHOLE else _FLOATS[dtype][2]


def _steps(run: Run, x: torch.Tensor, dtype: Dtype) -> torch.Tensor:
    """The distance between neighbouring numbers of a type, at each of these."""
    if dtype in _WHOLE:
        return run.torch.ones_like(x)
    bits, lowest, most = _FLOATS[dtype]
    exponent = run.torch.frexp(x.abs().clamp(max=most)).exponent - 1
    return run.torch.ldexp(run.torch.ones_like(x), exponent.clamp(min=lowest) - bits)


def nearest(run: Run, x: torch.Tensor, dtype: Dtype, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest number of a type, of two the even one, and whether it is inside the type's range; the last one for
    what is beyond it. In x's own type. With a `shift`, that of what lies so much of a step further."""
    low, high = _WHOLE.get(dtype) or (-largest(dtype), largest(dtype))
    steps = _steps(run, x, dtype)
    free = (x / steps + shift).round() * steps
    found = free.clamp(low, high)
    if dtype is dtypes.float4_e2m1fn:
        found = found.nan_to_num(nan=high)  # it has no NaN; PTX, cvt.satfinite.e2m1x2: the largest number
    return found, free == found


def not_floating(x: Tensor) -> DtypeError:
    return DtypeError(
        "this tensor is quantized already, or has whole numbers",
        expected="float32, float16 or bfloat16",
        found=x.dtype,
        remedy="dequantize it first (trtnet.layers.add_dequantize(x, scale)), or cast whole numbers: x.float()",
    )


def grain_of(run: Run, y: torch.Tensor, scale: torch.Tensor, dtype: Dtype) -> tuple[float, float] | None:
    """`Layer.grain` of y, quantized to a type and multiplied by the scale. What is beyond the type's range stays there,
    as the last number."""
    if not y.numel():
        return None
    y = y.nan_to_num(0.0)
    found, _ = nearest(run, y, dtype)
    steps = (_steps(run, found, dtype) * scale).where(y.abs() <= largest(dtype) + 1, 0)
    size = float((found * scale).square().mean().sqrt()) or float(steps.max()) or 1.0
    return float(steps.mean()) / size, float(steps.max()) / size


@dataclass(slots=True, eq=False, repr=False)
class Quantize(Layer):
    """`add_quantize`: x / scale as the nearest number of `to_type`, of two the even one; what is beyond the last one
    becomes that.

    The scale (input 1) has one element for all; or, with `axis`, one for each index of that dimension; or the rank of
    the input, and in a dimension that is divided into blocks one index for each block. `block_shape` says the blocks
    to TensorRT where a shape leaves them open.
    """

    to_type: Dtype = dtypes.int8
    axis: int | None = None
    block_shape: tuple[int, ...] | None = None

    kind: ClassVar[str] = "quantize"
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)
    quantizes: ClassVar[bool] = True

    def typed(self, x: Tensor) -> None:
        """Raises DtypeError unless input and result have types that TensorRT quantizes."""
        if x.dtype in QUANTIZED:
            raise not_floating(x)
        require_floating("quantize", x)
        if self.to_type not in QUANTIZED:
            raise DtypeError(
                "a tensor is quantized to a type of few bits",
                expected=", ".join(map(str, QUANTIZED)),
                found=self.to_type,
                remedy="leave to_type out: it is int8 then",
            )

    def infer(self) -> tuple[Output, ...]:
        x, scale = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(scale, Tensor)
        self.typed(x)
        if not x.shape:
            raise ShapeError(
                f"TensorRT's {self.kind} takes no tensor without dimensions",
                expected="one dimension or more",
                found="()",
                remedy="give it one first: x.reshape(1)",
            )
        wide = x.dtype if x.dtype not in QUANTIZED else self.to_type
        powers = self.quantized in _FLOATS and scale.dtype is dtypes.float8_e8m0fnu
        if scale.dtype not in (dtypes.float32, wide) and not powers:
            raise DtypeError(
                "the scale of a quantization has the type of its floating-point side, or float32",
                expected=f"float32 or {wide}" if wide is not dtypes.float32 else "float32",
                found=scale.dtype,
                remedy="convert it: scale.float()",
            )
        check_constants(self)
        self.blocks()
        return ((x.shape, self.to_type),)

    def demands(self) -> tuple[Demand, ...]:
        return (SCALES,)

    def blocks(self) -> tuple[tuple[SizeLike, int], ...] | None:
        """For each dimension of the input, how many scales there are along it, and how many elements share one; None
        where one scale is for all. Raises ShapeError and ArgumentError where scale and input do not fit."""
        x, scale = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(scale, Tensor)
        shape, rank = tuple(scale.shape), len(x.shape)
        if all(size == 1 for size in shape) and self.block_shape is None:
            return None
        if self.axis is not None:
            if not 0 <= self.axis < rank:
                raise ArgumentError(f"{self.kind}: there is no dimension {self.axis}", found=format_shape(x.shape))
            if shape != (x.shape[self.axis],):
                raise self._misfit(f"({x.shape[self.axis]},), one scale for each index of dimension {self.axis}")
            return tuple((size, 1) if d == self.axis else (1, 1) for d, size in enumerate(x.shape))
        if len(shape) != rank or rank < 2:
            raise self._misfit("(), or a scale of the input's rank for blocks, or axis= and a 1-D scale")
        given = self.block_shape or (None,) * rank
        found: list[tuple[SizeLike, int]] = []
        for size, count, block in zip(x.shape, shape, given, strict=False):
            if size == count and block in (None, 1):
                found.append((count, 1))
            elif isinstance(size, int) and isinstance(count, int) and count and not size % count:
                found.append((count, size // count))
            else:
                raise self._misfit("sizes that divide the input's, which are numbers where there are blocks")
        sizes = [block for _, block in found]
        if self.block_shape is not None and any(
            b not in (block, -1) for b, block in zip(self.block_shape, sizes, strict=len(given) == rank)
        ):
            raise ArgumentError(
                "the blocks of a quantization are those that its scales are for",
                expected=format_shape(sizes),
                found=format_shape(self.block_shape),
                remedy="leave block_shape out",
            )
        return tuple(found)

    def _misfit(self, expected: str) -> ShapeError:
        x, scale = self.tensors
        return ShapeError(
            f"the scale of this {self.kind} does not fit its input",
            expected=expected,
            found=f"scale {format_shape(scale.shape)}, input {format_shape(x.shape)}"
            + ("" if self.axis is None else f", axis {self.axis}"),
            remedy="one scale for all is a number; for each channel give axis= and as many scales as it has indices",
        )

    # --- TensorRT

    def precision(self) -> Dtype | None:
        return None  # both kinds have one of their own, whatever types they take and give

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        axis = source.attribute(native, "axis", "int")
        x, scale = source.operand(native, 0), source.operand(native, 1)
        if x is None or scale is None or native.num_inputs > 2 or (len(scale.shape) > 1 and scale.shape.numel() != 1):
            raise unreadable(cls.kind, "it has a zero point, or scales of blocks")
        per = axis if len(scale.shape) == 1 and len(x.shape) > axis >= 0 and scale.shape != (1,) else None
        return cls((x, scale), source.attribute(native, "to_type", "Dtype"), per)

    def add_to(self, lowering: Network) -> ILayer | None:
        network, provider = lowering.network, lowering.provider
        given = [lowering[operand] for operand in self.inputs]
        typed = [lowering.data_type(self.to_type)] if provider.has("IQuantizeLayer", "to_type") else []
        layer: ILayer | None = getattr(network, f"add_{self.kind}")(*given, *typed)
        if layer is not None and self.axis is not None:
            layer.axis = self.axis  # type: ignore[attr-defined]
        if layer is not None and self.block_shape is not None:
            layer.block_shape = self.block_shape  # type: ignore[attr-defined]
        return layer

    def supported(self, provider: Features) -> bool:
        x, scale = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(scale, Tensor)
        quantized = self.quantized
        if not self._is_simple and not self._takes_form(provider, x, scale):
            return False
        if quantized is dtypes.int8:
            return True
        typed = provider.has("IQuantizeLayer", "to_type")  # from 9.1 on; before, there is int8 alone
        return typed and all(provider.has("DataType", t.dtype.tensorrt or "") for t in (*self.tensors, *self.outputs))

    @property
    def quantized(self) -> Dtype:
        """The type of few bits."""
        return self.to_type

    @property
    def _is_simple(self) -> bool:
        """Whether it has one scale, which is a constant: every TensorRT takes that."""
        return self.blocks() is None and _is_constant(self.inputs[1])

    def _takes_form(self, provider: Features, x: Tensor, scale: Tensor) -> bool:
        """Scales by channel are for weights alone, blocks for the smaller types, and scales that are computed for
        TensorRT from 10.13 on (NvInfer.h of 8.6.1 to 11.1); those of blocks for what dynamic quantize layers give."""
        blocked = self.blocks() is not None and self.axis is None
        dynamic = self.quantized is dtypes.float4_e2m1fn or provider.has("DataType", "E8M0")
        computed = dynamic if blocked else provider.quantizes_by_tensors
        if not _is_constant(scale) and not computed:
            return False
        if self.block_shape is not None and not provider.has("IQuantizeLayer", "block_shape"):
            return False
        if self.blocks() is None:
            return True
        return _is_rooted(x) if self.axis is not None else self.quantized is not dtypes.int8

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """Divided by the scales, and quantized by 1."""
        x, scale = inputs
        assert isinstance(x, Tensor)
        assert isinstance(scale, Tensor)
        if self._is_simple:
            raise self._lacking()
        wide = converted(x, dtypes.float32)
        y = self._scaled(wide, F.div(*self._split(F, wide, converted(scale, dtypes.float32))))
        made: Tensor = emit(type(self)((y, _one()), self.to_type))
        return made

    def _lacking(self) -> ProviderError:
        return ProviderError(
            f"this TensorRT has no {self.kind} of {self.quantized}",
            expected="int8; float8_e4m3fn and int4 from 10.0 on; float4_e2m1fn from 10.8 on",
            found=self.quantized,
            module=self.path or None,
            where=self.location,
            remedy="quantize to int8 (to_type=trtnet.int8), or use a newer TensorRT",
        )

    def _split(self, F: Functions, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The input with a dimension for the inside of each block, and the scale so that it broadcasts to that."""
        blocks = self.blocks()
        if blocks is None:
            return x, F.reshape(scale, (1,) * len(x.shape))
        inner: list[SizeLike] = []
        outer: list[SizeLike] = []
        for size, (count, block) in zip(x.shape, blocks, strict=True):
            if block == 1 or count == 1:
                inner.append(size)
                outer.append(count)
            else:
                inner += [count, block]
                outer += [count, 1]
        return F.reshape(x, inner) if len(inner) > len(x.shape) else x, F.reshape(scale, outer)

    @staticmethod
    def _scaled(x: Tensor, y: Tensor) -> Tensor:
        """What `_split` made, in the input's shape again."""
        return y if len(y.shape) == len(x.shape) else reshaped(y, tuple(x.shape))

    # --- PyTorch

    def spread(self, run: Run, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The scale so that it broadcasts to the input, in the type to compute in."""
        wide = scale.to(run.dtype(dtypes.float32))
        blocks = self.blocks()
        if blocks is None:
            return wide.reshape(())
        if self.axis is not None:
            return wide.reshape([-1 if d == self.axis else 1 for d in range(x.ndim)])
        for dim, (_, block) in enumerate(blocks):
            if block != 1 and wide.shape[dim] != 1:
                wide = wide.repeat_interleave(block, dim)
        return wide

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        """In training with torch's gradient: that of what is not rounded, and 0 for what is beyond the range."""
        y = self._divided(run, *inputs)
        found, inside = nearest(run, y.detach(), self.to_type)
        if not run.explains and y.requires_grad:
            y = run.torch.where(inside, y, y.detach())
            return y + (found - y).detach()
        return found.to(run.dtype(self.to_type))

    def _divided(self, run: Run, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        wide = self.spread(run, x, scale)
        return x.to(wide.dtype) / wide

    def either(self, run: Run, number: int, *inputs: torch.Tensor) -> torch.Tensor | None:
        """What lies close to the middle between two numbers may become either."""
        found, _ = nearest(run, self._divided(run, *inputs), self.to_type, CLOSE if number % 2 else -CLOSE)
        return found.to(run.dtype(self.to_type))

    def grain(self, run: Run, *inputs: torch.Tensor) -> tuple[float, float] | None:
        return grain_of(run, self._divided(run, *inputs), self.spread(run, *inputs), self.to_type)


@dataclass(slots=True, eq=False, repr=False)
class Dequantize(Quantize):
    """`add_dequantize`: x * scale, of a quantized tensor or quantized weights, in `to_type`.

    The scale is as that of a quantize layer.
    """

    to_type: Dtype = dtypes.float32

    kind: ClassVar[str] = "dequantize"
    quantizes: ClassVar[bool] = False
    takes_quantized: ClassVar[bool] = True

    def typed(self, x: Tensor) -> None:
        if x.dtype not in QUANTIZED:
            raise DtypeError(
                "what is dequantized is of a type of few bits",
                expected=", ".join(map(str, QUANTIZED)),
                found=x.dtype,
                remedy="quantize it first: trtnet.layers.add_quantize(x, scale)",
            )
        if self.to_type not in (dtypes.float32, dtypes.float16, dtypes.bfloat16):
            raise DtypeError(
                "a tensor is dequantized to floating point",
                expected="float32, float16 or bfloat16",
                found=self.to_type,
                remedy="leave to_type out: it is float32 then",
            )

    @property
    def quantized(self) -> Dtype:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return x.dtype

    def supported(self, provider: Features) -> bool:
        """Quantized weights are taken from TensorRT 9.1 on: before, constants of int8 are not documented."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return Quantize.supported(self, provider) and (provider.strongly_typed or not isinstance(x.layer, Constant))

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """Dequantized by 1, and multiplied by the scales; of int8 weights, quantized from floats."""
        x, scale = inputs
        assert isinstance(x, Tensor)
        assert isinstance(scale, Tensor)
        made: Tensor
        weights = x.layer.inputs[0] if isinstance(x.layer, Constant) else None
        if isinstance(weights, Weight) and x.dtype is dtypes.int8 and x.layer is not None:
            floats = Literal(weights.array.astype(np.float32)) if isinstance(weights, Literal) else None
            recorder().spare.append(x.layer)
            wide = constant(floats or cast(weights, dtypes.float32), tuple(x.layer.outputs[0].shape))  # type: ignore[arg-type]
            made = emit(Dequantize((emit(Quantize((wide, _one()))), scale), self.to_type, self.axis, self.block_shape))
            return made
        if self._is_simple:
            raise self._lacking()
        plain = emit(Dequantize((x, _one())))
        y = self._scaled(plain, F.mul(*self._split(F, plain, converted(scale, dtypes.float32))))
        return converted(y, self.to_type)

    def either(self, run: Run, number: int, *inputs: torch.Tensor) -> torch.Tensor | None:
        return None

    def grain(self, run: Run, *inputs: torch.Tensor) -> tuple[float, float] | None:
        return None

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, scale = inputs
        scale = self.spread(run, x, scale)
        return (x.to(scale.dtype) * scale).to(run.dtype(self.to_type))


@dataclass(slots=True, eq=False, repr=False)
class DynamicQuantize(Layer):
    """`add_dynamic_quantize`: each block of the input divided by a scale that fits its largest value, and rounded to
    the nearest number of `to_type`; and the scales, one for each block, as `scale_type`.

    Blocks are `block_size` elements along `axis`, or have the shape `block_shape`, where -1 is the whole dimension.
    MXFP8 is to_type float8_e4m3fn, scale_type float8_e8m0fnu, blocks of 32: scales are powers of two, rounded up.
    NVFP4 is float4_e2m1fn, float8_e4m3fn, blocks of 16, and input 1, a positive number that the scales are divided by
    before they are rounded. What TensorRT computes of this on a GPU was not compared; the numbers are those of cuDNN's
    block scaling (docs.nvidia.com, "Block Scaling").

    NVIDIA does not say what NaN and infinity become. Here NaN does not count for the scale of its block, and stays NaN
    (float4, which has none: 6); infinity counts as the largest number of float32, and becomes the largest of its block
    (times its scale, infinity again), beside which the others are 0.
    """

    axis: int | None = None
    block_size: int | None = None
    block_shape: tuple[int, ...] | None = None
    to_type: Dtype = dtypes.float4_e2m1fn
    scale_type: Dtype = dtypes.float8_e4m3fn

    kind: ClassVar[str] = "dynamic_quantize"
    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 1, 2)
    methods: ClassVar[tuple[str, ...]] = ("add_dynamic_quantize", "add_dynamic_quantize_v2")
    quantizes: ClassVar[bool] = True

    def infer(self) -> tuple[Output, ...]:
        x, double = self.inputs[0], self.operand(1)
        assert isinstance(x, Tensor)
        if x.dtype in QUANTIZED:
            raise not_floating(x)
        require_floating("dynamic quantize", x)
        known = [t for t in (dtypes.float8_e8m0fnu, dtypes.float8_e4m3fn, dtypes.float32) if t is self.scale_type]
        if self.to_type not in _FLOATS or not known:
            raise DtypeError(
                "dynamic quantize gives float8 or float4 and their scales",
                expected="to_type float8_e4m3fn or float4_e2m1fn, scale_type float8_e8m0fnu or float8_e4m3fn",
                found=f"{self.to_type} and {self.scale_type}",
                remedy="to_type=trtnet.float8_e4m3fn, scale_type=trtnet.float8_e8m0fnu, block_size=32 is MXFP8",
            )
        if double is not None and (double.shape or double.dtype not in (dtypes.float32, x.dtype)):
            raise ShapeError(
                "the scale that the scales are divided by is one number",
                expected="() float32",
                found=f"{format_shape(double.shape)} {double.dtype}",
            )
        check_constants(self)
        sizes = self.sizes()
        scales = []
        for axis, (size, block) in enumerate(zip(x.shape, sizes, strict=True)):
            if block != 1 and not isinstance(size, int):
                raise self._dynamic(axis)
            if block != 1 and size % block:
                raise ShapeError(
                    "the blocks of dynamic quantize divide a dimension",
                    expected=f"a multiple of {block} in dimension {axis}",
                    found=format_shape(x.shape),
                    remedy="pad it first: trtnet.functional.pad(x, (0, missing))",
                )
            scales.append(size if block == 1 else size // block)
        return (x.shape, self.to_type), (Size(scales), self.scale_type)

    def _dynamic(self, axis: int) -> ShapeError:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ShapeError(
            f"dynamic quantize has blocks along dimension {axis}, whose size is a Dim",
            expected="a number there: how many scales there are is fixed",
            found=format_shape(x.shape),
            remedy=f"record with a number in place of the Dim {x.shape[axis]}, or have blocks along another dimension",
        )

    def demands(self) -> tuple[Demand, ...]:
        return (SCALES,)

    def sizes(self) -> tuple[int, ...]:
        """How many elements a block has along each dimension. Raises ArgumentError where none is said."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        rank = len(x.shape)
        if self.block_shape is not None and self.axis is None and len(self.block_shape) == rank:
            for axis, (block, size) in enumerate(zip(self.block_shape, x.shape, strict=True)):
                if block == -1 and not isinstance(size, int):
                    raise self._dynamic(axis)
            whole = [size if isinstance(size, int) else 0 for size in x.shape]
            found = tuple(w if b == -1 else b for b, w in zip(self.block_shape, whole, strict=True))
            if min(found, default=0) > 0:
                return found
        if self.block_shape is None and self.axis is not None and 0 <= self.axis < rank and (self.block_size or 0) > 0:
            return tuple((self.block_size or 1) if d == self.axis else 1 for d in range(rank))
        raise ArgumentError(
            "dynamic quantize has blocks along one axis, or of a shape",
            expected="axis= and block_size=, or block_shape= with a size for each dimension",
            found=self.describe(),
            remedy="axis=-1, block_size=32 are blocks of 32 neighbours",
        )

    def precision(self) -> Dtype | None:
        return None

    def supported(self, provider: Features) -> bool:
        several = sum(size != 1 for size in self.sizes()) > 1
        made = provider.has_layer("add_dynamic_quantize_v2" if several else "add_dynamic_quantize")
        return made and all(provider.has("DataType", t.dtype.tensorrt or "") for t in self.outputs)

    def compose(self, F: Functions, *inputs: Operand) -> tuple[Tensor, ...]:
        raise ProviderError(
            f"this TensorRT has no dynamic quantize to {self.to_type} with scales of {self.scale_type}",
            expected="10.8 or newer; of float8_e8m0fnu 10.13 or newer; of blocks in two dimensions 10.15 or newer",
            found=self.describe() or "its defaults",
            module=self.path or None,
            where=self.location,
            remedy="quantize to int8 by a scale that is known: trtnet.layers.add_quantize(x, scale)",
        )

    def add_to(self, lowering: Network) -> ILayer | None:
        network, x, double = lowering.network, lowering[self.inputs[0]], self.operand(1)
        sizes = self.sizes()
        blocked = [d for d, size in enumerate(sizes) if size != 1] or [len(sizes) - 1]
        types = lowering.data_type(self.to_type), lowering.data_type(self.scale_type)
        layer: ILayer | None
        if len(blocked) == 1:  # 11 has both; the newer one does not take input 1 (RTX 1.7)
            layer = network.add_dynamic_quantize(x, blocked[0], sizes[blocked[0]], *types)
        else:
            layer = network.add_dynamic_quantize_v2(x, sizes, *types)
        if layer is not None and double is not None:
            layer.set_input(1, lowering[double])
        return layer

    def _parts(self, run: Run, x: torch.Tensor, double: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The scales, as they are stored; and for each element what it is divided by."""
        wide = x.to(run.dtype(dtypes.float32))
        sizes = self.sizes()
        split = [part for size, block in zip(x.shape, sizes, strict=True) for part in (size // block, block)]
        inside = range(1, len(split), 2)
        counted = wide.abs().nan_to_num(nan=0.0, posinf=MOST).clamp(max=MOST)
        scale = counted.reshape(split).amax(tuple(inside)) / largest(self.to_type)
        factor = 1.0 if double is None else double.to(wide.dtype)
        if self.scale_type is dtypes.float8_e8m0fnu:
            mantissa, exponent = run.torch.frexp(scale)
            exponent = (exponent - (mantissa == 0.5).to(exponent.dtype)).clamp(-127, 127)
            scale = run.torch.ldexp(run.torch.ones_like(scale), exponent)
        elif self.scale_type is dtypes.float8_e4m3fn:
            scale, _ = nearest(run, scale / factor, self.scale_type)
        by = scale * factor
        for dim, block in enumerate(sizes):
            by = by.repeat_interleave(block, dim)
        return scale, by

    def compute(self, run: Run, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scale, by = self._parts(run, inputs[0], inputs[1] if len(inputs) > 1 else None)
        found, _ = nearest(run, self._over(inputs[0], by), self.to_type)
        return found.to(run.dtype(self.to_type)), scale.to(run.dtype(self.scale_type))

    @staticmethod
    def _over(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return (x.to(by.dtype) / by).where(by > 0, 0)

    def either(self, run: Run, number: int, *inputs: torch.Tensor) -> torch.Tensor | None:
        _, by = self._parts(run, inputs[0], inputs[1] if len(inputs) > 1 else None)
        shift = CLOSE if number % 2 else -CLOSE
        return nearest(run, self._over(inputs[0], by), self.to_type, shift)[0].to(run.dtype(self.to_type))

    def grain(self, run: Run, *inputs: torch.Tensor) -> tuple[float, float] | None:
        _, by = self._parts(run, inputs[0], inputs[1] if len(inputs) > 1 else None)
        return grain_of(run, self._over(inputs[0], by), by, self.to_type)


def _one() -> Tensor:
    return constant(np.ones((), np.float32))


def _is_constant(scale: Operand) -> bool:
    """Whether a scale is a constant, perhaps cast: what TensorRT takes while it builds."""
    layer = scale.layer if isinstance(scale, Tensor) else None
    if isinstance(layer, Cast):
        layer = layer.inputs[0].layer if isinstance(layer.inputs[0], Tensor) else None
    return isinstance(layer, Constant)


def _is_rooted(x: Tensor) -> bool:
    """Whether a tensor is weights, moved, cast or quantized at most."""
    layer = x.layer
    while layer is not None and not isinstance(layer, Constant):
        others = [o for o in layer.inputs[1:] if o is not None]
        moved = layer.is_view or isinstance(layer, Cast)
        if not (isinstance(layer, Quantize) or (moved and not others)):
            return False
        layer = layer.inputs[0].layer if isinstance(layer.inputs[0], Tensor) else None
    return isinstance(layer, Constant)
