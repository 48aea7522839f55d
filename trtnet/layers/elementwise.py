"""Unary and binary operations, and the choice between two tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike, format_shape, maximum, minimum
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..basics.limits import finfo
from ..graph.graph import weights_of
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..weights.recipes import Literal, evaluate
from .activation import FLOATING, SIGNED_INTEGERS, not_taken
from .base import Layer, Operand, Output, broadcast, is_nonnegative
from .bounds import FAR, UNKNOWN, Bounds
from .casting import Identity
from .constant import Constant
from .shaping import expanded
from .targets import Features, Functions, ILayer, Network, Run

if TYPE_CHECKING:
    import torch

UNARY: dict[str, str] = {
    "EXP": "exp", "LOG": "log", "SQRT": "sqrt", "RECIP": "reciprocal", "ABS": "abs", "NEG": "neg",
    "SIN": "sin", "COS": "cos", "TAN": "tan", "SINH": "sinh", "COSH": "cosh", "ASIN": "asin", "ACOS": "acos",
    "ATAN": "atan", "ASINH": "asinh", "ACOSH": "acosh", "ATANH": "atanh", "CEIL": "ceil", "FLOOR": "floor",
    "ERF": "erf", "NOT": "logical_not", "SIGN": "sign", "ROUND": "round", "ISINF": "isinf", "ISNAN": "isnan",
}  # fmt: skip
"""TensorRT's name of each operation, and torch's."""

BINARY: dict[str, Callable[[ModuleType, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "SUM": lambda torch, a, b: a + b,
    "PROD": lambda torch, a, b: a * b,
    "MAX": lambda torch, a, b: torch.maximum(a, b),
    "MIN": lambda torch, a, b: torch.minimum(a, b),
    "SUB": lambda torch, a, b: a - b,
    "DIV": lambda torch, a, b: a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc"),
    "POW": lambda torch, a, b: torch.pow(a, b),
    "FLOOR_DIV": lambda torch, a, b: torch.div(a, b, rounding_mode="floor"),
    "AND": lambda torch, a, b: a & b,
    "OR": lambda torch, a, b: a | b,
    "XOR": lambda torch, a, b: a ^ b,
    "EQUAL": lambda torch, a, b: a == b,
    "GREATER": lambda torch, a, b: a > b,
    "LESS": lambda torch, a, b: a < b,
}
_FOLDED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "SUM": np.add, "SUB": np.subtract, "PROD": np.multiply, "MAX": np.maximum, "MIN": np.minimum,
    "FLOOR_DIV": np.floor_divide, "AND": np.logical_and, "OR": np.logical_or, "XOR": np.logical_xor,
    "EQUAL": np.equal, "GREATER": np.greater, "LESS": np.less,
}  # fmt: skip
_FOLDED_UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "NEG": np.negative, "ABS": np.abs, "SIGN": np.sign, "NOT": np.logical_not,
}  # fmt: skip
COMPARISONS = frozenset(("EQUAL", "GREATER", "LESS"))
LOGICAL = frozenset(("AND", "OR", "XOR"))
_KEEP_SIGN = frozenset(("SUM", "PROD", "DIV", "FLOOR_DIV", "POW", "MIN", "MAX"))
_ROUNDED = frozenset(("CEIL", "FLOOR", "ROUND", "SIGN"))
_INTEGER_UNARY = frozenset(("ABS", "NEG", "SIGN"))
_NUMBERS = FLOATING | SIGNED_INTEGERS
_STEEP = frozenset(
    ("LOG", "SQRT", "RECIP", "TAN", "ASIN", "ACOS", "ACOSH", "ATANH", "DIV", "FLOOR_DIV", "POW")  # somewhere infinitely
)


@dataclass(slots=True, eq=False, repr=False)
class Unary(Layer):
    """`add_unary`: the input (any shape) through one of TensorRT's UnaryOperations.

    Takes float32, float16 and bfloat16; ABS, NEG and SIGN take int8, int32 and int64 too; NOT takes bool only.
    ISINF and ISNAN give bool.
    """

    op: str

    kind: ClassVar[str] = "unary"
    reads: ClassVar[Mapping[str, str] | None] = {}
    computes_sizes: ClassVar[bool] = True

    @property
    def is_elementwise(self) -> bool:  # type: ignore[override]
        return self.op not in _STEEP

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        op = self.op
        if op not in UNARY:
            raise ArgumentError("TensorRT has no such unary operation", expected=", ".join(UNARY), found=op)
        if op == "NOT":
            if x.dtype is not dtypes.bool_:
                raise not_taken(op, x, expected="bool")
        elif x.dtype not in FLOATING and not (op in _INTEGER_UNARY and x.dtype in SIGNED_INTEGERS):
            raise not_taken(op, x, op in _INTEGER_UNARY)
        return ((x.shape, dtypes.bool_ if op in ("ISINF", "ISNAN") else x.dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_unary(lowering[self.inputs[0]], lowering.enum("UnaryOperation", self.op))

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        known = _FOLDED_UNARY.get(self.op)
        return None if known is None else known(*values)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return () if self.op in ("ABS", "EXP", "SQRT", "COSH") else self.inputs if self.op in _ROUNDED else None

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return getattr(run.torch, UNARY[self.op])(inputs[0])

    def supported(self, provider: Features) -> bool:
        if self.op in ("ABS", "NEG") and self.outputs[0].dtype in SIGNED_INTEGERS:
            return provider.activates_integers
        return self.op not in ("ISNAN", "ISINF") or provider.has("UnaryOperation", self.op)

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """ISNAN before TensorRT 10.1: what is not equal to itself. ISINF: what is above every number."""
        x = inputs[0]
        assert isinstance(x, Tensor)
        if self.op in ("ABS", "NEG"):
            negative = F.sub(0, x)
            return negative if self.op == "NEG" else F.maximum(x, negative)
        if self.op == "ISINF":
            return F.gt(F.abs(x), finfo(x.dtype).max)
        return F.ne(x, x)


_OF_SIZES: dict[str, Callable[[SizeLike, SizeLike], SizeLike]] = {
    "SUM": operator.add, "SUB": operator.sub, "PROD": operator.mul, "FLOOR_DIV": operator.floordiv,
    "MAX": maximum, "MIN": minimum,
}  # fmt: skip


@dataclass(slots=True, eq=False, repr=False)
class ElementWise(Layer):
    """`add_elementwise`: two tensors of one dtype and one rank, broadcast against each other.

    Arithmetic, GREATER and LESS take float32, float16, bfloat16, int8 (not POW), uint8, int32 and int64; EQUAL takes
    bool too; AND, OR and XOR take bool only. Comparisons give bool. DIV of integers truncates, FLOOR_DIV rounds down.
    """

    op: str

    kind: ClassVar[str] = "elementwise"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)
    computes_sizes: ClassVar[bool] = True

    @property
    def is_elementwise(self) -> bool:  # type: ignore[override]
        return self.op not in _STEEP or (self.op in ("DIV", "FLOOR_DIV") and _is_never_zero(self.inputs[1]))

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        return self.op not in ("MAX", "MIN")

    def infer(self) -> tuple[Output, ...]:
        a, b = self.inputs
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        op, dtype = self.op, a.dtype
        if op not in BINARY:
            raise ArgumentError("TensorRT has no such operation of two tensors", expected=", ".join(BINARY), found=op)
        if b.dtype is not dtype:
            raise different_dtypes(op, a, b)
        shape = a.shape
        if b.shape is not shape and b.shape != shape:
            same_rank(op, a, b)
            if shape.count(1) == len(shape):
                shape = b.shape
            elif b.shape.count(1) != len(shape):
                shape = broadcast(op, a, b)
        if dtype not in _NUMBERS or op in LOGICAL or (op == "POW" and dtype is dtypes.int8):
            self._check_dtype(a)
        return ((shape, dtypes.bool_ if op in COMPARISONS else dtype),)

    def _check_dtype(self, a: Tensor) -> None:
        if self.op in LOGICAL:
            if a.dtype is not dtypes.bool_:
                raise not_taken(self.op, a, expected="bool")
        elif a.dtype is not dtypes.uint8 and (self.op != "EQUAL" or a.dtype is not dtypes.bool_):
            raise not_taken(self.op, a, True)

    @property
    def leaves_bytes(self) -> bool:  # type: ignore[override]
        return self.op in ("SUM", "SUB", "PROD", "POW")

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position == 1 and self.op in ("DIV", "FLOOR_DIV") and self.outputs[0].dtype in SIGNED_INTEGERS:
            return Bounds((1,), (FAR,))  # what a whole number divided by 0 is, nothing says
        if wanted is None or self.op in COMPARISONS or self.op in LOGICAL:
            return None
        wanted, other = wanted.one(), self.inputs[1 - position]
        held = _held(other)
        if held is None or not wanted.low:
            return UNKNOWN
        least, most = held
        low, high = wanted.low[0], wanted.high[0]
        if self.op == "SUM":
            return wanted._replace(low=(low - least,), high=(high - most,))
        if self.op == "SUB":
            if position:
                low, high, least, most = -high, -low, -most, -least
            return wanted._replace(low=(low + most,), high=(high + least,))
        if self.op == "PROD" and isinstance(least, int) and least == most and least > 0:
            return wanted._replace(low=(-(-low // least),), high=(high // least,))
        if self.op == "MIN":
            return Bounds((low,), (FAR,)) if _at_most(most, high) else wanted
        if self.op == "MAX":
            return Bounds((-FAR,), (high,)) if _at_most(low, least) else wanted
        return UNKNOWN

    def numbers(self, of: Callable[[Operand], tuple[SizeLike, ...] | None]) -> tuple[SizeLike, ...] | None:
        a, b = (of(one) for one in self.inputs)
        compute = _OF_SIZES.get(self.op)
        if a is None or b is None or compute is None or (len(a) != len(b) and 1 not in (len(a), len(b))):
            return None
        count = max(len(a), len(b))
        pairs = zip(a * count if len(a) == 1 else a, b * count if len(b) == 1 else b)
        return tuple(compute(x, y) for x, y in pairs)

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        known = _FOLDED.get(self.op)
        return None if known is None or (self.op == "FLOOR_DIV" and not values[1].all()) else known(*values)

    def add_to(self, lowering: Network) -> ILayer | None:
        a, b = self.inputs
        operation = lowering.enum("ElementWiseOperation", self.op)
        return lowering.network.add_elementwise(lowering[a], lowering[b], operation)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        if self.op == "MAX" and any(is_nonnegative(x) for x in self.inputs):
            return ()
        return self.inputs if self.op in _KEEP_SIGN else None

    def supported(self, provider: Features) -> bool:
        if self.op == "POW" and self.outputs[0].dtype in SIGNED_INTEGERS:
            return provider.activates_integers
        return self._infinity() is None or provider.finds_infinity_equal

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """Before TensorRT 9: equality with a constant infinity (infinite, of that sign), powers of whole numbers."""
        a, b = inputs
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        if self.op == "POW":
            return _whole_power(F, a, b)
        found = self._infinity()
        assert found is not None
        position, sign = found
        x = a if position else b
        return F.logical_and(F.isinf(x), F.gt(x, 0) if sign > 0 else F.lt(x, 0))

    def _infinity(self) -> tuple[int, float] | None:
        """Which operand of an equality is one constant infinity, and that."""
        if self.op != "EQUAL":
            return None
        for position, operand in enumerate(self.inputs):
            layer = operand.layer if isinstance(operand, Tensor) and operand.dtype.is_floating_point else None
            weight = layer.inputs[0] if isinstance(layer, Constant) else None
            if isinstance(weight, Literal) and weight.count == 1 and math.isinf(weight.array.item()):
                return position, float(weight.array.item())
        return None

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return BINARY[self.op](run.torch, *inputs)


@dataclass(slots=True, eq=False, repr=False)
class Select(Layer):
    """`add_select`: where the condition (bool, input 0) holds the second input, else the third.

    The three have one rank and broadcast; the second and the third have one dtype: float32, float16, bfloat16, int8,
    int32, int64 or bool.
    """

    kind: ClassVar[str] = "select"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (3, 3, 3)
    computes_sizes: ClassVar[bool] = True
    is_elementwise: ClassVar[bool] = True
    rounds: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        condition, a, b = self.inputs
        assert isinstance(condition, Tensor)
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        if condition.dtype is not dtypes.bool_:
            raise DtypeError(
                "the condition of a select must be bool",
                expected="bool",
                found=repr(condition),
                remedy="compare first: condition != 0, or condition.bool()",
            )
        if a.dtype is not b.dtype:
            raise different_dtypes("SELECT", a, b)
        same_rank("SELECT", condition, a, b)
        if a.dtype not in _NUMBERS and a.dtype not in (dtypes.bool_, dtypes.uint8):
            raise not_taken("SELECT", a, expected="float32, float16, bfloat16, int8, uint8, int32, int64 or bool")
        return ((broadcast("SELECT", condition, a, b), a.dtype),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        if position == 0:
            return None
        if wanted is None:
            return None
        wanted, size = wanted.one(), _added_below_zero(*self.inputs)
        if size is None or wanted[:2] != Bounds.below(size)[:2]:
            return wanted
        return None if position == 1 else wanted._replace(low=(-size,))  # an index that is counted from the end, too

    def supported(self, provider: Features) -> bool:
        return provider.selects_settled or self._settled() is None

    def _settled(self) -> int | None:
        """Which input it gives whatever the others hold: of two equal ones, or by a constant condition; else None."""
        if _is_equal(*self.inputs[1:]):
            return 1
        condition = weights_of(self.inputs[0])
        if condition is None or next(condition.leaves(), None) is not None:
            return None
        chosen = evaluate(condition, lambda leaf: leaf.value.read())
        return 1 if chosen.all() else None if chosen.any() else 2

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """The value that it gives whatever the input."""
        value = inputs[self._settled() or 1]
        assert isinstance(value, Tensor)
        made = expanded(value, self.outputs[0].shape)
        return emit(Identity((made,))) if made is value else made  # an input is no output

    def add_to(self, lowering: Network) -> ILayer | None:
        condition, a, b = self.inputs
        return lowering.network.add_select(lowering[condition], lowering[a], lowering[b])

    def fold(self, size: Callable[[SizeLike], int], *values: np.ndarray) -> np.ndarray | None:
        return np.where(*values)

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return self.inputs[1:]

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.where(*inputs)


def _whole_power(F: Functions, base: Tensor, exponent: Tensor) -> Tensor:
    """A power of whole numbers by products, exact wherever 32 bits hold it; 0 where 1 over it is no whole number.

    No base but -1, 0 and 1 has a power above the 31st that 32 bits hold, and theirs depend on the exponent's parity.
    """
    odd = F.remainder(exponent, 2)
    rest, factor, product = F.minimum(exponent, F.add(odd, 30)), base, None
    for _ in range(5):
        half = F.floor_divide(rest, 2)
        taken = F.where(F.eq(F.sub(rest, F.mul(half, 2)), 0), 1, factor)
        product = taken if product is None else F.mul(product, taken)
        rest, factor = half, F.mul(factor, factor)
    assert product is not None
    unit = F.eq(F.mul(base, base), 1)
    inverse = F.where(unit, F.where(F.eq(odd, 0), 1, base), 0)
    return F.where(F.lt(exponent, 0), inverse, product)


def _is_equal(a: Operand, b: Operand) -> bool:
    """Whether two operands are the same tensor, or the same computation of equal constants (not parameters)."""
    if a is b:
        return True
    if isinstance(a, Literal) and isinstance(b, Literal):
        return a.array.shape == b.array.shape and a.array.tobytes() == b.array.tobytes()
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return False
    first, second = a.layer, b.layer
    return (
        first is not None
        and second is not None
        and type(first) is type(second)
        and not first.draws
        and len(first.outputs) == 1
        and len(first.inputs) == len(second.inputs)
        and all(getattr(first, name) == getattr(second, name) for name in first.attributes)
        and all(_is_equal(x, y) for x, y in zip(first.inputs, second.inputs, strict=True))
    )


def _is_never_zero(operand: Operand) -> bool:
    """Whether this is a constant (not a parameter) without zeros."""
    layer = operand.layer if isinstance(operand, Tensor) else None
    weight = layer.inputs[0] if isinstance(layer, Constant) else None
    return isinstance(weight, Literal) and bool(np.all(weight.array != 0))


def _at_most(size: SizeLike, other: SizeLike) -> bool:
    """Whether a size is at most another, for all values of the Dims."""
    apart = other - size
    return apart >= 0 if isinstance(apart, int) else apart.bounds[0] >= 0


def _held(operand: Operand) -> tuple[SizeLike, SizeLike] | None:
    """The least and the greatest whole number of an operand, where they are known."""
    while isinstance(operand, Tensor) and (layer := operand.layer) is not None:
        if layer.rounds or [type(o) for o in layer.inputs] != [Tensor]:
            return layer.holds()
        operand = layer.inputs[0]
    return None


def _added_below_zero(condition: Operand, a: Operand, b: Operand) -> SizeLike | None:
    """The number of `where(b < 0, b + number, b)`, which counts negative indices from the end; else None."""
    less, total = (o.layer if isinstance(o, Tensor) else None for o in (condition, a))
    if (
        not isinstance(less, ElementWise)
        or not isinstance(total, ElementWise)
        or (less.op, total.op) != ("LESS", "SUM")
    ):
        return None
    added = _held(total.inputs[1])
    if less.inputs[0] is not b or total.inputs[0] is not b or _held(less.inputs[1]) != (0, 0) or added is None:
        return None
    return added[0] if added[0] == added[1] else None


def different_dtypes(operation: str, a: Tensor, b: Tensor) -> DtypeError:
    return DtypeError(
        f"{operation}: the two tensors have different dtypes",
        expected="one dtype; TensorRT casts nothing by itself",
        found=f"{a.dtype} {format_shape(a.shape)} and {b.dtype} {format_shape(b.shape)}",
        remedy=f"convert one of them: .to(trtnet.{a.dtype}) or .to(trtnet.{b.dtype})",
    )


def same_rank(operation: str, *operands: Tensor) -> None:
    if len({len(o.shape) for o in operands}) != 1:
        raise ShapeError(
            f"TensorRT's {operation} takes tensors of one rank",
            expected="as many dimensions in each",
            found=" and ".join(format_shape(o.shape) for o in operands),
            remedy="reshape: sizes of 1 broadcast",
        )
