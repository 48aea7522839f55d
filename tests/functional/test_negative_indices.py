"""Recorded indices that may be negative: counted from the end where torch does, refused where it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, ProviderError, ShapeError
from trtnet.layers.elementwise import Select

X = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
INDEX = np.array([-1, 0, -3], np.int64)
OTHER = np.array([3, -4, -1], np.int64)


def put(T, x, key, value):
    x = x * 1
    x[key] = value
    return x


COUNTED = {
    "x[i]": lambda T, x, i, j: x[i],
    "x[:, j]": lambda T, x, i, j: x[:, j],
    "x[i, j]": lambda T, x, i, j: x[i, j],
    "x[i, :, i]": lambda T, x, i, j: x[i, :, i % 2 - 1],
    "x[..., i // 3]": lambda T, x, i, j: x[..., i // 3],
    "x[i[:, None], j]": lambda T, x, i, j: x[i[:, None], j],
    "x[i, 1]": lambda T, x, i, j: x[i, 1],
    "x[[0, -1, 1], j]": lambda T, x, i, j: x[[0, -1, 1], j],
    "x[i[0]]": lambda T, x, i, j: x[i[0]],
    "select": lambda T, x, i, j: x.select(1, j[1]),
    "take": lambda T, x, i, j: T.take(x, i.long() * 8 + 1),
    "take of a constant": lambda T, x, i, j: T.take(x, T.tensor([-1, 5, -24])) * i[0],
    "take_along_dim": lambda T, x, i, j: T.take_along_dim(x, i.long().reshape(3, 1, 1), 0),
    "take_along_dim of a constant": lambda T, x, i, j: (
        T.take_along_dim(x, T.tensor([-1, 0]).reshape(1, 2, 1), 1) * i[0]
    ),
    "x[i] = v": lambda T, x, i, j: put(T, x, i[:1], 5.0),
    "x[:, j] = v": lambda T, x, i, j: put(T, x, (slice(None), j), -1.0),
    "x[i, j] = v": lambda T, x, i, j: put(T, x, (i, j), 7.0),
}


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", COUNTED)
def test_counted_from_the_end(name, dynamic, dtype):
    shapes = {"x": (Dim("rows", 3, 3, 6), 4, 2), "i": (3,), "j": (3,)} if dynamic else None
    body = COUNTED[name]
    check_against_torch(
        lambda x, i, j: body(trtnet, x, i, j),
        lambda x, i, j: body(torch, x, i, j),
        {"x": X, "i": INDEX.astype(dtype), "j": OTHER.astype(dtype)},
        shapes=shapes,
    )


def test_a_dynamic_size_is_added_at_each_call():
    graph = trtnet.record(lambda x, i: x[i], x=Input((Dim("n", 1, 4, 9), 2)), i=Input((2,), "int64"))
    engine = trtnet.reference(graph)
    for n in (1, 5, 9):
        x = np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32)
        index = np.array([-1, -n])
        assert np.array_equal(engine(x, index), x[index])


def selects(function, **inputs):
    graph = trtnet.record(function, **inputs)
    lower_and_compare(graph, compile=all(layer.kind != "non_zero" for layer in graph.layers))  # TensorRT-RTX lacks it
    return sum(isinstance(layer, Select) for layer in graph.layers)


TABLE, KEY = Input((5, 3)), Input((2,), "int64")
KNOWN = {
    "arange": lambda t, i: t[trtnet.arange(i.shape[0] + 1)],
    "argmax": lambda t, i: t[t.argmax(1)],
    "argsort": lambda t, i: t[t[:, 0].argsort()],
    "topk": lambda t, i: t[t[:, 0].topk(2).indices],
    "max": lambda t, i: t[t.max(0).indices],
    "nonzero": lambda t, i: t[(t[:, 0] > 0).nonzero()[:, 0]],
    "mask": lambda t, i: t[t[:, 0] > 0],
    "bool": lambda t, i: t[(i > 0).long()],
    "clamp": lambda t, i: t[i.clamp(min=0)],
    "clamp of two": lambda t, i: t[i.clamp(0, 4)],
    "abs": lambda t, i: t[i.abs()],
    "sum and product": lambda t, i: t[(i.abs() * 2 + 1) // 3],
    "floats": lambda t, i: t[(t.sigmoid() * 4).long()[:, 0]],
    "reshaped": lambda t, i: t[i.abs().reshape(1, 2).expand(3, 2).transpose(0, 1)[0]],
    "cat": lambda t, i: t[trtnet.cat([i.abs(), trtnet.arange(2)])],
    "stack": lambda t, i: t[trtnet.stack([i.abs(), i.abs()])],
    "promised": lambda t, i: t[trtnet.assume_nonnegative(i)],
}


@pytest.mark.parametrize("name", KNOWN)
def test_nothing_is_added_to_what_cannot_be_negative(name):
    assert selects(KNOWN[name], t=TABLE, i=KEY) == 0


UNKNOWN = {
    "input": lambda t, i: t[i],
    "difference": lambda t, i: t[i.abs() - 1],
    "negated": lambda t, i: t[-i.abs()],
    "written to": lambda t, i: t[_written(i.abs())],
    "a view written to": lambda t, i: t[_view_written(i.abs() * 1)],
    "cat": lambda t, i: t[trtnet.cat([i.abs(), i])],
    "clamp below zero": lambda t, i: t[i.clamp(-2, 4)],
}


def _written(i):
    i -= 2
    return i


def _view_written(i):
    i[0] = -1
    return i


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_may_be_negative_is_counted(name):
    assert selects(UNKNOWN[name], t=TABLE, i=KEY) == 1


def test_one_index_is_counted_once():
    assert selects(lambda t, i: (t[i], t[i] * 2, (t * 2)[i]), t=TABLE, i=KEY) == 1


def test_a_buffer_may_become_negative():
    class Table(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("index", trtnet.tensor([0, 1]))

        def forward(self, x):
            return x[:, self.index]

    graph = trtnet.record(Table(), x=Input((2, 5)))
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    engine = trtnet.build(graph, provider="reference", refit=True)
    engine.refit({"index": np.array([-1, 2])})
    assert np.array_equal(engine(x), x[:, [-1, 2]])


@pytest.mark.parametrize(
    "call",
    [
        lambda x, i: x.gather(0, i.reshape(2, 1)),
        lambda x, i: x.scatter(0, i.reshape(2, 1), 1.0),
        lambda x, i: x.index_select(0, i),
        lambda x, i: F.embedding(i, x),
        lambda x, i: trtnet.take_along_dim(x, i),
        lambda x, i: x[trtnet.assume_nonnegative(i)],
        lambda x, i: x[trtnet.assume_nonnegative(i), trtnet.assume_nonnegative(i)],
        lambda x, i: put(trtnet, x, trtnet.assume_nonnegative(i), 1.0),
        lambda x, i: x[i - 4],
        lambda x, i: x[i - 4, i - 4],
    ],
)
def test_what_tensorrt_would_not_find_the_reference_refuses(call):
    graph = trtnet.record(call, x=Input((3, 3)), i=Input((2,), "int64"))
    x = np.ones((3, 3), np.float32)
    with pytest.raises(ProviderError, match="could not compute") as caught:
        trtnet.reference(graph)(x, np.array([0, -1]))
    assert caught.value.where.file == __file__


INDEXED = {
    "gather": lambda x, i: x.gather(0, i),
    "scatter": lambda x, i: x.scatter(0, i, 1.0),
    "scatter_add": lambda x, i: x.scatter_add(0, i, x),
    "scatter_reduce": lambda x, i: x.scatter_reduce(0, i, x, "amax"),
    "take_along_dim without dim": lambda x, i: x.take_along_dim(i),
    "embedding": lambda x, i: F.embedding(i, x),
    "index_select": lambda x, i: x.index_select(0, i[0]),
    "index_add": lambda x, i: x.index_add(0, i[0], x),
    "index_copy": lambda x, i: x.index_copy(0, i[0], x),
    "index_reduce": lambda x, i: x.index_reduce(0, i[0], x, "prod"),
}


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize(("index", "message"), [(-1, "counts no index from the end"), (3, "index 3 is out of range")])
def test_constant_indices_are_checked(name, index, message):
    """While recording and on numbers alike."""
    message = message.replace("counts", f"{name} counts").replace("3", "9" if "without" in name else "3")
    indices = trtnet.tensor([[0, 9 if "without" in name and index > 0 else index, 0]])
    with pytest.raises(ShapeError, match=message) as caught:
        trtnet.record(lambda x: INDEXED[name](x, indices), x=Input((3, 3)))
    assert caught.value.where.file == __file__
    recorded = caught.value
    with pytest.raises(ShapeError) as caught:
        INDEXED[name](trtnet.ones(3, 3), indices)
    assert (caught.value.problem, caught.value.expected) == (recorded.problem, recorded.expected)


@pytest.mark.parametrize("name", INDEXED)
def test_an_index_from_the_end_says_what_would_do(name):
    indices = trtnet.tensor([[-1, 0, 0]])
    with pytest.raises(ShapeError) as caught:
        trtnet.record(lambda x: INDEXED[name](x, indices), x=Input((Dim("rows", min=2, opt=3, max=4), 3)))
    assert caught.value.expected == ("0 to rows*3 - 1" if "without" in name else "0 to rows - 1")
    assert caught.value.found == -1
    assert "take_along_dim" in caught.value.remedy


def test_a_promise_that_is_broken_while_recording():
    assert trtnet.assume_nonnegative(trtnet.arange(3)).tolist() == [0, 1, 2]
    with pytest.raises(ArgumentError, match="holds a negative number"):
        trtnet.assume_nonnegative(trtnet.tensor([1, -1]))


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_nothing_is_written_into_an_empty_slice(dynamic):
    def body(x):
        x = x * 1
        x[:, 2:2:2] += 1
        x[:, 3:1] = 4.0
        return x

    shapes = {"x": (Dim("rows", 2, 2, 3), 3)} if dynamic else None
    check_against_torch(body, body, {"x": np.ones((2, 3), np.float32)}, shapes=shapes)


def by_positions(how: str, most: int, start: int = 0) -> trtnet.Graph:
    """Rows of a table of 8 at arange(n), in some form, of a Dim n of at most `most`."""

    def forward(x, table):
        places = trtnet.arange(start, x.shape[1] + start)
        if how == "embedding":
            rows = F.embedding(places, table)
        elif how == "embedding of a batch":
            rows = F.embedding(places.unsqueeze(0).expand(x.shape[0], -1), table)
        elif how == "a sum":
            rows = F.embedding(places + 1 - 1, table)
        elif how == "int32":
            rows = F.embedding(places.int(), table)
        elif how == "index_select":
            rows = table.index_select(0, places)
        else:
            rows = table[places]
        return x + rows

    return trtnet.record(forward, x=Input((2, Dim("n", min=1, opt=4, max=most), 3)), table=Input((8, 3)))


@pytest.mark.parametrize("how", ["embedding", "embedding of a batch", "int32", "index_select", "index"])
def test_positions_beyond_a_table_of_a_fixed_size_are_refused(how: str) -> None:
    """As TensorRT would read what lies behind the table, without a word."""
    table = np.arange(24, dtype=np.float32).reshape(8, 3)
    graph = by_positions(how, 8)
    for length in (1, 8):
        found = trtnet.reference(graph)(x=np.zeros((2, length, 3), np.float32), table=table)
        np.testing.assert_array_equal(found, np.broadcast_to(table[:length], found.shape))
    lower_and_compare(graph)
    for most, start in ((9, 0), (8, 1), (64, 0)):
        with pytest.raises(ShapeError, match=r"index of a gather may be out of range\n  expected: 0 to 7") as caught:
            by_positions(how, most, start)
        assert f"at most {most - 1 + start}" in str(caught.value.found)
        assert "smaller max" in str(caught.value.remedy)
        assert "test_negative_indices.py" in str(caught.value)


def test_positions_beyond_a_table_of_a_dynamic_size_are_refused_at_calls() -> None:
    graph = trtnet.record(
        lambda x, table: x + F.embedding(trtnet.arange(x.shape[0]), table),
        x=Input((Dim("n", 1, 2, 8), 3)),
        table=Input((Dim("rows", 1, 4, 9), 3)),
    )
    engine = trtnet.reference(graph)
    assert engine(x=np.zeros((4, 3), np.float32), table=np.ones((4, 3), np.float32)).shape == (4, 3)
    with pytest.raises(ShapeError, match="an index of a gather is out of range"):
        engine(x=np.zeros((5, 3), np.float32), table=np.ones((4, 3), np.float32))
