"""Live weights: parameters as inputs of the network."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .. import functional as F
from ..basics.errors import TrtnetError
from ..graph.graph import Graph
from ..graph.tensor import Tensor, recorded
from ..layers.conditionals import Scope
from ..layers.constant import constant
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
        self._made: dict[tuple[Scope, int], Tensor] = {}

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
        made = self._made.get((self.scope, id(weight)))
        if made is None:
            assert isinstance(weight, Recipe)
            made = self._made[self.scope, id(weight)] = self._layers(weight)
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
