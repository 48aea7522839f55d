"""A radiance field: Fourier features, a skip connection in the middle, and compositing along rays by cumprod."""

import torch
from torch import nn
from torch.nn import functional as F


class Embedder:
    def __init__(self, bands: int, include_input: bool = True) -> None:
        self.frequencies = 2.0 ** torch.linspace(0.0, bands - 1, steps=bands)
        self.include_input = include_input
        self.out_dim = 3 * (2 * bands + include_input)

    def __call__(self, x):
        parts = [x] if self.include_input else []
        for frequency in self.frequencies:
            for fn in (torch.sin, torch.cos):
                parts.append(fn(x * frequency))
        return torch.cat(parts, -1)


class NeRF(nn.Module):
    def __init__(self, depth: int = 4, width: int = 24, skips=(1,)) -> None:
        super().__init__()
        self.skips = skips
        self.embed, self.embed_views = Embedder(4), Embedder(2)
        i = self.embed.out_dim
        self.pts = nn.ModuleList(
            [nn.Linear(i, width)] + [nn.Linear(width + (i if j in skips else 0), width) for j in range(depth - 1)]
        )
        self.feature, self.alpha = nn.Linear(width, width), nn.Linear(width, 1)
        self.views, self.rgb = nn.Linear(width + self.embed_views.out_dim, width // 2), nn.Linear(width // 2, 3)

    def forward(self, origins: torch.Tensor, directions: torch.Tensor) -> tuple:
        t = torch.linspace(2.0, 6.0, 8)
        points = origins[..., None, :] + directions[..., None, :] * t[..., :, None]
        views = F.normalize(directions, dim=-1)[:, None].expand(points.shape)
        inputs = self.embed(points.reshape(-1, 3))
        h = inputs
        for i, layer in enumerate(self.pts):
            h = F.relu(layer(h))
            if i in self.skips:
                h = torch.cat([inputs, h], -1)
        sigma = F.relu(self.alpha(h))
        h = torch.cat([self.feature(h), self.embed_views(views.reshape(-1, 3))], -1)
        rgb = torch.sigmoid(self.rgb(F.relu(self.views(h)))).view(*points.shape[:-1], 3)
        step = t[1:] - t[:-1]
        dists = torch.cat([step, torch.tensor([1e2])]) * torch.norm(directions[..., None, :], dim=-1)
        alpha = 1.0 - torch.exp(-sigma.view(points.shape[:-1]) * dists)
        clear = torch.cat([torch.ones_like(alpha[:, :1]), 1.0 - alpha + 1e-10], -1)
        weights = alpha * torch.cumprod(clear, -1)[:, :-1]
        color = torch.sum(weights[..., None] * rgb, -2)
        depth = torch.sum(weights * t, -1)
        white = 1.0 - weights.sum(-1, keepdim=True)
        return color + white, depth


def build():
    return NeRF()


INPUTS = {"origins": ((3, 3), ("rays", 3)), "directions": ((3, 3), ("rays", 3))}
