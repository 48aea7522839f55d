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
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from trtnet.nn import Parameter
from trtnet.tensor import Array

BATCH = Dim("batch", min=1, opt=2, max=5)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, 1.5, -2.5], np.float32)

UNARY = {
    "abs": (-3, 3), "acos": (-0.9, 0.9), "acosh": (1.1, 4), "asin": (-0.9, 0.9), "asinh": (-3, 3), "atan": (-3, 3),
    "atanh": (-0.9, 0.9), "ceil": (-3, 3), "cos": (-3, 3), "cosh": (-3, 3), "deg2rad": (-90, 90), "erf": (-2, 2),
    "erfc": (-2, 2), "exp": (-3, 3), "exp2": (-3, 3), "expm1": (-3, 3), "floor": (-3, 3), "frac": (-3, 3),
    "log": (0.1, 5), "log10": (0.1, 5), "log1p": (-0.8, 4), "log2": (0.1, 5), "logit": (0.1, 0.9), "neg": (-3, 3),
    "positive": (-3, 3), "rad2deg": (-3, 3), "reciprocal": (0.2, 3), "round": (-3, 3), "rsqrt": (0.1, 5),
    "sigmoid": (-3, 3), "sign": (-3, 3), "sin": (-3, 3), "sinh": (-3, 3), "sqrt": (0.1, 5), "square": (-3, 3),
    "tan": (-1, 1), "tanh": (-3, 3), "trunc": (-3, 3),
    "isnan": (-3, 3), "isinf": (-3, 3), "isfinite": (-3, 3), "isposinf": (-3, 3), "isneginf": (-3, 3),
    "logical_not": (-3, 3), "nan_to_num": (-3, 3),
}  # fmt: skip
INTEGERS_TOO = ("abs", "ceil", "floor", "neg", "positive", "reciprocal", "round", "sign", "square", "trunc", "logical_not", "isnan", "isinf", "isfinite")
BINARY = (
    "add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "maximum", "minimum", "pow", "atan2", "hypot",
    "logaddexp", "xlogy", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "rsub",
)  # fmt: skip
FLOAT_ONLY = ("atan2", "hypot", "logaddexp", "xlogy")


def numbers(dtype: str, shape: tuple[int, ...], seed: int, low: float = -3, high: float = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if "float" not in dtype:
        found = generator.integers(-6, 7, shape)
        return np.where(found == 0, 4, found).astype(dtype)
    return generator.uniform(low, high, shape).astype(np.float32).astype(dtypes.get(dtype).numpy)


def same(found: Array, expected: torch.Tensor) -> None:
    assert isinstance(found, Array)
    assert found.dtype.torch is expected.dtype, f"{found.dtype}, torch {expected.dtype}"
    assert tuple(found.shape) == tuple(expected.shape)
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(found.dtype.name, 2e-6)
    mine, torchs = found.numpy().astype(np.float64), expected.double().numpy()
    np.testing.assert_allclose(mine, torchs, rtol=tolerance, atol=tolerance)


# --- recorded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNARY)
def test_unary_recorded(name: str) -> None:
    low, high = UNARY[name]
    mine, torchs = getattr(F, name), getattr(torch, name)
    x = numbers("float32", (2, 3), 3, low, high)
    check_against_torch(lambda x: mine(x).clone(), torchs, {"x": x}, shapes={"x": (BATCH, 3)}, compile=False)
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
        compile=False, rtol=1e-9 if dtype == "float32" else 2e-7,
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
        "clamp": x.clamp(-1, 1), "clamp_min": x.clamp_min(0), "clamp_int": i.clamp(0, 3), "clamp_tensor": x.clamp(y, y + 1),
        "lerp": x.lerp(y, 0.25), "addcmul": x.addcmul(y, y, value=2), "addcdiv": x.addcdiv(y, y, value=0.5),
        "isclose": F.isclose(x, y, equal_nan=True), "trunc": x.div(y, rounding_mode="trunc"),
        "bits": (mask & ~mask) | (mask ^ mask), "bool_order": mask < ~mask, "bool_sum": mask + mask, "bool_mul": mask * mask,
        "powers": x**2 + x**3 + x**4 + x**1 + positive**0.5 + positive**-0.5 + x**-1 + x**-2 + 2.0**x,
        "int_powers": i**2 + i**3 + i.abs() ** 5, "not_int": ~i, "halved": i / 2, "half_of": 1 / i,
    }  # fmt: skip
    return {f"{name}_": value for name, value in made.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_everything_compiles(dtype: str) -> None:
    inputs = {
        "x": Input((BATCH, 3), dtype), "y": Input((3,), dtype), "i": Input((BATCH, 3), "int32"), "mask": Input((BATCH, 1), "bool"),
    }  # fmt: skip
    graph = trtnet.record(lambda x, y, i, mask: everything(F, x, y, i, mask), **inputs)
    lower_and_compare(graph)
    x, y = numbers("float32", (2, 3), 1), numbers("float32", (3,), 2)
    given_ = {"x": x, "y": y, "i": numbers("int32", (2, 3), 3), "mask": numbers("bool", (2, 1), 4)}
    if dtype == "float32":
        check_against_torch(
            lambda x, y, i, mask: everything(F, x, y, i, mask), lambda *tensors: everything(torch, *tensors), given_,
            shapes={name: spec.shape for name, spec in inputs.items()}, compile=False, rtol=2e-7,
        )  # fmt: skip
