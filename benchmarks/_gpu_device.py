"""What gpu.py measures with: streams and clocks, plans run by TensorRT's own API, torch.compile in another process.

Without a GPU (`--quick`) stand-ins that compute nothing of interest take the places of TensorRT's parts, so that the
rest can be tried.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent
INFERENCES = 20  # in the CUDA graph that the device's time is taken of

Call = Callable[[], Any]


class Clock:
    """Times calls on one stream of its own, or on the default one."""

    def __init__(self, own: bool = True) -> None:
        self.stream = torch.cuda.Stream() if own else torch.cuda.default_stream()
        self.handle = int(self.stream.cuda_stream)
        self.synchronize: Call = self.stream.synchronize

    def here(self) -> Any:
        """torch's work goes to this stream."""
        return torch.cuda.stream(self.stream)

    def enqueue(self, call: Call, calls: int) -> float:
        """Seconds of the host for one call; the GPU works on meanwhile."""
        with self.here(), torch.inference_mode():
            self.synchronize()
            started = time.perf_counter()
            for _ in range(calls):
                call()
            ended = time.perf_counter()
            self.synchronize()
        return (ended - started) / calls

    def latency(self, call: Call, calls: int) -> float:
        """Seconds for one call and waiting for its end."""
        wait = self.synchronize
        with self.here(), torch.inference_mode():
            wait()
            started = time.perf_counter()
            for _ in range(calls):
                call()
                wait()
            ended = time.perf_counter()
        return (ended - started) / calls

    def once(self, call: Call) -> float:
        """Seconds for something that runs on host and GPU, with nothing else under way."""
        torch.cuda.synchronize()
        with self.here():
            started = time.perf_counter()
            call()
            torch.cuda.synchronize()
            return time.perf_counter() - started

    def on_device(self, call: Call) -> Call:
        """A sample of the GPU's own seconds for one call: a CUDA graph of many calls between two events."""
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            with self.here():
                call()  # the first one after new shapes does more
                self.synchronize()
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                for _ in range(INFERENCES):
                    call()
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

        def sample(held: Call = call) -> float:  # the graph reads the memory of the call's execution context
            with self.here():
                first.record()
                graph.replay()
                last.record()
            last.synchronize()
            return first.elapsed_time(last) / 1e3 / INFERENCES

        return sample


def checked(answer: Any) -> Any:
    """What a function of CUDA's runtime gave, without its status."""
    assert int(answer[0]) == 0, f"CUDA: {answer[0]}"
    return answer[1] if len(answer) > 1 else None


class RawEngine:
    """A plan by `deserialize_cuda_engine`, one execution context, addresses set once.

    Attributes:
        output: the tensor that each run overwrites.
    """

    def __init__(self, provider: Any, plan: bytes, x: torch.Tensor, module: Any = None) -> None:
        self.trt, self.logger = provider.trt, provider.logger
        self.runtime = self.trt.Runtime(self.logger)
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        assert self.engine is not None, "TensorRT did not load the plan"
        self.x = x
        self.context, self.output = self._context()

    def _context(self) -> tuple[Any, torch.Tensor]:
        trt, engine, output = self.trt, self.engine, None
        context = engine.create_execution_context()
        assert context is not None, "TensorRT made no context"
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            dtype = torch.float16 if engine.get_tensor_dtype(name) == trt.float16 else torch.float32
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                assert self.x.dtype == dtype, f"{name} is {dtype}"
                assert tuple(engine.get_tensor_shape(name)) == tuple(self.x.shape), "another input shape"
                assert context.set_tensor_address(name, self.x.data_ptr())
            else:
                output = torch.empty(tuple(engine.get_tensor_shape(name)), dtype=dtype, device="cuda")
                assert context.set_tensor_address(name, output.data_ptr())
        assert output is not None
        return context, output

    def enqueue(self, handle: int) -> Call:
        """One enqueue on the stream at this address."""
        return functools.partial(self.context.execute_async_v3, handle)

    def graphs(self, clock: Clock) -> dict[str, Call]:
        """One replay of a captured enqueue: by torch's CUDAGraph, and by cuda-python."""
        execute = self.context.execute_async_v3
        execute(clock.handle)
        clock.synchronize()
        by_torch = torch.cuda.CUDAGraph()
        with torch.cuda.graph(by_torch, stream=clock.stream, capture_error_mode="thread_local"):
            assert execute(clock.handle)
        return {"raw graph (torch)": by_torch.replay, "raw graph (cuda-python)": self._launch(clock)}

    def with_copies(self, clock: Clock, x: torch.Tensor) -> Call:
        """A replay on the values of `x`, copied to the memory that the graph reads; and the output in memory of its
        own."""
        other = copy.copy(self)
        other.x = x.clone()
        other.context, other.output = other._context()
        other.enqueue(clock.handle)()  # the first one after new shapes does more
        clock.synchronize()
        launch = other._launch(clock)

        def call() -> torch.Tensor:
            other.x.copy_(x)
            launch()
            return other.output.clone()

        return call

    def _launch(self, clock: Clock) -> Call:
        from cuda.bindings import runtime

        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(runtime.cudaStreamBeginCapture(clock.handle, mode))
        assert self.context.execute_async_v3(clock.handle)
        graph = checked(runtime.cudaStreamEndCapture(clock.handle))
        executable = checked(runtime.cudaGraphInstantiate(graph, 0))
        return functools.partial(runtime.cudaGraphLaunch, executable, runtime.cudaStream_t(clock.handle))

    def enqueue_current(self) -> Call:
        """One enqueue of a second context on torch's current stream, for `Clock.on_device`."""
        context, output = self._context()
        execute, current = context.execute_async_v3, torch.cuda.current_stream

        def call() -> torch.Tensor:
            execute(current().cuda_stream)
            return output

        return call

    def refits(self, arrays: dict[str, np.ndarray]) -> dict[str, Call]:
        """The fastest loops over arrays that lie in page-locked memory already: a Refitter that stays."""
        pinned = {}
        for name, array in arrays.items():
            flat = np.ascontiguousarray(array).reshape(-1)
            pinned[name] = torch.empty(flat.nbytes, dtype=torch.uint8, pin_memory=True).numpy().view(flat.dtype)
            pinned[name][:] = flat
        weights = {name: self.trt.Weights(array) for name, array in pinned.items()}
        self._held = pinned, weights

        def loop(threads: int | None, again: bool) -> Call:
            refitter = self.trt.Refitter(self.engine, self.logger)
            if threads is not None:
                refitter.max_threads = threads

            def set_all() -> None:
                for name, one in weights.items():
                    assert refitter.set_named_weights(name, one), name

            def refit() -> None:
                if again:
                    set_all()
                assert refitter.refit_cuda_engine(), refitter.get_missing_weights()

            set_all()
            refit()
            return refit

        several = (None, 8) if hasattr(self.trt.Refitter, "max_threads") else (None,)
        return {
            f"raw, {'set again' if again else 'not set again'}" + (f", {threads} threads" if threads else ""): loop(
                threads, again
            )
            for threads in several
            for again in (True, False)
        }

    def usual_refit(self, tensors: dict[str, torch.Tensor]) -> Call:
        """What users write: each tensor brought to the host, a new Refitter, set_named_weights, refit."""

        def refit() -> None:
            refitter = self.trt.Refitter(self.engine, self.logger)
            for name, tensor in tensors.items():
                assert refitter.set_named_weights(name, tensor.cpu().numpy().reshape(-1)), name
            assert refitter.refit_cuda_engine(), refitter.get_missing_weights()

        return refit


def packed_copy(nbytes: int, device: str) -> Call:
    """One asynchronous copy of so many bytes from the GPU into page-locked memory."""
    source = torch.empty(max(nbytes, 1), dtype=torch.uint8, device=device)
    target = torch.empty(max(nbytes, 1), dtype=torch.uint8, pin_memory=device == "cuda")
    return lambda: target.copy_(source, non_blocking=True)


# --- stand-ins --------------------------------------------------------------------------------------------------------


class QuickClock(Clock):
    """For the CPU: there is no stream."""

    def __init__(self, own: bool = True) -> None:
        self.handle = 0
        self.synchronize = lambda: None

    def here(self) -> Any:
        return contextlib.nullcontext()

    def once(self, call: Call) -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    def on_device(self, call: Call) -> Call:
        return functools.partial(self.latency, call, 1)


class QuickEngine(RawEngine):
    """In place of a plan: the module itself."""

    def __init__(self, provider: Any, plan: bytes, x: torch.Tensor, module: Any = None) -> None:
        self.run = functools.partial(module, x)
        with torch.inference_mode():
            self.output = self.run()

    def enqueue(self, handle: int) -> Call:
        return self.run

    def graphs(self, clock: Clock) -> dict[str, Call]:
        return {"raw graph (torch)": self.run, "raw graph (cuda-python)": self.run}

    def with_copies(self, clock: Clock, x: torch.Tensor) -> Call:
        return self.run

    def enqueue_current(self) -> Call:
        return self.run

    def refits(self, arrays: dict[str, np.ndarray]) -> dict[str, Call]:
        return {"raw, set again": lambda: {n: a.copy() for n, a in arrays.items()}, "raw, not set again": lambda: None}

    def usual_refit(self, tensors: dict[str, torch.Tensor]) -> Call:
        return lambda: [tensor.cpu().numpy() for tensor in tensors.values()]


# --- torch.compile ----------------------------------------------------------------------------------------------------


class Compiled:
    """The process of _gpu_compile.py. It compiles while TensorRT builds, and gives samples when it is asked to."""

    def __init__(self, python: str, errors: Path) -> None:
        self.errors = errors
        with errors.open("ab") as log:
            self.process = subprocess.Popen(
                [python, "-u", str(FOLDER / "_gpu_compile.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, env=environment(), text=True, cwd=errors.parent,
            )  # fmt: skip
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                self._answers.put(json.loads(line[1:]))
        self._answers.put({"ended": self.errors.read_text(errors="replace")[-2000:]})

    def order(self, what: str, **given: Any) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # what it answers says that it has ended
            self.process.stdin.write(json.dumps({"do": what, **given}) + "\n")
            self.process.stdin.flush()

    def answer(self, timeout: float) -> dict[str, Any]:
        try:
            found = self._answers.get(timeout=timeout)
        except queue.Empty:
            self.process.kill()  # a late answer would be taken for the next one
            raise RuntimeError(f"torch.compile gave no answer within {timeout:.0f} s") from None
        if "ended" in found:
            self._answers.put(found)  # for the next to ask
            raise RuntimeError(f"_gpu_compile.py ended; its log: {found['ended']}")
        if "error" in found:
            raise RuntimeError(found["error"])
        return found

    def close(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


def environment() -> dict[str, str]:
    """This process's, without what makes another Python use this one's libraries."""
    found = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    folders = [p for p in found.get("LD_LIBRARY_PATH", "").split(":") if p and not p.startswith(sys.prefix)]
    found.pop("LD_LIBRARY_PATH", None)
    if folders:
        found["LD_LIBRARY_PATH"] = ":".join(folders)
    return found
