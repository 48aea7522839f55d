"""The order of work on several streams.

Each execution context has a stream lock: a lock, and the stream that its last work is on. Work that comes on another
stream waits for that, on the GPU; nothing waits on the host, and no call pays for it while the stream stays the same.
"""

from __future__ import annotations

import threading

from ...basics.errors import EngineError, ProviderError
from ..device import Device, Owned

DEFAULT_STREAM = 0


class StreamLock:
    """A lock, and the stream that the last work under it went to."""

    def __init__(self, device: Device) -> None:
        self.lock = threading.Lock()
        self.device = device
        self.stream: int | None = None
        self.event = device.event()
        self._side: Owned | None = None

    def side(self) -> int:
        """A stream of its own: for calls from the CPU, and in place of the default stream, on which TensorRT
        may synchronise the device (its warning in `enqueueV3`)."""
        if self._side is None:
            self._side = self.device.stream()
        return self._side.handle

    def enter(self, stream: int) -> None:
        """Work is about to be enqueued on this stream."""
        if stream == self.stream:
            return
        if self.stream is not None and not self.device.is_capturing(stream):
            try:
                if self.device.is_capturing(self.stream):
                    raise EngineError(
                        "this call would become part of a CUDA graph that is being captured on another stream",
                        expected="calls in one context on the stream of the capture alone",
                        found=f"a call on stream {stream:#x} during a capture on stream {self.stream:#x}",
                        remedy="call engine.context() for the other stream, or wait for the end of the capture",
                    )
                self.device.order(self.event, self.stream, stream)
            except ProviderError:  # that stream is gone
                self.device.synchronize()
        self.stream = stream
