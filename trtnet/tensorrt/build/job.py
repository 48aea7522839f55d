"""One build of one plan: builder configuration, profiles, progress, cancelling."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...basics import dims, dtypes
from ...basics.errors import ArgumentError, BuildError, ProviderError
from ...engine.plan import EngineWeight, Plan
from ...graph.graph import Graph
from ...rewriting.extra_outputs import NO_DEBUG_TENSORS, DebugTensors, with_tensors
from ...rewriting.live_inputs import with_live
from ...weights.matching import warn_nonfinite
from ...weights.recipes import Weight
from ..callbacks import ProgressMonitor
from ..device import Device
from ..kernels import ahead
from ..plugins import digests
from ..provider import Provider
from . import configuration
from .lowering import Lowering, lower
from .options import BuildOptions
from .plan_cache import PlanCache, plan_key, weights_digest
from .timing_file import TimingFile

if TYPE_CHECKING:
    import rich.progress

    from ..bindings import Builder, IBuilderConfig, IHostMemory, INetworkDefinition, IOptimizationProfile

Profile = Mapping[str, tuple[int, int, int]]
Progress = bool | Callable[[str, int, int], None]


@dataclass
class Job:
    """One build of one plan.

    Attributes:
        stale: whether the plan came from the cache with other values of refittable weights.
        key: the plan's name in the cache.
        debug: the tensors that can be shown while it runs.
        timings: the user's own file of TensorRT's timings, in the place of the cache's.
        force: whether it is compiled though the cache has it.
    """

    graph: Graph
    provider: Provider
    options: BuildOptions
    refittable: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    targets: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    progress: Progress = False
    cache: PlanCache | None = None
    device: Device | None = None
    stale: bool = False
    key: str = ""
    debug: DebugTensors = NO_DEBUG_TENSORS
    timings: TimingFile | None = None
    force: bool = False

    @property
    def gpu(self) -> dict[str, str] | None:
        return None if self.device is None else self.device.described()

    def run(self) -> Plan:
        """The plan, from the cache where that has it. Raises BuildError with TensorRT's reasons."""
        self._check()
        self.graph.check_values()
        warn_nonfinite_weights(self.graph)
        started = time.perf_counter()
        return self.provider.with_builder(lambda builder: self._run(builder, started))

    def _run(self, builder: Builder, started: float) -> Plan:
        provider, graph = self.provider, self.graph
        rewritten = with_live(with_tensors(graph, self.debug.inner), self.live)
        network = provider.create_network(builder)
        network.name = graph.title  # TensorRT numbers unnamed ones, and writes the number into the plan
        lowering = lower(rewritten, network, bool(self.refittable), self.left_out)
        marked = [(lowering.tensor(name), name in self.debug.inner) for name in self.debug.paths]
        configuration.mark_debug_tensors(provider, network, self.options, marked)
        inputs = {name: tensor.name or name for name, tensor in rewritten.live.items()}
        changeable = {graph.parameters[name].name for name in self.refittable}
        data, cached, digest, checked = None, False, "", None
        if self.cache is not None:
            self.key = plan_key(
                lowering,
                self.options,
                provider,
                self.gpu,
                changeable,
                [self.targets, self.profiles, sorted(self.left_out), digests(lowering.plugins), self.debug.paths],
            )
            digest = weights_digest(lowering, changeable, fixed=False)
            hit = None if self.force else self.cache.read(self.key)
            if hit is not None:
                data, cached, self.stale = hit[0], True, hit[1] != digest
                checked = self.cache.checked(self.key, data)
        if data is None:
            data = self._compile(builder, network, lowering)
            if self.cache is not None:
                self.cache.write(self.key, data, digest)
        return self._plan(lowering, data, inputs, time.perf_counter() - started, cached, checked).kept()

    def _check(self) -> None:
        """Raises ArgumentError or ProviderError for options that do not go together."""
        if self.options.stripped and not self.refittable and not self.options.refit_identical:
            raise ArgumentError(
                "a stripped plan is one without its refittable weights",
                expected="refit=True, or patterns",
                found="refit=False",
                remedy="build(graph, refit=True, stripped=True), or leave stripped out",
            )
        if self.options.refit_identical and self.refittable:
            raise ArgumentError(
                "a plan with refit_identical takes the weights that it was built with, and no others",
                expected="refit_identical=True, or refit",
                found="both",
                remedy="leave refit_identical out",
            )
        if self.options.refit_identical and self.device is None:
            raise ProviderError(
                f"{self.provider} compiles no plan with refit_identical without a GPU",
                expected="trtnet.build, on the GPU that the plan is for",
                found="build_plan",
                remedy="build_plan(graph, target, refit=True): that plan holds no weights either",
            )
        if self.options.profile_stream is not None and self.cache is not None:
            raise ArgumentError(
                "a plan from a cache may have been timed on another stream",
                expected="profile_stream, or cache",
                found="both",
                remedy="leave cache out",
            )

    def _plan(
        self,
        lowering: Lowering,
        data: bytes,
        live: Mapping[str, str],
        seconds: float,
        cached: bool,
        checked: Mapping[str, Any] | None,
    ) -> Plan:
        """What the build gave, with everything that an engine is made from."""
        provider, graph = self.provider, self.graph
        operands = (o for layer in lowering.graph.reaching() for o in layer.inputs)
        used = {o.name or o for o in operands if isinstance(o, Weight)}
        weights = {}
        for h in lowering.ledger:
            idle = (h.weight.name or h.weight) not in used
            weights[h.name] = EngineWeight(h.weight, h.dtype, h.array, tuple(h.consumers), idle)
        for name, weight in lowering.placeholders.items():
            weights[name] = EngineWeight(weight, provider.stored(weight.dtype), None, (), weight.name not in used)
        leaves = {leaf.name: leaf for one in weights.values() for leaf in one.weight.leaves()}
        leaves |= {graph.parameters[name].name: graph.parameters[name] for name in live}
        kept = self.options.version_compatible
        options = self.options.plain() | {"debug_tensors": self.debug.paths}
        plugins = tuple({**one, "in_plan": kept and one["is_loadable"]} for one in lowering.plugins)
        return Plan(
            data, self.targets, provider.name, provider.version, seconds, bool(self.left_out) or self.options.stripped,
            graph, weights, {name: leaf.value.read() for name, leaf in leaves.items()}, self.refittable, dict(live),
            self.gpu, options, self.profiles, cached, checked, plugins,
        )  # fmt: skip

    def configured(self, builder: Builder, network: INetworkDefinition, lowering: Lowering) -> IBuilderConfig:
        """What the builder is told of this build, but for whom to report to and how long kernels took."""
        provider, options = self.provider, self.options
        check_level(lowering.graph, options.optimization_level, provider)
        # shapes and layers are reported to the network's recorder, everything later to the builder's
        network.error_recorder = builder.error_recorder = lowering.errors.native
        lowering.check_outputs()
        config = builder.create_builder_config()
        configuration.configure(provider, config, options)
        if options.version_compatible:
            configuration.keep_plugins(provider, config, lowering.plugins)
        configuration.set_formats(provider, network, options.io_formats)
        configuration.allow_types(provider, config, {t.dtype for layer in lowering.graph.layers for t in layer.outputs})
        if self.targets:
            configuration.set_targets(provider, config, self.targets)
        if self.refittable or options.refit_identical:
            self._allow_refit(config, network, lowering)
        profiles = [_profile(self.graph, builder, profile) for profile in self.profiles]
        configuration.set_profile_stream(provider, config, profiles, options)
        for profile in profiles:
            _add(config, profile, self.graph)
        return config

    def _compile(self, builder: Builder, network: INetworkDefinition, lowering: Lowering) -> bytes:
        provider, options = self.provider, self.options
        config = self.configured(builder, network, lowering)
        timings = None
        if self.timings is not None:
            timings = self.timings.use(provider, config)
        elif self.cache is not None and self.gpu is not None:
            timings = configuration.use_timings(provider, config, self.cache.timings(provider, self.gpu["name"]))
        with ahead.lock if lowering.keeps_kernels else contextlib.nullcontext():
            plan = _in_thread(provider, builder, network, config, self.progress, self.device)
        if plan is None:
            error = lowering.explain("TensorRT refused to build this network")
            text = lowering.errors.text().lower()
            if options.workspace is not None and ("workspace" in text or "implementation" in text):
                error.remedy = f"give a larger workspace= (it is {options.workspace:,} bytes), or leave it out"
            elif options.version_compatible and ("version" in text or "lean" in text):
                error.remedy = f"leave version_compatible out: {provider} makes no such plans"
            elif options.io_formats and "format" in text:
                error.remedy = (
                    "leave io_formats out, or give these tensors a type that the format is for: linear all; hwc and "
                    "dhwc float32; chw32 float32 and float16; the others float16, hwc8 and dhwc8 bfloat16 too"
                )
            elif "memory" in text:
                error.remedy = "free GPU memory, set a smaller workspace=, or build with a lower optimization_level"
            if self.left_out:
                _recover(provider)
            raise error
        if timings is not None and self.timings is not None:
            self.timings.add(config, timings)
        elif timings is not None and self.cache is not None and self.gpu is not None:
            self.cache.add_timings(provider, self.gpu["name"], config, timings)
        return bytes(plan)

    def _allow_refit(self, config: IBuilderConfig, network: INetworkDefinition, lowering: Lowering) -> None:
        """Allow what was chosen; of a plan without a GPU, the weights without values."""
        provider, graph = self.provider, self.graph
        if self.options.version_compatible and not provider.refits_version_compatible:
            raise ProviderError(
                f"{provider} does not refit version-compatible plans",
                expected="version_compatible=True or refit, not both",
                found=f"refit of {', '.join(sorted(self.refittable))}",
                remedy="leave one of them out; live= weights change in such a plan, too",
            )
        if self.left_out:
            for flag in ("STRIP_PLAN", "REFIT_INDIVIDUAL"):  # of weights without values
                config.set_flag(provider.enum("BuilderFlag", flag))
            return
        chosen = {graph.parameters[name].name for name in self.refittable}
        every = chosen >= {leaf.name for h in lowering.ledger for leaf in h.weight.leaves()}
        names = [h.name for h in lowering.ledger if any(leaf.name in chosen for leaf in h.weight.leaves())]
        configuration.allow_refit(provider, config, network, self.options, None if every else names)


def check_level(graph: Graph, level: int | None, provider: Provider) -> None:
    """Raises ProviderError where an optimization level could crash this TensorRT with a graph as it is lowered."""
    highest = provider.highest_level_for_tensor_weights
    layer = next((layer for layer in graph.layers if layer.has_tensor_weights), None)
    if layer is None or level is None or level <= highest:
        return
    raise ProviderError(
        f"{provider} can crash while it builds a {layer.kind} whose weights are a tensor",
        expected=f"optimization_level {highest} or less",
        found=f"optimization_level={level}",
        remedy=f"optimization_level={highest}; or weights that are not live, which refit changes",
        module=layer.path or None,
        where=layer.location,
    )


def warn_nonfinite_weights(graph: Graph) -> None:
    leaves = {leaf.name: leaf for leaf in graph.parameters.values() if leaf.value.array is not None}
    warn_nonfinite({name: leaf.value.read() for name, leaf in leaves.items()})


def _profile(graph: Graph, builder: Builder, ranges: Profile) -> IOptimizationProfile:
    profile = builder.create_optimization_profile()
    for name, tensor in graph.inputs.items():
        if any(not isinstance(s, int) for s in tensor.shape):
            sizes = [{n: one[which] for n, one in ranges.items()} for which in range(3)]
            profile.set_shape(name, *(tuple(dims.evaluate(s, at) for s in tensor.shape) for at in sizes))
    return profile


def _add(config: IBuilderConfig, profile: IOptimizationProfile, graph: Graph) -> None:
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(
            "TensorRT refused the ranges of the dynamic sizes", found=", ".join(map(repr, graph.dims.values()))
        )


def _in_thread(
    provider: Provider,
    builder: Builder,
    network: INetworkDefinition,
    config: IBuilderConfig,
    progress: Progress,
    device: Device | None,
) -> IHostMemory | None:
    """Build in a thread of its own, so that Ctrl-C reaches Python; it cancels where TensorRT listens (9.1 on)."""
    result: list[IHostMemory | None] = []
    failure: list[BaseException] = []
    with _Bar(progress) as bar:
        monitor = ProgressMonitor(bar)
        listens = configuration.set_progress(provider, config, monitor)

        def work() -> None:
            try:
                if device is not None:
                    device.use()  # a new thread's own is the first
                result.append(builder.build_serialized_network(network, config))
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=work, name="trtnet-build", daemon=True)
        try:
            thread.start()
            while thread.is_alive():
                thread.join(0.2)
        except KeyboardInterrupt:
            monitor.cancelled = True
            if listens and thread.ident is not None:
                thread.join()
            raise
    if monitor.failure is not None:
        raise monitor.failure
    if failure:
        raise failure[0]
    return result[0]


class _Bar:
    """A progress bar by rich, or the user's function, or nothing."""

    def __init__(self, progress: Progress) -> None:
        self._function = progress if callable(progress) else None
        self._bar: rich.progress.Progress | None = None
        if progress is True:
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), transient=True)
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __enter__(self) -> _Bar:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def __call__(self, phase: str, done: int, steps: int) -> None:
        if self._function is not None:
            self._function(phase, done, steps)
        if self._bar is not None:
            if phase not in self._tasks:
                self._tasks[phase] = self._bar.add_task(phase, total=steps or 1)
            self._bar.update(self._tasks[phase], completed=done, total=steps or 1)
            if done >= steps:
                self._bar.remove_task(self._tasks.pop(phase))


def _recover(provider: Provider) -> None:
    """Build one layer without placeholders: after a failed build with placeholders TensorRT-RTX 1.7.1 fails every
    other one of that kind in the process, until one without has succeeded."""

    def build(builder: Builder) -> None:
        network = provider.create_network(builder)
        x = network.add_input("x", provider.data_type(dtypes.float32), (1,))
        assert x is not None
        layer = network.add_activation(x, provider.enum("ActivationType", "RELU"))
        network.mark_output(layer.get_output(0))
        builder.build_serialized_network(network, builder.create_builder_config())

    provider.with_builder(build)
