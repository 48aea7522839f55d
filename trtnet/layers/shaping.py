"""Layers that move elements about without computing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..dims import Dim, Size, SizeLike
from .base import Layer, Output, same_count
from ..tensor import Tensor

if TYPE_CHECKING:
    from ..lowering import Lowering
    from ..reference import Run


@dataclass(slots=True, eq=False, repr=False)
class Shuffle(Layer):
    """`add_shuffle`: a transpose, a reshape, a transpose; each may be left out (None)."""

    first_transpose: tuple[int, ...] | None = None
    reshape_dims: tuple[SizeLike, ...] | None = None
    second_transpose: tuple[int, ...] | None = None

    kind: ClassVar[str] = "shuffle"

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        shape = self._between()
        if self.reshape_dims is not None:
            same_count(shape, self.reshape_dims)
            shape = Size(self.reshape_dims)
        if self.second_transpose is not None:
            shape = Size(shape[i] for i in self.second_transpose)
        return ((shape, x.dtype),)

    def _between(self) -> Size:
        shape = self.inputs[0].shape  # type: ignore[union-attr]
        return Size(shape) if self.first_transpose is None else Size(shape[i] for i in self.first_transpose)

    def add_to(self, lowering: Lowering) -> Any:
        layer = lowering.network.add_shuffle(lowering[self.inputs[0]])
        if layer is None:
            return None
        if self.first_transpose is not None:
            layer.first_transpose = self.first_transpose
        if self.reshape_dims is not None:
            # numbers where TensorRT takes them: 0 copies a dimension of the input, one -1 is worked out
            before, numbers = self._between(), []
            for axis, size in enumerate(self.reshape_dims):
                if not isinstance(size, Dim):
                    numbers.append(size)
                elif axis < len(before) and before[axis] == size:
                    numbers.append(0)
                else:
                    numbers.append(-1)
            if numbers.count(-1) <= 1 and 0 not in self.reshape_dims:
                layer.reshape_dims = tuple(numbers)
            else:
                layer.set_input(1, lowering.shape_tensor(self.reshape_dims))
        if self.second_transpose is not None:
            layer.second_transpose = self.second_transpose
        return layer

    def compute(self, run: Run, *inputs: Any) -> Any:
        x = inputs[0]
        if self.first_transpose is not None:
            x = x.permute(self.first_transpose)
        if self.reshape_dims is not None:
            x = x.reshape(run.shape(self.reshape_dims))
        if self.second_transpose is not None:
            x = x.permute(self.second_transpose)
        return x
