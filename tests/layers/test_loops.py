"""Graphs with loops: what is rewritten, saved, refitted, trained, shown, and known of their tensors."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from harness import lower_and_compare, needs_rtx

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.basics.errors import ArgumentError
from trtnet.engine.graph_json import from_json, to_json
from trtnet.graph.regions import interior
from trtnet.layers.loops import LoopOutput
from trtnet.pytorch.checking import ways
from trtnet.pytorch.sampling import Sampler
from trtnet.rewriting.extra_outputs import with_outputs
from trtnet.rewriting.live_inputs import with_live

T = Dim("t", min=1, opt=4, max=9)


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Loop(nn.Module):
    """Weights in the body of a scan, in a while_loop within it, and in both branches of a conditional."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.scale = nn.Parameter(trtnet.tensor([0.5, 1.5, -1.0]))
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        def body(h, x):
            h = F.gelu(self.norm(self.inner(x + h)))
            (h,) = trtnet.while_loop(lambda h: h.sum() > 1, lambda h: (h * 0.5 * self.scale.abs() - 0.1,), (h,))
            h = trtnet.cond(h.sum() > 0, lambda h: self.inner(h) * self.scale, lambda h: h - self.scale, h)
            return h, self.head(h)

        return trtnet.scan(body, x[0] * 0, x)


class TorchLoop(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 3)
        self.norm = torch.nn.LayerNorm(3)
        self.scale = torch.nn.Parameter(torch.tensor([0.5, 1.5, -1.0]))
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x):
        h, ys = x[0] * 0, []
        for one in x:
            h = torch.nn.functional.gelu(self.norm(self.inner(one + h)))
            while h.sum() > 1:
                h = h * 0.5 * self.scale.abs() - 0.1
            h = self.inner(h) * self.scale if h.sum() > 0 else h - self.scale
            ys.append(self.head(h))
        return h, torch.stack(ys)


X = values(6, 2, 3)


def state(seed=1):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=a.shape).astype(np.float32) for name, a in Loop().state_dict().items()}


def recorded(t=T):
    graph = trtnet.record(Loop(), x=Input((t, 2, 3)))
    graph.load_state_dict(state())
    return graph


def torchs(seed=1):
    net = TorchLoop().double()
    net.load_state_dict({name: torch.from_numpy(a) for name, a in state(seed).items()})
    return net


def same(found, wanted, tolerance=1e-9):
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(one), two.detach().numpy(), rtol=tolerance, atol=tolerance)


def run(graph, seed=None, **options):
    engine = trtnet.reference(graph, dtype="float64", raw=True, **options)
    if seed is not None:
        engine.refit(state(seed))
    return engine(x=X.astype(np.float64))


@pytest.mark.parametrize("t", [T, 6])
def test_each_form_computes_the_same(t):
    graph = recorded(t)
    wanted = torchs()(torch.from_numpy(X).double())
    same(run(graph), wanted)
    lowering = lower_and_compare(graph)
    assert lowering.graph is not graph  # GELU and LayerNorm of TensorRT-RTX are taken as they are, int64 and uint8 too
    same(run(lowering.graph), wanted, 1e-7)
    same(
        run(from_json(json.loads(json.dumps(to_json(graph))), {n: p.value for n, p in graph.parameters.items()})),
        wanted,
    )
    same(run(pickle.loads(pickle.dumps(graph))), wanted)


def test_what_a_provider_lacks_is_composed_in_the_body(monkeypatch):
    graph = recorded()
    lacking = type("Lacking", (), {"__getattr__": lambda self, name: getattr(needs_rtx(), name)})()
    lacking.has = lambda kind, member: member not in ("GELU_ERF", "GELU_TANH") and needs_rtx().has(kind, member)
    composed = graph.for_provider(lacking)
    kinds = [layer.headline() for layer in composed.layers]
    assert "activation GELU_ERF" in [layer.headline() for layer in graph.layers]
    assert "activation GELU_ERF" not in kinds
    assert kinds.count("recurrence") == 2
    same(run(composed), torchs()(torch.from_numpy(X).double()), 1e-7)
    assert {"unary ERF"} <= {layer.headline() for layer in interior(composed.layers)}


def test_weights_in_bodies_keep_their_names_and_are_refitted():
    graph = recorded()
    lowering = lower_and_compare(graph, compile=False)
    names = {holding.name for holding in lowering.ledger}
    assert {name for name in state() if name != "scale"} <= names
    assert "scale" in names
    same(run(graph, 2), torchs(2)(torch.from_numpy(X).double()))


@pytest.mark.parametrize("live", ["inner.*", "scale", "*"])
def test_live_weights_in_bodies(live):
    import fnmatch

    graph = recorded()
    names = fnmatch.filter(graph.parameters, live)
    rewritten = with_live(graph, names)
    assert set(rewritten.live) == set(names)
    lower_and_compare(rewritten)
    engine = trtnet.reference(graph, dtype="float64", raw=True, live=names)
    same(engine(x=X.astype(np.float64)), torchs()(torch.from_numpy(X).double()), 1e-6)
    trained = {name: torch.from_numpy(a) for name, a in state(3).items()}
    engine.bind_weights({name: trained[name] for name in names})
    engine.refit({name: a for name, a in state(3).items() if name not in names})
    same(engine(x=X.astype(np.float64)), torchs(3)(torch.from_numpy(X).double()), 1e-6)


def test_gradients_go_through_loops_and_conditionals():
    graph = recorded()
    mine, theirs = trtnet.to_torch(graph).double(), torchs()
    for net in (mine, theirs):
        h, ys = net(torch.from_numpy(X).double())
        (h.square().sum() + ys.sin().sum()).backward()
    for name, parameter in theirs.named_parameters():
        found = mine.get_parameter(name).grad
        np.testing.assert_allclose(found.numpy(), parameter.grad.numpy(), rtol=1e-6, atol=1e-6, err_msg=name)
        assert float(parameter.grad.abs().max()) > 1e-6


def test_dropout_in_a_body_drops_in_training_at_each_iteration():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return trtnet.scan(lambda c, x: (c + x, self.drop(x)), x[0] * 0, x)

    net = trtnet.to_torch(trtnet.record(Dropping(), x=Input((40, 8))))
    x = torch.ones(40, 8)
    assert net(x)[1].equal(x)
    torch.manual_seed(0)
    ys = net.train()(x)[1]
    assert set(ys.unique().tolist()) == {0.0, 2.0}
    assert len({tuple(row) for row in ys.tolist()}) > 20


def test_the_hash_says_what_a_loop_is():
    def graph(reverse=False, length=None, kind=trtnet.scan, dims=T):
        return trtnet.record(
            lambda x: kind(lambda c, x: (c + x, c * 2), x[0], x, reverse=reverse, length=length), x=Input((dims, 3))
        ).structure_hash()

    assert graph() == graph()
    assert len({graph(), graph(reverse=True), graph(dims=4), graph(dims=5)}) == 4
    assert recorded().structure_hash() == from_json(to_json(recorded())).structure_hash()


def test_a_plan_of_a_loop_is_saved_and_loaded(tmp_path):
    needs_rtx()
    graph = recorded()
    path = trtnet.build_plan(graph, targets=["sm86"], refit=True).save(tmp_path / "loop.fp32.engine")
    engine = trtnet.load(path, provider="reference")
    wanted = trtnet.reference(graph)(x=X)
    for one, two in zip(engine(x=X), wanted, strict=True):
        np.testing.assert_array_equal(one, two)
    engine.refit(state(2))
    same(engine(x=X), torchs(2)(torch.from_numpy(X).double()), 1e-4)


def test_bytes_are_carried():
    graph = trtnet.record(lambda x: trtnet.scan(lambda c, x: (c + x, c), x[0], x), x=Input((4, 3), "uint8"))
    x = np.random.default_rng(0).integers(0, 256, (4, 3)).astype(np.uint8)
    for one in (graph, lower_and_compare(graph).graph):
        carry, ys = trtnet.reference(one)(x=x)
        assert carry.tolist() == ((x[0].astype(int) + x.sum(0)) % 256).tolist()
        assert ys[0].tolist() == x[0].tolist()


def test_the_summary_shows_what_is_inside():
    lines = recorded().summary(needs_rtx()).splitlines()
    assert any("trip_limit COUNT" in line and line.startswith("  trip_limit") for line in lines)
    assert any(line.startswith("    trip_limit WHILE") for line in lines)
    assert any(line.startswith("      ") and "matrix_multiply" in line for line in lines)
    assert any(line.rstrip() == "    condition" for line in lines)


def test_tensors_inside_are_no_outputs():
    graph = recorded()
    with pytest.raises(ArgumentError, match="no layer was recorded in a module 'norm'") as caught:
        with_outputs(graph, "norm")
    assert "inside of a loop or a conditional" in caught.value.remedy
    inside = interior(graph.layers)
    ends = [layer for layer in graph.layers if layer not in inside]
    assert [layer.headline() for layer in ends][-2:] == ["loop_output LAST_VALUE", "loop_output CONCATENATE"]


def test_marking_a_tensor_inside_is_refused_at_the_line():
    def forward(x):
        return trtnet.scan(lambda c, x: (trtnet.mark(c + x, "sum"), c), x[0], x)

    with pytest.raises(ArgumentError, match="computed in the body of scan, and is not there outside of it"):
        trtnet.record(forward, x=Input((4, 3)))


def test_roundings_and_draws_come_round():
    """What is known of a tensor of a loop holds for what the iterations before computed, too."""

    def forward(x, n):
        carry, ys = trtnet.scan(lambda c, x: (trtnet.tanh(x), c), trtnet.zeros(3), x)
        moved, _ = trtnet.scan(lambda c, x: (x, c), trtnet.zeros(3), x)
        counted, _ = trtnet.while_loop(lambda i, y: y.sum().sin() < 0.9, lambda i, y: (i + 1, y + 1), (0, x))
        drawn = trtnet.rand(3)
        delayed = trtnet.scan(lambda c, x: (drawn, c), x[0], x)[1]
        decided = trtnet.cond(drawn.sum() > 1, lambda: n, lambda: n + 1)
        return {
            "carry": carry, "ys": ys, "moved": moved, "counted": counted, "delayed": delayed, "decided": decided,
        }  # fmt: skip

    graph = trtnet.record(forward, x=Input((4, 3)), n=Input((2,), "int32"))
    found = ways(graph)
    roundings = {name: found[tensor].rounding for name, tensor in graph.outputs.items()}
    assert roundings["ys"] == roundings["carry"] == roundings["counted"] == 2.0**-24
    assert roundings["moved"] == 0.0
    assert [name for name, tensor in graph.outputs.items() if found[tensor].drawn] == ["delayed", "decided"]
    assert graph.drawn_outputs() == ["delayed", "decided"]


def test_indices_in_loops_are_drawn_within_their_tables():
    class Words(nn.Module):
        def __init__(self, moves):
            super().__init__()
            self.table = nn.Embedding(5, 3)
            self.moves = moves

        def forward(self, words, start):
            def body(word, given):
                return (word + 1 if self.moves else given), self.table(word) + self.table(given)

            return trtnet.scan(body, start, words)[1]

    inputs = {"words": Input((4, 2), "int64"), "start": Input((2,), "int64")}
    sampler = Sampler(trtnet.record(Words(False), **inputs))
    assert sampler.is_known
    assert {n: sampler.limits(n, {}) for n in inputs} == {"words": (0, 4), "start": (0, 4)}
    assert not Sampler(trtnet.record(Words(True), **inputs)).is_known


def test_a_loop_output_knows_its_recurrence():
    graph = trtnet.record(lambda x: trtnet.scan(lambda c, x: (c + x, None), x[0], x)[0], x=Input((4, 3)))
    (output,) = (layer for layer in graph.layers if isinstance(layer, LoopOutput))
    assert output.feeds.layer.kind == "recurrence"
    text = to_json(graph)
    (row,) = (one for one in text["layers"] if one["class"] == "LoopOutput")
    row["inputs"] = row["inputs"][:1] * 2  # the next value in the place of the recurrence
    with pytest.raises(trtnet.TrtnetError, match="not a recorded network"):
        from_json(text)
