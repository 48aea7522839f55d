"""Padding: random amounts against torch, dynamic sizes, which layer is recorded, and the errors."""

import numpy as np
import pytest
from families import check, check_concrete, shapes, values
from hypothesis import assume, given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError

BATCH = Dim("batch", min=1, opt=4, max=8)
H = Dim("h", min=8, opt=9, max=12)


@given(shapes(max_size=5), st.sampled_from(["float32", "int64", "bool"]), st.data())
def test_constant(given_shape, dtype, data) -> None:
    sizes, recorded = given_shape
    count = data.draw(st.integers(1, len(sizes)))
    amounts = [data.draw(st.integers(-1, 3)) for _ in range(2 * count)]
    after = [s + sum(amounts[2 * i : 2 * i + 2]) for i, s in enumerate(reversed(sizes[-count:]))]
    assume(all(size > 0 for size in after))
    assume(
        all(s + min(a, 0) + min(b, 0) >= 0 for s, a, b in zip(reversed(sizes[-count:]), amounts[::2], amounts[1::2]))
    )
    value = (
        data.draw(st.sampled_from([0, 2, -3.5, float("inf")])) if dtype == "float32" else data.draw(st.integers(0, 1))
    )

    def function(T, x):
        pad = T.nn.functional.pad
        return pad(x, amounts), pad(x, tuple(amounts), value=value), pad(x, amounts, "constant", value)

    check(function, {"x": values(sizes, dtype)}, {"x": recorded}, compile=data.draw(st.booleans()))


@pytest.mark.parametrize("rank", [1, 2, 3])
@given(st.data())
def test_other_modes(rank, data) -> None:
    sizes = tuple(data.draw(st.integers(2, 5)) for _ in range(rank))
    amounts = [data.draw(st.integers(-1, s - 1)) for s in reversed(sizes) for _ in range(2)]
    assume(all(s + min(a, 0) + min(b, 0) > 0 for s, a, b in zip(reversed(sizes), amounts[::2], amounts[1::2])))
    recorded = (BATCH, 2, *(Dim(f"d{i}", s, s, s + 2) if data.draw(st.booleans()) else s for i, s in enumerate(sizes)))
    modes = ["replicate", "circular", "reflect"]
    # what circular padding goes round is what is left of the dimension
    if any(max(a, b) > s + min(a, 0) + min(b, 0) for s, a, b in zip(reversed(sizes), amounts[::2], amounts[1::2])):
        modes.remove("circular")

    def function(T, x):
        return [T.nn.functional.pad(x, amounts, mode=mode) for mode in modes]

    check(function, {"x": values((2, 2, *sizes))}, {"x": recorded}, compile=data.draw(st.booleans()))


def test_zeros_around_images_are_a_padding_layer() -> None:
    def kinds(*args, shape=(BATCH, 2, H, 5), dtype="float32"):
        return [layer.kind for layer in trtnet.record(lambda x: F.pad(x, *args), x=Input(shape, dtype)).layers]

    assert kinds((1, 2, 0, -1)) == ["padding"]
    assert kinds((1, 2)) == ["padding"]
    assert kinds((1, 2), shape=(BATCH, 2, 3, H, 5)) == ["padding"]
    assert kinds((1, 2), shape=(BATCH, 2, 5)) == ["slice"]
    assert kinds((0, 0, 0, 0, 1, 1)) == ["slice"]
    assert kinds((1, 2), dtype="int64") == ["slice"]
    assert kinds((1, 1), "constant", 2.0) == ["constant", "slice"]
    assert kinds((-1, -1, -1, 0), "reflect") == ["slice"]


def test_dynamic_amounts() -> None:
    def function(T, x):
        h = x.shape[2]
        pad = T.nn.functional.pad
        return (
            pad(x, (0, 0, 0, -h % 4)),
            pad(x, (1, 1, 2, 3), "reflect"),
            pad(x, (0, 0, h // 2, 0), value=1.0),
            pad(x, (0, 0, 0, 0, 0, 0, 1, 0)),
        )

    graph = check(function, {"x": values((3, 2, 9, 5))}, {"x": (BATCH, 2, H, 5)})
    assert str(graph.outputs["output_1"].shape) == "(batch, 2, h + 5, 7)"
    engine = trtnet.reference(graph)
    for height in (8, 10, 12):
        assert engine(x=values((1, 2, height, 5)))[0].shape[2] % 4 == 0


def test_concrete() -> None:
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    check_concrete(
        lambda T, x: [
            T.nn.functional.pad(x, (1, 2), mode) for mode in ("constant", "reflect", "replicate", "circular")
        ],
        x,
    )


def _error(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return str(caught.value)


def test_errors() -> None:
    x = Input((1, 2, 4, 5))
    _error(ArgumentError, "there is no such padding", lambda x: F.pad(x, (1, 1), "mirror"), x=x)
    _error(ShapeError, "two numbers for each padded dimension", lambda x: F.pad(x, (1, 1, 1)), x=x)
    _error(ShapeError, "two numbers for each padded dimension", lambda x: F.pad(x, (1,) * 10), x=x)
    text = _error(
        ShapeError,
        "reflect padding by 5 needs at least 6 elements in dimension 3",
        lambda x: F.pad(x, (5, 0), "reflect"),
        x=x,
    )
    assert "at least 6" in text
    _error(ShapeError, "circular padding by 6", lambda x: F.pad(x, (6, 0), "circular"), x=x)
    text = _error(
        ShapeError, "reflect padding by 8 needs", lambda x: F.pad(x, (0, 0, 8, 0), "reflect"), x=Input((1, 2, H, 5))
    )
    assert "h >= 9" in text
    _error(ShapeError, "cuts off more than there is", lambda x: F.pad(x, (-3, -3)), x=x)
    _error(
        DtypeError, "integer tensor met a float number", lambda x: F.pad(x, (1, 1), value=0.5), x=Input((2, 3), "int64")
    )
