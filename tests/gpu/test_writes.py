"""Constants written into a part of a tensor whose batch differs from call to call, on one engine.

On an H200 TensorRT 8.6.1 left the last row of `overlapping` as it was in memory at batches 5 and 2, after a call at
batch 3: `v0[-2:, :1] = 3` was then a concatenation with a third part, of no rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import LEVEL

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F


def overlapping(x: Any) -> dict[str, Any]:
    v0 = x.flatten(1)
    v1 = v0.flatten()
    v1.zero_()
    v0.add_(v0)
    v0[-2:, :1] = 3
    return {"x0": x.clone(), "v0": v0, "v1": v1}


def written(x: Any) -> dict[str, Any]:
    made = x.flatten(1) + 1
    made[-2:, :1] = 3
    return {"made": made}


def into_zeros(x: Any) -> dict[str, Any]:
    made = F.zeros_like(x.flatten(1))
    made[-2:, :1] = 3
    return {"made": made}


def from_a_row_on(x: Any) -> dict[str, Any]:
    made = F.zeros_like(x.flatten(1))
    made[2:, :1] = 3
    return {"made": made}


def between(x: Any) -> dict[str, Any]:
    made = F.zeros_like(x.flatten(1))
    made[1:-1, :1] = 3
    return {"made": made, "again": made.reshape(-1)}


def some_columns(x: Any) -> dict[str, Any]:
    made = F.zeros_like(x.flatten(1).expand(-1, 3))
    made[-2:, :2] = 3
    return {"made": made.clone(), "again": made.reshape(-1)}


def a_vector(x: Any) -> dict[str, Any]:
    made = F.zeros_like(x.flatten())
    made[-2:] = 3
    return {"made": made}


def joined(x: Any) -> dict[str, Any]:
    rows = x.shape[0]
    made = F.cat([F.zeros((rows, 1)), F.full((rows, 1), 3.0)], 0)
    return {"made": made, "again": made.reshape(-1), "copied": made.clone()}


def with_no_rows_behind(x: Any) -> dict[str, Any]:
    rows = x.shape[0]
    none = rows * rows // (rows * rows + 1)  # 0, which the algebra of sizes does not see
    made = F.cat([x.flatten(1), F.full((2, 1), 3.0), F.zeros((rows, 1))[:none]], 0)
    return {"made": made, "again": made.reshape(-1)}


WAYS = (overlapping, written, into_zeros, from_a_row_on, between, some_columns, a_vector, joined, with_no_rows_behind)


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_row_at_every_batch(way: Callable[[Any], dict[str, Any]], level: int) -> None:
    class Network(nn.Module):
        def forward(self, x: Any) -> dict[str, Any]:
            return way(x)

    batch = Dim("batch", min=1, opt=3, max=8)
    graph = trtnet.record(Network().eval(), x=Input((batch, 1, 1)))
    reference = trtnet.reference(graph)
    with trtnet.build(graph, check=False, **LEVEL | {"optimization_level": level}) as engine:
        for size in (3, 5, 2, 8, 1, 4):
            x = np.arange(1, size + 1, dtype=np.float32).reshape(size, 1, 1)
            found, wanted = engine(x), reference(x)
            for name, want in wanted.items():
                np.testing.assert_array_equal(found[name], want, err_msg=f"{name} at batch {size}")
