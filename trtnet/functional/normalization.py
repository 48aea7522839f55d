"""Softmax and normalization."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.dtypes import DtypeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import emit, recorder
from ..graph.tensor import Array, Operand, Tensor
from ..graph.training import Mode, cannot_train
from ..layers.base import require_floating
from ..layers.constant import constant, with_shape
from ..layers.normalization import LRN, LogSoftMax, Normalization, RMSNormalization, Scale, SoftMax
from ..layers.shaping import reshaped
from ..layers.training import BatchStatistics
from ..weights import recipes
from ..weights.recipes import Leaf, Weight
from .arithmetic import add, div, maximum, mul, neg, sqrt, sub
from .dispatch import Axes, Ints, axis_of, operand, operation, tensor
from .reduction import mean as average
from .reduction import sum as summed
from .reduction import vector_norm
from .shape import squeeze

__all__ = [
    "batch_norm", "cosine_similarity", "group_norm", "instance_norm", "layer_norm", "local_response_norm",
    "log_softmax", "normalize", "pairwise_distance", "rms_norm", "softmax", "softmin",
]  # fmt: skip


# --- softmax ----------------------------------------------------------------------------------------------------------


def _axis(dim: int | None, rank: int) -> int:
    if dim is None:  # torch's own old rule
        dim = 0 if rank in (0, 1, 3) else 1
    return axis_of(dim, rank)


def _softmax(
    input: np.ndarray, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike | None = None
) -> np.ndarray:
    dtype = _dtype(_stacklevel, dtype)
    x = input if dtype is None else input.astype(dtypes.get(dtype).numpy)
    powers = np.exp(x - x.max(_axis(dim, x.ndim), keepdims=True))
    return powers / powers.sum(_axis(dim, x.ndim), keepdims=True)


def _log_softmax(
    input: np.ndarray, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike | None = None
) -> np.ndarray:
    dtype = _dtype(_stacklevel, dtype)
    x = input if dtype is None else input.astype(dtypes.get(dtype).numpy)
    shifted = x - x.max(_axis(dim, x.ndim), keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(_axis(dim, x.ndim), keepdims=True))


def _dtype(stacklevel: int | DtypeLike | None, dtype: DtypeLike | None) -> DtypeLike | None:
    """torch.softmax and the method take the dtype third, torch.nn.functional.softmax fourth."""
    return dtype if isinstance(stacklevel, int) else stacklevel


def _prepared(name: str, input: Tensor, dim: int | None, dtype: DtypeLike | None) -> tuple[Tensor, int]:
    x = tensor(input)
    if dtype is not None:
        x = x.to(dtype)
    require_floating(name, x)
    return x, _axis(dim, len(x.shape))


@operation(_softmax, method=True)
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`; `dtype` converts the input first.

    Layers of the example: `shuffle`, `softmax`.

    >>> trtnet.softmax(trtnet.tensor([0.0, 0.0]), 0).tolist()
    [0.5, 0.5]
    """
    x, axis = _prepared("softmax", input, dim, _dtype(_stacklevel, dtype))
    if len(x.shape) >= 2:
        return emit(SoftMax((x,), axis))
    wide = reshaped(x, (1, *x.shape) if x.shape else (1, 1))
    return reshaped(emit(SoftMax((wide,), 1)), x.shape)


@operation(_log_softmax, method=True)
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike | None = None) -> Tensor:
    """The logarithm of softmax along `dim`.

    Layers of the example: `log_softmax`.

    >>> trtnet.log_softmax(trtnet.tensor([0.0, 0.0]), 0).numpy().round(3)
    array([-0.693, -0.693], dtype=float32)
    """
    x, axis = _prepared("log_softmax", input, dim, _dtype(_stacklevel, dtype))
    if x.shape:
        return emit(LogSoftMax((x,), axis))
    return reshaped(emit(LogSoftMax((reshaped(x, (1,)),), 0)), ())


@operation(lambda input, dim=None, _stacklevel=3, dtype=None: _softmax(-input, dim, 3, dtype))
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike | None = None) -> Tensor:
    """softmax of -x along `dim`.

    Layers of the example: `unary`, `shuffle`, `softmax`.

    >>> trtnet.softmin(trtnet.tensor([0.0, 0.0]), 0).tolist()
    [0.5, 0.5]
    """
    return softmax(neg(tensor(input)), dim, 3, dtype)


# --- by running statistics --------------------------------------------------------------------------------------------


def _channels(name: str, x: Tensor, least: int = 2) -> int:
    require_floating(name, x)
    if len(x.shape) < least:
        raise ShapeError(
            f"{name} takes {least} dimensions or more", expected="(batch, channels, ...)", found=format_shape(x.shape)
        )
    if not isinstance(x.shape[1], int):
        raise ShapeError(f"the channels of {name} must be a number", expected="int", found=format_shape(x.shape))
    return x.shape[1]


def _per_channel(name: str, channels: int, dtype: Dtype, **given: Any) -> dict[str, Tensor | Weight | None]:
    """The operands, checked: as many elements as channels, and the input's dtype."""
    operands = {what: operand(value) for what, value in given.items()}
    for what, value in operands.items():
        if value is None:
            continue
        if tuple(value.shape) != (channels,):
            raise ShapeError(
                f"the {what} of {name} does not fit its input",
                expected=f"({channels},)",
                found=format_shape(value.shape),
            )
        if value.dtype is not dtype:
            raise DtypeError(
                f"the input and the {what} of {name} must have one dtype",
                expected=dtype,
                found=value.dtype,
                remedy="convert the module (module.half(), module.to(dtype)) or the input (x.to(dtype))",
            )
    return operands


def _spread(value: Operand, rank: int) -> Tensor | None:
    """(C,) as (1, C, 1, ...)."""
    return None if value is None else with_shape(value, (1, value.shape[0], *(1,) * (rank - 2)))


@operation()
def batch_norm(
    input: Tensor,
    running_mean: Operand,
    running_var: Operand,
    weight: Operand = None,
    bias: Operand = None,
    training: bool | Mode = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - running_mean) / sqrt(running_var + eps) * weight + bias for each channel of (N, C, ...).

    Where all four are weights, they are folded into one scale layer: scale = weight / sqrt(var + eps), shift =
    bias - mean * scale, in float32. `training=True` without running statistics takes those of the input itself; with
    them it raises UnsupportedError. With `training=self.training`, `to_torch` uses the batch's statistics in training,
    and updates the running ones with `momentum`.

    Layers of the example: `shuffle`, `elementwise`, `constant`, `unary`.

    >>> function = lambda x, mean, var: trtnet.functional.batch_norm(x, mean, var)
    >>> graph = trtnet.record(function, x=trtnet.Input((2, 3, 8)), mean=trtnet.Input((3,)), var=trtnet.Input((3,)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8])
    """
    if type(training) is Mode:
        how = Statistics(False, training, momentum)
        return by_running_statistics(input, running_mean, running_var, weight, bias, eps, how)
    if training and running_mean is None and running_var is None:
        return batch_statistics(tensor(input), weight, bias, eps)
    if training:
        raise UnsupportedError(
            "batch_norm cannot train inside a network",
            expected="training=False",
            found="training=True",
            remedy="pass training=self.training, which is False while recording; train trtnet.to_torch(graph)",
        )
    return by_running_statistics(input, running_mean, running_var, weight, bias, eps)


@dataclass(slots=True)
class Statistics:
    """How a normalization by running statistics uses and updates them in training.

    Attributes:
        each: whether the statistics are those of each sample (`instance_norm`).
        mode: whose mode decides.
        momentum: of the update; None for the mean of all batches, which `count` counts.
        count: the number of batches, a buffer; None where it is not counted.
        tracked: whether they are updated.
    """

    each: bool
    mode: Mode
    momentum: float | None
    count: Any = None
    tracked: bool = True

    def note(self, made: Tensor, weights: tuple[Any, ...], eps: float) -> None:
        """Note it for what a layer gives, made of (running mean, running variance, weight, bias)."""
        mean, variance, *learned = weights
        current = recorder()
        count = None if self.count is None else current.leaves.get(id(self.count))
        if not (isinstance(mean, Leaf) and isinstance(variance, Leaf)) or (self.count is not None and count is None):
            cannot_train("normalization by statistics that are no buffers of the recorded module", self.mode.owner)
            return
        if current.bodies and self.tracked:  # what does not depend on a loop is computed once, in front of it
            cannot_train("the statistics of a normalization are counted in a loop or a conditional", self.mode.owner)
            return
        assert made.layer is not None
        current.training.instead[made.layer] = BatchStatistics(
            (None, *learned), self.each, mean.name, variance.name, None if count is None else count.name,
            bool(self.tracked), self.momentum, eps, self.mode.owner,
        )  # fmt: skip


def by_running_statistics(
    input: Tensor,
    running_mean: Operand,
    running_var: Operand,
    weight: Operand,
    bias: Operand,
    eps: float,
    how: Statistics | None = None,
) -> Tensor:
    """Batch normalization by running statistics; `how` says what happens to them in training."""
    if running_mean is None or running_var is None:
        raise ArgumentError(
            "batch_norm needs running statistics", expected="running_mean and running_var", found="None"
        )
    x = tensor(input)
    channels = _channels("batch_norm", x)
    given = _per_channel(
        "batch_norm", channels, x.dtype, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    mean, variance, factor, offset = given.values()
    if all(v is None or isinstance(v, Weight) for v in given.values()):
        assert isinstance(mean, Weight)
        assert isinstance(variance, Weight)
        scale = recipes.divide(1.0 if factor is None else factor, recipes.sqrt(recipes.add(variance, eps)))  # type: ignore[arg-type]
        shift = recipes.subtract(0.0 if offset is None else offset, recipes.multiply(mean, scale))  # type: ignore[arg-type]
        made: Tensor = emit(Scale((x, recipes.cast(shift, x.dtype), recipes.cast(scale, x.dtype), None), "CHANNEL", 1))
        if how is not None:
            how.note(made, (mean, variance, factor, offset), eps)
        return made
    if how is not None:
        cannot_train("normalization by statistics or weights that are computed", how.mode.owner)
    mean, variance, factor, offset = map(_spread, (mean, variance, factor, offset), repeat(len(x.shape)))
    return _standardized(x, mean, variance, factor, offset, eps)


def _standardized(x: Tensor, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Tensor:
    y = div(sub(x, mean), sqrt(add(variance, eps)))
    if weight is not None:
        y = mul(y, weight)
    return y if bias is None else add(y, bias)


def batch_statistics(x: Tensor, weight: Any, bias: Any, eps: float) -> Tensor:
    """Batch normalization by the statistics of the batch itself, for modules that keep none."""
    given = _per_channel("batch_norm", _channels("batch_norm", x), x.dtype, weight=weight, bias=bias)
    axes = (0, *range(2, len(x.shape)))
    mean = average(x, axes, True)
    distance = sub(x, mean)
    variance = average(mul(distance, distance), axes, True)
    scale, shift = (_spread(v, len(x.shape)) for v in given.values())
    return _standardized(x, mean, variance, scale, shift, eps)


# --- by the input's own statistics ------------------------------------------------------------------------------------


def _constant(value: Operand, number: float, shape: tuple[int, ...], dtype: Dtype) -> Tensor:
    """Weights (or a tensor) of that shape; a constant of one number where there are none."""
    if value is not None:
        return with_shape(value, shape)
    return constant(Array(np.full(shape, number, dtype.numpy)))


def _normalized_shape(name: str, x: Tensor, normalized_shape: Ints, **given: Any) -> tuple[tuple[int, ...], list[Any]]:
    require_floating(name, x)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    start = len(x.shape) - len(shape)
    if not shape or start < 0 or tuple(x.shape[start:]) != shape:
        raise ShapeError(
            f"the input of {name} does not end in normalized_shape",
            expected=f"(..., {', '.join(map(str, shape))})",
            found=format_shape(x.shape),
        )
    operands = [operand(value) for value in given.values()]
    for what, value in zip(given, operands, strict=True):
        if value is not None and tuple(value.shape) != shape:
            raise ShapeError(
                f"the {what} of {name} has the wrong shape", expected=shape, found=format_shape(value.shape)
            )
    return shape, operands


@operation()
def layer_norm(
    input: Tensor,
    normalized_shape: Ints,
    weight: Tensor | Weight | None = None,
    bias: Tensor | Weight | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Zero mean and unit variance over the last dimensions, which are `normalized_shape`; then weight and bias.

    Layers of the example: `constant`, `normalization`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.layer_norm(x, (8,)), x=trtnet.Input((2, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8])
    """
    x = tensor(input)
    shape, (scale, shift) = _normalized_shape("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    start = len(x.shape) - len(shape)
    spread = ((1,) * start) + shape
    operands = (x, _constant(scale, 1.0, spread, x.dtype), _constant(shift, 0.0, spread, x.dtype))
    return emit(Normalization(operands, tuple(range(start, len(x.shape))), eps))


@operation()
def rms_norm(
    input: Tensor, normalized_shape: Ints, weight: Tensor | Weight | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean of squares + eps) over the last dimensions, which are `normalized_shape`; then the weight.

    Layers of the example: `rms_normalization`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.rms_norm(x, (8,)), x=trtnet.Input((2, 3, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3, 8])
    """
    x = tensor(input)
    shape, (scale,) = _normalized_shape("rms_norm", x, normalized_shape, weight=weight)
    if eps is None:
        eps = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}[x.dtype.name]
    return emit(RMSNormalization((x, scale), shape, eps))


@operation()
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | Weight | None = None,
    bias: Tensor | Weight | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Zero mean and unit variance for each group of channels of (N, C, ...); then weight and bias for each channel.

    Layers of the example: `constant`, `normalization`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.group_norm(x, 2), x=trtnet.Input((2, 4, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 4, 8])
    """
    x = tensor(input)
    channels = _channels("group_norm", x)
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(
            "the channels of group_norm must be divisible by num_groups",
            expected=f"a multiple of {num_groups}",
            found=channels,
        )
    scale, shift = _per_channel("group_norm", channels, x.dtype, weight=weight, bias=bias).values()
    wide = x if len(x.shape) > 2 else reshaped(x, (*x.shape, 1))
    rank = len(wide.shape)
    spread = (1, channels, *(1,) * (rank - 2))
    operands = (wide, _constant(scale, 1.0, spread, x.dtype), _constant(shift, 0.0, spread, x.dtype))
    # one group is all axes but the batch, which is what a layer norm is
    axes, groups = (tuple(range(1, rank)), 1) if num_groups == 1 else (tuple(range(2, rank)), num_groups)
    y = emit(Normalization(operands, axes, eps, groups))
    return y if wide is x else reshaped(y, x.shape)


@operation()
def instance_norm(
    input: Tensor,
    running_mean: Operand = None,
    running_var: Operand = None,
    weight: Tensor | Weight | None = None,
    bias: Tensor | Weight | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Zero mean and unit variance for each channel of each sample of (N, C, ...); then weight and bias.

    With `use_input_stats=False` by the running statistics, as batch_norm.

    Layers of the example: `constant`, `normalization`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.instance_norm(x), x=trtnet.Input((2, 4, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 4, 8])
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    x = tensor(input)
    channels = _channels("instance_norm", x, 3)
    scale, shift = _per_channel("instance_norm", channels, x.dtype, weight=weight, bias=bias).values()
    spread = (1, channels, *(1,) * (len(x.shape) - 2))
    operands = (x, _constant(scale, 1.0, spread, x.dtype), _constant(shift, 0.0, spread, x.dtype))
    return emit(Normalization(operands, tuple(range(2, len(x.shape))), eps))


@operation()
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha / size * sum of squares of `size` neighbouring channels) ** beta, for (N, C, L, ...).

    Layers of the example: `lrn`.

    >>> graph = trtnet.record(lambda x: trtnet.functional.local_response_norm(x, 3), x=trtnet.Input((2, 4, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 4, 8])
    """
    x = tensor(input)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ArgumentError("the size of local_response_norm is a whole number, at least 1", found=repr(size))
    if len(x.shape) > 1:
        _channels("local_response_norm", x)
    return emit(LRN((x,), size, float(alpha), float(beta), float(k)))


# --- norms ------------------------------------------------------------------------------------------------------------


def _norm(x: Tensor, p: float, dim: Axes) -> Tensor:
    return vector_norm(x, p, dim, True)


def _normalize(input: np.ndarray, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> np.ndarray:
    norm = np.linalg.norm(input.astype(np.float32, copy=False), p, dim, True)
    return (input / np.maximum(norm, eps)).astype(input.dtype)


@operation(_normalize, order="first")
def normalize(input: Tensor, p: float = 2.0, dim: Axes = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """x / max(norm of order p along `dim`, eps).

    Layers of the example: `elementwise`, `reduce`, `unary`, `constant`.

    >>> trtnet.normalize(trtnet.tensor([[3.0, 4.0]])).numpy().round(3)
    array([[0.6, 0.8]], dtype=float32)
    """
    if out is not None:
        raise UnsupportedError("normalize takes out by its name", remedy="normalize(x, out=y)")
    if isinstance(p, bool) or not isinstance(p, (int, float)) or p == 0:
        raise ArgumentTypeError("the order p of normalize is a number other than 0", found=repr(p))
    x = tensor(input)
    require_floating("normalize", x)
    return div(x, maximum(_norm(x, p, dim), eps))


@operation()
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Products of both, each divided by max(its norm, eps), summed along `dim`.

    Layers of the example: `elementwise`, `reduce`, `unary`, `constant`.

    >>> function = lambda x, y: trtnet.functional.cosine_similarity(x, y)
    >>> graph = trtnet.record(function, x=trtnet.Input((2, 8)), y=trtnet.Input((2, 8)))
    >>> graph.outputs["output"].shape
    Size([2])
    """
    a, b = tensor(x1), tensor(x2)
    require_floating("cosine_similarity", a, b)
    one, other = (div(x, maximum(_norm(x, 2, _axis_of_both(a, b, dim, x)), eps)) for x in (a, b))
    return summed(mul(one, other), dim)


def _axis_of_both(a: Tensor, b: Tensor, dim: int, x: Tensor) -> int:
    """`dim` of the two broadcast against each other, counted from the end."""
    rank = max(len(a.shape), len(b.shape))
    axis = axis_of(dim, rank) - rank
    if -axis > len(x.shape):
        raise ShapeError(
            "cosine_similarity: one tensor lacks the dimension",
            expected=f"dimension {dim}",
            found=format_shape(x.shape),
        )
    return axis


@operation()
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The norm of order p of x1 - x2 + eps over the last dimension.

    Layers of the example: `elementwise`, `constant`, `reduce`, `unary`, `shuffle`.

    >>> function = lambda x, y: trtnet.functional.pairwise_distance(x, y)
    >>> graph = trtnet.record(function, x=trtnet.Input((2, 8)), y=trtnet.Input((2, 8)))
    >>> graph.outputs["output"].shape
    Size([2])
    """
    found = _norm(add(sub(tensor(x1), tensor(x2)), eps), p, -1)
    return found if keepdim else squeeze(found, -1)
