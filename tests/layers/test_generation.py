"""The fill layer."""

import numpy as np
import pytest
from harness import lower_and_compare

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet.errors import DtypeError, ShapeError
from trtnet.graph import emit
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


def test_refused() -> None:
    with pytest.raises(ShapeError, match="one dimension"):
        trtnet.record(lambda x: emit(Fill((), (2, 3))), x=Input((N,)))
    with pytest.raises(DtypeError, match="float32 or int64"):
        trtnet.record(lambda x: emit(Fill((), (2,), to_type=dtypes.float16)), x=Input((N,)))
