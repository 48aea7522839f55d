"""U-Net (Ronneberger et al. 2015), with padded convolutions and BatchNorm as most write it now."""

import itertools

import trtnet
from trtnet import Tensor, nn


class DoubleConv(nn.Sequential):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(channels, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """Segmentation: `image` (batch, channels, H, W) -> logits (batch, classes, H, W); H and W multiples of 16."""

    def __init__(
        self, channels: int = 3, classes: int = 2, widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    ) -> None:
        super().__init__()
        self.inc = DoubleConv(channels, widths[0])
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), DoubleConv(a, b)) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(pairs))
        self.conv = nn.ModuleList(DoubleConv(2 * a, a) for a, _ in reversed(pairs))
        self.outc = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.inc(image)
        skipped = []
        for down in self.down:
            skipped.append(x)
            x = down(x)
        for up, conv, skip in zip(self.up, self.conv, reversed(skipped)):
            x = conv(trtnet.cat([skip, up(x)], 1))
        return self.outc(x)
