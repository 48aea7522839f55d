"""Identity and change of type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..dtypes import dtype as Dtype
from ..tensor import Tensor
from .base import Layer, Output

if TYPE_CHECKING:
    from ..lowering import Lowering
    from ..reference import Run


@dataclass(slots=True, eq=False, repr=False)
class Identity(Layer):
    """`add_identity`: the input as it is, under another name."""

    kind: ClassVar[str] = "identity"

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, x.dtype),)

    def add_to(self, lowering: Lowering) -> Any:
        return lowering.network.add_identity(lowering[self.inputs[0]])

    def compute(self, run: Run, *inputs: Any) -> Any:
        return inputs[0]


@dataclass(slots=True, eq=False, repr=False)
class Cast(Layer):
    """`add_cast`: the input in another element type."""

    to_type: Dtype

    kind: ClassVar[str] = "cast"

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, self.to_type),)

    def add_to(self, lowering: Lowering) -> Any:
        return lowering.provider.add_cast(lowering.network, lowering[self.inputs[0]], self.to_type)

    def compute(self, run: Run, *inputs: Any) -> Any:
        return inputs[0].to(run.dtype(self.to_type))
