"""Softmax, scale, LRN and the normalizations against torch, in float64 and on TensorRT-RTX."""

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare, needs_rtx
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError
from trtnet.functional.dispatch import operand
from trtnet.graph.recorder import emit
from trtnet.layers.normalization import LRN, Normalization, Scale

T = torch.nn.functional


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def twice(array):
    """The array for trtnet, and for torch in float64."""
    return None if array is None else trtnet.Array(array), None if array is None else torch.from_numpy(array).double()


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@given(shapes, st.data(), st.sampled_from(["softmax", "log_softmax", "softmin"]))
@settings(max_examples=40)
def test_softmax(shape, data, name):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = values(shape)
    check_against_torch(lambda x: getattr(F, name)(x, dim), lambda x: getattr(T, name)(x, dim), {"x": x}, compile=False)
    if name != "softmin":
        found = getattr(trtnet.Array(x), name)(dim).numpy()
        np.testing.assert_allclose(found, getattr(torch.from_numpy(x), name)(dim).numpy(), rtol=1e-5, atol=1e-6)


def test_softmax_compiles():
    batch = Dim("batch", min=1, opt=2, max=4)
    graph = check_against_torch(
        lambda x: (
            x.softmax(1),
            F.log_softmax(x, dim=-1),
            F.softmin(x, 0),
            x[0, 0].softmax(0),
            x.half().softmax(-1, trtnet.float32),
        ),
        lambda x: (x.softmax(1), x.log_softmax(-1), T.softmin(x, 0), x[0, 0].softmax(0), x.softmax(-1)),
        {"x": values((2, 3, 4))},
        shapes={"x": (batch, 3, 4)},
    )
    assert graph.outputs["output_4"].dtype is trtnet.float32


def test_log_softmax_of_large_numbers():
    x = np.array([[0.0, 200.0, -200.0]], np.float32)
    check_against_torch(lambda x: F.log_softmax(x, 1), lambda x: T.log_softmax(x, 1), {"x": x}, compile=False)


def test_softmax_without_dim_and_with_an_old_rule():
    for shape in ((3,), (2, 3), (2, 3, 4), (2, 2, 3, 4)):
        with pytest.warns(UserWarning, match="Implicit dimension"):
            check_against_torch(lambda x: F.softmax(x), lambda x: T.softmax(x), {"x": values(shape)}, compile=False)


@given(st.data())
@settings(max_examples=40)
def test_scale(data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=5).map(tuple))
    mode = data.draw(st.sampled_from(["UNIFORM", "CHANNEL", "ELEMENTWISE"]))
    axis = data.draw(st.integers(0, len(shape) - 1))
    spread = {
        "UNIFORM": (1,) * len(shape),
        "CHANNEL": (1,) * axis + (shape[axis],) + (1,) * (len(shape) - axis - 1),
        "ELEMENTWISE": (1,) * axis + shape[axis:],
    }[mode]
    shift, scale, power = (np.abs(values(spread, i)) if data.draw(st.booleans()) else None for i in range(3))

    def function(x):
        weights = [operand(None if w is None else trtnet.Array(w.ravel())) for w in (shift, scale, power)]
        return emit(Scale((x, *weights), mode, axis))

    def expected(x):
        y = x if scale is None else x * torch.from_numpy(scale).double()
        y = y if shift is None else y + torch.from_numpy(shift).double()
        return y if power is None else y ** torch.from_numpy(power).double()

    check_against_torch(function, expected, {"x": np.abs(values(shape, 9))}, compile=False)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 4, 5)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(shape, affine):
    mean, variance = twice(values(3, 1)), twice(np.abs(values(3, 2)) + 0.5)
    weight, bias = twice(values(3, 3) if affine else None), twice(values(3, 4) if affine else None)
    graph = check_against_torch(
        lambda x: F.batch_norm(x, mean[0], variance[0], weight[0], bias[0], eps=1e-3),
        lambda x: T.batch_norm(x, mean[1], variance[1], weight[1], bias[1], eps=1e-3),
        {"x": values(shape)},
    )
    assert [layer.kind for layer in graph.layers] == ["scale"]


def test_batch_norm_of_tensors():
    inputs = {
        "x": values((2, 3, 4)),
        "m": values(3, 1),
        "v": np.abs(values(3, 2)) + 0.5,
        "w": values(3, 3),
        "b": values(3, 4),
    }
    check_against_torch(lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b), T.batch_norm, inputs)


@given(st.data())
@settings(max_examples=40)
def test_layer_norm(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
    last = shape[data.draw(st.integers(0, len(shape) - 1)) :]
    weight, bias = (twice(values(last, i) if data.draw(st.booleans()) else None) for i in (1, 2))
    check_against_torch(
        lambda x: F.layer_norm(x, last, weight[0], bias[0], 1e-3),
        lambda x: T.layer_norm(x, last, weight[1], bias[1], 1e-3),
        {"x": values(shape)},
        compile=False,
        atol=1e-8,
    )
    check_against_torch(
        lambda x: F.rms_norm(x, last, weight[0], 1e-3),
        lambda x: T.rms_norm(x, last, weight[1], 1e-3),
        {"x": values(shape)},
        compile=False,
    )


@given(st.data())
@settings(max_examples=40)
def test_group_and_instance_norm(data):
    groups = data.draw(st.integers(1, 3))
    channels = groups * data.draw(st.integers(1, 3))
    shape = (2, channels, *data.draw(st.lists(st.integers(2, 4), max_size=3)))
    weight, bias = (twice(values(channels, i) if data.draw(st.booleans()) else None) for i in (1, 2))
    if len(shape) > 2 or channels > groups:
        check_against_torch(
            lambda x: F.group_norm(x, groups, weight[0], bias[0], 1e-3),
            lambda x: T.group_norm(x, groups, weight[1], bias[1], 1e-3),
            {"x": values(shape)},
            compile=False,
            atol=1e-8,
        )
    if len(shape) > 2:
        check_against_torch(
            lambda x: F.instance_norm(x, None, None, weight[0], bias[0], eps=1e-3),
            lambda x: T.instance_norm(x, None, None, weight[1], bias[1], eps=1e-3),
            {"x": values(shape)},
            compile=False,
            atol=1e-8,
        )


@pytest.mark.parametrize("batch", [3, Dim("batch", min=1, opt=3, max=8)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_has_no_spread_is_normalized_to_the_bias(count, batch):
    """1 / sqrt(epsilon) is 316: what rounds before the mean is taken off would show."""
    numbers = values((3, 4, 1)).astype(np.float32) * 3 + 1
    x = np.repeat(numbers, count, axis=2)
    weight, bias = (trtnet.tensor(values(4, i).astype(np.float32)) for i in (1, 2))

    def network(x):
        return (
            F.group_norm(x, 4),
            F.group_norm(x, 4, weight, bias),
            F.instance_norm(x, weight=weight, bias=bias) if count > 1 else x * 0 + bias[:, None],
            F.layer_norm(x, (count,)),
            F.group_norm(x[:, :1], 1, weight[:1], bias[:1]),
        )

    graph = trtnet.record(network, x=Input((batch, 4, count)))
    shifted = np.broadcast_to(bias.numpy()[:, None], x.shape)
    for found, wanted in zip(
        trtnet.reference(graph)(x=x), (0 * x, shifted, shifted, 0 * x, shifted[:, :1]), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_normalizations_compile():
    batch, height = Dim("batch", min=1, opt=2, max=4), Dim("height", min=2, opt=3, max=8)
    weight, bias, row = twice(values(4, 1)), twice(values(4, 2)), twice(values(5, 3))

    def network(f, i):
        def forward(x):
            return (
                f.layer_norm(x, (5,), row[i]),
                f.layer_norm(x[:, :, 0], (4, 5)),
                f.group_norm(x, 2, weight[i], bias[i]),
                f.group_norm(x, 1, weight[i], bias[i]),
                f.instance_norm(x, weight=weight[i], bias=bias[i]),
                f.rms_norm(x, (5,), row[i], 1e-6),
                f.local_response_norm(x, 3, 0.1),
                f.local_response_norm(x, 4, 0.1, 0.6, 2.0),
                f.local_response_norm(x[:, :, 0], 3, 0.1),
                f.normalize(x, dim=-1),
                f.group_norm(x[:, :, 0, 0], 2, weight[i], bias[i]),
            )

        return forward

    check_against_torch(
        network(F, 0), network(T, 1), {"x": values((2, 4, 3, 5))}, shapes={"x": (batch, 4, height, 5)}, rtol=1e-7
    )


def test_group_norm_without_the_second_version_of_the_layer():
    """What TensorRT before 10.15 is given, computed and lowered."""

    class Old:
        writes_reshaped_outputs = computes_constants = True

        @staticmethod
        def has_layer(method):
            return method != "add_normalization_v2"

    weight, bias = twice(values(6, 1)), twice(values(6, 2))
    graph = trtnet.record(
        lambda x: F.group_norm(x, 3, weight[0], bias[0]), x=Input((Dim("n", min=1, opt=2, max=3), 6, 4, 5))
    )
    older = graph.for_provider(Old())
    groups = [layer.num_groups for layer in older.layers if isinstance(layer, Normalization)]
    assert groups == [1]
    assert len(older.layers) > len(graph.layers)
    x = torch.from_numpy(values((2, 6, 4, 5))).double()
    found = trtnet.reference(older, dtype="float64", raw=True)(x=x)
    torch.testing.assert_close(found, T.group_norm(x, 3, weight[1], bias[1]), rtol=1e-9, atol=1e-9)
    if needs_rtx():
        lower_and_compare(older)


@given(st.integers(1, 7), st.sampled_from([(2, 3, 4), (2, 5, 3, 2), (1, 2, 2, 3, 2)]))
@settings(max_examples=20)
def test_local_response_norm(size, shape):
    check_against_torch(
        lambda x: F.local_response_norm(x, size, 0.3, 0.75, 1.5),
        lambda x: T.local_response_norm(x, size, 0.3, 0.75, 1.5),
        {"x": values(shape)},
        compile=False,
        rtol=1e-6,
    )


def test_local_response_norm_is_one_layer_where_tensorrt_has_it():
    found = needs_rtx()
    for size, dtype, one in (
        (5, "float32", True),
        (4, "float32", False),
        (17, "float32", False),
        (5, "float16", False),
    ):
        graph = trtnet.record(lambda x, size=size: F.local_response_norm(x, size), x=Input((1, 8, 3, 3), dtype))
        assert [layer.kind for layer in graph.for_provider(found).layers].count("lrn") == one, (size, dtype)


@pytest.mark.parametrize("p", [1, 2, 3.0, float("inf")])
def test_normalize(p):
    x = values((2, 3, 4))
    check_against_torch(
        lambda x: F.normalize(x, p, 1), lambda x: T.normalize(x, p, 1), {"x": x}, compile=False, rtol=1e-6
    )
    np.testing.assert_allclose(
        F.normalize(trtnet.Array(x), p, 1).numpy(), T.normalize(torch.from_numpy(x), p, 1).numpy(), rtol=1e-5
    )


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((3,), (3,))])
def test_similarities(shapes):
    inputs = {"a": values(shapes[0], 1), "b": values(shapes[1], 2)}
    dim = 0 if len(shapes[0]) == 1 else 1
    check_against_torch(
        lambda a, b: F.cosine_similarity(a, b, dim), lambda a, b: T.cosine_similarity(a, b, dim), inputs, rtol=1e-6
    )
    check_against_torch(lambda a, b: F.pairwise_distance(a, b), T.pairwise_distance, inputs, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype):
    to = trtnet.dtypes.get(dtype).numpy
    weight, bias, variance = (np.abs(values(4, i)).astype(to) for i in (1, 2, 3))
    x = values((2, 4, 3, 5)).astype(to)

    def network(f, w, b, v, row):
        def forward(x):
            return (
                f.softmax(x, 1),
                f.batch_norm(x, b, v, w, b),
                f.layer_norm(x, (5,), row),
                f.group_norm(x, 2, w, b),
                f.instance_norm(x, weight=w),
                f.rms_norm(x, (5,), row, 1e-3),
                f.local_response_norm(x, 3),
            )

        return forward

    row = np.ones(5, to)
    graph = trtnet.record(network(F, *map(trtnet.Array, (weight, bias, variance, row))), x=Input(x.shape, dtype))
    lower_and_compare(graph)
    wide = [torch.from_numpy(a.astype(np.float32)) for a in (weight, bias, variance, row, x)]
    for mine, theirs in zip(trtnet.reference(graph)(x=x), network(T, *wide[:4])(wide[4]), strict=True):
        assert mine.dtype == to
        np.testing.assert_allclose(mine.astype(np.float32), theirs.numpy(), rtol=0.05, atol=0.05)


def test_bias_of_a_scale_that_is_a_parameter_is_folded():
    """The recipe of a folded BatchNorm: in float32, one operation at a time."""
    net = trtnet.nn.BatchNorm2d(3)
    graph = trtnet.record(net, input=Input((1, 3, 2, 2)))
    ((_, _, shift), (_, _, scale)) = graph.weights()
    assert repr(scale).startswith("divide(weight,sqrt(add(running_var,")
    assert repr(shift).startswith("subtract(bias,multiply(running_mean,divide(")
    assert sorted({leaf.name for leaf in shift.leaves()}) == ["bias", "running_mean", "running_var", "weight"]


BATCH = [trtnet.Array(values(3, i)) for i in range(2)]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: F.softmax(x, 4), ShapeError, "no dimension 4"),
        (lambda x: F.softmax(x.int(), 1), DtypeError, "floating-point"),
        (lambda x: F.batch_norm(x, *BATCH, training=True), UnsupportedError, "training=self.training"),
        (lambda x: F.batch_norm(x, None, None), ArgumentError, "running statistics"),
        (
            lambda x: F.batch_norm(x, BATCH[0], trtnet.Array(values(4))),
            ShapeError,
            "running_var of batch_norm does not fit",
        ),
        (lambda x: F.batch_norm(x.half(), *BATCH), DtypeError, "one dtype"),
        (lambda x: F.layer_norm(x, (3, 5)), ShapeError, "end in normalized_shape"),
        (
            lambda x: F.layer_norm(x, (5,), trtnet.Array(values(4))),
            ShapeError,
            "weight of layer_norm has the wrong shape",
        ),
        (lambda x: F.layer_norm(x.half(), (5,), trtnet.Array(values(5))), DtypeError, "one dtype"),
        (lambda x: F.group_norm(x, 2), ShapeError, "divisible by num_groups"),
        (lambda x: F.instance_norm(x[0, 0]), ShapeError, "3 dimensions or more"),
        (lambda x: F.local_response_norm(x, 0), ArgumentError, "at least 1"),
        (lambda x: F.local_response_norm(x[:, :, 0, 0], 3), ShapeError, "three dimensions or more"),
        (lambda x: F.normalize(x, 0), ArgumentTypeError, "other than 0"),
        (lambda x: F.normalize(x, out=x), UnsupportedError, "writes into no tensor"),
        (lambda x: emit(LRN((x.int(),), 3, 1.0, 1.0, 1.0)), DtypeError, "floating-point"),
        (lambda x: emit(Scale((x, operand(BATCH[0]), None, None), "CHANNEL", 2)), ShapeError, "wrong size"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        trtnet.record(lambda x: call(x), x=Input((2, 3, 4, 5)))
    assert caught.value.where.file == __file__
