"""Arithmetic on sizes, as exported programs do it: on ints and Dims; what is no size becomes a tensor of one
element."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from ... import functional as F
from ...basics import dims, dtypes
from ...basics.dims import Dim, Quotient
from ...basics.errors import UnsupportedError
from ...functional.dispatch import size_tensor
from ...graph.tensor import Tensor


def _number(value: Any) -> Any:
    """A size as something that is computed with as a float."""
    if isinstance(value, Dim):
        return F.to(size_tensor(value), dtypes.float32)
    if isinstance(value, Quotient):
        return F.div(_number(value.numerator), _number(value.denominator))
    return value


def numbers(value: Any) -> Any:
    """The arguments of an operator, with quotients of sizes as what the network computes of them."""
    if isinstance(value, Quotient):
        return _number(value)
    if type(value) in (tuple, list):
        return type(value)([numbers(one) for one in value])
    return {name: numbers(one) for name, one in value.items()} if type(value) is dict else value


def _sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operation whose result is a size where its operands are."""

    def compute(*values: Any) -> Any:
        if any(isinstance(value, (float, Tensor, Quotient)) for value in values):
            return function(*map(_number, values))
        return function(*values)

    return compute


def _floats(ints: Callable[[Any], Any], floats: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of one number, which gives a float."""

    def compute(value: Any) -> Any:
        made = _number(value)
        return floats(made) if isinstance(made, Tensor) else ints(made)

    return compute


def _compared(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A comparison that has one answer, or one that the network makes."""

    def compute(left: Any, right: Any) -> Any:
        if not any(isinstance(value, (Dim, Quotient, Tensor)) for value in (left, right)):
            return function(left, right)
        return function(*(size_tensor(v) if isinstance(v, Dim) else _number(v) for v in (left, right)))

    return compute


def _rounded(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def compute(value: Any, digits: int | None = None) -> Any:
        if isinstance(value, Tensor) or (function is round and not isinstance(value, int)):
            raise UnsupportedError(
                "a size is rounded from a number that the network computes",
                expected="sizes made of sizes by +, -, * and //",
                found=repr(value),
                remedy="write x.shape[0] // 2 in place of int(x.shape[0] / 2), and (x.shape[0] + 1) // 2 in place of "
                "round(x.shape[0] / 2), which takes the even neighbour of a half",
            )
        return function(value)

    return compute


def _largest(*values: Any) -> Any:
    return F.maximum(*map(_number, values)) if any(isinstance(v, Tensor) for v in values) else dims.maximum(*values)


def _smallest(*values: Any) -> Any:
    return F.minimum(*map(_number, values)) if any(isinstance(v, Tensor) for v in values) else dims.minimum(*values)


def _truth(value: Any) -> Any:
    return F.logical_not(value) if isinstance(value, Tensor) else not value


SIZES: dict[Any, Callable[..., Any]] = {
    **{one: _sizes(one) for one in (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod)},
    operator.truediv: _sizes(operator.truediv),
    operator.pow: _sizes(operator.pow),
    operator.neg: operator.neg,
    operator.pos: operator.pos,
    operator.abs: abs,
    operator.eq: _compared(operator.eq),
    operator.ne: _compared(operator.ne),
    operator.lt: _compared(operator.lt),
    operator.le: _compared(operator.le),
    operator.gt: _compared(operator.gt),
    operator.ge: _compared(operator.ge),
    operator.and_: operator.and_,
    operator.or_: operator.or_,
    operator.not_: _truth,
    math.floor: _rounded(math.floor),
    math.ceil: _rounded(math.ceil),
    math.trunc: _rounded(dims.sym_int),
    round: _rounded(round),
    torch.sym_int: _rounded(dims.sym_int),
    torch.sym_float: _number,
    torch.sym_not: _truth,
    torch.sym_max: _largest,
    torch.sym_min: _smallest,
    max: _largest,
    min: _smallest,
    torch._sym_sqrt: _floats(math.sqrt, F.sqrt),
    math.sqrt: _floats(math.sqrt, F.sqrt),
    torch._sym_sin: _floats(math.sin, F.sin),
    torch._sym_cos: _floats(math.cos, F.cos),
    torch._sym_tanh: _floats(math.tanh, F.tanh),
    torch._sym_log2: _floats(math.log2, F.log2),
}  # fmt: skip
"""Functions of numbers that stand in exported programs beside operators of tensors."""
