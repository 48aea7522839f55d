"""Engines from files."""

from __future__ import annotations

import os
from pathlib import Path

from . import recording  # noqa: F401  # gives graphs their methods
from .basics.disk import as_path
from .basics.errors import ArgumentError, ProviderError, WeightsError, WeightsNotFoundError
from .engine.engine import Engine
from .engine.files import Files
from .engine.options import Option, RunOptions
from .engine.plan import Plan
from .engine.revision import Revision
from .graph.tensor import DeviceLike
from .pytorch.engine import ReferenceEngine
from .rewriting.extra_outputs import DebugTensors
from .tensorrt import plugins
from .tensorrt import provider as providers
from .tensorrt.device import Device, ordinal
from .tensorrt.provider import Provider
from .tensorrt.run.engine import TensorRTEngine
from .weights.recipes import Leaf


def load(
    path: str | os.PathLike[str], *, provider: str | None = None, device: DeviceLike | None = None, **options: Option
) -> Engine:
    """The engine that `engine.save` or `plan.save` wrote, or one of a bare plan without manifest.

    The files' SHA-256 are checked first, then the version of TensorRT, then the GPU.

    Args:
        path: the `.engine` or `.trt` file.
        provider: "tensorrt", "tensorrt_rtx", or "reference": the recorded network in PyTorch, from the saved weights.
        device: the CUDA device, or the reference's torch device.
        options: `RunOptions`: weight_streaming_budget, persistent_cache_limit, ...

    Raises:
        WeightsNotFoundError: a file is missing. WeightsError: one is damaged, or of another engine.
        ProviderError: this TensorRT or this GPU cannot run the plan, or a plugin that it needs is not there.
        BuildError: TensorRT refused it.
    """
    run = RunOptions.of(options)
    path = as_path(path)
    files = Files(path)
    if not files.exists():
        if not path.is_file():
            raise WeightsNotFoundError(
                f"there is no engine at {path}",
                expected="an existing file",
                found=str(path),
                remedy="engine.save(path) writes one",
            )
        return _bare(path, provider, device, run)
    plan = Plan.load(path)
    if provider == "reference" or (provider is None and plan.provider == "reference"):
        return _reference(plan, path, device)
    engine = TensorRTEngine(plan, check_plan(plan, path.parent, provider, device), device, run)
    if plan.stripped:
        engine.refit_all()
    return engine


def check_plan(plan: Plan, folder: Path, provider: str | None = None, device: DeviceLike | None = None) -> Provider:
    """The provider that can run a plan of TensorRT's here. Raises ArgumentError, ProviderError where none can.

    Args:
        folder: where libraries of plugins may lie beside it.
    """
    found = _provider_of(plan, provider)
    _check_version(plan, found)
    _check_gpu(plan, found, device)
    plugins.require(found, plan.plugins, folder)
    return found


def _bare(path: Path, provider: str | None, device: DeviceLike | None, options: RunOptions) -> Engine:
    if provider == "reference":
        raise ArgumentError(
            "a bare plan holds no network for the reference engine",
            expected=f"{path}.json beside it",
            found=str(path),
            remedy="save the engine with trtnet: engine.save(path)",
        )
    found = providers.load(provider) if provider is not None else providers.executing() or providers.find()
    _check_executes(found)
    plugins.require_own(found)
    return TensorRTEngine.bare(path.read_bytes(), found, device, options)


def _provider_of(plan: Plan, provider: str | None) -> Provider:
    if plan.provider == "reference":
        raise ArgumentError(
            "this engine was saved by the reference engine: it has no plan",
            expected="provider='reference'",
            found=provider,
            remedy="build it where TensorRT runs: trtnet.build(graph)",
        )
    if provider is not None and provider != plan.provider:
        raise ArgumentError(
            "this plan is of another TensorRT",
            expected=plan.provider,
            found=provider,
            remedy=f"load(path, provider={plan.provider!r}), or build it with {provider}",
        )
    return providers.load(plan.provider)


def _check_executes(found: Provider) -> None:
    if found.cannot_execute is not None:
        raise ProviderError(
            f"{found} cannot run here",
            details=found.cannot_execute,
            expected="a GPU that it runs on",
            remedy="load(path, provider='reference') runs the recorded network in PyTorch, where weights were saved",
        )


def _check_version(plan: Plan, found: Provider) -> None:
    if plan.version == found.version or plan.options.get("version_compatible"):
        return
    raise ProviderError(
        "this plan was built by another version of TensorRT",
        expected=f"{plan.provider} {plan.version}",
        found=str(found),
        remedy=f"pip install '{plan.provider}=={plan.version}', or build it again"
        + (
            ""
            if plan.provider == "tensorrt_rtx"
            else "; build(graph, version_compatible=True) makes plans that later versions load"
        ),
    )


def _check_gpu(plan: Plan, found: Provider, device: DeviceLike | None) -> None:
    _check_executes(found)
    here = Device(ordinal(device)).properties[1]
    wanted = (plan.gpu["capability"],) if plan.gpu else plan.targets
    if not wanted or here in wanted or plan.options.get("hardware_compatibility", "none") not in ("none", None):
        return
    raise ProviderError(
        "this plan was built for another GPU",
        expected=", ".join(wanted) + (f" ({plan.gpu['name']})" if plan.gpu else ""),
        found=here,
        remedy="build it on this machine; "
        + (
            "build_plan(graph, targets=[...]) makes one plan for several"
            if plan.provider == "tensorrt_rtx"
            else "build(graph, hardware_compatibility='ampere_plus') makes plans for several"
        ),
    )


def _reference(plan: Plan, path: Path, device: DeviceLike | None) -> ReferenceEngine:
    lacking = [name for name, leaf in plan.graph.parameters.items() if leaf.value.array is None and _used(plan, leaf)]
    if lacking:
        raise WeightsError(
            "these files have no values for the reference engine",
            expected=f"{path}.safetensors with every parameter",
            found="without " + ", ".join(lacking[:8]),
            remedy="save the engine with weights, and build it with refit=True; "
            "an engine that cannot be refitted keeps its weights in the plan alone",
        )
    live = [name for name, leaf in plan.graph.parameters.items() if leaf.name in plan.live]
    told = plan.options.get("debug_tensors")
    paths = [path for one in told.values() for path in one] if isinstance(told, dict) else []
    debug = DebugTensors.at(plan.graph, paths)
    engine = ReferenceEngine(plan.graph, device=str(device or "cpu"), live=live, debug=debug)
    engine.refittable = plan.refittable
    engine.revision = Revision(0, plan.weights_version)
    return engine


def _used(plan: Plan, leaf: Leaf) -> bool:
    return any(leaf in weight.leaves() for _, _, weight in plan.graph.weights())
