"""What TensorRT does not have itself: layers of a plugin's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..basics import dtypes as types
from ..basics.code import Code
from ..basics.dims import Dim, Size, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import (
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    NameNotFoundError,
    ProviderError,
    ShapeError,
    TrtnetError,
    shown,
)
from ..graph.recorder import Recorder
from ..graph.tensor import Array, Tensor, recorded
from ..weights.recipes import TorchOperations, Weight, evaluate
from .base import Layer, Operand, Output
from .targets import Features, Functions, ILayer, KernelRequest, Network, PluginField, PluginRequest, Run

if TYPE_CHECKING:
    import torch


class Implementation(Protocol):
    """What a user's class says of its plugin (nn/plugin.py), as it was when it was recorded."""

    reference_in: ClassVar[str]

    @property
    def jit(self) -> Any:
        """Of a Triton kernel the function that `triton.jit` gave."""

    def has(self, method: str) -> bool:
        """Whether the class itself has `reference` or `compose`."""

    def reference(self, *tensors: Any) -> Any: ...
    def compose(self, *tensors: Any) -> Any: ...
    def places(self) -> tuple[str, ...]:
        """Where the library may lie: paths, the likeliest first."""


class Definition(Protocol):
    """A user's class, which a graph from a file is given back by name."""

    def digest(self) -> str:
        """SHA-256 of its source."""

    def restored(self, fields: Sequence[PluginField]) -> Implementation:
        """An instance with these attributes."""


definitions: dict[str, Definition] = {}
"""The classes of plugins that this process has, by module and name."""


def field(name: str, value: Any) -> PluginField:
    """An attribute of a plugin's as it is kept in a graph. Raises ArgumentTypeError for what no field can hold."""
    if isinstance(value, (bool, int)):
        return PluginField(name, "int", (int(value),))
    if isinstance(value, float):
        return PluginField(name, "float", (value,))
    if isinstance(value, str):
        return PluginField(name, "text", value)
    if isinstance(value, bytes):
        return PluginField(name, "bytes", value.decode("latin-1"))
    if isinstance(value, (tuple, list)) and value and all(isinstance(v, (bool, int, float)) for v in value):
        kind = "float" if any(isinstance(v, float) for v in value) else "int"
        return PluginField(name, kind, tuple(float(v) if kind == "float" else int(v) for v in value), (len(value),))
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub" or array.dtype == types.bfloat16.numpy:
            kind = "int8" if array.dtype.kind == "b" else array.dtype.name
            return PluginField(name, kind, tuple(array.reshape(-1).tolist()), array.shape)
    is_size = isinstance(value, Dim) or (isinstance(value, tuple) and any(isinstance(v, Dim) for v in value))
    raise ArgumentTypeError(
        f"the attribute {name!r} of a plugin cannot become one of its fields",
        expected="a number, text, bytes, a list of numbers, or a NumPy array",
        found=shown(value),
        remedy="a size that is known at run time only is read in the plugin from its inputs' shapes"
        if is_size
        else "set a Parameter after super().__init__(): it becomes an input, and can be refitted"
        if isinstance(value, Array)
        else "give numbers, text or arrays; leave out what is None",
    )


@dataclass(slots=True, eq=False, repr=False)
class Plugin(Layer):
    """`add_plugin_v2`, or `add_plugin_v3` where the creator makes such plugins: a layer of a library's.

    Inputs: tensors; weights are constants of their own before it.

    Attributes:
        implementation: the user's class: its reference and its composition.
        creator, version, namespace: of TensorRT's registry; no creator where there is a composition alone.
        library: the file name of the shared library that registers it; empty where TensorRT itself does.
        fields: what the creator is given.
        shapes, dtypes: of the outputs.
    """

    implementation: Code
    creator: str
    version: str
    namespace: str
    library: str
    fields: tuple[PluginField, ...]
    shapes: tuple[Size, ...]
    dtypes: tuple[Dtype, ...]

    kind: ClassVar[str] = "plugin"
    methods: ClassVar[tuple[str, ...]] = ("add_plugin_v2", "add_plugin_v3")
    is_offered: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        for dtype in (*(t.dtype for t in self.tensors), *self.dtypes):
            if dtype is types.uint8:
                raise DtypeError(
                    "a plugin takes and gives no uint8: TensorRT has it at a network's inputs and outputs alone",
                    expected="float32, float16, int32, int8, bool …",
                    found=dtype,
                    remedy="convert it before and after: x.to(trtnet.int32)",
                )
        return tuple(zip(self.shapes, self.dtypes))

    def precision(self) -> Dtype | None:
        """None where whole numbers go in: TensorRT 8.6 finds a plugin no format for those once it has a precision."""
        return Layer.precision(self) if all(t.dtype.is_floating_point for t in self.tensors) else None

    def supported(self, provider: Features) -> bool:
        return bool(self.creator) and (provider.has_layer("add_plugin_v2") or provider.has_layer("add_plugin_v3"))

    def add_to(self, lowering: Network) -> ILayer | None:
        plugin = lowering.plugin(self.request())
        tensors, network = [lowering[t] for t in self.inputs], lowering.network
        if plugin.generation == 0:
            added = plugin.native.add(network, tensors)
        elif plugin.generation == 3:
            added = network.add_plugin_v3(tensors, [], plugin.native)
        else:
            added = network.add_plugin_v2(tensors, plugin.native)
        if added is None:
            return None
        if added.num_outputs != len(self.outputs):
            raise ShapeError(
                f"the plugin {self.creator} has another number of outputs than {self.implementation}.shapes says",
                expected=f"{added.num_outputs}, as the plugin itself says",
                found=f"{len(self.outputs)}: {', '.join(format_shape(s) for s in self.shapes)}",
                remedy="return one shape for each output from shapes(): a list where there are several",
            )
        for tensor in self.outputs:
            lowering.require(
                tensor,
                added.get_output(tensor.index),
                f"make {self.implementation}.shapes(self, ...) say what the plugin {self.creator} itself says",
            )
        made: ILayer = added
        return made

    def request(self) -> PluginRequest:
        """What TensorRT's registry is asked for."""
        code = self.implementation.function
        places = () if code is None else code.places()
        fields = tuple(PluginField(*one) for one in self.fields)
        return PluginRequest(self.name, self.creator, self.version, self.namespace, self.library, places, fields)

    def _user(self, method: str) -> Implementation:
        """The user's object. Raises ProviderError where there is none, or where it has no such method."""
        name, found = str(self.implementation), self._object()
        if not found.has(method) and not (method == "reference" and found.has("compose")):
            raise ProviderError(
                f"this TensorRT has no plugins, and {name} has no composition"
                if method == "compose"
                else f"the plugin {name} has no reference",
                expected=f"def {method}(self, *tensors) in the class",
                found=", ".join(m for m in ("reference", "compose") if found.has(m)) or "neither reference nor compose",
                module=self.path or None,
                where=self.location,
                remedy="write it, with other layers (compose), which every TensorRT has"
                if method == "compose"
                else "write it, in PyTorch; or build without the comparison: build(graph, check=False)",
            )
        return found

    def _object(self) -> Implementation:
        """The user's object; of a graph from a file that of its class, if this process has that. Raises ProviderError
        where there is none."""
        name, found = str(self.implementation), self.implementation.function
        if found is None:
            known = definitions.get(name)
            if known is None or known.digest() != self.implementation.digest:
                raise ProviderError(
                    f"the class {name} of this plugin is not here: the graph came from a file",
                    expected=f"{name}, as it was when the graph was recorded",
                    found="no class of that name in this process" if known is None else "another class of that name",
                    module=self.path or None,
                    where=self.location,
                    remedy=f"import {name.rpartition('.')[0]} before the graph is run"
                    if known is None
                    else "record the module again",
                )
            found = known.restored([PluginField(*one) for one in self.fields])
        user: Implementation = found
        return user

    def compose(self, F: Functions, *inputs: Operand) -> Tensor | tuple[Tensor, ...]:
        """What the user's class composes it of."""
        made = self._user("compose").compose(*inputs)
        found = tuple(made) if isinstance(made, (tuple, list)) else (made,)
        wanted = list(zip(self.shapes, self.dtypes))
        if [(getattr(t, "shape", None), getattr(t, "dtype", None)) for t in found] != wanted:
            raise ShapeError(
                f"the composition of the plugin {self.implementation} gives other shapes or dtypes",
                expected=", ".join(f"{format_shape(s)} {d}" for s, d in wanted),
                found=", ".join(
                    f"{format_shape(t.shape)} {t.dtype}" if isinstance(t, Tensor) else shown(t) for t in found
                ),
                module=self.path or None,
                where=self.location,
                remedy="make shapes() and compose() agree",
            )
        return found if len(found) > 1 else found[0]

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        user = self._user("reference")
        if not user.has("reference"):
            made = self._run_composition(run, user, inputs)
        else:
            given: Sequence[Any] = inputs
            if user.reference_in == "numpy":
                given = [x.detach().cpu() for x in inputs]
                given = [(x.float() if x.dtype is run.torch.bfloat16 else x).numpy() for x in given]
            try:
                made = user.reference(*given)
            except NameNotFoundError as error:
                error.remedy = "parameters come as arguments of reference, after the inputs; attributes are " + (
                    ", ".join(one[0] for one in self.fields) or "none"
                )
                raise
            except (TrtnetError, RuntimeError, IndexError):  # PyTorch's are told with the layer
                raise
            except Exception as error:
                raise ProviderError(
                    f"the reference of the plugin {self.implementation} raised {type(error).__name__}: {error}",
                    module=self.path or None,
                    where=self.location,
                    remedy="mend it: its own traceback is above this one",
                ) from error
        return run.results(made, self.shapes, self.dtypes, self._other_shapes)

    def _other_shapes(self, expected: str, found: str) -> ShapeError:
        return ShapeError(
            f"the reference of the plugin {self.implementation} gives other shapes than its shapes()",
            expected=expected,
            found=found,
            module=self.path or None,
            where=self.location,
            remedy="make shapes() and reference() agree",
        )

    def _run_composition(self, run: Run, user: Implementation, inputs: Sequence[torch.Tensor]) -> Any:
        """The composition, computed layer by layer."""
        recorder = Recorder(takes_values=True)
        given = [recorded(t.shape, t.dtype, recorder, None) for t in self.tensors]
        with recorder:
            made = user.compose(*given)
        values: dict[Any, Any] = dict(zip(given, inputs))
        operations = TorchOperations(run.device, run.dtype(types.float32) is run.torch.float64)
        for layer in recorder.layers:
            operands = [values[o] if isinstance(o, Tensor) else _weights(o, operations) for o in layer.inputs]
            result = layer.compute(run, *operands)
            values.update(zip(layer.outputs, result if len(layer.outputs) > 1 else (result,)))
        return [values[t] for t in made] if isinstance(made, (tuple, list)) else values[made]

    def describe(self) -> str:
        """The creator and its fields, for the summary."""
        name = f"{self.creator} {self.version}" if self.creator else str(self.implementation)
        return ", ".join([name, *(f"{field[0]}={_short(field[2])}" for field in self.fields)])


@dataclass(slots=True, eq=False, repr=False)
class Kernel(Plugin):
    """A plugin that launches one kernel of a CUDA source, or of Triton's; `add_plugin` where a plan keeps kernels.

    Attributes:
        source, function, options: what is compiled when the network is lowered, for the GPU there.
        language: "cuda", or "triton".
        launch: types, sizes, grid, block and arguments, as text (tensorrt/kernels/kernel_plugin.cpp).
    """

    source: str
    function: str
    options: tuple[str, ...]
    launch: str
    language: str = "cuda"

    later: ClassVar[tuple[str, ...]] = ("language",)

    def supported(self, provider: Features) -> bool:
        return provider.has_layer("add_plugin_v2")

    def infer(self) -> tuple[Output, ...]:
        require_types((*(t.dtype for t in self.tensors), *self.dtypes))
        return Plugin.infer(self)

    def request(self) -> PluginRequest:
        wanted = Plugin.request(self)
        jit = self._object().jit if self.language == "triton" else None
        shapes = tuple([t.shape for t in self.tensors])
        kernel = KernelRequest(self.source, self.function, tuple(self.options), self.launch, shapes, jit)
        return wanted._replace(kernel=kernel)

    def describe(self) -> str:
        return self.function


TYPES = (types.float32, types.float16, types.bfloat16, types.int8, types.int32, types.int64, types.bool_)
"""What kernels take and give."""


def require_types(dtypes: Iterable[Dtype]) -> None:
    """Raises DtypeError for tensors that no kernel takes and gives."""
    for dtype in dtypes:
        if dtype not in TYPES:
            raise DtypeError(
                "a kernel takes and gives no tensors of this type",
                expected=", ".join(d.name for d in TYPES),
                found=dtype,
                remedy="convert them before and after: x.to(trtnet.float32)",
            )


def _short(values: tuple[Any, ...] | str) -> str:
    if isinstance(values, str):
        return repr(values if len(values) <= 40 else values[:37] + "...")
    return str(values[0]) if len(values) == 1 else f"{len(values)} numbers" if len(values) > 4 else str(values)


def _weights(operand: Operand, operations: TorchOperations) -> Any:
    if not isinstance(operand, Weight):
        return None
    return operations.storage(evaluate(operand, lambda leaf: leaf.value.read(), operations), operand.dtype)


def _is_size(one: Any) -> bool:
    return isinstance(one, Dim) or (isinstance(one, int) and not isinstance(one, bool) and one >= 0)


def outputs_of(said: Any, definition: str) -> tuple[tuple[Size, ...], tuple[Dtype, ...]]:
    """The shapes and dtypes that a user's `shapes(self, *inputs)` returned.

    A list has one item for each output. An item is a pair of a shape and a dtype, as each of the inputs is.
    """
    shapes: list[Size] = []
    dtypes: list[Dtype] = []
    for one in said if type(said) is list else [said]:
        shape, dtype = one if isinstance(one, tuple) and len(one) == 2 else (None, None)
        sizes = tuple(shape) if isinstance(shape, (tuple, list)) else None
        if sizes is None or not all(map(_is_size, sizes)):
            raise ArgumentError(
                f"{definition}.shapes says no shape and dtype of an output",
                expected="(shape, dtype), or one of the inputs, which are such pairs; a list of them for several "
                "outputs",
                found=shown(one),
                remedy="return x, or (x.shape, x.dtype), or ((x.shape[0], 10), trtnet.float32)",
            )
        shapes.append(Size(sizes))
        dtypes.append(types.for_network(dtype, "an output"))
    if not shapes:
        raise ArgumentError(f"{definition}.shapes names no output", expected="one or more", found="[]")
    return tuple(shapes), tuple(dtypes)
