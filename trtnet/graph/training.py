"""What a network does otherwise while it is trained: dropout drops, BatchNorm uses and updates the batch's statistics.

A recorded graph is inference. What its modules do in training is noted beside its layers, for `to_torch` alone: the
layers that are lowered, the summary and the structure hash are the same with and without.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from ..basics.errors import UnsupportedError
from ..basics.location import Location
from .tensor import Operand, Producer, current_recorder


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
    """Why a network cannot be trained as it was recorded, or has other gradients."""

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
        current.cannot_train(text, owner)


def cut_gradients(text: str) -> None:
    """Note that forward keeps gradients from what is being recorded, or gives them otherwise."""
    current = current_recorder.get()
    if current is not None:
        current.cut_gradients(text)


class Trained(Producer, Protocol):
    """A layer of the network that is trained alone; `layers/training.py` has the kinds.

    Attributes:
        owner: the path of the module whose mode decides.
        in_both: whether it takes its place in either mode: the numbers are the same, and their gradients are not.
    """

    owner: str
    in_both: ClassVar[bool]

    def given(self, inputs: tuple[Operand, ...]) -> tuple[Operand, ...]:
        """Its operands, by those of the layer in whose place it is noted."""
        ...

    @property
    def changes(self) -> tuple[str, ...]:
        """The buffers that training changes."""
        ...


@dataclass(slots=True)
class Training:
    """What a graph's layers do otherwise in training.

    Attributes:
        drops: dropouts, each with the number of layers that come before it.
        uses: a layer, an index of its operands, and the dropout through which that operand comes.
        outputs: outputs that come through a dropout.
        instead: what takes the place of a layer.
        reasons: why the network cannot be trained; empty where it can.
        cuts: where forward keeps gradients back, or gives its own: those of the layers are others.
    """

    drops: list[tuple[int, Trained]] = field(default_factory=list)
    uses: list[tuple[Producer, int, Trained]] = field(default_factory=list)
    outputs: dict[str, Trained] = field(default_factory=dict)
    instead: dict[Producer, Trained] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)
    cuts: list[Reason] = field(default_factory=list)

    def leave(self, frozen: Collection[str]) -> None:
        """Note that training would change what forward read as numbers: these buffers, by name."""
        for layer, trained in self.instead.items():
            for name in trained.changes:
                if name in frozen:
                    text = f"training changes {name}, which forward reads as a number"
                    self.reasons.append(Reason(text, trained.owner, layer.location))

    def always(self) -> bool:
        """Whether something takes the place of a layer in either mode."""
        return any(layer.in_both for layer in self.instead.values())

    def owners(self) -> list[str]:
        """The paths of the modules whose modes matter."""
        kinds = [*(drop for _, drop in self.drops), *self.instead.values()]
        return list(dict.fromkeys(layer.owner for layer in kinds))
