"""One recording: what modules and functions add layers to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..basics import dims, dtypes
from ..basics.arrays import as_array
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import (
    ArgumentError,
    ArgumentTypeError,
    ShapeError,
    TrtnetError,
    UnsupportedError,
    WeightsError,
)
from ..basics.location import Location, here, user_level
from ..weights.recipes import Frozen, Leaf, Literal, Weight, digest
from .tensor import Array, Operand, Parameter, Producer, Tensor, current_recorder, recorded
from .training import Reason, Training

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
_NO_OUTPUT = Size(()), dtypes.bool_


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


@dataclass(slots=True, eq=False)
class Body:
    """The body of a loop, or a branch of a conditional, while it is recorded.

    Attributes:
        what: as messages name it: "the body of scan".
        where: the user's line that has it recorded.
        start: how many layers there were before.
        inputs: how many inputs the network had before.
        outside: the token of concrete tensors that were made just before.
    """

    what: str
    where: Location | None
    start: int
    inputs: int
    outside: object

    def error(self, tensor: Tensor) -> TrtnetError:
        return ArgumentError(
            f"this tensor was computed in {self.what}, and is not there outside of it",
            expected=f"what {self.what} returns",
            found=repr(tensor),
            remedy=f"return it from there ({self.where}), and use what {self.what.rpartition(' ')[2]} gives",
        )

    def written_error(self, tensor: Tensor) -> TrtnetError:
        return UnsupportedError(
            f"{self.what} changes a tensor from outside in place",
            expected="changes of what is computed in it alone, since it is run in each iteration, or not at all",
            found=repr(tensor),
            remedy="return the new value: make it a part of what is carried on, or of the result",
        )


class Failed(Body):
    """A loop or a conditional that ended with an error."""

    __slots__ = ()

    def error(self, tensor: Tensor) -> TrtnetError:
        return UnsupportedError(
            f"this tensor was computed in {self.what}, which ended with an error",
            expected="tensors of what is recorded",
            found=repr(tensor),
            remedy="compute it anew where the error was caught",
        )


class Recorder:
    """One recording: what modules and functions add layers to. Each `record` call has its own.

    Args:
        takes_values: whether operands are the values that they were made as, whatever became of the user's tensors:
            when a graph is written anew.
    """

    read_value: Callable[[Recorder, Tensor], np.ndarray | None]
    """Computes what `known` gives; recording.py sets it."""

    def __init__(self, takes_values: bool = False) -> None:
        self.layers: list[Producer] = []
        self.token = object()  # known to the concrete tensors that are made while this recording goes on
        self.handles: dict[Producer, tuple[Operand, ...]] = {}  # the user's tensors, where they stand for other values
        self.takes_values = takes_values
        self.notes: list[tuple[Tensor, Tensor | None, Any, bool]] = []  # of shared memory, for functional/memory.py
        self.inputs: dict[str, Tensor] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        self.equalities: list[Equality] = []
        self.path = ""
        self.nested = 0  # how many modules are being called
        self.where: Location | None = None  # the user's line, while one of trtnet's own modules is being called
        self.paths: dict[int, str] = {}
        self.leaves: dict[int, Leaf] = {}
        self.constants: dict[tuple[Weight, tuple[int, ...]], Tensor] = {}
        self.outside: set[int] = set()  # concrete tensors that became constants, by id
        self.replaced: list[tuple[Any, str, Array]] = []  # owners and names of tensors that others took the place of
        self.keep: list[Any] = []
        self.data_dims: set[str] = set()
        self.sizes: list[Dim] = []  # that the data decides
        self.spare: list[Producer] = []  # recorded for numbers, or for what came to be computed otherwise
        self.read: dict[Tensor, np.ndarray] = {}  # of what forward computed: what it read as numbers, and small parts
        self.has_read = False
        self.training = Training()
        self.marks: dict[str, Tensor] = {}  # further outputs, by name
        self.draws_inputs = False  # whether a draw becomes an input of the network
        self.names: dict[str, int] = {}  # of layers, and the number that the next one of that name has
        self.regions = 0  # how many loops and conditionals there are
        self.bodies: list[Body] = []  # those that are being recorded, the innermost last
        self.inside: dict[Tensor, Body] = {}  # what was computed in bodies that have been recorded
        self.origin: Producer | None = None  # in whose place layers are recorded, by whose name and source line
        self._warned = False
        self._counted: set[Size] = set()  # shapes that have not too many elements

    def emit(self, layer: Producer) -> Any:
        """Record a layer and return its output, or a tuple of its outputs."""
        # what a layer is composed of goes with the tensors of the graph that it is in
        if not self.takes_values:
            for operand in layer.inputs:
                if type(operand) is Tensor and operand.recorder is not self:
                    self._settle_inputs(layer)
                    break
        if self.inside:
            self.check_outside(layer.inputs)
        outputs = layer.infer()
        shape, dtype = outputs[0] if outputs else _NO_OUTPUT
        if shape not in self._counted or len(outputs) > 1:
            self._check_counts(outputs)
        origin = self.origin
        if origin is None:
            layer.path = stem = self.path
            layer.location = self.where or here()
        else:
            layer.path, layer.location, stem = origin.path, origin.location, origin.name
        name = f"{stem}/{layer.kind}" if stem else layer.kind
        if name in self.names:
            name = self.unique(name)
        else:
            self.names[name] = 1
        layer.name = name
        self.layers.append(layer)
        if len(outputs) != 1:
            return self._give_all(layer, outputs)
        tensor: Tensor = _new(Tensor)  # as `recorded` does, with two calls less
        tensor.shape = shape
        tensor.dtype = dtype
        tensor.recorder = self
        tensor.layer = layer
        tensor.index = 0
        tensor._note = tensor.name = None
        layer.outputs = (tensor,)
        return tensor

    # apart from `emit`, where a comprehension would make cells of its variables at each call

    def _settle_inputs(self, layer: Producer) -> None:
        self.handles[layer] = layer.inputs
        layer.inputs = tuple([self.settle(o) if type(o) is Tensor else o for o in layer.inputs])

    def _give_all(self, layer: Producer, outputs: tuple[tuple[Size, Dtype], ...]) -> tuple[Tensor, ...]:
        layer.outputs = tuple([recorded(s, d, self, layer, i) for i, (s, d) in enumerate(outputs)])
        return layer.outputs

    def _check_counts(self, outputs: tuple[tuple[Size, Dtype], ...]) -> None:
        for shape, _ in outputs:
            if shape not in self._counted:
                check_count(shape, "a tensor", self.data_dims)
                self._counted.add(shape)

    def check_outside(self, operands: Iterable[Any]) -> None:
        """Raises where an operand was computed in a body that has been recorded."""
        for operand in operands:
            if type(operand) is Tensor and operand in self.inside:
                raise self.inside[operand].error(operand)

    def check_made_inside(self, array: Array) -> None:
        """Raises UnsupportedError where a concrete tensor would be changed that was made outside of this recording, or
        of the body that is being recorded."""
        root: Tensor = array
        while root.alias is not None and root.alias.base is not None:
            root = root.alias.base
        if root.recorder is self.token:
            return
        if self.bodies:
            raise self.bodies[-1].written_error(array)
        raise UnsupportedError(
            "a tensor that was made outside of this recording cannot be changed in forward",
            found=repr(array),
            remedy="write a = a + b in place of a += b, or change a copy: a = a.clone()",
        )

    @contextmanager
    def body(self, what: str, where: Location | None) -> Iterator[Body]:
        """Record the body of a loop, or a branch."""
        token, self.token = self.token, object()
        body = Body(what, where, len(self.layers), len(self.inputs), token)
        self.bodies.append(body)
        try:
            yield body
        finally:
            self.bodies.pop()
            self.token = token

    @contextmanager
    def whole(self, what: str) -> Iterator[None]:
        """Leave out all that was recorded since, where that ends with an error: forward may catch it, and go on."""
        start = len(self.layers)
        lists: tuple[list[Any], ...] = (self.sizes, self.equalities, self.spare)
        kept: tuple[dict[Any, Any], ...] = (self.inputs, self.ranges, self.constants, self.marks)
        counts = [len(one) for one in lists]
        before, data_dims = [dict(one) for one in kept], set(self.data_dims)
        try:
            yield
        except BaseException:
            self._leave_out(self.layers[start:], what)
            del self.layers[start:]
            for one, count in zip(lists, counts):
                del one[count:]
            for given, old in zip(kept, before):
                given.clear()
                given.update(old)
            self.data_dims = data_dims
            raise

    def _leave_out(self, layers: Sequence[Producer], what: str) -> None:
        body = Failed(what, None, 0, 0, None)
        for layer in layers:
            self.training.instead.pop(layer, None)
            self.inside.update(dict.fromkeys(layer.outputs, body))

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
        names = self.names
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
        """A new Dim, from 0 to `most`, that the data decides. Raises UnsupportedError in a body."""
        if self.bodies:
            raise UnsupportedError(
                f"the size of this result hangs on the data, in {self.bodies[-1].what}",
                expected="sizes that are the same in each iteration and each branch",
                remedy="keep the shape: trtnet.where(mask, x, 0)",
            )
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
        kept: list[Producer] = []
        unused: set[str] = set()
        for layer in reversed(self.layers):
            needed = (
                not used.isdisjoint(layer.outputs)
                or not sizes.isdisjoint(map(str, layer.decides))
                or layer in self.training.instead
            )
            if layer in spare and not needed and layer.region is None:
                spare.update(o.layer for o in layer.inputs if isinstance(o, Tensor) and o.layer is not None)
                unused.update(map(str, layer.decides))
                continue
            kept.append(layer)
            trained = self.training.instead.get(layer)
            used.update(o for one in (layer, trained) if one is not None for o in one.inputs if isinstance(o, Tensor))
            sizes.update(str(s) for s in dims.symbols_of(sizes_of(layer)))
        self.layers = kept[::-1]
        if unused:
            self.data_dims -= unused - {str(size) for layer in kept for size in layer.decides}

    def _settled(self) -> set[Producer]:
        """Where forward read numbers of what it computed: the layers that compute of frozen parameters and constants
        alone."""
        found: set[Producer] = set()
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
        return self._literal(value)

    def _literal(self, value: Array) -> Literal:
        check_count(value.shape, "weights")
        if isinstance(value, Parameter) and not self._warned:
            self._warned = True
            warnings.warn(
                f"a parameter {format_shape(value.shape)} that the recorded module does not own became a constant: it "
                "cannot be refitted (record the module that owns it, or register it there)",
                stacklevel=user_level(),
            )
        self.outside.add(id(value))
        array = value.numpy()
        steps = None if array.flags.c_contiguous else tuple(step // array.itemsize for step in array.strides)
        return Literal(as_array(array).copy(), steps)  # the user may go on writing to it

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
        place = "an unknown line" if location is None else str(location)
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
        return Recorder.read_value(self, tensor)

    def cannot_train(self, text: str, owner: str) -> None:
        """Note that what is being recorded is another network in training."""
        self._note(self.training.reasons, text, owner)

    def cut_gradients(self, text: str) -> None:
        """Note that what is being recorded has other gradients than its layers."""
        self._note(self.training.cuts, text, "")

    def _note(self, reasons: list[Reason], text: str, owner: str) -> None:
        where = self.where or here()
        if not any((r.text, r.owner, str(r.location)) == (text, owner, str(where)) for r in reasons):
            reasons.append(Reason(text, owner, where))

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


def sizes_of(layer: Producer) -> Iterator[Dim]:
    """The Dims in the shapes and the attributes of a layer."""
    yield from _sizes_in(tensor.shape for tensor in layer.outputs)
    yield from _sizes_in(getattr(layer, name) for name in layer.attributes)


def _sizes_in(values: Iterable[Any]) -> Iterator[Dim]:
    """The Dims among the values, in tuples too."""
    for value in values:
        if isinstance(value, Dim):
            yield value
        elif isinstance(value, tuple):
            yield from _sizes_in(value)


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
    if not isinstance(found, Recorder):
        raise ArgumentTypeError(
            "a recorded tensor was used outside its recording",
            expected="to be inside trtnet.record(...)",
            remedy="do this in a module's forward, or record a function: trtnet.record(function, x=Input(...))",
        )
    return found


def emit(layer: Producer) -> Any:
    """Record a layer in the recording that is going on."""
    found = current_recorder.get()
    return (recorder() if found is None else found).emit(layer)


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
