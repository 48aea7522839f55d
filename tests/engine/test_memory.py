"""engine.memory: the reference's figures, and the table. judged_engines.py has TensorRT's, by its bindings."""

from __future__ import annotations

import numpy as np
import pytest

import trtnet
from trtnet import Input, nn
from trtnet.engine.memory import Memory
from trtnet.errors import EngineError

X = np.ones((2, 3), np.float32)


def graph():
    return trtnet.record(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5)), input=Input((2, 3)))


def rows(memory):
    """Where, and how many bytes, by what the first column says."""
    lines = [line.split("  ") for line in str(memory).splitlines()[2:]]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {cell[0]: cell[1:3] for cell in cells if len(cell) > 1}


def test_the_references_weights():
    engine = trtnet.reference(graph())
    nbytes = 4 * (12 + 4 + 20 + 5)
    assert engine.memory() == Memory("cpu", f"PyTorch {engine.torch.__version__}", nbytes)
    engine(X)
    assert engine.memory().weights == nbytes  # nothing is kept of a call
    engine.refit({"0.bias": np.full(4, 2, np.float32)})
    assert engine.memory().weights == nbytes
    with engine.context() as context:
        assert context.memory() == engine.memory()
    assert rows(engine.memory()) == {"weights": ["cpu", str(nbytes)]}
    assert str(engine.memory()).endswith("what its calls take, torch's own functions tell")
    hotswap = trtnet.HotSwap(engine)
    assert hotswap.memory().weights == 2 * nbytes
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.memory()


def test_what_is_computed_of_weights_counts():
    engine = trtnet.reference(graph(), dtype="float64")
    engine(X)
    assert engine.memory().weights == (4 + 8) * 41


def test_live_weights_are_told_apart():
    import torch

    engine = trtnet.build(graph(), provider="reference", live="1.*")
    assert (engine.memory().weights, engine.memory().live) == (64, 100)
    engine.bind_weights({"1.weight": torch.zeros(5, 4), "1.bias": torch.zeros(5)})
    engine(X)
    assert engine.memory().weights == 64
    assert rows(engine.memory()) == {"weights": ["cpu", "64"], "live weights": ["cpu", "100"]}


def test_the_table_of_each_kind():
    whole = Memory("cuda:0", "TensorRT 10.14.1", 5000, 1000, 40, (512, 2048), 2, 2048, 700, 800, 9000)
    assert rows(whole) == {
        "weights": ["cuda:0", "4,000"], "streamed weights": ["host", "1,000"], "live weights": ["cuda:0", "40"],
        "scratch, profile 0": ["cuda:0", "512"], "scratch, profile 1": ["cuda:0", "2,048"],
        "shared scratch": ["cuda:0", "2,048"], "buffers": ["cuda:0", "700"], "page-locked": ["host", "800"],
        "plan": ["host", "9,000"],
    }  # fmt: skip
    assert "each of 2 execution contexts has that" in str(whole)
    assert str(whole).endswith("by TensorRT 10.14.1")
    old = Memory("cuda:0", "TensorRT 8.6.1", None, 0, 0, (512,), 1, plan=9000)
    assert rows(old) == {"weights": ["cuda:0", "?"], "scratch": ["cuda:0", "512"], "plan": ["host", "9,000"]}
    assert "TensorRT 8.6.1 does not count them; the plan holds them" in str(old)
    chosen = Memory("cuda:0", "TensorRT 10.0.1", None, None, 0, (512,), 1)
    assert rows(chosen)["streamed weights"] == ["host", "?"]
    both = whole + whole
    assert (both.weights, both.streamed, both.plan, both.contexts, both.scratch) == (10000, 2000, 18000, 4, (512, 2048))
    assert (old + old).weights is None
