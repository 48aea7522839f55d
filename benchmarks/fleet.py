"""Weights from a trainer to followers in processes of their own: from publish to answers with the new weights.

`trtnet.fleet` by `shm:`, `dir:` and `ray:`, against what people write: a file (safetensors, npz) under a temporary
name, renamed, and followers that look at it; torch's shared tensors with a counter; Ray's object store. The yardsticks
are one memcpy of the same bytes, and writing and reading them as one file.

All tensors change at each publish. The network looks one row up in each of 16 tables: its answer costs microseconds,
and shows whether the new weights, and no mixture, answered. Followers of every way look once in a millisecond, a single
one ten times as often; what is not measured sleeps. The reference engine, and torch's module, run on the CPU by one
thread.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import _fleet_ways as ways
import numpy as np
import torch
from _common import interleaved, milliseconds, options, report, spread

INTERVALS = {1: 0.0001}
INTERVAL = 0.001
"""Seconds between two looks, by the number of followers: what looks all the time takes the others' cores."""
PUBLISH, ANSWER, FILE = 1.3, 2.5, 1.5
"""Targets: shm: publishes in so many times a memcpy, and is answered with in so many; dir: in so many times writing,
fsync and reading."""
COMBINATIONS = [(0.1, 1), (0.1, 4), (0.1, 16), (10.0, 1), (10.0, 4), (10.0, 16), (500.0, 1), (500.0, 4)]
MET = {True: ": met", False: ": missed", None: ""}
YARDSTICKS = ("memcpy", "write, read", "write, fsync, read")
Networks = ways.Networks


class Turn(NamedTuple):
    """Seconds of one publish: until it returned, until the first and the last follower had answered; bytes moved."""

    publish: float
    first: float
    last: float
    moved: int


# --- a follower's process ---------------------------------------------------------------------------------------------


def follow(pipe: Any, rows: int, interval: float, followers: dict[str, Callable[[Networks], ways.End]]) -> None:
    torch.set_num_threads(1)
    networks = Networks.of(rows)
    ends = {name: follower(networks) for name, follower in followers.items()}
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        name, first, others = asked
        end = ends[name]
        pipe.send("looking")
        while (moved := end.look()) is None:
            time.sleep(interval)
        answer = end.answer()
        at = time.perf_counter()  # the system's monotonic clock, the same in all processes
        wanted = np.repeat([first, *[others] * (ways.TABLES - 1)], ways.FEATURES)
        assert (answer.reshape(-1) == wanted).all(), f"{name}: {answer} is no answer of {first}, {others}"
        pipe.send((at, moved))


# --- the trainer ------------------------------------------------------------------------------------------------------


class Trainer:
    """Weights, and the processes that follow them by several ways."""

    def __init__(self, megabytes: float, count: int, folder: Path, address: str | None, stack: ExitStack) -> None:
        rows = max(1, round(megabytes * 1e6 / 4 / ways.TABLES / ways.FEATURES))
        self.state = {f"tables.{i}.weight": torch.zeros(rows, ways.FEATURES) for i in range(ways.TABLES)}
        self.bytes = sum(value.nbytes for value in self.state.values())
        self.version = 0
        self.folder = folder
        self.copy = {name: torch.zeros_like(value).numpy() for name, value in self.state.items()}
        self.ways: dict[str, ways.Way] = {
            "shm:": ways.Fleet(f"shm:benchmark-{os.getpid()}"),
            "dir:": ways.Fleet(f"dir:{folder / 'weights'}"),
            "shared tensors, counter": ways.SharedTensor(self.state),
            "safetensors file": ways.File(folder / "weights.safetensors"),
            "npz file": ways.File(folder / "weights.npz"),
        }
        if address is not None:
            self.ways |= {"ray:": ways.FleetOnRay(address), "ray.put": ways.RayObject(address)}
        for way in self.ways.values():
            stack.callback(way.close)
        context = torch.multiprocessing.get_context("spawn")
        followers = {name: way.follower for name, way in self.ways.items()}
        interval = INTERVALS.get(count, INTERVAL)
        self.pipes = []
        for _ in range(count):
            pipe, end = context.Pipe()
            process = context.Process(target=follow, args=(end, rows, interval, followers), daemon=True)
            process.start()
            end.close()
            stack.callback(process.join)
            stack.callback(pipe.send, None)
            self.pipes.append(pipe)
        for pipe in self.pipes:
            assert pipe.recv() == "ready"

    def turn(self, name: str, changed: int = ways.TABLES) -> Turn:
        """Change so many tensors, publish, and wait for every follower's answer."""
        self.version += 1
        for value in list(self.state.values())[:changed]:
            value.fill_(self.version)
        others = int(self.state[f"tables.{ways.TABLES - 1}.weight"][0, 0])
        for pipe in self.pipes:
            pipe.send((name, self.version, others))
        for pipe in self.pipes:
            assert pipe.recv() == "looking"
        started = time.perf_counter()
        moved = self.ways[name].send(self.state, self.version)
        published = time.perf_counter()
        answers = [pipe.recv() for pipe in self.pipes]
        times = sorted(at - started for at, _ in answers)
        return Turn(published - started, times[0], times[-1], moved + sum(taken for _, taken in answers))

    def sixteenth(self) -> Turn:
        """One of 16 tensors changes between two publishes."""
        self.turn("dir:")
        return self.turn("dir:", changed=1)

    def memcpy(self) -> Turn:
        started = time.perf_counter()
        for name, value in self.state.items():
            np.copyto(self.copy[name], value.numpy())
        return self._alone(time.perf_counter() - started, self.bytes)

    def file(self, synced: bool) -> Turn:
        path = self.folder / "yardstick"
        started = time.perf_counter()
        with path.open("wb", buffering=0) as file:
            for value in self.state.values():
                file.write(value.numpy().data.cast("B"))
            if synced:
                os.fsync(file.fileno())
        with path.open("rb", buffering=0) as file:
            for target in self.copy.values():
                file.readinto(target.data.cast("B"))
        seconds = time.perf_counter() - started
        path.unlink()
        return self._alone(seconds, 2 * self.bytes)

    @staticmethod
    def _alone(seconds: float, moved: int) -> Turn:
        return Turn(seconds, seconds, seconds, moved)

    def variants(self) -> dict[str, Callable[[], Turn]]:
        found: dict[str, Callable[[], Turn]] = {
            "memcpy": self.memcpy,
            "write, read": lambda: self.file(synced=False),
            "write, fsync, read": lambda: self.file(synced=True),
        }
        found |= {name: (lambda name=name: self.turn(name)) for name in self.ways}  # type: ignore[misc]
        return found | {"dir:, one tensor of 16 changed": self.sixteenth}


@contextmanager
def ray() -> Iterator[str | None]:
    """The address of a Ray of this machine; None where the package is not installed."""
    if util.find_spec("ray") is None:
        yield None
        return
    import ray

    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # by which Ray's workers find _fleet_ways and trtnet
    made = ray.init(num_cpus=2, object_store_memory=4 << 30, namespace=ways.NAMESPACE, include_dashboard=False)
    yield made.address_info["address"]
    ray.shutdown()


def measure(megabytes: float, count: int, repeats: int, address: str | None) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trtnet-fleet-")))
        trainer = Trainer(megabytes, count, folder, address, stack)
        load = os.getloadavg()[0]
        samples = interleaved(trainer.variants(), repeats, warmup=2)
        moved = {name: turns[-1].moved for name, turns in samples.items()}
        seconds = {
            name: {part: spread([getattr(turn, part) for turn in turns]) for part in ("publish", "first", "last")}
            for name, turns in samples.items()
        }
        return {
            "megabytes": megabytes, "bytes": trainer.bytes, "followers": count, "load_before": load,
            "seconds": seconds, "moved": moved,
        }  # fmt: skip


# --- the table --------------------------------------------------------------------------------------------------------


def checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets of one combination, and what was measured."""
    median = {name: {part: s["median"] for part, s in parts.items()} for name, parts in result["seconds"].items()}
    found = []
    for way, part, against, target in (
        ("shm:", "publish", "memcpy", PUBLISH),
        ("shm:", "first", "memcpy", ANSWER),
        ("dir:", "first", "write, fsync, read", FILE),
        ("dir:", "first", "write, read", None),
    ):
        ratio = median[way][part] / median[against]["publish"]
        met = None if target is None else ratio <= target
        found.append({"way": way, "part": part, "against": against, "ratio": ratio, "target": target, "met": met})
    return found


def rows(result: dict[str, Any], rayed: bool) -> list[list[str]]:
    lines = []
    place = f"{result['megabytes']:g} MB, {result['followers']} follower{'s' * (result['followers'] > 1)}"
    memcpy = result["seconds"]["memcpy"]["publish"]["median"] / result["bytes"]
    for name, parts in result["seconds"].items():
        median = {part: samples["median"] for part, samples in parts.items()}
        moved = result["moved"][name]
        if name in YARDSTICKS:
            cells = [milliseconds(median["publish"]), "", "", f"{moved / 1e6:,.1f}", "", ""]
        else:
            told = [
                f"{check['part']} {check['ratio']:.2f} × {check['against']}{MET[check['met']]}"
                for check in result["checks"]
                if check["way"] == name
            ]
            cells = [milliseconds(median[part]) for part in ("publish", "first", "last")]
            cells += [f"{moved / 1e6:,.1f}", f"{median['last'] / moved / memcpy:.1f}", "; ".join(told)]
        lines.append([f"{place}: {name}", *cells])
    if not rayed:
        lines.append([f"{place}: Ray's object store", *[""] * 5, "not measured: ray is not installed"])
    return lines


def main() -> None:
    given = options(__doc__ or "", repeats=9)
    if not hasattr(os, "fork"):
        print("fleet: not measured, this system has no shared memory for trtnet")
        return
    torch.set_num_threads(1)
    combinations = [(0.1, 1), (0.2, 2)] if given.quick else COMBINATIONS
    started, results = os.getloadavg(), []
    with ray() as address:
        for megabytes, count in combinations:
            few = 1 if given.quick else given.repeats if megabytes < 100 else (given.repeats + 1) // 2
            results.append(measure(megabytes, count, few, address))
            results[-1]["checks"] = checks(results[-1])
    table = [line for result in results for line in rows(result, address is not None)]
    columns = [
        "weights, followers: way", "publish, ms", "first answer, ms", "last answer, ms", "MB moved",
        "last, × memcpy of MB moved", "targets",
    ]  # fmt: skip
    title = (
        f"From publish to answers; load {started[0]:.2f} at the begin; targets: shm: publish {PUBLISH} × memcpy, "
        f"first answer {ANSWER} × memcpy; dir: first answer {FILE} × write, fsync, read"
    )
    report("fleet", title, columns, table, results, given, load=started, intervals={**INTERVALS, "more": INTERVAL})


if __name__ == "__main__":
    main()
