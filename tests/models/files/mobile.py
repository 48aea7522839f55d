"""Inverted residuals: depthwise convolutions, squeeze and excitation, hard activations, a width rounded to eight."""

from functools import partial
from typing import Callable, List, Optional

import torch
from torch import nn
from torch.nn import functional as F


def divisible(v: float, divisor: int = 8) -> int:
    new = max(divisor, int(v + divisor / 2) // divisor * divisor)
    return new + divisor if new < 0.9 * v else new


class ConvNormActivation(nn.Sequential):
    def __init__(self, i: int, o: int, kernel: int = 3, stride: int = 1, groups: int = 1, norm: Optional[Callable[..., nn.Module]] = None,
                 act: Optional[Callable[..., nn.Module]] = nn.ReLU) -> None:  # fmt: skip
        layers: List[nn.Module] = [nn.Conv2d(i, o, kernel, stride, (kernel - 1) // 2, groups=groups, bias=norm is None)]
        if norm is not None:
            layers.append(norm(o))
        if act is not None:
            layers.append(act(inplace=True))
        super().__init__(*layers)
        self.out_channels = o


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, rate: float = 0.25) -> None:
        super().__init__()
        inner = divisible(channels * rate)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.fc2 = nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        s = self.fc2(F.relu(self.fc1(self.avgpool(x)), inplace=True))
        return F.hardsigmoid(s, inplace=True) * x


class InvertedResidual(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expand: int, norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        hidden = i * expand
        self.use_residual = stride == 1 and i == o
        layers = [] if expand == 1 else [ConvNormActivation(i, hidden, 1, norm=norm, act=nn.Hardswish)]
        layers += [ConvNormActivation(hidden, hidden, 5, stride, hidden, norm, nn.ReLU6), SqueezeExcite(hidden)]
        layers += [ConvNormActivation(hidden, o, 1, norm=norm, act=None)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv(x)
        if self.use_residual:
            out += x
        return out


class Mobile(nn.Module):
    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        self.features = nn.Sequential(ConvNormActivation(3, 8, stride=2, norm=norm, act=nn.SiLU))
        for index, (o, stride, expand) in enumerate(((8, 1, 1), (16, 2, 3), (16, 1, 3))):
            self.features.add_module(
                f"block{index}",
                InvertedResidual(self.features[-1].out_channels if index == 0 else last, o, stride, expand, norm),
            )
            last = o
        self.classifier = nn.Sequential(nn.Dropout(p=0.2, inplace=True), nn.Linear(16, classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)

    def _forward_impl(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))

    @torch.jit.export
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward_impl(x)


def build():
    return Mobile()


INPUTS = {"x": ((2, 3, 33, 33), ("batch", 3, 33, 33))}
