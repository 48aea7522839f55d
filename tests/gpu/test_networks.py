"""Whole networks as PyTorch's users write them: built, compared, refitted to other weights, compared, and restored."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, flat, host, same
from pytorch_files import inputs_of, load, perturbed

import trtnet

torch = pytest.importorskip("torch")

CONVOLUTIONS = ["convnext", "unet", "densenet", "mobile", "efficientnet"]
NETWORKS = ["vision_transformer", "vit", "swin", "bert", "gpt", "detr", *CONVOLUTIONS]
DYNAMIC = ["vision_transformer", "bert", "gpt", "swin"]


def error(found, expected):
    """The largest error of any output, relative to that output's own size."""
    pairs = list(zip(flat(found), flat(expected), strict=True))
    assert pairs
    errors = []
    for mine, theirs in pairs:
        a, b = host(mine).astype(np.float64), host(theirs).astype(np.float64)
        assert a.shape == b.shape
        assert np.isfinite(b).all()
        assert np.linalg.norm(b) > 0
        errors.append(np.linalg.norm(a - b) / np.linalg.norm(b))
    return max(errors)


def expected(name, state, arrays):
    """What torch gives in float64, for this state."""
    model = load(name, swap=False).build().eval()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    tensors = [torch.from_numpy(value).cuda() for value in arrays.values()]
    with torch.no_grad():
        return model.double().cuda()(*(t.double() if t.is_floating_point() else t for t in tensors))


def a_state(name, seed):
    torch.manual_seed(seed)
    model = perturbed(load(name, swap=False).build())
    return {key: value.detach().numpy() for key, value in model.state_dict().items()}


@pytest.mark.parametrize(("name", "dynamic"), [(name, False) for name in NETWORKS] + [(name, True) for name in DYNAMIC])
def test_a_network_is_right_before_and_after_a_refit(name, dynamic):
    file = load(name, swap=False)
    arrays, shapes = inputs_of(file)
    if not dynamic:
        shapes = {key: value.shape for key, value in arrays.items()}
    first, second = a_state(name, 0), a_state(name, 1)
    mine = load(name, swap=True).build().eval()
    mine.load_state_dict(first)
    inputs = {key: trtnet.Input(shapes[key], str(value.dtype)) for key, value in arrays.items()}
    graph = trtnet.record(mine, **inputs)

    with trtnet.build(graph, refit=True, **LEVEL) as engine:
        before = [host(y).copy() for y in flat(engine(**arrays))]
        assert error(before, expected(name, first, arrays)) < 1e-5
        engine.refit(second)
        other = engine(**arrays)
        assert error(other, expected(name, second, arrays)) < 1e-5
        assert error(other, before) > 1e-3
        engine.refit(first)
        assert same(flat(engine(**arrays)), before)
