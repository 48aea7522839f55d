"""BatchNorm and InstanceNorm against torch.nn in eval mode; the fold."""

import copy
import inspect

import numpy as np
import pytest
import torch
from harness import lower_and_compare, needs_rtx, randomize, torch_state
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import both, check_module, values

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentTypeError, DtypeError, ShapeError


@given(st.data())
@settings(max_examples=40)
def test_batch_norm(data):
    n = data.draw(st.integers(1, 3))
    options = {
        "eps": data.draw(st.sampled_from([1e-5, 1e-3])),
        "affine": data.draw(st.booleans()),
        "momentum": data.draw(st.sampled_from([0.1, None])),
    }
    options |= {"track_running_stats": data.draw(st.booleans())}
    if "bias" in inspect.signature(torch.nn.BatchNorm1d).parameters:  # from torch 2.12 on
        options |= {"bias": data.draw(st.booleans())}
    rank = data.draw(st.sampled_from([0, 1])) if n == 1 else n
    x = values((2, 3, *data.draw(st.tuples(*[st.integers(1, 4)] * rank))))
    check_module(f"BatchNorm{n}d", (3,), x, rtol=1e-6, **options)


@given(st.data())
@settings(max_examples=40)
def test_instance_norm(data):
    n = data.draw(st.integers(1, 3))
    options = {"affine": data.draw(st.booleans()), "track_running_stats": data.draw(st.booleans()), "eps": 1e-3}
    lead = data.draw(st.sampled_from([(), (2,)]))
    check_module(
        f"InstanceNorm{n}d",
        (3,),
        values((*lead, 3, *data.draw(st.tuples(*[st.integers(2, 4)] * n)))),
        rtol=1e-6,
        **options,
    )


def test_compiles():
    batch = Dim("batch", min=1, opt=2, max=4)
    for n in (1, 2, 3):
        shape = (3, *range(4, 4 + n))
        check_module(
            f"BatchNorm{n}d", (3,), values((2, *shape)), compile=True, shapes={"input": (batch, *shape)}, rtol=1e-6
        )
    check_module("BatchNorm2d", (3,), values((2, 3, 4, 5)), compile=True, track_running_stats=False, rtol=1e-6)
    check_module("InstanceNorm2d", (3,), values((2, 3, 4, 5)), compile=True, affine=True, rtol=1e-6)


def test_fold():
    """The scale layer's weights are what the recipe says, to the bit, and carry the parameters' names."""
    needs_rtx()
    theirs = randomize(torch.nn.BatchNorm2d(4, eps=1e-3), 3)
    ours = nn.BatchNorm2d(4, eps=1e-3)
    ours.load_state_dict(torch_state(theirs))
    lowering = lower_and_compare(trtnet.record(ours, input=Input((1, 4, 2, 2))), compile=False)
    state = torch_state(theirs)
    scale = state["weight"] / np.sqrt(state["running_var"] + np.float32(1e-3))
    shift = state["bias"] - state["running_mean"] * scale
    held = {holding.name: holding.array for holding in lowering.ledger}
    assert len(held) == 2
    for name, array in held.items():
        np.testing.assert_array_equal(array, scale if name.startswith("divide") else shift)
        assert "running_var" in name


def test_half_is_folded_in_float32():
    ours = nn.BatchNorm2d(4)
    ours.load_state_dict(torch_state(randomize(torch.nn.BatchNorm2d(4))))
    graph = trtnet.record(ours.half(), input=Input((1, 4, 2, 2), "float16"))
    for _, _, weight in graph.weights():
        assert weight.operation == "cast"
        assert weight.dtype is trtnet.float16
        assert weight.arguments[0].dtype is trtnet.float32


def test_initial_values():
    for name in ("BatchNorm2d", "InstanceNorm2d"):
        ours, theirs = both(name, 3, affine=True, track_running_stats=True)
        for key, value in theirs.state_dict().items():
            np.testing.assert_array_equal(ours.state_dict()[key], value.numpy())
    assert ours.num_batches_tracked.dtype is trtnet.int64
    other = copy.deepcopy(ours)
    other.weight.numpy()[:] = 7
    assert ours.weight.numpy()[0] == 1


def test_sync_batch_norm():
    module = nn.Sequential(nn.SyncBatchNorm(3), nn.ReLU())
    assert nn.SyncBatchNorm.convert_sync_batchnorm(module) is module
    assert list(module.state_dict()) == list(torch.nn.Sequential(torch.nn.SyncBatchNorm(3)).state_dict())
    assert str(trtnet.record(module, input=Input((2, 3, 4))).outputs["output"].shape) == "(2, 3, 4)"


def test_errors():
    with pytest.raises(ShapeError, match="BatchNorm2d takes an input of 4 dimensions"):
        trtnet.record(nn.BatchNorm2d(3), input=Input((2, 3, 4)))
    with pytest.raises(ShapeError, match=r"running_mean of batch_norm does not fit"):
        trtnet.record(nn.BatchNorm2d(3), input=Input((2, 4, 4, 4)))
    with pytest.raises(DtypeError, match=r"module\.half"):
        trtnet.record(nn.BatchNorm2d(3), input=Input((2, 3, 4, 4), "float16"))
    with pytest.raises(ArgumentTypeError, match="track"):
        nn.BatchNorm2d(3, track=True)
