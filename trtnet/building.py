"""Graph to plan, and plan to engine: the TensorRT, the weights that can change, the check against the reference."""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .basics.errors import ArgumentError, ArgumentTypeError, ProviderError, shown
from .engine.choice import Choice, refittable_names
from .engine.engine import Engine
from .engine.options import RunOptions
from .engine.plan import Plan
from .engine.weight_table import require_refittable
from .graph.graph import Graph
from .graph.tensor import DeviceLike
from .pytorch.checking import Divergence, devices, failed, first_wrong
from .pytorch.checking import check as compared
from .pytorch.engine import ReferenceEngine
from .pytorch.sampling import Sampler
from .rewriting.extra_outputs import DebugTensors, with_outputs
from .tensorrt import provider as providers
from .tensorrt.build.job import Job, Profile, Progress, warn_nonfinite_weights
from .tensorrt.build.options import BuildOptions
from .tensorrt.build.plan_cache import check_folder
from .tensorrt.build.timing_file import TimingFile
from .tensorrt.device import Device, ordinal
from .tensorrt.provider import Provider
from .tensorrt.run.engine import TensorRTEngine


def build_plan(
    graph: Graph,
    targets: Sequence[str] | str | None = None,
    *,
    refit: Choice = False,
    live: Choice = False,
    cache: str | os.PathLike[str] | None = None,
    force: bool = False,
    timing_cache: str | os.PathLike[str] | None = None,
    extra_outputs: str | Iterable[str] = (),
    debug_tensors: str | Iterable[str] = (),
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
        force: compile it though the cache has it, and replace it there.
        timing_cache: a file of TensorRT's timings, as `trtexec --timingCacheFile` keeps them: read, added to, and made
            where there is none. They take the place of those beside the plans. TensorRT-RTX has none.
        extra_outputs: module paths, or patterns over them, whose tensors become outputs, too; the result is a dict.
        debug_tensors: likewise: tensors that `engine.set_debug_listener` shows, and that become no outputs. TensorRT
            does not fuse what they are between.
        profiles: ranges of the Dims, {"batch": (min, opt, max)}, one dict for each optimization profile; they lie in
            the Dims' own, which are the one profile unless given.
        progress: True shows a progress bar; or a function of (phase, steps done, steps).
        provider: the name of the TensorRT to use.
        options: `BuildOptions`: workspace, optimization_level, tf32, ...

    Raises:
        BuildError: TensorRT's reasons, with the module path and the source line of the layer that it names.
        ArgumentError, ProviderError: unknown targets, several with `refit`, TensorRT-RTX not installed.
    """
    _check_progress(progress)
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
    debug = DebugTensors.at(graph, debug_tensors)
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
        profiles=_profiles(graph, profiles), progress=progress, cache=check_folder(cache, force), debug=debug,
        force=force, timings=None if timing_cache is None else TimingFile(timing_cache),
    )  # fmt: skip
    return job.run()


def build(
    graph: Graph,
    *,
    provider: str | None = None,
    device: DeviceLike | None = None,
    refit: Choice = False,
    live: Choice = False,
    cache: str | os.PathLike[str] | None = None,
    force: bool = False,
    timing_cache: str | os.PathLike[str] | None = None,
    check: Any = True,
    extra_outputs: str | Iterable[str] = (),
    debug_tensors: str | Iterable[str] = (),
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
        force, timing_cache, extra_outputs, debug_tensors, profiles, progress: as in `build_plan`.
        options: `BuildOptions`: workspace, optimization_level, tf32, ...; and `RunOptions`: persistent_cache_limit, ...

    Raises:
        BuildError: TensorRT refused the network, or the engine differs from the reference: then with the errors, the
            first module that is wrong (`diverges`), and what was tried and is right. It takes some further builds.
    """
    _check_sample(graph, check)
    _check_progress(progress)
    run = RunOptions.taken(further := dict(options))
    chosen = BuildOptions.of(further)
    graph = with_outputs(graph, extra_outputs)
    debug = DebugTensors.at(graph, debug_tensors)
    ranges = _profiles(graph, profiles)
    live_names = refittable_names(graph, live, "live")
    names = refittable_names(graph, refit) - live_names
    found = _executing(provider, device)
    if found is None:
        warn_nonfinite_weights(graph)
        engine: Engine = ReferenceEngine(graph, device=str(device or "cpu"), live=live_names, debug=debug)
        engine.refittable = names
        return engine
    folder, place = check_folder(cache, force), Device(ordinal(device))
    job = Job(
        graph, found, chosen, refittable=names, live=live_names, profiles=ranges, progress=progress, cache=folder,
        device=place, debug=debug, force=force, timings=None if timing_cache is None else TimingFile(timing_cache),
    )  # fmt: skip
    with place.current():
        plan = job.run()
    made = TensorRTEngine(plan, found, device, run)
    if names:
        require_refittable(plan, made.engine_names())
    if job.stale or plan.stripped:
        made.refit_all()
    if check is not False and (plan.checked is None or check is not True):
        options |= {"provider": found.name, "device": device, "profiles": profiles, "timing_cache": timing_cache}
        trial = functools.partial(build, check=False, **options)
        _compare(made, plan, job, check, functools.partial(trial, refit=refit, live=live), trial)
    return made


def _executing(provider: str | None, device: DeviceLike | None) -> Provider | None:
    """The TensorRT that an engine is built with; None for the reference."""
    if provider is None and device is not None and str(device).startswith("cpu"):
        provider = "reference"
    if provider == "reference":
        return None
    if provider is not None:
        found = providers.load(provider)
        if found.cannot_execute is not None:
            raise ProviderError(
                f"{found} cannot run here",
                details=found.cannot_execute,
                remedy="build_plan(graph, targets=...) compiles without a GPU; provider='reference' runs in PyTorch",
            )
        return found
    executing = providers.executing()
    if executing is None:
        warnings.warn(f"no TensorRT can run here ({providers.can_execute()}): using the reference engine", stacklevel=3)
    return executing


def diverges(graph: Graph, x: Any = None, **options: Any) -> Divergence:
    """The first module, in the order of recording, that is wrong in an engine: by engines with further outputs.

    Args:
        graph: the recorded network.
        x: inputs to compare on, as `build(check=...)` takes them; drawn unless given.
        options: what `build` was given: provider, refit, optimization_level, ...

    Returns:
        A Divergence, which is false, and says so, where this build comes out right.
    """
    sampler = Sampler(graph)
    inputs = sampler.draw({n: d.opt for n, d in graph.dims.items()}) if x is None else sampler.given(x)
    device = options.get("device")
    where = devices(graph, None if str(device).startswith("cpu") else ordinal(device), sampler.is_known)[0]
    build_one = functools.partial(build, **(options | {"check": False}))
    return first_wrong(graph, inputs, build_one, device=where, tf32=bool(options.get("tf32", False)))


def _check_progress(progress: Progress) -> None:
    if not isinstance(progress, bool) and not callable(progress):
        raise ArgumentTypeError(
            "progress is True, False or a function",
            expected="a function of (phase, steps done, steps)",
            found=shown(progress),
        )


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


_PROFILES = 'profiles=[{"batch": (1, 1, 1)}, {"batch": (2, 8, 64)}]'


def _profiles(graph: Graph, given: Sequence[Profile] | None) -> tuple[Profile, ...]:
    """Every profile with every Dim. Raises ArgumentError for one outside its Dim's range."""
    whole = {name: (dim.min, dim.opt, dim.max) for name, dim in graph.dims.items()}
    if given is None:
        return (whole,) if whole else ()
    if not isinstance(given, Sequence) or not all(isinstance(profile, Mapping) for profile in given):
        raise ArgumentTypeError(
            "profiles are ranges of Dims by name", expected="a list of dicts", found=shown(given), remedy=_PROFILES
        )
    profiles = []
    for profile in given:
        unknown = [name for name in profile if name not in whole]
        if unknown:
            raise ArgumentError(
                "a profile names Dims that no input has",
                expected=", ".join(whole) or "no profiles: every size is fixed",
                found=", ".join(unknown),
                remedy=_PROFILES,
            )
        for name, sizes in profile.items():
            dim = graph.dims[name]
            if not isinstance(sizes, Sequence) or [type(size) for size in sizes] != [int] * 3:
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
