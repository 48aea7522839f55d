"""What every layer kind is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import Dim, Size, SizeLike, format_shape, minimum, product
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from ..basics.location import Location
from ..graph.graph import Graph, Known, weights_of
from ..graph.recorder import Recorder, emit, recorder
from ..graph.regions import Division, Turn
from ..graph.tensor import Operand, Producer, Tensor, recorded
from ..weights.demands import Demand
from ..weights.recipes import Literal, Weight, evaluate
from .bounds import UNKNOWN, Bounds
from .targets import Features, Functions, ILayer, ITensor, Network, Run, Source

if TYPE_CHECKING:
    import torch

Output = tuple[Size, Dtype]
Position = SizeLike | Tensor | None
"""One position of a dimension: a size, or a recorded index; None stands for several positions."""


@dataclass(slots=True, eq=False, repr=False)
class Layer:
    """One `network.add_*` call to be made: operands, TensorRT's own attributes, and where it was recorded.

    A subclass is a small dataclass of TensorRT's attributes that says three things: `infer` (shapes and dtypes of
    its outputs), `add_to` (how it is added to an INetworkDefinition) and `compute` (what it computes, in PyTorch).

    Attributes:
        inputs: tensors and weights, by TensorRT's own input index (a convolution: input, kernel, bias).
        outputs: the tensors that it produces.
        name: unique in its graph; becomes the TensorRT layer's name.
        path: path of the module whose `forward` recorded it.
        location: the user's source line.
    """

    inputs: tuple[Operand, ...]
    outputs: tuple[Tensor, ...] = field(init=False)  # these are set when it is recorded
    name: str = field(init=False)
    path: str = field(init=False)
    location: Location | None = field(init=False)

    kind: ClassVar[str] = ""
    """The name of this kind of layer, as in `tensorrt.LayerType`."""

    weight_attributes: ClassVar[dict[int, str]] = {}
    """Which attribute of TensorRT's layer holds the weights of an input index."""

    methods: ClassVar[tuple[str, ...]] = ()
    """The methods of an INetworkDefinition that add it, the newest last: `add_` and its kind, where nothing else is
    said; none where it is always composed of others."""

    chooses: ClassVar[tuple[str, ...]] = ()
    """The attributes that the recording alone chooses (`chosen`)."""

    later: ClassVar[tuple[str, ...]] = ()
    """The attributes that the kind had not at first: no structure where they are as by default, so that plans that were
    saved before are of the same network."""

    open_sizes: ClassVar[str] = ""
    """The attribute of sizes of which a tensor may hold some, in whose place None is given."""

    is_offered: ClassVar[bool] = True
    """Whether `trtnet.layers` has functions of these names, which record it."""

    attributes: ClassVar[tuple[str, ...]] = ()
    """TensorRT's attributes: the names of this kind's own fields."""

    texts: ClassVar[tuple[str, ...]] = ()
    """Those of them that are strings."""

    reads: ClassVar[Mapping[str, str] | None] = None
    """How TensorRT's own layer is read back: the names that the attributes have there, where they are others. None of a
    kind that cannot be, or not in this way (`read`)."""

    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 1, 1)
    """How many of the first inputs are never None; the least and the greatest number of inputs, counting None.
    Where there is no greatest (None), no input is None."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The members of TensorRT's enums that an attribute is one of, of those that `infer` does not check."""

    is_view: ClassVar[bool] = False
    """Whether it only moves elements (transpose, reshape, slice), and in torch shares its first input's memory."""

    is_dense: ClassVar[bool] = True
    """Whether, in torch, contiguous inputs give contiguous outputs."""

    rounds: ClassVar[bool] = True
    """Whether it computes floats, and so rounds them; False where it only selects, moves or copies values."""

    quantizes: ClassVar[bool] = False
    """Whether it rounds to the numbers of a type of few bits, far more coarsely than its input is computed."""

    takes_quantized: ClassVar[bool] = False
    """Whether it takes quantized weights, and what follows may be computed in their type: a dequantize layer."""

    reads_sizes: ClassVar[bool] = False
    """Whether it gives the sizes of its input, whatever that holds."""

    computes_sizes: ClassVar[bool] = False
    """Whether TensorRT computes shapes with it, on the host, from what other such layers give."""

    is_elementwise: ClassVar[bool] = False
    """Whether each output element depends on the input elements at the same (broadcast) position alone, and any finite
    input is safe: no error, a finite derivative."""

    def __init_subclass__(cls) -> None:
        own = inspect.get_annotations(cls)
        inherited = cls.__mro__[1].__dict__.get("attributes", ()) if cls.__mro__[1] is not Layer else ()
        names = [n for n, t in own.items() if "ClassVar" not in str(t)]
        cls.attributes = (*inherited, *(n for n in names if n not in inherited))
        cls.texts = (*cls.texts, *(n for n in names if "str" in str(own[n]) and n not in cls.texts))
        if "methods" not in cls.__dict__:
            cls.methods = (f"add_{cls.kind}",) if cls.kind else ()  # what stands for a layer only in training has none

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that the recording chooses, beside those that were given or in their place: the Dim of a size
        that the data decides."""
        return {}

    @classmethod
    def rank_of_axes(cls, rank: int, count: int) -> int:
        """How many dimensions there are to choose `count` axes of, where the first input has `rank`."""
        return rank

    def infer(self) -> tuple[Output, ...]:
        """The shape and dtype of each output.

        Raises ShapeError and DtypeError where TensorRT would refuse the layer.
        """
        raise NotImplementedError

    def precision(self) -> Dtype | None:
        """The type that a weakly typed network is told to compute it in; None where that is left to TensorRT.

        That is so behind a dequantize layer, which TensorRT takes together with what follows, in its few bits.
        """
        if any(t.layer is not None and t.layer.takes_quantized for t in self.tensors):
            return None
        found = [t.dtype for t in self.outputs if t.dtype.is_floating_point or t.dtype is dtypes.int8]
        return found[-1] if found else None

    def lies(self) -> tuple[int, ...] | None:
        """The strides of torch's tensor, where the layer itself knows that they are not those of row-major order."""
        return None

    def add_to(self, lowering: Network) -> ILayer | tuple[ITensor, ...] | None:
        """Add this layer to a network (`network.add_*`) and set its attributes.

        Returns TensorRT's layer, or None where TensorRT refuses it; or the outputs of several layers, which have their
        names and types then.
        """
        raise NotImplementedError

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        """The layer that one of TensorRT's is, not recorded. Raises UnsupportedError for what cannot be read back."""
        return cls.as_told(native, source)

    @classmethod
    def as_told(cls, native: ILayer, source: Source) -> Layer:
        """The layer of the inputs and attributes that one of TensorRT's has."""
        return cls(cls.operands_of(native, source), **cls.read_attributes(native, source, *cls.attributes))

    @classmethod
    def operands_of(cls, native: ILayer, source: Source) -> tuple[Operand, ...]:
        """The inputs of one of TensorRT's layers: tensors, or weights where there is none."""
        count = max(native.num_inputs, cls.input_counts[1], 1 + max(cls.weight_attributes, default=-1))
        found: list[Operand] = []
        for index in range(count):
            operand: Operand = source.operand(native, index)
            if operand is None and index in cls.weight_attributes:
                operand = source.weights(native, cls.weight_attributes[index])
            found.append(operand)
        return tuple(found)

    @classmethod
    def read_attributes(cls, native: ILayer, source: Source, *names: str) -> dict[str, Any]:
        """The attributes of one of TensorRT's layers, by the names that they have here."""
        fields, others = cls.__dataclass_fields__, cls.reads or {}
        return {name: source.attribute(native, others.get(name, name), str(fields[name].type)) for name in names}

    @classmethod
    def shape_of(cls, native: ILayer, source: Source, attribute: str, count: int) -> tuple[int, ...]:
        """The shape of weights of one of TensorRT's layers, which are `count` numbers."""
        return (count,)

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        """The whole numbers that its output holds, of one dimension or none, where they are constants or sizes of
        tensors; `of` says so of its operands. Else None."""
        return None

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The outputs, computed by PyTorch: a tensor, or a tuple where the layer has several outputs.

        `inputs` are the operands' values; None for an operand that is None.
        """
        raise NotImplementedError

    def supported(self, provider: Features) -> bool:
        """Whether this TensorRT has the layer with these attributes and dtypes; if not, its decomposition (`compose`)
        is recorded in its place."""
        return True

    @classmethod
    def failing(cls, graph: Graph, provider: Features, refit: bool) -> Collection[Layer]:
        """The layers of this kind that this TensorRT computes wrongly, or refuses, in this network, which is
        refittable or not. What they are composed of is not asked again."""
        return ()

    def compose(self, F: Functions, *inputs: Operand) -> Tensor | tuple[Tensor, ...]:
        """Record the decomposition: other layers, by torch's functions `F`, that compute the same, for a TensorRT that
        lacks this layer or computes it wrongly."""
        raise NotImplementedError

    # --- uint8: TensorRT takes it at network inputs and outputs alone; inside a network int32 takes its place

    passes_bytes: ClassVar[bool] = False
    """Whether the layer takes uint8 network inputs, and produces uint8 network outputs, without conversion."""

    leaves_bytes: ClassVar[bool] = False
    """Whether the result of bytes may overflow a byte, and is reduced modulo 256."""

    @property
    def has_bytes(self) -> bool:
        """Whether an input or an output is uint8."""
        return any(t.dtype is dtypes.uint8 for t in (*self.tensors, *self.outputs))

    def widened(self, F: Functions, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]:
        """Record this layer with an int32 result in place of uint8; the operands are converted already (`in_int32`)."""
        made: Any = emit(type(self)(operands, **{name: getattr(self, name) for name in self.attributes}))
        return F.remainder(made, 256) if self.leaves_bytes else made

    def with_operands(self, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]:
        """Record this layer again with live weights: tensors in place of weights among its operands."""
        return self.again(operands, recorder())

    def again(self, operands: tuple[Operand, ...], recorder: Recorder) -> Tensor | tuple[Tensor, ...]:
        """Record a copy of this layer with other operands of the same shapes and dtypes, under its own name."""
        copy = type(self)(operands, **{name: getattr(self, name) for name in self.attributes})
        copy.path, copy.location, copy.name = self.path, self.location, recorder.unique(self.name)
        copy.outputs = tuple(recorded(t.shape, t.dtype, recorder, copy, t.index) for t in self.outputs)
        recorder.layers.append(copy)
        return copy.outputs if len(copy.outputs) != 1 else copy.outputs[0]

    def following(self, before: Any) -> Layer | None:
        """The one layer that does what `before` does and then this one, where there is one; not recorded."""
        return None

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        """The range of whole numbers for input `position` that keeps `output` in the range `wanted` and this layer's
        own indices inside the table. None: any numbers; `UNKNOWN`: cannot be determined."""
        return None if wanted is None else UNKNOWN

    def holds(self, fixed: bool = False) -> tuple[SizeLike, SizeLike] | None:
        """The least and the greatest whole number of the output, where they are known. With `fixed`, of parameters,
        whose values may change, they are not."""
        return None

    def either(self, run: Run, number: int, *inputs: torch.Tensor) -> torch.Tensor | None:
        """Another valid result, computed by PyTorch, a different one for each `number`: of layers whose result is not
        determined, as with duplicate indices of a scatter. None where only rounding is left open."""
        return None

    def grain(self, run: Run, *inputs: torch.Tensor) -> tuple[float, float] | None:
        """Of a layer that quantizes: how far its input's values are apart that become two neighbouring numbers, in the
        mean and at most, relative to the root mean square of what it gives. None of others."""
        return None

    def demands(self) -> tuple[Demand, ...]:
        """What it asks of the values of operands that are weights: TensorRT, too, or its results would mean nothing."""
        return ()

    def as_weight(self, of: Callable[[Operand], Weight | None]) -> Weight | None:
        """Its output as weights, where it only gives, moves or casts them; `of` says so of its operands. Else None."""
        return None

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        """Its output as whole numbers or bools, of operands whose values are known; `size` gives what a Dim is. None
        where it is not for NumPy to say."""
        return None

    def picks(self, output: int) -> int | None:
        """The dimension of the first input that `output` holds indices into, as top-k's second one does; else None."""
        return None

    def is_apart_from(self, other: Layer) -> bool:
        """Whether this view and another view of the same tensor certainly do not overlap."""
        return False

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        """The operands that must be nonnegative for output `index` to be so; None where no operands guarantee it."""
        return None

    @property
    def decides(self) -> tuple[Dim, ...]:
        """The data-dependent sizes of its output."""
        return ()

    @property
    def reads_back(self) -> bool:
        """Whether TensorRT reads numbers back from the GPU for it, when it runs: sizes, and computed positions."""
        return bool(self.decides)

    @property
    def draws(self) -> bool:
        """Whether the outputs are random numbers, drawn anew at each call."""
        return False

    # --- loops and conditionals: layers that bound one

    @property
    def region(self) -> int | None:
        """The number of the loop or the conditional that it bounds, if it does."""
        return None

    @property
    def feeds(self) -> Tensor | None:
        """The tensor of a loop that is, in the next iteration, what this layer's first input is in this one."""
        return None

    def divide(self, layers: Sequence[Producer]) -> Division:
        """The layers from the first that bounds its region to the last, by what they are to that."""
        raise NotImplementedError

    def begun(self) -> Turn:
        """For a run in PyTorch that comes to its region: where it is there."""
        raise NotImplementedError

    @property
    def expands(self) -> bool:
        """Whether several elements of this view share one memory location, as after `expand`."""
        return False

    def origin(self, positions: tuple[Position, ...]) -> tuple[Position, ...] | None:
        """The input positions of a view that output positions map to, one for each dimension; None where several
        output elements share one memory location."""
        raise NotImplementedError

    def structure(self) -> dict[str, Any]:
        """The attributes by which a network is the same as another."""
        given = {name: getattr(self, name) for name in self.attributes}
        if not self.later:
            return given
        known = type(self).__dataclass_fields__
        return {name: value for name, value in given.items() if name not in self.later or value != known[name].default}

    def operand(self, index: int) -> Operand:
        """The operand at one of TensorRT's input indices; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the operands."""
        return [o for o in self.inputs if isinstance(o, Tensor)]

    @property
    def has_tensor_weights(self) -> bool:
        """Whether a weight operand is a tensor, as live weights are."""
        return any(isinstance(self.operand(index), Tensor) for index in self.weight_attributes)

    def headline(self) -> str:
        """The kind and the operation, like `activation RELU`: TensorRT's enum members are the upper-case attributes."""
        text = self.kind
        for name in self.texts:
            member = getattr(self, name)
            if member is not None and member != "NONE" and member.isupper():
                text = f"{text} {member}"
        return text

    def describe(self) -> str:
        """The attributes that differ from their defaults, for the summary."""
        shown = []
        for name in self.attributes:
            value = getattr(self, name)
            if value != type(self).__dataclass_fields__[name].default:
                shown.append(f"{name}={value}")
        return ", ".join(shown)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"


def unreadable(kind: str, why: str) -> UnsupportedError:
    """For a layer of TensorRT's that has no counterpart here."""
    return UnsupportedError(
        f"a {kind} layer of TensorRT's cannot be read back: {why}",
        expected="a layer that trtnet reads: not those of loops, conditionals, plugins, attention, experts",
        found=kind,
        remedy="write the network with trtnet, or without this layer",
    )


_NO_SIGN = frozenset((dtypes.bool_, dtypes.uint8))


def is_nonnegative(value: Operand) -> bool:
    """Whether a tensor or weights are known to hold no negative number, by what they were made from."""
    pending, seen = [value], set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Literal):
            if one.array.size and not np.asarray(one.array >= 0).all():
                return False
        elif one.dtype not in _NO_SIGN:
            if not isinstance(one, Tensor) or one.layer is None:
                return False
            needed = one.layer.nonnegative_if(one.index)
            if needed is None:
                return False
            pending += needed
    return True


def held(operand: Operand, fixed: bool = False) -> tuple[SizeLike, SizeLike] | None:
    """The least and the greatest whole number of an operand, where they are known; see `Layer.holds`."""
    while isinstance(operand, Tensor) and (layer := operand.layer) is not None:
        known = layer.holds(fixed)
        if known is not None or layer.rounds or [type(o) for o in layer.inputs] != [Tensor]:
            return known
        operand = layer.inputs[0]
    return None


def check_constants(layer: Layer) -> None:
    """Raises a layer's own error for an operand of constants (not parameters) whose values it does not take."""
    for demand in layer.demands():
        weight = None if demand.least else weights_of(layer.operand(demand.position))
        if weight is not None and weight.name is None:
            demand.check(evaluate(weight, lambda leaf: leaf.value.read()))


def check_computed(layer: Layer) -> None:
    """Raises a layer's own error for an operand that is computed of constants and of sizes, as `arange(n) + 1` is, and
    holds values that it does not take where the sizes are greatest."""
    for demand in layer.demands():
        known = None if demand.least else Known.of(layer.operand(demand.position))
        if known is None or not known.is_small or next(known.leaves(), None) is not None:
            continue
        array = known.values(lambda leaf: leaf.value.read())
        if array is not None:
            demand.check(array, "record with a Dim of a smaller max, or with a larger table")


def require_equal(left: SizeLike, right: SizeLike, problem: str) -> None:
    """Check at min, opt and max that two sizes are equal, and keep the check for the sizes of each call."""
    if left is not right and left != right:
        recorder().require_equal(left, right, problem)


def require_shape(
    found: Sequence[SizeLike], expected: Sequence[SizeLike], problem: str, remedy: str | None = None, kept: str = ""
) -> None:
    """Raises ShapeError where a shape is another than expected; where that depends on Dims it is checked at each call
    too, which then says `kept`, or the same."""
    pairs = list(zip(found, expected))
    if len(found) != len(expected) or any(a != b and isinstance(a, int) and isinstance(b, int) for a, b in pairs):
        raise ShapeError(problem, expected=format_shape(expected), found=format_shape(found), remedy=remedy)
    for a, b in pairs:
        require_equal(a, b, kept or problem)


def require_at_least(size: SizeLike, least: SizeLike, problem: str) -> None:
    """Raises ShapeError where a size is smaller; where that depends on Dims it is checked at each call too."""
    low = size - least
    if not isinstance(low, Dim):
        if low < 0:
            raise ShapeError(problem, expected=f"at least {least}", found=size)
    elif low.bounds[0] < 0:
        values = {which: getattr(low, which) for which in ("min", "opt", "max")}
        if any(value < 0 for value in values.values()):
            shown = ", ".join(
                f"{size if isinstance(size, int) else getattr(size, which)} at {which}" for which in values
            )
            raise ShapeError(
                problem,
                expected=f"{size} >= {least}",
                found=shown,
                remedy="give the Dim a larger min, where that is what is meant",
            )
        require_equal(minimum(size, least), least, problem)


class Each:
    """Attributes that have one number for each of a layer's dimensions, and the least that it may be, or None."""

    def __init__(self, **least: int | None) -> None:
        self.least = least
        self._read = attrgetter(*least)
        self._fit: set[tuple[int, Any]] = set()  # what was found to be right, most often one of a few

    def require(self, layer: Layer, count: int) -> None:
        """Raises ArgumentError unless each has so many numbers, and none below its least one."""
        given = count, self._read(layer)
        if given in self._fit:
            return
        for (name, low), values in zip(self.least.items(), given[1], strict=True):
            if len(values) != count or (low is not None and values and min(values) < low):
                raise ArgumentError(
                    f"the {name} of a {layer.kind} layer has one number for each of its dimensions"
                    + ("" if low is None else f", of at least {low}"),
                    expected=f"{count} numbers" + ("" if low is None else f" of {low} or more"),
                    found=str(values),
                    remedy=f"{name}={(max(low or 0, 1),) * count}, for example",
                )
        if len(self._fit) < MOST_FITTING:
            self._fit.add(given)


MOST_FITTING = 1000


UNCOMPUTED = frozenset((dtypes.float8_e4m3fn, dtypes.float8_e8m0fnu, dtypes.int4, dtypes.float4_e2m1fn))
"""What TensorRT quantizes and dequantizes, and computes nothing with ("is not consumed by IDequantizeLayer …")."""


def require_floating(name: str, *values: Tensor | Weight) -> None:
    """Raises DtypeError unless all are of floating-point dtypes that TensorRT computes in."""
    for value in values:
        if value.dtype in UNCOMPUTED:
            raise uncomputed(name, value, "float32, float16 or bfloat16")
        if not value.dtype.is_floating_point:
            raise DtypeError(
                f"{name} takes floating-point tensors",
                expected="float32, float16 or bfloat16",
                found=value.dtype,
                remedy="convert it first: x.float()",
            )


def require_computed(name: str, x: Tensor) -> None:
    """Raises DtypeError for the types that TensorRT only quantizes and dequantizes."""
    if x.dtype in UNCOMPUTED:
        raise uncomputed(name, x, "float32, float16, bfloat16, int8, uint8, int32, int64 or bool")


def uncomputed(name: str, x: Tensor | Weight, expected: str) -> DtypeError:
    """For tensors of the types that TensorRT only quantizes and dequantizes."""
    return DtypeError(
        f"{name} does not take {x.dtype}, which TensorRT only quantizes and dequantizes",
        expected=expected,
        found=f"{x.dtype} {format_shape(x.shape)}",
        remedy="convert it first: x.float()"
        if x.dtype is dtypes.float8_e8m0fnu
        else "dequantize it first: x.dequantize(), or trtnet.layers.add_dequantize(x, scale)",
    )


def same_count(before: tuple[SizeLike, ...], after: tuple[SizeLike, ...]) -> None:
    """Raises ShapeError unless a reshape keeps the number of elements."""
    a, b = product(before), product(after)
    if a != b:
        require_equal(
            a, b, f"a reshape must keep the number of elements: {format_shape(before)} to {format_shape(after)}"
        )


def _spreads(shape: Size, over: Size) -> bool:
    """Whether a shape is broadcast to another one of its rank, by sizes that are numbers."""
    for size, wide in zip(shape, over):
        if size is not wide and (type(size) is not int or (size != 1 and (type(wide) is not int or size != wide))):
            return False
    return True


def broadcast(kind: str, *operands: Tensor) -> Size:
    """The shape of tensors of one rank broadcast against each other."""
    shapes = [o.shape for o in operands]
    first = shapes[0]
    if all(s is first or _spreads(s, first) for s in shapes):
        return first
    result: list[SizeLike] = []
    for axis, sizes in enumerate(zip(*shapes)):
        size: SizeLike = 1
        for candidate in sizes:
            if candidate is size or (type(candidate) is int and candidate == 1):
                continue
            if type(size) is int and size == 1:
                size = candidate
            elif size != candidate:
                shown = " and ".join(format_shape(s) for s in shapes)
                require_equal(size, candidate, f"{kind}: sizes differ in dimension {axis} of {shown}")
        result.append(size)
    return Size(result)
