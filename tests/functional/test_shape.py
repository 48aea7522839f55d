"""Reshapes, permutations, expansions: random ones against torch, their errors, and what dynamic sizes check."""

import inspect

import numpy as np
import pytest
import torch
from families import check, check_concrete, shapes, values
from harness import compile_network, lower_and_compare
from hypothesis import assume, given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentTypeError, DtypeError, ShapeError, UnsupportedError

BATCH = Dim("batch", min=1, opt=4, max=8)


def test_slices_chunks_expands_pads_and_reshapes_with_a_dynamic_batch() -> None:
    def function(T, x):
        n = x.shape[0]
        head, tail = x[:, :1], x[:, 1:-1]
        left, right = tail.chunk(2, dim=-1)
        wide = head.expand(-1, 5, -1).reshape(n, -1)
        padded = T.nn.functional.pad(left, (1, 2, 0, 1))
        last = x[-1]
        return (
            wide, padded, right.flatten(1).unflatten(1, (-1, 4)), last, x.view(n * 6, 8).permute(1, 0), x[:, ::2, None],
            T.cat([padded, T.nn.functional.pad(right, (3, 0), value=2.0)], 1), x[:, :, -3:].repeat(1, 2, 1),
        )  # fmt: skip

    graph = check(function, {"x": values((3, 6, 8))}, {"x": (BATCH, 6, 8)})
    assert [str(t.shape) for t in graph.outputs.values()] == [
        "(batch, 40)", "(batch, 5, 7)", "(batch, 4, 4)", "(6, 8)", "(8, batch*6)", "(batch, 3, 1, 8)", "(batch, 9, 7)",
        "(batch, 12, 3)",
    ]  # fmt: skip
    lowering = lower_and_compare(graph, compile=False)
    if lowering is not None:
        assert compile_network(lowering, "sm120")


@given(shapes(), st.data())
def test_order_and_size_one(given_shape, data) -> None:
    sizes, recorded = given_shape
    rank = len(sizes)
    dims = st.integers(-rank, rank - 1)
    order = data.draw(st.permutations(range(rank)))
    order = [axis - rank if data.draw(st.booleans()) else axis for axis in order]
    a, b, new = data.draw(dims), data.draw(dims), data.draw(st.integers(-rank - 1, rank))
    start, end = sorted((data.draw(st.integers(0, rank - 1)), data.draw(st.integers(0, rank - 1))))
    several = tuple(data.draw(st.lists(st.integers(0, rank - 1), unique=True)))
    sources = data.draw(st.lists(st.integers(0, rank - 1), unique=True))
    targets = data.draw(st.permutations(range(rank)))[: len(sources)]

    def function(T, x):
        return (
            x.permute(order), x.permute(*order), T.permute(x, dims=order), x.transpose(a, b), x.swapaxes(a, b),
            T.swapdims(x, a, b),
            x.unsqueeze(new), x.flatten(start, end), T.flatten(x, start - rank), x.movedim(sources, list(targets)),
            x.moveaxis(a, b),
            x.contiguous(), T.ravel(x), x.reshape(-1), x.view(-1, 1), x.reshape_as(x), x.detach().clone(),
            T.atleast_3d(x) if rank < 3 else x.mT, x.t() if rank <= 2 else x.permute(0, *range(rank - 1, 0, -1)),
        )  # fmt: skip

    graph = check(function, {"x": values(sizes)}, {"x": recorded}, compile=data.draw(st.booleans()))
    assert all(layer.kind in ("shuffle", "identity") for layer in graph.layers)
    # a Dim is never squeezed, so only fixed sizes compare with torch
    check(lambda T, x: (x.squeeze(), x.squeeze(a), x.squeeze(several)), {"x": values(sizes)}, compile=False)


@given(shapes(max_rank=3), st.data())
def test_expand_and_repeat(given_shape, data) -> None:
    sizes, recorded = given_shape
    rank = len(sizes)
    ones = [data.draw(st.booleans()) for _ in sizes]
    sizes = tuple(1 if one else s for one, s in zip(ones, sizes))
    recorded = tuple(1 if one else s for one, s in zip(ones, recorded))
    front = data.draw(st.lists(st.integers(1, 3), max_size=2))
    wanted = [*front, *(data.draw(st.sampled_from([-1, 2, 3])) if one else data.draw(st.just(-1)) for one in ones)]
    times = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank + 1))
    axis, each = data.draw(st.integers(-rank, rank - 1)), data.draw(st.integers(1, 3))
    counts = [data.draw(st.integers(0, 2)) for _ in range(sizes[axis])]
    assume(sum(counts))

    def function(T, x):
        whole = x.expand(wanted)
        return (
            whole, x.expand(*wanted), x.expand_as(whole), T.broadcast_to(x, tuple(whole.shape)), x.repeat(*times),
            x.repeat(times),
            x.tile(times[-1:]), T.tile(x, tuple(times)), x.repeat_interleave(each, axis), T.repeat_interleave(x, each),
            *T.broadcast_tensors(x, whole[..., :1]),
        )  # fmt: skip

    check(function, {"x": values(sizes)}, {"x": recorded}, compile=data.draw(st.booleans()))
    by_counts = lambda T, x: T.repeat_interleave(x, T.tensor(counts), dim=axis)  # noqa: E731
    check(by_counts, {"x": values(sizes)}, compile=False)


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32", "bool"])
def test_every_dtype_moves(dtype: str) -> None:
    def function(T, x):
        return x.permute(2, 0, 1), x.reshape(-1, 4), x.expand(2, -1, -1, -1), x.repeat(2, 1, 2), x.clone()

    check(function, {"x": values((3, 2, 4), dtype)}, {"x": (BATCH, 2, 4)})


def test_minus_one_is_symbolic() -> None:
    shapes_seen = {}

    def forward(x):
        n, c, h, w = x.shape
        shapes_seen["patches"] = x.reshape(n, c, -1, 4, w // 4, 4).shape
        shapes_seen["flat"] = x.view(-1, c, h * w).shape
        shapes_seen["heads"] = x.reshape(n, -1, 2, w).shape
        shapes_seen["unflat"] = x.flatten(2).unflatten(2, (h, -1)).shape
        return x + 1

    h, w = Dim("h", 32, 64, 96, multiple_of=16), Dim("w", 32, 64, 96, multiple_of=16)
    trtnet.record(forward, x=Input((BATCH, 6, h, w)))
    assert str(shapes_seen["patches"]) == "(batch, 6, h/4, 4, w/4, 4)"
    assert str(shapes_seen["flat"]) == "(batch, 6, h*w)"
    assert str(shapes_seen["heads"]) == "(batch, h*3, 2, w)"
    assert str(shapes_seen["unflat"]) == "(batch, 6, h, w)"


def test_nothing_is_recorded_for_what_changes_nothing() -> None:
    def forward(x):
        y = (
            x.contiguous()
            .detach()
            .reshape(x.shape)
            .view(-1, 4)
            .permute(0, 1)
            .transpose(1, 1)
            .squeeze()
            .expand(-1, 4)
            .flatten(1)
        )
        return y + x.repeat(1, 1)

    assert [layer.kind for layer in trtnet.record(forward, x=Input((BATCH, 4))).layers] == ["elementwise"]


def _caught(kind, match, function, *specs):
    """The error of recording, and that it underlines the line in this file."""
    names = "xyz"[: len(specs)]
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **dict(zip(names, specs)))
    where = caught.value.where
    assert where is not None
    assert where.file == __file__
    assert where.function == function.__name__
    first = inspect.getsourcelines(function)[1]
    assert first <= where.line < first + len(inspect.getsourcelines(function)[0])
    return str(caught.value)


def test_errors_name_the_line_and_the_way() -> None:
    def wrong_count(x):
        return x.reshape(5, 5)

    text = _caught(ShapeError, r"keep the number of elements: \(2, 12\) to \(5, 5\)", wrong_count, Input((2, 12)))
    assert "24 and 25" in text
    assert "x.reshape(5, 5)" in text

    def wrong_minus_one(x):
        return x.view(5, -1)

    text = _caught(ShapeError, r"\(2, 12\) to \(5, -1\)", wrong_minus_one, Input((2, 12)))
    assert "a multiple of 5" in text

    def two_unknown(x):
        return x.view(-1, -1)

    _caught(ShapeError, "only one size can be -1", two_unknown, Input((2, 12)))

    def dynamic(x):
        return x.reshape(-1, 5)

    text = _caught(ShapeError, "keep the number of elements", dynamic, Input((BATCH, 12)))
    assert "12 and 10 at min" in text

    def permuted(x):
        return x.permute(0, 0)

    _caught(ShapeError, "every dimension once", permuted, Input((2, 12)))

    def expanded(x):
        return x.expand(3, 12)

    text = _caught(
        ShapeError, r"only dimensions of size 1 can be expanded: \(2, 12\) to \(3, 12\)", expanded, Input((2, 12))
    )
    assert "2, or -1, in dimension 0" in text

    def no_such_dim(x):
        return x.transpose(0, 2)

    _caught(ShapeError, "no dimension 2", no_such_dim, Input((2, 12)))

    def as_int(x):
        return x.view(int(x.shape[0]), -1)

    _caught(ArgumentTypeError, "int.. of the dynamic size batch", as_int, Input((BATCH, 12)))

    def size_in_network(x, y):
        return x.view(y, -1)

    text = _caught(
        ArgumentTypeError, "a recorded tensor is no size", size_in_network, Input((2, 12)), Input((), "int64")
    )
    assert "take sizes from shapes" in text

    def nine(x):
        return x.reshape(1, 1, 1, 1, 1, 1, 1, 2, 12)

    _caught(ShapeError, "at most 8 dimensions", nine, Input((2, 12)))

    def bytes_of(x):
        return x.view(trtnet.int32)

    text = _caught(UnsupportedError, "another dtype", bytes_of, Input((2, 12)))
    assert "x.to(dtype)" in text

    def raw(x):
        return x.permute(1, 0)

    text = _caught(DtypeError, "does not take float8", raw, Input((2, 12), "float8_e4m3fn"))
    assert "dequantize it first" in text

    weight = trtnet.nn.Parameter(trtnet.ones(2, 12))

    def in_place(x):
        return x + weight.unsqueeze_(0)

    text = _caught(UnsupportedError, "unsqueeze_ changes the shape", in_place, Input((2, 12)))
    assert "x = x.unsqueeze(...)" in text


class UNet(nn.Module):
    """Down by two, up by two, and joined with what was before."""

    def forward(self, x):
        down = x[:, :, ::2, ::2]
        up = down.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return trtnet.cat([x, up], 1)


def test_a_u_net_that_fits_at_32_48_and_64_fails_at_41() -> None:
    h = Dim("h", 32, 48, 64)
    graph = trtnet.record(UNet(), x=Input((1, 2, h, 32)))
    engine = trtnet.reference(graph)
    for size in (32, 34, 64):
        assert engine(x=values((1, 2, size, 32))).shape == (1, 4, size, 32)
    with pytest.raises(ShapeError, match="concatenated tensors differ in a dimension other than 1") as caught:
        engine(x=values((1, 2, 41, 32)))
    text = str(caught.value)
    assert "41 and 42 at h=41" in text
    assert "return trtnet.cat([x, up], 1)" in text
    assert "multiple_of" in text
    with pytest.raises(ShapeError, match="outside its range"):
        engine(x=values((1, 2, 66, 32)))
    even = trtnet.record(UNet(), x=Input((1, 2, Dim("h", 32, 48, 64, multiple_of=2), 32)))
    assert not even.equalities


def test_a_reshape_that_fits_at_some_sizes_is_checked_on_call() -> None:
    graph = trtnet.record(lambda x: x.reshape(-1, 8), x=Input((Dim("n", 2, 4, 8), 4)))
    assert str(graph.outputs["output"].shape) == "(n//2, 8)"
    engine = trtnet.reference(graph)
    assert engine(x=values((6, 4))).shape == (3, 8)
    with pytest.raises(ShapeError, match="keep the number of elements"):
        engine(x=values((5, 4)))


def test_concrete_tensors_meet_dims() -> None:
    def forward(x):
        n = x.shape[0]
        table = trtnet.arange(6.0).view(1, 2, 3)
        return (
            table.expand(n, -1, -1) + x,
            table.repeat(n, 1, 1) + x,
            trtnet.arange(3).reshape(1, 3).expand(n, 3).repeat_interleave(n, 0),
        )

    graph = trtnet.record(forward, x=Input((BATCH, 2, 3)))
    x = values((3, 2, 3))
    first, second, third = trtnet.reference(graph)(x=x)
    np.testing.assert_allclose(first, np.arange(6.0).reshape(1, 2, 3) + x, rtol=1e-6)
    np.testing.assert_allclose(second, first)
    assert third.shape == (9, 3)
    lower_and_compare(graph)


def test_concrete_in_place_and_properties() -> None:
    def function(T, x):
        y = x.clone()
        y.unsqueeze_(0).transpose_(0, 1).squeeze_(1)
        return y, x.T, x.mT, x.view_as(y), x.ravel()

    check_concrete(function, values((3, 4)))
    table = trtnet.zeros(2, 3)
    table.view(-1)[4] = 7.0
    assert table[1, 1].item() == 7.0  # a view shares memory
    assert trtnet.numel(table) == torch.zeros(2, 3).numel()
    assert trtnet.broadcast_shapes((3, 1), (BATCH, 1, 4)) == (BATCH, 3, 4)
    with pytest.raises(ShapeError, match="cannot be broadcast"):
        trtnet.broadcast_shapes((3, 2), (3, 4))


def test_larger_and_smaller_sizes() -> None:
    """At every size as torch does with the numbers; sizes of the data's, too."""

    def function(T, x):
        n, least, most = x.shape[0], T.sym_max(x.shape[0], 3), T.sym_min(x.shape[0], 3)
        grown = T.nn.functional.pad(x, (0, 0, 0, least - n))
        return x[:most] * most, grown * least, x.sum() * T.sym_max(n, x.shape[1])

    graph = trtnet.record(lambda x: function(trtnet, x), x=Input((BATCH, 4)))
    engine = trtnet.reference(graph)
    for size in (1, 2, 3, 4, 7):
        x = np.random.default_rng(size).normal(size=(size, 4)).astype(np.float32)
        for made, wanted in zip(engine(x), function(torch, torch.from_numpy(x)), strict=True):
            assert made.shape == tuple(wanted.shape)
            np.testing.assert_allclose(made, wanted.numpy(), rtol=1e-5)
    for a, b in ((2, 3), (3, 2), (2, 2)):
        assert (trtnet.sym_max(a, b), trtnet.sym_min(a, b)) == (torch.sym_max(a, b), torch.sym_min(a, b))
    with pytest.raises(ArgumentTypeError, match="a size must be a whole number"):
        trtnet.sym_max(BATCH, 2.5)
