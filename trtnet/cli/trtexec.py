"""trtexec's own flags, as trtnet's commands: `trtnet trtexec`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..basics.errors import ArgumentError, instead_of

ELSEWHERE = {
    "onnx": "trtnet reads no ONNX: write the network as a module, or record the torch.nn.Module that it came from",
    "uff": "trtnet reads no UFF: write the network as a module",
    "deploy": "trtnet reads no Caffe: write the network as a module",
    "int8": "what is quantized is written in the network: fake_quantize_per_tensor_affine",
    "fp8": "what is quantized is written in the network: quantize_per_tensor to float8_e4m3fn",
    "best": "a network computes in the types of its module: --half, or module.bfloat16() before record",
    "bf16": "a network computes in the types of its module: module.bfloat16() before record",
    "calib": "nothing is calibrated: scales are written in the network",
    "dumpLayerInfo": "engine.inspect() in Python, after --profilingVerbosity=detailed",
    "exportLayerInfo": "engine.inspect() in Python, after --profilingVerbosity=detailed",
    "dumpOutput": "trtnet run prints outputs",
    "exportOutput": "trtnet run -o FILE.npz keeps outputs",
    "loadInputs": "--input NAME=FILE.npy of trtnet bench; trtexec's files are bytes without a shape",
    "device": "CUDA_VISIBLE_DEVICES=N",
    "plugins": "trtnet.plugins.load(path), before the network is recorded",
    "staticPlugins": "trtnet.plugins.load(path), before the network is recorded",
    "dynamicPlugins": "trtnet.plugins.load(path), before the network is recorded",
    "sleepTime": "",
    "idleTime": "",
    "percentile": "90, 95 and 99 % are always printed; --exportTimes keeps every sample",
    "avgRuns": "the samples are not averaged in groups; --exportTimes keeps every one",
    "threads": "one engine.context() for each thread, in Python",
    "layerPrecisions": "cast in forward: x.float(), x.half()",
    "layerOutputTypes": "cast in forward: x.float(), x.half()",
    "precisionConstraints": "networks are strongly typed, or held to their types on 8.6",
    "inputIOFormats": "--option io_formats.NAME=hwc8 of trtnet build",
    "outputIOFormats": "--option io_formats.NAME=hwc8 of trtnet build",
    "useDLACore": "--option dla_core=0 of trtnet build",
}
"""What trtexec has and `trtnet trtexec` does not do, and what it is called here."""


@dataclass
class Commands:
    """What trtexec's flags ask for.

    Attributes:
        model: MODEL, or the engine's file.
        inputs: NAME=SHAPE, for `--input`.
        build, bench, profile: the further arguments of these commands; None of what is not asked for.
    """

    model: str
    inputs: list[str] = field(default_factory=list)
    build: list[str] | None = None
    bench: list[str] | None = field(default_factory=list)
    profile: list[str] | None = None

    def lines(self) -> list[list[str]]:
        """The commands, in order."""
        given = [part for text in self.inputs for part in ("--input", text)]
        asked = {"build": self.build, "bench": self.bench, "profile": self.profile}
        return [[name, self.model, *given, *further] for name, further in asked.items() if further is not None]


Flag = Callable[[str], tuple[list[str], list[str]]]
"""What a flag's value becomes: arguments of `build`, and of `bench`."""


def _option(name: str) -> Flag:
    def made(value: str) -> tuple[list[str], list[str]]:
        option = ["--option", f"{name}={value or 'true'}"]
        return option, option

    return made


def _bench(*arguments: str, unit: float = 0.0) -> Flag:
    """These, and the flag's value behind them, where it has one, in another unit."""

    def made(value: str) -> tuple[list[str], list[str]]:
        if not unit:
            return [], [*arguments, *([value] if value else [])]
        return [], [*arguments, f"{_number(value) * unit:g}"]

    return made


def _number(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ArgumentError("a number is missing", expected="a number", found=repr(text), remedy="--warmUp=200")
    return float(text)


def _pools(value: str) -> tuple[list[str], list[str]]:
    """`workspace:1024,dlaSRAM:0.5M`: MiB unless a unit is said."""
    names = {
        "workspace": "workspace", "dlaSRAM": "dla_managed_sram", "dlaLocalDRAM": "dla_local_dram",
        "dlaGlobalDRAM": "dla_global_dram", "tacticSharedMem": "tactic_shared_memory",
    }  # fmt: skip
    found = []
    for part in value.split(","):
        pool, _, size = part.partition(":")
        if pool not in names or not re.fullmatch(r"\d+(\.\d+)?[BKMG]?", size):
            raise ArgumentError(
                "--memPoolSize takes pools with sizes",
                expected=", ".join(f"{name}:1024M" for name in names),
                found=repr(part),
                remedy="--memPoolSize=workspace:1024M",
            )
        unit = size[-1] if size[-1] in "BKMG" else "M"
        found += ["--option", f"memory_pools.{names[pool]}={size.rstrip('BKMG')}{unit if unit != 'B' else ''}"]
    return found, found


FLAGS: Mapping[str, Flag] = {
    "saveEngine": lambda value: (["-o", value], []),
    "fp16": lambda value: (["--half"], ["--half"]),
    "noTF32": lambda value: ([], []),
    "stronglyTyped": lambda value: ([], []),
    "builderOptimizationLevel": lambda value: (["--level", value], ["--option", f"optimization_level={value}"]),
    "maxAuxStreams": _option("max_aux_streams"),
    "avgTiming": _option("avg_timing_iterations"),
    "maxTactics": _option("max_num_tactics"),
    "sparsity": lambda value: _option("sparsity")("true") if value in ("enable", "force") else ([], []),
    "versionCompatible": _option("version_compatible"),
    "vc": _option("version_compatible"),
    "excludeLeanRuntime": _option("exclude_lean_runtime"),
    "hardwareCompatibilityLevel": lambda value: _option("hardware_compatibility")(
        value.replace("ampere+", "ampere_plus")
    ),
    "profilingVerbosity": _option("profiling_verbosity"),
    "tilingOptimizationLevel": _option("tiling_level"),
    "l2LimitForTiling": _option("l2_limit_for_tiling"),
    "monitorMemory": _option("monitor_memory"),
    "distributiveIndependence": _option("distributive_independence"),
    "memPoolSize": _pools,
    "timingCacheFile": lambda value: (["--timing-cache", value], []),
    "verbose": lambda value: (["--verbose"], ["--verbose"]),
    "stripWeights": lambda value: (["--refit"], []),
    "refit": lambda value: (["--refit"], ["--refit"]),
    "iterations": _bench("--iterations"),
    "duration": _bench("--duration"),
    "warmUp": _bench("--warmup", unit=1e-3),
    "streams": _bench("--streams"),
    "infStreams": _bench("--streams"),
    "useSpinWait": _bench("--spin"),
    "useCudaGraph": _bench("--graph"),
    "noDataTransfers": _bench("--no-transfers"),
    "exportTimes": _bench("--json"),
}  # fmt: skip
PROFILED = ("dumpProfile", "exportProfile")
"""The flags that ask for `trtnet profile`."""
SHAPES = ("shapes", "minShapes", "optShapes", "maxShapes")
READ = (*PROFILED, "loadEngine", "skipInference", "buildOnly", *SHAPES)


def translated(arguments: Sequence[str]) -> Commands:
    """trtexec's flags, and MODEL among them where no engine is loaded, as trtnet's commands.

    Raises ArgumentError for a flag that does not exist, and for one that is called otherwise here.

    >>> translated(["models/lenet", "--shapes=image:8x1x28x28", "--useCudaGraph"]).lines()
    [['bench', 'models/lenet', '--input', 'image=8x1x28x28', '--graph']]
    """
    given = [_split(text) for text in arguments if text.startswith("--")]
    models = [text for text in arguments if not text.startswith("--")]
    models += [value for name, value in given if name == "loadEngine"]
    for name, _ in given:
        _check(name)
    if len(models) != 1:
        raise ArgumentError(
            "one network is to be built or loaded",
            expected="MODEL, or --loadEngine=FILE.engine",
            found=", ".join(models) or "none",
            remedy="trtnet trtexec models/lenet.py:LeNet --shapes=image:1x1x28x28",
        )
    made = Commands(models[0], _shapes(dict(given)))
    build: list[str] = []
    bench: list[str] = []
    if "loadEngine" in dict(given):  # an engine has its shapes, but for the batch
        shapes = _sizes("shapes", dict(given).get("shapes", "")) if "shapes" in dict(given) else {}
        bench += [part for size in sorted({sizes[0] for sizes in shapes.values()}) for part in ("--batch", str(size))]
        made.inputs = []
    elif batch := _batch(dict(given)):
        bench += ["--batch", str(batch)]
    for name, value in given:
        if name in FLAGS:
            first, second = FLAGS[name](value)
            build, bench = build + first, bench + second
    names = {name for name, _ in given}
    if "loadEngine" in names:
        bench = _without_options(bench)
    made.build = build if "saveEngine" in names and "loadEngine" not in names else None
    runs = not names & {"skipInference", "buildOnly"}
    made.bench = bench if runs else None
    made.profile = _profile(given, bench) if runs and names & set(PROFILED) else None
    if runs:
        _check_apart(dict(given))
    if made.build is None and made.bench is None:
        raise ArgumentError(
            "nothing would be done",
            expected="--saveEngine=FILE.engine, where nothing is run",
            found=", ".join(f"--{name}" for name in names),
            remedy="--saveEngine=FILE.engine, or leave --skipInference out",
        )
    return made


def _check_apart(given: Mapping[str, str]) -> None:
    """Raises ArgumentError where what two commands write would be one file."""
    times, profile = given.get("exportTimes"), given.get("exportProfile")
    if times and profile and Path(times).absolute() == Path(profile).absolute():
        raise ArgumentError(
            "--exportTimes and --exportProfile name one file",
            expected="a name for each",
            found=times,
            remedy="--exportTimes=times.json --exportProfile=profile.json",
        )


def _without_options(bench: Sequence[str]) -> list[str]:
    """Of an engine's file, which was built already."""
    found = list(bench)
    while "--option" in found:
        del found[found.index("--option") : found.index("--option") + 2]
    return found


def _profile(given: Sequence[tuple[str, str]], bench: Sequence[str]) -> list[str]:
    """The arguments of `profile`, which builds by itself; the sizes of a call and the options are those of `bench`."""
    found = [part for pair in itertools.pairwise(bench) if pair[0] in ("--batch", "--option") for part in pair]
    for name, value in given:
        if name == "dumpProfile":
            found += ["--by", "layer"]
        elif name == "exportProfile":
            found += ["--export-profile", value]
        elif name == "fp16":
            found.append("--half")
    return found


def _split(text: str) -> tuple[str, str]:
    name, _, value = text.removeprefix("--").partition("=")
    return name, value


def _check(name: str) -> None:
    if name in FLAGS or name in READ:
        return
    if name in ELSEWHERE:
        raise ArgumentError(
            f"--{name} is not one of those that are done here",
            expected="trtexec's flags for building by trtnet and for timing",
            found=f"--{name}",
            remedy=ELSEWHERE[name] or "leave it out",
        )
    raise ArgumentError(
        f"trtexec has no flag --{name}, or trtnet does not know it",
        expected=", ".join(f"--{one}" for one in (*READ, *FLAGS)),
        found=f"--{name}",
        remedy=instead_of(name, [*READ, *FLAGS, *ELSEWHERE]) or "leave it out",
    )


def _shapes(given: Mapping[str, str]) -> list[str]:
    """NAME=SHAPE, with a Dim where the least, best and greatest sizes differ."""
    found = {kind: _sizes(kind, given[kind]) for kind in SHAPES if kind in given}
    if "shapes" in found and len(found) == 1:
        return [f"{name}={'x'.join(map(str, sizes))}" for name, sizes in found["shapes"].items()]
    best = found.get("optShapes") or found.get("shapes") or {}
    if found and not best:
        raise ArgumentError(
            "the best shapes are missing",
            expected="--optShapes, or --shapes",
            found=", ".join(f"--{kind}" for kind in found),
            remedy="--minShapes, --optShapes and --maxShapes, all three",
        )
    least, greatest = found.get("minShapes", best), found.get("maxShapes", best)
    ranges: dict[tuple[int, int, int], str] = {}
    texts = []
    for name, sizes in best.items():
        ends = least.get(name, sizes), greatest.get(name, sizes)
        if not len(sizes) == len(ends[0]) == len(ends[1]):
            raise ArgumentError(
                f"the shapes of {name!r} have different ranks",
                expected=f"{len(sizes)} sizes",
                found=f"{len(ends[0])} and {len(ends[1])}",
                remedy="--minShapes, --optShapes and --maxShapes of the same rank",
            )
        parts = []
        for axis, size in enumerate(zip(ends[0], sizes, ends[1])):
            if size[0] == size[2]:
                parts.append(str(size[1]))
            elif size in ranges:
                parts.append(ranges[size])
            else:
                ranges[size] = "batch" if not axis and "batch" not in ranges.values() else f"size{len(ranges)}"
                parts.append(f"{ranges[size]}={size[0]}..{size[1]}..{size[2]}")
        texts.append(f"{name}={','.join(parts)}")
    return texts


def _batch(given: Mapping[str, str]) -> int | None:
    """The batch of --shapes where the profile is best for another. Raises ArgumentError for other sizes than those."""
    if "shapes" not in given or "optShapes" not in given:
        return None
    best, asked = _sizes("optShapes", given["optShapes"]), _sizes("shapes", given["shapes"])
    if all(asked.get(name, sizes) == sizes for name, sizes in best.items()) and not asked.keys() - best.keys():
        return None
    batches = {sizes[0] for sizes in asked.values()}
    if asked.keys() != best.keys() or len(batches) > 1 or any(asked[name][1:] != best[name][1:] for name in best):
        raise ArgumentError(
            "--shapes differ from --optShapes in more than the batch",
            expected=", ".join(f"{name}:{'x'.join(map(str, ['N', *sizes[1:]]))}" for name, sizes in best.items()),
            found=given["shapes"],
            remedy="leave --shapes out, and give --optShapes the sizes that are to be timed",
        )
    return batches.pop()


def _sizes(kind: str, text: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for part in text.split(","):
        name, colon, sizes = part.strip().rpartition(":")
        if not colon or not re.fullmatch(r"\d+(x\d+)*", sizes):
            raise ArgumentError(
                f"--{kind} takes names with shapes",
                expected="image:1x3x224x224,mask:1x77",
                found=repr(part),
                remedy=f"--{kind}=image:1x3x224x224",
            )
        found[name.strip("'\"")] = [int(size) for size in sizes.split("x")]
    return found
