"""Which CUDA device is the calling thread's, with a stand-in for the CUDA runtime that keeps count."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace

import pytest

from trtnet.basics.garbage import no_collection
from trtnet.tensorrt import device as cuda_device
from trtnet.tensorrt.device import Device, Owned


class Runtime(threading.local):
    """What cuda-python answers on a machine with several devices: each thread begins on the first."""

    now = 0
    switches = 0

    def cudaGetDevice(self):
        return 0, self.now

    def cudaSetDevice(self, ordinal):
        self.now, self.switches = ordinal, self.switches + 1
        return (0,)

    def cudaMalloc(self, nbytes):
        return 0, 1000 * (self.now + 1) + nbytes

    def cudaFree(self, address):
        assert address // 1000 == self.now + 1, "freed on another device"
        return (0,)


def device(runtime, ordinal, alone=False):
    made = Device.__new__(Device)
    made.runtime, made.ordinal, made.alone = runtime, ordinal, alone
    return made


class Driver:
    """libcuda's answers to what `loads_lazily` asks."""

    def __init__(self, mode, code=0):
        def cuModuleGetLoadingMode(place):
            place._obj.value = mode
            return code

        if mode is not None:
            self.cuModuleGetLoadingMode = cuModuleGetLoadingMode


def test_how_the_driver_loads_kernels(monkeypatch):
    for driver, lazily in (
        (Driver(2), True), (Driver(1), False), (Driver(2, code=3), None), (Driver(None), None), (None, None),
    ):  # fmt: skip
        monkeypatch.setattr(cuda_device, "_driver", lambda driver=driver: driver)
        assert cuda_device.loads_lazily() is lazily


def test_the_callers_device_comes_back():
    runtime = Runtime()
    first, second = device(runtime, 0), device(runtime, 1)
    with second.current():
        assert runtime.now == 1
        with first.current():
            assert runtime.now == 0
            with first.current():
                assert runtime.now == 0
        assert runtime.now == 1
    assert (runtime.now, runtime.switches) == (0, 4)

    def fail():
        with second.current():
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert runtime.now == 0


def test_each_thread_has_its_own():
    runtime, seen = Runtime(), []
    second = device(runtime, 1)

    def work():
        seen.append(runtime.now)
        with second.current():
            seen.append(runtime.now)
        seen.append(runtime.now)

    with second.current():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert runtime.now == 1
    assert seen == [0, 1, 0]


def test_memory_is_made_and_freed_where_it_is():
    runtime = Runtime()
    memory = device(runtime, 2).allocate(8)
    assert isinstance(memory, Owned)
    assert memory.handle == 3008
    assert runtime.now == 0
    memory.free()
    assert runtime.now == 0


def test_the_only_device_is_just_set():
    runtime = Runtime()
    only = device(runtime, 0, alone=True)
    with only.current(), only.current():
        assert runtime.switches == 2
    assert runtime.switches == 2


class Capturing(Runtime):
    """What is freed during a capture ends it."""

    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaGraphExecDestroy = cudaGraphDestroy = staticmethod(lambda graph: (0,))
    capturing = False
    freed = 0

    def cudaStreamBeginCapture(self, stream, mode):
        self.capturing = True
        return (0,)

    def cudaStreamEndCapture(self, stream):
        self.capturing = False
        return 0, 7

    def cudaGraphInstantiate(self, graph, flags):
        return 0, 8

    def cudaFree(self, address):
        assert not self.capturing, "this would end the capture"
        self.freed += 1
        return (0,)


def test_a_capture_is_not_ended_by_what_is_collected():
    class Engine:
        pass

    runtime = Capturing()
    here = device(runtime, 0)
    gc.collect()

    def enqueue(stream):
        forgotten = Engine()
        forgotten.itself, forgotten.memory = forgotten, here.allocate(16)
        del forgotten
        for _ in range(3):  # as many as start a collection of each generation
            [[] for _ in range(gc.get_threshold()[0] * 130)]

    assert here.capture(enqueue, 5).handle == 8
    assert gc.isenabled()
    gc.collect()
    assert runtime.freed == 1


def test_collection_is_back_when_the_last_thread_has_left():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with no_collection():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with no_collection():
        thread.start()
        assert entered.wait(60)
        assert not gc.isenabled()
    assert not gc.isenabled(), "the other thread is inside still"
    leave.set()
    thread.join()
    assert gc.isenabled()
