"""`ipc:` on a stand-in CUDA, for which the host's memory is the GPU's: slots, sums and refusals.

What CUDA itself does with two processes is tested in tests/gpu/test_fleet_ipc.py.
"""

from __future__ import annotations

import gc
import os
import uuid

import ml_dtypes
import numpy as np
import pytest
from fleet.test_roads import fresh, read_back, stamped
from host_cuda import HostCUDA

from trtnet import fleet
from trtnet.basics import dtypes
from trtnet.errors import FleetError, ProviderError, WeightsError

torch = pytest.importorskip("torch")
pytest.importorskip("fcntl")

from trtnet.fleet import cuda_ipc, shared_memory  # noqa: E402
from trtnet.fleet.cuda_ipc import CudaIPC  # noqa: E402
from trtnet.tensorrt import device  # noqa: E402
from trtnet.tensorrt.run.device_array import CPU, DeviceArray  # noqa: E402


class Nowhere(set):
    """Sessions of other processes alone: here one process is both."""

    def __contains__(self, session):
        return False


def on_host(memory, size, device):
    return torch.from_dlpack(DeviceArray(memory, (size,), dtypes.uint8, None, _kind=CPU))


@pytest.fixture
def cuda(monkeypatch):
    """The stand-in. Nothing of it stays allocated or open."""
    host = HostCUDA()
    monkeypatch.setattr(device, "cuda", lambda: host)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cuda_ipc, "_bytes", on_host)
    monkeypatch.setattr(cuda_ipc, "HERE", Nowhere())
    yield host
    gc.collect()
    assert not host.live
    assert not host.opened.total()


@pytest.fixture
def where(cuda):
    name = f"test-{uuid.uuid4().hex}"
    yield f"ipc:{name}"
    assert not CudaIPC(name).folder.exists(), "it is given back"


def test_without_a_gpu_it_is_refused_with_what_to_take_instead():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ProviderError, match="ipc: needs a CUDA device") as caught:
        fleet.Publisher("ipc:policy")
    assert caught.value.remedy == "use 'shm:NAME', which needs none"


def test_versions_pass_and_two_pieces_of_memory_are_enough(cuda, where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:
        assert follower.poll() is None
        for version in range(20):
            report = publisher.publish(stamped(version), version=version)
            assert report.bytes == 384
            follower.poll()
            assert read_back(follower.engine) == version
            assert follower.poll() is None
        assert len(cuda.live) == 2
        assert sum(cuda.opened.values()) == 2


def test_the_file_of_a_slot_takes_no_memory_for_the_tensors(where):
    with fleet.Publisher(where) as publisher:
        publisher.publish({"w": np.ones(10_000_000, np.float32)})
        slots = list(publisher.road.folder.glob("slot-*"))
        assert [slot.stat().st_size > 40_000_000 for slot in slots] == [True]
        assert sum(slot.stat().st_blocks * 512 for slot in slots) < 100_000


def test_types_shapes_and_layouts_arrive(where):
    given = {
        "half": np.arange(3).astype(ml_dtypes.bfloat16),
        "int": np.arange(-2, 3, dtype=np.int8),
        "none": np.zeros((0, 2)),
        "one": np.array(7.0, np.float32),
        "strided": torch.arange(12.0).reshape(3, 4).t(),
        "bool": np.array([True, False]),
    }
    with fleet.Publisher(where) as publisher:
        publisher.publish(given)
        with fleet.roads.road(where).receiver().receive() as update:
            assert update.names == frozenset(given)
            for name, value in given.items():
                wanted = np.asarray(value)
                assert update.values[name].dtype == wanted.dtype
                np.testing.assert_array_equal(update.values[name], wanted)


def test_weights_may_grow_and_shrink(cuda, where):
    receiver = fleet.roads.road(where).receiver()
    with fleet.Publisher(where) as publisher:
        for size in (1, 1000, 10, 100_000, 3):
            publisher.publish({"w": np.full(size, size, np.int64)}, version=size)
            with receiver.receive() as update:
                np.testing.assert_array_equal(update.values["w"], np.full(size, size))
        assert len(cuda.live) <= 3
    receiver.close()


def test_memory_that_holds_something_else_is_refused(cuda, where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:
        publisher.publish(stamped(1), version=1)
        follower.poll()
        publisher.publish(stamped(2), version=2)
        _, data = list(publisher._sender._memory.values())[-1]
        data[-64:] = 0
        with pytest.raises(WeightsError, match="is damaged") as caught:
            follower.poll()
        assert "bytes of the sum" in str(caught.value)
        assert read_back(follower.engine) == 1
        publisher.publish(stamped(3), version=3)
        follower.poll()
        assert read_back(follower.engine) == 3


def test_what_a_dead_publisher_shared_is_refused_and_a_new_one_goes_on(cuda, where):
    """Its memory went with it; the folder stays."""
    dead = fleet.roads.road(where).sender(5.0)
    dead.send(stamped(1), 1, None)
    early, late = fleet.Follower(fresh(), where), fleet.Follower(fresh(), where)
    early.poll()
    dead._release()
    gc.collect()
    assert early.poll() is None
    with pytest.raises(WeightsError, match="memory on the GPU cannot be opened") as caught:
        late.poll()
    assert "cudaErrorInvalidResourceHandle" in str(caught.value)
    with fleet.Publisher(where) as publisher:
        assert publisher.version == 1
        assert late.poll() is None
        publisher.publish(stamped(2), version=2)
        for follower in (early, late):
            follower.poll()
            assert read_back(follower.engine) == 2
    early.close()
    late.close()


def test_publisher_and_follower_of_one_process_are_refused(monkeypatch, where):
    monkeypatch.setattr(cuda_ipc, "HERE", set())
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:
        publisher.publish(stamped(1))
        with pytest.raises(FleetError, match="are in one process"):
            follower.poll()
    assert not cuda_ipc.HERE


def test_its_names_are_not_those_of_shm(where):
    name = where.partition(":")[2]
    with fleet.Publisher(where), fleet.Publisher(f"shm:{name}") as other:
        other.publish(stamped(1))
        assert fleet.roads.road(where).receiver().head() is None
    folder = CudaIPC(name).folder
    assert folder.parent == shared_memory.place()
    assert folder.name == f"trtnet-{os.getuid()}-ipc:{name}"
