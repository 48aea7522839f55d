"""Softmax, scale, and normalization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..tensor import Tensor
from .base import Layer, Output

if TYPE_CHECKING:
    from ..lowering import Lowering
    from ..reference import Run


@dataclass(slots=True, eq=False, repr=False)
class SoftMax(Layer):
    """`add_softmax`: exponentials along one axis, divided by their sum."""

    axis: int

    kind: ClassVar[str] = "softmax"

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, x.dtype),)

    def add_to(self, lowering: Lowering) -> Any:
        layer = lowering.network.add_softmax(lowering[self.inputs[0]])
        if layer is not None:
            layer.axes = 1 << self.axis
        return layer

    def compute(self, run: Run, *inputs: Any) -> Any:
        return inputs[0].softmax(self.axis)
