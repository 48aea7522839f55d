"""Weights as expressions over parameters: a closed, versioned list of operations.

A recipe is recorded once and evaluated in NumPy for the build, in torch where the given tensors are torch's, and
as layers where a parameter is live. Arithmetic is float32, one operation at a time, with the cast last, so that
the evaluators agree to the last bit or nearly so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..basics import dtypes
from ..basics.arrays import from_numpy
from ..basics.dtypes import dtype
from ..basics.errors import WeightsError

if TYPE_CHECKING:
    import torch

VERSION = 1


class Value:
    """Holds one array, or says how to make it when it is first read."""

    __slots__ = ("array", "make")

    def __init__(self, array: np.ndarray | None = None, make: Callable[[], np.ndarray] | None = None) -> None:
        self.array = array
        self.make = make

    @property
    def there(self) -> bool:
        """Whether it can be read."""
        return self.array is not None or self.make is not None

    def read(self) -> np.ndarray:
        if self.array is None:
            if self.make is None:
                raise WeightsError(
                    "these weights have no value", remedy="load weights first: load_state_dict, load_weights"
                )
            self.array = self.make()
        return self.array

    def __reduce__(self) -> tuple[Any, ...]:
        return Value, (self.read(),) if self.there else ()


class Weight:
    """What a layer takes as weights: shape and dtype now, an array when TensorRT or PyTorch needs it."""

    __slots__ = ("dtype", "shape")

    shape: tuple[int, ...]
    dtype: dtype

    @property
    def name(self) -> str | None:
        """The engine's name for these weights; None for constants that are no parameter."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.dtype.nbytes(self.count)

    def leaves(self) -> Iterator[Leaf]:
        """The parameters that the value depends on."""
        raise NotImplementedError


class Frozen(NamedTuple):
    """Where a parameter was read as a number while recording, and a SHA-256 of the value that it had."""

    place: str
    digest: str


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.asarray(array, order="C").tobytes()).hexdigest()


class Leaf(Weight):
    """A parameter or buffer, by its key in `state_dict`.

    `frozen` is set where it was read as a number while recording: its value is then a part of the network's structure.
    """

    __slots__ = ("frozen", "name", "persistent", "value")

    name: str

    def __init__(self, name: str, shape: tuple[int, ...], dtype: dtype, value: Value, persistent: bool = True) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.value = value
        self.persistent = persistent
        self.frozen: Frozen | None = None

    def leaves(self) -> Iterator[Leaf]:
        yield self

    def __repr__(self) -> str:
        return self.name


class Literal(Weight):
    """An array that is no parameter: a scalar in the code, a table made in `forward`.

    `strides`: of the tensor that it is a copy of, in elements; None where that lay in row-major order.
    """

    __slots__ = ("array", "strides")

    def __init__(self, array: np.ndarray, strides: tuple[int, ...] | None = None) -> None:
        self.array = array = np.asarray(array)  # a NumPy scalar has no address of its own
        self.strides = strides
        self.shape = array.shape
        self.dtype = dtypes.for_network(array.dtype, "a constant")

    @property
    def name(self) -> None:
        return None

    def leaves(self) -> Iterator[Leaf]:
        return iter(())

    def __repr__(self) -> str:
        if self.array.size == 1:
            return repr(self.array.item())
        # names of recipes, by which engines know their weights, must tell arrays apart
        return f"array{'x'.join(map(str, self.shape))}-{hashlib.sha256(self.array.tobytes()).hexdigest()[:12]}"


class Recipe(Weight):
    """One operation of the closed list over other weights."""

    __slots__ = ("arguments", "attributes", "operation")

    def __init__(
        self, operation: str, arguments: tuple[Weight, ...], shape: tuple[int, ...], dtype: dtype, /, **attributes: Any
    ) -> None:
        assert operation in OPERATIONS
        self.operation = operation
        self.arguments = arguments
        self.attributes = attributes
        self.shape = shape
        self.dtype = dtype

    @property
    def name(self) -> str | None:
        return repr(self) if any(True for _ in self.leaves()) else None

    def leaves(self) -> Iterator[Leaf]:
        for argument in self.arguments:
            yield from argument.leaves()

    def __repr__(self) -> str:
        given = [repr(a) for a in self.arguments]
        given += [f"{key}={'x'.join(map(str, v)) if isinstance(v, tuple) else v}" for key, v in self.attributes.items()]
        return f"{self.operation}({','.join(given)})"


# --- making recipes -------------------------------------------------------------------------------------------------


def _weight(value: Weight | float) -> Weight:
    return value if isinstance(value, Weight) else Literal(np.asarray(value, np.float32))


def _arithmetic(operation: str, *arguments: Weight | float) -> Recipe:
    weights = tuple([_weight(a) for a in arguments])
    shapes = {w.shape for w in weights if w.shape}  # a number takes the others' shape
    shape = np.broadcast_shapes(*shapes) if len(shapes) > 1 else shapes.pop() if shapes else ()
    return Recipe(operation, weights, shape, dtypes.float32)


def add(a: Weight | float, b: Weight | float) -> Recipe:
    return _arithmetic("add", a, b)


def subtract(a: Weight | float, b: Weight | float) -> Recipe:
    return _arithmetic("subtract", a, b)


def multiply(a: Weight | float, b: Weight | float) -> Recipe:
    return _arithmetic("multiply", a, b)


def divide(a: Weight | float, b: Weight | float) -> Recipe:
    return _arithmetic("divide", a, b)


def sqrt(a: Weight | float) -> Recipe:
    return _arithmetic("sqrt", a)


def negate(a: Weight | float) -> Recipe:
    return _arithmetic("negate", a)


def cast(a: Weight, to: dtype) -> Weight:
    """`a` itself where it has that dtype already."""
    return a if a.dtype is to else Recipe("cast", (a,), a.shape, to, to=to.name)


def reshape(a: Weight, shape: tuple[int, ...]) -> Weight:
    assert math.prod(shape) == a.count
    return a if a.shape == shape else Recipe("reshape", (a,), shape, a.dtype, shape=shape)


def permute(a: Weight, order: tuple[int, ...]) -> Recipe:
    return Recipe("permute", (a,), tuple(a.shape[i] for i in order), a.dtype, order=order)


def concatenate(arguments: tuple[Weight, ...], axis: int) -> Recipe:
    shape = list(arguments[0].shape)
    shape[axis] = sum(a.shape[axis] for a in arguments)
    return Recipe("concatenate", arguments, tuple(shape), arguments[0].dtype, axis=axis)


def take(a: Weight, axis: int, start: int, stop: int) -> Recipe:
    """Elements start to stop of one axis."""
    shape = (*a.shape[:axis], stop - start, *a.shape[axis + 1 :])
    return Recipe("take", (a,), shape, a.dtype, axis=axis, start=start, stop=stop)


# --- evaluating them ------------------------------------------------------------------------------------------------


class NumPyOperations:
    """The evaluator for builds."""

    add, subtract, multiply, divide, sqrt, negate = np.add, np.subtract, np.multiply, np.divide, np.sqrt, np.negative

    @staticmethod
    def to(a: np.ndarray, to: dtype) -> np.ndarray:
        return a.astype(to.numpy, copy=False)

    @staticmethod
    def reshape(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return a.reshape(shape)

    @staticmethod
    def permute(a: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
        return np.asarray(a.transpose(order), order="C")

    @staticmethod
    def concatenate(*arrays: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate(arrays, axis)

    @staticmethod
    def take(a: np.ndarray, axis: int, start: int, stop: int) -> np.ndarray:
        return np.asarray(a[(slice(None),) * axis + (slice(start, stop),)], order="C")

    @staticmethod
    def constant(array: np.ndarray) -> np.ndarray:
        return array


class TorchOperations:
    """The evaluator for torch tensors, on their device; differentiable. `double` makes every float float64."""

    def __init__(self, device: torch.device | str = "cpu", double: bool = False) -> None:
        import torch

        self.torch = torch
        self.device = device
        self.double = double
        self.add, self.subtract, self.multiply, self.divide = torch.add, torch.sub, torch.mul, torch.div
        self.sqrt, self.negate, self.reshape = torch.sqrt, torch.neg, torch.reshape

    def to(self, a: torch.Tensor, to: dtype) -> torch.Tensor:
        return a.to(self.torch.float64 if self.double and to.is_floating_point else to.torch)

    def storage(self, a: torch.Tensor, dtype: dtype) -> torch.Tensor:
        """The final value, in the type that the reference computes in."""
        return self.to(a, dtype) if self.double else a

    def permute(self, a: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
        return a.permute(order).contiguous()

    def concatenate(self, *tensors: torch.Tensor, axis: int) -> torch.Tensor:
        return self.torch.cat(tensors, axis)

    def take(self, a: torch.Tensor, axis: int, start: int, stop: int) -> torch.Tensor:
        return a.narrow(axis, start, stop - start).contiguous()

    def constant(self, array: np.ndarray) -> torch.Tensor:
        return from_numpy(array).to(self.device)


ARITHMETIC = frozenset(("add", "subtract", "multiply", "divide", "sqrt", "negate"))
OPERATIONS = ARITHMETIC | {"cast", "reshape", "permute", "concatenate", "take"}


def evaluate(weight: Weight, read: Callable[[Leaf], Any], operations: Any = NumPyOperations) -> Any:
    """The value of `weight`, with `read` giving those of the parameters.

    A parameter alone is passed through as it is: no copy.
    """
    if isinstance(weight, Leaf):
        return read(weight)
    if isinstance(weight, Literal):
        return operations.constant(weight.array)
    assert isinstance(weight, Recipe)
    arguments = [evaluate(a, read, operations) for a in weight.arguments]
    if weight.operation == "cast":
        return operations.to(arguments[0], weight.dtype)
    if weight.operation in ARITHMETIC:
        arguments = [operations.to(a, dtypes.float32) for a in arguments]
    result = getattr(operations, weight.operation)(*arguments, **weight.attributes)
    # NumPy's arithmetic gives scalars, which have no address of their own, for arrays without dimensions
    return np.asarray(result) if isinstance(result, np.generic) else result
