"""Identity and change of type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import DtypeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..weights.recipes import Weight, cast
from .base import UNCOMPUTED, Layer, Operand, Output, require_computed
from .bounds import FAR, Bounds
from .targets import Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False, repr=False)
class Identity(Layer):
    """`add_identity`: the input as it is, under another name; `nonnegative` where it is promised to hold no negative
    number, of which TensorRT is told nothing."""

    nonnegative: bool = False

    kind: ClassVar[str] = "identity"
    computes_sizes: ClassVar[bool] = True
    passes_bytes: ClassVar[bool] = True
    rounds: ClassVar[bool] = False

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        return cls((source.operand(native, 0),))

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        return of(self.inputs[0])

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, x.dtype),)

    def as_weight(self, of: Callable[[Operand], Weight | None]) -> Weight | None:
        return of(self.inputs[0])

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        return values[0]

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if not self.nonnegative:
            return wanted
        promised = Bounds((0,), (FAR,))
        return promised if wanted is None else promised.both(wanted)

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_identity(lowering[self.inputs[0]])

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return () if self.nonnegative else self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        if self.nonnegative:
            within(inputs[0], "a number that was promised not to be negative is")
        return inputs[0]


def within(x: torch.Tensor, problem: str) -> None:
    """Raises IndexError for negative numbers, where PyTorch would count them from the end and TensorRT does not."""
    if x.numel() and (least := int(x.min())) < 0:
        raise IndexError(f"{problem}: {least}")


@dataclass(slots=True, eq=False, repr=False)
class Cast(Layer):
    """`add_cast`: the input in another element type; to uint8 integers modulo 256, and floats from 0 to 255."""

    to_type: Dtype

    kind: ClassVar[str] = "cast"
    reads: ClassVar[Mapping[str, str] | None] = {}
    computes_sizes: ClassVar[bool] = True
    is_elementwise: ClassVar[bool] = True

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        return None if self.to_type.is_floating_point else of(self.inputs[0])

    @property
    def passes_bytes(self) -> bool:  # type: ignore[override]
        return self.to_type is not dtypes.uint8

    def widened(self, F: Functions, operands: tuple[Operand, ...]) -> Tensor:
        """To uint8: integers modulo 256, floats (from 0 to 255) cut off. From uint8 to int8: as the same bits."""
        x = operands[0]
        assert isinstance(x, Tensor)
        if self.to_type is dtypes.uint8:
            if x.dtype in (dtypes.int8, dtypes.bool_) or x.dtype.is_floating_point:
                wide = converted(x, dtypes.int32)
                return F.remainder(wide, 256) if x.dtype is dtypes.int8 else wide
            return converted(F.remainder(x, 256), dtypes.int32)
        if self.to_type is dtypes.int8:
            x = F.sub(F.remainder(F.add(x, 128), 256), 128)
        return converted(x, self.to_type)

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        """Wider floats hold the same values, and whole numbers are not rounded where both sides convert them alike."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return self.to_type.is_floating_point and x.dtype.is_floating_point and self.to_type.bits < x.dtype.bits

    def either(self, run: Run, number: int, *inputs: torch.Tensor) -> torch.Tensor | None:
        """Floats beside the range of a whole number's type, and NaN, may become any number."""
        x, to = inputs[0], self.to_type
        if not x.is_floating_point() or to.is_floating_point or to.name == "bool":
            return None
        limits = run.torch.iinfo(to.torch)
        return x.nan_to_num(number).clamp(limits.min, limits.max).to(to.torch)

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        if x.dtype is not dtypes.float8_e8m0fnu and x.dtype is not self.to_type:
            require_computed("a cast", x)
        if self.to_type in UNCOMPUTED and self.to_type is not dtypes.float8_e8m0fnu:
            raise DtypeError(
                f"a cast gives no {self.to_type}, which TensorRT only quantizes to",
                expected="float32, float16, bfloat16, int8, int32, int64 or bool",
                found=self.to_type,
                remedy=f"quantize it: trtnet.layers.add_quantize(x, scale, to_type=trtnet.{self.to_type})",
            )
        return ((x.shape, self.to_type),)

    def as_weight(self, of: Callable[[Operand], Weight | None]) -> Weight | None:
        weight = of(self.inputs[0])
        return None if weight is None or self.to_type.bits < 8 else cast(weight, self.to_type)

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        return values[0].astype(self.to_type.numpy)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return wanted

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_cast(lowering[self.inputs[0]], lowering.data_type(self.to_type))

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].to(run.dtype(self.to_type))


def converted(x: Tensor, to: Dtype) -> Tensor:
    """Record a cast; `x` itself where it has that type. Raises DtypeError for the types that TensorRT has not."""
    if x.dtype is to:
        return x
    made: Tensor = emit(Cast((x,), dtypes.for_network(to, "a recorded tensor")))
    return made


def in_int32(operand: Operand) -> Operand:
    """A uint8 tensor as int32, by way of float32, which TensorRT 8.6 casts uint8 to; anything else as it is."""
    if not isinstance(operand, Tensor) or operand.dtype is not dtypes.uint8:
        return operand
    return converted(converted(operand, dtypes.float32), dtypes.int32)
