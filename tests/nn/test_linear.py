"""Linear, Identity and Bilinear."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modules import both, check_module, values

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentTypeError, DtypeError, ShapeError


@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), st.lists(st.integers(1, 3), max_size=3))
def test_linear(features, out, bias, front):
    check_module("Linear", (features, out, bias), values((*front, features)))


def test_compiles():
    batch = Dim("batch", min=1, opt=2, max=8)
    check_module("Linear", (4, 5), values((2, 3, 4)), compile=True, shapes={"input": (batch, 3, 4)})


def test_identity():
    module = nn.Identity(3, unused=True)
    assert module.state_dict() == {}
    assert repr(module) == repr(torch.nn.Identity())
    graph = trtnet.record(nn.Sequential(nn.Identity(), nn.Linear(2, 2)), input=Input((1, 2)))
    assert [layer.path for layer in graph.layers] == ["1"]


def test_initial_distribution():
    trtnet.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = both("Linear", 400, 300)
    for mine, torchs in ((ours.weight.numpy(), theirs.weight), (ours.bias.numpy(), theirs.bias)):
        assert np.abs(mine).max() <= 1 / 20
        assert abs(mine.std() / torchs.std().item() - 1) < 0.1
        assert abs(mine.mean()) < 0.01


def test_nothing_is_drawn_before_it_is_read():
    module = nn.Linear(10, 10)
    assert module.weight.value.array is None
    trtnet.record(module, input=Input((1, 10)))
    assert module.weight.value.array is None
    first = module.weight.numpy()
    assert first is module.weight.numpy()


def test_drawing_depends_on_the_seed_and_not_on_the_order_of_reading():
    def draw(order):
        trtnet.manual_seed(5)
        made = [nn.Linear(3, 3) for _ in range(2)]
        found = {i: made[i].weight.numpy() for i in order}
        return np.stack([found[0], found[1]])

    np.testing.assert_array_equal(draw([0, 1]), draw([1, 0]))
    assert not np.array_equal(*draw([0, 1]))


def test_errors():
    with pytest.raises(ShapeError, match="alike but for the last size") as caught:
        trtnet.record(nn.Bilinear(2, 3, 4), input1=Input((5, 2)), input2=Input((5, 2)))
    assert caught.value.module == "Bilinear"
    with pytest.raises(ArgumentTypeError, match="biased"):
        nn.Linear(2, 3, biased=True)
    with pytest.raises(ShapeError, match="make in_features equal") as caught:
        trtnet.record(nn.Linear(3, 4), input=Input((2, 5)))
    assert caught.value.module == "Linear"
    with pytest.raises(DtypeError, match="one dtype"):
        trtnet.record(nn.Linear(3, 4).half(), input=Input((2, 3)))
    with pytest.raises(ShapeError, match="cannot be negative"):
        nn.Linear(-1, 3)
