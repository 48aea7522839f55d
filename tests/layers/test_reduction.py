"""Reduce, top-k and cumulative layers: every operation, and what older TensorRTs get in place of running sums."""

import numpy as np
import pytest
import torch
from families import values
from harness import lower_and_compare, needs_rtx
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ProviderError, ShapeError, UnsupportedError
from trtnet.graph.recorder import emit
from trtnet.layers.reduction import REDUCTIONS, Cumulative, Reduce, TopK

BATCH = Dim("batch", min=1, opt=4, max=8)
NUMPY = {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min, "AVG": np.mean}


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "int32"])
def test_reduce(op, dtype) -> None:
    if op == "AVG" and "int" in dtype:
        with pytest.raises(DtypeError, match="an average is a floating-point number"):
            trtnet.record(lambda x: emit(Reduce((x,), op, (1,))), x=Input((2, 3), dtype))
        return
    x = (values((3, 2, 4)) * 2).astype(dtype)

    def function(x):
        return emit(Reduce((x,), op, (1,))), emit(Reduce((x,), op, (0, 2), True)), emit(Reduce((x,), op, (0, 1, 2)))

    graph = trtnet.record(function, x=Input((BATCH, 2, 4), dtype))
    lower_and_compare(graph)
    for found, axes, keep in zip(trtnet.reference(graph)(x=x), ((1,), (0, 2), (0, 1, 2)), (False, True, False)):
        wanted = NUMPY[op](x.astype(np.float64), axis=axes, keepdims=keep)
        np.testing.assert_allclose(
            found, wanted, rtol=1e-2 if dtype == "float16" else 1e-5, atol=1e-2 if dtype == "float16" else 1e-6
        )
        assert found.dtype == dtype


@pytest.mark.parametrize("op", ["MAX", "MIN"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "int32"])
def test_top_k(op, dtype) -> None:
    def function(x):
        return *emit(TopK((x,), op, 3, (2,))), *emit(TopK((x,), op, x.shape[0], (0,))), *emit(TopK((x,), op, 1, (1,)))

    graph = trtnet.record(function, x=Input((BATCH, 4, 5), dtype))
    lower_and_compare(graph)
    x = np.random.default_rng(0).permutation(60).reshape(3, 4, 5)
    found = trtnet.reference(graph)(x=trtnet.tensor(x, dtype=dtype))
    for k, axis, result, where in ((3, 2, found[0], found[1]), (3, 0, found[2], found[3]), (1, 1, found[4], found[5])):
        wanted = torch.from_numpy(x).topk(k, axis, op == "MAX")
        np.testing.assert_array_equal(result.numpy().astype(np.int64), wanted.values.numpy())
        np.testing.assert_array_equal(where.numpy(), wanted.indices.numpy())
        assert where.dtype is dtypes.int32


def _running(x: np.ndarray, axis: int, exclusive: bool, reverse: bool) -> np.ndarray:
    turned = np.flip(x, axis) if reverse else x
    sums = turned.cumsum(axis) - (turned if exclusive else 0)
    return np.flip(sums, axis) if reverse else sums


@given(
    st.integers(0, 2), st.booleans(), st.booleans(), st.sampled_from(["float32", "int64", "int32"]), st.integers(1, 3)
)
def test_cumulative_and_what_it_is_composed_of(axis, exclusive, reverse, dtype, rank) -> None:
    axis %= rank
    sizes = (3, 4, 2)[:rank]
    x = (values(sizes) * 4).astype(dtype)

    def function(x):
        layer = Cumulative((x,), axis, exclusive=exclusive, reverse=reverse)
        return emit(layer), layer.compose(F, x)

    recorded = (BATCH, Dim("n", 1, 4, 6), 2)[:rank]
    graph = trtnet.record(function, x=Input(recorded, dtype))
    assert [layer.kind for layer in graph.layers].count("cumulative") == 1
    lower_and_compare(graph, compile=axis == 1)
    wanted = _running(x.astype(np.float64), axis, exclusive, reverse)
    for found in trtnet.reference(graph)(x=x):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        assert found.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums_that_are_composed_keep_whole_numbers_and_what_is_no_number(dtype, reverse) -> None:
    x = np.array([[1, 2, np.nan, 3, 4], [5, np.inf, 6, 7, 8]], np.float32)
    if dtype == "int64":
        x = np.array([[2**24, 1, 2**33, 1, 3]], np.int64)
    x = x.astype(dtype)
    graph = trtnet.record(lambda x: Cumulative((x,), 1, reverse=reverse).compose(F, x), x=Input(x.shape, dtype))
    turned = x[:, ::-1] if reverse else x
    wanted = turned.cumsum(1, dtype=x.dtype)
    np.testing.assert_array_equal(trtnet.reference(graph)(x=x), wanted[:, ::-1] if reverse else wanted)


def _error(kind, match, function, spec):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, x=spec)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


def test_refused() -> None:
    x = Input((2, 3))
    _error(ArgumentError, "no such reduction", lambda x: emit(Reduce((x,), "MEDIAN", (0,))), x)
    _error(
        DtypeError,
        "a reduce layer does not take bool",
        lambda x: emit(Reduce((x,), "SUM", (0,))),
        Input((2, 3), "bool"),
    )
    _error(
        DtypeError,
        "a top-k layer does not take bool",
        lambda x: emit(TopK((x,), "MAX", 1, (0,))),
        Input((2, 3), "bool"),
    )
    _error(
        ShapeError,
        "one of the last four dimensions",
        lambda x: emit(TopK((x,), "MAX", 1, (0,))),
        Input((2, 1, 1, 1, 3)),
    )
    _error(ShapeError, "of at least two", lambda x: emit(TopK((x,), "MAX", 1, (0,))), Input((2,)))
    _error(ShapeError, "k = 4 is larger", lambda x: emit(TopK((x,), "MAX", 4, (1,))), x)
    _error(UnsupportedError, "3840", lambda x: emit(TopK((x,), "MAX", 3841, (1,))), Input((2, 4000)))
    _error(DtypeError, "does not take int8", lambda x: emit(Cumulative((x,), 0)), Input((2, 3), "int8"))


# --- top-k of whole numbers, which TensorRT 8.6 does not take


def ranks_floats_alone(monkeypatch, graph):
    """The graph as it is lowered for 8.6."""
    found = needs_rtx()
    monkeypatch.setattr(found, "activates_integers", False)
    lowered = graph.for_provider(found)
    kinds = [layer for layer in lowered.layers if isinstance(layer, TopK)]
    assert all(layer.inputs[0].dtype is dtypes.float32 for layer in kinds)
    return lowered, len(kinds)


@pytest.mark.parametrize("rows", [3, Dim("rows", min=1, opt=3, max=5)])
def test_one_of_whole_numbers_is_exact_and_the_first(monkeypatch, rows):
    x = np.array([[1, 2**30 + 1, 2**30 + 1, -5], [-1, -(2**31), -1, -(2**31)], [0, 0, 0, 0]], np.int32)
    graph = trtnet.record(
        lambda x: (x.argmax(1), x.argmin(0), *trtnet.max(x, 1), x.long().argmin(-1), trtnet.max(x, 0)[1]),
        x=Input((rows, 4), "int32"),
    )
    lowered, count = ranks_floats_alone(monkeypatch, graph)
    assert count == 0
    lower_and_compare(lowered)
    t = torch.from_numpy(x)
    wanted = (t.argmax(1), t.argmin(0), *t.max(1), t.argmin(-1), t.max(0).indices)
    for mine, theirs in zip(trtnet.reference(lowered)(x), wanted, strict=True):
        assert np.array_equal(mine, theirs.numpy())
        assert mine.dtype == theirs.numpy().dtype


def test_several_of_whole_numbers_that_float32_holds(monkeypatch):
    x, image = values((3, 5), seed=2) * 4, np.arange(15, dtype=np.uint8).reshape(3, 5) * 17
    graph = trtnet.record(
        lambda x, image: (
            x.int().topk(2, 1).values, (x > 0).int().topk(2, 1).values, *image.topk(3, 1),
            x.argsort(1).topk(2, 1).values,
        ),
        x=Input((3, 5)), image=Input((3, 5), "uint8"),
    )  # fmt: skip
    lowered, count = ranks_floats_alone(monkeypatch, graph)
    assert count >= 5
    lower_and_compare(lowered)
    t, i = torch.from_numpy(x), torch.from_numpy(image)
    wanted = (
        t.int().topk(2, 1).values, (t > 0).int().topk(2, 1).values, *i.topk(3, 1),
        t.argsort(1).topk(2, 1).values,
    )  # fmt: skip
    for mine, theirs in zip(trtnet.reference(lowered)(x=x, image=image), wanted, strict=True):
        assert np.array_equal(mine, theirs.numpy())


@pytest.mark.parametrize("k", [2, 5])
def test_several_of_other_whole_numbers_are_refused(monkeypatch, k):
    refused = "of floats alone, or of whole numbers that float32 holds exactly"
    graph = trtnet.record(lambda x: x.topk(k, 1).values, x=Input((3, 5), "int32"))
    with pytest.raises(ProviderError, match=refused) as caught:
        ranks_floats_alone(monkeypatch, graph)
    assert caught.value.where.file == __file__
    assert "x.float()" in caught.value.remedy
    ranks_floats_alone(monkeypatch, trtnet.record(lambda x: x.float().topk(k, 1).values, x=Input((3, 5), "int32")))


@pytest.mark.parametrize("reverse", [False, True])
def test_what_comes_before_an_element_knows_nothing_of_it(reverse) -> None:
    given = np.array([[1e-3, 3e8, 2.0], [1.0, np.inf, 5.0], [2.0, np.nan, 1.0]], np.float32)
    if reverse:
        given = given[:, ::-1].copy()

    def both(x):
        layer = Cumulative((x,), 1, exclusive=True, reverse=reverse)
        return emit(layer), layer.compose(F, x)

    wanted = np.array([[0, 1e-3, 3e8], [0, 1.0, np.inf], [0, 2.0, np.nan]], np.float32)
    for found in trtnet.reference(trtnet.record(both, x=Input((3, 3))))(given):
        np.testing.assert_array_equal(found[:, ::-1] if reverse else found, wanted)
