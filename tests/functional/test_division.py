"""Remainders and rounded quotients of floats: torch's bits, whatever a compiler makes of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from harness import lower_and_compare
from quotients import NUMBERS, OPERATIONS, compare, pairs

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet.basics.arrays import from_numpy
from trtnet.layers.constant import Constant
from trtnet.layers.elementwise import ElementWise, Select, Unary


@pytest.mark.parametrize("name", OPERATIONS)
def test_two_tensors(name):
    a, b = pairs()
    graph = trtnet.record(lambda x, y: getattr(trtnet, name)(x, y), x=Input(a.shape), y=Input(b.shape))
    compare(name, trtnet.reference(graph)(a, b), a, b)


@pytest.mark.parametrize("divisor", NUMBERS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_number(name, divisor):
    a, b = pairs(5_000, divisor)
    graph = trtnet.record(lambda x: getattr(trtnet, name)(x, divisor), x=Input(a.shape))
    compare(name, trtnet.reference(graph)(a), a, b)


def carelessly(graph: Any, generator: np.random.Generator, *arrays: np.ndarray) -> np.ndarray:
    """A graph of float32 layers as a compiler for speed may compute it: products and sums are contracted, each as the
    generator says, and divisions are up to four last bits off."""
    known: dict[Any, np.ndarray] = dict(zip(map(id, graph.inputs.values()), arrays))
    products: dict[Any, tuple[np.ndarray, np.ndarray]] = {}

    def contracted(op: str, left: Any, right: Any) -> np.ndarray:
        terms = []
        for at, operand in enumerate((left, right)):
            factors = products.get(id(operand)) if generator.random() < 0.7 and not terms else None
            value = known[id(operand)].astype(np.longdouble)
            if factors is not None:
                value = factors[0].astype(np.longdouble) * factors[1].astype(np.longdouble)
            terms.append(-value if op == "SUB" and at else value)
        return (terms[0] + terms[1]).astype(np.float32)

    for layer in graph.layers:
        values = [known.get(id(x)) for x in layer.inputs]
        if isinstance(layer, Constant):
            found = layer.inputs[0].array.reshape(layer.outputs[0].shape)
        elif isinstance(layer, Unary):
            found = {"ABS": np.abs, "FLOOR": np.floor, "NEG": np.negative}[layer.op](values[0])
        elif isinstance(layer, Select):
            found = np.where(*values)
        else:
            assert isinstance(layer, ElementWise)
            if layer.op in ("SUM", "SUB"):
                found = contracted(layer.op, *layer.inputs)
            elif layer.op == "DIV":
                off = generator.integers(-4, 5, np.broadcast(*values).shape) * 2.0**-24
                found = (np.divide(*values, dtype=np.float32) * (1 + off)).astype(np.float32)
            else:
                functions = {"PROD": np.multiply, "LESS": np.less, "GREATER": np.greater}
                found = (functions | {"AND": np.logical_and, "OR": np.logical_or})[layer.op](*values)
            if layer.op == "PROD":
                products[id(layer.outputs[0])] = values[0], values[1]
        known[id(layer.outputs[0])] = found
    (output,) = graph.outputs.values()
    return known[id(output)]


@pytest.mark.parametrize("divisor", [None, 1.0, 3.0, 0.1, 2 * np.pi, 1e-30])
@pytest.mark.parametrize("name", ["remainder", "fmod"])
def test_contracted_operations_change_nothing(name, divisor):
    a, b = pairs(20_000, divisor)
    if divisor is None:
        graph = trtnet.record(lambda x, y: getattr(trtnet, name)(x, y), x=Input(a.shape), y=Input(b.shape))
    else:
        graph = trtnet.record(lambda x: getattr(trtnet, name)(x, divisor), x=Input(a.shape))
    for seed in range(4):
        with np.errstate(all="ignore"):
            found = carelessly(graph, np.random.default_rng(seed), a, *(() if divisor is not None else (b,)))
        compare(name, found, a, b)


def test_a_product_that_is_rounded_shows_in_this_test():
    """The plain formula fails it: the test can fail."""
    a, b = pairs(5_000, 0.1)
    graph = trtnet.record(lambda x: x - (x / 0.1).floor() * 0.1, x=Input(a.shape))
    with np.errstate(all="ignore"), pytest.raises(AssertionError, match="remainder"):
        compare("remainder", carelessly(graph, np.random.default_rng(0), a), a, b)


def test_larger_quotients_are_no_numbers():
    x = np.array([1e30, -1e30, np.inf, 1e10], np.float32)
    graph = trtnet.record(lambda x: (x % 0.1, trtnet.fmod(x, 3.0), x % 0.5), x=Input(x.shape))
    tenth, three, half = trtnet.reference(graph)(x)
    assert np.isnan(tenth).all()
    assert np.isnan(three).tolist() == [True, True, True, False]
    assert half.tolist()[:2] + half.tolist()[3:] == [0.0, 0.0, 0.0]
    assert np.isnan(half[2])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["remainder", "fmod"])
def test_half_precision(name, dtype):
    generator = np.random.default_rng(0)
    kind = dtypes.get(dtype).numpy
    a, b = (generator.normal(0, 10, 4000).astype(np.float32).astype(kind) for _ in range(2))
    graph = trtnet.record(lambda x, y: getattr(trtnet, name)(x, y), x=Input(a.shape, dtype), y=Input(b.shape, dtype))
    found = trtnet.reference(graph)(a, b)
    wanted = getattr(torch, name)(from_numpy(a), from_numpy(b))
    assert np.array_equal(found.astype(np.float32), wanted.float().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int64"])
@pytest.mark.parametrize("shape", [(2, 3), (Dim("batch", 1, 2, 4), 3)], ids=["static", "dynamic"])
def test_it_compiles(shape, dtype):
    functions = [getattr(trtnet, name) for name in OPERATIONS]
    graph = trtnet.record(
        lambda x, y: (*(f(x, y) for f in functions), *(f(x, 3) for f in functions), *(f(x, 2) for f in functions)),
        x=Input(shape, dtype),
        y=Input(shape, dtype),
    )
    lower_and_compare(graph)


def test_gradients_are_torchs():
    """d(a % b)/da is 1, and d/db minus the quotient."""
    graph = trtnet.record(lambda x, y: trtnet.fmod(x, y), x=Input((4,)), y=Input((4,)))
    values = ([7.5, -7.5, 1.0, 100.0], [2.0, 2.0, -3.0, 0.3])
    found = [torch.tensor(v, requires_grad=True) for v in values]
    wanted = [torch.tensor(v, requires_grad=True) for v in values]
    trtnet.to_torch(graph)(*found).sum().backward()
    torch.fmod(*wanted).sum().backward()
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
