"""Trains a policy on Pendulum-v1 by soft actor-critic: a PyTorch learner, and actors that are trtnet engines.

    pip install 'trtnet[rl]'
    python models/train_sac_pendulum.py --device cpu --weights refit
    python models/train_sac_pendulum.py --fleet 2

The actor's noise is an input of the network: the engine draws nothing, and the learner calls the same network,
`trtnet.to_torch(graph)`, with noise of its own. The critics are the learner's alone, and never reach the engine. After
some updates the actor gets the learner's weights: by `refit`, or not at all because they are `live` (the engine reads
the learner's own tensors). With `--fleet N` there are N actors in processes of their own, which follow the weights that
the learner publishes in shared memory (`--where`: or elsewhere), and act while it learns. It stops at a mean return of
-200 over 20 episodes, draws the learning curve, and prints where the time went.

SAC as in Haarnoja et al. 2018 (arXiv:1812.05905): two critics, and a temperature that is learnt. Half a minute.
"""

from __future__ import annotations

import copy
import functools
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from policy import GaussianPolicy
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

SOLVED = -200.0
EPISODES = 20
OBSERVATIONS, LOW, HIGH = 3, (-2.0,), (2.0,)


@dataclass
class Settings:
    """How SAC runs. `envs * steps` transitions make one iteration, and each of them one update of the learner."""

    envs: int = 4
    steps: int = 4
    first_steps: int = 800
    batch: int = 128
    learning_rate: float = 1e-3
    gamma: float = 0.99
    tau: float = 0.005
    hidden: int = 64
    most_steps: int = 30_000


@dataclass
class Rollout:
    """Transitions: arrays of (count, ...). Pendulum's episodes are cut by a time limit, and never end."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    following: np.ndarray


class Actors(common.Actors):
    """Environments, and the engine that acts in them."""

    def __init__(self, engine: trtnet.Engine, settings: Settings, seed: int) -> None:
        super().__init__(engine, "Pendulum-v1", settings.envs, seed, EPISODES)
        self.settings = settings

    def rollout(self) -> Rollout:
        rows = []
        for _ in range(self.settings.steps):
            noise = self.chance.standard_normal((self.settings.envs, len(LOW)), np.float32)
            actions = self.engine(observation=self.observations, noise=noise)["action"]
            observations, rewards, _, truncated, info = self.envs.step(actions)
            self.returns += rewards
            self.finished.extend(self.returns[truncated])
            self.returns[truncated] = 0.0
            following = observations.copy()
            for index in np.flatnonzero(truncated):  # the time limit cuts an episode: what follows it is in `info`
                following[index] = info["final_obs"][index]
            rows.append((self.observations, actions, rewards.astype(np.float32), following))
            self.observations = observations
        return Rollout(*map(np.concatenate, zip(*rows)))


def record(settings: Settings) -> trtnet.Graph:
    batch = trtnet.Dim("batch", min=1, opt=settings.envs, max=1024)
    policy = GaussianPolicy(OBSERVATIONS, LOW, HIGH, settings.hidden)
    return trtnet.record(policy, observation=trtnet.Input((batch, OBSERVATIONS)), noise=trtnet.Input((batch, len(LOW))))


def actors_of(settings: Settings, envs: int, device: str, seed: int) -> Actors:
    return Actors(common.build(record(settings), "refit", device), replace(settings, envs=envs), seed)


class Replay:
    """All transitions so far, and random ones of them."""

    def __init__(self, settings: Settings, device: str, seed: int) -> None:
        shapes = ((OBSERVATIONS,), (len(LOW),), (), (OBSERVATIONS,))
        room = settings.most_steps + settings.envs * settings.steps
        self.columns = [torch.zeros(room, *shape, device=device) for shape in shapes]
        self.count = 0
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, rollout: Rollout) -> int:
        """How many were added."""
        parts = (rollout.observations, rollout.actions, rollout.rewards, rollout.following)
        for column, part in zip(self.columns, parts):
            column[self.count : self.count + len(part)] = torch.from_numpy(part)
        self.count += len(rollout.rewards)
        return len(rollout.rewards)

    def sample(self, count: int) -> list[torch.Tensor]:
        chosen = torch.randint(self.count, (count,), generator=self.generator)
        return [column[chosen.to(column.device)] for column in self.columns]


class Critics(torch.nn.Module):
    """Two estimates (2, batch) of what an action in a state is worth."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        inputs = OBSERVATIONS + len(LOW)
        self.both = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(inputs, hidden),
                torch.nn.ReLU(),
                torch.nn.Linear(hidden, hidden),
                torch.nn.ReLU(),
                torch.nn.Linear(hidden, 1),
            )
            for _ in range(2)
        )

    def forward(self, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        given = torch.cat([observations, actions], 1)
        return torch.stack([critic(given)[:, 0] for critic in self.both])


class Learner:
    """The actor in PyTorch, its critics, and their optimisers.

    Attributes:
        module: the actor, whose weights the engines get.
    """

    def __init__(self, graph: trtnet.Graph, settings: Settings, device: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.settings = settings
        self.module = trtnet.to_torch(graph).to(device)
        self.critics = Critics(2 * settings.hidden).to(device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = torch.zeros((), device=device, requires_grad=True)
        self.actors_optimizer = torch.optim.Adam(self.module.parameters(), lr=settings.learning_rate)
        self.critics_optimizer = torch.optim.Adam(self.critics.parameters(), lr=settings.learning_rate)
        self.alphas_optimizer = torch.optim.Adam([self.log_alpha], lr=settings.learning_rate)
        self.generator = torch.Generator().manual_seed(seed)

    def act(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions that the actor draws, and the logarithms of their densities."""
        noise = torch.randn(len(observations), len(LOW), generator=self.generator).to(observations.device)
        answer = self.module(observations, noise)
        return answer["action"], answer["log_prob"]

    def target(self, rewards: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
        """What the critics are to say: the reward, and the discounted soft value of the state that follows."""
        with torch.no_grad():
            actions, log_probs = self.act(following)
            values = self.targets(following, actions).amin(0) - self.log_alpha.exp() * log_probs
            return rewards + self.settings.gamma * values

    def update(self, batch: list[torch.Tensor]) -> None:
        """A step of the critics, of the actor, of the temperature, and of the critics' slow copies."""
        observations, actions, rewards, following = batch
        target = self.target(rewards, following)
        self.critics_optimizer.zero_grad()
        (self.critics(observations, actions) - target).square().mean(1).sum().backward()
        self.critics_optimizer.step()
        drawn, log_probs = self.act(observations)
        self.actors_optimizer.zero_grad()
        (self.log_alpha.exp().detach() * log_probs - self.critics(observations, drawn).amin(0)).mean().backward()
        self.actors_optimizer.step()
        self.alphas_optimizer.zero_grad()  # towards an entropy of -1 for each action
        (-self.log_alpha.exp() * (log_probs.detach() - len(LOW)).mean()).backward()
        self.alphas_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.targets.parameters()), list(self.critics.parameters()), self.settings.tau)


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
    learner = Learner(graph, settings, device, seed)
    outcome = common.Outcome(learner.module, common.build(graph, weights, device))
    if weights == "live":
        outcome.engine.bind_weights(learner.module)
    started = time.perf_counter()
    if fleet:
        makers = [
            functools.partial(actors_of, settings, envs, device, seed + 1000 * number)
            for number, envs in enumerate(common.shares(settings.envs, fleet))
        ]
        with common.Fleet(graph, where or f"shm:pendulum-{os.getpid()}", makers, EPISODES) as actors:
            _train(settings, learner, actors, outcome, weights, seed, console, scalars)
        outcome.engine.refit(learner.module)
    else:
        _train(settings, learner, Actors(outcome.engine, settings, seed), outcome, weights, seed, console, scalars)
    scalars.close()
    outcome.seconds = time.perf_counter() - started
    return outcome


def _train(
    settings: Settings,
    learner: Learner,
    actors: Actors | common.Fleet,
    outcome: common.Outcome,
    weights: str,
    seed: int,
    console: Console | None,
    scalars: common.Scalars,
) -> None:
    times, replay, added = outcome.times, Replay(settings, str(learner.log_alpha.device), seed), 0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=settings.most_steps)
        while replay.count < settings.most_steps and not outcome.solved:
            with times.spent("weights"):
                if isinstance(actors, common.Fleet):
                    actors.publish(learner.module.state_dict(), version=len(outcome.steps))
                    actors.ask()
                elif weights == "refit":
                    outcome.engine.refit(learner.module, version=len(outcome.steps))
            if isinstance(actors, Actors):
                with times.spent("rollout"):
                    rollouts = [actors.rollout()]
            with times.spent("learning"):
                for _ in range(added if replay.count >= settings.first_steps else 0):
                    learner.update(replay.sample(settings.batch))
                if learner.log_alpha.is_cuda:
                    torch.cuda.synchronize()
            if isinstance(actors, common.Fleet):  # they acted meanwhile
                with times.spent("rollout"):
                    rollouts = actors.answers()
            added = sum(map(replay.add, rollouts))
            mean = float(np.mean(actors.finished)) if actors.finished else float("nan")
            outcome.steps.append(replay.count)
            outcome.returns.append(mean)
            outcome.solved = len(actors.finished) == EPISODES and mean >= SOLVED
            scalars.add(outcome, actors)
            speed, share = replay.count / times.total, times.weights / times.total
            text = f"return {mean:7.1f}, {speed:6,.0f} steps/s, {share:4.1%} for weights"
            progress.update(task, completed=replay.count, description=text)


def evaluate(engine: trtnet.Engine, episodes: int = 100, seed: int = 1000) -> float:
    """The mean return of as many episodes, without noise."""
    envs = common.environments("Pendulum-v1", episodes)
    observations, returns, running = envs.reset(seed=seed)[0], np.zeros(episodes), True
    while running:
        actions = engine(observation=observations, noise=np.zeros((episodes, len(LOW)), np.float32))["action"]
        observations, rewards, _, truncated, _ = envs.step(actions)
        returns += rewards
        running = not truncated.all()
    return float(returns.mean())


def main() -> None:
    parser = common.arguments(__doc__, ("refit", "live"), Settings.most_steps, "pendulum.png")
    options = common.parsed(parser, Settings.envs)
    console = Console()
    settings = Settings(most_steps=options.steps)
    outcome = train(
        settings,
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
    console.print(f"100 further episodes, without noise: {evaluate(outcome.engine):.1f}")
    common.draw(outcome, options.curve, "Pendulum-v1, SAC", SOLVED, EPISODES)
    console.print(f"{options.curve} written")
    if options.output is not None:
        net = GaussianPolicy(OBSERVATIONS, LOW, HIGH, settings.hidden)
        net.load_state_dict({name: value.cpu() for name, value in outcome.module.state_dict().items()})
        net.save_weights(options.output)
        console.print(f"{options.output} written")


if __name__ == "__main__":
    main()
