"""Reductions, running sums, sorting: random dimensions against torch, their dtypes, and their errors."""

import numpy as np
import pytest
import torch
from families import check, check_concrete, shapes, values
from harness import lower_and_compare
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError

BATCH = Dim("batch", min=1, opt=4, max=8)
N = Dim("n", min=4, opt=6, max=9)


def draw_dims(data, rank):
    """One dimension, several, or all; in torch's forms."""
    axis = st.integers(-rank, rank - 1)
    several = st.lists(st.integers(0, rank - 1), min_size=1, unique=True).map(tuple)
    return data.draw(axis), data.draw(st.none() | axis | several), data.draw(st.booleans())


@given(shapes(), st.data())
def test_of_floats(given_shape, data) -> None:
    sizes, recorded = given_shape
    axis, dims, keep = draw_dims(data, len(sizes))
    some = dims if dims is not None else tuple(range(len(sizes)))

    def function(T, x):
        return (
            x.sum(), x.sum(dims, keep), T.sum(x, dim=dims, keepdim=keep), x.mean(), x.mean(dims, keepdim=keep),
            T.mean(x, axis), x.prod(),
            x.prod(axis, keep), x.amax(some, keep), T.amin(x, some), x.amax(), x.max(), x.min(), x.norm(),
            x.norm(2, some, keep),
            x.norm(1, axis), x.norm(float("inf"), some), x.norm(float("-inf"), axis, keep), x.norm(p=4, dim=axis),
            x.norm(0, axis),
            T.norm(x, 2, axis, True), x.logsumexp(some, keep), T.logsumexp(x, axis), (x > 0).any(axis, keep),
            (x > 0).all(), x.any(), x.all(axis),
            x.count_nonzero(), T.count_nonzero(x, axis), x.cumsum(axis), x.nansum(axis), T.nanmean(x, axis, keep),
            x.sum(axis=axis),
        )  # fmt: skip

    check(function, {"x": values(sizes)}, {"x": recorded}, compile=data.draw(st.booleans()), rtol=1e-8)


@given(shapes(), st.data())
def test_spread(given_shape, data) -> None:
    sizes, recorded = (tuple(s + 1 for s in shape) for shape in given_shape)
    axis, dims, keep = draw_dims(data, len(sizes))
    correction = data.draw(st.integers(0, 1))

    def function(T, x):
        return (
            x.var(), x.var(axis), x.var(axis, False, keep), x.var(dims, keepdim=keep),
            T.var(x, dims, correction=correction, keepdim=keep),
            x.std(), x.std(axis, unbiased=True), T.std(x, axis, keepdim=keep), x.var(False),
            x.std(dims, correction=correction),
            *T.var_mean(x, axis, keepdim=keep), *T.std_mean(x, axis), *T.var_mean(x),
        )  # fmt: skip

    check(function, {"x": values(sizes)}, {"x": recorded}, compile=data.draw(st.booleans()), rtol=1e-6)


@given(shapes(), st.sampled_from(["int64", "int32", "bool"]), st.data())
def test_of_integers_and_bools(given_shape, dtype, data) -> None:
    sizes, recorded = given_shape
    axis, dims, keep = draw_dims(data, len(sizes))
    some = dims if dims is not None else tuple(range(len(sizes)))

    def function(T, x):
        made = [
            x.sum(), x.sum(dims, keep), x.prod(axis), x.amax(some, keep), x.amin(axis), x.max(), x.any(axis),
            x.all(axis, keep), x.cumsum(axis),
            x.count_nonzero(axis), x.sum(dtype=T.int32), x.sum(axis, dtype=T.float32).to(T.int64),
            x.mean(axis, dtype=T.float32) > 0.25,
        ]  # fmt: skip
        return made

    check(function, {"x": values(sizes, dtype)}, {"x": recorded}, compile=data.draw(st.booleans()))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float32"])
def test_all_and_any_of_uint8_are_uint8(dtype: str) -> None:
    a = np.array([[0, 1], [2, 0], [3, 4]]).astype(dtype)

    def call(x):
        return x.any(), x.all(1), x.any(0, keepdim=True), x.all()

    for spec in ((3, 2), (Dim("n", 1, 3, 4), 2)):
        graph = trtnet.record(call, x=Input(spec, dtype))
        lower_and_compare(graph)
        for found in (trtnet.reference(graph)(a), [r.numpy() for r in call(trtnet.tensor(a))]):
            wanted = [r.numpy() for r in call(torch.from_numpy(a))]
            assert [(r.dtype, r.tolist()) for r in found] == [(r.dtype, r.tolist()) for r in wanted]


@given(shapes(), st.sampled_from(["float32", "int64", "int32"]), st.data())
def test_largest_and_smallest(given_shape, dtype, data) -> None:
    sizes, recorded = given_shape
    axis, _, keep = draw_dims(data, len(sizes))
    k = data.draw(st.integers(1, sizes[axis]))
    largest = data.draw(st.booleans())
    # distinct, so that there is one order
    x = np.random.default_rng(1).permutation(int(np.prod(sizes))).reshape(sizes).astype(dtype) - 3

    def function(T, x):
        both, smallest = x.max(axis, keep), T.min(x, dim=axis, keepdim=keep)
        found, where = x.max(axis)
        return (
            both.values, both.indices, both[0], both[1], *smallest, found, where, x.argmax(), x.argmin(),
            x.argmax(axis, keep), T.argmin(x, axis),
            *x.topk(k, axis, largest), T.topk(x, k, dim=axis).values, *x.sort(axis, largest),
            x.sort(descending=True)[1], x.argsort(axis),
            T.argsort(x, axis, descending=largest), T.max(x, -x), T.min(x, x * 2), x.max(x - 1), *T.aminmax(x),
            T.msort(x),
            *x.aminmax(dim=axis, keepdim=keep), x.argmax(keepdim=True),
        )  # fmt: skip

    check(function, {"x": x}, {"x": recorded}, compile=data.draw(st.booleans()))


def test_values_alone_are_a_reduction_and_indices_a_top_k() -> None:
    def kinds(function):
        return [layer.kind for layer in trtnet.record(function, x=Input((BATCH, 5))).layers]

    assert kinds(lambda x: x.max(1).values) == ["reduce"]
    assert kinds(lambda x: x.max(1, keepdim=True)[0]) == ["reduce"]
    assert kinds(lambda x: x.max(1).indices) == ["topk", "cast", "shuffle", "shuffle"]
    assert kinds(lambda x: tuple(x.min(1, keepdim=True))) == ["topk", "cast"]
    assert len(trtnet.record(lambda x: x.max(1), x=Input((BATCH, 5))).outputs) == 2
    assert trtnet.zeros(2, 3).max(1)._fields == ("values", "indices")


def test_top_k_of_many_dimensions_and_of_a_dim() -> None:
    def function(T, x, y):
        n = y.shape[1]
        return (
            *x.topk(2, 0), *x.sort(1), x.argmax(0), y.topk(n // 2, 1).values,
            *y.sort(1, descending=True), y[0].argmax(), *y[0].topk(2), *y.T.max(0),
        )  # fmt: skip

    arrays = {
        "x": np.random.default_rng(2).permutation(96).reshape(3, 2, 2, 2, 4).astype(np.float32),
        "y": values((3, 6)),
    }
    check(function, arrays, {"x": (Dim("b", 2, 3, 4), 2, 2, 2, 4), "y": (BATCH, N)})


def test_ties_are_the_first_in_the_reference() -> None:
    x = np.array([[1, 3, 3, 0], [2, 2, 1, 2]], np.float32)
    check_concrete(lambda T, x: (x.argmax(1), x.argmin(1), x.argmax(), x.max(1)[1]), x)
    graph = trtnet.record(lambda x: x.argmax(1), x=Input((2, 4)))
    assert trtnet.reference(graph)(x=x).tolist() == [1, 0]


def test_infinities() -> None:
    rows = np.array([[-np.inf, -np.inf], [1, np.inf], [-np.inf, 2], [1e38, 3e38]], np.float32)
    check(lambda T, x: (x.logsumexp(1), x.logsumexp((0, 1)), x.max(), x.amin(1)), {"x": rows})
    holes = np.array([[np.nan, 1], [np.nan, np.nan], [2, 3]], np.float32)
    check(lambda T, x: (x.nansum(1), T.nanmean(x[2:], 1), x.nansum()), {"x": holes})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_compile(dtype: str) -> None:
    def forward(x):
        return (
            x.sum(1),
            x.mean(),
            x.var(1),
            x.std(0),
            x.logsumexp(1),
            x.cumsum(1),
            *x.topk(2),
            x.norm(dim=1),
            x.max(1).values,
            x.prod(1),
        )

    graph = trtnet.record(forward, x=Input((BATCH, 5), dtype))
    assert {str(t.dtype) for t in graph.outputs.values()} == {dtype, "int64"}
    lower_and_compare(graph)
    found = trtnet.reference(graph)(x=trtnet.tensor(values((3, 5)), dtype=dtype))
    wanted = torch.from_numpy(values((3, 5))).to(getattr(torch, dtype)).double()
    np.testing.assert_allclose(np.asarray(found[2].numpy(), np.float64), wanted.var(1).numpy(), rtol=0.03)
    np.testing.assert_allclose(np.asarray(found[4].numpy(), np.float64), wanted.logsumexp(1).numpy(), rtol=0.03)


def test_no_dimensions() -> None:
    def function(T, x):
        s = x.sum()
        return s.sum(), s.mean(), s.max(), s.sum(0), s.amax(-1), s.logsumexp(0), s.cumsum(0), s.all()

    check(function, {"x": values((3,))})


def _error(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return str(caught.value)


def test_errors() -> None:
    x, i = Input((BATCH, 5)), Input((BATCH, 5), "int64")
    text = _error(DtypeError, r"mean\(\): the input must be of a floating-point dtype", lambda i: i.mean(), i=i)
    assert "int64" in text
    assert "x.float().mean()" in text
    with pytest.raises(DtypeError, match="mean"):
        trtnet.arange(3).mean()
    _error(ShapeError, "there is no dimension 2", lambda x: x.sum(2), x=x)
    _error(ShapeError, "named twice", lambda x: x.sum((0, -2)), x=x)
    _error(DtypeError, "var takes floating-point", lambda i: i.var(), i=i)
    _error(UnsupportedError, "no running products over so many", lambda x: x.cumprod(1), x=Input((2, 1025)))
    _error(UnsupportedError, "order of equal elements", lambda x: x.sort(1, stable=True), x=x)
    text = _error(UnsupportedError, "at most 3840", lambda x: x.sort(1), x=Input((2, 4000)))
    assert "k = 4000" in text
    _error(UnsupportedError, "at most 3840", lambda x: x.sort(0), x=Input((Dim("n", 1, 5, 5000), 2)))
    _error(ShapeError, "k = 6 is larger than the dimension of size 5", lambda x: x.topk(6), x=x)
    text = _error(ShapeError, "k = 3 is larger than the dimension of size batch", lambda x: x.topk(3, 0), x=x)
    assert "batch >= 3" in text
    _error(UnsupportedError, "nuclear", lambda x: x.norm("nuc"), x=x)
    _error(ShapeError, "nothing has no maximum", lambda x: x[:, :0].amax(1), x=x)
    _error(DtypeError, "reduce layer does not take float8", lambda x: x.amax(1), x=Input((2, 3), "float8_e4m3fn"))
    with pytest.raises(ArgumentError, match="topk: k is out of range"):
        trtnet.ones(3).topk(4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("correction", [1, 2, 3])
@pytest.mark.parametrize("dynamic", [False, True])
def test_variances_of_fewer_numbers_than_the_correction(correction, count, dtype, dynamic) -> None:
    x = np.arange(count, dtype=dtype)
    graph = trtnet.record(
        lambda x: x.var(0, correction=correction) * 1,
        x=trtnet.Input((trtnet.Dim("n", 1, 2, 4) if dynamic else count,), dtype),
    )
    wanted = torch.from_numpy(x).var(0, correction=correction).numpy()
    np.testing.assert_allclose(trtnet.reference(graph)(x), wanted, rtol=1e-3)
