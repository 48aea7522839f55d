"""`ipc:` between processes of one GPU: whole publishes or none, also from publishers that are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid

import pytest

from trtnet import fleet
from trtnet.errors import FleetError, WeightsError

torch = pytest.importorskip("torch")
pytest.importorskip("fcntl")

import ipc_processes as other  # noqa: E402

from trtnet.fleet.cuda_ipc import CudaIPC  # noqa: E402
from trtnet.fleet.shared_memory import remove_left  # noqa: E402

context = multiprocessing.get_context("spawn")


@pytest.fixture
def where():
    name = f"test-{uuid.uuid4().hex}"
    yield f"ipc:{name}"
    remove_left(seconds=0)
    assert not CudaIPC(name).folder.exists()


def process(function, *given):
    """A process that does this, and the pipe to it."""
    pipe, end = context.Pipe()
    made = context.Process(target=function, args=(*given, end), daemon=True)
    made.start()
    end.close()
    return made, pipe


def said(pipe, seconds=180):
    assert pipe.poll(seconds), "the other process says nothing"
    return pipe.recv()


@pytest.mark.parametrize("kind", ["reference", "tensorrt"])
def test_a_hundred_publishes_to_another_process_without_a_mixture(where, kind):
    last = 100
    one, pipe = process(other.follow, where, kind, last)
    assert said(pipe) == "ready"
    with fleet.Publisher(where, graph=other.graph()) as publisher:
        for version in range(1, last + 1):
            publisher.publish(other.state(version), version=version)
        seen, mixtures, calls, metrics = said(pipe)
        pipe.send("enough")
        one.join(60)
    assert one.exitcode == 0
    assert mixtures == []
    assert all(version == stamp for version, stamp in seen)
    versions = [version for version, _ in seen]
    assert versions == sorted(set(versions))
    assert versions[-1] == last
    assert metrics["failures"] == 0
    print(f"{kind}: {calls} calls, {len(versions)} of {last} versions")


def test_two_followers_of_one_publisher(where):
    both = [process(other.follow, where, "reference", 50) for _ in range(2)]
    for _, pipe in both:
        assert said(pipe) == "ready"
    with fleet.Publisher(where, graph=other.graph()) as publisher:
        for version in range(1, 51):
            publisher.publish(other.state(version), version=version)
        for one, pipe in both:
            seen, mixtures, _, metrics = said(pipe)
            assert (mixtures, metrics["failures"], seen[-1]) == ([], 0, (50, 50.0))
            pipe.send("enough")
            one.join(60)
            assert one.exitcode == 0


def test_types_shapes_and_layouts_arrive(where):
    one, pipe = process(other.publish_types, where)
    assert said(pipe) == "published"
    with fleet.roads.road(where).receiver().receive() as update:
        wanted = {name: torch.as_tensor(value).cpu() for name, value in other.types().items()}
        assert update.names == frozenset(wanted)
        for name, value in wanted.items():
            assert update.values[name].is_cuda
            assert update.values[name].dtype == value.dtype
            assert torch.equal(update.values[name].cpu(), value)
    pipe.send("enough")
    one.join(60)
    assert one.exitcode == 0


def test_publishers_that_are_killed_leave_whole_weights_or_none(where):
    """What was applied stays; of a publish whose memory has gone nothing is applied."""
    with other.engine("reference") as engine, fleet.Follower(engine, where) as follower:
        refused = 0
        for _ in range(5):
            one, pipe = process(other.publish, where)
            before = said(pipe)
            for _ in range(20):
                follower.poll()
                found = other.stamp(engine)
                assert found == {float(follower.version)}
            assert follower.version >= before
            os.kill(one.pid, signal.SIGKILL)
            for _ in range(20):
                try:
                    follower.poll()
                except WeightsError:
                    refused += 1
                assert other.stamp(engine) == {float(follower.version)}
            one.join()
        print(f"refused after a kill: {refused} polls")


def test_a_follower_that_comes_after_the_kill_gets_nothing_that_is_not_whole(where):
    one, pipe = process(other.publish, where)
    last = max(said(pipe) for _ in range(3))
    os.kill(one.pid, signal.SIGKILL)
    one.join()
    with other.engine("reference") as engine, fleet.Follower(engine, where) as follower:
        try:
            follower.poll()
        except WeightsError as error:
            print(f"after the kill: {error.problem}: {error.found}")
            assert other.stamp(engine) == {0.0}
        else:
            assert follower.version is None or follower.version >= last
            assert other.stamp(engine) == {float(follower.version or 0)}
        one, pipe = process(other.publish, where)
        version = said(pipe)
        assert version > last
        follower.poll()
        assert follower.version >= version
        assert other.stamp(engine) == {float(follower.version)}
        one.kill()
        one.join()


def test_publisher_and_follower_of_one_process_are_refused(where):
    with other.engine("reference") as engine, fleet.Publisher(where) as publisher:
        publisher.publish(other.state(1))
        with fleet.Follower(engine, where) as follower, pytest.raises(FleetError, match="are in one process"):
            follower.poll()
        assert other.stamp(engine) == {0.0}


@pytest.mark.alone
def test_memory_is_given_back(where):
    size = 64 << 20

    def publish(times):
        for _ in range(times):
            with fleet.Publisher(where) as publisher:
                before = torch.cuda.mem_get_info()[0]
                for version in range(6):
                    publisher.publish({"w": torch.full((size // 4,), float(version), device="cuda")})
                assert before - torch.cuda.mem_get_info()[0] >= 2 * size
            torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    free = publish(1)  # CUDA's kernels are loaded when they are first called, and stay
    assert free - publish(4) < size
