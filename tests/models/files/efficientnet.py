"""Inverted bottlenecks with squeeze and excitation, SiLU and stochastic depth, scaled in width and depth."""

import math
from dataclasses import dataclass

import torch
from torch import nn, Tensor


def stochastic_depth(input: Tensor, p: float, training: bool = True) -> Tensor:
    if not training or p == 0.0:
        return input
    survival = 1.0 - p
    noise = torch.empty([input.shape[0]] + [1] * (input.ndim - 1), dtype=input.dtype, device=input.device)
    return input * noise.bernoulli_(survival).div_(survival)


class StochasticDepth(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return stochastic_depth(input, self.p, self.training)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeeze: int, activation=nn.SiLU) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, channels, 1)
        self.activation = activation(inplace=True)
        self.scale_activation = nn.Sigmoid()

    def forward(self, input: Tensor) -> Tensor:
        scale = self.avgpool(input)
        scale = self.scale_activation(self.fc2(self.activation(self.fc1(scale))))
        return scale * input


@dataclass
class Stage:
    expand: int
    kernel: int
    stride: int
    i: int
    o: int
    layers: int


def conv(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True) -> nn.Sequential:
    layers = [
        nn.Conv2d(i, o, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(o, eps=1e-3),
    ]
    return nn.Sequential(*layers, *([nn.SiLU(inplace=True)] if activation else []))


class MBConv(nn.Module):
    def __init__(self, stage: Stage, i: int, stride: int, depth_rate: float) -> None:
        super().__init__()
        self.use_res_connect = stride == 1 and i == stage.o
        hidden = i * stage.expand
        layers = [] if hidden == i else [conv(i, hidden, 1)]
        layers += [conv(hidden, hidden, stage.kernel, stride, hidden), SqueezeExcitation(hidden, max(1, i // 4))]
        self.block = nn.Sequential(*layers, conv(hidden, stage.o, 1, activation=False))
        self.stochastic_depth = StochasticDepth(depth_rate)

    def forward(self, input: Tensor) -> Tensor:
        result = self.block(input)
        if self.use_res_connect:
            result = self.stochastic_depth(result)
            result += input
        return result


class EfficientNet(nn.Module):
    def __init__(self, width: float = 0.5, depth: float = 1.1, classes: int = 10) -> None:
        super().__init__()
        rounded = lambda c: max(8, int(c * width + 4) // 8 * 8)  # noqa: E731
        stages = [Stage(1, 3, 1, 32, 16, 1), Stage(6, 3, 2, 16, 24, 2), Stage(6, 5, 2, 24, 40, 1)]
        stages = [
            Stage(s.expand, s.kernel, s.stride, rounded(s.i), rounded(s.o), math.ceil(s.layers * depth)) for s in stages
        ]
        layers = [conv(3, stages[0].i, 3, 2)]
        count, done = sum(s.layers for s in stages), 0
        for stage in stages:
            blocks = []
            for n in range(stage.layers):
                first = n == 0
                blocks.append(
                    MBConv(stage, stage.i if first else stage.o, stage.stride if first else 1, 0.2 * done / count)
                )
                done += 1
            layers.append(nn.Sequential(*blocks))
        last = stages[-1].o
        layers.append(conv(last, 4 * last, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(4 * last, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def build():
    return EfficientNet()


INPUTS = {"x": ((2, 3, 32, 32), ("batch", 3, 32, 32))}
