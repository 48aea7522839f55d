"""`dist:`: ranks of one job, in processes of their own."""

from __future__ import annotations

import signal

import following_ranks
import pytest
import ranks

from trtnet import fleet
from trtnet.errors import ArgumentError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this PyTorch has no torch.distributed with gloo",
)


def test_versions_go_from_one_rank_to_all_others(tmp_path):
    assert ranks.run(following_ranks.publishes_and_follows, 3, tmp_path) == [0, 0, 0]


def test_a_rank_of_another_structure_keeps_what_it_has_and_the_job_goes_on(tmp_path):
    assert ranks.run(following_ranks.refuses, 3, tmp_path) == [0, 0, 0]


def test_a_publisher_that_dies_in_a_broadcast_leaves_the_version_before(tmp_path):
    assert ranks.run(following_ranks.dies, 2, tmp_path) == [-signal.SIGKILL, 0]


def test_two_publishers_are_told(tmp_path):
    assert ranks.run(following_ranks.both_publish, 2, tmp_path) == [0, 0]
    (told,) = tmp_path.glob("told-*")
    assert "another rank publishes" in told.read_text()


def test_a_process_that_is_in_no_group_is_told():
    with pytest.raises(ArgumentError, match="init_process_group"):
        fleet.Publisher("dist:")
