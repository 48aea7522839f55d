"""GoogLeNet (Szegedy et al. 2014), with torchvision's `state_dict` keys: its weights load as they are.

torchvision's file holds the auxiliary heads too: load it into `googlenet(aux_logits=True)`, which keeps them and, as
torchvision does in eval mode, does not run them; or leave them out with `load_weights(path, strict=False)`.
"""

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F

# for each inception module: in, 1×1, 3×3 reduced, 3×3, 5×5 reduced, 5×5, pool
SIZES = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class BasicConv2d(nn.Module):
    """A convolution without a bias, BatchNorm and ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class PlainConv2d(nn.Module):
    """A convolution with a bias and ReLU, as in the paper."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


class Inception(nn.Module):
    """Four ways side by side: 1×1; 1×1 and 3×3; 1×1 and `large`×`large`; a pool and 1×1.

    (batch, in, H, W) -> (batch, the sum of the ways' channels, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        conv_block: type = BasicConv2d,
        large: int = 3,
    ) -> None:
        super().__init__()
        self.branch1 = conv_block(in_channels, ch1x1, 1)
        self.branch2 = nn.Sequential(conv_block(in_channels, ch3x3red, 1), conv_block(ch3x3red, ch3x3, 3, padding=1))
        self.branch3 = nn.Sequential(
            conv_block(in_channels, ch5x5red, 1), conv_block(ch5x5red, ch5x5, large, padding=large // 2)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), conv_block(in_channels, pool_proj, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return trtnet.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """A classifier halfway, for training: (batch, in, H, W) -> logits (batch, classes)."""

    def __init__(self, in_channels: int, classes: int, conv_block: type = BasicConv2d, dropout: float = 0.7) -> None:
        super().__init__()
        self.conv = conv_block(in_channels, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))


class GoogLeNet(nn.Module):
    """Image classification: `image` (batch, 3, H, W), normalized as ImageNet's -> logits (batch, classes).

    As torchvision has it, with BatchNorm and 3×3 kernels where the paper has 5×5.

    Args:
        classes: how many.
        aux_logits: whether it has the auxiliary heads; `record(net, image=..., aux=True)` runs them too.
        transform_input: whether images normalized as ImageNet's are brought to -1..1 first, which torchvision's
            own weights ask for.
    """

    def __init__(
        self, classes: int = 1000, aux_logits: bool = False, transform_input: bool = False, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.transform_input = transform_input
        self.conv1 = BasicConv2d(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(*SIZES["3a"])
        self.inception3b = Inception(*SIZES["3b"])
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(*SIZES["4a"])
        self.inception4b = Inception(*SIZES["4b"])
        self.inception4c = Inception(*SIZES["4c"])
        self.inception4d = Inception(*SIZES["4d"])
        self.inception4e = Inception(*SIZES["4e"])
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(*SIZES["5a"])
        self.inception5b = Inception(*SIZES["5b"])
        self.aux1 = InceptionAux(512, classes) if aux_logits else None
        self.aux2 = InceptionAux(528, classes) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, classes)
        _initialize(self)

    def forward(self, image: Tensor, aux: bool = False) -> Tensor | dict[str, Tensor]:
        x = _rescaled(image) if self.transform_input else image
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = first = self.inception4a(x)
        x = second = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if not aux:
            return logits
        return {"logits": logits, "aux2": self.aux2(second), "aux1": self.aux1(first)}


class GoogLeNet2014(nn.Module):
    """The network of the paper, as Caffe's model zoo has it: 5×5 kernels, biases, local response normalization.

    `image` (batch, 3, H, W) -> logits (batch, classes). Modules are named as GoogLeNet's.
    """

    def __init__(self, classes: int = 1000, dropout: float = 0.4) -> None:
        super().__init__()
        self.conv1 = PlainConv2d(3, 64, 7, stride=2, padding=3)
        self.conv2 = PlainConv2d(64, 64, 1)
        self.conv3 = PlainConv2d(64, 192, 3, padding=1)
        self.norm = nn.LocalResponseNorm(5)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        for name, sizes in SIZES.items():
            setattr(self, f"inception{name}", Inception(*sizes, conv_block=PlainConv2d, large=5))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm(self.pool(self.conv1(image)))
        x = self.pool(self.norm(self.conv3(self.conv2(x))))
        for name in SIZES:
            x = getattr(self, f"inception{name}")(x)
            if name in ("3b", "4e"):
                x = self.pool(x)
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


def _rescaled(image: Tensor) -> Tensor:
    """ImageNet's normalization taken back, and 0..1 brought to -1..1."""
    channels = []
    for index, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        channels.append(image[:, index : index + 1] * (deviation / 0.5) + (mean - 0.5) / 0.5)
    return trtnet.cat(channels, 1)


def _initialize(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(module.weight, std=0.01)


def googlenet(classes: int = 1000, aux_logits: bool = False, transform_input: bool = False) -> GoogLeNet:
    return GoogLeNet(classes, aux_logits, transform_input)


def googlenet_2014(classes: int = 1000) -> GoogLeNet2014:
    return GoogLeNet2014(classes)
