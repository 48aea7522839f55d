"""Graph to plan, and plan to engine: builder configuration, profiles, progress, cancelling."""

from __future__ import annotations

import fnmatch
import functools
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .basics import dims
from .basics.errors import ArgumentError, ArgumentTypeError, BuildError, ProviderError, WeightsError
from .engine.engine import Engine
from .engine.plan import Plan
from .graph.graph import Graph
from .pytorch.sampling import Sampler
from .rewriting.extra_outputs import with_outputs
from .rewriting.live_inputs import with_live
from .tensorrt import provider as providers
from .tensorrt.build.lowering import Lowering, lower
from .tensorrt.build.options import BuildOptions
from .tensorrt.build.plan_cache import PlanCache, check_folder, plan_key, weights_digest
from .tensorrt.device import Device, ordinal
from .tensorrt.provider import ProgressMonitor, Provider
from .weights.matching import warn_nonfinite

if TYPE_CHECKING:
    from .pytorch.checking import Divergence

Refit = bool | str | Iterable[str]
Profile = Mapping[str, tuple[int, int, int]]
Progress = bool | Callable[[str, int, int], None]


def build_plan(
    graph: Graph,
    targets: Sequence[str] | str | None = None,
    *,
    refit: Refit = False,
    live: Refit = False,
    cache: str | os.PathLike[str] | None = None,
    extra_outputs: str | Iterable[str] = (),
    profiles: Sequence[Profile] | None = None,
    progress: Progress = False,
    provider: str = "tensorrt_rtx",
    **options: Any,
) -> Plan:
    """Compile a graph ahead of time with TensorRT-RTX; no GPU is needed.

    Args:
        graph: the recorded network.
        targets: compute capabilities ("sm86", "sm120"); one plan serves them all. None: TensorRT-RTX's own default.
        refit: False, True, or fnmatch patterns over `state_dict` keys. The matching weights are left out of the plan
            and given by a refit; exactly one target then.
        live: likewise: parameters that become inputs of the network, for `bind_weights`.
        cache: a folder of plans: the same network and options are not compiled again.
        extra_outputs: module paths, or patterns over them, whose tensors become outputs, too; the result is a dict.
        profiles: ranges of the Dims, {"batch": (min, opt, max)}, one dict for each optimization profile; they lie in
            the Dims' own, which are the one profile unless given.
        progress: True shows a progress bar; or a function of (phase, steps done, steps).
        provider: the name of the TensorRT to use.
        options: `BuildOptions`: workspace, optimization_level, tf32, ...

    Raises:
        BuildError: TensorRT's reasons, with the module path and the source line of the layer that it names.
        ArgumentError, ProviderError: unknown targets, several with `refit`, TensorRT-RTX not installed.
    """
    found = providers.load(provider)
    if targets is not None and not isinstance(targets, Iterable):
        raise ArgumentTypeError("targets are names", expected='"sm86" or a list of such', found=repr(targets))
    targets = (targets,) if isinstance(targets, str) else tuple(targets or ())
    unknown = [t for t in targets if t not in found.targets]
    if unknown:
        raise ArgumentError(
            f"{found} cannot compile for these targets",
            expected=", ".join(found.targets) or "no targets",
            found=", ".join(map(str, unknown)),
            remedy='targets are compute capabilities: "sm86" for 8.6 (RTX 30), '
            '"sm89" for 8.9 (RTX 40), "sm120" for 12.0 (RTX 50)',
        )
    chosen = BuildOptions.of(options)
    graph = with_outputs(graph, extra_outputs)
    live_names = refittable_names(graph, live, "live")
    left_out = refittable_names(graph, refit) - live_names
    if left_out and len(targets) != 1:
        raise ArgumentError(
            "a refittable plan without a GPU is compiled for exactly one target",
            expected="one target",
            found=", ".join(targets) or "none",
            remedy=f'one plan for each: build_plan(graph, ["{(targets or ("sm86",))[0]}"], refit=True)',
        )
    job = Job(
        graph, found, chosen, refittable=left_out, live=live_names, left_out=left_out, targets=targets,
        profiles=_profiles(graph, profiles), progress=progress, cache=check_folder(cache),
    )  # fmt: skip
    return job.run()


def build(
    graph: Graph,
    *,
    provider: str | None = None,
    device: Any = None,
    refit: Refit = False,
    live: Refit = False,
    cache: str | os.PathLike[str] | None = None,
    check: Any = True,
    extra_outputs: str | Iterable[str] = (),
    profiles: Sequence[Profile] | None = None,
    progress: Progress = False,
    **options: Any,
) -> Engine:
    """An Engine of the graph: TensorRT's where it can run, else the reference engine and one warning.

    Args:
        graph: the recorded network.
        provider: "tensorrt", "tensorrt_rtx" or "reference"; what is named is used or an error is raised.
        device: where to run: a CUDA device for TensorRT ("cuda:0"), any torch device for the reference.
        refit: False, True, or fnmatch patterns over `state_dict` keys: what `engine.refit` may change.
        live: likewise: parameters that become inputs of the network, for `engine.bind_weights`. Live wins over refit.
        cache: a folder of plans. The same network, options, TensorRT and GPU are not compiled again; other values of
            refittable and live weights are written to the plan that is there. TensorRT's timings are kept beside it.
        check: whether a TensorRT engine is compared with the reference before it is returned, which `engine.checked`
            tells of; or the inputs to compare on, by name or in order. They are drawn within what the graph allows
            (`Input(range=...)`), at each profile's opt sizes; beside loading torch, 5 % of the build's time or half a
            second may go to it, whichever is more. A refittable engine is compared after a refit to other weights,
            too. A plan from the cache that has passed is not compared again, unless inputs are given.
        extra_outputs, profiles, progress: as in `build_plan`.
        options: `BuildOptions`: workspace, optimization_level, tf32, ...

    Raises:
        BuildError: TensorRT refused the network, or the engine differs from the reference: then with the errors, the
            first module that is wrong (`diverges`), and what was tried and is right. It takes some further builds.
    """
    from .pytorch.engine import ReferenceEngine

    _check_sample(graph, check)
    chosen = BuildOptions.of(options)
    graph = with_outputs(graph, extra_outputs)
    ranges = _profiles(graph, profiles)
    live_names = refittable_names(graph, live, "live")
    names = refittable_names(graph, refit) - live_names
    found: Provider | None
    if provider is None and device is not None and str(device).startswith("cpu"):
        provider = "reference"
    if provider == "reference":
        found = None
    elif provider is not None:
        found = providers.load(provider)
        if found.cannot_execute is not None:
            raise ProviderError(
                f"{found} cannot run here",
                details=found.cannot_execute,
                remedy="build_plan(graph, targets=...) compiles without a GPU; provider='reference' runs in PyTorch",
            )
    else:
        found = providers.executing()
        if found is None:
            warnings.warn(
                f"no TensorRT can run here ({providers.can_execute()}): using the reference engine", stacklevel=2
            )
    if found is None:
        _warn_nonfinite(graph)
        engine: Engine = ReferenceEngine(graph, device=str(device or "cpu"), live=live_names)
        engine.refittable = names
        return engine
    from .engine.weight_table import require_refittable
    from .tensorrt.run.engine import TensorRTEngine

    folder, place = check_folder(cache), Device(ordinal(device))
    job = Job(
        graph, found, chosen, refittable=names, live=live_names, profiles=ranges, progress=progress, cache=folder,
        device=place,
    )  # fmt: skip
    with place.current():
        plan = job.run()
    made = TensorRTEngine(plan, found, device)
    if names:
        require_refittable(plan, made.engine_names())
    if job.stale or plan.stripped:
        made.refit_all()
    if check is not False and (plan.checked is None or check is not True):
        trial = functools.partial(build, provider=found.name, device=device, check=False, profiles=profiles, **options)
        _compare(made, plan, job, check, functools.partial(trial, refit=refit, live=live), trial)
    return made


def diverges(graph: Graph, x: Any = None, **options: Any) -> Divergence:
    """The first module, in the order of recording, that is wrong in an engine: by engines with further outputs.

    Args:
        graph: the recorded network.
        x: inputs to compare on, as `build(check=...)` takes them; drawn unless given.
        options: what `build` was given: provider, refit, optimization_level, ...

    Returns:
        A Divergence, which is false, and says so, where this build comes out right.
    """
    from .pytorch.checking import devices, first_wrong

    sampler = Sampler(graph)
    inputs = sampler.draw({n: d.opt for n, d in graph.dims.items()}) if x is None else sampler.given(x)
    device = options.get("device")
    where = devices(graph, None if str(device).startswith("cpu") else ordinal(device), sampler.is_known)[0]
    build_one = functools.partial(build, **(options | {"check": False}))
    return first_wrong(graph, inputs, build_one, device=where, tf32=bool(options.get("tf32", False)))


def _check_sample(graph: Graph, check: Any) -> None:
    """Raises ArgumentTypeError, DtypeError, ShapeError, ArgumentError for a sample that does not fit the graph."""
    if not isinstance(check, bool):
        Sampler(graph).given(check)


def _compare(
    made: Engine, plan: Plan, job: Job, check: Any, again: Callable[..., Engine], fixed: Callable[..., Engine]
) -> None:
    """Compare a new engine with the reference; its figures are kept. Raises BuildError where it is wrong.

    Args:
        made: the engine of `plan`, which `job` built.
        again: builds a graph as this one was; fixed: without refit and live.
    """
    from .pytorch.checking import check as compared
    from .pytorch.checking import failed

    options = job.options
    try:
        figures, inputs = compared(
            made, job.graph, None if check is True else check, profiles=job.profiles, tf32=options.tf32,
            ordinal=None if job.device is None else job.device.ordinal, seconds=plan.seconds,
        )  # fmt: skip
    except BaseException:
        made.close()
        raise
    if inputs is not None:
        made.close()
        with tempfile.TemporaryDirectory() as folder:
            if job.cache is not None:  # so that TensorRT takes the same kernels again
                job.cache.copy_timings(folder)
            other = 0 if options.optimization_level != 0 else 3
            tries = {f"optimization_level={other}": functools.partial(again, optimization_level=other, cache=folder)}
            if job.refittable or job.live:
                tries["fixed weights (no refit, no live)"] = functools.partial(fixed, cache=folder)
            raise failed(figures, job.graph, inputs, functools.partial(again, cache=folder), tries, tf32=options.tf32)
    made.keep_checked(figures)
    if job.cache is not None and figures.passed:
        job.cache.keep_checked(job.key, plan.data, figures.plain())


def refittable_names(graph: Graph, refit: Refit, what: str = "refit") -> frozenset[str]:
    """The parameters that `refit` (or `live`) selects. Raises WeightsError for a pattern that matches none."""
    if isinstance(refit, bool):
        names = graph.parameters.keys() if refit else ()
        return frozenset(name for name in names if what == "refit" or name not in graph.frozen)
    chosen: set[str] = set()
    patterns = [refit] if isinstance(refit, str) else list(refit) if isinstance(refit, Iterable) else [refit]
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ArgumentTypeError(
                f"{what} is no pattern", expected="False, True, or patterns over state_dict keys", found=repr(pattern)
            )
        found = fnmatch.filter(graph.parameters, pattern)
        if not found:
            raise WeightsError(
                f"the pattern {pattern!r} matches no parameter",
                expected="some of " + ", ".join(list(graph.parameters)[:8]),
                found=pattern,
                remedy="patterns are over the keys of graph.state_dict(); '*' matches any part of them",
            )
        chosen.update(found)
    if what == "live" and (frozen := sorted(chosen & graph.frozen.keys())):
        raise WeightsError(
            "parameters that forward reads as numbers cannot be live",
            expected="parameters that stay tensors in forward",
            found=", ".join(f"{name}, read at {graph.frozen[name]}" for name in frozen),
            remedy="keep them tensors in forward, or leave them out of live=",
        )
    leaves = {graph.parameters[name] for name in chosen}  # tied parameters by all their names
    return frozenset(name for name, leaf in graph.parameters.items() if leaf in leaves)


# --- one build --------------------------------------------------------------------------------------------------------


@dataclass
class Job:
    """One build of one plan.

    Attributes:
        stale: whether the plan came from the cache with other values of refittable weights.
        key: the plan's name in the cache.
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

    @property
    def gpu(self) -> dict[str, str] | None:
        return None if self.device is None else self.device.described()

    def run(self) -> Plan:
        """The plan, from the cache where that has it. Raises BuildError with TensorRT's reasons."""
        provider, graph = self.provider, self.graph
        if self.options.stripped and not self.refittable:
            raise ArgumentError(
                "a stripped plan is one without its refittable weights",
                expected="refit=True, or patterns",
                found="refit=False",
                remedy="build(graph, refit=True, stripped=True), or leave stripped out",
            )
        _warn_nonfinite(graph)
        started = time.perf_counter()
        rewritten = with_live(graph, self.live)
        builder = provider.builder()
        network = provider.create_network(builder)
        network.name = graph.title  # TensorRT numbers unnamed ones, and writes the number into the plan
        lowering = lower(rewritten, network, self.left_out, refit=bool(self.refittable))
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
                [self.targets, self.profiles, sorted(self.left_out)],
            )
            digest = weights_digest(lowering, changeable, fixed=False)
            hit = self.cache.read(self.key)
            if hit is not None:
                data, cached, self.stale = hit[0], True, hit[1] != digest
                checked = self.cache.checked(self.key, data)
        if data is None:
            data = self._compile(builder, network, lowering)
            if self.cache is not None:
                self.cache.write(self.key, data, digest)
        return Plan.of(
            graph, lowering, data, provider=provider, targets=self.targets, seconds=time.perf_counter() - started,
            stripped=bool(self.left_out) or self.options.stripped, refittable=self.refittable, live=inputs,
            gpu=self.gpu, options=self.options.plain(), profiles=self.profiles, cached=cached, checked=checked,
        ).kept()  # fmt: skip

    def _compile(self, builder: Any, network: Any, lowering: Lowering) -> bytes:
        provider, options = self.provider, self.options
        check_level(lowering.graph, options.optimization_level, provider)
        # shapes and layers are reported to the network's recorder, everything later to the builder's
        network.error_recorder = builder.error_recorder = lowering.errors.native
        lowering.check_outputs()
        config = builder.create_builder_config()
        provider.configure(config, options)
        provider.set_formats(network, options.io_formats)
        provider.allow_types(config, {t.dtype for layer in lowering.graph.layers for t in layer.outputs})
        if self.targets:
            provider.set_targets(config, self.targets)
        if self.refittable:
            self._allow_refit(config, network, lowering)
        for profile in self.profiles:
            _add_profile(self.graph, builder, config, profile)
        timings = None
        if self.cache is not None and self.gpu is not None:
            timings = provider.use_timings(config, self.cache.timings(provider, self.gpu["name"]))
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
        if timings is not None and self.cache is not None and self.gpu is not None:
            self.cache.add_timings(provider, self.gpu["name"], config, timings)
        return bytes(plan)

    def _allow_refit(self, config: Any, network: Any, lowering: Lowering) -> None:
        """Only what was chosen where TensorRT can tell (10.2 on), so that the rest is free for fusion; else all."""
        provider, graph = self.provider, self.graph
        if self.options.version_compatible and not provider.refits_version_compatible:
            raise ProviderError(
                f"{provider} does not refit version-compatible plans",
                expected="version_compatible=True or refit, not both",
                found=f"refit of {', '.join(sorted(self.refittable))}",
                remedy="leave one of them out; live= weights change in such a plan, too",
            )
        if self.options.stripped or self.left_out:
            config.set_flag(provider.enum("BuilderFlag", "STRIP_PLAN"))
        if self.left_out:
            config.set_flag(provider.enum("BuilderFlag", "REFIT_INDIVIDUAL"))  # of weights without values
            return
        chosen = {graph.parameters[name].name for name in self.refittable}
        every = chosen >= {leaf.name for h in lowering.ledger for leaf in h.weight.leaves()}
        if every or not provider.has("BuilderFlag", "REFIT_INDIVIDUAL"):
            config.set_flag(provider.enum("BuilderFlag", "REFIT"))
            return
        config.set_flag(provider.enum("BuilderFlag", "REFIT_INDIVIDUAL"))
        for holding in lowering.ledger:
            if any(leaf.name in chosen for leaf in holding.weight.leaves()):
                network.mark_weights_refittable(holding.name)


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


def _profiles(graph: Graph, given: Sequence[Profile] | None) -> tuple[Profile, ...]:
    """Every profile with every Dim. Raises ArgumentError for one outside its Dim's range."""
    whole = {name: (dim.min, dim.opt, dim.max) for name, dim in graph.dims.items()}
    if given is None:
        return (whole,) if whole else ()
    profiles = []
    for profile in given:
        unknown = [name for name in profile if name not in whole]
        if unknown:
            raise ArgumentError(
                "a profile names Dims that no input has",
                expected=", ".join(whole) or "no profiles: every size is fixed",
                found=", ".join(unknown),
                remedy='profiles=[{"batch": (1, 1, 1)}, {"batch": (2, 8, 64)}]',
            )
        for name, sizes in profile.items():
            dim = graph.dims[name]
            if not isinstance(sizes, Sequence) or len(sizes) != 3:
                raise ArgumentError(
                    f"a profile's range of {name} is three sizes", expected="(min, opt, max)", found=repr(sizes)
                )
            low, opt, high = sizes
            if not dim.min <= low <= opt <= high <= dim.max or any(size % dim.multiple_of for size in sizes):
                raise ArgumentError(
                    f"a profile's range of {name} does not lie in the Dim's",
                    expected=f"{dim.min} <= min <= opt <= max <= {dim.max}"
                    + (f", multiples of {dim.multiple_of}" if dim.multiple_of > 1 else ""),
                    found=str(tuple(sizes)),
                    remedy="record with a wider Dim, or give a narrower profile",
                )
        profiles.append(whole | {name: (a, b, c) for name, (a, b, c) in profile.items()})
    if not profiles:
        raise ArgumentError("there is no profile", expected="one or more", found="[]", remedy="leave profiles out")
    return tuple(profiles)


def _warn_nonfinite(graph: Graph) -> None:
    leaves = {leaf.name: leaf for leaf in graph.parameters.values() if leaf.value.array is not None}
    warn_nonfinite({name: leaf.value.read() for name, leaf in leaves.items()})


def _add_profile(graph: Graph, builder: Any, config: Any, ranges: Profile) -> None:
    profile = builder.create_optimization_profile()
    for name, tensor in graph.inputs.items():
        if any(not isinstance(s, int) for s in tensor.shape):
            sizes = [{n: one[which] for n, one in ranges.items()} for which in range(3)]
            profile.set_shape(name, *(tuple(dims.evaluate(s, at) for s in tensor.shape) for at in sizes))
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(
            "TensorRT refused the ranges of the dynamic sizes", found=", ".join(map(repr, graph.dims.values()))
        )


def _in_thread(
    provider: Provider, builder: Any, network: Any, config: Any, progress: Progress, device: Device | None
) -> Any:
    """Build in a thread of its own, so that Ctrl-C reaches Python; it cancels where TensorRT listens (9.1 on)."""
    result: list[Any] = []
    failure: list[BaseException] = []
    with _Bar(progress) as bar:
        monitor = ProgressMonitor(bar)
        listens = provider.set_progress(config, monitor)

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
        self._bar: Any = None
        if progress is True:
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), transient=True)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bar:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exc)

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
    """Build something tiny with weights: after a failed build with placeholders TensorRT-RTX 1.7.1 fails every
    other one
    of that kind in the process, until one without placeholders has succeeded."""
    import numpy as np

    from .functional import relu
    from .graph.graph import Input
    from .recording import record

    tiny = record(lambda x: relu(x), x=Input((1,)))
    builder = provider.builder()
    network = provider.create_network(builder)
    held = lower(tiny, network), np.zeros(1)
    builder.build_serialized_network(network, builder.create_builder_config())
    del held
