"""torch.cond, while_loop, scan, and what holds a part of a program as it is: checkpoints, no_grad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch.fx import GraphModule, Node

from ... import functional as F
from ...functional.dispatch import tensor
from ...graph.tensor import Tensor


class Player(Protocol):
    """What plays a part of a program (`playing.py`)."""

    def play(self, module: GraphModule, inputs: Sequence[Any]) -> list[Any]: ...


def _several(made: Sequence[Any]) -> tuple[Any, ...]:
    """Results of a part, as recorded tensors: of a loop, each has to be one."""
    return tuple(tensor(one) if isinstance(one, (Tensor, int, float)) else one for one in made)


def _cond(
    player: Player,
    node: Node,
    predicate: Tensor | bool | int,
    if_true: GraphModule,
    if_false: GraphModule,
    operands: Sequence[Any] = (),
) -> Any:
    if isinstance(predicate, (bool, int)):
        return tuple(player.play(if_true if predicate else if_false, operands))
    made = F.cond(
        predicate,
        lambda *given: _several(player.play(if_true, given)),
        lambda *given: _several(player.play(if_false, given)),
        *operands,
    )
    return tuple(made)


def _while_loop(
    player: Player,
    node: Node,
    condition: GraphModule,
    body: GraphModule,
    carried: Sequence[Any],
    additional: Sequence[Any] = (),
) -> Any:
    return F.while_loop(
        lambda *now: player.play(condition, [*now, *additional])[0],
        lambda *now: _several(player.play(body, [*now, *additional])),
        tuple(carried),
    )


def _scan(player: Player, node: Node, body: GraphModule, init: Any, xs: Any, additional: Sequence[Any] = ()) -> Any:
    count = len(init)

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        made = _several(player.play(body, [*carry, *x, *additional]))
        return made[:count], made[count:]

    carry, ys = F.scan(step, tuple(init), tuple(xs))
    return (*carry, *ys)


def _map(player: Player, node: Node, body: GraphModule, xs: Any, additional: Sequence[Any] = ()) -> Any:
    _, ys = F.scan(lambda carry, x: (carry, _several(player.play(body, [*x, *additional]))), (), tuple(xs))
    return ys


def _no_grad(player: Player, node: Node, enabled: bool, body: GraphModule, *operands: Any) -> Any:
    return tuple(player.play(body, operands))


def _checkpoint(player: Player, node: Node, body: GraphModule, *operands: Any, **options: Any) -> Any:
    return tuple(player.play(body, operands))


REGIONS: dict[str, Callable[..., Any]] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "scan": _scan,
    "map_impl": _map,
    "map": _map,
    "wrap_with_set_grad_enabled": _no_grad,
    "tag_activation_checkpoint": _checkpoint,
    "wrap": _checkpoint,
}
"""By the name of torch's higher-order operator."""
