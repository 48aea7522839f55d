"""The C++ plugin that launches kernels (kernel_plugin.cpp), built once for the TensorRT at hand."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ...basics.disk import replacing, user_cache, writable_by
from ...basics.errors import BuildError, ProviderError
from ..provider import Provider

SOURCE = Path(__file__).with_name("kernel_plugin.cpp")
CREATOR, VERSION = "TrtnetKernel", "1"


def library(provider: Provider) -> Path:
    """The shared library, built if it is not there yet.

    It lies in `~/.cache/trtnet` (XDG_CACHE_HOME), or where TRTNET_CACHE says; it is named after TensorRT's version and
    a digest of its source.

    Raises ProviderError: no headers of this TensorRT, no C++ compiler, a folder that others can write to. BuildError:
    the compiler's messages.
    """
    version = _release(provider.version)
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    path = _folder() / f"libtrtnet-kernel-{digest}-tensorrt-{version}.so"
    if not path.is_file():
        _build(path, headers(provider), provider)
    return path


def _release(version: str) -> str:
    """Major and minor number."""
    return ".".join(version.split(".")[:2])


def _folder() -> Path:
    chosen = os.environ.get("TRTNET_CACHE")
    folder = Path(chosen) if chosen else user_cache()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = writable_by(folder.stat())
    except OSError as error:
        others = str(error)
    if others is not None:
        raise ProviderError(
            f"the plugin that launches kernels cannot be kept in {folder}",
            expected="a folder that is yours, and that nobody else can write to: what lies there is run",
            found=others,
            remedy="set TRTNET_CACHE to another folder",
        )
    return folder


def headers(provider: Provider) -> Path:
    """The folder with this TensorRT's C++ headers. Raises ProviderError that says what to install."""
    wanted = _release(provider.version)
    others = []
    for folder in _places():
        if (folder / "NvInferRuntime.h").is_file():
            found = _version_in(folder)
            if found == wanted:
                return folder
            others.append(f"{folder}: of {found}")
    raise ProviderError(
        "a kernel is launched by a small C++ plugin, and TensorRT's headers to build it are not here",
        expected=f"NvInferRuntime.h of TensorRT {wanted}",
        found="; ".join(others) or "none in " + ", ".join(map(str, _places())),
        remedy=f"install them (Debian and Ubuntu: libnvinfer-headers-dev; or the tar file of TensorRT {wanted}, or the "
        "include folder of NVIDIA/TensorRT's repository at that version), and set TENSORRT_ROOT to the folder that has "
        "include/",
    )


def _places() -> list[Path]:
    return list(dict.fromkeys(_roots()))


def _roots() -> Iterator[Path]:
    for name in ("TENSORRT_ROOT", "TRT_ROOT", "TENSORRT_DIR", "CONDA_PREFIX"):
        if root := os.environ.get(name):
            yield from (Path(root) / "include", Path(root))
    machine = sysconfig.get_config_var("MULTIARCH")
    if machine:
        yield Path("/usr/include") / machine
    for root in ("/usr/local/tensorrt", "/usr/local/TensorRT", "/opt/tensorrt", "/usr/local", "/usr"):
        yield Path(root) / "include"


def _version_in(folder: Path) -> str:
    """Major and minor number that the headers have."""
    try:
        text = (folder / "NvInferVersion.h").read_text(errors="replace")
    except OSError:
        return "an unknown version"
    found = [
        re.search(rf"#define\s+(?:NV_TENSORRT_{part}|TRT_{part}_ENTERPRISE)\s+(\d+)", text)
        for part in ("MAJOR", "MINOR")
    ]
    return ".".join(one[1] for one in found if one is not None) or "an unknown version"


def command(to: Path, include: Path) -> list[str]:
    """What builds the library. Raises ProviderError where there is no C++ compiler."""
    compiler = os.environ.get("CXX") or next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if compiler is None:
        raise ProviderError(
            "a kernel is launched by a small C++ plugin, and there is no C++ compiler to build it",
            expected="c++, g++ or clang++ on PATH, or CXX",
            found="none",
            remedy="install one (Debian and Ubuntu: g++)",
        )
    return [
        *compiler.split(), "-std=c++14", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-w", f"-I{include}",
        f"-I{SOURCE.with_name('stand-in')}", str(SOURCE), "-o", str(to), "-ldl",
    ]  # fmt: skip


def _build(path: Path, include: Path, provider: Provider) -> None:
    with replacing(path) as new:
        ran = subprocess.run(command(new, include), capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise BuildError(
                "the C++ plugin that launches kernels does not build",
                details=(ran.stderr or ran.stdout)[:4000],
                expected=f"headers of {provider}",
                found=f"those in {include}",
                remedy="the compiler's messages are above; CXX names another compiler",
            )
