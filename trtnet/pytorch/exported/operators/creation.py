"""Operators that make tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .... import functional as F
from ....basics import dtypes
from ....basics.dims import SizeLike
from ....basics.dtypes import DtypeLike
from ....functional.dispatch import Value
from ....graph.tensor import Tensor
from ..table import converts

Sizes = Sequence[SizeLike]


@converts("aten::arange.default", "aten::arange.start", "aten::arange.start_step")
def _arange(*bounds: Any, dtype: DtypeLike | None = None) -> Tensor:
    return F.arange(*bounds, dtype=dtype)


@converts("aten::tril_indices")
def _tril_indices(row: int, col: int, offset: int = 0, dtype: Any = None) -> Tensor:
    return F.to(F.tril_indices(row, col, offset), _whole_type(dtype))


@converts("aten::triu_indices")
def _triu_indices(row: int, col: int, offset: int = 0, dtype: Any = None) -> Tensor:
    return F.to(F.triu_indices(row, col, offset), _whole_type(dtype))


def _whole_type(dtype: Any) -> Any:
    """A type as torch gives it here: by its number, of which 3 is int32."""
    return dtypes.int32 if dtype in (3, dtypes.int32) else dtypes.int64


@converts("aten::zeros", "aten::empty.memory_format")
def _zeros(size: Sizes, dtype: DtypeLike | None = None) -> Tensor:
    return F.zeros(tuple(size), dtype=dtype or dtypes.float32)


@converts("aten::ones")
def _ones(size: Sizes, dtype: DtypeLike | None = None) -> Tensor:
    return F.ones(tuple(size), dtype=dtype or dtypes.float32)


@converts("aten::full")
def _full(size: Sizes, fill_value: Value, dtype: DtypeLike | None = None) -> Tensor:
    return F.full(tuple(size), fill_value, dtype=dtype)


@converts("aten::empty_strided", "aten::empty_permuted", "aten::new_empty_strided")
def _empty(*args: Any, dtype: DtypeLike | None = None) -> Tensor:
    like = args[0] if isinstance(args[0], Tensor) else None
    size = args[1 if like is not None else 0]
    return F.zeros(tuple(size), dtype=dtype or (dtypes.float32 if like is None else like.dtype))


@converts("aten::new_zeros", "aten::new_empty")
def _new_zeros(self: Tensor, size: Sizes, dtype: DtypeLike | None = None) -> Tensor:
    return F.zeros(tuple(size), dtype=dtype or self.dtype)


@converts("aten::new_ones")
def _new_ones(self: Tensor, size: Sizes, dtype: DtypeLike | None = None) -> Tensor:
    return F.ones(tuple(size), dtype=dtype or self.dtype)


@converts("aten::new_full")
def _new_full(self: Tensor, size: Sizes, fill_value: Value, dtype: DtypeLike | None = None) -> Tensor:
    return F.full(tuple(size), fill_value, dtype=dtype or self.dtype)


@converts("aten::zeros_like", "aten::empty_like")
def _zeros_like(self: Tensor, dtype: DtypeLike | None = None) -> Tensor:
    return F.zeros_like(self, dtype=dtype or self.dtype)


@converts("aten::ones_like")
def _ones_like(self: Tensor, dtype: DtypeLike | None = None) -> Tensor:
    return F.ones_like(self, dtype=dtype or self.dtype)


@converts("aten::full_like")
def _full_like(self: Tensor, fill_value: Value, dtype: DtypeLike | None = None) -> Tensor:
    return F.full_like(self, fill_value, dtype=dtype or self.dtype)


@converts("aten::fill.Scalar", "aten::fill.Tensor")
def _fill(self: Tensor, value: Value) -> Tensor:
    if isinstance(value, Tensor):
        return F.expand(F.to(value, self.dtype), self.shape)
    return F.full_like(self, value, dtype=self.dtype)


@converts("aten::zero")
def _zero(self: Tensor) -> Tensor:
    return F.zeros_like(self, dtype=self.dtype)


@converts("aten::scalar_tensor")
def _scalar_tensor(s: Value, dtype: DtypeLike | None = None) -> Tensor:
    if isinstance(s, Tensor):
        return s if dtype is None else F.to(s, dtype)
    return F.full((), s, dtype=dtype or dtypes.float32)


# --- random numbers, drawn at each call -------------------------------------------------------------------------------


@converts("aten::rand", "aten::rand.generator")
def _rand(size: Sizes, generator: None = None, dtype: DtypeLike | None = None) -> Tensor:
    return F.rand(tuple(size), dtype=dtype or dtypes.float32)


@converts("aten::randn", "aten::randn.generator")
def _randn(size: Sizes, generator: None = None, dtype: DtypeLike | None = None) -> Tensor:
    return F.randn(tuple(size), dtype=dtype or dtypes.float32)


@converts("aten::rand_like")
def _rand_like(self: Tensor, dtype: DtypeLike | None = None) -> Tensor:
    return F.rand_like(self, dtype=dtype or self.dtype)


@converts("aten::randn_like")
def _randn_like(self: Tensor, dtype: DtypeLike | None = None) -> Tensor:
    return F.randn_like(self, dtype=dtype or self.dtype)


@converts("aten::randint")
def _randint(high: int, size: Sizes, dtype: DtypeLike = dtypes.int64) -> Tensor:
    return F.randint(0, high, tuple(size), dtype=dtype)


@converts("aten::randint.low")
def _randint_low(low: int, high: int, size: Sizes, dtype: DtypeLike = dtypes.int64) -> Tensor:
    return F.randint(low, high, tuple(size), dtype=dtype)


@converts("aten::randint_like")
def _randint_like(self: Tensor, high: int, dtype: DtypeLike | None = None) -> Tensor:
    return F.randint(0, high, tuple(self.shape), dtype=dtype or self.dtype)


@converts("aten::randint_like.low_dtype")
def _randint_like_low(self: Tensor, low: int, high: int, dtype: DtypeLike | None = None) -> Tensor:
    return F.randint(low, high, tuple(self.shape), dtype=dtype or self.dtype)


@converts("aten::normal_functional")
def _normal(self: Tensor, mean: float = 0.0, std: float = 1.0, generator: None = None) -> Tensor:
    return F.add(F.mul(F.randn_like(self), std), mean)


@converts("aten::uniform")
def _uniform(self: Tensor, low: float = 0.0, high: float = 1.0, generator: None = None) -> Tensor:
    return F.add(F.mul(F.rand_like(self), high - low), low)


@converts("aten::exponential")
def _exponential(self: Tensor, lambd: float = 1.0, generator: None = None) -> Tensor:
    return F.div(F.neg(F.log1p(F.neg(F.rand_like(self)))), lambd)


@converts("aten::multinomial")
def _multinomial(self: Tensor, num_samples: int, replacement: bool = False, generator: None = None) -> Tensor:
    return F.multinomial(self, num_samples, replacement)


@converts("aten::bernoulli")
def _bernoulli(self: Tensor, generator: None = None) -> Tensor:
    return F.bernoulli(self)


@converts("aten::bernoulli.p")
def _bernoulli_p(self: Tensor, p: float = 0.5, generator: None = None) -> Tensor:
    return F.bernoulli(F.full_like(self, p))
