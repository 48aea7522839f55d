"""What TensorRT's builder is told before it builds: options, types, formats, targets, timings, whom to report to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...basics import dtypes
from ...basics.dtypes import dtype as Dtype
from ...basics.errors import ArgumentError, ProviderError
from ..callbacks import ProgressMonitor
from ..provider import Provider
from .options import CHOICES, SINCE, BuildOptions

if TYPE_CHECKING:
    from ...layers.targets import EnumMember, ITensor
    from ..bindings import IBuilderConfig, INetworkDefinition, IOptimizationProfile, ITimingCache


def configure(provider: Provider, config: IBuilderConfig, options: BuildOptions) -> None:
    """Tell a builder config its options. Raises ProviderError for what this TensorRT lacks or does not take."""
    if provider.has("PreviewFeature", "PROFILE_SHARING_0806"):  # several contexts on one profile; always so later
        config.set_preview_feature(provider.enum("PreviewFeature", "PROFILE_SHARING_0806"), True)
    flag = provider.enum("BuilderFlag", "TF32")
    config.set_flag(flag) if options.tf32 else config.clear_flag(flag)
    for name, wanted in (
        ("sparse_weights", options.sparsity),
        ("version_compatible", options.version_compatible),
        ("strict_nans", options.strict_nans),
        ("distributive_independence", options.distributive_independence),
        ("exclude_lean_runtime", options.exclude_lean_runtime),
        ("monitor_memory", options.monitor_memory),
        ("editable_timing_cache", options.editable_timing_cache),
        ("weight_streaming", options.weight_streaming),
    ):
        if wanted:
            _since(provider, name, provider.has("BuilderFlag", name.upper()))
            config.set_flag(provider.enum("BuilderFlag", name.upper()))
    pools = dict(options.memory_pools)
    if options.workspace is not None:
        pools["workspace"] = options.workspace
    for name, size in pools.items():
        pool = provider.enum("MemoryPoolType", name.upper())
        config.set_memory_pool_limit(pool, size)
        _require(provider, f"a limit of {size} bytes for {name}", config.get_memory_pool_limit(pool) == size)
    _set_values(provider, config, options)
    if options.dla_core is not None:
        _set(provider, config, "default_device_type", provider.enum("DeviceType", "DLA"))
        _set(provider, config, "DLA_core", options.dla_core)
        if options.gpu_fallback:
            config.set_flag(provider.enum("BuilderFlag", "GPU_FALLBACK"))
    if options.tactic_sources is not None:
        mask = 0
        for name in options.tactic_sources:
            if not provider.has("TacticSource", name.upper()):
                raise ProviderError(
                    f"{provider} has no tactic source {name!r}",
                    expected="one of TensorRT's own TacticSource; later versions have fewer",
                    found=name,
                    remedy="leave tactic_sources out: TensorRT takes kernels from all that it has",
                )
            mask |= 1 << int(provider.enum("TacticSource", name.upper()))
        _require(provider, f"the tactic sources {options.tactic_sources}", config.set_tactic_sources(mask))


def allow_refit(
    provider: Provider,
    config: IBuilderConfig,
    network: INetworkDefinition,
    options: BuildOptions,
    chosen: Collection[str] | None,
) -> None:
    """Allow refits of engine weights: of all, for None; of those of these names where TensorRT can tell them apart
    (10.2 on), so that the rest is free for fusion; of all, with the values that they have, for `refit_identical`."""
    if options.stripped:
        _since(provider, "stripped", provider.has("BuilderFlag", "STRIP_PLAN"))
        config.set_flag(provider.enum("BuilderFlag", "STRIP_PLAN"))
    if options.refit_identical:
        config.set_flag(provider.enum("BuilderFlag", "REFIT_IDENTICAL"))
    elif chosen is None or not provider.has("BuilderFlag", "REFIT_INDIVIDUAL"):
        config.set_flag(provider.enum("BuilderFlag", "REFIT"))
    else:
        config.set_flag(provider.enum("BuilderFlag", "REFIT_INDIVIDUAL"))
        for name in chosen:
            network.mark_weights_refittable(name)


def set_profile_stream(
    provider: Provider, config: IBuilderConfig, profiles: Sequence[IOptimizationProfile], options: BuildOptions
) -> None:
    """The stream to time kernels on, or one for each profile. Raises ArgumentError for another number of them."""
    stream = options.profile_stream
    if stream is None:
        return
    if isinstance(stream, int):
        _set(provider, config, "profile_stream", stream)
        return
    _since(provider, "profile_stream for each profile", provider.has("IOptimizationProfile", "profile_stream"))
    if len(stream) != len(profiles):
        raise ArgumentError(
            "profile_stream is one stream, or one for each optimization profile",
            expected=f"{len(profiles)} streams",
            found=f"{len(stream)}",
            remedy="profiles= of build says how many there are; a network without Dims has none",
        )
    for profile, one in zip(profiles, stream):
        _set(provider, profile, "profile_stream", one)


def mark_debug_tensors(
    provider: Provider, network: INetworkDefinition, options: BuildOptions, tensors: Iterable[tuple[ITensor, bool]]
) -> None:
    """Have tensors shown at run time; those for which that is said are outputs of the network no more."""
    for tensor, inner in tensors:
        if not provider.has("INetworkDefinition", "mark_debug"):
            who = f"TensorRT {SINCE['debug_tensors']} or newer"
            raise provider.lacking("debug_tensors", who, remedy="extra_outputs= gives them as outputs")
        if inner:
            network.unmark_output(tensor)
        _require(provider, f"the debug tensor {tensor.name}", network.mark_debug(tensor))
    name = "unfused_tensors_as_debug_tensors"
    if options.unfused_tensors_as_debug_tensors:
        _since(provider, name, provider.has("INetworkDefinition", f"mark_{name}"))
        _require(provider, name, network.mark_unfused_tensors_as_debug_tensors())


def keep_plugins(provider: Provider, config: IBuilderConfig, needs: Iterable[Mapping[str, Any]]) -> None:
    """Have the libraries of plugins that TensorRT can load out of a plan put into it."""
    paths = list(dict.fromkeys(one["path"] for one in needs if one["is_loadable"]))
    if paths:
        _set(provider, config, "plugins_to_serialize", paths)


def _set_values(provider: Provider, config: IBuilderConfig, options: BuildOptions) -> None:
    """The options that are attributes of a builder config."""
    for name, value in (
        ("builder_optimization_level", options.optimization_level),
        ("max_aux_streams", options.max_aux_streams),
        ("avg_timing_iterations", options.avg_timing_iterations),
        ("max_num_tactics", options.max_num_tactics),
        ("l2_limit_for_tiling", options.l2_limit_for_tiling),
        ("build_route", options.build_route),
    ):
        if value is not None:
            _since(provider, name, hasattr(config, name))
            _set(provider, config, name, value)
    for name, attribute, kind, choice in (
        ("hardware_compatibility", "hardware_compatibility_level", "HardwareCompatibilityLevel",
         options.hardware_compatibility),
        ("engine_capability", "engine_capability", "EngineCapability", options.engine_capability),
        ("profiling_verbosity", "profiling_verbosity", "ProfilingVerbosity", options.profiling_verbosity),
        ("tiling_level", "tiling_optimization_level", "TilingOptimizationLevel", options.tiling_level),
        ("runtime_platform", "runtime_platform", "RuntimePlatform", options.runtime_platform),
    ):  # fmt: skip
        if choice != CHOICES[name][0]:
            _since(provider, name, hasattr(config, attribute))
            _set(provider, config, attribute, provider.enum(kind, choice.upper()))


def _since(provider: Provider, name: str, there: bool) -> None:
    """Raises ProviderError for an option that this TensorRT is too old for."""
    if not there:
        raise provider.lacking(name, f"TensorRT {SINCE.get(name, '8.6')} or newer")


def _set(
    provider: Provider,
    config: IBuilderConfig | IOptimizationProfile,
    name: str,
    value: int | str | list[str] | EnumMember,
) -> None:
    if hasattr(config, name):
        setattr(config, name, value)
    _require(provider, f"{name} = {value}", getattr(config, name, None) == value)


def _require(provider: Provider, what: str, taken: bool) -> None:
    if not taken:
        raise ProviderError(
            f"{provider} does not take {what}",
            expected="a TensorRT and a machine that have this builder option",
            found="the builder kept its own; what it said, if anything, is in the log of 'trtnet.tensorrt'",
            remedy="leave the option out",
        )


def set_formats(provider: Provider, network: INetworkDefinition, formats: Mapping[str, str]) -> None:
    """The memory formats of inputs and outputs, by name."""
    if not formats:
        return
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    known = {tensor.name: tensor for tensor in tensors}
    for name, one in formats.items():
        if name not in known:
            raise ArgumentError(
                f"io_formats names {name!r}, which is neither input nor output",
                expected=", ".join(known),
                found=name,
                remedy="graph.inputs and graph.outputs have the names",
            )
        known[name].allowed_formats = 1 << int(provider.enum("TensorFormat", one.upper()))


def use_timings(provider: Provider, config: IBuilderConfig, data: bytes) -> ITimingCache | None:
    """Have a build start from timings and add to them; what it gave, or None where TensorRT keeps none (RTX)."""
    if not provider.keeps_timings:
        return None
    cache = config.create_timing_cache(data)
    if cache is None:
        cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, False)
    return cache


def merged_timings(config: IBuilderConfig, cache: ITimingCache, others: bytes) -> bytes | None:
    """Timings of a build and of others, serialised."""
    if others:
        other = config.create_timing_cache(others)
        if other is not None:
            cache.combine(other, True)
    return bytes(cache.serialize())


def allow_types(provider: Provider, config: IBuilderConfig, used: Iterable[Dtype]) -> None:
    """Hold a weakly typed build to the types that the lowering set."""
    if provider.strongly_typed:
        return
    config.set_flag(provider.enum("BuilderFlag", "OBEY_PRECISION_CONSTRAINTS"))
    for dtype, member in ((dtypes.float16, "FP16"), (dtypes.bfloat16, "BF16"), (dtypes.int8, "INT8")):
        if dtype in used:
            config.set_flag(provider.enum("BuilderFlag", member))


def set_targets(provider: Provider, config: IBuilderConfig, targets: Sequence[str]) -> None:
    """Compute capabilities to compile for (TensorRT-RTX)."""
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(provider.enum("ComputeCapability", target.upper()), index)


def set_progress(provider: Provider, config: IBuilderConfig, monitor: ProgressMonitor) -> bool:
    """Have the build report to `monitor`; False where this TensorRT reports nothing (before 9.1)."""
    if not hasattr(provider.trt, "IProgressMonitor"):
        return False
    config.progress_monitor = monitor.native(provider.trt)
    return True
