"""Exchanges between the processes that run one network together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..basics.dims import Size, format_shape
from ..basics.errors import ArgumentError, ProviderError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output, require_computed, require_equal
from .bounds import Bounds
from .casting import Identity
from .targets import Features, Functions, ILayer, Network, Run

if TYPE_CHECKING:
    import torch

REDUCING = ("ALL_REDUCE", "REDUCE", "REDUCE_SCATTER")
ROOTED = ("BROADCAST", "REDUCE", "GATHER", "SCATTER")
OPERATIONS = ("ALL_REDUCE", "ALL_GATHER", "BROADCAST", "REDUCE", "REDUCE_SCATTER", "ALL_TO_ALL", "GATHER", "SCATTER")
REDUCTIONS = ("SUM", "PROD", "MAX", "MIN", "AVG")


@dataclass(slots=True, eq=False, repr=False)
class DistCollective(Layer):
    """`add_dist_collective`: what `num_ranks` processes exchange, each of which runs this network on a GPU of its own.

    ALL_REDUCE, REDUCE, BROADCAST and ALL_TO_ALL keep the shape; ALL_GATHER and GATHER give `num_ranks` times as many
    rows, REDUCE_SCATTER and SCATTER that part of them. `reduce_op`: SUM, PROD, MAX, MIN or AVG of what reduces, else
    NONE. `root`: the rank that sends or receives, where there is one. `groups`: the ranks that take part, else all.

    TensorRT has it from 10.16 on (ALL_TO_ALL, GATHER, SCATTER from 11.0). With one rank it changes nothing, and is an
    identity: TensorRT-RTX refuses to gather there. With several the reference raises ProviderError, and an engine needs
    a communicator (IExecutionContext.set_communicator), which trtnet's do not give: lower such a network onto your own.
    """

    operation: str
    reduce_op: str = "NONE"
    root: int = -1
    groups: tuple[int, ...] = ()
    num_ranks: int = 1

    kind: ClassVar[str] = "dist_collective"

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        require_computed("a collective", x)
        self._check()
        if self.operation not in ("ALL_GATHER", "GATHER", "REDUCE_SCATTER", "SCATTER"):
            return ((x.shape, x.dtype),)
        if not x.shape:
            raise ShapeError("a collective of rows takes one dimension or more", found=format_shape(x.shape))
        rows = x.shape[0]
        if self.operation in ("ALL_GATHER", "GATHER"):
            return ((Size((rows * self.num_ranks, *x.shape[1:])), x.dtype),)
        part = rows // self.num_ranks
        problem = f"{self.operation} gives each of {self.num_ranks} ranks as many rows: {format_shape(x.shape)}"
        require_equal(part * self.num_ranks, rows, problem)
        return ((Size((part, *x.shape[1:])), x.dtype),)

    def _check(self) -> None:
        if self.operation not in OPERATIONS:
            raise ArgumentError(
                "there is no such collective operation", expected=", ".join(OPERATIONS), found=repr(self.operation)
            )
        reductions = REDUCTIONS if self.operation in REDUCING else ("NONE",)
        if self.reduce_op not in reductions:
            raise ArgumentError(
                f"the reduce_op of {self.operation} is another",
                expected=" or ".join(map(repr, reductions)),
                found=repr(self.reduce_op),
            )
        within = 1 <= self.num_ranks <= 2**31 - 1
        ranks: Sequence[int] = self.groups or range(self.num_ranks if within else 0)
        several = bool(self.groups) and (len(set(ranks)) != self.num_ranks or min(ranks) < 0)
        if not within or several:
            raise ArgumentError(
                "groups are the ranks that take part",
                expected=f"{self.num_ranks} different numbers, 0 or more",
                found=str(self.groups),
                remedy="leave groups out where all take part, and make num_ranks their number",
            )
        if (self.root in ranks) != (self.operation in ROOTED):
            raise ArgumentError(
                f"the root of {self.operation} is another",
                expected=f"one of {', '.join(map(str, ranks[:8]))}{', ...' if len(ranks) > 8 else ''}"
                if self.operation in ROOTED
                else "-1: there is none",
                found=str(self.root),
            )

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None if wanted is None else wanted.one()

    def supported(self, provider: Features) -> bool:
        has_layer = provider.has_layer("add_dist_collective")
        return self.num_ranks > 1 and has_layer and provider.has("CollectiveOperation", self.operation)

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_dist_collective(
            lowering[self.inputs[0]],
            lowering.enum("CollectiveOperation", self.operation),
            lowering.enum("ReduceOperation", self.reduce_op),
            self.root,
            list(self.groups) or None,
        )
        if layer is not None:
            layer.num_ranks = self.num_ranks
        return layer

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        self._require_one("this TensorRT has no such collective")
        made: Tensor = emit(Identity(inputs))
        return made

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        self._require_one("the reference is one process")
        return inputs[0].clone()

    def _require_one(self, why: str) -> None:
        """Raises ProviderError where several processes are needed."""
        if self.num_ranks == 1:
            return
        raise ProviderError(
            f"{why}: {self.operation} between {self.num_ranks} ranks needs as many",
            expected="TensorRT 10.16 or newer (11.0 for ALL_TO_ALL, GATHER and SCATTER), and a communicator",
            found=f"num_ranks={self.num_ranks}",
            module=self.path or None,
            where=self.location,
            remedy="graph.lower(network) onto a network of such a TensorRT, and run its engine with your communicator; "
            "num_ranks=1 leaves the tensor as it is",
        )
