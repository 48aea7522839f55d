"""A thousand random programs on TensorRT, fifty to a network, forty refitted ones, and twenty in half precision: it
must give torch's numbers.

A network is in one floating-point type. Where both are in one fused node, TensorRT 8.6.1 computes float32 layers in
half precision, though they are held to float32, or finds no implementation of that node (an H200). `build`'s check
finds it.

TRTNET_FUZZ_SEED=20261201 (any number) takes other programs.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from fuzzing.apart import Apart
from fuzzing.packed import agreeing, build_all
from networks import LEVEL, flat

import trtnet

torch = pytest.importorskip("torch")
SEED = int(os.environ.get("TRTNET_FUZZ_SEED", "20261128"))
PACKS, REFITTED, HALVES = 20, 4, 2
SINGLE, HALF = {"float32"}, {"float16"}


@pytest.fixture(scope="module")
def apart():
    made = Apart(LEVEL)
    yield made
    made.close()


def assert_right(report, apart, refit=False):
    assert not report.faults(), "\n\n".join(apart.printed(report, refit))


@pytest.mark.parametrize("part", range(PACKS))
def test_random_programs(part, apart):
    """At every batch size that all of them take."""
    report = apart(agreeing(SEED + part, 50, lines=16, dtypes=SINGLE))
    assert_right(report, apart)
    assert len(report.refused) <= 8, report.refused
    assert report.compared > 300


@pytest.mark.parametrize("part", range(REFITTED))
def test_random_programs_refitted(part, apart):
    """To other weights, ten to a network: TensorRT builds fifty that can be refitted for many minutes."""
    report = apart(agreeing(SEED + PACKS + part, 10, lines=16, dtypes=SINGLE), refit=True)
    assert_right(report, apart, refit=True)
    assert len(report.refused) <= 3, report.refused
    assert report.compared > 80


@pytest.mark.parametrize("part", range(HALVES))
def test_random_programs_in_half_precision(part, apart):
    report = apart(agreeing(SEED + PACKS + REFITTED + part, 10, lines=16, dtypes=HALF))
    assert_right(report, apart)
    assert len(report.refused) <= 3, report.refused
    assert report.compared > 60


def test_a_wrong_answer_would_be_seen():
    programs = agreeing(SEED, 10, lines=16, dtypes=SINGLE)
    for pack, engine in build_all(programs, lambda graph: trtnet.build(graph, check=False, **LEVEL), 10).built:
        found = engine(**pack.inputs(3))
        assert len(flat(found)) == len(pack.graph.outputs)
        other = {n: ~v if v.dtype == bool else np.nan_to_num(v) + np.asarray(1, v.dtype) for n, v in found.items()}
        verdicts = [verdict for _, verdict in pack.compare(other, 3) if verdict.compared]
        assert sum(verdict.difference is not None for verdict in verdicts) >= 0.9 * len(verdicts)
