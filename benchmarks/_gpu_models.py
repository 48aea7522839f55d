"""The networks of gpu.py in plain PyTorch: for the weights, PyTorch eager and torch.compile. Needs torch alone; for
those of `models/`, whose imports it swaps, trtnet too."""

from __future__ import annotations

import importlib
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {
    "policy": (64,), "mlp42m": (1024,), "lenet": (1, 28, 28), "resnet18": (3, 224, 224), "googlenet": (3, 224, 224),
}  # fmt: skip
SIZES = {"policy": (64, 256, 256, 8), "mlp42m": (1024, 4096, 4096, 4096, 1024)}
QUICK_SIZES = {"policy": (64, 256, 256, 8), "mlp42m": (64, 128, 64)}


def sizes(name: str, quick: bool) -> tuple[int, ...]:
    """The features of an MLP's layers."""
    return (QUICK_SIZES if quick else SIZES)[name]


def shape(name: str, quick: bool) -> tuple[int, ...]:
    """The input's shape without the batch."""
    if name in SIZES:
        return (sizes(name, quick)[0],)
    found = SHAPES[name]
    return (3, 64, 64) if quick and found[0] == 3 else found


class MLP(nn.Module):
    def __init__(self, features: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(features):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return F.softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), dim=1)


class BasicBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + identity, inplace=True)


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for number, after in enumerate((64, 128, 256, 512), start=1):
            stride = 1 if number == 1 else 2
            blocks = BasicBlock(before, after, stride), BasicBlock(after, after, 1)
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            before = after
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class BasicConv2d(nn.Module):
    def __init__(self, before: int, after: int, size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


# input channels, then those of 1×1; 3×3 (reduced, full); 5×5 as torchvision has it, which is 3×3 too; the pool's 1×1
INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


class Inception(nn.Module):
    def __init__(self, c: int, one: int, few3: int, three: int, few5: int, five: int, pool: int) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(c, one, 1)
        self.branch2 = nn.Sequential(BasicConv2d(c, few3, 1), BasicConv2d(few3, three, 3, 1, 1))
        self.branch3 = nn.Sequential(BasicConv2d(c, few5, 1), BasicConv2d(few5, five, 3, 1, 1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), BasicConv2d(c, pool, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, 64, 7, 2, 3)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, 1, 1)
        for name, channels in INCEPTIONS.items():
            setattr(self, f"inception{name}", Inception(*channels))
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        for name in INCEPTIONS:
            x = getattr(self, f"inception{name}")(x)
            if name == "3b":
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            elif name == "4e":
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def make(name: str, quick: bool) -> nn.Module:
    """The network, ready for inference."""
    if name in SIZES:
        return MLP(sizes(name, quick)).eval()
    if name.startswith("models/"):
        return network(name.removeprefix("models/"))
    return {"lenet": LeNet, "resnet18": ResNet18, "googlenet": GoogLeNet}[name]().eval()


def network(name: str, seed: int = 0) -> nn.Module:
    """A network of `models/` as one of torch's, with random weights, and statistics that are not trivial."""
    root = Path(__file__).resolve().parents[1]
    for folder in (root / "tests" / "helpers", root):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    from swapped_models import swapped

    from models import NETWORKS

    file, _, made_by = NETWORKS[name].made_by.partition(":")
    torch.manual_seed(seed)
    model: nn.Module = getattr(swapped(importlib.import_module(f"models.{file}")), made_by)().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 1.5)
                module.running_mean.normal_(std=0.1)
    return model


def first(result: Any) -> torch.Tensor:
    """The first tensor of what a network gives."""
    while not isinstance(result, torch.Tensor):
        result = next(iter(result.values())) if isinstance(result, dict) else result[0]
    return result


def trained(name: str, quick: bool, seed: int = 0) -> nn.Module:
    """The network with weights as after training: variances kept from layer to layer, statistics of real passes."""
    torch.manual_seed(seed)
    model = make(name, quick)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.05)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        model.train()
        with torch.no_grad():
            model(torch.randn(4, *shape(name, quick)))
    return model.eval()


def without_tf32() -> None:
    """float32 is float32, and cuDNN looks for its fastest kernels."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
