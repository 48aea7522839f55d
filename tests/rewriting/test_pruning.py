"""Graphs without the layers that no output depends on; what the summary says of those, and of how many there are."""

from __future__ import annotations

import doctest
import pickle

import numpy as np
import pytest
import torch
from harness import needs_rtx

import trtnet
from models.lenet import LeNet
from trtnet import Input, layers, nn
from trtnet import functional as F
from trtnet.tensorrt.abilities import Newest


class Idle(nn.Module):
    """Layers outside, in a loop and behind a conditional that lead nowhere."""

    def __init__(self):
        super().__init__()
        self.idle, self.fc, self.step, self.last = (nn.Linear(3, 3) for _ in range(4))

    def forward(self, x, flag):
        self.idle(x)
        first = trtnet.cond(flag, lambda v: self.fc(v), lambda v: v * 2, x[0])

        def body(state, y):
            return self.step(state) + y, (state * 3, self.last(y))

        return trtnet.scan(body, first, x)[1][0]


def checked_with_idle(x):
    """An assertion, what it checks, and a layer that nothing needs."""
    layers.add_assertion(layers.add_shape(x) > 0, message="no dimension is empty")
    x.log()
    return x.exp()


PRUNED = {
    "idle in a loop and a conditional": (lambda: Idle(), {"x": (4, 3), "flag": (1,)}),
    "an assertion stays": (lambda: checked_with_idle, {"x": (2, 3)}),
    "a size that the data decides stays": (
        lambda: lambda x: (x[x > 0], F.zeros(F.nonzero(x).shape[0], 2))[1], {"x": (4, 3)},
    ),
    "nothing is idle": (lambda: nn.Linear(3, 2), {"input": (4, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", PRUNED)
def test_prune_leaves_out_what_no_output_depends_on(name):
    make, shapes = PRUNED[name]
    graph = trtnet.record(
        make(), **{n: Input(shape, "bool" if n == "flag" else "float32") for n, shape in shapes.items()}
    )
    pruned = graph.prune()
    assert pruned.reaching(effects=True) == set(pruned.layers)
    assert [layer for layer in graph.layers if layer in set(pruned.layers)] == pruned.layers
    assert {"assertion", "shape"} <= {layer.kind for layer in pruned.layers} or "assertion" not in name
    assert pruned.parameters is graph.parameters
    assert pruned.inputs is graph.inputs
    assert pruned.data_dims <= graph.data_dims
    if name == "nothing is idle":
        assert pruned is graph
    else:
        assert 0 < len(pruned.layers) < len(graph.layers)
        assert "graph.prune()" in graph.summary()
    assert "*" not in pruned.summary()
    rng = np.random.default_rng(0)
    given = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
    given |= {"flag": np.array([True])} if "flag" in given else {}
    np.testing.assert_array_equal(trtnet.reference(pruned)(**given), trtnet.reference(graph)(**given), err_msg=name)
    again = pickle.loads(pickle.dumps(pruned))
    assert again.structure_hash() == pruned.structure_hash()
    assert (pruned.structure_hash() == graph.structure_hash()) == (pruned is graph)


def test_a_pruned_loop_compiles():
    needs_rtx()
    graph = trtnet.record(Idle(), x=Input((4, 3)), flag=Input((1,), "bool")).prune()
    assert len(bytes(trtnet.build_plan(graph, "sm86"))) > 0


class IdleInTraining(nn.Module):
    """Dropout and BatchNorm on the way to the output, and some that lead nowhere."""

    def __init__(self):
        super().__init__()
        self.norm, self.idle_norm = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.drop, self.idle_drop = nn.Dropout(0.5), nn.Dropout(0.5)

    def forward(self, x):
        self.idle_norm(self.idle_drop(x.log()))
        return self.drop(self.norm(x).exp()) * 2


def test_a_pruned_network_is_trained_as_the_whole_one():
    graph = trtnet.record(IdleInTraining(), x=Input((64, 3)))
    pruned = graph.prune()
    assert len(pruned.layers) < len(graph.layers)
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for one in (graph, pruned):
        module = trtnet.to_torch(one).train()
        torch.manual_seed(1)
        if one is graph:
            torch.rand(x.shape)  # what the dropout that leads nowhere draws, which comes first
        found.append((module(x), dict(module.named_buffers())))
    (whole, buffers), (less, others) = found
    assert (less == 0).any()
    assert ((whole == 0) | (less == 0) | (whole == less)).all(), "where nothing is dropped, the values are the same"
    torch.testing.assert_close(others["norm.running_mean"], buffers["norm.running_mean"])
    assert (others["norm.running_mean"] != 0).all()
    assert (others["idle_norm.running_mean"] == 0).all()


def test_the_summary_counts_layers_and_says_of_how_many_they_are_made():
    graph = trtnet.record(nn.Linear(3, 2), input=Input((4, 3)))
    assert len(graph.layers) == 1
    assert "-> 1 recorded layer ->" in repr(graph)
    assert "4 layers (recorded as 1), 8 parameters" in graph.summary()
    assert len(graph.for_provider(Newest()).layers) == 4


def test_the_counts_of_lenet_that_the_readme_gives():
    graph = trtnet.record(LeNet(), image=Input((1, 1, 28, 28)))
    assert "-> 9 recorded layers ->" in repr(graph)
    assert "15 layers (recorded as 9)" in graph.summary()


def test_the_example():
    (example,) = doctest.DocTestFinder().find(trtnet.Graph.prune, "prune", globs={"trtnet": trtnet})
    assert doctest.DocTestRunner().run(example) == (0, 2)
