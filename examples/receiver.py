"""A receiver of weights in the shape of vLLM's weight transfer: init, start, update, finish.

    python examples/receiver.py

Frameworks that train language models (vLLM, verl, NeMo-RL) send weights to their samplers in four phases: once `init`,
then for each new version `start`, any number of `update`s with some tensors each, and `finish`. This is the same for an
engine: tensors are kept until `finish`, which is one refit, so that a sender that dies in between changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import trtnet
from trtnet import Input, nn


class Receiver:
    """Gives an engine the weights of a sender that calls these four."""

    def __init__(self, engine: trtnet.Engine) -> None:
        self.engine = engine
        self.expected: dict[str, tuple[tuple[int, ...], str]] = {}
        self.waiting: dict[str, Any] | None = None

    def init(self, named: Iterable[tuple[str, tuple[int, ...], str]]) -> None:
        """What will come: name, shape and dtype of each tensor."""
        self.expected = {name: (tuple(shape), dtype) for name, shape, dtype in named}
        missing = self.engine.refittable - self.expected.keys()
        if missing:
            raise ValueError(f"the sender has not all weights of this engine: without {sorted(missing)}")

    def start(self) -> None:
        """Begin a version; what an earlier one left unfinished is dropped."""
        self.waiting = {}

    def update(self, named: Iterable[tuple[str, Any]]) -> None:
        """Some tensors, each as a whole. They are copied: the sender may use its buffers again."""
        if self.waiting is None:
            raise RuntimeError("start() comes before update()")
        for name, tensor in named:
            shape, dtype = self.expected[name]
            if tuple(tensor.shape) != shape or str(tensor.dtype).removeprefix("torch.") != dtype:
                raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, and {shape} {dtype} was told")
            self.waiting[name] = tensor.copy() if isinstance(tensor, np.ndarray) else tensor.detach().clone()

    def finish(self, version: int) -> trtnet.RefitReport:
        """All of them, or none: one refit."""
        if self.waiting is None or self.waiting.keys() != self.expected.keys():
            raise RuntimeError(f"{len(self.waiting or ())} of {len(self.expected)} tensors have come")
        report = self.engine.refit(self.waiting, version=version)
        self.waiting = None
        return report


if __name__ == "__main__":
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    receiver = Receiver(trtnet.build(trtnet.record(net, input=Input((1, 4))), refit=True))
    state = {name: np.array(value) for name, value in net.state_dict().items()}
    receiver.init((name, value.shape, value.dtype.name) for name, value in state.items())
    for step in range(1, 4):
        receiver.start()
        for name, value in state.items():  # in packets, as they come
            receiver.update([(name, value * step)])
        print(receiver.finish(version=step))
