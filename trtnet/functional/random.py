"""Random numbers, named as torch's and seeded by `trtnet.manual_seed`. The numbers are not torch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..dims import SizeLike
from ..errors import ArgumentTypeError, UnsupportedError
from ..tensor import Array, Tensor
from .creation import _default, _ignore, _number, filling, generator
from .shape import has_dims, size_of, sizes_of

__all__ = ["rand", "rand_like", "randint", "randn", "randn_like", "randperm"]


def _fixed(sizes: tuple[SizeLike, ...], name: str) -> tuple[int, ...]:
    if has_dims(sizes):
        raise random_error(name)
    return sizes  # type: ignore[return-value]


def random_error(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: a network has no random numbers",
        found="a recorded tensor, or a Dim among the sizes",
        remedy="make the noise an input of the network: record(module, noise=Input(shape))",
    )


def rand(*size: Any, dtype: Any = None, **options: Any) -> Array:
    """Uniform in [0, 1), seeded by `trtnet.manual_seed`. The numbers are not torch's."""
    sizes = _fixed(sizes_of(size, options.pop("size", None)), "rand")
    _ignore("rand", options)
    return Array(generator().random(sizes, np.float32).astype(_default(dtype).numpy))


def randn(*size: Any, dtype: Any = None, **options: Any) -> Array:
    """Of the standard normal distribution, seeded by `trtnet.manual_seed`. The numbers are not torch's."""
    sizes = _fixed(sizes_of(size, options.pop("size", None)), "randn")
    _ignore("randn", options)
    return Array(np.asarray(generator().standard_normal(sizes, np.float32)).astype(_default(dtype).numpy))


def randint(*bounds: Any, size: Any = None, dtype: Any = None, **options: Any) -> Array:
    """`randint(high, size)` or `randint(low, high, size)`: whole numbers from low to high - 1."""
    low, high = options.pop("low", 0), options.pop("high", None)
    given = list(bounds)
    if size is None and given:
        size = given.pop()
    if len(given) == 2:
        low, high = given
    elif len(given) == 1:
        low, high = (low, given[0]) if high is None else (given[0], high)
    _ignore("randint", options)
    if high is None or size is None:
        raise ArgumentTypeError("randint takes (high, size) or (low, high, size)", found=bounds)
    sizes = _fixed(sizes_of((size,)), "randint")
    return Array(
        np.asarray(generator().integers(_number(low), _number(high), sizes)).astype(_default(dtype, dtypes.int64).numpy)
    )


def randperm(n: int, *, dtype: Any = None, **options: Any) -> Array:
    """The whole numbers from 0 to n - 1 in some order."""
    _ignore("randperm", options)
    (count,) = _fixed((size_of(n),), "randperm")
    return Array(generator().permutation(count).astype(_default(dtype, dtypes.int64).numpy))


def rand_like(input: Tensor, *, dtype: Any = None, **options: Any) -> Array:
    """As `rand`, in the shape and dtype of a concrete tensor. Raises UnsupportedError for a recorded one."""
    if type(input) is Tensor:
        raise random_error("rand_like")
    return rand(tuple(input.shape), dtype=_default(dtype, input.dtype), **options)


def randn_like(input: Tensor, *, dtype: Any = None, **options: Any) -> Array:
    """As `randn`, in the shape and dtype of a concrete tensor. Raises UnsupportedError for a recorded one."""
    if type(input) is Tensor:
        raise random_error("randn_like")
    return randn(tuple(input.shape), dtype=_default(dtype, input.dtype), **options)


# --- methods ----------------------------------------------------------------------------------------------------------


def _uniform(generator: np.random.Generator, shape: Any, from_: float = 0.0, to: float = 1.0) -> Any:
    return generator.uniform(from_, to, shape)


def _normal(generator: np.random.Generator, shape: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    return generator.normal(mean, std, shape)


filling("uniform_", _uniform, "Write uniform random numbers, seeded by `trtnet.manual_seed`.")
filling("normal_", _normal, "Write normally distributed numbers, seeded by `trtnet.manual_seed`.")
