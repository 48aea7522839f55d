"""Initial values, as torch.nn.init: a Parameter draws them when it is first read, an Array is changed now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from ..basics.dims import format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError, shown
from ..functional.dispatch import Seeded
from ..graph.tensor import Array, Initializer, Parameter, Tensor, next_seed

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

A = TypeVar("A", bound=Array)


def initialize(tensor: A, initializer: Initializer) -> A:
    """Give `tensor` the initialiser's values: at its first read if it is a Parameter, else now."""
    if isinstance(tensor, Parameter):
        tensor.initialize(initializer)
    elif isinstance(tensor, Array):
        array = tensor.writeable()
        array[...] = initializer(np.random.default_rng(next_seed()), array.shape)
    else:
        raise ArgumentTypeError(
            "only a parameter or an array can be initialised", expected="Parameter or Array", found=shown(tensor)
        )
    return tensor


# --- initialisers -----------------------------------------------------------------------------------------------------


def uniform(a: float = 0.0, b: float = 1.0) -> Initializer:
    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = np.asarray(generator.random(shape, np.float32))
        values *= b - a
        values += a
        return values

    return draw


def normal(mean: float = 0.0, std: float = 1.0) -> Initializer:
    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = np.asarray(generator.standard_normal(shape, np.float32))
        values *= std
        values += mean
        return values

    return draw


def constant(value: float) -> Initializer:
    return lambda _, shape: np.full(shape, value, np.float32)


zeros: Initializer = constant(0.0)
ones: Initializer = constant(1.0)


def _inverse_error_function(x: np.ndarray) -> np.ndarray:
    """M. Giles, "Approximating the erfinv function" (2012), single precision."""
    w = -np.log((1.0 - x) * (1.0 + x))
    near, far = w - 2.5, np.sqrt(np.maximum(w, 5.0)) - 3.0
    inner = np.polyval(
        [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
         0.246640727, 1.50140941], near,
    )  # fmt: skip
    outer = np.polyval(
        [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
         1.00167406, 2.83297682], far,
    )  # fmt: skip
    return np.where(w < 5.0, inner, outer) * x


def truncated(mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Initializer:
    def cumulative(x: float) -> float:
        return math.erf((x - mean) / std / math.sqrt(2.0))

    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        low, high = cumulative(a), cumulative(b)
        # exactly -1 and 1 have no finite inverse
        between = np.clip(generator.uniform(low, high, shape), -1 + 1e-15, 1 - 1e-15)
        values = _inverse_error_function(between) * (std * math.sqrt(2.0)) + mean
        return np.clip(values, a, b).astype(np.float32)

    return draw


def orthogonal(gain: float = 1.0) -> Initializer:
    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        rows, columns = shape[0], math.prod(shape[1:])
        flat = generator.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(flat)
        q *= np.sign(np.diag(r))
        return ((q.T if rows < columns else q) * gain).reshape(shape).astype(np.float32)

    return draw


# --- torch's functions ------------------------------------------------------------------------------------------------


def uniform_(tensor: A, a: float = 0.0, b: float = 1.0, generator: Seeded | None = None) -> A:
    """Uniform between a and b."""
    return initialize(tensor, uniform(a, b))


def normal_(tensor: A, mean: float = 0.0, std: float = 1.0, generator: Seeded | None = None) -> A:
    """Normal."""
    return initialize(tensor, normal(mean, std))


def trunc_normal_(
    tensor: A, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Seeded | None = None
) -> A:
    """Normal, within a and b."""
    return initialize(tensor, truncated(mean, std, a, b))


def constant_(tensor: A, val: float) -> A:
    """One value everywhere."""
    return initialize(tensor, constant(val))


def ones_(tensor: A) -> A:
    """Ones."""
    return initialize(tensor, ones)


def zeros_(tensor: A) -> A:
    """Zeros."""
    return initialize(tensor, zeros)


def eye_(tensor: A) -> A:
    """The identity matrix."""
    if len(tensor.shape) != 2:
        raise ShapeError("eye_ takes a matrix", expected="2 dimensions", found=format_shape(tensor.shape))
    return initialize(tensor, lambda _, shape: np.eye(*shape, dtype=np.float32))


def dirac_(tensor: A, groups: int = 1) -> A:
    """A convolution kernel (K, C, ...) that passes its input through, as far as there are channels."""
    shape = tensor.shape
    if len(shape) not in (3, 4, 5):
        raise ShapeError(
            "dirac_ takes a convolution's kernel", expected="3, 4 or 5 dimensions", found=format_shape(shape)
        )
    if int(shape[0]) % groups:
        raise ArgumentError(
            "the first size of the kernel must be divisible by groups",
            expected=f"a multiple of {groups}",
            found=shape[0],
        )

    def draw(_: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = np.zeros(shape, np.float32)
        each = shape[0] // groups
        middle = tuple(s // 2 for s in shape[2:])
        for group in range(groups):
            for channel in range(min(each, shape[1])):
                values[(group * each + channel, channel, *middle)] = 1.0
        return values

    return initialize(tensor, draw)


def _calculate_fan_in_and_fan_out(tensor: Tensor | np.ndarray) -> tuple[int, int]:
    shape: Sequence[Any] = tensor.shape
    if len(shape) < 2:
        raise ShapeError(
            "fan in and fan out need two dimensions or more",
            expected="(out, in, ...)",
            found=format_shape(tuple(shape)),
        )
    field = math.prod(int(s) for s in shape[2:])
    return int(shape[1]) * field, int(shape[0]) * field


def _calculate_correct_fan(tensor: Tensor | np.ndarray, mode: str) -> int:
    modes = ("fan_in", "fan_out")
    if mode.lower() not in modes:
        raise ArgumentError("there is no such mode", expected=" or ".join(modes), found=repr(mode))
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode.lower())]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The recommended factor for the weights in front of a nonlinearity."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ArgumentError("the slope of leaky_relu is a number", found=repr(param))
        return math.sqrt(2.0 / (1 + slope**2))
    linear = ("linear", "sigmoid", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75} | dict.fromkeys(linear, 1.0)
    if nonlinearity not in gains:
        raise ArgumentError(
            "there is no such nonlinearity", expected="leaky_relu, " + ", ".join(gains), found=repr(nonlinearity)
        )
    return gains[nonlinearity]


def xavier_uniform_(tensor: A, gain: float = 1.0, generator: Seeded | None = None) -> A:
    """Uniform, with a variance of 2 gain**2 / (fan_in + fan_out)."""
    bound = gain * math.sqrt(6.0 / max(1, sum(_calculate_fan_in_and_fan_out(tensor))))
    return initialize(tensor, uniform(-bound, bound))


def xavier_normal_(tensor: A, gain: float = 1.0, generator: Seeded | None = None) -> A:
    """Normal, with a variance of 2 gain**2 / (fan_in + fan_out)."""
    std = gain * math.sqrt(2.0 / max(1, sum(_calculate_fan_in_and_fan_out(tensor))))
    return initialize(tensor, normal(0.0, std))


def kaiming_uniform_(
    tensor: A, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Seeded | None = None
) -> A:
    """Uniform, with a variance of gain**2 / fan; `a` is leaky_relu's slope."""
    std = calculate_gain(nonlinearity, a) / math.sqrt(max(1, _calculate_correct_fan(tensor, mode)))
    return initialize(tensor, uniform(-math.sqrt(3.0) * std, math.sqrt(3.0) * std))


def kaiming_normal_(
    tensor: A, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Seeded | None = None
) -> A:
    """Normal, with a variance of gain**2 / fan; `a` is leaky_relu's slope."""
    return initialize(
        tensor, normal(0.0, calculate_gain(nonlinearity, a) / math.sqrt(max(1, _calculate_correct_fan(tensor, mode))))
    )


def orthogonal_(tensor: A, gain: float = 1, generator: Seeded | None = None) -> A:
    """Rows (or columns) at right angles, of length `gain`."""
    if len(tensor.shape) < 2:
        raise ShapeError("orthogonal_ takes two dimensions or more", found=format_shape(tensor.shape))
    return initialize(tensor, orthogonal(gain))


def sparse_(tensor: A, sparsity: float, std: float = 0.01, generator: Seeded | None = None) -> A:
    """Normal, with a part `sparsity` of each column zero."""
    if len(tensor.shape) != 2:
        raise ShapeError("sparse_ takes a matrix", expected="2 dimensions", found=format_shape(tensor.shape))

    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = normal(0.0, std)(generator, shape)
        count = math.ceil(sparsity * shape[0])
        for column in range(shape[1]):
            values[generator.permutation(shape[0])[:count], column] = 0.0
        return values

    return initialize(tensor, draw)
