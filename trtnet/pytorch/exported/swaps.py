"""Modules of torch's that are recorded whole: while torch exports, each calls an operator of ours.

Recurrent networks would be unrolled, for a fixed number of steps; attention would be taken apart into reshapes.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.modules import rnn, transformer

from ... import functional as F
from ...basics.errors import UnsupportedError
from ...functional.attention import Heads
from ...graph.tensor import Array, Parameter, Tensor
from .table import converts

_ATTENTION = (
    "(Tensor query, Tensor key, Tensor value, Tensor? packed, Tensor? query_weight, Tensor? key_weight, "
    "Tensor? value_weight, Tensor? bias, Tensor? bias_k, Tensor? bias_v, Tensor output_weight, Tensor? output_bias, "
    "Tensor? attn_mask, Tensor? key_padding_mask, SymInt embed_dim, SymInt heads, bool add_zero_attn, "
    "bool batch_first, bool need_weights, bool average) -> Tensor[]"
)
_RECURRENT = (
    "(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
    "bool bidirectional, bool batch_first) -> Tensor[]"
)
_BAG = "(Tensor input, Tensor weight, Tensor? per_sample_weights, str mode, int? padding_idx) -> Tensor"
_FAKE = "(Tensor input, Tensor scale, Tensor zero_point, int axis, int quant_min, int quant_max) -> Tensor"
_KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")

_library = torch.library.Library("trtnet", "DEF")
_library.define("attention" + _ATTENTION)
_library.define("embedding_bag" + _BAG)
_library.define("fake_quantize" + _FAKE)
for _kind in _KINDS:
    _library.define(_kind + _RECURRENT)


@torch.library.register_fake("trtnet::attention", lib=_library)
def _attention_shapes(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any) -> list[Any]:
    heads, add_zero, batch_first, need_weights, average = rest[-5:]
    made = [query.new_empty(query.shape)]
    if need_weights:
        batched = query.dim() == 3
        steps = 1 if batched and batch_first else 0
        columns = key.shape[steps] + int(rest[5] is not None) + int(add_zero)  # torch 2.11 adds no bool to a size
        front = ([query.shape[0 if batch_first else 1]] if batched else []) + ([] if average else [heads])
        made.append(query.new_empty([*front, query.shape[steps], columns]))
    return made


@torch.library.register_fake("trtnet::embedding_bag", lib=_library)
def _bag_shape(input: torch.Tensor, weight: torch.Tensor, *options: object) -> torch.Tensor:
    return weight.new_empty([input.shape[0], weight.shape[1]])


@torch.library.register_fake("trtnet::fake_quantize", lib=_library)
def _fake_shape(input: torch.Tensor, *options: object) -> torch.Tensor:
    return input.new_empty(input.shape)


def _recurrent_shapes(
    input: torch.Tensor,
    hx: Sequence[torch.Tensor],
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> list[Any]:
    width = hx[0].shape[-1] * (2 if bidirectional else 1)
    return [input.new_empty([*input.shape[:-1], width]), *(one.new_empty(one.shape) for one in hx)]


for _kind in _KINDS:
    torch.library.register_fake(f"trtnet::{_kind}", _recurrent_shapes, lib=_library)


class _Functions:
    """torch._VF, with our operators in the place of its recurrent functions."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch._VF, name)

    def _run(self, kind: str, args: tuple[Any, ...]) -> Any:
        if not isinstance(args[3], bool):  # (data, batch_sizes, ...): a packed sequence
            return getattr(torch._VF, kind)(*args)
        input, hx, params, *options = args
        hx = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        return tuple(getattr(torch.ops.trtnet, kind)(input, hx, list(params), *options))

    def lstm(self, *args: Any) -> Any:
        return self._run("lstm", args)

    def gru(self, *args: Any) -> Any:
        return self._run("gru", args)

    def rnn_tanh(self, *args: Any) -> Any:
        return self._run("rnn_tanh", args)

    def rnn_relu(self, *args: Any) -> Any:
        return self._run("rnn_relu", args)


def _forward(
    self: torch.nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """torch.nn.MultiheadAttention's forward, as one operator."""
    made = torch.ops.trtnet.attention(
        query, key, value,
        self.in_proj_weight if self._qkv_same_embed_dim else None,
        *((None,) * 3 if self._qkv_same_embed_dim else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)),
        self.in_proj_bias, self.bias_k, self.bias_v, self.out_proj.weight, self.out_proj.bias,
        attn_mask, key_padding_mask, self.embed_dim, self.num_heads, self.add_zero_attn, self.batch_first,
        need_weights, average_attn_weights,
    )  # fmt: skip
    return made[0], made[1] if need_weights else None


def _is_causal(mask: torch.Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    """What torch's transformers take for a mask's being causal: torch's own reads the mask. Attention applies the mask
    that it is given, whatever is said here."""
    return is_causal is True


def _bag(
    self: torch.nn.EmbeddingBag,
    input: torch.Tensor,
    offsets: torch.Tensor | None = None,
    per_sample_weights: torch.Tensor | None = None,
) -> Any:
    """torch.nn.EmbeddingBag's forward: bags of one size as one operator."""
    if input.dim() != 2 or self.max_norm is not None:
        return _BAG_FORWARD(self, input, offsets, per_sample_weights)
    return torch.ops.trtnet.embedding_bag(input, self.weight, per_sample_weights, self.mode, self.padding_idx)


_BAG_FORWARD = torch.nn.EmbeddingBag.forward


def _take_along_dim(input: torch.Tensor, indices: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """torch.take_along_dim by gather: torch's own, when it traces, makes dynamic sizes fixed ones."""
    if dim is None:
        return input.reshape(-1).gather(0, indices.reshape(-1))
    dim %= input.dim()
    shape = list(torch.broadcast_shapes(*([*one.shape[:dim], 1, *one.shape[dim + 1 :]] for one in (input, indices))))
    x, at = (one.expand([*shape[:dim], one.shape[dim], *shape[dim + 1 :]]) for one in (input, indices))
    return x.gather(dim, at)


_MAX_POOL = torch.max_pool1d


def _max_pool1d(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """torch.max_pool1d in two dimensions, where its size is dynamic: torch's own, as traced, makes it a fixed one."""
    if not isinstance(input.shape[-1], torch.SymInt):
        return _MAX_POOL(input, kernel_size, stride, padding, dilation, ceil_mode)
    kernel, padding, dilation = (_one(value) for value in (kernel_size, padding, dilation))
    stride = _one(stride) if stride or stride == 0 else kernel
    made = torch.max_pool2d(input.unsqueeze(-2), (1, kernel), (1, stride), (0, padding), (1, dilation), ceil_mode)
    return made.squeeze(-2)


_LINSPACE = torch.linspace


def _linspace(start: Any, end: Any, steps: Any, **options: Any) -> torch.Tensor:
    """torch.linspace by arange, where its size is dynamic: torch's own, as traced, makes it a fixed one."""
    dtype = options.get("dtype") or torch.get_default_dtype()
    if not isinstance(steps, torch.SymInt) or not dtype.is_floating_point:
        return _LINSPACE(start, end, steps, **options)
    places = torch.arange(steps, dtype=dtype, device=options.get("device"))
    return places * (end - start) / torch.sym_max(steps - 1, 1) + start


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, (tuple, list)) else value)


def _fake_quantize(input: torch.Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> torch.Tensor:
    """torch.fake_quantize_per_tensor_affine, which torch.export does not take, as one operator."""
    scale, zero_point = (one if isinstance(one, torch.Tensor) else torch.tensor(one) for one in (scale, zero_point))
    return torch.ops.trtnet.fake_quantize(input, scale, zero_point, -1, quant_min, quant_max)


def _fake_quantize_channels(
    input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, quant_min: int, quant_max: int
) -> torch.Tensor:
    """torch.fake_quantize_per_channel_affine, likewise."""
    axis %= input.dim()
    return torch.ops.trtnet.fake_quantize(input, scale, zero_point, axis, quant_min, quant_max)


_REPLACED: dict[str, Any] = {
    "take_along_dim": _take_along_dim,
    "max_pool1d": _max_pool1d,
    "linspace": _linspace,
    "fake_quantize_per_tensor_affine": _fake_quantize,
    "fake_quantize_per_channel_affine": _fake_quantize_channels,
}
"""Functions of torch's, by name, and what is called in their place."""


@contextlib.contextmanager
def swapped() -> Iterator[None]:
    """Have torch's modules call our operators, for as long as torch exports."""
    attention: Any = torch.nn.MultiheadAttention
    bag: Any = torch.nn.EmbeddingBag
    causal: Any = transformer
    before = attention.forward, bag.forward, rnn._VF, causal._detect_is_causal_mask
    functions = {name: getattr(torch, name) for name in _REPLACED}
    shapes: Any = torch._meta_registrations
    divide = getattr(shapes, "div_rtn", operator.floordiv)
    attention.forward, bag.forward, rnn._VF = _forward, _bag, _Functions()
    causal._detect_is_causal_mask = _is_causal
    for name, function in _REPLACED.items():
        setattr(torch, name, function)
    shapes.div_rtn = operator.floordiv  # torch 2.11's own asks whether the sizes of a pooling divide exactly
    tensor: Any = torch.Tensor
    tensor.take_along_dim = _take_along_dim  # over the base's, which is there again when this one is taken away
    try:
        yield
    finally:
        attention.forward, bag.forward, rnn._VF, causal._detect_is_causal_mask = before
        for name, function in functions.items():
            setattr(torch, name, function)
        shapes.div_rtn = divide
        del tensor.take_along_dim


@converts("trtnet::attention")
def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packed: Tensor | None,
    query_weight: Tensor | None,
    key_weight: Tensor | None,
    value_weight: Tensor | None,
    bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    output_weight: Tensor,
    output_bias: Tensor | None,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    embed_dim: int,
    heads: int,
    add_zero_attn: bool,
    batch_first: bool,
    need_weights: bool,
    average: bool,
) -> list[Tensor]:
    whole = Heads(
        embed_dim, heads, packed if packed is not None else (query_weight, key_weight, value_weight), bias, bias_k,
        bias_v, add_zero_attn, lambda x: F.linear(x, output_weight, output_bias), batch_first,
    )  # fmt: skip
    made, weights = whole.attend(query, key, value, attn_mask, key_padding_mask, 0.0, False, need_weights, average)
    return [made] if weights is None else [made, weights]


@converts("trtnet::embedding_bag")
def _embedding_bag(
    input: Tensor, weight: Tensor, per_sample: Tensor | None, mode: str, padding_idx: int | None
) -> Tensor:
    return F.embedding_bag(input, weight, mode=mode, per_sample_weights=per_sample, padding_idx=padding_idx)


@converts("trtnet::fake_quantize")
def _faked(input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int) -> Tensor:
    if not isinstance(zero_point, (Array, Parameter)):
        raise UnsupportedError(
            "the zero point of a quantization is computed in the network",
            expected="a number, or a buffer",
            found=repr(zero_point),
            remedy="quantize symmetrically: a zero point of 0",
        )
    numbers = np.asarray(zero_point.tolist(), np.int64).reshape(-1)
    if quant_min - numbers.max() < -128 or quant_max - numbers.min() > 127:  # beyond what TensorRT quantizes to
        sizes = [-1 if one == axis else 1 for one in range(input.ndim)]
        factor = F.reshape(scale, tuple(sizes) if axis >= 0 else ())
        offset = Array((numbers.reshape(sizes) if axis >= 0 else numbers[0]).astype(np.float32))
        found = F.round(F.div(input, factor))
        return F.mul(F.minimum(F.maximum(found, quant_min - offset), quant_max - offset), factor)
    if axis >= 0:
        known = Array(numbers.astype(np.int32))
        return F.fake_quantize_per_channel_affine(input, scale, known, axis, quant_min, quant_max)
    return F.fake_quantize_per_tensor_affine(input, F.reshape(scale, ()), int(numbers[0]), quant_min, quant_max)


def _recurrent(kind: str) -> None:
    @converts(f"trtnet::{kind}")
    def record(input: Tensor, hx: list[Tensor], *options: Any) -> list[Tensor]:
        made = getattr(F, kind)(input, tuple(hx) if kind == "lstm" else hx[0], *options)
        return list(made)


for _kind in _KINDS:
    _recurrent(_kind)
