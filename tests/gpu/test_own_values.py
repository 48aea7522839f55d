"""An engine keeps values of its own: files that it was made from may be overwritten, and stripped plans stay whole."""

import numpy as np
import pytest
from networks import LEVEL, Policy, policy, same

import trtnet
from trtnet import Input
from trtnet.engine.hotswap import HotSwap
from trtnet.weights.files import write

X = np.random.default_rng(0).standard_normal((4, 16), np.float32)


def test_a_file_that_is_overwritten_and_cut_off(tmp_path):
    path = tmp_path / "w.safetensors"
    state = {name: np.array(value) for name, value in policy(seed=1).state_dict().items()}
    write(path, state)
    graph = trtnet.record(Policy().load_weights(path), x=Input((4, 16)))
    engine = trtnet.build(graph, refit=True, **LEVEL)
    wanted = engine(X)
    with path.open("rb+") as file:
        file.write(bytes(path.stat().st_size))
        file.truncate(0)
    clone, snapshot = engine.clone(), engine.snapshot()
    name = "policy.0.bias"
    engine.refit({name: state[name] + 1})  # companions come from the engine's own copy
    other = trtnet.record(Policy(), x=Input((4, 16)))
    other.load_state_dict(state | {name: state[name] + 1})
    np.testing.assert_allclose(engine(X)["logits"], trtnet.reference(other)(X)["logits"], atol=1e-4)
    engine.restore(snapshot)
    assert same(engine(X), wanted)
    assert same(clone(X), wanted)
    assert all(np.array_equal(value, state[n]) for n, value in clone.parameters().items())


def test_a_stripped_engine_is_saved_and_cloned_after_refits(tmp_path):
    found = trtnet.provider.load("tensorrt")
    if not found.has("BuilderFlag", "STRIP_PLAN"):
        pytest.skip(f"{found} builds no stripped plans")
    graph, state = policy(), dict(policy(seed=7).state_dict())
    engine = trtnet.build(graph, refit=True, stripped=True, **LEVEL)
    engine.refit(state)
    wanted = engine(X)
    assert same(engine.clone()(X), wanted)
    loaded = trtnet.load(engine.save(tmp_path / "net.engine"))
    assert same(loaded(X), wanted)
    loaded.refit(dict(graph.state_dict()))
    assert same(loaded.clone()(X), loaded(X))
    assert bytes(loaded.plan) == bytes(engine.plan)


def test_hotswap_of_a_context():
    engine = trtnet.build(policy(), refit=True, **LEVEL)
    swap = HotSwap(engine.context())
    for seed in range(1, 5):
        state = dict(policy(seed=seed).state_dict())
        swap.refit(state)
        assert all(np.array_equal(value, state[n]) for n, value in swap.active.parameters().items())
    assert engine.context().inspect() == engine.inspect()
