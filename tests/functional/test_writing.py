"""Copies of which a part is written anew, diagonals in place, blocks, quantiles and strides: against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from families import check

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, DtypeError, ShapeError, TrtnetError, UnsupportedError

RNG = np.random.default_rng(3)
BATCH = Dim("batch", min=2, opt=3, max=8)
X = RNG.normal(size=(3, 5, 4)).astype(np.float32)
WHOLE = RNG.integers(-9, 9, (3, 5, 4))
MASK = RNG.random((3, 5, 4)) > 0.6
FIXED = RNG.random((5, 4)) > 0.5
HOLES = np.where(RNG.random((3, 5, 4)) > 0.6, np.nan, X).astype(np.float32)
HOLES[1, 2] = np.nan

FUNCTIONS = {
    "select_scatter": lambda T, x: (T.select_scatter(x, x[:, 0] * 2, 1, -2), x.select_scatter(x[0], 0, 1)),
    "slice_scatter": lambda T, x: (
        T.slice_scatter(x, x[:, :2] + 1, 1, 1, 5, 2),
        x.slice_scatter(x[:, :, :1], 2, -1),
        x.slice_scatter(x * 2, end=2**63 - 1),
    ),
    "diagonal_scatter": lambda T, x: (
        T.diagonal_scatter(x, x.diagonal(1, 1, 2) * 3, 1, 1, 2),
        x[0].diagonal_scatter(x[0, :4, 0]),
    ),
    "another type": lambda T, x: (T.select_scatter(x, (x[:, 0] > 0), 1, 0),),
    "a view of a copy": lambda T, x: (T.select_scatter(x, x[:, 0] * 2, 1, 1).transpose(1, 2).add_(1),),
    "put": lambda T, x: (
        T.put(x, T.tensor([[3, -1], [7, 0]]), x[0, :2, :2] * 2),
        x.put(T.tensor([1, 1, 5]), x[0, 0, :3], accumulate=True),
        (x * 1).put_(T.tensor([4]), x[0, 0, :1]),
    ),
    "fill_diagonal_": lambda T, x: (
        (x[0] * 1).fill_diagonal_(2.5),
        T.stack([x[0, :4]] * 4).fill_diagonal_(7),
        (x[0, :, :2] * 1).fill_diagonal_(3, wrap=True),
        (x[:, 0] * 1).fill_diagonal_(3, wrap=True),
        (x[:, 0].transpose(0, 1) * 1).fill_diagonal_(3, wrap=True),
    ),
    "masked_scatter": lambda T, x: (
        T.masked_scatter(x, x > 0, x * 2),
        x.masked_scatter(T.tensor(FIXED), x + 1),
        x[0].masked_scatter(x > 0, x * 3),
        (x * 1).masked_scatter_(x[:, :1] < 0, -x),
        x.masked_scatter(T.tensor(False), x[0]),
    ),
    "block_diag": lambda T, x: (
        T.block_diag(x[0], x[:, 0], x[0, 0], x[0, 0, 0]),
        T.block_diag(x[0], T.ones(2, 3, dtype=x.dtype)),
        T.block_diag(x[1]),
    ),
    "splits": lambda T, x: (*x.dsplit(2), *T.dsplit(x, (1, 3)), T.row_stack([x[0], x[1]])),
    "as_strided": lambda T, x: (
        x.as_strided((2, 4), (3, 1)),
        T.as_strided(x, (3,), (0,), 2),
        x[0].as_strided((), ()),
        x[1:].as_strided((2, 2), (1, 2)) if x.shape[0] > 1 else x,
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [3, BATCH])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name: str, size: object) -> None:
    for values in (X, WHOLE):
        check(FUNCTIONS[name], {"x": values}, {"x": (size, 5, 4)}, compile=values is X)


def test_strides_of_a_dynamic_size() -> None:
    def windows(T, x):
        return (
            x.as_strided((x.shape[0] - 1, 2, 5, 4), (20, 20, 4, 1)),
            x.as_strided((x.shape[0], 3), (20, 1)) * 2,
            x.as_strided((x.numel() // 4, 4), (4, 1)),
        )

    check(windows, {"x": X}, {"x": (BATCH, 5, 4)})


QUANTILES = {
    f"{name} {interpolation} {keepdim}": (name, {"interpolation": interpolation, "keepdim": keepdim})
    for name in ("quantile", "nanquantile")
    for interpolation in ("linear", "lower", "higher", "midpoint", "nearest")
    for keepdim in (False, True)
}


@pytest.mark.parametrize("size", [3, BATCH])
@pytest.mark.parametrize("case", QUANTILES)
def test_quantiles(case: str, size: object) -> None:
    name, options = QUANTILES[case]

    def function(T, x):
        take = getattr(T, name)
        found = [take(x, 0.25, dim, **options) for dim in (0, 1, -1)]
        return (*found, take(x, T.tensor([0.0, 0.625, 1.0], dtype=x.dtype), 1, **options), take(x[0, 0], 0.75))

    check(function, {"x": X}, {"x": (size, 5, 4)}, rtol=1e-6, atol=1e-6)
    check(function, {"x": HOLES}, {"x": (size, 5, 4)}, rtol=1e-6, atol=1e-6, compile=False)
    if size == 3:
        check(lambda T, x: getattr(T, name)(x, 0.5, **options), {"x": HOLES}, {"x": (3, 5, 4)}, rtol=1e-6, atol=1e-6)


def outcome(function, m, values) -> list[np.ndarray]:
    if m is trtnet:
        graph = trtnet.record(lambda x: function(trtnet, x), x=Input(values.shape))
        found = trtnet.reference(graph)(x=values)
    else:
        found = function(m, m.from_numpy(values.copy()))
    return [np.asarray(value) for value in (found if isinstance(found, tuple) else (found,))]


VIEWS = {
    "as_strided writes through": lambda T, x: ((y := x.clone()).as_strided((2, 3), (20, 2)).add_(7), y)[1],
    "as_strided sees writes": lambda T, x: ((y := x.clone()), (z := y.as_strided((4,), (3,), 1)), y.fill_(3), z * 1)[3],
    "as_strided of a constant": lambda T, x: ((y := T.arange(6)), y.as_strided((2, 2), (2, 1)).fill_(9), y)[2],
    "select_scatter copies": lambda T, x: ((y := x.clone()).select_scatter(x[0], 0, 1).fill_(7), y)[1],
    "select_scatter of a constant": lambda T, x: (
        (y := T.zeros(2, 6)[:, ::2]), (z := y.select_scatter(T.ones(2), 1, 1)), z.reshape(-1).fill_(5), y, z,
    )[3:],
    "fill_diagonal_ in a view": lambda T, x: ((y := x.clone())[0].fill_diagonal_(0.5), y)[1],
    "masked_scatter_ in a view": lambda T, x: (
        (y := x.clone()).transpose(0, 2).masked_scatter_(T.tensor(MASK.T.copy()), x * 2), y,
    )[1],
    "put_ in a view": lambda T, x: ((y := x.clone())[1].put_(T.tensor([0, -1]), x[0, 0, :2]), y)[1],
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_memory_is_shared_as_in_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    for mine, torchs in zip(outcome(VIEWS[name], trtnet, X), outcome(VIEWS[name], torch, X), strict=True):
        np.testing.assert_array_equal(mine, torchs)


REFUSED = {
    "select_scatter(x, x, 0, 1)": (ShapeError, "select_scatter: (3, 4) does not fit the part that is written, (4,)"),
    "x.slice_scatter(x[:1])": (ShapeError, "slice_scatter: (1, 4) does not fit the part that is written, (3, 4)"),
    "x.sum(0).fill_diagonal_(1)": (ShapeError, "fill_diagonal_ takes a matrix"),
    "x.masked_scatter(x, x)": (DtypeError, "masked_scatter takes a mask of bools"),
    "x.masked_scatter(x > 0, x.int())": (DtypeError, "masked_scatter takes a source of the tensor's dtype"),
    "x.masked_scatter(tensor(True), x[0])": (ShapeError, "the mask selects more than there is"),
    "x.put(tensor([0, 1]), x[0])": (ShapeError, "put takes one element for each index"),
    "block_diag(x.unsqueeze(0))": (ShapeError, "block_diag takes matrices"),
    "x.as_strided((4,), (4,))": (ShapeError, "the elements do not lie within the (3, 4) that there are"),
    "x.as_strided((4,), (1, 2))": (ShapeError, "as_strided takes as many strides as sizes"),
    "x.T.as_strided((2,), (1,))": (UnsupportedError, "known to lie in memory in row-major order"),
    "x[1:].as_strided((2,), (1,), 0)": (UnsupportedError, "torch counts storage_offset from the start of the memory"),
    "quantile(x, 1.5)": (ArgumentError, "q is a share of the elements"),
    "quantile(x, 0.5, interpolation='cubic')": (ArgumentError, "there is no such interpolation"),
    "quantile(x.half(), 0.5)": (DtypeError, "quantile takes float32"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    kind, message = REFUSED[text]
    names = {name: getattr(trtnet, name) for name in ("select_scatter", "block_diag", "quantile", "tensor")}
    for attempt in (
        lambda: trtnet.record(lambda x: eval(text, names, {"x": x}), x=Input((3, 4))),
        lambda: eval(text, names, {"x": trtnet.ones(3, 4)}),
    ):
        with pytest.raises(kind) as caught:
            attempt()
        assert message in str(caught.value)


def test_a_source_that_the_mask_exceeds_raises_in_the_reference() -> None:
    graph = trtnet.record(lambda x: x.masked_scatter(x > 0, x[:1, 0, 0]), x=Input((3, 5, 4)))
    engine = trtnet.reference(graph)
    values = -np.abs(X)
    values[1, 1, 1] = 4
    assert engine(x=values)[1, 1, 1] == values[0, 0, 0]
    with pytest.raises(TrtnetError, match="out of"):
        engine(x=np.abs(X))


def test_a_write_at_places_of_a_dynamic_size_raises() -> None:
    with pytest.raises(UnsupportedError, match="places that depend on a dynamic size"):
        trtnet.record(
            lambda x: ((y := x.clone()).as_strided((x.shape[0], 2), (20, 1)).add_(1), y + 0)[1], x=Input((BATCH, 5, 4))
        )
    with pytest.raises(UnsupportedError, match="places that depend on a dynamic size"):
        trtnet.record(
            lambda x: ((y := x.clone()).as_strided((3, 2), (20, 1)).add_(1), y + 0)[1],
            x=Input((Dim("n", 3, 3, 4), 5, 4)),
        )
    with pytest.raises(UnsupportedError, match="cannot be written through"):
        trtnet.record(lambda x: ((y := x.clone()).as_strided((3, 2), (1, 1)).add_(1), y + 0)[1], x=Input((3, 5, 4)))


def test_an_empty_set_has_no_quantile() -> None:
    assert math.isnan(trtnet.nanquantile(trtnet.tensor([math.nan]), 0.5).item())
    with pytest.raises(ShapeError, match="quantile of no elements"):
        trtnet.quantile(trtnet.zeros(0), 0.5)


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.masked_scatter_(x > 0, x),
        lambda x: x.masked_scatter_(x > 0, x[:]),
        lambda x: x.put_(trtnet.tensor([1, 0]), x[0, :2]),
        lambda x: x.addmm_(x, x),
        lambda x: x[:].addmm_(x, x.t()),
    ],
)
def test_a_change_that_reads_its_own_memory_raises(change, made: bool) -> None:
    with pytest.raises(UnsupportedError, match="memory that it writes to"):
        trtnet.record(lambda x: (change(trtnet.ones(3, 3) if made else x * 1), x + 1)[1], x=Input((3, 3)))
