"""SAC on Pendulum: its policy and target against torch's distributions, its ways with weights against each other."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trtnet

torch = pytest.importorskip("torch")
pytest.importorskip("gymnasium")
pytest.importorskip("matplotlib")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models"))

import train_sac_pendulum as pendulum  # noqa: E402
from policy import GaussianPolicy  # noqa: E402

SHORT = pendulum.Settings(envs=2, steps=4, first_steps=16, batch=8, most_steps=56)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_policy_is_torchs_squashed_normal_distribution(dtype):
    low, high = (-2.0, 0.0, -1.0), (2.0, 5.0, 1.0)
    net = GaussianPolicy(4, low, high, hidden=16)
    graph = trtnet.record(net, observation=trtnet.Input((32, 4)), noise=trtnet.Input((32, 3)))
    module = trtnet.to_torch(graph).to(getattr(torch, dtype))
    chance = np.random.default_rng(0)
    observation, noise = (chance.standard_normal((32, size)).astype(dtype) for size in (4, 3))
    with torch.no_grad():
        found = module(torch.from_numpy(observation), torch.from_numpy(noise))
    state = {name: torch.from_numpy(value).double() for name, value in net.state_dict().items()}
    x = torch.from_numpy(observation).double()
    for layer in ("trunk.0", "trunk.2"):
        x = torch.relu(x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"])
    mean = x @ state["mean.weight"].T + state["mean.bias"]
    std = (-5 + 3.5 * (torch.tanh(x @ state["log_std.weight"].T + state["log_std.bias"]) + 1)).exp()
    d = torch.distributions
    center, scale = torch.tensor([[0, 2.5, 0], [2, 2.5, 1]]).double()
    steps = [d.TanhTransform(), d.AffineTransform(center, scale)]
    squashed = d.TransformedDistribution(d.Normal(mean, std), steps)
    action = steps[1](steps[0](mean + std * torch.from_numpy(noise).double()))
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    torch.testing.assert_close(found["action"].double(), action, rtol=tolerance, atol=tolerance)
    # in float64: of an action in float32 nobody can say how far from its end it is
    if dtype == "float64":
        torch.testing.assert_close(found["log_prob"], squashed.log_prob(action).sum(-1), rtol=1e-6, atol=1e-6)


def test_the_target_is_that_of_the_definition():
    learner = pendulum.Learner(pendulum.record(SHORT), SHORT, "cpu", 0)
    with torch.no_grad():
        learner.log_alpha.fill_(-1.5)
    chance = np.random.default_rng(1)
    rewards, following = (torch.from_numpy(chance.standard_normal(s).astype(np.float32)) for s in ((5,), (5, 3)))
    found = learner.target(rewards, following)
    again = pendulum.Learner(pendulum.record(SHORT), SHORT, "cpu", 0)
    again.module.load_state_dict(learner.module.state_dict())
    with torch.no_grad():
        actions, log_probs = again.act(following)  # the same noise, from the same seed
    for row in range(5):
        given = torch.cat([following[row], actions[row]])
        worth = min(critic(given).item() for critic in learner.targets.both)
        wanted = float(rewards[row]) + 0.99 * (worth - np.exp(-1.5) * float(log_probs[row]))
        np.testing.assert_allclose(float(found[row]), wanted, rtol=1e-5)


@pytest.mark.parametrize(("log_std", "moved"), [(-2.5, -1), (-4.0, 1)])
def test_an_update_moves_the_temperature_towards_the_entropy_and_the_slow_copies_by_tau(log_std, moved):
    learner = pendulum.Learner(pendulum.record(SHORT), SHORT, "cpu", 0)
    with torch.no_grad():
        learner.module.log_std.weight.zero_()
        learner.module.log_std.bias.fill_(np.arctanh((log_std + 5) / 3.5 - 1))
        for value in (learner.module.mean.weight, learner.module.mean.bias):
            value.zero_()
    before = {name: value.clone() for name, value in learner.targets.state_dict().items()}
    chance = np.random.default_rng(1)
    sizes = ((64, 3), (64, 1), (64,), (64, 3))
    learner.update([torch.from_numpy(chance.standard_normal(size).astype(np.float32)) for size in sizes])
    # so narrow a policy around 0 is a normal distribution, of entropy 1.42 + log(2) + log_std: -0.4 or -1.9, beside -1
    assert learner.log_alpha.item() == pytest.approx(moved * SHORT.learning_rate, rel=1e-4)
    for name, value in learner.critics.state_dict().items():
        wanted = 0.995 * before[name] + 0.005 * value
        torch.testing.assert_close(learner.targets.state_dict()[name], wanted, rtol=1e-5, atol=1e-7)


def test_what_follows_a_cut_episode_is_not_the_next_ones_beginning():
    settings = pendulum.Settings(envs=2, steps=210)
    graph = pendulum.record(settings)
    rollout = pendulum.Actors(trtnet.reference(graph), settings, 0).rollout()
    state, following = (v.reshape(210, 2, 3) for v in (rollout.observations, rollout.following))
    np.testing.assert_array_equal(following[:199], state[1:200])
    assert not np.array_equal(following[199], state[200]), "the time limit is at 200 steps"
    angle = np.arctan2(following[..., 1], following[..., 0]) - np.arctan2(state[..., 1], state[..., 0])
    turned = (angle + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(turned, following[..., 2] * 0.05, atol=2e-3)  # by Pendulum's own step


def test_every_way_with_weights_gives_the_same_training():
    found = {way: pendulum.train(SHORT, way, seed=3) for way in ("refit", "live")}
    assert found["refit"].steps == list(range(8, 57, 8))
    before = pendulum.Learner(pendulum.record(SHORT), SHORT, "cpu", 3).module.state_dict()
    for name, value in found["refit"].module.state_dict().items():
        assert torch.equal(value, found["live"].module.state_dict()[name]), name
        assert torch.equal(value, before[name]) == (name in ("scale", "center")), "the range stays, all else is learnt"


def test_a_fleet_of_one_gives_the_same_training():
    pytest.importorskip("fcntl")
    alone, fleet = (pendulum.train(SHORT, seed=3, fleet=count) for count in (0, 1))
    for name, value in fleet.module.state_dict().items():
        assert torch.equal(value, alone.module.state_dict()[name]), name


def test_a_fleet_acts_with_what_was_published(tmp_path):
    pytest.importorskip("xxhash")
    outcome = pendulum.train(SHORT, seed=3, fleet=2, where=f"dir:{tmp_path}")
    assert outcome.steps == list(range(8, 57, 8))
    for name, value in outcome.module.state_dict().items():
        np.testing.assert_array_equal(outcome.engine.parameters()[name], value.numpy())


def test_the_committed_policy_swings_up():
    net = GaussianPolicy(pendulum.OBSERVATIONS, pendulum.LOW, pendulum.HIGH)
    net.load_weights(ROOT / "weights" / "pendulum.safetensors")
    batch = trtnet.Input((50, 3)), trtnet.Input((50, 1))
    engine = trtnet.reference(trtnet.record(net, observation=batch[0], noise=batch[1]))
    assert pendulum.evaluate(engine, episodes=50, seed=77) >= pendulum.SOLVED


def test_the_course_is_written_for_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    outcome = pendulum.train(SHORT, seed=3, tensorboard=tmp_path)
    read = events.EventAccumulator(str(tmp_path)).Reload()
    assert [one.step for one in read.Scalars("seconds/learning")] == outcome.steps


@pytest.mark.parametrize("name", ["gymnasium", "matplotlib", "torch"])
def test_what_is_missing_is_told_before_anything_is_trained(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("import missing")
    path = os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])))
    run = subprocess.run(
        [sys.executable, ROOT / "models" / "train_sac_pendulum.py"],
        env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = "error: No module named 'missing'\n  remedy:   pip install 'trtnet[rl]'\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fleet", "5"], "--fleet is at most 4: there are 4 environments to share out"),
        (["--fleet", "2", "--weights", "live"], "--fleet goes with --weights refit: live weights are of one process"),
        (["--tensorboard", "scalars"], "--tensorboard needs a package: pip install tensorboard"),
    ],
)
def test_arguments_are_looked_at_before_anything_is_trained(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_sac_pendulum.py", *arguments])
    monkeypatch.setattr(pendulum.common.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        pendulum.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {told}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fleet", [[], ["--fleet", "2"]])
def test_a_training_cut_short_says_that_no_episode_ended(fleet, tmp_path, monkeypatch, capsys):
    pytest.importorskip("fcntl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_sac_pendulum.py", "--steps", "32", "--output", "a.safetensors", *fleet])
    pendulum.main()
    told = capsys.readouterr().out
    assert "did not reach a mean return of -200 over 20 episodes: no episode ended" in told
    assert "100 further episodes, without noise: -1" in told
    assert {one.name for one in tmp_path.iterdir()} == {"a.safetensors", "pendulum.png"}
    net = GaussianPolicy(pendulum.OBSERVATIONS, pendulum.LOW, pendulum.HIGH)
    net.load_weights(tmp_path / "a.safetensors")
    assert net.scale.numpy().tolist() == [2.0]
