"""State dicts of modules whose weights torch computes: `weight_norm` and `spectral_norm`, in both of torch's spellings.

    weight_norm      weight_g, weight_v                 parametrizations.weight.original0, .original1
    spectral_norm    weight_orig, weight_u, weight_v    parametrizations.weight.original, .0._u, .0._v

weight_norm (torch.nn.utils.weight_norm): g * v / norm(v), the norm over the dimensions in which g has size 1.
spectral_norm, in evaluation (torch.nn.utils.parametrizations.spectral_norm): the weight divided by u · (W v), W the
weight as a matrix of as many rows as u has elements.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..basics.arrays import is_torch
from ..basics.dims import format_shape
from ..basics.errors import WeightsError

_SPELLINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "weight_norm": (("{at}{name}_g", "{at}{name}_v"), ("{at}parametrizations.{name}.original0",
                    "{at}parametrizations.{name}.original1")),
    "spectral_norm": (("{at}{name}_orig", "{at}{name}_u", "{at}{name}_v"), ("{at}parametrizations.{name}.original",
                      "{at}parametrizations.{name}.0._u", "{at}parametrizations.{name}.0._v")),
}  # fmt: skip


def computed(wanted: Collection[str], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """`given`, with the weights that the wanted names ask for in place of those that they are computed from.

    Raises WeightsError where the shapes leave open which dimension a spectral norm is of.
    """
    endings = ("original0", "original", "_g", "_orig")
    if not any(isinstance(key, str) and key.endswith(endings) for key in given):
        return given
    made: dict[str, Any] = {}
    used: set[str] = set()
    for key in wanted:
        at, dot, name = key.rpartition(".")
        place = at + dot
        if key in given:
            continue
        for kind, spellings in _SPELLINGS.items():
            for spelling in spellings:
                names = [text.format(at=place, name=name) for text in spelling]
                if all(n in given and n not in wanted for n in names):
                    values = [given[n] for n in names]
                    function = _weight_norm if kind == "weight_norm" else _spectral_norm
                    made[key] = function(key, *(v.detach() if is_torch(v) else np.asarray(v) for v in values))
                    used.update(names)
    return {**{key: value for key, value in given.items() if key not in used}, **made} if made else given


def is_piece(key: str, wanted: Collection[str]) -> bool:
    """Whether a wanted weight can be computed from what has this key, and others."""
    every = (text for spellings in _SPELLINGS.values() for spelling in spellings for text in spelling)
    endings = {text: text.partition("{name}")[2] for text in every}
    if not key.endswith(tuple(endings.values())):
        return False
    places = [one.rpartition(".") for one in wanted]
    return any(text.format(at=at + dot, name=name) == key for at, dot, name in places for text in endings)


def _weight_norm(key: str, g: Any, v: Any) -> Any:
    axes = tuple(a for a in range(v.ndim) if not g.ndim or g.shape[a] == 1)
    if is_torch(v):
        norm = (v.float() ** 2).sum(axes, keepdim=True).sqrt() if axes else v.float().abs()
        return (g.float() * v.float() / norm).to(v.dtype)
    wide = v.astype(np.float32)
    norm = np.sqrt((wide**2).sum(axes, keepdims=True)) if axes else np.abs(wide)
    return np.asarray((g.astype(np.float32) * wide / norm).astype(v.dtype), order="C")


def _spectral_norm(key: str, weight: Any, u: Any, v: Any) -> Any:
    found = {}
    for dim in (0, 1)[: weight.ndim]:
        order = (dim, *(a for a in range(weight.ndim) if a != dim))
        rows = (weight.permute(order) if is_torch(weight) else weight.transpose(order)).reshape(weight.shape[dim], -1)
        if tuple(rows.shape) == (*u.shape, *v.shape):
            found[dim] = (u * (rows @ v)).sum()
    if not found or (len(found) == 2 and float(found[1]) > float(found[0]) * (1 + 1e-3)):
        raise WeightsError(
            f"the spectral norm of {key!r} cannot be computed",
            expected="vectors that fit the weight's first dimension, or its second alone",
            found=f"weight {format_shape(weight.shape)}, u {format_shape(u.shape)}, v {format_shape(v.shape)}",
            remedy="fold it in PyTorch before the state dict is taken: "
            "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight'); what the older "
            "torch.nn.utils.spectral_norm made: torch.nn.utils.remove_spectral_norm(module)",
        )
    made = weight / next(iter(found.values()))
    return made if is_torch(made) else np.asarray(made.astype(weight.dtype), order="C")
