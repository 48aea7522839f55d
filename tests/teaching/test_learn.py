"""Checks of networks that were written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from harness import needs_rtx, new_network

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import BuildError, ShapeError, WeightsError

BATCH = Dim("batch", min=1, opt=2, max=8)


class Goal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, image):
        return {"maps": F.max_pool2d(F.relu(self.conv1(image)), 2)}


@pytest.fixture(scope="module")
def goal():
    return trtnet.record(Goal(), image=Input((BATCH, 1, 8, 8)))


def written(goal, *, padding=1, operation="RELU", scale=1.0, name="maps", size=8, swapped=False, spare=False):
    """The goal by hand, and right with these arguments left out."""
    trt = needs_rtx().trt
    network = new_network()
    state = goal.state_dict()
    held = [(state["conv1.weight"] * np.float32(scale)).copy(), state["conv1.bias"].copy()]
    image = network.add_input("image", trt.DataType.FLOAT, (-1, 1, size, size))
    x = network.add_convolution_nd(image, 4, (3, 3), *map(trt.Weights, held))
    x.padding_nd = (padding, padding)
    x.name = "mine"
    kinds = ["relu", "pool"][:: -1 if swapped else 1]
    for kind in kinds:
        if kind == "relu":
            x = network.add_activation(x.get_output(0), getattr(trt.ActivationType, operation))
        else:
            x = network.add_pooling_nd(x.get_output(0), trt.PoolingType.MAX, (2, 2))
            x.stride_nd = (2, 2)
    if spare:
        x = network.add_identity(x.get_output(0))
    x.get_output(0).name = name
    network.mark_output(x.get_output(0))
    return network, held


def checked(goal, **wrong):
    network, held = written(goal, **wrong)
    found = trtnet.learn.check(goal, network)
    del held
    return found


def test_what_is_right(goal):
    assert checked(goal)
    assert str(checked(goal)) == "the network computes what its goal does"
    assert checked(goal, swapped=True), "a maximum of RELUs is the RELU of the maximum"
    assert checked(goal, spare=True), "a layer too many that changes nothing"


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"padding": 0}, ShapeError, "the output 'maps' has another shape"),
        ({"operation": "TANH"}, BuildError, "does another thing"),
        ({"scale": 2.0}, WeightsError, "has other weights than conv1.weight"),
        ({"name": "out"}, BuildError, "the network has other outputs"),
        ({"size": 9}, ShapeError, "the input 'image' has another shape"),
    ],
    ids=["padding", "operation", "weights", "name", "size"],
)
def test_what_is_wrong(goal, wrong, kind, text):
    found = checked(goal, **wrong)
    assert not found
    assert any(isinstance(one, kind) and text in one.problem for one in found.differences), str(found)
    assert all(one.remedy and one.expected and one.found for one in found.differences)


def test_the_line_of_the_goal_is_named(goal):
    (first, *_) = checked(goal, scale=2.0).differences
    assert first.module == "conv1"
    assert "self.conv1(image)" in str(first)
    assert "36 differ" in first.found
