"""Batch and instance normalization."""

from __future__ import annotations

from typing import Any

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.dtypes import DtypeLike
from ..basics.errors import ShapeError
from ..functional import normalization as F
from ..functional.dispatch import tensor
from ..graph.tensor import Buffer, DeviceLike, Parameter, Tensor
from ..graph.training import Mode
from . import init
from .module import Module

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "SyncBatchNorm",
]  # fmt: skip


class _NormBase(Module):
    """Weight, bias and running statistics for each channel."""

    ranks: tuple[int, ...] = ()
    running_mean: Buffer | None
    running_var: Buffer | None
    num_batches_tracked: Buffer | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        dtype: DtypeLike | None,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(shape=(num_features,), dtype=dtype) if affine else None)
        self.register_parameter("bias", Parameter(shape=(num_features,), dtype=dtype) if affine and bias else None)
        if track_running_stats:
            self.running_mean = Buffer(shape=(num_features,), dtype=dtype)
            self.running_var = Buffer(shape=(num_features,), dtype=dtype)
            self.num_batches_tracked = Buffer(shape=(), dtype=dtypes.int64)
        else:
            self.register_buffer("running_mean", None)
            self.register_buffer("running_var", None)
            self.register_buffer("num_batches_tracked", None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        for buffer, initializer in (
            (self.running_mean, init.zeros),
            (self.running_var, init.ones),
            (self.num_batches_tracked, init.zeros),
        ):
            if buffer is not None:
                init.initialize(buffer, initializer)

    def reset_parameters(self) -> None:
        """torch's default: weights 1, biases 0."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check(self, input: Tensor) -> Tensor:
        x = tensor(input)
        if self.ranks and len(x.shape) not in self.ranks:
            raise ShapeError(
                f"{type(self).__name__} takes an input of {' or '.join(map(str, self.ranks))} dimensions",
                expected=f"({'batch, ' if len(x.shape) != 1 else ''}{self.num_features}, ...)",
                found=format_shape(x.shape),
            )
        return x

    def _statistics(self, each: bool, momentum: float | None, count: Buffer | None) -> F.Statistics | None:
        mode: Any = self.training
        if type(mode) is not Mode:
            return None  # no recording goes on
        return F.Statistics(each, mode, momentum, count, self.track_running_stats)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        x = self._check(input)
        if self.running_mean is None or self.running_var is None:
            return F.batch_statistics(x, self.weight, self.bias, self.eps)
        how = self._statistics(False, self.momentum, self.num_batches_tracked)
        return F.by_running_statistics(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps, how)


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel, by the running statistics.

    Args:
        num_features: the number of channels, C.
        eps: what is added to the variance.
        momentum: how much of a batch's statistics the running ones take in training; None averages over all batches.
        affine: whether there are weight and bias.
        track_running_stats: whether running statistics are kept and used.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: weight, bias (num_features,), buffers running_mean, running_var (num_features,), num_batches_tracked
        ().
    Shape: (N, C) or (N, C, L), in and out alike; float32, float16 or bfloat16.
    Layers: one `scale`, with one factor and one shift for each channel, folded of all four; without running
        statistics the batch's own, by `reduce`, `elementwise`, `unary` and `constant`.
    Unlike torch: batch statistics are used in `to_torch(graph).train()` alone; a network that runs changes no running
        statistics.

    >>> graph = trtnet.record(nn.BatchNorm1d(3), input=Input((2, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8])
    >>> [layer.kind for layer in graph.layers]
    ['scale']
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel, by the running statistics.

    Args:
        num_features: the number of channels, C.
        eps: what is added to the variance.
        momentum: how much of a batch's statistics the running ones take in training; None averages over all batches.
        affine: whether there are weight and bias.
        track_running_stats: whether running statistics are kept and used.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: weight, bias (num_features,), buffers running_mean, running_var (num_features,), num_batches_tracked
        ().
    Shape: (N, C, H, W), in and out alike; float32, float16 or bfloat16.
    Layers: one `scale`, with one factor and one shift for each channel, folded of all four; without running
        statistics the batch's own, by `reduce`, `elementwise`, `unary` and `constant`.
    Unlike torch: batch statistics are used in `to_torch(graph).train()` alone; a network that runs changes no running
        statistics.

    >>> graph = trtnet.record(nn.BatchNorm2d(3), input=Input((2, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8, 8])
    >>> [layer.kind for layer in graph.layers]
    ['scale']
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel, by the running statistics.

    Args:
        num_features: the number of channels, C.
        eps: what is added to the variance.
        momentum: how much of a batch's statistics the running ones take in training; None averages over all batches.
        affine: whether there are weight and bias.
        track_running_stats: whether running statistics are kept and used.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: weight, bias (num_features,), buffers running_mean, running_var (num_features,), num_batches_tracked
        ().
    Shape: (N, C, D, H, W), in and out alike; float32, float16 or bfloat16.
    Layers: one `scale`, with one factor and one shift for each channel, folded of all four; without running
        statistics the batch's own, by `reduce`, `elementwise`, `unary` and `constant`.
    Unlike torch: batch statistics are used in `to_torch(graph).train()` alone; a network that runs changes no running
        statistics.

    >>> graph = trtnet.record(nn.BatchNorm3d(3), input=Input((2, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8, 8, 8])
    >>> [layer.kind for layer in graph.layers]
    ['scale']
    """

    ranks = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalization of (N, C, …) by the running statistics, as BatchNorm1d; a network has no other processes.

    Args:
        num_features: the number of channels, C.
        eps: what is added to the variance.
        momentum: how much of a batch's statistics the running ones take in training; None averages over all batches.
        affine: whether there are weight and bias.
        track_running_stats: whether running statistics are kept and used.
        process_group: accepted; nothing depends on it.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: as BatchNorm1d's.
    Shape: (N, C, …), in and out alike; float32, float16 or bfloat16.
    Layers: one `scale`.

    >>> graph = trtnet.record(nn.SyncBatchNorm(3), input=Input((2, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module as it is: in a network, both are the same."""
        return module


class _InstanceNorm(_NormBase):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        x = self._check(input)
        alone = len(x.shape) == min(self.ranks)
        if alone:
            x = F.reshaped(x, (1, *x.shape))
        if self.running_mean is None or self.running_var is None:
            y = F.instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        else:
            momentum = 0.0 if self.momentum is None else self.momentum
            how = self._statistics(True, momentum, None)
            y = F.by_running_statistics(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps, how)
        return F.reshaped(y, y.shape[1:]) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, by each sample's and channel's own mean and variance.

    Args:
        num_features: the number of channels, C.
        eps: what is added to the variance.
        momentum: how much of a batch's statistics the running ones take in training; None averages over all batches.
        affine: whether there are weight and bias; without, as here unless said, 1 and 0.
        track_running_stats: whether running statistics are kept, and used in place of a sample's own.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: weight, bias (num_features,) where affine.
    Shape: (N, C, L) or (C, L), in and out alike; float32, float16 or bfloat16.
    Layers: one `normalization`, and weight and bias as `constant`; by running statistics one `scale`.

    >>> graph = trtnet.record(nn.InstanceNorm1d(3), input=Input((2, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8])
    >>> [layer.kind for layer in graph.layers]
    ['constant', 'constant', 'normalization']
    """

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, by each sample's and channel's own mean and variance.

    Args:
        num_features: the number of channels, C.
        eps: what is added to the variance.
        momentum: how much of a batch's statistics the running ones take in training; None averages over all batches.
        affine: whether there are weight and bias; without, as here unless said, 1 and 0.
        track_running_stats: whether running statistics are kept, and used in place of a sample's own.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: weight, bias (num_features,) where affine.
    Shape: (N, C, H, W) or (C, H, W), in and out alike; float32, float16 or bfloat16.
    Layers: one `normalization`, and weight and bias as `constant`; by running statistics one `scale`.

    >>> graph = trtnet.record(nn.InstanceNorm2d(3), input=Input((2, 3, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8, 8])
    >>> [layer.kind for layer in graph.layers]
    ['constant', 'constant', 'normalization']
    """

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, by each sample's and channel's own mean and variance.

    Args:
        num_features: the number of channels, C.
        eps: what is added to the variance.
        momentum: how much of a batch's statistics the running ones take in training; None averages over all batches.
        affine: whether there are weight and bias; without, as here unless said, 1 and 0.
        track_running_stats: whether running statistics are kept, and used in place of a sample's own.
        device: accepted; nothing depends on it.
        dtype: the parameters'.
        bias: whether an affine one has a bias.

    Parameters: weight, bias (num_features,) where affine.
    Shape: (N, C, D, H, W) or (C, D, H, W), in and out alike; float32, float16 or bfloat16.
    Layers: one `normalization`, and weight and bias as `constant`; by running statistics one `scale`.

    >>> graph = trtnet.record(nn.InstanceNorm3d(3), input=Input((2, 3, 8, 8, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8, 8, 8])
    >>> [layer.kind for layer in graph.layers]
    ['constant', 'constant', 'normalization']
    """

    ranks = (4, 5)
