"""An encoder and decoder with learned queries: sine positions by cumsum, MultiheadAttention, boxes by sigmoid."""

import copy
import math
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _get_clones(module, N):
    return nn.ModuleList([copy.deepcopy(module) for i in range(N)])


class PositionSine(nn.Module):
    def __init__(self, features=8, temperature=10000, scale=None):
        super().__init__()
        self.features, self.temperature, self.scale = features, temperature, 2 * math.pi if scale is None else scale

    def forward(self, x: Tensor, mask: Tensor):
        not_mask = ~mask
        y_embed = not_mask.cumsum(1, dtype=torch.float32)
        x_embed = not_mask.cumsum(2, dtype=torch.float32)
        eps = 1e-6
        y_embed = y_embed / (y_embed[:, -1:, :] + eps) * self.scale
        x_embed = x_embed / (x_embed[:, :, -1:] + eps) * self.scale
        dim_t = torch.arange(self.features, dtype=torch.float32, device=x.device)
        dim_t = self.temperature ** (2 * torch.div(dim_t, 2, rounding_mode="floor") / self.features)
        pos_x, pos_y = x_embed[:, :, :, None] / dim_t, y_embed[:, :, :, None] / dim_t
        pos_x = torch.stack((pos_x[:, :, :, 0::2].sin(), pos_x[:, :, :, 1::2].cos()), dim=4).flatten(3)
        pos_y = torch.stack((pos_y[:, :, :, 0::2].sin(), pos_y[:, :, :, 1::2].cos()), dim=4).flatten(3)
        return torch.cat((pos_y, pos_x), dim=3).permute(0, 3, 1, 2)


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=0.1)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout=0.1)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def with_pos(self, tensor, pos: Optional[Tensor]):
        return tensor if pos is None else tensor + pos

    def forward(
        self,
        tgt,
        memory,
        padding: Optional[Tensor] = None,
        pos: Optional[Tensor] = None,
        query_pos: Optional[Tensor] = None,
    ):
        q = k = self.with_pos(tgt, query_pos)
        tgt = self.norm1(tgt + self.self_attn(q, k, value=tgt)[0])
        tgt2 = self.multihead_attn(
            query=self.with_pos(tgt, query_pos), key=self.with_pos(memory, pos), value=memory, key_padding_mask=padding
        )[0]
        tgt = self.norm2(tgt + tgt2)
        return self.norm3(tgt + self.linear2(F.gelu(self.linear1(tgt))))


class MLP(nn.Module):
    def __init__(self, i, h, o, n):
        super().__init__()
        widths = [h] * (n - 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip([i, *widths], [*widths, o]))

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = F.relu(layer(x)) if i < len(self.layers) - 1 else layer(x)
        return x


class DETR(nn.Module):
    def __init__(self, width: int = 16, queries: int = 5, classes: int = 3) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
        self.input_proj = nn.Conv2d(8, width, kernel_size=1)
        self.position = PositionSine(width // 2)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, 4, 32, activation="gelu", norm_first=True), 2
        )
        self.decoder = _get_clones(DecoderLayer(width, 4), 2)
        self.query_embed = nn.Embedding(queries, width)
        self.class_embed, self.bbox_embed = nn.Linear(width, classes + 1), MLP(width, width, 4, 3)
        self._reset_parameters()

    def _reset_parameters(self):
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, images: Tensor, mask: Tensor):
        src = self.backbone(images)
        mask = F.interpolate(mask[None].float(), size=src.shape[-2:]).to(torch.bool)[0]
        pos = self.position(src, mask).flatten(2).permute(2, 0, 1)
        src = self.input_proj(src).flatten(2).permute(2, 0, 1)
        padding = mask.flatten(1)
        bs = src.shape[1]
        query = self.query_embed.weight.unsqueeze(1).repeat(1, bs, 1)
        memory = self.encoder(src + pos, src_key_padding_mask=padding)
        tgt = torch.zeros_like(query)
        for layer in self.decoder:
            tgt = layer(tgt, memory, padding, pos, query)
        hs = tgt.transpose(0, 1)
        return {"pred_logits": self.class_embed(hs), "pred_boxes": self.bbox_embed(hs).sigmoid()}


def build():
    return DETR()


INPUTS = {"images": ((2, 3, 16, 16), ("batch", 3, 16, 16)), "mask": ((2, 16, 16), ("batch", 16, 16), "bool")}
