"""A library for LD_PRELOAD that makes refits fast where the driver is slow to tell a GPU's clock rates.

At each refit TensorRT 8.6 asks the driver for them, eight times or more. On an H100 with driver 580.159 an answer took
0.35 to 0.7 ms, which was most of a small network's refit (benchmarks/README.md). The library answers the second
question and all later ones itself. The machine's C compiler makes it of `preload.c`.

It serves refits of TensorRT 8.6 on slow drivers alone, with `trtnet preload` and one line of `trtnet doctor`. It can
go, with preload.c and these, in the version that takes no TensorRT before 10 (the extra `tensorrt` in pyproject.toml),
if 10 and later do not ask at each refit: they have not been run.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..basics.disk import user_cache
from ..basics.errors import ProviderError

SOURCE = Path(__file__).with_suffix(".c")


def library(folder: str | os.PathLike[str] | None = None) -> Path:
    """The path of the library, for `LD_PRELOAD`; it is compiled when that has not been done.

    Args:
        folder: where it is kept; `trtnet` in the user's folder of caches unless given.

    Raises:
        ProviderError: no Linux with glibc, no C compiler, a path that LD_PRELOAD cannot hold, or that is no folder.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        raise ProviderError(
            "LD_PRELOAD is made for Linux with glibc",
            expected="Linux with glibc",
            found=f"{platform.system()} {' '.join(platform.libc_ver())}".strip(),
            remedy="live weights need no refit: build(graph, live=True)",
        )
    place = Path(folder if folder is not None else user_cache()).absolute()
    if any(c in str(place) for c in " :\t\n"):
        raise ProviderError(
            "LD_PRELOAD takes no path with a space or a colon",
            found=str(place),
            remedy="trtnet preload --folder /another/folder, or set XDG_CACHE_HOME",
        )
    source = SOURCE.read_bytes()
    path = place / f"preload-{platform.machine()}-{hashlib.sha256(source).hexdigest()[:12]}.so"
    if not path.exists():
        try:
            place.mkdir(parents=True, exist_ok=True)
            _compile(path)
        except OSError as error:
            raise ProviderError(
                "the library for LD_PRELOAD cannot be kept there",
                expected="a folder, or where one can be made",
                found=str(error),
                remedy="trtnet preload --folder /another/folder, or set XDG_CACHE_HOME",
            ) from error
    return path


def _compile(path: Path) -> None:
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    if compiler is None:
        raise ProviderError(
            "the library for LD_PRELOAD is compiled on the machine that uses it",
            expected="a C compiler: " + " or ".join(names),
            found="none of them",
            remedy="install gcc; or build(graph, live=True), whose weights need no refit",
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ProviderError(
                "the library for LD_PRELOAD was not compiled",
                found=" ".join(command),
                details=done.stderr.strip(),
                remedy="name another compiler: CC=clang trtnet preload",
            )
        made.replace(path)  # whole, whoever else compiles it now


def answers() -> int | None:
    """How many questions to the driver the library has answered in this process; None where it is not loaded."""
    if sys.platform != "linux":
        return None
    count = getattr(ctypes.CDLL(None), "trtnet_preload_answers", None)
    if count is None:
        return None
    count.restype = ctypes.c_ulong
    return int(count())
