"""Concatenation, splitting, turning and triangles: random sizes against torch, dynamic sizes, and their errors."""

import numpy as np
import pytest
import torch
from families import check, check_concrete, flat, shapes, values
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError

BATCH = Dim("batch", min=1, opt=4, max=8)
EVEN = Dim("even", min=2, opt=4, max=8, multiple_of=2)
DTYPES = st.sampled_from(["float32", "int64", "bool"])


@given(shapes(), DTYPES, st.data())
def test_together(given_shape, dtype, data) -> None:
    sizes, recorded = given_shape
    axis, new = data.draw(st.integers(-len(sizes), len(sizes) - 1)), data.draw(st.integers(-len(sizes) - 1, len(sizes)))

    def function(T, x):
        part = x.narrow(axis, 0, 1)
        return (
            T.cat([x, x], axis), T.cat((x, part, x), dim=axis), T.concat([part, x], axis),
            T.concatenate([x, x], axis=axis), T.stack([x, x], new),
            T.stack((x, x, x)), T.hstack([x, x]), T.vstack((x, x)), T.dstack([x, x]), T.cat([x]),
            T.column_stack([x, x]),
        )  # fmt: skip

    check(function, {"x": values(sizes, dtype)}, {"x": recorded}, compile=data.draw(st.booleans()))


@given(shapes(max_size=6), DTYPES, st.data())
def test_apart(given_shape, dtype, data) -> None:
    sizes, recorded = given_shape
    axis = data.draw(st.integers(-len(sizes), len(sizes) - 1))
    # the split dimension is of fixed size; the others may be dynamic
    recorded = tuple(s if at == axis % len(sizes) else r for at, (s, r) in enumerate(zip(sizes, recorded)))
    size = sizes[axis]
    count, each = data.draw(st.integers(1, size + 1)), data.draw(st.integers(1, size + 1))
    cut = data.draw(st.integers(0, size))
    ends = sorted(data.draw(st.lists(st.integers(0, size), max_size=3)))

    def function(T, x):
        return (
            x.chunk(count, axis), T.chunk(x, count, dim=axis), x.split(each, axis), T.split(x, [cut, size - cut], axis),
            x.split_with_sizes([size], axis), x.tensor_split(count, axis), T.tensor_split(x, tuple(ends), dim=axis),
            x.unbind(axis),
            T.unbind(x, axis),
        )  # fmt: skip

    check_concrete(function, values(sizes, dtype))

    def kept(T, x):
        return [part for parts in function(T, x) for part in parts if 0 not in tuple(part.shape)]

    check(kept, {"x": values(sizes, dtype)}, {"x": recorded}, compile=data.draw(st.booleans()), concrete=False)


@given(shapes(max_size=5), DTYPES, st.data())
def test_turned(given_shape, dtype, data) -> None:
    sizes, recorded = given_shape
    rank = len(sizes)
    axes = data.draw(st.lists(st.integers(0, rank - 1), unique=True))
    axis, shift = data.draw(st.integers(-rank, rank - 1)), data.draw(st.integers(-7, 7))
    shifts = [data.draw(st.integers(-3, 3)) for _ in axes]

    def function(T, x):
        made = [x.flip(axes), x.flip(axis), T.flip(x, (axis,)), T.flipud(x), x.roll(shift, axis), T.roll(x, shift)]
        if axes:
            made.append(x.roll(shifts, axes))
        if rank > 1:
            made.append(x.fliplr())
        return made

    check(function, {"x": values(sizes, dtype)}, {"x": recorded}, compile=data.draw(st.booleans()))


@given(shapes(min_rank=2, max_rank=3), DTYPES, st.integers(-4, 4), st.data())
def test_triangles_and_diagonals(given_shape, dtype, diagonal, data) -> None:
    sizes, recorded = given_shape
    last = max(sizes[-2:]) + 1
    offset = data.draw(st.integers(-last, last))  # the last ones have no element

    def function(T, x):
        row = x.select(-2, 0)
        made = [
            x.tril(),
            x.tril(diagonal),
            T.triu(x, diagonal),
            x.diagonal(offset, -2, -1),
            T.diag_embed(row),
            T.diag_embed(row, diagonal),
        ]
        if x.ndim == 2:
            made += [T.diag(row), T.diag(x, offset)]
        return made

    check(function, {"x": values(sizes, dtype)}, {"x": recorded}, compile=data.draw(st.booleans()))


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (0, 2)])
@pytest.mark.parametrize("offset", [-2, 0, 2])
def test_a_diagonal_that_has_elements_at_some_batch_sizes(offset, axes) -> None:
    graph = trtnet.record(lambda x: x.diagonal(offset, *axes), x=Input((BATCH, 3, 1)))
    engine = trtnet.reference(graph)
    trtnet.build_plan(graph)
    for batch in (1, 2, 3, 8):
        x = values((batch, 3, 1), "float32")
        wanted = torch.as_tensor(x).diagonal(offset, *axes).numpy()
        np.testing.assert_array_equal(engine(x), wanted, strict=True)


def test_dynamic_sizes() -> None:
    def function(T, x, y):
        n, m = x.shape[0], y.shape[1]
        return (
            x.chunk(2), x.split(n // 2), x.split([1, n - 1]), x.tensor_split(2), T.cat([x, y.T.reshape(-1, 6)]),
            y.split([m - 1, 1], 1), y.split(m, 1),
            T.meshgrid(y[0], x[:, 0], indexing="ij"), T.meshgrid(y[0], T.arange(3).to(y.dtype), indexing="xy"),
            T.roll(x, n // 2, 0), x.flip(0),
            T.triu(T.ones(m, m, dtype=T.bool), 1), y.tril(), x.new_ones(n, n).triu(),
            T.stack([x, x.flip(0)], 1).flatten(0, 1),
        )  # fmt: skip

    def parts(T, x, y):
        return flat(function(T, x, y))

    inputs = {"x": values((4, 6)), "y": values((6, 3))}
    graph = check(parts, inputs, {"x": (EVEN, 6), "y": (6, Dim("m", 2, 3, 5))}, concrete=False)
    assert str(graph.outputs["output_0"].shape) == "(even/2, 6)"
    check_concrete(parts, *inputs.values())


def test_concrete_promotion_and_empty_vectors() -> None:
    def function(T):
        return (
            T.cat([T.arange(3), T.tensor([0.5])]), T.cat([T.tensor([]), T.ones(2, 3)]),
            T.stack([T.tensor(1), T.tensor(2.5)]), T.cat([T.ones(2).half(), T.ones(1)]),
            T.vstack([T.arange(3), T.arange(3)]), *T.meshgrid(T.arange(2), T.arange(3), indexing="xy"),
            *T.meshgrid(T.tensor(1), T.arange(2), indexing="ij"),
        )  # fmt: skip

    check_concrete(function)


def test_concrete_parts_become_constants() -> None:
    table = trtnet.ones(2, 3)
    graph = trtnet.record(lambda x: trtnet.cat([table, x, np.zeros((1, 3), np.float32)]), x=Input((BATCH, 3)))
    assert str(graph.outputs["output"].shape) == "(batch + 3, 3)"
    assert [layer.kind for layer in graph.layers] == ["constant", "constant", "concatenation"]
    table.fill_(5.0)  # what was recorded keeps its value
    assert trtnet.reference(graph)(x=values((2, 3)))[0].tolist() == [1.0] * 3


def _error(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return str(caught.value)


def test_errors() -> None:
    x, y = Input((BATCH, 4)), Input((3, 5))
    text = _error(
        ShapeError,
        r"differ in a dimension other than 0: \(batch, 4\) and \(3, 5\)",
        lambda x, y: trtnet.cat([x, y]),
        x=x,
        y=y,
    )
    assert "the same sizes in every dimension but 0" in text
    text = _error(
        DtypeError, "different dtypes", lambda x, y: trtnet.cat([x, y], 1), x=x, y=Input((BATCH, 2), "float16")
    )
    assert "float32 (batch, 4) and float16 (batch, 2)" in text
    _error(ShapeError, "differ in a dimension other than 1", lambda x, y: trtnet.cat([x, y], 1), x=x, y=y)
    _error(ArgumentTypeError, "cat takes a list or tuple", lambda x: trtnet.cat(x), x=x)
    _error(ArgumentError, "cat of no tensors", lambda x: trtnet.cat([]) + x, x=x)
    _error(ShapeError, "without dimensions cannot be concatenated", lambda x: trtnet.cat([x.sum(), x.sum()]), x=x)
    _error(ShapeError, "stack takes tensors of one shape", lambda x: trtnet.stack([x, x[0]]), x=x)
    text = _error(
        UnsupportedError,
        "the number of parts or their sizes depend on the dynamic size batch",
        lambda x: x.chunk(2),
        x=x,
    )
    assert "multiple_of" in text
    _error(UnsupportedError, "dynamic size batch", lambda x: x.split(2), x=x)
    _error(UnsupportedError, "dynamic size batch", lambda x: x.unbind(), x=x)
    _error(ShapeError, r"the sizes \(1, 2\) do not add up to 4", lambda x: x.split([1, 2], 1), x=x)
    _error(ArgumentError, "at least 1", lambda x: x.split(0, 1), x=x)
    _error(ArgumentError, "at least 1", lambda x: x.chunk(0, 1), x=x)
    _error(ShapeError, "as many shifts as dimensions", lambda x: x.roll((1, 2), 1), x=x)
    _error(ShapeError, "at least 2 dimensions", lambda x: x[:, 0].tril(), x=x)
    _error(ArgumentTypeError, "the length of this tensor is not known", lambda x: [row for row in x], x=x)  # noqa: C416


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
@pytest.mark.parametrize("batch", [3, Dim("batch", 2, 3, 4)], ids=["static", "dynamic"])
@pytest.mark.parametrize(
    "call",
    [
        "x.roll(0)", "x.roll(2)", "x.roll(-1, 0)", "x.roll(1, 1)", "x.roll((1, 1), (0, 1))", "x.flip(0)", "x.flip(1)",
        "x.rot90()", "x.repeat(2, 1)", "T.cat([x, x], 0)", "T.cat([x, x], 1)", "T.stack([x, x])", "x.split(1, 0)[0]",
        "x.split(1, 1)[0]", "x.split(2, 1)[-1]", "x.chunk(2, 0)[0]", "x.chunk(2, 1)[0]", "x.tensor_split(2, 0)[1]",
        "x.tensor_split(2, 1)[0]", "x.repeat_interleave(2, 0)", "x.repeat_interleave(2)", "T.block_diag(x, x)",
    ],
)  # fmt: skip
def test_of_no_elements(call, shape, batch):
    def taken(T, y):
        return eval(call, {"T": T, "x": y[:0] if shape[0] == 0 else y[:, :0]})

    if not isinstance(batch, int) and shape[1] == 0 and "0)[" in call:
        pytest.skip("the parts of a dynamic size are not known")
    full = np.ones((3, 3), np.float32)
    wanted = taken(torch, torch.from_numpy(full)).numpy()
    assert_same(taken(trtnet, trtnet.tensor(full)).numpy(), wanted)
    graph = trtnet.record(lambda y: {"made": taken(trtnet, y), "more": y + 1}, y=Input((batch, 3)))
    assert_same(trtnet.reference(graph)(full)["made"], wanted)


def assert_same(found, wanted):
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
