"""Inputs of slice, resize, shuffle and fill layers that hold their sizes and positions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from harness import lower_and_compare, needs_rtx

import trtnet
from trtnet import Dim, Input, layers
from trtnet.engine.graph_json import from_json, to_json
from trtnet.errors import ArgumentError, DtypeError, ProviderError, ShapeError, UnsupportedError

X = np.arange(40, dtype=np.float32).reshape(4, 10)
BATCH = Dim("batch", min=1, opt=4, max=8)


def run(function: Any, numbers: Any, shape: Any = None, dtype: str = "int64", x: np.ndarray = X) -> Any:
    """The graph, and what the reference gives; TensorRT-RTX infers its shapes and compiles it."""
    numbers = np.array(numbers, dtype)
    graph = trtnet.record(function, x=Input(shape or x.shape), n=Input(numbers.shape, dtype))
    lower_and_compare(graph)
    again = from_json(json.loads(json.dumps(to_json(graph))))
    found = trtnet.reference(graph)(x=x, n=numbers)
    np.testing.assert_array_equal(trtnet.reference(again)(x=x, n=numbers), found)
    return graph, found


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("shape", [(4, 10), (BATCH, 10)])
def test_a_slice(shape, dtype) -> None:
    graph, found = run(lambda x, n: layers.add_slice(x, n, shape=(2, 3), stride=(1, 2)), [1, 4], shape, dtype)
    np.testing.assert_array_equal(found, X[1:3, 4:9:2])
    assert graph.outputs["output"].shape == (2, 3)
    assert not graph.data_dims
    graph, found = run(lambda x, n: layers.add_slice(x, None, n, start=(0, 1), stride=(1, 1)), [3, 5], shape, dtype)
    np.testing.assert_array_equal(found, X[:3, 1:6])
    assert graph.data_dims == {"slice_0", "slice_1"}
    graph, found = run(lambda x, n: layers.add_slice(x, n * 0, n, n * 0 + 2, shape=(None, 4)), [2, 4], shape, dtype)
    np.testing.assert_array_equal(found, X[::2, 0:8:2])
    assert graph.data_dims == {"slice_0"}


def test_sizes_of_some_dimensions() -> None:
    graph, found = run(
        lambda x, n: layers.add_slice(x, None, n, start=(0, 0), shape=(x.shape[0], None), stride=(1, 1)).sum(1),
        [5],
        (BATCH, 10),
    )
    np.testing.assert_array_equal(found, X[:, :5].sum(1))
    assert graph.outputs["output"].shape == (BATCH,)
    (size,) = {layer.decides for layer in graph.layers if layer.decides}
    assert [(one.min, one.max) for one in size] == [(0, 10)]


@pytest.mark.parametrize("mode", ["CLAMP", "FILL", "WRAP"])
def test_a_slice_beyond_its_input(mode) -> None:
    _, found = run(lambda x, n: layers.add_slice(x, n, shape=(4, 6), stride=(1, 1), mode=mode), [0, -2])
    wide = np.pad(X, ((0, 0), (2, 0)), mode={"CLAMP": "edge", "FILL": "constant", "WRAP": "wrap"}[mode])
    np.testing.assert_array_equal(found, wide[:, :6])


def test_what_is_of_shapes_stays_on_the_host() -> None:
    """TensorRT knows the sizes while it builds: no einsum leads to the GPU and back."""
    graph = trtnet.record(
        lambda x: layers.add_slice(x, None, layers.add_shape(x) // 2, start=(0, 0), stride=(1, 1)), x=Input((BATCH, 10))
    )
    np.testing.assert_array_equal(trtnet.reference(graph)(x=X), X[:2, :5])
    provider = needs_rtx()
    network = provider.create_network(provider.builder())
    lowering = graph.lower(network)
    kinds = [network.get_layer(i).type for i in range(network.num_layers)]
    assert provider.trt.LayerType.EINSUM not in kinds
    assert tuple(lowering.tensor("slice").shape) == (-1, 5)


@pytest.mark.parametrize("shape", [(1, 2, 5, 8), (BATCH, 2, 5, 8)])
@pytest.mark.parametrize("mode", ["LINEAR", "NEAREST"])
def test_a_resize(mode, shape) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 8)).astype(np.float32)

    def resized(x, n):
        transformation = "HALF_PIXEL" if mode == "LINEAR" else "ASYMMETRIC"
        return layers.add_resize(x, n, resize_mode=mode, coordinate_transformation=transformation)

    graph, found = run(resized, [7, 4], shape, x=x)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x), (7, 4), mode={"LINEAR": "bilinear", "NEAREST": "nearest"}[mode]
    )
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6)
    assert graph.outputs["output"].shape[:2] == (shape[0], 2)
    assert graph.data_dims == {"resize_0", "resize_1"}


def test_a_resize_of_one_dimension() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 8)).astype(np.float32)
    graph, found = run(lambda x, n: layers.add_resize(x, n, shape=(1, 2, 5, None)), [1, 2, 5, 16], x=x)
    np.testing.assert_array_equal(found, x.repeat(2, 3))
    assert graph.data_dims == {"resize_0"}


def test_a_shuffle() -> None:
    graph, found = run(lambda x, n: layers.add_shuffle(x, n, reshape_dims=(None, None)), [8, 5])
    np.testing.assert_array_equal(found, X.reshape(8, 5))
    graph, found = run(
        lambda x, n: layers.add_shuffle(
            x, n, first_transpose=(1, 0), reshape_dims=(2, None, 4), second_transpose=(2, 1, 0)
        ),
        [5],
    )
    np.testing.assert_array_equal(found, X.T.reshape(2, 5, 4).T)
    assert graph.outputs["output"].shape[1].max == 40


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_a_fill(dtype) -> None:
    graph, found = run(lambda x, n: layers.add_fill(n, to_type=dtype, alpha=3, beta=2), [4])
    np.testing.assert_array_equal(found, [3, 5, 7, 9])
    assert found.dtype == dtype
    assert graph.data_dims == {"fill_0"}
    _, found = run(
        lambda x, n: layers.add_fill(n, x[0, 1], x[0, 2:3], shape=(None,), to_type="float32"), np.array([4], np.int32)
    )
    np.testing.assert_array_equal(found, [1, 3, 5, 7])


def test_a_draw() -> None:
    drawn = lambda x, n: layers.add_fill(  # noqa: E731
        n, shape=(None, 3), operation="RANDOM_UNIFORM", to_type="float32", alpha=1.0, beta=2.0
    )
    graph = trtnet.record(drawn, x=Input((2,)), n=Input((2,), "int64"))
    lower_and_compare(graph)
    found = trtnet.reference(graph)(x=np.zeros(2, np.float32), n=np.array([5, 3]))
    assert found.shape == (5, 3)
    assert ((found >= 1) & (found < 2)).all()


UNIFORM: dict[str, Any] = {"operation": "RANDOM_UNIFORM", "to_type": "float32", "alpha": 0.0, "beta": 1.0}
WHOLE: dict[str, Any] = {"start": (0, 0), "stride": (1, 1)}


@pytest.mark.parametrize(
    ("numbers", "match", "function"),
    [
        ([3, 0], "takes 2 elements from 3 on", lambda x, n: layers.add_slice(x, n, shape=(2, 1), stride=(1, 1))),
        ([0, -1], "takes 1 elements from -1 on", lambda x, n: layers.add_slice(x, n, shape=(2, 1), stride=(1, 1))),
        (
            [5, 1],
            "the size 5 of a slice is not",
            lambda x, n: layers.add_slice(x, None, n, start=(0, 0), stride=(1, 1)),
        ),
        ([-1, 1], "the size -1 of a slice", lambda x, n: layers.add_slice(x, None, n, start=(0, 0), stride=(1, 1))),
        (
            [2, 1],
            "with the size 3, and the tensor of sizes holds 2",
            lambda x, n: layers.add_slice(x, None, n, start=(0, 0), shape=(3, None), stride=(1, 1)),
        ),
        ([3, 5], "invalid for input of size 40", lambda x, n: layers.add_shuffle(x, n, reshape_dims=(None, None))),
        ([-1, 5], "the size -1 of a shuffle", lambda x, n: layers.add_shuffle(x, n, reshape_dims=(None, None))),
        ([-2, 5], "the size -2 of a fill", lambda x, n: layers.add_fill(n, shape=(None, None), **UNIFORM)),
    ],
)
def test_numbers_that_cannot_be(numbers, match, function) -> None:
    graph = trtnet.record(function, x=Input((4, 10)), n=Input((2,), "int64"))
    with pytest.raises(ProviderError) as caught:
        trtnet.reference(graph)(x=X, n=np.array(numbers))
    assert match in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


@pytest.mark.parametrize(
    ("kind", "match", "function"),
    [
        (ArgumentError, "None where a tensor holds", lambda x, n: layers.add_slice(x, shape=(2, None), **WHOLE)),
        (ArgumentError, "None where a tensor holds", lambda x, n: layers.add_fill(shape=(None,))),
        (ArgumentError, "start of a slice is given twice", lambda x, n: layers.add_slice(x, n, shape=(2, 2), **WHOLE)),
        (ShapeError, "shape of a slice has a number", lambda x, n: layers.add_slice(x, n, shape=(2,), stride=(1, 1))),
        (ShapeError, "stride of a slice has a number", lambda x, n: layers.add_slice(x, n, shape=(2, 2))),
        (DtypeError, "starts of a slice layer are whole", lambda x, n: layers.add_slice(x, x[0, :2], shape=(2, 2))),
        (ShapeError, "one number for each", lambda x, n: layers.add_slice(x, n[:1], shape=(2, 2), stride=(1, 1))),
        (ShapeError, "one number for each", lambda x, n: layers.add_resize(x[None, None], n[:1])),
        (ShapeError, "one number for each", lambda x, n: layers.add_shuffle(x, n[0], reshape_dims=(None, 4))),
        (DtypeError, "sizes of a resize layer are whole", lambda x, n: layers.add_resize(x[None, None], x[0, :2])),
        (ShapeError, "keeps the first two", lambda x, n: layers.add_resize(x[None, None], n, shape=(1, None, 4, 10))),
        (
            UnsupportedError,
            "are computed, in the body of scan",
            lambda x, n: trtnet.scan(
                lambda c, r: (c, layers.add_slice(x, n, shape=(1, 1), stride=(1, 1))), x.sum(), x
            )[1],
        ),
    ],
)  # fmt: skip
def test_refused(kind, match, function) -> None:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, x=Input((4, 10)), n=Input((2,), "int64"))
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


def test_the_types_of_a_build_stay_right() -> None:
    """What a weakly typed network computes sizes by is float32."""
    graph = trtnet.record(lambda x, n: x[:, n : n + 2], x=Input((4, 10), "float16"), n=Input((), "int64"))
    lower_and_compare(graph)
    assert trtnet.reference(graph)(x=X.astype(np.float16), n=np.array(3)).dtype == np.float16


def test_which_size_a_tensor_decides_is_structure() -> None:
    def hashed(*shape: Any) -> str:
        def function(x: Any, n: Any) -> Any:
            return layers.add_slice(x, None, n, start=(0, 0), shape=shape, stride=(1, 1))

        return trtnet.record(function, x=Input((4, 10)), n=Input((2,), "int64")).structure_hash()

    assert hashed(2, None) == hashed(2, None)
    assert len({hashed(2, None), hashed(None, 2), hashed(None, None), hashed(3, None)}) == 4
