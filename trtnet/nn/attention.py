"""Multi-head attention."""

from __future__ import annotations

import enum
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..basics.dims import format_shape
from ..basics.dtypes import bool_
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError
from ..functional.attention import masked, masked_rows
from ..functional.creation import as_tensor
from ..functional.dispatch import operand, tensor
from ..functional.memory import forget_strides
from ..graph.tensor import Parameter, Tensor
from ..weights import recipes
from ..weights.recipes import Weight
from . import init
from .linear import NonDynamicallyQuantizableLinear
from .module import Module

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """softmax(q k^T / sqrt(head_dim)) v for each head, with projections of query, key, value and output.

    In masks, True (or minus infinity) hides a position.

    Args:
        embed_dim: E, a multiple of num_heads; head_dim is E / num_heads.
        num_heads: how many heads.
        dropout: the probability with which weights are dropped where `to_torch(graph)` is trained.
        bias: whether the projections have one.
        add_bias_kv: whether there are a learned key and value beside the others.
        add_zero_attn: whether there are a key and value of zeros beside the others.
        kdim, vdim: the sizes of keys and values; E unless given.
        batch_first: whether arrays are (N, L, E) and not (L, N, E).
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: in_proj_weight (3 E, E), or q_proj_weight, k_proj_weight, v_proj_weight; in_proj_bias (3 E,),
        out_proj.weight, out_proj.bias, bias_k, bias_v.
    Shape: query (L, N, E), key (S, N, kdim), value (S, N, vdim) to (L, N, E) and the weights (N, L, S), or None; N
        first with batch_first, or none at all; float32, float16 or bfloat16.
    Layers: `fully_connected` for each projection, two `matrix_multiply`, one `softmax`; between them `shuffle`,
        `slice`, `elementwise`, `constant`, for masks `select`, for the mean of the weights `reduce`.
    Unlike torch: a row of which everything is hidden has the weights 0 and so gives the bias of out_proj, with
        `need_weights` and without. torch gives NaN with them, and the same without.

    >>> shape = Input((2, 5, 8))
    >>> attention = nn.MultiheadAttention(8, num_heads=2, batch_first=True)
    >>> graph = trtnet.record(attention, query=shape, key=shape, value=shape)
    >>> [output.shape for output in graph.outputs.values()]
    [Size([2, 5, 8]), Size([2, 5, 5])]
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ArgumentError(
                "embed_dim must be divisible by num_heads", expected=f"a multiple of {num_heads}", found=embed_dim
            )
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn

        def parameter(wanted: bool, *shape: int) -> Parameter | None:
            return Parameter(shape=shape, dtype=dtype) if wanted else None

        same = self._qkv_same_embed_dim
        self.register_parameter("q_proj_weight", parameter(not same, embed_dim, embed_dim))
        self.register_parameter("k_proj_weight", parameter(not same, embed_dim, self.kdim))
        self.register_parameter("v_proj_weight", parameter(not same, embed_dim, self.vdim))
        self.register_parameter("in_proj_weight", parameter(same, 3 * embed_dim, embed_dim))
        self.register_parameter("in_proj_bias", parameter(bias, 3 * embed_dim))
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, dtype=dtype)
        self.register_parameter("bias_k", parameter(add_bias_kv, 1, 1, embed_dim))
        self.register_parameter("bias_v", parameter(add_bias_kv, 1, 1, embed_dim))
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output, and the weights (or None): (N, L, S), or (N, heads, L, S) without `average_attn_weights`.

        Args:
            query, key, value: (L, N, E), (S, N, kdim), (S, N, vdim); with `batch_first` (N, L, E)...; or without N.
            key_padding_mask: (N, S) or (S,).
            attn_mask: (L, S) or (N * heads, L, S).
            is_causal: says that attn_mask is causal; the mask itself must be given.
        """
        mode = self.training
        return self.attend(
            query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal, mode
        )

    def attend(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any,
        need_weights: bool,
        attn_mask: Any,
        average_attn_weights: bool,
        is_causal: bool,
        training: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """`forward`, with weights dropped by this mode."""
        from .. import functional as F

        ranks = [len(x.shape) for x in (query, key, value)]
        if len(set(ranks)) != 1 or ranks[0] not in (2, 3):
            raise ShapeError(
                "attention takes a query, key and value of 3 dimensions, or of 2 without a batch",
                expected="(batch, length, embed_dim)" if self.batch_first else "(length, batch, embed_dim)",
                found=", ".join(format_shape(x.shape) for x in (query, key, value)),
            )
        if is_causal and attn_mask is None:
            raise ArgumentTypeError(
                "is_causal needs attn_mask", remedy="give the mask too: Transformer.generate_square_subsequent_mask(L)"
            )
        alone, same_key, same = ranks[0] == 2, key is value, query is key and key is value
        q = self._batch_first(query, alone)
        k = q if query is key else self._batch_first(key, alone)
        v = k if same_key else self._batch_first(value, alone)
        q, k, v = self._projected(q, k, v, same)
        count, length = q.shape[0], q.shape[1]
        mask = self._merged(attn_mask, key_padding_mask, count)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                F.cat([x, F.expand(b, (count, 1, self.embed_dim))], 1) for x, b in ((k, self.bias_k), (v, self.bias_v))
            )
            mask = _longer(mask)
        q, k, v = (
            F.transpose(F.reshape(x, (count, x.shape[1], self.num_heads, self.head_dim)), 1, 2) for x in (q, k, v)
        )
        if self.add_zero_attn:
            zeros = F.zeros((count, self.num_heads, 1, self.head_dim), dtype=q.dtype)
            k, v = F.cat([k, zeros], 2), F.cat([v, zeros], 2)
            mask = _longer(mask)
        scores = F.matmul(F.mul(q, 1.0 / math.sqrt(self.head_dim)), F.transpose(k, -1, -2))
        rows = None
        if mask is not None:
            if self.add_zero_attn or self.bias_k is not None:  # one more position, which nothing hides
                scores = masked(scores, mask, False)
            else:
                scores, rows = masked_rows(scores, mask, False)
        weights = F.softmax(scores, -1)
        if rows is not None and need_weights:
            weights, rows = F.where(rows, weights, 0.0), None
        weights = F.dropout(weights, self.dropout, training)
        out = F.matmul(weights, v)
        if rows is not None:
            out = F.where(rows, out, 0.0)
        out = F.reshape(F.transpose(out, 1, 2), (count, length, self.embed_dim))
        out = self.out_proj(out)
        if alone:
            out = F.squeeze(out, 0)
        elif not self.batch_first:
            out = F.transpose(out, 0, 1)
        forget_strides(out)  # torch's is transposed or not, by which of its kernels ran
        if not need_weights:
            return out, None
        if average_attn_weights:
            weights = F.mean(weights, 1)
        return out, F.squeeze(weights, 0) if alone else weights

    def _batch_first(self, x: Any, alone: bool) -> Tensor:
        from .. import functional as F

        x = tensor(x)
        if alone:
            return F.unsqueeze(x, 0)
        return x if self.batch_first else F.transpose(x, 0, 1)

    def _projected(self, q: Tensor, k: Tensor, v: Tensor, same: bool) -> tuple[Tensor, Tensor, Tensor]:
        from .. import functional as F

        size = self.embed_dim
        bias = operand(self.in_proj_bias)
        if self._qkv_same_embed_dim and same:
            q, k, v = F.chunk(F.linear(q, self.in_proj_weight, bias), 3, -1)
            return q, k, v
        if self._qkv_same_embed_dim:
            whole = operand(self.in_proj_weight)
            weights = [_rows(whole, i * size, (i + 1) * size) for i in range(3)]
        else:
            weights = [operand(w) for w in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)]
        biases = [None if bias is None else _rows(bias, i * size, (i + 1) * size) for i in range(3)]
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases, strict=True))
        return q, k, v

    def _merged(self, mask: Any, padding: Any, count: Any) -> Any:
        """One mask of four dimensions from attn_mask and key_padding_mask; None where neither is given."""
        from .. import functional as F

        if mask is not None:
            mask = self._heads(mask, count)
        if padding is None:
            return mask
        padding = as_tensor(padding)
        padding = F.reshape(padding, (padding.shape[0] if len(padding.shape) == 2 else 1, 1, 1, padding.shape[-1]))
        if mask is None:
            return padding
        if mask.dtype is bool_ and padding.dtype is bool_:
            return F.logical_or(mask, padding)
        if bool_ in (mask.dtype, padding.dtype):
            hidden, added = (mask, padding) if mask.dtype is bool_ else (padding, mask)
            return F.where(hidden, float("-inf"), added)
        return F.add(mask, padding)

    def _heads(self, mask: Any, count: Any) -> Any:
        """The mask (L, S) or (N * heads, L, S) with four dimensions."""
        from .. import functional as F

        mask = as_tensor(mask)
        if len(mask.shape) == 2:
            return F.reshape(mask, (1, 1, *mask.shape))
        if len(mask.shape) != 3:
            raise ShapeError(
                "attn_mask has two or three dimensions",
                expected="(L, S) or (N * heads, L, S)",
                found=format_shape(mask.shape),
            )
        return F.reshape(mask, (count, self.num_heads, *mask.shape[1:]))


def _rows(weight: Any, start: int, stop: int) -> Any:
    return recipes.take(weight, 0, start, stop) if isinstance(weight, Weight) else weight[start:stop]


def _longer(mask: Any) -> Any:
    """The mask with one more column, which hides nothing."""
    from .. import functional as F

    return None if mask is None else F.pad(tensor(mask), (0, 1))


class SDPBackend(enum.Enum):
    """torch's ways to compute attention; TensorRT chooses its own."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3


def sdpa_kernel(backends: Any = None, set_priority: bool = False) -> AbstractContextManager[None]:
    """`with sdpa_kernel(...):` of torch.nn.attention; nothing depends on it."""
    return nullcontext()
