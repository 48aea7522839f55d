"""CleanRL's single-file PPO on CartPole-v1, whose rollouts a trtnet engine acts; PyTorch learns, and refits it.

    pip install 'trtnet[rl]'
    python examples/cleanrl_ppo.py --curve ppo.png

After ppo.py of CleanRL (Huang et al. 2022). The engine is the agent's actor, recorded as it is: `prefix` takes its part
of the agent's weights at each iteration. The values of a rollout are the learner's, computed in one batch.
"""

import numpy as np
from _needs import packages

import trtnet

with packages("trtnet[rl]", of=__name__):
    import gymnasium as gym
    import torch
    from _curve import report
    from torch import distributions, nn

ENVS, STEPS, EPOCHS, BATCHES, GAMMA, LAMBDA, CLIP, RATE = 8, 128, 6, 4, 0.98, 0.95, 0.2, 2e-3


def layers(outputs: int, std: float) -> nn.Sequential:
    made = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))
    for layer, gain in zip(made[::2], (2**0.5, 2**0.5, std)):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return made


class Agent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic, self.actor = layers(1, 1.0), layers(2, 0.01)


def train(iterations: int = 120, seed: int = 1) -> tuple[Agent, trtnet.Engine, list[tuple[int, float]]]:
    """The agent, the engine, and the mean return of the last 100 episodes by steps."""
    torch.manual_seed(seed)
    mode, agent = gym.vector.AutoresetMode.SAME_STEP, Agent()
    envs = gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")] * ENVS, autoreset_mode=mode)
    optimizer = torch.optim.Adam(agent.parameters(), lr=RATE, eps=1e-5)
    engine = trtnet.build(trtnet.record(agent.actor, input=trtnet.Input((ENVS, 4))), refit=True)
    obs, curve, finished, running = torch.tensor(envs.reset(seed=seed)[0]), [], [0.0], np.zeros(ENVS)
    for iteration in range(iterations):
        optimizer.param_groups[0]["lr"] = RATE * (1 - iteration / iterations)
        engine.refit(agent, prefix="actor.", version=iteration)
        rows: list[tuple[torch.Tensor, ...]] = []
        for _ in range(STEPS):
            chances = distributions.Categorical(logits=engine(obs))
            action = chances.sample()
            following, reward, terminated, truncated, _ = envs.step(action.numpy())
            done, running = terminated | truncated, running + reward
            finished, running = [*finished, *running[done]], running * ~done
            rows.append((obs, action, chances.log_prob(action), *map(torch.tensor, (reward.astype("f4"), done))))
            obs = torch.tensor(following)
        all_obs, actions, log_probs, rewards, dones = (torch.stack(column) for column in zip(*rows))
        with torch.no_grad():
            values = agent.critic(torch.cat([all_obs, obs[None]]))[..., 0]
        gains, gain = torch.zeros_like(rewards), torch.zeros(ENVS)
        for t in reversed(range(STEPS)):
            delta = rewards[t] + GAMMA * values[t + 1] * ~dones[t] - values[t]
            gains[t] = gain = delta + GAMMA * LAMBDA * ~dones[t] * gain
        columns = [c.flatten(0, 1) for c in (all_obs, actions, log_probs, gains, gains + values[:-1])]
        for chosen in (i for _ in range(EPOCHS) for i in torch.randperm(ENVS * STEPS).chunk(BATCHES)):
            o, a, old, g, returns = (column[chosen] for column in columns)
            g = (g - g.mean()) / (g.std() + 1e-8)
            ratio = (distributions.Categorical(logits=agent.actor(o)).log_prob(a) - old).exp()
            policy = -torch.min(g * ratio, g * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
            optimizer.zero_grad()
            (policy + 0.25 * (agent.critic(o)[:, 0] - returns).square().mean()).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
        curve.append(((iteration + 1) * ENVS * STEPS, float(np.mean(finished[-100:]))))
    return agent, engine, curve


if __name__ == "__main__":
    report(__doc__, "CartPole-v1, PPO", train)
