"""Pointwise functions against torch, in the recorded dtype, at values that show what a formula loses.

NaN, infinities, both zeros, small, large and ordinary values; of two arguments all pairs. The tolerance is relative
alone: what is small must have its digits.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet import functional as F
from trtnet.basics.arrays import from_numpy

VALUES = np.array(
    [np.nan, np.inf, -np.inf, 0, -0.0, 1e-30, -1e-30, 1e-7, -1e-7, 3e-5, -3e-5, 1e-3, 0.2499, -0.2499, 0.25, 0.3, -0.3,
     0.3499, 0.35, -0.35, 0.4999, 0.5, -0.5, 1, -1, 1.5, -1.5, 2.5, -2.5, 5.5, 7, 9, -9, 30, -30, 90, -90, 1e4, -1e4,
     1e10, -1e10, 3e38, -3e38],
    np.float32,
)  # fmt: skip
HALF = ("float16", "bfloat16")
DTYPES = ("float32", *HALF)
UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cosh", "deg2rad", "erf", "erfc", "exp", "exp2",
    "expm1", "floor", "frac", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "log", "log10", "log1p", "log2",
    "logical_not", "logit", "nan_to_num", "neg", "rad2deg", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign",
    "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
)  # fmt: skip
ACTIVATIONS = (
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu6",
    "selu", "silu", "softplus", "softshrink", "softsign", "tanhshrink",
)  # fmt: skip
BINARY = (
    "add", "atan2", "div", "eq", "floor_divide", "fmax", "fmin", "fmod", "ge", "gt", "heaviside", "hypot", "le",
    "logaddexp", "logical_and", "logical_or", "logical_xor", "lt", "maximum", "minimum", "mul", "ne", "pow",
    "remainder", "sub", "xlogy",
)  # fmt: skip
TOLERANCE = {"float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
COMPOSED = ("erfc", "expm1", "log1p", "sinc", "atan2", "hypot", "logaddexp", "xlogy", "remainder", "fmod")


def compare(ours, theirs, dtype, *arrays, usable=None):
    kind = dtypes.get(dtype).numpy
    with np.errstate(over="ignore"):
        given = [a.astype(np.float32).astype(kind) for a in arrays]
    wanted = theirs(*(from_numpy(a.copy()) for a in given))
    graph = trtnet.record(lambda x, y=None: ours(x) if y is None else ours(x, y),
                          **{name: Input(a.shape, dtype) for name, a in zip("xy", given)})  # fmt: skip
    found = trtnet.reference(graph)(*given)
    assert dtypes.get(found.dtype).torch is wanted.dtype
    wanted = wanted.double().numpy()
    found = found.astype(np.float64)
    smallest = 2e-38 if dtype != "float16" else 6.2e-5  # subnormal results may be flushed
    with np.errstate(invalid="ignore"):
        close = np.isclose(found, wanted, TOLERANCE[dtype], smallest if dtype == "float16" else 1e-44, equal_nan=True)
    if usable is not None:
        close |= ~usable(*(a.astype(np.float64) for a in given))
    wrong = [(*(float(a[i]) for a in given), found[i], wanted[i]) for i in np.flatnonzero(~close)[:5]]
    assert not wrong


def pairs() -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(VALUES, VALUES)
    return x.reshape(-1), y.reshape(-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_of_one(name, dtype):
    compare(getattr(trtnet, name), getattr(torch, name), dtype, VALUES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, dtype):
    compare(getattr(F, name), getattr(torch.nn.functional, name), dtype, VALUES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_of_two(name, dtype):
    def exact(a, b):
        with np.errstate(all="ignore"):
            return ~(np.abs(a / b) >= (2.0**22 if name == "floor_divide" else 2.0**33)) | (b == 0) | ~np.isfinite(a)

    usable = exact if name in ("remainder", "fmod", "floor_divide") else None
    compare(getattr(trtnet, name), getattr(torch, name), dtype, *pairs(), usable=usable)


@pytest.mark.parametrize("name", ["expm1", "log1p", "erfc"])
def test_digits(name):
    """Within 8 last bits of float64's, over all magnitudes; 1e-6 of erfc."""
    generator = np.random.default_rng(0)
    x = np.exp2(generator.uniform(-100, 3.2, 20_000)).astype(np.float32) * generator.choice([-1, 1], 20_000)
    x = x.astype(np.float32)[np.abs(x) < 9] if name == "erfc" else x.astype(np.float32)
    x = x[x > -0.99] if name == "log1p" else x
    graph = trtnet.record(lambda x: getattr(trtnet, name)(x), x=Input(x.shape))
    found = trtnet.reference(graph)(x).astype(np.float64)
    wanted = getattr(torch, name)(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6 if name == "erfc" else 8 * 2.0**-24)


def test_logaddexp_of_small_sums():
    x = np.array([0, -1e-3, 5], np.float32)
    y = np.array([-20, -30, -40], np.float32)
    graph = trtnet.record(lambda x, y: trtnet.logaddexp(x, y), x=Input((3,)), y=Input((3,)))
    wanted = np.logaddexp(x.astype(np.float64), y)
    np.testing.assert_allclose(trtnet.reference(graph)(x, y), wanted, rtol=3e-7)


@pytest.mark.parametrize("rows", [16, Dim("rows", 1, 16, 32)], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", ["logaddexp", "logaddexp2"])
def test_logarithms_of_sums_lose_no_more_than_the_last_bit_of_what_they_add(name, rows):
    """torch contracts the last multiplication and addition of logaddexp2 where the CPU can: both are this near."""
    generator = np.random.default_rng(0)
    special = np.stack([side.reshape(-1) for side in np.meshgrid(VALUES, VALUES)])
    drawn = generator.normal(size=(2, 16 * 200)) * np.exp2(generator.integers(-8, 9, 16 * 200))
    graph = trtnet.record(getattr(trtnet, name), input=Input((rows, 200)), other=Input((rows, 200)))
    engine = trtnet.reference(graph)
    padded = np.concatenate([special, np.full((2, 16 * 200 - special.shape[1]), -1.0)], 1)
    for x, y in (padded.astype(np.float32), drawn.astype(np.float32)):
        x, y = x.reshape(16, 200), y.reshape(16, 200)
        wide = [torch.from_numpy(v).double() for v in (x, y)]
        wanted = getattr(torch, name)(*wide).numpy()
        of = getattr(torch, name)(torch.from_numpy(x), torch.from_numpy(y)).double().numpy()
        for found in (engine(x, y), of, getattr(trtnet, name)(trtnet.tensor(x), trtnet.tensor(y)).numpy()):
            with np.errstate(invalid="ignore", over="ignore"):
                near = np.abs(found - wanted) <= 3 * 2.0**-24 * (np.maximum(np.abs(x), np.abs(y)) + 1)
                same = (found == wanted.astype(np.float32)) | (np.isnan(found) & np.isnan(wanted))
            assert (near | same).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["remainder", "fmod", "floor_divide", "div", "mul", "atan2", "copysign", "pow"])
def test_zeros_of_concrete_pairs_have_torchs_signs(name, dtype):
    x, y = (side.astype(dtype) for side in pairs())
    wanted = getattr(torch, name)(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    found = getattr(trtnet, name)(trtnet.tensor(x), trtnet.tensor(y)).numpy()
    zero = (wanted == 0) & (found == 0)
    assert zero.any()
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(wanted[zero]))


@pytest.mark.parametrize(
    "name", ["abs", "ceil", "floor", "neg", "relu", "round", "sin", "sqrt", "tanh", "trunc", "erf"]
)
def test_zeros_of_concrete_tensors_have_torchs_signs(name):
    x = np.array([0.0, -0.0, 0.25, -0.25, -3], np.float32)
    with np.errstate(invalid="ignore"):
        found, wanted = (
            getattr(trtnet, name)(trtnet.tensor(x)).numpy(),
            getattr(torch, name)(torch.from_numpy(x)).numpy(),
        )
    zero = wanted == 0
    assert (found[zero] == 0).all()
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(wanted[zero]))


@pytest.mark.parametrize("shape", [(), (2,)], ids=["a number", "a row"])
def test_lerp_of_concrete_integers_has_the_type_of_a_tensor_of_weights(shape):
    given = np.full(shape, -1), np.full(shape, 3), np.float32(-1.5)
    wanted = torch.lerp(*(torch.as_tensor(v) for v in given))
    found = trtnet.lerp(*(trtnet.tensor(v) for v in given))
    assert found.dtype.torch is wanted.dtype
    np.testing.assert_array_equal(found.numpy(), wanted.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (Dim("batch", 1, 2, 4), 3)], ids=["static", "dynamic"])
def test_what_is_composed_compiles(shape, dtype):
    def call(x, y):
        one = (getattr(trtnet, n)(x) for n in COMPOSED if n in UNARY)
        return (*one, *(getattr(trtnet, n)(x, y) for n in COMPOSED if n in BINARY))

    lower_and_compare(trtnet.record(call, x=Input(shape, dtype), y=Input(shape, dtype)))


@pytest.mark.parametrize("right", [False, True])
def test_where_nan_goes_in_a_sorted_vector(right):
    edges = np.array([-np.inf, -1, 0, 2.5, np.inf], np.float32)
    check_against_torch(
        lambda x, e: (
            trtnet.searchsorted(e, x, right=right),
            trtnet.bucketize(x, trtnet.tensor(edges), right=right),
        ),
        lambda x, e: (
            torch.searchsorted(e, x, right=right),
            torch.bucketize(x, torch.from_numpy(edges).double(), right=right),
        ),
        {"x": VALUES, "e": edges},
    )


# --- dtypes -----------------------------------------------------------------------------------------------------------

WHOLE = np.arange(-3, 8).reshape(1, 11)
OF_INTEGERS = {
    "relu6": lambda T, f, x: f.relu6(x),
    "hardtanh": lambda T, f, x: f.hardtanh(x, -1.5, 2.7),
    "hardtanh of a half": lambda T, f, x: f.hardtanh(x, -0.5, 2),
    "hardtanh by name": lambda T, f, x: f.hardtanh(x, min_val=-2.0, max_val=3.0),
    "threshold": lambda T, f, x: f.threshold(x, 0.5, 1.7),
    "threshold to zero": lambda T, f, x: f.threshold(x, 2, 0),
    "relu": lambda T, f, x: f.relu(x),
    "square": lambda T, f, x: x.square(),
    "in place": lambda T, f, x: f.threshold(x + 0, 0, 20, True) + 1,
}


def same(found, wanted):
    assert dtypes.get(found.dtype).torch is wanted.dtype
    assert np.array_equal(np.asarray(found), wanted.numpy())


@pytest.mark.parametrize("dtype", ["int32", "int64", "int8"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", OF_INTEGERS)
def test_of_integers_integers(name, dynamic, dtype):
    x = WHOLE.astype(dtype)
    body, theirs = OF_INTEGERS[name], torch.nn.functional
    if name == "square" and dtype == "int8":
        x = x[:, :4]
    shape = (Dim("batch", 1, 1, 3), x.shape[1]) if dynamic else x.shape
    graph = trtnet.record(lambda x: body(trtnet, F, x), x=Input(shape, dtype))
    wanted = body(torch, theirs, torch.from_numpy(x.copy()))
    same(trtnet.reference(graph)(x), wanted)
    same(body(trtnet, F, trtnet.tensor(x)).numpy(), wanted)
    lower_and_compare(graph, compile=dtype != "int8")  # TensorRT takes int8 constants as quantized numbers only


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool"])
def test_floats_of_integers(dtype):
    x = (WHOLE > 0) if dtype == "bool" else WHOLE.astype(dtype)

    def call(T, f, x):
        made = [T.expm1(x), T.erfc(x), T.atan2(x, x), T.sinc(x)]
        return made if dtype == "bool" else [*made, f.softsign(x), f.tanhshrink(x), T.logsumexp(x, 1)]

    graph = trtnet.record(lambda x: call(trtnet, F, x), x=Input(x.shape, dtype))
    for mine, theirs in zip(
        trtnet.reference(graph)(x), call(torch, torch.nn.functional, torch.from_numpy(x)), strict=True
    ):
        assert dtypes.get(mine.dtype).torch is theirs.dtype
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=3e-6)
    lower_and_compare(graph)


OF_BOOLS = {
    "sign": lambda T, b: b.sign(),
    "square": lambda T, b: b.square(),
    "where(b, b, 1)": lambda T, b: T.where(b, b, 1),
    "where(b, 2, b)": lambda T, b: T.where(b, 2, b),
    "where(b, b, 1.5)": lambda T, b: T.where(b, b, 1.5),
    "where(b, b, True)": lambda T, b: T.where(b, b, True),
    "b ^ 1": lambda T, b: b ^ 1,
    "1 ^ b": lambda T, b: 1 ^ b,
    "b ^ -1": lambda T, b: b ^ -1,
    "b & 3": lambda T, b: b & 3,
    "b | 4": lambda T, b: b | 4,
    "b ^ True": lambda T, b: b ^ True,
    "b + 1": lambda T, b: b + 1,
    "masked_fill": lambda T, b: b.masked_fill(~b, 2),
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", OF_BOOLS)
def test_bools(name, dynamic):
    b = np.array([[True, False]] * 2)
    body = OF_BOOLS[name]
    shape = (Dim("batch", 1, 2, 3), 2) if dynamic else b.shape
    graph = trtnet.record(lambda x: body(trtnet, x), x=Input(shape, "bool"))
    wanted = body(torch, torch.from_numpy(b))
    same(trtnet.reference(graph)(b), wanted)
    same(body(trtnet, trtnet.tensor(b)).numpy(), wanted)
    lower_and_compare(graph)


def test_heaviside_now():
    x = np.array([np.nan, -1, 0, 2], np.float32)
    assert trtnet.heaviside(trtnet.tensor(x), trtnet.tensor(x * 0 + 0.5)).tolist() == [0, 0, 0.5, 1]


# --- gradients --------------------------------------------------------------------------------------------------------

SMOOTH = np.array([-30, -9, -2, -1, -0.5, -0.3, -1e-3, 1e-7, 0.2, 0.36, 0.5, 1, 2.5, 8, 40, 90], np.float32)
ABOVE = {"log1p": -0.99}


def gradients(ours, theirs, *arrays):
    """Of a sum weighed with different factors, by `to_torch` and by torch."""
    graph = trtnet.record(lambda **given: ours(*given.values()),
                          **{name: Input(a.shape) for name, a in zip("xyz", arrays)})  # fmt: skip
    found = []
    for function in (trtnet.to_torch(graph), theirs):
        given = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
        out = function(*given)
        (out * torch.linspace(1, 2, out.numel()).reshape(out.shape)).sum().backward()
        found.append([g.grad.numpy() for g in given])
    for mine, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["expm1", "log1p", "erfc", "sinc"])
def test_gradients_of_one(name):
    below = 40 if name == "expm1" else 100
    x = np.array([v for v in SMOOTH if ABOVE.get(name, -100) < v < below], np.float32)
    if name == "sinc":  # torch's own loses its digits near 0
        x = np.append(x[np.abs(x) > 0.1], np.float32(0))
    gradients(getattr(trtnet, name), getattr(torch, name), x)


@pytest.mark.parametrize("name", ["atan2", "hypot", "logaddexp", "xlogy"])
def test_gradients_of_two(name):
    """At equal values and on the axes too."""
    x, y = (v.reshape(-1) for v in np.meshgrid(SMOOTH, np.append(SMOOTH, np.float32(0))))
    if name == "xlogy":
        x, y = y, np.abs(x)
    gradients(getattr(trtnet, name), getattr(torch, name), x, y)


def test_gradients_through_rows_that_are_masked_entirely():
    q = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    mask = np.array([[True, False, True], [False, False, False], [True, True, True]])
    added = np.where(mask, np.float32(0), np.float32(-np.inf))
    for given in (mask, added):
        gradients(
            lambda q, k, v, given=given: F.scaled_dot_product_attention(q, k, v, trtnet.tensor(given)),
            lambda q, k, v, given=given: torch.nn.functional.scaled_dot_product_attention(
                q, k, v, torch.from_numpy(given)
            ),
            q, q[::-1].copy(), q + 1,
        )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_concrete_sigmoid_of_small_results_keeps_its_digits(dtype):
    x = np.linspace(-80, 80, 4001).astype(dtype)
    found = trtnet.sigmoid(trtnet.tensor(x)).numpy()
    wanted = torch.sigmoid(torch.tensor(x).double()).to(getattr(torch, dtype)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6 if dtype == "float32" else 1e-3, atol=1e-38)
    assert trtnet.sigmoid(trtnet.tensor([-200.0, 200.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("correction", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("name", ["std", "var"])
def test_a_correction_of_more_than_there_is_of_a_dynamic_size(name, correction):
    batch = trtnet.Dim("batch", min=1, opt=2, max=6)
    graph = trtnet.record(lambda x: getattr(trtnet, name)(x, 0, correction=correction), x=trtnet.Input((batch, 3)))
    for count in (1, 2, 3, 5):
        x = np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)
        wanted = getattr(torch.from_numpy(x), name)(0, correction=correction).numpy()
        np.testing.assert_allclose(trtnet.reference(graph)(x), wanted, rtol=1e-5)
