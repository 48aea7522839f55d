"""The model files of tests/models/files/, recorded as torch.nn.Modules: torch's numbers, and no more layers than by
swapped imports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import torch_state
from pytorch_files import FILES, inputs_of, load, perturbed

import trtnet
from trtnet import Input

NAMES = sorted(path.stem for path in FILES.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_file_as_a_module(name: str) -> None:
    file = load(name, swap=False)
    torch.manual_seed(0)
    model = perturbed(file.build()).eval()
    arrays, shapes = inputs_of(file)
    inputs = {key: Input(shapes.get(key, array.shape), array.dtype.name) for key, array in arrays.items()}
    graph = trtnet.record(model, **inputs)
    assert set(graph.state_dict()) == set(torch_state(model))

    made = trtnet.reference(graph, dtype="float64")(**arrays)
    found = [one for one in torch.utils._pytree.tree_leaves(made) if one is not None]
    double = {
        k: torch.from_numpy(v).double() if v.dtype.kind == "f" else torch.from_numpy(v) for k, v in arrays.items()
    }
    with torch.no_grad():
        expected = [one for one in torch.utils._pytree.tree_leaves(model.double()(**double)) if one is not None]
    assert len(found) == len(expected)
    for one, two in zip(found, expected):
        np.testing.assert_allclose(one, two.numpy(), rtol=1e-6, atol=1e-6 * max(1.0, float(two.abs().max())))

    swapped = trtnet.record(load(name, swap=True).build(), **inputs)
    assert len(graph.layers) <= len(swapped.layers) + MORE.get(name, 0)


MORE = {"nerf": 1}  # torch's F.normalize expands what it divides by
