"""Small networks that together use every layer kind, for an engine that executes. Each: inputs and a function of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import trtnet
from trtnet import functional as F
from trtnet import layers, nn
from trtnet.graph.recorder import emit
from trtnet.layers.generation import Fill
from trtnet.layers.shaping import Shape


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.abs(image(*shape)) + 0.5


def boxes(*shape: int, seed: int = 5) -> np.ndarray:
    """Corners (x1, y1, x2, y2), of which many overlap."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-1, 6, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(1, 5, (*shape, 2))], -1).astype(np.float32)


X = image(2, 6, 8, 8)
ROWS = image(4, 10)

CASES: dict[str, tuple[dict[str, np.ndarray], Callable[[], Any]]] = {
    "conv2d": ({"x": X}, lambda: nn.Conv2d(6, 9, 3, stride=2, padding=1, groups=3)),
    "conv1d": ({"x": image(2, 6, 12)}, lambda: nn.Conv1d(6, 4, 3, dilation=2)),
    "conv3d": ({"x": image(1, 4, 6, 6, 6)}, lambda: nn.Conv3d(4, 8, 3, padding=1)),
    "conv_same": ({"x": X}, lambda: nn.Conv2d(6, 4, 4, padding="same")),
    "conv_transpose2d": ({"x": X}, lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1)),
    "conv_transpose_beyond": ({"x": X}, lambda: nn.ConvTranspose2d(6, 4, 2, stride=3, output_padding=2)),
    "conv_transpose_dilated": ({"x": X}, lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, dilation=2, groups=2)),
    "conv_reflect": ({"x": X}, lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect")),
    "linear": ({"x": ROWS}, lambda: nn.Linear(10, 7)),
    "linear_3d": ({"x": image(2, 3, 10)}, lambda: nn.Linear(10, 7)),
    "batch_norm2d": ({"x": X}, lambda: nn.BatchNorm2d(6)),
    "batch_norm1d": ({"x": ROWS}, lambda: nn.BatchNorm1d(10)),
    "batch_norm3d": ({"x": image(1, 4, 3, 4, 5)}, lambda: nn.BatchNorm3d(4)),
    "layer_norm": ({"x": image(2, 5, 12)}, lambda: nn.LayerNorm(12)),
    "group_norm": ({"x": X}, lambda: nn.GroupNorm(3, 6)),
    "group_norm_1": ({"x": X}, lambda: nn.GroupNorm(1, 6)),
    "instance_norm": ({"x": X}, lambda: nn.InstanceNorm2d(6, affine=True)),
    "rms_norm": ({"x": image(2, 5, 12)}, lambda: nn.RMSNorm(12)),
    "local_response_norm": ({"x": X}, lambda: nn.LocalResponseNorm(3, alpha=1.0)),
    "local_response_norm_even": ({"x": X}, lambda: nn.LocalResponseNorm(4, alpha=1.0)),
    "max_pool": ({"x": X}, lambda: nn.MaxPool2d(3, 2, 1)),
    "max_pool_ceil": ({"x": image(1, 2, 6, 6)}, lambda: nn.MaxPool2d(2, 3, ceil_mode=True)),
    "avg_pool": ({"x": X}, lambda: nn.AvgPool2d(3, 2, 1)),
    "avg_pool_ceil": ({"x": X}, lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    "max_pool_dilated": ({"x": X}, lambda: nn.MaxPool2d(3, 2, 1, dilation=2)),
    "avg_pool_exclude": ({"x": X}, lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "adaptive_pool": ({"x": X}, lambda: nn.AdaptiveAvgPool2d(1)),
    "adaptive_pool_4": ({"x": X}, lambda: nn.AdaptiveMaxPool2d(4)),
    "softmax": ({"x": ROWS}, lambda: nn.Softmax(1)),
    "log_softmax": ({"x": ROWS}, lambda: nn.LogSoftmax(1)),
    "prelu": ({"x": X}, lambda: nn.PReLU(6)),
    "embedding": ({"i": np.array([[1, 4, 2], [0, 3, 9]], np.int32)}, lambda: nn.Embedding(10, 6)),
    "embedding_int64": ({"i": np.array([[1, 4, 2], [0, 3, 9]], np.int64)}, lambda: nn.Embedding(10, 6)),
    "attention": (
        {"x": image(2, 5, 12)},
        lambda: Wrapped(nn.MultiheadAttention(12, 3, batch_first=True), lambda m, x: m(x, x, x, need_weights=False)[0]),
    ),
    "transformer": ({"x": image(2, 5, 12)}, lambda: nn.TransformerEncoderLayer(12, 3, 16, batch_first=True)),
    "upsample_nearest": ({"x": X}, lambda: nn.Upsample(scale_factor=2)),
    "upsample_bilinear": ({"x": X}, lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    "upsample_align": ({"x": X}, lambda: nn.Upsample(size=(13, 11), mode="bilinear", align_corners=True)),
    "upsample_bicubic": ({"x": X}, lambda: nn.Upsample(scale_factor=2, mode="bicubic")),
    "pixel_shuffle": ({"x": image(1, 8, 3, 3)}, lambda: nn.PixelShuffle(2)),
    "pads": (
        {"x": X},
        lambda: lambda x: (
            F.pad(x, (1, 2, 0, 3)), F.pad(x, (1, 2), value=0.5), F.pad(x, (1, 2, 1, 0), mode="reflect"),
            F.pad(x, (1, 2, 1, 0), mode="replicate"), F.pad(x, (1, 2, 1, 0), mode="circular"),
        ),
    ),
    "activations": (
        {"x": X},
        lambda: lambda x: tuple(
            f(x)
            for f in (
                F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, lambda x: F.gelu(x, approximate="tanh"), F.silu, F.mish,
                F.softplus, F.softsign, F.sigmoid, F.logsigmoid, F.tanh, F.tanhshrink, F.hardtanh, F.hardsigmoid, F.hardswish,
                F.hardshrink, F.softshrink, F.glu,
            )
        ),
    ),
    "unary": (
        {"x": positive(3, 4) / 4},
        lambda: lambda x: tuple(
            f(x)
            for f in (
                F.exp, F.log, F.sqrt, F.rsqrt, F.reciprocal, F.abs, F.neg, F.sin, F.cos, F.tan, F.sinh, F.cosh, F.asin, F.acos, F.atan,
                F.asinh, F.atanh, F.ceil, F.floor, F.round, F.sign, F.erf, F.log1p, F.expm1, F.square, F.isnan, F.isinf,
            )
        ),
    ),
    "binary": (
        {"x": X, "y": positive(6, 1, 8)},
        lambda: lambda x, y: (
            x + y, x - y, x * y, x / y, x // y, x % y, y**1.5, trtnet.maximum(x, y), trtnet.minimum(x, y), x == y, x != y, x < y,
            x <= y, x > y, x >= y, trtnet.where(x > y, x, y), (x > 0) & (x < 1), (x > 0) | (x < -1), (x > 0) ^ (x < 1), ~(x > 0),
        ),
    ),
    "integers": (
        {"i": np.arange(-6, 6, dtype=np.int32).reshape(3, 4)},
        lambda: lambda i: (i + 2, i * i, i // 4, i % 4, i.float() / 2, i > 0, trtnet.maximum(i, i - 1)),
    ),
    "shapes": (
        {"x": X},
        lambda: lambda x: (
            x.reshape(2, -1), x.permute(0, 2, 3, 1), x.flatten(2).transpose(1, 2), x[:, 1:4], x[..., ::2], x[:, -1], x[:, None],
            x[:1].expand(3, -1, -1, -1), trtnet.cat([x, x * 2], 1), trtnet.stack([x, -x]), x.chunk(3, 1)[1], x.flip(3), x.roll(1, 2),
            x.repeat(1, 2, 1, 1), x[:, [0, 2, 5]], trtnet.tril(x),
        ),
    ),
    "reductions": (
        {"x": X},
        lambda: lambda x: (
            x.sum(), x.mean((2, 3)), x.amax(1), x.amin(1, keepdim=True), x.prod(3), x.var(1), x.std((1, 2)), x.norm(dim=1),
            x.max(1).values, x.argmax(1), x.argmin(2), x.logsumexp(1), x.cumsum(2), (x > 0).any(1), (x > 0).all(1),
            x.topk(3, 1).values, x.topk(3, 1).indices,
        ),
    ),
    "matmuls": (
        {"x": image(2, 3, 4, 5), "y": image(3, 5, 6), "v": image(5)},
        lambda: lambda x, y, v: (
            x @ y, x @ v, trtnet.einsum("bhij,hjk->bhik", x, y), trtnet.outer(v, v), v @ v, x @ x.transpose(-1, -2),
        ),
    ),
    "gathers": (
        {"x": image(4, 5), "i": np.array([[0, 2], [1, 1], [4, 0], [3, 3]], np.int32)},
        lambda: lambda x, i: (x.gather(1, i), F.one_hot(i, 5), trtnet.index_select(x, 0, i[0]), x[i[:, 0] % 4]),
    ),
    "scatters": (
        {"x": image(4, 5), "i": np.array([[0, 2], [1, 0], [4, 0], [3, 2]], np.int64), "y": image(4, 2)},
        lambda: lambda x, i, y: (x.scatter(1, i, y), trtnet.take_along_dim(x, i, 1)),
    ),
    "grid_sample": (
        {"x": X, "grid": np.tanh(image(2, 5, 7, 2))},
        lambda: lambda x, grid: (
            F.grid_sample(x, grid, align_corners=False), F.grid_sample(x, grid, padding_mode="border", align_corners=True),
        ),
    ),
    "as_they_are": (
        {"x": X},
        lambda: lambda x: (
            layers.add_fill(None, x.sum(), x.sum((0, 1, 2))[:1], shape=(5,), to_type="float32"),
            x.clone(), emit(Shape((x,))), emit(Fill((), (5,), "LINSPACE", trtnet.float32, 0.5, 2.0)) * x.sum(),
        ),
    ),
    "ragged": (
        {"x": image(4, 5, 3), "n": np.array([0, 5, 3, 1], np.int32), "b": np.array([[[1], [3], [2], [3], [1]]] * 4, np.int32)},
        lambda: lambda x, n, b: (
            layers.add_reverse_sequence(x, n, batch_axis=0, sequence_axis=1), layers.add_ragged_softmax(x, b),
            layers.add_unsqueeze(x, axes=(0, -1)), layers.add_squeeze(x[:1], axes=(0,)),
        ),
    ),
    "attention_layer": (
        {"q": image(2, 4, 5, 8), "k": image(2, 2, 7, 8, seed=1), "v": image(2, 2, 7, 8, seed=2), "mask": image(2, 1, 5, 7, seed=3)},
        lambda: lambda q, k, v, mask: (
            layers.add_attention_v2(q, k, v, mask, decomposable=True),
            layers.add_attention_v2(q, k, v, mask > -0.5, decomposable=True),
            layers.add_attention_v2(q, k, v, causal_kind="LOWER_RIGHT", decomposable=True),
            layers.add_attention(q, k, v, causal=True, decomposable=True),
            layers.add_attention_v2(q * 0.1, k * 0.1, v, mask, norm_op="NONE", decomposable=True),
        ),
    ),
    "rotary": (
        {"x": image(2, 4, 5, 8), "cos": image(2, 5, 4, seed=1), "sin": image(2, 5, 4, seed=2), "i": np.array([[3, 0, 2, 2, 1], [0, 4, 9, 1, 3]])},
        lambda: lambda x, cos, sin, i: tuple(
            made
            for interleaved in (False, True)
            for made in (
                F.rotary_embedding(x, cos, sin, interleaved=interleaved),
                F.rotary_embedding(x, cos.reshape(10, 4), sin.reshape(10, 4), i, interleaved=interleaved),
                F.rotary_embedding(x, cos[..., 1:3], sin[..., 1:3], interleaved=interleaved, rotary_embedding_dim=4),
            )
        ),
    ),
    "kv_cache": (
        {"keys": image(3, 2, 6, 4), "values": image(3, 2, 6, 4, seed=1), "k": image(3, 2, 2, 4, seed=2), "i": np.array([0, 4, 3], np.int32)},
        lambda: lambda keys, values, k, i: (
            layers.add_kv_cache_update(keys, k, i), layers.add_kv_cache_update(values, k * 2, i),
            layers.add_kv_cache_update(k * 3, k[:, :, 1:], i // 5).exp(),
        ),
    ),
    "boxes": (
        {"boxes": boxes(12), "scores": np.random.default_rng(3).permutation(12).astype(np.float32) - 6.0},
        lambda: lambda boxes, scores: (trtnet.ops.nms(boxes, scores, 0.4), trtnet.ops.box_iou(boxes, boxes[:3])),
    ),
    "boxes_of_classes": (
        {"boxes": boxes(2, 9, 3), "scores": np.random.default_rng(4).permutation(54).astype(np.float32).reshape(2, 9, 3)},
        lambda: lambda boxes, scores: layers.add_nms(
            boxes, scores, 4, 0.3, 5.5, bounding_box_format="CENTER_SIZES", topk_box_limit=20
        ),
    ),
    "boxes_mask": (
        {"boxes": boxes(12), "scores": np.random.default_rng(3).permutation(12).astype(np.float32) - 6.0},
        lambda: lambda boxes, scores: trtnet.ops.nms_mask(boxes, scores, 0.4),
    ),
    "roi_align": (
        {"x": X, "rois": np.concatenate([[[0], [1], [0]], boxes(3)], 1).astype(np.float32)},
        lambda: lambda x, rois: trtnet.ops.roi_align(x, rois, (3, 2), 0.7, sampling_ratio=2),
    ),
    "casts": ({"x": X}, lambda: lambda x: (x.to("int32"), (x > 0).float(), x.bool(), (x * 3).long())),
    "assertions": ({"x": ROWS}, lambda: asserted),
    "experts_of_few_tokens": ({"x": image(1, 2, 6)}, lambda: Experts(5, 6, 7)),
    "experts_of_many_tokens": ({"x": image(2, 3, 6)}, lambda: Experts(5, 6, 7, bias=False)),
    "collectives": (
        {"x": ROWS},
        lambda: lambda x: layers.add_dist_collective(
            layers.add_dist_collective(x, operation="ALL_REDUCE", reduce_op="SUM"), operation="ALL_GATHER"
        ),
    ),
    "computed_positions": (
        {"x": ROWS, "i": np.array(3)},
        lambda: lambda x, i: (
            x[:, i : i + 4], x[:, :i], x[1:, i:-1:2].sum(1), trtnet.narrow(x, 1, -i, 2),
            layers.add_slice(x, trtnet.stack([i - 3, i]), shape=(2, 3), stride=(2, 2)),
        ),
    ),
    "computed_sizes": (
        {"x": X, "i": np.array(3)},
        lambda: lambda x, i: (
            layers.add_resize(x, trtnet.stack([i, i * 2]), resize_mode="LINEAR", coordinate_transformation="HALF_PIXEL"),
            layers.add_shuffle(x, trtnet.stack([i * 0 + 48, i * 0 + 16]), reshape_dims=(None, None)),
            layers.add_fill(trtnet.stack([i]), alpha=4) + 1,
        ),
    ),
    "nonzero": ({"x": ROWS}, lambda: lambda x: F.relu(x - 1).nonzero()),
    "masks": (
        {"x": ROWS},
        lambda: lambda x: (x[x > 0].exp() + 1, x[x[:, 0] > 0], x[:, x[0] > 0], x.masked_select(x[0] < 0)),
    ),
    "masks_sizes": ({"x": ROWS}, lambda: lambda x: (x[x > 0].sum(), x[x > 0].reshape(1, -1), F.cat([x[x > 0], x[0]]))),
    "scan": (
        {"x": image(5, 2, 3), "h": image(2, 4), "w": image(3, 4)},
        lambda: lambda x, h, w: (
            *trtnet.scan(lambda h, x: (F.tanh(x @ w + h), h * 2), h, x),
            *trtnet.scan(lambda h, x: (F.tanh(x @ w + h), (h, x)), h, x, reverse=True)[1],
        ),
    ),
    "while_loop": (
        {"x": ROWS},
        lambda: lambda x: trtnet.while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, F.tanh(x) + x), (0, x))[1],
    ),
    "cond": (
        {"x": ROWS, "y": ROWS},
        lambda: lambda x, y: (
            trtnet.cond(x.sum() > 0, lambda x: F.relu(x) + y, lambda x: x - y * 2, x),
            trtnet.cond(x.sum() <= 0, lambda x: F.relu(x) + y, lambda x: x - y * 2, x),
        ),
    ),
}  # fmt: skip

CASES |= {
    "quantize": (
        {"x": X},
        lambda: lambda x: (
            layers.add_dequantize(layers.add_quantize(x, 0.05), 0.05),
            F.fake_quantize_per_tensor_affine(x, 0.05, 0, -100, 127),
            F.fake_quantize_per_channel_affine(x, trtnet.linspace(0.1, 0.6, 6), trtnet.zeros(6).int(), 1, -128, 127),
        ),
    ),
    "quantized_network": (
        {"x": X},
        lambda: lambda x: quantized(x, 0.02, trtnet.linspace(0.01, 0.02, 8), *map(trtnet.tensor, QUANTIZED_WEIGHTS)),
    ),
    "quantized_weights": (
        {"x": ROWS},
        lambda: lambda x: (
            x @ layers.add_dequantize(trtnet.arange(-20, 20, dtype="int8").reshape(10, 4), trtnet.ones(4) / 4, axis=1)
        ),
    ),
}  # fmt: skip

NEWER: dict[str, tuple[dict[str, np.ndarray], Callable[[], Any]]] = {
    "dynamic_quantize": (
        {"x": image(4, 64)},
        lambda: lambda x: layers.add_dequantize(
            *layers.add_dynamic_quantize(x, axis=1, block_size=32, to_type="float8_e4m3fn", scale_type="float8_e8m0fnu")
        ),
    ),
}  # fmt: skip
"""Those of kinds that only newer TensorRTs have, and that are composed of no others."""

DATA_SIZED = {"nonzero", "masks", "masks_sizes", "boxes", "boxes_of_classes"}
"""Cases with sizes that the data decides, for which TensorRT-RTX 1.7 has no runners: it infers their shapes only."""


def recorded(name: str) -> tuple[trtnet.Graph, dict[str, np.ndarray]]:
    """The graph of a case, with random weights, and its inputs."""
    inputs, make = (CASES | NEWER)[name]
    module = make()
    if isinstance(module, nn.Module):
        (argument,) = inputs
        module = Wrapped(module, lambda inner, x: inner(x)) if not isinstance(module, Wrapped) else module
        inputs = {"x": inputs[argument]}
        randomize(module)
    return trtnet.record(module, **{n: trtnet.Input(a.shape, a.dtype) for n, a in inputs.items()}), inputs


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random values for every parameter and buffer; positive ones for variances."""
    rng = np.random.default_rng(seed)
    state = {
        name: (np.abs(rng.standard_normal(a.shape)) + 0.5 if "var" in name else rng.standard_normal(a.shape) * 0.3)
        for name, a in module.state_dict().items()
        if a.dtype.kind == "f"
    }
    module.load_state_dict({name: a.astype(np.float32) for name, a in state.items()}, strict=False)
    return module


def asserted(x: Any) -> Any:
    sizes = layers.add_shape(x)
    layers.add_assertion(sizes > 0, message="no dimension is empty")
    layers.add_assertion((sizes[1] == 10).logical_and(sizes[0] <= 64), message="rows of 10")
    return F.relu(x)


class Experts(nn.Module):
    """A mixture of experts, two of which a router chooses for each token."""

    def __init__(self, count: int, hidden: int, inner: int, bias: bool = True) -> None:
        super().__init__()
        self.gate, self.up = (nn.Parameter(image(count, hidden, inner, seed=seed)) for seed in (1, 2))
        self.down = nn.Parameter(image(count, inner, hidden, seed=3))
        shapes = [(count, inner), (count, inner), (count, hidden)] if bias else []
        self.biases = nn.ParameterList([nn.Parameter(image(*shape, seed=4)) for shape in shapes])
        self.router = nn.Linear(hidden, count)

    def forward(self, x: Any) -> Any:
        scores, chosen = self.router(x).softmax(-1).topk(2)
        return layers.add_moe(x, chosen, scores, self.gate, self.up, self.down, *self.biases)


class Wrapped(nn.Module):
    """A module called by a function of ours."""

    def __init__(self, inner: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.inner = inner
        self._call = call

    def forward(self, x: Any) -> Any:
        return self._call(self.inner, x)


def quantized(x: Any, scale: Any, scales: Any, *weights: Any) -> Any:
    """A convolution and a linear layer between quantize and dequantize layers."""
    kernel, bias, matrix, offset = weights
    x = F.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127)
    kernel = F.fake_quantize_per_channel_affine(kernel, scales, trtnet.zeros(8, dtype=trtnet.int32), 0, -128, 127)
    x = F.relu(F.conv2d(x, kernel, bias, padding=1)).mean((2, 3))
    x = F.fake_quantize_per_tensor_affine(x, 0.02, 0, -128, 127)
    return F.linear(x, F.fake_quantize_per_tensor_affine(matrix, 0.01, 0, -128, 127), offset)


QUANTIZED_WEIGHTS = [image(*shape, seed=seed) * 0.3 for seed, shape in enumerate([(8, 6, 3, 3), (8,), (5, 8), (5,)])]


class Quantized(nn.Module):
    """`quantized`, of parameters: the weights, and scales beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)
        self.scale = nn.Parameter(np.full(1, 0.02, np.float32))
        self.scales = nn.Parameter(np.linspace(0.01, 0.02, 8, dtype=np.float32))
        kernel, bias, matrix, offset = QUANTIZED_WEIGHTS
        self.load_state_dict(
            {"conv.weight": kernel, "conv.bias": bias, "fc.weight": matrix, "fc.bias": offset}, strict=False
        )

    def forward(self, x: Any) -> Any:
        weights = self.conv.weight, self.conv.bias, self.fc.weight, self.fc.bias
        return quantized(x, self.scale, self.scales, *weights)
