"""The fill layer."""

import numpy as np
import pytest
from harness import composed_without, lower_and_compare

import trtnet
from trtnet import Dim, Input, dtypes, layers
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.graph.recorder import emit
from trtnet.layers.generation import Fill

N = Dim("n", min=2, opt=5, max=9)


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (lambda n: Fill((), (n,)), [0, 1, 2, 3, 4]),
        (lambda n: Fill((), (n,), alpha=3, beta=-2), [3, 1, -1, -3, -5]),
        (lambda n: Fill((), (3,), alpha=n, beta=n * 2), [5, 15, 25]),
        (lambda n: Fill((), (n - 1,), alpha=n * 2, beta=0), [10, 10, 10, 10]),
        (lambda n: Fill((), (n,), to_type=dtypes.float32, alpha=0.5, beta=0.25), [0.5, 0.75, 1.0, 1.25, 1.5]),
        (lambda n: Fill((), (4,), to_type=dtypes.float32), [0.0, 1.0, 2.0, 3.0]),
    ],
)
def test_fill(layer, wanted) -> None:
    graph = trtnet.record(lambda x: emit(layer(x.shape[0])), x=Input((N, 2)))
    lower_and_compare(graph)
    found = trtnet.reference(graph)(x=np.zeros((5, 2), np.float32))
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == graph.outputs["output"].dtype.numpy
    assert trtnet.reference(graph)(x=np.zeros((2, 2), np.float32)).shape == tuple(
        s if isinstance(s, int) else s.min for s in graph.outputs["output"].shape
    )


@pytest.mark.parametrize("operation", ["RANDOM_UNIFORM", "RANDOM_NORMAL"])
def test_random(operation) -> None:
    def forward(x):
        n = x.shape[0]
        return tuple(
            emit(Fill((), shape, operation, dtypes.float32, 2.0, 5.0))
            for shape in ((4,), (2, 3, 4, 5), (n, 200), (n * 2,))
        )

    graph = trtnet.record(forward, x=Input((N, 2)))
    assert all(layer.draws for layer in graph.layers)
    lower_and_compare(graph)
    found = trtnet.reference(graph)(x=np.zeros((5, 2), np.float32))
    assert [f.shape for f in found] == [(4,), (2, 3, 4, 5), (5, 200), (10,)]
    assert all(f.dtype == np.float32 for f in found)
    if operation == "RANDOM_UNIFORM":
        assert all(((f >= 2) & (f <= 5)).all() for f in found)
    mean, deviation = (3.5, 3 / 12**0.5) if operation == "RANDOM_UNIFORM" else (2, 5)
    assert abs(found[2].mean() - mean) < 6 * deviation / 1000**0.5
    assert not Fill((), (3,)).draws


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("length", [4, N])
def test_numbers_that_are_computed(dtype, length) -> None:
    """Alpha and beta of what the network computes."""
    graph = trtnet.record(
        lambda x, a, b: layers.add_fill(None, a * 2, b + 1, shape=(length,), to_type=dtype),
        x=Input((length, 2)),
        a=Input((), dtype),
        b=Input((1,), dtype),
    )
    lower_and_compare(graph)
    count = 4 if length == 4 else 6
    found = trtnet.reference(graph)(np.zeros((count, 2), np.float32), np.array(3, dtype), np.array([1], dtype))
    np.testing.assert_array_equal(found, 6 + 2 * np.arange(count))


@pytest.mark.parametrize("operation", ["RANDOM_UNIFORM", "RANDOM_NORMAL"])
@pytest.mark.parametrize("anew", [False, True])
def test_draws_between_numbers_that_are_computed(operation, anew) -> None:
    graph = trtnet.record(
        lambda a, b: layers.add_fill(None, a * 2, b, shape=(3, 500), operation=operation, to_type="float32"),
        a=Input(()),
        b=Input(()),
    )
    lower_and_compare(graph)
    if anew:
        graph = composed_without(graph, "draws_anew")
        lower_and_compare(graph)
    found = trtnet.reference(graph)(np.array(1, np.float32), np.array(5, np.float32))
    mean, deviation = (3.5, 3 / 12**0.5) if operation == "RANDOM_UNIFORM" else (2, 5)
    assert abs(found.mean() - mean) < 6 * deviation / 1500**0.5
    assert abs(found.std() - deviation) < 0.2 * deviation


def test_numbers_that_do_not_fit_are_refused() -> None:
    one, scalar = Input((1,)), Input(())
    for kind, match, function, a, b in (
        (ArgumentError, "or neither", lambda a, b: layers.add_fill(a, b, shape=(3,), to_type="float32"), scalar, one),
        (ArgumentError, "or neither", lambda a, b: layers.add_fill(None, b, shape=(3,), to_type="float32"), one, one),
        (ShapeError, "beta .* one number", lambda a, b: filled(a, b), scalar, scalar),
        (ShapeError, "alpha .* one number", lambda a, b: filled(a, b), one, one),
        (ShapeError, "beta .* one number", lambda a, b: filled(a, b, operation="RANDOM_NORMAL"), scalar, one),
        (DtypeError, "alpha .* the type", lambda a, b: filled(a, b), Input((), "int64"), one),
    ):
        with pytest.raises(kind, match=match):
            trtnet.record(function, a=a, b=b)


def filled(*ends, **attributes):
    return layers.add_fill(None, *ends, shape=(3,), to_type="float32", **attributes)


def test_refused() -> None:
    with pytest.raises(ShapeError, match="one dimension or more"):
        trtnet.record(lambda x: emit(Fill((), (), "RANDOM_UNIFORM", dtypes.float32)), x=Input((N,)))
    with pytest.raises(DtypeError, match="draws float32"):
        trtnet.record(lambda x: emit(Fill((), (2,), "RANDOM_NORMAL", dtypes.float16)), x=Input((N,)))
    with pytest.raises(ArgumentError, match="no such operation"):
        trtnet.record(lambda x: emit(Fill((), (2,), "RANDOM")), x=Input((N,)))
    with pytest.raises(ShapeError, match="one dimension"):
        trtnet.record(lambda x: emit(Fill((), (2, 3))), x=Input((N,)))
    with pytest.raises(DtypeError, match="float32 or int64"):
        trtnet.record(lambda x: emit(Fill((), (2,), to_type=dtypes.float16)), x=Input((N,)))
