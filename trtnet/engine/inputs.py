"""Inputs and outputs of an engine: what they are, and which library the arrays of a call are of."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, SupportsInt, TypeAlias, TypeVar, Union

import numpy as np

from ..basics.arrays import check_memory, is_torch, require_unmasked
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentTypeError
from ..graph.tensor import Array, Tensor

if TYPE_CHECKING:
    import torch

Key = TypeVar("Key")
Found = TypeVar("Found")


class CudaStream(Protocol):
    """A stream of another library's, by NVIDIA's protocol of streams."""

    def __cuda_stream__(self) -> tuple[int, int]:
        """The protocol's version, and the stream's address."""


StreamLike: TypeAlias = Union[SupportsInt, CudaStream, "torch.cuda.Stream"]
"""A CUDA stream, or its address."""


class TensorSpec(NamedTuple):
    """Name, shape (ints and Dims) and dtype of an input or output."""

    name: str
    shape: tuple[Any, ...]
    dtype: Dtype

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> TensorSpec:
        return cls(name, tensor.shape, tensor.dtype)


SHAPES = 1024
"""For how many sets of input shapes an engine remembers what it found."""


def remember(known: dict[Key, Found], key: Key, found: Found) -> Found:
    """Keep what was found for a set of input shapes; where there are too many of them, all others are forgotten."""
    if len(known) >= SHAPES:
        known.clear()
    known[key] = found
    return found


def kind_of(spec: TensorSpec, value: Any) -> str:
    """ "numpy", "torch", "array" (trtnet's own) or "device" (another library's, on a GPU).

    Raises ArgumentTypeError for what is none of them.
    """
    if is_torch(value):
        check_memory(value, f"input {spec.name!r}", ArgumentTypeError)
        return "torch"
    if isinstance(value, (np.ndarray, np.generic)):
        require_unmasked(value)
        return "numpy"
    if isinstance(value, Array):
        return "array"
    if isinstance(value, Tensor):
        raise value._no_value(f"input {spec.name!r}")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):  # a class of the user's own
        check_memory(value, f"input {spec.name!r}", ArgumentTypeError)
    if hasattr(value, "__cuda_array_interface__") or hasattr(value, "__dlpack__"):
        return "device"
    raise ArgumentTypeError(
        f"input {spec.name!r} is no array",
        expected="a NumPy array, a torch tensor, or an array with __dlpack__ or __cuda_array_interface__",
        found=type(value).__name__,
        remedy=f"numpy.asarray(value, numpy.{spec.dtype.name})",
    )


def one_kind(specs: list[TensorSpec], values: list[Any]) -> str:
    """The one kind that all the inputs of a call have."""
    kinds = [kind_of(spec, value) for spec, value in zip(specs, values)]
    if len(set(kinds)) > 1:
        raise ArgumentTypeError(
            "the inputs of a call must be of one kind", expected=f"all {kinds[0]}", found=", ".join(kinds)
        )
    return kinds[0]
