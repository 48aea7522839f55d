"""Tensors that an earlier call of a module computed of its weights, and kept: in a recording they are constants."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch

Call: TypeAlias = Callable[[Mapping[str, torch.Tensor], Callable[[], None], Callable[[], Any]], Any]
"""Calls the module with other weights by key; before that the one function, and gives what the other gives after it.
What forward keeps on the module is put back."""


class _Kept(NamedTuple):
    """An attribute of a module that holds such a tensor, or several."""

    path: str
    held: dict[str, Any]
    name: str

    def clear(self) -> None:
        value = self.held[self.name]
        self.held[self.name] = type(value)() if isinstance(value, dict) else None

    def remove(self) -> None:
        del self.held[self.name]

    def values(self) -> list[torch.Tensor]:
        leaves = torch.utils._pytree.tree_leaves(self.held.get(self.name))
        return [one.detach().clone() for one in leaves if isinstance(one, torch.Tensor)]


def caches(owner: torch.nn.Module, constants: Mapping[str, Any], call: Call) -> dict[str, list[str]]:
    """The attributes of a module that hold what a forward computed of its weights, each with the keys of those.

    A forward fills such an attribute again where it is empty or not there, or where it sees that the weights are
    others; and what it puts there is another tensor where the weights are others. All of it is tried. Attributes that
    are not among the constants of the recording are not looked at, and neither are numbers.
    """
    places = {one.data_ptr() for one in constants.values() if isinstance(one, torch.Tensor) and one.numel()}
    weights = {
        key: value.detach().clone().mul_(1.5).add_(0.25)  # of another version, too, as an optimizer leaves them
        for key, value in (*owner.named_parameters(), *owner.named_buffers())
        if value.is_floating_point() and value.numel()
    }
    found = {}
    for one in _kept(owner, places) if weights else ():
        for prepare in (lambda: None, one.clear, one.remove):
            with contextlib.suppress(Exception):  # forward takes it as it is, and does not fill it
                before = call({}, prepare, one.values)
                if before and (keys := _influences(list(weights), _differs(call, prepare, one, weights, before))):
                    found[one.path] = keys
                    break
    return found


def _kept(owner: torch.nn.Module, places: set[int]) -> list[_Kept]:
    torchs = torch.nn.Module().__dict__.keys()
    found = []
    for path, module in owner.named_modules():
        for name, value in module.__dict__.items():
            if name in torchs:
                continue
            leaves = torch.utils._pytree.tree_leaves(value) if isinstance(value, (dict, list, tuple)) else [value]
            if any(isinstance(one, torch.Tensor) and one.data_ptr() in places for one in leaves):
                found.append(_Kept(f"{path}.{name}" if path else name, module.__dict__, name))
    return found


def _differs(
    call: Call, prepare: Callable[[], None], one: _Kept, weights: Mapping[str, torch.Tensor], before: list[torch.Tensor]
) -> Callable[[list[str]], bool]:
    """Whether the attribute comes out otherwise where the weights of these keys are others."""

    def differs(keys: list[str]) -> bool:
        after: list[torch.Tensor] = call({key: weights[key] for key in keys}, prepare, one.values)
        same = len(after) == len(before) and all(map(torch.equal, after, before))
        return bool(after) and not same

    return differs


def _influences(keys: list[str], differs: Callable[[list[str]], bool]) -> list[str]:
    """The keys that make a difference, by halves."""
    if not keys or not differs(keys):
        return []
    if len(keys) == 1:
        return keys
    middle = len(keys) // 2
    return [*_influences(keys[:middle], differs), *_influences(keys[middle:], differs)]
