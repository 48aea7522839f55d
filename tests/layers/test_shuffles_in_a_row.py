"""Shuffles one after the other as one: by random ones, compared with torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet.graph.recorder import Recorder
from trtnet.graph.tensor import recorded
from trtnet.layers.shaping import Shuffle


@st.composite
def shuffles(draw, shape):
    """The attributes of a shuffle of this shape, and the shape of its result."""
    first = tuple(draw(st.permutations(range(len(shape))))) if draw(st.booleans()) else None
    between = [shape[i] for i in first] if first else list(shape)
    sizes = None
    if draw(st.booleans()):
        sizes = list(between)
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(sizes)))
            if draw(st.booleans()) and place < len(sizes) and sizes[place] % 2 == 0:
                sizes[place : place + 1] = [2, sizes[place] // 2]
            elif place + 1 < len(sizes) and draw(st.booleans()):
                sizes[place : place + 2] = [sizes[place] * sizes[place + 1]]
            elif len(sizes) < 6:
                sizes.insert(place, 1)
        between = sizes
    second = tuple(draw(st.permutations(range(len(between))))) if draw(st.booleans()) else None
    made = [between[i] for i in second] if second else list(between)
    return (first, None if sizes is None else tuple(sizes), second), made


def applied(x: torch.Tensor, attributes) -> torch.Tensor:
    first, sizes, second = attributes
    x = x if first is None else x.permute(first)
    x = x if sizes is None else x.reshape(sizes)
    return x if second is None else x.permute(second)


@given(st.data())
def test_one_in_the_place_of_two(data) -> None:
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
    one, between = data.draw(shuffles(shape))
    two, made = data.draw(shuffles(between))
    with Recorder() as recorder:
        x = recorded(trtnet.Size(shape), trtnet.float32, recorder)
        recorder.inputs["x"] = x
        middle = recorder.emit(Shuffle((x,), *one))
        last = recorder.emit(Shuffle((middle,), *two))
        both = last.layer.following(middle.layer)
        if both is None:
            assert one[1] is not None
            assert two[1] is not None
            return
        assert both.infer() == ((last.shape, last.dtype),)
    assert both.inputs == (x,)
    values = torch.arange(math.prod(shape)).reshape(shape)
    expected = applied(applied(values, one), two)
    found = applied(values, (both.first_transpose, both.reshape_dims, both.second_transpose))
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert list(expected.shape) == made
