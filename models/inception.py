"""Inception-v3 (Szegedy et al. 2015), with torchvision's `state_dict` keys: its weights load as they are.

torchvision's file holds the auxiliary head too: load it into `InceptionV3(aux_logits=True)`, which keeps it and, as
torchvision does in eval mode, does not run it; or leave it out with `load_weights(path, strict=False)`.
"""

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F

Pair = int | tuple[int, int]


class BasicConv2d(nn.Module):
    """A convolution without a bias, BatchNorm and ReLU; a kernel of odd sizes keeps the size where it is `padded`."""

    def __init__(self, channels: int, out: int, kernel: Pair, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = tuple(side // 2 if padded else 0 for side in sides)
        self.conv = nn.Conv2d(channels, out, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def shrink(channels: int, out: int, kernel: int) -> BasicConv2d:
    """Half the size."""
    return BasicConv2d(channels, out, kernel, stride=2, padded=False)


class InceptionA(nn.Module):
    """Four ways side by side: 1×1; 5×5; twice 3×3; a pool."""

    def __init__(self, channels: int, pooled: int, unit: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(channels, 4 * unit, 1)
        self.branch5x5_1 = BasicConv2d(channels, 3 * unit, 1)
        self.branch5x5_2 = BasicConv2d(3 * unit, 4 * unit, 5)
        self.branch3x3dbl_1 = BasicConv2d(channels, 4 * unit, 1)
        self.branch3x3dbl_2 = BasicConv2d(4 * unit, 6 * unit, 3)
        self.branch3x3dbl_3 = BasicConv2d(6 * unit, 6 * unit, 3)
        self.branch_pool = BasicConv2d(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return trtnet.cat([self.branch1x1(x), five, twice, pool], 1)


class InceptionB(nn.Module):
    """To half the size: 3×3; twice 3×3; a pool."""

    def __init__(self, channels: int, unit: int) -> None:
        super().__init__()
        self.branch3x3 = shrink(channels, 24 * unit, 3)
        self.branch3x3dbl_1 = BasicConv2d(channels, 4 * unit, 1)
        self.branch3x3dbl_2 = BasicConv2d(4 * unit, 6 * unit, 3)
        self.branch3x3dbl_3 = shrink(6 * unit, 6 * unit, 3)

    def forward(self, x: Tensor) -> Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return trtnet.cat([self.branch3x3(x), twice, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionC(nn.Module):
    """7×7 as 1×7 and 7×1: once, twice, and beside them 1×1 and a pool."""

    def __init__(self, channels: int, hidden: int, unit: int) -> None:
        super().__init__()
        out = 12 * unit
        self.branch1x1 = BasicConv2d(channels, out, 1)
        self.branch7x7_1 = BasicConv2d(channels, hidden, 1)
        self.branch7x7_2 = BasicConv2d(hidden, hidden, (1, 7))
        self.branch7x7_3 = BasicConv2d(hidden, out, (7, 1))
        self.branch7x7dbl_1 = BasicConv2d(channels, hidden, 1)
        self.branch7x7dbl_2 = BasicConv2d(hidden, hidden, (7, 1))
        self.branch7x7dbl_3 = BasicConv2d(hidden, hidden, (1, 7))
        self.branch7x7dbl_4 = BasicConv2d(hidden, hidden, (7, 1))
        self.branch7x7dbl_5 = BasicConv2d(hidden, out, (1, 7))
        self.branch_pool = BasicConv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return trtnet.cat([self.branch1x1(x), once, twice, pool], 1)


class InceptionD(nn.Module):
    """To half the size: 3×3; 7×7 and 3×3; a pool."""

    def __init__(self, channels: int, unit: int) -> None:
        super().__init__()
        hidden = 12 * unit
        self.branch3x3_1 = BasicConv2d(channels, hidden, 1)
        self.branch3x3_2 = shrink(hidden, 20 * unit, 3)
        self.branch7x7x3_1 = BasicConv2d(channels, hidden, 1)
        self.branch7x7x3_2 = BasicConv2d(hidden, hidden, (1, 7))
        self.branch7x7x3_3 = BasicConv2d(hidden, hidden, (7, 1))
        self.branch7x7x3_4 = shrink(hidden, hidden, 3)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return trtnet.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, stride=2)], 1)


class InceptionE(nn.Module):
    """3×3 as 1×3 beside 3×1: after 1×1, after 3×3, and beside them 1×1 and a pool."""

    def __init__(self, channels: int, unit: int) -> None:
        super().__init__()
        hidden = 24 * unit
        self.branch1x1 = BasicConv2d(channels, 20 * unit, 1)
        self.branch3x3_1 = BasicConv2d(channels, hidden, 1)
        self.branch3x3_2a = BasicConv2d(hidden, hidden, (1, 3))
        self.branch3x3_2b = BasicConv2d(hidden, hidden, (3, 1))
        self.branch3x3dbl_1 = BasicConv2d(channels, 28 * unit, 1)
        self.branch3x3dbl_2 = BasicConv2d(28 * unit, hidden, 3)
        self.branch3x3dbl_3a = BasicConv2d(hidden, hidden, (1, 3))
        self.branch3x3dbl_3b = BasicConv2d(hidden, hidden, (3, 1))
        self.branch_pool = BasicConv2d(channels, 12 * unit, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        ways = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        ways += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return trtnet.cat([self.branch1x1(x), *ways, pool], 1)


class InceptionAux(nn.Module):
    """The auxiliary head. torchvision runs it while training alone."""

    def __init__(self, channels: int, classes: int, unit: int) -> None:
        super().__init__()
        self.conv0 = BasicConv2d(channels, 8 * unit, 1)
        self.conv1 = BasicConv2d(8 * unit, 48 * unit, 5, padded=False)
        self.fc = nn.Linear(48 * unit, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(F.avg_pool2d(x, 5, stride=3)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class InceptionV3(nn.Module):
    """Image classification: `image` (batch, 3, H, W), 75 pixels or more -> logits (batch, classes).

    torchvision's weights want 299×299 in -1..1, or `transform_input` and what is normalized as ImageNet's. All channels
    are multiples of `unit`: 16 in the paper. `record(net, image=..., aux=True)` gives the auxiliary head's logits too.
    """

    def __init__(
        self, classes: int = 1000, aux_logits: bool = False, transform_input: bool = False, unit: int = 16
    ) -> None:
        super().__init__()
        self.transform_input = transform_input
        self.Conv2d_1a_3x3 = shrink(3, 2 * unit, 3)
        self.Conv2d_2a_3x3 = BasicConv2d(2 * unit, 2 * unit, 3, padded=False)
        self.Conv2d_2b_3x3 = BasicConv2d(2 * unit, 4 * unit, 3)
        self.Conv2d_3b_1x1 = BasicConv2d(4 * unit, 5 * unit, 1)
        self.Conv2d_4a_3x3 = BasicConv2d(5 * unit, 12 * unit, 3, padded=False)
        self.Mixed_5b = InceptionA(12 * unit, 2 * unit, unit)
        self.Mixed_5c = InceptionA(16 * unit, 4 * unit, unit)
        self.Mixed_5d = InceptionA(18 * unit, 4 * unit, unit)
        self.Mixed_6a = InceptionB(18 * unit, unit)
        self.Mixed_6b = InceptionC(48 * unit, 8 * unit, unit)
        self.Mixed_6c = InceptionC(48 * unit, 10 * unit, unit)
        self.Mixed_6d = InceptionC(48 * unit, 10 * unit, unit)
        self.Mixed_6e = InceptionC(48 * unit, 12 * unit, unit)
        self.AuxLogits = InceptionAux(48 * unit, classes, unit) if aux_logits else None
        self.Mixed_7a = InceptionD(48 * unit, unit)
        self.Mixed_7b = InceptionE(80 * unit, unit)
        self.Mixed_7c = InceptionE(128 * unit, unit)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(128 * unit, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.1)

    def forward(self, image: Tensor, aux: bool = False) -> Tensor | dict[str, Tensor]:
        x = rescaled(image) if self.transform_input else image
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2))
        x = F.max_pool2d(self.Conv2d_4a_3x3(x), 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = before = self.Mixed_6e(self.Mixed_6d(x))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        logits = self.fc(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))
        return {"logits": logits, "aux": self.AuxLogits(before)} if aux else logits


def rescaled(image: Tensor) -> Tensor:
    """ImageNet's normalization taken back, and 0..1 brought to -1..1."""
    mean = trtnet.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = trtnet.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    return image * (deviation / 0.5) + (mean - 0.5) / 0.5
