"""Checks of networks that were written by hand."""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from harness import needs_rtx, new_network

import trtnet
from models.lenet import LeNet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.basics.bundled import PACKAGE, bundled
from trtnet.errors import ArgumentError, BuildError, ShapeError, WeightsError

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


def test_a_size_of_the_goals_best_batch_is_none_of_any_batch():
    """A mean over 4 rows in place of a mean over all: the same numbers at the best batch alone."""
    goal = trtnet.record(lambda x: {"y": x - x.mean(0, keepdim=True)}, x=Input((Dim("n", min=1, opt=4, max=8), 3)))
    trt = needs_rtx().trt
    network, fourth = new_network(), np.full((1, 1), 0.25, np.float32)
    x = network.add_input("x", trt.DataType.FLOAT, (-1, 3))
    total = network.add_reduce(x, trt.ReduceOperation.SUM, 1, True).get_output(0)
    scale = network.add_constant((1, 1), trt.Weights(fourth)).get_output(0)
    mean = network.add_elementwise(total, scale, trt.ElementWiseOperation.PROD).get_output(0)
    made = network.add_elementwise(x, mean, trt.ElementWiseOperation.SUB).get_output(0)
    made.name = "y"
    network.mark_output(made)
    found = trtnet.learn.check(goal, network)
    assert not found
    assert "at n = 1" in found.differences[-1].found


def test_sizes_that_the_goal_refuses_are_none_to_compare_at():
    goal = trtnet.record(lambda x: {"y": x.reshape(-1, 2, 3).sum(1)}, x=Input((Dim("n", min=2, opt=4, max=8), 3)))
    trt = needs_rtx().trt
    network = new_network()
    pairs = network.add_shuffle(network.add_input("x", trt.DataType.FLOAT, (-1, 3)))
    pairs.reshape_dims = (-1, 2, 3)
    made = network.add_reduce(pairs.get_output(0), trt.ReduceOperation.SUM, 2, False).get_output(0)
    made.name = "y"
    network.mark_output(made)
    assert trtnet.learn.check(goal, network)


@pytest.mark.parametrize("row", [None, 1, 7])
def test_every_row_of_a_table_is_looked_up(row):
    """Layers in another order, so that what is computed decides: all ids must be among the inputs."""

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 3)

        def forward(self, ids):
            return {"y": F.relu(self.table(ids))}

    goal = trtnet.record(Rows(), ids=Input((4, 5), "int32"))
    trt = needs_rtx().trt
    table = goal.state_dict()["table.weight"].copy()
    if row is not None:
        table[row] += 1
    network = new_network()
    ids = network.add_input("ids", trt.DataType.INT32, (4, 5))
    same = network.add_identity(ids).get_output(0)
    rows = network.add_constant(table.shape, trt.Weights(table)).get_output(0)
    taken = network.add_gather(rows, same, 0).get_output(0)
    made = network.add_activation(taken, trt.ActivationType.RELU).get_output(0)
    made.name = "y"
    network.mark_output(made)
    found = trtnet.learn.check(goal, network)
    assert bool(found) == (row is None), str(found)


def test_the_line_of_the_goal_is_named(goal):
    (first, *_) = checked(goal, scale=2.0).differences
    assert first.module == "conv1"
    assert "self.conv1(image)" in str(first)
    assert "36 differ" in first.found


def lenet_by_hand(*, batch=1, scale=1.0):
    """LeNet in the raw API, of the goal's weights."""
    trt = needs_rtx().trt
    network, held = new_network(), []

    def weights(name):
        held.append(np.ascontiguousarray(trtnet.learn.goal("lenet").state_dict()[name] * np.float32(scale)))
        return trt.Weights(held[-1])

    def linear(x, name, outputs, inputs):
        matrix = network.add_constant((outputs, inputs), weights(f"{name}.weight")).get_output(0)
        x = network.add_matrix_multiply(x, trt.MatrixOperation.NONE, matrix, trt.MatrixOperation.TRANSPOSE)
        bias = network.add_constant((1, outputs), weights(f"{name}.bias")).get_output(0)
        return network.add_elementwise(x.get_output(0), bias, trt.ElementWiseOperation.SUM).get_output(0)

    x = network.add_input("image", trt.DataType.FLOAT, (batch, 1, 28, 28))
    for name, maps in (("conv1", 20), ("conv2", 50)):
        x = network.add_convolution_nd(x, maps, (5, 5), weights(f"{name}.weight"), weights(f"{name}.bias"))
        x = network.add_pooling_nd(x.get_output(0), trt.PoolingType.MAX, (2, 2))
        x.stride_nd = (2, 2)
        x = x.get_output(0)
    flat = network.add_shuffle(x)
    flat.reshape_dims = (batch, 800)
    x = linear(flat.get_output(0), "fc1", 500, 800)
    x = linear(network.add_activation(x, trt.ActivationType.RELU).get_output(0), "fc2", 10, 500)
    softmax = network.add_softmax(x)
    softmax.axes = 1 << 1
    softmax.get_output(0).name = "prob"
    network.mark_output(softmax.get_output(0))
    return network, held


@pytest.mark.parametrize("batch", [1, 7, -1])
def test_a_goal_by_name_in_the_networks_own_batch(batch):
    network, held = lenet_by_hand(batch=batch)
    found = trtnet.learn.check("lenet", network)
    assert found, str(found)
    del held


def test_what_is_wrong_by_a_goals_name():
    network, held = lenet_by_hand(scale=0.5)
    found = trtnet.learn.check("lenet", network)
    wrong = next(one for one in found.differences if isinstance(one, WeightsError))
    assert wrong.problem.endswith("than conv1.weight")
    with pytest.raises(ArgumentError, match="no goal of this name") as caught:
        trtnet.learn.check("lenett", network)
    assert caught.value.remedy == "did you mean 'lenet'?"
    with pytest.raises(ArgumentError, match="no goal of this name") as caught:
        trtnet.learn.check(3, network)
    assert caught.value.remedy == "list them: trtnet models"
    other = trtnet.learn.check("resnet18", network)
    assert [one.expected for one in other.differences] == ["(1, 3, 224, 224)", "output"], str(other)
    del held


def test_a_goal_has_trained_weights_or_the_same_initial_ones():
    trained = LeNet().load_weights(bundled("weights/lenet.safetensors")).state_dict()
    for name, value in trtnet.learn.goal("lenet").state_dict().items():
        assert value.tobytes() == trained[name].tobytes(), name
    trtnet.manual_seed(3)
    first = trtnet.learn.goal("pointnet").state_dict()
    drawn = np.asarray(trtnet.rand(4))
    trtnet.manual_seed(3)
    assert np.array_equal(trtnet.rand(4), drawn), "a goal takes none of the user's draws"
    again = trtnet.learn.goal("pointnet", batch=5).state_dict()
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_the_goal_of_an_installed_package_needs_no_checkout(tmp_path):
    package = shutil.copytree(PACKAGE, tmp_path / "trtnet", ignore=shutil.ignore_patterns("__pycache__"))
    for folder, pattern in (("models", "*.py"), ("weights", "lenet.safetensors")):  # as hatch_build.py lays it
        (package / "_bundled" / folder).mkdir(parents=True)
        for path in (PACKAGE.parent / folder).glob(pattern):
            shutil.copy(path, package / "_bundled" / folder)
    code = "import trtnet; print(trtnet.__file__, repr(trtnet.learn.goal('lenet')))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(package))
    assert "Graph(LeNet: image=(1, 1, 28, 28)" in done.stdout


def test_the_example():
    (example,) = doctest.DocTestFinder().find(trtnet.learn.goal, "goal", globs={"trtnet": trtnet})
    assert doctest.DocTestRunner().run(example).failed == 0
