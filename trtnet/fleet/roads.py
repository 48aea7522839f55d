"""What a road between a Publisher and its Followers is, and which one a URL names."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from os import PathLike, fspath
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, Union

from ..basics.errors import ArgumentError, ArgumentTypeError, nearest, shown

if TYPE_CHECKING:
    import numpy as np
    import torch

Values: TypeAlias = "Mapping[str, np.ndarray | torch.Tensor]"
"""Tensors by `state_dict` key."""


class Head(NamedTuple):
    """What is the newest on a road.

    Attributes:
        session: of the publisher: another one for each Publisher that was ever made.
        sequence: the number of the publish in its session.
        version: the trainer's own number. It may go back, as when training goes on from an older checkpoint.
        published: when, in seconds since 1970 by the publisher's clock.
    """

    session: str
    sequence: int
    version: int
    published: float


@dataclass(frozen=True)
class Update:
    """Weights that were received: whole, of one publish.

    Attributes:
        head: of which.
        structure: the structure hash of the publisher's graph, where it said one.
        names: the keys of everything that was published.
        values: tensors by key, readable until the receiver's block ends; where a road carries only what changed, those
            that the receiver has not received yet.
        bytes: how many were moved for it.
    """

    head: Head
    structure: str | None
    names: frozenset[str]
    values: Values
    bytes: int


class Sent(NamedTuple):
    """What a sender did: how many bytes it moved, and for which tensors."""

    head: Head
    bytes: int
    changed: tuple[str, ...]


class Sender(ABC):
    """The publisher's end of a road."""

    last: Head | None = None
    """What is on the road, by this session or one before it."""

    @abstractmethod
    def send(self, values: Values, version: int, structure: str | None) -> Sent:
        """Put these on the road, whole or not at all: whoever dies meanwhile, what was there before stays."""

    @abstractmethod
    def beat(self) -> None:
        """Show that the publisher lives."""

    @abstractmethod
    def close(self) -> None:
        """Leave the road, which another publisher may take."""


class Receiver(ABC):
    """A follower's end of a road."""

    @abstractmethod
    def head(self) -> Head | None:
        """What is the newest; None while there is none. Costs little."""

    @abstractmethod
    def receive(self) -> contextlib.AbstractContextManager[Update | None]:
        """The newest weights, for the length of a block; None where there are none, or they are replaced just now.

        Raises WeightsError for weights that are damaged. What is left by an exception counts as not received.
        """

    @abstractmethod
    def forget(self) -> None:
        """Have the next `receive` give everything, also where a road carries only what changed."""

    def alive(self) -> bool | None:
        """Whether the publisher lives; None where the road cannot tell."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Leave the road."""


class Pulse:
    """Tells from a number that its owner counts up whether it lives: by this process's own clock."""

    def __init__(self) -> None:
        self._last: object = None
        self._at = 0.0

    def beats(self, number: object, heartbeat: float) -> bool:
        """Whether the number changed within `heartbeat` seconds; at first it is believed."""
        now = time.monotonic()
        if number != self._last:
            self._last, self._at = number, now
        return now - self._at <= heartbeat


class Road(ABC):
    """A place for weights to pass: makes the two ends.

    Attributes:
        interval: seconds between two looks of a follower in a thread, unless it is told otherwise.
    """

    interval = 0.05

    @abstractmethod
    def sender(self, heartbeat: float) -> Sender:
        """The publisher's end; it promises a `beat` every `heartbeat` seconds, at least."""

    @abstractmethod
    def receiver(self) -> Receiver:
        """A follower's end."""


Where: TypeAlias = Union[str, "PathLike[str]", Road]
"""A URL, the path of a folder, or a Road."""

_HOMES = {
    "dir": ("folder", "Folder"),
    "shm": ("shared_memory", "SharedMemory"),
    "dist": ("distributed", "Distributed"),
    "ray": ("ray", "ObjectStore"),
    "ipc": ("cuda_ipc", "CudaIPC"),
}


def road(where: Where) -> Road:
    """The road that is meant: `dir:PATH`, `shm:NAME`, `ipc:NAME`, `dist:`, `ray:NAME`; a path alone is a folder's; a
    Road is itself.

    Raises ArgumentError for a scheme that there is not, ArgumentTypeError for what is no text, path or Road.
    """
    if isinstance(where, Road):
        return where
    if isinstance(where, PathLike):
        where = f"dir:{fspath(where)}"
    if not isinstance(where, str):
        raise ArgumentTypeError(
            "this names no road for weights", expected="'dir:PATH', 'shm:NAME', a path or a Road", found=shown(where)
        )
    scheme, colon, rest = where.partition(":")
    if not colon or scheme not in _HOMES:
        near = nearest(scheme, _HOMES) if colon else None
        raise ArgumentError(
            "no road for weights goes by this name",
            expected="one of " + ", ".join(f"{name}:" for name in _HOMES),
            found=repr(where)[:200],
            remedy=f"did you mean '{near}:{rest}'?" if near else f"a folder is named 'dir:{rest or where}'",
        )
    module, name = _HOMES[scheme]
    made: Road = getattr(import_module(f"{__package__}.{module}"), name)(rest)
    return made
