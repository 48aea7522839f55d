"""What a network of many layers, or of deeply nested modules, costs: in proportion, and without an end of the stack."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
from harness import needs_rtx

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.basics.tables import render
from trtnet.engine.weight_table import plan_table


class Wide(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(count)])

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class Deep(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.scale = nn.Parameter(np.full(2, 1.001, np.float32))
        self.inner = inner

    def forward(self, x):
        x = x * self.scale
        return x if self.inner is None else self.inner(x)


def nested(levels, last=None):
    for _ in range(levels):
        last = Deep(last)
    return last


def calls(function) -> int:
    """How many functions, Python's own included, are called."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


OPERATIONS = {
    "record": lambda net, graph, engine: lambda: trtnet.record(net, x=Input((Dim("n", min=1, max=4), 2))),
    "summary": lambda net, graph, engine: graph.summary,
    "structure_hash": lambda net, graph, engine: graph.structure_hash,
    "pickle": lambda net, graph, engine: lambda: pickle.loads(pickle.dumps(graph)),
    "repr": lambda net, graph, engine: lambda: repr(net),
    "state_dict": lambda net, graph, engine: net.state_dict,
    "load_state_dict": lambda net, graph, engine: lambda: net.load_state_dict(net.state_dict()),
    "reference": lambda net, graph, engine: lambda: trtnet.reference(graph),
    "weights": lambda net, graph, engine: lambda: str(engine.weights),
    "refit": lambda net, graph, engine: lambda: engine.refit(net.state_dict()),
    "call": lambda net, graph, engine: lambda: engine(x=np.zeros((2, 2), np.float32)),
    "snapshot": lambda net, graph, engine: lambda: engine.restore(engine.snapshot()),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_four_times_the_layers_take_four_times_the_work(operation):
    pytest.importorskip("torch")
    counts = []
    for size in (40, 160):
        net = Wide(size)
        graph = trtnet.record(net, x=Input((Dim("n", min=1, max=4), 2)))
        function = OPERATIONS[operation](net, graph, trtnet.reference(graph))
        function()  # what is imported or drawn once
        counts.append(calls(function))
    assert counts[1] < 4.4 * counts[0]


def test_lowering_grows_with_the_layers():
    needs_rtx()
    import tensorrt_rtx

    counts = []
    for size in (40, 160):
        graph = trtnet.record(Wide(size), x=Input((Dim("n", min=1, max=4), 2)))
        network = tensorrt_rtx.Builder(tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)).create_network(0)
        counts.append(calls(lambda graph=graph, network=network: graph.lower(network)))
    assert counts[1] < 4.4 * counts[0]


def test_the_engines_names_are_searched_by_their_hashes():
    """A list of 10,000 names, walked for each of 10,000 weights, took 20 seconds."""

    class Names(list):
        def __contains__(self, name):
            raise AssertionError("searched one by one")

    graph = trtnet.record(Wide(3), x=Input((2, 2)))
    needs_rtx()
    plan = trtnet.build_plan(graph, "sm86", refit=True)
    rows = plan_table(plan, Names(plan.weights))
    assert {row.status for row in rows} == {"refittable"}
    lost = plan_table(plan, Names(name for name in plan.weights if name != "layers.1.bias"))
    assert lost["layers.1.bias"].status == "fixed"


def test_a_table_is_aligned_whatever_its_cells_hold():
    text = render(("name", "größe"), [("日本", "1"), ("[red]", "1,234,567")], right=("größe",), footer="2 rows")
    assert text == "\n".join(
        [
            "  name        größe",
            " ───────────────────",
            "  日本            1",
            "  [red]   1,234,567",
            "",
            "2 rows",
        ]
    )
    assert render(("a", "b"), []) == "  a   b\n ───────"
    assert render(("a", "b"), [("", ""), ("%s", "1")], right=("b",)) == "  a    b\n ────────\n\n  %s   1"


def test_two_thousand_nested_modules():
    net = nested(2000)
    paths = [path for path, _ in net.named_modules()]
    assert len(paths) == 2000
    assert paths[-1] == ".".join(["inner"] * 1999)
    state = {name: np.full(2, 1 + i / 1e6, np.float32) for i, name in enumerate(net.state_dict())}
    net.load_state_dict(state)
    assert repr(net).splitlines()[-1999:] == [" " * (2 * level) + ")" for level in reversed(range(1999))]
    order = []
    net.train().half().float().apply(order.append)
    assert order == [module for _, module in net.named_modules()][::-1]

    graph = trtnet.record(net, x=Input((Dim("n", min=1, max=4), 2)))
    products = [layer for layer in graph.layers if layer.kind == "elementwise"]
    assert [layer.path for layer in products] == paths
    assert {layer.location.function for layer in products} == {"forward"}
    assert "4,000 parameters" in graph.summary()

    pytest.importorskip("torch")
    x = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    wanted = x * np.prod([values.astype(np.float64) for values in net.state_dict().values()], 0)
    np.testing.assert_allclose(trtnet.reference(graph)(x=x), wanted, rtol=1e-3)
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert again is not net
        assert len(list(again.modules())) == 2000
        kept = again.state_dict()
        assert kept.keys() == state.keys()
        assert all(np.array_equal(kept[name], net.state_dict()[name]) for name in list(state)[::97])
    again = pickle.loads(pickle.dumps(graph))
    assert again.structure_hash() == graph.structure_hash()
    np.testing.assert_allclose(trtnet.to_torch(graph)(trtnet.basics.arrays.from_numpy(x)).detach(), wanted, rtol=1e-3)


def test_names_that_are_too_long_for_tensorrt_are_shortened():
    needs_rtx()
    net = nn.Module()
    for last in "ab":
        setattr(net, "inner" * 1000 + last, nn.Linear(2, 2))
    net.forward = lambda x: [x := layer(F.relu(x)) for layer in net.children()][-1]
    graph = trtnet.record(net, x=Input((2, 2)))
    plan = trtnet.build_plan(graph, "sm86", refit=True)
    rows = list(plan_table(plan, None))
    for row in rows:
        (name,) = row.engine_weights
        assert len(row.parameter) > 4095 > len(name)
        assert (name[:20], name[-20:]) == (row.parameter[:20], row.parameter[-20:])
    assert len({row.engine_weights for row in rows}) == len(plan.weights) == 4


def test_modules_that_are_shared_or_held_elsewhere_stay_one_in_deep_copies():
    last = nn.Linear(2, 2)
    net = nested(100, nn.Sequential(last, last))
    net.alias = [last]
    deepest = list(net.modules())[-2]
    deepest.top = [net]
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        tail = list(again.modules())[-2]
        assert isinstance(tail, nn.Sequential)
        assert tail[0] is tail[1]
        assert tail[0] is again.alias[0]
        assert tail.top[0] is again


def test_an_error_deep_inside_names_module_and_line():
    net = nested(300, nn.Conv2d(3, 4, 1))
    with pytest.raises(trtnet.errors.ShapeError) as caught:
        trtnet.record(net, x=Input((1, 2)))
    assert caught.value.module == ".".join(["inner"] * 300) + " (Conv2d)"
    assert caught.value.where.function == "forward"
    assert "else self.inner(x)" in caught.value.where.excerpt()


def test_a_module_that_holds_itself_is_refused():
    net = Deep(nn.ReLU())
    net.inner.me = net
    for use in (net.state_dict, lambda: trtnet.record(net, x=Input((1, 2))), lambda: net.apply(len)):
        with pytest.raises(trtnet.errors.ArgumentError, match="this Deep holds itself, so that its paths have no end"):
            use()
    del net.inner.me
    net.inner.me = [net]
    assert list(net.state_dict()) == ["scale"]
    trtnet.record(net, x=Input((1, 2)))
