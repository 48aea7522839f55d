"""The U-Net of DDPM (Ho et al. 2020), with the `state_dict` keys of diffusers' UNet2DModel: its weights load here.

The standard sizes are those of `google/ddpm-cifar10-32`.
"""

import math

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F

EPS = 1e-6


class TimestepEmbedding(nn.Module):
    """Which step it is, as sines and cosines, through two products: (batch,) -> (batch, 4·width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, 4 * width)
        self.linear_2 = nn.Linear(4 * width, 4 * width)

    def forward(self, timestep: Tensor) -> Tensor:
        half = self.width // 2
        places = trtnet.arange(half, dtype=trtnet.float32, device=timestep.device)
        angles = timestep[:, None] * trtnet.exp(places * (-math.log(10000) / (half - 1)))
        sines = trtnet.cat([angles.sin(), angles.cos()], 1).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(sines)))


class ResnetBlock(nn.Module):
    """Two convolutions, told the step between them, and a way around: (batch, channels, H, W) -> (batch, out, H, W)."""

    def __init__(self, channels: int, out: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, EPS)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, out)
        self.norm2 = nn.GroupNorm(groups, out, EPS)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time_emb_proj(F.silu(time))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class Attention(nn.Module):
    """Attention between all places, added to what came in."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.group_norm(x).flatten(2).transpose(1, 2)
        y = F.scaled_dot_product_attention(*(part(y)[:, None] for part in (self.to_q, self.to_k, self.to_v)))[:, 0]
        return x + self.to_out[0](y).transpose(1, 2).reshape(x.shape)


class Down(nn.Module):
    """A convolution to half the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """To twice the size, and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class DownBlock(nn.Module):
    """One size on the way down; what it gives between is used on the way up."""

    def __init__(self, channels: int, out: int, depth: int, time: int, groups: int, attends: bool, last: bool) -> None:
        super().__init__()
        if attends:
            self.attentions = nn.ModuleList(Attention(out, groups) for _ in range(depth))
        self.resnets = nn.ModuleList(ResnetBlock(channels if not i else out, out, time, groups) for i in range(depth))
        if not last:
            self.downsamplers = nn.ModuleList([Down(out)])
        self.attends, self.last = attends, last

    def forward(self, x: Tensor, time: Tensor) -> list[Tensor]:
        given = []
        for index, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            given.append(self.attentions[index](x) if self.attends else x)
            x = given[-1]
        return given if self.last else [*given, self.downsamplers[0](x)]


class UpBlock(nn.Module):
    """One size on the way up, of what came from below and, for each of its blocks, of what came down."""

    def __init__(self, channels: list[int], out: int, time: int, groups: int, attends: bool, last: bool) -> None:
        super().__init__()
        if attends:
            self.attentions = nn.ModuleList(Attention(out, groups) for _ in channels)
        self.resnets = nn.ModuleList(ResnetBlock(c, out, time, groups) for c in channels)
        if not last:
            self.upsamplers = nn.ModuleList([Up(out)])
        self.attends, self.last = attends, last

    def forward(self, x: Tensor, skipped: list[Tensor], time: Tensor) -> Tensor:
        for index, resnet in enumerate(self.resnets):
            x = resnet(trtnet.cat([x, skipped.pop()], 1), time)
            if self.attends:
                x = self.attentions[index](x)
        return x if self.last else self.upsamplers[0](x)


class MidBlock(nn.Module):
    def __init__(self, channels: int, time: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(channels, groups)])
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, time, groups) for _ in range(2))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x, time)), time)


class UNet2D(nn.Module):
    """The noise in a picture: `sample` (batch, channels, H, W), `timestep` (batch,) int64 -> noise, as the sample.

    H and W are multiples of 2 for each width but the first. `attends` says of each width whether attention is there.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: tuple[int, ...] = (128, 256, 256, 256),
        attends: tuple[bool, ...] = (False, True, False, False),
        depth: int = 2,
        groups: int = 32,
    ) -> None:
        super().__init__()
        time, last = 4 * widths[0], len(widths) - 1
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0])
        before = (widths[0], *widths)
        self.down_blocks = nn.ModuleList(
            DownBlock(before[i], widths[i], depth, time, groups, attends[i], i == last) for i in range(len(widths))
        )
        self.up_blocks = nn.ModuleList()
        inner = widths[-1]
        for i in reversed(range(len(widths))):
            came_down = [*[widths[i]] * depth, before[i]]  # the last is what entered this size
            sizes = [(widths[i] if index else inner) + skip for index, skip in enumerate(came_down)]
            self.up_blocks.append(UpBlock(sizes, widths[i], time, groups, attends[i], i == 0))
            inner = widths[i]
        self.mid_block = MidBlock(widths[-1], time, groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        time = self.time_embedding(timestep.to(trtnet.promote_types(sample.dtype, trtnet.float32)))
        x = self.conv_in(sample)
        skipped = [x]
        for block in self.down_blocks:
            skipped += block(skipped[-1], time)
        x = self.mid_block(skipped[-1], time)
        for block in self.up_blocks:
            x = block(x, skipped, time)
        return self.conv_out(F.silu(self.conv_norm_out(x)))
