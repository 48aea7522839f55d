"""Recording: a module and its inputs become a Graph, a plain list of layer records."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics import dims, dtypes
from ..basics.arrays import as_array
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError, TrtnetError, WeightsError
from ..basics.garbage import no_collection
from ..basics.location import Location, here, user_level
from ..layers.base import Layer, Operand
from ..layers.constant import Constant
from ..pytorch.training import Training
from ..weights.recipes import Frozen, Leaf, Literal, Weight, digest
from .forms import Form
from .tensor import Array, Parameter, Tensor, current_recorder, recorded

if TYPE_CHECKING:
    from ..tensorrt.provider import Provider


LIMIT = 1 << 31
"""Elements of a tensor that TensorRT does not take any more."""


def check_count(shape: Iterable[SizeLike], what: str = "a tensor", decided: AbstractSet[str] = frozenset()) -> None:
    """Raises ShapeError for a shape that has too many elements where every Dim is at its max.

    Sizes that the data decides, by the names of their Dims, count as 1: their max is what nobody expects.
    """
    count = 1
    dynamic = False
    for size in shape:
        if type(size) is int:
            count *= size
        elif isinstance(size, Dim) and (not decided or decided.isdisjoint(size._symbols)):
            dynamic = True
            count *= size.max
    if count >= LIMIT:
        found = f"{count:,}" if count < 1 << 63 else f"2^{count.bit_length() - 1} or more"
        raise ShapeError(
            f"TensorRT takes no {what.partition(' ')[2] or what} of 2^31 elements or more",
            expected="fewer than 2,147,483,648 elements",
            found=f"{format_shape(shape)}: {found}{', where every Dim is at its max' if dynamic else ''}",
            remedy="a smaller max of the Dims; or split it: trtnet.chunk, or smaller sizes"
            if dynamic
            else "split it: trtnet.chunk, or smaller sizes",
        )


_new: Any = object.__new__


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


@dataclass(slots=True)
class Equality:
    """Two sizes that must be equal, found equal at min, opt and max while recording."""

    left: SizeLike
    right: SizeLike
    problem: str
    path: str
    location: Location | None

    def check(self, sizes: Mapping[str, int]) -> None:
        left, right = dims.evaluate(self.left, sizes), dims.evaluate(self.right, sizes)
        if left != right:
            given = ", ".join(f"{name}={value}" for name, value in sorted(sizes.items()))
            raise ShapeError(
                self.problem,
                expected=f"{self.left} = {self.right}",
                found=f"{left} and {right} at {given}",
                module=self.path or None,
                where=self.location,
                remedy="use sizes for which both are equal, or say so with Dim(..., multiple_of=...)",
            )


class Pending:
    """Stands where a tensor's recorder is, once the tensor was changed in place, or is a second handle to a value."""

    __slots__ = ()

    recorder: Recorder

    def resolve(self, tensor: Tensor) -> Tensor:
        """The value that the tensor stands for now."""
        raise NotImplementedError


class Recorder:
    """One recording: what modules and functions add layers to. Each `record` call has its own.

    Args:
        takes_values: whether operands are the values that they were made as, whatever became of the user's tensors:
            when a graph is written anew.
    """

    def __init__(self, takes_values: bool = False) -> None:
        self.layers: list[Layer] = []
        self.token = object()  # known to the concrete tensors that are made while this recording goes on
        self.handles: dict[Layer, tuple[Operand, ...]] = {}  # the user's tensors, where they stand for other values
        self.takes_values = takes_values
        self.notes: list[tuple[Tensor, Tensor | None, Any, bool]] = []  # of shared memory; memory.py takes them
        self.inputs: dict[str, Tensor] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        self.equalities: list[Equality] = []
        self.path = ""
        self.nested = 0  # how many modules are being called
        self.where: Location | None = None  # the user's line, while one of trtnet's own modules is being called
        self.paths: dict[int, str] = {}
        self.leaves: dict[int, Leaf] = {}
        self.constants: dict[tuple[Weight, tuple[int, ...]], Tensor] = {}
        self.keep: list[Any] = []
        self.data_dims: set[str] = set()
        self.sizes: list[Dim] = []  # that the data decides
        self.spare: list[Layer] = []  # recorded for numbers, or for what came to be computed otherwise
        self.read: dict[Tensor, np.ndarray] = {}  # of what forward computed: what it read as numbers, and small parts
        self.has_read = False
        self.training = Training()
        self.draws_inputs = False  # whether a draw becomes an input of the network
        self._names: dict[str, int] = {}
        self._origin: Layer | None = None
        self._warned = False
        self._counted: set[Size] = set()  # shapes that have not too many elements

    def emit(self, layer: Layer) -> Any:
        """Record a layer and return its output, or a tuple of its outputs."""
        # what a layer is composed of goes with the tensors of the graph that it is in
        if not self.takes_values:
            for operand in layer.inputs:
                if type(operand) is Tensor and operand.recorder is not self:
                    self.handles[layer] = layer.inputs
                    layer.inputs = tuple(self.settle(o) if type(o) is Tensor else o for o in layer.inputs)
                    break
        outputs = layer.infer()
        for shape, _ in outputs:
            if shape not in self._counted:
                check_count(shape, "a tensor", self.data_dims)
                self._counted.add(shape)
        origin = self._origin
        if origin is None:
            layer.path = stem = self.path
            layer.location = self.where or here()
        else:
            layer.path, layer.location, stem = origin.path, origin.location, origin.name
        name = f"{stem}/{layer.kind}" if stem else layer.kind
        if name in self._names:
            name = self.unique(name)
        else:
            self._names[name] = 1
        layer.name = name
        self.layers.append(layer)
        if len(outputs) > 1:
            layer.outputs = tuple(recorded(s, d, self, layer, i) for i, (s, d) in enumerate(outputs))
            return layer.outputs
        tensor: Tensor = _new(Tensor)  # as `recorded` does, with two calls less
        tensor.shape, tensor.dtype = outputs[0]
        tensor.recorder, tensor._note, tensor.layer, tensor.index, tensor.name = self, None, layer, 0, None
        layer.outputs = (tensor,)
        return tensor

    def settle(self, tensor: Tensor) -> Tensor:
        """The value that a tensor stands for, recorded now if need be. Raises where it is not of this recording."""
        pending = tensor.recorder
        if pending is self or self.takes_values:
            return tensor
        if not isinstance(pending, Pending) or pending.recorder is not self:
            raise foreign_tensor(tensor)
        return pending.resolve(tensor)

    @contextmanager
    def values(self) -> Iterator[None]:
        """Take the tensors that are given to layers as the values that they were made as."""
        before, self.takes_values = self.takes_values, True
        try:
            yield
        finally:
            self.takes_values = before

    def unique(self, stem: str) -> str:
        """`stem`, with a number behind it if a layer has that name already."""
        names = self._names
        count = names.get(stem)
        if count is None:
            names[stem] = 1
            return stem
        while (name := f"{stem}_{count}") in names:
            count += 1
        names[stem] = count + 1
        names[name] = 1
        return name

    def data_dim(self, stem: str, most: int) -> Dim:
        """A new Dim, from 0 to `most`, that the data decides."""
        taken = {s.name for s in dims.symbols_of(s for t in self.inputs.values() for s in t.shape)} | self.data_dims
        name = next(name for i in range(len(taken) + 1) if (name := f"{stem}_{i}") not in taken)
        self.data_dims.add(name)
        made = Dim(name, min=0, max=most)
        self.sizes.append(made)
        return made

    def drop_spare(self, outputs: Collection[Tensor]) -> None:
        """Leave out the layers that were recorded for numbers, or for what came to be computed otherwise, where nothing
        uses them."""
        spare = {*self.spare, *self._settled()}
        if not spare:
            return
        used = set(outputs)
        sizes: set[str] = {str(s) for s in dims.symbols_of(size for t in outputs for size in t.shape)}
        kept: list[Layer] = []
        for layer in reversed(self.layers):
            needed = not used.isdisjoint(layer.outputs) or str(layer.decides) in sizes or layer in self.training.instead
            if layer in spare and not needed:
                spare.update(o.layer for o in layer.inputs if isinstance(o, Tensor) and o.layer is not None)
                if layer.decides is not None:
                    self.data_dims.discard(str(layer.decides))
                continue
            kept.append(layer)
            trained = self.training.instead.get(layer)
            used.update(o for one in (layer, trained) if one is not None for o in one.inputs if isinstance(o, Tensor))
            own = (size for tensor in layer.outputs for size in tensor.shape)
            given = (getattr(layer, name) for name in layer.attributes)
            sizes.update(str(s) for s in dims.symbols_of((*own, *sizes_in(given))))
        self.layers = kept[::-1]

    def _settled(self) -> set[Layer]:
        """Where forward read numbers of what it computed: the layers that compute of frozen parameters and constants
        alone."""
        found: set[Layer] = set()
        for layer in self.layers if self.has_read else ():
            tensors = [o.layer for o in layer.inputs if isinstance(o, Tensor)]
            leaves = (leaf for o in layer.inputs if isinstance(o, Weight) for leaf in o.leaves())
            if found.issuperset(tensors) and not layer.draws and all(leaf.frozen is not None for leaf in leaves):
                found.add(layer)
        return found

    def weight(self, value: Array) -> Weight:
        """The weights that an Array or a Parameter is in this recording."""
        leaf = self.leaves.get(id(value))
        if leaf is not None:
            if math.prod(leaf.shape) >= LIMIT:
                check_count(leaf.shape, "weights")
            return leaf
        check_count(value.shape, "weights")
        if isinstance(value, Parameter) and not self._warned:
            self._warned = True
            warnings.warn(
                f"a parameter {format_shape(value.shape)} that the recorded module does not own became a constant: it "
                "cannot be refitted (record the module that owns it, or register it there)",
                stacklevel=user_level(),
            )
        return Literal(as_array(value).copy())  # the user may go on writing to it

    def freeze(self, parameter: Parameter) -> None:
        """Note that a parameter of the module was read as a number: the graph cannot follow a change of it."""
        leaf = self.leaves.get(id(parameter))
        if leaf is not None:
            self.freeze_leaf(leaf)

    def freeze_leaf(self, leaf: Leaf) -> None:
        """The same of the weights that a parameter is in this recording."""
        if leaf.frozen is not None:
            return
        if not leaf.value.there:
            raise WeightsError(
                f"{leaf.name} is read as a number, and has no value",
                expected=f"values of {format_shape(leaf.shape)} {leaf.dtype}",
                found="none",
                remedy="load weights before recording: module.load_state_dict, module.load_weights",
            )
        location = self.where or here()
        place = "an unknown line" if location is None else f"{location.file}:{location.line}"
        leaf.frozen = Frozen(place, digest(leaf.value.read()))
        owners = (one for one in self.keep if isinstance(one, Parameter) and self.leaves.get(id(one)) is leaf)
        if not any(one.__dict__.get("is_meant_frozen") for one in owners):
            warnings.warn(
                f"{leaf.name} is read as a number at {place}: it is frozen in this graph, and another value needs "
                "another recording. Keep it a tensor (x * self.scale), make it a plain attribute, or say that it is "
                "meant: trtnet.frozen(parameter)",
                stacklevel=user_level(),
            )

    def known(self, tensor: Tensor) -> np.ndarray | None:
        """The value of a tensor that depends on parameters, which are frozen by it, and on constants alone; else
        None."""
        from ..pytorch.reading import known

        return known(self, tensor)

    def require_equal(self, left: SizeLike, right: SizeLike, problem: str) -> None:
        """Check at min, opt and max that two sizes are equal, and keep the check for the sizes to come."""
        if left is right or left == right:
            return
        if self.data_dims and not self.data_dims.isdisjoint(map(str, dims.symbols_of((left, right)))):
            raise ShapeError(
                problem,
                expected=f"{left} = {right}",
                found="a size that the data decides, which is not known before the network runs",
                remedy="select both with the same mask, or keep the shapes: trtnet.where(mask, x, 0)",
            )
        if (isinstance(left, int) and isinstance(right, int)) or not dims.equal_at_profile(left, right):
            raise ShapeError(
                problem,
                expected=f"{left} = {right}",
                found=_at_profile(left, right),
                remedy="make the two equal: the shapes just before this line show where they begin to differ "
                "(print(x.shape) works while recording)",
            )
        self.equalities.append(Equality(left, right, problem, self.path, here()))

    def __enter__(self) -> Recorder:
        self._token = current_recorder.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self.read.clear()
        current_recorder.reset(self._token)


def sizes_in(values: Iterable[Any]) -> Iterator[Dim]:
    """The Dims among the values, in tuples too."""
    for value in values:
        if isinstance(value, Dim):
            yield value
        elif isinstance(value, tuple):
            yield from sizes_in(value)


def _at_profile(left: SizeLike, right: SizeLike) -> str:
    if isinstance(left, int) and isinstance(right, int):
        return f"{left} and {right}"
    rows = []
    for which in ("min", "opt", "max"):
        a, b = (s if isinstance(s, int) else getattr(s, which) for s in (left, right))
        rows.append(f"{a} and {b} at {which}")
    return ", ".join(rows)


def recorder() -> Recorder:
    """The recording that is going on. Raises TrtnetError when there is none."""
    found = current_recorder.get()
    if found is None:
        raise ArgumentTypeError(
            "a recorded tensor was used outside its recording",
            expected="to be inside trtnet.record(...)",
            remedy="do this in a module's forward, or record a function: trtnet.record(function, x=Input(...))",
        )
    return found


def emit(layer: Layer) -> Any:
    """Record a layer in the recording that is going on."""
    found = current_recorder.get()
    return (recorder() if found is None else found).emit(layer)


def recorder_constant(value: Array | Weight, shape: tuple[int, ...] | None = None) -> Tensor:
    """`value` as a recorded tensor: a constant layer, one for each parameter and shape."""
    current = recorder()
    weight = value if isinstance(value, Weight) else current.weight(value)
    target = tuple(weight.shape) if shape is None else shape
    if isinstance(weight, Literal):
        made: Tensor = current.emit(Constant((weight,), target))
        return made
    key = (weight, target)
    found = current.constants.get(key)
    if found is None:
        found = current.constants[key] = current.emit(Constant((weight,), target))
    return found


def foreign_tensor(tensor: Tensor) -> TrtnetError:
    if isinstance(tensor.recorder, TrtnetError):
        return tensor.recorder
    return ArgumentError(
        "this tensor belongs to another graph",
        expected="a tensor of the recording that is going on",
        found=repr(tensor),
        remedy="do not keep tensors on modules or in globals between recordings; "
        "compute them in forward, or pass them as inputs",
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
        layers: list[Layer],
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

    def weights(self) -> Iterator[tuple[Layer, int, Weight]]:
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

    def _composed(self, takes: Callable[[Layer], bool], used: Collection[Tensor] = ()) -> Graph:
        """The graph in which every layer that is not taken is composed of others, and uint8 is int32.

        `used` is what layers take, where there is uint8 at all.
        """
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
                    result = _all_taken(new, before, layer.widened(operands), takes)
                elif is_taken:
                    result = layer.again(operands, new)
                else:
                    result = _all_taken(new, before, layer.compose(*operands), takes)
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


def _is_widened(layer: Layer, used: Collection[Tensor]) -> bool:
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


def _all_taken(recorder: Recorder, before: int, result: Any, takes: Callable[[Layer], bool]) -> Any:
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


def _gives(last: Layer, result: Any, outputs: tuple[Tensor, ...]) -> bool:
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


def _again(recorder: Recorder, layer: Layer, operands: tuple[Operand, ...], takes: Callable[[Layer], bool]) -> Any:
    """Record `layer`, or what it is composed of where it is not taken."""
    if not takes(layer):
        before = len(recorder.layers)
        return _all_taken(recorder, before, layer.compose(*operands), takes)
    return layer.again(operands, recorder)
