"""Linear and bilinear layers, and Identity."""

from __future__ import annotations

import math
from typing import Any

from ..basics.dtypes import DtypeLike
from ..functional.linear import bilinear, linear
from ..graph.tensor import DeviceLike, Parameter, Tensor
from . import init
from .module import Module

__all__ = ["Bilinear", "Identity", "Linear", "NonDynamicallyQuantizableLinear"]


class Identity(Module):
    """The input as it is.

    Args:
        *args, **kwargs: accepted and left aside, as in torch.

    Shape: in and out alike, of any shape and dtype.
    Layers: none; an output that is an input of the network gets an `identity`.

    >>> nn.Identity()(trtnet.tensor([1, 2])).numpy()
    array([1, 2])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """y = x weight^T + bias, over the last dimension.

    Args:
        in_features, out_features: the sizes of the last dimension, before and after.
        bias: whether there is one.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (out_features, in_features), bias (out_features,); drawn as torch's, uniformly below 1 /
        sqrt(in_features).
    Shape: (…, in_features) to (…, out_features); float32, float16 or bfloat16, as the weight.
    Layers: one `fully_connected`, which is lowered as a matrix product with a constant, and a sum.

    >>> graph = trtnet.record(nn.Linear(8, 3), input=Input((Dim("batch", max=64), 8)))
    >>> graph.outputs["output"].shape
    Size([batch, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(shape=(out_features, in_features), dtype=dtype)
        self.register_parameter("bias", Parameter(shape=(out_features,), dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: uniform, bounded by 1 / sqrt(in_features)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class NonDynamicallyQuantizableLinear(Linear):
    """Linear, under the name that torch's MultiheadAttention gives its output projection.

    Shape: as Linear's.
    Layers: as Linear's: one `fully_connected`.

    >>> nn.NonDynamicallyQuantizableLinear(8, 3)
    NonDynamicallyQuantizableLinear(in_features=8, out_features=3, bias=True)
    """


class Bilinear(Module):
    """y[o] = x1 weight[o] x2 + bias[o], over the last dimensions.

    Args:
        in1_features, in2_features: the last sizes of the two inputs.
        out_features: the last size of the output.
        bias: whether there is one.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight (out_features, in1_features, in2_features), bias (out_features,); drawn as torch's, uniformly
        below 1 / sqrt(in1_features).
    Shape: (…, in1_features) and (…, in2_features) to (…, out_features); float32, float16 or bfloat16, as the weight.
    Layers: `matrix_multiply` with the weight as a `constant`, `shuffle`, and an `elementwise` sum with the bias.

    >>> graph = trtnet.record(nn.Bilinear(8, 5, 3), input1=Input((2, 8)), input2=Input((2, 5)))
    >>> graph.outputs["output"].shape
    Size([2, 3])
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(shape=(out_features, in1_features, in2_features), dtype=dtype)
        self.register_parameter("bias", Parameter(shape=(out_features,), dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: uniform, bounded by 1 / sqrt(in1_features)."""
        bound = 1 / math.sqrt(self.in1_features) if self.in1_features > 0 else 0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
