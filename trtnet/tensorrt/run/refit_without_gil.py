"""The refit of TensorRT 8.6 with the interpreter's lock released.

Its Python bindings keep the lock until a refit is done (those of 10 release it), so every Python thread would wait.
TensorRT's own function is therefore called through ctypes, at the place of apiv::VRefitter's table (NvInferImpl.h)
where 8.6.1's bindings call it; and only where two others of the table agree with what the bindings say.

It serves TensorRT 8.6 alone, and can go in the version that takes none before 10 (the extra `tensorrt` in
pyproject.toml).
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..bindings import Refitter

HELD = object.__basicsize__  # where an instance of pybind11 has the address of what it holds
IMPLEMENTATION = ctypes.sizeof(ctypes.c_void_p)  # of an nvinfer1::IRefitter, behind its table of virtual functions
REFIT, LOGGER, MAX_THREADS = 3, 15, 17  # virtual functions of apiv::VRefitter; two destructors are the first

_agreed: dict[type, bool] = {}


def refit(refitter: Refitter) -> bool:
    """`refitter.refit_cuda_engine()`, during which other Python threads run where TensorRT's function is found."""
    kind = type(refitter)
    if kind not in _agreed:
        _agreed[kind] = agrees(refitter)
    return bool(_call(refitter, REFIT, ctypes.c_bool) if _agreed[kind] else refitter.refit_cuda_engine())


def agrees(refitter: Refitter) -> bool:
    """Whether a Refitter is laid out as 8.6.1's, as far as two of its functions can tell."""
    if sys.implementation.name != "cpython" or sys.platform != "linux":
        return False
    if not all(_places(refitter)):
        return False
    threads, logger = _call(refitter, MAX_THREADS, ctypes.c_int32), _call(refitter, LOGGER, ctypes.c_void_p)
    return threads == refitter.max_threads and logger == _pointer(id(refitter.logger) + HELD)


def _pointer(address: int) -> int:
    return ctypes.c_void_p.from_address(address).value or 0


def _places(refitter: Refitter) -> tuple[int, int]:
    """Where the apiv::VRefitter is, and its table of functions; 0 where a pointer is null."""
    interface = _pointer(id(refitter) + HELD)
    implementation = interface and _pointer(interface + IMPLEMENTATION)
    return implementation, implementation and _pointer(implementation)


def _call(refitter: Refitter, function: int, returns: Any) -> Any:
    implementation, table = _places(refitter)
    address = _pointer(table + function * ctypes.sizeof(ctypes.c_void_p))
    return ctypes.CFUNCTYPE(returns, ctypes.c_void_p)(address)(implementation)
