"""Small networks that tests share, and comparisons of what they give."""

from __future__ import annotations

import numpy as np
from cases import randomize

import trtnet
from trtnet import Dim, Input, layers, nn
from trtnet import functional as F

LEVEL = {"provider": "tensorrt", "optimization_level": 0}


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.policy = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
        self.value = nn.Linear(16, 1)

    def forward(self, x):
        return {"logits": self.policy(x), "value": self.value(x)}


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.conv(x))).mean((2, 3)))


class Tied(nn.Module):
    """Two modules with one weight, one after the other."""

    def __init__(self, make):
        super().__init__()
        self.a, self.b = make(), make()
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def policy(batch=4, seed=0):
    return trtnet.record(randomize(Policy(), seed), x=Input((batch, 16)))


def convolutions(batch=2, seed=0, dtype="float32"):
    net = randomize(Convolutions(), seed)
    if dtype != "float32":
        net.to(dtype)
    return trtnet.record(net, x=Input((batch, 3, 8, 8), dtype))


def any_batch(low=1, opt=4, high=64):
    return Dim("batch", low, opt, high)


def flat(result):
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, (tuple, list)) else [result]


def host(value):
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def close(found, wanted, tolerance=1e-4):
    for mine, reference in zip(flat(found), flat(wanted), strict=True):
        mine, reference = host(mine), host(reference)
        assert mine.shape == reference.shape
        scale = max(1.0, float(np.abs(reference).max(initial=0)))
        np.testing.assert_allclose(mine, reference, rtol=tolerance, atol=tolerance * scale)


def same(found, wanted):
    """Bit for bit."""
    return all(np.array_equal(host(a), host(b)) for a, b in zip(flat(found), flat(wanted), strict=True))


def convolved(network, x, shift, kernel):
    """TensorRT's own calls: a 1x1 convolution, and a sum."""
    layer = network.add_convolution_nd(x, 5, (1, 1), kernel)
    sums = trtnet.provider.of(network).enum("ElementWiseOperation", "SUM")
    return network.add_elementwise(layer.get_output(0), shift, sums).get_output(0)


class RawNetwork(nn.Module):
    """A raw layer with weights of both kinds, between others."""

    def __init__(self):
        super().__init__()
        generator = np.random.default_rng(1)
        self.conv = nn.Conv2d(3, 4, 3)
        self.kernel = nn.Parameter(generator.standard_normal((5, 4, 1, 1)).astype(np.float32))
        self.shift = nn.Parameter(generator.standard_normal((1, 5, 1, 1)).astype(np.float32))

    def features(self, x):
        return self.conv(x)

    def forward(self, x):
        x = self.features(x)
        return trtnet.raw(
            convolved, x, self.shift, shapes=(x.shape[0], 5, *x.shape[2:]), weights={"kernel": self.kernel},
            reference=convolved_by_torch,
        ).relu()  # fmt: skip


def convolved_by_torch(x, shift, kernel):
    import torch

    return torch.nn.functional.conv2d(x, kernel) + shift


class Decoding(nn.Module):
    """Attention of one new token to a cache of those before it and itself, with rotary positions.

    forward: x (batch, 1, heads * size), the caches of keys and values (batch, heads, longest, size), and how many
    tokens they hold, (batch,) int32. Gives the token's output, and the caches.
    """

    def __init__(self, heads=2, size=8, longest=6):
        super().__init__()
        self.heads, self.size = heads, size
        self.project = nn.Linear(heads * size, 3 * heads * size)
        angles = np.arange(longest)[:, None] / 10.0 ** np.linspace(0, 2, size // 2)
        self.register_buffer("cos", trtnet.tensor(np.cos(angles).astype(np.float32)))
        self.register_buffer("sin", trtnet.tensor(np.sin(angles).astype(np.float32)))

    def forward(self, x, keys, values, count):
        q, k, v = (part.reshape(-1, 1, self.heads, self.size).transpose(1, 2) for part in self.project(x).chunk(3, -1))
        place = count.reshape(-1, 1)
        q, k = (F.rotary_embedding(t, self.cos, self.sin, place) for t in (q, k))
        keys = layers.add_kv_cache_update(keys, k, count)
        values = layers.add_kv_cache_update(values, v, count)
        q = q * (1 / self.size**0.5)
        y = layers.add_attention_v2(q, keys, values, None, None, None, count + 1, decomposable=True)
        return y.transpose(1, 2).reshape(x.shape), keys, values


def decoding(batch, seed=0, dtype="float32"):
    net = randomize(Decoding(), seed)
    if dtype != "float32":
        net.to(dtype)
    cache = Input((batch, 2, 6, 8), dtype)
    return trtnet.record(net, x=Input((batch, 1, 16), dtype), keys=cache, values=cache, count=Input((batch,), "int32"))


def decoded_by_torch(state, tokens):
    """What `Decoding` gives for each of the tokens (batch, count, width) in turn: causal attention, all at once."""
    import torch

    state = {name: torch.from_numpy(np.array(value)).double() for name, value in state.items()}
    x = torch.from_numpy(tokens).double()
    batch, count, width = x.shape
    parts = torch.nn.functional.linear(x, state["project.weight"], state["project.bias"]).chunk(3, -1)
    q, k, v = (part.reshape(batch, count, 2, width // 2).transpose(1, 2) for part in parts)
    cos, sin = state["cos"][:count], state["sin"][:count]

    def turned(t):
        a, b = t.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    made = torch.nn.functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
    return made.transpose(1, 2).reshape(batch, count, width).numpy()
