"""What a layer may ask of its surroundings: the network it is added to, the TensorRT there, the
functions it is composed of, a run in PyTorch.

`Lowering` (tensorrt/build) is a `Network`, `Abilities` (tensorrt) has the `Features`, rewriting/functions.py the
`Functions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..basics import dims
from ..basics.dims import Dim, Size, SizeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import TrtnetError, shown
from ..graph.tensor import Operand, Tensor, next_seed
from ..weights.recipes import Weight

if TYPE_CHECKING:
    import torch


class EnumMember(Protocol):
    """A member of one of TensorRT's enums."""

    @property
    def name(self) -> str: ...
    def __int__(self) -> int: ...


class ITensor(Protocol):
    """A tensor of a network, TensorRT's."""

    name: str
    dtype: EnumMember

    @property
    def shape(self) -> Iterable[int]: ...


class Weights(Protocol):
    """Where the numbers of weights are, their type and count: TensorRT's, or an array."""

    @property
    def size(self) -> int: ...


class ILoop(Protocol):
    """A loop of a network, TensorRT's."""

    def add_recurrence(self, tensor: ITensor, /) -> ILayer: ...
    def add_trip_limit(self, tensor: ITensor, kind: EnumMember, /) -> ILayer: ...
    def add_iterator(self, tensor: ITensor, axis: int, reverse: bool, /) -> ILayer: ...
    def add_loop_output(self, tensor: ITensor, kind: EnumMember, axis: int = 0, /) -> ILayer: ...


class IIfConditional(Protocol):
    """A conditional of a network, TensorRT's."""

    def set_condition(self, condition: ITensor, /) -> ILayer: ...
    def add_input(self, input: ITensor, /) -> ILayer: ...
    def add_output(self, input: ITensor, other: ITensor, /) -> ILayer: ...


class ILayer(Protocol):
    """A layer of a network, TensorRT's; each kind has attributes besides."""

    name: str

    @property
    def num_inputs(self) -> int: ...
    @property
    def num_outputs(self) -> int: ...
    def get_input(self, index: int, /) -> ITensor | None: ...
    def get_output(self, index: int, /) -> ITensor: ...
    def set_input(self, index: int, tensor: ITensor, /) -> None: ...


class Features(Protocol):
    """A TensorRT, by what its versions differ in: what `supported`, `failing` and `add_to` ask."""

    def has(self, kind: str, member: str) -> bool:
        """Whether the enum `kind` has `member`, or the class `kind` the attribute."""

    def has_layer(self, method: str) -> bool:
        """Whether INetworkDefinition has `add_...`."""

    @property
    def activates_integers(self) -> bool:
        """Whether RELU, ABS, NEG, POW and top-k layers take whole numbers."""

    @property
    def writes_reshaped_outputs(self) -> bool:
        """Whether an output of the network is written of which a reshape is an output, too."""

    @property
    def computes_constants(self) -> bool:
        """Whether what no input reaches is right, and may be an output."""

    @property
    def slopes_scalars(self) -> bool:
        """Whether a parametric ReLU takes a tensor without dimensions."""

    @property
    def draws_anew(self) -> bool:
        """Whether every fill layer draws other numbers at each call."""

    @property
    def finds_infinity_equal(self) -> bool:
        """Whether infinity equals a constant infinity."""

    @property
    def quantizes_by_tensors(self) -> bool:
        """Whether the scales of quantize and dequantize layers may be computed, but for those of blocks."""

    @property
    def refits_attention(self) -> bool:
        """Whether a refittable network with attention may hold its weights on the right of its products."""

    @property
    def runs_experts(self) -> bool:
        """Whether the GPU here has kernels for mixtures of experts."""

    @property
    def samples_volumes(self) -> bool:
        """Whether grid sample takes 5 dimensions."""

    @property
    def selects_settled(self) -> bool:
        """Whether both values of a select may be one constant, and its condition the same everywhere."""

    @property
    def strongly_typed(self) -> bool:
        """Whether networks can be strongly typed; where not, a fill takes no type."""


class PluginField(NamedTuple):
    """An attribute of a plugin's.

    Attributes:
        name: as its creator has it.
        type: NumPy's name of the type ("float32"); "int", "float", "text" or "bytes" of Python's own values, which
            become what the creator asks for.
        values: the numbers; text, and bytes as the characters of these numbers.
        shape: of an array; () of one number.
    """

    name: str
    type: str
    values: tuple[Any, ...] | str
    shape: tuple[int, ...] = ()


class KernelRequest(NamedTuple):
    """CUDA source to be compiled, and how its kernel is launched.

    Attributes:
        source, function, options: what is compiled, which kernel of it, and what the compiler is told besides.
        launch: types, sizes, grid, block and arguments, as the plugin that launches it reads them.
        shapes: of the inputs.
        triton: the function that `triton.jit` gave, of a Triton kernel; then the options say its parameters' types,
            constants, and Triton's own options.
    """

    source: str
    function: str
    options: tuple[str, ...]
    launch: str
    shapes: tuple[Size, ...]
    triton: Any = None


class PluginRequest(NamedTuple):
    """What makes a plugin: a creator of TensorRT's registry, and the attributes.

    Attributes:
        layer: the layer's name.
        creator, version, namespace: of the registry.
        library: the file name of the shared library that registers the creator; empty where TensorRT does.
        places: where the library may lie.
        fields: the attributes.
        kernel: what it launches, of a plugin that is made for that.
    """

    layer: str
    creator: str
    version: str
    namespace: str
    library: str
    places: tuple[str, ...]
    fields: tuple[PluginField, ...]
    kernel: KernelRequest | None = None


class NativePlugin(NamedTuple):
    """A plugin object of TensorRT's, and whether it is an IPluginV2 or an IPluginV3 (2, 3); or, of generation 0, what
    adds one by itself (`native.add(network, tensors)`)."""

    native: Any
    generation: int


class Source(Protocol):
    """An INetworkDefinition that layers are read back from, one after the other."""

    def operand(self, native: ILayer, index: int) -> Tensor | None:
        """The recorded tensor of an input; None where there is none."""

    def weights(self, native: ILayer, attribute: str) -> Weight | None:
        """The weights of an attribute; None where they are empty."""

    def attribute(self, native: ILayer, name: str, declared: str) -> Any:
        """An attribute, as a field of this type: text of an enum's member, a tuple of dims, a dtype."""

    def numbers(self, tensor: Operand, what: str) -> tuple[SizeLike, ...]:
        """The whole numbers that a tensor holds: constants, and sizes of inputs. Raises UnsupportedError for others."""


class Network(Protocol):
    """An INetworkDefinition that layers are added to, one after the other."""

    @property
    def network(self) -> Any:
        """The INetworkDefinition."""

    @property
    def provider(self) -> Features:
        """The TensorRT that it is of."""

    def enum(self, kind: str, member: str) -> EnumMember:
        """`tensorrt.<kind>.<member>`. Raises ProviderError where this TensorRT has none."""

    def data_type(self, dtype: Dtype) -> EnumMember:
        """`tensorrt.DataType` of a dtype. Raises ProviderError where this TensorRT has none."""

    def __getitem__(self, tensor: Operand) -> ITensor:
        """The ITensor of a recorded tensor."""

    def weights(self, operand: Operand, like: Operand = None) -> Weights:
        """What TensorRT takes for a weight operand; empty weights of the dtype of `like` for None and for tensors."""

    def is_static(self, sizes: Sequence[SizeLike]) -> bool:
        """Whether all sizes are numbers."""

    def shape_tensor(self, sizes: Sequence[SizeLike]) -> ITensor:
        """A 1-D shape tensor of these sizes, made of layers where they depend on the inputs."""

    def size_tensor(self, size: SizeLike) -> ITensor:
        """A shape tensor of one element."""

    def scalar(self, size: SizeLike) -> ITensor:
        """A shape tensor without dimensions."""

    def held_numbers(self, tensor: Tensor) -> ITensor:
        """What a recorded tensor of whole numbers and one dimension holds, as a shape tensor."""

    def held_sizes(self, sizes: Sequence[SizeLike], decided: Sequence[Dim], tensor: Tensor) -> ITensor:
        """A 1-D shape tensor of these sizes, of those `decided` as a recorded tensor holds them: one for each size, or
        for each that is decided."""

    def data_decides(self, symbol: Dim, tensor: ITensor, axis: int) -> None:
        """The size of a Dim is that of this dimension of a layer's output."""

    def plugin(self, wanted: PluginRequest) -> NativePlugin:
        """A plugin, which lives as long as the network. Raises ProviderError and ArgumentTypeError."""

    def require(self, tensor: Tensor, native: ITensor, remedy: str) -> None:
        """Raises BuildError where TensorRT infers another shape or dtype than was recorded."""

    def loop(self, number: int) -> ILoop:
        """The loop of this number."""

    def conditional(self, number: int) -> IIfConditional:
        """The conditional of this number."""

    def boundary(self, tensor: Tensor) -> ILayer:
        """The layer that gives a tensor, of those that bound loops and conditionals."""


TensorLike = Tensor | SizeLike | float
"""What a function of two operands takes: tensors, and numbers beside them."""


class Functions(Protocol):
    """torch's functions, which record layers, as far as layers are composed of them."""

    def abs(self, input: Tensor, /) -> Tensor: ...
    def erf(self, input: Tensor, /) -> Tensor: ...
    def exp(self, input: Tensor, /) -> Tensor: ...
    def log(self, input: Tensor, /) -> Tensor: ...
    def round(self, input: Tensor, /) -> Tensor: ...
    def sqrt(self, input: Tensor, /) -> Tensor: ...
    def tanh(self, input: Tensor, /) -> Tensor: ...
    def isinf(self, input: Tensor, /) -> Tensor: ...
    def add(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def sub(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def mul(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def div(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def pow(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def remainder(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def floor_divide(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def maximum(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def minimum(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def eq(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def ne(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def lt(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def gt(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def logical_and(self, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def where(self, condition: Tensor, input: TensorLike, other: TensorLike, /) -> Tensor: ...
    def sum(self, input: Tensor, dim: int, keepdim: bool, /) -> Tensor: ...
    def mean(self, input: Tensor, dim: tuple[int, ...], keepdim: bool, /) -> Tensor: ...
    def amax(self, input: Tensor, dim: int, keepdim: bool, /) -> Tensor: ...
    def reshape(self, input: Tensor, size: Sequence[SizeLike], /) -> Tensor: ...
    def transpose(self, input: Tensor, dim0: int, dim1: int, /) -> Tensor: ...
    def flip(self, input: Tensor, dim: int, /) -> Tensor: ...
    def cat(self, tensors: Sequence[Tensor], dim: int, /) -> Tensor: ...
    def arange(self, end: SizeLike, /, *, dtype: Dtype) -> Tensor: ...
    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        diagonal: SizeLike | None,
        weights: Callable[[Tensor], Tensor],
        /,
    ) -> Tensor: ...


class Run:
    """What a layer's `compute` may ask for during one run.

    Attributes:
        torch: the torch module.
        device: where the run is.
        sizes: the values of the Dims.
        regions: where the run is in the loops and conditionals that it is in, by their numbers; each is of the class
            that the layers which bound it say (`Layer.begun`).
        explains: whether torch's errors come as trtnet's, with the user's line; in a module to train they do not.
    """

    _generator: torch.Generator | None
    __slots__ = ("_double", "_generator", "_module", "device", "explains", "regions", "sizes", "torch")

    def __init__(
        self,
        torch: ModuleType,
        device: torch.device | str,
        sizes: dict[str, int],
        double: bool,
        explains: bool,
        module: torch.nn.Module | None = None,
    ) -> None:
        self._module = module
        self._generator = None
        self.torch = torch
        self.device = device
        self.sizes = sizes
        self.explains = explains
        self.regions: dict[int, Any] = {}
        self._double = double

    def size(self, size: SizeLike) -> int:
        return size if type(size) is int else dims.evaluate(size, self.sizes)

    def shape(self, sizes: Sequence[SizeLike]) -> list[int]:
        return [s if type(s) is int else dims.evaluate(s, self.sizes) for s in sizes]

    def data_decides(self, symbol: Dim, size: int) -> None:
        """A layer found the size of a Dim."""
        self.sizes[str(symbol)] = size

    def trains(self, path: str) -> bool:
        """Whether the module at this path is in training; never in an engine."""
        return self._module is not None and self._module.get_submodule(path).training

    def state(self, name: str) -> torch.Tensor:
        """A buffer of the module that is trained, to be written to."""
        assert self._module is not None
        path, _, last = name.rpartition(".")
        return getattr(self._module.get_submodule(path), last)

    def generator(self) -> torch.Generator | None:
        """What draws come from: one of this run, seeded by `trtnet.manual_seed` and by how much was drawn since.

        In a module to train it is None: torch's own, seeded by `torch.manual_seed`.
        """
        if self._generator is None and self.explains:
            seed = int(np.random.SeedSequence(next_seed()).generate_state(1, np.uint64)[0])
            self._generator = self.torch.Generator(self.device).manual_seed(seed >> 1)
        return self._generator

    def results(
        self, made: Any, shapes: Sequence[Size], dtypes: Sequence[Dtype], wrong: Callable[[str, str], TrtnetError]
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """What a user's reference computed, as a layer of these outputs gives it. Raises what `wrong` makes of the
        shapes expected and found where they differ."""
        wanted = [self.shape(shape) for shape in shapes]
        given = made if isinstance(made, (tuple, list)) else (made,)
        try:
            found = [self.torch.as_tensor(one, device=self.device) for one in given]
        except (TypeError, ValueError, RuntimeError):
            raise wrong(", ".join(map(dims.format_shape, wanted)), ", ".join(map(shown, given))) from None
        if [list(one.shape) for one in found] != wanted:
            raise wrong(
                ", ".join(map(dims.format_shape, wanted)), ", ".join(dims.format_shape(one.shape) for one in found)
            )
        results = tuple([one.to(self.dtype(dtype)) for one, dtype in zip(found, dtypes)])
        return results if len(results) > 1 else results[0]

    def dtype(self, dtype: Dtype) -> torch.dtype:
        """torch's dtype; float64 for every floating-point one where the reference computes in float64."""
        return self.torch.float64 if self._double and dtype.is_floating_point else dtype.torch
