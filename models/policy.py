"""Policies for reinforcement learning: a multilayer perceptron, a small convolutional network, a squashed Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import trtnet
from trtnet import functional as F
from trtnet import nn

Result = dict[str, trtnet.Tensor]


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float = 2**0.5) -> nn.Linear | nn.Conv2d:
    """Orthogonal weights and a bias of zero, as is usual for PPO (Engstrom et al. 2020, "Implementation Matters")."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class MLPPolicy(nn.Module):
    """Observations (batch, observations) to logits (batch, actions) and value (batch,).

    Actor and critic share nothing; each has `hidden` layers with tanh between them.
    """

    def __init__(self, observations: int, actions: int, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.actor = self._layers(observations, hidden, actions, 0.01)
        self.critic = self._layers(observations, hidden, 1, 1.0)

    @staticmethod
    def _layers(before: int, hidden: Sequence[int], after: int, gain: float) -> nn.Sequential:
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [orthogonal(nn.Linear(before, size)), nn.Tanh()]
            before = size
        return nn.Sequential(*layers, orthogonal(nn.Linear(before, after), gain))

    def forward(self, observation: trtnet.Tensor) -> Result:
        return {"logits": self.actor(observation), "value": self.critic(observation).squeeze(-1)}


class ConvPolicy(nn.Module):
    """Images (batch, channels, 84, 84) from 0 to 1 to logits (batch, actions) and value (batch,).

    The convolutions are those of Mnih et al. 2013 (16 and 32 maps); actor and critic share them.
    """

    def __init__(self, channels: int, actions: int, features: int = 256) -> None:
        super().__init__()
        self.conv1 = orthogonal(nn.Conv2d(channels, 16, 8, stride=4))
        self.conv2 = orthogonal(nn.Conv2d(16, 32, 4, stride=2))
        self.fc = orthogonal(nn.Linear(32 * 9 * 9, features))
        self.actor = orthogonal(nn.Linear(features, actions), 0.01)
        self.critic = orthogonal(nn.Linear(features, 1), 1.0)

    def forward(self, image: trtnet.Tensor) -> Result:
        x = F.relu(self.conv2(F.relu(self.conv1(image))))
        x = F.relu(self.fc(x.flatten(1)))
        return {"logits": self.actor(x), "value": self.critic(x).squeeze(-1)}


class GaussianPolicy(nn.Module):
    """Observations (batch, observations) and standard normal noise (batch, actions) to action and log_prob, (batch,).

    A normal distribution, squashed by tanh to the actions between `low` and `high`, as soft actor-critic has it
    (Haarnoja et al. 2018, arXiv:1812.05905, appendix C). Noise of zeros gives the squashed mean. The range is kept as
    buffers, which are weights like others.
    """

    scale: trtnet.Tensor
    center: trtnet.Tensor

    def __init__(self, observations: int, low: Sequence[float], high: Sequence[float], hidden: int = 64) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(observations, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )  # fmt: skip
        self.mean = nn.Linear(hidden, len(low))
        self.log_std = nn.Linear(hidden, len(low))
        least, most = np.asarray(low, np.float32), np.asarray(high, np.float32)
        self.register_buffer("scale", (most - least) / 2)
        self.register_buffer("center", (most + least) / 2)

    def forward(self, observation: trtnet.Tensor, noise: trtnet.Tensor) -> Result:
        features = self.trunk(observation)
        log_std = -5 + 3.5 * (F.tanh(self.log_std(features)) + 1)  # from -5 to 2
        before = self.mean(features) + F.exp(log_std) * noise
        squashed = F.tanh(before)
        # log(1 - tanh(x)**2) is 2*(log(2) - x - softplus(-2*x)), which keeps its digits far from 0
        slope = 2 * (math.log(2) - before - F.softplus(-2 * before))
        log_prob = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi) - F.log(self.scale) - slope
        return {"action": self.center + self.scale * squashed, "log_prob": log_prob.sum(-1)}
