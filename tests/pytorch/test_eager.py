"""Modules called on concrete arrays, outside a recording."""

from __future__ import annotations

import numpy as np
import torch
from harness import torch_state

import trtnet
from trtnet import nn


def test_a_shape_is_known_without_any_value() -> None:
    torso = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    made = torso(trtnet.zeros(1, 3, 8, 8))
    assert made.shape == (1, 144)
    assert made.dtype is trtnet.float32
    assert torso[0].weight.value.array is None, "nothing was drawn"


def test_values_are_torchs() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
    mine = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    mine.load_state_dict(torch_state(model))
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    made = mine(trtnet.tensor(x))
    wanted = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(made.numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose((made + 1).numpy(), wanted + 1, rtol=1e-6)
    made.add_(1)
    np.testing.assert_allclose(made.numpy(), wanted + 1, rtol=1e-6)


def test_every_form_of_arguments_and_results() -> None:
    class Several(nn.Module):
        def forward(self, pair, scale=1.0, *, last=None):
            return {"a": pair[0] * scale, "b": pair[1] if last is None else last, "c": pair[1]}

    a, b = trtnet.ones(2), trtnet.zeros(3)
    made = Several()((a, b), scale=2.0, last=b + 1)
    assert {name: value.tolist() for name, value in made.items()} == {"a": [2.0, 2.0], "b": [1.0] * 3, "c": [0.0] * 3}
    values, indices = nn.MaxPool2d(2)(trtnet.ones(1, 1, 4, 4)).shape[2:]
    assert (values, indices) == (2, 2)
    assert nn.Identity()(trtnet.ones(2)).tolist() == [1.0, 1.0]


def test_numbers_without_dimensions() -> None:
    class Scaled(nn.Module):
        def forward(self, x, scale):
            return x * scale, scale + 1

    x, scale = np.ones((2, 3), np.float32), np.float32(2)
    scaled, more = Scaled()(trtnet.tensor(x), trtnet.tensor(scale))
    assert (scaled.tolist(), more.tolist(), more.numpy().shape) == ((x * 2).tolist(), 3.0, ())
    row = nn.Embedding(5, 3)(trtnet.tensor(np.int64(2)))
    assert row.numpy().shape == (3,)


def test_the_module_records_as_before() -> None:
    module = nn.Linear(3, 4)
    module(trtnet.zeros(1, 3))
    graph = trtnet.record(module, input=trtnet.Input((2, 3)))
    assert [layer.path for layer in graph.layers] == [
        layer.path for layer in trtnet.record(nn.Linear(3, 4), input=trtnet.Input((2, 3))).layers
    ]
