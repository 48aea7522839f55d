"""A vision transformer: class token, sine positions, layer scale, einsum attention, stochastic depth, a distilled head."""

import math

import torch
from torch import nn


def drop_path(x, drop_prob: float = 0.0, training: bool = False):
    if drop_prob == 0.0 or not training:
        return x
    keep = 1 - drop_prob
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    return x * x.new_empty(shape).bernoulli_(keep) / keep


class DropPath(nn.Module):
    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, x):
        return drop_path(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p:.3f}"


def sine_positions(count: int, width: int) -> torch.Tensor:
    table = torch.zeros(count, width)
    position = torch.arange(0, count).unsqueeze(1).float()
    rate = torch.exp(torch.arange(0, width, 2).float() * -(math.log(10000.0) / width))
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table.unsqueeze(0)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.gamma = nn.Parameter(1e-1 * torch.ones(dim), requires_grad=True)
        self.temperature = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        b, n, d = x.shape
        q = self.to_q(x).reshape(b, n, self.heads, -1)
        k, v = self.to_kv(x).reshape(b, n, self.heads, -1).chunk(2, dim=-1)
        scores = torch.einsum("bihd,bjhd->bhij", q, k).mul_(self.temperature.exp())
        weights = scores.sub(scores.amax(dim=-1, keepdim=True)).exp_()
        weights = weights / weights.sum(-1, keepdim=True)
        return torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2) * self.gamma


class ViT(nn.Module):
    def __init__(self, size: int = 16, patch: int = 4, dim: int = 24, depth: int = 2, classes: int = 6) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, patch, patch)
        count = (size // patch) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.dist_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.positions = nn.Parameter(sine_positions(count + 2, dim), requires_grad=False)
        rates = [x.item() for x in torch.linspace(0, 0.1, depth)]
        self.blocks = nn.ModuleList()
        for rate in rates:
            block = nn.Module()
            block.norm1, block.attn, block.drop = nn.LayerNorm(dim, eps=1e-6), Attention(dim, 4), DropPath(rate)
            block.norm2, block.mlp = (
                nn.LayerNorm(dim, eps=1e-6),
                nn.Sequential(nn.Linear(dim, 48), nn.GELU(approximate="tanh"), nn.Linear(48, dim)),
            )
            self.blocks.append(block)
        self.heads = nn.ModuleList(nn.Linear(dim, classes) for _ in range(2))
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, x: torch.Tensor):
        B = x.shape[0]
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(B, -1, -1), self.dist_token.repeat(B, 1, 1), x), dim=1)
        x = x + self.positions
        for block in self.blocks:
            x = x + block.drop(block.attn(block.norm1(x)))
            x = x + block.drop(block.mlp(block.norm2(x)))
        return {"logits": (self.heads[0](x[:, 0]) + self.heads[1](x[:, 1])) / 2, "features": x[:, 2:].mean(1)}


def build():
    return ViT()


INPUTS = {"x": ((2, 3, 16, 16), ("batch", 3, 16, 16))}
