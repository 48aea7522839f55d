"""A graph as JSON and back: the same structure, the same numbers, the same errors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from cases import CASES, DATA_SIZED, recorded
from harness import needs_rtx
from hypothesis import given
from hypothesis import strategies as st
from networks import Tied

import trtnet
from trtnet import Dim, Input, nn
from trtnet.engine.graph_json import _plain, _value, from_json, to_json
from trtnet.errors import ShapeError, WeightsError
from trtnet.tensorrt.build.lowering import lower

torch = pytest.importorskip("torch")


def again(graph):
    text = json.dumps(to_json(graph))
    found = from_json(json.loads(text))
    for name, leaf in graph.parameters.items():
        found.parameters[name].value.array = leaf.value.read()
    assert json.dumps(to_json(found)) == text
    return found


def flat(result):
    return (
        list(result.values()) if isinstance(result, dict) else list(result) if isinstance(result, tuple) else [result]
    )


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_layer(name):
    graph, inputs = recorded(name)
    found = again(graph)
    assert found.structure_hash() == graph.structure_hash()
    for mine, wanted in zip(
        flat(trtnet.reference(found)(**inputs)), flat(trtnet.reference(graph)(**inputs)), strict=True
    ):
        assert np.array_equal(mine, wanted, equal_nan=mine.dtype.kind == "f")
    if name in DATA_SIZED:
        return
    rtx = needs_rtx()
    plans = []
    for one in (graph, found):
        builder = rtx.builder()
        network = rtx.create_network(builder)
        lowering = lower(one, network)
        lowering.check_outputs()
        plans.append([network.get_layer(i).name for i in range(network.num_layers)])
    assert plans[0] == plans[1]


sizes = st.recursive(
    st.one_of(st.integers(1, 9), st.sampled_from(["a", "b"])),
    lambda inner: st.tuples(st.sampled_from("+*/%<>"), inner, inner),
    max_leaves=6,
)
A, B = Dim("a", 2, 4, 16), Dim("b", 1, 3, 9)


def built(tree):
    if not isinstance(tree, tuple):
        return {"a": A, "b": B}.get(tree, tree)
    kind, left, right = tree[0], built(tree[1]), built(tree[2])
    if kind in "/%" and (right if isinstance(right, int) else right.min) < 1:
        right = 2
    return {
        "+": lambda: left + right,
        "*": lambda: left * right,
        "/": lambda: left // right,
        "%": lambda: left % right,
        "<": lambda: trtnet.basics.dims.minimum(left, right),
        ">": lambda: trtnet.basics.dims.maximum(left, right),
    }[kind]()


@given(sizes)
def test_sizes(tree):
    size = built(tree)
    found = _value(json.loads(json.dumps(_plain(size))), {"a": A, "b": B})
    assert found == size
    for a in (2, 5, 16):
        for b in (1, 4, 9):
            at = {"a": a, "b": b}
            assert trtnet.basics.dims.evaluate(found, at) == trtnet.basics.dims.evaluate(size, at)


def test_checks_of_sizes_survive():
    size = Dim("size", 32, 48, 64)
    graph = again(trtnet.record(lambda x: trtnet.cat([x, trtnet.functional.interpolate(
        trtnet.functional.max_pool2d(x, 2), scale_factor=2.0)], 1), x=Input((1, 2, size, 32))))  # fmt: skip
    engine = trtnet.reference(graph)
    engine(np.zeros((1, 2, 32, 32), np.float32))
    with pytest.raises(ShapeError) as caught:
        engine(np.zeros((1, 2, 41, 32), np.float32))
    assert __file__ in str(caught.value.where)
    with pytest.raises(ShapeError, match="outside its range"):
        engine(np.zeros((1, 2, 66, 32), np.float32))


def test_tied_parameters_stay_one():
    graph = again(trtnet.record(Tied(lambda: nn.Linear(3, 3)), x=Input((1, 3))))
    assert graph.parameters["a.weight"] is graph.parameters["b.weight"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d | {"format": 99}, "another version of the format"),
        (lambda d: d | {"layers": [d["layers"][0] | {"class": "Nothing"}]}, "unknown kind of layer"),
        (lambda d: d | {"weights": [["recipe", "__import__", [], [], "float32", {}]]}, "unknown operation on weights"),
        (lambda d: {k: v for k, v in d.items() if k != "outputs"}, "not a recorded network"),
        (lambda d: d | {"outputs": {"output": 999}}, "not a recorded network"),
    ],
)
def test_what_cannot_be_read_says_why(change, message):
    data = json.loads(json.dumps(to_json(trtnet.record(nn.Linear(3, 2), input=Input((1, 3))))))
    with pytest.raises(WeightsError, match=message):
        from_json(change(data))


def test_every_kind_can_be_read_in_a_fresh_process():
    code = """
import importlib, pkgutil
import trtnet.layers
from trtnet.engine import graph_json

before = set(graph_json.kinds())
for module in pkgutil.iter_modules(trtnet.layers.__path__):
    importlib.import_module(f"trtnet.layers.{module.name}")
assert {"Plugin", "Kernel", "Raw", "Recurrence"} <= before == set(graph_json.kinds()), set(graph_json.kinds()) - before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
