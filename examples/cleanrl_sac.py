"""CleanRL's single-file SAC on Pendulum-v1, whose actions come from a trtnet engine; PyTorch learns, and refits it.

    pip install 'trtnet[rl]'
    python examples/cleanrl_sac.py --curve sac.png

After sac_continuous_action.py of CleanRL (Huang et al. 2022). The actor's noise is an input: the engine draws nothing,
and what it answered can be computed again. The learner calls the same actor, with noise of its own.
"""

import copy

import numpy as np
from _needs import packages

import trtnet

with packages("trtnet[rl]", of=__name__):
    import gymnasium as gym
    import torch
    from _curve import report
    from torch import nn

BATCH, GAMMA, TAU, START, SCALE = 128, 0.99, 0.005, 500, 2.0


def layers(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))


class Actor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_std = layers(3), layers(3)

    def forward(self, obs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Observations and standard normal noise to actions, and the logarithms of their densities."""
        log_std = -5 + 3.5 * (torch.tanh(self.log_std(obs)) + 1)
        action = torch.tanh(self.mean(obs) + log_std.exp() * noise)
        return SCALE * action, -0.5 * noise**2 - log_std - 0.919 - torch.log(SCALE * (1 - action**2) + 1e-6)


def train(steps: int = 8000, seed: int = 1) -> tuple[nn.ModuleDict, trtnet.Engine, list[tuple[int, float]]]:
    """The agent, the engine, and the mean return of the last 10 episodes by steps."""
    torch.manual_seed(seed)
    agent = nn.ModuleDict({"actor": Actor(), "critics": nn.ModuleList([layers(4), layers(4)])})
    actor, critics, targets = agent["actor"], agent["critics"], copy.deepcopy(agent["critics"]).requires_grad_(False)
    log_alpha = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([*agent.parameters(), log_alpha], lr=1e-3)
    engine = trtnet.build(trtnet.record(actor, obs=trtnet.Input((1, 3)), noise=trtnet.Input((1, 1))), refit=True)
    env, buffer, curve, returns = gym.make("Pendulum-v1"), torch.zeros(steps, 8), [], [0.0]
    obs = env.reset(seed=seed)[0]
    for step in range(steps):
        action, _ = engine(obs=obs[None], noise=torch.randn(1, 1).numpy())
        following, reward, _, truncated, _ = env.step(action[0])  # it never terminates
        buffer[step] = torch.from_numpy(np.concatenate([obs, action[0], [reward], following]))
        obs, returns[-1] = following, returns[-1] + float(reward)
        if truncated:
            curve.append((step + 1, float(np.mean(returns[-10:]))))
            obs, returns = env.reset()[0], [*returns, 0.0]
        if step < START:
            continue
        before, rewards, after = buffer[torch.randint(step + 1, (BATCH,))].split([4, 1, 3], 1)
        alpha = log_alpha.exp().detach()
        with torch.no_grad():
            actions, log_prob = actor(after, torch.randn(BATCH, 1))
            value = torch.min(*[q(torch.cat([after, actions], 1)) for q in targets]) - alpha * log_prob
        optimizer.zero_grad()
        sum((q(before) - rewards - GAMMA * value).square().mean() for q in critics).backward()
        actions, log_prob = actor(before[:, :3], torch.randn(BATCH, 1))
        value = torch.min(*[q(torch.cat([before[:, :3], actions], 1)) for q in critics]) - alpha * log_prob
        (-value).mean().backward(inputs=list(actor.parameters()))
        (-log_alpha.exp() * (log_prob.detach() - 1).mean()).backward()  # towards an entropy of -1
        optimizer.step()
        torch._foreach_lerp_([*targets.parameters()], [one.data for one in critics.parameters()], TAU)
        engine.refit(agent, prefix="actor.", version=step)
    return agent, engine, curve


if __name__ == "__main__":
    report(__doc__, "Pendulum-v1, SAC", train)
