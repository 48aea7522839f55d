"""Linear layers and products of matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dims import Size, SizeLike, format_shape
from ..basics.errors import ArgumentError, ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..layers.base import require_equal
from ..layers.casting import Cast
from ..layers.constant import with_rank
from ..layers.elementwise import ElementWise
from ..layers.matrix import Einsum, FullyConnected, MatrixMultiply
from ..layers.reduction import Reduce
from ..layers.shaping import Shuffle
from .arithmetic import add, mul
from .concrete import promote
from .creation import eye
from .dispatch import Value, axis_of, operand, operation, refusing, tensor
from .inplace import install
from .reduction import sum as summed
from .shape import clone, permute, reshape, squeeze, unsqueeze
from .triangular import diagonal

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bilinear", "bmm", "chain_matmul", "dot", "einsum", "ger", "inner",
    "kron", "linear", "matmul", "matrix_power", "mm", "mv", "outer", "tensordot", "vdot",
]  # fmt: skip


def _typed(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """A product of two arrays in their common type: NumPy's of bfloat16 is float32."""

    def call(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(function(a, b)).astype(promote(a.dtype, b.dtype), copy=False)

    return call


def _linear(input: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    product = input @ weight.T
    return product if bias is None else product + bias


@operation(_linear)
def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """(..., in) by a weight (out, in) and a bias (out,): (..., out). All of one floating-point dtype.

    Raises ShapeError where the last size is not `in`, DtypeError where dtypes differ.

    Layers of the example: `fully_connected`.

    >>> function = lambda x, w: trtnet.functional.linear(x, w)
    >>> graph = trtnet.record(function, x=trtnet.Input((2, 8)), w=trtnet.Input((3, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 3])
    """
    x, weights, shift = tensor(input), operand(weight), operand(bias)
    if weights is not None and len(weights.shape) == 1:  # one output, without a dimension of its own
        product = matmul(x, tensor(weights))
        return product if shift is None else add(product, tensor(shift))
    return emit(FullyConnected((x, weights, shift)))


def _bilinear(input1: np.ndarray, input2: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    _check_bilinear(input1.shape, input2.shape, weight.shape)
    wide = [value if value.dtype == np.float64 else value.astype(np.float32) for value in (input1, weight, input2)]
    product = np.einsum("...i,oij,...j->...o", *wide)
    return np.asarray(product if bias is None else product + bias).astype(input1.dtype)


def _check_bilinear(first: Sequence[SizeLike], second: Sequence[SizeLike], weight: Sequence[SizeLike]) -> None:
    problem = "bilinear takes (..., in1), (..., in2), alike but for the last size, and a weight (out, in1, in2)"
    found = ", ".join(format_shape(shape) for shape in (first, second, weight))
    if len(weight) != 3 or not first or len(first) != len(second):
        raise ShapeError(problem, found=found)
    for one, other in zip((*first, second[-1]), (*second[:-1], *weight[1:])):
        if isinstance(one, int) and isinstance(other, int) and one != other:
            raise ShapeError(problem, found=found)
        if one != other:
            require_equal(one, other, problem)


@operation(_bilinear)
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., in1) and (..., in2) by a weight (out, in1, in2) and a bias (out,): input1 weight[o] input2 + bias[o] for
    each o, (..., out). All of one floating-point dtype.

    Raises ShapeError where sizes do not fit, DtypeError where dtypes differ.

    >>> x, weight = trtnet.tensor([2.0, 3.0]), trtnet.tensor([[[1.0, 0.0], [0.0, 10.0]]])
    >>> trtnet.functional.bilinear(x, x, weight).tolist()
    [94.0]
    """
    x, y, weights = tensor(input1), tensor(input2), tensor(weight)
    _check_bilinear(x.shape, y.shape, weights.shape)
    out, first, second = weights.shape
    rows = matmul(x, reshape(permute(weights, (1, 0, 2)), (first, out * second)))
    products = matmul(reshape(rows, (*x.shape[:-1], out, second)), unsqueeze(y, -1))
    made = squeeze(products, -1)
    return made if bias is None else add(made, tensor(bias))


# --- matrices ---------------------------------------------------------------------------------------------------------


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    return _of_integers(a, b) if _are_integers(a, b) else emit(MatrixMultiply((a, b)))


def _are_integers(a: Tensor, b: Tensor) -> bool:
    return a.dtype is b.dtype and a.dtype in (dtypes.int32, dtypes.int64, dtypes.uint8)


MOST = 1 << 28
"""Products of integers at once, beyond which a matrix product of them raises."""


def _of_integers(a: Tensor, b: Tensor) -> Tensor:
    """A matrix product of integers, which TensorRT has not: all products, summed up."""
    if a.dtype is dtypes.uint8:
        return emit(Cast((_of_integers(*(emit(Cast((x,), dtypes.int32)) for x in (a, b))),), a.dtype))
    problem = f"matmul: the inner sizes differ: {format_shape(a.shape)} and {format_shape(b.shape)}"
    require_equal(a.shape[-1], b.shape[-2], problem)
    left = emit(Shuffle((a,), reshape_dims=Size((*a.shape, 1))))
    right = emit(Shuffle((b,), reshape_dims=Size((*b.shape[:-2], 1, *b.shape[-2:]))))
    products = emit(ElementWise((left, right), "PROD"))
    count = products.shape.numel()
    if (count if isinstance(count, int) else count.bounds[1]) > MOST:
        raise UnsupportedError(
            "TensorRT multiplies no matrices of integers, and so many products take too much memory",
            expected=f"at most {MOST:,}",
            found=format_shape(products.shape),
            remedy="(a.float() @ b.float()).long() is exact for sums below 2**24",
        )
    return emit(Reduce((products,), "SUM", (len(a.shape) - 1,), False))


@operation(_typed(np.matmul), method=("matmul", "__matmul__"))
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product of tensors of any rank from 1; dimensions in front broadcast. As torch.matmul.

    Layers of the example: `matrix_multiply`.

    >>> trtnet.matmul(trtnet.tensor([[1.0, 2.0]]), trtnet.tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    a, b = tensor(input), tensor(other)
    left, right = len(a.shape), len(b.shape)
    if not left or not right:
        raise ShapeError(
            "matmul takes one dimension or more on both sides",
            found=f"{format_shape(a.shape)} and {format_shape(b.shape)}",
            remedy="multiply by a number with *",
        )
    if (left == 1 or right == 1) and _are_integers(a, b):
        a = with_rank(a, 2) if left == 1 else a
        b = emit(Shuffle((b,), reshape_dims=Size((*b.shape, 1)))) if right == 1 else b
        made = matmul(a, b)
        kept = [s for axis, s in enumerate(made.shape, -made.ndim)
                if not (axis == -1 and right == 1) and not (axis == -2 and left == 1)]  # fmt: skip
        return emit(Shuffle((made,), reshape_dims=Size(kept)))
    if left == 1 or right == 1:
        a = with_rank(a, right - 1) if left == 1 else a
        b = with_rank(b, left - 1) if right == 1 else b
        return emit(MatrixMultiply((a, b), "VECTOR" if left == 1 else "NONE", "VECTOR" if right == 1 else "NONE"))
    rank = max(left, right)
    return _multiply(with_rank(a, rank), with_rank(b, rank))


@operation(_typed(lambda self, other: np.matmul(other, self)), method="__rmatmul__")
def _rmatmul(self: Tensor, other: Tensor) -> Tensor:
    return matmul(other, self)


def _of_rank(name: str, *given: tuple[Any, int]) -> list[Tensor]:
    found = []
    for value, rank in given:
        x = tensor(value)
        if len(x.shape) != rank:
            raise ShapeError(
                f"{name} takes tensors of {' and '.join(str(r) for _, r in given)} dimensions",
                found=format_shape(x.shape),
                remedy="use matmul, which takes any number of them",
            )
        found.append(x)
    return found


@operation(_typed(np.matmul), method=True)
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """(n, k) by (k, m): (n, m).

    Layers of the example: `matrix_multiply`.

    >>> trtnet.mm(trtnet.tensor([[1.0, 2.0]]), trtnet.tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    return _multiply(*_of_rank("mm", (input, 2), (mat2, 2)))


@operation(_typed(np.matmul), method=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """(b, n, k) by (b, k, m): (b, n, m).

    Layers of the example: `matrix_multiply`.

    >>> trtnet.bmm(trtnet.tensor([[[1.0, 2.0]]]), trtnet.tensor([[[3.0], [4.0]]])).tolist()
    [[[11.0]]]
    """
    a, b = _of_rank("bmm", (input, 3), (mat2, 3))
    if (a.shape[0] == 1) != (b.shape[0] == 1):
        raise ShapeError("the batch sizes of bmm differ", found=f"{format_shape(a.shape)} and {format_shape(b.shape)}")
    return _multiply(a, b)


@operation(_typed(np.matmul), method=True)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """(n, k) by (k,): (n,).

    Layers of the example: `matrix_multiply`.

    >>> trtnet.mv(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), trtnet.tensor([1.0, 10.0])).tolist()
    [21.0, 43.0]
    """
    a, b = _of_rank("mv", (input, 2), (vec, 1))
    return matmul(a, b)


@operation(_typed(np.dot), method=True)
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """(k,) by (k,): a tensor without dimensions.

    Layers of the example: `matrix_multiply`.

    >>> trtnet.dot(trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0, 4.0])).item()
    11.0
    """
    a, b = _of_rank("dot", (input, 1), (tensor, 1))
    return matmul(a, b)


@operation(_typed(np.inner), method=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Products over the last dimension of both: (..., k) by (..., k).

    Layers of the example: `matrix_multiply`.

    >>> trtnet.inner(trtnet.tensor([1.0, 2.0]), trtnet.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [11.0, 2.0]
    """
    a, b = tensor(input), tensor(other)
    if not a.shape or not b.shape:
        return mul(a, b)
    if len(b.shape) == 1 or len(a.shape) == 1:
        return matmul(a, b) if len(b.shape) == 1 else matmul(b, a)
    columns = reshape(b, (-1, b.shape[-1]))
    product = emit(MatrixMultiply((reshape(a, (-1, a.shape[-1])), columns), "NONE", "TRANSPOSE"))
    return reshape(product, (*a.shape[:-1], *b.shape[:-1]))


@operation(_typed(np.outer), method=("outer", "ger"))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """(n,) by (m,): (n, m).

    Layers of the example: `shuffle`, `elementwise`.

    >>> trtnet.outer(trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    a, b = _of_rank("outer", (input, 1), (vec2, 1))
    return mul(unsqueeze(a, 1), unsqueeze(b, 0))


ger = outer


def _scaled(x: Tensor, factor: Value) -> Tensor:
    return x if factor == 1 else mul(x, factor)


def _addmm(input: np.ndarray, mat1: np.ndarray, mat2: np.ndarray, *, beta: float = 1, alpha: float = 1) -> np.ndarray:
    return beta * input + alpha * np.matmul(mat1, mat2)


def _sum(name: str, rank: int, input: Tensor, a: Value, b: Value, beta: float, alpha: float) -> Tensor:
    product = _scaled(_multiply(*_of_rank(name, (a, rank), (b, rank))), alpha)
    return product if beta == 0 else add(_scaled(tensor(input), beta), product)


@operation(_addmm, method=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2), with two-dimensional matrices.

    Layers of the example: `matrix_multiply`, `elementwise`.

    >>> function = lambda x, y, z: trtnet.functional.addmm(x, y, z)
    >>> graph = trtnet.record(function, x=trtnet.Input((2, 3)), y=trtnet.Input((2, 4)), z=trtnet.Input((4, 3)))
    >>> graph.outputs["output"].shape
    Size([2, 3])
    """
    return _sum("addmm", 2, input, mat1, mat2, beta, alpha)


@operation(_addmm, method=True)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), with batches of matrices.

    Layers of the example: `matrix_multiply`, `elementwise`.

    >>> function = lambda x, y, z: trtnet.functional.baddbmm(x, y, z)
    >>> graph = trtnet.record(function, x=trtnet.Input((5, 2, 3)), y=trtnet.Input((5, 2, 4)), z=trtnet.Input((5, 4, 3)))
    >>> graph.outputs["output"].shape
    Size([5, 2, 3])
    """
    return _sum("baddbmm", 3, input, batch1, batch2, beta, alpha)


def _weighted(input: Tensor, beta: float, product: Tensor, alpha: float) -> Tensor:
    product = _scaled(product, alpha)
    made = product if beta == 0 else add(_scaled(input, beta), product)
    return made if made.dtype is input.dtype else made.to(input.dtype)


@refusing
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec): (n, k) by (k,).

    >>> trtnet.addmv(trtnet.ones(2), trtnet.eye(2), trtnet.tensor([1.0, 2.0]), alpha=2).tolist()
    [3.0, 5.0]
    """
    return _weighted(input, beta, mv(mat, vec), alpha)


@refusing
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * the sum over the batch of batch1 @ batch2.

    >>> trtnet.addbmm(trtnet.zeros(1, 1), trtnet.ones(3, 1, 2), trtnet.ones(3, 2, 1)).item()
    6.0
    """
    return _weighted(input, beta, summed(bmm(batch1, batch2), 0), alpha).contiguous()


@refusing
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * the outer product of two vectors.

    >>> trtnet.addr(trtnet.zeros(1, 2), trtnet.tensor([2.0]), trtnet.tensor([1.0, 3.0])).tolist()
    [[2.0, 6.0]]
    """
    return _weighted(input, beta, outer(vec1, vec2), alpha)


@refusing
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of products of two vectors: `dot`, as there are no complex numbers.

    >>> trtnet.vdot(trtnet.tensor([1.0, 2.0]), trtnet.tensor([3.0, 4.0])).item()
    11.0
    """
    return dot(input, other)


@refusing
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices, from left to right.

    >>> trtnet.chain_matmul(trtnet.ones(1, 2), trtnet.ones(2, 3), trtnet.ones(3, 1)).item()
    6.0
    """
    if not matrices:
        raise ArgumentError("chain_matmul of no matrices", expected="one or more")
    made = matrices[0]
    for matrix in matrices[1:]:
        made = mm(made, matrix)
    return made if len(matrices) > 1 else clone(made)


@refusing
def matrix_power(input: Tensor, n: int) -> Any:
    """Square matrices (..., m, m) multiplied by themselves, `n` times in all; for 0 the identity.

    Raises UnsupportedError for a negative `n`: TensorRT inverts no matrices.

    >>> trtnet.matrix_power(trtnet.tensor([[1.0, 1.0], [0.0, 1.0]]), 5).tolist()
    [[1.0, 5.0], [0.0, 1.0]]
    """
    if n < 0:
        raise UnsupportedError("TensorRT inverts no matrices", found=f"matrix_power(x, {n})")
    if input.ndim < 2 or (isinstance(input.shape[-1], int) and input.shape[-2] != input.shape[-1]):
        raise ShapeError("matrix_power takes square matrices", found=format_shape(input.shape))
    if n == 0:
        return clone(eye(input.shape[-1], dtype=input.dtype).expand(tuple(input.shape)))
    made, power = None, input
    while n:
        if n % 2:
            made = power if made is None else matmul(made, power)
        n //= 2
        if n:
            power = matmul(power, power)
    return clone(made) if made is input else made


@refusing
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: each element of `input` times all of `other`, as blocks.

    >>> trtnet.kron(trtnet.tensor([1, 10]), trtnet.tensor([1, 2])).tolist()
    [1, 2, 10, 20]
    """
    rank = max(input.ndim, other.ndim)
    a, b = ((1,) * (rank - x.ndim) + tuple(x.shape) for x in (input, other))
    left, right = (tuple(s for pair in pairs for s in pair) for pairs in (zip(a, (1,) * rank), zip((1,) * rank, b)))
    sizes = tuple(one * two for one, two in zip(a, b))
    return reshape(mul(reshape(input, left), reshape(other, right)), sizes)


def _tensordot(a: np.ndarray, b: np.ndarray, dims: Any = 2, out: Any = None) -> np.ndarray:
    return np.tensordot(a, b, dims)


@operation(_tensordot)
def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Sequence[int]] = 2, out: Tensor | None = None) -> Tensor:
    """Products summed over `dims`: a number of the last of `a` and first of `b`, or a pair of lists of dimensions.

    Layers of the example: `einsum`.

    >>> trtnet.tensordot(trtnet.tensor([[1.0, 2.0]]), trtnet.tensor([[3.0], [4.0]]), dims=1).tolist()
    [[11.0]]
    """
    left, right = tensor(a), tensor(b)
    ranks = len(left.shape), len(right.shape)
    if out is not None:
        raise UnsupportedError("tensordot takes out by its name", remedy="tensordot(a, b, dims, out=y)")
    if isinstance(dims, int):
        ours, theirs = list(range(ranks[0] - dims, ranks[0])), list(range(dims))
    else:
        ours, theirs = ([axis_of(d, rank) for d in given] for given, rank in zip(dims, ranks, strict=True))
    letters = iter(_LETTERS)
    first = [next(letters) for _ in range(ranks[0])]
    second = [first[ours[theirs.index(i)]] if i in theirs else next(letters) for i in range(ranks[1])]
    kept = [c for i, c in enumerate(first) if i not in ours] + [c for i, c in enumerate(second) if i not in theirs]
    return emit(Einsum((left, right), f"{''.join(first)},{''.join(second)}->{''.join(kept)}"))


# --- einsum -----------------------------------------------------------------------------------------------------------

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _plain(equation: str, ranks: list[int]) -> str:
    """The equation as TensorRT takes it: lower case, an explicit output, no ellipsis, no index twice in one term.

    Raises ArgumentError for a malformed one, and UnsupportedError for a diagonal.
    """
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ArgumentError(
            "the einsum has not as many terms as operands", expected=f"{len(ranks)} terms", found=equation
        )
    for term in [*terms, right]:
        if not all(c.isascii() and c.isalpha() for c in term.replace("...", "", 1)):
            raise ArgumentError("an einsum takes letters, commas, '...' and '->'", found=equation)
    spread = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    for term, rank, more in zip(terms, ranks, spread, strict=True):
        if more < 0 or ("..." not in term and len(term) != rank):
            raise ShapeError(
                f"the term {term!r} of the einsum does not fit its operand",
                expected=f"{len(term)} dimensions",
                found=rank,
            )
        letters = term.replace("...", "")
        if len(set(letters)) != len(letters):
            raise UnsupportedError(
                "TensorRT's einsum takes no diagonals",
                expected="each index once in a term",
                found=f"{term!r} in {equation}",
                remedy="take the diagonal first, or multiply by trtnet.eye(n) and sum",
            )
    used = list(dict.fromkeys(c for c in left if c.isalpha()))
    if not arrow:
        counts = [c for term in terms for c in term.replace("...", "")]
        right = ("..." if any("..." in term for term in terms) else "") + "".join(
            c for c in sorted(used) if counts.count(c) == 1
        )
    if any(right.count(c) > 1 or c not in used for c in right.replace("...", "")):
        raise ArgumentError(
            "the output of an einsum names each index once, and only such as the operands have", found=equation
        )
    widest = max(spread, default=0)
    if len(used) + widest > len(_LETTERS):
        raise UnsupportedError("TensorRT's einsum has 26 indices", found=equation)
    keep = [c for c in used if c in _LETTERS]
    free = iter(c for c in _LETTERS if c not in keep)
    name = {c: c if c in keep else next(free) for c in used}
    dots = [next(free) for _ in range(widest)]

    def written(term: str, more: int) -> str:
        before, dotted, after = term.partition("...")
        middle = "".join(dots[widest - more :]) if dotted else ""
        return "".join(name[c] for c in before) + middle + "".join(name[c] for c in after)

    return ",".join(map(written, terms, spread)) + "->" + written(right, widest)


def _contracted_numpy(equation: str, *given: Any) -> np.ndarray:
    if len(given) == 1 and given[0].dtype.kind in "bui":
        left, arrow, right = equation.partition("->")
        if any(c.isalpha() and (c not in right if arrow else left.count(c) > 1) for c in left):
            return np.einsum(equation, given[0].astype(np.int64))  # as torch's sums of integers
    return np.einsum(equation, *given)


@operation(_contracted_numpy, strided=True)
def _contracted(equation: str, *operands: Tensor) -> Tensor:
    tensors = tuple(tensor(o) for o in operands)
    return emit(Einsum(tensors, _plain(equation, [len(t.shape) for t in tensors])))


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by index names: `einsum("bhqd,bhkd->bhqk", q, k)`. Floating-point operands of one dtype.

    One operand whose indices are only put into another order, or taken from a diagonal, is a view of it.
    Raises UnsupportedError for an index twice in one of several terms (a diagonal).

    Layers of the example: `einsum`.

    >>> trtnet.einsum("ij,j->i", trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]), trtnet.tensor([1.0, 10.0])).tolist()
    [21.0, 43.0]
    """
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    if not isinstance(equation, str):
        raise UnsupportedError(
            "einsum takes an equation", expected="a string", found=repr(equation), remedy="einsum('ij,jk->ik', a, b)"
        )
    if len(given) != 1 or not isinstance(given[0], Tensor) or "," in equation:
        return _contracted(equation, *given)
    x, equation = _without_diagonals(given[0], equation.replace(" ", ""))
    before, _, after = _plain(equation, [len(x.shape)]).partition("->")
    if len(before) == len(after):
        return permute(x, [before.index(index) for index in after])
    return _contracted(equation, x)


def _without_diagonals(x: Tensor, equation: str) -> tuple[Tensor, str]:
    """An operand and its equation with each index once in the term."""
    left, arrow, right = equation.partition("->")
    if "..." in left or len(left) != x.ndim:
        return x, equation
    if not arrow:
        right = "".join(sorted(index for index in left if left.count(index) == 1))
    while repeated := next((index for index in left if left.count(index) > 1), ""):
        first = left.index(repeated)
        second = left.index(repeated, first + 1)
        x = diagonal(x, 0, first, second)
        left = left[:first] + left[first + 1 : second] + left[second + 1 :] + repeated
    return x, f"{left}->{right}"


install({"addbmm": addbmm, "addmm": addmm, "addmv": addmv, "addr": addr, "baddbmm": baddbmm})
for _function in (addbmm, addmv, addr, vdot, kron, matrix_power):
    setattr(Tensor, _function.__name__, _function)
