"""Pooling against torch: windows, paddings, ceil_mode, divisors, adaptive sizes, in float64 and on TensorRT-RTX."""

import numpy as np
import pytest
import torch
from harness import check_against_torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from trtnet.graph.recorder import emit
from trtnet.layers.pooling import Pooling

T = torch.nn.functional


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def windows(draw, dilated=False):
    n = draw(st.integers(1, 3))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * n))
    stride = draw(st.one_of(st.none(), st.integers(1, 4), st.tuples(*[st.integers(1, 4)] * n)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    dilation = draw(st.tuples(*[st.integers(1, 2)] * n)) if dilated else (1,) * n
    sizes = [
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 5))
        for k, p, d in zip(kernel, padding, dilation, strict=True)
    ]
    lead = draw(st.sampled_from([(2,), (1, 3), (2, 2)]))
    return n, kernel, stride, padding, dilation, draw(st.booleans()), values((*lead, *sizes), draw(st.integers(0, 99)))


@given(windows(dilated=True))
@settings(max_examples=80)
def test_max(config):
    n, kernel, stride, padding, dilation, ceil, x = config
    ours, theirs = getattr(F, f"max_pool{n}d"), getattr(T, f"max_pool{n}d")
    arguments = (kernel, stride, padding, dilation, ceil)
    check_against_torch(lambda x: ours(x, *arguments), lambda x: theirs(x, *arguments), {"x": x}, compile=False)


@given(windows(), st.booleans(), st.sampled_from([None, 1, 3, -2]))
@settings(max_examples=100)
def test_average(config, include, divisor):
    n, kernel, stride, padding, _, ceil, x = config
    ours, theirs = getattr(F, f"avg_pool{n}d"), getattr(T, f"avg_pool{n}d")
    if n == 3 and any(size < k for size, k in zip(x.shape[-n:], kernel, strict=True)):
        return  # torch refuses these whatever their padding
    arguments = (kernel, stride, padding, ceil, include) + ((divisor,) if n > 1 else ())
    check_against_torch(
        lambda x: ours(x, *arguments), lambda x: theirs(x, *arguments), {"x": x}, compile=False, rtol=1e-7
    )


@given(windows(), st.sampled_from([1.0, 2.0, 3.0]))
@settings(max_examples=20)
def test_power_average(config, order):
    n, kernel, stride, _, _, ceil, x = config
    x = np.abs(x) + 0.1
    if any(size < k for size, k in zip(x.shape[-n:], kernel, strict=True)):
        return
    ours, theirs = getattr(F, f"lp_pool{n}d"), getattr(T, f"lp_pool{n}d")
    if n == 1:  # torch takes numbers alone here
        kernel, stride = kernel[0], stride[0] if isinstance(stride, tuple) else stride
    arguments = (order, kernel, stride, ceil)
    check_against_torch(
        lambda x: ours(x, *arguments), lambda x: theirs(x, *arguments), {"x": x}, compile=False, rtol=1e-6
    )


@given(st.data())
@settings(max_examples=60)
def test_adaptive(data):
    n = data.draw(st.integers(1, 3))
    sizes = data.draw(st.tuples(*[st.integers(1, 7)] * n))
    wanted = data.draw(
        st.one_of(st.integers(1, 5), st.tuples(*[st.one_of(st.integers(1, 8), st.none() if n > 1 else st.just(1))] * n))
    )
    kind = data.draw(st.sampled_from(["avg", "max"]))
    name = f"adaptive_{kind}_pool{n}d"
    lead = data.draw(st.sampled_from([(2,), (2, 3)]))
    x = values((*lead, *sizes))
    check_against_torch(
        lambda x: getattr(F, name)(x, wanted), lambda x: getattr(T, name)(x, wanted), {"x": x}, compile=False
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda f, x: f.max_pool2d(x, 3, 2, 1),
        lambda f, x: f.max_pool2d(x, 2, 3, ceil_mode=True),
        lambda f, x: f.max_pool2d(x, 3, 2, 1, (2, 1), True),
        lambda f, x: f.avg_pool2d(x, 3, 2, 1),
        lambda f, x: f.avg_pool2d(x, 3, 2, 1, True),
        lambda f, x: f.avg_pool2d(x, (2, 3), (3, 2), 0, True),
        lambda f, x: f.avg_pool2d(x, 3, 2, 1, True, False),
        lambda f, x: f.avg_pool2d(x, 3, 2, 1, True, True, 5),
        lambda f, x: f.lp_pool2d(f.relu(x) + 0.5, 2, 3, 2, True),
        lambda f, x: f.adaptive_avg_pool2d(x, 1),
        lambda f, x: f.adaptive_avg_pool2d(x, (3, 2)),
        lambda f, x: f.adaptive_max_pool2d(x, (5, None)),
        lambda f, x: f.max_pool1d(x[:, :, 0], 3, 2, 1, 1, True),
        lambda f, x: f.avg_pool3d(x.unsqueeze(1), 3, 2, 1, True),
        lambda f, x: f.max_pool3d(x.unsqueeze(1), 2, 2),
    ],
)
def test_compiles(function):
    check_against_torch(lambda x: function(F, x), lambda x: function(T, x), {"x": values((2, 4, 6, 8))}, rtol=1e-7)


def test_last_window_starts_inside():
    """Input 6, kernel 2, stride 3: TensorRT's rounding up would give 3."""
    graph = trtnet.record(lambda x: F.max_pool1d(x, 2, 3, ceil_mode=True), x=Input((1, 1, 6)))
    assert graph.outputs["output"].shape == (1, 1, 2)


def test_dynamic_sizes():
    height = Dim("height", min=4, opt=8, max=16, multiple_of=4)
    batch = Dim("batch", min=1, opt=2, max=4)

    def network(f):
        def forward(x):
            a = f.max_pool2d(x, 3, 2, ceil_mode=True)
            b = f.avg_pool2d(x, 2)
            c = f.adaptive_avg_pool2d(x, 1)
            d = f.adaptive_avg_pool2d(x, (4, 3))
            return a, b, c, d, f.adaptive_max_pool2d(x, (None, 5))

        return forward

    graph = check_against_torch(
        network(F), network(T), {"x": values((2, 3, 8, 7))}, shapes={"x": (batch, 3, height, 7)}
    )
    assert [str(o.shape[2]) for o in graph.outputs.values()] == ["height/2", "height/2", "1", "4", "height"]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [
    (2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 3, 0), (2, 3, 1), (3, 3, 1), (4, 3, 2), (1, 2, 0), (4, 5, 1), (5, 4, 2),
])  # fmt: skip
def test_ceil_mode_of_dynamic_sizes(kernel, stride, padding):
    """The last window starts inside the input or its left padding, at every size."""
    height, width = (Dim(n, min=6, opt=9, max=16) for n in ("height", "width"))

    def network(f):
        return lambda x: (
            f.max_pool2d(x, kernel, stride, padding, ceil_mode=True),
            f.max_pool2d(x, (kernel, 2), (stride, 1), (padding, 1), (1, 2), True),
            f.avg_pool2d(x, kernel, stride, padding, True),
            f.avg_pool2d(x, kernel, stride, padding, True, False),
            f.avg_pool2d(x, kernel, stride, padding, True, True, 3),
            f.max_pool1d(x[:, 0], kernel, stride, padding, ceil_mode=True),
            f.avg_pool1d(x[:, 0], kernel, stride, padding, True),
            f.lp_pool2d(x.abs() + 1, 2, kernel, stride, True),
        )

    shapes = {"x": (1, 2, height, width)}
    graph = check_against_torch(network(F), network(T), {"x": values((1, 2, 9, 7))}, shapes=shapes, rtol=1e-6)
    engine = trtnet.reference(graph)
    for size in range(6, 17):
        x = values((1, 2, size, 16), size)
        for mine, torchs in zip(engine(x), network(T)(torch.from_numpy(x)), strict=True):
            np.testing.assert_allclose(mine, torchs.numpy(), rtol=1e-5, atol=1e-6, err_msg=f"size {size}")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype):
    x = values((1, 3, 7, 7)).astype(trtnet.dtypes.get(dtype).numpy)

    def forward(x):
        return F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1, True, False), F.adaptive_avg_pool2d(x, 3)

    graph = trtnet.record(forward, x=Input(x.shape, dtype))
    from harness import lower_and_compare

    lower_and_compare(graph)
    t = torch.from_numpy(x.astype(np.float32))
    wanted = T.max_pool2d(t, 3, 2, 1), T.avg_pool2d(t, 3, 2, 1, True, False), T.adaptive_avg_pool2d(t, 3)
    for mine, theirs in zip(trtnet.reference(graph)(x=x), wanted, strict=True):
        assert mine.dtype == x.dtype
        np.testing.assert_allclose(mine.astype(np.float32), theirs.numpy(), atol=0.02)


@given(st.data())
@settings(max_examples=40)
def test_the_layer_alone(data):
    """The layer's own semantics, any asymmetric padding included, against torch with explicit padding."""
    kind = data.draw(st.sampled_from(["MAX", "AVERAGE"]))
    window = data.draw(st.tuples(*[st.integers(1, 4)] * 2))
    stride = data.draw(st.tuples(*[st.integers(1, 3)] * 2))
    before, after = (tuple(data.draw(st.integers(0, w - 1)) for w in window) for _ in range(2))
    excludes = data.draw(st.booleans())
    x = values((2, 2, 4, 5))

    def expected(x):
        sides = (before[1], after[1], before[0], after[0])
        if kind == "MAX":
            return T.max_pool2d(T.pad(x, sides, value=-torch.inf), window, stride)
        total = T.avg_pool2d(T.pad(x, sides), window, stride, divisor_override=1)
        ones = T.pad(torch.ones_like(x), sides, value=0.0 if excludes else 1.0)
        return total / T.avg_pool2d(ones, window, stride, divisor_override=1)

    def function(x):
        return emit(Pooling((x,), kind, window, stride, before, after, excludes))

    check_against_torch(function, expected, {"x": x}, compile=False)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: F.max_pool2d(x, 2, padding=2), ArgumentError, "at most half of its kernel"),
        (lambda x: F.max_pool2d(x, 0), ArgumentError, "at least 1"),
        (lambda x: F.max_pool2d(x, 9), ShapeError, "larger than the padded input"),
        (lambda x: F.max_pool2d(x, 4, dilation=3), ShapeError, "dilated kernel of max_pool2d is larger"),
        (lambda x: F.max_pool2d(x, 2, return_indices=True), UnsupportedError, "gives no indices"),
        (lambda x: F.adaptive_max_pool2d(x, 2, True), UnsupportedError, "gives no indices"),
        (lambda x: F.adaptive_avg_pool2d(x, 0), ArgumentError, "at least 1, or None"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=0), ArgumentError, "divisor_override"),
        (lambda x: F.max_pool2d(x[0, 0], 2), ShapeError, "or of 3 without a batch"),
        (lambda x: F.max_pool2d(x.int(), 2), DtypeError, "floating-point"),
        (lambda x: F.max_pool2d(x, 2, foo=1), trtnet.errors.ArgumentTypeError, "foo"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        trtnet.record(lambda x: call(x), x=Input((2, 3, 6, 7)))
    assert caught.value.where.file == __file__


def test_dynamic_sizes_that_do_not_divide():
    height = Dim("height", min=4, opt=8, max=16)
    with pytest.raises(UnsupportedError, match=r"divisible by output_size 3"):
        trtnet.record(lambda x: F.adaptive_avg_pool2d(x, 3), x=Input((1, 3, height, 7)))
