"""Mixtures of experts: of many small networks, each token is given to a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike, format_shape, product
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from .activation import Activation
from .base import Layer, Operand, Output, require_equal, require_floating
from .bounds import Bounds
from .casting import converted, within
from .constant import constant
from .gather import Gather
from .matrix import MatrixMultiply
from .targets import Features, Functions, ILayer, Network, Run

if TYPE_CHECKING:
    import torch

NAMES = ("hidden states", "selected experts", "scores", "gate weights", "up weights", "down weights")


@dataclass(slots=True, eq=False, repr=False)
class MoE(Layer):
    """`add_moe`: for each token, sum over its selected experts of score * down(silu(gate(x)) * up(x)).

    Inputs: hidden states (B, S, H); the experts of each token (B, S, K), int32 or int64; their scores (B, S, K); the
    experts' weights, gate (E, H, I), up (E, H, I) and down (E, I, H), with fc(x) = x @ w; and, all or none, their
    biases (E, I), (E, I) and (E, H). Output: (B, S, H). All floats are of one type.

    TensorRT has it from 10.16 on, for GPUs of compute capability 10 and 11; elsewhere it is composed: of the selected
    experts' weights where the tokens take no more of them than there are, else of all experts for all tokens. What
    quantizes the input of `down`, and SwiGLU's parameters, are not offered. Source: IMoELayer in NvInfer.h of 11.1.
    """

    activation_type: str = "SILU"

    kind: ClassVar[str] = "moe"
    input_counts: ClassVar[tuple[int, int, int | None]] = (6, 6, 9)

    def infer(self) -> tuple[Output, ...]:
        if len(self.inputs) not in (6, 9) or not all(isinstance(one, Tensor) for one in self.inputs):
            raise ShapeError(
                "a mixture of experts takes six tensors, or nine with biases",
                expected=", ".join(NAMES) + ", and three biases or none",
                found=f"{len(self.inputs)} operands",
            )
        x, experts, scores, gate, up, down, *biases = self.tensors
        if self.activation_type != "SILU":
            raise ArgumentError("experts have one activation", expected="'SILU'", found=repr(self.activation_type))
        if experts.dtype not in (dtypes.int32, dtypes.int64):
            raise DtypeError("experts are whole numbers", expected="int32 or int64", found=experts.dtype)
        floats = (x, scores, gate, up, down, *biases)
        require_floating("a mixture of experts", *floats)
        if any(one.dtype is not x.dtype for one in floats):
            raise DtypeError(
                "a mixture of experts computes in one type",
                expected=x.dtype,
                found=", ".join(str(one.dtype) for one in floats),
                remedy="convert them first: .to(dtype)",
            )
        ranks = (3,) * 6 + (2,) * len(biases)
        if any(len(one.shape) != rank for one, rank in zip(self.tensors, ranks)):
            raise ShapeError(
                "a mixture of experts takes hidden states of three dimensions",
                expected="(B, S, H), (B, S, K), (B, S, K), (E, H, I), (E, H, I), (E, I, H), and (E, I), (E, I), (E, H)",
                found=", ".join(format_shape(one.shape) for one in self.tensors),
            )
        self._check_sizes()
        return ((x.shape, x.dtype),)

    def _check_sizes(self) -> None:
        x, experts, scores, gate, up, down, *biases = self.tensors
        batch, tokens, hidden = x.shape
        count, _, inner = gate.shape
        chosen = (batch, tokens, experts.shape[2])
        shapes: tuple[tuple[SizeLike, ...], ...] = (
            chosen, chosen, (count, hidden, inner), (count, hidden, inner), (count, inner, hidden),
            (count, inner), (count, inner), (count, hidden),
        )  # fmt: skip
        wanted = zip((experts, scores, gate, up, down, *biases), shapes)
        for tensor, shape in wanted:
            for found, size in zip(tensor.shape, shape):
                problem = f"a mixture of experts: {format_shape(tensor.shape)} does not fit {format_shape(shape)}"
                require_equal(found, size, problem)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position == 1:
            return Bounds((0,), (self.tensors[3].shape[0] - 1,))
        return None

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_moe") and provider.runs_experts

    def add_to(self, lowering: Network) -> ILayer | None:
        tensors = [lowering[one] for one in self.inputs]
        layer = lowering.network.add_moe(*tensors[:3])
        if layer is not None:
            layer.set_gated_weights(*tensors[3:6], lowering.enum("MoEActType", self.activation_type))
            if len(tensors) > 6:
                layer.set_gated_biases(*tensors[6:])
        return layer

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        given = [one for one in inputs if isinstance(one, Tensor)]
        x, experts = given[:2]
        hidden, chosen, count = x.shape[2], experts.shape[2], given[3].shape[0]
        tokens = product(x.shape[:2])
        if isinstance(tokens, int) and isinstance(chosen, int) and isinstance(count, int) and tokens * chosen <= count:
            made = _of_chosen(F, given, tokens, chosen)
        else:
            made = _of_all(F, given)
        return F.reshape(made, (*x.shape[:2], hidden))

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, experts, scores, gate, up, down, *biases = inputs
        functional = run.torch.nn.functional
        within(experts, "the number of an expert is negative")
        total = run.torch.zeros_like(x)
        for place in range(experts.shape[2]):
            at = experts[..., place].long()
            row = x.unsqueeze(-2)
            parts = [row @ one[at] for one in (gate, up)]
            if biases:
                parts = [part + bias[at].unsqueeze(-2) for part, bias in zip(parts, biases)]
            inner = functional.silu(parts[0]) * parts[1]
            made = (inner @ down[at]).squeeze(-2)
            if biases:
                made = made + biases[2][at]
            total = total + scores[..., place : place + 1] * made
        return total


def _gated(F: Functions, row: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """down(silu(gate(row)) * up(row)) by matrices of one rank."""
    gate, up, down = weights
    parts: list[Tensor] = [emit(MatrixMultiply((row, one))) for one in (gate, up)]
    if biases:
        parts = [F.add(part, bias) for part, bias in zip(parts, biases)]
    silu = F.mul(parts[0], emit(Activation((parts[0],), "SIGMOID")))
    made: Tensor = emit(MatrixMultiply((F.mul(silu, parts[1]), down)))
    return F.add(made, biases[2]) if biases else made


def _of_chosen(F: Functions, given: list[Tensor], tokens: int, chosen: int) -> Tensor:
    """(T, H): with the weights of the experts of each token, (T * K, H, I)."""
    x, experts, scores, *weights = given
    hidden = x.shape[2]
    at = F.reshape(experts, (-1,))
    taken: list[Tensor] = [emit(Gather((one, at), axis=0)) for one in weights]
    biases = [F.reshape(one, (-1, 1, one.shape[1])) for one in taken[3:]]
    each = constant(Array(np.repeat(np.arange(tokens, dtype=np.int32), chosen)))
    rows: Tensor = emit(Gather((F.reshape(x, (-1, 1, hidden)), each), axis=0))
    made = F.mul(_gated(F, rows, taken[:3], biases), F.reshape(scores, (-1, 1, 1)))
    return F.sum(F.reshape(made, (tokens, chosen, hidden)), 1, False)


def _of_all(F: Functions, given: list[Tensor]) -> Tensor:
    """(T, H): every expert for every token, of which those that were not selected are left out."""
    x, experts, scores, *weights = given
    count, chosen, hidden = weights[0].shape[0], experts.shape[2], x.shape[2]
    biases = [F.reshape(one, (count, 1, one.shape[1])) for one in weights[3:]]
    rows = F.reshape(x, (1, -1, hidden))
    made = _gated(F, rows, weights[:3], biases)  # (E, T, H)
    ids = F.reshape(F.arange(count, dtype=dtypes.int32), (count, 1, 1))
    is_selected = F.eq(F.reshape(converted(experts, dtypes.int32), (1, -1, chosen)), ids)  # (E, T, K)
    share = F.sum(F.where(is_selected, F.reshape(scores, (1, -1, chosen)), 0.0), 2, True)
    times = F.sum(converted(is_selected, dtypes.int32), 2, True)
    return F.sum(F.where(F.gt(times, 0), F.mul(made, share), 0.0), 0, False)
