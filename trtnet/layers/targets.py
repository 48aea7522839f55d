"""What a layer may ask of its surroundings: of a run in PyTorch, of the network it is added to, of the TensorRT there.

`Lowering` (tensorrt/build) is a `Network`, `Provider` (tensorrt) are `Features`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..basics import dims
from ..basics.dims import Dim, SizeLike
from ..basics.dtypes import dtype as Dtype
from ..graph.tensor import Tensor, next_seed
from ..weights.recipes import Weight


class Features(Protocol):
    """A TensorRT, by what its versions differ in: what `supported`, `failing` and `add_to` ask."""

    def has(self, kind: str, member: str) -> bool:
        """Whether the enum `kind` has `member`, or the class `kind` the attribute."""

    def has_layer(self, method: str) -> bool:
        """Whether INetworkDefinition has `add_...`."""

    def enum(self, kind: str, member: str) -> Any:
        """`tensorrt.<kind>.<member>`. Raises ProviderError where this TensorRT has none."""

    def stored(self, dtype: Dtype) -> Dtype:
        """What `dtype` is on the device: int64 is int32 in TensorRT 8.6."""

    def data_type(self, dtype: Dtype) -> Any:
        """`tensorrt.DataType` of a dtype. Raises ProviderError where this TensorRT has none."""

    @property
    def shape_dtype(self) -> Dtype:
        """The type of shape tensors."""

    def add_cast(self, network: Any, tensor: Any, dtype: Dtype) -> Any:
        """`network.add_cast`."""

    def add_fill(self, network: Any, shape: Any, operation: str, dtype: Dtype) -> Any:
        """`network.add_fill`, with a type where it takes one."""

    def add_topk(self, network: Any, tensor: Any, operation: str, k: int, axes: int) -> Any:
        """`network.add_topk`."""

    @property
    def activates_integers(self) -> bool:
        """Whether RELU, ABS, NEG, POW and top-k layers take whole numbers."""

    @property
    def draws_anew(self) -> bool:
        """Whether every fill layer draws other numbers at each call."""

    @property
    def finds_infinity_equal(self) -> bool:
        """Whether infinity equals a constant infinity."""

    @property
    def refits_attention(self) -> bool:
        """Whether a refittable network with attention may hold its weights on the right of its products."""

    @property
    def samples_volumes(self) -> bool:
        """Whether grid sample takes 5 dimensions."""

    @property
    def selects_equals(self) -> bool:
        """Whether both values of a select may be one constant."""


class Network(Protocol):
    """An INetworkDefinition that layers are added to, one after the other."""

    @property
    def network(self) -> Any:
        """The INetworkDefinition."""

    @property
    def provider(self) -> Features:
        """The TensorRT that it is of."""

    def enum(self, kind: str, member: str) -> Any:
        """`tensorrt.<kind>.<member>`. Raises ProviderError where this TensorRT has none."""

    def __getitem__(self, tensor: Tensor | Weight | None) -> Any:
        """The ITensor of a recorded tensor."""

    def weights(self, operand: Tensor | Weight | None, like: Tensor | Weight | None = None) -> Any:
        """What TensorRT takes for a weight operand; empty weights of the dtype of `like` for None and for tensors."""

    def is_static(self, sizes: Sequence[SizeLike]) -> bool:
        """Whether all sizes are numbers."""

    def shape_tensor(self, sizes: Sequence[SizeLike]) -> Any:
        """A 1-D shape tensor of these sizes, made of layers where they depend on the inputs."""

    def size_tensor(self, size: SizeLike) -> Any:
        """A shape tensor of one element."""

    def scalar(self, size: SizeLike) -> Any:
        """A shape tensor without dimensions."""

    def data_decides(self, symbol: Dim, tensor: Any, axis: int) -> None:
        """The size of a Dim is that of this dimension of a layer's output."""


class Run:
    """What a layer's `compute` may ask for during one run.

    Attributes:
        torch: the torch module.
        device: where the run is.
        sizes: the values of the Dims.
        explains: whether torch's errors come as trtnet's, with the user's line; in a module to train they do not.
    """

    __slots__ = ("_double", "_generator", "_module", "device", "explains", "sizes", "torch")

    def __init__(
        self, torch: Any, device: Any, sizes: dict[str, int], double: bool, explains: bool, module: Any = None
    ) -> None:
        self._module = module
        self._generator: Any = None
        self.torch = torch
        self.device = device
        self.sizes = sizes
        self.explains = explains
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

    def state(self, name: str) -> Any:
        """A buffer of the module that is trained, to be written to."""
        path, _, last = name.rpartition(".")
        return getattr(self._module.get_submodule(path), last)

    def generator(self) -> Any:
        """What draws come from: one of this run, seeded by `trtnet.manual_seed` and by how much was drawn since.

        In a module to train it is None: torch's own, seeded by `torch.manual_seed`.
        """
        if self._generator is None and self.explains:
            seed = int(np.random.SeedSequence(next_seed()).generate_state(1, np.uint64)[0])
            self._generator = self.torch.Generator(self.device).manual_seed(seed >> 1)
        return self._generator

    def dtype(self, dtype: Dtype) -> Any:
        """torch's dtype; float64 for every floating-point one where the reference computes in float64."""
        return self.torch.float64 if self._double and dtype.is_floating_point else dtype.torch
