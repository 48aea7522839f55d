"""Past one machine, on Ray: weights by its object store (`ray:NAME`), and actors that it places and restarts.

`ActorPool` puts a graph or a plan into the object store once; each actor makes its engine of it, and follows. Ray
restarts what dies, with the newest weights. Needs the package ray: `pip install 'trtnet[ray]'`.

A publish is one object of the store, of which each machine gets one copy, mapped by all its processes. Which one is the
newest, a small Ray actor says, `trtnet.fleet/NAME`, which also owns the object: so it stays when the publisher dies.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ..basics.errors import ArgumentError, ArgumentTypeError, FleetError, ProviderError, TrtnetError, shown
from ..building import build
from ..engine.plan import Plan
from ..graph.graph import Graph
from ..loading import load
from .following import Follower
from .layout import Layout, Places
from .roads import Head, Pulse, Receiver, Road, Sender, Sent, Update, Values

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

NAMESPACE = "trtnet.fleet"


class State(NamedTuple):
    """What a board says: the head, the structure hash and the table of the newest publish, its object, and the
    publisher's beats and heartbeat."""

    head: Head | None = None
    structure: str | None = None
    table: bytes = b""
    objects: tuple[ObjectRef, ...] = ()  # in a tuple, lest Ray fetches it
    beats: int = 0
    heartbeat: float = 0.0


class Board:
    """The Ray actor that knows the newest publish of a name. The publisher that took it last counts."""

    def __init__(self) -> None:
        self._state = State()
        self._session = ""

    def take(self, session: str, heartbeat: float) -> State:
        self._session = session
        self._state = self._state._replace(heartbeat=heartbeat, beats=self._state.beats + 1)
        return self._state

    def publish(self, head: Head, structure: str | None, table: bytes, data: np.ndarray) -> bool:
        """Keep these weights, as an object of this actor's own; False for a publisher that another followed."""
        if head.session != self._session:
            return False
        objects = (_ray().put(data),)
        self._state = self._state._replace(head=head, structure=structure, table=table, objects=objects)
        return True

    def beat(self, session: str) -> None:
        if session == self._session:
            self._state = self._state._replace(beats=self._state.beats + 1)

    def leave(self, session: str) -> None:
        """The weights stay, for followers that come later."""
        if session == self._session:
            self._state = self._state._replace(heartbeat=0.0)

    def read(self) -> State:
        return self._state


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise ProviderError(
            "the package ray is not installed",
            remedy="pip install 'trtnet[ray]'; on one machine 'shm:NAME' needs nothing",
        ) from None
    found: ModuleType = ray
    return found


class ObjectStore(Road):
    """`ray:NAME`: for the processes of a Ray cluster, all over its machines. They call `ray.init` first."""

    interval = 0.05

    def __init__(self, name: str) -> None:
        if not name:
            raise ArgumentError("ray: names no weights", expected="ray:NAME", found="'ray:'")
        if not _ray().is_initialized():
            raise ArgumentError(
                "ray: needs a Ray cluster, and this process is in none",
                expected="ray.init() before",
                remedy="call ray.init(), or ray.init(address='auto') where a cluster runs already",
            )
        self.name = name

    def board(self) -> ActorHandle:
        options = {"num_cpus": 0, "max_restarts": 0, "lifetime": "detached", "get_if_exists": True}
        made = _ray().remote(Board).options(name=self.name, namespace=NAMESPACE, **options)
        return made.remote()

    def sender(self, heartbeat: float) -> ObjectStoreSender:
        return ObjectStoreSender(self, heartbeat)

    def receiver(self) -> ObjectStoreReceiver:
        return ObjectStoreReceiver(self)

    def remove(self) -> None:
        """Free the memory of the newest weights, and forget them. Followers keep what they have."""
        _ray().kill(self.board())

    def __repr__(self) -> str:
        return f"ray:{self.name}"


def _asked(reference: ObjectRef) -> Any:
    """What Ray gives for a reference. Raises FleetError for what Ray says."""
    ray = _ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise FleetError(
            "Ray cannot say what the newest weights are",
            expected="a cluster that runs",
            found=f"{type(error).__name__}: {error}"[:300],
            remedy="publish again; the engine has the weights that it had",
        ) from None


class ObjectStoreSender(Sender):
    """Puts the weights into the object store, as one array."""

    def __init__(self, road: ObjectStore, heartbeat: float) -> None:
        self.session = secrets.token_hex(8)
        self._board = road.board()
        state: State = _asked(self._board.take.remote(self.session, heartbeat))
        self.last = state.head
        self._sequence = 0 if state.head is None else state.head.sequence

    def send(self, values: Values, version: int, structure: str | None) -> Sent:
        layout = Layout.of(values)
        data = np.zeros(layout.size, np.uint8)
        if layout.size:
            Places(layout, data.data).fill(values)
        now = Head(self.session, self._sequence + 1, version, time.time())
        if not _asked(self._board.publish.remote(now, structure, layout.text, data)):
            raise FleetError(
                "another publisher has taken this name over",
                expected="one publisher for each name",
                found=repr(self._board),
                remedy="let one of the two publish, or give each a name of its own",
            )
        self.last, self._sequence = now, now.sequence
        return Sent(now, layout.size, tuple(values))

    def beat(self) -> None:
        self._board.beat.remote(self.session)

    def close(self) -> None:
        if _ray().is_initialized():
            self._board.leave.remote(self.session)


class ObjectStoreReceiver(Receiver):
    """Reads objects where the store has them, without a copy."""

    def __init__(self, road: ObjectStore) -> None:
        self._road = road
        self._board = road.board()
        self._pulse = Pulse()

    def _state(self) -> State:
        try:
            state: State = _asked(self._board.read.remote())
        except FleetError:  # the board was removed, and a publisher may have made another
            self._board = self._road.board()
            state = _asked(self._board.read.remote())
        return state

    def head(self) -> Head | None:
        return self._state().head

    @contextlib.contextmanager
    def receive(self) -> Iterator[Update | None]:
        state = self._state()
        if state.head is None:
            yield None
            return
        data: np.ndarray = _asked(state.objects[0])
        layout = Layout.loads(state.table)
        yield Update(state.head, state.structure, layout.names, layout.views(data.data), layout.size)

    def forget(self) -> None:
        """Every receive gives everything."""

    def alive(self) -> bool | None:
        try:
            state = self._state()
        except TrtnetError:
            return False
        return state.heartbeat > 0 and self._pulse.beats(state.beats, state.heartbeat)

    def close(self) -> None:
        """There is nothing to give back: the object goes with its last reader."""


class Answer(NamedTuple):
    """What an actor answered, and the version of the weights that it ran with."""

    result: Any
    version: int | None


class FollowingEngine:
    """What a Ray actor of an `ActorPool` is: an engine that follows."""

    def __init__(self, source: Graph | Plan, where: str | None, options: dict[str, Any]) -> None:
        if isinstance(source, Plan):
            with tempfile.TemporaryDirectory() as folder:
                self._engine = load(source.save(Path(folder) / "network.engine"), **options)
        else:
            self._engine = build(source, **options)
        self._follower = None if where is None else Follower(self._engine, where)
        if self._follower is not None:
            self._follower.poll()

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Answer:
        """Run the engine, with the weights that are the newest now."""
        if self._follower is not None:
            self._follower.poll()
        result, version = self._engine(*args, with_version=True, **kwargs)
        return Answer(result, version)

    def metrics(self) -> dict[str, float]:
        return {} if self._follower is None else self._follower.metrics()


class ActorPool:
    """Engines in Ray actors, which follow a publisher and answer calls in turn.

    The graph or plan goes to the machines by the object store, once. An actor that dies is restarted by Ray: it makes
    its engine again, takes the newest weights, and the calls that it had are made again. Each call is one of a whole
    version: an actor looks for newer weights between two calls.

    Args:
        source: a Graph, which each actor builds, or a Plan (`trtnet.build_plan`), which each loads.
        count: how many actors.
        where: whose weights they follow, as a Publisher's: `ray:NAME`; None for the source's own.
        resources: of an actor, as `ray.remote` takes them: num_cpus, num_gpus, scheduling_strategy, ...
        options: for `trtnet.build` or `trtnet.load`: provider, device, ...

    Example: `docs/weights-in-motion.md`.
    """

    def __init__(
        self,
        source: Graph | Plan,
        count: int,
        where: str | None = None,
        *,
        resources: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(source, (Graph, Plan)):
            raise ArgumentTypeError(
                "actors are made of a graph or a plan",
                expected="what trtnet.record or trtnet.build_plan gave",
                found=shown(source),
                remedy="ActorPool(trtnet.record(...), count): an engine stays in its process",
            )
        if type(count) is not int or count < 1:
            raise ArgumentError("a pool has actors", expected="count=1 or more", found=shown(count))
        self._ray = _ray()
        if isinstance(source, Graph) and where is not None:
            options = {"refit": True, **options}
        shared = self._ray.put(source)
        restarts = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": -1, **(resources or {})}
        made = self._ray.remote(FollowingEngine).options(**restarts)
        self.actors: list[ActorHandle] = [made.remote(shared, where, options) for _ in range(count)]
        self._turns = itertools.cycle(self.actors)

    def submit(self, *args: Any, **kwargs: Any) -> ObjectRef:
        """Have the next actor call its engine; `ray.get` of what this returns is an Answer."""
        return next(self._turns).call.remote(args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call an engine, and wait for its result. Raises what the call raised."""
        return self._answer(self.submit(*args, **kwargs)).result

    def map(self, inputs: Iterable[Any]) -> list[Answer]:
        """One call with each of these, spread over the actors; the answers in order."""
        return [self._answer(reference) for reference in [self.submit(one) for one in inputs]]

    def _answer(self, reference: ObjectRef) -> Answer:
        try:
            answer: Answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(cause := error.cause, TrtnetError):
                raise cause from error
            raise
        return answer

    def metrics(self) -> list[dict[str, float]]:
        """Of each actor's follower."""
        found: list[dict[str, float]] = self._ray.get([actor.metrics.remote() for actor in self.actors])
        return found

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            self._ray.kill(actor)
        self.actors = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
