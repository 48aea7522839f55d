"""Methods of other packages that choose by data between two ways to compute the same.

While torch exports, they go the way that is right for any data.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch


def _process_sequence(
    features: torch.Tensor, lstm_states: Sequence[torch.Tensor], episode_starts: torch.Tensor, lstm: torch.nn.LSTM
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """sb3_contrib's recurrent policies: an LSTM whose states are 0 again where an episode begins.

    Where none does, theirs runs the LSTM over all steps at once.
    """
    count = lstm_states[0].shape[1]
    steps = features.reshape(count, -1, lstm.input_size).swapaxes(0, 1)
    starts = episode_starts.reshape(count, -1).swapaxes(0, 1)
    states = tuple(lstm_states)
    outputs = []
    for step, start in zip(steps, starts, strict=True):
        kept = (1.0 - start).view(1, count, 1)
        output, states = lstm(step.unsqueeze(0), tuple(kept * state for state in states))
        outputs.append(output)
    return torch.flatten(torch.cat(outputs).transpose(0, 1), start_dim=0, end_dim=1), states


_METHODS = (("sb3_contrib.common.recurrent.policies", "RecurrentActorCriticPolicy", _process_sequence),)


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Have the methods of packages that are loaded go one way."""
    with contextlib.ExitStack() as stack:
        for module, name, function in _METHODS:
            kind: Any = getattr(sys.modules.get(module), name, None)
            before = None if kind is None else kind.__dict__.get(function.__name__)
            if before is not None:
                setattr(kind, function.__name__, staticmethod(function))
                stack.callback(setattr, kind, function.__name__, before)
        yield
