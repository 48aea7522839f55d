"""Weights as tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Size, SizeLike
from ..graph.graph import Graph
from ..graph.recorder import emit, recorder
from ..graph.tensor import Array, Tensor
from ..weights.recipes import Literal, Recipe, Weight, cast, evaluate, reshape
from .base import Layer, Operand, Output, unreadable
from .casting import converted
from .shaping import reshaped
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False, repr=False)
class Constant(Layer):
    """`add_constant`: weights, as a tensor of any shape with as many elements."""

    shape: tuple[int, ...]

    kind: ClassVar[str] = "constant"
    computes_sizes: ClassVar[bool] = True
    weight_attributes: ClassVar[dict[int, str]] = {0: "weights"}

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        return isinstance(self.inputs[0], Recipe)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        shape = source.attribute(native, "shape", "tuple[int, ...]")
        weight = source.weights(native, "weights")
        if weight is None:
            raise unreadable(cls.kind, "it holds nothing")
        return cls((weight,), shape)

    @classmethod
    def shape_of(cls, native: ILayer, source: Source, attribute: str, count: int) -> tuple[int, ...]:
        shape: tuple[int, ...] = source.attribute(native, "shape", "tuple[int, ...]")
        return shape

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        weight = self.inputs[0]
        if not isinstance(weight, Literal) or weight.dtype.is_floating_point or len(self.shape) > 1:
            return None
        return tuple(int(number) for number in weight.array.reshape(-1))

    def infer(self) -> tuple[Output, ...]:
        weight = self.inputs[0]
        assert isinstance(weight, Weight)
        return ((Size(self.shape), weight.dtype),)

    def lies(self) -> tuple[int, ...] | None:
        weight = self.inputs[0]
        return weight.strides if isinstance(weight, Literal) and tuple(weight.shape) == self.shape else None

    def as_weight(self, of: Callable[[Operand], Weight | None]) -> Weight | None:
        weight = self.inputs[0]
        assert isinstance(weight, Weight)
        return reshape(weight, self.shape)

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        return values[0].reshape(self.shape)

    def with_operands(self, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]:
        tensor = operands[0]
        assert isinstance(tensor, Tensor)
        return reshaped(tensor, self.shape)

    def holds(self, fixed: bool = False) -> tuple[SizeLike, SizeLike] | None:
        weight = self.inputs[0]
        if not isinstance(weight, Weight) or weight.dtype.is_floating_point or not weight.count:
            return None
        if fixed and weight.name is not None:
            return None
        array = evaluate(weight, lambda leaf: leaf.value.read())
        return int(array.min()), int(array.max())

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_constant(self.shape, lowering.weights(self.inputs[0]))

    @classmethod
    def failing(cls, graph: Graph, provider: Features, refit: bool) -> Collection[Layer]:
        """Those of int8 that something else takes than dequantize layers."""
        made = {layer.outputs[0]: layer for layer in graph.layers if isinstance(layer, cls)}
        made = {t: layer for t, layer in made.items() if t.dtype is dtypes.int8}
        if not made:
            return ()
        taken = {o for layer in graph.layers if layer.takes_quantized for o in layer.inputs}
        others = {o for layer in graph.layers if not layer.takes_quantized for o in layer.inputs}
        others |= {*graph.outputs.values()}
        return [layer for t, layer in made.items() if t not in taken or t in others]

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """Of int8, which TensorRT takes before a dequantize layer only: int32, and a cast."""
        return converted(self.widened(F, inputs), self.outputs[0].dtype)

    def widened(self, F: Functions, operands: tuple[Operand, ...]) -> Tensor:
        weight = operands[0]
        assert isinstance(weight, Weight)
        wide: Weight = (
            Literal(weight.array.astype(np.int32)) if isinstance(weight, Literal) else cast(weight, dtypes.int32)
        )
        made: Tensor = emit(Constant((wide,), self.shape))
        return made

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].reshape(self.shape)


def constant(value: Array | Weight | np.ndarray, shape: tuple[int, ...] | None = None) -> Tensor:
    """`value` as a recorded tensor: a constant layer, one for each parameter and shape."""
    current = recorder()
    if isinstance(value, Weight):
        weight = value
    else:
        weight = current.weight(Array(value) if isinstance(value, np.ndarray) else value)
    target = tuple(weight.shape) if shape is None else shape
    if isinstance(weight, Literal):
        made: Tensor = current.emit(Constant((weight,), target))
        return made
    key = (weight, target)
    found = current.constants.get(key)
    if found is None:
        found = current.constants[key] = current.emit(Constant((weight,), target))
    return found


def with_rank(value: Tensor | Weight, rank: int) -> Tensor:
    """`value` as a recorded tensor with dimensions of size 1 in front, up to `rank`."""
    shape: tuple[Any, ...] = value.shape
    missing = rank - len(shape)
    if isinstance(value, (Weight, Array)):
        return constant(value, (1,) * missing + tuple(shape))
    return value if missing <= 0 else reshaped(value, (1,) * missing + tuple(shape))


def with_shape(value: Tensor | Weight, shape: tuple[Any, ...]) -> Tensor:
    """Weights, or a recorded tensor of fixed sizes, as a tensor of another shape."""
    return constant(value, shape) if isinstance(value, Weight) else reshaped(value, shape)
