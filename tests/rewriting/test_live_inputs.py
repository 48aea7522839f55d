"""Live weights: the network that is lowered, and the reference engine that reads them."""

import numpy as np
import pytest
from cases import CASES, recorded
from harness import needs_rtx
from hypothesis import given
from hypothesis import strategies as st
from networks import close, convolutions, policy

import trtnet
from trtnet import Input, dtypes, nn
from trtnet.errors import ProviderError, WeightsError
from trtnet.rewriting.live_inputs import _Live, with_live
from trtnet.tensorrt.build.job import check_level
from trtnet.tensorrt.build.lowering import lower
from trtnet.weights import recipes
from trtnet.weights.recipes import Leaf, Value, evaluate

torch = pytest.importorskip("torch")
LIVE = [name for name in CASES if recorded(name)[0].parameters]


@pytest.mark.parametrize("name", LIVE)
def test_every_layer_kind(name):
    graph, inputs = recorded(name)
    live = with_live(graph, list(graph.parameters))
    assert live.live
    assert live.structure_hash() != graph.structure_hash()
    engine = trtnet.reference(graph, dtype="float64", live=list(graph.parameters))
    close(engine(**inputs), trtnet.reference(graph, dtype="float64")(**inputs), 1e-6)
    rtx = needs_rtx()
    network = rtx.create_network(rtx.builder())
    if name == "conv_transpose_dilated":
        with pytest.raises(ProviderError, match="needs fixed weights") as caught:
            lower(live, network)
        assert caught.value.remedy
        return
    lowering = lower(live, network)
    lowering.check_outputs()
    assert network.num_inputs == len(graph.inputs) + len(live.live)
    used = {leaf.name for _, _, weight in lowering.graph.weights() for leaf in weight.leaves()}
    assert not used & live.live.keys(), "no weights are left of what is live"


def test_a_plan_holds_the_fixed_weights_alone():
    if not needs_rtx():
        return
    graph = policy(batch=4)
    marker = {
        n: np.full(v.shape, 1.2345 if "policy" in n else 5.4321, np.float32) for n, v in graph.state_dict().items()
    }
    graph.load_state_dict(marker)
    plan = trtnet.build_plan(graph, "sm86", live="policy.*")
    assert plan.live == {n: n for n in marker if n.startswith("policy.")}
    assert np.float32(5.4321).tobytes() * 8 in plan.data
    assert np.float32(1.2345).tobytes() * 8 not in plan.data
    assert np.float32(1.2345).tobytes() * 8 in trtnet.build_plan(graph, "sm86").data


leaves = [Leaf(n, (2, 3), dtypes.float32, Value()) for n in ("a", "b")]


@st.composite
def expressions(draw, depth=3):
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(leaves))
    kind = draw(st.sampled_from(["add", "subtract", "multiply", "divide", "sqrt", "negate", "cast", "shape", "take"]))
    inner = draw(expressions(depth=depth - 1))
    if kind in ("add", "subtract", "multiply", "divide"):
        other = draw(st.one_of(st.floats(0.5, 2.0), expressions(depth=depth - 1)))
        return getattr(recipes, kind)(inner, other)
    if kind == "sqrt":
        return recipes.sqrt(recipes.multiply(inner, inner))
    if kind == "negate":
        return recipes.negate(inner)
    if kind == "cast":
        return recipes.cast(recipes.cast(inner, dtypes.float16), dtypes.float32)
    if kind == "shape":
        return recipes.reshape(recipes.permute(recipes.reshape(inner, (2, 3, 1)), (1, 2, 0)), (2, 3))
    return recipes.concatenate((recipes.take(inner, 1, 1, 3), recipes.take(inner, 1, 0, 1)), 1)


@given(expressions(), st.integers(0, 9))
def test_recipes_become_layers(weight, seed):
    """Layers in the reference against the NumPy evaluator."""
    chance = np.random.default_rng(seed)
    values = {leaf.name: (chance.random(leaf.shape) + 0.5).astype(np.float32) for leaf in leaves}
    for leaf in leaves:
        leaf.value.array = values[leaf.name]
    graph = trtnet.record(lambda x: x + 0.0, x=Input((2, 3)))
    rewriting = _Live(graph, set(leaves))
    with rewriting:
        rewriting.in_place_of(graph.layers[0])
        tensor = rewriting.tensor(weight)
    live = {leaf.name: t for leaf, t in rewriting.tensors.items()}
    made = rewriting.graph({"y": tensor}, parameters={leaf.name: leaf for leaf in leaves}, live=live)
    from trtnet.pytorch.program import Program

    program = Program(made)
    given_ = [torch.zeros(2, 3), *(torch.from_numpy(values[name]) for name in made.live)]
    (found,) = program.run(program.constants(lambda leaf: None, "cpu").copy(), given_, torch.device("cpu"), {})
    np.testing.assert_allclose(
        found.numpy(), evaluate(weight, lambda leaf: values[leaf.name]), rtol=1e-5, equal_nan=True
    )


def test_reads_the_trainers_tensors():
    graph = policy()
    engine, double = trtnet.build(graph, provider="reference", live=True), trtnet.reference(graph, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    close(engine(x), double(x))
    learner = trtnet.to_torch(graph)
    engine.bind_weights(learner)
    bound = engine.bind(torch.from_numpy(x), graph=True)
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.1)
    for _ in range(3):
        before = engine(x)
        optimiser.zero_grad()
        sum(v.square().sum() for v in learner(torch.from_numpy(x)).values()).backward()
        optimiser.step()
        double.refit(learner.state_dict())
        close(engine(x), double(x))
        close(bound(), double(x))
        assert not np.array_equal(engine(x)["logits"], before["logits"])
    with pytest.raises(WeightsError, match=r"(?s)bound to a trainer's tensors.*copy_"):
        engine.refit({"value.bias": np.zeros(1, np.float32)})
    for move in (
        lambda bias: setattr(bias, "data", torch.ones(4)),
        lambda bias: bias.requires_grad_(False).resize_(3),
        lambda bias: bias.untyped_storage().resize_(0),
    ):
        with torch.no_grad():
            move(learner.get_parameter("policy.2.bias"))
        for call in (lambda: engine(x), bound):
            with pytest.raises(WeightsError, match=r"(?s)moved, resized or freed.*policy\.2\.bias.*bind them again"):
                call()
        learner = trtnet.to_torch(graph)
        engine.bind_weights(learner)
        close(bound(), trtnet.reference(graph, dtype="float64")(x))


def test_what_cannot_be_bound():
    graph = policy()
    engine = trtnet.build(graph, provider="reference", live="policy.*", refit=True)
    assert engine.refittable == {"value.weight", "value.bias"}
    state = trtnet.to_torch(graph).state_dict()
    for given_, message in (
        ({"value.bias": state["value.bias"]}, r"(?s)were not given.*without policy\.0\.weight"),
        (state | {"policy.0.bias": torch.zeros(3)}, r"misshapen"),
        (state | {"policy.0.bias": state["policy.0.bias"].double()}, "does not fit this tensor"),
        (state | {"policy.0.bias": state["policy.0.bias"].half()}, "does not fit this tensor"),
        (state | {"policy.0.weight": state["policy.0.weight"].t().contiguous().t()}, "not contiguous"),
        ({n: v.numpy() for n, v in state.items()}, "expected: a torch tensor"),
        (state | {"policy.9.bias": torch.zeros(3)}, "extra"),
        (3, "weights are given by name"),
    ):
        with pytest.raises(trtnet.TrtnetError, match=message):
            engine.bind_weights(given_)
    engine.bind_weights({f"module.{n}": v for n, v in state.items()}, prefix="module.")
    engine.refit({"value.bias": np.ones(1, np.float32)})
    with pytest.raises(WeightsError, match="no live weights"):
        trtnet.reference(graph).bind_weights(state)
    with pytest.raises(WeightsError, match="matches no parameter"):
        trtnet.build(graph, provider="reference", live="nothing.*")


def test_an_input_of_a_parameters_name():
    class Clash(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(trtnet.ones(3))

        def forward(self, weight):
            return weight * self.weight

    graph = with_live(trtnet.record(Clash(), weight=Input((3,))), ["weight"])
    assert [t.name for t in graph.live.values()] == ["weight@live"]
    rtx = needs_rtx()
    assert lower(graph, rtx.create_network(rtx.builder())).network.num_inputs == 2


def test_batch_norm_compiles_live():
    needs_rtx()
    plan = trtnet.build_plan(convolutions(), "sm86", live=True)
    assert len(plan.live) == 8


def test_levels_that_crash_are_refused(monkeypatch):
    needs_rtx()
    found = trtnet.provider.load("tensorrt_rtx")  # the one that a build uses
    graph = convolutions()
    live = with_live(graph, {"conv.weight"})
    assert next(layer for layer in live.layers if layer.has_tensor_weights).path == "conv"
    check_level(live, 5, found)  # which crashes only TensorRT 8.6
    monkeypatch.setattr(found, "highest_level_for_tensor_weights", 4)
    for level in (None, 0, 3, 4):
        check_level(live, level, found)
    check_level(graph, 5, found)
    check_level(with_live(graph, {"fc.weight", "bn.weight"}).for_provider(found), 5, found)
    with pytest.raises(ProviderError, match=r"(?s)can crash while it builds a convolution .*level 4 or less") as raised:
        trtnet.build_plan(graph, "sm86", live="conv.*", optimization_level=5)
    assert raised.value.module == "conv"
    assert raised.value.where.code.co_filename.endswith("networks.py")
