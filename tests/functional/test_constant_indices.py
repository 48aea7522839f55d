"""Constant indices, in range and beyond it: refused where torch refuses, and else equal to torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Input, nn  # noqa: E402
from trtnet import functional as F  # noqa: E402
from trtnet.errors import ShapeError  # noqa: E402

SIZE, WIDTH = 3, 2


def rows(T: Any, places: list[int], value: float = 9.0) -> Any:
    return T.full((len(places), WIDTH), value)


def each(T: Any, places: list[int]) -> Any:
    return T.tensor([[place] * WIDTH for place in places], dtype=T.int64)


def at(T: Any, places: list[int]) -> Any:
    return T.tensor(places, dtype=T.int64)


def assigned(x: Any, key: Any, add: bool = False) -> Any:
    x = x * 1
    if add:
        x[key] += 9.0
    else:
        x[key] = 9.0
    return x


WAYS = {
    "index_fill": lambda T, x, p: T.index_fill(x, 0, at(T, p), 7.0),
    "index_fill of the last": lambda T, x, p: x.t().index_fill(-1, at(T, p), 7.0),
    "index_fill_": lambda T, x, p: (x * 1).index_fill_(0, at(T, p), 7.0),
    "index_copy": lambda T, x, p: T.index_copy(x, 0, at(T, p), rows(T, p)),
    "index_add": lambda T, x, p: T.index_add(x, 0, at(T, p), rows(T, p), alpha=2),
    "index_reduce": lambda T, x, p: T.index_reduce(x, 0, at(T, p), rows(T, p), "amax"),
    "index_select": lambda T, x, p: T.index_select(x, 0, at(T, p)),
    "index_put": lambda T, x, p: T.index_put(x, (at(T, p),), rows(T, p)),
    "index_put of two": lambda T, x, p: T.index_put(x, (at(T, p), at(T, [0] * len(p))), T.full((len(p),), 9.0)),
    "index_put, added": lambda T, x, p: T.index_put(x, (at(T, p),), rows(T, p), True),
    "x[indices]": lambda T, x, p: x[at(T, p)],
    "x[list]": lambda T, x, p: x[p],
    "x[int]": lambda T, x, p: x[p[0]],
    "x[indices] =": lambda T, x, p: assigned(x, at(T, p)),
    "x[int] =": lambda T, x, p: assigned(x, p[0]),
    "x[indices] +=": lambda T, x, p: assigned(x, at(T, p), add=True),
    "select": lambda T, x, p: x.select(0, p[0]),
    "select_scatter": lambda T, x, p: T.select_scatter(x, T.full((WIDTH,), 9.0), 0, p[0]),
    "slice_scatter": lambda T, x, p: T.slice_scatter(x, x[p[0] :] * 2, 0, p[0]),
    "diagonal_scatter": lambda T, x, p: T.diagonal_scatter(x, x.diagonal(p[0]) * 2, p[0]),
    "narrow": lambda T, x, p: T.narrow(x, 0, p[0], 1),
    "gather": lambda T, x, p: T.gather(x, 0, each(T, p)),
    "scatter": lambda T, x, p: T.scatter(x, 0, each(T, p), rows(T, p)),
    "scatter of a number": lambda T, x, p: x.scatter(0, each(T, p), value=9.0),
    "scatter, multiplied": lambda T, x, p: x.scatter(0, each(T, p), rows(T, p), reduce="multiply"),
    "scatter_add": lambda T, x, p: T.scatter_add(x, 0, each(T, p), rows(T, p)),
    "scatter_reduce": lambda T, x, p: T.scatter_reduce(x, 0, each(T, p), rows(T, p), "amax"),
    "take": lambda T, x, p: T.take(x[:, 0], at(T, p)),
    "take_along_dim of all": lambda T, x, p: T.take_along_dim(x[:, 0], at(T, p)),
    "put_": lambda T, x, p: (x[:, 0] * 1).put_(at(T, p), T.full((len(p),), 9.0)),
    "put_, added": lambda T, x, p: (x[:, 0] * 1).put_(at(T, p), T.full((len(p),), 9.0), True),
    "embedding": lambda T, x, p: (torch.nn.functional if T is torch else F).embedding(at(T, p), x),
    "one_hot": lambda T, x, p: (torch.nn.functional if T is torch else F).one_hot(at(T, p), SIZE) * x[0, 0],
}


class Asks(nn.Module):
    def __init__(self, way: str, places: list[int]) -> None:
        super().__init__()
        self.way, self.places = way, places

    def forward(self, x: Any) -> Any:
        return WAYS[self.way](trtnet, x, self.places)


def answer(way: str, values: np.ndarray, places: list[int]) -> np.ndarray | None:
    """torch's; None where it raises."""
    try:
        return WAYS[way](torch, torch.from_numpy(values), places).numpy()
    except (IndexError, RuntimeError):
        return None


places = st.lists(st.integers(-SIZE - 2, SIZE + 2), min_size=1, max_size=3, unique_by=lambda place: place % SIZE)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25)
@given(places=places)
@example(places=[-1])
@example(places=[SIZE])
@example(places=[0, SIZE])
@example(places=[-SIZE - 1])
@example(places=[-SIZE, SIZE - 1])
def test_constant_indices_are_taken_and_refused_as_by_torch(way, places):
    values = np.arange(1, 1 + SIZE * WIDTH, dtype=np.float32).reshape(SIZE, WIDTH)
    wanted = answer(way, values, places)
    if wanted is None:
        with pytest.raises(trtnet.errors.TrtnetError):
            trtnet.record(Asks(way, places), x=Input((SIZE, WIDTH)))
        with pytest.raises(trtnet.errors.TrtnetError):
            WAYS[way](trtnet, trtnet.tensor(values), places)
        return
    recorded = trtnet.reference(trtnet.record(Asks(way, places), x=Input((SIZE, WIDTH))))(values)
    eager = WAYS[way](trtnet, trtnet.tensor(values), places)
    np.testing.assert_array_equal(recorded, wanted)
    np.testing.assert_array_equal(eager.numpy(), wanted)


@pytest.mark.parametrize("way", ["index_fill", "scatter_add", "scatter_reduce", "scatter, multiplied"])
def test_the_message_names_index_dimension_and_size(way):
    with pytest.raises(ShapeError) as caught:
        trtnet.record(Asks(way, [0, SIZE]), x=Input((SIZE, WIDTH)))
    assert caught.value.problem == f"index {SIZE} is out of range in dimension 0 of size {SIZE}"
    assert f'"{way}": lambda' in str(caught.value)  # the user's line


@pytest.mark.parametrize("way", ["index_fill", "scatter_add", "index_copy"])
def test_a_dynamic_size_is_checked_at_its_smallest(way):
    rows = trtnet.Dim("rows", min=2, opt=3, max=8)
    engine = trtnet.reference(trtnet.record(Asks(way, [1]), x=Input((rows, WIDTH))))
    for size in (2, 5):
        values = np.arange(size * WIDTH, dtype=np.float32).reshape(size, WIDTH)
        np.testing.assert_array_equal(engine(values), answer(way, values, [1]))
    with pytest.raises(ShapeError, match="index 2 is out of range in dimension 0 of size rows"):
        trtnet.record(Asks(way, [2]), x=Input((rows, WIDTH)))
