"""A decoder with rotary positions, grouped keys, RMS norm and gated units; positions and masks made in forward."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = x.dtype
        x = x.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * x.to(kept)


class Rotary(nn.Module):
    def __init__(self, size: int, base: float = 10000.0) -> None:
        super().__init__()
        inverse = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size))
        self.register_buffer("inverse", inverse, persistent=False)

    @torch.no_grad()
    def forward(self, x: torch.Tensor, positions: torch.Tensor):
        inverse = self.inverse[None, :, None].float().expand(positions.shape[0], -1, 1)
        angles = (inverse @ positions[:, None, :].float()).transpose(1, 2)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype=x.dtype), angles.sin().to(dtype=x.dtype)


def rotate_half(x):
    x1 = x[..., : x.shape[-1] // 2]
    x2 = x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def repeat_kv(x: torch.Tensor, times: int) -> torch.Tensor:
    batch, heads, length, size = x.shape
    if times == 1:
        return x
    return x[:, :, None, :, :].expand(batch, heads, times, length, size).reshape(batch, heads * times, length, size)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.q_proj = nn.Linear(width, heads * self.size, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * self.size, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * self.size, bias=False)
        self.o_proj = nn.Linear(heads * self.size, width, bias=False)

    def forward(self, x: torch.Tensor, cos, sin, mask: Optional[torch.Tensor] = None):
        b, n, _ = x.size()
        q = self.q_proj(x).view(b, n, self.heads, self.size).transpose(1, 2)
        k = self.k_proj(x).view(b, n, self.kv_heads, self.size).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.kv_heads, self.size).transpose(1, 2)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k, v = (repeat_kv(t, self.heads // self.kv_heads) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(b, n, -1))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, kv_heads)
        self.input_norm, self.post_norm = RMSNorm(width), RMSNorm(width)
        self.gate, self.up, self.down = nn.Linear(width, 48), nn.Linear(width, 48), nn.Linear(48, width)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_norm(x), cos, sin, mask)
        h = self.post_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, vocabulary: int = 53, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.layers = nn.ModuleList(Layer(width, 4, 2) for _ in range(layers))
        self.norm, self.rotary = RMSNorm(width), Rotary(width // 4)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, input_ids: torch.LongTensor, attention_mask: Optional[torch.Tensor] = None) -> torch.Tensor:
        x = self.embed(input_ids)
        b, n = input_ids.shape
        positions = torch.arange(n, device=input_ids.device).unsqueeze(0).expand(b, -1)
        cos, sin = self.rotary(x, positions)
        low = torch.finfo(x.dtype).min
        mask = torch.full((n, n), low, dtype=x.dtype, device=x.device)
        mask = torch.triu(mask, diagonal=1)[None, None, :, :].expand(b, 1, n, n)
        if attention_mask is not None:
            padding = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * low
            mask = torch.maximum(mask + padding, torch.full_like(mask, low))
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.lm_head(self.norm(x))


def build():
    return Llama()


INPUTS = {"input_ids": ((2, 6), ("batch", "time"), 53), "attention_mask": ((2, 6), ("batch", "time"), "mask")}
