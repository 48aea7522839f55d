"""A Graph as plain JSON, and back: what a saved engine knows about its network.

The format is closed and versioned: layer kinds by their class names, sizes as expressions over Dims, weights as recipes
over parameters, constants as bytes. Values of parameters are not part of it. Nothing in it is executed.

The structure hash has a form of its own (`structure_hash` in graph/graph.py says why).
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import functional  # noqa: F401  # loads every kind of layer that a function records
from ..basics import dims, dtypes
from ..basics.code import Code
from ..basics.dims import Dim, Size, SizeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import TrtnetError, WeightsError
from ..basics.location import Location, Place
from ..graph import forms
from ..graph.graph import Graph
from ..graph.recorder import Equality, Recorder
from ..graph.tensor import Operand, Producer, Tensor, recorded
from ..graph.training import Reason, Training
from ..layers import plugin, raw  # noqa: F401  # loads the others
from ..layers.base import Layer
from ..layers.training import DROPOUTS, INSTEAD, Dropout
from ..weights.recipes import OPERATIONS, VERSION, Frozen, Leaf, Literal, Recipe, Value, Weight

FORMAT = 1
DAMAGE = (
    LookupError, TypeError, ValueError, AttributeError, AssertionError, ArithmeticError, RecursionError, MemoryError,
    zlib.error,
)  # fmt: skip
"""What Python raises where JSON is not of the form that was written."""


def kinds() -> dict[str, type[Layer]]:
    """Every layer class by its name."""

    def below(cls: type[Layer]) -> Iterator[type[Layer]]:
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    return {cls.__name__: cls for cls in below(Layer)}


# --- to JSON ----------------------------------------------------------------------------------------------------------


def to_json(graph: Graph) -> dict[str, Any]:
    """The graph as dicts, lists, numbers and text."""
    numbers: dict[Tensor, int] = {}
    table: list[Any] = []
    places: dict[int, int] = {}

    def weight(one: Weight) -> int:
        found = places.get(id(one))
        if found is None:
            table.append(_weight(one, weight))
            found = places[id(one)] = len(table) - 1
        return found

    def operand(one: Operand) -> dict[str, int] | int | None:
        if one is None:
            return None
        return {"weight": weight(one)} if isinstance(one, Weight) else numbers[one]

    for tensor in graph.inputs.values():
        numbers[tensor] = len(numbers)
    layers = []
    for layer in graph.layers:
        layers.append(
            {
                "class": type(layer).__name__,
                "name": layer.name,
                "path": layer.path,
                "at": _place(layer.location),
                "inputs": [operand(o) for o in layer.inputs],
                "attributes": {name: _plain(getattr(layer, name)) for name in layer.attributes},
                "outputs": [[_plain(t.shape), t.dtype.name] for t in layer.outputs],
            }
        )
        for tensor in layer.outputs:
            numbers[tensor] = len(numbers)
    training = None if graph.training is None else _training(graph.training, graph, numbers, operand)
    symbols = {s.name: s for layer in graph.layers for t in layer.outputs for s in dims.symbols_of(t.shape) if s.name}
    return {
        "format": FORMAT,
        "recipes": VERSION,
        "title": graph.title,
        "form": graph.form,
        "dims": {n: [d.min, d.opt, d.max, d.multiple_of] for n, d in (symbols | graph.dims).items()},
        "data_dims": sorted(graph.data_dims),
        "parameters": {
            key: [leaf.name, list(leaf.shape), leaf.dtype.name, leaf.persistent]
            for key, leaf in graph.parameters.items()
        },
        "frozen": {leaf.name: list(leaf.frozen) for leaf in graph.parameters.values() if leaf.frozen is not None},
        "trainable": sorted(graph.trainable),
        "buffers": sorted(graph.buffers),
        "inputs": {name: [_plain(t.shape), t.dtype.name] for name, t in graph.inputs.items()},
        "ranges": {name: list(limits) for name, limits in graph.ranges.items()},
        "layers": layers,
        "weights": table,
        "outputs": {name: numbers[t] for name, t in graph.outputs.items()},
        "training": training,
        "equalities": [
            [_plain(e.left), _plain(e.right), e.problem, e.path, _place(e.location)] for e in graph.equalities
        ],
    }


def _training(
    training: Training, graph: Graph, numbers: Mapping[Tensor, int], operand: Callable[[Any], Any]
) -> dict[str, Any]:
    places = {layer: index for index, layer in enumerate(graph.layers)}
    drops = {drop: index for index, (_, drop) in enumerate(training.drops)}

    def source(tensor: Any) -> Any:
        return {"drop": drops[tensor.layer]} if tensor.layer in drops else numbers[tensor]

    return {
        "drops": [
            [at, *(getattr(drop, name) for name in drop.attributes), source(drop.inputs[0])]
            for at, drop in training.drops
        ],
        "uses": [[places[layer], index, drops[drop]] for layer, index, drop in training.uses],
        "outputs": {name: drops[drop] for name, drop in training.outputs.items()},
        "instead": [
            [
                places[layer],
                type(other).__name__,
                {name: _plain(getattr(other, name)) for name in other.attributes},
                [operand(o) for o in other.inputs],
            ]
            for layer, other in training.instead.items()
        ],
        "reasons": [[reason.text, reason.owner, _place(reason.location)] for reason in training.reasons],
        "cuts": [[reason.text, reason.owner, _place(reason.location)] for reason in training.cuts],
    }


def _place(location: Location | None) -> list[Any] | None:
    return None if location is None else [location.file, location.line, location.function, location.excerpt()]


def _weight(one: Weight, number: Callable[[Weight], int]) -> list[Any]:
    if isinstance(one, Leaf):
        return ["parameter", one.name]
    if isinstance(one, Literal):
        data = base64.b64encode(zlib.compress(np.asarray(one.array, order="C").tobytes())).decode()
        return ["constant", one.dtype.name, list(one.shape), data]
    assert isinstance(one, Recipe)
    return [
        "recipe", one.operation, [number(a) for a in one.arguments], list(one.shape), one.dtype.name,
        {key: _plain(value) for key, value in one.attributes.items()},
    ]  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, Dim):
        return {"size": _expression(value)}
    if isinstance(value, Size):
        return {"shape": [_plain(v) for v in value]}
    if isinstance(value, tuple):
        return {"tuple": [_plain(v) for v in value]}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, Dtype):
        return {"dtype": value.name}
    if isinstance(value, Code):
        return {"code": [value.name, value.digest]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, np.generic):
        return value.item()
    assert value is None or isinstance(value, (bool, int, float, str)), value
    return value


def _expression(size: Dim) -> Any:
    def call(name: str) -> Callable[[Any, Any], Any]:
        return lambda a, b: [name, a, b]

    return size.fold(
        number=lambda n: n,
        symbol=lambda name: name,
        **{name: call(name) for name in _OPERATIONS},
    )


_OPERATIONS: dict[str, Callable[[Any, Any], SizeLike]] = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "floor_divide": lambda a, b: a // b,
    "modulo": lambda a, b: a % b,
    "maximum": dims.maximum,
    "minimum": dims.minimum,
}


def weights_to_json(weights: Mapping[str, Weight]) -> dict[str, Any]:
    """Named weights: a table of parameters, constants and recipes, and each name's place in it."""
    table: list[Any] = []
    places: dict[int, int] = {}

    def number(one: Weight) -> int:
        if id(one) not in places:
            table.append(_weight(one, number))
            places[id(one)] = len(table) - 1
        return places[id(one)]

    return {"names": {name: number(one) for name, one in weights.items()}, "table": table}


# --- and back ---------------------------------------------------------------------------------------------------------


def from_json(data: Mapping[str, Any], values: Mapping[str, Value] | None = None) -> Graph:
    """The graph of `to_json`. Its parameters have these values, by their names; or none yet.

    Raises WeightsError for another version, an unknown layer or operation, or what no graph looks like.
    """
    try:
        if data.get("format") != FORMAT or data.get("recipes") != VERSION:
            raise _unreadable("another version of the format", f"{data.get('format')}, recipes {data.get('recipes')}")
        return _Reading(data, values or {}).graph()
    except DAMAGE as error:
        if isinstance(error, TrtnetError):
            raise
        raise _unreadable("not a recorded network", f"{type(error).__name__}: {error}") from error


def weights_from_json(data: Mapping[str, Any], leaves: Mapping[str, Leaf]) -> dict[str, Weight]:
    """The weights of `weights_to_json`, over these parameters. Raises WeightsError as `from_json` does."""
    try:
        table = _weights(data["table"], leaves)
        return {name: table[place] for name, place in data["names"].items()}
    except DAMAGE as error:
        if isinstance(error, TrtnetError):
            raise
        raise _unreadable("weights that are no recipes", f"{type(error).__name__}: {error}") from error


def _weights(table: list[Any], leaves: Mapping[str, Leaf]) -> list[Weight]:
    found: list[Weight] = []
    for kind, *rest in table:
        if kind == "parameter":
            found.append(leaves[rest[0]])
        elif kind == "constant":
            dtype, shape, text = rest
            element = dtypes.get(dtype).numpy
            most = math.prod(shape) * element.itemsize
            raw = bytearray(zlib.decompressobj().decompress(base64.b64decode(text), most + 1))  # no more than that
            found.append(Literal(np.frombuffer(raw, element).reshape(shape)))
        elif kind == "recipe" and rest[0] in OPERATIONS:
            operation, arguments, shape, dtype, attributes = rest
            given = {key: _value(v, {}) for key, v in attributes.items()}
            made = Recipe(operation, tuple(found[a] for a in arguments), _sizes(shape), dtypes.get(dtype), **given)
            found.append(made)
        else:
            raise _unreadable("an unknown operation on weights", f"{kind} {rest[:1]}")
    return found


def _value(value: Any, symbols: Mapping[str, Dim]) -> Any:
    if isinstance(value, list):
        return [_value(v, symbols) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "size":
        return _size(inner, symbols)
    if kind == "shape":
        return Size(_value(v, symbols) for v in inner)
    if kind == "tuple":
        return tuple(_value(v, symbols) for v in inner)
    if kind == "dtype":
        return dtypes.get(inner)
    if kind == "code":
        name, digest = inner
        return Code(None, _text(name), _text(digest))
    if kind == "float":
        return float(inner)
    raise _unreadable("an unknown kind of value", kind)


def _size(expression: Any, symbols: Mapping[str, Dim]) -> SizeLike:
    if isinstance(expression, int):
        return expression
    if isinstance(expression, str):
        return symbols[expression]
    name, a, b = expression
    return _OPERATIONS[name](_size(a, symbols), _size(b, symbols))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _unreadable("no text", repr(value)[:100])
    return value


def _form(value: Any, outputs: Mapping[str, Any]) -> Any:
    """What `forward` returned: a word, or the outputs' names in lists and dicts, with None among them."""
    known = value in ("one", "tuple", "dict")
    if not known and sorted(map(repr, forms.names_in(value))) != sorted(map(repr, outputs)):
        raise _unreadable("no form of a result", repr(value)[:100])
    return value


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(s) is int and s >= 0 for s in value):
        raise _unreadable("no shape", repr(value)[:100])
    return tuple(value)


def _located(value: Any) -> Any:
    if value is None:
        return None
    file, line, function, shown = value
    return Place(_text(file), int(line), _text(function), _text(shown))


def _unreadable(why: str, found: Any) -> WeightsError:
    return WeightsError(
        f"the network in this manifest cannot be read: {why}",
        expected=f"format {FORMAT}, recipes {VERSION}",
        found=found,
        remedy="load it with the version of trtnet that wrote it, or build the engine again",
    )


class _Reading:
    def __init__(self, data: Mapping[str, Any], values: Mapping[str, Value]) -> None:
        self.data = data
        self.dims = {n: Dim(n, min=a, opt=b, max=c, multiple_of=d) for n, (a, b, c, d) in data["dims"].items()}
        self.leaves: dict[str, Leaf] = {}
        self.parameters: dict[str, Leaf] = {}
        for key, (name, shape, dtype, persistent) in data["parameters"].items():
            if name not in self.leaves:
                self.leaves[name] = Leaf(
                    _text(name), _sizes(shape), dtypes.get(dtype), values.get(name) or Value(), bool(persistent)
                )
            self.parameters[key] = self.leaves[name]
        for name, (place, digest) in data.get("frozen", {}).items():
            self.leaves[name].frozen = Frozen(place, digest)
        self.weights = _weights(data["weights"], self.leaves)
        self.kinds = kinds()

    def value(self, value: Any) -> Any:
        return _value(value, self.dims)

    def shape(self, value: Any) -> Size:
        found = self.value(value)
        if not isinstance(found, Size) or not all(isinstance(s, Dim) or (type(s) is int and s >= 0) for s in found):
            raise _unreadable("no shape", repr(value)[:100])
        return found

    def layer(self, one: Mapping[str, Any], tensors: list[Tensor], recorder: Recorder) -> Layer:
        """A layer, whose outputs are added to `tensors`: of the types and ranks that it says itself."""
        kind = self.kinds.get(one["class"])
        if kind is None:
            raise _unreadable("an unknown kind of layer", one["class"])
        operands = tuple(
            self.weights[o["weight"]] if isinstance(o, dict) else None if o is None else tensors[o]
            for o in one["inputs"]
        )
        layer = kind(operands, **{name: self.value(v) for name, v in one["attributes"].items()})
        layer.name, layer.path = _text(one["name"]), _text(one["path"])
        layer.location = _located(one["at"])
        layer.outputs = tuple(
            recorded(self.shape(shape), dtypes.get(dtype), recorder, layer, index)
            for index, (shape, dtype) in enumerate(one["outputs"])
        )
        inferred = [(len(shape), dtype) for shape, dtype in layer.infer()]
        if inferred != [(len(t.shape), t.dtype) for t in layer.outputs]:
            raise _unreadable("a layer with other outputs", layer.name)
        tensors += layer.outputs
        return layer

    def graph(self) -> Graph:
        data, recorder = self.data, Recorder()
        tensors: list[Tensor] = []
        inputs = {}
        for name, (shape, dtype) in data["inputs"].items():
            inputs[name] = tensor = recorded(self.shape(shape), dtypes.get(dtype), recorder, None)
            tensor.name = name
            tensors.append(tensor)
        with recorder:
            layers: list[Producer] = [self.layer(one, tensors, recorder) for one in data["layers"]]
        outputs = {name: tensors[number] for name, number in data["outputs"].items()}
        for name, tensor in outputs.items():
            tensor.name = name
        equalities = [
            Equality(self.value(a), self.value(b), _text(problem), _text(path), _located(at))
            for a, b, problem, path, at in data["equalities"]
        ]
        return Graph(
            layers,
            inputs,
            outputs,
            _form(data["form"], outputs),
            self.parameters,
            frozenset(data["trainable"]),
            frozenset(data["buffers"]),
            equalities,
            _text(data["title"]),
            data_dims=frozenset(data["data_dims"]),
            ranges={name: (low, high) for name, (low, high) in data.get("ranges", {}).items()},
            training=None if data.get("training") is None else self.training(data["training"], layers, tensors),
        )

    def training(self, data: Mapping[str, Any], layers: list[Producer], tensors: list[Tensor]) -> Training:
        training = Training()
        for at, function, p, owner, source in data["drops"]:
            x = training.drops[source["drop"]][1].outputs[0] if isinstance(source, dict) else tensors[source]
            if function not in DROPOUTS:
                raise _unreadable("an unknown dropout", function)
            drop = Dropout((x,), function, p, owner)
            drop.outputs = (recorded(x.shape, x.dtype, x.recorder, drop),)
            training.drops.append((at, drop))
        drops = [drop for _, drop in training.drops]
        training.uses = [(layers[place], index, drops[number]) for place, index, number in data["uses"]]
        training.outputs = {name: drops[number] for name, number in data["outputs"].items()}
        for place, kind, attributes, inputs in data["instead"]:
            operands = tuple(None if o is None else self.weights[o["weight"]] for o in inputs)
            values = {name: self.value(v) for name, v in attributes.items()}
            training.instead[layers[place]] = INSTEAD[kind](operands, **values)
        training.reasons, training.cuts = (
            [Reason(text, owner, Place(*at) if at else None) for text, owner, at in data.get(name, ())]
            for name in ("reasons", "cuts")
        )
        return training
