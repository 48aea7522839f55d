"""Live weights: parameters as inputs of the network, read where a trainer keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from .. import functional as F
from ..basics.arrays import check_memory, is_torch
from ..basics.dims import format_shape
from ..basics.errors import ArgumentTypeError, TrtnetError, WeightsError
from ..graph.graph import Graph
from ..graph.tensor import Tensor, recorded
from ..layers.constant import constant
from ..weights.matching import match
from ..weights.recipes import ARITHMETIC, Leaf, Recipe, Weight
from .rewriting import Rewriting


def with_live(graph: Graph, names: Collection[str]) -> Graph:
    """The graph with these parameters as inputs; what was computed from them beforehand becomes layers.

    `graph.live` has their tensors by parameter name; a parameter that no layer uses is left out. Recipes, or parts of
    recipes, over other parameters stay weights.

    Raises ProviderError, with the parameter and the user's line, where TensorRT takes no tensor.
    """
    leaves = {graph.parameters[name] for name in names}
    if not leaves:
        return graph
    live = _Live(graph, leaves)
    with live:
        for layer in graph.layers:
            is_live = any(isinstance(o, Weight) and live.depends(o) for o in layer.inputs)
            if not is_live and live.share(layer):
                continue
            operands = live.in_place_of(layer)
            try:
                if is_live:
                    tensors = [live.tensor(o) if isinstance(o, Weight) and live.depends(o) else o for o in operands]
                    result = layer.with_operands(tuple(tensors))
                else:
                    result = layer.again(operands, live.recorder)
            except TrtnetError as error:
                error.module, error.where = error.module or layer.path or None, layer.location or error.where
                raise
            live.replace(layer, result)
    outputs = {name: live.replaced.get(tensor, tensor) for name, tensor in graph.outputs.items()}
    return live.graph(outputs, live={leaf.name: tensor for leaf, tensor in live.tensors.items()})


class _Live(Rewriting):
    """One `with_live`: what live parameters, and recipes over them, are now."""

    def __init__(self, of: Graph, leaves: set[Leaf]) -> None:
        super().__init__(of)
        self.leaves = leaves
        self.tensors: dict[Leaf, Tensor] = {}
        self._made: dict[int, Tensor] = {}

    def depends(self, weight: Weight) -> bool:
        """Whether a weight is made of live parameters."""
        return any(leaf in self.leaves for leaf in weight.leaves())

    def tensor(self, weight: Weight) -> Tensor:
        """A weight that depends on a live parameter, as a tensor; each one once."""
        if isinstance(weight, Leaf):
            found = self.tensors.get(weight)
            if found is None:
                found = recorded(weight.shape, weight.dtype, self.recorder, None)
                found.name = f"{weight.name}@live" if weight.name in self.of.inputs else weight.name
                self.tensors[weight] = found
            return found
        made = self._made.get(id(weight))
        if made is None:
            assert isinstance(weight, Recipe)
            made = self._made[id(weight)] = self._layers(weight)
        return made

    def _layers(self, recipe: Recipe) -> Tensor:
        given = [self.tensor(a) if self.depends(a) else constant(a) for a in recipe.arguments]
        operation, attributes = recipe.operation, recipe.attributes
        if operation == "cast":
            return given[0].to(recipe.dtype)
        if operation in ARITHMETIC:
            given = [a.float() for a in given]
            function: Any = {
                "add": F.add, "subtract": F.sub, "multiply": F.mul, "divide": F.div, "sqrt": F.sqrt, "negate": F.neg,
            }[operation]  # fmt: skip
            return function(*given)
        if operation == "reshape":
            return F.reshape(given[0], attributes["shape"])
        if operation == "permute":
            return F.permute(given[0], attributes["order"])
        if operation == "concatenate":
            return F.cat(given, attributes["axis"])
        assert operation == "take"
        start = attributes["start"]
        return F.narrow(given[0], attributes["axis"], start, attributes["stop"] - start)


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

    def __init__(self, leaves: Iterable[Leaf], device: Any) -> None:
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

    def bind(self, keys: Mapping[str, Leaf], weights: Any, prefix: str = "") -> None:
        """Bind all live parameters to a torch.nn.Module's tensors or a state_dict's; all or none.

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
        plain = {k[len(prefix) :] if prefix and k.startswith(prefix) else k: v for k, v in given.items()}
        arrays = {k: v for k, v in plain.items() if is_torch(v) or hasattr(v, "shape")}
        match(keys, arrays, partial=True, source="the given weights")
        found = {leaf.name: plain[key] for key, leaf in keys.items() if leaf.name in self.leaves and key in plain}
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
        self.now = Bound.of(found)
        self.version += 1

    def _check(self, name: str, tensor: Any) -> None:
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
