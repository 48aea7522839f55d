"""engine.profile on the reference engine, and how TensorRT's names of layers are traced to those that were recorded."""

from __future__ import annotations

import numpy as np
import pytest
from networks import convolutions

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.engine.layer_times import CALLS, LayerTimes


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("batch", [2, Dim("batch", max=4)])
def test_the_reference_says_how_long_each_layer_took(batch):
    graph = trtnet.record(Net(), x=Input((batch, 3, 16, 16)))
    engine = trtnet.reference(graph)
    x = np.ones((2, 3, 16, 16), np.float32)
    before = engine(x)
    times = engine.profile(x)
    assert [layer.name for layer in times.layers] == [layer.name for layer in graph.layers]
    assert all(layer.milliseconds > 0 for layer in times.layers)
    assert sum(layer.share for layer in times.layers) == pytest.approx(1)
    assert (times.calls, times.device) == (CALLS, "cpu")
    assert {layer.module for layer in times.layers} == {"body.0", "body.1", "body.2", "", "head"}
    assert all("test_layer_times.py" in layer.where for layer in times.layers)
    assert times.modules(1) == pytest.approx(
        {path: sum(t.milliseconds for t in times.layers if t.module.split(".")[0] == path) for path in times.modules(1)}
    )
    for layer in times.layers:
        assert len(layer.samples) == CALLS
        assert layer.milliseconds == pytest.approx(np.mean(layer.samples))
        assert layer.median == pytest.approx(np.median(layer.samples))
    lines = str(times).splitlines()
    assert lines[0].split() == ["layer", "ms", "median", "share", "module", "at"]
    assert lines[-1].strip().endswith(f"ms a call on cpu, the mean of {CALLS}")
    np.testing.assert_array_equal(engine(x), before)


def test_a_layer_of_a_loop_is_one_row_for_all_turns():
    graph = trtnet.record(lambda x: trtnet.scan(lambda c, x: (F.tanh(c + x),) * 2, x[0] * 0, x)[1], x=Input((5, 3)))
    times = trtnet.reference(graph).profile(np.ones((5, 3), np.float32))
    assert [layer.name for layer in times.layers].count("activation") == 1


def test_contexts_and_hotswaps_say_what_their_engine_does():
    x = np.ones((2, 3, 8, 8), np.float32)
    engine = trtnet.reference(convolutions())
    with engine.context() as context:
        assert [layer.name for layer in context.profile(x).layers] == [layer.name for layer in engine.profile(x).layers]
    hotswap = trtnet.HotSwap(engine)
    assert len(hotswap.profile(x).layers) == len(engine.graph.layers)
    hotswap.close()
    with pytest.raises(trtnet.errors.EngineError, match="closed"):
        hotswap.profile(x)


def test_what_a_call_refuses_is_refused():
    engine = trtnet.reference(convolutions())
    x = np.ones((2, 3, 8, 8), np.float32)
    for wrong, error in (({"x": x}, "is no array"), (x[:, :2], "wrong size in dimension 1")):
        with pytest.raises(trtnet.errors.TrtnetError, match=error) as called:
            engine(wrong)
        with pytest.raises(type(called.value), match=error):
            engine.profile(wrong)


def test_names_of_tensorrts_layers_are_traced_to_what_was_recorded():
    layers = trtnet.record(Net(), x=Input((2, 3, 16, 16))).layers
    names = [layer.name for layer in layers]
    assert names[:3] == ["body.0/convolution", "body.1/activation", "body.2/convolution"]
    first = {
        "Reformatting CopyNode for Input Tensor 0 to body.0/convolution + body.1/activation": 0.5,
        "body.0/convolution + body.1/activation": 4.0,
        f"{{ForeignNode[{names[2]}...{names[-1]}]}}": 4.0,
        f"PWN({names[1]})": 3.0,
    }
    second = dict(zip(first, (1.5, 0.0, 6.0, 0.0))) | {"[HostToDeviceCopy]": 1.0}
    times = LayerTimes.of([first, second], layers, "cuda:0")
    assert [layer.module for layer in times.layers] == ["body", "body", "", "body.1", ""]
    assert [layer.milliseconds for layer in times.layers] == [1.0, 2.0, 5.0, 1.5, 0.5]
    assert times.milliseconds == 10
    assert [layer.samples for layer in times.layers[-2:]] == [(3.0, 0.0), (0.0, 1.0)]
    assert [layer.share for layer in times.layers] == [0.1, 0.2, 0.5, 0.15, 0.05]
    assert times.layers[-1].where == ""
    assert "return self.head" not in times.layers[0].where
    assert times.modules() == {"": 5.5, "body": 3.0, "body.1": 1.5}
    assert times.modules(1) == {"": 5.5, "body": 4.5}
    assert list(times.lines().values()) == [9.5, 0.5]
    assert list(times.lines())[1] == ""


def test_times_by_source_line():
    def two_lines(x):
        y = F.relu(x * 2)
        return y.exp()

    layers = trtnet.record(two_lines, x=Input((2,))).layers
    first = two_lines.__code__.co_firstlineno
    taken = {layer.name: float(place + 1) for place, layer in enumerate(layers)}
    lines = LayerTimes.of([taken], layers, "cpu").lines()
    by_number = {int(line.rpartition(":")[2]) - first: time for line, time in lines.items()}
    assert by_number == {1: sum(list(taken.values())[:-1]), 2: taken[layers[-1].name]}


def test_as_many_calls_as_are_asked_for():
    graph = trtnet.record(lambda calls: calls * 2, calls=Input((2,)))
    engine = trtnet.reference(graph)
    x = np.ones(2, np.float32)
    times = engine.profile(x, calls=3)
    assert (times.calls, len(times.layers[0].samples)) == (3, 3)
    assert str(times).endswith("the mean of 3")
    with engine.context() as context:
        assert context.profile(x, calls=1).calls == 1
    for wrong in (0, -1, 2.0):
        with pytest.raises(trtnet.errors.ArgumentError, match="at least one call is measured") as caught:
            engine.profile(x, calls=wrong)
        assert caught.value.remedy == "engine.profile(x, calls=20)"
