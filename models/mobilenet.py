"""MobileNetV2 and V3, with torchvision's `state_dict` keys: their weights load as they are."""

from collections.abc import Callable

from trtnet import Tensor, nn


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of `by`, at least 90 % of `channels`."""
    nearest = max(by, int(channels + by / 2) // by * by)
    return nearest + by if nearest < 0.9 * channels else nearest


def convolution(
    channels: int,
    out: int,
    kernel: int,
    stride: int,
    groups: int,
    activation: Callable[[], nn.Module] | None,
    eps: float,
) -> nn.Sequential:
    """Convolution, BatchNorm and an activation."""
    layers = [
        nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=eps),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation()]))


def relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


def relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def hardswish() -> nn.Module:
    return nn.Hardswish(inplace=True)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1×1 to more channels, 3×3 of each channel, 1×1 to fewer; around it, where shapes allow."""

    def __init__(self, channels: int, out: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = channels * expand
        first = [convolution(channels, hidden, 1, 1, 1, relu6, 1e-5)] if expand != 1 else []
        self.conv = nn.Sequential(
            *first,
            convolution(hidden, hidden, 3, stride, hidden, relu6, 1e-5),
            nn.Conv2d(hidden, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.is_residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.is_residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Image classification: `image` (batch, 3, H, W), normalized as ImageNet's -> logits (batch, classes)."""

    BLOCKS = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    """Expansion, channels, number and first stride of blocks."""

    def __init__(self, classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        channels = divisible(32 * width)
        layers: list[nn.Module] = [convolution(3, channels, 3, 2, 1, relu6, 1e-5)]
        for expand, wanted, count, stride in self.BLOCKS:
            out = divisible(wanted * width)
            for index in range(count):
                layers.append(InvertedResidual(channels, out, stride if index == 0 else 1, expand))
                channels = out
        last = divisible(1280 * max(1.0, width))
        self.features = nn.Sequential(*layers, convolution(channels, last, 1, 1, 1, relu6, 1e-5))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean([2, 3]))


class SqueezeExcitation(nn.Module):
    """Each channel times a gate that two 1×1 convolutions make of all channels' means."""

    def __init__(self, channels: int, squeezed: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation
        self.scale_activation = gate

    def forward(self, x: Tensor) -> Tensor:
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class InvertedResidualV3(nn.Module):
    """MobileNetV3's block: with gates of the channels, and kernels of 3 or 5."""

    def __init__(self, channels: int, kernel: int, hidden: int, out: int, gates: bool, hard: bool, stride: int) -> None:
        super().__init__()
        activation = hardswish if hard else relu
        layers: list[nn.Module] = []
        if hidden != channels:
            layers.append(convolution(channels, hidden, 1, 1, 1, activation, 1e-3))
        layers.append(convolution(hidden, hidden, kernel, stride, hidden, activation, 1e-3))
        if gates:
            layers.append(SqueezeExcitation(hidden, divisible(hidden // 4), nn.ReLU(), nn.Hardsigmoid()))
        self.block = nn.Sequential(*layers, convolution(hidden, out, 1, 1, 1, None, 1e-3))
        self.is_residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.is_residual else self.block(x)


class MobileNetV3(nn.Module):
    """MobileNetV3-Small: `image` (batch, 3, H, W), normalized as ImageNet's -> logits (batch, classes)."""

    BLOCKS = (
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    )  # fmt: skip
    """Kernel, hidden and output channels, whether it has gates and hardswish, stride."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 16, 3, 2, 1, hardswish, 1e-3)]
        channels = 16
        for kernel, hidden, out, gates, hard, stride in self.BLOCKS:
            layers.append(InvertedResidualV3(channels, kernel, hidden, out, gates, hard, stride))
            channels = out
        last = 6 * channels
        self.features = nn.Sequential(*layers, convolution(channels, last, 1, 1, 1, hardswish, 1e-3))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(last, 1024), nn.Hardswish(inplace=True), nn.Dropout(0.2, inplace=True), nn.Linear(1024, classes)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(image)).flatten(1))
