"""EfficientNet-B0, with torchvision's `state_dict` keys: its weights load as they are."""

from trtnet import Tensor, nn

from .mobilenet import SqueezeExcitation, convolution


def silu() -> nn.Module:
    return nn.SiLU(inplace=True)


class MBConv(nn.Module):
    """1×1 to more channels, a convolution of each channel, gates, 1×1 to fewer; around it, where shapes allow."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = channels * expand
        first = [convolution(channels, hidden, 1, 1, 1, silu, 1e-5)] if expand != 1 else []
        self.block = nn.Sequential(
            *first,
            convolution(hidden, hidden, kernel, stride, hidden, silu, 1e-5),
            SqueezeExcitation(hidden, max(1, channels // 4), nn.SiLU(inplace=True), nn.Sigmoid()),
            convolution(hidden, out, 1, 1, 1, None, 1e-5),
        )
        self.is_residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + x if self.is_residual else self.block(x)


class EfficientNet(nn.Module):
    """EfficientNet-B0: `image` (batch, 3, H, W), normalized as ImageNet's -> logits (batch, classes)."""

    BLOCKS = (
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )  # fmt: skip
    """Expansion, kernel, first stride, channels and number of blocks."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        channels = 32
        stages: list[nn.Module] = [convolution(3, channels, 3, 2, 1, silu, 1e-5)]
        for expand, kernel, stride, out, count in self.BLOCKS:
            blocks = []
            for index in range(count):
                blocks.append(MBConv(channels, out, kernel, stride if index == 0 else 1, expand))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*stages, convolution(channels, 4 * channels, 1, 1, 1, silu, 1e-5))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(4 * channels, classes))

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(image)).flatten(1))
