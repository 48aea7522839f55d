"""TensorRT's own calls inside a forward (`raw`), and tensors inside it as outputs (`mark`)."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from harness import needs_rtx
from networks import RawNetwork, convolved

import trtnet
from trtnet import nn
from trtnet.errors import ArgumentError, ArgumentTypeError, BuildError, ProviderError

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
BATCH = trtnet.Dim("batch", 1, 2, 4)


def graph_of(net=None, batch=BATCH):
    return trtnet.record(net or RawNetwork(), x=trtnet.Input((batch, 3, 8, 8)))


def by_torch(net, x):
    state = {name: torch.from_numpy(np.array(value)).double() for name, value in net.state_dict().items()}
    h = torch.nn.functional.conv2d(torch.from_numpy(x).double(), state["conv.weight"], state["conv.bias"])
    return (torch.nn.functional.conv2d(h, state["kernel"]) + state["shift"]).relu().numpy()


@pytest.mark.parametrize("batch", [2, BATCH])
def test_the_reference_computes_it(batch):
    net = RawNetwork()
    found = trtnet.reference(graph_of(net, batch), dtype="float64")(X)
    np.testing.assert_allclose(found, by_torch(net, X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", [2, BATCH])
def test_tensorrt_takes_it_and_names_its_weights(batch):
    provider = needs_rtx()
    graph = graph_of(batch=batch)
    plan = trtnet.build_plan(graph, ["sm86"], provider="tensorrt_rtx", refit=True)
    assert {"kernel", "shift", "conv.weight"} <= set(plan.refittable)
    network = provider.create_network(provider.builder())
    lowering = graph.lower(network)
    lowering.check_outputs()
    assert network.num_layers == 1 + 1 + 2 + 1
    names = [network.get_layer(i).name for i in range(network.num_layers)]
    assert names == ["conv/convolution", "constant", "raw:0", "raw:1", "activation"]
    assert lowering.layer("conv").name == lowering.layer("conv/convolution").name == "conv/convolution"
    assert lowering.tensor("x").name == "x"
    assert lowering.tensor("raw").shape[1] == 5
    assert lowering.tensor("output").is_network_output
    with pytest.raises(ArgumentError, match=r"no tensor 'rwa'(.|\n)*raw"):
        lowering.tensor("rwa")
    with pytest.raises(ArgumentError, match="no layer 'raw'"):
        lowering.layer("raw")


def test_others_go_on_after_the_graph():
    provider = needs_rtx()
    graph = graph_of()
    network = provider.create_network(provider.builder())
    lowering = graph.lower(network)
    more = network.add_identity(lowering.tensor("conv/convolution")).get_output(0)
    more.name = "more"
    network.mark_output(more)
    assert [network.get_output(i).name for i in range(network.num_outputs)] == ["output", "more"]


def test_weights_follow_a_refit_of_the_reference():
    net, other = RawNetwork(), RawNetwork()
    state = {name: np.asarray(value) * 0.5 + 0.1 for name, value in other.state_dict().items()}
    engine = trtnet.reference(graph_of(net), dtype="float64")
    engine.refit(state)
    net.load_state_dict(state)
    np.testing.assert_allclose(engine(X), by_torch(net, X), rtol=1e-6, atol=1e-6)


def test_gradients_go_through_it():
    module = trtnet.to_torch(graph_of())
    module(torch.from_numpy(X)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


def test_a_parameter_among_the_inputs_can_be_live():
    plan = trtnet.build_plan(graph_of(), ["sm86"], provider="tensorrt_rtx", live=["shift"])
    assert "shift" in str(plan.manifest)
    with pytest.raises(ArgumentError, match=r"(?s)the weights 'kernel' of a raw layer cannot be live.*set_input"):
        trtnet.build_plan(graph_of(), ["sm86"], provider="tensorrt_rtx", live=["kernel"])


def test_several_outputs_and_none_but_one():
    def split(network, x):
        layer = network.add_topk(x, needs_rtx().enum("TopKOperation", "MAX"), 2, 2)
        return layer.get_output(0), layer.get_output(1)

    def forward(x):
        values, places = trtnet.raw(
            split, x, shapes=[(x.shape[0], 2), (x.shape[0], 2)], dtypes=["float32", "int32"],
            reference=lambda x: x.topk(2, 1),
        )  # fmt: skip
        (one,) = trtnet.raw(
            lambda network, x: network.add_identity(x).get_output(0), x, shapes=[x.shape], reference=lambda x: x
        )
        return values, places, one

    graph = trtnet.record(forward, x=trtnet.Input((BATCH, 5)))
    rows = np.random.default_rng(3).standard_normal((2, 5)).astype(np.float32)
    values, places, one = trtnet.reference(graph)(rows)
    wanted = torch.from_numpy(rows).topk(2, 1)
    np.testing.assert_array_equal(values, wanted.values)
    np.testing.assert_array_equal(places, wanted.indices)
    np.testing.assert_array_equal(one, rows)
    provider = needs_rtx()
    graph.lower(provider.create_network(provider.builder())).check_outputs()


def one(add, shapes=(2, 3), **options):
    return trtnet.record(lambda x: trtnet.raw(add, x, shapes=shapes, **options), x=trtnet.Input((2, 3)))


def lowered(graph):
    provider = needs_rtx()
    return graph.lower(provider.create_network(provider.builder()))


@pytest.mark.parametrize(
    ("add", "shapes", "dtypes", "message"),
    [
        (lambda network, x: None, (2, 3), None, r"did not return its outputs(.|\n)*found: +NoneType"),
        (lambda network, x: network.add_identity(x), (2, 3), None, r"did not return(.|\n)*found: +IIdentityLayer"),
        (lambda network, x: (x, x), (2, 3), None, r"expected: +1 ITensors(.|\n)*ITensor, ITensor"),
        (lambda network, x: x, (3, 2), None, r"another shape or type(.|\n)*\(3, 2\) float32(.|\n)*\(2, 3\)"),
        (lambda network, x: x, (2, 3), "float16", r"another shape or type(.|\n)*float16(.|\n)*FLOAT"),
        (lambda network, x: network.add_nothing(x), (2, 3), None, r"raised AttributeError: .*add_nothing"),
        (lambda network: network, (2, 3), None, r"raised TypeError: .*positional"),
    ],
)
def test_a_function_that_does_not_fit(add, shapes, dtypes, message):
    with pytest.raises(BuildError, match=message) as caught:
        lowered(one(add, shapes, dtypes=dtypes))
    assert caught.value.where.file == __file__


def test_what_raw_refuses_while_recording():
    with pytest.raises(ArgumentTypeError, match=r"inside trtnet\.record"):
        trtnet.raw(convolved, shapes=(1,))
    with pytest.raises(ArgumentTypeError, match=r"raw takes tensors(.|\n)*close over"):
        trtnet.record(lambda x: trtnet.raw(convolved, x, 3, shapes=x.shape), x=trtnet.Input((2,)))
    with pytest.raises(ArgumentTypeError, match=r"are parameters(.|\n)*among the inputs"):
        trtnet.record(lambda x: trtnet.raw(convolved, x, shapes=x.shape, weights={"kernel": x}), x=trtnet.Input((2,)))
    with pytest.raises(ArgumentError, match=r"one dtype for each(.|\n)*found: +2: float32, int32"):
        one(convolved, dtypes=["float32", "int32"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            ({"shapes": shapes}, "shapes= of raw is the shape")
            for shapes in (None, 5, "ab", (2.0, 3), (-1, 3), (True, 3))
        ),
        ({"shapes": [(2, 3), None]}, "shapes= of raw is the shape"),
        ({"reference": 3}, "the reference of raw is no function"),
        ({"reference": lambda: 1}, "the reference of raw is called with other arguments"),
        ({"add": "name"}, "what raw adds is no function"),
        ({"weights": [1]}, "by which names the function takes parameters"),
        ({"weights": {1: trtnet.ones(2)}}, "by which names the function takes parameters"),
    ],
)
def test_arguments_of_other_types(options, message):
    with pytest.raises(ArgumentTypeError, match=message) as caught:
        one(**{"add": lambda network, x: x, **options})
    assert caught.value.where.file == __file__
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (lambda x: None, r"gives other shapes(.|\n)*found: +None"),
        (lambda x: "text", r"gives other shapes(.|\n)*found: +'text'"),
        (lambda x: 1 // 0, r"raised ZeroDivisionError(.|\n)*own traceback"),
        (lambda x: (x, x), r"gives other shapes(.|\n)*\(2, 3\), \(2, 3\)"),
    ],
)
def test_a_reference_that_gives_something_else(reference, message):
    engine = trtnet.reference(one(lambda network, x: x, reference=reference))
    with pytest.raises(ProviderError, match=message) as caught:
        engine(np.zeros((2, 3), np.float32))
    assert caught.value.where.file == __file__


def test_without_a_reference():
    engine = trtnet.reference(one(lambda network, x: x))
    with pytest.raises(ProviderError, match=r"(?s)^the raw layer raw has no reference.*remedy"):
        engine(np.zeros((2, 3), np.float32))
    engine = trtnet.reference(one(lambda network, x: x, reference=lambda x: x[0]))
    with pytest.raises(ProviderError, match=r"gives other shapes(.|\n)*\(2, 3\)(.|\n)*\(3,\)"):
        engine(np.zeros((2, 3), np.float32))


def test_a_file_holds_no_code():
    graph = graph_of()
    read = pickle.loads(pickle.dumps(graph))
    assert read.structure_hash() == graph.structure_hash()
    with pytest.raises(BuildError, match=r"is not in the file(.|\n)*record the module again"):
        lowered(read)
    with pytest.raises(ProviderError, match="without its code"):
        trtnet.reference(read)(X)


def test_the_hash_knows_the_function():
    def made(number, text="a"):
        def add(network, x, *, scale=text):
            return network.add_identity(x) if number else x

        return one(add).structure_hash()

    assert made(1) == made(1)
    assert len({made(1), made(2), made(1, "b"), one(lambda network, x: x).structure_hash()}) == 4


# --- mark -------------------------------------------------------------------------------------------------------------


class Marked(nn.Module):
    def __init__(self, result=lambda h: h + 1):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.result = result

    def forward(self, x):
        h = trtnet.mark(self.linear(x), "hidden")
        return self.result(h)


def test_a_marked_tensor_is_an_output():
    net = Marked()
    graph = trtnet.record(net, x=trtnet.Input((BATCH, 3)))
    assert list(graph.outputs) == ["output", "hidden"]
    rows = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    found = trtnet.reference(graph)(rows)
    wanted = rows @ np.asarray(net.linear.weight).T + np.asarray(net.linear.bias)
    np.testing.assert_allclose(found["hidden"], wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["output"], wanted + 1, rtol=1e-6, atol=1e-6)
    lowered(graph).check_outputs()


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (lambda h: h, ["output", "hidden"]),
        (lambda h: (h, h * 2), ["output_0", "output_1", "hidden"]),
        (lambda h: {"a": h}, ["a", "hidden"]),
        (lambda h: (h, None), ["output_0", "output_1", "hidden"]),
        (lambda h: {"a": h, "b": None}, ["a", "b", "hidden"]),
    ],
)
def test_beside_whatever_forward_returns(result, names):
    found = trtnet.reference(trtnet.record(Marked(result), x=trtnet.Input((2, 3))))(np.ones((2, 3), np.float32))
    assert list(found) == names
    assert found["hidden"].shape == (2, 4)


def test_beside_a_nested_result():
    graph = trtnet.record(Marked(lambda h: (h, {"twice": (h * 2, None)})), x=trtnet.Input((2, 3)))
    found = trtnet.reference(graph)(np.ones((2, 3), np.float32))
    assert list(found) == ["output_0", "output_1", "hidden"]
    np.testing.assert_array_equal(found["output_1"]["twice"][0], found["hidden"] * 2)
    assert found["output_1"]["twice"][1] is None


def test_inputs_parameters_and_changed_tensors_can_be_marked():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.arange(3, dtype=np.float32))

        def forward(self, x):
            trtnet.mark(x, "x_as_given")
            trtnet.mark(self.weight, "weight")
            y = x * self.weight
            trtnet.mark(y, "changed")
            y += 1
            return y

    found = trtnet.reference(trtnet.record(Odd(), x=trtnet.Input((2, 3))))(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(found["x_as_given"], np.ones((2, 3)))
    np.testing.assert_array_equal(found["weight"], np.arange(3))
    np.testing.assert_array_equal(found["changed"], found["output"])  # as any tensor that is held: its value at the end


def test_what_mark_refuses():
    value = trtnet.tensor([1.0])
    assert trtnet.mark(value, "outside") is value
    for name in ("hidden", "", 3):
        with pytest.raises(ArgumentError, match=r"a name of its own(.|\n)*several times"):
            trtnet.record(
                lambda h, name: trtnet.mark(trtnet.mark(h, "hidden"), name), h=trtnet.Input((2, 3)), name=name
            )
    with pytest.raises(ArgumentError, match="an output have the same name 'hidden'"):
        trtnet.record(Marked(lambda h: {"hidden": h}), x=trtnet.Input((2, 3)))
    with pytest.raises(ArgumentError, match="an input and an output have the same name 'x'"):
        trtnet.record(lambda x: trtnet.mark(x + 1, "x"), x=trtnet.Input((2, 3)))
    with pytest.raises(ArgumentTypeError, match="only tensors can be marked"):
        trtnet.record(lambda x: trtnet.mark(3, "three"), x=trtnet.Input((2, 3)))
