"""A recorded network: a plain list of layer records, its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics import dims, dtypes
from ..basics.dims import Dim, Size, format_shape
from ..basics.errors import ArgumentError, ShapeError
from ..basics.garbage import no_collection
from ..layers.constant import Constant
from ..layers.targets import Functions
from ..weights.recipes import Leaf, Weight
from .forms import Form
from .recorder import Equality, Recorder, check_count
from .tensor import Array, Operand, Producer, Tensor
from .training import Training

if TYPE_CHECKING:
    from ..tensorrt.provider import Provider


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
        self.range = None if range is None else _checked_range(range)

    def __repr__(self) -> str:
        shown = "" if self.range is None else f", range={self.range}"
        return f"Input({format_shape(self.shape)}, {self.dtype}{shown})"


def _checked_range(given: Any) -> tuple[float, float]:
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


class Graph:
    """A recorded network: layer records in the order in which they will be added.

    Attributes:
        layers: the layer records.
        inputs, outputs: the network's tensors, by name.
        form: what `forward` returned: "one", "tuple" or "dict"; see `forms` for results with None among them.
        parameters: every parameter and buffer of the recorded module, by its `state_dict` key. Tied ones are one Leaf.
        trainable, buffers: which of them training changes, and which are buffers.
        equalities: sizes that must be equal at run time.
        title: the recorded module's class.
    """

    def __init__(
        self,
        layers: list[Producer],
        inputs: dict[str, Tensor],
        outputs: dict[str, Tensor],
        form: Form,
        parameters: dict[str, Leaf],
        trainable: frozenset[str],
        buffers: frozenset[str],
        equalities: list[Equality],
        title: str,
    ) -> None:
        self.layers = layers
        self.inputs = inputs
        self.outputs = outputs
        self.form = form
        self.parameters = parameters
        self.trainable = trainable
        self.buffers = buffers
        self.equalities = equalities
        self.title = title
        self.data_dims: frozenset[str] = frozenset()
        """Dims that the data decides: known when the network has run."""
        self.training: Training | None = None
        """What the layers do otherwise in training; None where that is not known."""
        self.live: dict[str, Tensor] = {}
        """Parameters that are inputs of the network, by name."""
        self.ranges: dict[str, tuple[float, float]] = {}
        """The least and the greatest value of inputs that were recorded with a range, by name."""
        self.dims: dict[str, Dim] = {
            symbol.name: symbol
            for symbol in dims.symbols_of(s for t in inputs.values() for s in t.shape)
            if symbol.name
        }

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
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False, *, prefix: str = ""
    ) -> Any:
        """Give the graph other values; the module that it was recorded from keeps its own.

        As `Module.load_state_dict`: a mismatch raises WeightsError and changes nothing.
        """
        from ..weights.matching import load_into

        return load_into(self.parameters, state_dict, assign=assign, strict=strict, prefix=prefix)

    # --- draws

    def drawn_outputs(self) -> list[str]:
        """The names of the outputs that depend on what a layer draws, and so differ from call to call."""
        drawn: set[Tensor] = set()
        for layer in self.layers:
            if layer.draws or any(type(o) is Tensor and o in drawn for o in layer.inputs):
                drawn.update(layer.outputs)
        return [name for name, tensor in self.outputs.items() if tensor in drawn]

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

    # --- forms of itself

    def for_provider(self, provider: Provider, refit: bool = True) -> Graph:
        """The graph that is lowered 1:1: layers that this provider lacks are composed of others.

        So are those that it gets wrong in a refittable network, unless `refit` says that this one will not be.
        """
        with no_collection():
            graph = self._composed(methodcaller("supported", provider), self._used_by_layers())
        if not refit:
            return graph
        kinds = dict.fromkeys(type(layer) for layer in graph.layers)
        failing = {id(layer) for kind in kinds for layer in kind.failing(graph.layers, provider)}
        return graph._composed(lambda layer: id(layer) not in failing) if failing else graph

    def _used_by_layers(self) -> Collection[Tensor]:
        """What layers take, where there is uint8 in the graph; else nothing."""
        found = {t.dtype for t in self.inputs.values()}
        found.update([t.dtype for layer in self.layers for t in layer.outputs])
        if dtypes.uint8 not in found:
            return ()
        return {o for layer in self.layers for o in layer.inputs if type(o) is Tensor}

    def _composed(self, takes: Callable[[Producer], bool], used: Collection[Tensor] = ()) -> Graph:
        """The graph in which every layer that is not taken is composed of others, and uint8 is int32.

        `used` is what layers take, where there is uint8 at all.
        """
        from ..layers.casting import in_int32
        from ..rewriting import functions

        F: Functions = functions
        layers = self.layers
        widened = {layer for layer in layers if _is_widened(layer, used)} if used else set()
        first = next((i for i, layer in enumerate(layers) if not takes(layer) or layer in widened), None)
        if first is None:
            return self
        new = Recorder(takes_values=True)
        new.layers = layers[:first]
        new._names = {layer.name: 1 for layer in new.layers}
        replaced: dict[Any, Tensor] = {}
        names = new._names
        with new:
            for layer in layers[first:]:
                is_taken, is_wide = takes(layer), layer in widened
                # what does not change is shared
                if is_taken and not is_wide and layer.name not in names and replaced.keys().isdisjoint(layer.inputs):
                    new.layers.append(layer)
                    names[layer.name] = 1
                    continue
                new._origin = layer
                operands = tuple([replaced.get(o, o) for o in layer.inputs]) if replaced else layer.inputs
                before = len(new.layers)
                if is_wide:
                    wide = tuple([in_int32(o) for o in operands])
                    result = _all_taken(new, before, layer.widened(F, wide), takes)
                elif is_taken:
                    result = layer.again(operands, new)
                else:
                    result = _all_taken(new, before, layer.compose(F, *operands), takes)
                if len(new.layers) == before or not _gives(new.layers[-1], result, layer.outputs):
                    replaced.update(zip(layer.outputs, result if isinstance(result, tuple) else (result,)))
            outputs = {name: _narrowed(new, t, replaced.get(t, t)) for name, t in self.outputs.items()}
        for name, tensor in outputs.items():
            tensor.name = name
        graph = Graph(
            new.layers,
            self.inputs,
            outputs,
            self.form,
            self.parameters,
            self.trainable,
            self.buffers,
            self.equalities,
            self.title,
        )
        graph.live, graph.data_dims = self.live, self.data_dims
        return graph

    def lower(self, network: Any, refit: bool = True) -> Any:
        """Add the layers to an INetworkDefinition that you own; return the Lowering, which holds the arrays.

        `refit=False` says that the engine will not be built with a REFIT flag (see `for_provider`).

        The arrays stay alive as long as the network does. A weakly typed network (TensorRT 8.6, and 10 without the
        STRONGLY_TYPED flag) is told the recorded types layer by layer; set OBEY_PRECISION_CONSTRAINTS, and FP16 or BF16
        where they are used, in its builder config. Raises BuildError with TensorRT's own text, the module path
        and the source line.
        """
        from ..tensorrt.build.lowering import lower

        return lower(self, network, refit=refit)

    def summary(self, provider: Provider | None = None) -> str:
        """A table: layer, module path, output shape, dtype, parameters, bytes.

        It shows the layers as they are lowered: `for_provider(provider)`, or for a TensorRT that has every layer.
        """
        from ..tensorrt.build.summary import summary

        return summary(self, provider)

    def structure_hash(self) -> str:
        """A hash of layers, wiring, Dim ranges, dtypes, weight names, recipes and constants; not of weights' values."""
        from .structure import structure_hash

        return structure_hash(self)

    def __reduce__(self) -> Any:
        from ..engine.graph_json import from_json, to_json

        return from_json, (to_json(self), {leaf.name: leaf.value for leaf in self.parameters.values()})

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n}={format_shape(t.shape)}" for n, t in self.inputs.items())
        outputs = ", ".join(f"{n}={format_shape(t.shape)}" for n, t in self.outputs.items())
        return f"Graph({self.title}: {inputs} -> {len(self.layers)} layers -> {outputs})"


def _is_widened(layer: Producer, used: Collection[Tensor]) -> bool:
    """Whether uint8 is int32 in this layer; `used` is what layers take."""
    if not layer.has_bytes:
        return False
    if not layer.passes_bytes:
        return True
    inside = [o for o in layer.inputs if type(o) is Tensor and o.layer is not None]
    return any(t.dtype is dtypes.uint8 for t in (*inside, *(o for o in layer.outputs if o in used)))


def _narrowed(recorder: Recorder, recorded: Tensor, tensor: Tensor) -> Tensor:
    """An output of the network: uint8 again, where it was made int32."""
    if tensor.dtype is recorded.dtype:
        return tensor
    from ..layers.casting import Cast

    recorder._origin = recorded.layer
    made: Tensor = recorder.emit(Cast((recorder.emit(Cast((tensor,), dtypes.float32)),), dtypes.uint8))
    return made


def _all_taken(recorder: Recorder, before: int, result: Any, takes: Callable[[Producer], bool]) -> Any:
    """What was recorded since `before`, composed in its turn where a layer of it is not taken."""
    added = recorder.layers[before:]
    if all(map(takes, added)):
        return result
    del recorder.layers[before:]
    replaced: dict[Tensor, Tensor] = {}
    for inner in added:
        inner_operands = tuple(replaced.get(o, o) if type(o) is Tensor else o for o in inner.inputs)
        again = _again(recorder, inner, inner_operands, takes)
        for old, tensor in zip(inner.outputs, again if isinstance(again, tuple) else (again,)):
            replaced[old] = tensor
    for key, tensor in recorder.constants.items():
        recorder.constants[key] = replaced.get(tensor, tensor)
    single = result if isinstance(result, tuple) else (result,)
    final = tuple(replaced.get(t, t) for t in single)
    return final if isinstance(result, tuple) else final[0]


def _gives(last: Producer, result: Any, outputs: tuple[Tensor, ...]) -> bool:
    """Let the last layer that was recorded for others give the recorded tensors, if what it gives is the result and is
    like them: then nothing that takes them has to change.

    Their `layer` stays the recorded one.
    """
    if isinstance(last, Constant):  # which others may share
        return False
    made = result if isinstance(result, tuple) else (result,)
    if len(made) != len(last.outputs):
        return False
    for one, two, old in zip(made, last.outputs, outputs):
        if one is not two or one.dtype is not old.dtype or (one.shape is not old.shape and one.shape != old.shape):
            return False
    last.outputs = outputs
    return True


def _again(
    recorder: Recorder, layer: Producer, operands: tuple[Operand, ...], takes: Callable[[Producer], bool]
) -> Any:
    """Record `layer`, or what it is composed of where it is not taken."""
    if not takes(layer):
        before = len(recorder.layers)
        from ..rewriting import functions

        return _all_taken(recorder, before, layer.compose(functions, *operands), takes)
    return layer.again(operands, recorder)
