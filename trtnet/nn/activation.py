"""Activation modules, as in torch.nn. Input and output have one shape, any; float32, float16 or bfloat16."""

from __future__ import annotations

import numpy as np

from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError
from ..functional import activation as F
from ..graph.tensor import DeviceLike, Parameter, Tensor
from .module import Module

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign",
    "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip


class _InPlace(Module):
    """An activation whose only argument is `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


def _and_inplace(text: str, inplace: bool) -> str:
    return text + ", inplace=True" if inplace else text


class ReLU(_InPlace):
    """max(0, x), element by element.

    Args:
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16, bfloat16, int8, int32 or int64.
    Layers: one `activation` (RELU).

    >>> nn.ReLU()(trtnet.tensor([-1.0, 0.5, 2.0])).numpy()
    array([0. , 0.5, 2. ], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, self.inplace)


class ReLU6(Module):
    """min(max(0, x), 6), element by element.

    Args:
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (CLIP).

    >>> nn.ReLU6()(trtnet.tensor([-1.0, 0.5, 8.0])).numpy()
    array([0. , 0.5, 6. ], dtype=float32)
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.min_val, self.max_val, self.inplace = 0.0, 6.0, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input, self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x.

    Args:
        negative_slope: the factor below 0.
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (LEAKY_RELU).

    >>> nn.LeakyReLU(0.1)(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.1,  0.5,  2. ], dtype=float32)
    """

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return _and_inplace(f"negative_slope={self.negative_slope}", self.inplace)


class PReLU(Module):
    """x where x >= 0, else weight * x, with a weight that is trained.

    Args:
        num_parameters: 1, or the number of channels (dimension 1).
        init: the weight before training.
        device: accepted; nothing depends on it.
        dtype: the weight's.

    Parameters: weight (num_parameters,).
    Shape: in and out alike: any shape with one parameter, (N, C, …) with C of them; float32, float16 or bfloat16.
    Layers: one `parametric_relu`, and the weight as a `constant`.

    >>> nn.PReLU()(trtnet.tensor([[-1.0, 0.5, 2.0]])).numpy()
    array([[-0.25,  0.5 ,  2.  ]], dtype=float32)
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(shape=(num_parameters,), dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every slope to `init`."""
        self.weight.initialize(lambda _, size: np.full(size, self.init, np.float32))

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """x where x > 0, else x * (lower + upper) / 2, as torch's in evaluation.

    Args:
        lower, upper: between what the slope is drawn when `to_torch(graph)` is trained.
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (LEAKY_RELU).
    Unlike torch: nothing is drawn when a network runs.

    >>> nn.RReLU()(trtnet.tensor([-1.0, 0.5, 2.0])).numpy().round(3)
    array([-0.229,  0.5  ,  2.   ], dtype=float32)
    """

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return _and_inplace(f"lower={self.lower}, upper={self.upper}", self.inplace)


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1).

    Args:
        alpha: minus the limit far below 0.
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (ELU).

    >>> nn.ELU()(trtnet.tensor([0.0, 2.0])).numpy()
    array([0., 2.], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return _and_inplace(f"alpha={self.alpha}", self.inplace)


class CELU(Module):
    """x where x > 0, else alpha * (exp(x / alpha) - 1).

    Args:
        alpha: minus the limit far below 0; not 0.
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (ELU), between two `elementwise` where alpha is not 1.

    >>> nn.CELU()(trtnet.tensor([0.0, 2.0])).numpy()
    array([0., 2.], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return _and_inplace(f"alpha={self.alpha}", self.inplace)


class SELU(_InPlace):
    """scale * x where x > 0, else scale * alpha * (exp(x) - 1), with alpha = 1.67326 and scale = 1.0507.

    The constants are those with which activations keep mean 0 and variance 1 (Klambauer et al., 2017).

    Args:
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (SELU).

    >>> nn.SELU()(trtnet.tensor([0.0, 2.0])).numpy().round(3)
    array([0.   , 2.101], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class GELU(Module):
    """x * Phi(x), with the normal distribution's cumulative function Phi.

    Args:
        approximate: "none" computes Phi by the error function, "tanh" as (1 + tanh(sqrt(2 / pi) * (x + 0.044715 *
            x**3))) / 2.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (GELU_ERF or GELU_TANH), lowered as several layers where TensorRT has it not.

    >>> nn.GELU()(trtnet.tensor([-1.0, 0.0, 1.0])).numpy().round(3)
    array([-0.159,  0.   ,  0.841], dtype=float32)
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    """x * sigmoid(x), also called swish.

    Args:
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: `activation` (SIGMOID) and `elementwise` (PROD).

    >>> nn.SiLU()(trtnet.tensor([-1.0, 0.0, 1.0])).numpy().round(3)
    array([-0.269,  0.   ,  0.731], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, self.inplace)


class Mish(_InPlace):
    """x * tanh(log(1 + exp(x))).

    Args:
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: two `activation` (SOFTPLUS, TANH) and `elementwise` (PROD).

    >>> nn.Mish()(trtnet.tensor([-1.0, 0.0, 1.0])).numpy().round(3)
    array([-0.303,  0.   ,  0.865], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input, self.inplace)


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta: a smooth ReLU.

    Args:
        beta: how sharply it bends at 0.
        threshold: where beta * x is above it, x itself is given.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: `activation` (SOFTPLUS), and a `select` beside the threshold: `constant`, `elementwise`.

    >>> nn.Softplus()(trtnet.tensor([0.0, 30.0])).numpy().round(3)
    array([ 0.693, 30.   ], dtype=float32)
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """x / (1 + |x|).

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (SOFTSIGN).

    >>> nn.Softsign()(trtnet.tensor([-1.0, 0.0, 3.0])).numpy()
    array([-0.5 ,  0.  ,  0.75], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (SIGMOID).

    >>> nn.Sigmoid()(trtnet.tensor([0.0, 100.0])).numpy()
    array([0.5, 1. ], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x))), also where the sigmoid itself would be 0.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: `activation` (SOFTPLUS) of |x|, with `unary`, `elementwise` and a `constant` around it.

    >>> nn.LogSigmoid()(trtnet.tensor([-100.0, 0.0])).numpy().round(3)
    array([-100.   ,   -0.693], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent, (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (TANH).

    >>> nn.Tanh()(trtnet.tensor([0.0, 100.0])).numpy()
    array([0., 1.], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Tanhshrink(Module):
    """x - tanh(x).

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: `activation` (TANH) and `elementwise` (SUB).

    >>> nn.Tanhshrink()(trtnet.tensor([0.0, 100.0])).numpy()
    array([ 0., 99.], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class Hardtanh(Module):
    """x, held between `min_val` and `max_val`.

    Args:
        min_val, max_val: the bounds; ArgumentError where min_val is not below max_val.
        inplace: accepted; whether the input's memory is written to, as in torch.
        min_value, max_value: torch's old names of the bounds.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (CLIP).

    >>> nn.Hardtanh()(trtnet.tensor([-3.0, 0.5, 2.0])).numpy()
    array([-1. ,  0.5,  1. ], dtype=float32)
    """

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        min_val = min_val if min_value is None else min_value  # torch's old names
        max_val = max_val if max_value is None else max_value
        if min_val >= max_val:
            raise ArgumentError(
                "max_val must be above min_val", expected="min_val < max_val", found=f"{min_val} and {max_val}"
            )
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return _and_inplace(f"min_val={self.min_val}, max_val={self.max_val}", self.inplace)


class Hardsigmoid(Module):
    """min(max(0, x / 6 + 1 / 2), 1).

    Args:
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (HARD_SIGMOID).

    >>> nn.Hardsigmoid()(trtnet.tensor([-3.0, 0.0, 3.0])).numpy()
    array([0. , 0.5, 1. ], dtype=float32)
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input, self.inplace)


class Hardswish(Module):
    """x * min(max(0, x / 6 + 1 / 2), 1).

    Args:
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: `activation` (HARD_SIGMOID) and `elementwise` (PROD).

    >>> nn.Hardswish()(trtnet.tensor([-3.0, 0.0, 3.0])).numpy()
    array([-0.,  0.,  3.], dtype=float32)
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input, self.inplace)


class Hardshrink(Module):
    """x where |x| > lambd, else 0.

    Args:
        lambd: half the width of what becomes 0.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: a `select` between x and 0, by comparisons: `unary`, `elementwise`, `constant`.

    >>> nn.Hardshrink()(trtnet.tensor([-1.0, 0.25, 0.75])).numpy()
    array([-1.  ,  0.  ,  0.75], dtype=float32)
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Module):
    """x - lambd where x > lambd, x + lambd where x < -lambd, else 0.

    Args:
        lambd: by how much values come nearer to 0; not below 0.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: `activation` (CLIP) and `elementwise` (SUB).

    >>> nn.Softshrink()(trtnet.tensor([-1.0, 0.25, 0.75])).numpy()
    array([-0.5 ,  0.  ,  0.25], dtype=float32)
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Threshold(Module):
    """x where x > threshold, else value.

    Args:
        threshold, value: numbers.
        inplace: accepted; whether the input's memory is written to, as in torch.

    Shape: in and out alike, of any shape; float32, float16 or bfloat16.
    Layers: one `activation` (THRESHOLDED_RELU) where value is 0; else a `select` by comparisons: `elementwise`,
        `constant`.

    >>> nn.Threshold(0.5, -1.0)(trtnet.tensor([0.25, 0.75])).numpy()
    array([-1.  ,  0.75], dtype=float32)
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return _and_inplace(f"threshold={self.threshold}, value={self.value}", self.inplace)


class GLU(Module):
    """a * sigmoid(b), of the two halves a and b of a dimension.

    Args:
        dim: the dimension that is halved.

    Shape: (…, 2 M, …) to (…, M, …); float32, float16 or bfloat16.
    Layers: two `slice`, `activation` (SIGMOID) and `elementwise` (PROD).

    >>> nn.GLU()(trtnet.tensor([[1.0, 2.0, 100.0, 0.0]])).numpy()
    array([[1., 1.]], dtype=float32)
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
