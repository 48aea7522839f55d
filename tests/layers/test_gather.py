"""Gather, scatter and one-hot layers in every mode, against what their modes mean."""

import numpy as np
import pytest
import torch
from families import values
from harness import lower_and_compare

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.functional.dispatch import tensor
from trtnet.graph.recorder import emit
from trtnet.layers.gather import Gather, OneHot, Scatter

BATCH = Dim("batch", min=1, opt=4, max=8)
INDEX = ["int64", "int32"]


def run(function, **arrays):
    """With a dynamic first dimension; lowered and compiled."""
    specs = {name: Input((BATCH, *a.shape[1:]), dtypes.get(a.dtype)) for name, a in arrays.items()}
    graph = trtnet.record(function, **specs)
    lower_and_compare(graph)
    return trtnet.reference(graph)(**arrays)


@pytest.mark.parametrize("dtype", INDEX)
def test_gather(dtype) -> None:
    x = values((3, 4, 5))
    i = np.array([[1, 3], [0, 0], [2, 1]], dtype)
    np.testing.assert_array_equal(run(lambda x, i: emit(Gather((x, i), axis=1)), x=x, i=i), x[:, i])
    np.testing.assert_array_equal(run(lambda x, i: emit(Gather((x, i[0]), axis=2)), x=x, i=i), x[:, :, i[0]])
    batched = run(lambda x, i: emit(Gather((x, i), axis=1, num_elementwise_dims=1)), x=x, i=i)
    np.testing.assert_array_equal(batched, np.stack([a[j] for a, j in zip(x, i)]))
    nd = run(lambda x, i: emit(Gather((x, i), mode="ND")), x=x, i=i % 3)
    np.testing.assert_array_equal(nd, x[i[:, 0] % 3, i[:, 1] % 3])
    nd = run(lambda x, i: emit(Gather((x, i), mode="ND", num_elementwise_dims=1)), x=x, i=i)
    np.testing.assert_array_equal(nd, x[np.arange(3), i[:, 0], i[:, 1]])
    e = np.array([[[1, 0]] * 4, [[2, 4]] * 4, [[3, 3]] * 4], dtype)
    np.testing.assert_array_equal(
        run(lambda x, e: emit(Gather((x, e), axis=2, mode="ELEMENT")), x=x, e=e), np.take_along_axis(x, e, 2)
    )


@pytest.mark.parametrize("dtype", INDEX)
def test_scatter(dtype) -> None:
    x, u = values((3, 4, 5)), values((3, 2, 5), seed=1)
    e = np.stack([np.stack([np.full(5, a), np.full(5, b)]) for a, b in ((0, 1), (3, 2), (1, 3))]).astype(dtype)
    wanted = torch.from_numpy(x).scatter(1, torch.from_numpy(e).long(), torch.from_numpy(u)).numpy()
    np.testing.assert_array_equal(run(lambda x, e, u: emit(Scatter((x, e, u), axis=1)), x=x, e=e, u=u), wanted)
    i = np.array([[0, 2], [2, 1], [1, 3]], dtype)
    v = values((3, 5), seed=2)
    wanted = x.copy()
    wanted[i[:, 0], i[:, 1]] = v
    np.testing.assert_array_equal(run(lambda x, i, v: emit(Scatter((x, i, v), mode="ND")), x=x, i=i, v=v), wanted)


@pytest.mark.parametrize("dtype", INDEX)
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_one_hot(dtype, axis) -> None:
    i = np.array([[1, 3], [0, 0], [2, 1]], dtype)
    found = run(lambda i: emit(OneHot((i, tensor(trtnet.tensor([-1.0, 2.0]))), 4, axis)), i=i)
    wanted = np.moveaxis(np.where(i[..., None] == np.arange(4), 2.0, -1.0), -1, axis)
    np.testing.assert_array_equal(found, wanted)


def _error(kind, match, function, *shapes_and_dtypes):
    specs = {name: Input(shape, dtype) for name, (shape, dtype) in zip("xiu", shapes_and_dtypes)}
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


def test_refused() -> None:
    x, i, f = ((3, 4), "float32"), ((3, 2), "int64"), ((3, 2), "float32")
    _error(DtypeError, "indices are whole numbers", lambda x, i: emit(Gather((x, i))), x, f)
    _error(ShapeError, "have one rank", lambda x, i: emit(Gather((x, i), mode="ELEMENT")), x, ((3,), "int64"))
    _error(ShapeError, "positions in the data", lambda x, i: emit(Gather((x, i), mode="ND")), x, ((3, 3), "int64"))
    _error(ArgumentError, "no such gather mode", lambda x, i: emit(Gather((x, i), mode="ANY")), x, i)
    _error(
        ArgumentError,
        "0 or 1 in mode DEFAULT",
        lambda x, i: emit(Gather((x, i), num_elementwise_dims=2)),
        x,
        ((3, 4), "int64"),
    )
    _error(
        DtypeError, "values of the data's dtype", lambda x, i, u: emit(Scatter((x, i, u))), x, i, ((3, 2), "float16")
    )
    _error(
        ShapeError,
        "updates of a scatter do not fit",
        lambda x, i, u: emit(Scatter((x, i, u))),
        x,
        i,
        ((3, 3), "float32"),
    )
    _error(ArgumentError, "no such scatter mode", lambda x, i, u: emit(Scatter((x, i, u), mode="ANY")), x, i, f)
    _error(ShapeError, "two values: off, on", lambda x, i: emit(OneHot((i, x[0]), 3)), x, i)
