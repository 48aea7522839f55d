"""Assertions: what the reference checks at each call, and TensorRT of sizes."""

from __future__ import annotations

import numpy as np
import pytest
from bindings import versions
from harness import compile_network, lower, needs_rtx, new_network
from judged_engines import provider_of

import trtnet
from trtnet import Dim, Input, layers
from trtnet.errors import (
    ArgumentTypeError,
    BuildError,
    DtypeError,
    EngineError,
    ProviderError,
    ShapeError,
    UnsupportedError,
)
from trtnet.tensorrt.build.lowering import Lowering

torch = pytest.importorskip("torch")
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def record(check, batch=2):
    def forward(x):
        check(x)
        return x.relu()

    return trtnet.record(forward, x=Input((batch, 3)))


def of_data(x):
    layers.add_assertion((x < 5).all(), message="all less than 5")


def of_rows(x):
    layers.add_assertion(layers.add_shape(x)[:1] < 3, message="fewer than 3 rows")


def test_the_reference_raises_at_the_users_line():
    engine = trtnet.reference(record(of_data))
    assert np.array_equal(engine(X - 1), np.maximum(X - 1, 0))
    with pytest.raises(EngineError, match="all less than 5") as caught:
        engine(X)
    said = str(caught.value)
    assert "test_assertion.py" in said
    assert 'layers.add_assertion((x < 5).all(), message="all less than 5")' in said


def test_which_of_several_is_false():
    engine = trtnet.reference(record(lambda x: layers.add_assertion(x.flatten() < 4)))
    with pytest.raises(EngineError, match=r"does not hold\n  expected: True\n  found:    False at \[4, 5\]"):
        engine(X)


def test_sizes_are_asserted_at_each_call():
    engine = trtnet.reference(record(of_rows, Dim("batch", 1, 2, 4)))
    assert engine(X).shape == (2, 3)
    with pytest.raises(EngineError, match="fewer than 3 rows"):
        engine(np.concatenate([X, X]))


def test_it_is_kept_saved_and_shown(tmp_path):
    graph = record(of_data)
    assert graph.layers[-2].kind == "assertion"
    assert "assertion" in graph.summary()
    path = trtnet.reference(graph).save(tmp_path / "net.engine")
    with pytest.raises(EngineError, match="all less than 5"):
        trtnet.load(path)(X)
    with pytest.raises(EngineError, match="all less than 5"):
        trtnet.to_torch(graph)(torch.from_numpy(X))


@pytest.mark.parametrize("version", versions())
def test_every_tensorrt_takes_conditions_of_sizes_and_none_of_data(version):
    provider = provider_of(version)
    network = provider.create_network(provider.builder())
    lowered = Lowering(record(of_rows), network, provider).run()
    assert lowered.network.num_layers > 2
    with pytest.raises(
        ProviderError, match=r"TensorRT asserts nothing of data\n(.*\n)*  at: .*test_assertion"
    ) as caught:
        Lowering(record(of_data), provider.create_network(provider.builder()), provider).run()
    assert "'all less than 5'" in str(caught.value)


def test_tensorrt_compiles_what_may_hold_and_refuses_what_cannot():
    needs_rtx()
    assert compile_network(lower(record(of_rows, Dim("batch", 1, 2, 4)), new_network()))
    with pytest.raises(BuildError, match=r"fewer than 3 rows"):
        trtnet.build_plan(record(of_rows, 3), "sm86")


def test_torchs_names():
    def forward(x):
        trtnet._assert(x.shape[0] == 2, "two rows")
        trtnet._assert((x < 5).all(), "all less than 5")
        trtnet._assert_async(x.max() < 5, "no 5")
        return x

    engine = trtnet.reference(trtnet.record(forward, x=Input((2, 3))))
    assert engine(X - 1).shape == (2, 3)
    with pytest.raises(EngineError, match="all less than 5"):
        engine(X)
    with pytest.raises(AssertionError, match="two rows"):
        trtnet.record(forward, x=Input((1, 3)))
    torch._assert_async(torch.tensor(True), "as here")
    trtnet._assert_async(trtnet.tensor(True), "as there")
    with pytest.raises(AssertionError, match="no"):
        trtnet._assert_async(trtnet.tensor(False), "no")
    with pytest.raises(ShapeError, match="one value is asserted"):
        trtnet.record(lambda x: trtnet._assert(x > 0, "which"), x=Input((2, 3)))


def test_a_branch_asserts_nothing():
    def branch(x):
        trtnet.layers.add_assertion(x[0] > 0, message="the first is positive")
        return x * 2

    with pytest.raises(UnsupportedError, match="a branch of cond asserts nothing by itself") as caught:
        trtnet.record(lambda x: trtnet.cond(x.sum() > 0, branch, lambda x: x * 3, x), x=Input((3,)))
    assert 'add_assertion(x[0] > 0, message="the first is positive")' in str(caught.value)


def test_a_message_is_text():
    with pytest.raises(
        ArgumentTypeError, match=r"the attribute 'message' is of another type\n  expected: text\n  found:    5"
    ):
        trtnet.record(lambda x: trtnet.layers.add_assertion(x.sum() > 0, message=5) or x * 2, x=Input((3,)))


def test_what_is_no_condition_is_refused():
    with pytest.raises(DtypeError, match="an assertion takes bool"):
        record(lambda x: layers.add_assertion(x))
    with pytest.raises(ShapeError, match=r"one bool, or one dimension of them\n.*\n  found:    \(2, 3\)"):
        record(lambda x: layers.add_assertion(x > 0))
