"""torch's names around a model that mean little here, so that model files written for PyTorch run unchanged.

Nothing has gradients and nothing is scripted or compiled: these give what they wrap. What would change results
(`autocast`) is refused.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.errors import ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Tensor
from ..graph.training import cut_gradients
from ..layers.assertion import Assertion
from .jit import decorator, never, same


class _NoGradient:
    """`with no_grad():`, `@no_grad()` and `@no_grad`: nothing here has gradients; `to_torch` warns of such lines."""

    cuts = False

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        return made(function) if callable(function) else made

    def __init__(self, mode: bool = True) -> None:
        pass

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return call

    def __enter__(self) -> None:
        if self.cuts:
            cut_gradients(f"forward computes under {type(self).__name__}")

    def __exit__(self, *exc: object) -> None:
        pass


class no_grad(_NoGradient):
    """Nothing here has gradients."""

    cuts = True


class inference_mode(_NoGradient):
    """Nothing here has gradients."""

    cuts = True

    def __init__(self, mode: bool = True) -> None:
        self.cuts = mode


class enable_grad(_NoGradient):
    """Accepted; train `trtnet.to_torch(graph)`."""


class set_grad_enabled(_NoGradient):
    """Accepted; train `trtnet.to_torch(graph)`."""

    def __init__(self, mode: bool = True) -> None:
        if not mode:
            cut_gradients("forward computes under set_grad_enabled(False)")


def is_grad_enabled() -> bool:
    return False


@contextlib.contextmanager
def autocast(
    device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: Any = None
) -> Iterator[None]:
    """Only `enabled=False`: trtnet casts nothing silently. Raises UnsupportedError otherwise."""
    if enabled:
        raise UnsupportedError(
            "autocast is not recorded", remedy="convert modules and tensors by hand: module.half(), x.to(dtype)"
        )
    yield


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def get_default_dtype() -> dtypes.dtype:
    return dtypes.float32


def _assert(condition: Any, message: str) -> None:
    """`assert condition, message`; of a tensor of the recording a layer, which checks it at each call.

    Raises ShapeError for a tensor of several elements.
    """
    if type(condition) is not Tensor:
        assert condition, message
        return
    if condition.shape.numel() != 1:
        raise ShapeError(
            "one value is asserted",
            expected="a tensor of one element",
            found=format_shape(condition.shape),
            remedy="condition.all(), or condition.any()",
        )
    emit(Assertion((condition.reshape(()).bool(),), str(message)))


def _assert_async(input: Any, assert_msg: str = "") -> None:
    """As `_assert`: that a tensor of one element is not zero."""
    _assert(input, assert_msg)


_C = SimpleNamespace(_log_api_usage_once=never, Graph=object, Value=object)
compiler = SimpleNamespace(
    is_compiling=never,
    is_dynamo_compiling=never,
    is_exporting=never,
    disable=decorator,
    allow_in_graph=same,
    assume_constant_result=same,
)
fx = SimpleNamespace(wrap=same, Proxy=type("Proxy", (), {}))
onnx = SimpleNamespace(is_in_onnx_export=never)
distributed = SimpleNamespace(is_available=never, is_initialized=never, get_world_size=lambda: 1, get_rank=lambda: 0)
backends = SimpleNamespace(
    cudnn=SimpleNamespace(benchmark=False, deterministic=False, enabled=False, allow_tf32=False),
    cuda=SimpleNamespace(
        matmul=SimpleNamespace(allow_tf32=False), sdp_kernel=lambda *args, **kwargs: contextlib.nullcontext()
    ),
    mps=SimpleNamespace(is_available=never),
    quantized=SimpleNamespace(engine="none"),
)
compile = decorator
is_autocast_enabled = is_autocast_cpu_enabled = is_inference_mode_enabled = never


def get_autocast_dtype(device_type: str = "cuda") -> dtypes.dtype:
    """float32: there is no autocast."""
    return dtypes.float32


def get_autocast_gpu_dtype() -> dtypes.dtype:
    """float32: there is no autocast."""
    return dtypes.float32


get_autocast_cpu_dtype = get_autocast_gpu_dtype

e, inf, nan, pi = math.e, math.inf, math.nan, math.pi
newaxis = None
contiguous_format, preserve_format, channels_last, channels_last_3d, strided = (
    "contiguous_format", "preserve_format", "channels_last", "channels_last_3d", "strided",
)  # fmt: skip


class _Legacy(type):
    """`isinstance(x, torch.LongTensor)` asks for the dtype."""

    dtype: dtypes.dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *data: Any, **options: Any) -> Any:
        return Tensor.from_data(data, cls.dtype)


def _legacy(name: str, dtype: dtypes.dtype) -> Any:
    return _Legacy(name, (), {"dtype": dtype, "__doc__": f"Annotations, and the old constructor of {dtype} tensors."})


FloatTensor = _legacy("FloatTensor", dtypes.float32)
HalfTensor = _legacy("HalfTensor", dtypes.float16)
BFloat16Tensor = _legacy("BFloat16Tensor", dtypes.bfloat16)
LongTensor = _legacy("LongTensor", dtypes.int64)
IntTensor = _legacy("IntTensor", dtypes.int32)
CharTensor = _legacy("CharTensor", dtypes.int8)
ByteTensor = _legacy("ByteTensor", dtypes.uint8)
BoolTensor = _legacy("BoolTensor", dtypes.bool_)


class Generator:
    """A seed for `trtnet.rand` and its kin: `Generator().manual_seed(0)`."""

    def __init__(self, device: Any = None) -> None:
        self.seed = 0

    def manual_seed(self, seed: int) -> Generator:
        self.seed = seed
        return self


__all__ = [
    "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "FloatTensor", "Generator", "HalfTensor", "IntTensor",
    "LongTensor", "_C", "_assert", "_assert_async", "autocast", "backends", "channels_last", "channels_last_3d",
    "compile", "compiler",
    "contiguous_format", "distributed", "e", "enable_grad", "fx", "get_autocast_cpu_dtype", "get_autocast_dtype",
    "get_autocast_gpu_dtype", "get_default_dtype", "inf", "inference_mode", "is_autocast_cpu_enabled",
    "is_autocast_enabled", "is_grad_enabled", "is_inference_mode_enabled", "is_tensor", "nan", "newaxis", "no_grad",
    "onnx", "pi", "preserve_format", "set_grad_enabled", "strided",
]  # fmt: skip
