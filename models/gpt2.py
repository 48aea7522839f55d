"""GPT-2, with transformers' `state_dict` keys: its weights load as they are (`prefix="transformer."`)."""

import math

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F


class Conv1D(nn.Module):
    """A product as GPT-2 stores it: the weight is (in, out)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(trtnet.randn(width, out) * 0.02)
        self.bias = nn.Parameter(trtnet.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Causal self-attention. `past` is the keys and values of the tokens before, (batch, heads, length, size).

    With `place`, they are of a fixed number of tokens: those of the token at `place` are written among them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = Conv1D(width, 3 * width)
        self.c_proj = Conv1D(width, width)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None, place: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, width = x.shape
        parts = self.c_attn(x).split(width, 2)
        q, k, v = (part.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2) for part in parts)
        mask = None
        if place is not None:
            places = trtnet.arange(past[0].shape[2], device=x.device)
            here = (places == place)[:, None]
            k, v = trtnet.where(here, k, past[0]), trtnet.where(here, v, past[1])
            mask = (places <= place)[None]
        elif past is not None:
            k, v = trtnet.cat([past[0], k], 2), trtnet.cat([past[1], v], 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=past is None)
        return self.c_proj(y.transpose(1, 2).reshape(batch, length, width)), (k, v)


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = Conv1D(width, 4 * width)
        self.c_proj = Conv1D(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None, place: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, present = self.attn(self.ln_1(x), past, place)
        x = x + y
        return x + self.mlp(self.ln_2(x)), present


class GPT2(nn.Module):
    """Language model: `tokens` (batch, length) -> logits (batch, length, vocabulary).

    `first` reads a prompt and `step` one token more, each with keys and values of all layers, for generation by one
    engine call a token: (layers, 2, batch, heads, length, size). `generate` writes a text by itself, in one call.
    """

    def __init__(
        self, depth: int = 12, width: int = 768, heads: int = 12, vocabulary: int = 50257, context: int = 1024
    ) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.h = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.ln_f = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.first(tokens)[0]

    def first(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """A prompt: logits, keys and values."""
        x = self.wte(tokens) + self.wpe(trtnet.arange(tokens.shape[1], device=tokens.device))
        return self._layers(x, None)

    def step(self, token: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """One token (batch, 1) more, given what the tokens before left: logits, and the keys and values of all."""
        length = past.shape[4]
        x = self.wte(token) + self.wpe(trtnet.arange(length, length + 1, device=token.device))
        return self._layers(x, past)

    def generate(self, tokens: Tensor, count: int = 20) -> Tensor:
        """What follows a prompt: `count` tokens (batch, count), each the likeliest, by a loop inside the network."""
        logits, past = self.first(tokens)
        token = logits[:, -1:].argmax(-1)
        length = tokens.shape[1]
        positions = self.wpe(trtnet.arange(length + count - 1, device=tokens.device))

        def body(carry: tuple[Tensor, Tensor, Tensor], _: None) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
            token, place, past = carry
            logits, past = self._layers(self.wte(token) + positions[place], past, place)
            token = logits.argmax(-1)
            return (token, place + 1, past), token[:, 0]

        room = F.pad(past, (0, 0, 0, count - 1))
        place = trtnet.arange(length, length + 1, device=tokens.device)
        _, more = trtnet.scan(body, (token, place, room), length=count - 1)
        return trtnet.cat([token, more.transpose(0, 1)], 1)

    def _layers(self, x: Tensor, past: Tensor | None, place: Tensor | None = None) -> tuple[Tensor, Tensor]:
        present = []
        for index, block in enumerate(self.h):
            x, pair = block(x, None if past is None else (past[index, 0], past[index, 1]), place)
            present.append(trtnet.stack(pair))
        return self.ln_f(x) @ self.wte.weight.T, trtnet.stack(present)
