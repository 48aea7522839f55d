"""Graph to plan, and plan to engine: builder configuration, profiles, progress, cancelling."""

from __future__ import annotations

import fnmatch
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import dims
from . import provider as providers
from .engine import Engine
from .errors import ArgumentError, ArgumentTypeError, BuildError, ProviderError, WeightsError
from .graph import Graph
from .lowering import Lowering, lower
from .plan import Plan
from .provider import ProgressMonitor, Provider
from .weights.loading import warn_nonfinite

Refit = bool | str | Iterable[str]
Progress = bool | Callable[[str, int, int], None]


def build_plan(
    graph: Graph,
    targets: Sequence[str] | str | None = None,
    *,
    refit: Refit = False,
    workspace: int | None = None,
    optimization_level: int | None = None,
    tf32: bool = False,
    progress: Progress = False,
    provider: str = "tensorrt_rtx",
) -> Plan:
    """Compile a graph ahead of time with TensorRT-RTX; no GPU is needed.

    Args:
        graph: the recorded network.
        targets: compute capabilities ("sm86", "sm120"); one plan serves them all. None: TensorRT-RTX's own default.
        refit: False, True, or fnmatch patterns over `state_dict` keys. The matching weights are left out of the
        plan and
            given by a refit; exactly one target then.
        workspace: most scratch memory that a layer may use, in bytes.
        optimization_level: 0 (fastest build) to 5; TensorRT's default is 3.
        tf32: whether float32 may be computed in TF32.
        progress: True shows a progress bar; or a function of (phase, steps done, steps).
        provider: the name of the TensorRT to use.

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
    left_out = refittable_names(graph, refit)
    if left_out and len(targets) != 1:
        raise ArgumentError(
            "a refittable plan without a GPU is compiled for exactly one target",
            expected="one target",
            found=", ".join(targets) or "none",
            remedy=f'one plan for each: build_plan(graph, ["{(targets or ("sm86",))[0]}"], refit=True)',
        )
    data, lowering, seconds = _compile(
        graph,
        found,
        left_out=left_out,
        targets=targets,
        workspace=workspace,
        optimization_level=optimization_level,
        tf32=tf32,
        progress=progress,
    )
    return Plan.of(
        graph, lowering, data, provider=found, targets=targets, seconds=seconds, stripped=bool(left_out),
        refittable=left_out,
    )  # fmt: skip


def build(
    graph: Graph,
    *,
    provider: str | None = None,
    device: Any = None,
    refit: Refit = False,
    live: Refit = False,
    workspace: int | None = None,
    optimization_level: int | None = None,
    tf32: bool = False,
    progress: Progress = False,
) -> Engine:
    """An Engine of the graph: TensorRT's where it can run, else the reference engine and one warning.

    Args:
        graph: the recorded network.
        provider: "tensorrt", "tensorrt_rtx" or "reference"; what is named is used or an error is raised.
        device: where to run: a CUDA device for TensorRT ("cuda:0"), any torch device for the reference.
        refit: False, True, or fnmatch patterns over `state_dict` keys: what `engine.refit` may change.
        live: likewise: parameters that become inputs of the network, for `engine.bind_weights`. Live wins over refit.
        workspace, optimization_level, tf32, progress: as in `build_plan`.
    """
    from .reference import ReferenceEngine

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
    else:
        from .live import with_live
        from .runtime import TensorRTEngine

        rewritten = with_live(graph, live_names)
        data, lowering, seconds = _compile(
            rewritten,
            found,
            refittable=bool(names),
            workspace=workspace,
            optimization_level=optimization_level,
            tf32=tf32,
            progress=progress,
        )
        inputs = {name: tensor.name or name for name, tensor in rewritten.live.items()}
        plan = Plan.of(graph, lowering, data, provider=found, seconds=seconds, refittable=names, live=inputs)
        engine = TensorRTEngine(plan, found, device)
    engine.refittable = names
    return engine


def refittable_names(graph: Graph, refit: Refit, what: str = "refit") -> frozenset[str]:
    """The parameters that `refit` (or `live`) selects. Raises WeightsError for a pattern that matches none."""
    if isinstance(refit, bool):
        return frozenset(graph.parameters) if refit else frozenset()
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
    leaves = {graph.parameters[name] for name in chosen}  # tied parameters by all their names
    return frozenset(name for name, leaf in graph.parameters.items() if leaf in leaves)


# --- one build --------------------------------------------------------------------------------------------------------


def _compile(
    graph: Graph,
    provider: Provider,
    *,
    left_out: frozenset[str] = frozenset(),
    refittable: bool = False,
    targets: Sequence[str] = (),
    workspace: int | None,
    optimization_level: int | None,
    tf32: bool,
    progress: Progress,
) -> tuple[bytes, Lowering, float]:
    """The plan's bytes, the lowering that it was built from, and the seconds that it took."""
    if workspace is not None and (not _is_whole(workspace) or workspace <= 0):
        raise ArgumentError(
            "the workspace limit must be a positive number of bytes",
            expected="bytes",
            found=repr(workspace),
            remedy="workspace=1 << 30 is 1 GiB; leave it out for TensorRT's own",
        )
    if optimization_level is not None and (not _is_whole(optimization_level) or optimization_level not in range(6)):
        raise ArgumentError(
            "there is no such optimization level",
            expected="0 to 5",
            found=repr(optimization_level),
            remedy="0 builds fastest, 5 searches longest; leave it out for TensorRT's own, 3",
        )
    _warn_nonfinite(graph)
    started = time.perf_counter()
    builder = provider.builder()
    network = provider.create_network(builder)
    network.name = graph.title  # TensorRT numbers unnamed ones, and writes the number into the plan
    lowering = lower(graph, network, left_out)
    # shapes and layers are reported to the network's recorder, everything later to the builder's
    network.error_recorder = builder.error_recorder = lowering.errors.native
    lowering.check_outputs()
    config = builder.create_builder_config()
    provider.configure(config, workspace=workspace, optimization_level=optimization_level, tf32=tf32)
    provider.allow_types(config, {t.dtype for layer in lowering.graph.layers for t in layer.outputs})
    if targets:
        provider.set_targets(config, targets)
    if left_out:
        config.set_flag(provider.enum("BuilderFlag", "REFIT_INDIVIDUAL"))
        config.set_flag(provider.enum("BuilderFlag", "STRIP_PLAN"))
    elif refittable:
        config.set_flag(provider.enum("BuilderFlag", "REFIT"))
    if graph.dims:
        _add_profile(graph, builder, config)
    plan = _in_thread(provider, builder, network, config, progress)
    if plan is None:
        error = lowering.explain("TensorRT refused to build this network")
        if left_out:
            _recover(provider)
        raise error
    return bytes(plan), lowering, time.perf_counter() - started


def _warn_nonfinite(graph: Graph) -> None:
    leaves = {leaf.name: leaf for leaf in graph.parameters.values() if leaf.value.array is not None}
    warn_nonfinite({name: leaf.value.read() for name, leaf in leaves.items()})


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _add_profile(graph: Graph, builder: Any, config: Any) -> None:
    profile = builder.create_optimization_profile()
    for name, tensor in graph.inputs.items():
        if any(not isinstance(s, int) for s in tensor.shape):
            profile.set_shape(
                name,
                *(
                    tuple(dims.evaluate(s, {n: getattr(d, which) for n, d in graph.dims.items()}) for s in tensor.shape)
                    for which in ("min", "opt", "max")
                ),
            )
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(
            "TensorRT refused the ranges of the dynamic sizes", found=", ".join(map(repr, graph.dims.values()))
        )


def _in_thread(provider: Provider, builder: Any, network: Any, config: Any, progress: Progress) -> Any:
    """Build in a thread of its own, so that Ctrl-C reaches Python; it cancels where TensorRT listens (9.1 on)."""
    result: list[Any] = []
    failure: list[BaseException] = []
    with _Bar(progress) as bar:
        monitor = ProgressMonitor(bar)
        listens = provider.set_progress(config, monitor)

        def work() -> None:
            try:
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
    from .graph import Input
    from .recording import record

    tiny = record(lambda x: relu(x), x=Input((1,)))
    builder = provider.builder()
    network = provider.create_network(builder)
    held = lower(tiny, network), np.zeros(1)
    builder.build_serialized_network(network, builder.create_builder_config())
    del held
