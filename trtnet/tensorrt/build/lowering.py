"""A Graph becomes an INetworkDefinition: one `network.add_*` call for each layer record, weights owned, errors
explained."""

from __future__ import annotations

import difflib
import functools
import re
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...basics import dims, dtypes
from ...basics.dims import Dim, SizeLike
from ...basics.errors import ArgumentError, BuildError, ProviderError, TrtnetError
from ...basics.garbage import no_collection
from ...graph.graph import Graph, method
from ...graph.tensor import Producer, Tensor
from ...layers.base import Operand
from ...layers.conditionals import Scope, branches
from ...layers.sizes import is_of_sizes
from ...layers.targets import (
    EnumMember,
    IIfConditional,
    ILayer,
    ILoop,
    ITensor,
    NativePlugin,
    Network,
    PluginRequest,
    Weights,
)
from ...rewriting.composing import for_provider
from ...weights.ledger import SHORT, Ledger, engine_name
from ...weights.recipes import Weight
from .. import plugins
from .. import provider as providers
from ..callbacks import ErrorRecorder
from ..provider import Provider

if TYPE_CHECKING:
    from ..bindings import INetworkDefinition, INetworkTensor, ITypedLayer

T = TypeVar("T")
L = TypeVar("L", bound=ILayer)


class Lowering:
    """One network that was made from one graph, and every array that it points to.

    Attributes:
        graph: the graph as it was lowered, for this provider.
        network: the INetworkDefinition.
        ledger: the arrays. `print(lowering.ledger)` shows who owns what.
        placeholders: the weights that were left out (`build_plan(refit=True)`), by engine name.
        plugins: what a plan of the network needs to be loaded, as its manifest says it.
        keeps_kernels: whether there are plugins that become part of the plan.
    """

    def __init__(
        self, graph: Graph, network: INetworkDefinition, provider: Provider, left_out: Collection[str] = ()
    ) -> None:
        self.graph = graph
        self.network = network
        self.provider = provider
        self._is_weak = not is_strongly_typed(provider, network)
        self.ledger = Ledger()
        self.placeholders: dict[str, Weight] = {}
        self.plugins: list[Mapping[str, Any]] = []
        self.keeps_kernels = False
        self._left_out = left_out
        self.errors: ErrorRecorder = provider.error_recorder()
        self._tensors: dict[Tensor, INetworkTensor] = {}
        self._layers: dict[str, ILayer] = {}
        self._sizes: dict[tuple[SizeLike, Scope] | str, ITensor] = {}
        self._decided: dict[str, tuple[Dim, ITensor, int]] = {}
        self._loops: dict[int, ILoop] = {}
        self._conditionals: dict[int, IIfConditional] = {}
        self._branches = branches(graph.layers)
        self._layer: Producer | None = None
        self.enum = functools.cache(provider.enum)
        self.data_type = provider.data_type

    # --- for who goes on after the graph

    def tensor(self, name: str) -> INetworkTensor:
        """The ITensor of an input or an output of the graph, or of the first output of the layer of this name.

        Raises ArgumentError for another name.
        """
        found = {**self._ends(), **self.graph.inputs, **self.graph.outputs}.get(name)
        return self._tensors[self._known(name, found, "tensor")]

    def layer(self, path: str) -> ILayer:
        """The ILayer of this name, as TensorRT's log shows it; or the last one that was recorded in the module at this
        path. Raises ArgumentError for another one, and for a raw layer."""
        last = {layer.path: layer.name for layer in self.graph.layers if layer.name in self._layers}
        name = path if path in self._layers else last.get(path)
        return self._layers[self._known(path, name, "layer")]

    def _ends(self) -> dict[str, Tensor]:
        return {layer.name: layer.outputs[0] for layer in self.graph.layers if layer.outputs}

    def _known(self, name: str, found: T | None, what: str) -> T:
        if found is not None:
            return found
        names = [*self.graph.inputs, *self.graph.outputs, *self._ends()]
        close = difflib.get_close_matches(str(name), names, 3, 0.4)
        raise ArgumentError(
            f"this network has no {what} {name!r}",
            expected=", ".join(close or names[:8]),
            found=repr(name),
            remedy="the names are those of graph.inputs, graph.outputs and graph.layers",
        )

    # --- what a layer's add_to uses

    def __getitem__(self, tensor: Operand) -> INetworkTensor:
        """The ITensor of a recorded tensor."""
        return self._tensors[tensor]  # type: ignore[index]

    def weights(self, operand: Operand, like: Operand = None) -> Weights:
        """What TensorRT takes for a weight operand; empty weights of the dtype of `like` for None and for tensors."""
        if not isinstance(operand, Weight):
            reference = operand if operand is not None else like
            assert reference is not None
            return self.provider.no_weights(reference.dtype)
        assert self._layer is not None
        if self._left_out and self._layer.weight_attributes and self._is_left_out(operand):
            return self.provider.placeholder(operand.dtype, operand.count)
        provider, dtype = self.provider, operand.dtype
        if dtype is dtypes.int64:
            dtype = provider.stored(dtype)
        if 0 in operand.shape:
            return provider.no_weights(dtype)  # TensorRT refuses an address of nothing
        holding = self.ledger.hold(operand, dtype, self._layer.name)
        if holding.given is None:
            count = operand.count if dtype.bits < 8 else None
            holding.given = provider.weights(holding.array, dtype, holding.address, count)
        return holding.given

    def _is_left_out(self, weight: Weight) -> bool:
        return any(leaf.name in self._left_out for leaf in weight.leaves())

    def is_static(self, sizes: Sequence[SizeLike]) -> bool:
        return all(isinstance(s, int) for s in sizes)

    def shape_tensor(self, sizes: Sequence[SizeLike]) -> ITensor:
        """A 1-D shape tensor of these sizes, made of layers where they depend on the inputs."""
        if all(isinstance(s, int) for s in sizes):
            return self._constant([int(s) for s in sizes])
        parts = [self.size_tensor(s) for s in sizes]
        if len(parts) == 1:
            return parts[0]
        layer = self._helper(self.network.add_concatenation(parts))
        layer.axis = 0
        return layer.get_output(0)

    def size_tensor(self, size: SizeLike) -> ITensor:
        """A shape tensor of one element."""
        return self._size_in(size, self._branches.get(self._layer, ()) if self._branches else ())  # type: ignore[arg-type]

    def _size_in(self, size: SizeLike, scope: Scope) -> ITensor:
        """`size_tensor` in a branch of a conditional: an input of that, of what the size is outside."""
        found = self._sizes.get((size, scope))
        if found is None:
            if isinstance(size, int):
                found = self._constant([size])
            elif scope:
                outside = self._size_in(size, scope[:-1])
                found = self._helper(self.conditional(scope[-1][0]).add_input(outside)).get_output(0)
            elif size.name is not None:
                found = self._symbol(size)
            else:
                found = size.fold(
                    number=lambda n: self._size_in(n, ()),
                    symbol=lambda s: self._size_in(
                        self._decided[s][0] if s in self._decided else self.graph.dims[s], ()
                    ),
                    add=self._operation("SUM"),
                    multiply=self._operation("PROD"),
                    floor_divide=self._operation("FLOOR_DIV"),
                    maximum=self._operation("MAX"),
                    minimum=self._operation("MIN"),
                )
            self._sizes[size, scope] = found
        return found

    def scalar(self, size: SizeLike) -> ITensor:
        """A shape tensor without dimensions."""
        if isinstance(size, int):
            array = self.ledger.keep(np.array(size, self.provider.shape_dtype.numpy))
            return self._helper(self.network.add_constant((), array)).get_output(0)
        layer = self._helper(self.network.add_shuffle(self.size_tensor(size)))
        layer.reshape_dims = ()
        return layer.get_output(0)

    def held_numbers(self, tensor: Tensor) -> ITensor:
        """What a recorded tensor of whole numbers and one dimension holds, as a shape tensor.

        TensorRT goes back from a shape tensor to inputs of the network, which would have to lie on the host then, and
        finds no values of some layers (`Cumulative`, top-k). It stops at an einsum, whose result it takes to the host.
        """
        native: ITensor = self[tensor]
        is_apart = not is_of_sizes(tensor)
        if is_apart:
            real = self.data_type(dtypes.float32)
            layer = self._helper(self.network.add_einsum([self._cast(native, real)], "i->i"))
            if self._is_weak:
                layer.precision = real
                layer.set_output_type(0, real)
            native = layer.get_output(0)
        dtype = self.provider.shape_dtype
        return self._cast(native, self.data_type(dtype)) if is_apart or tensor.dtype is not dtype else native

    def held_sizes(self, sizes: Sequence[SizeLike], decided: Sequence[Dim], tensor: Tensor) -> ITensor:
        """A 1-D shape tensor of these sizes, of those `decided` as a recorded tensor holds them."""
        held = self._operation("MAX")(self.held_numbers(tensor), self.size_tensor(0))  # which tells TensorRT the sign
        every, places = tensor.shape[0] == len(sizes), iter(range(len(decided)))
        parts = []
        for axis, size in enumerate(sizes):
            if isinstance(size, Dim) and size in decided:
                place = axis if every else next(places)
                parts.append(self._helper(self.network.add_slice(held, (place,), (1,), (1,))).get_output(0))
            else:
                parts.append(self.size_tensor(size))
        if len(parts) == 1:
            return parts[0]
        layer = self._helper(self.network.add_concatenation(parts))
        layer.axis = 0
        return layer.get_output(0)

    def _cast(self, tensor: ITensor, dtype: EnumMember) -> ITensor:
        return self._helper(self.network.add_cast(tensor, dtype)).get_output(0)

    def _operation(self, name: str) -> Callable[[ITensor, ITensor], ITensor]:
        operation = self.enum("ElementWiseOperation", name)
        return lambda a, b: self._helper(self.network.add_elementwise(a, b, operation)).get_output(0)

    def data_decides(self, symbol: Dim, tensor: ITensor, axis: int) -> None:
        """The size of a Dim is that of this dimension of a layer's output."""
        self._decided[str(symbol)] = (symbol, tensor, axis)

    def loop(self, number: int) -> ILoop:
        """The loop of this number."""
        found = self._loops.get(number)
        if found is None:
            found = self._loops[number] = self.network.add_loop()
        return found

    def conditional(self, number: int) -> IIfConditional:
        """The conditional of this number."""
        found = self._conditionals.get(number)
        if found is None:
            found = self._conditionals[number] = self.network.add_if_conditional()
        return found

    def boundary(self, tensor: Tensor) -> ILayer:
        """The layer that gives a tensor, of those that bound loops and conditionals."""
        assert tensor.layer is not None
        return self._layers[tensor.layer.name]

    def _symbol(self, symbol: Dim) -> ITensor:
        if str(symbol) in self._decided:
            _, decided, axis = self._decided[str(symbol)]
            shape = self._helper(self.network.add_shape(decided)).get_output(0)
            return self._helper(self.network.add_slice(shape, (axis,), (1,), (1,))).get_output(0)
        for name, tensor in self.graph.inputs.items():
            for axis, size in enumerate(tensor.shape):
                if size == symbol:
                    shape = self._input_shape(name)
                    return self._helper(self.network.add_slice(shape, (axis,), (1,), (1,))).get_output(0)
        for name, tensor in self.graph.inputs.items():
            for axis, size in enumerate(tensor.shape):
                solved = dims.solve(size, size.min) if isinstance(size, Dim) else None
                if solved is not None and solved[0] == symbol.name:
                    # size = factor * (symbol / unit) + offset
                    unit = symbol.multiple_of
                    offset = dims.evaluate(size, {symbol.name: 0})
                    factor = dims.evaluate(size, {symbol.name: unit}) - offset
                    element = self._helper(
                        self.network.add_slice(self._input_shape(name), (axis,), (1,), (1,))
                    ).get_output(0)
                    less = self._operation("SUB")(element, self._size_in(offset, ()))
                    units = self._operation("FLOOR_DIV")(less, self._size_in(factor, ()))
                    return units if unit == 1 else self._operation("PROD")(units, self._size_in(unit, ()))
        raise ProviderError(
            f"{symbol} cannot be worked out from the inputs' shapes",
            expected=f"an input dimension that is {symbol}, or a multiple of it and a constant",
            found=", ".join(f"{n}: {dims.format_shape(t.shape)}" for n, t in self.graph.inputs.items()),
        )

    def _input_shape(self, name: str) -> ITensor:
        key = f"shape of {name}"
        if key not in self._sizes:
            tensor = self._tensors[self.graph.inputs[name]]
            self._sizes[key] = self._helper(self.network.add_shape(tensor)).get_output(0)
        return self._sizes[key]

    def _constant(self, numbers: list[int]) -> ITensor:
        array = self.ledger.keep(np.asarray(numbers, self.provider.shape_dtype.numpy))
        return self._helper(self.network.add_constant((len(numbers),), array)).get_output(0)

    def _helper(self, layer: L | None) -> L:
        if layer is None:
            raise self._refused("TensorRT refused a helper layer for a shape")
        of = self._layer.name if self._layer else "inputs"
        layer.name = engine_name(f"{of}/size_{self.network.num_layers - 1}")
        return layer

    # --- what is not TensorRT's own

    def plugin(self, wanted: PluginRequest) -> NativePlugin:
        made = plugins.make(self.provider, wanted)
        self.ledger.keep(made.holds)
        if made.needs is None:
            self.keeps_kernels = True
        elif made.needs not in self.plugins:
            self.plugins.append(made.needs)
        return made.plugin

    def require(self, tensor: Tensor, native: ITensor, remedy: str) -> None:
        shape, dtype = _shape_of(native), self.provider.native_type(self.provider.stored(tensor.dtype))
        found = getattr(native, "dtype", None)
        if self._is_weak and tensor.dtype.is_floating_point and found == self.provider.data_type(dtypes.float32):
            dtype = found  # of floats a weakly typed network says so until a type is set
        if shape is None or not _may_be(shape, tensor) or found != dtype:
            problem = f"TensorRT infers another shape or type of output {tensor.index}"
            error = self.explain("" if shape is None else problem, self._layer)
            error.expected = f"{dims.format_shape(tensor.shape)} {tensor.dtype}"
            error.found = f"{'no shape' if shape is None else dims.format_shape(shape)} {found}"
            error.remedy = remedy
            raise error

    # --- lowering

    def run(self) -> Lowering:
        target: Network = self
        network, provider = self.network, self.provider
        crowded = network.num_layers > 0  # TensorRT keeps the old name, silently, where a new one is taken
        self._add_inputs()
        tensors, layers, errors = self._tensors, self._layers, self.errors.errors
        is_weak, left_out = self._is_weak, self._left_out
        for layer in self.graph.layers:
            self._layer = layer
            try:
                added = layer.add_to(target)
            except TrtnetError as error:
                error.module, error.where = error.module or layer.path or None, layer.location or error.where
                raise
            except (TypeError, ValueError, RuntimeError) as error:
                raise self.explain(f"TensorRT's bindings refused this {layer.kind} layer: {error}", layer) from error
            if added is None or errors:
                raise self.explain(layer=layer)
            if isinstance(added, tuple):
                self._take(layer, added)
                continue
            name = layer.name
            layers[name] = added
            if len(name) > SHORT:
                name = engine_name(name)
            added.name = name
            if crowded and added.name != name:
                raise ArgumentError(
                    f"the network has a layer named {layer.name!r} already",
                    expected="a network without layers of these names",
                    found=f"{network.num_layers - 1} layers",
                    module=layer.path or None,
                    where=layer.location,
                    remedy="lower each graph onto a network of its own",
                )
            for tensor in layer.outputs:
                tensors[tensor] = added.get_output(tensor.index)
            if is_weak:
                _constrain_types(provider, added, layer)
            if left_out:
                self._name_placeholders(layer, added)
        self._layer = None
        self._mark_outputs()
        return self

    def _take(self, layer: Producer, added: tuple[INetworkTensor, ...]) -> None:
        """The outputs of what a user's function added, once they are those that were recorded."""
        for tensor, native in zip(layer.outputs, added):
            self.require(tensor, native, "make shapes= and dtypes= what the function adds")
            self._tensors[tensor] = native

    def _add_inputs(self) -> None:
        network, provider, tensors = self.network, self.provider, self._tensors
        for name, tensor in self.graph.inputs.items():
            shape = tuple(s if isinstance(s, int) else -1 for s in tensor.shape)
            try:
                added = network.add_input(name, provider.data_type(tensor.dtype), shape)
            except TypeError as error:
                raise self._refused(f"TensorRT's bindings refused the input {name!r}: {error}") from error
            if added is None:
                raise self._refused(f"TensorRT refused the input {name!r}")
            for axis, size in enumerate(tensor.shape):
                if isinstance(size, Dim) and size.name is not None:
                    added.set_dimension_name(axis, size.name)
            tensors[tensor] = added
        for name, tensor in self.graph.live.items():
            shape = tuple(int(s) for s in tensor.shape)
            added = network.add_input(tensor.name or name, provider.data_type(tensor.dtype), shape)
            if added is None:
                raise self._refused(f"TensorRT refused the live parameter {tensor.name!r} as an input")
            tensors[tensor] = added

    def _mark_outputs(self) -> None:
        """Mark outputs, and name weights."""
        network, provider, tensors = self.network, self.provider, self._tensors
        for name, tensor in self.graph.outputs.items():
            tensors[tensor].name = name
            network.mark_output(tensors[tensor])
            if self._is_weak:
                tensors[tensor].dtype = provider.native_type(tensor.dtype)
        for holding in self.ledger:
            if not network.set_weights_name(holding.given, holding.name):
                raise self._refused(f"TensorRT refused the name {holding.name!r} for weights")
        if self.errors.errors:
            raise self._refused("TensorRT refused the network")

    def _name_placeholders(self, layer: Producer, added: ILayer) -> None:
        for index, attribute in layer.weight_attributes.items():
            operand = layer.operand(index)
            if isinstance(operand, Weight) and operand.name is not None and self._is_left_out(operand):
                name, uses = engine_name(operand.name), 1
                while name in self.placeholders:
                    uses += 1
                    name = engine_name(f"{operand.name}@{uses}")
                self.placeholders[name] = operand
                if not self.network.set_weights_name(getattr(added, attribute), name):
                    raise self._refused(f"TensorRT refused the name {name!r} for weights")

    # --- errors

    def check_outputs(self) -> None:
        """Raises BuildError where TensorRT infers another shape or type of an output than was recorded."""
        for name, tensor in self.graph.outputs.items():
            native = self._tensors[tensor]
            shape = _shape_of(native)
            if shape is None:
                raise self.explain(
                    f"TensorRT cannot infer the shape of the output {name!r}" if self._misfit() is None else ""
                )
            if not _may_be(shape, tensor) or native.dtype != self.provider.native_type(tensor.dtype):
                error = self.explain(f"TensorRT infers another shape or type of the output {name!r}")
                error.expected = f"{dims.format_shape(tensor.shape)} {tensor.dtype}"
                error.found = f"{dims.format_shape(shape)} {native.dtype}"
                raise error

    def _refused(self, problem: str) -> TrtnetError:
        return self.explain(problem, self._layer)

    def explain(self, problem: str = "", layer: Producer | None = None) -> BuildError:
        """One exception with TensorRT's own text, and the module path and source line of the layer at fault.

        That is the layer that the text names, or one before it whose shape TensorRT cannot infer, or infers otherwise;
        else `layer`.
        """
        text = self.errors.text()
        found = {id(fault) for fault in (self.layer_named_in(text), self._misfit()) if fault is not None}
        layer = next((one for one in self.graph.layers if id(one) in found), layer)
        details = text or "(TensorRT gave no reason)"
        if layer is None:
            return BuildError(
                problem, details=details, remedy="graph.summary() shows the layers; TensorRT's reason is quoted above"
            )
        operands = ", ".join("none" if o is None else f"{dims.format_shape(o.shape)} {o.dtype}" for o in layer.inputs)
        return BuildError(
            problem or f"TensorRT refused this {layer.kind} layer",
            details=details,
            module=layer.path or None,
            where=layer.location,
            expected="a layer that TensorRT takes",
            found=f"{layer.name}: {layer!r} of {operands}",
            remedy="change this layer's arguments or operands as TensorRT's reason, quoted above, asks",
        )

    def layer_named_in(self, text: str) -> Producer | None:
        """The layer whose name TensorRT's message quotes; the longest name where several occur."""
        found = [
            layer
            for layer in self.graph.layers
            if layer.name in text and re.search(rf"(?<![\w./]){re.escape(layer.name)}(?=[:'\"\])}}]|\.\.|\s*$)", text)
        ]
        return max(found, key=lambda layer: len(layer.name), default=None)

    def _misfit(self) -> Producer | None:
        """The first layer whose output TensorRT gives no shape, or another one."""
        for layer in self.graph.layers:
            for tensor in layer.outputs:
                native = self._tensors.get(tensor)
                if native is None:
                    return None
                shape = _shape_of(native)
                if shape is None or not _may_be(shape, tensor):
                    return layer
        return None


def _shape_of(native: ITensor) -> tuple[int, ...] | None:
    """The shape that TensorRT infers, -1 for what it does not know; None where it can infer none."""
    try:
        return tuple(native.shape)
    except (RuntimeError, ValueError):
        return None


def _may_be(shape: tuple[int, ...], tensor: Tensor) -> bool:
    """Whether a shape of TensorRT's may be the recorded one."""
    return len(shape) == len(tensor.shape) and all(
        a == b or a < 0 or not isinstance(b, int) for a, b in zip(shape, tensor.shape)
    )


def is_strongly_typed(provider: Provider, network: INetworkDefinition) -> bool:
    """Whether a network's tensors have the types that its layers say.

    From TensorRT 11 on always (no layer has a precision), before where that was asked for.
    """
    if not provider.strongly_typed:
        return False
    if not provider.has("ILayer", "precision"):
        return True
    return bool(network.get_flag(provider.enum("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")))


def _constrain_types(provider: Provider, added: ITypedLayer, layer: Producer) -> None:
    """Hold a layer of a weakly typed network to the recorded types; an IAttention has its inputs'."""
    if not hasattr(added, "set_output_type"):
        return
    precision = layer.precision()
    if precision is not None:
        added.precision = provider.native_type(precision)
    for tensor in layer.outputs:
        added.set_output_type(tensor.index, provider.native_type(tensor.dtype))


def has_implicit_batch(provider: Provider, network: INetworkDefinition) -> bool:
    """Whether a network has no batch dimension of its own, as some have before TensorRT 10, where asking warns."""
    return provider.has("Builder", "max_batch_size") and bool(network.has_implicit_batch_dimension)


_alive: dict[int, list[Any]] = {}


@method
def lower(graph: Graph, network: INetworkDefinition, refit: bool = True, left_out: Collection[str] = ()) -> Lowering:
    provider = providers.of(network)
    if has_implicit_batch(provider, network):
        raise ProviderError(
            "this network has an implicit batch dimension",
            expected="an explicit-batch network",
            remedy="builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))",
        )
    graph.check_values()
    lowering = Lowering(for_provider(graph, provider, refit), network, provider, left_out)
    # a pybind object takes a finalizer but no attributes
    weakref.finalize(network, _forget, id(network))
    _alive.setdefault(id(network), []).append(lowering.ledger)
    before = network.error_recorder
    network.error_recorder = lowering.errors.native
    try:
        with no_collection():
            return lowering.run()
    finally:
        network.error_recorder = before  # None, too: else TensorRT would no longer log what it refuses


def _forget(key: int) -> None:
    _alive.pop(key, None)
