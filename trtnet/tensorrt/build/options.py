"""What TensorRT's builder can be told, checked before it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from ...basics.errors import ArgumentError, ArgumentTypeError, instead_of
from ...engine.options import NAMES as RUN_OPTIONS
from ...engine.options import require_choices

POOLS = (
    "workspace", "dla_managed_sram", "dla_local_dram", "dla_global_dram", "tactic_dram", "tactic_shared_memory",
)  # fmt: skip
FORMATS = (
    "linear", "chw2", "hwc8", "chw4", "chw16", "chw32", "dhwc8", "cdhw32", "hwc", "dla_linear", "dla_hwc4", "hwc16",
    "dhwc",
)  # fmt: skip
_TYPES = "a network computes in the types of its module: module.half() or module.bfloat16() before record"
_ELSEWHERE = {
    **dict.fromkeys(("fp16", "bf16", "half", "precision", "enabled_precisions", "strict_types"), _TYPES),
    **dict.fromkeys(
        ("int8", "fp8", "int4", "calibrator", "int8_calibrator"),
        "what is quantized is written in the network: fake_quantize_per_tensor_affine(x, scale, 0, -128, 127) and "
        "fake_quantize_per_channel_affine of trtnet.functional, or trtnet.layers.add_quantize and add_dequantize",
    ),
    "max_workspace_size": "workspace=1 << 30 is 1 GiB",
    "max_batch_size": 'record with a Dim: Input((Dim("batch", min=1, max=64), ...))',
    "timing_cache": "it is an argument of trtnet.build, and --timing-cache of the command",
    "refit": "it is an argument of trtnet.build and build_plan, and --refit of the command",
    "targets": "they are an argument of build_plan, and --target of the command",
    **dict.fromkeys(RUN_OPTIONS, "it is an option of trtnet.load and trtnet.build: how an engine runs"),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "hardware_compatibility": ("none", "ampere_plus", "same_compute_capability"),
    "engine_capability": ("standard", "safety", "dla_standalone"),
    "profiling_verbosity": ("layer_names_only", "none", "detailed"),
    "tiling_level": ("none", "fast", "moderate", "full"),
    "runtime_platform": ("same_as_build", "windows_amd64"),
}
"""What options may be; the first is what TensorRT takes unless told."""
FLAGS = (
    "strict_nans", "exclude_lean_runtime", "distributive_independence", "monitor_memory", "editable_timing_cache",
    "weight_streaming",
)  # fmt: skip
"""Options that are TensorRT's builder flags, by their names."""
MORE_FLAGS = ("refit_identical", "unfused_tensors_as_debug_tensors")
SINCE = {
    "strict_nans": "10.6", "monitor_memory": "10.6", "max_num_tactics": "10.6", "editable_timing_cache": "10.8",
    "tiling_level": "10.8", "l2_limit_for_tiling": "10.8", "distributive_independence": "10.13",
    "runtime_platform": "10.3", "build_route": "11.1", "weight_streaming": "10.0", "stripped": "10.0",
    "profile_stream for each profile": "11.4",
    "debug_tensors": "10.0", "unfused_tensors_as_debug_tensors": "10.13",
}  # fmt: skip
"""The TensorRT from which on there is an option; 8.6 has the others."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build; None leaves TensorRT's own. What a TensorRT lacks raises ProviderError.

    Attributes:
        workspace: most scratch memory that a layer may use, in bytes.
        memory_pools: limits of TensorRT's memory pools (`MemoryPoolType`), in bytes, by name: see `POOLS`.
        optimization_level: 0 (fastest build) to 5; TensorRT's default is 3.
        tf32: whether float32 may be computed in TF32: not unless said, unlike TensorRT's default.
        sparsity: whether kernels for weights of 2:4 sparsity may be used.
        version_compatible: a plan for later versions of TensorRT, too. It holds a part of TensorRT, which loading runs.
        hardware_compatibility: "none", "ampere_plus" or "same_compute_capability": a plan for several kinds of GPU.
        engine_capability: "standard", "safety" or "dla_standalone".
        profiling_verbosity: "layer_names_only", "none" or "detailed": what `engine.inspect()` shows.
        dla_core: the DLA core to run on; gpu_fallback: whether layers that it cannot run go to the GPU.
        tactic_sources: names of `TacticSource` to take kernels from ("cublas", "cudnn", ...); None: TensorRT's own.
        stripped: leave the refittable weights out of the plan (not on 8.6); they are written when it is loaded.
        io_formats: memory formats of inputs and outputs by name, like {"image": "hwc8"}; the others are "linear".
            Arrays have their ordinary shapes all the same, and are copied where their memory is not in the format: that
            of a torch tensor in `channels_last` is in "hwc", and in "hwc8" if the channels are a multiple of 8.
        max_aux_streams: most streams that TensorRT may use beside the caller's.
        avg_timing_iterations: how often a kernel is timed.
        max_num_tactics: most kernels that are timed for a layer.
        strict_nans: keep NaN through what TensorRT would simplify otherwise (like x * 0).
        distributive_independence: results of one sample of a batch do not depend on where in the batch it stands.
        exclude_lean_runtime: a version-compatible plan without the part of TensorRT that reads it.
        monitor_memory: memory use is written to the log while building.
        editable_timing_cache: timings can be looked up and replaced by key.
        tiling_level: how long kernels are sought that tile across layers for the L2 cache: "none", "fast", "moderate"
            or "full"; l2_limit_for_tiling: most of the L2 cache that they may use, in bytes.
        runtime_platform: "same_as_build" or "windows_amd64": where the plan will run.
        weight_streaming: weights may stay on the host while the plan runs: `weight_streaming_budget` of `RunOptions`.
        refit_identical: a stripped plan that TensorRT may optimize as if its weights were fixed: loading gives it those
            that it was built with, which are saved beside it, and no others can be given.
        profile_stream: the CUDA stream on which kernels are timed (torch's, or an address), which may be one of a green
            context's; or one for each optimization profile.
        unfused_tensors_as_debug_tensors: every tensor that is left after fusion can be shown by
            `engine.set_debug_listener`, under TensorRT's own name (`engine.inspect()` has them), and costs no fusion.
        build_route: one of the routes that the builder names (`IBuilderConfig.all_build_routes`).
    """

    workspace: int | None = None
    memory_pools: Mapping[str, int] = field(default_factory=dict)
    optimization_level: int | None = None
    tf32: bool = False
    sparsity: bool = False
    version_compatible: bool = False
    hardware_compatibility: str = "none"
    engine_capability: str = "standard"
    profiling_verbosity: str = "layer_names_only"
    dla_core: int | None = None
    gpu_fallback: bool = False
    tactic_sources: tuple[str, ...] | None = None
    stripped: bool = False
    io_formats: Mapping[str, str] = field(default_factory=dict)
    max_aux_streams: int | None = None
    avg_timing_iterations: int | None = None
    max_num_tactics: int | None = None
    strict_nans: bool = False
    distributive_independence: bool = False
    exclude_lean_runtime: bool = False
    monitor_memory: bool = False
    editable_timing_cache: bool = False
    tiling_level: str = "none"
    l2_limit_for_tiling: int | None = None
    runtime_platform: str = "same_as_build"
    build_route: str | None = None
    weight_streaming: bool = False
    refit_identical: bool = False
    profile_stream: int | tuple[int, ...] | None = None
    unfused_tensors_as_debug_tensors: bool = False

    def __new__(cls, *args: Any, **given: Any) -> Self:
        names = [f.name for f in fields(cls)]
        for name in given:
            if name not in names:
                raise ArgumentTypeError(
                    f"there is no build option {name!r}",
                    expected=", ".join(names),
                    found=name,
                    remedy=_ELSEWHERE.get(name) or instead_of(name, [*names, *RUN_OPTIONS]) or "leave it out",
                )
        return super().__new__(cls)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> BuildOptions:
        """Options by name. Raises ArgumentTypeError for an unknown one, with the nearest."""
        return cls(**given)

    def __post_init__(self) -> None:
        if self.workspace is not None and (not _whole(self.workspace) or self.workspace <= 0):
            raise ArgumentError(
                "the workspace limit must be a positive number of bytes",
                expected="a whole number",
                found=repr(self.workspace),
                remedy="workspace=1 << 30 is 1 GiB; leave it out for TensorRT's own",
            )
        level = self.optimization_level
        if level is not None and (not _whole(level) or level not in range(6)):
            raise ArgumentError(
                "there is no such optimization level",
                expected="0 to 5",
                found=repr(level),
                remedy="0 builds fastest, 5 searches longest; leave it out for TensorRT's own, 3",
            )
        require_choices(self, CHOICES)
        for name, example in (("memory_pools", {"tactic_dram": 1 << 30}), ("io_formats", {"image": "hwc8"})):
            if not isinstance(getattr(self, name), Mapping):
                raise ArgumentTypeError(
                    f"{name} are given by name", expected=f"a dict like {example}", found=repr(getattr(self, name))
                )
        _named("memory pool", self.memory_pools, POOLS)
        for name, size in self.memory_pools.items():
            if not _whole(size) or size < 0:
                raise ArgumentError(f"the limit of the memory pool {name!r} is a number of bytes", found=repr(size))
        for name, one in self.io_formats.items():
            _named(f"memory format for {name!r}", (one,), FORMATS)
        for name in ("dla_core", "max_aux_streams", "avg_timing_iterations", "max_num_tactics", "l2_limit_for_tiling"):
            value = getattr(self, name)
            if value is not None and (not _whole(value) or value < 0):
                raise ArgumentError(f"{name} is a whole number", expected="0 or more", found=repr(value))
        for name in ("tf32", "sparsity", "version_compatible", "gpu_fallback", "stripped", *MORE_FLAGS, *FLAGS):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentTypeError(
                    f"{name} is on or off", expected="True or False", found=repr(getattr(self, name))
                )
        if self.gpu_fallback and self.dla_core is None:
            raise ArgumentError(
                "gpu_fallback is for layers that a DLA core cannot run", expected="dla_core=0", found="dla_core=None"
            )
        if self.refit_identical and not self.stripped:
            raise ArgumentError(
                "refit_identical is for plans that are built without their weights",
                expected="stripped=True",
                found="stripped=False",
                remedy="build(graph, stripped=True, refit_identical=True), or leave it out",
            )
        if self.profile_stream is not None:
            object.__setattr__(self, "profile_stream", _streams(self.profile_stream))
        sources: Any = self.tactic_sources
        if sources is not None:
            if isinstance(sources, str) or not isinstance(sources, Iterable):
                raise ArgumentTypeError("tactic_sources are names", expected="a list of names", found=str(sources))
            object.__setattr__(self, "tactic_sources", tuple(sources))

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        found = asdict(self)
        found["memory_pools"], found["io_formats"] = dict(self.memory_pools), dict(self.io_formats)
        found["tactic_sources"] = None if self.tactic_sources is None else list(self.tactic_sources)
        del found["profile_stream"]  # an address means nothing elsewhere
        return found


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _streams(given: Any) -> int | tuple[int, ...]:
    """A stream's address, or those of several. Raises ArgumentTypeError."""
    if isinstance(given, (list, tuple)):
        return tuple(_stream(one) for one in given)
    return _stream(given)


def _stream(given: Any) -> int:
    found = getattr(given, "cuda_stream", given)
    if hasattr(found, "__cuda_stream__"):
        found = found.__cuda_stream__()[1]
    if not _whole(found) or found < 0:
        raise ArgumentTypeError(
            "this is no CUDA stream", expected="torch.cuda.Stream(), or an address", found=repr(given)
        )
    return int(found)


def _named(what: str, given: Any, known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise ArgumentError(
                f"there is no {what} {name!r}",
                expected=", ".join(known),
                found=repr(name),
                remedy=instead_of(str(name), known) or "leave it out",
            )
