"""The examples of weights that move: engines act for learners in PyTorch; a receiver takes weights in four phases."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import trtnet
from trtnet import Input, nn

torch = pytest.importorskip("torch")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def as_run(monkeypatch):
    """With `_curve` beside it, and on one core."""
    monkeypatch.syspath_prepend(EXAMPLES)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_is_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 80, path


@pytest.fixture
def receiver():
    engine = trtnet.reference(trtnet.record(nn.Linear(2, 1), input=Input((1, 2))))
    made = example("receiver").Receiver(engine)
    made.init([("weight", (1, 2), "float32"), ("bias", (1,), "float32")])
    return made


def ones(value):
    return {"weight": torch.full((1, 2), float(value)), "bias": torch.full((1,), float(value))}


def answer(receiver):
    return receiver.engine(np.ones((1, 2), np.float32)).item()


def test_a_receiver_changes_nothing_before_it_has_all(receiver):
    before = answer(receiver)
    receiver.start()
    receiver.update([("weight", ones(1)["weight"])])
    with pytest.raises(RuntimeError, match="1 of 2"):
        receiver.finish(1)
    assert answer(receiver) == before
    buffer = ones(1)["bias"]
    receiver.update([("bias", buffer)])
    buffer.fill_(9)  # the sender uses it again
    assert receiver.finish(1).version == 1
    assert (answer(receiver), receiver.engine.version) == (3, 1)


def test_what_a_dead_sender_began_is_dropped(receiver):
    receiver.start()
    receiver.update(ones(1).items())
    receiver.finish(1)
    receiver.start()
    receiver.update([("weight", ones(5)["weight"])])  # and dies
    assert answer(receiver) == 3
    receiver.start()
    with pytest.raises(RuntimeError, match="0 of 2"):
        receiver.finish(2)
    receiver.update({name: value.numpy() for name, value in ones(2).items()}.items())
    receiver.finish(3)
    assert (answer(receiver), receiver.engine.version) == (6, 3)


def test_a_receiver_refuses_what_was_not_told(receiver):
    with pytest.raises(RuntimeError, match=r"start\(\)"):
        receiver.update(ones(1).items())
    receiver.start()
    with pytest.raises(ValueError, match="was told"):
        receiver.update([("weight", torch.ones(2, 2))])
    with pytest.raises(ValueError, match="without"):
        receiver.init([("weight", (1, 2), "float32")])


def test_stable_baselines3_collects_by_an_engine():
    """Its rollouts are those of the policy itself: the same logits and values, from the weights of this moment."""
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed: pip install stable-baselines3")
    module = example("stable_baselines3_rollouts")
    model, callback = module.train(steps=512)
    assert callback.calls == 512
    assert callback.engine.version == 256  # of the last rollout's begin
    assert "forward" not in vars(model.policy), "the learner's own again"
    callback._on_rollout_start()
    observations = torch.randn(5, 4)
    found = callback.engine(obs=observations)
    wanted = callback.acting(observations)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other.detach())
    actions, values, chances = model.policy(observations)
    wanted_values, wanted_chances, _ = type(model.policy).evaluate_actions(model.policy, observations, actions)
    torch.testing.assert_close(values, wanted_values.detach())
    torch.testing.assert_close(chances, wanted_chances.detach())


def test_cleanrls_ppo_learns_from_what_an_engine_did():
    pytest.importorskip("gymnasium")
    agent, engine, curve = example("cleanrl_ppo").train(iterations=12)
    assert [steps for steps, _ in curve] == [1024 * n for n in range(1, 13)]
    assert engine.version == 11
    assert curve[0][1] < 35 < 45 < curve[-1][1], "by chance an episode lasts 22 steps"
    observations = torch.randn(8, 4)
    before = engine(observations)
    assert not torch.allclose(before, agent.actor(observations), atol=1e-4), "the learner has gone on"
    engine.refit(agent, prefix="actor.")
    torch.testing.assert_close(engine(observations), agent.actor(observations).detach())


def test_cleanrls_sac_acts_with_the_noise_that_it_is_given():
    pytest.importorskip("gymnasium")
    agent, engine, curve = example("cleanrl_sac").train(steps=620)
    assert [steps for steps, _ in curve] == [200, 400, 600]
    assert engine.version == 619
    observation, noise = torch.randn(1, 3), torch.randn(1, 1)
    action, log_prob = engine(obs=observation, noise=noise)
    wanted, wanted_log_prob = agent["actor"](observation, noise)
    torch.testing.assert_close(action, wanted.detach())
    torch.testing.assert_close(log_prob, wanted_log_prob.detach())


def test_the_densities_of_sacs_actions():
    pytest.importorskip("gymnasium")
    from torch.distributions import AffineTransform, Normal, TanhTransform, TransformedDistribution

    actor = example("cleanrl_sac").Actor().double()
    observations, noise = torch.randn(64, 3).double(), torch.randn(64, 1).double()
    actions, log_prob = actor(observations, noise)
    log_std = -5 + 3.5 * (actor.log_std(observations).tanh() + 1)
    squashed = [TanhTransform(cache_size=1), AffineTransform(0, 2, cache_size=1)]
    known = TransformedDistribution(Normal(actor.mean(observations), log_std.exp()), squashed)
    torch.testing.assert_close(log_prob, known.log_prob(actions), atol=1e-3, rtol=1e-3)


def test_torchrl_collects_by_an_engine():
    pytest.importorskip("torchrl", reason="TorchRL is not installed: pip install torchrl")
    module = example("torchrl_weight_sync")
    net, engine, curve = module.train(count=2, frames=128)
    assert [steps for steps, _ in curve] == [128, 256]
    assert engine.version == 2
    observation = torch.randn(4)
    torch.testing.assert_close(engine(observation), net(observation).detach())


def test_rllib_samples_by_an_engine():
    pytest.importorskip("ray.rllib", reason="Ray's RLlib is not installed: pip install 'ray[rllib]'")
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        algorithm, acting, curve = example("rllib_engine").train(iterations=2, runners=0)
        assert [steps >= 2048 * (n + 1) for n, (steps, _) in enumerate(curve)] == [True, True]
        module = algorithm.get_module()
        assert module.engine.version == module.engine.generation >= 2
        assert [one.endswith(f", refitted {module.engine.version} times") for one in acting] == [True]
        learner = algorithm.learner_group._learner.module["default_policy"]
        observations = torch.randn(5, 4)
        wanted = learner.forward_train({"obs": observations})["action_dist_inputs"].detach()
        torch.testing.assert_close(module.engine(obs=observations), wanted)
        found = module.forward_exploration({"obs": observations})["action_dist_inputs"]
        torch.testing.assert_close(found, wanted)
    finally:
        ray.shutdown()


def test_a_learning_curve_is_drawn(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    curve = example("_curve")
    monkeypatch.setattr("sys.argv", ["example", "--curve", str(tmp_path / "curve.png")])
    curve.report(None, "title", lambda seed: (None, "an engine", [(0, 1.0), (1000, 2.5)]))
    assert "mean return 2.5 after 1,000 steps" in capsys.readouterr().out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
