"""Small networks that tests share, and comparisons of what they give."""

from __future__ import annotations

import numpy as np
from cases import randomize

import trtnet
from trtnet import Dim, Input, nn
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
