"""What the training scripts share: actors in processes of their own, where the time went, the learning curve."""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import trtnet


@dataclass
class Times:
    rollout: float = 0.0
    learning: float = 0.0
    weights: float = 0.0

    @property
    def total(self) -> float:
        return self.rollout + self.learning + self.weights

    @contextmanager
    def spent(self, part: str) -> Iterator[None]:
        """Adds the block's seconds to a part."""
        started = time.perf_counter()
        yield
        setattr(self, part, getattr(self, part) + time.perf_counter() - started)


@dataclass
class Outcome:
    """What a training gave.

    Attributes:
        steps, returns: at each iteration, the transitions so far and the mean return of the last episodes.
        solved: whether that reached the goal.
    """

    module: torch.nn.Module
    engine: trtnet.Engine
    times: Times = field(default_factory=Times)
    seconds: float = 0.0
    steps: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    solved: bool = False


def environments(name: str, count: int) -> gymnasium.vector.VectorEnv:
    """Gymnasium's `name`, as often as that, each begun anew in the step in which its episode ends."""
    return gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.make(name)] * count, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP
    )


class Actors:
    """Environments, and the engine that acts in them.

    Attributes:
        finished: the returns of the episodes that ended last, of as many as `episodes`.
    """

    def __init__(self, engine: trtnet.Engine, name: str, envs: int, seed: int, episodes: int) -> None:
        self.engine = engine
        self.envs = environments(name, envs)
        self.chance = np.random.default_rng(seed)
        self.observations = self.envs.reset(seed=seed)[0]
        self.returns = np.zeros(envs)
        self.finished: deque[float] = deque(maxlen=episodes)

    def rollout(self) -> Any:
        """What they saw and did in the next steps."""
        raise NotImplementedError


def build(graph: trtnet.Graph, weights: str, device: str) -> trtnet.Engine:
    """The actors' engine: TensorRT's on a GPU, the reference on the CPU."""
    changeable = {"refit": {"refit": True}, "live": {"live": True}, "rebuild": {}}[weights]
    return trtnet.build(graph, provider="reference" if device == "cpu" else None, device=device, **changeable)


# --- actors in processes ----------------------------------------------------------------------------------------------


def act(pipe: Connection, where: str, make: Callable[[], Actors]) -> None:
    """A process of a fleet: at each request the newest weights, then a rollout with them."""
    torch.set_num_threads(1)
    actors = make()
    with trtnet.fleet.Follower(actors.engine, where) as follower:
        while pipe.recv():
            follower.poll()
            pipe.send((follower.version, actors.rollout(), list(actors.finished)))
            actors.finished.clear()


def shares(envs: int, count: int) -> list[int]:
    """How many of as many environments each of `count` actors has."""
    return [envs // count + (number < envs % count) for number in range(count)]


class Fleet:
    """Actors in processes, each made there, which follow one publisher.

    Attributes:
        finished: as `Actors.finished`, of all of them.
    """

    def __init__(self, graph: trtnet.Graph, where: str, makers: Sequence[Callable[[], Actors]], episodes: int) -> None:
        self.publisher = trtnet.fleet.Publisher(where, graph=graph)
        self.finished: deque[float] = deque(maxlen=episodes)
        self.pipes: list[Connection] = []
        self.processes = []
        context = multiprocessing.get_context("spawn")  # a forked child could use no GPU
        for make in makers:
            pipe, end = context.Pipe()
            process = context.Process(target=act, args=(end, where, make), daemon=True)
            process.start()
            end.close()
            self.pipes.append(pipe)
            self.processes.append(process)

    def publish(self, state: Mapping[str, torch.Tensor], version: int) -> None:
        self.publisher.publish(state, version=version)

    def ask(self) -> None:
        """Have all of them begin a rollout with the weights that were published last."""
        for pipe in self.pipes:
            pipe.send(True)

    def answers(self) -> list[Any]:
        """The rollouts that were asked for, once they are there."""
        found = [pipe.recv() for pipe in self.pipes]
        assert {version for version, _, _ in found} == {self.publisher.version}, "weights of another update"
        for _, _, finished in found:
            self.finished.extend(finished)
        return [rollout for _, rollout, _ in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe, process in zip(self.pipes, self.processes):
            if kind is None:
                pipe.send(False)
                process.join()
            process.kill()
        self.publisher.close()


# --- what is shown ----------------------------------------------------------------------------------------------------


class Scalars:
    """The course of a training for TensorBoard, in a folder; nothing without one."""

    def __init__(self, folder: Path | None) -> None:
        self.writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder))

    def add(self, outcome: Outcome, actors: Actors | Fleet) -> None:
        """The last iteration: its mean return, the seconds of each part, and what a fleet's publisher counts."""
        if self.writer is None:
            return
        step, times = outcome.steps[-1], outcome.times
        if math.isfinite(outcome.returns[-1]):  # an episode has ended
            self.writer.add_scalar("return", outcome.returns[-1], step)
        for part in fields(Times):
            self.writer.add_scalar(f"seconds/{part.name}", getattr(times, part.name), step)
        if isinstance(actors, Fleet):
            trtnet.fleet.add_scalars(self.writer, actors.publisher, step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def draw(outcome: Outcome, path: Path, title: str, goal: float, episodes: int) -> None:
    """The learning curve, as a picture."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(outcome.steps, outcome.returns)
    axes.axhline(goal, color="0.6", linestyle="--", linewidth=1)
    axes.set(xlabel="steps", ylabel=f"mean return of the last {episodes} episodes", title=title)
    figure.savefig(path, dpi=120)


def report(outcome: Outcome, console: Console) -> None:
    times = outcome.times
    table = Table("part", "seconds", "share", title=f"{outcome.steps[-1]:,} steps in {outcome.seconds:.1f} s")
    for part in fields(Times):
        seconds = getattr(times, part.name)
        table.add_row(part.name, f"{seconds:.2f}", f"{seconds / times.total:.1%}")
    console.print(table)


def verdict(outcome: Outcome, goal: float, episodes: int) -> str:
    """Whether the goal was reached, in a sentence."""
    reached = "reached" if outcome.solved else "did not reach"
    last = outcome.returns[-1]
    found = f"{last:.1f}" if math.isfinite(last) else "no episode ended"
    return f"{reached} a mean return of {goal:.0f} over {episodes} episodes: {found}"


def arguments(text: str, weights: Sequence[str], most_steps: int, curve: str) -> argparse.ArgumentParser:
    """The options of a training script, whose docstring is `text`."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (the reference engine) or cuda (TensorRT)")
    parser.add_argument("--weights", choices=weights, default="refit")
    parser.add_argument(
        "--fleet", type=int, default=0, metavar="N", help="actors in N processes (with --weights refit)"
    )
    parser.add_argument(
        "--where", default="", metavar="URL", help="by which the fleet gets weights: dir:PATH, shm:NAME"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=most_steps, help="most steps (default %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="for the weights: NAME.safetensors")
    parser.add_argument("--curve", type=Path, default=Path(curve), metavar="FILE")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="for scalars (pip install tensorboard)")
    return parser


def parsed(parser: argparse.ArgumentParser, envs: int) -> argparse.Namespace:
    """The options that were given. Ends the program where they do not go together, before anything is trained.

    `envs` environments are what a fleet has to share out.
    """
    options = parser.parse_args()
    if options.fleet and options.weights != "refit":
        parser.error("--fleet goes with --weights refit: live weights are of one process")
    if options.steps < 1:
        parser.error("--steps is at least 1")
    if options.fleet < 0:
        parser.error("--fleet is at least 0: no other process")
    if options.fleet > envs:
        parser.error(f"--fleet is at most {envs}: there are {envs} environments to share out")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: this PyTorch finds no CUDA GPU; `trtnet doctor` says what is here")
    for path in filter(None, (options.curve, options.output)):
        if not path.absolute().parent.is_dir():
            parser.error(f"there is no folder {path.parent}")
    if options.tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        parser.error("--tensorboard needs a package: pip install tensorboard")
    torch.set_num_threads(1)  # networks as small as these are not faster by more
    return options
