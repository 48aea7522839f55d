"""The networks of models/, made small: as the reference in float64, refitted to other weights, and restored."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, close, flat, host, same

import trtnet

torch = pytest.importorskip("torch")
from small_models import SMALL, image, pair, tokens  # noqa: E402  (they need torch)


def recorded(function, inputs):
    return trtnet.record(function, **{name: trtnet.Input(a.shape, str(a.dtype)) for name, a in inputs.items()})


def weights(net):
    return {key: np.array(value) for key, value in net.state_dict().items() if value.dtype == np.float32}


def others(net):
    """Weights of about the same size, but not the same."""
    generator = np.random.default_rng(5)
    return {k: (v * generator.uniform(0.9, 1.1, v.shape)).astype(np.float32) for k, v in weights(net).items()}


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_right_before_and_after_a_refit(name):
    net, _, inputs = pair(name)
    graph = recorded(net, inputs)
    first = weights(net)
    with trtnet.build(graph, refit=True, **LEVEL) as engine:
        before = [host(y).copy() for y in flat(engine(**inputs))]
        close(before, trtnet.reference(graph, dtype="float64")(**inputs), 1e-5)
        second = others(net)
        engine.refit(second)
        after = [host(y).copy() for y in flat(engine(**inputs))]
        graph.load_state_dict(second, strict=False)
        close(after, trtnet.reference(graph, dtype="float64")(**inputs), 1e-5)
        assert not same(after, before)
        engine.refit(first)
        assert same(flat(engine(**inputs)), before)


def test_gpt2_writes_in_one_call():
    net, _, _ = pair("gpt2")
    state = net.state_dict()
    net.load_state_dict({key: value * 10 if "wpe" in key or "attn" in key else value for key, value in state.items()})
    prompt = {"tokens": tokens(50, 5)}
    graph = recorded(lambda tokens: net.generate(tokens, count=8), prompt)
    with trtnet.build(graph, **LEVEL) as engine:
        written = host(engine(**prompt))
    assert np.array_equal(written, trtnet.reference(graph, dtype="float64")(**prompt))
    assert len(np.unique(written)) > 4


@pytest.mark.parametrize("name", ["retinanet", "yolo"])
def test_what_is_found_in_an_image(name):
    """RetinaNet's by TensorRT's layer for it, of a count that the data decides; YOLO's unrolled."""
    net, _, _ = pair(name)
    if name == "retinanet":
        bias = "head.classification_head.cls_logits.bias"
        net.load_state_dict({**net.state_dict(), bias: net.state_dict()[bias] + 4.0})  # they begin at 0.01
    picture = {"image": image(size=64, batch=1, scale=3.0 if name == "retinanet" else 1.0)}
    graph = recorded(net.detect if name == "retinanet" else lambda image: net.detect(image, most=12), picture)
    wanted = trtnet.reference(graph, dtype="float64")(**picture)
    with trtnet.build(graph, **LEVEL) as engine:
        found = engine(**picture)
    assert len(wanted["labels"]) > 0
    close(found, wanted)
