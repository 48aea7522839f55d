"""Processes of one torch.distributed job, by gloo."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

Work = Callable[[int, Path], None]


def _rank(work: Work, rank: int, count: int, folder: Path) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=count)
    try:
        work(rank, folder)
        (folder / f"done-{rank}").touch()
    finally:
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def run(work: Work, count: int, folder: Path, seconds: float = 120) -> list[int]:
    """Have `work(rank, folder)` done by so many ranks; their exit codes."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "trtnet.pytorch.engine", work.__module__])  # once, not in each rank
    ranks = [context.Process(target=_rank, args=(work, rank, count, folder)) for rank in range(count)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(seconds)
        if one.is_alive():
            one.kill()
            one.join()
    return [one.exitcode or 0 for one in ranks]
