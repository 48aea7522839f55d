"""Identity and change of type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..basics import dtypes
from ..basics.dtypes import dtype as Dtype
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output
from .bounds import FAR, Bounds
from .targets import Network, Run


@dataclass(slots=True, eq=False, repr=False)
class Identity(Layer):
    """`add_identity`: the input as it is, under another name; `nonnegative` where it is promised to hold no negative
    number, of which TensorRT is told nothing."""

    nonnegative: bool = False

    kind: ClassVar[str] = "identity"
    passes_bytes: ClassVar[bool] = True
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, x.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if not self.nonnegative:
            return wanted
        promised = Bounds((0,), (FAR,))
        return promised if wanted is None else promised.both(wanted)

    def add_to(self, lowering: Network) -> Any:
        return lowering.network.add_identity(lowering[self.inputs[0]])

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return () if self.nonnegative else self.inputs

    def compute(self, run: Run, *inputs: Any) -> Any:
        if self.nonnegative:
            within(inputs[0], "a number that was promised not to be negative is")
        return inputs[0]


def within(x: Any, problem: str) -> None:
    """Raises IndexError for negative numbers, where PyTorch would count them from the end and TensorRT does not."""
    if x.numel() and (least := int(x.min())) < 0:
        raise IndexError(f"{problem}: {least}")


@dataclass(slots=True, eq=False, repr=False)
class Cast(Layer):
    """`add_cast`: the input in another element type; to uint8 integers modulo 256, and floats from 0 to 255."""

    to_type: Dtype

    kind: ClassVar[str] = "cast"
    is_elementwise: ClassVar[bool] = True

    @property
    def passes_bytes(self) -> bool:  # type: ignore[override]
        return self.to_type is not dtypes.uint8

    def widened(self, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]:
        """To uint8: integers modulo 256, floats (from 0 to 255) cut off. From uint8 to int8: as the same bits."""
        from ..functional.arithmetic import add, remainder, sub
        from ..functional.casting import converted

        x = operands[0]
        assert isinstance(x, Tensor)
        if x.dtype is dtypes.uint8:
            x = converted(converted(x, dtypes.float32), dtypes.int32)
        elif self.to_type is dtypes.uint8:
            if x.dtype in (dtypes.int8, dtypes.bool_) or x.dtype.is_floating_point:
                wide = converted(x, dtypes.int32)
                return remainder(wide, 256) if x.dtype is dtypes.int8 else wide
            return converted(remainder(x, 256), dtypes.int32)
        if self.to_type is dtypes.int8:
            x = sub(remainder(add(x, 128), 256), 128)
        return converted(x, self.to_type)

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        """Wider floats hold the same values, and whole numbers are not rounded where both sides convert them alike."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return self.to_type.is_floating_point and x.dtype.is_floating_point and self.to_type.bits < x.dtype.bits

    def either(self, run: Run, number: int, *inputs: Any) -> Any:
        """Floats beside the range of a whole number's type, and NaN, may become any number."""
        x, to = inputs[0], self.to_type
        if not x.is_floating_point() or to.is_floating_point or to.name == "bool":
            return None
        limits = run.torch.iinfo(to.torch)
        return x.nan_to_num(number).clamp(limits.min, limits.max).to(to.torch)

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, self.to_type),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return wanted

    def add_to(self, lowering: Network) -> Any:
        return lowering.provider.add_cast(lowering.network, lowering[self.inputs[0]], self.to_type)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: Any) -> Any:
        return inputs[0].to(run.dtype(self.to_type))
