"""Attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..basics.dims import SizeLike, format_shape
from ..basics.dtypes import bool_, float16, int64
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError
from ..basics.limits import finfo
from ..graph.recorder import emit
from ..graph.tensor import Array, Tensor
from ..graph.training import Mode
from ..layers.attention import Attention, RotaryEmbedding, shared_heads
from ..layers.base import require_floating
from ..layers.casting import converted
from ..weights import recipes
from ..weights.recipes import Weight
from .arithmetic import add, mul
from .broadcasting import expand
from .comparison import ge, logical_and, logical_not, logical_or, lt, masked_fill, where
from .creation import arange, as_tensor, zeros
from .dispatch import is_recorded, operand, operation, refusing, require_bools, require_ints, tensor
from .dropout import dropout
from .joining import cat, chunk
from .linear import linear, matmul
from .memory import forget_strides
from .normalization import softmax
from .padding import pad
from .reduction import amax
from .reduction import any as any_of
from .reduction import mean as average
from .shape import reshape, squeeze, transpose, unsqueeze

__all__ = ["multi_head_attention_forward", "rotary_embedding", "scaled_dot_product_attention"]

_fuses: ContextVar[bool] = ContextVar("whether attention is recorded as one layer", default=False)


_composes: ContextVar[bool] = ContextVar("whether it may be composed where it is no one layer", default=True)


@contextmanager
def fusing(wanted: bool, otherwise: bool = True) -> Iterator[None]:
    """Have attention recorded as one layer inside, or not; `otherwise`: composed where it cannot be one."""
    tokens = _fuses.set(wanted), _composes.set(otherwise)
    try:
        yield
    finally:
        _fuses.reset(tokens[0])
        _composes.reset(tokens[1])


def masked(scores: Tensor, mask: Tensor, allowed: bool) -> Tensor:
    """The scores with minus infinity where a bool mask is not `allowed`, or with a float mask added."""
    mask = tensor(mask)
    if mask.dtype.name == "bool":
        return masked_fill(scores, logical_not(mask) if allowed else mask, float("-inf"))
    if not mask.dtype.is_floating_point:
        raise DtypeError(
            "an attention mask is bool or floating-point", expected=f"bool or {scores.dtype}", found=mask.dtype
        )
    return add(scores, mask)


def masked_rows(scores: Tensor, mask: Tensor, allowed: bool) -> tuple[Tensor, Tensor | None]:
    """The scores `masked`, and whether the mask leaves anything of each row, (..., L, 1): None where that is known.

    Rows of which nothing is left keep their scores: a softmax of minus infinities alone is NaN, and so are the
    gradients through it.
    """
    if isinstance(mask, Array) and not is_recorded(mask) and (mask.dtype is bool_ or scores.dtype is not float16):
        array = mask.numpy()
        rows = (array == allowed if array.dtype == np.bool_ else array != -np.inf).any(-1, keepdims=True)
        if rows.all():
            return masked(scores, mask, allowed), None
        return masked(scores, Array(np.where(rows, array, array.dtype.type(allowed))), allowed), Array(rows)
    mask = tensor(mask)
    if mask.dtype is bool_:
        hidden = logical_not(mask) if allowed else mask
        rows = any_of(logical_not(hidden), -1, keepdim=True)
        return masked(scores, logical_and(hidden, rows), False), rows
    # of the scores and not of the mask: in float16 the smallest number of a mask and a score become minus infinity
    scores = masked(scores, mask, allowed)
    rows = logical_not(lt(amax(scores, -1, keepdim=True), finfo(scores.dtype).min))
    return where(rows, scores, 0.0), rows


def causal(rows: SizeLike, columns: SizeLike, diagonal: SizeLike = 0) -> Tensor:
    """A bool mask (rows, columns): whether each row may see each column, those up to its own number + diagonal."""
    if isinstance(rows, int) and isinstance(columns, int) and isinstance(diagonal, int):
        return tensor(np.tri(rows, columns, diagonal, dtype=bool))
    last = arange(rows) if diagonal == 0 else arange(diagonal, diagonal + rows)
    return ge(unsqueeze(last, 1), unsqueeze(arange(columns), 0))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    diagonal: SizeLike | None,
    weights: Callable[[Tensor], Tensor],
    /,
) -> Tensor:
    """weights(query key^T, masked) value; 0 where everything of a row is masked.

    `diagonal`: each row sees the columns up to its own number + diagonal; all where it is None.
    """
    scores = matmul(query, transpose(key, -1, -2))
    rows = None
    if diagonal is not None:
        seen = causal(scores.shape[-2], scores.shape[-1], diagonal)
        least = diagonal if isinstance(diagonal, int) else diagonal.bounds[0]
        if mask is None and least >= 0:  # each row sees the first column
            scores = masked(scores, seen, True)
        else:
            mask = seen if mask is None else logical_and(mask, seen)
    if mask is not None:
        scores, rows = masked_rows(scores, mask, True)
    made = matmul(weights(scores), value)
    return made if rows is None else where(rows, made, 0.0)


def _softmax(scores: Tensor) -> Tensor:
    return softmax(scores, -1)


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor | None:
    """One attention layer; None where none is wanted (`fusing`), or where it does not take these shapes."""
    rank = len(query.shape)
    if not _fuses.get() or rank > 4 or len(key.shape) != rank or key.shape != value.shape:
        return None
    if query.shape[-1] != key.shape[-1] or (rank > 2 and query.shape[0] != key.shape[0]):
        return None
    inputs, rows = [_in_four(x) for x in (query, key, value)], None
    if mask is not None:
        if len(mask.shape) > rank or mask.dtype not in (bool_, query.dtype):
            return None
        mask, rows = _with_no_empty_row(mask)
        mask = reshape(mask, (1,) * (rank - len(mask.shape)) + tuple(mask.shape))
        front = _in_four(mask).shape[:2]
        inputs.append(expand(_in_four(mask), (*front, query.shape[-2], key.shape[-2])))
    kind = "UPPER_LEFT" if is_causal else "NONE"
    made = reshape(emit(Attention(tuple(inputs), "SOFTMAX", kind, decomposable=True)), query.shape)
    return made if rows is None else where(rows, made, 0.0)


def _in_four(x: Tensor) -> Tensor:
    """(batch, heads, ...) of what has no heads, or neither."""
    *front, length, size = x.shape
    return reshape(x, (*front, *(1,) * (2 - len(front)), length, size))


def _with_no_empty_row(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """The mask, where it leaves nothing of a row opened there, and the rows of which it leaves something: None where
    those are all."""
    if isinstance(mask, Array) and not is_recorded(mask):
        array = mask.numpy()
        left = np.any(array if array.dtype == np.bool_ else array != -np.inf, axis=-1, keepdims=True)
        opened = np.where(left, array, array.dtype.type(array.dtype == np.bool_))
        return tensor(Array(opened)), None if left.all() else Array(left)
    mask = tensor(mask)
    if mask.dtype is bool_:
        rows = any_of(mask, -1, keepdim=True)
        return logical_or(mask, logical_not(rows)), rows
    rows = logical_not(lt(amax(mask, -1, keepdim=True), finfo(mask.dtype).min))
    return where(rows, mask, 0.0), rows


@operation(strided=True)
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T * scale + mask) value, for (..., L, E), (..., S, E), (..., S, V): (..., L, V).

    Args:
        attn_mask: bool (True takes part) or of the query's dtype (added); broadcast to (..., L, S). A row that is
            masked entirely, by False or minus infinity, gives 0, as in torch. Without a mask nothing looks for such
            rows: one whose scores are all minus infinity, of infinite keys, gives NaN, and torch 0. A row whose scores
            are all NaN gives NaN, as torch's composition of products and softmax; its flash attention on the CPU
            gives 0.
        dropout_p: must be 0.
        is_causal: each row sees the columns up to its own number.
        scale: 1 / sqrt(E) when left out.
        enable_gqa: key and value have fewer heads (dimension -3) than the query, each used for several of them.

    It is recorded as products and a softmax, which TensorRT fuses itself where it can. Inside `with
    torch.nn.attention.sdpa_kernel(SDPBackend.FLASH_ATTENTION):`, or another of the fused ones, it is recorded as one
    attention layer instead, which TensorRT has from 10.14 on and may take apart again; for TensorRT without it, it is
    composed of the same products and softmax.

    Layers of the example: `constant`, `elementwise`, `shuffle`, `matrix_multiply`, `softmax`.

    >>> q, k = trtnet.Input((1, 2, 5, 8)), trtnet.Input((1, 2, 7, 8))
    >>> attend = lambda q, k, v: trtnet.functional.scaled_dot_product_attention(q, k, v)
    >>> graph = trtnet.record(attend, q=q, k=k, v=k)
    >>> graph.outputs["output"].shape
    Size([1, 2, 5, 8])
    """
    require_bools("scaled_dot_product_attention", is_causal=is_causal, enable_gqa=enable_gqa)
    if dropout_p:
        raise UnsupportedError(
            "attention drops nothing inside a network",
            expected="dropout_p=0.0",
            found=f"dropout_p={dropout_p}",
            remedy="pass dropout_p=self.dropout if self.training else 0.0",
        )
    q, k, v = tensor(query), tensor(key), tensor(value)
    require_floating("scaled_dot_product_attention", q, k, v)
    if min(len(x.shape) for x in (q, k, v)) < 2:
        raise ShapeError(
            "attention takes two dimensions or more",
            expected="(..., length, size)",
            found=", ".join(format_shape(x.shape) for x in (q, k, v)),
        )
    if is_causal and attn_mask is not None:
        raise ArgumentError("attention takes attn_mask or is_causal, not both", remedy="put both into attn_mask")
    if scale is None:
        size = q.shape[-1]
        if not isinstance(size, int):
            raise ShapeError(
                "the last size of the query must be a number", found=format_shape(q.shape), remedy="give scale="
            )
        scale = 1.0 / math.sqrt(size)
    q = mul(q, scale)
    if enable_gqa:
        _require_multiple(k, q)
        _require_multiple(v, q)
    shown = None if attn_mask is None else tensor(attn_mask)
    heads = enable_gqa or q.shape[-3:-2] == k.shape[-3:-2]
    made = _fused(q, k, v, shown, is_causal) if heads else None
    if made is not None:
        return made
    if enable_gqa:
        k, v = (shared_heads(x, q.shape[-3]) for x in (k, v))
    made = attend(q, k, v, attn_mask, 0 if is_causal else None, _softmax)
    if _fuses.get() and not _composes.get():
        raise _no_layer({"query": query, "key": key, "value": value} | ({} if shown is None else {"mask": shown}))
    return made


def _no_layer(tensors: dict[str, Tensor]) -> UnsupportedError:
    return UnsupportedError(
        "attention of these shapes is no one layer of TensorRT's",
        expected="a key and a value of one shape, a query of their size, batch and type, and at most 4 dimensions",
        found=", ".join(f"{name} {format_shape(x.shape)} {x.dtype}" for name, x in tensors.items()),
        remedy="name SDPBackend.MATH too: sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])",
    )


def _require_multiple(x: Tensor, query: Tensor) -> None:
    """Raises ShapeError unless the query's heads are so many times those of a key or value."""
    heads, wanted = x.shape[-3], query.shape[-3]
    if not isinstance(heads, int) or not isinstance(wanted, int) or wanted % heads:
        raise ShapeError(
            "the query's heads must be a multiple of the key's and value's",
            expected=f"a multiple of {heads}",
            found=wanted,
        )


def _positions(ids: Tensor) -> Tensor:
    if ids.dtype.is_floating_point or ids.dtype is bool_:
        raise DtypeError(
            "position_ids are whole numbers",
            expected="int64 or int32",
            found=f"{ids.dtype} {format_shape(ids.shape)}",
            remedy="convert them: position_ids.long()",
        )
    return converted(ids, int64)


@operation()
def rotary_embedding(
    X: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: bool = False,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Rotary positions, named as `torch.onnx.ops.rotary_embedding`: pairs of elements turned by their position's angle.

    A pair (a, b) of the last dimension becomes (a cos - b sin, a sin + b cos). TensorRT has a layer for it from 10.15
    on; for others it is composed. Source: https://arxiv.org/abs/2104.09864, and ONNX's RotaryEmbedding.

    Args:
        X: (batch, heads, length, E), or (batch, length, num_heads * E).
        cos_cache, sin_cache: (batch or 1, length, E / 2), or with position_ids tables (positions, E / 2).
        position_ids: (batch, length), whole numbers.
        interleaved: whether a pair are two neighbours; else they are E / 2 apart.
        num_heads: of an X of three dimensions.
        rotary_embedding_dim: how many elements of the E are turned, the first; all where it is 0.

    Layers of the example: `rotary_embedding`.

    >>> x, angles = trtnet.Input((1, 2, 5, 8)), trtnet.Input((1, 5, 4))
    >>> turn = lambda x, cos, sin: trtnet.functional.rotary_embedding(x, cos, sin)
    >>> graph = trtnet.record(turn, x=x, cos=angles, sin=angles)
    >>> graph.outputs["output"].shape
    Size([1, 2, 5, 8])
    """
    require_bools("rotary_embedding", interleaved=interleaved)
    require_ints("rotary_embedding", num_heads=num_heads, rotary_embedding_dim=rotary_embedding_dim)
    x, cos, sin = tensor(X), tensor(cos_cache), tensor(sin_cache)
    flat = len(x.shape) == 3
    if flat:
        if num_heads < 1:
            raise ArgumentError(
                "an input of three dimensions needs num_heads", expected="1 or more", found=f"num_heads={num_heads}"
            )
        size = x.shape[2]
        if not isinstance(size, int) or size % num_heads:
            raise ShapeError(
                "the last size must be a multiple of num_heads", expected=f"a multiple of {num_heads}", found=size
            )
        x = transpose(reshape(x, (x.shape[0], x.shape[1], num_heads, size // num_heads)), 1, 2)
    if position_ids is None and len(cos.shape) == 3 == len(sin.shape):
        cos, sin = (expand(t, (x.shape[0], -1, -1)) for t in (cos, sin))
    ids = () if position_ids is None else (_positions(tensor(position_ids)),)
    made: Tensor = emit(RotaryEmbedding((x, cos, sin, *ids), interleaved, rotary_embedding_dim))
    return reshape(transpose(made, 1, 2), X.shape) if flat else made


@refusing
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | Weight | None,
    in_proj_bias: Tensor | Weight | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor | Weight,
    out_proj_bias: Tensor | Weight | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | Weight | None = None,
    k_proj_weight: Tensor | Weight | None = None,
    v_proj_weight: Tensor | Weight | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What nn.MultiheadAttention computes, (L, N, E) and weights given. Raises UnsupportedError for static_k and
    static_v.

    Layers of the example: `shuffle`, `fully_connected`, `slice`, `constant`, `elementwise`, `matrix_multiply`,
        `softmax`.

    >>> def attend(x, w, b, v, c):
    ...     return trtnet.functional.multi_head_attention_forward(
    ...         x, x, x, 8, 2, w, b, None, None, False, 0.0, v, c, need_weights=False
    ...     )[0]
    >>> shapes = {"x": (5, 2, 8), "w": (24, 8), "b": (24,), "v": (8, 8), "c": (8,)}
    >>> graph = trtnet.record(attend, **{name: trtnet.Input(shape) for name, shape in shapes.items()})
    >>> graph.outputs["output"].shape
    Size([5, 2, 8])
    """
    if static_k is not None or static_v is not None:
        raise UnsupportedError(
            "attention takes no keys or values that are projected already", remedy="use scaled_dot_product_attention"
        )
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight
    heads = Heads(
        embed_dim_to_check, num_heads, weights, in_proj_bias, bias_k, bias_v, add_zero_attn,
        lambda x: linear(x, out_proj_weight, out_proj_bias),
    )  # fmt: skip
    check_attention((query, key, value), attn_mask, is_causal, batch_first=False)
    return heads.attend(
        query, key, value, attn_mask, key_padding_mask, dropout_p, training, need_weights, average_attn_weights
    )


def check_attention(
    inputs: tuple[Tensor, Tensor, Tensor], attn_mask: Tensor | None, is_causal: bool, batch_first: bool
) -> None:
    """Raises ShapeError unless query, key and value all have a batch, or none; ArgumentTypeError for a hint alone."""
    ranks = [len(x.shape) for x in inputs]
    if len(set(ranks)) != 1 or ranks[0] not in (2, 3):
        raise ShapeError(
            "attention takes a query, key and value of 3 dimensions, or of 2 without a batch",
            expected="(batch, length, embed_dim)" if batch_first else "(length, batch, embed_dim)",
            found=", ".join(format_shape(x.shape) for x in inputs),
        )
    if is_causal and attn_mask is None:
        raise ArgumentTypeError(
            "is_causal needs attn_mask", remedy="give the mask too: Transformer.generate_square_subsequent_mask(L)"
        )


@dataclass(slots=True)
class Heads:
    """Attention with several heads, as nn.MultiheadAttention says it."""

    embed_dim: int
    num_heads: int
    in_weights: Any  # one of the three projections, (3 * embed_dim, embed_dim), or a tuple of three
    in_bias: Tensor | Weight | None
    bias_k: Tensor | None
    bias_v: Tensor | None
    add_zero_attn: bool
    out_proj: Callable[[Tensor], Tensor]
    batch_first: bool = False

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        dropout_p: float,
        training: bool | Mode,
        need_weights: bool,
        average_attn_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """The output, and the weights where they are asked for."""
        alone = len(query.shape) == 2
        q = self._with_batch_first(query, alone)
        k = q if query is key else self._with_batch_first(key, alone)
        v = k if key is value else self._with_batch_first(value, alone)
        q, k, v = self._projected(q, k, v, query is key and key is value)
        count, length = q.shape[0], q.shape[1]
        mask = self._merged(attn_mask, key_padding_mask, count)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (cat([x, expand(b, (count, 1, self.embed_dim))], 1) for x, b in ((k, self.bias_k), (v, self.bias_v)))
            mask = _longer(mask)
        q, k, v = (transpose(reshape(x, (count, x.shape[1], self.num_heads, self.size)), 1, 2) for x in (q, k, v))
        if self.add_zero_attn:
            nothing = zeros((count, self.num_heads, 1, self.size), dtype=q.dtype)
            k, v = cat([k, nothing], 2), cat([v, nothing], 2)
            mask = _longer(mask)
        out, weights = self._weighted(q, k, v, mask, dropout_p, training, need_weights)
        out = self.out_proj(reshape(transpose(out, 1, 2), (count, length, self.embed_dim)))
        if alone:
            out = squeeze(out, 0)
        elif not self.batch_first:
            out = transpose(out, 0, 1)
        forget_strides(out)  # torch's is transposed or not, by which of its kernels ran
        if not need_weights:
            return out, None
        if average_attn_weights:
            weights = average(weights, 1)
        return out, squeeze(weights, 0) if alone else weights

    @property
    def size(self) -> int:
        """Elements of one head."""
        return self.embed_dim // self.num_heads

    def _weighted(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        dropout_p: float,
        training: bool | Mode,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor]:
        """The values (N, heads, L, size) in proportion to the weights (N, heads, L, S), and these."""
        q = mul(q, 1.0 / math.sqrt(self.size))
        if not need_weights and not dropout_p:
            shown = logical_not(mask) if mask is not None and mask.dtype is bool_ else mask
            made = _fused(q, k, v, shown, False)
            if made is not None:
                return made, made
        scores = matmul(q, transpose(k, -1, -2))
        rows = None
        if mask is not None:
            if self.add_zero_attn or self.bias_k is not None:  # one more position, which nothing hides
                scores = masked(scores, mask, False)
            else:
                scores, rows = masked_rows(scores, mask, False)
        weights = softmax(scores, -1)
        if rows is not None and need_weights:
            weights, rows = where(rows, weights, 0.0), None
        weights = dropout(weights, dropout_p, training)
        out = matmul(weights, v)
        return (out if rows is None else where(rows, out, 0.0)), weights

    def _with_batch_first(self, x: Tensor, alone: bool) -> Tensor:
        x = tensor(x)
        if alone:
            return unsqueeze(x, 0)
        return x if self.batch_first else transpose(x, 0, 1)

    def _projected(self, q: Tensor, k: Tensor, v: Tensor, same: bool) -> tuple[Tensor, Tensor, Tensor]:
        size = self.embed_dim
        bias = operand(self.in_bias)
        if isinstance(self.in_weights, tuple):
            weights = [operand(w) for w in self.in_weights]
        elif same:
            q, k, v = chunk(linear(q, self.in_weights, bias), 3, -1)
            return q, k, v
        else:
            whole = operand(self.in_weights)
            weights = [_rows(whole, i * size, (i + 1) * size) for i in range(3)]
        biases = [None if bias is None else _rows(bias, i * size, (i + 1) * size) for i in range(3)]
        q, k, v = (linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases, strict=True))
        return q, k, v

    def _merged(self, mask: Tensor | None, padding: Tensor | None, count: SizeLike) -> Tensor | None:
        """One mask of four dimensions from attn_mask and key_padding_mask; None where neither is given."""
        if mask is not None:
            mask = self._for_heads(mask, count)
        if padding is None:
            return mask
        padding = as_tensor(padding)
        padding = reshape(padding, (padding.shape[0] if len(padding.shape) == 2 else 1, 1, 1, padding.shape[-1]))
        if mask is None:
            return padding
        if mask.dtype is bool_ and padding.dtype is bool_:
            return logical_or(mask, padding)
        if bool_ in (mask.dtype, padding.dtype):
            hidden, added = (mask, padding) if mask.dtype is bool_ else (padding, mask)
            return where(hidden, float("-inf"), added)
        return add(mask, padding)

    def _for_heads(self, mask: Tensor, count: SizeLike) -> Tensor:
        """The mask (L, S) or (N * heads, L, S) with four dimensions."""
        mask = as_tensor(mask)
        if len(mask.shape) == 2:
            return reshape(mask, (1, 1, *mask.shape))
        if len(mask.shape) != 3:
            raise ShapeError(
                "attn_mask has two or three dimensions",
                expected="(L, S) or (N * heads, L, S)",
                found=format_shape(mask.shape),
            )
        return reshape(mask, (count, self.num_heads, *mask.shape[1:]))


def _rows(weight: Any, start: int, stop: int) -> Any:
    return recipes.take(weight, 0, start, stop) if isinstance(weight, Weight) else weight[start:stop]


def _longer(mask: Tensor | None) -> Tensor | None:
    """The mask with one more column, which hides nothing."""
    return None if mask is None else pad(tensor(mask), (0, 1))
