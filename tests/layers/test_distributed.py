"""Collectives: one rank computes them, several are lowered, and run by no engine of trtnet's."""

from __future__ import annotations

import numpy as np
import pytest
from bindings import versions
from harness import compile_network, needs_rtx, new_network
from judged_engines import provider_of

import trtnet
from trtnet import Dim, Input, layers
from trtnet.errors import ArgumentError, ProviderError, ShapeError
from trtnet.layers.distributed import OPERATIONS, REDUCING, ROOTED
from trtnet.rewriting.composing import for_provider
from trtnet.tensorrt.build.lowering import Lowering

X = np.arange(12, dtype=np.float32).reshape(4, 3)
ROWS = {"ALL_GATHER": 8, "GATHER": 8, "REDUCE_SCATTER": 2, "SCATTER": 2}


def record(operation, ranks=2, rows=4, **given):
    given.setdefault("reduce_op", "SUM" if operation in REDUCING else "NONE")
    given.setdefault("root", 0 if operation in ROOTED else -1)

    def forward(x):
        return layers.add_dist_collective(x, operation=operation, num_ranks=ranks, **given)

    return trtnet.record(forward, x=Input((rows, 3)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_rank_leaves_the_tensor_as_it_is(operation):
    graph = record(operation, 1, Dim("batch", 1, 2, 4))
    assert np.array_equal(trtnet.reference(graph)(X), X)
    for version in versions():
        assert [layer.kind for layer in for_provider(graph, provider_of(version)).layers] == ["identity"]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_several_ranks_are_lowered_where_there_is_such_an_operation(operation, version):
    provider, graph = provider_of(version), record(operation)
    if provider.has("CollectiveOperation", operation):
        network = provider.create_network(provider.builder())
        Lowering(for_provider(graph, provider), network, provider).run()
        assert network.num_layers == 1
    else:
        with pytest.raises(ProviderError, match=f"no such collective: {operation} between 2 ranks needs as many"):
            for_provider(graph, provider)


@pytest.mark.parametrize("groups", [(), (1, 0)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_tensorrt_infers_the_recorded_shape_and_compiles(operation, groups):
    graph = record(operation, groups=groups)
    lowering = Lowering(graph, new_network(), needs_rtx()).run()
    assert tuple(lowering.tensor("output").shape) == graph.outputs["output"].shape == (ROWS.get(operation, 4), 3)
    lowering.check_outputs()
    assert compile_network(lowering)


def test_several_ranks_are_no_reference():
    engine = trtnet.reference(record("ALL_REDUCE"))
    with pytest.raises(ProviderError, match="the reference is one process: ALL_REDUCE between 2 ranks") as caught:
        engine(X)
    assert "test_distributed.py" in str(caught.value)
    assert "num_ranks=1 leaves the tensor as it is" in str(caught.value)


@pytest.mark.parametrize(
    ("operation", "given", "message"),
    [
        ("SEND", {}, "there is no such collective operation"),
        ("ALL_REDUCE", {"reduce_op": "NONE"}, "reduce_op of ALL_REDUCE is another"),
        ("ALL_GATHER", {"reduce_op": "SUM"}, "reduce_op of ALL_GATHER is another"),
        ("BROADCAST", {"root": -1}, r"root of BROADCAST is another\n  expected: one of 0, 1"),
        ("BROADCAST", {"root": 2}, "root of BROADCAST is another"),
        ("ALL_REDUCE", {"root": 0}, "-1: there is none"),
        ("ALL_REDUCE", {"groups": (0, 0)}, "groups are the ranks that take part"),
        ("ALL_REDUCE", {"groups": (0, 1, 2)}, "groups are the ranks that take part"),
        ("ALL_REDUCE", {"ranks": 0}, "groups are the ranks that take part"),
    ],
)
def test_what_does_not_fit_is_refused(operation, given, message):
    with pytest.raises(ArgumentError, match=message):
        record(operation, **given)


def test_rows_that_cannot_be_shared_out_are_refused():
    with pytest.raises(ShapeError, match="gives each of 2 ranks as many rows"):
        record("SCATTER", rows=5)
    with pytest.raises(ShapeError, match="takes one dimension or more"):
        trtnet.record(lambda x: layers.add_dist_collective(x, operation="ALL_GATHER", num_ranks=2), x=Input(()))
