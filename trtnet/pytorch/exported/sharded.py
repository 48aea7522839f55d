"""Modules whose parameters lie in shards: FullyShardedDataParallel, fully_shard, distributed tensors."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """A module, or a method of one, with whole parameters: itself, or of a copy where it has shards.

    Every process of the group has to call it, as shards are gathered.
    """
    owner: Any = function.__self__ if isinstance(function, MethodType) else function
    if not isinstance(owner, torch.nn.Module) or not _is_sharded(owner):
        return function
    with _summoned(owner):
        made = _copied(owner, {})
    return MethodType(function.__func__, made) if isinstance(function, MethodType) else made


def _is_sharded(module: torch.nn.Module) -> bool:
    return any(_wraps(one) or _is_managed(one) for one in module.modules()) or any(
        hasattr(one, "full_tensor") for one in module.parameters()
    )


def _fsdp() -> Any:
    return sys.modules.get("torch.distributed.fsdp")


def _wraps(module: torch.nn.Module) -> bool:
    fsdp = _fsdp()
    return fsdp is not None and isinstance(module, fsdp.FullyShardedDataParallel)


def _is_managed(module: torch.nn.Module) -> bool:
    """Whether `fully_shard` took it, though its parameters may be whole for now."""
    fsdp = _fsdp()
    return fsdp is not None and isinstance(module, fsdp.FSDPModule)


@contextlib.contextmanager
def _summoned(module: torch.nn.Module) -> Iterator[None]:
    """Within, the wrappers of FullyShardedDataParallel hold whole parameters."""
    if not any(map(_wraps, module.modules())):
        yield
        return
    with _fsdp().FullyShardedDataParallel.summon_full_params(module, writeback=False):
        yield


def _copied(module: Any, made: dict[int, Any]) -> Any:
    """The module without what shards it, of other modules and parameters; what is there twice stays one."""
    if _wraps(module):
        return _copied(module.module, made)
    if id(module) in made:
        return made[id(module)]
    kind: Any = type(module)
    if _is_managed(module):
        kind = kind.__mro__[2]  # a class made of FSDPModule and the module's own
    copy = made[id(module)] = kind.__new__(kind)
    copy.__dict__.update(module.__dict__)
    held = {
        "_parameters": {name: _gathered(one, made) for name, one in module._parameters.items()},
        "_buffers": {name: _gathered(one, made) for name, one in module._buffers.items()},
        "_modules": {name: None if one is None else _copied(one, made) for name, one in module._modules.items()},
    }
    for name in _HOOKS:
        hooks = module.__dict__[name].items()
        held[name] = type(module.__dict__[name])((key, hook) for key, hook in hooks if not _is_of_torch(hook))
    copy.__dict__.update(held)
    return copy


def _is_of_torch(hook: object) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("torch.distributed.")


def _gathered(tensor: torch.Tensor | None, made: dict[int, Any]) -> torch.Tensor | None:
    if tensor is None:
        return None
    if id(tensor) not in made:
        value: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        copy = value.detach().clone()
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        made[id(tensor)] = torch.nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
    found: torch.Tensor = made[id(tensor)]
    return found
