"""Layers of transformers: attention, rotary positions, caches of keys and values.

Shapes, types and what is computed are those of NvInfer.h of 11.1 (IAttention, IRotaryEmbeddingLayer,
IKVCacheUpdateLayer).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..basics import dtypes
from ..basics.dims import Size, SizeLike, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, DtypeError, ProviderError, ShapeError
from ..graph.graph import Graph
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..weights.demands import Demand
from .base import (
    Layer,
    Operand,
    Output,
    check_constants,
    require_at_least,
    require_equal,
    require_floating,
    require_shape,
    unreadable,
)
from .bounds import Bounds
from .casting import within
from .constant import with_shape
from .gather import Gather
from .normalization import SoftMax
from .quantization import SCALES
from .shaping import Concatenation, Slice, expanded, reshaped
from .targets import Features, Functions, ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


def _four(kind: str, what: str, operand: Operand) -> Tensor:
    """An operand of four dimensions."""
    if not isinstance(operand, Tensor) or len(operand.shape) != 4:
        raise ShapeError(
            f"{kind} takes a {what} of four dimensions",
            expected="(batch, heads, length, size)",
            found="none" if operand is None else format_shape(operand.shape),
            remedy="reshape it first; a dimension that it lacks has size 1",
        )
    return operand


def _same_type(kind: str, first: Tensor, *others: Operand) -> None:
    require_floating(kind, first)
    for other in others:
        if other is not None and other.dtype is not first.dtype:
            raise DtypeError(
                f"the tensors of {kind} have one dtype",
                expected=f"{first.dtype} {format_shape(first.shape)}",
                found=f"{other.dtype} {format_shape(other.shape)}",
                remedy=f"convert it first: .to(trtnet.{first.dtype})",
            )


def _whole_numbers(kind: str, what: str, operand: Operand, dtype: Dtype, remedy: str) -> Tensor:
    """An operand that TensorRT takes of one integer type."""
    assert isinstance(operand, Tensor)
    if operand.dtype is not dtype:
        raise DtypeError(f"the {what} of {kind} are {dtype}", expected=dtype, found=operand.dtype, remedy=remedy)
    return operand


@dataclass(slots=True, eq=False, repr=False)
class Attention(Layer):
    """`add_attention_v2`, or `add_attention`: normalized(query key^T + mask) value. There is no scale: multiply the
    query first.

    Inputs: query (batch, heads, L, E); key and value (batch, shared heads, S, E), each of whose heads is used for
    several of the query; a mask (batch or 1, heads or 1, L, S), bool (True takes part) or of the query's dtype (added);
    the scale of the quantized weights, one number; nothing; lengths (batch,), int32: how many of the first keys and
    values take part. All but the first three may be left out, or None.

    `norm_op` is SOFTMAX or NONE. `causal_kind`: NONE, UPPER_LEFT (a row sees the columns up to its own number) or
    LOWER_RIGHT (the last row sees all); `causal=True` of `add_attention` is UPPER_LEFT. `decomposable`: whether
    TensorRT may use several kernels where it has no fused one; else it refuses to build.
    `normalization_quantize_to_type`: int8 or float8_e4m3fn, what the normalized weights are quantized to.

    A row of which everything is masked gives 0 in the reference and where the layer is composed; TensorRT says nothing
    of it. So a mask, and lengths, should leave something of each row; `scaled_dot_product_attention` sees to it.
    """

    norm_op: str = "SOFTMAX"
    causal_kind: str = "NONE"
    causal: bool = False
    decomposable: bool = False
    normalization_quantize_to_type: Dtype | None = None

    kind: ClassVar[str] = "attention"
    input_counts: ClassVar[tuple[int, int, int | None]] = (3, 3, 7)
    methods: ClassVar[tuple[str, ...]] = ("add_attention", "add_attention_v2")

    def __post_init__(self) -> None:
        if self.causal and self.causal_kind == "NONE":
            self.causal_kind = "UPPER_LEFT"
        self.causal = False

    def infer(self) -> tuple[Output, ...]:
        q, k, v = (_four("attention", what, x) for what, x in zip(("query", "key", "value"), self.inputs))
        mask, scale = self.operand(3), self.operand(4)
        _same_type("attention", q, k, v, scale)
        require_shape(v.shape, k.shape, "attention takes a value of the key's shape")
        require_equal(q.shape[0], k.shape[0], "attention takes a query and a key of one batch size")
        require_equal(q.shape[3], k.shape[3], "attention takes a query and a key of one size")
        heads, shared = q.shape[1], k.shape[1]
        if heads != shared and (not isinstance(heads, int) or not isinstance(shared, int) or heads % shared):
            raise ShapeError(
                "the query's heads must be a multiple of the key's and value's",
                expected=f"a multiple of {shared}",
                found=heads,
            )
        self._check_choices(mask)
        if mask is not None:
            self._check_mask(q, k, mask)
        self._check_quantization(scale)
        check_constants(self)
        self._check_lengths(k)
        return ((q.shape, q.dtype),)

    def _check_choices(self, mask: Operand) -> None:
        if self.norm_op not in ("SOFTMAX", "NONE"):
            raise ArgumentError("there is no such normalization", expected="SOFTMAX or NONE", found=self.norm_op)
        if self.causal_kind not in ("NONE", "UPPER_LEFT", "LOWER_RIGHT"):
            raise ArgumentError(
                "there is no such causal mask", expected="NONE, UPPER_LEFT or LOWER_RIGHT", found=self.causal_kind
            )
        if self.causal_kind != "NONE" and mask is not None:
            raise ArgumentError(
                "attention takes a mask or a causal kind, not both",
                expected='causal_kind="NONE"',
                found=f'causal_kind="{self.causal_kind}" and a mask',
                remedy="put both into the mask",
            )
        hides = (
            self.causal_kind != "NONE"
            or self.operand(6) is not None
            or (mask is not None and mask.dtype is dtypes.bool_)
        )
        if self.norm_op == "NONE" and hides:
            raise ArgumentError(
                "nothing says what a hidden position counts in an attention without a softmax",
                expected="a mask of numbers, or none",
                found="a bool mask, lengths or a causal kind",
                remedy='leave norm_op="SOFTMAX", or set the hidden scores yourself, between two matrix products',
            )

    def _check_mask(self, q: Tensor, k: Tensor, mask: Operand) -> None:
        mask = _four("attention", "mask", mask)
        if mask.dtype is not dtypes.bool_:
            _same_type("attention", q, mask)
        for axis, size in enumerate((*q.shape[:3], k.shape[2])):
            if axis > 1 or mask.shape[axis] != 1:
                require_equal(
                    mask.shape[axis],
                    size,
                    f"the mask {format_shape(mask.shape)} of an attention of {format_shape(q.shape)} and "
                    f"{format_shape(k.shape)} does not fit in dimension {axis}: expand it first",
                )

    def demands(self) -> tuple[Demand, ...]:
        return (SCALES._replace(position=4),)

    def _check_quantization(self, scale: Operand) -> None:
        to = self.normalization_quantize_to_type
        if (to is None) != (scale is None):
            raise ArgumentError(
                "quantized weights of an attention have a scale and a type",
                expected="input 4 and normalization_quantize_to_type, or neither",
                found="no scale" if scale is None else "a scale alone",
            )
        if to is not None and to not in (dtypes.int8, dtypes.float8_e4m3fn):
            raise DtypeError("attention has no weights of this type", expected="int8 or float8_e4m3fn", found=to)
        if scale is not None and tuple(scale.shape) not in ((), (1,)):
            raise ShapeError(
                "the scale of an attention's weights is one number", expected="()", found=format_shape(scale.shape)
            )

    def _check_lengths(self, k: Tensor) -> None:
        if self.operand(5) is not None:
            raise ArgumentError(
                "attention takes no lengths of queries: those are of sequences packed into one",
                expected="None at input 5",
                found="a tensor",
                remedy="give padded sequences, and a mask where rows are to be left out",
            )
        lengths = self.operand(6)
        if lengths is None:
            return
        if self.causal_kind == "LOWER_RIGHT":
            raise ArgumentError(
                "TensorRT does not say where the last column of LOWER_RIGHT is among keys of these lengths",
                expected='causal_kind="NONE" or "UPPER_LEFT"',
                found='lengths, and causal_kind="LOWER_RIGHT"',
                remedy="put both into a mask",
            )
        lengths = _whole_numbers("attention", "lengths", lengths, dtypes.int32, "convert them first: .int()")
        require_shape(lengths.shape, k.shape[:1], "attention takes one length for each batch element")

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        k = self.inputs[1]
        assert isinstance(k, Tensor)
        return Bounds((1,), (k.shape[2],)) if position == 6 else None

    def supported(self, provider: Features) -> bool:
        """The first version knows one causal kind, and no lengths. Where LOWER_RIGHT may leave rows of which everything
        is masked, none is taken: see above."""
        q, k = self.inputs[:2]
        assert isinstance(q, Tensor)
        assert isinstance(k, Tensor)
        more = k.shape[2] - q.shape[2]
        if self.causal_kind == "LOWER_RIGHT" and (more if isinstance(more, int) else more.bounds[0]) < 0:
            return False
        if self.operand(6) is not None and not provider.has("IAttention", "key_value_lengths"):
            return False
        return provider.has_layer(f"add_attention{'_v2' if self.causal_kind == 'LOWER_RIGHT' else ''}")

    def add_to(self, lowering: Network) -> ILayer | None:
        q, k, v = (lowering[x] for x in self.inputs[:3])
        network, norm = lowering.network, lowering.enum("AttentionNormalizationOp", self.norm_op)
        if lowering.provider.has_layer("add_attention_v2"):
            layer = network.add_attention_v2(q, k, v, norm, lowering.enum("CausalMaskKind", self.causal_kind))
        else:
            layer = network.add_attention(q, k, v, norm, self.causal_kind == "UPPER_LEFT")
        if layer is None:
            return None
        layer.decomposable = self.decomposable
        mask, scale = self.operand(3), self.operand(4)
        if mask is not None:
            layer.mask = lowering[mask]
        if scale is not None:
            assert self.normalization_quantize_to_type is not None
            layer.normalization_quantize_scale = lowering[scale]
            layer.normalization_quantize_to_type = lowering.data_type(self.normalization_quantize_to_type)
        if self.operand(6) is not None:
            layer.key_value_lengths = lowering[self.operand(6)]
        made: ILayer = layer
        return made

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """Two matrix products, and what is between them."""
        q, k, v, mask, scale, _, lengths = (*inputs, *(None,) * 4)[:7]
        assert isinstance(q, Tensor)
        assert isinstance(k, Tensor)
        assert isinstance(v, Tensor)
        assert mask is None or isinstance(mask, Tensor)
        if self.normalization_quantize_to_type is dtypes.float8_e4m3fn:
            raise ProviderError(
                "an attention whose weights are float8_e4m3fn cannot be composed for this TensorRT, which has no such "
                "layer",
                expected="TensorRT 10.14 or newer, or TensorRT-RTX",
                found=f"normalization_quantize_to_type={self.normalization_quantize_to_type}",
                remedy="quantize the weights to int8, or leave the scale and normalization_quantize_to_type out",
            )
        if lengths is not None:
            assert isinstance(lengths, Tensor)
            at = F.reshape(F.arange(k.shape[2], dtype=dtypes.int32), (1, 1, 1, k.shape[2]))
            there = F.lt(at, reshaped(lengths, (k.shape[0], 1, 1, 1)))
            if mask is None:
                mask = there
            elif mask.dtype is dtypes.bool_:
                mask = F.logical_and(mask, there)
            else:
                mask = F.where(there, mask, float("-inf"))
        diagonal: SizeLike | None = None
        if self.causal_kind != "NONE":
            diagonal = 0 if self.causal_kind == "UPPER_LEFT" else k.shape[2] - q.shape[2]

        def weights(scores: Tensor) -> Tensor:
            if self.norm_op == "NONE":
                made = scores if mask is None else F.add(scores, mask)
            else:
                made = emit(SoftMax((scores,), len(scores.shape) - 1))
            return made if scale is None else _in_int8(F, made, scale)

        k, v = (shared_heads(x, q.shape[1]) for x in (k, v))
        return F.attend(q, k, v, mask if self.norm_op == "SOFTMAX" else None, diagonal, weights)

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        q, k, v, mask, scale, _, lengths = (*inputs, *(None,) * 4)[:7]
        torch = run.torch
        assert k is not None
        assert v is not None
        one_call = self.norm_op == "SOFTMAX" and scale is None
        is_causal = one_call and self.causal_kind == "UPPER_LEFT" and lengths is None
        if self.causal_kind != "NONE" and not is_causal:
            seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
            mask = seen.tril(0 if self.causal_kind == "UPPER_LEFT" else k.shape[2] - q.shape[2])
        if lengths is not None:
            there = torch.arange(k.shape[2], device=q.device) < lengths.reshape(-1, 1, 1, 1)
            if mask is None or mask.dtype is torch.bool:
                mask = there if mask is None else mask & there
            else:
                mask = torch.where(there, mask, -torch.inf)
        if one_call:
            attend = torch.nn.functional.scaled_dot_product_attention
            shared = q.shape[1] != k.shape[1]
            return attend(q, k, v, attn_mask=mask, is_causal=is_causal, scale=1.0, enable_gqa=shared)
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        weights = q @ k.transpose(-1, -2)
        if mask is not None:
            added = mask if mask.dtype is not torch.bool else torch.where(mask, 0.0, -torch.inf)
            weights = weights + added.to(weights.dtype)
        if self.norm_op == "SOFTMAX":
            seen = (weights > -torch.inf) | weights.isnan()
            weights = torch.where(seen.any(-1, keepdim=True), weights.softmax(-1), 0.0)
        if scale is not None:
            weights = _quantized(run, weights, scale, self.normalization_quantize_to_type)
        return weights @ v


def shared_heads(x: Tensor, heads: SizeLike) -> Tensor:
    """(..., fewer heads, S, E) with each head as often as so many heads need; `x` itself where it has them."""
    *front, fewer, length, size = x.shape
    if fewer == heads:
        return x
    assert isinstance(fewer, int)
    assert isinstance(heads, int)
    apart = reshaped(x, (*front, fewer, 1, length, size))
    return reshaped(expanded(apart, (*front, fewer, heads // fewer, length, size)), (*front, heads, length, size))


def _in_int8(F: Functions, weights: Tensor, scale: Operand) -> Tensor:
    """Rounded to the nearest of 256 multiples of the scale, to the even one of two."""
    assert isinstance(scale, Tensor)
    scale = reshaped(scale, (1, 1, 1, 1))
    steps = F.minimum(F.maximum(F.round(F.div(weights, scale)), -128.0), 127.0)
    return F.mul(steps, scale)


def _quantized(run: Run, weights: torch.Tensor, scale: torch.Tensor, to: Dtype | None) -> torch.Tensor:
    """Quantized and dequantized again."""
    steps = weights / scale
    if to is dtypes.int8:
        return steps.round().clamp(-128, 127) * scale
    e4m3 = run.torch.float8_e4m3fn
    limit = run.torch.finfo(e4m3).max
    return steps.clamp(-limit, limit).to(e4m3).to(weights.dtype) * scale


@dataclass(slots=True, eq=False, repr=False)
class RotaryEmbedding(Layer):
    """`add_rotary_embedding`: pairs of elements of the last dimension, turned by angles of their positions.

    Inputs: x (batch, heads, L, E); cosines and sines (batch, L, E / 2), or, with position ids (input 3, int64, (batch,
    L)), tables (positions, E / 2) of which the ids name the rows. A pair (a, b) becomes (a cos - b sin, a sin + b cos).

    `interleaved`: whether a pair are two neighbours; else they are E / 2 apart. `rotary_embedding_dim`: how many of the
    first elements are turned, as if they were E; all where it is 0.
    """

    interleaved: bool = False
    rotary_embedding_dim: int = 0

    kind: ClassVar[str] = "rotary_embedding"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (3, 3, 4)

    def infer(self) -> tuple[Output, ...]:
        name = "a rotary embedding"
        x, cos, sin = _four(name, "input", self.inputs[0]), self.inputs[1], self.inputs[2]
        assert isinstance(cos, Tensor)
        assert isinstance(sin, Tensor)
        _same_type(name, x, cos, sin)
        size, turned = x.shape[3], self.rotary_embedding_dim
        if not isinstance(size, int) or size % 2 or turned < 0 or turned % 2 or turned > size:
            raise ShapeError(
                f"{name} turns pairs of the last dimension",
                expected="an even size, and an even rotary_embedding_dim of at most that size",
                found=f"{format_shape(x.shape)}, rotary_embedding_dim={turned}",
            )
        half, ids = self._count // 2, self.operand(3)
        leading: tuple[SizeLike, ...]
        if ids is None:
            leading = (x.shape[0], x.shape[2])
        else:
            ids = _whole_numbers(name, "position ids", ids, dtypes.int64, "convert them first: .long()")
            require_shape(ids.shape, (x.shape[0], x.shape[2]), f"{name} takes a position for each of (batch, length)")
            leading = cos.shape[:1]
        require_shape(
            cos.shape, (*leading, half), f"the cosines of {name} do not fit its input {format_shape(x.shape)}"
        )
        require_shape(sin.shape, cos.shape, f"the sines of {name} have another shape than the cosines")
        return ((x.shape, x.dtype),)

    @property
    def _count(self) -> int:
        """How many elements are turned."""
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return self.rotary_embedding_dim or int(x.shape[3])

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        cos = self.inputs[1]
        assert isinstance(cos, Tensor)
        return Bounds.below(cos.shape[0]) if position == 3 else None

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_rotary_embedding")

    def add_to(self, lowering: Network) -> ILayer | None:
        tensors = [lowering[x] for x in self.inputs[:3]]
        layer = lowering.network.add_rotary_embedding(*tensors, self.interleaved, self.rotary_embedding_dim)
        ids = self.operand(3)
        if layer is not None and ids is not None:
            layer.set_input(3, lowering[ids])
        made: ILayer | None = layer
        return made

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """Both of each pair by slices, turned, and joined again."""
        x, ids = inputs[0], inputs[3] if len(inputs) > 3 else None
        assert isinstance(x, Tensor)
        batch, heads, length, size = x.shape
        count = self._count
        tables = inputs[1:3] if ids is None else [emit(Gather((table, ids))) for table in inputs[1:3]]
        cos, sin = (with_shape(table, (batch, 1, length, count // 2)) for table in tables if table is not None)
        front = x if count == size else _part(x, 0, count)
        if self.interleaved:
            paired = reshaped(front, (batch, heads, length, count // 2, 2))
            cos, sin = (reshaped(t, (batch, 1, length, count // 2, 1)) for t in (cos, sin))
            a, b = _part(paired, 0, 1), _part(paired, 1, 1)
        else:
            a, b = _part(front, 0, count // 2), _part(front, count // 2, count // 2)
        turned: Tensor = emit(
            Concatenation((F.sub(F.mul(a, cos), F.mul(b, sin)), F.add(F.mul(a, sin), F.mul(b, cos))), len(a.shape) - 1)
        )
        turned = reshaped(turned, (batch, heads, length, count))
        if count == size:
            return turned
        made: Tensor = emit(Concatenation((turned, _part(x, count, int(size) - count)), 3))
        return made

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, cos, sin, ids = (*inputs, None)[:4]
        assert cos is not None
        assert sin is not None
        if ids is not None:
            within(ids, "a position is negative")
            cos, sin = cos[ids], sin[ids]
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        front, rest = x[..., : self._count], x[..., self._count :]
        a, b = (front[..., ::2], front[..., 1::2]) if self.interleaved else front.chunk(2, -1)
        pair = a * cos - b * sin, a * sin + b * cos
        turned = run.torch.stack(pair, -1).flatten(-2) if self.interleaved else run.torch.cat(pair, -1)
        return run.torch.cat([turned, rest], -1) if rest.shape[-1] else turned


def _part(x: Tensor, start: int, size: int) -> Tensor:
    """Some of the last dimension."""
    first = (*(0,) * (len(x.shape) - 1), start)
    made: Tensor = emit(Slice((x,), start=first, shape=Size((*x.shape[:-1], size)), stride=(1,) * len(x.shape)))
    return made


@dataclass(slots=True, eq=False, repr=False)
class KVCacheUpdate(Layer):
    """`add_kv_cache_update`: a cache of keys or values with new ones written from a position of each batch element on.

    Inputs: cache (batch, heads, longest, E); update (batch, heads, length, E); where to write, int32, (batch,).
    `cache_mode`: LINEAR. What would lie beyond the cache is left out.

    TensorRT writes into the memory of the cache, which must be an input that nothing else reads, of a fixed longest
    length; the result must be an output. Anywhere else it is composed. A call of an engine leaves the caller's cache as
    it is; a bound call writes into it where TensorRT does, and its result is then the cache.
    """

    cache_mode: str = "LINEAR"

    kind: ClassVar[str] = "kv_cache_update"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (3, 3, 3)
    rounds: ClassVar[bool] = False

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        if native.num_inputs > 3:
            raise unreadable(cls.kind, "it has lengths of updates")
        return cls.as_told(native, source)

    def infer(self) -> tuple[Output, ...]:
        name = "a cache update"
        cache, update = _four(name, "cache", self.inputs[0]), _four(name, "update", self.inputs[1])
        _same_type(name, cache, update)
        where = _whole_numbers(name, "positions", self.inputs[2], dtypes.int32, "convert them first: .int()")
        for axis in (0, 1, 3):
            problem = f"{name} has another size than its cache in dimension {axis}"
            require_equal(update.shape[axis], cache.shape[axis], problem)
        require_at_least(cache.shape[2], update.shape[2], f"{name} is longer than its cache")
        require_shape(where.shape, cache.shape[:1], f"{name} takes one position for each batch element")
        if self.cache_mode != "LINEAR":
            raise ArgumentError("there is no such mode of a cache", expected="LINEAR", found=self.cache_mode)
        return ((cache.shape, cache.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        cache, update = self.inputs[:2]
        assert isinstance(cache, Tensor)
        assert isinstance(update, Tensor)
        return Bounds((0,), (cache.shape[2] - update.shape[2],)) if position == 2 else None

    def supported(self, provider: Features) -> bool:
        cache = self.inputs[0]
        assert isinstance(cache, Tensor)
        return provider.has_layer("add_kv_cache_update") and isinstance(cache.shape[2], int)

    @classmethod
    def failing(cls, graph: Graph, provider: Features, refit: bool) -> Collection[Layer]:
        """Those of which TensorRT takes no cache but an input, no result but an output."""
        mine = [layer for layer in graph.layers if isinstance(layer, cls)]
        readers = Counter(operand for layer in graph.layers for operand in layer.inputs) if mine else Counter()
        inputs, outputs = set(graph.inputs.values()), set(graph.outputs.values())
        return [
            layer
            for layer in mine
            if not (
                layer.inputs[0] in inputs and readers[layer.inputs[0]] == 1
                and layer.inputs[0] not in outputs and layer.outputs[0] in outputs
            )
        ]  # fmt: skip

    def add_to(self, lowering: Network) -> ILayer | None:
        mode = lowering.enum("KVCacheMode", self.cache_mode)
        made: ILayer | None = lowering.network.add_kv_cache_update(*(lowering[x] for x in self.inputs), mode)
        return made

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs[:2]

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """A choice, for each position, between the cache's and the update's, which a gather brings there."""
        cache, update, where = inputs
        assert isinstance(cache, Tensor)
        assert isinstance(update, Tensor)
        assert isinstance(where, Tensor)
        batch, longest, length = cache.shape[0], cache.shape[2], update.shape[2]
        at = F.reshape(F.arange(longest, dtype=dtypes.int32), (1, longest))
        places = F.sub(at, reshaped(where, (batch, 1)))
        inside = F.logical_and(F.gt(places, -1), F.lt(places, length))
        if length != 1:
            places = F.minimum(F.maximum(places, 0), length - 1)
            update = emit(Gather((update, places), axis=2, num_elementwise_dims=1))
        return F.where(reshaped(inside, (batch, 1, longest, 1)), update, cache)

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        cache, update, where = inputs
        within(where, "a position of a cache update is negative")
        places = run.torch.arange(cache.shape[2], device=cache.device) - where.unsqueeze(1)
        inside = (places >= 0) & (places < update.shape[2])
        places = places.clamp(0, max(update.shape[2] - 1, 0))[:, None, :, None]
        if not update.shape[2]:
            return cache
        return run.torch.where(inside[:, None, :, None], update.take_along_dim(places, 2), cache)
