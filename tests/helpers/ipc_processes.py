"""What the other process does in the tests of `ipc:` on a GPU: publishes, or follows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

import trtnet
from trtnet import Input, fleet, nn

SIZES = (3, 1000, 3_000_001)


class Stamped(nn.Module):
    """Gives of each of its tensors the smallest and the largest number."""

    def __init__(self) -> None:
        super().__init__()
        for number, size in enumerate(SIZES):
            self.register_parameter(f"w{number}", nn.Parameter(np.zeros(size, np.float32)))

    def forward(self, x: trtnet.Tensor) -> Any:
        every = [getattr(self, f"w{number}") + x for number in range(len(SIZES))]
        return trtnet.stack([end(one) for one in every for end in (trtnet.amin, trtnet.amax)])


def graph() -> trtnet.Graph:
    return trtnet.record(Stamped(), x=Input((1,)))


def state(version: int) -> dict[str, torch.Tensor]:
    """On the GPU; one tensor is strided."""
    made = {f"w{number}": torch.full((size,), float(version), device="cuda") for number, size in enumerate(SIZES)}
    return made | {"w1": torch.full((SIZES[1], 2), float(version), device="cuda")[:, 1]}


def engine(kind: str) -> trtnet.Engine:
    if kind == "reference":
        return trtnet.reference(graph(), device="cuda")
    return trtnet.build(graph(), refit=True)


def stamp(of: trtnet.Engine) -> set[float]:
    return set(np.asarray(of(np.zeros(1, np.float32))).tolist())


def follow(where: str, kind: str, last: int, pipe: Any) -> None:
    """Poll and call until a version has come; tells the versions seen, and the mixtures."""
    with engine(kind) as one, fleet.Follower(one, where) as follower:
        pipe.send("ready")
        seen, mixtures, calls, end = [], [], 0, time.monotonic() + 120
        while follower.version != last and time.monotonic() < end:
            report = follower.poll()
            found = stamp(one)
            calls += 1
            if len(found) != 1:
                mixtures.append(sorted(found))
            elif report is not None:
                seen.append((follower.version, found.pop()))
        pipe.send((seen, mixtures, calls, follower.metrics()))
        pipe.recv()


def publish(where: str, pipe: Any) -> None:
    """Publish without end, by numbers that go on where the publisher before ended."""
    with fleet.Publisher(where, graph=graph()) as publisher:
        version = 0 if publisher.version is None else publisher.version
        while True:
            version += 1
            publisher.publish(state(version), version=version)
            pipe.send(version)


def publish_types(where: str, pipe: Any) -> None:
    with fleet.Publisher(where) as publisher:
        publisher.publish(types())
        pipe.send("published")
        pipe.recv()


def types() -> dict[str, Any]:
    """Of the GPU, of the host, and of NumPy."""
    return {
        "half": torch.arange(5, device="cuda").to(torch.bfloat16),
        "int": torch.arange(-3, 9).reshape(3, 4).t(),
        "bool": np.array([True, False, True]),
        "none": torch.zeros(0, 2, device="cuda"),
        "one": np.array(7.0, np.float32),
    }
