"""Multi-head attention."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from contextlib import AbstractContextManager

from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, ArgumentTypeError, shown
from ..functional.attention import Heads, check_attention, fusing
from ..graph.tensor import DeviceLike, Parameter, Tensor
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
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
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
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
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
        check_attention((query, key, value), attn_mask, is_causal, self.batch_first)
        heads = Heads(
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight
            if self._qkv_same_embed_dim
            else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight),
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.out_proj,
            self.batch_first,
        )
        mode = self.training
        return heads.attend(
            query, key, value, attn_mask, key_padding_mask, self.dropout, mode, need_weights, average_attn_weights
        )


class SDPBackend(enum.Enum):
    """torch's ways to compute attention: by products and a softmax (MATH), or fused ones."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


def sdpa_kernel(
    backends: SDPBackend | Iterable[SDPBackend], set_priority: bool = False
) -> AbstractContextManager[None]:
    """`with sdpa_kernel(...):` of torch.nn.attention: whether attention inside is recorded as one layer.

    It is where a fused backend is among those named (with `set_priority` the first of them), whichever; TensorRT
    chooses its kernels itself. Inside, `scaled_dot_product_attention` and `MultiheadAttention` (without dropout, and
    with need_weights=False) record TensorRT's attention layer; outside, and with MATH alone, products and a softmax.

    What one layer does not take (a value of another width than the key, five dimensions) is composed where MATH is
    among the backends; else UnsupportedError is raised, as torch raises where no backend fits.

    >>> shape = Input((1, 2, 5, 8), "float16")
    >>> def attend(q, k, v):
    ...     with nn.attention.sdpa_kernel(nn.attention.SDPBackend.FLASH_ATTENTION):
    ...         return trtnet.functional.scaled_dot_product_attention(q, k, v)
    >>> [layer.kind for layer in trtnet.record(attend, q=shape, k=shape, v=shape).layers][-1]
    'attention'
    """
    several = list(backends) if isinstance(backends, Iterable) else [backends]
    names = [getattr(one, "name", None) for one in several]  # torch's own, too
    for name, one in zip(names, several):
        if not isinstance(name, str):
            raise ArgumentTypeError(
                "sdpa_kernel takes backends", expected="a SDPBackend, or a list of them", found=shown(one)
            )
    return fusing(
        any(name not in ("MATH", "ERROR") for name in (names[:1] if set_priority else names)), "MATH" in names
    )
