"""Kinds of layers that are in no network: what takes the place of recorded ones in training, by PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress, count
from operator import attrgetter, not_
from typing import TYPE_CHECKING, ClassVar

from ..graph.recorder import Recorder
from ..graph.tensor import Producer, Tensor
from ..graph.training import Training, cannot_train
from .base import Layer, Operand, Output, Position
from .targets import Run

if TYPE_CHECKING:
    import torch


class Instead:
    """What the kinds have in common that take the place of a layer while a module is in training."""

    __slots__ = ()

    inputs: tuple[Operand, ...]
    in_both: ClassVar[bool] = False

    def given(self, inputs: tuple[Operand, ...]) -> tuple[Operand, ...]:
        return (inputs[0], *self.inputs[1:])


@dataclass(slots=True, eq=False, repr=False)
class Dropout(Instead, Layer):
    """Dropout, by the name of torch's function: the identity unless the module at the path `owner` is in training."""

    function: str
    p: float
    owner: str

    kind: ClassVar[str] = "dropout"
    methods: ClassVar[tuple[str, ...]] = ()
    changes: ClassVar[tuple[str, ...]] = ()
    is_view: ClassVar[bool] = True

    def origin(self, positions: tuple[Position, ...]) -> tuple[Position, ...]:
        return positions

    @property
    def draws(self) -> bool:
        return True

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, x.dtype),)

    def again(self, operands: tuple[Operand, ...], recorder: Recorder) -> Tensor | tuple[Tensor, ...]:
        cannot_train("what dropout was given was changed in place, and what it gave was used again", self.owner)
        return Layer.again(self, operands, recorder)

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return getattr(run.torch.nn.functional, self.function)(x, self.p, True) if run.trains(self.owner) else x


@dataclass(slots=True, eq=False, repr=False)
class BatchStatistics(Instead, Layer):
    """torch's `batch_norm` in training, or `instance_norm`, of `each` sample: by the batch's statistics, and into the
    running ones.

    Inputs: the tensor (that of the layer in whose place it is noted), weight and bias. The buffers are named: running
    mean and variance, which are left alone where they are not `tracked`, and the number of batches, where that is
    counted.
    """

    each: bool
    mean: str
    variance: str
    count: str | None
    tracked: bool
    momentum: float | None
    eps: float
    owner: str

    kind: ClassVar[str] = "batch_statistics"
    methods: ClassVar[tuple[str, ...]] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        """The buffers that training changes."""
        return tuple(name for name in (self.mean, self.variance, self.count) if self.tracked and name is not None)

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        x, weight, bias = inputs
        momentum = 0.0 if self.momentum is None else self.momentum
        count = run.state(self.count) if self.count is not None and self.tracked else None
        if count is not None and self.momentum is None:
            momentum = 1.0 / (float(count) + 1.0)
        kept = [run.state(name) for name in (self.mean, self.variance)] if self.tracked else []
        given = [t.to(x.dtype) for t in kept] or [None, None]  # the buffer itself where it has that type
        functional = run.torch.nn.functional
        normalize = functional.instance_norm if self.each else functional.batch_norm
        result = normalize(x, *given, weight, bias, True, momentum, self.eps)
        for target, value in zip(kept, given):
            if target is not value:
                target.copy_(value)
        if count is not None:
            count.add_(1)
        return result


@dataclass(slots=True, eq=False, repr=False)
class RandomSlopes(Instead, Layer):
    """torch's `rrelu` in training."""

    lower: float
    upper: float
    owner: str

    kind: ClassVar[str] = "random_slopes"
    methods: ClassVar[tuple[str, ...]] = ()
    changes: ClassVar[tuple[str, ...]] = ()

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.nn.functional.rrelu(inputs[0], self.lower, self.upper, True)


@dataclass(slots=True, eq=False, repr=False)
class Lookup(Instead, Layer):
    """torch's `embedding`, of a table and indices, with its gradients: none at the row `padding_idx`, and each divided
    by how often its row was taken, `scale_grad_by_freq`."""

    padding_idx: int | None
    scale_grad_by_freq: bool
    owner: str

    kind: ClassVar[str] = "lookup"
    methods: ClassVar[tuple[str, ...]] = ()
    changes: ClassVar[tuple[str, ...]] = ()
    in_both: ClassVar[bool] = True

    def given(self, inputs: tuple[Operand, ...]) -> tuple[Operand, ...]:
        return inputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        table, index = inputs
        scales = self.scale_grad_by_freq
        return run.torch.nn.functional.embedding(index, table, self.padding_idx, scale_grad_by_freq=scales)


DROPOUTS = frozenset(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"))
"""torch's functions that drop."""

INSTEAD: dict[str, type[BatchStatistics | RandomSlopes | Lookup]] = {
    kind.__name__: kind for kind in (BatchStatistics, RandomSlopes, Lookup)
}
"""The kinds that take the place of a layer, by name."""


def without_dropouts(training: Training, layers: list[Producer], outputs: dict[str, Tensor]) -> list[Producer]:
    """The recorded layers without dropouts, which are noted in `training`; in `outputs` what they were given."""
    if Dropout not in map(type, layers):
        return layers
    stays = [kind is not Dropout for kind in map(type, layers)]
    left = list(compress(layers, stays))
    dropped: dict[Operand, Dropout] = {}
    for before, place in enumerate(compress(count(), map(not_, stays))):
        layer = layers[place]
        assert isinstance(layer, Dropout)
        training.drops.append((place - before, layer))
        dropped[layer.outputs[0]] = layer
    takes_none = map(dropped.keys().isdisjoint, map(attrgetter("inputs"), left))
    for layer in compress(left, map(not_, takes_none)):
        inputs = list(layer.inputs)
        for index, operand in enumerate(inputs):
            drop = dropped.get(operand)
            if drop is not None:
                training.uses.append((layer, index, drop))
                inputs[index] = undropped(drop.outputs[0])
        layer.inputs = tuple(inputs)
    for name, tensor in outputs.items():
        if tensor in dropped:
            training.outputs[name] = dropped[tensor]
            outputs[name] = undropped(tensor)
    return left


def undropped(tensor: Tensor) -> Tensor:
    """The input of a dropout in place of its output; another tensor as it is."""
    while type(tensor.layer) is Dropout:
        (tensor,) = tensor.layer.tensors
    return tensor
