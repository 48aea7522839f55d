"""Weights as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..dims import Size
from ..tensor import Tensor
from ..weights.recipes import Recipe, Weight
from .base import Layer, Operand, Output

if TYPE_CHECKING:
    from ..lowering import Lowering
    from ..reference import Run


@dataclass(slots=True, eq=False, repr=False)
class Constant(Layer):
    """`add_constant`: weights, as a tensor of any shape with as many elements."""

    shape: tuple[int, ...]

    kind: ClassVar[str] = "constant"
    weight_attributes: ClassVar[dict[int, str]] = {0: "weights"}

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        return isinstance(self.inputs[0], Recipe)

    def infer(self) -> tuple[Output, ...]:
        weight = self.inputs[0]
        assert isinstance(weight, Weight)
        return ((Size(self.shape), weight.dtype),)

    def with_operands(self, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]:
        from ..functional.shape import reshape

        tensor = operands[0]
        assert isinstance(tensor, Tensor)
        return tensor if tuple(tensor.shape) == self.shape else reshape(tensor, self.shape)

    def add_to(self, lowering: Lowering) -> Any:
        return lowering.network.add_constant(self.shape, lowering.weights(self.inputs[0]))

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: Any) -> Any:
        return inputs[0].reshape(self.shape)
