"""The layers of transformers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError
from ..functional.activation import gelu, relu
from ..functional.comparison import where
from ..functional.creation import arange
from ..functional.dispatch import tensor
from ..graph.tensor import Array, DeviceLike, Tensor
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation = Callable[[Any], Any]


def _activation(activation: Activation | str | None) -> Activation:
    if activation is None or activation == "relu":
        return relu
    if activation == "gelu":
        return gelu
    if isinstance(activation, str) or not callable(activation):
        raise ArgumentError(
            "there is no such activation", expected="'relu', 'gelu' or a function", found=repr(activation)
        )
    return activation


def _causal(mask: Tensor | None, is_causal: bool | None) -> bool:
    """torch's hint; the mask itself says what is hidden."""
    return bool(is_causal) and mask is not None


class _Layer(Module):
    """A layer of an encoder; with an attention to a memory, of a decoder."""

    _remembers: ClassVar[bool] = False

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation | str | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        attention = (d_model, nhead, dropout, bias)
        self.self_attn = MultiheadAttention(*attention, batch_first=batch_first, dtype=dtype)
        if self._remembers:
            self.multihead_attn = MultiheadAttention(*attention, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        if self._remembers:
            self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        if self._remembers:
            self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation)

    def _attend(self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool) -> Tensor:
        hidden = {"attn_mask": mask, "is_causal": _causal(mask, is_causal), "need_weights": False}
        return self.dropout1(self.self_attn(x, x, x, padding, **hidden)[0])

    def _feed_forward(self, x: Tensor) -> Tensor:
        dropout = self.dropout3 if self._remembers else self.dropout2
        return dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoderLayer(_Layer):
    """norm(x + attention(x)), then norm(x + linear(activation(linear(x)))).

    Args:
        d_model: E, the size of the last dimension; a multiple of nhead.
        nhead: how many heads.
        dim_feedforward: the size between the two linear layers.
        dropout: the probability with which is dropped where `to_torch(graph)` is trained.
        activation: "relu", "gelu" or a function.
        layer_norm_eps: as LayerNorm's eps.
        batch_first: whether arrays are (N, L, E) and not (L, N, E).
        norm_first: whether normalization comes before attention, not after.
        bias: whether the linear layers and norms have one.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: self_attn, linear1, linear2, norm1, norm2: those of the modules.
    Shape: (L, N, E), (N, L, E) with batch_first, or (L, E), in and out alike; float32, float16 or bfloat16.
    Layers: those of MultiheadAttention, Linear and LayerNorm: `fully_connected`, `matrix_multiply`, `softmax`,
        `normalization`, `activation`, and `shuffle`, `slice`, `elementwise`, `constant` between them.
    Unlike torch: what a padding mask hides is computed too.

    >>> layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    >>> graph = trtnet.record(layer, src=Input((2, 5, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """(L, N, E), (N, L, E) with `batch_first`, or (L, E). What the padding mask hides is computed too."""
        x = src
        hidden = (src_mask, src_key_padding_mask, is_causal)
        if self.norm_first:
            x = x + self._attend(self.norm1(x), *hidden)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self._attend(x, *hidden))
        return self.norm2(x + self._feed_forward(x))


class TransformerDecoderLayer(_Layer):
    """As TransformerEncoderLayer, with an attention to the encoder's output between its two parts.

    Args:
        d_model: E, the size of the last dimension; a multiple of nhead.
        nhead: how many heads.
        dim_feedforward: the size between the two linear layers.
        dropout: the probability with which is dropped where `to_torch(graph)` is trained.
        activation: "relu", "gelu" or a function.
        layer_norm_eps: as LayerNorm's eps.
        batch_first: whether arrays are (N, L, E) and not (L, N, E).
        norm_first: whether normalization comes before attention, not after.
        bias: whether the linear layers and norms have one.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: self_attn, multihead_attn, linear1, linear2, norm1, norm2, norm3: those of the modules.
    Shape: target (L, N, E) and memory (S, N, E) to (L, N, E), N first with batch_first, or without N; float32,
        float16 or bfloat16.
    Layers: those of MultiheadAttention, Linear and LayerNorm: `fully_connected`, `matrix_multiply`, `softmax`,
        `normalization`, `activation`, and `shuffle`, `slice`, `elementwise`, `constant` between them.

    >>> layer = nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    >>> graph = trtnet.record(layer, tgt=Input((2, 5, 8)), memory=Input((2, 7, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    """

    _remembers = True

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def remember(x: Tensor) -> Tensor:
            hidden = {
                "attn_mask": memory_mask,
                "is_causal": _causal(memory_mask, memory_is_causal),
                "need_weights": False,
            }
            return self.dropout2(self.multihead_attn(x, memory, memory, memory_key_padding_mask, **hidden)[0])

        x = tgt
        hidden = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        if self.norm_first:
            x = x + self._attend(self.norm1(x), *hidden)
            x = x + remember(self.norm2(x))
            return x + self._feed_forward(self.norm3(x))
        x = self.norm1(x + self._attend(x, *hidden))
        x = self.norm2(x + remember(x))
        return self.norm3(x + self._feed_forward(x))


def _layers(layer: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after the other, and a normalization.

    Args:
        encoder_layer: the layer that is copied.
        num_layers: how many copies.
        norm: a module for the end, or None.
        enable_nested_tensor, mask_check: accepted; nothing depends on them.

    Parameters: "layers.0", … and "norm": those of the modules.
    Shape: as the layer's.
    Layers: the layer's, as often.
    Unlike torch: there are no nested tensors.

    >>> layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    >>> graph = trtnet.record(nn.TransformerEncoder(layer, num_layers=2), src=Input((2, 5, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = _layers(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=bool(is_causal), src_key_padding_mask=src_key_padding_mask)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after the other, and a normalization.

    Args:
        decoder_layer: the layer that is copied.
        num_layers: how many copies.
        norm: a module for the end, or None.

    Parameters: "layers.0", … and "norm": those of the modules.
    Shape: as the layer's.
    Layers: the layer's, as often.

    >>> layer = nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    >>> decoder = nn.TransformerDecoder(layer, num_layers=2)
    >>> graph = trtnet.record(decoder, tgt=Input((2, 5, 8)), memory=Input((2, 7, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _layers(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                bool(tgt_is_causal),
                memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder of the source, and a decoder of the target that attends to what it gives.

    Args:
        d_model: E, the size of the last dimension; a multiple of nhead.
        nhead: how many heads.
        num_encoder_layers, num_decoder_layers: how many layers of each.
        dim_feedforward: the size between the two linear layers.
        dropout: the probability with which is dropped where `to_torch(graph)` is trained.
        activation: "relu", "gelu" or a function.
        custom_encoder, custom_decoder: modules in place of them.
        layer_norm_eps: as LayerNorm's eps.
        batch_first: whether arrays are (N, L, E) and not (L, N, E).
        norm_first: whether normalization comes before attention, not after.
        bias: whether the linear layers and norms have one.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: encoder, decoder: those of the modules.
    Shape: source (S, N, E) and target (L, N, E) to (L, N, E), N first with batch_first, or without N; float32,
        float16 or bfloat16.
    Layers: those of MultiheadAttention, Linear and LayerNorm: `fully_connected`, `matrix_multiply`, `softmax`,
        `normalization`, `activation`, and `shuffle`, `slice`, `elementwise`, `constant` between them.

    >>> model = nn.Transformer(8, nhead=2, num_encoder_layers=1, num_decoder_layers=1, batch_first=True)
    >>> graph = trtnet.record(model, src=Input((2, 7, 8)), tgt=Input((2, 5, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 5, 8])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation | str | None = None,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        options = (
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
            None,
            dtype,
        )
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*options),
            num_encoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype),
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*options),
            num_decoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype),
        )
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if len(parameter.shape) > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        for x in (src, tgt):
            if tensor(x).shape[-1] != self.d_model:
                raise ShapeError("the last size must be d_model", expected=self.d_model, found=x.shape[-1])
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int | Dim, device: DeviceLike | None = None, dtype: DtypeLike | None = None
    ) -> Tensor:
        """(sz, sz): 0 up to the diagonal, minus infinity above it; recorded where the size is a Dim."""
        if isinstance(sz, Dim):
            one = dtypes.get(dtype or dtypes.float32)
            below = arange(sz).unsqueeze(1) >= arange(sz)
            zero, infinite = (Array(np.full((1, 1), v, one.numpy)) for v in (0.0, -np.inf))
            made: Tensor = where(below, zero, infinite)
            return made
        if isinstance(sz, bool) or not isinstance(sz, int):
            raise ArgumentTypeError("the size of a mask is a whole number or a Dim", found=repr(sz))
        to = dtypes.get(dtype or dtypes.float32).numpy
        return Array(np.where(np.tri(sz, dtype=bool), 0.0, -np.inf).astype(to))
