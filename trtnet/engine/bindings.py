"""Live weights that an engine reads where a trainer keeps them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

from ..basics.arrays import check_memory, is_torch
from ..basics.dims import format_shape
from ..basics.errors import ArgumentTypeError, WeightsError
from ..graph.tensor import DeviceLike
from ..weights.matching import match
from ..weights.recipes import Leaf
from ..weights.wrappers import unwrapped

if TYPE_CHECKING:
    import torch

Trained: TypeAlias = Union[Mapping[str, Any], "torch.nn.Module"]
"""What live weights are bound to: a module, or its state_dict."""


def named(weights: Trained, wanted: Collection[str], prefix: str = "") -> Mapping[str, Any]:
    """The values by key: of a module, torch's or ours, its state_dict, and what is wanted of the buffers beside it."""
    state_dict = None if isinstance(weights, Mapping) else getattr(weights, "state_dict", None)
    if not callable(state_dict):
        found: Mapping[str, Any] = weights  # what is none, `match` refuses
        return found
    given = dict(state_dict())
    buffers = getattr(weights, "named_buffers", None)
    every = dict(buffers(remove_duplicate=False)) if callable(buffers) else {}
    left = {key: value for key, value in every.items() if key not in given}
    plain = {key.removeprefix(prefix): key for key in left}
    given.update((plain[key], left[plain[key]]) for key, name in unwrapped(plain, wanted).items() if name in wanted)
    return given


class Bound(NamedTuple):
    """Tensors that are bound, and where they were then; `storages` keeps their memory alive."""

    tensors: dict[str, Any]
    listed: list[Any]
    addresses: list[int]
    counts: list[int]
    storages: list[Any]

    @classmethod
    def of(cls, tensors: dict[str, Any]) -> Bound:
        listed = list(tensors.values())
        return cls(
            tensors, listed, [t.data_ptr() for t in listed], [t.numel() for t in listed],
            [t.untyped_storage() for t in listed],
        )  # fmt: skip

    def check(self) -> None:
        """Raises WeightsError where a tensor has another address or size than it had. Called before each run."""
        listed = self.listed
        if [t.data_ptr() for t in listed] != self.addresses or [t.numel() for t in listed] != self.counts:
            moved = [
                name
                for (name, tensor), address, count in zip(self.tensors.items(), self.addresses, self.counts)
                if tensor.data_ptr() != address or tensor.numel() != count
            ]
            raise WeightsError(
                "bound weights were moved, resized or freed",
                expected="tensors that stay where they were bound",
                found=", ".join(moved[:8]),
                remedy="bind them again: engine.bind_weights(module); optimisers that write in place keep them there",
            )


class Bindings:
    """Live parameters bound to a trainer's tensors. A tensor that was moved, resized or freed is noticed, never read.

    Attributes:
        now: the tensors that are bound; another object when others are.
        version: changes when other tensors are bound.
    """

    def __init__(self, leaves: Iterable[Leaf], device: DeviceLike) -> None:
        self.leaves = {leaf.name: leaf for leaf in leaves}
        self.device = device
        self.now = Bound.of({})
        self.version = 0

    @property
    def tensors(self) -> dict[str, Any]:
        return self.now.tensors

    def release(self) -> None:
        self.now = Bound.of({})
        self.version += 1

    def bind(
        self,
        keys: Mapping[str, Leaf],
        weights: Trained,
        prefix: str = "",
        check: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Bind all live parameters to a torch.nn.Module's tensors or a state_dict's; all or none. `check` looks at the
        tensors, by the parameters' own names.

        `keys` are the parameters of the whole network: those that are not live may be given, and are left alone.
        """
        given = weights.state_dict(keep_vars=True) if hasattr(weights, "state_dict") else weights
        if not isinstance(given, Mapping):
            raise ArgumentTypeError(
                "live weights are bound to a torch.nn.Module or a state_dict",
                expected="a module, or a dict of name: tensor",
                found=type(weights).__name__,
                remedy="engine.bind_weights(learner), or engine.bind_weights(learner.state_dict())",
            )
        arrays = {key: value for key, value in given.items() if is_torch(value) or hasattr(value, "shape")}
        match(keys, arrays, partial=True, prefix=prefix, source="the given weights")
        plain = {key[len(prefix) :] if prefix and key.startswith(prefix) else key: key for key in given}
        names = {name: given[plain[key]] for key, name in unwrapped(plain, keys).items()}
        found = {leaf.name: names[key] for key, leaf in keys.items() if leaf.name in self.leaves and key in names}
        missing = [name for name in self.leaves if name not in found]
        if missing:
            raise WeightsError(
                "these live parameters were not given",
                expected=", ".join(self.leaves),
                found="without " + ", ".join(missing[:8]),
                remedy="give all of them, under the keys of graph.state_dict(); prefix= strips one",
            )
        for name, tensor in found.items():
            self._check(name, tensor)
        if check is not None:
            check(found)
        self.now = Bound.of(found)
        self.version += 1

    def _check(self, name: str, tensor: torch.Tensor) -> None:
        leaf = self.leaves[name]
        if not is_torch(tensor):
            raise WeightsError(
                f"the live parameter {name!r} cannot be bound",
                expected="a torch tensor",
                found=type(tensor).__name__,
                remedy="refit takes arrays: engine.refit(state_dict) copies them",
            )
        check_memory(tensor, f"the tensor for the live parameter {name!r}", WeightsError)
        expected = f"{format_shape(leaf.shape)} {leaf.dtype} on {self.device}, contiguous"
        found = f"{format_shape(tuple(tensor.shape))} {str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"
        fits = tuple(tensor.shape) == tuple(leaf.shape) and tensor.dtype == leaf.dtype.torch
        device = str(tensor.device) == str(self.device)
        if not (fits and device and tensor.is_contiguous()):
            raise WeightsError(
                f"the live parameter {name!r} does not fit this tensor",
                expected=expected,
                found=found + ("" if tensor.is_contiguous() else ", not contiguous"),
                remedy="an engine reads live weights where they lie: give tensors of this very form"
                + ("" if device else f", tensor.to('{self.device}')"),
            )

    def refuse(self, names: Iterable[str]) -> None:
        """Raises WeightsError for a refit of names that are bound."""
        bound = [name for name in names if name in self.tensors]
        if bound:
            raise WeightsError(
                "these weights are bound to a trainer's tensors",
                expected="weights that the engine has of its own",
                found=", ".join(bound[:8]),
                remedy="write to those tensors, which the engine reads: tensor.copy_(new)",
            )
