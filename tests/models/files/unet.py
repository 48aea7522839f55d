"""A U-Net whose decoder resizes to the sizes of its skip connections."""

import torch
import torch.nn.functional as F
from torch import nn


class DoubleConv(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, kernel_size=3, padding="same"),
            nn.GroupNorm(4, channels_out),
            nn.LeakyReLU(0.1, inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class UNet(nn.Module):
    def __init__(self, classes: int = 3, widths=(8, 16, 32)) -> None:
        super().__init__()
        self.stem = DoubleConv(3, widths[0])
        self.down = nn.ModuleList([DoubleConv(a, b) for a, b in zip(widths, widths[1:])])
        self.up = nn.ModuleList()
        for low, high in zip(widths[:0:-1], widths[-2::-1]):
            self.up.append(
                nn.ModuleDict(
                    {"project": nn.ConvTranspose2d(low, high, 2, stride=2), "mix": DoubleConv(2 * high, high)}
                )
            )
        self.head = nn.Conv2d(widths[0], classes, 1)
        self.pool = nn.MaxPool2d(2)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, image):
        skips = []
        x = self.stem(image)
        for stage in self.down:
            skips.append(x)
            x = stage(self.pool(x))
        for stage, skip in zip(self.up, reversed(skips)):
            x = stage["project"](x)
            if x.shape[-2:] != skip.shape[-2:]:
                x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = stage["mix"](torch.cat((x, skip), dim=1))
        logits = self.head(x)
        return F.interpolate(logits, scale_factor=2.0, mode="nearest"), logits.argmax(dim=1)


def build():
    return UNet()


INPUTS = {"image": ((2, 3, 18, 22), ("batch", 3, 18, 22))}
