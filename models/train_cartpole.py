"""Trains a policy on CartPole-v1 by PPO: a PyTorch learner, and actors that are trtnet engines.

    pip install 'trtnet[rl]'
    python models/train_cartpole.py --device cpu --weights refit
    python models/train_cartpole.py --fleet 2

The learner is `trtnet.to_torch(graph)`; the actor is an engine of the same graph. After each update the actor gets the
learner's weights: by `refit`, or not at all because they are `live` (the engine reads the learner's own tensors), or by
`rebuild`ing the engine, as is done where weights are constants. With `--fleet N` there are N actors in processes of
their own, which follow the weights that the learner publishes in shared memory (`--where`: or elsewhere). It stops at a
mean return of 475 over 100 episodes, draws the learning curve, and prints where the time went.

PPO as in Schulman et al. 2017 (arXiv:1707.06347), with generalised advantages (arXiv:1506.02438). Under ten seconds on
two cores.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from policy import MLPPolicy
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import trtnet

try:
    import torch
    import train_common as common
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    print(f"error: {error}\n  remedy:   pip install 'trtnet[rl]'", file=sys.stderr)
    sys.exit(2)

ROOT = Path(__file__).resolve().parent.parent
SOLVED = 475.0
EPISODES = 100


@dataclass
class Settings:
    """How PPO runs. `envs * steps` transitions make one iteration."""

    envs: int = 16
    steps: int = 64
    epochs: int = 8
    minibatches: int = 4
    learning_rate: float = 2e-3
    gamma: float = 0.98
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    max_norm: float = 0.5
    most_steps: int = 400_000


@dataclass
class Rollout:
    """What the actors saw and did: arrays of (steps, envs, ...), and the values that follow the last step."""

    observations: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray
    last_values: np.ndarray


def sample(logits: np.ndarray, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Actions, and the logarithms of their probabilities."""
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    actions = (log_probs + chance.gumbel(size=logits.shape)).argmax(axis=1)
    return actions, log_probs[np.arange(len(actions)), actions]


class Actors(common.Actors):
    """Environments, and the engine that acts in them."""

    def __init__(self, engine: trtnet.Engine, settings: Settings, seed: int) -> None:
        super().__init__(engine, "CartPole-v1", settings.envs, seed, EPISODES)
        self.settings = settings

    def rollout(self) -> Rollout:
        rows: dict[str, list[np.ndarray]] = {k: [] for k in ("obs", "action", "log_prob", "value", "reward", "end")}
        for _ in range(self.settings.steps):
            answer = self.engine(observation=self.observations)
            actions, log_probs = sample(answer["logits"], self.chance)
            observations, rewards, terminated, truncated, info = self.envs.step(actions)
            self.returns += rewards
            ends = terminated | truncated
            self.finished.extend(self.returns[ends])
            self.returns[ends] = 0.0
            if truncated.any():  # the time limit ends an episode, but not what could have followed
                final = np.stack([info["final_obs"][i] for i in np.flatnonzero(truncated)]).astype(np.float32)
                rewards = rewards + 0.0
                rewards[truncated] += self.settings.gamma * self.engine(observation=final)["value"]
            for row, value in zip(
                rows.values(), (self.observations, actions, log_probs, answer["value"], rewards, ends)
            ):
                row.append(value)
            self.observations = observations
        last = self.engine(observation=self.observations)["value"]
        return Rollout(*(np.stack(row) for row in rows.values()), last)


def record(settings: Settings) -> trtnet.Graph:
    return trtnet.record(
        MLPPolicy(4, 2), observation=trtnet.Input((trtnet.Dim("batch", min=1, opt=settings.envs, max=1024), 4))
    )


def actors_of(settings: Settings, envs: int, device: str, seed: int) -> Actors:
    return Actors(common.build(record(settings), "refit", device), replace(settings, envs=envs), seed)


class Fleet(common.Fleet):
    """Actors in processes, which share the environments out and follow one publisher: in place of `Actors`."""

    def __init__(self, graph: trtnet.Graph, settings: Settings, count: int, where: str, device: str, seed: int) -> None:
        makers = [
            functools.partial(actors_of, settings, envs, device, seed + 1000 * number)
            for number, envs in enumerate(common.shares(settings.envs, count))
        ]
        super().__init__(graph, where, makers, EPISODES)

    def rollout(self) -> Rollout:
        self.ask()
        answers = self.answers()
        columns = ([getattr(rollout, row.name) for rollout in answers] for row in fields(Rollout))
        return Rollout(*(np.concatenate(parts, axis=min(1, parts[0].ndim - 1)) for parts in columns))


def advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> np.ndarray:
    """Generalised advantages (steps, envs): sums of discounted temporal differences within each episode."""
    result = np.zeros_like(rollout.rewards)
    running, following = np.zeros_like(rollout.last_values), rollout.last_values
    for step in reversed(range(len(result))):
        goes_on = 1.0 - rollout.ends[step]
        difference = rollout.rewards[step] + gamma * following * goes_on - rollout.values[step]
        running = difference + gamma * gae_lambda * goes_on * running
        result[step], following = running, rollout.values[step]
    return result


def ppo_loss(
    answer: dict[str, torch.Tensor],
    actions: torch.Tensor,
    old_log_probs: torch.Tensor,
    gains: torch.Tensor,
    returns: torch.Tensor,
    settings: Settings,
) -> torch.Tensor:
    """The clipped surrogate, the value's squared error and the entropy, of one minibatch."""
    log_probs = answer["logits"].log_softmax(-1)
    ratio = (log_probs.gather(-1, actions[:, None])[:, 0] - old_log_probs).exp()
    clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
    policy = -torch.minimum(ratio * gains, clipped * gains).mean()
    value = 0.5 * (answer["value"] - returns).square().mean()
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    return policy + settings.value_weight * value - settings.entropy_weight * entropy


class Learner:
    """The policy in PyTorch, and its optimiser."""

    def __init__(self, graph: trtnet.Graph, settings: Settings, device: str, seed: int) -> None:
        self.module = trtnet.to_torch(graph).to(device)
        self.settings = settings
        self.device = device
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=settings.learning_rate, eps=1e-5)
        self.generator = torch.Generator().manual_seed(seed)

    def update(self, rollout: Rollout, left: float) -> None:
        """Some epochs over a rollout; `left` is the share of training that is left, and scales the learning rate."""
        settings = self.settings
        gains = advantages(rollout, settings.gamma, settings.gae_lambda)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * left
        columns = (rollout.observations, rollout.actions, rollout.log_probs, gains, gains + rollout.values)
        tensors = [torch.from_numpy(c.reshape(-1, *c.shape[2:])).to(self.device) for c in columns]
        observations, actions, log_probs, flat_gains, returns = (
            t if t.dtype == torch.int64 else t.float() for t in tensors
        )
        for _ in range(settings.epochs):
            order = torch.randperm(len(actions), generator=self.generator).to(self.device)
            for chosen in order.chunk(settings.minibatches):
                g = flat_gains[chosen]
                g = (g - g.mean()) / (g.std() + 1e-8)
                loss = ppo_loss(
                    self.module(observations[chosen]), actions[chosen], log_probs[chosen], g, returns[chosen], settings
                )
                self.optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.module.parameters(), settings.max_norm)
                self.optimizer.step()


def train(
    settings: Settings,
    weights: str = "refit",
    device: str = "cpu",
    seed: int = 0,
    console: Console | None = None,
    fleet: int = 0,
    where: str = "",
    tensorboard: Path | None = None,
) -> common.Outcome:
    """Train; with `fleet` actors in processes, which follow `where` (by default shared memory of this process's)."""
    trtnet.manual_seed(seed)
    graph, scalars = record(settings), common.Scalars(tensorboard)
    if not fleet:
        return _train(graph, settings, weights, device, seed, console, None, scalars)
    where = where or f"shm:cartpole-{os.getpid()}"
    with Fleet(graph, settings, fleet, where, device, seed) as actors:
        return _train(graph, settings, "refit", device, seed, console, actors, scalars)


def _train(
    graph: trtnet.Graph,
    settings: Settings,
    weights: str,
    device: str,
    seed: int,
    console: Console | None,
    fleet: Fleet | None,
    scalars: common.Scalars,
) -> common.Outcome:
    learner, engine = Learner(graph, settings, device, seed), common.build(graph, weights, device)
    if weights == "live":
        engine.bind_weights(learner.module)
    actors = Actors(engine, settings, seed) if fleet is None else fleet
    if fleet is not None:
        fleet.publish(learner.module.state_dict(), version=0)
    outcome = common.Outcome(learner.module, engine)
    times, started = outcome.times, time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=settings.most_steps)
        steps = 0
        while steps < settings.most_steps and not outcome.solved:
            with times.spent("rollout"):
                rollout = actors.rollout()
            with times.spent("learning"):
                learner.update(rollout, 1 - steps / settings.most_steps)
                if device != "cpu":
                    torch.cuda.synchronize()
            with times.spent("weights"):
                state = learner.module.state_dict()
                if isinstance(actors, Fleet):
                    actors.publish(state, version=len(outcome.steps) + 1)
                elif weights == "refit":
                    engine.refit(state)
                elif weights == "rebuild":
                    graph.load_state_dict({name: value.cpu() for name, value in state.items()})
                    outcome.engine = actors.engine = common.build(graph, weights, device)
            steps += settings.envs * settings.steps
            mean = float(np.mean(actors.finished)) if actors.finished else 0.0
            outcome.steps.append(steps)
            outcome.returns.append(mean)
            outcome.solved = len(actors.finished) == EPISODES and mean >= SOLVED
            scalars.add(outcome, actors)
            speed, share = steps / times.total, times.weights / times.total
            text = f"return {mean:5.1f}, {speed:6,.0f} steps/s, {share:4.1%} for weights"
            progress.update(task, completed=steps, description=text)
    if fleet is not None:
        engine.refit(learner.module.state_dict())
    scalars.close()
    outcome.seconds = time.perf_counter() - started
    return outcome


def evaluate(engine: trtnet.Engine, episodes: int = 100, seed: int = 1000) -> float:
    """The mean return of as many episodes, with the likeliest action at each step."""
    envs = common.environments("CartPole-v1", episodes)
    observations, returns, running = envs.reset(seed=seed)[0], np.zeros(episodes), np.ones(episodes, bool)
    while running.any():
        actions = engine(observation=observations)["logits"].argmax(axis=1)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        returns += rewards * running
        running &= ~(terminated | truncated)
    return float(returns.mean())


def main() -> None:
    parser = common.arguments(__doc__, ("refit", "live", "rebuild"), Settings.most_steps, "cartpole.png")
    options = common.parsed(parser, Settings.envs)
    console = Console()
    outcome = train(
        Settings(most_steps=options.steps),
        options.weights,
        options.device,
        options.seed,
        console,
        options.fleet,
        options.where,
        options.tensorboard,
    )
    common.report(outcome, console)
    console.print(common.verdict(outcome, SOLVED, EPISODES))
    console.print(f"100 further episodes, likeliest actions: {evaluate(outcome.engine):.1f}")
    common.draw(outcome, options.curve, "CartPole-v1, PPO", SOLVED, EPISODES)
    console.print(f"{options.curve} written")
    if options.output is not None:
        net = MLPPolicy(4, 2)
        net.load_state_dict({name: value.cpu() for name, value in outcome.module.state_dict().items()})
        net.save_weights(options.output)
        console.print(f"{options.output} written")


if __name__ == "__main__":
    main()
