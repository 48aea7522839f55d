"""Functions that are made of others: products, statistics, areas, windows, bags; and what is asked of tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from families import check

import trtnet
import trtnet.functional as F
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, ShapeError, UnsupportedError

RNG = np.random.default_rng(11)
BATCH = Dim("batch", min=2, opt=3, max=8)
X = RNG.normal(size=(3, 4)).astype(np.float32)
SQUARE = RNG.normal(size=(3, 4, 4)).astype(np.float32)
WHOLE = RNG.integers(0, 9, (3, 4))
HOLES = np.where(RNG.random((3, 4)) > 0.6, np.nan, X).astype(np.float32)
HOLES[1] = np.nan

FUNCTIONS = {
    "addmv": (lambda T, x: (T.addmv(x[:, 0], x, x[0], beta=0.5, alpha=2), x[:, 1].addmv(x, x[1], beta=0)), X),
    "addr": (lambda T, x: (T.addr(x, x[:, 0], x[0], beta=0.5, alpha=2), (x * 1).addr_(x[:, 0], x[0])), X),
    "addbmm": (lambda T, x: (T.addbmm(x[0], x, x * 2, alpha=0.5), x[1].addbmm(x, x)), SQUARE),
    "vdot": (lambda T, x: (T.vdot(x[0], x[1]), x[0].vdot(x[0])), X),
    "chain_matmul": (lambda T, x: (T.chain_matmul(x, x.T, x), T.chain_matmul(x)), X),
    "matrix_power": (lambda T, x: tuple(T.matrix_power(x, n) for n in (0, 1, 2, 5)), SQUARE),
    "kron": (lambda T, x: (T.kron(x, x[:2, :1]), T.kron(x[0], x), x.kron(x[0, 0])), X),
    "kron of integers": (lambda T, x: (T.kron(x, x[:2, :1]),), WHOLE),
    "trace": (lambda T, x: (T.trace(x), x.trace()), X),
    "trace of integers": (lambda T, x: T.trace(x), WHOLE),
    "diagflat": (lambda T, x: (T.diagflat(x), x[0].diagflat(-1)), X),
    "dist": (lambda T, x: (T.dist(x, x[0]), x.dist(x * 2, 1), T.dist(x, x * 3, math.inf)), X),
    "cov": (lambda T, x: (T.cov(x), x.cov(correction=0), T.cov(x[0]), T.cov(x.T)), X),
    "corrcoef": (lambda T, x: (T.corrcoef(x), x[0].corrcoef()), X),
    "nanmedian": (lambda T, x: (T.nanmedian(x), x[0].nanmedian(0).values, *T.nanmedian(x, 0, True)), X),
    "trapezoid": (
        lambda T, x: (
            T.trapezoid(x), T.trapz(x, dx=0.5, dim=0), T.trapezoid(x, x[0] * 2), T.trapezoid(x, x * 3, dim=1),
            T.trapezoid(x, x[:, 0], dim=0),
        ),
        X,
    ),
    "cumulative_trapezoid": (
        lambda T, x: (T.cumulative_trapezoid(x), T.cumulative_trapezoid(x, x[0], dim=1)), X,
    ),
    "vander": (lambda T, x: (T.vander(x[0]), T.vander(x[0], 3), T.vander(x[:, 0], 2, increasing=True)), X),
    "vander of integers": (lambda T, x: (T.vander(x[0], N=1), T.vander(x[0].int(), 3), T.vander(x[0] > 3, 2)), WHOLE),
    "combinations": (
        lambda T, x: (T.combinations(x[0]), T.combinations(x[0], 3), T.combinations(x[0], with_replacement=True)), X,
    ),
    "unravel_index": (lambda T, x: (*T.unravel_index(x, (3, 3)), *T.unravel_index(x.int(), (9,))), WHOLE),
    "logaddexp2": (lambda T, x: (T.logaddexp2(x * 30, x[0]), x.logaddexp2(x), T.logaddexp2(x, x * -math.inf)), X),
    "ldexp": (lambda T, x: (T.ldexp(x, T.tensor([2, -1, 0, 5])), x.ldexp(T.tensor(3))), X),
    "fill": (lambda T, x: (T.fill(x, 2.5), T.fill(x > 0, True)), X),
    "adjoint": (lambda T, x: (T.adjoint(x), x.adjoint()), X),
    "index_reduce": (
        lambda T, x: tuple(
            T.index_reduce(x, 1, T.tensor([2, 0, 2]), x[:, :3] + 1, reduce, include_self=own)
            for reduce in ("prod", "mean", "amax", "amin")
            for own in (True, False)
        ),
        X,
    ),
    "functions in place": (
        lambda T, x: (T.abs_(x * 1), T.index_put_(x * 1, (T.tensor([1]),), x[0]), T.fill_(x * 1, 3)), X,
    ),
    "methods in place": (
        lambda T, x: (
            (x * 1).cumsum_(1), (x * 1).cumprod_(0), (x * 1).eq_(x[0]), (x * 1).gt_(0), (x * 1).addmm_(x, x.T @ x),
        ),
        X,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch.chain_matmul", "ignore:index_reduce")
@pytest.mark.parametrize("size", [3, BATCH])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name: str, size: object) -> None:
    function, values = FUNCTIONS[name]
    check(function, {"x": values}, {"x": (size, *values.shape[1:])}, rtol=2e-7, atol=2e-7)


PUBLIC = {
    "embedding_bag": lambda T, F, x, i: tuple(
        F.embedding_bag(i, x, mode=mode, **options)
        for mode in ("mean", "sum", "max")
        for options in ({}, {"padding_idx": 1}, {"padding_idx": -1})
    ),
    "weighted bags": lambda T, F, x, i: F.embedding_bag(i, x, mode="sum", per_sample_weights=x[:, :2]),
    "pdist": lambda T, F, x, i: (F.pdist(x.T[:4]), F.pdist(x.T[:4], 1.0)),
}


@pytest.mark.parametrize("size", [3, BATCH])
@pytest.mark.parametrize("name", PUBLIC)
def test_functions_of_functional(name: str, size: object) -> None:
    def function(T, x, i):
        return PUBLIC[name](T, T.nn.functional, x, i)

    sizes = {"x": (3, 4), "i": (size, 2)} if "bags" not in name else {"x": (size, 4), "i": (size, 2)}
    check(function, {"x": X, "i": np.array([[0, 2], [1, 1], [2, 1]])}, sizes)


@pytest.mark.parametrize("size", [3, BATCH])
def test_the_median_beside_nan(size: object) -> None:
    def function(T, x):
        return T.nanmedian(x), *(T.nanmedian(x, dim).values for dim in (0, 1)), x.nanmedian(1, True).values

    check(function, {"x": HOLES}, {"x": (size, 4)})
    graph = trtnet.record(lambda x: x.nanmedian(1), x=Input((size, 4)))
    values, places = trtnet.reference(graph)(x=HOLES)
    for row, value, place in zip(HOLES, values, places):
        assert row[place] == value or (math.isnan(value) and np.isnan(row).all())


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("length", [0, 1, 2, 5, 16])
def test_windows(name: str, periodic: bool, length: int) -> None:
    mine = getattr(trtnet, f"{name}_window")(length, periodic)
    wanted = getattr(torch, f"{name}_window")(length, periodic)
    assert mine.dtype is trtnet.float32
    np.testing.assert_allclose(mine.numpy(), wanted.numpy(), rtol=0, atol=1e-6)


def test_covariances_of_integers_are_float32() -> None:
    found, wanted = trtnet.cov(trtnet.tensor(WHOLE)), torch.cov(torch.from_numpy(WHOLE))
    assert found.dtype.torch is wanted.dtype
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)


def test_gumbel_softmax() -> None:
    graph = trtnet.record(
        lambda x: (F.gumbel_softmax(x, tau=0.5), F.gumbel_softmax(x, hard=True, dim=0)), x=Input((4000, 3))
    )
    logits = np.log(np.tile(np.array([0.2, 0.3, 0.5], np.float32), (4000, 1)))
    soft, hard = trtnet.reference(graph)(x=logits)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)
    shares = np.bincount(soft.argmax(1), minlength=3) / 4000
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.05)
    assert (hard.sum(0) == 1).all()
    assert set(np.unique(hard)) == {0, 1}
    assert F.gumbel_softmax(trtnet.zeros(2, 3), hard=True).sum().item() == 2


LAYOUTS = {
    "plain": lambda x: x * 1,
    "transposed": lambda x: (x * 1).transpose(0, 1),
    "stepped": lambda x: (x * 1)[:, ::2],
    "expanded": lambda x: (x * 1)[:, :1].expand(3, 5),
    "reshaped": lambda x: (x * 1).transpose(0, 1).reshape(-1, 2),
    "new dimension": lambda x: (x * 1).unsqueeze(1),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_strides(name: str) -> None:
    wanted = LAYOUTS[name](torch.from_numpy(X))
    asked = []

    def forward(x):
        made = LAYOUTS[name](x)
        asked.append((made.stride(), made.stride(-1), made.is_contiguous()))
        return made * 1

    trtnet.record(forward, x=Input((3, 4)))
    made = LAYOUTS[name](trtnet.tensor(X))
    asked.append((made.stride(), made.stride(-1), made.is_contiguous()))
    assert asked == [(wanted.stride(), wanted.stride(-1), wanted.is_contiguous())] * 2
    assert (made.element_size(), made.nbytes, made.itemsize) == (wanted.element_size(), wanted.nbytes, wanted.itemsize)


def test_strides_of_dynamic_sizes() -> None:
    def forward(x):
        y = x * 1
        assert y.stride() == (4, 1)
        assert y.transpose(0, 1).is_contiguous() is False
        assert y.unsqueeze(0).stride(0) == x.shape[0] * 4
        with pytest.raises(UnsupportedError, match="strides of this tensor are not known"):
            y.t().reshape(2, -1, 2).transpose(0, 1).stride()
        return y

    trtnet.record(forward, x=Input((BATCH, 4)))


def test_what_is_asked_of_tensors() -> None:
    x = trtnet.ones(2, 3)
    assert not trtnet.is_complex(x)
    assert trtnet.is_signed(x)
    assert not trtnet.is_signed(x > 0)
    assert trtnet.is_same_size(x, x * 2)
    assert not x.is_same_size(x.t())
    assert x.conj() is x
    assert x.real is x
    assert [x.is_sparse, x.is_quantized, x.is_meta, x.is_nested] == [False] * 4


REFUSED = {
    "trace(x[0])": (ShapeError, "trace takes a matrix"),
    "matrix_power(x, 2)": (ShapeError, "matrix_power takes square matrices"),
    "matrix_power(x, -1)": (UnsupportedError, "TensorRT inverts no matrices"),
    "cov(x, fweights=x)": (UnsupportedError, "cov takes no weights here"),
    "cov(x[None])": (ShapeError, "cov takes a matrix, or a vector"),
    "vander(x)": (ShapeError, "vander takes a vector"),
    "combinations(x)": (ShapeError, "combinations takes a vector"),
    "chain_matmul()": (ArgumentError, "chain_matmul of no matrices"),
    "functional.pdist(x[0])": (ShapeError, "pdist takes a matrix"),
    "functional.embedding_bag(x[0].long(), x)": (UnsupportedError, "embedding_bag takes bags of one size"),
    "functional.embedding_bag(x.long(), x, mode='min')": (ArgumentError, "embedding_bag has no such mode"),
    "index_reduce(x, 0, arange(2), x[:2], 'sum')": (ArgumentError, "index_reduce has no such reduction"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    kind, message = REFUSED[text]
    names = {name: getattr(trtnet, name) for name in trtnet.functional.__all__} | {"functional": F}
    for attempt in (
        lambda: trtnet.record(lambda x: (eval(text, names, {"x": x}), x * 1)[1], x=Input((3, 4))),
        lambda: eval(text, names, {"x": trtnet.ones(3, 4)}),
    ):
        with pytest.raises(kind) as caught:
            attempt()
        assert message in str(caught.value)


def test_a_dynamic_number_of_rows_has_no_pairs() -> None:
    with pytest.raises(UnsupportedError, match="pdist needs a dimension of fixed size"):
        trtnet.record(lambda x: F.pdist(x), x=Input((BATCH, 4)))


@pytest.mark.parametrize("values", [[254], [254, 254], [3, 200, 100]])
def test_the_ends_of_trapezoids_of_bytes_wrap_as_torchs(values: list[int]) -> None:
    for text in ("T.trapezoid(x)", "T.trapezoid(x, dx=2)", "T.cumulative_trapezoid(x)", "T.trapezoid(x, x)"):
        wanted = eval(text, {"T": torch, "x": torch.tensor(values, dtype=torch.uint8)})
        made = eval(text, {"T": trtnet, "x": trtnet.tensor(values, dtype=trtnet.uint8)})
        graph = trtnet.record(lambda x, t=text: eval(t, {"T": trtnet, "x": x}), x=trtnet.Input((len(values),), "uint8"))
        found = trtnet.reference(graph)(x=np.array(values, np.uint8))
        assert made.dtype == trtnet.float32
        assert made.tolist() == found.tolist() == wanted.tolist(), text


def test_trapezoids_of_what_is_not_finite_and_of_nothing() -> None:
    array = np.array([[np.inf, 1, 2], [3, np.nan, 4], [5, 6, -np.inf]], np.float32)
    for text in ("T.trapezoid(x)", "T.trapezoid(x[:, :1])", "T.trapezoid(x, dim=0)", "T.cumulative_trapezoid(x)"):
        wanted = eval(text, {"T": torch, "x": torch.from_numpy(array)})
        np.testing.assert_array_equal(eval(text, {"T": trtnet, "x": trtnet.tensor(array)}).numpy(), wanted.numpy())
        graph = trtnet.record(lambda x, t=text: eval(t, {"T": trtnet, "x": x}), x=trtnet.Input((BATCH, 3)))
        found = trtnet.reference(graph)(x=array)
        np.testing.assert_array_equal(found, wanted.numpy())
    nothing = trtnet.trapezoid(trtnet.zeros(0, 3, dtype=trtnet.int64), dim=0)
    assert (nothing.tolist(), nothing.dtype) == ([0, 0, 0], trtnet.int64)
    with pytest.raises(trtnet.errors.DtypeError, match="trapezoid takes numbers"):
        trtnet.trapezoid(trtnet.tensor([True]))


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_the_ends_of_windows_are_what_torchs_roundings_leave(name: str, dtype: str) -> None:
    for length in (2, 3, 5, 17):
        options = [{"periodic": False, "dtype": getattr(T, dtype)} for T in (torch, trtnet)]
        wanted = getattr(torch, f"{name}_window")(length, **options[0])
        made = getattr(trtnet, f"{name}_window")(length, **options[1])
        assert (made[0].item(), made[-1].item()) == (wanted[0].item(), wanted[-1].item())


def test_lgamma_at_its_poles_and_at_infinity() -> None:
    values = [0.0, -1.0, -2.0, -0.5, 0.5, 1e30, 3.4e38, math.inf, -math.inf, math.nan]
    wanted = torch.lgamma(torch.tensor(values))
    np.testing.assert_allclose(trtnet.lgamma(trtnet.tensor(values)).numpy(), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "text", ["T.ldexp(x, T.tensor([1]))", "T.ldexp(x[0], T.tensor(17))", "T.ldexp(x, T.tensor([-3, 1]))"]
)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_scaled_by_whole_numbers_keep_their_dtype(text: str, dtype: str) -> None:
    array = np.array([1.5, -3e-5], dtype)
    wanted = eval(text, {"T": torch, "x": torch.from_numpy(array)})
    made = eval(text, {"T": trtnet, "x": trtnet.tensor(array)})
    graph = trtnet.record(lambda x: eval(text, {"T": trtnet, "x": x}), x=trtnet.Input((2,), dtype))
    found = trtnet.reference(graph)(x=array)
    assert made.numpy().dtype == found.dtype == wanted.numpy().dtype
    assert made.tolist() == found.tolist() == wanted.tolist()


def test_scaling_does_not_overflow_on_its_way() -> None:
    array = np.array([1e-30, 1e30], np.float32)
    wanted = torch.ldexp(torch.from_numpy(array), torch.tensor([140, -140]))
    graph = trtnet.record(lambda x: trtnet.ldexp(x, trtnet.tensor([140, -140])), x=trtnet.Input((2,)))
    np.testing.assert_allclose(trtnet.reference(graph)(x=array), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_norms_of_half_precision_do_not_underflow(order: float) -> None:
    array = np.array([[1e-3, 2e-4], [6e-5, 6e-8]], np.float16)
    graph = trtnet.record(
        lambda x: (x.norm(order, 1), F.pairwise_distance(x, x, order), trtnet.linalg.vector_norm(x, order)),
        x=trtnet.Input((2, 2), "float16"),
    )
    x = torch.from_numpy(array)
    wanted = (x.norm(order, 1), torch.pairwise_distance(x, x, order), torch.linalg.vector_norm(x, order))
    for found, theirs in zip(trtnet.reference(graph)(x=array), wanted):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, theirs.numpy(), rtol=2e-3, atol=1e-7)
    np.testing.assert_allclose(trtnet.tensor(array).norm(order, 1).numpy(), wanted[0].numpy(), rtol=2e-3, atol=1e-7)


def test_bilinear_of_concrete_tensors() -> None:
    a, b, weight = (np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((4, 3), (4, 2), (5, 3, 2)))
    wanted = torch.nn.functional.bilinear(*map(torch.from_numpy, (a, b, weight)))
    made = F.bilinear(*map(trtnet.tensor, (a, b, weight)))
    np.testing.assert_allclose(made.numpy(), wanted.numpy(), rtol=1e-5)
