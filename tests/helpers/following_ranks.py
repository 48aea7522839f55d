"""What ranks do in the tests of `dist:`: each in a process of its own, by `ranks.run`."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

import trtnet
from trtnet import Input, fleet, nn
from trtnet.errors import FleetError, WeightsError


def engine(features: int = 3) -> trtnet.Engine:
    return trtnet.reference(trtnet.record(nn.Linear(2, features), input=Input((1, 2))))


def state(version: int) -> dict[str, np.ndarray]:
    return {"weight": np.full((3, 2), version, np.float32), "bias": np.full(3, version, np.float32)}


def stamp(of: trtnet.Engine) -> set[float]:
    return set(of(np.zeros((1, 2), np.float32))[0].tolist())


def until(follower: fleet.Follower, version: int) -> None:
    end = time.monotonic() + 60
    while follower.version != version:
        follower.poll()
        assert time.monotonic() < end, f"version {version} did not come"


def publishes_and_follows(rank: int, folder: Path) -> None:
    """Versions, one back; every type; weights of another structure; and a second publisher after the first."""
    warnings.simplefilter("ignore")
    for first in (10, 100):
        if rank == 0:
            with fleet.Publisher("dist:", graph=engine()) as publisher:
                assert publisher.version == (None if first == 10 else 11)
                for version in (first, first + 5, first + 1):
                    report = publisher.publish(state(version), version=version)
                    assert (report.bytes, report.changed) == (128, ("weight", "bias"))
        else:
            follower = fleet.Follower(engine(), "dist:")
            for version in (first, first + 5, first + 1):
                until(follower, version)
                assert stamp(follower.engine) == {version}
            follower.close()
    given = {"half": np.ones(3, ml_dtypes.bfloat16), "int": np.arange(5, dtype=np.int8), "none": np.zeros((0, 2))}
    if rank == 0:
        with fleet.Publisher("dist:types") as publisher:
            publisher.publish(given)
    else:
        receiver = fleet.distributed.Distributed("types").receiver()
        while receiver.head() is None:
            pass
        with receiver.receive() as update:
            for name, value in given.items():
                np.testing.assert_array_equal(update.values[name], value)
                assert update.values[name].dtype == value.dtype


def refuses(rank: int, folder: Path) -> None:
    """One of two followers has a network of another structure: it keeps what it has, and the job goes on."""
    if rank == 0:
        with fleet.Publisher("dist:", graph=engine()) as publisher:
            publisher.publish(state(1), version=1)
            publisher.publish(state(2), version=2)
        return
    if rank == 1:
        follower = fleet.Follower(engine(), "dist:")
        until(follower, 2)
        return
    follower = fleet.Follower(other := engine(4), "dist:")
    before = other.parameters()
    while follower._receiver.head() is None:
        pass
    for _ in range(4):  # what was received is kept: it is refused again without another broadcast
        with pytest.raises(WeightsError, match="structure"):
            follower.poll()
    assert all(np.array_equal(before[name], value) for name, value in other.parameters().items())
    while follower._receiver.head().version != 2:
        pass
    with pytest.raises(WeightsError, match="structure"):
        follower.poll()


def dies(rank: int, folder: Path) -> None:
    """The publisher is killed when it has announced a second version and sent nothing of it."""
    if rank == 0:
        publisher = fleet.Publisher("dist:", heartbeat=0.2)
        publisher.publish(state(1), version=1)
        publisher._sender.ranks.broadcast = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
        publisher.publish(state(2), version=2)
    follower = fleet.Follower(engine(), "dist:")
    until(follower, 1)
    with pytest.raises(FleetError, match="dir:PATH"):
        until(follower, 2)
    assert (follower.version, stamp(follower.engine)) == (1, {1})
    with pytest.raises(FleetError):  # the ranks are not in step any more
        follower.poll()
    end = time.monotonic() + 30
    while follower.alive:
        assert time.monotonic() < end


def both_publish(rank: int, folder: Path) -> None:
    """Two ranks publish on one road: one of them is told."""
    try:
        fleet.Publisher("dist:")
    except FleetError as error:
        (folder / f"told-{rank}").write_text(str(error))


def leaves_first(rank: int, folder: Path) -> None:
    """A follower gets weights from another GPU, and is over before the publisher is; the next ones begin anew."""
    for version in (1, 2):
        if rank == 0:
            with fleet.Publisher("dist:") as publisher:
                publisher.publish({"weight": torch.full((3, 2), float(version), device="cuda")}, version=version)
                _wait_for(folder / f"gone-{version}")
        else:
            receiver = fleet.distributed.Distributed("").receiver()
            while (head := receiver.head()) is None or head.version != version:
                continue
            with receiver.receive() as update:
                assert update is not None
                value = torch.as_tensor(update.values["weight"])
                assert value.is_cuda
                assert value.unique().tolist() == [version]
            receiver.close()
            (folder / f"gone-{version}").touch()


def _wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, f"{file.name} did not come"
