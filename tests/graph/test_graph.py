"""Graph: sizes of a call, weights, forms for a provider, printing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from harness import lower_and_compare, needs_rtx
from networks import Tied

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ShapeError, WeightsError
from trtnet.functional.dispatch import tensor
from trtnet.graph.recorder import emit
from trtnet.graph.tensor import Tensor
from trtnet.layers.base import Layer, Output

B = Dim("b", min=1, opt=2, max=4)


def f32(*shape):
    return np.ones(shape, np.float32)


# --- sizes ------------------------------------------------------------------------------------------------------------


def bind(graph, **shapes):
    return graph.bind(shapes)


def test_bind_finds_the_sizes():
    h = Dim("h", min=8, max=64, multiple_of=8)
    graph = trtnet.record(lambda x, y: (F.relu(x), F.relu(y)), x=Input((B, 3, h)), y=Input((h * 2, 2 * B + 1)))
    assert bind(graph, x=(2, 3, 16), y=(32, 5)) == {"b": 2, "h": 16}
    assert list(graph.dims) == ["b", "h"]
    assert graph.dims["h"] == h


@pytest.mark.parametrize(
    ("shapes", "problem", "expected", "found"),
    [
        ({"x": (2, 3), "y": (2,)}, "input 'x' has the wrong number of dimensions", "(b, 3, h)", "(2, 3)"),
        ({"x": (2, 4, 8), "y": (2,)}, "input 'x' has the wrong size in dimension 1", "(b, 3, h)", "(2, 4, 8)"),
        ({"x": (5, 3, 8), "y": (5,)}, "input 'x': b is outside its range", "1 to 4", "5 "),
        ({"x": (0, 3, 8), "y": (0,)}, "input 'x': b is outside its range", "1 to 4", "0 "),
        ({"x": (2, 3, 12), "y": (2,)}, "input 'x': h is outside its range", "8 to 64, a multiple of 8", "12 "),
        ({"x": (2, 3, 8), "y": (3,)}, "input 'y' has the wrong size in dimension 0", "b = 2", "3"),
    ],
)
def test_bind_refuses(shapes, problem, expected, found):
    h = Dim("h", min=8, max=64, multiple_of=8)
    graph = trtnet.record(lambda x, y: (F.relu(x), F.relu(y)), x=Input((B, 3, h)), y=Input((B,)))
    with pytest.raises(ShapeError) as caught:
        graph.bind(shapes)
    assert caught.value.problem == problem
    assert expected in str(caught.value.expected)
    assert found in str(caught.value.found)


def test_bind_names_the_input_where_no_size_of_the_dim_fits():
    graph = trtnet.record(lambda x: F.relu(x), x=Input((2 * B + 1,)))
    assert bind(graph, x=(5,)) == {"b": 2}
    with pytest.raises(ShapeError, match="input 'x' has the wrong size in dimension 0") as caught:
        bind(graph, x=(4,))
    assert "b*2 + 1" in caught.value.expected
    assert "4" in str(caught.value.found)
    with pytest.raises(ShapeError, match="b is outside its range"):
        bind(graph, x=(11,))


def test_bind_may_leave_ranges_alone():
    graph = trtnet.record(lambda x: F.relu(x), x=Input((B, 2)))
    assert graph.bind({"x": (100, 2)}, ranges=False) == {"b": 100}
    with pytest.raises(ShapeError):
        graph.bind({"x": (100, 3)}, ranges=False)


def test_an_equality_is_checked_at_each_call():
    n, m = Dim("n", min=2, opt=4, max=8), Dim("m", min=2, opt=4, max=8)

    class Add(nn.Module):
        def forward(self, x, y):
            return x + y

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.add = Add()

        def forward(self, x, y):
            return self.add(x, y)

    graph = trtnet.record(Net(), x=Input((n,)), y=Input((m,)))
    assert len(graph.equalities) == 1
    assert bind(graph, x=(5,), y=(5,)) == {"n": 5, "m": 5}
    with pytest.raises(ShapeError) as caught:
        bind(graph, x=(5,), y=(6,))
    error = caught.value
    assert error.module == "add"
    assert error.where.file == __file__
    assert "return x + y" in error.where.excerpt()
    assert "5 and 6" in error.found
    assert error.remedy


def test_sizes_that_differ_at_the_profile_are_refused_while_recording():
    with pytest.raises(ShapeError) as caught:
        trtnet.record(lambda x, y: x + y, x=Input((Dim("n", min=2, max=8),)), y=Input((Dim("m", min=2, max=9),)))
    assert "8 and 9 at max" in caught.value.found


def test_the_unet_of_the_design_fails_at_41():
    size = Dim("size", min=32, opt=48, max=64)

    def forward(x):
        half = F.max_pool2d(x, 2)
        up = half.repeat(1, 1, 2, 2) if not hasattr(F, "interpolate") else F.interpolate(half, scale_factor=2)
        return x + up

    graph = trtnet.record(forward, x=Input((1, 1, size, size)))
    engine = trtnet.reference(graph)
    for fits in (32, 48, 64, 40):
        assert engine(f32(1, 1, fits, fits)).shape == (1, 1, fits, fits)
    with pytest.raises(ShapeError, match="sizes differ"):
        engine(f32(1, 1, 41, 41))


def test_a_multiple_makes_the_unet_fit_everywhere():
    size = Dim("size", min=32, max=64, multiple_of=2)
    graph = trtnet.record(lambda x: x + F.max_pool2d(x, 2).repeat(1, 1, 2, 2), x=Input((1, 1, size, size)))
    assert graph.equalities == []
    with pytest.raises(ShapeError, match="size is outside its range"):
        trtnet.reference(graph)(f32(1, 1, 41, 41))


# --- what has an effect ---------------------------------------------------------------------------------------------


class Idle(nn.Module):
    """A layer whose result nothing takes; a scan of which the last state is no output."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.idle = nn.Linear(3, 2)
        self.step = nn.Linear(3, 3)
        self.last = nn.Linear(3, 3)

    def forward(self, x, flag):
        self.idle(x)
        first = trtnet.cond(flag, lambda v: self.fc(v), lambda v: v * 2, x[0])

        def body(state, y):
            return self.step(state) + y, (state * 3, self.last(y))

        return trtnet.scan(body, first, x)[1][0]


def test_what_no_output_depends_on():
    graph = trtnet.record(Idle(), x=Input((4, 3)), flag=Input((1,), "bool"))
    reaching = graph.reaching()
    idle = [layer for layer in graph.layers if layer not in reaching]
    assert {layer.path for layer in idle} == {"idle", "last", ""}
    assert [layer.kind for layer in idle if not layer.path] == ["loop_output"]
    engine = trtnet.reference(graph)
    status = {row.parameter: row.status for row in engine.weights}
    assert {name for name, found in status.items() if found == "unused"} == {
        "idle.weight", "idle.bias", "last.weight", "last.bias",
    }  # fmt: skip
    whole = trtnet.record(lambda x: F.nonzero(x)[:, 0] * 2, x=Input((4, 3)))
    assert whole.reaching() == set(whole.layers)


def test_a_size_that_the_data_decides_has_an_effect():
    """The values of what nonzero gives are dropped; how many there are decides an output's shape."""
    graph = trtnet.record(lambda x: F.zeros(F.nonzero(x).shape[0], 2), x=Input((4, 3)))
    assert [layer.kind for layer in graph.reaching() if layer.decides] == ["non_zero"]


# --- weights ----------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x)


def test_the_graph_refers_to_the_arrays_of_that_moment():
    net = Net()
    before = net.state_dict()["fc.weight"].copy()
    graph = trtnet.record(net, x=Input((1, 3)))
    state = {name: value + 1 for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    np.testing.assert_array_equal(graph.state_dict()["fc.weight"], before)
    np.testing.assert_array_equal(net.state_dict()["fc.weight"], before + 1)
    graph.load_state_dict({name: value + 5 for name, value in state.items()})
    np.testing.assert_array_equal(net.state_dict()["fc.weight"], before + 1)
    np.testing.assert_array_equal(graph.state_dict()["fc.weight"], state["fc.weight"] + 5)
    assert list(graph.state_dict()) == ["fc.weight", "fc.bias", "unused.weight", "unused.bias"]


def test_load_state_dict_changes_nothing_when_it_refuses():
    graph = trtnet.record(Net(), x=Input((1, 3)))
    before = {name: value.copy() for name, value in graph.state_dict().items()}
    bad = {"fc.weight": f32(2, 3), "fc.bias": f32(3), "unused.weight": f32(2, 2), "unused.bias": f32(2)}
    with pytest.raises(WeightsError, match="0 extra, 0 missing, 1 misshapen"):
        graph.load_state_dict(bad)
    for name, value in graph.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_two_graphs_of_one_module_have_weights_of_their_own():
    net = Net()
    one, two = (trtnet.record(net, x=Input((1, 3))) for _ in range(2))
    one.load_state_dict({name: np.zeros_like(value) for name, value in one.state_dict().items()})
    assert not one.state_dict()["fc.weight"].any()
    assert two.state_dict()["fc.weight"].any()


def test_weights_lists_every_weight_operand():
    graph = trtnet.record(nn.Conv2d(1, 2, 3), input=Input((1, 1, 5, 5)))
    assert [(layer.kind, index, weight.name) for layer, index, weight in graph.weights()] == [
        ("convolution", 1, "weight"),
        ("convolution", 2, "bias"),
    ]


# --- for a provider ---------------------------------------------------------------------------------------------------


class Missing(Layer):
    """What every kind here is: a layer that no provider has."""

    weight_attributes: ClassVar[dict[int, str]] = {}

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        return ((x.shape, x.dtype),)

    def supported(self, provider: Any) -> bool:
        return False

    def add_to(self, lowering: Any) -> Any:
        raise AssertionError("a layer that the provider lacks was lowered")


@dataclass(slots=True, eq=False, repr=False)
class Double(Missing):
    factor: float = 2.0
    kind: ClassVar[str] = "double"

    def compose(self, functions: Any, *inputs: Any) -> Tensor:
        return inputs[0] * self.factor

    def compute(self, run: Any, *inputs: Any) -> Any:
        return inputs[0] * self.factor


@dataclass(slots=True, eq=False, repr=False)
class Times(Missing):
    """x times a weight, composed of layers of which some must be composed again."""

    kind: ClassVar[str] = "times"

    def compose(self, functions: Any, *inputs: Any) -> Tensor:
        x, weight = inputs
        return emit(Double((emit(Double((x * tensor(weight),), 0.5)),)))

    def compute(self, run: Any, *inputs: Any) -> Any:
        return inputs[0] * inputs[1]


@dataclass(slots=True, eq=False, repr=False)
class Twice(Missing):
    """Two outputs."""

    kind: ClassVar[str] = "twice"

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        return (x.shape, x.dtype), (x.shape, x.dtype)

    def compose(self, functions: Any, *inputs: Any) -> Any:
        return emit(Double((inputs[0],))), F.relu(inputs[0])

    def compute(self, run: Any, *inputs: Any) -> Any:
        return inputs[0] * 2, inputs[0].relu()


class Uses(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(trtnet.tensor([1.0, 2.0, 3.0]))

    def forward(self, x):
        weight = x.recorder.weight(self.scale)
        y = emit(Times((x, weight)))
        a, b = emit(Twice((y,)))
        return emit(Times((a + b, weight))), emit(Double((a,), 3.0))


def test_layers_that_a_provider_lacks_are_composed():
    provider = needs_rtx()
    graph = trtnet.record(Uses(), x=Input((B, 3)))
    kinds = [layer.kind for layer in graph.layers]
    lowered = graph.for_provider(provider)
    assert kinds == ["times", "twice", "elementwise", "times", "double"]
    assert [layer.kind for layer in graph.layers] == kinds
    assert not {"times", "twice", "double"} & {layer.kind for layer in lowered.layers}
    assert len({layer.name for layer in lowered.layers}) == len(lowered.layers)
    assert [(n, t.shape, t.name) for n, t in lowered.outputs.items()] == [
        (n, t.shape, n) for n, t in graph.outputs.items()
    ]
    # every operand is made before it is used, by a layer of this graph
    made = set(lowered.inputs.values())
    for layer in lowered.layers:
        for operand in layer.inputs:
            assert not isinstance(operand, Tensor) or operand in made, layer.name
        made.update(layer.outputs)
    assert set(lowered.outputs.values()) <= made
    for layer in lowered.layers:
        assert layer.location.file == __file__
    x = np.array([[1, -2, 3]], np.float32)
    for mine, wanted in zip(trtnet.reference(lowered)(x), trtnet.reference(graph)(x)):
        np.testing.assert_array_equal(mine, wanted)
    lower_and_compare(graph)


def test_layers_behind_a_composed_one_are_shared():
    graph = trtnet.record(lambda x: F.tanh(emit(Double((F.relu(x),)))), x=Input((2, 3)))
    relu, double, tanh = graph.layers
    lowered = graph.for_provider(needs_rtx())
    assert lowered.layers[0] is relu
    assert lowered.layers[-1] is tanh
    assert lowered.outputs == graph.outputs
    assert lowered.layers[-2].outputs == double.outputs
    assert double.outputs[0].layer is double, "the recorded graph is as it was"
    lower_and_compare(graph)


@dataclass(slots=True, eq=False, repr=False)
class Composed(Missing):
    """One output, of the shape and dtype of the first input."""

    composed: Any
    kind: ClassVar[str] = "composed"

    def compose(self, functions: Any, *inputs: Any) -> Any:
        return self.composed(*inputs)

    def compute(self, run: Any, *inputs: Any) -> Any:
        raise NotImplementedError


def _not_the_last(x, weight):
    y = F.relu(x)
    F.tanh(x)
    return y


@pytest.mark.parametrize(
    ("composed", "wanted"),
    [
        (lambda x, weight: x, lambda x: x),
        (lambda x, weight: F.relu(x), lambda x: np.maximum(x, 0)),
        (_not_the_last, lambda x: np.maximum(x, 0)),
        (lambda x, weight: tensor(weight), lambda x: np.full_like(x, 2)),
    ],
    ids=["an operand", "the last layer", "another layer", "a constant"],
)
def test_what_a_layer_is_composed_of_may_give_any_tensor(composed, wanted):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(trtnet.full((2, 3), 2.0))

        def forward(self, x):
            given = x.recorder.weight(self.weight)
            y = emit(Composed((F.neg(x), given), composed))
            z = emit(Composed((F.neg(x), given), composed))
            return F.tanh(y) + z, y

    graph = trtnet.record(Net(), x=Input((2, 3)))
    before = [[id(layer), *map(id, (*layer.inputs, *layer.outputs))] for layer in graph.layers]
    lowered = graph.for_provider(needs_rtx())
    x = np.array([[1, -2, 3], [-4, 0, 1]], np.float32)
    y = wanted(-x)
    for mine, right in zip(trtnet.reference(lowered)(x), (np.tanh(y) + y, y), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-6)
    assert [[id(layer), *map(id, (*layer.inputs, *layer.outputs))] for layer in graph.layers] == before
    lower_and_compare(lowered)


def test_a_graph_that_a_provider_has_whole_is_itself():
    graph = trtnet.record(lambda x: F.relu(x), x=Input((2,)))
    assert graph.for_provider(needs_rtx()) is graph


def test_equalities_survive_for_provider():
    n, m = Dim("n", min=2, opt=4, max=8), Dim("m", min=2, opt=4, max=8)
    graph = trtnet.record(lambda x, y: emit(Double((x + y,))), x=Input((n,)), y=Input((m,)))
    lowered = graph.for_provider(needs_rtx())
    assert lowered is not graph
    with pytest.raises(ShapeError):
        bind(lowered, x=(3,), y=(4,))


# --- printing ---------------------------------------------------------------------------------------------------------


def test_summary_has_every_layer_with_its_columns():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 20, 5)

        def forward(self, image):
            return F.relu(self.conv(image))

    batch = Dim("batch", min=1, opt=8, max=64)
    text = trtnet.record(Small(), image=Input((batch, 1, 28, 28), "float32")).summary()
    head = next(line for line in text.splitlines() if "output shape" in line)
    for column in ("layer", "module", "output shape", "dtype", "parameters", "bytes"):
        assert column in head
    row = next(line.split() for line in text.splitlines() if line.strip().startswith("convolution"))
    assert row[0] == "convolution"
    assert row[1] == "conv"
    assert "(batch, 20, 24, 24)" in " ".join(row)
    assert row[-3:] == ["float32", "520", "2,080"]
    assert "batch: 1 to 64, best at 8" in text
    assert "2 layers, 520 parameters, 2,080 bytes of weights" in text


def test_summary_counts_tied_parameters_once():
    text = trtnet.record(Tied(lambda: nn.Conv2d(2, 2, 1, bias=False)), x=Input((1, 2, 3, 3))).summary()
    assert "4 parameters, 16 bytes of weights" in text


def test_summary_shows_brackets_and_nothing_else_is_markup():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("[red]x[/red]", nn.Conv2d(1, 1, 1))

        def forward(self, x):
            return next(self.children())(x)

    assert "[red]x[/red]" in trtnet.record(Odd(), x=Input((1, 1, 3, 3))).summary()


def test_repr():
    graph = trtnet.record(Net(), x=Input((B, 3)))
    assert repr(graph) == "Graph(Net: x=(b, 3) -> 1 recorded layer -> output=(b, 2))"
    assert repr(graph.inputs["x"]) == "Tensor((b, 3), float32, name='x')"
    assert repr(Input((B, 3), "float16")) == "Input((b, 3), float16)"


def test_lower_refuses_what_is_no_network():
    graph = trtnet.record(Net(), x=Input((1, 3)))
    for wrong in (None, object(), np.ones(3), "network"):
        with pytest.raises(ArgumentError, match="no INetworkDefinition") as caught:
            graph.lower(wrong)
        assert "tensorrt_rtx.INetworkDefinition" in caught.value.expected
        assert caught.value.remedy


def test_a_summary_counts_parameters_as_torch_does() -> None:
    import torch

    def made(of: Any) -> Any:
        inner = of.Sequential(of.Linear(3, 4), of.BatchNorm1d(4), of.ReLU(), of.BatchNorm1d(4, affine=False))
        return of.Sequential(inner, of.Linear(4, 2, bias=False))

    count = sum(parameter.numel() for parameter in made(torch.nn).parameters())
    for batch in (2, Dim("batch", 1, 2, 4)):
        text = trtnet.record(made(nn).eval(), input=Input((batch, 3))).summary()
        assert f" {count} parameters, 16 values in buffers, " in text
    assert "buffers" not in trtnet.record(nn.Linear(3, 4), input=Input((2, 3))).summary()
