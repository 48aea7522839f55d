"""A recorded network: a plain list of layer records, its inputs and outputs."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..basics import dims, dtypes
from ..basics.arrays import as_array, is_torch
from ..basics.code import Code
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..weights.demands import Demand
from ..weights.matching import load_into
from ..weights.recipes import VERSION, Leaf, Literal, Recipe, Value, Weight, evaluate
from ..weights.sources import Rename, Selection, Source
from .forms import Form
from .recorder import Equality, check_count, sizes_of
from .tensor import Array, Operand, Producer, Tensor
from .training import Training


class Input:
    """A network input.

    Args:
        shape: ints and Dims; `Input((batch, 1, 28, 28))`.
        dtype: its element type, by trtnet's object or name.
        range: the least and the greatest value that it holds, (low, high): `build(check=True)` draws from it. Indices
            need none where the graph shows the table that they are for.
    """

    __slots__ = ("dtype", "range", "shape")

    def __init__(self, shape: Any, dtype: Any = "float32", range: tuple[float, float] | None = None) -> None:
        if isinstance(shape, (int, Dim)):
            shape = (shape,)
        sizes = []
        for size in shape if isinstance(shape, Iterable) else (shape,):
            if isinstance(size, (Array, np.integer)):
                size = int(size)
            if isinstance(size, bool) or not isinstance(size, (int, Dim)) or (isinstance(size, int) and size < 0):
                raise ShapeError(
                    "an input's shape holds whole numbers and Dims",
                    expected="int >= 0 or Dim",
                    found=repr(size),
                    remedy='for a dynamic size give it a name: Dim("batch", min=1, opt=8, max=64)',
                )
            sizes.append(size)
        if len(sizes) > 8:
            raise ShapeError(
                "TensorRT's tensors have at most 8 dimensions",
                expected="at most 8",
                found=format_shape(sizes),
                remedy="put neighbouring dimensions together, and split them again in forward: x.unflatten(...)",
            )
        check_count(sizes, "an input")
        self.shape = Size(sizes)
        self.dtype = dtypes.for_network(dtype, "an input")
        require_bytes(self.dtype, "an input")
        self.range = None if range is None else _checked_range(range)

    def __repr__(self) -> str:
        shown = "" if self.range is None else f", range={self.range}"
        return f"Input({format_shape(self.shape)}, {self.dtype}{shown})"


def require_bytes(dtype: Dtype, what: str) -> None:
    """Raises DtypeError for the types that TensorRT packs two to a byte, of which NumPy and torch have no arrays."""
    if dtype.bits < 8:
        raise DtypeError(
            f"{what} has at least 8 bits for each element",
            expected="float32, float16, bfloat16, float8_e4m3fn, int8 …",
            found=dtype,
            remedy="quantize and dequantize in the network: trtnet.layers.add_quantize, trtnet.layers.add_dequantize",
        )


def _checked_range(given: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (number.item() if isinstance(number, np.generic) else number for number in given)
        if all(isinstance(n, (int, float)) and math.isfinite(n) for n in (low, high)) and low <= high:
            return low, high
    except (TypeError, ValueError):
        pass
    raise ArgumentError(
        "an input's range is its least and its greatest value",
        expected="(low, high), finite numbers with low <= high",
        found=repr(given),
        remedy="Input(shape, range=(0.0, 1.0))",
    )


@dataclass(eq=False, repr=False)
class Graph:
    """A recorded network: layer records in the order in which they will be added.

    Attributes:
        layers: the layer records. Some are recorded as one and are several of TensorRT's (a linear layer, GELU before
            TensorRT 10): `for_provider` gives those, and `summary` shows and counts them.
        inputs, outputs: the network's tensors, by name.
        form: what `forward` returned: "one", "tuple" or "dict"; see `forms` for results with None among them.
        parameters: every parameter and buffer of the recorded module, by its `state_dict` key. Tied ones are one Leaf.
        trainable, buffers: which of them training changes, and which are buffers.
        equalities: sizes that must be equal at run time.
        title: the recorded module's class.
        data_dims: Dims that the data decides: known when the network has run.
        ranges: the least and the greatest value of inputs that were recorded with a range, by name.
        live: parameters that are inputs of the network, by name.
        training: what the layers do otherwise in training; None where that is not known.
        dims: the Dims of the inputs, by name.
    """

    layers: list[Producer]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    form: Form
    parameters: dict[str, Leaf] = field(default_factory=dict)
    trainable: frozenset[str] = frozenset()
    buffers: frozenset[str] = frozenset()
    equalities: list[Equality] = field(default_factory=list)
    title: str = ""
    data_dims: frozenset[str] = frozenset()
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    live: dict[str, Tensor] = field(default_factory=dict)
    training: Training | None = None
    dims: dict[str, Dim] = field(init=False)

    def __post_init__(self) -> None:
        sizes = dims.symbols_of(size for tensor in self.inputs.values() for size in tensor.shape)
        self.dims = {size.name: size for size in sizes if size.name}

    # --- weights

    def weights(self) -> Iterator[tuple[Producer, int, Weight]]:
        """Every weight operand: layer, input index, weight."""
        for layer in self.layers:
            for index, operand in enumerate(layer.inputs):
                if isinstance(operand, Weight):
                    yield layer, index, operand

    @property
    def frozen(self) -> dict[str, str]:
        """The parameters that `forward` read as numbers, by `state_dict` key, and where: other values need another
        recording."""
        return {name: leaf.frozen.place for name, leaf in self.parameters.items() if leaf.frozen is not None}

    def state_dict(self) -> dict[str, np.ndarray]:
        """The values that the graph refers to, by the module's `state_dict` keys."""
        return {name: leaf.value.read() for name, leaf in self.parameters.items() if leaf.persistent}

    def load_state_dict(
        self,
        state_dict: Source,
        strict: bool = True,
        assign: bool = False,
        *,
        prefix: str = "",
        select: str | Iterable[str] | None = None,
        rename: Rename | None = None,
    ) -> Any:
        """Give the graph other values; the module that it was recorded from keeps its own.

        As `Module.load_state_dict`: a mismatch raises WeightsError and changes nothing. So do values that a layer does
        not take: the scales of a quantization are positive, and indices lie in their table.
        """
        return load_into(
            self.parameters, state_dict, assign=assign, strict=strict,
            selection=Selection.of(prefix, select, rename), check=self.check_values,
        )  # fmt: skip

    def check_values(
        self,
        given: Mapping[str, Any] | None = None,
        present: Callable[[], Mapping[str, np.ndarray]] | None = None,
    ) -> None:
        """Raises WeightsError for values that a layer does not take. CUDA tensors are not looked at.

        Args:
            given: new values by the parameters' own names; None is all that the graph refers to.
            present: gives the values of the other parameters; None is the graph's own.
        """
        for layer, demand, weight in self._demands:
            leaves = list(dict.fromkeys(weight.leaves()))
            names = [leaf.name for leaf in leaves]
            known: dict[str, Any] = {leaf.name: leaf.value for leaf in leaves if leaf.value.there}
            if given is not None:
                if given.keys().isdisjoint(names):
                    continue
                if present is not None and not given.keys() >= set(names):
                    known = dict(present())
                known |= given
            if any(name not in known or (is_torch(known[name]) and known[name].is_cuda) for name in names):
                continue
            array = weight.values(lambda leaf, known=known: _array(known[leaf.name]), demand.least)  # type: ignore[misc]
            if array is None:
                continue
            demand.given(
                np.asarray(array),
                ", ".join(names),
                layer.path or None,
                f"the {layer.kind} layer {layer.name!r}"
                + (f", recorded at {layer.location}" if layer.location else "")
                + ("; it takes what is computed of them" if weight.layers else ""),
            )

    @functools.cached_property
    def _demands(self) -> list[tuple[Producer, Demand, Known]]:
        """What layers ask of the values of parameters, and of what is computed of these alone."""
        found = []
        for layer in self.layers:
            for demand in layer.demands():
                known = Known.of(layer.operand(demand.position))
                if known is not None and next(known.leaves(), None) is not None:
                    found.append((layer, demand, known))
        return found

    # --- draws

    def drawn_outputs(self) -> list[str]:
        """The names of the outputs that depend on what a layer draws, and so differ from call to call."""
        drawn: set[Tensor] = set()
        deciding: set[int | None] = set()  # the loops and conditionals whose course is drawn
        known = -1
        while known < len(drawn):  # again for what a loop carries on
            known = len(drawn)
            for layer in self.layers:
                hangs = layer.draws or any(type(o) is Tensor and o in drawn for o in layer.inputs)
                if hangs or layer.region in deciding:
                    drawn.update(layer.outputs)
                    if not layer.outputs:
                        deciding.add(layer.region)
                    if layer.feeds is not None:
                        drawn.add(layer.feeds)
        return [name for name, tensor in self.outputs.items() if tensor in drawn]

    # --- what has an effect

    def reaching(self, effects: bool = False, more: Iterable[Tensor] = ()) -> set[Producer]:
        """The layers that an output depends on: by a tensor, by a size that the data decides, or by the course of a
        loop or a conditional; with `effects` also those that a layer without outputs, an assertion, depends on, and
        itself. `more` are tensors that count as outputs."""
        found: set[Producer] = set()
        needed = {*self.outputs.values(), *more}
        sizes = {str(s) for s in dims.symbols_of(size for tensor in needed for size in tensor.shape)}
        regions: set[int | None] = set()
        known = -1
        while known < len(found):  # again for what a loop carries on
            known = len(found)
            for layer in reversed(self.layers):
                given = [*layer.outputs, layer.feeds] if layer.feeds is not None else layer.outputs
                is_alone = not given and layer.region is None
                is_asked = not needed.isdisjoint(given) if given else effects if is_alone else layer.region in regions
                if layer in found or not (is_asked or not sizes.isdisjoint(map(str, layer.decides))):
                    continue
                found.add(layer)
                needed.update(o for o in layer.inputs if isinstance(o, Tensor))
                if layer.region is not None:
                    regions.add(layer.region)
                if self.data_dims:
                    sizes.update(str(s) for s in dims.symbols_of(sizes_of(layer)))
        return found

    # --- sizes

    def bind(self, shapes: Mapping[str, tuple[int, ...]], ranges: bool = True) -> dict[str, int]:
        """The size of every Dim, from the actual shapes of the inputs.

        Raises ShapeError that names the input and the Dim: a wrong rank, a size that differs, one outside its range
        (unless `ranges` is False), or an equality met while recording that these sizes break.
        """
        found: dict[str, int] = {}
        pending = []
        for name, tensor in self.inputs.items():
            shape = shapes[name]
            if len(shape) != len(tensor.shape):
                raise ShapeError(
                    f"input {name!r} has the wrong number of dimensions",
                    expected=format_shape(tensor.shape),
                    found=format_shape(shape),
                    remedy="array[None] adds a dimension, array.reshape changes their number",
                )
            for axis, (expected, actual) in enumerate(zip(tensor.shape, shape)):
                if isinstance(expected, int):
                    if expected != actual:
                        raise ShapeError(
                            f"input {name!r} has the wrong size in dimension {axis}",
                            expected=format_shape(tensor.shape),
                            found=format_shape(shape),
                            remedy=f"give that size, or record with a Dim in its place: "
                            f"Dim('size', min=1, max={max(expected, actual, 1)})",
                        )
                    continue
                solved = dims.solve(expected, actual)
                if solved is not None and solved[0] not in found:
                    found[solved[0]] = solved[1]
                    dim = self.dims[solved[0]]
                    if ranges and not (dim.min <= solved[1] <= dim.max and solved[1] % dim.multiple_of == 0):
                        step = f", a multiple of {dim.multiple_of}" if dim.multiple_of > 1 else ""
                        raise ShapeError(
                            f"input {name!r}: {dim} is outside its range",
                            expected=f"{dim.min} to {dim.max}{step}",
                            found=f"{solved[1]} (shape {format_shape(shape)})",
                            remedy=f"record with a wider Dim({str(dim)!r}, min=..., max=...), or split the input",
                        )
                pending.append((name, axis, expected, actual))
        for name, axis, expected, actual in pending:
            unknown = [str(s) for s in expected.symbols if str(s) not in found]
            if unknown:
                raise ShapeError(
                    f"input {name!r} has the wrong size in dimension {axis}",
                    expected=f"{expected}, for a whole number {unknown[0]}",
                    found=f"{actual} (shape {format_shape(shapes[name])})",
                    remedy="give a size of that form",
                )
            if dims.evaluate(expected, found) != actual:
                raise ShapeError(
                    f"input {name!r} has the wrong size in dimension {axis}",
                    expected=f"{expected} = {dims.evaluate(expected, found)}, as in the other inputs",
                    found=actual,
                    remedy="one Dim is one size in all inputs; use Dims of two names where they differ",
                )
        for equality in self.equalities:
            equality.check(found)
        return found

    # --- what rooms above give it: see `method`

    def for_provider(self, provider: Any, refit: bool = True) -> Graph:
        """The graph that is lowered 1:1: layers that this provider lacks are composed of others.

        So are those that it gets wrong; some it gets wrong in a refittable network alone, which `refit=False` says that
        this one will not be.
        """
        raise NotImplementedError("rewriting/composing.py gives it")

    def lower(self, network: Any, refit: bool = True, left_out: Collection[str] = ()) -> Any:
        """Add the layers to an INetworkDefinition that you own; return the Lowering, which holds the arrays.

        `refit=False` says that the engine will not be built with a REFIT flag (see `for_provider`). Weights that depend
        on the parameters named in `left_out` become named placeholders.

        The arrays stay alive as long as the network does. A weakly typed network (TensorRT 8.6, and 10 without the
        STRONGLY_TYPED flag) is told the recorded types layer by layer; set OBEY_PRECISION_CONSTRAINTS, and FP16 or BF16
        where they are used, in its builder config. Raises BuildError with TensorRT's own text, the module path
        and the source line.
        """
        raise NotImplementedError("tensorrt/build/lowering.py gives it")

    def summary(self, provider: Any = None) -> str:
        """A table: layer, module path, output shape, dtype, parameters, bytes.

        It shows the layers as they are lowered: `for_provider(provider)`, or for a TensorRT that has every layer. A
        star marks layers that no output depends on, which `prune` leaves out.
        """
        raise NotImplementedError("tensorrt/build/summary.py gives it")

    def draw(
        self,
        path: Any = None,
        provider: Any = None,
        depth: int | None = None,
        *,
        color: str | None = None,
        engine: Any = None,
        times: Any = None,
    ) -> str:
        """Draw the layers as boxes in the boxes of their modules, with shapes and dtypes on the arrows.

        Args:
            path: the file to write: .html, a page for a browser whose boxes open and close; .svg, .png or .pdf, which
                Graphviz draws (the program `dot`); .mmd, Mermaid's text, which GitHub, GitLab and JupyterLab draw; .dot
                or .gv, Graphviz's text.
            provider: as in `summary`, or a name as in `explain`: "tensorrt==8.6.1".
            depth: how many modules deep layers are shown; a deeper module is one box. None: all; of pictures, which
                take long with more, as deep as gives at most 300 boxes.
            color: what the boxes' colors say: "kind", "dtype" or "time"; "time" where there are times, else "kind".
            engine: an engine of this graph, or what its `inspect()` gave, on whatever machine: layers that it runs as
                one are in a box of their own, which counts as a module; copies between formats have boxes. With
                `profiling_verbosity="detailed"` there are kernels and formats, too.
            times: what `engine.profile` gave, or `trtexec --exportProfile` wrote: the boxes of the engine's layers have
                milliseconds and shares.

        Returns the text of the picture: the SVG or the page; Mermaid's where no path is given; else Graphviz's. In a
        notebook it shows itself as the page, as a graph does. Raises ArgumentError for another file, or another graph's
        engine; ProviderError where Graphviz is wanted and not there, or takes longer than a minute.

        >>> print(trtnet.record(lambda x: F.relu(x), x=Input((2, 3))).draw().split("classDef")[0].rstrip())
        flowchart TD
          n0["input x<br>(2, 3) float32"]:::tensor
          n1["activation RELU"]:::layer
          n2["output output<br>(2, 3) float32"]:::tensor
          n0 -->|"(2, 3) float32"| n1
          n1 -->|"(2, 3) float32"| n2
        """
        raise NotImplementedError("teaching/drawing.py gives it")

    def _repr_html_(self, engine: Any = None) -> str:
        raise NotImplementedError("teaching/drawing.py gives it")

    def prune(self) -> Graph:
        """The graph without the layers that no output depends on; assertions, and what they check, stay.

        It has the inputs, parameters and sizes that there were. This graph is left as it is; where there is nothing to
        leave out, it is returned.

        >>> graph = trtnet.record(lambda x: [x.exp(), x.log()][0], x=trtnet.Input((2, 3)))
        >>> [layer.kind for layer in graph.layers], [layer.kind for layer in graph.prune().layers]
        (['unary', 'unary'], ['unary'])
        """
        raise NotImplementedError("rewriting/pruning.py gives it")

    def explain(self, part: str | None = None, provider: Any = None) -> Any:
        """The raw `network.add_*` calls behind each line of `forward`, with their arguments, and shapes before and
        after. `print` shows it as text, a notebook as a table; `.lines` has the parts.

        Neither TensorRT nor a GPU is needed: the calls are those that `lower` makes, written down.

        Args:
            part: a module's path ("conv1", with all that is in it), a pattern over them, or a layer's name.
            provider: as in `to_script`: whose calls; what that TensorRT lacks is composed of other layers.

        Raises:
            ArgumentError: another part or provider.
            UnsupportedError: plugins, and raw layers that ask TensorRT for what only that knows.

        >>> graph = trtnet.record(lambda x: F.relu(x), x=Input((2, 3)))
        >>> print(*graph.explain(provider="tensorrt==10.13").lines[0].layers[0].calls, sep="\\n")
        activation = network.add_activation(x, type=trt.ActivationType.RELU)
        activation.name = "activation"
        """
        raise NotImplementedError("teaching/explaining.py gives it")

    def to_script(self, path: Any = None, provider: Any = None, targets: Any = (), **options: Any) -> str:
        """The graph as a program in TensorRT's own API, which runs without trtnet; its text.

        It makes the plan that `build_plan` makes, by the same calls in the same order, and needs tensorrt (or
        tensorrt_rtx), NumPy and safetensors. The weights are under their names in a file of safetensors beside it.

        Args:
            path: where it is written, "net.py", and its weights, "net.safetensors"; nowhere, if left out.
            provider: "tensorrt", "tensorrt_rtx", or one of them with a version, "tensorrt==10.13", which need not be
                installed; left out: the one that is installed, or the newest TensorRT that is known.
            targets: what to compile for, as in `build_plan`.
            options: `BuildOptions`: workspace, optimization_level, tf32, ...

        Raises:
            ArgumentError: another path, provider or target.
            UnsupportedError: plugins, and raw layers that ask TensorRT for what only that knows.

        >>> graph = trtnet.record(lambda x: F.relu(x), x=Input((2, 3)))
        >>> "network.add_activation(x, type=trt.ActivationType.RELU)" in graph.to_script()
        True
        """
        raise NotImplementedError("teaching/script.py gives it")

    def structure_hash(self) -> str:
        """A hash of layers, wiring, Dim ranges, dtypes, weight names, recipes and constants; not of weights' values."""
        return structure_hash(self)

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotImplementedError("recording.py gives it")

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n}={format_shape(t.shape)}" for n, t in self.inputs.items())
        outputs = ", ".join(f"{n}={format_shape(t.shape)}" for n, t in self.outputs.items())
        count = len(self.layers)
        return f"Graph({self.title}: {inputs} -> {count} recorded layer{'s' * (count != 1)} -> {outputs})"


def weights_of(operand: Operand) -> Weight | None:
    """The weights that an operand is, perhaps moved or cast by layers; None for what is computed."""
    if isinstance(operand, Weight):
        return operand
    layer = operand.layer if isinstance(operand, Tensor) else None
    return None if layer is None else layer.as_weight(weights_of)


SMALL = 1 << 22
"""As many numbers, computed of constants and sizes, are looked at while recording."""


class Known(NamedTuple):
    """An operand that is known as soon as the parameters are: weights, or whole numbers computed of these alone.

    Attributes:
        weights: the weights that it is, or is computed of, each with the tensor that holds it.
        layers: what computes it of them, in order; none where it is one weight.
    """

    weights: tuple[tuple[Operand, Weight], ...]
    layers: tuple[Producer, ...] = ()

    @classmethod
    def of(cls, operand: Operand) -> Known | None:
        """None for an operand that is not known, or is computed of floating-point numbers."""
        weight = weights_of(operand)
        if weight is not None:
            return cls(((operand, weight),))
        weights: dict[Operand, Weight] = {}
        layers: dict[Producer, None] = {}
        pending = [operand]
        while pending:
            one = pending[-1]
            layer = one.layer if isinstance(one, Tensor) else None
            if one in weights or layer in layers:
                pending.pop()
            elif one is None or one.dtype.is_floating_point:
                return None
            elif (weight := weights_of(one)) is not None:
                weights[pending.pop()] = weight
            elif layer is None or layer.draws or layer.region is not None or len(layer.outputs) != 1:
                return None
            else:
                before = [o for o in layer.inputs if o not in weights and getattr(o, "layer", None) not in layers]
                pending += before
                if not before:
                    layers[layer] = None
        return cls(tuple(weights.items()), tuple(layers))

    @property
    def is_small(self) -> bool:
        """Whether it is computed of little, and so quickly, while recording."""
        return bool(self.layers) and all(_greatest(layer.outputs[0].shape.numel()) <= SMALL for layer in self.layers)

    def leaves(self) -> Iterator[Leaf]:
        """The parameters that it depends on."""
        for _, weight in self.weights:
            yield from weight.leaves()

    def values(self, read: Callable[[Leaf], np.ndarray], least: bool = False) -> np.ndarray | None:
        """Its value, with each Dim at its greatest or its least; None where that is for TensorRT to say."""
        known: dict[Operand, Any] = {operand: evaluate(weight, read) for operand, weight in self.weights}
        if not self.layers:
            return known[self.weights[0][0]]
        for layer in self.layers:
            made = layer.fold(_least if least else _greatest, *(known[operand] for operand in layer.inputs))
            if made is None:
                return None
            known[layer.outputs[0]] = made
        return known[self.layers[-1].outputs[0]]


def _greatest(size: SizeLike) -> int:
    return dims.evaluate(size, {str(symbol): symbol.max for symbol in dims.symbols_of((size,))})


def _least(size: SizeLike) -> int:
    return dims.evaluate(size, {str(symbol): max(symbol.min, 1) for symbol in dims.symbols_of((size,))})


def _array(value: Value | Any) -> np.ndarray:
    return value.read() if isinstance(value, Value) else as_array(value)


F = TypeVar("F", bound=Callable[..., Any])


def method(function: F) -> F:
    """Make this the method of Graph that is declared there under its name, of what rooms above know."""
    declared = getattr(Graph, function.__name__)
    function.__doc__, function.__qualname__ = declared.__doc__, declared.__qualname__
    setattr(Graph, function.__name__, function)
    return function


# --- structure --------------------------------------------------------------------------------------------------------


def structure_hash(graph: Graph) -> str:
    """SHA-256 of layers, wiring, Dim ranges, dtypes, weight names, recipes and constants; no paths, no source lines.

    What is hashed is not the form of engine/graph_json.py, though both go through the layers. That one is read back: it
    has paths, source lines, what only training uses, weights in a table so that each is written once, and marks that
    tell a tuple from a list; and it may change with its FORMAT. This one leaves out what is no structure, and must stay
    as it is for ever: the hash is in every saved plan, and one that differs is refused.
    """
    numbers: dict[Tensor, int] = {}
    for tensor in graph.inputs.values():
        numbers[tensor] = len(numbers)
    for tensor in graph.live.values():
        numbers[tensor] = len(numbers)
    layers = []
    for layer in graph.layers:
        operands = [numbers[o] if type(o) is Tensor else _weight(o) for o in layer.inputs]
        layers.append([layer.kind, operands, {name: _plain(value) for name, value in layer.structure().items()}])
        for tensor in layer.outputs:
            numbers[tensor] = len(numbers)
    text = {
        "recipes": VERSION,
        "dims": {name: [d.min, d.opt, d.max, d.multiple_of] for name, d in sorted(graph.dims.items())},
        "inputs": {name: [_plain(tuple(t.shape)), t.dtype.name] for name, t in graph.inputs.items()},
        "outputs": {name: numbers[t] for name, t in graph.outputs.items()},
        "form": graph.form,
        "live": list(graph.live),
        "layers": layers,
    }
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()


def _weight(weight: Any) -> Any:
    if isinstance(weight, Leaf):
        return ["parameter", weight.name, list(weight.shape), weight.dtype.name]
    if isinstance(weight, Recipe):
        arguments = [_weight(a) for a in weight.arguments]
        return [
            "recipe",
            weight.operation,
            arguments,
            {k: _plain(v) for k, v in weight.attributes.items()},
            weight.dtype.name,
        ]
    if isinstance(weight, Literal):
        digest = hashlib.sha256(weight.array.tobytes()).hexdigest()
        return ["constant", digest, list(weight.shape), weight.dtype.name]
    assert not isinstance(weight, Weight)
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, Dim):
        return {"size": str(value)}
    if isinstance(value, Dtype):
        return value.name
    if isinstance(value, Code):
        return {"code": value.digest}
    return value
