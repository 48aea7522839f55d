"""Weights from file to file, and into the files of an engine: `trtnet convert` and `trtnet refit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics.arrays import as_array, from_numpy
from ..basics.errors import ArgumentError, WeightsError
from ..engine.plan import Plan
from ..loading import load
from ..nn.module import Module
from ..weights import files
from ..weights.matching import match, nonfinite, warn_of
from ..weights.recipes import Value
from ..weights.sources import Selection, named_values
from .inputs import parse_arguments
from .model import is_torch_module, load_model
from .networks import resolve

if TYPE_CHECKING:
    import torch


def convert(source: Path, target: Path, prefix: str = "") -> str:
    """Write the arrays of one weight file into another of any format, and say what was done.

    Raises ArgumentError for formats that cannot be written, or where no name begins with `prefix`; WeightsError for
    what the format cannot hold.
    """
    arrays = files.read(source)
    if prefix:
        chosen = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        if not prefix.endswith(".") and all(name.startswith(".") for name in chosen):  # the module was meant
            chosen = {name[1:]: array for name, array in chosen.items()}
        chosen.pop("", None)
        if not chosen:
            raise ArgumentError(
                f"no name in {source} begins with {prefix!r} and goes on",
                expected=f"--prefix, as in {next(iter(arrays), 'name')}",
                found=", ".join(list(arrays)[:4]),
                remedy=f"`trtnet inspect {source}` lists the names",
            )
        arrays = chosen
    metadata = files.read_metadata(source)
    kept = metadata if files.keeps_metadata(target) else {}
    files.write(target, arrays, kept)
    lost = f"; its metadata ({', '.join(metadata)}) has no place there" if metadata and not kept else ""
    return f"{len(arrays)} arrays, {target.stat().st_size:,} bytes{lost}"


def refit(engine: Path, weights: Path, target: Path, prefix: str = "", version: int | None = None) -> str:
    """Give an engine's files other weights, and say what was done.

    Where the plan itself holds no weights (`build --refit`, the reference engine's files) this needs neither TensorRT
    nor a GPU; else the engine is loaded, refitted and saved.
    """
    plan = Plan.load(engine)
    if not plan.refittable and not plan.live:
        raise WeightsError(
            f"the weights of {engine} are fixed",
            expected="an engine that was built to be refitted",
            found="none of its parameters can change",
            remedy="build it with --refit: trtnet build MODEL --refit",
        )
    if not plan.stripped and plan.provider != "reference":
        loaded = load(engine)
        report = loaded.refit(weights, prefix=prefix, version=version)
        loaded.save(target)
        return str(report)
    graph = plan.graph
    changeable = plan.refittable | {name for name, leaf in graph.parameters.items() if leaf.name in plan.live}
    leaves = {name: leaf for name, leaf in graph.parameters.items() if name in changeable}
    selection = Selection(prefix)
    given = named_values(weights, leaves, selection)
    matched = match(leaves, given.values, partial=True, selection=selection, flat=given.flat, source=str(weights))
    warn_of([name for name, value in matched.values.items() if nonfinite(as_array(value))])
    values = {graph.parameters[name].name: value for name, value in matched.values.items()}
    graph.check_values(values, lambda: plan.parameters)
    for name, value in matched.values.items():
        graph.parameters[name].value = Value(value)
    replace(plan, parameters={**plan.parameters, **values}, weights_version=version).save(target)
    return f"{len(matched.values)} of {len(leaves)} parameters"


def load_into_torch(module: torch.nn.Module, path: Path) -> None:
    """Give a torch.nn.Module the weights of a file. Raises WeightsError where keys or sizes do not fit."""
    give(module, files.read(path), str(path), f"`trtnet inspect {path}` lists its names and shapes")


def network_of(
    model: str, weights: Path | None, arguments: Sequence[str], inputs: Mapping[str, Any]
) -> Callable[..., Any]:
    """The network that MODEL names, with the weights of a file."""
    network = load_model(resolve(model).model, parse_arguments(arguments), inputs)
    if weights is not None and isinstance(network, Module):
        network.load_weights(weights)
    elif weights is not None and is_torch_module(network):
        load_into_torch(network, weights)
    elif weights is not None:
        raise ArgumentError(
            "--weights are for modules",
            expected="a module, which has parameters",
            found=f"{type(network).__name__} {getattr(network, '__name__', '')}".strip(),
            remedy="leave --weights out, or name a class of modules",
        )
    return network


def give(module: torch.nn.Module, arrays: Mapping[str, np.ndarray], source: str, remedy: str) -> None:
    """Give a torch.nn.Module these weights. Raises WeightsError where keys or sizes do not fit."""
    try:
        module.load_state_dict({name: from_numpy(np.array(array)) for name, array in arrays.items()})
    except RuntimeError as error:  # torch's word for keys and sizes
        raise WeightsError(
            f"{source} do not fit {type(module).__name__}",
            details=str(error),
            expected="its state_dict's keys and shapes",
            remedy=remedy,
        ) from error
