"""Layers that make tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.dtypes import float32, int64
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.graph import Graph
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output
from .bounds import Bounds
from .pooling import Pooling
from .sizes import SHOWN, check_numbers, chosen_sizes, computed, decide, shape_tensor, taken
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False, repr=False)
class Fill(Layer):
    """`add_fill`: LINSPACE is one dimension of alpha, alpha + beta, alpha + 2*beta… as float32 or int64.

    RANDOM_UNIFORM draws float32 between alpha and beta at each call, RANDOM_NORMAL with mean alpha and standard
    deviation beta, in any shape of one dimension or more. Which generator, TensorRT does not say; it takes no seed.
    CUDA's gives (0, 1] before it is scaled, torch's [0, 1): either end may occur.

    Of int64, alpha and beta may be Dims. They may also be tensors, inputs 1 and 2: alpha without dimensions, beta too,
    or (1,) for LINSPACE. Input 0 (else None) holds the sizes where the network computes them: whole numbers, one for
    each dimension. Those that it decides are None in `shape`, and a Dim is made for each.
    """

    shape: tuple[SizeLike, ...]
    operation: str = "LINSPACE"
    to_type: Dtype = int64
    alpha: SizeLike | float = 0
    beta: SizeLike | float = 1
    decided: tuple[Dim, ...] = ()

    kind: ClassVar[str] = "fill"
    chooses: ClassVar[tuple[str, ...]] = ("decided",)
    later: ClassVar[tuple[str, ...]] = ("decided",)
    open_sizes: ClassVar[str] = "shape"
    input_counts: ClassVar[tuple[int, int, int | None]] = (0, 0, 3)

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        return chosen_sizes(cls.kind, operands, 0, given, "shape")

    @property
    def decides(self) -> tuple[Dim, ...]:
        return self.decided

    @property
    def computes_sizes(self) -> bool:  # type: ignore[override]
        return not self.draws

    @property
    def draws(self) -> bool:
        return self.operation in ("RANDOM_UNIFORM", "RANDOM_NORMAL")

    def infer(self) -> tuple[Output, ...]:
        if self.draws:
            if not self.shape:
                raise ShapeError("a fill layer makes one dimension or more", found=format_shape(self.shape))
            if self.to_type is not float32:
                raise DtypeError("a fill layer draws float32", found=self.to_type)
        elif self.operation != "LINSPACE":
            raise ArgumentError(
                "a fill layer has no such operation",
                expected="LINSPACE, RANDOM_UNIFORM or RANDOM_NORMAL",
                found=self.operation,
            )
        elif len(self.shape) != 1:
            raise ShapeError("LINSPACE makes one dimension", found=format_shape(self.shape))
        elif self.to_type not in (float32, int64):
            raise DtypeError("a fill layer makes float32 or int64", found=self.to_type)
        if self._ends:
            self._check_tensors()
        check_numbers("fill", "the sizes", self.operand(0), len(self.shape), len(self.decided))
        return ((Size(self.shape), self.to_type),)

    @property
    def _ends(self) -> tuple[Operand, ...]:
        """Alpha and beta, where they are tensors."""
        ends = self.inputs[1:]
        return () if all(end is None for end in ends) else ends

    def _check_tensors(self) -> None:
        ends = self._ends
        if len(ends) != 2 or not all(isinstance(end, Tensor) for end in ends):
            raise ArgumentError(
                "a fill layer takes alpha and beta as tensors, or neither",
                expected="None or sizes, alpha, beta",
                found=", ".join("None" if x is None else format_shape(x.shape) for x in self.inputs),
                remedy="give sizes as shape=(...), and both tensors: add_fill(None, alpha, beta, shape=...)",
            )
        for name, end, shape in zip(("alpha", "beta"), ends, ((), () if self.draws else (1,))):
            assert end is not None
            if end.dtype is not self.to_type:
                raise DtypeError(
                    f"{name} of a fill has the type of what it makes", expected=self.to_type, found=end.dtype
                )
            if tuple(end.shape) != shape:
                raise ShapeError(
                    f"{name} of a fill is one number", expected=format_shape(shape), found=format_shape(end.shape)
                )

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position == 0 and self.decided:
            return taken(self.shape, self.decided, self.inputs[0], [SHOWN] * len(self.shape))
        return Layer.takes(self, position, wanted, output)

    def holds(self, fixed: bool = False) -> tuple[SizeLike, SizeLike] | None:
        """Of whole numbers that grow."""
        alpha, beta = self.alpha, self.beta
        if self._ends or self.operation != "LINSPACE" or self.to_type is not int64 or isinstance(alpha, float):
            return None
        if self.shape == (1,):
            return alpha, alpha
        if not isinstance(beta, int) or beta < 0:
            return None
        return alpha, alpha + beta * (self.shape[0] - 1)

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        alpha, beta = self.alpha, self.beta
        if self.decided or self._ends or self.draws or isinstance(alpha, float) or isinstance(beta, float):
            return None
        return size(alpha) + size(beta) * np.arange(size(self.shape[0]), dtype=np.int64)

    @classmethod
    def failing(cls, graph: Graph, provider: Features, refit: bool) -> Collection[Layer]:
        """Draws, where `Abilities.draws_anew` is False: see there."""
        return () if provider.draws_anew else [x for x in graph.layers if isinstance(x, cls) and x.draws]

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """A draw, and the largest number of each window of one."""
        drawn = emit(Fill(inputs, self.shape, self.operation, self.to_type, self.alpha, self.beta, self.decided))
        plane = F.reshape(drawn, (1, 1, -1, self.shape[-1]))
        return F.reshape(emit(Pooling((plane,), "MAX", (1, 1), (1, 1), (0, 0), (0, 0))), self.shape)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        held, first, second = (source.operand(native, index) for index in range(3))
        given = cls.read_attributes(native, source, "shape", "operation", "to_type")
        if held is not None:
            given["shape"] = source.numbers(held, "the shape of a fill layer")
        if first is None or second is None:
            return cls((), **given, **cls.read_attributes(native, source, "alpha", "beta"))
        return cls((None, first, second), **given)

    def add_to(self, lowering: Network) -> ILayer | None:
        static = lowering.is_static(self.shape)
        shape = self.shape if static else (1,) * len(self.shape)
        types = (lowering.data_type(self.to_type),) if lowering.provider.strongly_typed else ()
        layer = lowering.network.add_fill(shape, lowering.enum("FillOperation", self.operation), *types)
        if layer is None:
            return None
        if not static:
            layer.set_input(0, shape_tensor(lowering, self.shape, self.decided, self.operand(0)))
            decide(lowering, Size(self.shape), self.decided, layer.get_output(0))
        if self._ends:
            layer.set_input(1, lowering[self.inputs[1]])
            layer.set_input(2, lowering[self.inputs[2]])
            return layer
        if self.to_type is float32:
            layer.alpha, layer.beta = float(self.alpha), float(self.beta)
            return layer
        # of integers, and on TensorRT 8.6, the type comes from the tensors
        layer.set_input(1, lowering.scalar(_whole(self.alpha)))
        layer.set_input(2, lowering.shape_tensor((_whole(self.beta),)))
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        if self._ends:
            return None if self.operation == "RANDOM_NORMAL" else self._ends
        ends = [v.bounds[0] if isinstance(v, Dim) else v for v in (self.alpha, self.beta)]
        return None if self.operation == "RANDOM_NORMAL" or min(ends) < 0 else ()

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        torch, dtype = run.torch, run.dtype(self.to_type)
        given = [v if isinstance(v, float) else run.size(v) for v in (self.alpha, self.beta)]
        alpha, beta = inputs[1:] if self._ends else given
        shape = computed(run, "fill", self.shape, self.decided, inputs[0] if inputs else None)
        if self.draws:
            draw, scale = (torch.randn, beta) if self.operation == "RANDOM_NORMAL" else (torch.rand, beta - alpha)
            # in float32 where the reference is in float64 too, so that the same seed gives the same draws
            drawn = draw(shape, generator=run.generator(), device=run.device, dtype=torch.float32)
            return (drawn * scale + alpha).to(dtype)
        return torch.arange(shape[0], device=run.device).to(dtype) * beta + alpha


def _whole(number: SizeLike | float) -> SizeLike:
    """A number of an integer fill as a size."""
    return number if isinstance(number, Dim) else int(number)
