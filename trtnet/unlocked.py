"""The refit of TensorRT 8.6 with the interpreter's lock released.

Its Python bindings keep the lock until a refit is done (those of 10 release it), so every Python thread would wait.
TensorRT's own function is therefore called through ctypes, at the place that 8.6's NvInferImpl.h gives it; and only
where two others, called in the same way, agree with what the bindings say.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

HELD = object.__basicsize__  # where an instance of pybind11 has the address of what it holds
IMPLEMENTATION = ctypes.sizeof(ctypes.c_void_p)  # of an nvinfer1::IRefitter, behind its table of virtual functions
REFIT, LOGGER, MAX_THREADS = 3, 15, 17  # virtual functions of apiv::VRefitter; two destructors are the first


def refit(refitter: Any) -> bool:
    """`refitter.refit_cuda_engine()`, during which other Python threads run where TensorRT's function is found."""
    found = implementation(refitter)
    return bool(refitter.refit_cuda_engine() if found is None else _call(found, REFIT, ctypes.c_bool))


def implementation(refitter: Any) -> int | None:
    """The address of a Refitter's apiv::VRefitter; None where it is not laid out as 8.6's headers say."""
    if sys.implementation.name != "cpython" or sys.platform != "linux":
        return None
    interface = _pointer(id(refitter) + HELD)
    found = interface and _pointer(interface + IMPLEMENTATION)
    if not found or not _pointer(found):
        return None
    threads = _call(found, MAX_THREADS, ctypes.c_int32)
    logger = _call(found, LOGGER, ctypes.c_void_p)
    if threads != refitter.max_threads or logger != _pointer(id(refitter.logger) + HELD):
        return None
    return found


def _pointer(address: int) -> int:
    return ctypes.c_void_p.from_address(address).value or 0


def _call(implementation: int, function: int, returns: Any) -> Any:
    address = _pointer(_pointer(implementation) + function * ctypes.sizeof(ctypes.c_void_p))
    return ctypes.CFUNCTYPE(returns, ctypes.c_void_p)(address)(implementation)
