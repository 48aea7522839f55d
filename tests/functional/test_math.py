"""Pointwise functions: recorded ones against torch in float64, concrete ones against torch's values and dtypes."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare, record
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet import functional as F
from trtnet.basics.arrays import from_numpy
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from trtnet.graph.tensor import Array
from trtnet.nn import Parameter

BATCH = Dim("batch", min=1, opt=2, max=5)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, 1.5, -2.5], np.float32)

UNARY = {
    "abs": (-3, 3), "acos": (-0.9, 0.9), "acosh": (1.1, 4), "asin": (-0.9, 0.9), "asinh": (-3, 3), "atan": (-3, 3),
    "atanh": (-0.9, 0.9), "ceil": (-3, 3), "cos": (-3, 3), "cosh": (-3, 3), "deg2rad": (-90, 90), "erf": (-2, 2),
    "erfc": (-2, 2), "exp": (-3, 3), "exp2": (-3, 3), "expm1": (-3, 3), "floor": (-3, 3), "frac": (-3, 3),
    "log": (0.1, 5), "log10": (0.1, 5), "log1p": (-0.8, 4), "log2": (0.1, 5), "logit": (0.1, 0.9), "neg": (-3, 3),
    "positive": (-3, 3), "rad2deg": (-3, 3), "reciprocal": (0.2, 3), "round": (-3, 3), "rsqrt": (0.1, 5),
    "sigmoid": (-3, 3), "sinc": (-1, 1), "sign": (-3, 3), "sin": (-3, 3), "sinh": (-3, 3),
    "sqrt": (0.1, 5), "square": (-3, 3),
    "tan": (-1, 1), "tanh": (-3, 3), "trunc": (-3, 3),
    "isnan": (-3, 3), "isinf": (-3, 3), "isfinite": (-3, 3), "isposinf": (-3, 3), "isneginf": (-3, 3),
    "logical_not": (-3, 3), "nan_to_num": (-3, 3),
}  # fmt: skip
INTEGERS_TOO = (
    "abs",
    "ceil",
    "floor",
    "neg",
    "positive",
    "reciprocal",
    "round",
    "sign",
    "square",
    "trunc",
    "logical_not",
    "isnan",
    "isinf",
    "isfinite",
)
BINARY = (
    "add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "maximum", "minimum", "pow", "atan2", "hypot",
    "logaddexp", "xlogy", "fmax", "fmin", "heaviside", "eq", "ne", "lt", "le", "gt", "ge",
    "logical_and", "logical_or", "logical_xor", "rsub",
)  # fmt: skip
ROUNDED = ("atan2", "erfc", "sinc", "deg2rad", "log10", "log2", "rad2deg")  # they hold float32 constants
FLOAT_ONLY = ("atan2", "hypot", "logaddexp", "xlogy")


def numbers(dtype: str, shape: tuple[int, ...], seed: int, low: float = -3, high: float = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if "float" not in dtype:
        found = generator.integers(-6, 7, shape)
        return np.where(found == 0, 4, found).astype(dtype)
    return generator.uniform(low, high, shape).astype(np.float32).astype(dtypes.get(dtype).numpy)


def _torch(value):
    return from_numpy(np.ascontiguousarray(value).reshape(value.shape)) if isinstance(value, np.ndarray) else value


def same(found: Array, expected: torch.Tensor) -> None:
    assert isinstance(found, Array)
    assert found.dtype.torch is expected.dtype, f"{found.dtype}, torch {expected.dtype}"
    assert tuple(found.shape) == tuple(expected.shape)
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(found.dtype.name, 2e-6)
    mine, torchs = found.numpy().astype(np.float64), expected.double().numpy()
    np.testing.assert_allclose(mine, torchs, rtol=tolerance, atol=tolerance)


# --- recorded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "ge"])
def test_comparisons_of_bools(name: str) -> None:
    mask = np.array([[True, False, True], [False, True, True]])
    check_against_torch(lambda m: getattr(m, name)(m.flip(1)), lambda m: getattr(m, name)(m.flip(1)), {"m": mask})

    class Masks(trtnet.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("a", trtnet.tensor(mask))
            self.register_buffer("b", trtnet.tensor(~mask[:1]))

        def forward(self, x):
            return trtnet.where(getattr(self.a, name)(self.b), x, 0.0), getattr(self.a, name)(True)

    graph = trtnet.record(Masks(), x=trtnet.Input((2, 3)))
    used, alone = trtnet.reference(graph)(np.ones((2, 3), np.float32))
    a, b = torch.from_numpy(mask), torch.from_numpy(~mask[:1])
    assert used.tolist() == getattr(a, name)(b).float().tolist()
    assert alone.tolist() == getattr(a, name)(True).tolist()
    lower_and_compare(graph)  # TensorRT-RTX compiles comparisons of constants, too


@pytest.mark.parametrize("name", UNARY)
def test_unary_recorded(name: str) -> None:
    low, high = UNARY[name]
    mine, torchs = getattr(F, name), getattr(torch, name)
    x = numbers("float32", (2, 3), 3, low, high)
    rtol = 3e-7 if name in ROUNDED else 1e-9
    shapes = {"x": (BATCH, 3)}
    check_against_torch(lambda x: mine(x).clone(), torchs, {"x": x}, shapes=shapes, compile=False, rtol=rtol)
    assert getattr(trtnet.Tensor, name) is mine
    if name in INTEGERS_TOO:
        for dtype in ("int32", "int64"):
            ints = {"x": numbers(dtype, (2, 3), 4)}
            check_against_torch(lambda x: mine(x).clone(), torchs, ints, compile=False, rtol=2e-7)


@pytest.mark.parametrize("name", BINARY)
@given(data=st.data())
def test_binary_recorded(name: str, data: st.DataObject) -> None:
    full = data.draw(st.lists(st.integers(1, 3), max_size=4))
    ones = st.lists(st.booleans(), min_size=len(full), max_size=len(full))
    shapes = [tuple(1 if one else size for size, one in zip(full, data.draw(ones))) for _ in range(2)]
    shapes[1] = shapes[1][data.draw(st.integers(0, len(full))) :]  # a lower rank
    dtype = "float32" if name in FLOAT_ONLY else data.draw(st.sampled_from(("float32", "int32", "int64")))
    seed = data.draw(st.integers(0, 99))
    low = 0.1 if name in ("pow", "xlogy") else -3
    a, b = (numbers(dtype, shape, seed + i, low) for i, shape in enumerate(shapes))
    if name == "pow" and dtype != "float32":
        b = np.abs(b)
    check_against_torch(
        lambda a, b: getattr(F, name)(a, b), lambda a, b: getattr(torch, name)(a, b), {"a": a, "b": b},
        compile=False, rtol=1e-9 if dtype == "float32" and name not in ROUNDED else 3e-7,
    )  # fmt: skip


def everything(F, x, y, i, mask):
    """One of every function, for one compilation."""
    positive, unit = x.abs() + 1.5, x.sigmoid()
    made = {name: getattr(F, name)(positive if low >= 0.1 else unit * 0.5) for name, (low, _) in UNARY.items()}
    made |= {f"int_{name}": getattr(F, name)(i).clone() for name in INTEGERS_TOO}
    made |= {f"binary_{name}": getattr(F, name)(positive, y) for name in BINARY}
    made |= {f"binary_int_{name}": getattr(F, name)(i, i) for name in BINARY if name not in FLOAT_ONLY}
    made |= {
        "where": F.where(mask, x, y), "where_number": F.where(mask, 1.0, x), "masked_fill": x.masked_fill(mask, -1e9),
        "clamp": x.clamp(-1, 1), "clamp_min": x.clamp_min(0), "clamp_int": i.clamp(0, 3),
        "clamp_tensor": x.clamp(y, y + 1),
        "lerp": x.lerp(y, 0.25), "addcmul": x.addcmul(y, y, value=2), "addcdiv": x.addcdiv(y, y, value=0.5),
        "isclose": F.isclose(x, y, equal_nan=True), "trunc": x.div(y, rounding_mode="trunc"),
        "bits": (mask & ~mask) | (mask ^ mask), "bool_order": mask < ~mask, "bool_sum": mask + mask,
        "bool_mul": mask * mask,
        "powers": x**2 + x**3 + x**4 + x**1 + positive**0.5 + positive**-0.5 + x**-1 + x**-2 + 2.0**x,
        "int_powers": i**2 + i**3 + i.abs() ** 5, "not_int": ~i, "halved": i / 2, "half_of": 1 / i,
    }  # fmt: skip
    return {f"{name}_": value for name, value in made.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_everything_compiles(dtype: str) -> None:
    inputs = {
        "x": Input((BATCH, 3), dtype), "y": Input((3,), dtype), "i": Input((BATCH, 3), "int32"),
        "mask": Input((BATCH, 1), "bool"),
    }  # fmt: skip
    graph = trtnet.record(lambda x, y, i, mask: everything(F, x, y, i, mask), **inputs)
    lower_and_compare(graph)
    x, y = numbers("float32", (2, 3), 1), numbers("float32", (3,), 2)
    given_ = {"x": x, "y": y, "i": numbers("int32", (2, 3), 3), "mask": numbers("bool", (2, 1), 4)}
    if dtype == "float32":
        check_against_torch(
            lambda x, y, i, mask: everything(F, x, y, i, mask), lambda *tensors: everything(torch, *tensors), given_,
            compile=False, rtol=3e-7, atol=1e-7,
        )  # fmt: skip


# --- NaN and infinity -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_with_nan(name: str) -> None:
    a, b = (grid.reshape(-1).astype(np.float32) for grid in np.meshgrid(SPECIAL, SPECIAL))
    graph = record(lambda a, b: getattr(F, name)(a, b), {"a": a, "b": b})
    expected = getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(trtnet.reference(graph)(a=a, b=b), expected)
    np.testing.assert_array_equal(getattr(F, name)(Array(a), Array(b)).numpy(), expected)


@pytest.mark.parametrize(
    "name", ["isnan", "isinf", "isfinite", "isposinf", "isneginf", "trunc", "frac", "nan_to_num", "sign"]
)
def test_functions_of_nan_and_infinity(name: str) -> None:
    graph = record(lambda x: getattr(F, name)(x), {"x": SPECIAL})
    expected = getattr(torch, name)(torch.from_numpy(SPECIAL)).numpy()
    np.testing.assert_array_equal(trtnet.reference(graph)(x=SPECIAL), expected)
    np.testing.assert_array_equal(getattr(F, name)(Array(SPECIAL)).numpy(), expected)


def test_nan_to_num_with_values() -> None:
    expected = torch.nan_to_num(torch.from_numpy(SPECIAL), 1.0, 2.0, 3.0).numpy()
    graph = record(lambda x: F.nan_to_num(x, 1.0, 2.0, 3.0), {"x": SPECIAL})
    np.testing.assert_array_equal(trtnet.reference(graph)(x=SPECIAL), expected)
    np.testing.assert_array_equal(F.nan_to_num(Array(SPECIAL), 1.0, 2.0, 3.0).numpy(), expected)


def test_isclose() -> None:
    a, b = (grid.reshape(-1).astype(np.float32) for grid in np.meshgrid([*SPECIAL, 1.5001], [*SPECIAL, 1.5001]))
    for equal_nan in (False, True):
        expected = torch.isclose(torch.from_numpy(a), torch.from_numpy(b), 1e-3, 1e-5, equal_nan).numpy()
        graph = record(lambda a, b: F.isclose(a, b, 1e-3, 1e-5, equal_nan), {"a": a, "b": b})  # noqa: B023
        np.testing.assert_array_equal(trtnet.reference(graph)(a=a, b=b), expected)
        np.testing.assert_array_equal(F.isclose(Array(a), Array(b), 1e-3, 1e-5, equal_nan).numpy(), expected)
    assert F.allclose(Array(a), Array(a), equal_nan=True) is True
    assert F.equal(Array(b[:3]), Array(b[:2])) is False


def test_isclose_of_bools_and_whole_numbers() -> None:
    for a in (np.array([True, False, True]), np.array([3, 0, -1])):
        b = np.ones_like(a)
        expected = torch.isclose(torch.from_numpy(a), torch.from_numpy(b)).numpy()
        graph = record(lambda a, b: F.isclose(a, b), {"a": a, "b": b})
        np.testing.assert_array_equal(trtnet.reference(graph)(a=a, b=b), expected)
        np.testing.assert_array_equal(F.isclose(Array(a), Array(b)).numpy(), expected)


def test_logical_functions_of_numbers() -> None:
    x, y = np.array([0, 0, 2, -1.5], np.float32), np.array([0, 3, 0, 1], np.float32)
    for name in ("logical_and", "logical_or", "logical_xor"):
        check_against_torch(
            lambda x, y, n=name: getattr(F, n)(x, y), getattr(torch, name), {"x": x, "y": y}, compile=False
        )


# --- clamp ------------------------------------------------------------------------------------------------------------


@given(
    low=st.one_of(st.none(), st.floats(-2, 2, width=16)), high=st.one_of(st.none(), st.floats(-2, 2, width=16)),
    dtype=st.sampled_from(("float32", "int32")),
)  # fmt: skip
def test_clamp_equals_torch(low: float | None, high: float | None, dtype: str) -> None:
    if low is None and high is None:
        low = 0.0
    if dtype == "int32":
        low, high = (None if v is None else int(v) for v in (low, high))
    x = numbers(dtype, (2, 3), 1)
    check_against_torch(lambda x: x.clamp(low, high), lambda x: x.clamp(low, high), {"x": x}, compile=False)
    same(Array(x).clamp(low, high), torch.from_numpy(x).clamp(low, high))


def test_clamp_of_two_numbers_is_one_layer() -> None:
    graph = trtnet.record(lambda x: x.clamp(min=-1, max=2), x=Input((2,)))
    assert [layer.kind for layer in graph.layers] == ["activation"]
    with pytest.raises(UnsupportedError, match="clamp needs a bound"):
        trtnet.record(lambda x: x.clamp(), x=Input((2,)))


# --- powers, division, casts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "layers"),
    [
        (2, ["PROD"]),
        (3, ["PROD", "PROD"]),
        (4, ["PROD", "PROD"]),
        (0.5, ["SQRT"]),
        (-1, ["RECIP"]),
        (-0.5, ["SQRT", "RECIP"]),
    ],
)
def test_powers_become_products(power: float, layers: list[str]) -> None:
    graph = trtnet.record(lambda x: x**power, x=Input((2,)))
    assert [layer.op for layer in graph.layers] == layers


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool"])
def test_true_division_of_integers_is_float32(dtype: str) -> None:
    a, b = numbers(dtype, (2, 3), 1), np.ones((3,), dtype)
    graph = record(lambda a, b: a / b, {"a": a, "b": b})
    assert graph.outputs["output"].dtype is trtnet.float32
    assert [layer.kind for layer in graph.layers].count("cast") == 2
    expected = (torch.from_numpy(a) / torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(trtnet.reference(graph)(a=a, b=b), expected)
    same(Array(a) / Array(b), torch.from_numpy(a) / torch.from_numpy(b))


@given(a=st.integers(-7, 7), b=st.integers(-4, 4).filter(bool), dtype=st.sampled_from(("int32", "int64", "float32")))
def test_signs_of_quotients_and_remainders(a: int, b: int, dtype: str) -> None:
    x, y = np.array([a], dtype), np.array([b], dtype)
    for function in (operator.floordiv, operator.mod, F.fmod, lambda p, q: F.div(p, q, rounding_mode="trunc")):
        graph = record(lambda x, y, f=function: f(x, y), {"x": x, "y": y})
        torchs = {F.fmod: torch.fmod}.get(function, function)
        if torchs not in (operator.floordiv, operator.mod, torch.fmod):
            torchs = lambda p, q: torch.div(p, q, rounding_mode="trunc")  # noqa: E731
        expected = torchs(torch.from_numpy(x), torch.from_numpy(y)).numpy()
        np.testing.assert_array_equal(trtnet.reference(graph)(x=x, y=y), expected)
        np.testing.assert_array_equal(function(Array(x), Array(y)).numpy(), expected)


@pytest.mark.parametrize("symbol", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
def test_operators_both_ways(symbol: str) -> None:
    function = getattr(operator, symbol)
    x = np.array([0.5, 1.5, 2.5], np.float32)
    table = np.array([1.0, 2.0, 3.0], np.float32)
    forms = [
        lambda x, t: function(x, 2.0),
        lambda x, t: function(2.0, x),
        lambda x, t: function(x, t),
        lambda x, t: function(t, x),
    ]
    for form in forms:
        expected = form(torch.from_numpy(x), torch.from_numpy(table)).numpy()
        for constant in (table, Array(table)):  # a NumPy array on either side is a constant
            graph = record(lambda x, f=form, t=constant: f(x, t), {"x": x})
            np.testing.assert_allclose(trtnet.reference(graph)(x=x), expected, rtol=1e-6)
        np.testing.assert_allclose(form(Array(x), Array(table)).numpy(), expected, rtol=1e-6)


def test_parameters_act_as_tensors_in_forward_and_as_arrays_outside() -> None:
    class Scaled(trtnet.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = Parameter(np.array([2.0, 3.0], np.float32))

        def forward(self, x):
            return 1 - self.scale * x + self.scale

    module = Scaled()
    graph = trtnet.record(module, x=Input((2,)))
    assert len({id(weight) for _, _, weight in graph.weights()}) == 2  # the parameter and the number 1
    np.testing.assert_array_equal(trtnet.reference(graph)(x=np.ones(2, np.float32)), [1, 1])
    same(module.scale * 2, torch.tensor([4.0, 6.0]))


def test_equality_with_other_things() -> None:
    array = Array(np.ones(2, np.float32))
    assert (array == None) is False  # noqa: E711
    assert (array != "x") is True
    assert len({array, array}) == 1
    assert array in {array: 1}

    def forward(x):
        assert (x == None) is False  # noqa: E711
        assert x in {x: 1}
        return x == x

    graph = trtnet.record(forward, x=Input((2,)))
    assert [layer.op for layer in graph.layers] == ["EQUAL"]


# --- concrete arrays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "bool"])
def test_unary_concrete(name: str, dtype: str) -> None:
    low, high = UNARY[name]
    x = numbers(dtype, (2, 3), 5, low, high)
    if dtype in ("int32", "bool") and (low > 1 or high <= 0.9):
        x = np.ones_like(x) if low > 1 else np.zeros_like(x)
    try:
        expected = getattr(torch, name)(_torch(x))
    except RuntimeError:  # torch has not the type either
        return
    same(getattr(F, name)(Array(x)), expected)


@pytest.mark.parametrize("name", [*BINARY, "isclose"])
@given(data=st.data())
def test_binary_concrete(name: str, data: st.DataObject) -> None:
    kinds = st.sampled_from(("float32", "float16", "bfloat16", "int32", "int64", "uint8", "bool"))
    a, b = (
        numbers(data.draw(kinds), (2, 3), 1, 0.2),
        numbers(data.draw(kinds), data.draw(st.sampled_from(((3,), ()))), 2, 0.2),
    )
    if data.draw(st.booleans()):
        b = data.draw(st.sampled_from((2, 1.5, True)))
    if name == "pow":
        a, b = (v * 1 if isinstance(v, bool) or str(getattr(v, "dtype", "")) == "bool" else v for v in (a, b))
        b = abs(b)  # NumPy refuses negative powers of integers; torch has its own types for powers of bools
    try:
        expected = getattr(torch, name)(_torch(a), _torch(b))
    except (RuntimeError, TypeError):
        return
    if name in ("rsub", "pow", "remainder", "fmod", "floor_divide", "sub") and "uint8" in (
        str(a.dtype),
        str(getattr(b, "dtype", "")),
    ):
        return  # NumPy's and torch's unsigned arithmetic differ
    mine = getattr(F, name)(Array(a), Array(b) if isinstance(b, np.ndarray) else b)
    assert mine.dtype.torch is expected.dtype
    found, wanted = mine.numpy().astype(np.float64), expected.double().numpy()
    tolerance = {"float16": 5e-3, "bfloat16": 5e-2}.get(mine.dtype.name, 1e-5)
    if name in ("remainder", "fmod", "floor_divide") and mine.dtype.name in ("float16", "bfloat16"):
        return  # one rounding decides whether a quotient is whole
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_concrete_where_masked_fill_lerp() -> None:
    x, y, mask = numbers("float32", (2, 3), 1), numbers("float32", (3,), 2), numbers("bool", (2, 1), 3)
    t, u, m = (torch.from_numpy(v) for v in (x, y, mask))
    a, b, c = (Array(v) for v in (x, y, mask))
    same(F.where(c, a, b), torch.where(m, t, u))
    same(F.where(c, 1, b), torch.where(m, 1, u))
    same(a.where(c, b), t.where(m, u))
    same(a.masked_fill(c, -math.inf), t.masked_fill(m, -math.inf))
    same(F.lerp(a, b, 0.7), torch.lerp(t, u, 0.7))
    same(F.addcmul(a, b, b, value=2), torch.addcmul(t, u, u, value=2))
    same(F.addcdiv(a, b, b, value=2), torch.addcdiv(t, u, u, value=2))
    same(a.add(b, alpha=3), t.add(u, alpha=3))
    same(F.erfinv(Array(np.array([-0.9, 0, 1e-3, 1], np.float32))), torch.erfinv(torch.tensor([-0.9, 0, 1e-3, 1])))
    same(F.round(a, decimals=1), torch.round(t, decimals=1))
    same(+(-a), -t)
    same(abs(a), abs(t))
    same(~c, ~m)
    same(c & True, m & True)


@pytest.mark.parametrize("decimals", [1, 2, 3, -1, -2, 4])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_decimals_are_rounded_in_float32_as_torch_does(dtype, decimals) -> None:
    x = np.concatenate([np.arange(-400, 401) / 200, numbers("float32", (500,), 5) * 30, SPECIAL]).astype(np.float32)
    wanted = torch.from_numpy(x).to(getattr(torch, dtype)).round(decimals=decimals).float().numpy()

    def call(v):
        return F.round(v.to(getattr(trtnet, dtype)), decimals=decimals).float()

    np.testing.assert_array_equal(call(trtnet.tensor(x)).numpy(), wanted)
    graph = trtnet.record(call, v=Input(x.shape))
    np.testing.assert_array_equal(trtnet.reference(graph)(x), wanted)
    lower_and_compare(graph)


# --- errors -----------------------------------------------------------------------------------------------------------


def refused(kind: type[Exception], match: str, function, **inputs: Input) -> str:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **inputs)
    return str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: F.sub(m, m), lambda m: -m, lambda m: m.frac(), lambda m: m.softmax(0),
        lambda m: F.softmin(m, 0), lambda m: F.dist(m, m),
    ],
)  # fmt: skip
def test_concrete_bools_are_refused_where_torch_refuses_them(call) -> None:
    mask = trtnet.tensor([True, False])
    with pytest.raises(DtypeError, match="arithmetic with a bool tensor") as caught:
        call(mask)
    assert "convert" in str(caught.value)
    call(mask.float())


def test_frac_of_whole_numbers_is_whole() -> None:
    found = F.frac(trtnet.tensor([1, -2]))
    assert found.dtype == trtnet.record(lambda x: F.frac(x), x=Input((2,), trtnet.int64)).outputs["output"].dtype
    assert found.tolist() == [0, 0]


def test_lerp_of_concrete_bools_by_a_recorded_weight() -> None:
    mask = trtnet.tensor([True, False])
    with pytest.raises(DtypeError, match="sub: arithmetic with a bool tensor") as caught:
        trtnet.record(lambda w: F.lerp(mask, ~mask, w), w=Input((2,)))
    assert "F.lerp(mask, ~mask, w)" in str(caught.value)
    check_against_torch(
        lambda w: F.lerp(mask.float(), (~mask).float(), w),
        lambda w: torch.lerp(torch.tensor([1.0, 0.0]).to(w.dtype), torch.tensor([0.0, 1.0]).to(w.dtype), w),
        {"w": numbers("float32", (2,), 3)},
    )


def test_mixed_dtypes_name_both_sides_and_the_line() -> None:
    text = refused(DtypeError, "different dtypes", lambda a, b: a + b, a=Input((2, 3)), b=Input((3,), "float16"))
    assert "lambda a, b: a + b" in text
    assert "float32 (2, 3) and float16 (3,)" in text
    assert ".to(trtnet.float32)" in text
    refused(DtypeError, "no int16", lambda a, b: a / b, a=Input((2,), "int8"), b=Input((2,), "uint8"))
    refused(DtypeError, "different dtypes", lambda a, b: F.where(a == b, a, b.half()), a=Input((2,)), b=Input((2,)))


def test_a_float_written_into_integers() -> None:
    def add(i):
        i = i.clone()
        i += 0.5
        return i

    text = refused(DtypeError, "in place cannot change the dtype", add, i=Input((2,), "int64"))
    assert "i += 0.5" in text
    refused(DtypeError, "does not fit", lambda i: i + 300, i=Input((2,), "int8"))
    refused(DtypeError, "alpha is a float number", lambda i: i.add(i, alpha=0.5), i=Input((2,), "int64"))
    refused(ArgumentError, "an integer to a negative power", lambda i: i**-1, i=Input((2,), "int64"))
    refused(DtypeError, "does not fit", lambda i: i.masked_fill(i > 0, -float("inf")), i=Input((2,), "int64"))


def test_arithmetic_with_masks() -> None:
    text = refused(DtypeError, "arithmetic with a bool tensor", lambda m: 1 - m, m=Input((2,), "bool"))
    assert "~mask" in text
    refused(DtypeError, "arithmetic with a bool tensor", lambda m: m // m, m=Input((2,), "bool"))


def test_sizes_that_do_not_broadcast() -> None:
    text = refused(ShapeError, "sizes differ in dimension 1", lambda a, b: a * b, a=Input((2, 3)), b=Input((4,)))
    assert "lambda a, b: a * b" in text
    assert "(2, 3) and (1, 4)" in text
    batch = Dim("batch", min=1, max=8)
    refused(ShapeError, "sizes differ in dimension 0", lambda a, b: a * b, a=Input((batch, 3)), b=Input((2, 3)))


def test_what_tensorrt_cannot_do() -> None:
    for name in ("lgamma", "digamma", "erfinv"):
        assert "before the network" in refused(
            UnsupportedError, "TensorRT has no", lambda x, n=name: getattr(F, n)(x), x=Input((2,))
        )
    refused(UnsupportedError, "Python bool", lambda x: F.allclose(x, x), x=Input((2,)))
    refused(ArgumentError, "rounding mode", lambda x: x.div(x, rounding_mode="up"), x=Input((2,)))
    refused(TypeError, "add takes tensors and numbers", lambda x: x + "one", x=Input((2,)))
