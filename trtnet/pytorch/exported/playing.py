"""An exported program, played: each operator is recorded as what its converter makes of it."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node

from ... import functional as F
from ...basics import dims, dtypes
from ...basics.arrays import as_array
from ...basics.dims import SizeLike, format_shape
from ...basics.errors import TrtnetError, UnsupportedError
from ...graph.recorder import recorder
from ...graph.tensor import Array, Tensor
from . import same
from .chains import Chain, chains
from .regions import REGIONS
from .sizes import SIZES, numbers
from .stacks import path_of, place_of, shown
from .table import Missing, converter


class Player:
    """Plays the graphs of an exported program inside a recording.

    Args:
        sizes: a value for each Dim by name: those of the example that was exported.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.chains: dict[Any, Chain] = {}

    def play(self, module: GraphModule, inputs: Sequence[Any]) -> list[Any]:
        """The results of a GraphModule for these inputs, as a flat list."""
        env: dict[Any, Any] = {}
        given = iter(inputs)
        current = recorder()
        before = current.path, current.where
        self.chains |= chains(module.graph)
        needed = _needed(module.graph, self.chains)
        try:
            for node in module.graph.nodes:
                if node.op == "placeholder":
                    env[node] = next(given)
                elif node.op == "output":
                    found = self._value(node.args[0], env)
                    return list(found) if isinstance(found, (tuple, list)) else [found]
                elif node.op == "get_attr":
                    env[node] = _attribute(module, node.target)
                elif node in needed:
                    if "nn_module_stack" in node.meta:
                        current.path = path_of(node)
                    current.where = place_of(node) or before[1]
                    count = len(current.equalities)
                    env[node] = self._called(node, env)
                    for check in current.equalities[count:]:
                        check.location = current.where
        finally:
            current.path, current.where = before
        return []

    def _called(self, node: Node, env: dict[Any, Any]) -> Any:
        try:
            if (chain := self.chains.get(node)) is not None:
                found = F.getitem(env[chain.root], chain.key(lambda value: self._value(value, env)))
            else:
                found = self._convert(node, self._value(node.args, env), self._value(node.kwargs, env))
            self._check(node, found)
            return found
        except TrtnetError as error:
            _place(error, node)
            raise
        except (TypeError, ValueError, IndexError, OverflowError, NotImplementedError, AttributeError) as error:
            raise UnsupportedError(
                f"{shown(node)} could not be recorded: {error}",
                expected="arguments that its counterpart takes",
                found=str(node.format_node())[:500],
                module=_module_of(node),
                where=place_of(node),
                remedy=_remedy(node),
            ) from error

    def _convert(self, node: Node, args: Any, kwargs: Any) -> Any:
        target = node.target
        if target is operator.getitem:
            return _picked(args[0], args[1])
        if target in SIZES:
            return SIZES[target](*args, **kwargs)
        schema = getattr(target, "_schema", None)
        if schema is None:
            name = getattr(target, "__name__", str(target))
            if name not in REGIONS:
                raise not_taken(node)
            return REGIONS[name](self, node, *args, **kwargs)
        args, kwargs = numbers(args), numbers(kwargs)
        found = converter(str(target))
        if found is not None:
            named = {key: value for key, value in kwargs.items() if key not in same.NOWHERE or not found.ours}
            return found.function(*args, **named)
        function = same.function_of(target._overloadpacket.__name__) if target.namespace == "aten" else None
        if function is None:
            raise not_taken(node)
        return same.call(function, schema, args, kwargs)

    def _value(self, value: Any, env: dict[Any, Any]) -> Any:
        """An argument as converters take it."""
        if isinstance(value, torch.fx.Node):
            found = env[value]
            if isinstance(found, Missing):
                raise UnsupportedError(found.what, module=_module_of(value), where=place_of(value), remedy=found.remedy)
            return found
        if isinstance(value, (tuple, list)):
            return (
                type(value)([self._value(one, env) for one in value])
                if type(value) in (tuple, list)
                else [self._value(one, env) for one in value]
            )
        if isinstance(value, Mapping):
            return {key: self._value(one, env) for key, one in value.items()}
        if isinstance(value, torch.dtype):
            return dtypes.get(str(value).removeprefix("torch."))
        return value

    def _check(self, node: Node, found: Any) -> None:
        """Compare shapes and dtypes of what was recorded with torch's, at the sizes of the example."""
        expected = node.meta.get("val")
        several = isinstance(expected, (tuple, list))
        count = len(found) if isinstance(found, (tuple, list)) else 1
        if several and (not isinstance(found, (tuple, list)) or count != len(expected)):
            raise self._wrong(node, f"{len(expected)} tensors", f"{count}")
        picked = [user.args[1] for user in node.users if user.target is operator.getitem]
        # a result that is not used may cost layers: places of the largest elements
        pairs = [(expected[index], found[index]) for index in picked] if several else [(expected, found)]
        for one, made in pairs:
            if not isinstance(one, torch.Tensor) or not isinstance(made, Tensor):
                continue
            wanted = _concrete(one.shape)
            shape = self._at_example(made.shape)
            if wanted is not None and shape is not None and wanted != shape:
                raise self._wrong(node, format_shape(wanted), format_shape(shape))
            dtype = dtypes.get(str(one.dtype).removeprefix("torch."))
            if made.dtype is not dtype:
                raise self._wrong(node, dtype.name, made.dtype.name)

    def _at_example(self, shape: Sequence[SizeLike]) -> tuple[int, ...] | None:
        symbols = {str(one) for one in dims.symbols_of(shape)}
        if not symbols <= set(self.sizes):
            return None  # the data decides
        return tuple(dims.evaluate(size, self.sizes) for size in shape)

    def _wrong(self, node: Node, expected: str, found: str) -> TrtnetError:
        return UnsupportedError(
            f"{shown(node)} was recorded as something else than torch computes",
            expected=f"{expected}, as torch says",
            found=found,
            remedy=_remedy(node),
        )


def _concrete(shape: Any) -> tuple[int, ...] | None:
    """torch's sizes as numbers, those of the example; None where the data decides one."""
    sizes = []
    for size in shape:
        hint = size if isinstance(size, int) else size.node.hint
        if hint is None:
            return None
        sizes.append(int(hint))
    return tuple(sizes)


def _needed(graph: FxGraph, chained: Mapping[Any, Chain]) -> set[Any]:
    """The nodes that the results are computed from."""
    found: set[Any] = set()
    pending = [node for node in graph.nodes if node.op == "output"]
    while pending:
        node = pending.pop()
        for one in chained[node].inputs() if node in chained else node.all_input_nodes:
            if one not in found:
                found.add(one)
                pending.append(one)
    return found


def _attribute(module: GraphModule, name: str) -> Any:
    found = module
    for part in name.split("."):
        found = getattr(found, part)
    return Array(as_array(found).copy()) if isinstance(found, torch.Tensor) else found


def _picked(value: Any, index: Any) -> Any:
    if isinstance(value, Tensor):
        raise UnsupportedError(
            "an operator of several results was recorded as one tensor", expected=f"result {index}", found=repr(value)
        )
    return value[index]


def _place(error: TrtnetError, node: Node) -> None:
    """Have an error that says nothing of the user's code yet name the line and the module of a node."""
    if "_is_placed" in error.__dict__:
        return
    error.__dict__["_is_placed"] = True
    error.where = place_of(node) or error.where
    error.module = _module_of(node) or error.module


def _module_of(node: Node) -> str | None:
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return None
    kind: str = str(list(stack.values())[-1][1]).rpartition(".")[2]
    path = path_of(node)
    return f"{path} ({kind})" if path else kind


def _remedy(node: Node) -> str:
    name = shown(node)
    namespace, _, rest = name.partition(".")
    operator_name = f"{namespace}::{rest.partition('.')[0]}" if rest else name
    return (
        f"compute it otherwise at that line, or say what is recorded for it: @trtnet.converts({operator_name!r}) over "
        "a function of its arguments"
    )


def not_taken(node: Node) -> TrtnetError:
    """For an operator that nothing records."""
    return UnsupportedError(
        f"{shown(node)} has no counterpart here",
        expected="operators that trtnet.functional has, or that a converter was given for",
        found=str(node.format_node())[:500],
        module=_module_of(node),
        where=place_of(node),
        remedy=_remedy(node),
    )


def unknown(graph: FxGraph) -> Iterator[Any]:
    """The nodes of a graph that nothing records."""
    for node in _needed(graph, {}):
        target = node.target
        if node.op != "call_function" or getattr(target, "_schema", None) is None or target in SIZES:
            continue
        if converter(str(target)) is None and (
            target.namespace != "aten" or same.function_of(target._overloadpacket.__name__) is None
        ):
            yield node
