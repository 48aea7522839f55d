"""A dynamic size in arithmetic with a tensor takes the tensor's dtype."""

from __future__ import annotations

import numpy as np
from harness import check_against_torch

from trtnet import Dim

BATCH = Dim("batch", 1, 4, 8)


def test_sizes_meet_tensors():
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    i = np.arange(3, dtype=np.int64)
    check_against_torch(
        lambda x, i: (x / x.shape[0], x.shape[0] * x, x - 2 * x.shape[0], i % i.shape[0], i.shape[0] - i),
        lambda x, i: (x / x.shape[0], x.shape[0] * x, x - 2 * x.shape[0], i % i.shape[0], i.shape[0] - i),
        {"x": x, "i": i},
        shapes={"x": (BATCH, 5), "i": (BATCH,)},
    )
