"""Loops and conditionals on TensorRT: as the reference computes them, refitted inside, with live weights inside."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, close, same

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ProviderError

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).standard_normal((7, 3, 6)).astype(np.float32)
TIME, BATCH = Dim("time", min=1, opt=7, max=9), Dim("batch", min=1, opt=3, max=8)


class Cell(nn.Module):
    """A recurrent network of tanh, as a scan."""

    def __init__(self, reverse=False):
        super().__init__()
        self.linear = nn.Linear(6 + 5, 5)
        self.reverse = reverse

    def forward(self, x):
        def body(h, x):
            h = trtnet.tanh(self.linear(trtnet.cat([x, h], -1)))
            return h, h * 2

        return trtnet.scan(body, trtnet.zeros(x.shape[1], 5), x, reverse=self.reverse)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        return trtnet.cond(x.sum() > 0, lambda x: self.a(x), lambda x: self.b(x).relu(), x)


def two_carries(x):
    def body(carry, x):
        a, n = carry
        return (a + x, n + 1), {"product": a * x, "difference": x - a}

    (a, n), ys = trtnet.scan(body, (trtnet.zeros(3, 6), trtnet.zeros(())), x)
    return a, n, ys["product"], ys["difference"]


def nested(x):
    def outer(carry, x):
        inner, _ = trtnet.scan(lambda d, row: (d + row, d), trtnet.zeros(6), x)
        return carry + inner, inner

    return trtnet.scan(outer, trtnet.zeros(6), x)


def counted(x):
    return trtnet.while_loop(
        lambda i, y: i < 5, lambda i, y: (i + 1, y * 1.5 + 1), (trtnet.zeros((), dtype=trtnet.int32), x)
    )


def until_large(x):
    return trtnet.while_loop(lambda y: y.abs().sum() < 1000, lambda y: (y * 2,), (x,))


NETWORKS = {
    "scan": (Cell, X, X.shape),
    "reverse": (lambda: Cell(reverse=True), X, X.shape),
    "dynamic": (Cell, X, (TIME, BATCH, 6)),
    "two carries": (lambda: two_carries, X, X.shape),
    "nested": (lambda: nested, X, X.shape),
    "counted": (lambda: counted, X[0], X[0].shape),
    "until large": (lambda: until_large, X[0], X[0].shape),
    "if true": (Branches, np.abs(X[0]), (BATCH, 6)),
    "if false": (Branches, -np.abs(X[0]), (BATCH, 6)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_reference_computes(name):
    make, x, shape = NETWORKS[name]
    graph = trtnet.record(make(), x=Input(shape))
    refit = bool(graph.parameters)
    with trtnet.build(graph, refit=refit, **LEVEL) as engine:
        reference = trtnet.reference(graph, dtype="float64")
        before = engine(x)
        close(before, reference(x), 1e-5)
        if not refit:
            return
        state = {key: np.asarray(value) * 0.7 + 0.05 for key, value in graph.state_dict().items()}
        for one in (engine, reference):
            one.refit(state)
        close(engine(x), reference(x), 1e-5)
        engine.refit(graph.state_dict())
        assert same(engine(x), before)


def test_other_lengths_and_batches():
    graph = trtnet.record(Cell(), x=Input((TIME, BATCH, 6)))
    with trtnet.build(graph, **LEVEL) as engine:
        reference = trtnet.reference(graph, dtype="float64")
        for time, batch in ((1, 1), (9, 8), (2, 3), (7, 5)):
            x = np.random.default_rng(time).standard_normal((time, batch, 6)).astype(np.float32)
            close(engine(x), reference(x), 1e-5)


def test_live_weights_inside():
    graph = trtnet.record(Cell(), x=Input(X.shape))
    with trtnet.build(graph, live=True, check=False, **LEVEL) as engine:
        weights = {key: torch.as_tensor(np.asarray(value)).cuda() for key, value in graph.state_dict().items()}
        engine.bind_weights(weights)
        x = torch.from_numpy(X).cuda()
        reference = trtnet.reference(graph, dtype="float64")
        close(engine(x), reference(X), 1e-5)
        for value in weights.values():
            value.mul_(0.5)
        reference.refit({key: value.cpu().numpy() for key, value in weights.items()})
        close(engine(x), reference(X), 1e-5)


@pytest.mark.parametrize("name", ["scan", "dynamic", "until large", "if true"])
def test_a_cuda_graph_of_it_works_or_is_refused_by_name(name):
    make, x, shape = NETWORKS[name]
    graph = trtnet.record(make(), x=Input(shape))
    with trtnet.build(graph, **LEVEL) as engine:
        device = torch.from_numpy(x).cuda()
        if engine.provider.captures_loops:
            close(engine(device, graph=True), trtnet.reference(graph, dtype="float64")(x), 1e-5)
            return
        for call in (lambda: engine(device, graph=True), lambda: engine.bind(device, graph=True)):
            with pytest.raises(ProviderError, match=r"loop or a conditional cannot be captured(.|\n)*graph=True"):
                call()
        close(engine(device), trtnet.reference(graph, dtype="float64")(x), 1e-5)
