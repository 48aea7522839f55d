"""`out=` of torch's functions: values, dtypes, shapes and memory as torch's, and what is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from families import check

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentTypeError, DtypeError, ShapeError, UnsupportedError

BATCH = Dim("batch", min=1, opt=3, max=8)
X = np.random.default_rng(5).normal(size=(3, 5, 4)).astype(np.float32)


def through(T, x, function):
    """What a function gives by `out=`: of an empty tensor, and of one of its shape."""
    first = function(T.empty(0, dtype=x.dtype))
    second = T.zeros_like(first)
    again = function(second)
    assert again is second
    return first, second


FUNCTIONS = {
    "add": lambda T, x: through(T, x, lambda out: T.add(x, 2, out=out)),
    "exp": lambda T, x: through(T, x, lambda out: T.exp(x, out=out)),
    "cat": lambda T, x: through(T, x, lambda out: T.cat([x, x * 2], 1, out=out)),
    "stack": lambda T, x: through(T, x, lambda out: T.stack([x, x], out=out)),
    "hstack": lambda T, x: through(T, x, lambda out: T.hstack([x, x], out=out)),
    "matmul": lambda T, x: through(T, x, lambda out: T.matmul(x, x.transpose(1, 2), out=out)),
    "sum": lambda T, x: through(T, x, lambda out: T.sum(x, 1, out=out)),
    "cumsum": lambda T, x: through(T, x, lambda out: T.cumsum(x, 2, out=out)),
    "index_select": lambda T, x: through(T, x, lambda out: T.index_select(x, 1, T.tensor([3, 0]), out=out)),
    "where": lambda T, x: through(T, x, lambda out: T.where(x > 0, x, -x, out=out)),
    "clamp over its argument": lambda T, x: ((y := x * 2), T.clamp(y, min=0, out=y), y + 1)[1:],
    "second argument": lambda T, x: ((y := x * 2), T.sub(x, y, out=y))[1:],
    "cumsum over its argument": lambda T, x: ((y := x * 2), T.cumsum(y, 1, out=y))[1:],
    "a part": lambda T, x: ((y := x.clone()), T.mul(x[:, 0], 3, out=y[:, 1]), y)[2:],
    "a base and its view": lambda T, x: ((y := x.clone()), (z := y[:, 1:3]), T.neg(x, out=y), z * 1)[2:],
    "two results": lambda T, x: tuple(
        T.max(x, 1, out=(T.empty(0, dtype=x.dtype), T.empty(0, dtype=T.int64)))
    ),
    "names of results": lambda T, x: (
        T.sort(x, 1, out=(T.empty(0, dtype=x.dtype), T.empty(0, dtype=T.int64))).values,
        T.max(x, 1, out=(T.empty(0, dtype=x.dtype), T.empty(0, dtype=T.int64))).indices,
    ),
    "a view of an empty one": lambda T, x: (
        (y := T.exp(x, out=T.empty(0, dtype=x.dtype))[-1].flatten()), y.__setitem__(None, -1.5), y * 1,
    )[2:],
    "no out": lambda T, x: T.abs(x, out=None),
}  # fmt: skip


@pytest.mark.parametrize("size", [3, BATCH])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name: str, size: object) -> None:
    check(FUNCTIONS[name], {"x": X}, {"x": (size, 5, 4)}, compile=name in ("cat", "a part", "names of results"))


TYPES = {
    "integers into floats": lambda T, x: T.add(x, 1, out=T.empty(3, dtype=T.float32)),
    "narrower integers": lambda T, x: T.add(x, 1, out=T.empty(3, dtype=T.int32)),
    "bools into floats": lambda T, x: T.gt(x, 1, out=T.empty(3, dtype=T.float32)),
    "sum in its type": lambda T, x: T.sum(x, 0, out=T.empty((), dtype=T.int32)),
    "sum of floats": lambda T, x: T.sum(x, 0, out=T.empty((), dtype=T.float32)),
    "zeros of integers": lambda T, x: T.zeros(3, out=T.ones(3, dtype=T.int64)) + x,
    "arange of floats": lambda T, x: T.arange(3, out=T.empty(0)) + x,
    "full": lambda T, x: T.full((3,), 2, out=T.empty(3, dtype=T.int32)) + x,
    "ones": lambda T, x: T.ones(2, 3, out=T.empty(0)) * x,
}


@pytest.mark.parametrize("name", TYPES)
def test_types(name: str) -> None:
    values = np.array([1, 2, -3])
    wanted = TYPES[name](torch, torch.from_numpy(values))
    graph = trtnet.record(lambda x: TYPES[name](trtnet, x), x=Input((3,), "int64"))
    for found in (trtnet.reference(graph)(x=values), TYPES[name](trtnet, trtnet.tensor(values)).numpy()):
        assert (str(found.dtype), found.shape) == (str(wanted.dtype).removeprefix("torch."), tuple(wanted.shape))
        np.testing.assert_array_equal(found, wanted.numpy())


REFUSED = {
    "mul(x, 0.5, out=zeros(3, 4, dtype=int64))": (DtypeError, "mul: the result does not fit the dtype of out"),
    "add(x > 0, 1, out=zeros(3, 4, dtype=bool))": (DtypeError, "add: the result does not fit the dtype of out"),
    "mul(x, 2, out=zeros(4))": (ShapeError, "mul: the result does not fit the shape of out"),
    "mul(x, 2, out=3)": (ArgumentTypeError, "mul: out is a tensor"),
    "sort(x, out=zeros(3, 4))": (ArgumentTypeError, "sort writes 2 results"),
    "mm(y, y.T, out=y)": (UnsupportedError, "mm would read memory that it writes to"),
    "add(z[:, 1:], 1, out=z[:, :-1])": (UnsupportedError, "reads memory that it writes to", "would read memory"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    kind, *messages = REFUSED[text]
    names = {n: getattr(trtnet, n) for n in ("mul", "add", "mm", "sort", "zeros", "int64", "bool")}

    def call(x):
        return eval(text, names, {"x": x, "y": (x[:, :3] * 1), "z": x * 1})

    for attempt in (lambda: trtnet.record(call, x=Input((3, 4))), lambda: call(trtnet.ones(3, 4))):
        with pytest.raises(kind) as caught:
            attempt()
        assert any(message in str(caught.value) for message in messages)


def test_what_was_made_outside_cannot_be_written_to() -> None:
    made = trtnet.zeros(3, 4)
    with pytest.raises(UnsupportedError, match="made outside of this recording"):
        trtnet.record(lambda x: trtnet.add(x, 1, out=made), x=Input((3, 4)))
    assert (made.numpy() == 0).all()


def test_a_dynamic_size_meets_a_fixed_one() -> None:
    with pytest.raises(ShapeError, match="add: the result does not fit the shape of out"):
        trtnet.record(lambda x: trtnet.add(x, 1, out=trtnet.zeros(3, 4)), x=Input((BATCH, 4)))
    graph = trtnet.record(
        lambda x, y: trtnet.add(x, 1, out=y * 1), x=Input((BATCH, 4)), y=Input((Dim("rows", 1, 3, 8), 4))
    )
    given = np.ones((2, 4), np.float32)
    assert (trtnet.reference(graph)(x=given, y=given) == 2).all()
    with pytest.raises(ShapeError):
        trtnet.reference(graph)(x=given, y=np.ones((3, 4), np.float32))


def test_all_functions_take_it_that_torchs_do() -> None:
    named = [name for name in trtnet.functional.__all__ if "out=None" in (getattr(torch, name, None).__doc__ or "")]
    without = [n for n in named if inspect.unwrap(getattr(trtnet.functional, n)) is getattr(trtnet.functional, n)]
    assert len(named) > 150
    # draws, and names that torch's documentation alone gives it
    assert set(without) == {"complex", "polar", "rand_like", "randn_like", "std_mean", "var_mean"}


def test_an_empty_one_takes_the_order_in_memory_too() -> None:
    def forward(T, x):
        y = T.neg(x.t(), out=T.empty(0))
        z = y.reshape(-1)
        z.fill_(3)
        return y

    values = np.ones((2, 3), np.float32)
    wanted = forward(torch, torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(forward(trtnet, trtnet.tensor(values)).numpy(), wanted)
    with pytest.raises(UnsupportedError, match="may share its memory"):
        trtnet.record(lambda x: forward(trtnet, x), x=Input((2, 3)))
