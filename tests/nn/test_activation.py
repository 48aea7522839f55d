"""Activation modules and functions against torch.nn's, in float64 and as TensorRT-RTX compiles them."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare, randomize, torch_state
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from trtnet.graph.tensor import Array
from trtnet.nn import activation

BATCH = Dim("batch", min=1, opt=2, max=5)
positive = st.floats(0.125, 3, width=32)
ARGUMENTS = {
    "CELU": st.fixed_dictionaries({"alpha": positive}),
    "ELU": st.fixed_dictionaries({"alpha": positive}),
    "GELU": st.fixed_dictionaries({"approximate": st.sampled_from(("none", "tanh"))}),
    "GLU": st.fixed_dictionaries({"dim": st.sampled_from((-1, 0, 1))}),
    "Hardshrink": st.fixed_dictionaries({"lambd": positive}),
    "Hardtanh": st.fixed_dictionaries({"min_val": st.floats(-3, 0, width=32), "max_val": positive}),
    "LeakyReLU": st.fixed_dictionaries({"negative_slope": positive}),
    "RReLU": st.fixed_dictionaries({"lower": st.just(0.125), "upper": positive}),
    "Softplus": st.fixed_dictionaries({"beta": positive, "threshold": st.sampled_from((0.5, 20.0))}),
    "Softshrink": st.fixed_dictionaries({"lambd": positive}),
    "Threshold": st.fixed_dictionaries({"threshold": st.floats(-1, 1, width=32), "value": st.sampled_from((0.0, 0.5))}),
}
IN_PLACE = tuple(
    name for name in activation.__all__ if "inplace" in inspect.signature(getattr(nn, name).__init__).parameters
)
FUNCTIONS = {
    "celu": "CELU", "elu": "ELU", "gelu": "GELU", "glu": "GLU", "hardshrink": "Hardshrink",
    "hardsigmoid": "Hardsigmoid",
    "hardswish": "Hardswish", "hardtanh": "Hardtanh", "leaky_relu": "LeakyReLU",
    "logsigmoid": "LogSigmoid", "mish": "Mish",
    "relu": "ReLU", "relu6": "ReLU6", "rrelu": "RReLU", "selu": "SELU", "sigmoid": "Sigmoid", "silu": "SiLU",
    "softplus": "Softplus", "softshrink": "Softshrink", "softsign": "Softsign", "tanh": "Tanh",
    "tanhshrink": "Tanhshrink",
    "threshold": "Threshold",
}  # fmt: skip
ROUNDED = {"Hardshrink", "Threshold", "CELU", "Softplus"}  # they compare with, or multiply by, a float32 constant


def inputs_of(shape: tuple[int, ...], seed: int = 0, scale: float = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


@pytest.mark.parametrize("name", [name for name in activation.__all__ if name != "PReLU"])
@given(data=st.data())
def test_module_equals_torch(name: str, data: st.DataObject) -> None:
    arguments = data.draw(ARGUMENTS.get(name, st.just({})))
    if name in IN_PLACE and data.draw(st.booleans()):
        arguments = {**arguments, "inplace": True}
    shape = tuple(data.draw(st.lists(st.sampled_from((2, 4)), min_size=2, max_size=4)))
    shapes = {"input": (BATCH, *shape[1:])} if arguments.get("dim") != 0 else None
    mine, torchs = getattr(nn, name)(**arguments), getattr(torch.nn, name)(**arguments)
    assert repr(mine) == repr(torchs)
    expected = torchs.eval()
    tolerance = {"rtol": 3e-7, "atol": 1e-7} if name in ROUNDED else {}
    check_against_torch(
        mine, lambda x: expected(x.clone()), {"input": inputs_of(shape, data.draw(st.integers(0, 99)))},
        shapes=shapes, compile=False, **tolerance,
    )  # fmt: skip


@pytest.mark.parametrize("channels", [1, 4])
def test_prelu(channels: int) -> None:
    for shape in ((2, 4), (2, 4, 3), (2, 4, 3, 3)):
        torchs = randomize(torch.nn.PReLU(channels))
        mine = nn.PReLU(channels)
        assert list(mine.state_dict()) == ["weight"]
        np.testing.assert_array_equal(mine.weight.numpy(), np.full(channels, 0.25, np.float32))
        state = torch_state(torchs)
        shapes = {"input": (BATCH, *shape[1:])}
        graph = check_against_torch(mine, torchs, {"input": inputs_of(shape)}, shapes=shapes, state_dict=state)
        assert [layer.kind for layer in graph.layers] == ["constant", "parametric_relu"]
        half = {"input": inputs_of(shape).astype(np.float16)}
        check_against_torch(mine.half(), torchs, half, state_dict=state, compile=False, rtol=2e-3, atol=1e-3)
    assert "num_parameters=4" in repr(nn.PReLU(4))


def test_signatures_are_torchs() -> None:
    for name in activation.__all__:
        mine, torchs = (inspect.signature(getattr(package, name).__init__).parameters for package in (nn, torch.nn))
        if "args" in torchs:
            continue
        assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in torchs.values()], name
    for name in (*FUNCTIONS, "prelu"):
        mine, torchs = getattr(F, name), getattr(torch.nn.functional, name)
        try:
            expected = inspect.signature(torchs).parameters
        except ValueError:  # built in
            continue
        if "args" not in expected:
            assert list(inspect.signature(mine).parameters) == [n.lstrip("_") for n in expected], name
        assert mine.__doc__


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_all_compile(dtype: str) -> None:
    modules = {name: getattr(nn, name)(*((0.1, 0.5) if name == "Threshold" else ())) for name in activation.__all__}
    modules |= {"tanh_GELU": nn.GELU("tanh"), "CELU_2": nn.CELU(2.0)}
    modules["PReLU"].to(dtype)

    class Every(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.all = nn.ModuleDict(modules)

        def forward(self, x):
            return {f"out_{name}": module(x) for name, module in self.all.items()}

    lower_and_compare(trtnet.record(Every(), x=Input((BATCH, 4), dtype)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_functions_of_concrete_arrays(name: str, dtype: str) -> None:
    x = inputs_of((2, 4)).astype(dtype)
    arguments = (0.1, 0.5) if name == "threshold" else ()
    found = getattr(F, name)(Array(x), *arguments)
    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x), *arguments)
    assert found.dtype.torch is expected.dtype
    tolerance = 1e-5 if dtype == "float32" else 5e-3
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=tolerance, atol=tolerance)


def test_concrete_arguments_by_position_and_in_place() -> None:
    x = inputs_of((2, 4))
    t, a = torch.from_numpy(x.copy()), Array(x.copy())
    np.testing.assert_allclose(F.elu(a, 0.5).numpy(), torch.nn.functional.elu(t, 0.5), rtol=1e-6)
    np.testing.assert_allclose(
        F.gelu(a, approximate="tanh").numpy(), torch.nn.functional.gelu(t, approximate="tanh"), rtol=1e-5
    )
    weight = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    np.testing.assert_allclose(
        F.prelu(a, Array(weight)).numpy(), torch.nn.functional.prelu(t, torch.from_numpy(weight)), rtol=1e-6
    )
    F.leaky_relu(a, 0.5, True)
    F.relu(a, inplace=True)
    np.testing.assert_allclose(a.numpy(), np.maximum(x, 0))


def test_softplus_far_out_is_the_identity() -> None:
    x = np.array([-200, -30, 0, 19, 21, 200], np.float32)
    for name in ("softplus", "logsigmoid", "mish"):
        graph = trtnet.record(lambda x, n=name: getattr(F, n)(x), x=Input((6,)))
        expected = getattr(torch.nn.functional, name)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(trtnet.reference(graph)(x=x), expected, rtol=1e-6)
        np.testing.assert_allclose(getattr(F, name)(Array(x)).numpy(), expected, rtol=1e-6)


def refused(kind: type[Exception], match: str, function, **inputs: Input) -> str:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **(inputs or {"x": Input((2, 3))}))
    return str(caught.value)


def test_refusals() -> None:
    text = refused(ShapeError, "weight of prelu does not fit", nn.PReLU(4), input=Input((2, 3)))
    assert "(1,) or (3,)" in text
    assert "module:" in text
    refused(ShapeError, "glu halves a dimension", lambda x: F.glu(x, 1))
    refused(UnsupportedError, "random slopes", lambda x: F.rrelu(x, training=True))
    refused(ArgumentError, "no such approximation", lambda x: F.gelu(x, approximate="quick"))
    refused(ArgumentError, "lambd must not be negative", lambda x: F.softshrink(x, -1))
    refused(DtypeError, "GELU_ERF does not take int32", nn.GELU(), input=Input((2,), "int32"))
    refused(DtypeError, "one dtype", nn.PReLU(), input=Input((2, 3), "float16"))
    with pytest.raises(ArgumentError, match="max_val must be above min_val"):
        nn.Hardtanh(1.0, -1.0)


@pytest.mark.parametrize("low", [-math.inf, -1.0, math.inf])
@pytest.mark.parametrize("high", [math.inf, 2.0])
@pytest.mark.parametrize("batch", [3, Dim("batch", min=1, opt=3, max=8)])
def test_infinite_bounds(low, high, batch) -> None:
    if low > high:
        return
    x = np.array([[-5, -1, 0.5], [2, 7, math.inf], [-math.inf, -0.0, 1]], np.float32)

    def both(m, f, x):
        return f.hardtanh(x, low, high), m.clamp(x, low, high), f.threshold(x, low, 0.0)

    check_against_torch(
        lambda x: both(trtnet, F, x), lambda x: both(torch, torch.nn.functional, x), {"x": x}, shapes={"x": (batch, 3)}
    )
    given = {"x": Input((batch, 3))}
    with pytest.raises(ArgumentError, match="takes finite parameters") as caught:
        trtnet.record(lambda x: F.elu(x, math.inf), **given)
    assert "clamp" in caught.value.remedy
