"""Swin-T (Liu et al. 2021), with torchvision's `state_dict` keys: its weights load as they are."""

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.order)


def windows(x: Tensor, window: int) -> Tensor:
    """(batch, H, W, channels) -> (batch, windows, window², channels)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, window * window, channels)


def together(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """What `windows` took apart: (batch, H, W, channels)."""
    x = x.reshape(x.shape[0], height // window, width // window, window, window, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(x.shape[0], height, width, x.shape[-1])


def neighbours(x: Tensor, window: int, shift: tuple[int, int]) -> Tensor:
    """(windows, 1, window², window²): -100 between places that only the shift has brought into one window, else 0."""
    height, width = x.shape[1:3]
    region = trtnet.zeros(height, width, device=x.device)
    count = 0
    for rows in (slice(0, -window), slice(-window, -shift[0]), slice(-shift[0], None)):
        for columns in (slice(0, -window), slice(-window, -shift[1]), slice(-shift[1], None)):
            region[rows, columns] = count
            count += 1
    region = windows(region.reshape(1, height, width, 1), window)[0]
    apart = region.reshape(-1, 1, window * window) != region.reshape(-1, window * window, 1)
    return trtnet.zeros(apart.shape, dtype=x.dtype, device=x.device).masked_fill(apart, -100.0).unsqueeze(1)


class ShiftedWindowAttention(nn.Module):
    """Attention within windows of window × window places, after a shift: (batch, H, W, channels) -> the same."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(trtnet.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        place = trtnet.arange(window)
        offset = place[:, None] - place[None, :] + window - 1
        index = offset[:, None, :, None] * (2 * window - 1) + offset[None, :, None, :]
        self.register_buffer("relative_position_index", index.flatten())

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        window, size = self.window, self.window**2
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        rows, columns = x.shape[1:3]
        shift = (self.shift if rows > window else 0, self.shift if columns > window else 0)
        x = trtnet.roll(x, (-shift[0], -shift[1]), (1, 2))
        parts = self.qkv(windows(x, window)).reshape(batch, -1, size, 3, self.heads, channels // self.heads)
        q, k, v = parts.permute(3, 0, 1, 4, 2, 5).unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index]
        mask = bias.reshape(size, size, -1).permute(2, 0, 1)
        if any(shift):
            mask = mask + neighbours(x, window, shift)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.proj(x.transpose(2, 3).reshape(batch, -1, size, channels))
        x = trtnet.roll(together(x, window, rows, columns), shift, (1, 2))
        return x[:, :height, :width]


class MLP(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.0), nn.Linear(4 * width, width), nn.Dropout(0.0)
        )


class Block(nn.Module):
    """Attention and an MLP, each of what is normalized, each added to what came in."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = ShiftedWindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Two by two places become one: (batch, H, W, channels) -> (batch, H/2, W/2, 2·channels), rounded up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(trtnet.cat(parts, -1)))


class SwinTransformer(nn.Module):
    """Image classification: `image` (batch, 3, H, W), normalized as ImageNet's -> logits (batch, classes)."""

    def __init__(
        self,
        width: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        window: int = 7,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), Permute(0, 2, 3, 1), nn.LayerNorm(width))
        layers: list[nn.Module] = [stem]
        for stage, (depth, count) in enumerate(zip(depths, heads)):
            if stage:
                layers.append(PatchMerging(width))
                width *= 2
            shifts = (window // 2 * (index % 2) for index in range(depth))
            layers.append(nn.Sequential(*(Block(width, count, window, shift) for shift in shifts)))
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.norm(self.features(image)).mean((1, 2)))
