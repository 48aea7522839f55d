"""PPO on CartPole: its parts against slow, independent computations, its ways with weights against each other."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trtnet

torch = pytest.importorskip("torch")
pytest.importorskip("gymnasium")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models"))

import train_cartpole as cartpole  # noqa: E402
from policy import MLPPolicy  # noqa: E402


def rollout(chance, steps=7, envs=3):
    def draw():
        return chance.normal(size=(steps, envs))

    ends = chance.random((steps, envs)) < 0.3
    return cartpole.Rollout(draw(), draw(), draw(), draw(), draw(), ends, chance.normal(size=envs))


@pytest.mark.parametrize("seed", range(5))
def test_advantages_are_the_sums_of_their_definition(seed):
    one, gamma, lam = rollout(np.random.default_rng(seed)), 0.9, 0.8
    found = cartpole.advantages(one, gamma, lam)
    steps, envs = one.rewards.shape
    for env in range(envs):
        values = [*one.values[:, env], one.last_values[env]]
        for start in range(steps):
            total, factor = 0.0, 1.0
            for step in range(start, steps):
                end = one.ends[step, env]
                total += factor * (one.rewards[step, env] + (0 if end else gamma * values[step + 1]) - values[step])
                if end:
                    break
                factor *= gamma * lam
            np.testing.assert_allclose(found[start, env], total, rtol=1e-9)


def test_loss_is_the_papers():
    chance = np.random.default_rng(0)
    logits, value = chance.normal(size=(6, 3)), chance.normal(size=6)
    actions, old = chance.integers(0, 3, 6), chance.normal(size=6) - 1
    gains, returns = chance.normal(size=6), chance.normal(size=6)
    settings = cartpole.Settings(clip=0.2, value_weight=0.7, entropy_weight=0.05)
    answer = {"logits": torch.from_numpy(logits), "value": torch.from_numpy(value)}
    found = cartpole.ppo_loss(answer, *map(torch.from_numpy, (actions, old, gains, returns)), settings)
    policy = squares = entropy = 0.0
    for row in range(6):
        probabilities = np.exp(logits[row]) / np.exp(logits[row]).sum()
        ratio = probabilities[actions[row]] / np.exp(old[row])
        policy -= min(ratio * gains[row], min(max(ratio, 0.8), 1.2) * gains[row]) / 6
        squares += 0.5 * (value[row] - returns[row]) ** 2 / 6
        entropy -= (probabilities * np.log(probabilities)).sum() / 6
    np.testing.assert_allclose(found.item(), policy + 0.7 * squares - 0.05 * entropy, rtol=1e-9)


def test_sampling_follows_the_probabilities():
    logits = np.tile([0.0, 1.0, -1.0], (60_000, 1))
    actions, log_probs = cartpole.sample(logits, np.random.default_rng(0))
    wanted = np.exp(logits[0]) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(np.bincount(actions) / len(actions), wanted, atol=0.01)
    np.testing.assert_allclose(log_probs, np.log(wanted)[actions], rtol=1e-9)


def test_every_way_with_weights_gives_the_same_training():
    settings = cartpole.Settings(most_steps=6 * 1024)
    found = {way: cartpole.train(settings, way, seed=3) for way in ("refit", "live", "rebuild")}
    assert len(found["refit"].returns) == 6
    for way in ("live", "rebuild"):
        assert found[way].returns == found["refit"].returns
    for name, value in found["refit"].module.state_dict().items():
        assert torch.equal(value, found["live"].module.state_dict()[name]), name
    untrained = trtnet.record(MLPPolicy(4, 2), observation=trtnet.Input((16, 4)))
    frozen = cartpole.Actors(trtnet.reference(untrained), settings, 3)
    for _ in range(6):
        frozen.rollout()
    assert np.mean(frozen.finished) < found["refit"].returns[-1], "actors whose weights stay do worse"


def test_the_committed_policy_balances():
    net = MLPPolicy(4, 2)
    net.load_weights(ROOT / "weights" / "cartpole.safetensors")
    engine = trtnet.reference(trtnet.record(net, observation=trtnet.Input((50, 4))))
    assert cartpole.evaluate(engine, episodes=50, seed=77) >= cartpole.SOLVED


def test_the_curve_is_drawn(tmp_path):
    from PIL import Image

    outcome = cartpole.train(cartpole.Settings(most_steps=2048), seed=1)
    cartpole.common.draw(outcome, tmp_path / "curve.png", "PPO", cartpole.SOLVED, cartpole.EPISODES)
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size[0] > 500


@pytest.mark.parametrize("name", ["gymnasium", "matplotlib", "torch"])
def test_what_is_missing_is_told_before_anything_is_trained(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("import missing")
    path = os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])))
    run = subprocess.run(
        [sys.executable, ROOT / "models" / "train_cartpole.py"],
        env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    told = "error: No module named 'missing'\n  remedy:   pip install 'trtnet[rl]'\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", told)
    assert [one.name for one in tmp_path.glob("*.*")] == [f"{name}.py"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--steps", "0"], "--steps is at least 1"),
        (["--fleet", "-1"], "--fleet is at least 0: no other process"),
        (["--fleet", "17"], "--fleet is at most 16: there are 16 environments to share out"),
        (["--curve", "nowhere/curve.png"], "there is no folder nowhere"),
        (["--output", "nowhere/policy.safetensors"], "there is no folder nowhere"),
        (["--device", "cuda"], "--device cuda: this PyTorch finds no CUDA GPU; `trtnet doctor` says what is here"),
    ],
)
def test_arguments_are_looked_at_before_anything_is_trained(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_cartpole.py", *arguments])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        cartpole.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {told}\n")
    assert not list(tmp_path.iterdir())


def test_a_fleet_of_one_gives_the_same_training():
    pytest.importorskip("fcntl")
    settings = cartpole.Settings(envs=4, steps=16, epochs=2, most_steps=4 * 64)
    alone = cartpole.train(settings, seed=3)
    fleet = cartpole.train(settings, seed=3, fleet=1)
    assert len(fleet.returns) == 4
    assert fleet.returns == alone.returns
    for name, value in fleet.module.state_dict().items():
        assert torch.equal(value, alone.module.state_dict()[name]), name
    assert np.array_equal(fleet.engine.parameters()["actor.0.weight"], alone.engine.parameters()["actor.0.weight"])


def test_a_fleet_shares_the_environments_out(tmp_path):
    pytest.importorskip("xxhash")
    settings = cartpole.Settings(envs=5, steps=8)
    graph = cartpole.record(settings)
    with cartpole.Fleet(graph, settings, 2, f"dir:{tmp_path}", "cpu", 0) as fleet:
        fleet.publish(trtnet.to_torch(graph).state_dict(), version=7)
        rollout = fleet.rollout()
    assert rollout.observations.shape == (8, 5, 4)
    assert {getattr(rollout, name).shape for name in ("actions", "log_probs", "values", "rewards", "ends")} == {(8, 5)}
    assert rollout.last_values.shape == (5,)
    expected = trtnet.reference(graph)(rollout.observations[3])["value"]
    np.testing.assert_allclose(rollout.values[3], expected, rtol=1e-5)
