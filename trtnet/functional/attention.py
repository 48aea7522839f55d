"""Attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..basics.dims import format_shape
from ..basics.dtypes import bool_, float16
from ..basics.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from ..basics.limits import finfo
from ..graph.tensor import Array, Tensor
from .dispatch import floating, operation, tensor
from .indexing import is_recorded

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def masked(scores: Tensor, mask: Any, allowed: bool) -> Tensor:
    """The scores with minus infinity where a bool mask is not `allowed`, or with a float mask added."""
    from .. import functional as F

    mask = tensor(mask)
    if mask.dtype.name == "bool":
        return F.masked_fill(scores, F.logical_not(mask) if allowed else mask, float("-inf"))
    if not mask.dtype.is_floating_point:
        raise DtypeError(
            "an attention mask is bool or floating-point", expected=f"bool or {scores.dtype}", found=mask.dtype
        )
    return F.add(scores, mask)


def masked_rows(scores: Tensor, mask: Any, allowed: bool) -> tuple[Tensor, Any]:
    """The scores `masked`, and whether the mask leaves anything of each row, (..., L, 1): None where that is known.

    Rows of which nothing is left keep their scores: a softmax of minus infinities alone is NaN, and so are the
    gradients through it.
    """
    from .. import functional as F

    if isinstance(mask, Array) and not is_recorded(mask) and (mask.dtype is bool_ or scores.dtype is not float16):
        array = mask.numpy()
        rows = (array == allowed if array.dtype == np.bool_ else array != -np.inf).any(-1, keepdims=True)
        if rows.all():
            return masked(scores, mask, allowed), None
        return masked(scores, Array(np.where(rows, array, array.dtype.type(allowed))), allowed), Array(rows)
    mask = tensor(mask)
    if mask.dtype is bool_:
        hidden = F.logical_not(mask) if allowed else mask
        rows = F.any(F.logical_not(hidden), -1, keepdim=True)
        return masked(scores, F.logical_and(hidden, rows), False), rows
    # of the scores and not of the mask: in float16 the smallest number of a mask and a score become minus infinity
    scores = masked(scores, mask, allowed)
    rows = F.logical_not(F.lt(F.amax(scores, -1, keepdim=True), finfo(scores.dtype).min))
    return F.where(rows, scores, 0.0), rows


def causal(rows: Any, columns: Any) -> Any:
    """A bool mask (rows, columns): whether each row may see each column, those up to its own number."""
    from .. import functional as F

    if isinstance(rows, int) and isinstance(columns, int):
        import numpy as np

        return tensor(np.tri(rows, columns, dtype=bool))
    return F.ge(F.unsqueeze(F.arange(rows), 1), F.unsqueeze(F.arange(columns), 0))


@operation(strided=True)
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T * scale + mask) value, for (..., L, E), (..., S, E), (..., S, V): (..., L, V).

    Args:
        attn_mask: bool (True takes part) or of the query's dtype (added); broadcast to (..., L, S). A row that is
            masked entirely, by False or minus infinity, gives 0, as in torch.
        dropout_p: must be 0.
        is_causal: each row sees the columns up to its own number.
        scale: 1 / sqrt(E) when left out.
        enable_gqa: key and value have fewer heads (dimension -3) than the query, each used for several of them.
    """
    from .. import functional as F

    if dropout_p:
        raise UnsupportedError(
            "attention drops nothing inside a network",
            expected="dropout_p=0.0",
            found=f"dropout_p={dropout_p}",
            remedy="pass dropout_p=self.dropout if self.training else 0.0",
        )
    q, k, v = tensor(query), tensor(key), tensor(value)
    floating("scaled_dot_product_attention", q, k, v)
    if min(len(x.shape) for x in (q, k, v)) < 2:
        raise ShapeError(
            "attention takes two dimensions or more",
            expected="(..., length, size)",
            found=", ".join(format_shape(x.shape) for x in (q, k, v)),
        )
    if is_causal and attn_mask is not None:
        raise ArgumentError("attention takes attn_mask or is_causal, not both", remedy="put both into attn_mask")
    if enable_gqa:
        k, v = _repeated(k, q), _repeated(v, q)
    if scale is None:
        size = q.shape[-1]
        if not isinstance(size, int):
            raise ShapeError(
                "the last size of the query must be a number", found=format_shape(q.shape), remedy="give scale="
            )
        scale = 1.0 / math.sqrt(size)
    scores = F.matmul(F.mul(q, scale), F.transpose(k, -1, -2))
    rows = None
    if is_causal:  # each row sees the first column
        scores = masked(scores, causal(scores.shape[-2], scores.shape[-1]), True)
    elif attn_mask is not None:
        scores, rows = masked_rows(scores, attn_mask, True)
    made = F.matmul(F.softmax(scores, -1), v)
    return made if rows is None else F.where(rows, made, 0.0)


def _repeated(x: Tensor, query: Tensor) -> Tensor:
    """(..., heads, S, E) with each head as often as the query's heads need."""
    from .. import functional as F

    heads, wanted = x.shape[-3], query.shape[-3]
    if not isinstance(heads, int) or not isinstance(wanted, int) or wanted % heads:
        raise ShapeError(
            "the query's heads must be a multiple of the key's and value's",
            expected=f"a multiple of {heads}",
            found=wanted,
        )
    if heads == wanted:
        return x
    front, back = x.shape[:-3], x.shape[-2:]
    spread = F.expand(F.unsqueeze(x, -3), (*front, heads, wanted // heads, *back))
    return F.reshape(spread, (*front, wanted, *back))


def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    """What nn.MultiheadAttention computes, (L, N, E) and weights given. Raises UnsupportedError for static_k and
    static_v."""
    from ..nn.attention import MultiheadAttention
    from ..nn.module import Module
    from .linear import linear

    if static_k is not None or static_v is not None:
        raise UnsupportedError(
            "attention takes no keys or values that are projected already", remedy="use scaled_dot_product_attention"
        )
    module = object.__new__(MultiheadAttention)
    Module.__init__(module)
    module.__dict__.update(
        embed_dim=embed_dim_to_check, num_heads=num_heads, head_dim=embed_dim_to_check // num_heads, batch_first=False,
        dropout=dropout_p, add_zero_attn=add_zero_attn, in_proj_weight=in_proj_weight, in_proj_bias=in_proj_bias,
        bias_k=bias_k, bias_v=bias_v,
        q_proj_weight=q_proj_weight, k_proj_weight=k_proj_weight, v_proj_weight=v_proj_weight,
        _qkv_same_embed_dim=not use_separate_proj_weight, out_proj=lambda x: linear(x, out_proj_weight, out_proj_bias),
    )  # fmt: skip
    return module.attend(
        query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal, training
    )
