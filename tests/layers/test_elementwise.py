"""Unary, ElementWise and Select: every operation against torch, and compiled by TensorRT-RTX."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from harness import check_against_torch, compile_network, lower_and_compare, needs_rtx, record
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.graph.recorder import emit
from trtnet.layers.elementwise import BINARY, COMPARISONS, LOGICAL, UNARY, ElementWise, Select, Unary

FLOATS = ("float32", "float16", "bfloat16")
INTEGERS = ("int8", "int32", "int64")
BATCH = Dim("batch", min=1, opt=2, max=5)
RANGES = {
    "ACOSH": (1.1, 4),
    "ASIN": (-0.9, 0.9),
    "ACOS": (-0.9, 0.9),
    "ATANH": (-0.9, 0.9),
    "LOG": (0.1, 4),
    "SQRT": (0.1, 4),
}
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, 1.5, -2.5], np.float32)


def unary(op: str):
    return lambda x: emit(Unary((x,), op))


def elementwise(op: str):
    return lambda a, b: emit(ElementWise((a, b), op))


def values(dtype: str, shape: tuple[int, ...], seed: int, low: float = -3, high: float = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    to = dtypes.get(dtype)
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if not to.is_floating_point:
        return generator.integers(-6, 7, shape).astype(to.numpy)
    return generator.uniform(low, high, shape).astype(np.float32).astype(to.numpy)


@pytest.mark.parametrize(("kind", "table"), [("UnaryOperation", UNARY), ("ElementWiseOperation", BINARY)])
def test_every_operation_of_tensorrt_is_there(kind: str, table: dict) -> None:
    assert set(getattr(needs_rtx().trt, kind).__members__) == set(table)


@pytest.mark.parametrize("op", [op for op in UNARY if op != "NOT"])
def test_unary_equals_torch(op: str) -> None:
    x = values("float32", (2, 3, 4), 1, *RANGES.get(op, (-3, 3)))
    expected = getattr(torch, UNARY[op])
    check_against_torch(unary(op), expected, {"x": x}, shapes={"x": (BATCH, 3, 4)}, compile=False)
    if op in ("ABS", "NEG", "SIGN"):
        check_against_torch(unary(op), expected, {"x": values("int32", (2, 3), 2)}, compile=False)


def test_not_equals_torch() -> None:
    check_against_torch(unary("NOT"), torch.logical_not, {"x": values("bool", (2, 3), 1)}, compile=False)


@pytest.mark.parametrize("op", ["ISNAN", "ISINF", "SIGN", "ABS", "FLOOR"])
def test_special_values(op: str) -> None:
    graph = record(unary(op), {"x": SPECIAL})
    expected = getattr(torch, UNARY[op])(torch.from_numpy(SPECIAL)).numpy()
    np.testing.assert_array_equal(trtnet.reference(graph)(x=SPECIAL), expected)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_every_unary_compiles(dtype: str) -> None:
    def every(x, mask):
        floating = dtypes.get(dtype).is_floating_point
        chosen = [op for op in UNARY if op != "NOT"] if floating else ["ABS", "NEG", "SIGN"]
        return {op: unary(op)(x) for op in chosen} | {"NOT": unary("NOT")(mask)}

    lower_and_compare(trtnet.record(every, x=Input((BATCH, 3), dtype), mask=Input((2, 3), "bool")))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
def test_every_elementwise_compiles(dtype: str) -> None:
    allowed = LOGICAL | {"EQUAL"} if dtype == "bool" else set(BINARY) - LOGICAL
    if dtype == "int8":
        allowed = allowed - {"POW"}

    def every(a, b):
        return {op: elementwise(op)(a, b) for op in BINARY if op in allowed}

    lower_and_compare(trtnet.record(every, a=Input((BATCH, 3), dtype), b=Input((1, 3), dtype)))


@pytest.mark.parametrize("op", BINARY)
@given(data=st.data())
def test_elementwise_equals_torch(op: str, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, 4))
    full = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    ones = st.lists(st.booleans(), min_size=rank, max_size=rank)
    shapes = [tuple(1 if one else size for size, one in zip(full, data.draw(ones))) for _ in range(2)]
    dtype = "bool" if op in LOGICAL else data.draw(st.sampled_from(("float32", "int32", "int64")))
    seed = data.draw(st.integers(0, 99))
    a, b = (values(dtype, shape, seed + i) for i, shape in enumerate(shapes))
    if op in ("DIV", "FLOOR_DIV"):
        b = np.where(b == 0, np.ones((), b.dtype), b)
    if op == "POW":
        a, b = (np.abs(a), b) if dtype == "float32" else (a, np.abs(b))

    def expected(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        names = {
            "SUM": torch.add, "PROD": torch.mul, "MAX": torch.maximum, "MIN": torch.minimum,
            "SUB": torch.sub, "POW": torch.pow,
            "AND": torch.logical_and, "OR": torch.logical_or, "XOR": torch.logical_xor,
            "EQUAL": torch.eq, "GREATER": torch.gt, "LESS": torch.lt, "FLOOR_DIV": torch.floor_divide,
        }  # fmt: skip
        if op == "DIV":
            return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")
        return names[op](x, y)

    graph = check_against_torch(elementwise(op), expected, {"a": a, "b": b}, compile=False)
    assert graph.outputs["output"].dtype is (dtypes.bool_ if op in COMPARISONS else dtypes.get(dtype))


def test_broadcast_over_a_dynamic_batch() -> None:
    inputs = {"a": values("float32", (2, 1, 4), 1), "b": values("float32", (1, 3, 4), 2)}
    graph = check_against_torch(elementwise("SUM"), torch.add, inputs, shapes={"a": (BATCH, 1, 4), "b": (1, 3, 4)})
    assert str(graph.outputs["output"].shape) == "(batch, 3, 4)"


@given(data=st.data())
def test_select_equals_torch(data: st.DataObject) -> None:
    full = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    shapes = [tuple(1 if data.draw(st.booleans()) else size for size in full) for _ in range(3)]
    dtype = data.draw(st.sampled_from(("float32", "int32", "int64", "bool")))
    inputs = {
        "condition": values("bool", shapes[0], 1), "a": values(dtype, shapes[1], 2), "b": values(dtype, shapes[2], 3),
    }  # fmt: skip
    check_against_torch(lambda condition, a, b: emit(Select((condition, a, b))), torch.where, inputs, compile=False)


def test_select_compiles_for_every_dtype() -> None:
    kinds = (*FLOATS, *INTEGERS, "bool")

    def every(condition, **named):
        return {f"out_{kind}": emit(Select((condition, named[kind], named[kind]))) for kind in kinds}

    inputs = {kind: Input((BATCH, 1), kind) for kind in kinds}
    lower_and_compare(trtnet.record(every, condition=Input((1, 3), "bool"), **inputs))


@pytest.mark.parametrize("op", ["ISNAN", "ISINF"])
def test_what_a_provider_lacks_is_composed(op: str) -> None:
    graph = record(unary(op), {"x": SPECIAL})
    provider = needs_rtx()
    older = _Without(provider, op)
    composed = graph.for_provider(older)
    assert all(layer.kind != "unary" or layer.op != op for layer in composed.layers)
    expected = trtnet.reference(graph)(x=SPECIAL)
    np.testing.assert_array_equal(trtnet.reference(composed)(x=SPECIAL), expected)
    assert trtnet.reference(graph)(x=SPECIAL).sum() == {"ISNAN": 1, "ISINF": 2}[op]
    network = trtnet.provider.load("tensorrt_rtx").create_network(provider.trt.Builder(provider.logger))
    compile_network(trtnet.tensorrt.build.lowering.lower(composed, network))


class _Without:
    """A provider without one member of an enum."""

    computes_constants = True

    def __init__(self, provider, member: str) -> None:
        self.provider, self.member = provider, member

    def has(self, kind: str, member: str) -> bool:
        return member != self.member and self.provider.has(kind, member)


def refused(kind: type[Exception], layer, match: str, **inputs: Input) -> str:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(lambda **tensors: emit(layer(*tensors.values())), **inputs)
    text = str(caught.value)
    assert "emit(layer(*tensors.values()))" in text  # the line above is the user's
    return text


def test_dtypes_that_tensorrt_refuses() -> None:
    text = refused(DtypeError, lambda x: Unary((x,), "EXP"), "EXP does not take int32", x=Input((2,), "int32"))
    assert "x.float()" in text
    refused(DtypeError, lambda x: Unary((x,), "NOT"), "NOT does not take float32", x=Input((2,)))
    refused(DtypeError, lambda x: Unary((x,), "ABS"), "ABS does not take bool", x=Input((2,), "bool"))
    ints = {"a": Input((2,), "int32"), "b": Input((2,), "int32")}
    refused(DtypeError, lambda a, b: ElementWise((a, b), "AND"), "AND does not take int32", **ints)
    bools = {"a": Input((2,), "bool"), "b": Input((2,), "bool")}
    refused(DtypeError, lambda a, b: ElementWise((a, b), "SUM"), "SUM does not take bool", **bools)
    bytes_ = {"a": Input((2,), "int8"), "b": Input((2,), "int8")}
    refused(DtypeError, lambda a, b: ElementWise((a, b), "POW"), "POW does not take int8", **bytes_)
    mixed = {"a": Input((2,)), "b": Input((2,), "float16")}
    text = refused(DtypeError, lambda a, b: ElementWise((a, b), "SUM"), "different dtypes", **mixed)
    assert ".to(trtnet.float16)" in text
    refused(DtypeError, lambda a, b: Select((a, b, b)), "condition of a select must be bool", **mixed)


def test_shapes_and_names_that_do_not_fit() -> None:
    ranks = {"a": Input((2, 3)), "b": Input((3,))}
    refused(ShapeError, lambda a, b: ElementWise((a, b), "SUM"), "one rank", **ranks)
    sizes = {"a": Input((2, 3)), "b": Input((2, 4))}
    text = refused(ShapeError, lambda a, b: ElementWise((a, b), "SUM"), "sizes differ in dimension 1", **sizes)
    assert "(2, 3) and (2, 4)" in text
    dynamic = {"a": Input((BATCH, 3)), "b": Input((4, 3))}
    refused(ShapeError, lambda a, b: ElementWise((a, b), "SUM"), "sizes differ in dimension 0", **dynamic)
    refused(ArgumentError, lambda a: Unary((a,), "CBRT"), "no such unary operation", a=Input((2,)))


@pytest.mark.parametrize("dtype", ["uint8", "bool"])
def test_equal_takes_what_arithmetic_does_not(dtype: str) -> None:
    a = np.array([0, 1, 1], dtype)
    graph = record(elementwise("EQUAL"), {"a": a, "b": a[::-1].copy()})
    np.testing.assert_array_equal(trtnet.reference(graph)(a=a, b=a[::-1].copy()), a == a[::-1])
    lower_and_compare(graph)


@pytest.mark.parametrize("rows", [3, Dim("rows", min=1, opt=3, max=5)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_equality_with_a_constant_infinity(monkeypatch, rows, dtype):
    """On TensorRT 8.6 it is asked otherwise; equality with other numbers and between tensors is not."""
    found = needs_rtx()
    monkeypatch.setattr(found, "finds_infinity_equal", False)
    x = np.array([[np.inf, -np.inf, np.nan], [0, 65504, -1], [np.inf, 1, 2]], dtype)

    def call(x):
        return x == math.inf, x == -math.inf, x != math.inf, trtnet.isneginf(x), x >= math.inf, x == 1.0, x == x[:1]

    graph = trtnet.record(call, x=Input((rows, 3), dtype))
    lowered = graph.for_provider(found)
    assert sum(layer.headline() == "unary ISINF" for layer in lowered.layers) == 5
    lower_and_compare(lowered)
    t = torch.from_numpy(x)
    wanted = (t == math.inf, t == -math.inf, t != math.inf, t.isneginf(), t >= math.inf, t == 1.0, t == t[:1])
    for mine, theirs in zip(trtnet.reference(lowered)(x), wanted, strict=True):
        assert np.array_equal(mine, theirs.numpy())


# --- what TensorRT 8.6 does not take, or gets wrong


@pytest.mark.parametrize("rows", [3, Dim("rows", min=1, opt=3, max=5)])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_whole_numbers_that_are_activated(monkeypatch, rows, dtype):
    found = needs_rtx()
    monkeypatch.setattr(found, "activates_integers", False)
    x = np.array([[-3, -2, -1, 0], [1, 2, 3, 46340], [-46340, 7, -1290, 1]], dtype)
    powers = np.array([[-3, 19, 31, 0], [1000, 30, -1, 2], [2, 11, 3, -2]], dtype)
    powers[0, 3] = 5  # 0 to a power below 0 is no number, and raises in torch

    def call(x, y):
        return x.relu(), -x, x.abs(), x**y, x**2, 2 ** y.clamp(0, 30)

    graph = trtnet.record(call, x=Input((rows, 4), dtype), y=Input((rows, 4), dtype))
    lowered = graph.for_provider(found)
    for layer in lowered.layers:
        assert layer.headline() not in ("unary ABS", "unary NEG", "activation RELU", "elementwise POW")
    lower_and_compare(lowered)
    wanted = call(torch.from_numpy(x), torch.from_numpy(powers))
    for mine, theirs in zip(trtnet.reference(lowered)(x, powers), wanted, strict=True):
        assert np.array_equal(mine, theirs.numpy())
        assert mine.dtype == theirs.numpy().dtype


@pytest.mark.parametrize("rows", [2, Dim("rows", min=1, opt=2, max=5)])
def test_a_select_of_equal_values_is_one_of_them(monkeypatch, rows):
    found = needs_rtx()
    monkeypatch.setattr(found, "selects_settled", False)
    x = np.array([[0, 1, -1], [2, 0, 0.5]], np.float32)

    def call(T, x):
        return (
            T.log(T.where(x == 0, 1.0, 1.0)) * x, T.where(x == 0, 3.0, 3.0) + x, T.xlogy(x, 1),
            T.where(x[:1] > 0, x, x), T.where(x == 0, T.ones(3), T.ones(3)),
            T.where(x == 0, 1.0, 2.0), T.where(x == 0, 0.0, -0.0),
            T.log(T.where(T.tensor(True), 2.0, x)), T.where(T.tensor([[False]]), 2.0, x),
            T.where(T.tensor([True, False, True]), 2.0, x), T.where(T.tensor(2.0) > 3, x, T.tensor([[3.0]])),
        )  # fmt: skip

    graph = trtnet.record(lambda x: call(trtnet, x), x=Input((rows, 3)))
    selects = [layer for layer in graph.for_provider(found).layers if isinstance(layer, Select)]
    assert len(selects) == 3, "those of two numbers, of two zeros, and of a condition that is both"
    lower_and_compare(graph.for_provider(found))
    for mine, theirs in zip(
        trtnet.reference(graph.for_provider(found))(x), call(torch, torch.from_numpy(x)), strict=True
    ):
        assert mine.tobytes() == theirs.numpy().tobytes()
