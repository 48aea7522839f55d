"""One check that the tests of trtnet.nn share: a module against its namesake in torch.nn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from harness import check_against_torch, randomize, torch_state

from trtnet import nn


def values(shape: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def both(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """trtnet's module and torch's, of the same arguments."""
    return getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)


NORMALIZATIONS_SHOW_BIAS = "bias" in torch.nn.LayerNorm(1).extra_repr()  # from torch 2.12 on


def same_printed(ours: Any, theirs: Any) -> None:
    """extra_repr of both; trtnet's is that of the newest torch."""
    mine, torchs = ours.extra_repr(), theirs.extra_repr()
    if not NORMALIZATIONS_SHOW_BIAS and "bias" not in torchs:
        mine = re.sub(", bias=(True|False)", "", mine)
    assert mine == torchs


def same_structure(ours: Any, theirs: Any) -> None:
    """Keys, shapes, dtypes, which are parameters, the order of all, and the printed form."""
    mine = {key: (value.shape, str(value.dtype)) for key, value in ours.state_dict().items()}
    torchs = {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in theirs.state_dict().items()
    }
    assert list(mine.items()) == list(torchs.items())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_buffers()] == [name for name, _ in theirs.named_buffers()]
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in theirs.parameters()]
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    same_printed(ours, theirs)


def check_module(
    name: str,
    args: tuple[Any, ...],
    inputs: Any,
    *,
    compile: bool = False,
    call: Mapping[str, Any] | None = None,
    shapes: Any = None,
    seed: int = 0,
    rtol: float = 1e-8,
    **kwargs: Any,
) -> Any:
    """The structure of both, and what they compute with torch's randomised weights.

    `inputs`: an array, or arrays by name.
    """
    ours, theirs = both(name, *args, **kwargs)
    same_structure(ours, theirs)
    randomize(theirs, seed)
    theirs.eval()
    arrays = inputs if isinstance(inputs, dict) else {"input": inputs}
    return check_against_torch(
        ours, theirs, arrays, state_dict=torch_state(theirs), compile=compile, rtol=rtol, atol=1e-8, shapes=shapes
    )
