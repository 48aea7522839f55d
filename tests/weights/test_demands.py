"""Values that a layer refuses while recording are refused wherever they come later: loads, refits, live weights."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ShapeError, WeightsError
from trtnet.weights import recipes

WRONG = [0.0, -0.5, np.nan, np.inf]


class Net(nn.Module):
    """A scale as it is, cast and reshaped; one for each channel; a product of two; indices of a table and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(trtnet.tensor(0.5))
        self.narrow = nn.Parameter(trtnet.tensor([0.5], dtype=trtnet.float16))
        self.scales = nn.Parameter(trtnet.tensor([0.5, 0.25, 1.0]))
        self.weight = nn.Parameter(trtnet.ones(3, 4))
        self.register_buffer("indices", trtnet.tensor([0, 3]))
        self.register_buffer("classes", trtnet.tensor([0, 1]))
        self.table = nn.Embedding(4, 3)

    def forward(self, x: Any) -> Any:
        few = trtnet.layers.add_quantize(x, self.scale).dequantize()
        few = F.fake_quantize_per_tensor_affine(few, self.narrow.float().reshape(()), 0, -128, 127)
        weight = trtnet.quantize_per_channel(self.weight, self.scales, 0, 0, trtnet.int8).dequantize()
        return F.linear(few, weight), self.table(self.indices), F.one_hot(self.classes, 2)


@pytest.fixture(scope="module", params=[False, True], ids=["static", "dynamic"])
def graph(request: pytest.FixtureRequest) -> trtnet.Graph:
    return trtnet.record(Net(), x=Input((Dim("batch", min=1, opt=2, max=4) if request.param else 2, 4)))


CASES = [
    *(("scale", np.array(v, np.float32), "scales of a quantization") for v in WRONG),
    *(("narrow", np.array([v], np.float16), "scales of a quantization") for v in WRONG),
    *(("scales", np.array([0.5, 0.5, v], np.float32), "scales of a quantization") for v in WRONG),
    ("indices", np.array([0, 4]), r"index of a gather[\s\S]*0 to 3"),
    ("indices", np.array([-1, 0]), r"index of a gather[\s\S]*0 to 3"),
    ("classes", np.array([2, 0]), r"class of a one-hot encoding[\s\S]*0 to 1"),
]
NAMES = [f"{name}={value.reshape(-1).tolist()}" for name, value, _ in CASES]


def as_it_was(engine: trtnet.Engine, act: Callable[[], Any], match: str, name: str) -> None:
    x = np.ones((2, 4), np.float32)
    before, generation = engine(x=x), engine.generation
    with pytest.raises(WeightsError, match=match) as caught:
        act()
    text = str(caught.value)
    assert f"found:    {name}: " in text
    assert "layer '" in text
    assert "test_demands.py" in text
    assert caught.value.remedy
    assert engine.generation == generation
    for one, other in zip(before, engine(x=x), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:weights hold NaN")
@pytest.mark.parametrize(("name", "value", "match"), CASES, ids=NAMES)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_refits_and_loads(graph: trtnet.Graph, name: str, value: np.ndarray, match: str, kind: str) -> None:
    given = {name: torch.from_numpy(value) if kind == "torch" else value}
    engine = trtnet.build(graph, provider="reference", refit=True)
    as_it_was(engine, lambda: engine.refit(given), match, name)
    as_it_was(engine, lambda: engine.context().refit(given), match, name)
    before = graph.state_dict()[name].copy()
    with pytest.raises(WeightsError, match=match):
        graph.load_state_dict(given, strict=False)
    np.testing.assert_array_equal(graph.state_dict()[name], before)
    learner = trtnet.to_torch(graph)
    with pytest.raises(WeightsError, match=match):
        learner.load_state_dict(learner.state_dict() | {name: torch.from_numpy(value)})


@pytest.mark.parametrize(("name", "value", "match"), CASES, ids=NAMES)
def test_bound_tensors(graph: trtnet.Graph, name: str, value: np.ndarray, match: str) -> None:
    engine = trtnet.build(graph, provider="reference", live=True)
    state = trtnet.to_torch(graph).state_dict()
    engine.bind_weights(state)
    as_it_was(engine, lambda: engine.bind_weights(state | {name: torch.from_numpy(value)}), match, name)


@pytest.mark.filterwarnings("ignore:weights hold NaN")
@pytest.mark.parametrize(("name", "value", "match"), CASES, ids=NAMES)
def test_what_a_module_holds_is_refused_before_it_runs(name: str, value: np.ndarray, match: str) -> None:
    net = Net()
    net.load_state_dict({name: value}, strict=False)
    graph = trtnet.record(net, x=Input((2, 4)))
    for act in (trtnet.reference, lambda graph: trtnet.build(graph, provider="reference")):
        with pytest.raises(WeightsError, match=match):
            act(graph)
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(WeightsError, match=match):
        trtnet.build_plan(graph, "sm86", refit=[name] if name.startswith("s") else False)


def test_values_that_fit_are_taken(graph: trtnet.Graph) -> None:
    engine = trtnet.build(graph, provider="reference", refit=True)
    for name, value in (("scale", 0.25), ("narrow", [2.0]), ("scales", [3.0, 1.0, 1e-3]), ("indices", [3, 0])):
        array = np.asarray(value, graph.state_dict()[name].dtype)
        engine.refit({name: array})
        np.testing.assert_array_equal(engine.parameters()[name], array)


def test_what_is_computed_of_parameters_is_left_to_who_computes_it() -> None:
    class Computed(Net):
        def forward(self, x: Any) -> Any:
            return trtnet.layers.add_quantize(x, trtnet.abs(self.scale)).dequantize()

    engine = trtnet.build(trtnet.record(Computed(), x=Input((2, 4))), provider="reference", refit=True)
    engine.refit({"scale": np.float32(-0.5).reshape(())})


def test_a_recipe_of_two_parameters_is_judged_by_its_value() -> None:
    """The one that is not given has the value that the engine has, not the one that was recorded."""
    graph = trtnet.record(Net(), x=Input((2, 4)))
    quantize = next(layer for layer in graph.layers if layer.kind == "quantize")
    constant = quantize.inputs[1].layer  # type: ignore[union-attr]
    assert constant is not None
    scale, table = graph.parameters["scale"], graph.parameters["scales"]
    constant.inputs = (recipes.multiply(scale, recipes.reshape(recipes.take(table, 0, 2, 3), ())),)
    graph.check_values()
    with pytest.raises(WeightsError, match=r"found: +scale, scales: -0.5"):
        graph.check_values({"scale": np.float32(-0.5).reshape(())})
    others = {"scale": np.float32(1), "scales": np.array([1, 1, -1], np.float32)}
    graph.check_values({"scale": np.float32(-0.5).reshape(())}, lambda: others)


@pytest.mark.parametrize("value", [*WRONG, 1e-9])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_constants_while_recording(value: float, dtype: Any) -> None:
    if value == 1e-9 and dtype is not np.float16:
        pytest.skip("no zero in this type")
    scale = np.asarray(value, dtype)

    def quantized(x: Any) -> Any:
        return trtnet.layers.add_quantize(x, trtnet.layers.add_constant(scale, shape=())).dequantize()

    def cast(x: Any) -> Any:
        return trtnet.layers.add_quantize(
            x, trtnet.layers.add_constant(scale, shape=(1,)).float().reshape(())
        ).dequantize()

    functions: list[Any] = [cast] if dtype is not np.float32 else [quantized, cast]
    for function in functions:
        with pytest.raises(ArgumentError, match="positive and finite"):
            trtnet.record(function, x=Input((2, 4)))


INDEX: dict[str, Callable[[Any, np.ndarray], Any]] = {
    "gather": lambda x, i: trtnet.layers.add_gather(x, trtnet.layers.add_constant(i, shape=i.shape), axis=1),
    "element": lambda x, i: trtnet.layers.add_gather(
        x, trtnet.layers.add_constant(i.repeat(2), shape=(2, 2)), axis=1, mode="ELEMENT"
    ),
    "nd": lambda x, i: trtnet.layers.add_gather(
        x, trtnet.layers.add_constant(np.stack([i * 0, i], 1), shape=(2, 2)), mode="ND"
    ),
    "one hot": lambda x, i: F.one_hot(trtnet.tensor(i), 4) + x.long(),
    "embedding": lambda x, i: F.embedding(trtnet.tensor(i), x.T),
}


@pytest.mark.parametrize("name", INDEX)
@pytest.mark.parametrize("wrong", [[0, 4], [-5, 0]])
def test_constant_indices_while_recording(name: str, wrong: list[int]) -> None:
    trtnet.record(lambda x: INDEX[name](x, np.array([0, 3])), x=Input((2, 4)))
    with pytest.raises(ShapeError):
        trtnet.record(lambda x: INDEX[name](x, np.array(wrong)), x=Input((2, 4)))
    if name in ("one hot", "embedding"):
        with pytest.raises(ShapeError):
            INDEX[name](trtnet.ones(2, 4), np.array(wrong))


class Picks(torch.nn.Module):
    """Positions in a buffer, by every road from a buffer to what reads or writes at them."""

    def __init__(self, how: Callable[..., Any]) -> None:
        super().__init__()
        self.how = how
        self.table = torch.nn.Embedding(4, 3)
        self.register_buffer("places", torch.tensor([0, -1, 2]))
        self.register_buffer("offset", torch.tensor([0, 1, 0]))

    def forward(self, x: torch.Tensor) -> Any:
        return self.how(self, x)


COMPUTED: dict[str, Callable[..., Any]] = {
    "x[:, i]": lambda self, x: x[:, self.places],
    "x[:, i[1:]]": lambda self, x: x[:, self.places[1:]],
    "x[:, cat]": lambda self, x: x[:, torch.cat([self.places, self.offset])],
    "x[0, i]": lambda self, x: x[torch.zeros(3, dtype=torch.int64), self.places],
    "take": lambda self, x: torch.take(x[0], self.places),
    "take_along_dim": lambda self, x: torch.take_along_dim(x, self.places.abs()[None].expand(x.shape[0], -1), 1),
    "index_put": lambda self, x: x.index_put((torch.zeros(3, dtype=torch.int64), self.places), torch.ones(3)),
    "index_select": lambda self, x: x.index_select(1, self.places.abs()),
    "gather": lambda self, x: x.gather(1, self.places[None].abs() + 0),
    "scatter": lambda self, x: x.scatter(1, self.places[None].abs(), 1.0),
    "table[i + j]": lambda self, x: self.table(self.places.abs() + self.offset) + x[0, 0],
    "table[where]": lambda self, x: self.table(torch.where(self.places < 0, 0, self.places)) + x[0, 0],
    "table[max]": lambda self, x: self.table(torch.maximum(self.places, self.offset)) + x[0, 0],
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("how", COMPUTED)
def test_what_is_computed_of_positions_lies_in_the_table_too(how: str, dynamic: bool) -> None:
    module = Picks(COMPUTED[how])
    batch = Dim("batch", min=1, opt=2, max=4) if dynamic else 2
    graph = trtnet.record(module, x=Input((batch, 4)))
    engine = trtnet.build(graph, provider="reference", refit=True)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)

    def same() -> None:
        with torch.no_grad():
            np.testing.assert_allclose(engine(x=x), module(torch.from_numpy(x)), atol=1e-6)

    same()
    for good in ([1, 0, -2], [2, 2, 2]):
        engine.refit({"places": torch.tensor(good)})
        module.places.copy_(torch.tensor(good))
        same()
    wrong = [[0, 7, 1], [5, 1, 4]] + ([[0, 1, -9]] if how in ("x[:, i]", "index_put", "take", "gather") else [])
    for bad in wrong:
        with pytest.raises(WeightsError, match="out of range") as caught:
            engine.refit({"places": torch.tensor(bad)})
        assert "places" in str(caught.value)
        assert caught.value.remedy
        with pytest.raises(WeightsError, match="out of range"):
            graph.load_state_dict({"places": torch.tensor(bad)}, strict=False)
        same()
    live = trtnet.build(graph, provider="reference", live=["places"])
    with pytest.raises(WeightsError, match="out of range"):
        live.bind_weights({"places": torch.tensor(wrong[0])})


def test_positions_lie_in_a_dynamic_dimension_where_it_is_smallest() -> None:
    """A call at a smaller size would read beside it, which no GPU says."""
    module = Picks(lambda self, x: x[:, self.places])
    graph = trtnet.record(module, x=Input((2, Dim("n", min=3, opt=4, max=8))))
    engine = trtnet.build(graph, provider="reference", refit=True)
    engine.refit({"places": torch.tensor([2, -3, 0])})
    for bad in ([3, 0, 0], [0, -4, 0]):
        with pytest.raises(WeightsError, match="smallest") as caught:
            engine.refit({"places": torch.tensor(bad)})
        assert "larger min" in caught.value.remedy  # type: ignore[operator]
    for n in (3, 8):
        x = np.arange(2 * n, dtype=np.float32).reshape(2, n)
        np.testing.assert_array_equal(engine(x=x), x[:, [2, -3, 0]])


@pytest.mark.parametrize("rows", [8, 9])
def test_positions_computed_of_sizes_lie_in_the_table(rows: int) -> None:
    """Positional sums: the largest is known while recording."""
    table = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)

    def shifted(x: Any) -> Any:
        return F.embedding(trtnet.arange(x.shape[1]) + 1, trtnet.tensor(table)) + x[:, :, None]

    def relative(x: Any) -> Any:
        near = trtnet.arange(x.shape[1])
        places = (near[:, None] - near[None] + (x.shape[1] - 1)) * 2 // 3
        return F.embedding(places, trtnet.tensor(table[: rows + 1])) + x[0, 0]

    x = Input((2, Dim("n", min=1, opt=4, max=8)))
    for body in (shifted, relative):
        most = {shifted: 8, relative: 9}[body]
        if most < rows:
            trtnet.record(body, x=x)
            continue
        with pytest.raises(ShapeError, match="index of a gather is out of range") as caught:
            trtnet.record(body, x=x)
        assert caught.value.remedy == "record with a Dim of a smaller max, or with a larger table"
