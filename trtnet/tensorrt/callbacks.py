"""What TensorRT calls back: progress, errors, log lines. The classes are made from the module that they are given."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .device import Owned

if TYPE_CHECKING:
    import torch

    from ..layers.targets import EnumMember
    from .bindings import IErrorRecorder, IProgressMonitor

Memory: TypeAlias = "Owned | torch.Tensor"

log = logging.getLogger("trtnet.tensorrt")


class ProgressMonitor:
    """What TensorRT says of a build's progress; `cancelled` makes it give up. Called from TensorRT's own threads.

    What `report` raises cancels the build, too, and is kept in `failure`.
    """

    def __init__(self, report: Callable[[str, int, int], None] | None = None) -> None:
        self.cancelled = False
        self.report = report
        self.failure: BaseException | None = None

    def native(self, trt: Any) -> IProgressMonitor:
        monitor = self
        steps: dict[str, int] = {}

        class Native(trt.IProgressMonitor):
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                steps[phase_name] = num_steps
                self._tell(phase_name, 0)

            def step_complete(self, phase_name: str, step: int) -> bool:
                self._tell(phase_name, step + 1)
                return not monitor.cancelled

            def phase_finish(self, phase_name: str) -> None:
                self._tell(phase_name, steps.get(phase_name, 0))

            def _tell(self, phase: str, done: int) -> None:
                if monitor.report is None or monitor.failure is not None:
                    return
                try:
                    monitor.report(phase, done, steps.get(phase, 0))
                except BaseException as error:  # TensorRT would only print it
                    monitor.failure = error
                    monitor.cancelled = True

        return Native()


class OutputAllocator:
    """Memory for an output whose shape the data decides.

    Attributes:
        memory: what `allocate` gave last.
        shape: the output's shape, once the work is done.
    """

    def __init__(self, trt: Any, allocate: Callable[[int], Memory]) -> None:
        self.memory: Memory | None = None
        self.shape: tuple[int, ...] = ()
        self.failure: BaseException | None = None
        owner = self

        class Native(trt.IOutputAllocator):
            def __init__(self) -> None:
                trt.IOutputAllocator.__init__(self)

            def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
                try:
                    found = owner.memory = allocate(size)
                except Exception as error:  # TensorRT takes 0 for failure, and would only print this
                    owner.failure = error
                    return 0
                return found.handle if isinstance(found, Owned) else int(found.data_ptr())

            def reallocate_output_async(
                self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
            ) -> int:
                return self.reallocate_output(tensor_name, memory, size, alignment)

            def notify_shape(self, tensor_name: str, shape: Iterable[int]) -> None:
                owner.shape = tuple(shape)

        self.native = Native()


class DebugListener:
    """What is shown of tensors inside: by `show(address, type, shape, name, stream)`, what that raises is kept."""

    def __init__(self, trt: Any, show: Callable[[int, EnumMember, Iterable[int], str, int], None]) -> None:
        self.failure: BaseException | None = None
        owner = self

        class Native(trt.IDebugListener):
            def __init__(self) -> None:
                trt.IDebugListener.__init__(self)

            def process_debug_tensor(
                self, addr: int, location: EnumMember, type: EnumMember, shape: Iterable[int], name: str, stream: int
            ) -> bool:
                try:
                    show(addr, type, shape, name, stream)
                except BaseException as error:  # TensorRT would only print it
                    owner.failure = owner.failure or error
                    return False
                return True

        self.native = Native()

    def check(self) -> None:
        """Raise what was raised meanwhile."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def checked(self, run: Callable[[int], bool]) -> Callable[[int], bool]:
        """`run`, and then that."""

        def run_and_check(stream: int) -> bool:
            done = run(stream)
            self.check()
            return done

        return run_and_check


class ErrorRecorder:
    """TensorRT's errors, as text, in the order in which they came; safe to write from TensorRT's own threads."""

    def __init__(self, trt: ModuleType) -> None:
        self.errors: list[str] = []
        self.native = _native_recorder(trt)(self.errors)

    def text(self) -> str:
        return "\n".join(dict.fromkeys(self.errors))

    def clear(self) -> None:
        self.errors.clear()


class LayerTimer:
    """The milliseconds that each layer took, call by call."""

    def __init__(self, trt: Any) -> None:
        calls: list[dict[str, float]] = []

        class Native(trt.IProfiler):
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                calls[-1][layer_name] = calls[-1].get(layer_name, 0.0) + ms

        self.calls = calls
        self.native = Native()

    def begin(self) -> None:
        """What is told from now on is of the next call."""
        self.calls.append({})


@functools.cache
def _native_recorder(trt: Any) -> Callable[[list[str]], IErrorRecorder]:
    class Native(trt.IErrorRecorder):
        def __init__(self, errors: list[str]) -> None:
            trt.IErrorRecorder.__init__(self)
            self.errors = errors
            self.lock = threading.RLock()

        def num_errors(self) -> int:
            return len(self.errors)

        get_num_errors = num_errors  # its name in 8.6

        def get_error_code(self, index: int) -> EnumMember:
            return trt.ErrorCodeTRT.UNSPECIFIED_ERROR

        def get_error_desc(self, index: int) -> str:
            return self.errors[index]

        def has_overflowed(self) -> bool:
            return False

        def clear(self) -> None:
            with self.lock:
                self.errors.clear()

        def report_error(self, code: EnumMember, description: str) -> bool:
            # without a GPU every error is followed by one about CUDA itself
            if "catchCudaError" not in description:
                with self.lock:
                    self.errors.append(description)
            return False

    return Native


class Logger(Protocol):
    """TensorRT's messages, into Python's logging.

    Attributes:
        held: messages that wait, or None where they are written as they come.
    """

    held: list[tuple[int, str]] | None

    def write(self, level: int, message: str) -> None:
        """Into Python's logging, whose handlers run the user's code."""


def logger(trt: Any) -> Logger:
    """An ILogger that writes into `log`, or keeps what it hears for later."""
    levels = {"INTERNAL_ERROR": 50, "ERROR": 40, "WARNING": 30, "INFO": 20, "VERBOSE": 10}

    class Native(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.held: list[tuple[int, str]] | None = None

        def log(self, severity: EnumMember, message: str) -> None:
            level = levels.get(severity.name, 10)
            held = self.held
            if held is not None:
                held.append((level, message))
            else:
                self.write(level, message)

        def write(self, level: int, message: str) -> None:
            if log.isEnabledFor(level):
                # what a handler raises would go into TensorRT, which would log it
                with contextlib.suppress(Exception):
                    log.log(level, "%s", message)

    return Native()
