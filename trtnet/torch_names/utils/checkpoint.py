"""torch.utils.checkpoint's names: there is no backward pass to save memory for, so functions are just called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

_OPTIONS = frozenset(("use_reentrant", "preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop"))


def checkpoint(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """`function(*args, **kwargs)`; torch's own options mean nothing here."""
    return function(*args, **{name: value for name, value in kwargs.items() if name not in _OPTIONS})


def checkpoint_sequential(functions: Iterable[Callable[..., Any]], segments: int, input: Any, **kwargs: Any) -> Any:
    """The functions one after the other."""
    for function in functions:
        input = function(input)
    return input
