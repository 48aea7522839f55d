"""Methods of other packages that decide by data, written as they are there."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from exported import BATCH
from torch import nn

import trtnet
from trtnet import Input


class RecurrentActorCriticPolicy(nn.Module):
    """What matters of sb3_contrib's class."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, num_layers=layers)
        self.head = nn.Linear(6, 2)

    @staticmethod
    def _process_sequence(features: Any, lstm_states: Any, episode_starts: Any, lstm: nn.LSTM) -> Any:
        n_seq = lstm_states[0].shape[1]
        features_sequence = features.reshape((n_seq, -1, lstm.input_size)).swapaxes(0, 1)
        episode_starts = episode_starts.reshape((n_seq, -1)).swapaxes(0, 1)
        if torch.all(episode_starts == 0.0):
            lstm_output, lstm_states = lstm(features_sequence, lstm_states)
            return torch.flatten(lstm_output.transpose(0, 1), start_dim=0, end_dim=1), lstm_states
        lstm_output = []
        for features, start in zip(features_sequence, episode_starts, strict=True):
            kept = (1.0 - start).view(1, n_seq, 1)
            hidden, lstm_states = lstm(features.unsqueeze(dim=0), (kept * lstm_states[0], kept * lstm_states[1]))
            lstm_output += [hidden]
        return torch.flatten(torch.cat(lstm_output).transpose(0, 1), start_dim=0, end_dim=1), lstm_states

    def forward(self, obs: torch.Tensor, h: torch.Tensor, c: torch.Tensor, episode_starts: torch.Tensor) -> Any:
        latent, states = self._process_sequence(obs, (h, c), episode_starts, self.lstm)
        return self.head(latent), *states

    def predict(self, obs: torch.Tensor, lstm_states: Any, episode_starts: torch.Tensor, sign: bool = True) -> Any:
        latent, states = self._process_sequence(obs, lstm_states, episode_starts, self.lstm)
        return (self.head(latent) if sign else -self.head(latent)), states


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_recurrent_policy_of_sb3_contrib(monkeypatch: pytest.MonkeyPatch, layers: int, steps: int) -> None:
    module = types.ModuleType("sb3_contrib.common.recurrent.policies")
    module.RecurrentActorCriticPolicy = RecurrentActorCriticPolicy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    policy = RecurrentActorCriticPolicy(layers)
    before = RecurrentActorCriticPolicy.__dict__["_process_sequence"]
    batch = BATCH if steps == 1 else 2
    state = Input((layers, batch, 6))
    rows = batch * steps
    graph = trtnet.record(policy, obs=Input((rows, 4)), h=state, c=state, episode_starts=Input((rows,)))
    assert RecurrentActorCriticPolicy.__dict__["_process_sequence"] is before
    engine, draw = trtnet.reference(graph), np.random.default_rng(0)
    for count in (1, 5) if steps == 1 else (2,):
        for most in (0, 2):
            starts = draw.integers(0, max(most, 1), count * steps).astype(np.float32)
            arrays = [
                draw.standard_normal(s).astype(np.float32) for s in ((count * steps, 4), *[(layers, count, 6)] * 2)
            ]
            with torch.no_grad():
                expected = policy(*map(torch.from_numpy, (*arrays, starts)))
            for one, two in zip(engine(*arrays, starts), expected, strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_a_method_that_takes_its_states_together(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sb3_contrib.common.recurrent.policies")
    module.RecurrentActorCriticPolicy = RecurrentActorCriticPolicy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    policy = RecurrentActorCriticPolicy(2)
    state = Input((2, BATCH, 6))
    graph = trtnet.record(
        policy.predict, obs=Input((BATCH, 4)), lstm_states=(state, state), episode_starts=Input((BATCH,)), sign=False
    )
    assert list(graph.inputs) == ["obs", "lstm_states_0", "lstm_states_1", "episode_starts"]
    engine, draw = trtnet.reference(graph), np.random.default_rng(0)
    for count in (1, 5):
        obs, h, c = (draw.standard_normal(s).astype(np.float32) for s in ((count, 4), *[(2, count, 6)] * 2))
        starts = draw.integers(0, 2, count).astype(np.float32)
        with torch.no_grad():
            states = torch.from_numpy(h), torch.from_numpy(c)
            expected, after = policy.predict(torch.from_numpy(obs), states, torch.from_numpy(starts), False)
        found, found_after = engine(obs=obs, lstm_states_0=h, lstm_states_1=c, episode_starts=starts)
        for one, two in zip((found, *found_after), (expected, *after), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
