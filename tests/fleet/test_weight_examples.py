"""The examples of weights that move: an engine acts for Stable-Baselines3; a receiver takes them in four phases."""

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
