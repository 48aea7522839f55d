"""Activations: one value in, one value out, by TensorRT's ActivationType."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output, broadcast, require_computed
from .targets import Features, Functions, ILayer, Network, Run

if TYPE_CHECKING:
    import torch

FLOATING = frozenset((dtypes.float32, dtypes.float16, dtypes.bfloat16))
SIGNED_INTEGERS = frozenset((dtypes.int8, dtypes.int32, dtypes.int64))
SELU_ALPHA, SELU_BETA = 1.6732632423543772, 1.0507009873554805

# NvInfer.h's formula of each; torch's own kernel where it computes the same
_COMPUTE: dict[str, Callable[[ModuleType, torch.Tensor, float, float], torch.Tensor]] = {
    "RELU": lambda torch, x, alpha, beta: torch.relu(x),
    "SIGMOID": lambda torch, x, alpha, beta: torch.sigmoid(x),
    "TANH": lambda torch, x, alpha, beta: torch.tanh(x),
    "LEAKY_RELU": lambda torch, x, alpha, beta: torch.nn.functional.leaky_relu(x, alpha),
    "ELU": lambda torch, x, alpha, beta: torch.nn.functional.elu(x, alpha),
    "SELU": lambda torch, x, alpha, beta: beta * torch.where(x > 0, x, alpha * torch.expm1(torch.clamp_max(x, 0))),
    "SOFTSIGN": lambda torch, x, alpha, beta: torch.nn.functional.softsign(x),
    "SOFTPLUS": lambda torch, x, alpha, beta: _softplus(torch, x, alpha, beta),
    "CLIP": lambda torch, x, alpha, beta: torch.clamp(x, alpha, beta),
    "HARD_SIGMOID": lambda torch, x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1),
    "SCALED_TANH": lambda torch, x, alpha, beta: alpha * torch.tanh(beta * x),
    "THRESHOLDED_RELU": lambda torch, x, alpha, beta: torch.where(x <= alpha, 0, x),
    "GELU_ERF": lambda torch, x, alpha, beta: torch.nn.functional.gelu(x),
    "GELU_TANH": lambda torch, x, alpha, beta: torch.nn.functional.gelu(x, approximate="tanh"),
}
_ALPHA = frozenset(("LEAKY_RELU", "ELU", "SELU", "SOFTPLUS", "CLIP", "HARD_SIGMOID", "SCALED_TANH", "THRESHOLDED_RELU"))
_BETA = frozenset(("SELU", "SOFTPLUS", "CLIP", "HARD_SIGMOID", "SCALED_TANH"))


def _softplus(torch: ModuleType, x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    y = torch.nn.functional.softplus(x if beta == 1 else beta * x, threshold=40)
    return y if alpha == 1 else alpha * y


@dataclass(slots=True, eq=False, repr=False)
class Activation(Layer):
    """`add_activation`: the input (any shape) through one of TensorRT's ActivationTypes.

    Takes float32, float16 and bfloat16; RELU takes int8, int32 and int64 too. `alpha` and `beta` are those of
    NvInfer.h's ActivationType (LEAKY_RELU: alpha is the slope; CLIP: from alpha to beta).
    """

    type: str
    alpha: float = 0.0
    beta: float = 0.0

    kind: ClassVar[str] = "activation"
    reads: ClassVar[Mapping[str, str] | None] = {}
    is_elementwise: ClassVar[bool] = True

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        if self.type not in _COMPUTE:
            raise ArgumentError("TensorRT has no such activation", expected=", ".join(_COMPUTE), found=self.type)
        if x.dtype not in FLOATING and not (self.type == "RELU" and x.dtype in SIGNED_INTEGERS):
            raise not_taken(self.type, x, self.type == "RELU")
        if self.type in _ALPHA and not (math.isfinite(self.alpha) and math.isfinite(self.beta)):
            raise ArgumentError(
                f"TensorRT's {self.type} takes finite parameters",
                expected="finite numbers",
                found=f"{self.alpha}, {self.beta}",
                remedy="leave an infinite bound out: x.clamp(min=0)",
            )
        return ((x.shape, x.dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_activation(lowering[self.inputs[0]], lowering.enum("ActivationType", self.type))
        if layer is not None and self.type in _ALPHA:
            layer.alpha = self.alpha
            if self.type in _BETA:
                layer.beta = self.beta
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        bounded = self.type in ("RELU", "SIGMOID", "HARD_SIGMOID") or (self.type == "CLIP" and self.alpha >= 0)
        return () if bounded else None

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return _COMPUTE[self.type](run.torch, inputs[0], self.alpha, self.beta)

    def supported(self, provider: Features) -> bool:
        if self.type == "RELU":
            return provider.activates_integers or self.outputs[0].dtype not in SIGNED_INTEGERS
        return not self.type.startswith("GELU") or provider.has("ActivationType", self.type)

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """GELU and RELU of whole numbers before TensorRT 10."""
        x = inputs[0]
        assert isinstance(x, Tensor)
        if self.type == "RELU":
            return F.maximum(x, 0)
        if self.type == "GELU_ERF":
            inner = F.erf(F.mul(x, 0.5**0.5))
        else:
            cube = F.mul(F.mul(F.mul(x, x), x), 0.044715)
            inner = F.tanh(F.mul(F.add(x, cube), 0.7978845608028654))
        return F.mul(F.mul(x, 0.5), F.add(inner, 1.0))


@dataclass(slots=True, eq=False, repr=False)
class ParametricReLU(Layer):
    """`add_parametric_relu`: x where x >= 0, else slope * x. The slopes (input 1) broadcast to the input.

    Takes float32, float16 and bfloat16, both inputs alike and of one rank.
    """

    kind: ClassVar[str] = "parametric_relu"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)

    def infer(self) -> tuple[Output, ...]:
        x, slope = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(slope, Tensor)
        if x.dtype not in FLOATING:
            raise not_taken("PARAMETRIC_RELU", x)
        if slope.dtype is not x.dtype:
            raise DtypeError(
                "the input and the slopes of a parametric ReLU must have one dtype",
                expected=x.dtype,
                found=slope.dtype,
                remedy="convert the module (module.half(), module.to(dtype)) or the input (x.to(dtype))",
            )
        if len(slope.shape) != len(x.shape) or broadcast("parametric ReLU", x, slope) != x.shape:
            raise ShapeError(
                "the slopes of a parametric ReLU must broadcast to its input",
                expected=f"shape {format_shape(x.shape)} with any of its sizes 1",
                found=format_shape(slope.shape),
            )
        return ((x.shape, x.dtype),)

    def supported(self, provider: Features) -> bool:
        return provider.slopes_scalars or len(self.outputs[0].shape) > 0

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """Of one number, in one dimension."""
        x, slope = inputs
        assert isinstance(x, Tensor)
        assert isinstance(slope, Tensor)
        x, slope = F.reshape(x, (1,)), F.reshape(slope, (1,))
        return F.reshape(emit(ParametricReLU((x, slope))), ())

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_parametric_relu(lowering[self.inputs[0]], lowering[self.inputs[1]])

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, slope = inputs
        return run.torch.where(x >= 0, x, slope * x)


def not_taken(operation: str, x: Tensor, integers: bool = False, expected: str | None = None) -> DtypeError:
    """The error for a dtype that TensorRT's layer refuses; most take floats, some signed integers too."""
    require_computed(f"TensorRT's {operation}", x)
    if expected is None:
        expected = "float32, float16 or bfloat16" + (", int8, int32 or int64" if integers else "")
    remedy = "convert it first: x.float() or x.to(dtype)"
    problem = f"TensorRT's {operation} does not take {x.dtype}"
    if x.dtype is dtypes.uint8:
        remedy = "convert it first: x.float() or x.to(trtnet.int32)"
    return DtypeError(problem, expected=expected, found=repr(x), remedy=remedy)
