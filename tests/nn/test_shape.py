"""Flatten, Unflatten, PixelShuffle and their kin against torch.nn's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modules import check_module, values

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ShapeError, UnsupportedError

BATCH = Dim("batch", min=1, opt=4, max=8)


@given(st.integers(0, 3), st.integers(-1, 3))
def test_flatten(start, end) -> None:
    if end != -1 and end < start:
        start, end = end, start
    same = start == (end % 4)
    if not same:
        check_module("Flatten", (start, end), values((3, 2, 4, 5)), shapes={"input": (BATCH, 2, 4, 5)})
    check_module("Flatten", (), values((3, 2, 4)), shapes={"input": (BATCH, 2, 4)})


@pytest.mark.parametrize("size", [(2, 3), (-1, 3), (6, 1), (2, -1, 1)])
@pytest.mark.parametrize("dim", [1, -2])
def test_unflatten(size, dim) -> None:
    check_module("Unflatten", (dim, size), values((3, 6, 5)), shapes={"input": (BATCH, 6, 5)}, compile=True)


def test_unflatten_errors() -> None:
    with pytest.raises(UnsupportedError, match="named dimensions"):
        nn.Unflatten("features", (("a", 2), ("b", 3)))
    with pytest.raises(ShapeError, match="keep the number of elements"):
        trtnet.record(nn.Unflatten(1, (2, 4)), input=Input((2, 6)))


@given(st.integers(2, 3), st.integers(1, 2), st.booleans())
def test_pixels_and_channels(factor, channels, compile) -> None:
    wide = (3, channels * factor**2, 2, 4)
    check_module("PixelShuffle", (factor,), values(wide), shapes={"input": (BATCH, *wide[1:])}, compile=compile)
    tall = (3, channels, factor * 2, factor)
    check_module("PixelUnshuffle", (factor,), values(tall), shapes={"input": (BATCH, *tall[1:])}, compile=compile)
    check_module("ChannelShuffle", (factor,), values(wide), shapes={"input": (BATCH, *wide[1:])}, compile=compile)
