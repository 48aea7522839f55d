"""Mixtures of experts: of many small networks, each token is given to a few."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike, format_shape, product
from ..basics.dtypes import dtype as Dtype
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
from .quantization import Dequantize, Quantize, nearest
from .targets import Features, Functions, ILayer, Network, Run

if TYPE_CHECKING:
    import torch

NAMES = ("hidden states", "selected experts", "scores", "gate weights", "up weights", "down weights")


@dataclass(slots=True, eq=False, repr=False)
class MoE(Layer):
    """`add_moe`: for each token, sum over its selected experts of score * down(silu(gate(x)) * up(x)).

    With parameters of SwiGLU, of a = min(gate(x), limit) and b = up(x) between -limit and limit,
    a * sigmoid(alpha * a) * (b + beta) takes the place of the product, as in gpt-oss.

    Inputs: hidden states (B, S, H); the experts of each token (B, S, K), int32 or int64; their scores (B, S, K); the
    experts' weights, gate (E, H, I), up (E, H, I) and down (E, I, H), with fc(x) = x @ w; all or none (or None), their
    biases (E, I), (E, I) and (E, H); and, with `quantization_to_type` float8_e4m3fn, the scale by which the input of
    down is quantized and dequantized, one number. Output: (B, S, H). All floats are of one type.

    TensorRT has it from 10.16 on, for GPUs of compute capability 10 and 11; elsewhere it is composed: of the selected
    experts' weights where the tokens take no more of them than there are, else of all experts for all tokens. With
    parameters of SwiGLU it always is: TensorRT's own are "not supported yet" (its documentation), nor is its dynamic
    quantization, which is not offered. Source: IMoELayer in NvInfer.h of 11.1.
    """

    activation_type: str = "SILU"
    swiglu_param_limit: float = math.inf
    swiglu_param_alpha: float = 1.0
    swiglu_param_beta: float = 0.0
    quantization_to_type: Dtype | None = None

    kind: ClassVar[str] = "moe"
    input_counts: ClassVar[tuple[int, int, int | None]] = (6, 6, 10)
    later: ClassVar[tuple[str, ...]] = (
        "swiglu_param_limit", "swiglu_param_alpha", "swiglu_param_beta", "quantization_to_type",
    )  # fmt: skip

    @property
    def quantizes(self) -> bool:  # type: ignore[override]
        return self.quantization_to_type is not None

    @property
    def _swiglu(self) -> tuple[float, float, float]:
        return self.swiglu_param_limit, self.swiglu_param_alpha, self.swiglu_param_beta

    @property
    def _parts(self) -> tuple[list[Tensor], Tensor | None]:
        """The tensors but for the scale, without biases that are None; and the scale."""
        return [one for one in self.inputs[:9] if isinstance(one, Tensor)], self.tensors[-1] if self.quantizes else None

    def infer(self) -> tuple[Output, ...]:
        given, scale = self._parts
        whole = len(self.inputs) == 10 if self.quantizes else len(self.inputs) < 10
        if len(given) not in (6, 9) or None in self.inputs[:6] or not whole or self.operand(9) is not scale:
            raise ShapeError(
                "a mixture of experts takes six tensors, or nine with biases",
                expected=", ".join(NAMES) + ", and three biases or none" + ", and a scale" * self.quantizes,
                found=f"{len(self.inputs)} operands",
            )
        x, experts, scores, gate, up, down, *biases = given
        self._check_attributes(scale)
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
        if any(len(one.shape) != rank for one, rank in zip(given, ranks)):
            raise ShapeError(
                "a mixture of experts takes hidden states of three dimensions",
                expected="(B, S, H), (B, S, K), (B, S, K), (E, H, I), (E, H, I), (E, I, H), and (E, I), (E, I), (E, H)",
                found=", ".join(format_shape(one.shape) for one in given),
            )
        self._check_sizes(given)
        return ((x.shape, x.dtype),)

    def _check_attributes(self, scale: Tensor | None) -> None:
        limit, alpha, beta = self._swiglu
        if not limit > 0 or not math.isfinite(alpha) or not math.isfinite(beta):
            raise ArgumentError(
                "these are no parameters of SwiGLU",
                expected="a limit above 0, and a finite alpha and beta",
                found=f"limit {limit}, alpha {alpha}, beta {beta}",
                remedy="leave them out: they are infinity, 1 and 0 then",
            )
        if scale is None:
            return
        if self.quantization_to_type is not dtypes.float8_e4m3fn:
            raise DtypeError(
                "a mixture of experts quantizes to float8_e4m3fn",
                expected="float8_e4m3fn",
                found=self.quantization_to_type,
                remedy="quantize weights and hidden states by layers of their own: add_quantize, add_dequantize",
            )
        if scale.dtype is not dtypes.float32 or scale.shape.numel() != 1:
            raise DtypeError(
                "the scale of a mixture of experts is one number",
                expected="() float32",
                found=f"{format_shape(scale.shape)} {scale.dtype}",
                remedy="one scale for all experts: trtnet.tensor(0.02)",
            )

    def _check_sizes(self, given: list[Tensor]) -> None:
        x, experts, scores, gate, up, down, *biases = given
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
        return provider.has_layer("add_moe") and provider.runs_experts and self._swiglu == (math.inf, 1.0, 0.0)

    def add_to(self, lowering: Network) -> ILayer | None:
        given, scale = self._parts
        tensors = [lowering[one] for one in given]
        layer = lowering.network.add_moe(*tensors[:3])
        if layer is not None:
            layer.set_gated_weights(*tensors[3:6], lowering.enum("MoEActType", self.activation_type))
            if len(tensors) > 6:
                layer.set_gated_biases(*tensors[6:])
            if scale is not None and self.quantization_to_type is not None:
                layer.set_quantization_static(lowering[scale], lowering.data_type(self.quantization_to_type))
        return layer

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        given = [one for one in inputs[:9] if isinstance(one, Tensor)]
        scale = inputs[9] if self.quantizes else None
        x, experts = given[:2]
        hidden, chosen, count = x.shape[2], experts.shape[2], given[3].shape[0]
        tokens = product(x.shape[:2])
        if isinstance(tokens, int) and isinstance(chosen, int) and isinstance(count, int) and tokens * chosen <= count:
            made = self._of_chosen(F, given, scale, tokens, chosen)
        else:
            made = self._of_all(F, given, scale)
        return F.reshape(made, (*x.shape[:2], hidden))

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, experts, scores, gate, up, down, *more = inputs
        biases = [one for one in more[:3] if one is not None]
        limit, alpha, beta = self._swiglu
        within(experts, "the number of an expert is negative")
        total = run.torch.zeros_like(x)
        for place in range(experts.shape[2]):
            at = experts[..., place].long()
            row = x.unsqueeze(-2)
            parts = [row @ one[at] for one in (gate, up)]
            if biases:
                parts = [part + bias[at].unsqueeze(-2) for part, bias in zip(parts, biases)]
            first, second = parts[0].clamp(max=limit), parts[1].clamp(-limit, limit)
            inner = first * (first * alpha).sigmoid() * (second + beta)
            if self.quantization_to_type is not None:
                scale = more[3].reshape(())
                inner = (nearest(run, inner / scale, self.quantization_to_type)[0] * scale).to(x.dtype)
            made = (inner @ down[at]).squeeze(-2)
            if biases:
                made = made + biases[2][at]
            total = total + scores[..., place : place + 1] * made
        return total

    def _gated(self, F: Functions, row: Tensor, weights: list[Tensor], biases: list[Tensor], scale: Operand) -> Tensor:
        """What an expert gives, by matrices of one rank."""
        gate, up, down = weights
        parts: list[Tensor] = [emit(MatrixMultiply((row, one))) for one in (gate, up)]
        if biases:
            parts = [F.add(part, bias) for part, bias in zip(parts, biases)]
        limit, alpha, beta = self._swiglu
        first, second = parts
        if limit < math.inf:
            first, second = F.minimum(first, limit), F.maximum(F.minimum(second, limit), -limit)
        slope = first if alpha == 1 else F.mul(first, alpha)
        inner = F.mul(F.mul(first, emit(Activation((slope,), "SIGMOID"))), second if beta == 0 else F.add(second, beta))
        if self.quantization_to_type is not None:
            few = emit(Quantize((inner, scale), self.quantization_to_type))
            inner = emit(Dequantize((few, scale), inner.dtype))
        made: Tensor = emit(MatrixMultiply((inner, down)))
        return F.add(made, biases[2]) if biases else made

    def _of_chosen(self, F: Functions, given: list[Tensor], scale: Operand, tokens: int, chosen: int) -> Tensor:
        """(T, H): with the weights of the experts of each token, (T * K, H, I)."""
        x, experts, scores, *weights = given
        hidden = x.shape[2]
        at = F.reshape(experts, (-1,))
        taken: list[Tensor] = [emit(Gather((one, at), axis=0)) for one in weights]
        biases = [F.reshape(one, (-1, 1, one.shape[1])) for one in taken[3:]]
        each = constant(Array(np.repeat(np.arange(tokens, dtype=np.int32), chosen)))
        rows: Tensor = emit(Gather((F.reshape(x, (-1, 1, hidden)), each), axis=0))
        made = F.mul(self._gated(F, rows, taken[:3], biases, scale), F.reshape(scores, (-1, 1, 1)))
        return F.sum(F.reshape(made, (tokens, chosen, hidden)), 1, False)

    def _of_all(self, F: Functions, given: list[Tensor], scale: Operand) -> Tensor:
        """(T, H): every expert for every token, of which those that were not selected are left out."""
        x, experts, scores, *weights = given
        count, chosen, hidden = weights[0].shape[0], experts.shape[2], x.shape[2]
        biases = [F.reshape(one, (count, 1, one.shape[1])) for one in weights[3:]]
        rows = F.reshape(x, (1, -1, hidden))
        made = self._gated(F, rows, weights[:3], biases, scale)  # (E, T, H)
        ids = F.reshape(F.arange(count, dtype=dtypes.int32), (count, 1, 1))
        is_selected = F.eq(F.reshape(converted(experts, dtypes.int32), (1, -1, chosen)), ids)  # (E, T, K)
        share = F.sum(F.where(is_selected, F.reshape(scores, (1, -1, chosen)), 0.0), 2, True)
        times = F.sum(converted(is_selected, dtypes.int32), 2, True)
        return F.sum(F.where(F.gt(times, 0), F.mul(made, share), 0.0), 0, False)
