"""What must hold while a network runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.errors import DtypeError, EngineError, ProviderError, ShapeError
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output
from .bounds import Bounds
from .shaping import Shape
from .targets import ILayer, Network, Run

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False, repr=False)
class Assertion(Layer):
    """`add_assertion`: a bool, or several in one dimension, that must be True at each call, with a message; no output.

    TensorRT takes conditions over sizes (`trtnet.layers.add_shape(x)`) and constants: it refuses to build a network
    whose assertion is false at all sizes, and a call at whose sizes it is. Conditions over data are checked by the
    reference alone, which raises EngineError at the user's line; lowering raises ProviderError.
    """

    message: str = ""

    kind: ClassVar[str] = "assertion"
    reads: ClassVar[Mapping[str, str] | None] = {}
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        condition = self.inputs[0]
        assert isinstance(condition, Tensor)
        if condition.dtype is not dtypes.bool_:
            raise DtypeError(
                "an assertion takes bool", expected="bool", found=condition.dtype, remedy="compare first: x != 0"
            )
        if len(condition.shape) > 1:
            raise ShapeError(
                "an assertion takes one bool, or one dimension of them",
                expected="() or (n,)",
                found=format_shape(condition.shape),
                remedy="condition.all() is one bool, condition.flatten() one dimension",
            )
        return ()

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None

    def add_to(self, lowering: Network) -> ILayer | None:
        if not _is_of_sizes(self.inputs[0]):
            raise ProviderError(
                "TensorRT asserts nothing of data",
                expected="a condition over sizes and constants: trtnet.layers.add_shape(x) > 0",
                found=f"one that is computed from the inputs: {self.message!r}",
                remedy="have it as an output, trtnet.mark(condition, 'holds'), and look at it after the call",
            )
        return lowering.network.add_assertion(lowering[self.inputs[0]], self.message)

    def compute(self, run: Run, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        condition = inputs[0]
        if not bool(condition.all()):
            false = "" if condition.ndim == 0 else f" at {condition.logical_not().nonzero().flatten().tolist()[:8]}"
            raise EngineError(
                self.message or "an assertion does not hold",
                expected="True",
                found=f"False{false}",
                module=self.path or None,
                where=self.location,
            )
        return ()


def _is_of_sizes(operand: Operand) -> bool:
    """Whether a tensor is computed from sizes and constants alone."""
    pending, seen = [operand], set()
    while pending:
        one = pending.pop()
        if not isinstance(one, Tensor) or id(one) in seen:
            continue
        seen.add(id(one))
        if one.layer is None:
            return False
        if not isinstance(one.layer, Shape):
            pending += one.layer.inputs
    return True
