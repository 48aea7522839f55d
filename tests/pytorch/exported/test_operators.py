"""Operators of torch's, each in a module of torch's: in float64, at several sizes of one recording, and alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from exported import BATCH, check, randomized
from torch import nn
from torch.nn import functional as F

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, UnsupportedError


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any], **parameters: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> Any:
        return self.function(x) if y is None else self.function(x, y)


FUNCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "activations": lambda x: (
        F.elu(x, 0.5), F.selu(x), F.celu(x, 2.0), F.gelu(x), F.gelu(x, approximate="tanh"), F.silu(x), F.mish(x),
        F.softplus(x), F.hardswish(x), F.hardsigmoid(x), F.hardtanh(x, -0.5, 0.5), F.relu6(x), F.leaky_relu(x, 0.2),
        F.logsigmoid(x), F.softsign(x), F.tanhshrink(x), F.threshold(x, 0.1, 2.0), F.glu(x, 1), F.softshrink(x),
        F.hardshrink(x), F.softmin(x, 1), x.log_softmax(-1), x.softmax(1),
    ),
    "arithmetic": lambda x: (
        x + 2, 2 - x, torch.sub(x, x * 3, alpha=0.5), torch.add(x, 1, alpha=2), x / 3, torch.div(x, 0.7, rounding_mode="floor"),
        torch.div(x, 0.7, rounding_mode="trunc"), x // 0.5, x % 0.7, torch.fmod(x, 0.7), x.abs() ** 0.5, 2.0**x, x**2, -x,
        x.reciprocal(), x.square(), torch.rsub(x, 3), torch.addcmul(x, x, x, value=0.5), torch.lerp(x, x * 2, 0.3),
        torch.hypot(x, x + 1), torch.atan2(x, x + 3), x.clamp(-0.5, 0.5), x.clamp(min=0.1), torch.maximum(x, -x), x.sign(),
    ),
    "functions": lambda x: (
        x.exp(), x.abs().log(), x.abs().log1p(), x.expm1(), x.sin(), x.cos(), x.tan(), x.tanh().asin(), x.atan(), x.sinh(),
        x.cosh(), x.erf(), x.sigmoid(), x.abs().sqrt(), (x.abs() + 1).rsqrt(), x.floor(), x.ceil(), x.round(), x.trunc(), x.frac(),
        torch.special.expit(x), torch.special.xlog1py(x, x.abs()), torch.nan_to_num(x), torch.special.erf(x), x.log2().nan_to_num(),
    ),
    "comparisons": lambda x: (
        x > 0, x <= 0.5, x == x, x != 0, (x > 0) & (x < 1), (x > 0) | (x < -1), ~(x > 0), (x > 0) ^ (x > 1), torch.where(x > 0, x, 0.0),
        torch.where(x > 0, x, -x), torch.isnan(x), torch.isfinite(x), x.masked_fill(x > 0, 3.0), torch.logical_not(x > 0),
        torch.isclose(x, x + 1e-9),
    ),
    "reductions": lambda x: (
        x.sum(), x.sum(1), x.mean((1, 2), keepdim=True), x.mean(), x.amax(1), x.amin((1, 2)), x.max(2), x.min(1), x.argmax(1),
        x.prod(1), x.var(1), x.std(2, unbiased=False), x.norm(), x.norm(dim=1), torch.linalg.vector_norm(x, 1, dim=2),
        x.logsumexp(1), (x > 0).any(1), (x > 0).all(), x.cumsum(1), x.cumprod(2), torch.var_mean(x, 1), x.topk(2, 1), x.sort(2),
        x.argsort(1), (x > 0).sum(1), x.count_nonzero(1), torch.aminmax(x, dim=1), x.median(2), F.normalize(x, dim=1),
    ),
    "shapes": lambda x: (
        x.view(x.shape[0], -1), x.flatten(1), x.transpose(1, 2), x.permute(2, 0, 1), x.unsqueeze(1).expand(-1, 3, -1, -1),
        x.repeat(1, 2, 1), x.tile((2, 1)), x.flip(1), x.roll(1, 2), x.roll((1, 2), (1, 2)), x.unflatten(2, (2, -1)), x.mT, x.chunk(2, 1),
        x.split([1, 3], 1), x.split(3, 1), x.unbind(1), torch.stack([x, -x], 1), torch.cat([x, x], 2), x.movedim(2, 1), x.swapaxes(1, 2),
        x.unfold(2, 2, 2), torch.meshgrid(x[0, 0], x[0, :, 0], indexing="ij"), x.unsqueeze(-1).squeeze(-1), x.diagonal(0, 1, 2),
        x.narrow(1, 1, 2), x.tril(), x.triu(1), torch.diag_embed(x), x.repeat_interleave(2, 1), torch.hstack([x, x]),
    ),
    "indices": lambda x: (
        x[:, 1], x[:, 1:3], x[:, ::2, 1::2], x[:, -1], x[:, None, ..., 0], x[:, torch.tensor([0, 2])], x[:, :, torch.tensor([[0, 1], [2, 3]])],
        x.select(1, 2), x.index_select(1, torch.tensor([2, 0])), x.gather(1, torch.zeros(1, 2, 6, dtype=torch.long).expand(x.shape[0], -1, -1)),
        x.gather(1, x.argmax(1, keepdim=True)), x.take_along_dim(x.argmax(1, keepdim=True), 1), torch.take_along_dim(x, torch.tensor([[[1], [0], [2], [3]]]), 2),
        x[:, torch.tensor([0, 1]), torch.tensor([2, 3])],
    ),
    "writes": lambda x: (
        torch.slice_scatter(x, x[:, :2] * 2, 1, 0, 2), torch.select_scatter(x, x[:, 0] * 3, 1, 2), written(x), masked(x),
        x.index_fill(1, torch.tensor([1]), 7.0), x.scatter(1, torch.zeros(1, 1, 6, dtype=torch.long).expand(x.shape[0], -1, -1), 5.0),
        x.index_add(1, torch.tensor([0, 1]), x[:, 2:]), torch.zeros_like(x).copy_(x[:, :1]), x.clone().fill_(2.0),
    ),
    "made": lambda x: (
        torch.zeros(2, 3), torch.ones_like(x), torch.full((2,), 3.0), torch.arange(5), torch.arange(0, 1, 0.25), torch.eye(3), x.new_zeros(2, 2),
        x.new_full((2,), 4.0), torch.linspace(0, 1, 5), torch.tensor([1.0, 2.0]) * x[0, 0, 0], torch.arange(x.shape[0]) * 2, x.new_ones(x.shape[0], 2),
        torch.full_like(x, 2), torch.zeros(x.shape[0], 3), torch.ones(x.shape[1:]),
    ),
    "types": lambda x: (
        (x * 3).int(), (x > 0).to(x.dtype), x.long().to(x.dtype), (x > 0).long(), x.argmax(1).to(torch.int32), x.type_as(x), (x > 0) * x,
        torch.scalar_tensor(3.0) * x, x.to(x.device), x.round().int() // 2, x.int() % 3, x.int() & 3, x.int() | 1, ~x.int(),
    ),
    "products": lambda x: (
        x @ x.mT, torch.bmm(x, x.mT), torch.einsum("bij,bkj->bik", x, x), x[:, 0] @ x[0].T, torch.matmul(x, x[0, 0]), torch.outer(x[0, 0], x[0, 1]),
        torch.baddbmm(x @ x.mT, x, x.mT, beta=0.5), torch.addmm(x[0] @ x[0].T, x[0], x[0].T), torch.cdist(x, x + 1), F.cosine_similarity(x, x + 1, -1),
        torch.linalg.cross(x[..., :3], x[..., 3:]), torch.dot(x[0, 0], x[0, 1]), torch.mv(x[0], x[0, 0]), torch.tensordot(x[0], x[0], dims=2),
    ),
    "losses": lambda x: (
        F.mse_loss(x, x * 2), F.l1_loss(x, -x, reduction="none"), F.smooth_l1_loss(x, x * 3), F.huber_loss(x, x + 2), F.kl_div(x.log_softmax(1), x.softmax(1)),
        F.binary_cross_entropy_with_logits(x, x.sigmoid()), F.cross_entropy(x, x.argmax(1)), F.nll_loss(x.log_softmax(1), x.argmin(1), reduction="none"),
    ),
}  # fmt: skip


def written(x: torch.Tensor) -> torch.Tensor:
    made = x.clone()
    made[:, 1] = 0.5
    made[:, :, 2:4] += 1
    made.view(-1)[0] = 2
    made[:, torch.tensor([0, 2]), 0] = -x[:, :2, 0]
    return made.mul_(2)


def masked(x: torch.Tensor) -> torch.Tensor:
    made = x.clone()
    made[x > 0.5] = 0
    return made


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operators(name) -> None:
    check(Calls(FUNCTIONS[name]), x=Input((BATCH, 4, 6)))


def test_operators_at_a_fixed_size() -> None:
    for name in ("shapes", "indices", "writes"):
        check(Calls(FUNCTIONS[name]), x=Input((2, 4, 6)))


MODULES = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, stride=2), (4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2, groups=2), (4, 8, 9)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2, bias=False), (4, 5, 6, 7)),
    "reflected": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 8, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (4, 5, 6)),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 6, 4, stride=2, groups=2), (4, 5)),
    "batchnorm": (lambda: nn.BatchNorm2d(4), (4, 5, 6)),
    "batchnorm1d": (lambda: nn.BatchNorm1d(4, affine=False), (4,)),
    "layernorm": (lambda: nn.LayerNorm((5, 6)), (4, 5, 6)),
    "groupnorm": (lambda: nn.GroupNorm(2, 4), (4, 5, 6)),
    "instancenorm": (lambda: nn.InstanceNorm2d(4, affine=True), (4, 5, 6)),
    "tracking": (lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (4, 5, 6)),
    "rmsnorm": (lambda: nn.RMSNorm(6, eps=1e-5), (4, 6)),
    "localnorm": (lambda: nn.LocalResponseNorm(3), (4, 5, 6)),
    "maxpool": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (4, 8, 9)),
    "maxpool1d": (lambda: nn.MaxPool1d(2), (4, 8)),
    "avgpool": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (4, 8, 9)),
    "avgpool3d": (lambda: nn.AvgPool3d(2), (4, 4, 4, 4)),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((3, None)), (4, 7, 8)),
    "adaptive1": (lambda: nn.AdaptiveAvgPool2d(1), (4, 7, 8)),
    "adaptivemax": (lambda: nn.AdaptiveMaxPool2d((2, 3)), (4, 7, 8)),
    "adaptive1d": (lambda: nn.AdaptiveMaxPool1d(3), (4, 7)),
    "lppool": (lambda: nn.LPPool2d(2, 2), (4, 6, 6)),
    "prelu": (lambda: nn.PReLU(4), (4, 5)),
    "pad": (lambda: nn.ZeroPad2d((1, 2, 0, 1)), (4, 5, 6)),
    "constant": (lambda: nn.ConstantPad1d((1, 2), 3.5), (4, 5)),
    "reflect": (lambda: nn.ReflectionPad2d(2), (4, 5, 6)),
    "replicate": (lambda: nn.ReplicationPad1d((1, 2)), (4, 5)),
    "circular": (lambda: nn.CircularPad2d(1), (4, 5, 6)),
    "nearest": (lambda: nn.Upsample(scale_factor=2), (4, 5, 6)),
    "bilinear": (lambda: nn.Upsample(scale_factor=2.5, mode="bilinear"), (4, 5, 6)),
    "corners": (lambda: nn.Upsample(size=(9, 11), mode="bilinear", align_corners=True), (4, 5, 6)),
    "bicubic": (lambda: nn.Upsample(size=(9, 11), mode="bicubic"), (4, 5, 6)),
    "linear": (lambda: nn.Upsample(scale_factor=3, mode="linear"), (4, 5)),
    "pixels": (lambda: nn.PixelShuffle(2), (4, 5, 6)),
    "unpixels": (lambda: nn.PixelUnshuffle(2), (4, 6, 6)),
    "channels": (lambda: nn.ChannelShuffle(2), (4, 5, 6)),
    "unfold": (lambda: nn.Unfold(2, stride=2), (4, 6, 6)),
    "fold": (lambda: nn.Fold((6, 6), 2, stride=2), (16, 9)),
    "bilinears": (lambda: Twice(nn.Bilinear(5, 5, 3)), (5,)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
    "encoder_prenorm": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, norm_first=True), 2), (5, 8)),
    "lstm": (lambda: First(nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True)), (6, 5)),
    "lstm_projected": (lambda: First(nn.LSTM(5, 7, batch_first=True, proj_size=3)), (6, 5)),
    "gru": (lambda: First(nn.GRU(5, 7, batch_first=True)), (6, 5)),
    "rnn": (lambda: First(nn.RNN(5, 7, 2, nonlinearity="relu", batch_first=True, bias=False)), (6, 5)),
    "cells": (lambda: Cells(), (5,)),
}  # fmt: skip


class Twice(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.inner(input, input * 2)


class First(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        made, state = self.inner(input)
        return made, state


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(5, 7), nn.GRUCell(5, 7), nn.RNNCell(5, 7)

    def forward(self, input: torch.Tensor) -> Any:
        h, c = self.lstm(input)
        return *self.lstm(input, (h, c)), self.gru(input, h), self.rnn(input)


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_torch(name) -> None:
    make, shape = MODULES[name]
    module = randomized(make())
    batch = Dim("batch", min=2, opt=4, max=8) if name == "encoder_prenorm" else BATCH
    check(
        module, **{next(iter(_names(module))): Input((batch, *shape))}, at=(2, 5) if batch is not BATCH else (1, 2, 5)
    )


def _names(module: nn.Module) -> list[str]:
    import inspect

    return list(inspect.signature(module.forward).parameters)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_networks_over_a_dynamic_time(kind) -> None:
    module = First({"lstm": nn.LSTM, "gru": nn.GRU}[kind](5, 7, 2, batch_first=True))
    time = Dim("time", min=1, opt=6, max=12)
    at = ({"batch": 1, "time": 3}, {"batch": 2, "time": 12}, {"batch": 3, "time": 1})
    graph = check(module, input=Input((BATCH, time, 5)), at=at)
    assert "loop_output" in {layer.kind for layer in graph.layers}
    assert set(graph.parameters) == set(module.state_dict())
    ours = trtnet.nn.LSTM if kind == "lstm" else trtnet.nn.GRU
    swapped = trtnet.record(ours(5, 7, 2, batch_first=True), input=Input((BATCH, time, 5)))
    assert len(graph.layers) <= len(swapped.layers)


def test_attention_is_recorded_whole() -> None:
    class Attends(nn.Module):
        def __init__(self, **options: Any) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, **options)

        def forward(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
            return self.attention(query, key, key, key_padding_mask=mask, need_weights=mask is not None)

    inputs = {"query": Input((BATCH, 4, 8)), "key": Input((BATCH, 5, 8))}
    for options in ({"batch_first": True}, {"batch_first": True, "add_bias_kv": True, "add_zero_attn": True}):
        module = randomized(Attends(**options))
        graph = check(module, **inputs)
        ours = trtnet.nn.MultiheadAttention(8, 2, **options)
        swapped = trtnet.record(lambda query, key, ours=ours: ours(query, key, key, need_weights=False)[0], **inputs)
        assert len(graph.layers) <= len(swapped.layers) + 2
    check(randomized(Attends(batch_first=True)), **inputs, mask=Input((BATCH, 5), "bool"), at=(1, 2))
    check(randomized(Attends(batch_first=True, kdim=6, vdim=6)), query=Input((BATCH, 4, 8)), key=Input((BATCH, 5, 6)))


class Transforms(nn.Module):
    """Encoder and decoder with masks, and nothing said of their being causal."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, source: torch.Tensor, target: torch.Tensor, pad: torch.Tensor) -> torch.Tensor:
        ahead = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        own = torch.ones(source.shape[1], source.shape[1], dtype=torch.bool).tril(1).logical_not()
        return self.inner(source, target, own, ahead, src_key_padding_mask=pad, memory_key_padding_mask=pad)


def test_transformers_with_masks_and_padding() -> None:
    before = torch.nn.modules.transformer._detect_is_causal_mask
    time, later = Dim("time", min=1, opt=4, max=8), Dim("later", min=1, opt=3, max=8)
    module = randomized(Transforms()).eval()
    inputs = {
        "source": Input((BATCH, time, 8)),
        "target": Input((BATCH, later, 8)),
        "pad": Input((BATCH, time), "bool"),
    }
    graph = trtnet.record(module, **inputs)
    assert torch.nn.modules.transformer._detect_is_causal_mask is before
    assert torch.backends.mha.get_fastpath_enabled()
    random = np.random.default_rng(0)
    source, target = (random.standard_normal((3, size, 8)).astype(np.float32) for size in (5, 4))
    pad = np.zeros((3, 5), bool)
    pad[1, 3:] = pad[2] = True  # all of the last row
    found = trtnet.reference(graph)(source, target, pad)
    given = [torch.from_numpy(one) for one in (source, target, pad)]
    np.testing.assert_allclose(found, module(*given).detach().numpy(), atol=2e-6)  # with gradients: no fast path
    for index, change in ((1, np.s_[:, 2:]), (0, np.s_[1, 3:])):  # what is behind in time, what is padded
        others = [source.copy(), target.copy()]
        others[index][change] += 1
        apart = np.abs(trtnet.reference(graph)(*others, pad) - found).max(axis=-1)
        assert not (apart[:, :2] if index else apart[1]).any(), "it was looked at"
    assert np.isfinite(found).all()


def test_what_says_that_a_mask_is_causal_does_not_mask() -> None:
    class Encodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.inner(x, mask, is_causal=None)

    module = randomized(Encodes()).eval()
    graph = trtnet.record(module, x=Input((BATCH, 4, 8)), mask=Input((4, 4), "bool"))
    x = np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32)
    for mask in (np.triu(np.ones((4, 4), bool), 1), np.tril(np.ones((4, 4), bool), -2)):
        expected = module(torch.from_numpy(x), torch.from_numpy(mask)).detach().numpy()
        np.testing.assert_allclose(trtnet.reference(graph)(x, mask), expected, atol=2e-6)


def test_scaled_dot_product_attention() -> None:
    def attend(x: torch.Tensor, y: torch.Tensor) -> Any:
        grouped = F.scaled_dot_product_attention(x, y[:, :1], y[:, :1], enable_gqa=True)
        return (
            F.scaled_dot_product_attention(x, y, y, is_causal=True),
            grouped,
            F.scaled_dot_product_attention(x, y, y, scale=0.3),
        )

    check(Calls(attend), x=Input((BATCH, 2, 4, 8)), y=Input((BATCH, 2, 4, 8)))


def test_embeddings() -> None:
    class Bags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(8, 4, padding_idx=0)
            self.bag = nn.EmbeddingBag(8, 4, mode="mean")

        def forward(self, ids: torch.Tensor) -> Any:
            return self.table(ids), self.bag(ids), F.one_hot(ids, 8), ids.to(torch.float32)

    check(randomized(Bags()), ids=Input((BATCH, 3), "int64"))


def test_grids() -> None:
    def sample(x: torch.Tensor, y: torch.Tensor) -> Any:
        grid = F.affine_grid(y.view(-1, 2, 3), x.shape, align_corners=False)
        return F.grid_sample(x, grid, align_corners=False), F.grid_sample(
            x, grid, "nearest", "border", align_corners=True
        )

    check(Calls(sample), x=Input((2, 3, 5, 6)), y=Input((2, 6)), tolerance=1e-6)


def test_draws_have_torchs_shapes() -> None:
    def draws(x: torch.Tensor) -> Any:
        return (
            torch.rand(2, 3), torch.randn_like(x), torch.rand_like(x), torch.normal(x, 1.0), torch.bernoulli(x.sigmoid()),
            torch.multinomial(x.softmax(-1), 2), torch.empty_like(x).uniform_(2, 3), torch.randint(0, 5, (4,)), x.clone().exponential_(2.0),
            torch.empty_like(x).normal_(5.0, 0.1),
        )  # fmt: skip

    graph = trtnet.record(Calls(draws), x=Input((BATCH, 4)))
    x = torch.randn(3, 4)
    found, expected = trtnet.reference(graph)(x.numpy()), draws(x)
    assert [one.shape for one in found] == [tuple(one.shape) for one in expected]
    assert (found[6] >= 2).all()
    assert (found[6] < 3).all()
    assert (found[8] >= 0).all()
    assert abs(found[9].mean() - 5) < 1


# --- several results ---------------------------------------------------------------------------------------------------


def test_one_of_several_results() -> None:
    check(
        Calls(
            lambda x: (x.max(1).values, x.sort(1).indices, x.topk(2).values, x.unbind(1)[1], torch.std_mean(x, 1)[1])
        ),
        x=Input((BATCH, 4, 6)),
    )


def test_places_of_maxima_are_refused_where_they_are_used() -> None:
    check(Calls(lambda x: F.adaptive_max_pool2d(x, 2)), x=Input((BATCH, 2, 4, 4)))
    with pytest.raises(UnsupportedError, match="places of the maxima"):
        trtnet.record(Calls(lambda x: F.max_pool2d(x, 2, return_indices=True)), x=Input((2, 2, 4, 4)))


def test_slices_of_slices_are_one_layer() -> None:
    def merge(x: torch.Tensor) -> Any:
        return torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 1::2]], -1), x[:, 1, 2:4], x[1:, :, -1, ::2], x[:, :3][:, 1:]

    inputs = {"x": Input((Dim("n", min=2, opt=4, max=8), 4, 4, 6))}
    graph = check(Calls(merge), **inputs, at=({"n": 2}, {"n": 5}))
    swapped = trtnet.record(lambda x: merge_ours(x), **inputs)
    assert len(graph.layers) == len(swapped.layers)


def merge_ours(x: Any) -> Any:
    return trtnet.cat([x[:, 0::2, 0::2], x[:, 1::2, 1::2]], -1), x[:, 1, 2:4], x[1:, :, -1, ::2], x[:, :3][:, 1:]


# --- custom operators --------------------------------------------------------------------------------------------------


@torch.library.custom_op("trtnet_test::scale", mutates_args=())
def scale(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x * factor


@scale.register_fake
def _(x: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("trtnet_test::halves", mutates_args=())
def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[:, :2].clone(), x[:, 2:].clone()


@halves.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x[:, :2]), torch.empty_like(x[:, 2:])


def test_a_custom_operator_with_and_without_a_converter() -> None:
    with pytest.raises(UnsupportedError, match=r"trtnet_test\.scale\.default has no counterpart") as found:
        trtnet.record(Calls(lambda x: scale(x, 2.0)), x=Input((2, 4)))
    assert "@trtnet.converts('trtnet_test::scale')" in found.value.remedy
    assert found.value.where.file == __file__

    @trtnet.converts("trtnet_test::scale")
    def _(x: Any, factor: float) -> Any:
        return x * factor

    check(Calls(lambda x: scale(x, 2.0) + 1), x=Input((BATCH, 4)))


def test_a_converter_that_gives_something_else_is_found_out() -> None:
    @trtnet.converts("trtnet_test::halves")
    def _(x: Any) -> Any:
        return x

    with pytest.raises(UnsupportedError, match="recorded as something else") as found:
        trtnet.record(Calls(lambda x: halves(x)[0]), x=Input((2, 4)))
    assert found.value.expected == "2 tensors, as torch says"

    @trtnet.converts("trtnet_test::halves.default")
    def _(x: Any) -> Any:
        return x[:, :1], x[:, 1:]

    with pytest.raises(UnsupportedError, match="recorded as something else") as found:
        trtnet.record(Calls(lambda x: halves(x)[0]), x=Input((2, 4)))
    assert (found.value.expected, found.value.found) == ("(2, 2), as torch says", "(2, 1)")

    @trtnet.converts("trtnet_test::halves.default")
    def _(x: Any) -> Any:
        return x[:, :2], x[:, 2:]

    check(Calls(lambda x: halves(x)[0]), x=Input((BATCH, 4)))


def test_names_of_operators() -> None:
    with pytest.raises(ArgumentError, match="no operator's name"):
        trtnet.converts("scale")


def test_an_operator_without_a_counterpart_names_its_line() -> None:
    class Decomposes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(x)

    with pytest.raises(UnsupportedError, match="has no counterpart here") as found:
        trtnet.record(nn.Sequential(Decomposes()), input=Input((2, 3)))
    assert found.value.where.line == Decomposes.forward.__code__.co_firstlineno + 1
    assert found.value.module == "0 (Decomposes)"


# --- control flow ------------------------------------------------------------------------------------------------------


def test_a_conditional() -> None:
    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = torch.cond(x.sum() > 0, lambda x: self.linear(x), lambda x: x.sin() * 2, (x,))
            return made + 1

    graph = check(Conditional(), x=Input((BATCH, 3)))
    assert "if_output" in {layer.kind for layer in graph.layers} or "conditional" in str(graph.summary())
    assert set(graph.parameters) == {"linear.weight", "linear.bias"}


def test_a_loop_and_a_scan() -> None:
    from torch._higher_order_ops import scan, while_loop

    def loops(x: torch.Tensor) -> Any:
        count, total = while_loop(
            lambda i, t: i < 4, lambda i, t: (i + 1, t * 1.5), (torch.zeros((), dtype=torch.int64), x)
        )
        carry, ys = scan(lambda c, row: (c + row, c * row), x.sum(1), x, dim=1)
        return total, count, carry, ys

    check(Calls(loops), x=Input((BATCH, 4, 3)))


def test_checkpoints_and_no_grad() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                y = x * 2
            return checkpoint(self.linear, y, use_reentrant=False)

    check(Checkpointed(), x=Input((BATCH, 3)))


def test_a_recorded_module_is_compiled() -> None:
    from harness import lower_and_compare

    graph = trtnet.record(
        randomized(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
        src=Input((Dim("n", min=2, opt=2, max=4), 3, 8)),
    )
    lower_and_compare(graph)
    lower_and_compare(trtnet.record(First(nn.GRU(3, 4, batch_first=True)), input=Input((2, Dim("t", max=6), 3))))


def test_half_precision() -> None:
    net = randomized(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))).half()
    graph = trtnet.record(net, input=Input((BATCH, 4), "float16"))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float16)
    expected = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(trtnet.reference(graph)(x), expected, rtol=2e-2, atol=2e-2)
