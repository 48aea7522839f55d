"""Live weights that an engine reads where a trainer keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..basics.arrays import check_memory, is_torch
from ..basics.dims import format_shape
from ..basics.errors import WeightsError
from ..graph.tensor import DeviceLike
from ..weights.matching import match
from ..weights.recipes import Leaf
from ..weights.sources import ALL, Selection, Source, is_sharded, named_values

if TYPE_CHECKING:
    import torch


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
        weights: Source,
        selection: Selection = ALL,
        check: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Bind all live parameters to a torch.nn.Module's tensors or a state_dict's; all or none. `check` looks at the
        tensors, by the parameters' own names.

        `keys` are the parameters of the whole network: those that are not live may be given, and are left alone.
        """
        names = named_values(weights, keys, selection, live=True).values
        sharded = [name for name, value in names.items() if is_sharded(value)]
        if sharded:
            raise WeightsError(
                "a process has a part of these weights alone: they cannot be read where they are",
                expected="whole tensors",
                found="DTensors: " + ", ".join(sharded[:8]),
                remedy="build(graph, refit=True): engine.refit(module) gathers them",
            )
        arrays = {key: value for key, value in names.items() if is_torch(value) or hasattr(value, "shape")}
        match(keys, arrays, partial=True, selection=selection)
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
