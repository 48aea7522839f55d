"""Products of matrices: matrix multiplication, fully connected layers, Einstein summation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..basics.dims import Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.graph import Graph
from ..graph.recorder import emit, recorder
from ..graph.tensor import Producer, Tensor
from ..weights.recipes import Weight
from .base import UNCOMPUTED, Layer, Operand, Output, require_equal, require_floating
from .casting import Cast
from .constant import with_rank
from .elementwise import ElementWise
from .targets import Features, Functions, ILayer, Network, Run

if TYPE_CHECKING:
    import torch


def _same_floating(kind: str, *operands: Tensor | Weight | None) -> None:
    first = operands[0]
    assert first is not None
    if not first.dtype.is_floating_point or first.dtype in UNCOMPUTED:
        require_floating(f"a {kind}", first)
    for other in operands[1:]:
        if other is not None and other.dtype is not first.dtype:
            raise DtypeError(
                f"the operands of a {kind} must have one dtype",
                expected=f"{first.dtype} {format_shape(first.shape)}",
                found=f"{other.dtype} {format_shape(other.shape)}",
                remedy="convert the module (module.half(), module.to(dtype)) or the tensor (x.to(dtype))",
            )


def _both(a: Tensor, b: Tensor) -> str:
    return f"{format_shape(a.shape)} and {format_shape(b.shape)}"


_OPERATIONS = ("NONE", "TRANSPOSE", "VECTOR")


@dataclass(slots=True, eq=False, repr=False)
class MatrixMultiply(Layer):
    """`add_matrix_multiply`: (..., M, K) times (..., K, N), of one rank; dimensions in front of size 1 broadcast.

    An operation is NONE, TRANSPOSE, or VECTOR: that operand then has one dimension less, and so has the output.
    """

    op0: str = "NONE"
    op1: str = "NONE"

    kind: ClassVar[str] = "matrix_multiply"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (2, 2, 2)
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"op0": _OPERATIONS, "op1": _OPERATIONS}

    def infer(self) -> tuple[Output, ...]:
        a, b = self.inputs
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        _same_floating("matrix multiplication", a, b)
        lead_a, m, k = self._split(a, self.op0, -2)
        lead_b, n, j = self._split(b, self.op1, -1)
        if len(lead_a) != len(lead_b):
            raise ShapeError("a matrix multiplication takes operands of one rank", found=_both(a, b))
        if k != j:
            if isinstance(k, int) and isinstance(j, int):
                raise ShapeError(
                    "the inner sizes of a matrix multiplication differ",
                    expected=f"{k} rows on the right",
                    found=f"{j}: {_both(a, b)}",
                )
            require_equal(k, j, f"the inner sizes of a matrix multiplication differ: {_both(a, b)}")
        shape: list[SizeLike] = []
        for left, right in zip(lead_a, lead_b):
            if left == 1 or right == 1:
                shape.append(right if left == 1 else left)
            else:
                if left != right:
                    require_equal(left, right, f"the batch sizes of a matrix multiplication differ: {_both(a, b)}")
                shape.append(left if isinstance(left, int) else right)
        return ((Size([*shape, *m, *n]), a.dtype),)

    @classmethod
    def failing(cls, graph: Graph, provider: Features, refit: bool) -> Collection[Layer]:
        """Products of an attention's result and weights, where `Abilities.refits_attention` is False: see there."""
        if not refit or provider.refits_attention:
            return ()
        products = [x for x in graph.layers if isinstance(x, cls) and "VECTOR" not in (x.op0, x.op1)]
        makers = makers_of(graph.layers)
        return [x for x in products if is_of_weights(x.inputs[1], makers) and _attends(x.inputs[0], makers)]

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        """The transpose of the product of the transposed operands in the other order."""
        a, b = inputs
        assert isinstance(a, Tensor)
        columns = a if self.op0 == "TRANSPOSE" else F.transpose(a, -1, -2)
        other = "NONE" if self.op1 == "TRANSPOSE" else "TRANSPOSE"
        return F.transpose(emit(MatrixMultiply((b, columns), other, "NONE")), -1, -2)

    @staticmethod
    def _split(x: Tensor, operation: str, outer: int) -> tuple[tuple[SizeLike, ...], tuple[SizeLike, ...], SizeLike]:
        """Batch sizes, the outer size (none of a vector), the inner size."""
        shape = tuple(x.shape)
        rank = 1 if operation == "VECTOR" else 2
        if len(shape) < rank:
            raise ShapeError(f"a matrix multiplication takes {rank} dimensions or more", found=format_shape(shape))
        if operation == "VECTOR":
            return shape[:-1], (), shape[-1]
        inner = -3 - outer
        if operation == "TRANSPOSE":
            inner, outer = outer, inner
        return shape[:-2], (shape[outer],), shape[inner]

    def add_to(self, lowering: Network) -> ILayer | None:
        a, b = self.inputs
        return lowering.network.add_matrix_multiply(
            lowering[a],
            lowering.enum("MatrixOperation", self.op0),
            lowering[b],
            lowering.enum("MatrixOperation", self.op1),
        )

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        a, b = inputs
        if self.op0 == "TRANSPOSE":
            a = a.transpose(-1, -2)
        if self.op1 == "TRANSPOSE":
            b = b.transpose(-1, -2)
        if self.op0 == "VECTOR" and self.op1 == "VECTOR":
            return (a * b).sum(-1)
        if self.op0 == "VECTOR":
            return run.torch.matmul(a.unsqueeze(-2), b).squeeze(-2)
        if self.op1 == "VECTOR":
            return run.torch.matmul(a, b.unsqueeze(-1)).squeeze(-1)
        return run.torch.matmul(a, b)


Makers = Mapping[Operand, Producer]
"""The layer of a graph that produces a tensor; the tensor's own `layer` is the recorded one, before decomposition."""


def makers_of(layers: Sequence[Producer]) -> Makers:
    return {tensor: layer for layer in layers for tensor in layer.outputs}


def _attends(operand: Operand, makers: Makers) -> bool:
    """Whether a tensor is a product of two activations (neither of them weights), at most moved or cast since."""
    pending, seen = [operand], set()
    while pending:
        layer = makers.get(pending.pop())
        if layer is None or id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, MatrixMultiply):
            if not any(is_of_weights(o, makers) for o in layer.inputs):
                return True
        elif not layer.rounds or isinstance(layer, Cast):
            pending.extend(layer.inputs)
    return False


def is_of_weights(operand: Operand, makers: Makers) -> bool:
    """Whether a tensor is computed from one constant, by layers of one tensor input each."""
    layer = makers.get(operand)
    while layer is not None:
        tensors = [o for o in layer.inputs if isinstance(o, Tensor)]
        if len(tensors) != 1:
            return not tensors
        layer = makers.get(tensors[0])
    return False


@dataclass(slots=True, eq=False, repr=False)
class FullyConnected(Layer):
    """A linear layer: input (..., in), weight (out, in), bias (out,) or None.

    Composed of a matrix multiplication and a sum.
    """

    kind: ClassVar[str] = "fully_connected"
    methods: ClassVar[tuple[str, ...]] = ()

    def infer(self) -> tuple[Output, ...]:
        x, weight, bias = self.inputs
        assert isinstance(x, Tensor)
        assert isinstance(weight, (Tensor, Weight))
        if len(weight.shape) != 2:
            raise ShapeError(
                "the weight of a linear layer has two dimensions",
                expected="(out, in)",
                found=format_shape(weight.shape),
            )
        if not x.shape:
            raise ShapeError("a linear layer takes a dimension or more", expected="(..., in)", found="()")
        _same_floating("linear layer", x, weight, bias)
        out, features = weight.shape
        if x.shape[-1] != features:
            if isinstance(x.shape[-1], int):
                raise ShapeError(
                    "the weight of this linear layer does not fit its input",
                    expected=f"{features} features in the last dimension",
                    found=f"{x.shape[-1]}: input {format_shape(x.shape)}, weight {format_shape(weight.shape)}",
                    remedy="make in_features equal to the input's last size",
                )
            require_equal(x.shape[-1], features, "the last size of the input must be the linear layer's in_features")
        if bias is not None and tuple(bias.shape) != (out,):
            raise ShapeError(
                "the bias of this linear layer has the wrong size", expected=f"({out},)", found=format_shape(bias.shape)
            )
        return ((Size((*x.shape[:-1], out)), x.dtype),)

    def supported(self, provider: Features) -> bool:
        return False

    def compose(self, F: Functions, *inputs: Operand) -> Tensor:
        x, weight, bias = inputs
        assert isinstance(x, Tensor)
        assert weight is not None
        rank, emit = len(x.shape), recorder().emit
        left = "VECTOR" if rank == 1 else "NONE"
        y: Tensor = emit(MatrixMultiply((x, with_rank(weight, rank if rank > 1 else 2)), left, "TRANSPOSE"))
        return y if bias is None else emit(ElementWise((y, with_rank(bias, rank)), "SUM"))

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.nn.functional.linear(*inputs)


@dataclass(slots=True, eq=False, repr=False)
class Einsum(Layer):
    """`add_einsum`: products summed over the indices that the output leaves out; explicit output, no ellipsis."""

    equation: str

    kind: ClassVar[str] = "einsum"
    reads: ClassVar[Mapping[str, str] | None] = {}
    input_counts: ClassVar[tuple[int, int, int | None]] = (1, 1, None)
    is_dense: ClassVar[bool] = False

    def infer(self) -> tuple[Output, ...]:
        operands = [o for o in self.inputs if isinstance(o, Tensor)]
        _same_floating("einsum", *operands)
        left, _, right = self.equation.partition("->")
        terms = left.split(",")
        if len(terms) != len(operands) or set(right) - set(left):
            raise ArgumentError(
                "the equation of this einsum does not fit its operands",
                expected=f"{len(operands)} terms before ->, and after it letters of theirs",
                found=self.equation,
                remedy="one term for each operand, as in 'ij,jk->ik'",
            )
        sizes: dict[str, SizeLike] = {}
        for term, operand in zip(terms, operands, strict=True):
            if len(term) != len(operand.shape):
                raise ShapeError(
                    f"the term {term!r} of the einsum does not fit its operand",
                    expected=f"{len(term)} dimensions",
                    found=format_shape(operand.shape),
                )
            for letter, size in zip(term, operand.shape, strict=True):
                known = sizes.setdefault(letter, size)
                if known == 1:
                    sizes[letter] = size
                elif size != 1:
                    require_equal(known, size, f"the einsum's index {letter!r} has two sizes: {known} and {size}")
        return ((Size(sizes[letter] for letter in right), operands[0].dtype),)

    def add_to(self, lowering: Network) -> ILayer | None:
        return lowering.network.add_einsum([lowering[o] for o in self.inputs], self.equation)

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        return run.torch.einsum(self.equation, *inputs)
