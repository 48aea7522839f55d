"""The pooling modules against torch.nn; the functions are tested in tests/layers/test_pooling.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import check_module, values

import trtnet
from trtnet import Input, nn
from trtnet.errors import ArgumentTypeError, UnsupportedError


@given(st.data())
@settings(max_examples=40)
def test_windows(data):
    n, kind = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(["Max", "Avg"]))
    kernel, stride = data.draw(st.integers(1, 3)), data.draw(st.one_of(st.none(), st.integers(1, 3)))
    options = {
        "stride": stride,
        "padding": data.draw(st.integers(0, kernel // 2)),
        "ceil_mode": data.draw(st.booleans()),
    }
    if kind == "Max":
        options["dilation"] = data.draw(st.integers(1, 2))
    else:
        options["count_include_pad"] = data.draw(st.booleans())
    x = values((2, 3, *data.draw(st.tuples(*[st.integers(5, 7)] * n))))
    check_module(f"{kind}Pool{n}d", (kernel,), x, **options)


@given(st.data())
@settings(max_examples=30)
def test_adaptive(data):
    n, kind = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(["Max", "Avg"]))
    size = data.draw(st.one_of(st.integers(1, 4), st.tuples(*[st.integers(1, 4)] * n)))
    check_module(f"Adaptive{kind}Pool{n}d", (size,), values((2, 3, *data.draw(st.tuples(*[st.integers(1, 6)] * n)))))


def test_power_average():
    check_module("LPPool2d", (2, 3, 2, True), abs(values((2, 3, 6, 7))) + 0.5, rtol=1e-6)
    check_module("LPPool1d", (3, 2), abs(values((2, 3, 6))) + 0.5, rtol=1e-6)


def test_compiles():
    check_module("MaxPool2d", (3,), values((1, 3, 8, 8)), compile=True, stride=2, ceil_mode=True)
    check_module("AvgPool2d", (3, 2, 1), values((1, 3, 8, 8)), compile=True, ceil_mode=True, divisor_override=4)
    check_module("AdaptiveAvgPool2d", ((1, 1),), values((1, 3, 8, 8)), compile=True)


def test_errors():
    with pytest.raises(UnsupportedError, match="no indices"):
        trtnet.record(nn.MaxPool2d(2, return_indices=True), input=Input((1, 1, 4, 4)))
    with pytest.raises(UnsupportedError, match="MaxUnpool2d is not in trtnet"):
        nn.MaxUnpool2d(2)
    with pytest.raises(ArgumentTypeError, match="size"):
        nn.MaxPool2d(size=2)
