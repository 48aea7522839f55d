"""Layers whose values decide the size of what they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..basics import dtypes
from ..basics.dims import Dim, Size, format_shape
from ..basics.errors import DtypeError, ShapeError
from ..graph.recorder import recorder
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output
from .bounds import Bounds
from .targets import ILayer, Network, Run

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False, repr=False)
class NonZero(Layer):
    """`add_non_zero`: where a bool tensor is True, as int32 of shape (its rank, `count`), in row-major order.

    `count` is a Dim that no input has: the data decides it at each call.
    """

    count: Dim

    kind: ClassVar[str] = "non_zero"
    is_dense: ClassVar[bool] = False
    rounds: ClassVar[bool] = False

    @property
    def decides(self) -> Dim:
        return self.count

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...]) -> dict[str, Any]:
        x = operands[0]
        assert isinstance(x, Tensor)
        elements = x.shape.numel()
        return {"count": recorder().data_dim("nonzero", elements if isinstance(elements, int) else elements.bounds[1])}

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        if x.dtype is not dtypes.bool_:
            raise DtypeError(
                "a non-zero layer takes bool", expected="bool", found=x.dtype, remedy="compare first: x != 0"
            )
        if not x.shape:
            raise ShapeError("a non-zero layer takes at least one dimension", found=format_shape(x.shape))
        return ((Size((len(x.shape), self.count)), dtypes.int32),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_non_zero(lowering[self.inputs[0]])
        if layer is not None:
            lowering.data_decides(self.count, layer.get_output(0), 1)
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return ()

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        found = inputs[0].nonzero().T
        run.data_decides(self.count, found.shape[1])
        return found.to(run.torch.int32)
