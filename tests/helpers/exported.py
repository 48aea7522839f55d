"""torch.nn.Modules recorded as they are, compared with themselves in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

import trtnet
from trtnet import Dim, Input
from trtnet.graph.graph import Graph

BATCH = Dim("batch", min=1, opt=4, max=8)
SIZES = (1, 2, 5)


def randomized(module: torch.nn.Module) -> torch.nn.Module:
    """The module with weights that matter: no zeros, no ones, statistics of a norm."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, one in [*module.named_parameters(), *module.named_buffers()]:
            if not one.is_floating_point():
                continue
            if name.endswith("running_var"):
                one.copy_(torch.rand(one.shape, generator=generator) + 0.5)
            elif not one.abs().sum() or name.endswith(("bias", "running_mean")) or bool((one == 1).all()):
                one.copy_(one + 0.3 * torch.randn(one.shape, generator=generator))
    return module


def drawn(spec: Input, sizes: Mapping[str, int], seed: int, most: int = 8) -> torch.Tensor:
    shape = [trtnet.basics.dims.evaluate(size, sizes) for size in spec.shape]
    generator = torch.Generator().manual_seed(seed)
    if spec.dtype is trtnet.bool:
        return torch.rand(shape, generator=generator) < 0.5
    if not spec.dtype.is_floating_point:
        return torch.randint(0, most, shape, generator=generator).to(getattr(torch, spec.dtype.name))
    return torch.randn(shape, generator=generator)


def check(
    function: Callable[..., Any],
    *,
    at: Sequence[Any] = SIZES,
    most: int = 8,
    tolerance: float = 1e-9,
    wrap: Callable[..., Any] = lambda made: made,
    **inputs: Any,
) -> Graph:
    """Record, and compare with the module in float64 at several sizes of the one recording.

    Args:
        at: the sizes of the batch, or dicts of sizes.
        most: whole numbers are drawn below it.
        wrap: makes what is called by name of the module.
    """
    graph = trtnet.record(function, **inputs)
    agree(graph, function, inputs, at=at, most=most, tolerance=tolerance, wrap=wrap)
    return graph


def agree(
    graph: Graph,
    function: Callable[..., Any],
    inputs: Mapping[str, Any],
    *,
    at: Sequence[Any] = SIZES,
    most: int = 8,
    tolerance: float = 1e-9,
    wrap: Callable[..., Any] = lambda made: made,
) -> None:
    engine = trtnet.reference(graph, dtype="float64")
    double = wrap(doubled(function))
    specs = {name: spec for name, spec in inputs.items() if isinstance(spec, Input)}
    plain = {name: value for name, value in inputs.items() if name not in specs}
    for sizes in at if graph.dims else ({},):
        sizes = {"batch": sizes} if isinstance(sizes, int) else sizes
        given = {name: drawn(spec, sizes, seed, most) for seed, (name, spec) in enumerate(specs.items())}
        made = torch.utils._pytree.tree_leaves(engine(**{name: value.numpy() for name, value in given.items()}))
        found = [one for one in made if one is not None]
        with torch.no_grad():
            wide = {name: v.double() if v.is_floating_point() else v for name, v in given.items()}
            expected = leaves(double(**plain, **wide))
        assert len(found) == len(expected), (len(found), len(expected))
        for one, two in zip(found, expected):
            assert one.shape == two.shape, f"{one.shape}, torch {two.shape} at {sizes}"
            if not two.size:
                continue
            error = np.abs(one.astype(np.float64) - two.astype(np.float64)).max()
            # a graph's outputs are float32 again
            scale = max(1.0, np.abs(two.astype(np.float64)).max())
            assert error <= max(tolerance, 1.2e-7) * scale, f"{error} of {scale} at {sizes}"


def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of the module in float64 and in eval mode, or the same method of one."""
    owner = getattr(function, "__self__", function)
    made = copy.deepcopy(owner).double().eval()
    return made if owner is function else getattr(made, function.__name__)


def leaves(made: Any) -> list[np.ndarray]:
    flat = torch.utils._pytree.tree_leaves(made)
    return [one.detach().numpy() for one in flat if isinstance(one, torch.Tensor)]
