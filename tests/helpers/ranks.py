"""Processes of one torch.distributed job, by gloo, or by NCCL with a GPU for each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

Work = Callable[[int, Path], None]


def _rank(work: Work, rank: int, count: int, folder: Path, backend: str, store: str) -> None:
    import torch
    import torch.distributed as dist

    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=count)
    try:
        work(rank, folder)
        (folder / f"done-{rank}").touch()
    finally:
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def run(work: Work, count: int, folder: Path, seconds: float = 120, backend: str = "gloo") -> list[int]:
    """Have `work(rank, folder)` done by so many ranks; their exit codes."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    if backend == "nccl":
        context = multiprocessing.get_context("spawn")
        with socket.create_server(("127.0.0.1", 0)) as free:
            store = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    else:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "trtnet.pytorch.engine", work.__module__])  # once, not in each rank
        store = f"file://{folder / 'store'}"
    given = [(work, rank, count, folder, backend, store) for rank in range(count)]
    ranks = [context.Process(target=_rank, args=one, daemon=True) for one in given]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(seconds)
        if one.is_alive():
            one.kill()
            one.join()
    return [one.exitcode or 0 for one in ranks]
