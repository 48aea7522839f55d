"""Reversed sequences and ragged softmax, against loops over their rows, with and without TensorRT's own layers."""

import numpy as np
import pytest
import torch
from families import values
from harness import composed_without, lower_and_compare

import trtnet
from trtnet import Dim, Input, layers
from trtnet.errors import ArgumentError, DtypeError, ShapeError

BATCH = Dim("batch", min=1, opt=4, max=8)


def both(graph, method, **inputs):
    """As it is, and composed for a TensorRT without the method."""
    lower_and_compare(graph)
    composed = composed_without(graph, method)
    lower_and_compare(composed)
    for one in (graph, composed):
        yield trtnet.reference(one, dtype="float64")(**inputs)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(("batch", "sequence"), [(0, 1), (0, 2), (1, 0), (2, 1)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_reverse_sequence(dtype, batch, sequence, dynamic) -> None:
    x = values((3, 4, 5))
    lengths = np.array([2, 0, x.shape[sequence], 1, 3], dtype)[: x.shape[batch]]
    wanted = x.copy()
    for row, length in enumerate(lengths):
        into, of = (np.moveaxis(a, (batch, sequence), (0, 1)) for a in (wanted, x))
        into[row, :length] = of[row, :length][::-1]
    shape = (BATCH, 4, 5) if dynamic else x.shape
    graph = trtnet.record(
        lambda x, n: layers.add_reverse_sequence(x, n, batch_axis=batch, sequence_axis=sequence),
        x=Input(shape),
        n=Input((shape[batch],), dtype),
    )
    assert [layer.kind for layer in graph.layers] == ["reverse_sequence"]
    for found in both(graph, "add_reverse_sequence", x=x, n=lengths):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("element", ["float16", "int32", "int64", "bool"])
def test_reverse_sequence_of_other_types(element) -> None:
    x = (values((3, 4)) * 3).astype(element)
    graph = trtnet.record(
        lambda x, n: layers.add_reverse_sequence(x, n, batch_axis=0, sequence_axis=1),
        x=Input((BATCH, 4), element),
        n=Input((BATCH,), "int32"),
    )
    for found in both(graph, "add_reverse_sequence", x=x, n=np.array([4, 2, 0], np.int32)):
        np.testing.assert_array_equal(found, [x[0, ::-1], [*x[1, 1::-1], *x[1, 2:]], x[2]])


@pytest.mark.parametrize("dynamic", [False, True])
def test_ragged_softmax(dynamic) -> None:
    x, bounds = values((3, 4, 5)), np.random.default_rng(0).integers(1, 6, (3, 4, 1)).astype(np.int32)
    wanted = np.zeros_like(x, np.float64)
    for place in np.ndindex(3, 4):
        row = torch.from_numpy(x[place]).double()[: int(bounds[place][0])]
        wanted[place][: len(row)] = row.softmax(0).numpy()
    first = BATCH if dynamic else 3
    specs = {"x": Input((first, 4, 5)), "n": Input((first, 4, 1), "int32")}
    graph = trtnet.record(lambda x, n: layers.add_ragged_softmax(x, n), **specs)
    for found in both(graph, "add_ragged_softmax", x=x, n=bounds):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


def _error(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return caught.value


def test_refused() -> None:
    def reverse(x, n):
        return layers.add_reverse_sequence(x, n)

    def ragged(x, n):
        return layers.add_ragged_softmax(x, n)

    x, n = Input((3, 4)), Input((4,), "int64")
    _error(
        ArgumentError, "different dimensions", lambda x, n: layers.add_reverse_sequence(x, n, batch_axis=0), x=x, n=n
    )
    _error(ArgumentError, "different dimensions", reverse, x=Input((4,)), n=n)
    _error(DtypeError, "lengths are whole numbers", reverse, x=x, n=Input((4,)))
    _error(ShapeError, "one length for each index", reverse, x=x, n=Input((4, 1), "int64"))
    _error(ShapeError, "another number of lengths", reverse, x=x, n=Input((3,), "int64"))
    error = _error(ShapeError, r"takes \(N, Z, S\)", ragged, x=x, n=Input((3, 1), "int32"))
    assert error.remedy == "reshape both first; the softmax is over the last dimension"
    three = Input((1, 3, 4))
    error = _error(DtypeError, "are int32", ragged, x=three, n=Input((1, 3, 1), "int64"))
    assert error.remedy == "convert them first: .int()"
    trtnet.record(lambda x, n: layers.add_ragged_softmax(x, n.int()), x=three, n=Input((1, 3, 1), "int64"))
    _error(ShapeError, "sizes differ in dimension 1", ragged, x=three, n=Input((1, 2, 1), "int32"))
    _error(DtypeError, "floating-point", ragged, x=Input((1, 3, 4), "int32"), n=Input((1, 3, 1), "int32"))
