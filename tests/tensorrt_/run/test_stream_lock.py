"""The order of work on several streams, with a stand-in for the device that keeps what it was told."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from trtnet.errors import EngineError, ProviderError
from trtnet.tensorrt.run.loaded import Loaded
from trtnet.tensorrt.run.stream_lock import DEFAULT_STREAM, StreamLock


class Device:
    def __init__(self):
        self.told, self.capturing, self.gone = [], set(), set()

    def event(self):
        return "event"

    def is_capturing(self, stream):
        if stream in self.gone:
            raise ProviderError("invalid handle")
        return stream in self.capturing

    def order(self, event, first, then):
        self.told.append((first, then))

    def synchronize(self):
        self.told.append("all")


def test_work_on_another_stream_waits():
    device = Device()
    stream_lock = StreamLock(device)
    for stream in (DEFAULT_STREAM, DEFAULT_STREAM, 7, 7, 9):
        stream_lock.enter(stream)
    assert device.told == [(DEFAULT_STREAM, 7), (7, 9)]
    device.gone.add(9)
    stream_lock.enter(8)
    assert device.told[2:] == ["all"]


def test_captures():
    device = Device()
    stream_lock = StreamLock(device)
    stream_lock.enter(1)
    device.capturing.add(2)
    stream_lock.enter(2)
    assert device.told == [], "a capture waits for nothing outside of it"
    with pytest.raises(EngineError, match=r"(?s)captured on another stream.*0x3 during.*0x2.*engine\.context\(\)"):
        stream_lock.enter(3)
    assert (stream_lock.stream, device.told) == (2, [])
    device.capturing.clear()
    stream_lock.enter(3)
    assert device.told == [(2, 3)]


@pytest.mark.parametrize(
    ("last", "refit", "then"), [(None, None, None), (None, 5, 5), (0, None, 0), (0, 5, 0), (3, 5, 3)]
)
def test_a_new_context_keeps_the_order_of_a_shared_stream_lock(last, refit, then):
    """0 is the default stream: there is work on it to wait for."""
    stream_lock, known = StreamLock(Device()), []
    stream_lock.stream = last
    engine = SimpleNamespace(
        _admin=threading.RLock(), _contexts=SimpleNamespace(add=known.append), _refitted_on=refit
    )  # fmt: skip
    context = SimpleNamespace(stream_locks=[stream_lock])
    Loaded.register(engine, context)
    assert known == [context]
    assert stream_lock.stream == then
