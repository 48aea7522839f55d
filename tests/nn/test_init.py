"""trtnet.nn.init against torch.nn.init: what is drawn, and when."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import nn
from trtnet.errors import ArgumentError, ArgumentTypeError, ShapeError
from trtnet.nn import init
from trtnet.torch_names.compat import no_grad

RANDOM = [
    ("uniform_", (-2.0, 3.0)),
    ("normal_", (1.0, 2.0)),
    ("trunc_normal_", (0.5, 1.0, -1.0, 1.0)),
    ("trunc_normal_", (0.0, 0.02)),
    ("xavier_uniform_", (2.0,)),
    ("xavier_normal_", (0.5,)),
    ("kaiming_uniform_", ()),
    ("kaiming_uniform_", (0.3, "fan_out", "leaky_relu")),
    ("kaiming_normal_", (0, "fan_out", "relu")),
    ("kaiming_normal_", (0, "fan_in", "tanh")),
]


@pytest.mark.parametrize(("name", "args"), RANDOM)
@pytest.mark.parametrize("shape", [(200, 300), (40, 60, 5, 5)])
def test_distributions(name, args, shape):
    trtnet.manual_seed(0)
    torch.manual_seed(0)
    parameter = nn.Parameter(trtnet.zeros(*shape))
    assert getattr(init, name)(parameter, *args) is parameter
    assert parameter.value.array is None  # drawn when it is read
    mine, theirs = parameter.numpy(), getattr(torch.nn.init, name)(torch.empty(shape), *args).numpy()
    assert mine.dtype == np.float32
    assert mine.shape == shape
    spread = theirs.std()
    assert abs(mine.std() - spread) < 0.02 * spread
    assert abs(mine.mean() - theirs.mean()) < 0.03 * spread
    assert abs(mine.max() - theirs.max()) < 0.4 * spread
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert abs(np.quantile(mine, quantile) - np.quantile(theirs, quantile)) < 0.04 * spread


def test_constants():
    for call, wanted in (
        (lambda m, t: m.ones_(t), np.ones((2, 3))),
        (lambda m, t: m.zeros_(t), np.zeros((2, 3))),
        (lambda m, t: m.constant_(t, 1.5), np.full((2, 3), 1.5)),
        (lambda m, t: m.eye_(t), np.eye(2, 3)),
    ):
        np.testing.assert_array_equal(call(init, trtnet.empty(2, 3)).numpy(), wanted)
        np.testing.assert_array_equal(call(torch.nn.init, torch.empty(2, 3)).numpy(), wanted)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_dirac(groups, each, channels, spatial):
    shape = (groups * each, channels, *(3, 2, 5)[:spatial])
    mine = init.dirac_(trtnet.empty(*shape), groups).numpy()
    np.testing.assert_array_equal(mine, torch.nn.init.dirac_(torch.empty(shape), groups).numpy())


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 2, 5)])
def test_orthogonal(shape):
    flat = init.orthogonal_(trtnet.empty(*shape), 2.0).numpy().reshape(shape[0], -1)
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_sparse():
    drawn = init.sparse_(trtnet.empty(10, 20), 0.35).numpy()
    assert ((drawn == 0).sum(0) == 4).all()


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_fans(shape):
    assert init._calculate_fan_in_and_fan_out(trtnet.empty(*shape)) == torch.nn.init._calculate_fan_in_and_fan_out(
        torch.empty(shape)
    )


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"])
def test_gains(name):
    assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


def test_as_model_files_use_it():
    """The usual loops over modules, and `.data` with the methods that change a tensor in place."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.Embedding(5, 6))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
        elif isinstance(module, nn.Linear):
            module.weight.data.normal_(mean=0.0, std=0.02)
            module.bias.data.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.data.uniform_(-0.1, 0.1)
    assert (net[1].weight.numpy() == 0.5).all()
    assert not net[0].bias.numpy().any()
    assert 0 < np.abs(net[2].weight.numpy()).max() < 0.2
    assert not net[2].bias.numpy().any()
    assert np.abs(net[3].weight.numpy()).max() <= 0.1
    with no_grad():
        net[3].weight[0].fill_(7.0)
        net[2].weight.copy_(trtnet.ones(2, 4))
    assert (net[3].weight.numpy()[0] == 7).all()
    assert (net[2].weight.numpy() == 1).all()


def test_half_parameters_are_drawn_in_their_dtype():
    parameter = nn.Linear(4, 4, dtype=trtnet.bfloat16).weight
    init.normal_(parameter)
    assert parameter.numpy().dtype == trtnet.bfloat16.numpy


def test_errors():
    for call, kind, message in (
        (lambda: init.eye_(trtnet.zeros(3)), ShapeError, "takes a matrix"),
        (lambda: init.xavier_normal_(trtnet.zeros(3)), ShapeError, "two dimensions or more"),
        (lambda: init.kaiming_normal_(trtnet.zeros(3, 3), mode="fan"), ArgumentError, "fan_in or fan_out"),
        (lambda: init.calculate_gain("swish"), ArgumentError, "no such nonlinearity"),
        (lambda: init.ones_([1.0]), ArgumentTypeError, "Parameter or Array"),
        (lambda: init.orthogonal_(trtnet.zeros(3)), ShapeError, "two dimensions or more"),
        (lambda: init.dirac_(trtnet.zeros(3, 3)), ShapeError, "convolution's kernel"),
        (lambda: init.dirac_(trtnet.zeros(3, 3, 3), 2), ArgumentError, "divisible by groups"),
    ):
        with pytest.raises(kind, match=message) as caught:
            call()
        assert caught.value.where.file == __file__
