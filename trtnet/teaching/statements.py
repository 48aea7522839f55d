"""Calls as lines of Python."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.tensor import Producer
from ..weights.ledger import Holding
from .calls import Call, Writing, Written

WIDTH = 110
"""Characters of a line, before it is broken at the arguments."""


@dataclass(slots=True)
class Statement:
    """One line, or a call over several.

    Attributes:
        text: the line.
        layer: the layer of the graph that it belongs to; None of what stands before and behind all.
        of: the class of the object that was called: "INetworkDefinition", "IConvolutionLayer", "IBuilderConfig"…
    """

    text: str
    layer: Producer | None
    of: str


class Statements:
    """The lines of a build that was written down, each object under a name of its own.

    Attributes:
        weights: the weights, by the names of the variables that they are in.
        numbers: whether arrays of sizes occur.
    """

    def __init__(self, of: Writing) -> None:
        self._of = of
        self._names: dict[int, str] = {}
        self._taken = {"trt", "np", "network", "builder", "config", "logger", "weights", "numbers"}
        self._by_address = {holding.address: holding for holding in of.lowering.ledger}
        self._layer_names = {
            id(call.of): call.arguments[0] for call in of.calls if call.kind == "set" and call.name == "name"
        }
        self._variables: dict[int, str] = {}
        self.weights: dict[str, Holding] = {}
        self.numbers = False

    def all(self) -> Iterator[Statement]:
        """The lines, in the order of the calls; weights just before they are first used, and named just behind."""
        named = {call.arguments[1]: call for call in self._of.calls if call.name == "set_weights_name"}
        pending: list[Holding] = []
        calls = [call for call in self._of.calls if call.name != "set_weights_name"]
        for place, call in enumerate(calls):
            for value in call.arguments:
                holding = self._holding(value)
                if holding is not None and id(holding) not in self._variables:
                    yield self._weights(holding, call.layer)
                    pending.append(holding)
            yield from self._line(call)
            following = calls[place + 1] if place + 1 < len(calls) else None
            if following is None or following.layer is not call.layer or following.kind != "set":
                for holding in pending:
                    if holding.name in named:
                        yield from self._line(named[holding.name], call.layer)
                pending = []

    # --- names

    def _name(self, value: Written, wanted: str) -> str:
        found = self._names.get(id(value))
        if found is None:
            found = self._names[id(value)] = self._unique(wanted)
        return found

    def _unique(self, wanted: str) -> str:
        stem = re.sub(r"\W+", "_", wanted).strip("_") or "value"
        if stem[0].isdigit() or keyword.iskeyword(stem) or keyword.issoftkeyword(stem):
            stem = f"_{stem}"
        name, number = stem[:60], 1
        while name in self._taken:
            number += 1
            name = f"{stem[:60]}_{number}"
        self._taken.add(name)
        return name

    # --- lines

    def _line(self, call: Call, layer: Producer | None = None) -> Iterator[Statement]:
        layer = layer or call.layer
        of = "trt" if call.name == call.of._name else self.value(call.of)
        if call.kind == "set":
            value = self._argument(call.name, call.arguments[0])
            yield Statement(f"{of}.{call.name} = {value}", layer, call.of._name)
        elif call.kind == "read":
            if layer is not None:
                text = f"_ = {of}.{call.name}  # TensorRT-RTX infers it when it is asked"
                yield Statement(text, layer, call.of._name)
        else:
            is_layer = call.parameters is not None and call.name.startswith("add_")
            names: Sequence[str] = call.parameters.names if call.parameters is not None and is_layer else ()
            given = [
                self._argument(name, value) if place == 0 or not name else f"{name}={self._argument(name, value)}"
                for place, (name, value) in enumerate(_paired(names, call.arguments))
            ]
            text = f"{of}.{call.name}"
            if isinstance(call.result, Written):
                text = f"{self._name(call.result, self._wanted(call))} = {text}"
            yield Statement(_called(text, given), layer, call.of._name)

    def _wanted(self, call: Call) -> str:
        """The name that the result of a call would have."""
        if call.name == "add_input":
            return str(call.arguments[0])
        known = {"Builder": "builder", "create_network": "network", "create_builder_config": "config"}
        if call.name in known:
            self._taken.discard(known[call.name])
            return known[call.name]
        if call.name == "create_optimization_profile":
            return "profile"
        named = self._layer_names.get(id(call.result))
        return str(named) if named else call.name.removeprefix("add_")

    def _weights(self, holding: Holding, layer: Producer | None) -> Statement:
        name = self._unique(holding.name)
        self.weights[name] = holding
        self._variables[id(holding)] = name
        native = self._of.provider.native_type(holding.dtype)
        text = f"{name} = weights({as_text(holding.name)}, {native!r}, {holding.weight.count})"
        return Statement(f"{text}{self._comment(holding)}", layer, "Weights")

    def _comment(self, holding: Holding) -> str:
        leaves = list(dict.fromkeys(leaf.name for leaf in holding.weight.leaves()))
        if holding.weight.name is not None and leaves != [holding.weight.name]:
            return f"  # computed from {', '.join(leaves)}"
        if not leaves and holding.array.size == 1:
            return f"  # {holding.array.reshape(-1)[0]}"
        return ""

    # --- values

    def _holding(self, value: Any) -> Holding | None:
        """The weights that an argument is."""
        if isinstance(value, Written) and value._name == "Weights":
            made = vars(value)["made_of"]
            place = made[0].ctypes.data if isinstance(made[0], np.ndarray) else made[1] if len(made) == 3 else 0
            return self._by_address.get(place)
        return None

    def value(self, value: Any) -> str:
        """A value as Python."""
        holding = self._holding(value)
        if holding is not None:
            return self._variables[id(holding)]
        if isinstance(value, Written):
            return self._written(value)
        if isinstance(value, np.ndarray):
            self.numbers = True
            return f"numbers({value.tolist()}, np.{value.dtype})"
        if isinstance(value, (list, tuple)):
            inside = ", ".join(map(self.value, value))
            return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
        if isinstance(value, str):
            return as_text(value)
        if hasattr(type(value), "__members__"):  # an installed TensorRT's, in a raw layer
            return f"trt.{type(value).__name__}.{value.name}"
        if isinstance(value, float) and not np.isfinite(value):
            return f'float("{value}")'
        return repr(value)

    def _written(self, value: Written) -> str:
        own = vars(value)
        if id(value) in self._names:
            return self._names[id(value)]
        if value._name == "ITensor":
            of, method, *given = own["made_of"]
            return f"{self.value(of)}.{method}({', '.join(map(self.value, given))})"
        if value._name == "Weights":
            return f"trt.Weights({', '.join(map(self.value, own['made_of']))})"
        return "logger"

    def _argument(self, name: str, value: Any) -> str:
        if name in ("axes", "axesMask") and type(value) is int and value > 0:
            return " | ".join(f"1 << {bit}" for bit in range(value.bit_length()) if value >> bit & 1)
        if name == "flags" and type(value) is int:
            flags = self._of.provider.trt.NetworkDefinitionCreationFlag.__members__.values()
            return " | ".join(f"1 << int({flag!r})" for flag in flags if value >> int(flag) & 1) or "0"
        return self.value(value)


def _paired(names: Sequence[str], values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for place, value in enumerate(values):
        name = names[place] if place < len(names) else ""
        yield ("" if re.fullmatch(r"arg\d+", name) else name), value


def _called(text: str, given: Sequence[str]) -> str:
    line = f"{text}({', '.join(given)})"
    if len(line) <= WIDTH or not given:
        return line
    inside = ", ".join(given)
    if len(inside) <= WIDTH:
        return f"{text}(\n    {inside}\n)"
    return f"{text}(\n" + "".join(f"    {one},\n" for one in given) + ")"


def as_text(value: str) -> str:
    """A string in double quotes, where it has none itself."""
    return f'"{value}"' if value.isprintable() and not set(value) & set('"\\') else repr(value)
