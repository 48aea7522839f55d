"""einops on tensors of trtnet, where einops is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch

import trtnet
from trtnet import Dim, nn

einops = pytest.importorskip("einops")

X = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype(np.float32)
SHAPES = {"x": (Dim("batch", 1, 2, 4), 3, 4, 6)}


def test_functions() -> None:
    def forward(x):
        a = einops.rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2)
        b = einops.reduce(x, "b c h w -> b c", "max")
        c = einops.repeat(b, "b c -> b n c", n=3)
        d = einops.einsum(a, a, "b n d, b m d -> b n m")
        packed, _ = einops.pack([a, a[:, :1]], "b * d")
        return a, b, c, d, packed

    check_against_torch(forward, forward, {"x": X}, shapes=SHAPES)


def test_layers() -> None:
    from einops.layers import torch as theirs

    from trtnet.torch_names.einops import Rearrange, Reduce

    mine = nn.Sequential(Rearrange("b c (h p) w -> b (h w) (p c)", p=2), Reduce("b n d -> b d", "mean"))
    wanted = torch.nn.Sequential(
        theirs.Rearrange("b c (h p) w -> b (h w) (p c)", p=2), theirs.Reduce("b n d -> b d", "mean")
    )
    check_against_torch(lambda x: mine(x), wanted, {"x": X}, shapes=SHAPES)
    assert einops.rearrange(trtnet.arange(6), "(a b) -> b a", a=2).tolist() == [[0, 3], [1, 4], [2, 5]]
