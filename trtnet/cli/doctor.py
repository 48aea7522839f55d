"""What is installed here, what of trtnet works with it, and what to install for the rest. Never raises."""

from __future__ import annotations

import contextlib
import csv
import importlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

SLOW = 5e-5  # seconds
MIG = {"Enabled": ", MIG on: a process sees one of its instances", "Disabled": ", MIG off"}
PACKAGES = {
    "numpy": "numpy", "ml_dtypes": "ml_dtypes", "safetensors": "safetensors", "torch": "torch",
    "tensorrt_rtx": "tensorrt_rtx", "tensorrt": "tensorrt", "cuda-python": "cuda.bindings", "scikit-learn": "sklearn",
    "pillow": "PIL",
}  # fmt: skip
"""Distributions, and the module of each."""


@dataclass(frozen=True)
class Fact:
    """One line: a name, what was found, and whether it is there."""

    name: str
    found: str
    there: bool = True


@dataclass(frozen=True)
class Ability:
    """Something that trtnet can do: whether it works here, and if not, why and what to do."""

    name: str
    works: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """What `inspect_machine` found."""

    machine: list[Fact]
    packages: list[Fact]
    abilities: list[Ability]


def inspect_machine() -> Report:
    """Look at this machine. Nothing that is missing or broken raises."""
    from .. import __version__

    gpus = _gpus()
    machine = [
        Fact("trtnet", __version__),
        Fact("Python", f"{platform.python_version()} ({sys.executable})"),
        Fact("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        *(gpus or [Fact("GPU", "no NVIDIA GPU found", there=False)]),
        *_loading(),
        *_slow_driver(),
    ]
    return Report(machine, [_package(*one) for one in PACKAGES.items()], _abilities())


def _package(distribution: str, module: str) -> Fact:
    """The version that its metadata says; of a package without, which was copied here, what its module says."""
    with contextlib.suppress(Exception):
        if version := importlib.metadata.version(distribution):
            return Fact(distribution, version)
    try:
        found = importlib.import_module(module)
    except Exception as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        absent = name is not None and f"{module}.".startswith(f"{name}.")
        text = "not installed" if absent else f"installed, but its import fails: {_line(error)}"
        return Fact(distribution, text, there=False)
    if getattr(found, "__file__", None) is None:  # a folder of that name where Python looks
        return Fact(distribution, "not installed", there=False)
    return Fact(distribution, str(getattr(found, "__version__", "installed, version unknown")))


def _broken(module: str) -> str | None:
    """Why a module cannot be imported, in one line; None where it can."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return _line(error)
    return None


def _line(error: BaseException) -> str:
    text = str(getattr(error, "details", None) or error).strip().splitlines()
    return text[-1] if text else type(error).__name__


def _gpus() -> list[Fact]:
    """Name, memory, compute capability and driver of each GPU, by nvidia-smi, else by PyTorch, else by the driver."""
    for probe in (_by_nvidia_smi, _by_torch, _by_driver):
        try:
            if found := probe():
                return found
        except Exception:
            continue
    return []


def _by_nvidia_smi() -> list[Fact]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,compute_cap,driver_version,mig.mode.current", "--format=csv,noheader"]
    text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
    return [
        Fact("GPU", f"{name}, {memory}, sm{capability.replace('.', '')}, driver {driver}{MIG.get(mode, '')}")
        for name, memory, capability, driver, mode in rows
    ]


def _by_torch() -> list[Fact]:
    import torch

    if not torch.cuda.is_available():
        return []
    facts = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        facts.append(Fact("GPU", f"{found.name}, {found.total_memory >> 20} MiB, sm{found.major}{found.minor}"))
    return facts


def _loading() -> list[Fact]:
    """Whether CUDA loads kernels when they are first used."""
    from ..tensorrt.device import loads_lazily

    try:
        lazily = loads_lazily()
    except Exception:
        return []
    if lazily is None:
        return []
    if lazily:
        return [Fact("CUDA", "loads kernels lazily, when they are first used")]
    text = "loads all kernels at once, which takes time and memory of the GPU"
    return [Fact("CUDA", f"{text}: CUDA_MODULE_LOADING=LAZY python ... loads them when they are first used")]


def _slow_driver() -> list[Fact]:
    """Whether refits wait for the driver, and what to do."""
    from ..tensorrt import device as gpu
    from . import preload

    try:
        seconds, answers = gpu.clock_rate_seconds(), preload.answers()
    except Exception:
        return []
    if answers is not None:
        return [Fact("preload", "trtnet's library answers for the driver")]
    if seconds is None or seconds < SLOW:
        return []
    text = f"the driver takes {seconds * 1e3:.2f} ms to tell a clock rate, for which TensorRT asks at each refit"
    return [Fact("refits", f"{text}: LD_PRELOAD=$(trtnet preload) python ... makes them faster")]


def _by_driver() -> list[Fact]:
    from ..tensorrt.device import capability

    found = capability()
    return [Fact("GPU", "sm{}{}".format(*found))] if found else []


def _abilities() -> list[Ability]:
    abilities = [Ability("record networks, print summaries, read and write weights", True)]
    torch = _broken("torch")
    abilities.append(
        Ability(
            "run networks in PyTorch (trtnet.reference), train them (to_torch)",
            torch is None,
            torch or "",
            "pip install 'trtnet[torch]'",
        )
    )
    abilities.append(_compile_ahead())
    abilities.append(_execute())
    missing = [reason for module in ("sklearn", "PIL") if (reason := _broken(module))]
    if torch is not None:
        missing.insert(0, torch)
    abilities.append(Ability("trtnet demo", not missing, "; ".join(missing), "pip install 'trtnet[demo]'"))
    return abilities


def _compile_ahead() -> Ability:
    name = "compile TensorRT plans without a GPU (trtnet build)"
    try:
        from ..tensorrt import provider

        found = provider.load("tensorrt_rtx")
        return Ability(f"{name}, for {', '.join(found.targets) or 'TensorRT-RTX own default'}", True)
    except Exception as error:
        if _has_rtx_wheels():
            return Ability(name, False, _line(error), "pip install 'trtnet[rtx]'")
        return Ability(name, False, "TensorRT-RTX is made for Linux and Windows", "the rest works here without it")


def _has_rtx_wheels() -> bool:
    system, processor = platform.system(), platform.machine().lower()
    return (system == "Linux" and processor in ("x86_64", "aarch64")) or (system == "Windows" and processor == "amd64")


def _execute() -> Ability:
    name = "run TensorRT engines on a GPU (trtnet.build)"
    try:
        from ..tensorrt import device as gpu
        from ..tensorrt import provider

        reason = provider.can_execute()
        capability = gpu.capability()
        found = provider.executing() if reason is None else None
    except Exception as error:
        return Ability(name, False, _line(error), "pip install 'trtnet[tensorrt]'")
    if found is not None:
        return Ability(f"{name}, by {found}", True)
    if capability is None:
        reason = "no NVIDIA GPU, or no driver for it"
        remedy = "on a machine that has one: pip install 'trtnet[tensorrt]'; here trtnet.build runs networks in PyTorch"
    else:
        remedy = "pip install 'trtnet[tensorrt]' (any NVIDIA GPU) or 'trtnet[rtx]' (GeForce and RTX cards)"
    return Ability(name, False, reason or "", remedy)


def print_report(console: Console) -> None:
    """The report as `trtnet doctor` shows it."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    report = inspect_machine()
    for title, facts in (("This machine", report.machine), ("Packages", report.packages)):
        table = Table.grid(padding=(0, 2))
        for fact in facts:
            table.add_row(Text(fact.name), Text(fact.found, "" if fact.there else "dim"))
        console.print(Text(title, "bold"))
        console.print(Padding(table, (0, 0, 1, 2)))
    console.print(Text("What works here", "bold"))
    table = Table.grid(padding=(0, 2))
    for ability in report.abilities:
        text = Text(ability.name)
        if not ability.works:
            text.append(f"\n{ability.reason}", "dim")
            text.append(f"\n{ability.remedy}", "yellow")
        table.add_row(Text("yes", "bold green") if ability.works else Text("no", "bold red"), text)
    console.print(Padding(table, (0, 0, 0, 2)))
