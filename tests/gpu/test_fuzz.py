"""A thousand random programs on TensorRT, fifty to a network: it must give torch's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing.apart import Apart
from fuzzing.packed import agreeing, build_all
from networks import LEVEL, flat

import trtnet

torch = pytest.importorskip("torch")
SEED = 20261128
PACKS = 20


@pytest.fixture(scope="module")
def apart():
    made = Apart(LEVEL)
    yield made
    made.close()


@pytest.mark.parametrize("part", range(PACKS))
def test_random_programs(part, apart):
    """At every batch size that all of them take; every fourth network is refitted to other weights, too."""
    report = apart(agreeing(SEED + part, 50, lines=16), refit=part % 4 == 3)
    assert report.crashed == []
    assert report.failed == []
    assert report.wrong == []
    assert len(report.refused) <= 8, report.refused
    assert report.compared > 300


def test_a_wrong_answer_would_be_seen():
    programs = agreeing(SEED, 10, lines=16)
    for pack, engine in build_all(programs, lambda graph: trtnet.build(graph, check=False, **LEVEL), 10).built:
        found = engine(**pack.inputs(3))
        assert len(flat(found)) == len(pack.graph.outputs)
        other = {n: ~v if v.dtype == bool else np.nan_to_num(v) + np.asarray(1, v.dtype) for n, v in found.items()}
        verdicts = [verdict for _, verdict in pack.compare(other, 3) if verdict.compared]
        assert sum(verdict.difference is not None for verdict in verdicts) >= 0.9 * len(verdicts)
