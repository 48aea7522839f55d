"""Covariances, and medians beside NaN. Names, signatures and defaults as torch's."""

from __future__ import annotations

from typing import Any

from ..basics import dtypes
from ..basics.dims import Dim, format_shape
from ..basics.errors import ShapeError, UnsupportedError
from ..graph.tensor import Tensor
from .arithmetic import div, sqrt, sub
from .comparison import clamp, eq, isnan, logical_or
from .dispatch import refusing, size_tensor
from .linear import matmul
from .ranking import Ranked, median, nanquantile
from .reduction import mean
from .shape import reshape, squeeze, transpose, unsqueeze
from .sorting import argmax
from .triangular import diagonal

__all__ = ["corrcoef", "cov", "nanmedian"]


@refusing
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of the rows of a matrix, each a variable with one observation in a column: (n, k) gives (n, n).

    Divided by the number of observations less `correction`. One variable, a row or a vector, gives one number. Raises
    UnsupportedError for weights.

    >>> trtnet.cov(trtnet.tensor([[0.0, 2.0], [1.0, 5.0]])).tolist()
    [[2.0, 4.0], [4.0, 8.0]]
    """
    if fweights is not None or aweights is not None:
        raise UnsupportedError(
            "cov takes no weights here",
            found="fweights= or aweights=",
            remedy="weigh the centred columns: ((x - mean) * weights) @ (x - mean).T",
        )
    if input.ndim > 2:
        raise ShapeError("cov takes a matrix, or a vector", found=format_shape(input.shape))
    x = input if input.dtype.is_floating_point else input.float()
    rows = reshape(x, (1, -1)) if x.ndim < 2 else x
    centred = sub(rows, mean(rows, 1, True))
    count: Any = rows.shape[1] - correction
    if isinstance(count, Dim):
        count = clamp(size_tensor(count, x.dtype), min=0)
    else:
        count = max(count, 0)
    made = div(matmul(centred, transpose(centred, 0, 1)), count)
    return reshape(made, ()) if rows.shape[0] == 1 else made


@refusing
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows of a matrix, from -1 to 1: their covariances over both standard deviations.

    >>> trtnet.corrcoef(trtnet.tensor([[0.0, 2.0], [5.0, 1.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    made = cov(input)
    if not made.ndim:
        return div(made, made)
    deviation = sqrt(diagonal(made))
    return clamp(div(div(made, unsqueeze(deviation, 1)), unsqueeze(deviation, 0)), min=-1, max=1)


@refusing
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Ranked:
    """As `median`, of the elements that are no NaN: of two in the middle the smaller one; NaN where there is none.

    With `dim` a pair of values and of where they are (int64).

    >>> trtnet.nanmedian(trtnet.tensor([4.0, float("nan"), 2.0, 3.0])).item()
    3.0
    """
    if not input.dtype.is_floating_point or (dim is not None and not input.ndim):
        return median(input, dim, keepdim) if dim is not None else median(input)
    x = input if input.dtype is dtypes.float32 else input.float()
    if dim is None:
        return nanquantile(x, 0.5, interpolation="lower").to(input.dtype)
    values = nanquantile(x, 0.5, dim, True, interpolation="lower")
    places = logical_or(eq(x, values), isnan(values))
    indices = argmax(places.int(), dim, True)
    values = values.to(input.dtype)
    return Ranked(values, indices) if keepdim else Ranked(squeeze(values, dim), squeeze(indices, dim))


for _function in (corrcoef, cov, nanmedian):
    setattr(Tensor, _function.__name__, _function)
