"""Slices with bounds that the network computes, against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from families import check, check_concrete
from harness import check_against_torch, lower_and_compare
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet.errors import DtypeError, ProviderError, ShapeError, TrtnetError, UnsupportedError

torch = pytest.importorskip("torch")

X = np.arange(24, dtype=np.float32).reshape(2, 12)
BATCH, LENGTH = Dim("batch", min=1, opt=2, max=4), Dim("length", min=9, opt=12, max=16)
SHAPES = [{}, {"x": (BATCH, LENGTH)}]


def run(function: Any, i: int, shapes: Any = None, dtype: str = "int64", compile: bool = True) -> trtnet.Graph:
    return check(function, {"x": X, "i": np.array(i, dtype)}, shapes, compile=compile, concrete=False)


@pytest.mark.parametrize("shapes", SHAPES, ids=["static", "dynamic"])
@pytest.mark.parametrize(
    ("function", "length"),
    [
        (lambda T, x, i: x[:, i : i + 4], 4),
        (lambda T, x, i: x[:, i * 2 : (i + 1) * 2], 2),
        (lambda T, x, i: x[:, 2 * i - 1 : i + 4 + i : 2], 3),
        (lambda T, x, i: x[:, i.int() : i.int() + 3], 3),
        (lambda T, x, i: x[..., i : i + 1, None], 1),
        (lambda T, x, i: x[0, i : i + 5].exp(), 5),
        (lambda T, x, i: x[None][..., :1, i + 1 : 5 + i][:, 0], 4),
    ],
)
def test_a_length_that_is_known(function, length, shapes) -> None:
    graph = run(function, 3, shapes)
    assert not graph.data_dims
    assert length in graph.outputs["output"].shape
    (layer,) = [layer for layer in graph.layers if len(layer.tensors) > 1 and layer.kind == "slice"]
    assert layer.describe().startswith("shape=")


@pytest.mark.parametrize("start", [-7, -4])
def test_a_start_is_counted_from_the_end_where_the_end_is(start) -> None:
    run(lambda T, x, i: x[:, i : i + 3], start, {"x": (BATCH, LENGTH)}, "int32", compile=False)


def test_a_size_of_the_shapes_is_a_length() -> None:
    graph = run(lambda T, x, i: x[:, i : i + x.shape[0]], 3, {"x": (BATCH, LENGTH)})
    assert graph.outputs["output"].shape == (BATCH, BATCH)


@pytest.mark.parametrize("start", [-15, -2, 9, 12, 40])
def test_what_does_not_lie_within_is_an_error(start) -> None:
    """Where torch gives less than what the network was recorded for; and TensorRT fails, too."""
    graph = trtnet.record(lambda x, i: x[:, i : i + 4], x=Input((2, 12)), i=Input((), "int64"))
    assert torch.from_numpy(X)[:, start : start + 4].shape[1] < 4
    with pytest.raises(ProviderError, match="could not compute this slice") as caught:
        trtnet.reference(graph)(x=X, i=np.array(start))
    assert f"takes 4 elements from {start + 12 if start < -4 else start} on" in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


@given(
    st.sampled_from(
        [
            lambda x, i, j: x[:, i:],
            lambda x, i, j: x[:, :i],
            lambda x, i, j: x[:, i:j],
            lambda x, i, j: x[:, i:-2],
            lambda x, i, j: x[1:, 2:i:2],
            lambda x, i, j: x[..., i:7:3],
            lambda x, i, j: x[:, i : i - 3],
            lambda x, i, j: x[:i, j:],
        ]
    ),
    st.integers(-14, 14),
    st.integers(-14, 14),
    st.booleans(),
)
def test_any_bounds(function, i, j, is_dynamic) -> None:
    shape = (BATCH, LENGTH) if is_dynamic else (2, 12)
    graph = trtnet.record(function, x=Input(shape), i=Input((), "int64"), j=Input((), "int64"))
    found = trtnet.reference(graph)(x=X, i=np.array(i), j=np.array(j))
    np.testing.assert_array_equal(found, function(X, i, j))
    assert graph.data_dims


@pytest.mark.parametrize("shapes", SHAPES, ids=["static", "dynamic"])
def test_lengths_that_the_data_decides_compile(shapes) -> None:
    def function(T, x, i):
        y = x[:, i:]
        return y.exp() + x[:, i:], y.sum(1), T.cat([y, x[:, :2]], 1), x[:, 1:i:2]

    graph = run(function, 3, shapes)
    assert len(graph.data_dims) == 2  # one for x[:, i:], however often
    lower_and_compare(graph)
    assert trtnet.reference(graph)(x=X, i=np.array(12))[0].shape == (2, 0)


@pytest.mark.parametrize("shapes", SHAPES, ids=["static", "dynamic"])
@pytest.mark.parametrize("start", [3, -3])
def test_narrow(start, shapes) -> None:
    graph = check_against_torch(
        lambda x, i: (trtnet.narrow(x, 1, i, 3), x.narrow(-1, i, 1)),
        lambda x, i: (torch.narrow(x, 1, i, 3), x.narrow(-1, i, 1)),
        {"x": X, "i": np.array(start)},
        shapes=shapes,
    )
    assert [layer.kind for layer in graph.layers].count("gather") == 2
    assert not graph.data_dims


def test_narrow_beyond_the_end_is_an_error() -> None:
    graph = trtnet.record(lambda x, i: x.narrow(1, i, 3), x=Input((2, 12)), i=Input((), "int64"))
    with pytest.raises(ProviderError, match="gather"):
        trtnet.reference(graph)(x=X, i=np.array(10))


def written(T: Any, x: Any, i: Any) -> Any:
    made = T.zeros(2, 12, dtype=x.dtype)
    made[:, i : i + 2] = x[:1, :2]
    y = made[0, i - 1 : i + 3]
    y += 1
    made[1:, i * 2 : i * 2 + 2] *= x[:1, i : i + 2] + 0.5
    return made, y


@pytest.mark.parametrize("shapes", SHAPES, ids=["static", "dynamic"])
@pytest.mark.parametrize("start", [2, 5])
def test_a_part_is_written(start, shapes) -> None:
    run(lambda T, x, i: [written(T, x, i), _in_place(T, x.clone(), i)], start, shapes)


def _in_place(T: Any, x: Any, i: Any) -> Any:
    x.narrow(1, i, 3).mul_(3)
    x[:, i : i + 1] = 7.0
    x[:, i + 3 : i + 7 : 2].copy_(x[:, :2].clone())
    start = int(i) if T is torch else i
    return x, T.slice_scatter(x, T.ones_like(x[:, :2]), 1, start, start + 2)


def test_a_part_that_is_whole() -> None:
    run(lambda T, x, i: _whole(x, i), 0)


def _whole(x: Any, i: Any) -> Any:
    x = x.clone()
    x[:, i : i + 12] = 2.0
    return x


def test_a_bound_that_was_changed_in_place() -> None:
    def function(T: Any, x: Any, i: Any) -> Any:
        i = i.clone()
        first = x[:, i:].sum(1), x[:, i : i + 2], x[:, i - 1 : i]
        i += 2
        second = x[:, i:].sum(1), x[:, i : i + 2], x[:, i - 1 : i]
        i[...] = 1
        return (*first, *second, x[:, i:].sum(1), x[:, i : i + 2], x[:, i - 1 : i])

    run(function, 3, {"x": (BATCH, LENGTH)})


def test_concrete_bounds_are_numbers() -> None:
    check_concrete(lambda T, x, i: x[:, i : i + 2], X, np.array(3))
    graph = trtnet.record(lambda x: x[:, trtnet.tensor(3) : trtnet.tensor(5)], x=Input((2, 12)))
    assert [layer.kind for layer in graph.layers] == ["slice"]


def test_in_a_loop_narrow_does_it() -> None:
    def function(x, n):
        def body(carried, _):
            i, total = carried
            return (i + 1, total + trtnet.narrow(x, 1, i, 4)), total

        return trtnet.scan(body, (n, x[:, :4] * 0), x[0, :3])[0][1]

    graph = trtnet.record(function, x=Input((2, 12)), n=Input((), "int64"))
    lower_and_compare(graph)
    wanted = sum(X[:, 2 + i : 6 + i] for i in range(3))
    np.testing.assert_array_equal(trtnet.reference(graph)(x=X, n=np.array(2)), wanted)


@pytest.mark.parametrize(
    ("kind", "match", "remedy", "function"),
    [
        (DtypeError, "one whole number", "convert it", lambda x, i: x[:, x[0, 0] :]),
        (DtypeError, "one whole number", "convert it", lambda x, i: x[:, x.argmax(1) :]),
        (UnsupportedError, "step of a slice is computed", "trtnet.arange(count)", lambda x, i: x[:, 0:4:i]),
        (UnsupportedError, "reads memory that it writes", "clone", lambda x, i: _moved(x.clone(), i)),
        (UnsupportedError, "whose size the data decides cannot be written", "trtnet.where", lambda x, i: _set(x, i)),
        (ShapeError, "too many indices", None, lambda x, i: x[:, :, i:]),
        (ShapeError, "cannot be broadcast", None, lambda x, i: _set(x, slice(i, i + 3), trtnet.zeros(2, 2))),
        (
            UnsupportedError,
            "in if_true of cond",
            "trtnet.narrow(x, dim, start, length)",
            lambda x, i: trtnet.cond(i > 0, lambda: x[:, i : i + 1], lambda: x[:, :1]),
        ),
        (
            UnsupportedError,
            "in if_true of cond",
            "trtnet.where",
            lambda x, i: trtnet.cond(i > 0, lambda: x[:, i:].sum(), lambda: x.sum()),
        ),
    ],
)
def test_refused(kind, match, remedy, function) -> None:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, x=Input((2, 12)), i=Input((), "int64"))
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    assert remedy is None or remedy in caught.value.remedy


def _moved(x: Any, i: Any) -> Any:
    x[:, i + 1 : i + 4].add_(x[:, i : i + 3])
    return x


def _set(x: Any, key: Any, value: Any = 1.0) -> Any:
    made = x.clone()
    made[:, key if isinstance(key, slice) else slice(key, None)] = value
    return made


def test_a_dimension_that_is_too_large() -> None:
    def wide(x, i):
        return x[i : i + 4]

    with pytest.raises(UnsupportedError, match="no dimension as large") as caught:
        trtnet.record(wide, x=Input((1 << 25,)), i=Input((), "int64"))
    assert "trtnet.narrow" in caught.value.remedy
    graph = trtnet.record(lambda x, i: trtnet.narrow(x, 0, i, 4), x=Input((1 << 25,)), i=Input((), "int64"))
    assert isinstance(graph, trtnet.Graph)
    assert issubclass(UnsupportedError, TrtnetError)


def test_a_parameter_is_no_constant() -> None:
    """It may be refitted: what lies between two bounds is decided by it."""

    class Net(trtnet.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", trtnet.tensor(3))

        def forward(self, x: Any, i: Any) -> Any:
            return x[:, i : i + self.count]

    graph = trtnet.record(Net(), x=Input((2, 12)), i=Input((), "int64"))
    assert graph.data_dims == {"slice_0"}
    np.testing.assert_array_equal(trtnet.reference(graph)(x=X, i=np.array(2)), X[:, 2:5])
