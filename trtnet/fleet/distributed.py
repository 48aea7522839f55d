"""`dist:`: weights by torch.distributed, from the rank that publishes to all others of a process group.

What is new is announced by the store of the processes; the bytes go by one broadcast and a barrier, into a buffer that
counts once the barrier is behind it: whoever dies meanwhile, each engine has what it had. A publish returns when every
rank has received it, so every rank must poll, and none may come or go: those are torch.distributed's terms.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from ..basics.arrays import from_numpy, import_torch
from ..basics.errors import ArgumentError, FleetError, ProviderError
from .layout import Layout, Places
from .roads import Head, Pulse, Receiver, Road, Sender, Sent, Update, Values

if TYPE_CHECKING:
    import torch

HEAD, BEAT, PUBLISHER, CLOSED = "head", "beat", "publisher", b"closed"


class Distributed(Road):
    """`dist:` or `dist:NAME`: for the ranks of a job that called `torch.distributed.init_process_group`.

    Each rank makes one end, one of them the Publisher, and waits there for the others. The group is one of its own, so
    that a thread's polls and the trainer's collectives do not meet. NCCL moves tensors from GPU to GPU.

    Args:
        name: to tell several roads of one job apart.
        group: the ranks that take part, by `torch.distributed.new_group`, used for nothing else; all unless given.
        timeout: seconds after which a rank that does not answer is given up; torch's own unless given.
    """

    interval = 0.005

    def __init__(
        self, name: str = "", group: torch.distributed.ProcessGroup | None = None, timeout: float | None = None
    ) -> None:
        distributed = import_torch().distributed
        if not distributed.is_available():
            raise ProviderError(
                "this PyTorch was built without torch.distributed", remedy="use 'dir:PATH', or another PyTorch"
            )
        if not distributed.is_initialized():
            raise ArgumentError(
                "dist: needs a process group, and this process is in none",
                expected="torch.distributed.init_process_group before",
                remedy="call it in every rank, or start the job by torchrun and call it there",
            )
        self.name, self.group, self.timeout = name, group, timeout

    def sender(self, heartbeat: float) -> DistributedSender:
        return DistributedSender(_Ranks(self, publishes=True), heartbeat)

    def receiver(self) -> DistributedReceiver:
        return DistributedReceiver(_Ranks(self))

    def __repr__(self) -> str:
        return f"dist:{self.name}"


class _Ranks:
    """The processes of a road, and what they have in common: a store, and a group for broadcasts."""

    def __init__(self, road: Distributed, publishes: bool = False) -> None:
        torch = import_torch()
        self.distributed = torch.distributed
        store = self.distributed.distributed_c10d._get_default_store()
        # by a connection of its own: who waits in one keeps it from others
        self.store = self.distributed.PrefixStore(f"trtnet.fleet/{road.name}", store.clone())
        self.rank: int = self.distributed.get_rank()
        self.broken: str | None = None
        self.made = road.group is None
        self.before = self.get(HEAD) if publishes else None
        if publishes:  # nobody shall take for new what the publisher before announced
            self.store.delete_key(HEAD)
            self.store.set(PUBLISHER, str(self.rank))
        timeout = None if road.timeout is None else timedelta(seconds=road.timeout)
        self.group = self.distributed.new_group(timeout=timeout) if road.group is None else road.group
        self.distributed.barrier(group=self.group)
        if publishes and (found := self.get(PUBLISHER)) != str(self.rank).encode():
            raise FleetError(
                "another rank publishes on this road",
                expected="one Publisher, and Followers in all other ranks",
                found=f"the rank {'' if found is None else found.decode()}",
                remedy="publish in one rank, or name the roads: 'dist:actor', 'dist:critic'",
            )
        cuda = "nccl" in str(self.distributed.get_backend(self.group))
        self.device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")

    def get(self, key: str) -> bytes | None:
        """What is under a key. Raises FleetError where the store cannot be reached."""
        try:
            found: bytes | None = self.store.get(key) if self.store.check([key]) else None
        except RuntimeError as error:
            raise FleetError(
                "the store of the process group cannot be reached: the rank that has it may have ended",
                expected="the job's store",
                found=str(error)[:200],
                remedy="start the job again; the engine has the weights that it had",
            ) from None
        return found

    def broadcast(self, buffer: torch.Tensor, source: int) -> None:
        """To all ranks; returns when each has it. Raises FleetError where one has not, and from then on."""
        self.check()
        try:
            self.distributed.broadcast(buffer, source, group=self.group)
            self.distributed.barrier(group=self.group)
        except RuntimeError as failed:
            self.broken = str(failed)[:300]
        self.check()

    def check(self) -> None:
        """Raises FleetError where a broadcast failed: the ranks are not in step any more."""
        if self.broken is not None:
            raise FleetError(
                "the ranks of this group can exchange no weights any more: one has ended, or did not poll in time",
                expected="every rank of the group, polling",
                found=self.broken,
                remedy="start the job again; where followers come and go, use 'dir:PATH' or 'shm:NAME'",
            )

    def leave(self) -> None:
        """Free the group. One of NCCL's is freed by the job's own `destroy_process_group()`: to free it waits until all
        ranks do so, and to abort it may take from another rank what that still reads."""
        if self.made and self.device.type == "cpu" and self.distributed.is_initialized():
            with contextlib.suppress(RuntimeError, ValueError):
                self.distributed.destroy_process_group(self.group)
        self.made = False


class DistributedSender(Sender):
    """Broadcasts from this rank."""

    def __init__(self, ranks: _Ranks, heartbeat: float) -> None:
        self.ranks, self.heartbeat = ranks, heartbeat
        self.session = secrets.token_hex(8)
        self._beats = 0
        self._sequence = 0
        self.last = None if ranks.before is None else Head(*json.loads(ranks.before)["head"])

    def send(self, values: Values, version: int, structure: str | None) -> Sent:
        self.ranks.check()
        layout = Layout.of(values)
        buffer = packed(values, layout, self.ranks.device)
        now = Head(self.session, self._sequence + 1, version, time.time())
        told = {"head": now, "structure": structure, "source": self.ranks.rank, "table": layout.text.decode()}
        self.ranks.store.set(HEAD, json.dumps(told))
        self.ranks.broadcast(buffer, self.ranks.rank)
        self._sequence, self.last = now.sequence, now
        self.beat()
        return Sent(now, layout.size, tuple(values))

    def beat(self) -> None:
        self._beats += 1
        with contextlib.suppress(RuntimeError):
            self.ranks.store.set(BEAT, f"{self.heartbeat} {self._beats}")

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.ranks.store.set(BEAT, CLOSED)
        self.ranks.leave()


def packed(values: Values, layout: Layout, device: torch.device) -> torch.Tensor:
    """All tensors in one run of bytes on this device."""
    torch = import_torch()
    if device.type == "cpu":
        array = np.zeros(max(layout.size, 1), np.uint8)
        Places(layout, array.data).fill(values)
        return from_numpy(array)
    buffer = torch.zeros(max(layout.size, 1), dtype=torch.uint8, device=device)
    layout.fill(buffer, values)
    return buffer


class DistributedReceiver(Receiver):
    """Takes part in every broadcast, in order; what could not be applied is kept until the next."""

    def __init__(self, ranks: _Ranks) -> None:
        self.ranks = ranks
        self._received: tuple[Head, Update] | None = None
        self._lock = threading.Lock()
        self._pulse = Pulse()

    def head(self) -> Head | None:
        told = self.ranks.get(HEAD)
        return None if told is None else Head(*json.loads(told)["head"])

    @contextlib.contextmanager
    def receive(self) -> Iterator[Update | None]:
        with self._lock:
            told = self.ranks.get(HEAD)
            if told is None:
                yield None
                return
            found = json.loads(told)
            head = Head(*found["head"])
            if self._received is None or self._received[0] != head:
                layout = Layout.loads(found["table"].encode())
                torch = import_torch()
                buffer = torch.empty(max(layout.size, 1), dtype=torch.uint8, device=self.ranks.device)
                self.ranks.broadcast(buffer, found["source"])
                values = layout.within(buffer)
                self._received = head, Update(head, found["structure"], layout.names, values, layout.size)
            yield self._received[1]

    def forget(self) -> None:
        """Every receive gives everything."""

    def alive(self) -> bool | None:
        try:
            told = self.ranks.get(BEAT)
        except FleetError:
            return False
        if told is None or told == CLOSED:
            return False
        return self._pulse.beats(told, float(told.split()[0]))

    def close(self) -> None:
        self._received = None
        self.ranks.leave()
