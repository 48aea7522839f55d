"""What an engine takes of memory."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from ..basics.tables import render


@dataclass(frozen=True)
class Memory:
    """What `engine.memory()` says, in bytes; prints as a table.

    What nobody tells is not in it: what TensorRT keeps for each execution context beside its scratch memory, CUDA's own
    and its kernels', and what torch keeps for arrays that are its own.

    Attributes:
        device: where the engine runs.
        runner: what runs it: "TensorRT 10.14.1", "PyTorch".
        weights: all of them, as TensorRT counts them, from 10.14 on; None where it does not. The reference engine's are
            its parameters, and what it computed of them alone.
        streamed: of these what stays on the host, and is copied to the device at each call; None where TensorRT 10.0
            was left to choose.
        live: the engine's own memory for live weights. Bound ones lie in the trainer's.
        scratch: of one execution context, by optimization profile; one figure for all of them on TensorRT 8.6.
        contexts: how many execution contexts there are that have scratch memory of their own: the engine's calls make
            one when they first need it, and so does each `engine.context()` and each bound call.
        shared: the scratch memory that the contexts of `shared_memory=True` have together.
        buffers: on the device, for calls with arrays of the host, and for refits by tensors of the device. The
            reference engine's are memory of values before the last refit, for the next one.
        pinned: page-locked on the host, for the same.
        plan: the plan, which the engine keeps on the host.
    """

    device: str
    runner: str
    weights: int | None
    streamed: int | None = 0
    live: int = 0
    scratch: tuple[int, ...] = ()
    contexts: int = 0
    shared: int = 0
    buffers: int = 0
    pinned: int = 0
    plan: int = 0

    def __add__(self, other: Memory) -> Memory:
        """Of two engines of one plan."""
        counts = [one.name for one in fields(self) if isinstance(getattr(self, one.name), int)]
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in counts})

    def __str__(self) -> str:
        each = f"each of {self.contexts} execution context{'s' * (self.contexts != 1)} has that"
        weights = None if self.weights is None or self.streamed is None else self.weights - self.streamed
        uncounted = "" if self.weights is not None else f"{self.runner} does not count them; the plan holds them"
        rows: list[tuple[str, str, int | None, str]] = [
            ("weights", self.device, weights, uncounted),
            ("streamed weights", "host", self.streamed, "copied to the device at each call"),
            ("live weights", self.device, self.live, ""),
            *(
                ("scratch" + f", profile {number}" * (len(self.scratch) > 1), self.device, size, each)
                for number, size in enumerate(self.scratch)
            ),
            ("shared scratch", self.device, self.shared, "of the contexts that share it"),
            ("buffers", self.device, self.buffers, "for arrays of the host, and refits"),
            ("page-locked", "host", self.pinned, "for the same"),
            ("plan", "host", self.plan, ""),
        ]
        shown = [
            (name, where, "?" if size is None else f"{size:,}", why)
            for name, where, size, why in rows if size != 0 or name == "weights"
        ]  # fmt: skip
        beside = "" if self.scratch else "; what its calls take, torch's own functions tell"
        return render(("memory", "on", "bytes", ""), shown, right=("bytes",), footer=f"by {self.runner}{beside}")
