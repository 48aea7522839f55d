"""The ways of weights from a trainer to its followers that fleet.py compares: the two ends of each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import trtnet
from trtnet import nn

TABLES, FEATURES = 16, 64
State = dict[str, torch.Tensor]


class Tables(nn.Module):
    """Rows of 16 tables: an answer costs microseconds whatever the weights' size, and shows a value of each tensor."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, FEATURES) for _ in range(TABLES))

    def forward(self, index: trtnet.Tensor) -> Any:
        return trtnet.cat([table(index) for table in self.tables], dim=1)


class TorchTables(torch.nn.Module):
    """The same in PyTorch."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(rows, FEATURES) for _ in range(TABLES))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return torch.cat([table(index) for table in self.tables], dim=1)


class Networks(NamedTuple):
    """What a follower answers with: an engine, or a torch module."""

    engine: trtnet.Engine
    module: TorchTables

    @classmethod
    def of(cls, rows: int) -> Networks:
        engine = trtnet.reference(trtnet.record(Tables(rows), index=trtnet.Input((1,), "int64")))
        return cls(engine, TorchTables(rows))


class Way:
    """The trainer's end. `follower` is what a process gets to make the other one."""

    follower: Callable[[Networks], End]

    def send(self, state: State, version: int) -> int:
        """Send these; how many bytes were moved."""
        raise NotImplementedError

    def close(self) -> None:
        pass


class End:
    """A follower's end."""

    def look(self) -> int | None:
        """Take what is new: how many bytes were moved; None where there is nothing new."""
        raise NotImplementedError

    def answer(self) -> np.ndarray:
        raise NotImplementedError


class TorchEnd(End):
    def __init__(self, networks: Networks) -> None:
        self.module = networks.module
        self.index = torch.zeros(1, dtype=torch.int64)

    def take(self, state: dict[str, Any]) -> int:
        self.module.load_state_dict(state)
        return sum(value.nbytes for value in state.values())

    def answer(self) -> np.ndarray:
        with torch.inference_mode():
            return self.module(self.index).numpy()


# --- trtnet.fleet -----------------------------------------------------------------------------------------------------


class Fleet(Way):
    def __init__(self, where: str) -> None:
        self.publisher = trtnet.fleet.Publisher(where)
        self.follower = FleetFollower(where)

    def send(self, state: State, version: int) -> int:
        return self.publisher.publish(state, version=version).bytes

    def close(self) -> None:
        self.publisher.close()


class FleetFollower(NamedTuple):
    where: str

    def __call__(self, networks: Networks) -> End:
        return FleetEnd(networks, self.where)


class FleetEnd(End):
    def __init__(self, networks: Networks, where: str) -> None:
        self.engine = networks.engine
        self.follower = trtnet.fleet.Follower(self.engine, where)
        self.index = np.zeros(1, np.int64)
        self.moved = 0

    def look(self) -> int | None:
        if self.follower.poll() is None:
            return None
        before, self.moved = self.moved, int(self.follower.metrics()["bytes"])
        return self.moved - before

    def answer(self) -> np.ndarray:
        return self.engine(index=self.index)


# --- a file, and looks at it ------------------------------------------------------------------------------------------


class File(Way):
    """Written under a temporary name and renamed, without fsync; followers compare what `stat` says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.follower = FileFollower(path)

    def send(self, state: State, version: int) -> int:
        draft = self.path.with_name("draft" + self.path.suffix)
        if self.path.suffix == ".npz":
            np.savez(draft, **{name: value.numpy() for name, value in state.items()})
        else:
            from safetensors.torch import save_file

            save_file(state, draft)
        size = draft.stat().st_size
        os.replace(draft, self.path)
        return size


class FileFollower(NamedTuple):
    path: Path

    def __call__(self, networks: Networks) -> End:
        return FileEnd(networks, self.path)


class FileEnd(TorchEnd):
    def __init__(self, networks: Networks, path: Path) -> None:
        super().__init__(networks)
        self.path = path
        self.seen: tuple[int, int] | None = None

    def look(self) -> int | None:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        state = found.st_ino, found.st_mtime_ns
        if state == self.seen:
            return None
        self.seen = state
        if self.path.suffix == ".npz":
            with np.load(self.path) as arrays:
                return self.take({name: torch.from_numpy(arrays[name]) for name in arrays})
        from safetensors.torch import load_file

        return self.take(load_file(self.path))


# --- torch's shared memory --------------------------------------------------------------------------------------------


class SharedTensor(Way):
    """Copied into, and then a counter beside it goes up. Nothing keeps a reader from a mixture."""

    def __init__(self, state: State) -> None:
        self.shared = {name: torch.zeros_like(value).share_memory_() for name, value in state.items()}
        self.counter = torch.zeros(1, dtype=torch.int64).share_memory_()
        self.follower = SharedTensorFollower(self.shared, self.counter)

    def send(self, state: State, version: int) -> int:
        for name, value in state.items():
            self.shared[name].copy_(value)
        self.counter.fill_(version)
        return sum(value.nbytes for value in state.values())


class SharedTensorFollower(NamedTuple):
    shared: State
    counter: torch.Tensor

    def __call__(self, networks: Networks) -> End:
        return SharedTensorEnd(networks, self)


class SharedTensorEnd(TorchEnd):
    def __init__(self, networks: Networks, followed: SharedTensorFollower) -> None:
        super().__init__(networks)
        self.followed = followed
        self.seen = 0

    def look(self) -> int | None:
        version = int(self.followed.counter)
        if version == self.seen:
            return None
        self.seen = version
        return self.take(self.followed.shared)


# --- Ray's object store -----------------------------------------------------------------------------------------------

NAMESPACE = "benchmark"


class Newest:
    """The Ray actor that knows the newest object."""

    def __init__(self) -> None:
        self.newest: tuple[int, list[Any]] = 0, []

    def set(self, version: int, objects: list[Any]) -> None:
        self.newest = version, objects

    def get(self) -> tuple[int, list[Any]]:
        return self.newest


class RayObject(Way):
    """`ray.put`, and an actor that is told of it."""

    def __init__(self, address: str) -> None:
        import ray

        self.ray = ray
        self.newest = ray.remote(Newest).options(name="newest", num_cpus=0).remote()
        self.follower = RayFollower(address)

    def send(self, state: State, version: int) -> int:
        arrays = {name: value.numpy() for name, value in state.items()}
        self.ray.get(self.newest.set.remote(version, [self.ray.put(arrays)]))
        return sum(value.nbytes for value in arrays.values())

    def close(self) -> None:
        self.ray.kill(self.newest)


class RayFollower(NamedTuple):
    address: str

    def __call__(self, networks: Networks) -> End:
        join_ray(self.address)
        return RayEnd(networks)


class RayEnd(TorchEnd):
    def __init__(self, networks: Networks) -> None:
        super().__init__(networks)
        import ray

        self.ray = ray
        self.newest = ray.get_actor("newest")
        self.seen = 0

    def look(self) -> int | None:
        version, objects = self.ray.get(self.newest.get.remote())
        if version == self.seen:
            return None
        self.seen = version
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are read-only, and are only read
            state = {name: torch.from_numpy(array) for name, array in self.ray.get(objects[0]).items()}
        return self.take(state)


class FleetOnRay(Fleet):
    def __init__(self, address: str) -> None:
        super().__init__("ray:benchmark")
        self.follower = RayFleetFollower(address)

    def close(self) -> None:
        super().close()
        self.publisher.road.remove()


class RayFleetFollower(NamedTuple):
    address: str

    def __call__(self, networks: Networks) -> End:
        join_ray(self.address)
        return FleetEnd(networks, "ray:benchmark")


def join_ray(address: str) -> None:
    import ray

    if not ray.is_initialized():
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="error")
