"""torch's names around a model: what model files import and mention without computing with it."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from harness import check_against_torch

import trtnet
from trtnet import Input, nn
from trtnet import functional as F
from trtnet.errors import UnsupportedError


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("jit", ("Final", "export", "ignore", "is_scripting", "script", "unused")),
        ("utils.checkpoint", ("checkpoint", "checkpoint_sequential")),
        ("amp", ("autocast", "custom_fwd")),
        ("cuda", ("is_available",)),
        ("cuda.amp", ("autocast",)),
        ("autograd", ("Function", "Variable")),
        ("linalg", ("norm", "vector_norm")),
        ("nn.parameter", ("Parameter",)),
        ("nn.init", ("trunc_normal_",)),
        ("nn.functional", ("relu",)),
        ("nn.attention", ("SDPBackend", "sdpa_kernel")),
        ("nn.utils", ("remove_weight_norm", "weight_norm")),
        ("nn.utils.parametrizations", ("weight_norm",)),
        ("nn.modules.batchnorm", ("_BatchNorm",)),
        ("nn.modules.conv", ("_ConvNd",)),
        ("nn.modules.utils", ("_pair",)),
    ],
)
def test_torchs_modules_can_be_imported(module: str, names: tuple[str, ...]) -> None:
    if module == "nn.functional":
        assert trtnet.nn.functional is F
        return
    found = importlib.import_module(f"trtnet.{module}")
    for name in names:
        assert hasattr(found, name), name
        assert hasattr(importlib.import_module(f"torch.{module}"), name), f"torch.{module} has no {name}"
    part = trtnet
    for name in module.split("."):
        part = getattr(part, name)
    assert part is found


def test_kinds_of_tensors() -> None:
    assert trtnet.Tensor(2, 3).shape == (2, 3)
    assert trtnet.Tensor([1, 2]).tolist() == [1.0, 2.0]
    assert trtnet.FloatTensor(np.ones((2, 2))).dtype is trtnet.float32
    longs = trtnet.LongTensor([1, 2])
    assert longs.dtype is trtnet.int64
    assert isinstance(longs, trtnet.LongTensor)
    assert not isinstance(longs, trtnet.FloatTensor)
    assert isinstance(longs, trtnet.Tensor)


def test_checkpoint_calls_the_function() -> None:
    def forward(x):
        y = trtnet.utils.checkpoint.checkpoint(F.relu, x, use_reentrant=False)
        return trtnet.utils.checkpoint.checkpoint_sequential([F.relu, F.tanh], 2, y)

    x = np.array([[-1.0, 2.0]], np.float32)
    check_against_torch(forward, lambda x: torch.tanh(torch.relu(x)), {"x": x})


def test_the_forward_half_of_an_autograd_function_is_recorded() -> None:
    class Clamp(trtnet.autograd.Function):
        @staticmethod
        def forward(ctx, x, low):
            ctx.save_for_backward(x)
            return x.clamp(min=low)

        @staticmethod
        def backward(ctx, gradient):
            raise AssertionError

    x = np.array([[-1.0, 2.0]], np.float32)
    check_against_torch(lambda x: Clamp.apply(x, 0.5), lambda x: x.clamp(min=0.5), {"x": x})


def test_attention_as_a_function() -> None:
    mine, theirs = nn.MultiheadAttention(8, 2), torch.nn.MultiheadAttention(8, 2)
    mine.load_state_dict(theirs.state_dict())

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = mine

        def forward(self, x):
            a = self.attention
            return F.multi_head_attention_forward(
                x,
                x,
                x,
                8,
                2,
                a.in_proj_weight,
                a.in_proj_bias,
                None,
                None,
                False,
                0.0,
                a.out_proj.weight,
                a.out_proj.bias,
            )[0]

    x = np.random.default_rng(0).standard_normal((5, 2, 8)).astype(np.float32)
    check_against_torch(Functional(), lambda x: theirs.double()(x, x, x)[0], {"x": x}, compile=False)


def test_what_would_change_results_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="autocast"), trtnet.amp.autocast("cuda"):
        pass
    with trtnet.cuda.amp.autocast(enabled=False):
        pass
    for name in ("weight_norm", "spectral_norm"):
        with pytest.raises(UnsupportedError, match=name) as caught:
            getattr(nn.utils, name)(nn.Linear(2, 2))
        assert "fold it in PyTorch" in caught.value.remedy
    with pytest.raises(UnsupportedError, match="matrix norms"):
        trtnet.record(lambda x: trtnet.linalg.norm(x, 2), x=Input((3, 3)))


def test_notes_on_parameters_are_kept() -> None:
    import copy

    parameter = nn.Parameter(trtnet.zeros(2))
    parameter.no_decay = True
    assert copy.deepcopy(parameter).no_decay
