"""What torch gives of real numbers in place of complex ones, and a tensor's data."""

from __future__ import annotations

from ..basics.errors import UnsupportedError
from ..graph.tensor import Tensor
from .creation import ones_like
from .dispatch import Value, operation, tensor
from .shape import detach

__all__ = [
    "conj", "conj_physical", "is_conj", "is_floating_point", "is_neg", "is_nonzero", "isreal", "real", "resolve_conj",
    "resolve_neg",
]  # fmt: skip

# --- real numbers -----------------------------------------------------------------------------------------------------


@operation(lambda input: input, view=True, gives_itself=True)
def real(input: Tensor) -> Tensor:
    """The real part: the input itself, for there are no complex numbers.

    >>> trtnet.real(trtnet.tensor([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """
    return tensor(input)


@operation(lambda input: input, method=True, view=True, gives_itself=True)
def conj(input: Tensor) -> Tensor:
    """The conjugate: the input itself, for there are no complex numbers.

    >>> trtnet.conj(trtnet.tensor([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """
    return tensor(input)


@operation(lambda input: input, method=True, view=True, gives_itself=True)
def conj_physical(input: Tensor) -> Tensor:
    """As `conj`.

    >>> trtnet.conj_physical(trtnet.tensor([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """
    return tensor(input)


@operation(lambda input: input, method=True, view=True, gives_itself=True)
def resolve_conj(input: Tensor) -> Tensor:
    """The input itself.

    >>> trtnet.resolve_conj(trtnet.tensor([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """
    return tensor(input)


@operation(lambda input: input, method=True, view=True, gives_itself=True)
def resolve_neg(input: Tensor) -> Tensor:
    """The input itself.

    >>> trtnet.resolve_neg(trtnet.tensor([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """
    return tensor(input)


def isreal(input: Tensor) -> Tensor:
    """True everywhere.

    >>> trtnet.isreal(trtnet.tensor([1.0, -2.0])).tolist()
    [True, True]
    """
    return ones_like(input, dtype=bool)


def is_conj(input: Tensor) -> bool:
    """False.

    >>> trtnet.is_conj(trtnet.tensor([1.0, -2.0]))
    False
    """
    return False


def is_neg(input: Tensor) -> bool:
    """False.

    >>> trtnet.is_neg(trtnet.tensor([1.0, -2.0]))
    False
    """
    return False


def is_floating_point(input: Tensor) -> bool:
    """Whether the type is a floating-point one.

    >>> trtnet.is_floating_point(trtnet.tensor([1.0]))
    True
    """
    return input.is_floating_point()


def is_nonzero(input: Tensor) -> bool:
    """bool(input), of a tensor of one element that depends on no input.

    >>> trtnet.is_nonzero(trtnet.tensor([2.0]))
    True
    """
    return bool(input)


for _function in (isreal, is_conj, is_neg, is_nonzero):
    setattr(Tensor, _function.__name__, _function)
Tensor.real = property(real)  # type: ignore[attr-defined]

# --- memory -----------------------------------------------------------------------------------------------------------


def _detached(self: Tensor) -> Tensor:
    """A second tensor of the same memory."""
    return detach(self)


def _refuse_memory(self: Tensor, value: Value) -> None:
    raise UnsupportedError(
        "the memory of this tensor cannot be replaced",
        expected="a parameter or a buffer, outside forward",
        found=repr(self),
        remedy="x.copy_(value), which all see who share the memory, or x = value",
    )


Tensor.data = property(_detached, _refuse_memory)  # type: ignore[attr-defined]
