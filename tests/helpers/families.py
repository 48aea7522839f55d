"""A function written once, for `T` = trtnet and `T` = torch: it must equal torch recorded, and concrete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from harness import check_against_torch
from hypothesis import strategies as st

import trtnet
from trtnet import Dim
from trtnet.basics.arrays import from_numpy
from trtnet.graph.graph import Graph


def check(
    function: Callable[..., Any],
    inputs: Mapping[str, np.ndarray],
    shapes: Mapping[str, Any] | None = None,
    *,
    compile: bool = True,
    rtol: float = 1e-9,
    atol: float = 1e-9,
    concrete: bool = True,
) -> Graph:
    """`function(T, *inputs)`, recorded (with `shapes`, which may hold Dims) and concrete, against torch.

    The recorded inputs are cloned first, as functions that change nothing give their input, which is no output.
    """
    graph = check_against_torch(
        lambda **given: function(trtnet, *(x.clone() for x in given.values())),
        lambda *given: function(torch, *given),
        inputs,
        shapes=shapes,
        compile=compile,
        rtol=rtol,
        atol=atol,
    )
    if concrete:
        check_concrete(function, *inputs.values())
    return graph


def check_concrete(function: Callable[..., Any], *arrays: np.ndarray, tolerance: float = 2e-5) -> None:
    """`function(T, *arrays)` with concrete tensors, values, shapes and dtypes as torch's."""
    found = function(trtnet, *(trtnet.tensor(a) for a in arrays))
    wanted = function(torch, *(from_numpy(a.copy()) for a in arrays))
    found, wanted = flat(found), flat(wanted)
    assert len(found) == len(wanted)
    for at, (mine, torchs) in enumerate(zip(found, wanted, strict=True)):
        assert isinstance(mine, trtnet.Array), f"output {at} is {mine!r}"
        assert mine.dtype.torch is torchs.dtype, f"output {at}: {mine.dtype}, torch {torchs.dtype}"
        assert tuple(mine.shape) == tuple(torchs.shape), f"output {at}: {mine.shape}, torch {tuple(torchs.shape)}"
        np.testing.assert_allclose(
            mine.numpy().astype(np.float64),
            torchs.double().numpy(),
            rtol=tolerance,
            atol=tolerance,
            err_msg=f"output {at}",
        )


def flat(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [value for part in result for value in flat(part)]
    return [result]


def values(shape: Any, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Distinct floats, small integers, or bools."""
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.startswith("int"):
        return generator.integers(-5, 6, shape).astype(dtype)
    return generator.standard_normal(shape).astype(np.float32)


@st.composite
def shapes(
    draw: st.DrawFn, min_rank: int = 1, max_rank: int = 4, max_size: int = 4
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Sizes, and the shape to record: some of the sizes are Dims that begin there."""
    sizes = tuple(draw(st.lists(st.integers(1, max_size), min_size=min_rank, max_size=max_rank)))
    dynamic = [draw(st.booleans()) for _ in sizes]
    return sizes, tuple(
        Dim(f"d{axis}", size, size, size + 3) if is_dim else size
        for axis, (size, is_dim) in enumerate(zip(sizes, dynamic))
    )
