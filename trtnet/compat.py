"""torch's names around a model that mean little here, so that model files written for PyTorch run unchanged.

Nothing has gradients and nothing is scripted or compiled: these give what they wrap. What would change results
(`autocast`) is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

from . import dtypes
from .errors import UnsupportedError
from .tensor import Tensor

T = TypeVar("T")


class _NoGradient(contextlib.ContextDecorator):
    """`with no_grad():`, `@no_grad()` and `@no_grad`: nothing here has gradients."""

    def __new__(cls, function: Any = None) -> Any:
        return function if callable(function) else super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


class no_grad(_NoGradient):  # noqa: N801
    """Nothing here has gradients."""


class inference_mode(_NoGradient):  # noqa: N801
    """Nothing here has gradients."""


class enable_grad(_NoGradient):  # noqa: N801
    """Accepted; train `trtnet.to_torch(graph)`."""


class set_grad_enabled(_NoGradient):  # noqa: N801
    """Accepted; train `trtnet.to_torch(graph)`."""


def is_grad_enabled() -> bool:
    return False


def _same(function: T, *args: Any, **kwargs: Any) -> T:
    return function


def _decorator(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A decorator with or without arguments that gives the function itself."""
    return function if callable(function) else _same


def _false(*args: Any, **kwargs: Any) -> bool:
    return False


def _call(function: Callable[..., T], *args: Any, use_reentrant: Any = None, preserve_rng_state: Any = None, **kwargs: Any) -> T:
    return function(*args, **kwargs)


@contextlib.contextmanager
def autocast(device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> Iterator[None]:
    """Only `enabled=False`: trtnet casts nothing silently. Raises UnsupportedError otherwise."""
    if enabled:
        raise UnsupportedError("autocast is not recorded", remedy="convert modules and tensors by hand: module.half(), x.to(dtype)")
    yield


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def get_default_dtype() -> dtypes.dtype:
    return dtypes.float32


jit = SimpleNamespace(
    script=_decorator, script_method=_decorator, trace=_same, ignore=_decorator, unused=_decorator, export=_decorator,
    is_scripting=_false, is_tracing=_false, interface=_decorator, annotate=lambda kind, value: value, Final=Any,
    script_if_tracing=_decorator, _overload_method=_decorator, _overload=_decorator,
)  # fmt: skip
compiler = SimpleNamespace(is_compiling=_false, disable=_decorator, allow_in_graph=_decorator, is_dynamo_compiling=_false)
fx = SimpleNamespace(wrap=_same)
onnx = SimpleNamespace(is_in_onnx_export=_false)
utils = SimpleNamespace(checkpoint=SimpleNamespace(checkpoint=_call))
amp = SimpleNamespace(autocast=autocast)
cuda = SimpleNamespace(is_available=_false, amp=amp, device_count=lambda: 0)
compile = _decorator
is_autocast_enabled = _false


class Generator:
    """A seed for `trtnet.rand` and its kin: `Generator().manual_seed(0)`."""

    def __init__(self, device: Any = None) -> None:
        self.seed = 0

    def manual_seed(self, seed: int) -> Generator:
        self.seed = seed
        return self


__all__ = [
    "Generator", "amp", "autocast", "compile", "compiler", "cuda", "enable_grad", "fx", "get_default_dtype", "inference_mode",
    "is_autocast_enabled", "is_grad_enabled", "is_tensor", "jit", "no_grad", "onnx", "set_grad_enabled", "utils",
]  # fmt: skip
