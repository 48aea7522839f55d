"""Calls with arrays of other libraries on the GPU, with torch and without."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import trtnet
from trtnet import Dim, Input, dtypes, nn
from trtnet import functional as F
from trtnet.errors import ArgumentTypeError, DtypeError, ShapeError
from trtnet.tensorrt.device import Device, checked
from trtnet.tensorrt.run import contexts
from trtnet.tensorrt.run.device_array import DeviceArray

B = Dim("b", min=1, opt=2, max=8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x):
        hidden = F.relu(self.fc1(x))
        return {"hidden": hidden, "best": self.fc2(hidden).argmax(1)}


@pytest.fixture(scope="module")
def engine():
    trtnet.manual_seed(0)
    graph = trtnet.record(Net(), x=Input((B, 4)))
    return trtnet.build(graph, provider="tensorrt", optimization_level=0, refit=True)


def x(batch=2, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 4)).astype(np.float32)


def on_gpu(array, stream=0):
    device = Device(0)
    memory = device.allocate(array.nbytes)
    device.copy(memory.handle, array.ctypes.data, array.nbytes, stream)
    device.synchronize(stream)
    return DeviceArray(memory, array.shape, dtypes.get(array.dtype), device, stream)


class Described:
    """Offers `__cuda_array_interface__` alone."""

    def __init__(self, array, **entries):
        self.array = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **entries}


@pytest.fixture(params=["with torch", "without torch"])
def path(request, monkeypatch):
    if request.param == "without torch":
        monkeypatch.setattr(contexts, "torch_here", lambda: None)
    else:
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("torch has no CUDA")
    return request.param


def numpy(value):
    return value.numpy() if isinstance(value, DeviceArray) else value.cpu().numpy()


@pytest.mark.parametrize("wrap", [lambda a: a, Described])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_results_are_those_of_host_arrays(engine, path, wrap, batch):
    wanted = engine(x(batch))
    found, generation = engine(wrap(on_gpu(x(batch))), with_generation=True)
    assert generation == engine.generation
    for name, value in wanted.items():
        assert hasattr(found[name], "__dlpack__")
        assert hasattr(found[name], "__cuda_array_interface__")
        assert isinstance(found[name], DeviceArray) == (path == "without torch")
        np.testing.assert_array_equal(numpy(found[name]), value, strict=True)


def test_results_go_to_torch(engine, path):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA")
    found = engine(on_gpu(x()))["hidden"]
    wanted = numpy(found)
    for taken in (torch.from_dlpack(found), torch.as_tensor(found, device="cuda")):
        np.testing.assert_array_equal(taken.cpu().numpy(), wanted)


def test_results_go_in_again(path):
    class Doubled(nn.Module):
        def forward(self, x):
            return x + x

    engine = trtnet.build(trtnet.record(Doubled(), x=Input((2, 3))), provider="tensorrt", optimization_level=0)
    value = on_gpu(np.ones((2, 3), np.float32))
    for _ in range(5):
        value = engine(value)
    np.testing.assert_array_equal(numpy(value), np.full((2, 3), 32, np.float32))


def test_producers_and_consumers_are_waited_for(engine, path):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA")
    wanted = engine(x(seed=3))
    side, third = torch.cuda.Stream(), torch.cuda.Stream()
    given = torch.zeros(2, 4, device="cuda")
    torch.cuda.synchronize()

    class Producer:
        """Another library's array: values come late, on a stream of its own."""

        def __dlpack_device__(self):
            return given.__dlpack_device__()

        def __dlpack__(self, stream=None, **options):
            with torch.cuda.stream(side):
                torch.cuda._sleep(50_000_000)
                given.copy_(torch.from_numpy(x(seed=3)).cuda(), non_blocking=True)
                return given.__dlpack__(stream=stream)

    for _ in range(3):
        with torch.cuda.stream(side):
            given.zero_()
        side.synchronize()
        found = engine(Producer())
        with torch.cuda.stream(third):
            copies = {name: torch.from_dlpack(value).clone() for name, value in found.items()}
        third.synchronize()
        if path == "without torch":  # torch tensors wait for other streams only when told to
            for name, value in wanted.items():
                np.testing.assert_array_equal(copies[name].cpu().numpy(), value)
        for name, value in wanted.items():
            np.testing.assert_array_equal(numpy(found[name]), value)


def test_a_stream_of_the_users(engine, path):
    device = Device(0)
    stream = device.stream()
    found = engine(on_gpu(x()), stream=stream.handle)
    device.synchronize(stream.handle)
    for name, value in engine(x()).items():
        np.testing.assert_array_equal(numpy(found[name]), value)


def test_the_stream_entry_is_honoured(engine, path):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA")
    wanted, side = engine(x(seed=4)), torch.cuda.Stream()
    given = torch.zeros(2, 4, device="cuda")
    late = torch.from_numpy(x(seed=4)).cuda()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        given.copy_(late)
    found = engine(Described(given, version=3, stream=side.cuda_stream))
    for name, value in wanted.items():
        np.testing.assert_array_equal(numpy(found[name]), value)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (lambda: on_gpu(x(9)), ShapeError, "b is outside its range"),
        (lambda: on_gpu(x().astype(np.float16)), DtypeError, "wrong dtype"),
        (lambda: on_gpu(x()[:, 0].copy()), ShapeError, "wrong number of dimensions"),
        (lambda: Described(on_gpu(x()), mask=object()), ArgumentTypeError, "masked"),
    ],
)
def test_what_is_refused_leaves_the_engine_as_it_was(engine, path, value, kind, message):
    before = engine(x())
    with pytest.raises(kind, match=message):
        engine(value())
    for name, found in engine(on_gpu(x())).items():
        np.testing.assert_array_equal(numpy(found), before[name])


@pytest.mark.alone
def test_memory_comes_back(engine, path):
    device, given = Device(0), on_gpu(x())
    for _ in range(20):
        engine(given)
    gc.collect()
    device.synchronize()
    before = checked(device.runtime.cudaMemGetInfo())[0]
    for _ in range(500):
        engine(given)
    gc.collect()
    device.synchronize()
    assert checked(device.runtime.cudaMemGetInfo())[0] >= before - (4 << 20)


def test_results_outlive_the_engine():
    graph = trtnet.record(Net(), x=Input((B, 4)))
    engine = trtnet.build(graph, provider="tensorrt", optimization_level=0)
    wanted, found = engine(x()), engine(on_gpu(x()))
    del engine
    gc.collect()
    for name, value in wanted.items():
        np.testing.assert_array_equal(numpy(found[name]), value)
