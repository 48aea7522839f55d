"""Convolutions of every kind against torch, in float64 and on TensorRT-RTX."""

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare, needs_rtx, record
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.graph.recorder import emit
from trtnet.layers.convolution import Convolution, Deconvolution

TORCH = {
    False: {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d},
    True: {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d},
}
OURS = {
    False: {1: F.conv1d, 2: F.conv2d, 3: F.conv3d},
    True: {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d},
}


def array(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


@st.composite
def configurations(draw, transposed):
    spatial = draw(st.integers(1, 3))
    several = st.tuples(*[st.integers(1, 3)] * spatial)
    groups = draw(st.integers(1, 3))
    config = {
        "spatial": spatial,
        "groups": groups,
        "into": groups * draw(st.integers(1, 2)),
        "out": groups * draw(st.integers(1, 2)),
        "kernel": draw(several),
        "stride": draw(st.one_of(st.integers(1, 3), several)),
        "dilation": draw(st.one_of(st.integers(1, 2), several)),
        "padding": draw(st.one_of(st.integers(0, 3), st.tuples(*[st.integers(0, 3)] * spatial))),
        "bias": draw(st.booleans()),
        "weights": draw(st.sampled_from(["constant", "input"])),
        "batch": draw(st.sampled_from([None, 1, 2])),
        "seed": draw(st.integers(0, 2**16)),
    }
    extents = [d * (k - 1) + 1 for d, k in zip(tuple_of(config["dilation"], spatial), config["kernel"], strict=True)]
    pads = tuple_of(config["padding"], spatial)
    if transposed:
        config["sizes"] = [draw(st.integers(1, 4)) + max(0, 2 * p + 1 - e) for e, p in zip(extents, pads, strict=True)]
        strides, dilations = tuple_of(config["stride"], spatial), tuple_of(config["dilation"], spatial)
        config["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(strides, dilations, strict=True)
        )
    else:
        config["sizes"] = [max(1, e - 2 * p) + draw(st.integers(0, 4)) for e, p in zip(extents, pads, strict=True)]
    return config


def tuple_of(value, count):
    return value if isinstance(value, tuple) else (value,) * count


def check(config, transposed, compile=False):
    generator = np.random.default_rng(config["seed"])
    n, groups = config["spatial"], config["groups"]
    lead = () if config["batch"] is None else (config["batch"],)
    x = array(generator, *lead, config["into"], *config["sizes"])
    first, second = (config["into"], config["out"]) if transposed else (config["out"], config["into"])
    weight = array(generator, first, second // groups, *config["kernel"])
    bias = array(generator, config["out"]) if config["bias"] else None
    arguments = (config["stride"], config["padding"])
    arguments += (config["output_padding"], groups, config["dilation"]) if transposed else (config["dilation"], groups)
    ours, theirs = OURS[transposed][n], TORCH[transposed][n]
    if config["weights"] == "input":
        inputs = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
        check_against_torch(
            lambda x, weight, bias=None: ours(x, weight, bias, *arguments),
            lambda x, weight, bias=None: theirs(x, weight, bias, *arguments),
            inputs,
            compile=compile,
        )
        return
    weights = [None if w is None else torch.from_numpy(w).double() for w in (weight, bias)]
    mine = [None if w is None else trtnet.Array(w) for w in (weight, bias)]
    check_against_torch(
        lambda x: ours(x, *mine, *arguments), lambda x: theirs(x, *weights, *arguments), {"x": x}, compile=compile
    )


@given(configurations(False))
@settings(max_examples=60)
def test_convolution(config):
    check(config, False)


@given(configurations(True))
@settings(max_examples=60)
def test_deconvolution(config):
    dilated = any(d != 1 for d in tuple_of(config["dilation"], config["spatial"]))
    strided = any(s != 1 for s in tuple_of(config["stride"], config["spatial"]))
    if config["weights"] == "input" and dilated and strided:
        config["weights"] = "constant"
    check(config, True)


CASES = [
    {
        "spatial": 1,
        "into": 4,
        "out": 6,
        "groups": 2,
        "kernel": (3,),
        "stride": 2,
        "padding": 1,
        "dilation": 2,
        "sizes": [12],
    },
    {
        "spatial": 2,
        "into": 4,
        "out": 6,
        "groups": 2,
        "kernel": (3, 2),
        "stride": (2, 1),
        "padding": (0, 1),
        "dilation": (1, 2),
        "sizes": [9, 8],
    },
    {
        "spatial": 3,
        "into": 2,
        "out": 4,
        "groups": 1,
        "kernel": (3, 2, 1),
        "stride": 1,
        "padding": 1,
        "dilation": 1,
        "sizes": [4, 5, 6],
    },
    {
        "spatial": 2,
        "into": 4,
        "out": 4,
        "groups": 4,
        "kernel": (3, 3),
        "stride": 1,
        "padding": 1,
        "dilation": 1,
        "sizes": [7, 7],
    },
]


@pytest.mark.parametrize("weights", ["constant", "input"])
@pytest.mark.parametrize("case", CASES)
def test_convolution_compiles(case, weights):
    check(case | {"bias": True, "batch": 2, "seed": 1, "weights": weights}, False, compile=True)


@pytest.mark.parametrize(
    "case",
    [
        {
            "spatial": 1,
            "stride": 3,
            "dilation": 1,
            "padding": 1,
            "output_padding": (2,),
            "groups": 1,
            "kernel": (4,),
            "sizes": [6],
        },
        {
            "spatial": 2,
            "stride": 2,
            "dilation": 1,
            "padding": 1,
            "output_padding": (1, 0),
            "groups": 2,
            "kernel": (3, 3),
            "sizes": [5, 6],
        },
        {
            "spatial": 2,
            "stride": 2,
            "dilation": 2,
            "padding": 0,
            "output_padding": (1, 1),
            "groups": 2,
            "kernel": (3, 2),
            "sizes": [5, 6],
        },
        {
            "spatial": 2,
            "stride": 1,
            "dilation": 2,
            "padding": 1,
            "output_padding": (0, 0),
            "groups": 1,
            "kernel": (3, 2),
            "sizes": [5, 6],
        },
        {
            "spatial": 3,
            "stride": 2,
            "dilation": 1,
            "padding": 1,
            "output_padding": (1, 1, 0),
            "groups": 1,
            "kernel": (3, 3, 3),
            "sizes": [3, 3, 3],
        },
    ],
)
def test_deconvolution_compiles(case):
    check(case | {"into": 4, "out": 4, "bias": True, "batch": 2, "seed": 2, "weights": "constant"}, True, compile=True)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(2, 5), (4, 3)])
def test_padding_by_name(padding, kernel):
    generator = np.random.default_rng(0)
    x, weight = array(generator, 2, 3, 8, 9), array(generator, 4, 3, *kernel)
    check_against_torch(
        lambda x: F.conv2d(x, trtnet.Array(weight), padding=padding, dilation=(1, 2)),
        lambda x: torch.nn.functional.conv2d(x, torch.from_numpy(weight).double(), padding=padding, dilation=(1, 2)),
        {"x": x},
    )


def test_dynamic_sizes():
    batch, height = Dim("batch", min=1, opt=2, max=4), Dim("height", min=8, opt=12, max=16, multiple_of=2)
    generator = np.random.default_rng(0)
    x, weight = array(generator, 2, 3, 12, 10), array(generator, 4, 3, 3, 3)
    graph = check_against_torch(
        lambda x: F.conv_transpose2d(
            F.conv2d(x, trtnet.Array(weight), stride=2, padding=1), trtnet.Array(weight), stride=2
        ),
        lambda x: torch.conv_transpose2d(
            torch.conv2d(x, torch.from_numpy(weight).double(), stride=2, padding=1),
            torch.from_numpy(weight).double(),
            stride=2,
        ),
        {"x": x},
        shapes={"x": (batch, 3, height, 10)},
    )
    assert str(graph.outputs["output"].shape[2]) == "height + 1"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_half_types(dtype, name):
    generator = np.random.default_rng(0)
    to = dtypes.get(dtype).numpy
    x, weight, bias = (array(generator, *shape).astype(to) for shape in ((1, 4, 6, 6), (4, 4, 3, 3), (4,)))
    graph = trtnet.record(
        lambda x: getattr(F, name)(x, trtnet.Array(weight), trtnet.Array(bias), 2, 1), x=Input(x.shape, dtype)
    )
    lower_and_compare(graph)
    found = trtnet.reference(graph)(x=x)
    wanted = getattr(torch, name)(*(torch.from_numpy(a.astype(np.float32)) for a in (x, weight, bias)), 2, 1).numpy()
    assert found.dtype == to
    np.testing.assert_allclose(found.astype(np.float32), wanted, atol=0.25 if dtype == "bfloat16" else 0.03)


def test_asymmetric_padding():
    generator = np.random.default_rng(0)
    x, weight = array(generator, 2, 3, 6, 7), array(generator, 4, 3, 3, 3)

    def layer(kind):
        def function(x):
            kernel = F.conv2d.__globals__["operand"](trtnet.Array(weight if kind is Convolution else weight[:3, :4]))
            return emit(
                kind((x, kernel, None), kernel.shape[kind is Deconvolution], (3, 3), (2, 1), (1, 0), (2, 1), (1, 1), 1)
            )

        return function

    def convolution(x):
        return torch.conv2d(torch.nn.functional.pad(x, (0, 1, 1, 2)), torch.from_numpy(weight).double(), stride=(2, 1))

    def deconvolution(x):
        full = torch.conv_transpose2d(x, torch.from_numpy(weight[:3, :4]).double(), stride=(2, 1))
        return full[:, :, 1:-2, :-1]

    check_against_torch(layer(Convolution), convolution, {"x": x})
    check_against_torch(layer(Deconvolution), deconvolution, {"x": x})


def test_weights_of_a_1d_convolution_keep_their_name():
    needs_rtx()

    class Net(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = trtnet.nn.Conv1d(3, 4, 5)

        def forward(self, x):
            return self.conv(x)

    lowering = lower_and_compare(trtnet.record(Net(), x=Input((1, 3, 9))), compile=False)
    assert [h.name for h in lowering.ledger] == ["conv.weight", "conv.bias"]
    assert [h.owner for h in lowering.ledger] == ["the module's own"] * 2


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x, w: F.conv2d(x, w[:, :2]), ShapeError, r"kernel \(4, 3, 3, 3\) for 3 channels in 1 groups"),
        (lambda x, w: F.conv2d(x, w, groups=2), ShapeError, "multiples of 2"),
        (lambda x, w: F.conv2d(x, w, groups=0), ArgumentError, "at least 1"),
        (lambda x, w: F.conv2d(x, w[0]), ShapeError, "weight of conv2d has 4 dimensions"),
        (lambda x, w: F.conv2d(x.reshape(2, 3 * 6 * 7), w), ShapeError, "4 dimensions, or of 3 without a batch"),
        (lambda x, w: F.conv2d(x, w, w[0, 0, 0]), ShapeError, r"bias of this convolution has the wrong size"),
        (lambda x, w: F.conv2d(x.half(), w), DtypeError, "convert the module"),
        (lambda x, w: F.conv2d(x, w, dilation=4), ShapeError, "larger than its padded input"),
        (lambda x, w: F.conv2d(x, w, padding="full"), ArgumentError, "'same', 'valid' or numbers"),
        (lambda x, w: F.conv2d(x, w, stride=2, padding="same"), ArgumentError, "not for strided"),
        (lambda x, w: F.conv2d(x, w, stride=(1, 2, 3)), ArgumentError, "stride is a whole number or 2 of them"),
        (lambda x, w: F.conv_transpose2d(x, w[:3], output_padding=1), ArgumentError, "smaller than stride or dilation"),
        (lambda x, w: F.conv_transpose2d(x, w[:3], padding=9), ShapeError, "leaves nothing"),
    ],
)
def test_errors(call, kind, message):
    weight = trtnet.Array(np.zeros((4, 3, 3, 3), np.float32))
    with pytest.raises(kind, match=message) as caught:
        trtnet.record(lambda x: call(x, weight), x=Input((2, 3, 6, 7)))
    assert caught.value.where.file == __file__
    assert "call(x, weight)" in str(caught.value) or "F.conv" in str(caught.value)


def test_a_kernel_that_is_a_tensor_cannot_be_strided_and_dilated():
    graph = record(
        lambda x, w: F.conv_transpose2d(x, w, stride=2, dilation=2),
        {"x": np.zeros((1, 2, 5, 5), np.float32), "w": np.zeros((2, 2, 3, 3), np.float32)},
    )
    with pytest.raises(trtnet.errors.ProviderError, match="strides and dilation"):
        graph.for_provider(needs_rtx())
