"""`dist:` over NCCL: two ranks, each with a GPU of its own."""

from __future__ import annotations

import following_ranks
import pytest
import ranks

torch = pytest.importorskip("torch")


@pytest.mark.alone
def test_a_follower_leaves_before_the_publisher(tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    if not torch.distributed.is_nccl_available():
        pytest.skip("this PyTorch has no NCCL")
    assert ranks.run(following_ranks.leaves_first, 2, tmp_path, backend="nccl") == [0, 0]
