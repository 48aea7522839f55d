"""An encoder for text: three embeddings, an extended padding mask, a buffer of positions, a pooler and a tied decoder."""

from typing import Optional

import torch
import torch.utils.checkpoint
from torch import nn


class Embeddings(nn.Module):
    def __init__(self, vocabulary, width, positions):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(positions).expand((1, -1)), persistent=False)
        self.register_buffer(
            "token_type_ids", torch.zeros(self.position_ids.size(), dtype=torch.long), persistent=False
        )

    def forward(self, input_ids: torch.LongTensor, token_type_ids: Optional[torch.LongTensor] = None):
        input_shape = input_ids.size()
        seq_length = input_shape[1]
        position_ids = self.position_ids[:, 0:seq_length]
        if token_type_ids is None:
            token_type_ids = self.token_type_ids[:, :seq_length].expand(input_shape[0], seq_length)
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        x += self.position_embeddings(position_ids)
        return self.LayerNorm(x)


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.num_heads, self.head_size = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.intermediate, self.output = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def transpose_for_scores(self, x: torch.Tensor) -> torch.Tensor:
        new_shape = x.size()[:-1] + (self.num_heads, self.head_size)
        return x.view(new_shape).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = (self.transpose_for_scores(f(x)) for f in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / self.head_size**0.5 + mask
        probs = nn.functional.softmax(scores, dim=-1)
        context = torch.matmul(probs, v).permute(0, 2, 1, 3).contiguous()
        context = context.view(context.size()[:-2] + (self.num_heads * self.head_size,))
        x = self.norm(self.dense(context) + x)
        return x + self.output(nn.functional.gelu(self.intermediate(x)))


class Bert(nn.Module):
    def __init__(self, vocabulary=41, width=24, positions=16):
        super().__init__()
        self.embeddings = Embeddings(vocabulary, width, positions)
        self.layer = nn.ModuleList([Layer(width, 3) for _ in range(2)])
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.decoder = nn.Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.decoder.weight = self.embeddings.word_embeddings.weight
        self.decoder.bias = self.bias
        self.gradient_checkpointing = True

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        if attention_mask is None:
            attention_mask = torch.ones(input_ids.shape, device=input_ids.device)
        mask = attention_mask[:, None, None, :].to(dtype=next(self.parameters()).dtype)
        mask = (1.0 - mask) * torch.finfo(mask.dtype).min
        x = self.embeddings(input_ids, token_type_ids)
        for layer in self.layer:
            if self.gradient_checkpointing and self.training:
                x = torch.utils.checkpoint.checkpoint(layer, x, mask, use_reentrant=False)
            else:
                x = layer(x, mask)
        first = x[:, 0]
        return self.decoder(x), self.pooler(first)


def build():
    return Bert()


INPUTS = {"input_ids": ((2, 6), ("batch", "time"), 41), "attention_mask": ((2, 6), ("batch", "time"), "mask")}
