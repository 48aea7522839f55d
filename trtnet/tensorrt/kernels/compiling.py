"""CUDA C++ to machine code by NVRTC, through cuda-python."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ...basics.errors import BuildError, ProviderError
from .. import device


class Compiled(NamedTuple):
    """Machine code of one kernel (a cubin), or PTX, and the function's name in it."""

    code: bytes
    function: str


def compiled(
    source: str, function: str, options: Sequence[str], arch: str | None = None, as_ptx: bool = False
) -> Compiled:
    """The machine code of the kernel `function` of a source, or its PTX.

    Args:
        arch: for which GPUs, as "sm_90"; the first one here unless given.

    Raises:
        BuildError: the compiler's own messages, and the line of the source that the first one is about.
        ProviderError: no NVRTC here; or no GPU, and no `arch`.
    """
    arch = arch or gpu()
    return _compiled(source, function, tuple(options), arch.replace("sm_", "compute_") if as_ptx else arch)


@functools.lru_cache(maxsize=64)
def _compiled(source: str, function: str, options: tuple[str, ...], arch: str) -> Compiled:
    nvrtc = _nvrtc()
    given = [f"--gpu-architecture={arch}", "--std=c++17", *(f"--include-path={p}" for p in includes()), *options]
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(source.encode(), f"{function}.cu".encode(), 0, [], []))
    try:
        _checked(nvrtc, nvrtc.nvrtcAddNameExpression(program, function.encode()))
        flags = [one.encode() for one in given]
        result = nvrtc.nvrtcCompileProgram(program, len(flags), flags)[0]
        if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytes(_checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program)))  # NVRTC writes into it
            _checked(nvrtc, nvrtc.nvrtcGetProgramLog(program, log))
            raise _failed(source, function, log.decode(errors="replace").rstrip("\0\n "), given)
        name = _checked(nvrtc, nvrtc.nvrtcGetLoweredName(program, function.encode()))
        as_ptx = arch.startswith("compute_")
        size, read = (
            (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX) if as_ptx else (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
        )
        code = bytes(_checked(nvrtc, size(program)))  # NVRTC writes into it
        _checked(nvrtc, read(program, code))
        return Compiled(code.rstrip(b"\0") if as_ptx else code, name.decode())
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def gpu() -> str:
    """The architecture of the GPU here, as "sm_90". Raises ProviderError where there is none."""
    found = device.capability()
    if found is None:
        raise ProviderError(
            "a kernel is compiled for the GPU that it runs on, and there is none here",
            expected="a CUDA GPU",
            found="no CUDA GPU",
            remedy="build where the network is to run; trtnet.plugins.compiled(kernel, 'sm_90') looks for errors alone",
        )
    return f"sm_{found[0]}{found[1]}"


def _nvrtc() -> ModuleType:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError, OSError) as error:
        raise ProviderError(
            "compiling a kernel needs NVRTC, through cuda-python",
            details=f"{type(error).__name__}: {error}",
            remedy="pip install 'trtnet[cuda]' nvidia-cuda-nvrtc",
        ) from None
    return nvrtc


def _checked(nvrtc: ModuleType, result: tuple[Any, ...]) -> Any:
    error, *values = result
    if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise ProviderError(
            "NVRTC failed",
            details=bytes(nvrtc.nvrtcGetErrorString(error)[1]).decode(),
            remedy="give a CUDA version that knows this GPU: pip install -U nvidia-cuda-nvrtc",
        )
    return values[0] if values else None


def _failed(source: str, function: str, log: str, options: Sequence[str]) -> BuildError:
    """The compiler's messages, and the line of the source that the first error names."""
    named = re.search(rf"{re.escape(function)}\.cu\((\d+)\): error", log)
    lines = source.splitlines()
    number = int(named[1]) if named else 0
    shown = f"line {number}: {lines[number - 1].strip()}" if 0 < number <= len(lines) else "see the compiler's messages"
    return BuildError(
        f"the kernel {function} does not compile",
        details=log,
        expected="CUDA C++ that NVRTC takes, with " + " ".join(options),
        found=shown,
        remedy="mend that line of the source"
        if named
        else "mend the source; for headers that are not found: options=['--include-path=/usr/local/cuda/include']",
    )


@functools.cache
def includes() -> tuple[str, ...]:
    """Folders with CUDA's own headers (cuda_fp16.h), of an installed toolkit or of pip's packages."""
    roots = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    places = [Path(root) / "include" for root in [*roots, "/usr/local/cuda"]]
    for entry in sys.path:
        places += sorted(Path(entry).glob("nvidia/*/include")) if entry else []
    found = [place for place in places if (place / "cuda_fp16.h").is_file()][:1]  # of one version
    return tuple(str(place) for one in found for place in (one, one / "cccl") if place.is_dir())
