import numpy as np
import pytest

import trtnet
from models.resnet import resnet18, resnet34, resnet50
from trtnet import Dim, Input

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("make", "parameters", "keys"),
    # torchvision's documentation has these counts
    [(resnet18, 11_689_512, 122), (resnet34, 21_797_672, 218), (resnet50, 25_557_032, 320)],
)
def test_it_has_torchvisions_parameters(make, parameters, keys):
    net = make()
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    names = list(net._leaves())
    assert len(names) == keys
    assert {"conv1.weight", "bn1.running_var", "layer2.0.downsample.1.num_batches_tracked", "fc.bias"} <= set(names)


def test_a_residual_block_adds_its_input():
    net = resnet18(classes=4)
    state = net.state_dict()
    for name, array in state.items():  # every way around is left, every way through gives 0
        if name.endswith(("bn2.weight", "bn2.bias")):
            state[name] = np.zeros_like(array)
    net.load_state_dict(state)
    graph = trtnet.record(net, image=Input((Dim("batch", min=1, max=4), 3, 32, 32)))
    image = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    with torch.inference_mode():
        weights = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
        x = torch.nn.functional.conv2d(torch.from_numpy(image), weights["conv1.weight"], stride=2, padding=3)
        x = torch.relu(_norm(x, weights, "bn1"))
        x = torch.max_pool2d(x, 3, 2, 1)
        for layer in (2, 3, 4):
            x = torch.nn.functional.conv2d(x, weights[f"layer{layer}.0.downsample.0.weight"], stride=2)
            x = torch.relu(_norm(x, weights, f"layer{layer}.0.downsample.1"))
        expected = torch.nn.functional.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])
    np.testing.assert_allclose(trtnet.reference(graph)(image=image), expected.numpy(), rtol=1e-4, atol=1e-5)


def _norm(x, weights, name):
    statistics = (weights[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return torch.nn.functional.batch_norm(x, *statistics)
