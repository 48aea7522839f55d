"""Outputs that no input reaches: TensorRT computes them while it builds, by other code than at a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import LEVEL, flat, same

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.functional.dispatch import tensor as recorded

TYPES = ("uint8", "int32", "int64", "bool", "float16", "float32")
VALUES = np.array([[2, 253, 0, 7]])
BATCH = Dim("batch", min=1, opt=2, max=4)


def constant(dtype: str) -> Any:
    """In the network as a layer."""
    return recorded(trtnet.tensor(VALUES.astype(dtype)))


def chosen(value: Any) -> Any:
    """By a condition that is known."""
    return F.where(trtnet.tensor(np.ones((1, 1), bool)), value, F.flip(value, (1,)))


def partly_chosen(value: Any) -> Any:
    return F.where(trtnet.tensor(np.array([[True, False, True, False]])), value, F.flip(value, (1,)))


def gathered(value: Any) -> Any:
    return trtnet.layers.add_gather(value, recorded(trtnet.tensor([2, 0, 1])), axis=1)


def gathered_twice(value: Any) -> Any:
    return trtnet.layers.add_gather(gathered(value), recorded(trtnet.tensor([0])), axis=0)


STEPS: dict[str, Callable[[Any], Any]] = {
    "constant": lambda value: value,
    "identity": trtnet.layers.add_identity,
    "chosen": chosen,
    "partly chosen": partly_chosen,
    "gathered": gathered,
    "gathered, chosen": lambda value: chosen(gathered_twice(value)),
    "gathered, identity": lambda value: trtnet.layers.add_identity(gathered_twice(value)),
    "reshaped": lambda value: gathered(value).reshape(3),
    "cut": lambda value: value[:, 1:3],
    "joined": lambda value: F.cat([value, gathered(value)], 1),
    "expanded": lambda value: value.expand(3, 4),
    "cast": lambda value: value.to(trtnet.float32),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", STEPS)
def test_a_constant_output(name: str, dtype: str) -> None:
    """Also where others take it: reshaped, and beside what does depend on an input."""

    def forward(x: Any) -> dict[str, Any]:
        found = STEPS[name](constant(dtype))
        return {"found": found, "flat": found.reshape(-1), "twice": F.cat([found, found], 0), "moved": x + 1}

    kind = "float16" if dtype == "float16" else "float32"  # 8.6 has float32 beside float16 computed in half precision
    graph = trtnet.record(forward, x=Input((BATCH, 3), kind))
    x = np.random.default_rng(0).integers(-9, 9, (2, 3)).astype(kind)
    with trtnet.build(graph, check=False, **LEVEL) as engine:
        assert same(engine(x), trtnet.reference(graph)(x))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("known", range(8))
def test_a_select_of_which_some_operands_are_constants(known: int, dtype: str) -> None:
    """The condition, and either value: `known` has a bit for each."""
    rng = np.random.default_rng(known)
    given = {
        "condition": rng.random((2, 4)) < 0.5,
        "a": rng.integers(0, 9 if dtype != "bool" else 2, (2, 4)).astype(dtype),
        "b": rng.integers(0, 9 if dtype != "bool" else 2, (2, 4)).astype(dtype),
    }
    inputs = {name: value for i, (name, value) in enumerate(given.items()) if not known >> i & 1}

    def forward(x: Any, **tensors: Any) -> dict[str, Any]:
        whole = {n: tensors[n] if n in tensors else recorded(trtnet.tensor(value)) for n, value in given.items()}
        made = F.where(whole["condition"], whole["a"], whole["b"])
        return {"made": made, "flat": made.reshape(-1), "moved": x * 2}

    kind = "float16" if dtype == "float16" else "float32"
    specs = {name: Input((BATCH, 4), str(value.dtype)) for name, value in inputs.items()}
    if 0 < len(inputs) < 3:  # those that are constants have two rows
        specs = {name: Input((2, 4), spec.dtype) for name, spec in specs.items()}
    graph = trtnet.record(forward, x=Input((BATCH, 3), kind), **specs)
    x = rng.integers(-9, 9, (2, 3)).astype(kind)
    with trtnet.build(graph, check=False, **LEVEL) as engine:
        found, wanted = engine(x=x, **inputs), trtnet.reference(graph)(x=x, **inputs)
        assert same(found, wanted), (flat(found), flat(wanted))


@pytest.mark.parametrize("batch", [2, BATCH], ids=["static", "dynamic"])
def test_bytes_and_reshapes_of_them(batch: Any) -> None:
    """Which are casts of whole numbers, and of reshapes of these."""

    def forward(x: Any) -> dict[str, Any]:
        made = x + 1
        return {
            "made": made, "flat": made.flatten(), "front": made[None], "last": made.unsqueeze(-1),
            "floats": made.float(), "flat_floats": made.flatten().float(), "joined": F.stack([made, made * 2]),
        }  # fmt: skip

    graph = trtnet.record(forward, x=Input((batch, 3), "uint8"))
    x = np.array([[1, 2, 255], [4, 5, 6]], np.uint8)
    with trtnet.build(graph, check=False, **LEVEL) as engine:
        found, wanted = engine(x), trtnet.reference(graph)(x)
        assert same(found, wanted), (flat(found), flat(wanted))


@pytest.mark.parametrize("dtype", TYPES)
def test_a_constant_that_is_written_over_an_input(dtype: str) -> None:
    def forward(x: Any) -> dict[str, Any]:
        row = x[-1]
        whole = F.unsqueeze(row, -2)
        whole[::2, trtnet.tensor([1, 0]), None] = trtnet.tensor(VALUES[:, :2].reshape(1, 2, 1).astype(dtype))
        return {"all": x.clone(), "row": row, "whole": whole}

    graph = trtnet.record(forward, x=Input((2, 2), dtype))
    x = np.array([[1, 0], [1, 1]], dtype)
    with trtnet.build(graph, check=False, **LEVEL) as engine:
        found, wanted = engine(x), trtnet.reference(graph)(x)
        assert same(found, wanted), (flat(found), flat(wanted))
