"""Layer, group, RMS and local response normalization."""

from __future__ import annotations

from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, UnsupportedError
from ..functional import normalization as F
from ..functional.dispatch import Ints
from ..graph.tensor import DeviceLike, Parameter, Tensor
from . import init
from .module import Module

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


def _shape(normalized_shape: Ints) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class _Affine(Module):
    def reset_parameters(self) -> None:
        """torch's default: weights 1, biases 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class LayerNorm(_Affine):
    """(x - mean) / sqrt(var + eps) * weight + bias, by mean and variance over the last dimensions.

    Args:
        normalized_shape: the last sizes, over which is normalized: a number or several.
        eps: what is added to the variance.
        elementwise_affine: whether there is a weight.
        bias: whether an affine one has a bias.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight, bias, of normalized_shape.
    Shape: (…, *normalized_shape), in and out alike; float32, float16 or bfloat16.
    Layers: one `normalization`, and weight and bias as `constant`.

    >>> graph = trtnet.record(nn.LayerNorm(8), input=Input((2, 5, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    >>> [layer.kind for layer in graph.layers]
    ['constant', 'constant', 'normalization']
    """

    def __init__(
        self,
        normalized_shape: Ints,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter(
            "weight", Parameter(shape=self.normalized_shape, dtype=dtype) if elementwise_affine else None
        )
        self.register_parameter(
            "bias", Parameter(shape=self.normalized_shape, dtype=dtype) if elementwise_affine and bias else None
        )
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """x / sqrt(mean(x ** 2) + eps) * weight, by the mean over the last dimensions.

    Args:
        normalized_shape: the last sizes, over which is normalized: a number or several.
        eps: what is added to the mean square; the type's own epsilon unless given.
        elementwise_affine: whether there is a weight.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight, of normalized_shape.
    Shape: (…, *normalized_shape), in and out alike; float32, float16 or bfloat16.
    Layers: one `rms_normalization`, which is lowered as several layers.

    >>> graph = trtnet.record(nn.RMSNorm(8), x=Input((2, 5, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    >>> [layer.kind for layer in graph.layers]
    ['rms_normalization']
    """

    def __init__(
        self,
        normalized_shape: Ints,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter(
            "weight", Parameter(shape=self.normalized_shape, dtype=dtype) if elementwise_affine else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: weights 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """(x - mean) / sqrt(var + eps) * weight + bias, by mean and variance of each sample's groups of channels.

    Args:
        num_groups: how many groups.
        num_channels: C, a multiple of num_groups.
        eps: what is added to the variance.
        affine: whether there are weight and bias.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: weight, bias (num_channels,).
    Shape: (N, C, …), in and out alike; float32, float16 or bfloat16.
    Layers: one `normalization`, and weight and bias as `constant`.

    >>> graph = trtnet.record(nn.GroupNorm(2, 4), input=Input((1, 4, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 8, 8])
    >>> [layer.kind for layer in graph.layers]
    ['constant', 'constant', 'normalization']
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: DeviceLike | None = None, dtype: DtypeLike | None = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ArgumentError(
                "num_channels must be divisible by num_groups",
                expected=f"a multiple of {num_groups}",
                found=num_channels,
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.register_parameter("weight", Parameter(shape=(num_channels,), dtype=dtype) if affine else None)
        self.register_parameter("bias", Parameter(shape=(num_channels,), dtype=dtype) if affine and bias else None)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


class LocalResponseNorm(Module):
    """x / (k + alpha / size * sum of the squares of `size` neighbouring channels) ** beta.

    Args:
        size: how many channels count.
        alpha, beta, k: numbers.

    Shape: (N, C, …), in and out alike; float32, float16 or bfloat16.
    Layers: one `lrn`.

    >>> graph = trtnet.record(nn.LocalResponseNorm(3), input=Input((1, 4, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([1, 4, 8, 8])
    >>> [layer.kind for layer in graph.layers]
    ['lrn']
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(Module):
    """Not in trtnet: constructing it raises UnsupportedError, which says what to write.

    torch's keeps each channel that leaves the window for one channel longer (`c > pre_pad` in
    torch/nn/modules/_functions.py, 2.13), which no layer of TensorRT does.

    >>> try:
    ...     nn.CrossMapLRN2d(3)
    ... except trtnet.TrtnetError as error:
    ...     print(error.remedy)
    LocalResponseNorm(size, alpha, beta, k) has an even one; its numbers differ from CrossMapLRN2d's
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        raise UnsupportedError(
            "CrossMapLRN2d is not in trtnet: torch's window is uneven",
            found=f"CrossMapLRN2d({size})",
            remedy="LocalResponseNorm(size, alpha, beta, k) has an even one; its numbers differ from CrossMapLRN2d's",
        )
