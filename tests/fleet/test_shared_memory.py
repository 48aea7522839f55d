"""Weights in shared memory: one copy, whole whoever dies, and nothing left behind."""

from __future__ import annotations

import errno
import os
import signal
import time
import uuid

import numpy as np
import pytest
from fleet.test_roads import fresh, read_back, stamped, until
from kills import child_that, needs_fork

from trtnet import fleet
from trtnet.errors import FleetError, WeightsError
from trtnet.fleet import shared_memory
from trtnet.fleet.shared_memory import SharedMemory

pytest.importorskip("torch")
pytest.importorskip("fcntl")
pytestmark = needs_fork


@pytest.fixture
def name():
    found = f"test-{uuid.uuid4().hex}"
    yield found
    assert not (shared_memory.place() / f"trtnet-{os.getuid()}-{found}").exists(), "it is given back"


def slots(name):
    return sorted(path.name for path in SharedMemory(name).folder.glob("slot-*"))


def test_two_slots_are_enough_and_are_used_again(name):
    with fleet.Publisher(f"shm:{name}") as publisher, fleet.Follower(fresh(), f"shm:{name}") as follower:
        for version in range(20):
            publisher.publish(stamped(version), version=version)
            follower.poll()
            assert read_back(follower.engine) == version
        assert len(slots(name)) == 2


def test_what_is_received_is_the_publishers_memory(name):
    with fleet.Publisher(f"shm:{name}") as publisher:
        publisher.publish(stamped(1))
        with SharedMemory(name).receiver().receive() as one, SharedMemory(name).receiver().receive() as other:
            assert not one.values["w2"].flags.owndata
            assert not one.values["w2"].flags.writeable
            np.testing.assert_array_equal(one.values["w2"], other.values["w2"])


def test_a_reader_that_stopped_keeps_its_slot(name):
    with fleet.Publisher(f"shm:{name}") as publisher:
        publisher.publish(stamped(0), version=0)
        receivers = [SharedMemory(name).receiver() for _ in range(4)]
        blocks = []
        for version, receiver in enumerate(receivers):
            blocks.append((version, receiver.receive()))
            held = blocks[-1][1].__enter__()
            publisher.publish(stamped(version + 1), version=version + 1)
            blocks[-1] += (held,)
        for version in range(5, 12):
            publisher.publish(stamped(version), version=version)
        for version, block, held in blocks:
            assert {float(value[0]) for value in held.values.values()} == {version}
            block.__exit__(None, None, None)
        assert len(slots(name)) == 6
        for version in range(12, 16):
            publisher.publish(stamped(version), version=version)
        assert len(slots(name)) <= 3, "what nobody needs is given back"


def test_weights_may_grow_and_shrink(name):
    receiver = SharedMemory(name).receiver()
    with fleet.Publisher(f"shm:{name}") as publisher:
        for size in (1, 1000, 10, 100_000, 3):
            publisher.publish({"w": np.full(size, size, np.int64)}, version=size)
            with receiver.receive() as update:
                assert update.values["w"].tolist() == [size] * size
                assert update.head.version == size


def test_a_name_has_one_publisher(name):
    with fleet.Publisher(f"shm:{name}"), pytest.raises(FleetError, match="another publisher has this name"):
        fleet.Publisher(f"shm:{name}")
    fleet.Publisher(f"shm:{name}").close()


def killed_publisher(name, work):
    """A child that publishes, and then does `work`, and is killed."""

    def child():
        publisher = fleet.Publisher(f"shm:{name}", heartbeat=0.4)
        publisher.publish(stamped(3), version=3)
        work(publisher)
        os.kill(os.getpid(), signal.SIGKILL)

    pid = child_that(child)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def half(publisher):
    """Dies in the midst of filling a slot."""
    sender = publisher._sender
    _, slot = sender._free(5000)
    slot.words[shared_memory.SEQUENCE] = 2 * 2 - 1
    slot.memory[64:5000] = b"\x7f" * 4936


@pytest.mark.parametrize("work", [lambda publisher: None, half], ids=["idle", "filling"])
def test_a_killed_publisher_leaves_its_weights_and_another_goes_on(name, work):
    killed_publisher(name, work)
    follower = fleet.Follower(fresh(), f"shm:{name}")
    follower.poll()
    assert (read_back(follower.engine), follower.version) == (3, 3)
    assert follower.alive
    until(lambda: not follower.alive)  # noticed by the heartbeat
    with fleet.Publisher(f"shm:{name}") as publisher:
        assert publisher.version == 3
        assert follower.alive
        publisher.publish(stamped(4))
        follower.poll()
        assert (read_back(follower.engine), follower.version) == (4, 4)
        assert len(slots(name)) <= 3


def test_what_dead_processes_left_is_found_and_removed(name, monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, "place", lambda: tmp_path)  # publishers of other tests look, too
    killed_publisher(name, half)
    with fleet.Publisher(f"shm:{name}-alive"):
        folder = SharedMemory(name).folder
        for path in (folder, *folder.iterdir(), SharedMemory(f"{name}-alive").folder):
            os.utime(path, (time.time() - 7200,) * 2)
        SharedMemory(f"{name}-alive").folder.joinpath("head").touch()
        assert name not in shared_memory.remove_left(3 * 3600)
        assert folder.exists()
        follower = fleet.Follower(fresh(), f"shm:{name}")
        follower.poll()
        for path in (folder, *folder.iterdir()):
            os.utime(path, (time.time() - 7200,) * 2)
        with fleet.Publisher(f"shm:{name}-third"):  # which looks
            assert not folder.exists()
        assert SharedMemory(f"{name}-alive").folder.exists()
        assert read_back(follower.engine) == 3
        with fleet.Publisher(f"shm:{name}") as publisher:
            publisher.publish(stamped(8), version=8)
            follower.poll()
            assert (read_back(follower.engine), follower.version) == (8, 8)


def test_no_room_leaves_what_was_there(name, monkeypatch):
    with fleet.Publisher(f"shm:{name}") as publisher:
        publisher.publish(stamped(1), version=1)

        def full(*arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(WeightsError, match="no room") as found:
            publisher.publish({"w": np.zeros(100_000)}, version=2)
        assert "--shm-size" in found.value.remedy
        monkeypatch.undo()
        follower = fleet.Follower(fresh(), f"shm:{name}")
        follower.poll()
        assert (read_back(follower.engine), follower.version) == (1, 1)
        publisher.publish(stamped(2), version=2)
        follower.poll()
        assert read_back(follower.engine) == 2


def test_a_real_lack_of_room_is_an_error_and_no_bus_error(name):
    free = os.statvfs(shared_memory.place())
    if free.f_bavail * free.f_frsize > 1 << 46:
        pytest.skip("there is no end to this memory")
    with fleet.Publisher(f"shm:{name}") as publisher:
        with pytest.raises(WeightsError, match="no room"):
            publisher._sender._free(1 << 50)
        publisher.publish(stamped(1))


def test_damaged_memory_is_refused(name):
    with fleet.Publisher(f"shm:{name}") as publisher:
        publisher.publish(stamped(1), version=1)
        follower = fleet.Follower(fresh(), f"shm:{name}")
        follower.poll()
        publisher.publish(stamped(2), version=2)
        newest = publisher._sender._slots[int(publisher._sender._head.words[1]) & (1 << 20) - 1]
        newest.memory[shared_memory.TABLE_PLACE] = ord("!")
        with pytest.raises(WeightsError, match="damaged"):
            follower.poll()
        newest.memory[shared_memory.NOTE_PLACE] = ord("!")
        with pytest.raises(WeightsError, match="damaged"):
            fleet.Follower(fresh(), f"shm:{name}").poll()
        assert (read_back(follower.engine), follower.version) == (1, 1)
        publisher.publish(stamped(3), version=3)
        follower.poll()
        assert read_back(follower.engine) == 3


def test_memory_that_another_could_write_is_refused(name):
    folder = SharedMemory(name).folder
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(WeightsError, match="cannot be used"):
        fleet.Publisher(f"shm:{name}")
    folder.rmdir()
