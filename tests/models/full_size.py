"""Every network of `models/` at full size: compiled by TensorRT-RTX, and compared with torch in float64.

`make test-models` runs it; its name keeps it out of `make test`. The torch side is the same file with its imports
swapped, and torchvision's own network where torchvision is installed.
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from harness import TARGET, needs_rtx, record, torch_state
from swapped_models import swapped

import trtnet
from models import NETWORKS
from trtnet.cli.inputs import parse_inputs

LARGEST = 500_000_000
"""Parameters: more take too much memory in float64."""
TORCHVISION = {
    "alexnet": "alexnet",
    "vgg16": "vgg16",
    "squeezenet": "squeezenet1_1",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "densenet121": "densenet121",
    "efficientnet_b0": "efficientnet_b0",
    "convnext_tiny": "convnext_tiny",
    "vit_b_16": "vit_b_16",
    "swin_t": "swin_t",
}
OF_TRTNET = {"lenet", "googlenet", "resnet18", "resnet34", "resnet50", "character_lstm"}
"""Files that only trtnet reads, or that have tests of their own beside torch: those are compiled here."""


def made(name):
    file, _, made_by = NETWORKS[name].made_by.partition(":")
    module = importlib.import_module(f"models.{file}")
    return module, getattr(module, made_by)().eval(), made_by


def arrays(name):
    generator = np.random.default_rng(0)
    found = {}
    for key, spec in parse_inputs(NETWORKS[name].inputs.split()).items():
        if spec.dtype.is_floating_point:
            found[key] = generator.random(spec.shape, np.float32)
        else:
            found[key] = generator.integers(0, 2, spec.shape)
    return found


def compare(net, theirs, inputs):
    """Both with the same weights, and statistics that are not trivial."""
    generator = torch.Generator().manual_seed(1)
    for key, value in theirs.state_dict().items():
        if key.endswith("running_var"):
            value += 0.1 * torch.rand(value.shape, generator=generator)
    net.load_state_dict(torch_state(theirs))
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    doubles = [t.double() if t.is_floating_point() else t for t in tensors]
    with torch.no_grad():
        wanted = theirs.double()(*doubles)
        found = trtnet.reference(record(net, inputs), dtype="float64", raw=True)(*doubles)
    for mine, torchs in zip(flat(found), flat(wanted), strict=True):
        assert mine.shape == torchs.shape
        assert float((mine - torchs).abs().max()) <= 1e-6 * float(torchs.abs().max())


def flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in flat(part)] if isinstance(value, (list, tuple)) else [value]


@pytest.mark.parametrize("name", NETWORKS)
def test_tensorrt_compiles_it(name):
    needs_rtx()
    if NETWORKS[name].parameters > LARGEST:
        pytest.skip("too large")
    _, net, _ = made(name)
    plan = trtnet.build_plan(record(net, arrays(name)), TARGET)
    assert len(plan) > NETWORKS[name].parameters


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - OF_TRTNET))
def test_it_gives_torchs_numbers(name):
    if NETWORKS[name].parameters > LARGEST:
        pytest.skip("too large")
    module, net, made_by = made(name)
    compare(net, getattr(swapped(module), made_by)().eval(), arrays(name))


@pytest.mark.parametrize("name", TORCHVISION)
def test_it_gives_torchvisions_numbers(name):
    originals = pytest.importorskip("torchvision").models
    _, net, _ = made(name)
    compare(net, getattr(originals, TORCHVISION[name])().eval(), arrays(name))
