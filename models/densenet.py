"""DenseNet, with torchvision's `state_dict` keys: its weights load as they are."""

from collections import OrderedDict

import trtnet
from trtnet import Tensor, nn


class DenseLayer(nn.Module):
    """Of all that the block has so far, `growth` channels more."""

    def __init__(self, channels: int, growth: int, size: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, size * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(size * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(size * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(self.relu1(self.norm1(trtnet.cat(features, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    """Layers that each see what all before them gave."""

    def __init__(self, count: int, channels: int, growth: int, size: int) -> None:
        super().__init__()
        for index in range(count):
            self.add_module(f"denselayer{index + 1}", DenseLayer(channels + index * growth, growth, size))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return trtnet.cat(features, 1)


class Transition(nn.Sequential):
    """Half the channels, half the size."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, out, 1, bias=False)
        self.pool = nn.AvgPool2d(2, stride=2)


class DenseNet(nn.Module):
    """Image classification: `image` (batch, 3, H, W), normalized as ImageNet's -> logits (batch, classes)."""

    def __init__(
        self, blocks: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32, first: int = 64, classes: int = 1000
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(3, first, 7, stride=2, padding=3, bias=False),
                norm0=nn.BatchNorm2d(first),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        channels = first
        for number, count in enumerate(blocks, start=1):
            self.features.add_module(f"denseblock{number}", DenseBlock(count, channels, growth, 4))
            channels += count * growth
            if number < len(blocks):
                self.features.add_module(f"transition{number}", Transition(channels, channels // 2))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.relu(self.features(image))
        return self.classifier(nn.functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


def densenet121(classes: int = 1000) -> DenseNet:
    return DenseNet((6, 12, 24, 16), classes=classes)
