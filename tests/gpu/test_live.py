"""Live weights: read where the trainer keeps them."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES
from cases import recorded as case
from networks import LEVEL, close, convolutions, policy, same

import trtnet
from trtnet.errors import ProviderError, WeightsError

torch = pytest.importorskip("torch")


def recorded(which):
    if which == "policy":
        return policy(), torch.randn(4, 16, device="cuda")
    if which == "convolutions":
        return convolutions(), torch.randn(2, 3, 8, 8, device="cuda")
    from models.lenet import LeNet

    return trtnet.record(LeNet(), image=trtnet.Input((2, 1, 28, 28))), torch.randn(2, 1, 28, 28, device="cuda")


@pytest.mark.parametrize("which", ["policy", "convolutions", "lenet"])
def test_an_optimiser_step_is_seen(which):
    graph, x = recorded(which)
    engine = trtnet.build(graph, live=True, **LEVEL)
    double = trtnet.reference(graph, dtype="float64")
    close(engine(x), double(x.cpu().numpy()))
    learner = trtnet.to_torch(graph).cuda()
    engine.bind_weights(learner)
    bound = engine.bind(x, graph=True)
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.05)
    before = engine(x)
    for _ in range(3):
        result = learner(x)
        loss = sum(v.square().sum() for v in (result.values() if isinstance(result, dict) else [result]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        double.refit({n: v.detach().cpu() for n, v in learner.state_dict().items()})
        wanted = double(x.cpu().numpy())
        close(engine(x), wanted)
        close(bound(), wanted)
        close(engine(x.cpu().numpy()), wanted)
    assert not same(engine(x), before)


@pytest.mark.parametrize("name", [n for n in CASES if case(n)[0].parameters])
def test_every_layer_takes_live_weights(name):
    graph, inputs = case(name)
    if name == "conv_transpose_dilated":
        with pytest.raises(ProviderError, match="needs fixed weights"):
            trtnet.build(graph, live=True, **LEVEL)
        return
    engine = trtnet.build(graph, live=True, **LEVEL)
    close(engine(**inputs), trtnet.reference(graph, dtype="float64")(**inputs), 1e-3)


def test_a_level_that_crashes_is_refused():
    graph = trtnet.record(
        trtnet.nn.Sequential(trtnet.nn.Conv2d(3, 8, 3), trtnet.nn.ReLU()), input=trtnet.Input((2, 3, 8, 8))
    )
    if trtnet.provider.load("tensorrt").highest_level_for_tensor_weights < 5:
        with pytest.raises(ProviderError, match="can crash while it builds a convolution whose weights are a tensor"):
            trtnet.build(graph, provider="tensorrt", live=True, optimization_level=5)
    engine = trtnet.build(graph, provider="tensorrt", live=True, optimization_level=4)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    close(engine(x), trtnet.reference(graph, dtype="float64")(x))


def test_refit_of_what_is_not_bound():
    graph, x = recorded("policy")
    engine = trtnet.build(graph, live="policy.*", refit=True, **LEVEL)
    reference = trtnet.reference(graph, dtype="float64")
    assert engine.live == {n for n in graph.parameters if n.startswith("policy.")}
    assert engine.refittable == {"value.weight", "value.bias"}
    assert {r.status for r in engine.weights} == {"live", "refittable"}
    state = {n: v + 0.1 for n, v in graph.state_dict().items()}
    snapshot, first = engine.snapshot(), engine(x)
    engine.refit(state)
    reference.refit(state)
    close(engine(x), reference(x.cpu().numpy()))
    engine.restore(snapshot)
    assert same(engine(x), first)
    learner = trtnet.to_torch(graph).cuda()
    engine.bind_weights(learner)
    with pytest.raises(WeightsError, match="bound to a trainer's tensors"):
        engine.refit(state)
    engine.refit({"value.bias": state["value.bias"]})


def test_what_cannot_be_bound():
    graph, x = recorded("policy")
    engine = trtnet.build(graph, live=True, **LEVEL)
    learner = trtnet.to_torch(graph)
    with pytest.raises(WeightsError, match=r"(?s)does not fit this tensor.*cuda:0.*cpu"):
        engine.bind_weights(learner)
    learner.cuda()
    state = learner.state_dict()
    with pytest.raises(WeightsError, match="were not given"):
        engine.bind_weights({"value.bias": state["value.bias"]})
    with pytest.raises(trtnet.TrtnetError, match="misshapen"):
        engine.bind_weights(state | {"value.bias": torch.zeros(2, device="cuda")})
    close(engine(x), trtnet.reference(graph, dtype="float64")(x.cpu().numpy()))
    engine.bind_weights({f"module.{n}": v for n, v in state.items()}, prefix="module.")
    bound = engine.bind(x, graph=True)
    bound()
    engine.bind_weights(learner)
    call = engine.bind(x)
    learner.to("cpu")  # moves every parameter
    for use in (call, bound, lambda: engine(x)):
        with pytest.raises(WeightsError, match=r"(?s)moved, resized or freed.*bind them again"):
            use()
    for move in (
        lambda bias: setattr(bias, "data", torch.ones(4, device="cuda")),
        lambda bias: bias.requires_grad_(False).resize_(3),
        lambda bias: bias.untyped_storage().resize_(0),
    ):
        learner = trtnet.to_torch(graph).cuda()
        engine.bind_weights(learner)
        close(bound(), trtnet.reference(graph, dtype="float64")(x.cpu().numpy()))
        with torch.no_grad():
            move(learner.get_parameter("policy.2.bias"))
        for use in (call, bound, lambda: engine(x)):
            with pytest.raises(WeightsError, match=r"(?s)moved, resized or freed.*policy\.2\.bias"):
                use()
    with pytest.raises(WeightsError, match="no live weights"):
        trtnet.build(policy(), **LEVEL).bind_weights(learner)


def test_live_engines_are_saved(tmp_path):
    graph, x = recorded("policy")
    engine = trtnet.build(graph, live=True, **LEVEL)
    engine.refit({"value.bias": np.full(1, 2.5, np.float32)})
    loaded = trtnet.load(engine.save(tmp_path / "policy.fp32.engine"))
    assert loaded.live == engine.live
    assert same(loaded(x), engine(x))
