"""An INetworkDefinition as a Graph: lowering, the other way. Each kind says how it is read back (`Layer.read`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics import dims
from ..basics.dims import SizeLike, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, TrtnetError, UnsupportedError
from ..basics.garbage import no_collection
from ..graph.graph import Graph, Input
from ..graph.recorder import Recorder
from ..graph.tensor import Operand, Tensor
from ..layers.adding import kinds
from ..layers.base import Layer, unreadable
from ..layers.casting import Identity
from ..layers.targets import EnumMember, ILayer, ITensor
from ..tensorrt import provider as providers
from ..tensorrt.build.lowering import is_strongly_typed
from ..tensorrt.provider import Provider
from ..weights.recipes import Leaf, Literal, Value, Weight

if TYPE_CHECKING:
    from ..tensorrt.bindings import INetworkDefinition


def from_network(network: INetworkDefinition, /, **inputs: Input) -> Graph:
    """A network that was made with TensorRT's own API, or by `graph.lower`, as a Graph.

    It is as any recorded one: summary, reference, explain, build, refit. What TensorRT does not tell is made up:
    weights of floats are parameters named after their layer, "conv1.kernel"; a layer's module is what stands before the
    last slash of its name; no layer has a source line. The values are copied.

    Args:
        network: an INetworkDefinition, whose layers stay as they are.
        inputs: for each input with dynamic sizes an Input, with Dims in their place: a network has no ranges of them.

    Raises:
        ArgumentError: another thing than a network, no Input for dynamic sizes, one that does not fit.
        UnsupportedError: a layer that cannot be read back: a loop, a conditional, a plugin, and some others.
    """
    provider = providers.of(network)
    with no_collection():
        return _Reading(network, provider).graph(inputs)


_PLAIN: dict[str, Callable[[Any], int | float]] = {"int": int, "bool": bool, "float": float}


class _Reading:
    """One network that is read: a `Source`."""

    def __init__(self, network: INetworkDefinition, provider: Provider) -> None:
        self._network: Any = network
        self._provider = provider
        self._recorder = Recorder(takes_values=True)
        self._tensors: dict[str, Tensor] = {}
        self._leaves: dict[str, Leaf] = {}
        self._by_address: dict[tuple[int, str, int], Leaf] = {}
        self._kinds = {kind.kind: kind for kind in kinds() if kind.kind}
        self._kind = self._name = ""
        self._waiting: dict[str, int] = {}  # the places of the layers, by the names of what they give
        self._done: set[int] = set()

    def graph(self, given: dict[str, Input]) -> Graph:
        network, recorder = self._network, self._recorder
        natives = [network.get_input(index) for index in range(network.num_inputs)]
        self._check_names(natives, given)
        for native in natives:
            recorder.inputs[native.name] = self._input(native, given.get(native.name))
        with recorder:
            self._waiting = self._producers()
            for index in range(network.num_layers):
                self._read(index)
            outputs: dict[str, Tensor] = {}
            for index in range(network.num_outputs):
                native = network.get_output(index)
                tensor = self._tensors[native.name]
                if tensor.layer is None or any(tensor is one for one in outputs.values()):
                    tensor = recorder.emit(Identity((tensor,)))
                outputs[native.name] = tensor
            recorder.drop_spare(outputs.values())
        if not outputs or not recorder.inputs:
            raise ArgumentError(
                "a network needs inputs and outputs",
                expected="one or more of each",
                found=f"{len(recorder.inputs)} inputs, {len(outputs)} outputs",
                remedy="network.add_input, network.mark_output",
            )
        for name, tensor in outputs.items():
            tensor.name = name
        return Graph(
            recorder.layers, recorder.inputs, outputs, "one" if len(outputs) == 1 else "dict", self._leaves,
            frozenset(self._leaves), frozenset(), recorder.equalities, network.name.partition(" ")[0] or "network",
            data_dims=frozenset(recorder.data_dims),
        )  # fmt: skip

    def _check_names(self, natives: list[ITensor], given: dict[str, Input]) -> None:
        names = [native.name for native in natives]
        unknown = [name for name, spec in given.items() if name not in names or not isinstance(spec, Input)]
        if unknown:
            raise ArgumentError(
                f"the network has no input {unknown[0]!r}, or what is given for it is none",
                expected=", ".join(names) or "no inputs",
                found=f"{unknown[0]}={given[unknown[0]]!r}",
                remedy="name=Input(shape) for the network's own inputs",
            )
        dims.check_same_ranges(size for spec in given.values() for size in spec.shape)

    def _input(self, native: ITensor, spec: Input | None) -> Tensor:
        shape, dtype = tuple(native.shape), self._provider.dtype_of(native.dtype)
        spec = spec or (Input(shape, dtype) if -1 not in shape else None)
        fits = spec is not None and len(spec.shape) == len(shape) and spec.dtype is dtype
        if spec is None or not fits or any(a not in (-1, b) for a, b in zip(shape, spec.shape)):
            sizes = ", ".join("Dim('n', min=1, opt=8, max=64)" if size == -1 else str(size) for size in shape)
            raise ArgumentError(
                f"the input {native.name!r} has {'dynamic sizes' if spec is None else 'another shape or type'}",
                expected=f"{native.name}=Input(({sizes}{',' * (len(shape) == 1)}), {dtype.name!r})",
                found="no Input for it" if spec is None else repr(spec),
                remedy="from_network(network, name=Input(shape)), a Dim in the place of each -1",
            )
        made = Tensor(spec.shape, spec.dtype, self._recorder, name=native.name)
        self._tensors[native.name] = made
        return made

    def _producers(self) -> dict[str, int]:
        """The places of the layers by the names of their outputs, by which tensors are told apart.

        Raises UnsupportedError where two have one.
        """
        found = dict.fromkeys(self._tensors, -1)
        for index in range(self._network.num_layers):
            native = self._network.get_layer(index)
            for place in range(native.num_outputs):
                name = native.get_output(place).name
                if name in found:
                    raise UnsupportedError(
                        f"two tensors of the network have the name {name!r}",
                        expected="a name for each",
                        found=f"{name!r}, of {native.name!r} and another layer",
                        remedy="give the layers different names: layer.name = 'conv1'",
                    )
                found[name] = index
        return found

    def _read(self, place: int) -> None:
        if place in self._done:
            return
        self._done.add(place)
        native = self._network.get_layer(place)
        recorder, self._name = self._recorder, native.name
        self._kind = native.type.name.lower()
        kind = self._kinds.get(self._kind)
        if kind is None or (kind.reads is None and kind.read.__func__ is Layer.read.__func__):  # type: ignore[attr-defined]
            error = unreadable(self._kind, "what it is in its network is more than it says itself")
            error.details = f"the layer {self._name!r}"
            raise error
        for index in range(native.num_inputs):  # sizes are often added behind the layer that takes them
            one = native.get_input(index)
            if one is not None and one.name not in self._tensors:
                self._read(self._waiting[one.name])
        self._kind, self._name = kind.kind, native.name  # others were read meanwhile
        try:
            self._cast(native)
            layer = kind.read(native, self)
            recorder.path = native.name.rpartition("/")[0]
            recorder.emit(layer)
        except TrtnetError as error:
            error.details = f"the layer {self._name!r}" + (f": {error.details}" if error.details else "")
            raise
        recorder.names.pop(layer.name, None)
        layer.name, layer.location = recorder.unique(native.name), None
        for tensor in layer.outputs:
            self._check(layer, tensor, native.get_output(tensor.index))

    def _cast(self, native: Any) -> None:
        """Have the attributes of a layer's own class: the bindings give an ILayer."""
        wanted = f"i{self._kind.replace('_', '')}layer"
        name = next((one for one in dir(self._provider.trt) if one.lower() == wanted), None)
        if name is not None:
            native.__class__ = getattr(self._provider.trt, name)

    def _check(self, layer: Layer, tensor: Tensor, native: ITensor) -> None:
        """Raises UnsupportedError where TensorRT infers another shape or type than was read."""
        shape = tuple(native.shape)
        fits = len(shape) == len(tensor.shape) and all(
            a in (-1, b) or not isinstance(b, int) for a, b in zip(shape, tensor.shape)
        )
        if is_strongly_typed(self._provider, self._network):
            fits = fits and self._provider.dtype_of(native.dtype) is self._provider.stored(tensor.dtype)
        if not fits:
            raise UnsupportedError(
                f"TensorRT infers another shape or type of {self._name!r} than was read back",
                expected=f"{format_shape(shape)} {native.dtype}",
                found=f"{layer!r} gives {format_shape(tensor.shape)} {tensor.dtype}",
                remedy="write the network with trtnet, or without this layer",
            )
        self._tensors[native.name] = tensor

    # --- what a layer's `read` asks

    def operand(self, native: ILayer, index: int) -> Tensor | None:
        found = native.get_input(index) if index < native.num_inputs else None
        return None if found is None else self._tensors[found.name]

    def weights(self, native: ILayer, attribute: str) -> Weight | None:
        held = getattr(native, attribute)
        try:
            array = held if isinstance(held, np.ndarray) else held.numpy()
        except (TypeError, ValueError, RuntimeError) as error:
            raise unreadable(self._kind, f"the bindings do not give its {attribute}: {error}") from None
        if array is None or array.size == 0:
            return None
        if not isinstance(array, np.ndarray):
            raise unreadable(self._kind, f"the bindings give its {attribute} as no array")
        if array.dtype.kind != "f":
            return Literal(array.copy())
        key = array.ctypes.data, str(array.dtype), array.size  # a part of an array may begin where that does
        leaf = self._by_address.get(key)
        if leaf is None:
            name = f"{self._name.replace('/', '.')}.{attribute}"
            literal = Literal(self._shaped(native, attribute, array).copy())
            leaf = self._by_address[key] = Leaf(name, literal.shape, literal.dtype, Value(literal.array))
            self._leaves[name] = leaf
        return leaf

    def _shaped(self, native: Any, attribute: str, array: np.ndarray) -> np.ndarray:
        """Weights in the shape that the layer says: a constant's own, a kernel's."""
        return array.reshape(self._kinds[self._kind].shape_of(native, self, attribute, array.size))

    def attribute(self, native: ILayer, name: str, declared: str) -> Any:
        value = getattr(native, name)
        for one in declared.split(" | "):
            if one == "str" and hasattr(value, "name"):
                return value.name
            if one == "Dtype":
                return self.dtype(value)
            if one == "tuple[int, ...]" and name in ("axes",):
                return tuple(bit for bit in range(value.bit_length()) if value >> bit & 1)
            if one.startswith("tuple["):
                return tuple(value) if value is not None and len(value) >= 0 else ()
            if one in _PLAIN:
                return _PLAIN[one](value)
        return value

    def dtype(self, member: EnumMember) -> Dtype:
        return self._provider.dtype_of(member)

    def numbers(self, tensor: Operand, what: str) -> tuple[SizeLike, ...]:
        found = self._numbers(tensor)
        if found is None:
            raise unreadable(self._kind, f"{what} are computed, by more than sizes of inputs")
        return found

    def _numbers(self, tensor: Operand) -> tuple[SizeLike, ...] | None:
        layer = tensor.layer if isinstance(tensor, Tensor) else None
        return layer.numbers(self._numbers) if isinstance(layer, Layer) else None
