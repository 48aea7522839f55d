"""A Llama, with transformers' `state_dict` keys: its weights load as they are (`LlamaForCausalLM`)."""

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: each half of the last dimension turned with the other one."""
    a, b = x.chunk(2, -1)
    return x * cos + trtnet.cat([-b, a], -1) * sin


class Attention(nn.Module):
    """Causal self-attention in which several heads of queries share one of keys and values."""

    def __init__(self, width: int, heads: int, shared: int) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.q_proj = nn.Linear(width, heads * self.size, bias=False)
        self.k_proj = nn.Linear(width, shared * self.size, bias=False)
        self.v_proj = nn.Linear(width, shared * self.size, bias=False)
        self.o_proj = nn.Linear(heads * self.size, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.q_proj(x).reshape(batch, length, self.heads, self.size).transpose(1, 2)
        k = self.k_proj(x).reshape(batch, length, self.shared, self.size).transpose(1, 2)
        v = self.v_proj(x).reshape(batch, length, self.shared, self.size).transpose(1, 2)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, self.heads * self.size))


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, shared: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, shared)
        self.mlp = MLP(width, hidden)
        self.input_layernorm = nn.RMSNorm(width, eps=eps)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(
        self, depth: int, width: int, heads: int, shared: int, hidden: int, vocabulary: int, base: float, eps: float
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, heads, shared, hidden, eps) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=eps)
        self.size, self.base = width // heads, base

    def forward(self, tokens: Tensor) -> Tensor:
        frequencies = self.base ** (
            -trtnet.arange(0, self.size, 2, dtype=trtnet.float32, device=tokens.device) / self.size
        )
        angles = trtnet.outer(
            trtnet.arange(tokens.shape[1], dtype=frequencies.dtype, device=tokens.device), frequencies
        )
        angles = trtnet.cat([angles, angles], -1)
        x = self.embed_tokens(tokens)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class Llama(nn.Module):
    """Language model: `tokens` (batch, length) -> logits (batch, length, vocabulary)."""

    def __init__(
        self,
        depth: int = 16,
        width: int = 2048,
        heads: int = 32,
        shared: int = 8,
        hidden: int = 8192,
        vocabulary: int = 128256,
        base: float = 500000.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.model = Decoder(depth, width, heads, shared, hidden, vocabulary, base, eps)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lm_head(self.model(tokens))
