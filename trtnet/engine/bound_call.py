"""What `engine.bind` gives."""

from __future__ import annotations

from typing import Any, Protocol

from .inputs import StreamLike
from .revision import Revision, Version


class BoundCall(Protocol):
    """A call whose input arrays are fixed: it reads what they hold, and gives the same output arrays each time.

    Attributes:
        tensors: the input tensors. A tensor that was moved or resized since raises at the next call.
        results, result: the outputs, also in the form that `forward` returned. Each call overwrites them.
        revision: which weights the last call ran with.
    """

    tensors: list[Any]
    results: list[Any]
    result: Any
    revision: Revision

    @property
    def generation(self) -> int:
        """How many times the weights had been changed at the last call."""

    @property
    def version(self) -> Version:
        """The trainer's number of the weights at the last call."""

    def __call__(self, stream: StreamLike | None = None) -> Any:
        """Run on what the bound tensors hold now; on the caller's stream, in its order."""

    def close(self) -> None:
        """Wait for what is running, and free what the call holds."""
