"""LayerNorm, GroupNorm, RMSNorm, LocalResponseNorm and the softmax modules against torch.nn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modules import both, check_module, values

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentError, ShapeError


@given(st.data())
def test_layer_norm(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    given_shape = shape[0] if len(shape) == 1 and data.draw(st.booleans()) else list(shape)
    options = {"eps": 1e-3, "elementwise_affine": data.draw(st.booleans()), "bias": data.draw(st.booleans())}
    check_module("LayerNorm", (given_shape,), values((2, *shape)), **options)


@given(st.data())
def test_rms_norm(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    eps = data.draw(st.sampled_from([None, 1e-6, 1e-2]))
    check_module(
        "RMSNorm",
        (list(shape), eps, data.draw(st.booleans())),
        {"x": values((2, *shape))},
        rtol=1e-4 if eps is None else 1e-8,
    )


@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(1, 3))
def test_group_norm(groups, each, affine, spatial):
    check_module("GroupNorm", (groups, groups * each, 1e-3, affine), values((2, groups * each, *(3,) * spatial)))


def test_local_response_norm():
    check_module("LocalResponseNorm", (3, 0.1, 0.8, 1.5), values((2, 5, 3, 3)), rtol=1e-6)
    check_module("LocalResponseNorm", (4,), values((2, 5, 3)), rtol=1e-6)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
def test_softmax(name):
    check_module(name, (1,), values((2, 3, 4)))
    check_module(name, (-1,), values((2, 3, 4)))


def test_softmax_2d():
    for shape in ((2, 3, 4, 5), (3, 4, 5)):
        check_module("Softmax2d", (), values(shape))
    with pytest.raises(ShapeError, match="3 or 4 dimensions"):
        trtnet.record(nn.Softmax2d(), input=Input((2, 3)))


def test_compiles():
    batch = Dim("batch", min=1, opt=2, max=4)
    check_module("LayerNorm", ((4, 5),), values((2, 3, 4, 5)), compile=True, shapes={"input": (batch, 3, 4, 5)})
    check_module("GroupNorm", (2, 4), values((2, 4, 5)), compile=True, shapes={"input": (batch, 4, 5)})
    check_module("RMSNorm", (5, 1e-6), {"x": values((2, 3, 5))}, compile=True, shapes={"x": (batch, 3, 5)})
    check_module("LogSoftmax", (1,), values((2, 3)), compile=True, shapes={"input": (batch, 3)})


def test_initial_values():
    for name, args in (("LayerNorm", (3,)), ("GroupNorm", (1, 3)), ("RMSNorm", (3,))):
        ours, theirs = both(name, *args)
        for key, value in theirs.state_dict().items():
            np.testing.assert_array_equal(ours.state_dict()[key], value.numpy())


def test_errors():
    with pytest.raises(ArgumentError, match="divisible by num_groups"):
        nn.GroupNorm(2, 3)
    with pytest.raises(ShapeError, match="end in normalized_shape"):
        trtnet.record(nn.LayerNorm(4), input=Input((2, 5)))
