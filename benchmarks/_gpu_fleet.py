"""Rows of gpu.py: weights on a GPU from one process to another's memory, by `ipc:` and by `dist:` over NCCL.

What is timed is the road: from the call that sends the tensors until the other process has them, an engine's refit not
among it. The yardsticks are one copy of the same tensors within the GPU, and one from this GPU to the next.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from typing import Any

import torch
from _gpu_rows import reported
from _gpu_session import Session

from trtnet.fleet.roads import Receiver, Sender, road

TENSORS = 16


def fleet(session: Session) -> None:
    for megabytes in (0.1,) if session.quick else (10, 500):
        with session.part(f"{megabytes:g} MB"):
            _size(session, megabytes)


def _size(session: Session, megabytes: float) -> None:
    count = int(megabytes * 1e6 / 4 / TENSORS)
    values = {f"w{i}": torch.zeros(count, device=session.device) for i in range(TENSORS)}
    several = session.quick or torch.cuda.device_count() > 1
    with ExitStack() as stack:
        sample: dict[str, Any] = {"copy within the GPU": lambda: _copied(values, session.device)}
        ipc, name = ("ipc" if session.cuda else "shm"), f"benchmark-{os.getpid()}-{count}"
        ways = [Way(f"{ipc}:{name}", session.cuda, 0, values, stack)]
        if several:
            sample["copy to the next GPU"] = lambda: _copied(values, "cuda:1" if session.cuda else "cpu")
            ways.append(Way("dist:", session.cuda, 1 if session.cuda else 0, values, stack))
        sample |= {way.where.partition(":")[0] + ":": way.turn for way in ways}
        _rows(session, megabytes, TENSORS * count * 4, session.sample(sample, 30))


def _rows(session: Session, megabytes: float, nbytes: int, samples: dict[str, list[Any]]) -> None:
    gigabytes = {name: nbytes / 1e9 / sorted(s[1] for s in v)[len(v) // 2] for name, v in samples.items()}
    for index, what in enumerate(("until it is sent", "until it is there")):
        yardsticks = [name for name in samples if name.startswith("copy")]
        session.row(
            f"{megabytes:g} MB, {what}", {n: [s[index] for s in v] for n, v in samples.items()},
            [reported(name, yardstick) for name in samples if name.endswith(":") for yardstick in yardsticks],
            gigabytes_per_second=gigabytes,
        )  # fmt: skip
    session.say(", ".join(f"{name} {rate:.1f} GB/s" for name, rate in gigabytes.items()))


def _copied(values: dict[str, torch.Tensor], to: str) -> tuple[float, float]:
    started = time.perf_counter()
    held = [value.to(to, copy=True) for value in values.values()]
    _wait(*held)
    seconds = time.perf_counter() - started
    return seconds, seconds


def _wait(*values: torch.Tensor) -> None:
    for device in {value.device for value in values if value.is_cuda}:
        torch.cuda.synchronize(device)


class Way:
    """A road, and a process at its other end."""

    def __init__(self, where: str, cuda: bool, gpu: int, values: dict[str, torch.Tensor], stack: ExitStack) -> None:
        self.where, self.values, self.version = where, values, 0
        context = torch.multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = context.Process(target=follow, args=(where, cuda, gpu, port, end), daemon=True)
        process.start()
        end.close()
        stack.callback(process.join)  # last: over NCCL both wait for each other when they destroy the group
        if where.startswith("dist"):
            join(cuda, port, 0)
            stack.callback(torch.distributed.destroy_process_group)
        self.sender: Sender = road(where).sender(1.0)
        stack.callback(self.sender.close)
        stack.callback(self.pipe.send, None)
        assert self.pipe.recv() == "ready"

    def turn(self) -> tuple[float, float]:
        self.version += 1
        for value in self.values.values():
            value.fill_(self.version)
        _wait(*self.values.values())
        self.pipe.send(self.version)
        assert self.pipe.recv() == "looking"
        started = time.perf_counter()
        self.sender.send(self.values, self.version, None)
        sent = time.perf_counter()
        return sent - started, self.pipe.recv() - started  # the system's monotonic clock, the same in all processes


def join(cuda: bool, port: int, rank: int) -> None:
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )


def follow(where: str, cuda: bool, gpu: int, port: int, pipe: Any) -> None:
    if cuda:
        torch.cuda.set_device(gpu)
    if where.startswith("dist"):
        join(cuda, port, 1)
    receiver = road(where).receiver()
    pipe.send("ready")
    while (version := pipe.recv()) is not None:
        pipe.send("looking")
        pipe.send(_received(receiver, version))
    receiver.close()
    if where.startswith("dist"):
        torch.distributed.destroy_process_group()


def _received(receiver: Receiver, version: int) -> float:
    while True:
        head = receiver.head()
        if head is None or head.version != version:
            continue
        with receiver.receive() as update:
            if update is None:
                continue
            values = [torch.as_tensor(value) for value in update.values.values()]
            _wait(*values)
            at = time.perf_counter()
            ends = {float(value[place]) for value in values for place in (0, -1)}
            assert ends == {float(version)}, f"{ends}, where {version} was sent"
            return at
