"""Low-rank adapters (LoRA, https://arxiv.org/abs/2106.09685): a base's weights, and B @ A, scaled, on top of some.

Names and shapes are those of PEFT's adapters: `base_model.model.X.lora_A.weight` of (r, in) and `.lora_B.weight` of
(out, r), with the adapter's name behind `lora_A` where they come from a model in memory; `lora_embedding_A` of
(r, count) and `lora_embedding_B` of (size, r), whose product is transposed; of convolutions (r, in, *kernel) and
(out, r, 1, ...). What is neither (`modules_to_save`) replaces the base's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..basics.arrays import as_array, from_numpy, import_torch, is_torch
from ..basics.dims import format_shape
from ..basics.errors import ArgumentTypeError, WeightsError
from ._common import some
from .sources import Lazy, Source, named_values

ROOT = "base_model.model."
"""What PEFT's names begin with."""


class LoRA(Lazy):
    """What `lora` gives: a mapping whose values are made when they are read."""

    def __init__(
        self, base: dict[str, Any], pairs: dict[str, tuple[Any, Any, bool]], scale: float, transposed: bool
    ) -> None:
        self._base, self._pairs, self._scale, self._transposed = base, pairs, scale, transposed

    def __getitem__(self, name: str) -> Any:
        base = self._base[name]
        if name not in self._pairs:
            return base
        a, b, embedding = self._pairs[name]
        return _merged(base, a, b, self._scale, embedding or self._transposed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def __repr__(self) -> str:
        return f"LoRA of {len(self._pairs)} weights among {len(self._base)}"


def lora(base: Source, A: Source, B: Source | None = None, scale: float = 1.0, *, fan_in_fan_out: bool = False) -> LoRA:
    """Weights with low-rank adapters: base + scale * (B @ A), for `refit`, `load_state_dict` and `record`'s modules.

    The product is computed in float32 on the device of A and B, when it is asked for, and cast to the base's dtype.
    Weights without an adapter are the base's own, so that another adapter, or the base itself, leaves nothing of this
    one behind, bit for bit. The base's values are referred to and not copied: leave them as they are.

    Args:
        base: the weights without adapters: a state_dict, a module, a file.
        A: matrices (r, in) by the name of the weight or of its module; or, without B, an adapter as PEFT saves it.
        B: matrices (out, r), by the same names.
        scale: what the product is multiplied by: PEFT's `lora_alpha / r`.
        fan_in_fan_out: whether the base's matrices are (in, out), as those of transformers' Conv1D.

    Raises:
        WeightsError: an adapter's name or shape that the base has not, a half of a pair, or a variant that adds more
        than a product (DoRA's magnitudes, biases). ArgumentTypeError: a scale that is no number.

    >>> base = {"weight": np.zeros((2, 3), "float32")}
    >>> merged = trtnet.lora(base, {"weight": np.ones((1, 3), "float32")}, {"weight": np.ones((2, 1), "float32")}, 0.5)
    >>> merged["weight"].tolist()
    [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    """
    if isinstance(scale, bool) or not isinstance(scale, int | float | np.number):
        raise ArgumentTypeError(
            "scale is no number",
            expected="PEFT's lora_alpha / r",
            found=repr(scale)[:80],
            remedy="lora(base, A, B, scale=alpha / r)",
        )
    values = {_plain(name): value for name, value in named_values(base, ()).values.items() if ".lora_" not in name}
    adapters = dict(named_values(A, ()).values)
    if B is None:
        firsts, seconds, whole = _split(adapters)
    else:
        firsts = {(name, False): value for name, value in adapters.items()}
        seconds = {(name, False): value for name, value in named_values(B, ()).values.items()}
        whole = {}
    halves = sorted({name for name, _ in firsts.keys() ^ seconds.keys()})
    if halves or not firsts:
        raise WeightsError(
            "these adapters are no pairs",
            expected="A and B of each weight",
            found="one of them: " + some(halves) if halves else "no adapter at all: " + some(list(adapters)),
            remedy="lora(base, A, B), by the same names; or lora(base, adapter), with PEFT's",
        )
    pairs = {}
    for (name, embedding), first in firsts.items():
        key = _target(name, values)
        second = seconds[name, embedding]
        _check(key, values[key], first, second, embedding or fan_in_fan_out)
        pairs[key] = (first, second, embedding)
    for name, value in whole.items():
        values[_target(name, values)] = value
    return LoRA(values, pairs, float(scale), fan_in_fan_out)


def _plain(name: str) -> str:
    """A name without what PEFT puts into it."""
    return name.removeprefix(ROOT).replace(".base_layer.", ".")


def _split(
    adapter: Mapping[str, Any],
) -> tuple[dict[tuple[str, bool], Any], dict[tuple[str, bool], Any], dict[str, Any]]:
    """A and B by the module's name, and whether it is an embedding; and the weights that are there as a whole."""
    first: dict[tuple[str, bool], Any] = {}
    second: dict[tuple[str, bool], Any] = {}
    whole: dict[str, Any] = {}
    strange = []
    for full, value in adapter.items():
        parts = _plain(full).split(".")
        kinds = [part for part in parts if part.startswith("lora_")]
        if not kinds and "modules_to_save" in parts:
            at = parts.index("modules_to_save")
            whole[".".join(parts[:at] + parts[at + 2 :])] = value
        elif not kinds:
            whole[".".join(parts)] = value
        else:
            at = parts.index(kinds[0])
            key = ".".join(parts[:at]), "embedding" in kinds[0]
            table = {"lora_A": first, "lora_embedding_A": first, "lora_B": second, "lora_embedding_B": second}.get(
                kinds[0]
            )
            if table is None or parts[-1] == "bias":
                strange.append(full)
            elif key in table:
                raise WeightsError(
                    "several adapters are given at once",
                    expected="one for each module",
                    found=f"two of {key[0]}",
                    remedy="give those of one adapter: {name: value for names with '.default.' in them}",
                )
            else:
                table[key] = value
    if strange:
        raise WeightsError(
            "these adapters add more than a product of two matrices",
            expected="names with lora_A and lora_B, or lora_embedding_A and lora_embedding_B",
            found=some(strange),
            remedy="merge them in PEFT: model.merge_and_unload().state_dict()",
        )
    return first, second, whole


def _target(name: str, values: Mapping[str, Any]) -> str:
    for key in (name, f"{name}.weight" if name else "weight"):
        if key in values:
            return key
    near = difflib.get_close_matches(name, list(values), 1, 0.4)
    raise WeightsError(
        f"the base has no weight for the adapter of {name!r}",
        expected="names of the base: " + some(list(values)),
        found=repr(name),
        remedy=(f"the nearest is {near[0]!r}: " if near else "") + "give the base that the adapter was trained on",
    )


def _check(name: str, base: Any, first: Any, second: Any, transposed: bool) -> None:
    sizes = [tuple(getattr(value, "shape", ())) for value in (base, first, second)]
    shape, a, b = sizes
    wanted = (b[0], *a[1:]) if len(a) >= 2 and len(b) >= 2 else ()
    if transposed and len(wanted) == 2:
        wanted = wanted[::-1]
    if not wanted or a[0] != b[1] or any(size != 1 for size in b[2:]) or wanted != shape:
        raise WeightsError(
            f"the adapter of {name!r} does not fit it",
            expected=f"A (r, in) and B (out, r) of {format_shape(shape)}",
            found=f"A {format_shape(a)}, B {format_shape(b)}",
            remedy="give the base that the adapter was trained on; matrices of (in, out) take fan_in_fan_out=True",
        )


def _merged(base: Any, first: Any, second: Any, scale: float, transposed: bool) -> Any:
    if not is_torch(first) and not is_torch(second):
        a, b, wide = as_array(first), as_array(second), as_array(base)
        product = b.reshape(b.shape[:2]).astype(np.float32) @ a.reshape(a.shape[0], -1).astype(np.float32)
        product = product.T if transposed else product
        changed = wide.astype(np.float32) + np.float32(scale) * product.reshape(wide.shape)
        return np.asarray(changed.astype(wide.dtype), order="C")
    torch = import_torch()
    with torch.no_grad():
        a, b, kept = (v if is_torch(v) else from_numpy(as_array(v)) for v in (first, second, base))
        device = a.device if a.is_cuda else b.device
        a, b, wide = (v.to(device) for v in (a, b, kept))
        product = b.reshape(b.shape[:2]).float() @ a.reshape(a.shape[0], -1).float()
        product = product.T if transposed else product
        return (wide.float() + scale * product.reshape(wide.shape)).to(kept.dtype).contiguous()
