"""A thousand random programs on TensorRT, fifty to a network: it must give torch's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing.packed import agreeing, build_all
from networks import LEVEL, flat

import trtnet

torch = pytest.importorskip("torch")
SEED = 20261128
PACKS = 20


@pytest.mark.parametrize("part", range(PACKS))
def test_random_programs(part):
    """At every batch size that all of them take; every fourth network is refitted to other weights, too."""
    refit = part % 4 == 3
    programs = agreeing(SEED + part, 50, lines=16)
    outcome = build_all(programs, lambda graph: trtnet.build(graph, refit=refit, check=False, **LEVEL), 50)
    assert [(text, [s.text for s in p.steps]) for p, text in outcome.failed] == []
    assert len(outcome.refused) <= 8, [text for _, text in outcome.refused]
    wrong, compared = [], 0
    for pack, engine in outcome.built:
        for generation in range(1 + refit):
            if generation:
                engine.refit(pack.weights(1))
            for batch in (3, 5, 2):
                found = engine(**pack.inputs(batch))
                for program, verdict in pack.compare(found, batch, generation):
                    compared += verdict.compared
                    if verdict.difference:
                        wrong.append((verdict.difference.text, [s.text for s in program.steps]))
    assert wrong == []
    assert compared > 300


def test_a_wrong_answer_would_be_seen():
    programs = agreeing(SEED, 10, lines=16)
    for pack, engine in build_all(programs, lambda graph: trtnet.build(graph, check=False, **LEVEL), 10).built:
        found = engine(**pack.inputs(3))
        assert len(flat(found)) == len(pack.graph.outputs)
        other = {n: ~v if v.dtype == bool else np.nan_to_num(v) + np.asarray(1, v.dtype) for n, v in found.items()}
        verdicts = [verdict for _, verdict in pack.compare(other, 3) if verdict.compared]
        assert sum(verdict.difference is not None for verdict in verdicts) >= 0.9 * len(verdicts)
