"""Shows that no follower answers with a mixture, whoever is killed: run by hand, since it takes minutes.

    python tests/fleet/endurance.py --where shm:endurance --processes 8 --calls 100000 --kills 200

Every tensor of a publish holds the version's number, and the network gives of each the smallest and the largest number.
Publishers publish as fast as they can, and are killed (SIGKILL) at random moments, while they begin too; the next one
goes on. Followers, each in a process with an engine that a thread refits, call and compare. A mixture ends it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import trtnet
from trtnet import Input, fleet, nn

SIZES = (3, 1000, 70_000)


class Stamped(nn.Module):
    """Gives of each of its tensors the smallest and the largest number."""

    def __init__(self) -> None:
        super().__init__()
        for number, size in enumerate(SIZES):
            self.register_parameter(f"w{number}", nn.Parameter(np.zeros(size, np.float32)))

    def forward(self, x: trtnet.Tensor) -> trtnet.Tensor:
        every = [getattr(self, f"w{number}") + x for number in range(len(SIZES))]
        return trtnet.stack([end(one) for one in every for end in (trtnet.amin, trtnet.amax)])


def graph() -> trtnet.Graph:
    return trtnet.record(Stamped(), x=Input((1,)))


def publish_for_ever(where: str) -> None:
    with fleet.Publisher(where, graph=graph()) as publisher:
        version = 0 if publisher.version is None else publisher.version
        while True:
            version += 1
            state = {f"w{number}": np.full(size, version, np.float32) for number, size in enumerate(SIZES)}
            publisher.publish(state, version=version)


def follow(where: str, calls: int, done: Event, number: int, found: multiprocessing.Queue) -> None:
    import torch

    torch.set_num_threads(1)
    engine = trtnet.reference(graph())
    x, versions, went_back, count, last = np.zeros(1, np.float32), set(), 0, 0, 0.0
    with fleet.Follower(engine, where).start() as follower:
        while count < calls or not done.is_set():
            seen = set(engine(x).tolist())
            if len(seen) != 1:
                found.put((number, f"a mixture: {sorted(seen)}"))
                return
            went_back += seen.copy().pop() < last
            last = seen.pop()
            versions.add(last)
            count += 1
        metrics = follower.metrics()
    found.put((number, {**metrics, "calls": count, "versions": len(versions), "back": went_back}))


def session(receiver: fleet.Receiver) -> str:
    head = receiver.head()
    return "" if head is None else head.session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", default=f"shm:endurance-{os.getpid()}")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--calls", type=int, default=100_000, help="of all processes together, at least")
    parser.add_argument("--kills", type=int, default=200)
    given = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "trtnet.pytorch.engine", "trtnet.fleet"])
    done, found, chance = context.Event(), context.Queue(), random.Random(0)
    each = -(-given.calls // given.processes)
    followers = [
        context.Process(target=follow, args=(given.where, each, done, number, found), daemon=True)
        for number in range(given.processes)
    ]
    started = time.perf_counter()
    for one in followers:
        one.start()
    receiver, before = fleet.roads.road(given.where).receiver(), ""
    for _ in range(given.kills):
        publisher = context.Process(target=publish_for_ever, args=(given.where,), daemon=True)
        publisher.start()
        if chance.random() < 0.1:
            time.sleep(chance.uniform(0, 0.5))
        else:
            while publisher.is_alive() and session(receiver) == before:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.2))
        if publisher.exitcode is not None:
            raise SystemExit(f"a publisher ended by itself: {publisher.exitcode}")
        before = session(receiver)
        os.kill(publisher.pid or 0, signal.SIGKILL)
        publisher.join()
    done.set()
    total: Counter[str] = Counter()
    for _ in followers:
        number, said = found.get()
        if isinstance(said, str):
            raise SystemExit(f"follower {number}: {said}")
        print(f"follower {number}: " + ", ".join(f"{name} {value:g}" for name, value in said.items()))
        total.update({name: said[name] for name in ("calls", "refits", "failures", "versions", "back")})
    for one in followers:
        one.join()
    print(
        f"{given.where}: {given.processes} processes, {total['calls']:,} calls, {total['refits']:,.0f} refits, "
        f"{given.kills} publishers killed, {total['failures']:.0f} failed polls, {total['versions']:,} versions seen, "
        f"{total['back']} times back: no mixture, in {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
