"""What a network does otherwise while it is trained: dropout drops, BatchNorm uses and updates the batch's statistics.

A recorded graph is inference. What its modules do in training is noted beside its layers, for `to_torch` alone: the
layers that are lowered, the summary and the structure hash are the same with and without.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..basics.errors import UnsupportedError
from ..basics.location import Location, here
from ..graph.tensor import Tensor, current_recorder
from ..layers.base import Layer, Operand, Output

if TYPE_CHECKING:
    from .engine import Run


class Mode:
    """What `module.training` is while a module is recorded: false. Passed on to dropout and its kin it says whose mode
    decides; where Python decides by it, the network cannot be trained as it was recorded.

    Attributes:
        owner: the path of the module whose mode it is.
    """

    __slots__ = ("owner",)

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def __bool__(self) -> bool:
        cannot_train("forward decides by self.training", self.owner)
        return False

    def __int__(self) -> int:
        return int(bool(self))

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return bool(self) == other

    def __mul__(self, other: Any) -> Any:
        return bool(self) * other

    __rmul__ = __mul__

    def __hash__(self) -> int:
        return hash(False)

    def __repr__(self) -> str:
        return "False"


class Reason(NamedTuple):
    """Why a network cannot be trained as it was recorded."""

    text: str
    owner: str
    location: Location | None

    def error(self) -> UnsupportedError:
        return UnsupportedError(
            f"this network cannot be trained as it was recorded: {self.text}",
            expected="a forward that is the same in training, but for dropout and BatchNorm",
            found=self.text,
            module=self.owner or None,
            where=self.location,
            remedy="leave the module in eval(), in which it can be trained as it is; or pass the mode on, "
            "F.dropout(x, p, training=self.training), and record again",
        )


def cannot_train(text: str, owner: str) -> None:
    """Note that what is being recorded is another network in training."""
    current = current_recorder.get()
    if current is not None:
        where = current.where or here()
        reasons = current.training.reasons
        if not any((r.text, r.owner, str(r.location)) == (text, owner, str(where)) for r in reasons):
            reasons.append(Reason(text, owner, where))


# --- kinds of layers that are in no network ---------------------------------------------------------------------------


@dataclass(slots=True, eq=False, repr=False)
class Dropout(Layer):
    """Dropout, by the name of torch's function: the identity unless the module at the path `owner` is in training."""

    function: str
    p: float
    owner: str

    kind: ClassVar[str] = "dropout"
    is_view: ClassVar[bool] = True

    def origin(self, positions: tuple[Any, ...]) -> tuple[Any, ...]:
        return positions

    @property
    def draws(self) -> bool:
        return True

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        return ((x.shape, x.dtype),)

    def again(self, operands: tuple[Operand, ...], recorder: Any) -> Tensor | tuple[Tensor, ...]:
        cannot_train("what dropout was given was changed in place, and what it gave was used again", self.owner)
        return Layer.again(self, operands, recorder)

    def compute(self, run: Run, *inputs: Any) -> Any:
        (x,) = inputs
        return getattr(run.torch.nn.functional, self.function)(x, self.p, True) if run.trains(self.owner) else x


@dataclass(slots=True, eq=False, repr=False)
class BatchStatistics(Layer):
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

    @property
    def changes(self) -> tuple[str, ...]:
        """The buffers that training changes."""
        return tuple(name for name in (self.mean, self.variance, self.count) if self.tracked and name is not None)

    def compute(self, run: Run, *inputs: Any) -> Any:
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
class RandomSlopes(Layer):
    """torch's `rrelu` in training."""

    lower: float
    upper: float
    owner: str

    kind: ClassVar[str] = "random_slopes"
    changes: ClassVar[tuple[str, ...]] = ()

    def compute(self, run: Run, *inputs: Any) -> Any:
        return run.torch.nn.functional.rrelu(inputs[0], self.lower, self.upper, True)


class Either(Layer):
    """A recorded layer, and what takes its place while the module at the path `owner` is in training."""

    __slots__ = ("owner", "recorded", "trained")

    def __init__(self, recorded: Layer, trained: Layer) -> None:
        self.inputs = (*recorded.inputs, *trained.inputs)
        self.outputs, self.name = recorded.outputs, recorded.name
        self.path, self.location = recorded.path, recorded.location
        self.recorded, self.trained = recorded, trained
        self.owner: str = trained.owner  # type: ignore[attr-defined]

    @property
    def draws(self) -> bool:
        return True

    def compute(self, run: Run, *inputs: Any) -> Any:
        count = len(self.recorded.inputs)
        if run.trains(self.owner):
            return self.trained.compute(run, *inputs[count:])
        return self.recorded.compute(run, *inputs[:count])


DROPOUTS = frozenset(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"))
"""torch's functions that drop."""

INSTEAD: dict[str, type[Layer]] = {kind.__name__: kind for kind in (BatchStatistics, RandomSlopes)}
"""The kinds that take the place of a layer, by name."""


# --- notes of a graph -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Training:
    """What a graph's layers do otherwise in training.

    Attributes:
        drops: dropouts, each with the number of layers that come before it.
        uses: a layer, an index of its operands, and the dropout through which that operand comes.
        outputs: outputs that come through a dropout.
        instead: what takes the place of a layer.
        reasons: why the network cannot be trained; empty where it can.
    """

    drops: list[tuple[int, Dropout]] = field(default_factory=list)
    uses: list[tuple[Layer, int, Dropout]] = field(default_factory=list)
    outputs: dict[str, Dropout] = field(default_factory=dict)
    instead: dict[Layer, Layer] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)

    def take(self, layers: list[Layer], outputs: dict[str, Tensor]) -> list[Layer]:
        """The recorded layers without dropouts, which are noted; in `outputs` what they were given."""
        if Dropout not in map(type, layers):
            return layers
        left: list[Layer] = []
        dropped: dict[Tensor, Dropout] = {}
        for layer in layers:
            if type(layer) is Dropout:
                self.drops.append((len(left), layer))
                dropped[layer.outputs[0]] = layer
                continue
            left.append(layer)
            if dropped.keys().isdisjoint(layer.inputs):
                continue
            for index, operand in enumerate(layer.inputs):
                if type(operand) is Tensor and operand in dropped:
                    self.uses.append((layer, index, dropped[operand]))
            layer.inputs = tuple(undropped(o) for o in layer.inputs)
        for name, tensor in outputs.items():
            if tensor in dropped:
                self.outputs[name] = dropped[tensor]
                outputs[name] = undropped(tensor)
        return left

    def leave(self, frozen: Collection[str]) -> None:
        """Note that training would change what forward read as numbers: these buffers, by name."""
        for layer, trained in self.instead.items():
            for name in trained.changes:  # type: ignore[attr-defined]
                if name in frozen:
                    text = f"training changes {name}, which forward reads as a number"
                    self.reasons.append(Reason(text, trained.owner, layer.location))  # type: ignore[attr-defined]

    def layers(self, recorded: list[Layer]) -> list[Layer]:
        """The layers of the network that is trained, which give the recorded tensors."""
        through: dict[Layer, dict[int, Dropout]] = {}
        for layer, index, drop in self.uses:
            through.setdefault(layer, {})[index] = drop
        drops = list(reversed(self.drops))
        made: list[Layer] = []
        for number, layer in enumerate(recorded):
            while drops and drops[-1][0] <= number:
                made.append(drops.pop()[1])
            trained, given = self.instead.get(layer), through.get(layer, {})
            inputs = tuple(given[i].outputs[0] if i in given else o for i, o in enumerate(layer.inputs))
            if given:
                layer = _with_inputs(layer, inputs)
            made.append(
                layer if trained is None else Either(layer, _with_inputs(trained, (inputs[0], *trained.inputs[1:])))
            )
        return made + [drop for _, drop in reversed(drops)]

    def owners(self) -> list[str]:
        """The paths of the modules whose modes matter."""
        kinds = [*(drop for _, drop in self.drops), *(self.instead.values())]
        return list(dict.fromkeys(layer.owner for layer in kinds))  # type: ignore[attr-defined]


def _with_inputs(layer: Layer, inputs: tuple[Operand, ...]) -> Layer:
    changed = copy.copy(layer)
    changed.inputs = inputs
    return changed


def undropped(operand: Any) -> Any:
    """What a dropout was given, in place of what it gives."""
    while type(operand) is Tensor and type(operand.layer) is Dropout:
        operand = operand.layer.inputs[0]
    return operand
