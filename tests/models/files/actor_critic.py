"""A policy for continuous and discrete actions: running statistics, a convolutional torso, clamped deviations."""

import numpy as np
import torch
import torch.nn as nn


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class RunningMeanStd(nn.Module):
    def __init__(self, size, epsilon=1e-5):
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))
        self.register_buffer("count", torch.ones(()))

    def forward(self, x):
        if self.training:
            self.running_mean = x.mean(0)
        y = (x - self.running_mean.float()) / torch.sqrt(self.running_var.float() + self.epsilon)
        return torch.clamp(y, min=-5.0, max=5.0)


class ActorCritic(nn.Module):
    LOG_STD_MAX, LOG_STD_MIN = 2, -5

    def __init__(self, observations=11, actions=3, choices=4):
        super().__init__()
        self.normalize = RunningMeanStd((observations,))
        self.network = nn.Sequential(
            layer_init(nn.Conv2d(4, 8, 4, stride=2)),
            nn.ReLU(),
            layer_init(nn.Conv2d(8, 8, 3, stride=1)),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            features = self.network(torch.zeros(1, 4, 12, 12)).shape[1]
        self.trunk = nn.Sequential(
            layer_init(nn.Linear(features + observations, 32)), nn.Tanh(), layer_init(nn.Linear(32, 32)), nn.ELU()
        )
        self.critic = layer_init(nn.Linear(32, 1), std=1)
        self.actor_mean = layer_init(nn.Linear(32, actions), std=0.01)
        self.actor_logstd = nn.Parameter(torch.zeros(1, actions))
        self.log_std = layer_init(nn.Linear(32, actions))
        self.q_values = layer_init(nn.Linear(32, choices))

    @torch.no_grad()
    def forward(self, frames, observation):
        x = torch.cat([self.network(frames.to(observation.dtype) / 255.0), self.normalize(observation)], dim=-1)
        hidden = self.trunk(x)
        mean = self.actor_mean(hidden)
        log_std = torch.tanh(self.log_std(hidden))
        log_std = self.LOG_STD_MIN + 0.5 * (self.LOG_STD_MAX - self.LOG_STD_MIN) * (log_std + 1)
        spread = (self.actor_logstd.expand_as(mean) + log_std).exp()
        q = self.q_values(hidden)
        best = q.max(dim=1)
        greedy = torch.where(best.values > 0, best.indices, torch.zeros_like(best.indices))
        advantage = q - q.mean(dim=-1, keepdim=True)
        return {
            "value": self.critic(hidden).squeeze(-1),
            "mean": mean,
            "spread": spread,
            "greedy": greedy,
            "advantage": advantage,
        }


def build():
    return ActorCritic()


INPUTS = {"frames": ((2, 4, 12, 12), ("batch", 4, 12, 12), "bytes"), "observation": ((2, 11), ("batch", 11))}
