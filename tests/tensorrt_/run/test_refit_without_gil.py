"""TensorRT 8.6's refit without the interpreter's lock: what is read of an object laid out as its Refitter.

That TensorRT's own are laid out so is shown on a GPU (tests/gpu/test_refit.py).
"""

from __future__ import annotations

import ctypes
import sys

import pytest

from trtnet.tensorrt.run import refit_without_gil as unlocked

FUNCTIONS = 18
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layout is that of Linux")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(unlocked, "_agreed", {})


class Logger(ctypes.Structure):
    """Has the address of its memory where an instance of pybind11 has that of what it holds."""

    _fields_ = (("content", ctypes.c_void_p),)


class Refitter(ctypes.Structure):
    """An interface as IRefitter is: its table, and its implementation, which begins with a table of functions."""

    _fields_ = (("table", ctypes.c_void_p), ("implementation", ctypes.c_void_p))

    def __init__(self, threads: int = 3) -> None:
        super().__init__()
        self.logger, self.max_threads, self.calls = Logger(), threads, []
        logger = ctypes.addressof(self.logger)
        returns = {
            unlocked.REFIT: (ctypes.c_bool, lambda found: self.calls.append(("function", found)) or True),
            unlocked.LOGGER: (ctypes.c_void_p, lambda found: logger),
            unlocked.MAX_THREADS: (ctypes.c_int32, lambda found: threads),
        }
        wrong = ctypes.c_bool, lambda found: pytest.fail("another function was called")
        self.functions = [
            ctypes.CFUNCTYPE(kind, ctypes.c_void_p)(function)
            for kind, function in (returns.get(place, wrong) for place in range(FUNCTIONS))
        ]
        pointers = [ctypes.cast(function, ctypes.c_void_p).value for function in self.functions]
        self.functions_table = (ctypes.c_void_p * FUNCTIONS)(*pointers)
        self.inner = (ctypes.c_void_p * 1)(ctypes.addressof(self.functions_table))
        self.implementation = ctypes.addressof(self.inner)

    def refit_cuda_engine(self) -> bool:
        self.calls.append(("bindings", None))
        return True


def test_the_function_in_the_table_is_called():
    refitter = Refitter()
    assert unlocked.refit(refitter) is True
    assert refitter.calls == [("function", refitter.implementation)]


@pytest.mark.parametrize("differs", ["threads", "logger", "implementation", "platform", "interpreter"])
def test_where_anything_disagrees_the_bindings_are_called(differs, monkeypatch):
    refitter = Refitter()
    if differs == "threads":
        refitter.max_threads = 4
    elif differs == "logger":
        refitter.logger = Logger()
    elif differs == "implementation":
        ctypes.Structure.__setattr__(refitter, "implementation", None)
    elif differs == "platform":
        monkeypatch.setattr(sys, "platform", "win32")
    else:
        monkeypatch.setattr(sys.implementation, "name", "other")
    assert unlocked.refit(refitter) is True
    assert refitter.calls == [("bindings", None)]
