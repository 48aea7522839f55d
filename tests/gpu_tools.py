"""What the tests on a GPU share beside networks: a GPU kept busy, threads, memory, other processes."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from cases import randomize

SLEEP = 200_000_000  # cycles: about a tenth of a second on an H100


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cpu(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(array))


def cuda(array: np.ndarray) -> Any:
    return cpu(array).cuda()


KINDS: dict[str, Callable[[np.ndarray], Any]] = {"numpy": np.array, "cpu": cpu, "cuda": cuda}
"""An array as each of the kinds that calls and refits take."""


def on_gpu(state: Any) -> dict[str, Any]:
    return {name: cuda(value) for name, value in state.items()}


def state_of(net: Any, seed: int) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in randomize(net, seed).state_dict().items()}


class Offered:
    """Another library's array: nothing but DLPack, or nothing but `__cuda_array_interface__`."""

    def __new__(cls, tensor: Any, protocol: str) -> Any:
        def __dlpack__(self: Any, **options: Any) -> Any:
            return tensor.__dlpack__(**options)

        members: dict[str, dict[str, Any]] = {
            "DLPack": {"__dlpack__": __dlpack__, "__dlpack_device__": lambda self: tensor.__dlpack_device__()},
            "interface": {"__cuda_array_interface__": property(lambda self: tensor.__cuda_array_interface__)},
        }
        return type("OfferedArray", (), members[protocol])()


# --- threads ---------------------------------------------------------------------------------------------------------


def together(work: Callable[[int], Any], threads: int = 8) -> list[Any]:
    """`work(number)` in so many threads at once; what they returned. The first exception comes out here."""
    barrier = threading.Barrier(threads, timeout=60)

    def one(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return [future.result() for future in [pool.submit(one, number) for number in range(threads)]]


@contextlib.contextmanager
def meanwhile(work: Callable[[int], Any], threads: int = 1) -> Iterator[list[int]]:
    """While the block runs, so many threads call `work(number)` again and again, at least once each.

    Gives how often each has; an exception of theirs comes out at the end.
    """
    stop, started = threading.Event(), threading.Barrier(threads + 1, timeout=60)
    counts, failures = [0] * threads, []

    def loop(number: int) -> None:
        started.wait()
        try:
            while True:
                work(number)
                counts[number] += 1
                if stop.is_set():
                    return
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=loop, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    started.wait()
    try:
        yield counts
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
    assert not any(worker.is_alive() for worker in workers), "a thread hangs"
    if failures:
        raise failures[0]


# --- memory ----------------------------------------------------------------------------------------------------------


def memory() -> tuple[int, int]:
    """Bytes that this process holds on the host, and that are in use on the GPU."""
    import torch

    gc.collect()
    torch.cuda.synchronize()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    free, total = torch.cuda.mem_get_info()
    return resident, total - free


def stays(run: Callable[[int], Any], count: int, first: int, most: int = 16 << 20) -> None:
    """Memory of host and GPU after `run(count)` is what it was after `run(first)`, but for `most` bytes."""
    run(first)
    before = memory()
    run(count)
    after = memory()
    assert after[0] - before[0] < most, f"host: {after[0] - before[0]:,} bytes more"
    assert after[1] - before[1] < most, f"GPU: {after[1] - before[1]:,} bytes more"


@contextlib.contextmanager
def nearly_full(left: int = 300 << 20) -> Iterator[None]:
    """All but `left` bytes of the GPU's memory are taken."""
    import torch

    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - left, dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del taken
        torch.cuda.empty_cache()


# --- processes -------------------------------------------------------------------------------------------------------


def script(code: str, *args: Any) -> subprocess.Popen[str]:
    """A Python process that can import what tests import; its output is one stream."""
    tests = Path(__file__).resolve().parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
