"""What the programs call: every public function and method of trtnet's, and how its arguments are made up.

An entry says which tensors a function takes first (`rank`, `family`) and what follows. `g` is the generator: it knows
the tensors that the program has so far.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import trtnet
import trtnet.functional  # gives Tensor its methods
from trtnet.graph.tensor import Tensor

Make = Callable[[Any, str], "list[str] | str"]


@dataclass(frozen=True)
class Function:
    """Attributes:
    rank: of the first tensor: a number, a least number ("2+"), or any.
    args: what follows it: texts of arguments; a text alone is the whole of what stands in the parentheses.
    families: what the first tensor may be.
    guard: what must hold (`{x}` is the first tensor, `{0}`, `{1}` the arguments).
    wild: whether the values decide the shape of the result.
    """

    rank: int | str = "any"
    args: Make | None = None
    families: tuple[str, ...] = ("float", "int", "bool")
    guard: str | None = None
    wild: bool = False


FLOAT = ("float",)
NUMBER = ("float", "int")
INTEGER = ("int", "bool")


def words(text: str) -> list[str]:
    return text.split()


def fn(rank: int | str = "any", args: Make | None = None, families: Any = None, **more: Any) -> Function:
    return Function(rank, args, families or ("float", "int", "bool"), **more)


def _table(names: str, entry: Function) -> dict[str, Function]:
    return dict.fromkeys(names.split(), entry)


ELEMENTWISE = _table(
    "abs absolute acos arccos acosh arccosh asin arcsin asinh arcsinh atan arctan atanh arctanh ceil clone contiguous "
    "cos cosh deg2rad detach erf erfc exp exp2 expm1 fix floor isfinite isinf isnan isneginf "
    "isposinf log log10 log1p log2 logical_not neg negative positive rad2deg ravel reciprocal relu relu6 "
    "rsqrt selu sgn sigmoid sign silu sin sinc sinh sqrt square tan tanh trunc hardsigmoid hardswish logsigmoid mish "
    "softsign tanhshrink signbit atleast_1d atleast_2d atleast_3d frac erfinv digamma lgamma",
    fn(),
)

UNARY = {
    **ELEMENTWISE,
    **_table("numel is_floating_point", fn()),
    "fliplr": fn("2+"),
    "flipud": fn("1+"),
    "t": fn("-2"),
    "msort": fn("1+"),
    "bitwise_not": fn(families=INTEGER),
    "round": fn(args=lambda g, x: g.maybe("decimals=1", "decimals=0", "decimals=-1", "decimals=2") if g.is_float(x) else []),
    "nan_to_num": fn(args=lambda g, x: g.maybe("0.5", "nan=1.0", "0.0, 2.0, -2.0", "posinf=3.0")),
    "logit": fn(args=lambda g, x: ["eps=0.1"] if g.chance(0.7) else []),
    "argwhere": fn("1+", wild=True),
    "nonzero": fn("1+", args=lambda g, x: g.maybe("as_tuple=True"), wild=True),
    "unique": fn(args=lambda g, x: g.maybe("return_counts=True", "return_inverse=True"), wild=True),
    "unique_consecutive": fn(args=lambda g, x: g.maybe("return_counts=True"), wild=True),
    **_table("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout",
             fn("3", lambda g, x: ["0.5", "training=False"], FLOAT)),
}  # fmt: skip

ACTIVATIONS = {
    "celu": fn(args=lambda g, x: g.maybe("0.5", "alpha=2.0")),
    "elu": fn(args=lambda g, x: g.maybe("0.5", "alpha=2.0")),
    "gelu": fn(args=lambda g, x: g.maybe("approximate='tanh'")),
    "glu": fn("1+", lambda g, x: g.maybe(g.dim(x))),
    "hardshrink": fn(args=lambda g, x: g.maybe("1.0", "lambd=0.25")),
    "softshrink": fn(args=lambda g, x: g.maybe("1.0", "lambd=0.25")),
    "hardtanh": fn(args=lambda g, x: g.maybe("-0.5, 2.0", "min_val=-2.0", "0, 2")),
    "leaky_relu": fn(args=lambda g, x: g.maybe("0.2", "negative_slope=0.5", "-1.0")),
    "rrelu": fn(args=lambda g, x: g.maybe("0.1, 0.3")),
    "prelu": fn(args=lambda g, x: [g.of((1,)) if g.rank(x) < 2 or g.chance(0.5) else g.of((g.shape(x)[1],))]),
    "softplus": fn(args=lambda g, x: g.maybe("2.0", "beta=0.5", "1.0, 2.0")),
    "threshold": fn(args=lambda g, x: [g.number(x), g.number(x)]),
    **_table("softmax log_softmax softmin", fn(args=lambda g, x: [g.dim(x), *g.seldom("dtype=T.float32")])),
}

BINARY = {
    **_table(
        "mul true_divide multiply floor_divide remainder fmod maximum minimum fmax fmin atan2 arctan2 hypot "
        "logaddexp logaddexp2 xlogy logical_and logical_or logical_xor eq ne gt ge lt le greater greater_equal less less_equal "
        "not_equal",
        fn(args=lambda g, x: [g.other(x)]),
    ),
    **_table("div divide", fn(args=lambda g, x: [g.other(x), *g.seldom("rounding_mode='floor'", "rounding_mode='trunc'")])),
    "isclose": fn(args=lambda g, x: [g.other(x, numbers=False), *g.maybe("equal_nan=True", "rtol=0.5", "0.0, 1.0", "atol=0.25, equal_nan=True")]),
    **_table("bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift", fn(args=lambda g, x: [g.other(x)], families=INTEGER)),
    "ldexp": fn(args=lambda g, x: [g.pick("T.tensor(2)", "T.tensor([1])", "T.tensor(-1)")]),
    "copysign": fn(args=lambda g, x: [g.other(x)]),
    **_table("add sub subtract rsub", fn(args=lambda g, x: [g.other(x), *g.maybe("alpha=2", "alpha=-1")])),
    **_table("pow", fn(args=lambda g, x: [g.pick("2", "3", "0.5", "-1", "0", "1", "2.0") if g.chance(0.6) else g.other(x)])),
    **_table("equal allclose", fn(args=lambda g, x: [g.other(x, numbers=False)])),
    **_table("conj conj_physical resolve_conj resolve_neg isreal is_conj is_neg is_floating_point", fn()),
    "heaviside": fn(args=lambda g, x: [g.other(x, numbers=False)]),
    "lerp": fn(args=lambda g, x: [g.other(x, numbers=False), "0.25" if g.chance(0.5) else g.other(x, numbers=False)]),
    **_table("addcmul addcdiv", fn(args=lambda g, x: [g.other(x, numbers=False), g.other(x, numbers=False), *g.maybe("value=0.5", "value=-1")])),
    **_table("clamp clip", fn(args=lambda g, x: g.bounds(x))),
    **_table("clamp_min clamp_max", fn(args=lambda g, x: [g.number(x) if g.chance(0.6) else g.other(x)])),
}  # fmt: skip


def _reduced(g: Any, x: str) -> list[str]:
    return g.maybe(g.dim(x), f"dim={g.dims(x)}", f"{g.dim(x)}, keepdim=True", f"dim={g.dims(x)}, keepdim=True", "None")


def _one(g: Any, x: str) -> list[str]:
    return [g.dim(x), *g.maybe("keepdim=True")]


def _spread(g: Any, x: str) -> list[str]:
    return g.maybe(
        g.dim(x),
        f"{g.dims(x)}, unbiased=False",
        f"dim={g.dims(x)}, correction=0",
        f"{g.dim(x)}, keepdim=True",
        "False",
        "correction=2",
        f"{g.dims(x)}, correction=2, keepdim=True",
    )


REDUCTIONS = {
    **_table("sum nansum", fn(args=lambda g, x: [*_reduced(g, x), *g.seldom("dtype=T.float32", "dtype=T.int32", "dtype=T.int64")])),
    **_table("mean nanmean", fn(args=lambda g, x: [*_reduced(g, x), *g.seldom("dtype=T.float32")])),
    **_table("amax amin", fn(args=_reduced)),
    "prod": fn(args=lambda g, x: g.maybe(g.dim(x), f"{g.dim(x)}, keepdim=True", "dtype=T.float32", f"{g.dim(x)}, dtype=T.float32", "dtype=T.int64")),
    "aminmax": fn(args=lambda g, x: g.maybe(f"dim={g.dim(x)}", f"dim={g.dim(x)}, keepdim=True")),
    **_table("all any", fn(args=_reduced)),
    **_table("max min", fn(args=lambda g, x: g.extreme(x))),
    **_table("argmax argmin", fn(args=lambda g, x: g.maybe(g.dim(x), f"{g.dim(x)}, keepdim=True"), guard="distinct({x}, {dim})")),
    **_table("std var", fn(args=_spread)),
    **_table("std_mean var_mean", fn(args=_spread, guard="without_infinities({x})")),
    "count_nonzero": fn(args=lambda g, x: g.maybe(g.dim(x), f"dim={g.dims(x)}")),
    "norm": fn(args=lambda g, x: g.maybe("1", "0", "3", f"float('-inf'), {g.dims(x)}", f"0.5, {g.dim(x)}, True", f"2, {g.dim(x)}", f"p='fro', dim={g.dims(x)}, keepdim=True", "float('inf')")),
    "vector_norm": fn(args=lambda g, x: g.maybe("1", "0", f"float('-inf'), {g.dims(x)}", f"0.5, {g.dim(x)}, True", f"ord=2, dim={g.dim(x)}, keepdim=True", f"3, {g.dim(x)}", f"dim={g.dims(x)}, keepdim=True", "float('inf')")),
    "logsumexp": fn(args=lambda g, x: [g.dims(x), *g.maybe("keepdim=True", "True")]),
    **_table("cumsum cumprod", fn("1+", lambda g, x: [g.dim(x), *g.seldom("dtype=T.float32")])),
    **_table("cummax cummin", fn("1+", lambda g, x: [g.dim(x)])),
    "logcumsumexp": fn("1+", lambda g, x: [g.dim(x)], FLOAT),
    "median": fn(args=lambda g, x: g.maybe(g.dim(x), f"{g.dim(x)}, keepdim=True"), families=NUMBER, guard="distinct({x}, {dim})"),
    "kthvalue": fn("1+", lambda g, x: [g.pick("1", "2"), g.dim(x), *g.maybe("keepdim=True")], NUMBER, guard="distinct({x}, {1})"),
    **_table("quantile nanquantile", fn(args=lambda g, x: [g.pick("0.5", "0.25", "T.tensor([0.0, 0.75])"), *g.maybe(g.dim(x), f"dim={g.dim(x)}, keepdim=True", "interpolation='nearest'", f"{g.dim(x)}, interpolation='midpoint'", f"{g.dim(x)}, True, interpolation='lower'", f"dim={g.dim(x)}, interpolation='higher'")], families=FLOAT)),
    "nanmedian": fn(args=lambda g, x: g.maybe(g.dim(x), f"{g.dim(x)}, keepdim=True"), families=NUMBER, guard="distinct({x}, {dim})"),
    **_table("trapezoid trapz cumulative_trapezoid", fn("1+", lambda g, x: g.maybe("dx=0.5", f"dim={g.dim(x)}"), NUMBER)),
    "corrcoef": fn("1-2", families=NUMBER),
    "cov": fn("1-2", lambda g, x: g.maybe("correction=0"), NUMBER),
    "trace": fn(2),
    "dist": fn(args=lambda g, x: [g.same(x), *g.maybe("1.0", "0", "float('inf')", "3")], families=FLOAT),
    "pdist": fn(2, lambda g, x: g.maybe("1.0", "0.0", "float('inf')"), FLOAT),
    "diff": fn("1+", lambda g, x: g.maybe(f"dim={g.dim(x)}", "2", f"1, {g.dim(x)}", f"prepend={x}", f"dim={g.dim(x)}, append={x}", "n=0")),
    "normalize": fn("1+", lambda g, x: [f"dim={g.dim(x)}"] if g.rank(x) < 2 or g.chance(0.5) else g.maybe("1.0", "2.0, 1", "float('inf')", "p=3.0, eps=0.5"), FLOAT),
}  # fmt: skip

VIEWS = {
    **_table("reshape", fn(args=lambda g, x: [g.new_shape(x)])),
    "view": fn(args=lambda g, x: [g.new_shape(x)]),
    **_table("view_as reshape_as", fn(args=lambda g, x: [g.with_numel(x)])),
    "flatten": fn(args=lambda g, x: g.maybe("1", "0, 1", "start_dim=-2", "0, -1", "-2, -1", "end_dim=1", "0, 0", "1, 2")),
    "unflatten": fn("1+", lambda g, x: g.unflattened(x)),
    "squeeze": fn(args=lambda g, x: g.maybe(g.dim(x), g.dims(x))),
    "unsqueeze": fn(args=lambda g, x: [str(g.random.randint(-g.rank(x) - 1, g.rank(x)))]),
    **_table("transpose swapaxes swapdims", fn("1+", lambda g, x: [g.dim(x), g.dim(x)])),
    "permute": fn("1+", lambda g, x: g.order(x)),
    **_table("movedim moveaxis", fn("1+", lambda g, x: [g.pick("(0, 1)", "(-1, 0)"), g.pick("(1, 0)", "(-1, 0)", "(0, -1)")] if g.chance(0.3) else [g.dim(x), g.dim(x)])),
    "expand": fn(args=lambda g, x: [g.expansion(x)]),
    "broadcast_to": fn(args=lambda g, x: [f"({g.expansion(x)},)"]),
    "expand_as": fn(args=lambda g, x: [g.larger(x)]),
    "broadcast_tensors": fn(args=lambda g, x: [g.other(x, numbers=False)]),
    "narrow": fn("1+", lambda g, x: g.narrowed(x)),
    "select": fn("1+", lambda g, x: [d := g.dim(x), str(g.within(x, int(d)))]),
    "unbind": fn("1+", lambda g, x: [g.static_dim(x)]),
    **_table("split", fn("1+", lambda g, x: g.split(x))),
    "split_with_sizes": fn("1+", lambda g, x: g.split(x, always=True)),
    "chunk": fn("1+", lambda g, x: [g.pick("1", "2", "3"), g.static_dim(x)]),
    "tensor_split": fn("1+", lambda g, x: [g.pick("1", "2", "(1,)", "(1, 2)"), g.static_dim(x)]),
    "hsplit": fn("1+", lambda g, x: [g.pick("1", "2", "(1,)")]),
    "vsplit": fn("2+", lambda g, x: [g.pick("1", "2", "(1,)")]),
    "dsplit": fn("3+", lambda g, x: [g.pick("1", "(1,)")]),
    "as_strided": fn("1+", lambda g, x: g.strided(x)),
    "diagonal": fn("2+", lambda g, x: g.maybe("1", "-1", "0, -2, -1", "dim1=1, dim2=0", "2, -1, 0", "offset=-2")),
    "unfold": fn("1+", lambda g, x: [g.dim(x), g.pick("1", "2", "3"), g.pick("1", "2", "3")]),
    "detach": fn(),
}  # fmt: skip

COPIES = {
    "repeat": fn(args=lambda g, x: [", ".join(["1", "2"][g.chance(0.4)] for _ in range(g.rank(x) + g.chance(0.3))) or "2"]),
    "tile": fn(args=lambda g, x: [f"({g.pick('1', '2', '2, 1', '1, 2', '1, 1')},)"]),
    "roll": fn("1+", lambda g, x: ["(1, -2), (0, -1)"] if g.rank(x) > 1 and g.chance(0.2) else [g.pick("1", "-1", "2", "0", "7", "-5"), *g.maybe(g.dim(x))]),
    "flip": fn("1+", lambda g, x: [g.dims(x)]),
    "rot90": fn("2+", lambda g, x: g.maybe("1", "2", "-1, (1, 0)", "0", "k=3, dims=(0, -1)")),
    "diag": fn("1-2", lambda g, x: g.maybe("1", "-1")),
    "diagflat": fn(args=lambda g, x: g.maybe("1", "-1")),
    "vander": fn(1, lambda g, x: [g.pick("2", "3"), *g.maybe("increasing=True")], NUMBER),
    "combinations": fn(1, lambda g, x: g.maybe("2", "1", "with_replacement=True")),
    "unravel_index": fn(args=lambda g, x: f"{x} % 6, (2, 3)", families=("int",)),
    "fill": fn(args=lambda g, x: [g.number(x)]),
    "diag_embed": fn("1+", lambda g, x: g.maybe("1", "-1", "0, 0, 1", "dim1=0, dim2=-1", "1, -1, 0")),
    **_table("tril triu", fn("2+", lambda g, x: g.maybe("1", "-1", "diagonal=-2", "5", "-7"))),
    "repeat_interleave": fn(args=lambda g, x: [g.pick("1", "2", "3"), *g.maybe(g.dim(x))]),
    "meshgrid": fn(1, lambda g, x: f"{x}, {g.vector(x)}, indexing={g.pick(chr(39) + 'ij' + chr(39), chr(39) + 'xy' + chr(39))}"),
    "cartesian_prod": fn(1, lambda g, x: [g.vector(x)]),
    **_table("cat concat concatenate", fn("1+", lambda g, x: f"[{', '.join(g.joined(x))}], {g.joining_dim}")),
    "stack": fn(args=lambda g, x: f"[{', '.join([x, *g.alike(x)])}], {g.random.randint(-g.rank(x) - 1, g.rank(x))}"),
    **_table("hstack vstack row_stack dstack column_stack", fn(args=lambda g, x: f"[{', '.join([x, *g.alike(x)])}]")),
    "block_diag": fn("-2", lambda g, x: f"{', '.join([x, *g.alike(x)])}"),
    "channel_shuffle": fn(4, lambda g, x: [g.pick("1", "2")]),
    "pixel_shuffle": fn("3+", lambda g, x: [g.pick("1", "2")]),
    "pixel_unshuffle": fn("3+", lambda g, x: [g.pick("1", "2")]),
    "pad": fn("1+", lambda g, x: g.padding(x)),
}  # fmt: skip

PRODUCTS = {
    "dot": fn(1, lambda g, x: [g.of(g.shape(x), g.family(x))]),
    **_table("outer ger", fn(1, lambda g, x: [g.vector(x)])),
    "inner": fn("1+", lambda g, x: [g.of((*g.some_sizes(1), g.shape(x)[-1]))]),
    "mv": fn(2, lambda g, x: [g.of((g.shape(x)[1],), g.family(x))]),
    "mm": fn(2, lambda g, x: [g.of((g.shape(x)[1], g.size()), g.family(x))]),
    "matmul": fn("1+", lambda g, x: [g.of((g.shape(x)[-1], g.size()) if g.chance(0.6) else (g.shape(x)[-1],), g.family(x))]),
    "bmm": fn(3, lambda g, x: [g.of((g.shape(x)[0], g.shape(x)[2], g.size()))]),
    "addmm": fn("1-2", lambda g, x: [g.of(("n", k := g.size())), g.of((k, g.shape(x)[-1])), *g.maybe("beta=0.5", "alpha=2")]),
    "baddbmm": fn(3, lambda g, x: [g.of((g.shape(x)[0], g.shape(x)[1], k := g.size())), g.of((g.shape(x)[0], k, g.shape(x)[2]))]),
    "vdot": fn(1, lambda g, x: [g.of(g.shape(x), g.family(x))]),
    "kron": fn("-2", lambda g, x: [g.of(g.some_sizes(2), g.family(x))], NUMBER),
    "chain_matmul": fn(2, lambda g, x: [g.of((g.shape(x)[1], k := g.size()), g.family(x)), g.of((k, g.size()), g.family(x))]),
    "matrix_power": fn("2-3", lambda g, x: [g.pick("0", "1", "2", "3")], FLOAT),
    "addmv": fn(1, lambda g, x: [g.of((g.shape(x)[0], k := g.size())), g.of((k,)), *g.maybe("beta=0.5", "alpha=2")], FLOAT),
    "addr": fn(2, lambda g, x: [g.of((g.shape(x)[0],)), g.of((g.shape(x)[1],)), *g.maybe("beta=0.5", "alpha=2")], FLOAT),
    "addbmm": fn(2, lambda g, x: [g.of((b := g.size(), g.shape(x)[0], k := g.size())), g.of((b, k, g.shape(x)[1])), *g.maybe("alpha=2")], FLOAT),
    "einsum": fn("1-3", lambda g, x: g.einsum(x)),
    "tensordot": fn("1+", lambda g, x: [g.of((g.shape(x)[-1], g.size())), g.pick("1", "([-1], [0])", "dims=1")]),
    "cross": fn("1+", lambda g, x: [g.other(x, numbers=False), "dim=-1"]),
    "linear": fn("1+", lambda g, x: [g.of((n := g.size(), g.shape(x)[-1])), *([g.of((n,))] if g.chance(0.5) else [])]),
    "bilinear": fn("1+", lambda g, x: [x, g.of((g.size(), g.shape(x)[-1], g.shape(x)[-1]))]),
    "cdist": fn("2-3", lambda g, x: [g.of((*g.shape(x)[:-2], g.size(), g.shape(x)[-1])), *g.maybe("1.0", "p=2.0", "0.0", "float('inf')", "3.0")]),
    "pairwise_distance": fn("1+", lambda g, x: [g.same(x), *g.maybe("1.0", "keepdim=True", "float('inf'), 0.0, True", "eps=0.5")]),
    "cosine_similarity": fn("1+", lambda g, x: [g.same(x), g.dim(x), *g.seldom("eps=0.5")]),
}  # fmt: skip

INDEXING = {
    "gather": fn("1+", lambda g, x: g.gathered(x)),
    "take": fn("1+", lambda g, x: [g.indices(g.least_numel(x), negative=True)]),
    "take_along_dim": fn("1+", lambda g, x: (a := g.gathered(x)) and [a[1], a[0]]),
    "index_select": fn("1+", lambda g, x: [d := g.dim(x), g.indices(g.shape(x)[int(d)] or g.program_least)]),
    "masked_fill": fn(args=lambda g, x: [g.mask(x), g.number(x)]),
    "masked_select": fn("1+", lambda g, x: [g.mask(x)], wild=True),
    "where": fn(args=lambda g, x: f"{g.mask(x)}, {x}, {g.other(x)}"),
    "embedding": fn(args=lambda g, x: f"{x} % 4, {g.table(4)}", families=("int",)),
    "embedding_bag": fn(args=lambda g, x: f"{x} % 4, {g.table(4)}, mode={g.pick(chr(39) + 'sum' + chr(39), chr(39) + 'mean' + chr(39), chr(39) + 'max' + chr(39))}{g.pick('', ', padding_idx=1')}", rank=2, families=("int",)),
    "one_hot": fn(args=lambda g, x: f"{x} % 4, 4", families=("int",)),
    "searchsorted": fn(args=lambda g, x: f"T.tensor([-1.0, 0.0, 0.5, 2.0]), {x}{g.pick('', ', right=True', ', right=False', ', out_int32=True')}"),
    "bucketize": fn(args=lambda g, x: ["T.tensor([-1.0, 0.0, 0.5, 2.0])" if g.is_float(x) else "T.tensor([-1, 0, 2])", *g.maybe("right=True", "out_int32=True")]),
    "isin": fn(args=lambda g, x: [g.pick("T.tensor([1.0, 2.0])", "T.tensor([0.5])") if g.is_float(x) else g.pick("T.tensor([1, 2])", "1"), *g.seldom("invert=True", "assume_unique=False")]),
    "sort": fn("1+", lambda g, x: g.maybe(g.dim(x), f"{g.dim(x)}, descending=True", "descending=True", f"dim={g.dim(x)}, stable=True", "stable=True, descending=True"), guard="distinct({x}, {dim_or_last})"),
    "argsort": fn("1+", lambda g, x: g.maybe(g.dim(x), f"{g.dim(x)}, descending=True"), guard="distinct({x}, {dim_or_last})"),
    "topk": fn("1+", lambda g, x: [g.pick("1", "2"), g.dim(x), *g.maybe("largest=False", "False, True")], guard="distinct({x}, {1})"),
    "bincount": fn(1, lambda g, x: f"{x} % 5, minlength=5", ("int",)),
    "scatter": fn("1+", lambda g, x: g.scattered(x), guard="different({1}, {x}.shape[{0}], {0})"),
    "scatter_add": fn("1+", lambda g, x: g.scattered(x, numbers=False), NUMBER),
    "scatter_reduce": fn("1+", lambda g, x: [*g.scattered(x, numbers=False), g.pick("'sum'", "'prod'", "'mean'", "'amax'", "'amin'"),
                                             *g.maybe("include_self=False")], NUMBER),
    "index_add": fn("1+", lambda g, x: [*g.slices(x), *g.maybe("alpha=2")], NUMBER),
    "index_reduce": fn("1+", lambda g, x: [*g.slices(x), g.pick("'prod'", "'mean'", "'amax'", "'amin'"), *g.maybe("include_self=False")], NUMBER),
    "index_copy": fn("1+", lambda g, x: g.slices(x, unique=True)),
    "index_fill": fn("1+", lambda g, x: [d := g.dim(x), g.indices(g.shape(x)[int(d)] or g.program_least), g.number(x)]),
    "index_put": fn("1+", lambda g, x: [f"({(a := g.slices(x, 0))[1]},)", a[2], "True"], NUMBER),
    "masked_scatter": fn(args=lambda g, x: [g.mask(x), g.same(x)], guard="apart({x}, {0}) and apart({x}, {1})"),
    "put": fn("1+", lambda g, x: g.placed(x)),
    "select_scatter": fn("1+", lambda g, x: [f"{x}.select({(d := g.dim(x))}, {(i := g.within(x, int(d)))}){g.pick('', ' * 2', '.float()')}", d, str(i)]),
    "slice_scatter": fn("1+", lambda g, x: [f"{x}.narrow({(d := g.dim(x))}, 0, 1){g.pick('', '.clone()')}", d, "0", "1"]),
    "diagonal_scatter": fn("2+", lambda g, x: [f"{x}.diagonal({(a := g.pick('', 'offset=1', '0, -2, -1'))}) + {g.pick('0', '1')}", *([a] if a else [])]),
}  # fmt: skip


def _conv(rank: int, transposed: bool = False) -> Make:
    def args(g: Any, x: str) -> list[str]:
        channels, out = g.shape(x)[-rank - 1], g.size()
        kernel = tuple(g.random.choice((1, 2)) for _ in range(rank))
        weight = g.of(((channels, out) if transposed else (out, channels)) + kernel)
        bias = g.of((out,)) if g.chance(0.5) else "None"
        return [
            weight,
            bias,
            *g.maybe(
                "stride=2",
                "padding=1",
                "2, 1",
                "dilation=2",
                *(
                    ["2, 1, 1", "stride=2, output_padding=1"]
                    if transposed
                    else ["padding='same'", "2, 1, 2", "padding='valid'"]
                ),
            ),
        ]

    return args


def _pool(rank: int, *more: str) -> Make:
    return lambda g, x: [
        g.pick("1", "2", f"({', '.join(['2'] * (rank - 1) + ['1'])},)"),
        *g.maybe("1", "stride=2", "stride=1", *more),
    ]


NETWORK = {
    **{f"conv{n}d": fn(n + 2, _conv(n), FLOAT) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": fn(n + 2, _conv(n, True), FLOAT) for n in (1, 2, 3)},
    **{f"max_pool{n}d": fn(n + 2, _pool(n, "padding=0", "ceil_mode=True", "return_indices=True", "dilation=2", "stride=2, ceil_mode=True"), FLOAT) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": fn(n + 2, _pool(n, "ceil_mode=True", "count_include_pad=False", "1, 1, True, False", *(["divisor_override=3"] if n > 1 else [])), FLOAT) for n in (1, 2, 3)},
    **{f"lp_pool{n}d": fn(n + 2, lambda g, x: ["2.0", g.pick("1", "2"), *g.maybe("stride=1")], FLOAT) for n in (1, 2, 3)},
    **{f"adaptive_{k}_pool{n}d": fn(n + 2, lambda g, x: [g.pick("1", "2", "3")], FLOAT) for n in (1, 2, 3) for k in ("avg", "max")},
    "interpolate": fn("3-4", lambda g, x: g.resized(x), FLOAT),
    "upsample": fn("3-4", lambda g, x: [g.pick("scale_factor=2", "size=3", "scale_factor=1.5"), *g.maybe("mode='nearest'")], FLOAT),
    "upsample_nearest": fn("3-4", lambda g, x: ["scale_factor=2"], FLOAT),
    "upsample_bilinear": fn(4, lambda g, x: ["scale_factor=2"], FLOAT),
    "fold": fn(args=lambda g, x: f"{x}.mean() * {g.made((1, 4, 4))}, (4, 2), (2, 1), stride=(2, 1)", families=FLOAT),
    "grid_sample": fn(4, lambda g, x: [g.grid(x), "align_corners=" + g.pick("True", "False"), *g.maybe("mode='nearest'", "padding_mode='border'", "padding_mode='reflection'", "mode='bicubic'")], FLOAT),
    "affine_grid": fn(args=lambda g, x: f"{x}.mean() + {g.made((2, 2, 3))}, (2, 1, 3, 2), align_corners={g.pick('True', 'False')}", families=FLOAT),
    "batch_norm": fn("2+", lambda g, x: [g.of((c := g.shape(x)[1],)), g.of((c,), positive=True), *g.maybe(f"{g.of((c,))}, {g.of((c,))}", "eps=0.1")], FLOAT),
    "instance_norm": fn("3-4", lambda g, x: g.maybe("eps=0.1"), FLOAT),
    "layer_norm": fn("1+", lambda g, x: [f"({n},)" if isinstance(n := g.shape(x)[-1], int) else g.skip(), *g.maybe(f"{g.of((n,))}, {g.of((n,))}")], FLOAT),
    "rms_norm": fn("1+", lambda g, x: [f"({n},)" if isinstance(n := g.shape(x)[-1], int) else g.skip(), *g.maybe(g.of((n,)), "eps=0.1")], FLOAT),
    "group_norm": fn("2+", lambda g, x: [g.pick("1", "2"), *g.maybe("eps=0.1")], FLOAT),
    "local_response_norm": fn("3-4", lambda g, x: [g.pick("1", "2", "3"), *g.maybe("alpha=0.5", "0.5, 0.5, 2.0")], FLOAT),
    "scaled_dot_product_attention": fn("3-4", lambda g, x: g.attention(x), FLOAT, guard="scored({x}, {0})"),
    "multi_head_attention_forward": fn(3, lambda g, x: g.heads(x), FLOAT),
}  # fmt: skip


CREATION = {
    **_table("zeros_like ones_like", fn(args=lambda g, x: g.maybe("dtype=T.int64", "dtype=T.float32", "dtype=T.bool"))),
    "full_like": fn(args=lambda g, x: [g.number(x), *g.seldom("dtype=T.float32")]),
    "empty_like": fn(args=lambda g, x: []),
    **_table("new_zeros new_ones", fn(args=lambda g, x: [f"({g.sizes_text(x)})"])),
    "new_full": fn(args=lambda g, x: [f"({g.sizes_text(x)})", g.number(x)]),
    "new_empty": fn(args=lambda g, x: [f"({g.sizes_text(x)})"]),
    "new_tensor": fn(args=lambda g, x: [g.pick("[1.0, 2.0]", "[[1, 2], [3, 4]]", "3.5")]),
}

CASTS = {
    "to": fn(args=lambda g, x: [g.pick("T.float32", "T.int64", "T.int32", "T.bool", "T.float16", "dtype=T.float32", g.any_tensor(x))],
             guard="integral({x})"),
    "type": fn(args=lambda g, x: [g.pick("T.float32", "T.int64", "T.bool")], guard="integral({x})"),
    "type_as": fn(args=lambda g, x: [g.any_tensor(x)], guard="integral({x})"),
    **_table("float bool double half bfloat16", fn()),
    **_table("int long short char", fn(guard="integral({x})")),
    "byte": fn(guard="unsigned({x})"),
    **_table("cpu", fn()),
}  # fmt: skip

METHODS = {
    **_table("dim ndimension nelement", fn()),
    **_table("T mT H mH", fn("2")),
    "adjoint": fn("2+"),
    **_table("data real element_size is_complex is_signed", fn()),
    "is_same_size": fn(args=lambda g, x: [x]),
    "size": fn("1+", args=lambda g, x: [g.dim(x)]),
}

WRITES = {
    "copy_": fn(args=lambda g, x: [g.other(x, numbers=False, mixed=True)], guard="apart({x}, {0}) and holds({x}, {0})"),
    "fill_": fn(args=lambda g, x: [g.number(x)]),
    "zero_": fn(),
    # wrapped, torch counts in the memory of a contiguous matrix: of a view with gaps it writes beside it
    "fill_diagonal_": fn("2+", lambda g, x: [g.number(x), *g.maybe("wrap=True")], guard="{x}.is_contiguous()"),
    "masked_fill_": INDEXING["masked_fill"],
    "squeeze_": fn(args=lambda g, x: g.maybe(g.dim(x))),
    "unsqueeze_": VIEWS["unsqueeze"],
    "transpose_": VIEWS["transpose"],
    "t_": fn("-2"),
    "scatter_": INDEXING["scatter"],
    "detach_": fn(),
}

# functions without a first tensor: whole expressions
FRESH: dict[str, Callable[[Any], str]] = {
    "zeros": lambda g: f"T.zeros({g.made_shape()}{g.dtype_option()})",
    "ones": lambda g: f"T.ones({g.made_shape()}{g.dtype_option()})",
    "full": lambda g: f"T.full(({g.made_shape()},), {g.pick('2.5', '3', 'True')})",
    "empty": lambda g: f"T.empty({g.made_shape()}).fill_({g.pick('1.5', '0')})",
    "arange": lambda g: f"T.arange({g.pick('3', '2, 6', '0, 6, 2', '0.0, 1.5, 0.5', '5, 0, -2', g.extent_of_batch())})",
    "range": lambda g: f"T.range({g.pick('0, 3', '1, 4, 2')})",
    "linspace": lambda g: f"T.linspace({g.pick('0, 1, 3', '-2.0, 2.0, 5', '1, 1, 1')})",
    "logspace": lambda g: f"T.logspace({g.pick('0, 1, 3', '-1.0, 1.0, 3', '0, 2, 3, 2.0')})",
    "eye": lambda g: f"T.eye({g.pick('3', '2, 3', '3, 2', g.extent_of_batch())})",
    "tril_indices": lambda g: f"T.tril_indices({g.pick('3, 3', '2, 4', '3, 2, 1')})",
    "triu_indices": lambda g: f"T.triu_indices({g.pick('3, 3', '2, 4', '3, 2, 1')})",
    "tensor": lambda g: f"T.tensor({g.literal()})",
    "as_tensor": lambda g: f"T.as_tensor({g.literal()})",
    "asarray": lambda g: f"T.asarray({g.literal()})",
    "scalar_tensor": lambda g: f"T.scalar_tensor({g.pick('2', '2.5', 'True')})",
    **{
        f"{name}_window": lambda g, name=name: (
            f"T.{name}_window({g.pick('1', '4', '5')}, periodic={g.pick('True', 'False')})"
        )
        for name in ("bartlett", "blackman", "hamming", "hann", "kaiser")
    },
    "broadcast_shapes": lambda g: "T.ones(T.broadcast_shapes((3, 1), (1, 2)))",
    "sym_max": lambda g: "T.ones(T.sym_max(3, 2))",
    "sym_min": lambda g: "T.ones(T.sym_min(3, 2))",
}

TABLE: dict[str, Function] = {
    **UNARY, **ACTIVATIONS, **BINARY, **REDUCTIONS, **VIEWS, **COPIES, **PRODUCTS, **INDEXING, **NETWORK, **CREATION, **CASTS, **METHODS, **WRITES,
}  # fmt: skip

OPERATORS = {
    "__add__": "{x} + {y}", "__sub__": "{x} - {y}", "__mul__": "{x} * {y}", "__truediv__": "{x} / {y}",
    "__floordiv__": "{x} // {y}", "__mod__": "{x} % {y}", "__pow__": "{x} ** {e}", "__and__": "{x} & {y}",
    "__or__": "{x} | {y}", "__xor__": "{x} ^ {y}", "__lt__": "{x} < {y}", "__le__": "{x} <= {y}",
    "__gt__": "{x} > {y}", "__ge__": "{x} >= {y}", "__eq__": "{x} == {y}", "__ne__": "{x} != {y}",
    "__radd__": "{n} + {x}", "__rsub__": "{n} - {x}", "__rmul__": "{n} * {x}", "__rtruediv__": "{n} / {x}",
    "__rfloordiv__": "{n} // {x}", "__rmod__": "{n} % {x}", "__rpow__": "{n} ** {x}", "__rand__": "{n} & {x}",
    "__ror__": "{n} | {x}", "__rxor__": "{n} ^ {x}", "__lshift__": "{x} << {y}", "__rshift__": "{x} >> {y}", "__neg__": "-{x}", "__pos__": "+{x}", "__invert__": "~{x}",
    "__abs__": "abs({x})", "__len__": "T.ones(2) * len({x})", "__iter__": "[*{x}]",
    "__matmul__": "{x} @ {m}", "__rmatmul__": "{m} @ {x}",
}  # fmt: skip
AUGMENTED = {
    "__iadd__": "+=", "__isub__": "-=", "__imul__": "*=", "__itruediv__": "/=", "__ifloordiv__": "//=",
    "__imod__": "%=", "__ipow__": "**=", "__iand__": "&=", "__ior__": "|=", "__ixor__": "^=", "__ilshift__": "<<=",
    "__irshift__": ">>=",
}  # fmt: skip
NUMBERS = {
    "item": "{x}.reshape(-1)[0].item()", "tolist": "{x}.reshape(-1).tolist()[0]", "__float__": "float({x}.reshape(-1)[0])",
    "is_nonzero": "T.is_nonzero({x}.reshape(-1)[0])", "__int__": "int({x}.reshape(-1)[0])", "__bool__": "bool({x}.reshape(-1)[0])", "__index__": "int({x}.long().reshape(-1)[0])",
    "numpy": "float({x}.numpy().sum())", "__array__": "float({x}.numpy().max())",
}  # fmt: skip
COMPUTED = (
    "({x} * 2)", "{x}.abs()", "{x}.flip(0)", "T.stack([{x}, {x}])", "{x}.detach().t()", "{x}.clone().mul_(2)", "({x} > 0)",
    "{x}.amax(0)", "T.where({x} > 0, {x}, 1)", "{x}.reshape(-1).cumsum(0)", "{x}.reshape(-1)[1:]",
)  # fmt: skip
"""What a number is read of, in place of a parameter itself."""

KEYS = (
    "int",
    "negative",
    "slice",
    "step",
    "none",
    "ellipsis",
    "list",
    "indices",
    "mask",
    "run indices",
    "run mask",
    "mixed",
)

LEFT_OUT = {
    "random": "rand rand_like randn randn_like randint randperm bernoulli bernoulli_ multinomial cauchy_ exponential_ geometric_ "
    "gumbel_softmax log_normal_ normal normal_ poisson binomial randint_like random_ uniform_ rrelu_: every draw differs, so there is no one answer",
    "complex": "complex polar view_as_complex view_as_real fft: TensorRT has no complex numbers; they raise",
    "losses": "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy ctc_loss "
    "gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss "
    "nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss: they raise, a network computes none",
    "not torch's": "mark raw alias alias_of from_data assume_nonnegative cast getitem index layer name recorder relu6_ silu_: trtnet's own names for what torch's operators do",
    "no values": "promote_types stride is_contiguous itemsize nbytes is_sparse is_quantized is_meta is_nested device dtype is_cuda ndim shape "
    "requires_grad cuda pin_memory grad grad_fn is_cpu is_leaf is_mkldnn is_mps is_sparse_csr is_xla is_xpu requires_grad_ "
    "retain_grad retains_grad: attributes and places, "
    "tested where they are defined",
    "quantization": "dequantize fake_quantize_per_channel_affine fake_quantize_per_tensor_affine quantize_per_channel "
    "quantize_per_tensor: a rounding decides between two far numbers; tests/functional/test_quantization.py compares them",
    "functions of functions": "cond scan while_loop: take functions; tests/functional/test_control.py compares them",
    "recurrent": "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell: take many weights at once; "
    "tests/nn/test_rnn.py compares them",
    "another place of torch's": "rotary_embedding: torch has it in torch.onnx.ops; tests/layers/test_attention.py compares them",
    "host": "from_numpy: takes a NumPy array, which no program has",
}


def left_out() -> set[str]:
    return {name for reason in LEFT_OUT.values() for name in reason.split(":")[0].split()}


@functools.cache
def offered() -> tuple[str, ...]:
    """trtnet's public functions and methods, the operators of its tensors, and kinds of keys."""
    methods = {n for n in dir(Tensor) if not n.startswith("_")}
    operators = {n for n in dir(Tensor) if n in OPERATORS or n in AUGMENTED or n in NUMBERS}
    names = ({*trtnet.functional.__all__} | methods | operators) - left_out()
    return tuple(sorted(names)) + tuple(f"{f}[{k}]" for f in ("getitem", "setitem") for k in KEYS)


def entry(name: str) -> Function | None:
    """What a name takes; a name with an underscore at its end takes what the name without takes."""
    found = TABLE.get(name)
    return found or (TABLE.get(name[:-1]) if name.endswith("_") else None)


def missing() -> list[str]:
    """Names that trtnet offers and no program would call."""
    return [
        name
        for name in offered()
        if entry(name) is None and name not in FRESH and name not in OPERATORS | AUGMENTED | NUMBERS and "[" not in name
    ]


# whose results, if floating-point, carry no rounding of their own where the arguments' are the same
EXACT = {
    *words("""abs absolute ceil clone contiguous detach fix floor isfinite isinf isnan isneginf isposinf logical_not neg
    negative positive ravel relu relu6 sgn sign trunc atleast_1d atleast_2d atleast_3d frac fliplr flipud t msort
    bitwise_not argwhere nonzero unique unique_consecutive dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_alpha_dropout hardshrink threshold mul multiply maximum minimum fmax fmin logical_and logical_or
    logical_xor eq ne gt ge lt le greater greater_equal less less_equal not_equal bitwise_and bitwise_or
    bitwise_xor add sub subtract rsub clamp clip clamp_min clamp_max amax amin aminmax all any max min argmax
    argmin count_nonzero nan_to_num heaviside zero_ fill_ copy_ to type type_as float bool double half bfloat16
    int long short char byte cpu T mT H mH channel_shuffle pixel_shuffle pixel_unshuffle pad meshgrid
    cartesian_prod cat concat concatenate stack hstack vstack dstack column_stack repeat tile roll flip diag
    diag_embed tril triu repeat_interleave gather take take_along_dim index_select masked_fill masked_select where
    embedding one_hot sort argsort topk scatter max_pool1d max_pool2d max_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d squeeze_ unsqueeze_ transpose_ t_ detach_ hardtanh numel
    is_floating_point masked_scatter put select_scatter slice_scatter diagonal_scatter fill_diagonal_ block_diag dsplit
    row_stack diagflat combinations unravel_index fill adjoint conj resolve_conj resolve_neg real"""),
    *VIEWS, *CREATION,
}  # fmt: skip


def is_exact(name: str) -> bool:
    return name in EXACT or name.removesuffix("_") in EXACT or (name in OPERATORS and name not in (
        "__truediv__", "__rtruediv__", "__pow__", "__rpow__", "__matmul__", "__rmatmul__", "__mod__", "__rmod__",
        "__floordiv__", "__rfloordiv__",
    )) or name in ("__iadd__", "__isub__", "__imul__", "__iand__", "__ior__", "__ixor__") or "[" in name  # fmt: skip


SUMS = {
    *PRODUCTS, *words("""group_norm layer_norm instance_norm batch_norm rms_norm local_response_norm normalize sum nansum mean
    nanmean std var std_mean var_mean cumsum interpolate upsample upsample_bilinear grid_sample affine_grid fold __matmul__
    __rmatmul__ scaled_dot_product_attention multi_head_attention_forward lerp addcmul addcdiv gelu logaddexp
    logaddexp2 sinc"""),
    *(n for n in NETWORK if "conv" in n or "avg" in n),
}  # fmt: skip


def takes_out(name: str) -> bool:
    """Whether torch's function writes into a tensor that is given, by its documentation."""
    return "out=None" in (getattr(torch, name).__doc__ or "")


def forms(name: str) -> list[str]:
    """How a name is called: "T.", "F.", "." (a method), "p" (a property), "inplace=True"."""
    found = []
    if name == "vector_norm":
        return ["T.linalg."]
    public = name in trtnet.functional.__all__ and name != "unfold"  # of images: other arguments than the method's
    if public and callable(getattr(torch, name, None)) and name not in UNLIKE_TORCHS:
        found.append("T.")
    elif public and callable(getattr(torch.nn.functional, name, None)):
        found.append("F.")
    if hasattr(Tensor, name) and hasattr(torch.Tensor, name):
        found.append("p" if name in ("T", "mT", "H", "mH", "data", "real") else ".")
    if name in INPLACE_OPTION:
        found.append("inplace")
    return found


# torch.NAME takes other arguments than torch.nn.functional.NAME, or gives more; trtnet's are the latter
UNLIKE_TORCHS = frozenset(
    words("""dropout alpha_dropout feature_alpha_dropout batch_norm instance_norm embedding adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d embedding_bag""")
)
INPLACE_OPTION = frozenset(
    words("""celu elu hardsigmoid hardswish hardtanh leaky_relu mish relu relu6 selu silu threshold""")
)
