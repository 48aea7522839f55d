"""Lowering onto TensorRT-RTX's own INetworkDefinition: layers, names, weights and their lives, shapes, errors."""

from __future__ import annotations

import ctypes
import gc
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from harness import TARGET, builder, compile_network, lower_and_compare, needs_rtx, new_network
from hypothesis import given
from hypothesis import strategies as st
from networks import Tied

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.basics import dims
from trtnet.basics.dims import Size
from trtnet.errors import ArgumentError, BuildError, ProviderError
from trtnet.graph.recorder import emit
from trtnet.layers.base import Layer
from trtnet.layers.casting import Identity
from trtnet.tensorrt.build.lowering import lower

SOURCE = Path(__file__).read_text().splitlines()


def line(mark: str) -> int:
    (number,) = (i for i, text in enumerate(SOURCE, 1) if text.endswith(f"# {mark}"))
    return number


@pytest.fixture(autouse=True)
def rtx():
    return needs_rtx()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.conv(x))  # convolution
        x = F.max_pool2d(self.norm(self.up(x)), 12)
        x = x.flatten(1)
        return F.softmax(self.fc(x), 1)


def net_graph(batch=2, dtype="float32"):
    return trtnet.record(Net().to(dtype), x=Input((batch, 1, 8, 8), dtype))


CLASSES = {
    "CONVOLUTION": "IConvolutionLayer",
    "DECONVOLUTION": "IDeconvolutionLayer",
    "SCALE": "IScaleLayer",
    "CONSTANT": "IConstantLayer",
}
ATTRIBUTES = {
    "CONVOLUTION": ("kernel", "bias"),
    "DECONVOLUTION": ("kernel", "bias"),
    "SCALE": ("shift", "scale"),
    "CONSTANT": ("weights",),
}


def native(network, index, rtx):
    """The layer as the class that it is, and the name of its kind."""
    layer = network.get_layer(index)
    kind = rtx.trt.ILayer.type.fget(layer).name
    if kind in CLASSES:
        layer.__class__ = getattr(rtx.trt, CLASSES[kind])
    return layer, kind


# --- layers and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_one_layer_for_each_record_with_its_name(dtype, rtx):
    network = new_network()
    lowering = net_graph(dtype=dtype).lower(network)
    names = [network.get_layer(i).name for i in range(network.num_layers)]
    assert names == [layer.name for layer in lowering.graph.layers]
    assert "conv/convolution" in names


def test_kinds_are_those_of_the_records(rtx):
    network = new_network()
    lowering = net_graph().lower(network)
    kinds = [native(network, i, rtx)[1].lower() for i in range(network.num_layers)]
    assert kinds == [layer.kind for layer in lowering.graph.layers]


def test_inputs_outputs_and_dimension_names(rtx):
    batch, h = Dim("batch", min=1, max=4), Dim("h", min=2, max=8)
    graph = trtnet.record(lambda x, y: {"a": F.relu(x), "b": y + 1}, x=Input((batch, h, 3)), y=Input((2 * h,), "int32"))
    network = new_network()
    graph.lower(network)
    x, y = (network.get_input(i) for i in range(network.num_inputs))
    assert (x.name, tuple(x.shape), x.dtype) == ("x", (-1, -1, 3), rtx.trt.float32)
    assert (y.name, tuple(y.shape), y.dtype) == ("y", (-1,), rtx.trt.int32)
    assert [x.get_dimension_name(i) for i in range(2)] == ["batch", "h"]
    assert [network.get_output(i).name for i in range(network.num_outputs)] == ["a", "b"]


def test_odd_output_names_arrive(rtx):
    graph = trtnet.record(lambda x: {"class prob/ü": F.relu(x), "x.y": F.sigmoid(x)}, x=Input((2,)))
    network = new_network()
    compile_network(graph.lower(network))
    assert [network.get_output(i).name for i in range(2)] == ["class prob/ü", "x.y"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int64", "bool", "int8", "uint8"])
def test_every_input_dtype_builds_or_says_why(dtype, rtx):
    graph = trtnet.record(lambda x: x.to(trtnet.float32) * 2, x=Input((2, 3), dtype))
    lower_and_compare(graph)


def test_an_input_that_nothing_uses_builds(rtx):
    lower_and_compare(trtnet.record(lambda x, unused: F.relu(x), x=Input((2,)), unused=Input((3,))))


def test_a_scalar_input_builds(rtx):
    lower_and_compare(trtnet.record(lambda x, s: x * s, x=Input((2,)), s=Input(())))


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_read_back_byte_identical(dtype, rtx):
    graph = net_graph(dtype=dtype)
    state = {name: value.copy() for name, value in graph.state_dict().items()}
    network = new_network()
    lowering = graph.lower(network)
    found = {}
    for i, layer in enumerate(lowering.graph.layers):
        made, kind = native(network, i, rtx)
        for attribute in ATTRIBUTES.get(kind, ()):
            found[layer.name, attribute] = read_back(getattr(made, attribute), lowering, rtx)
    by_weight = {
        (layer.name, attribute): layer.operand(index)
        for layer in lowering.graph.layers
        for index, attribute in layer.weight_attributes.items()
        if isinstance(layer.operand(index), trtnet.weights.recipes.Weight)
    }
    assert set(by_weight) <= set(found)
    parameters = 0
    for key, weight in by_weight.items():
        wanted = trtnet.weights.recipes.evaluate(weight, lambda leaf: state[leaf.name])
        assert found[key] == np.ascontiguousarray(wanted).tobytes(), key
        parameters += weight.name in state
    assert parameters >= 4


def read_back(weights, lowering, rtx):
    if isinstance(weights, np.ndarray):
        return weights.tobytes()
    # no NumPy type for it: the address must be one of the ledger's, which TensorRT confirms by taking a name for it
    for holding in lowering.ledger:
        if holding.given is weights or (holding.array.size == weights.size and holding.array.nbytes == weights.nbytes):
            same = rtx.trt.Weights(weights.dtype, holding.address, holding.array.size)
            if lowering.network.set_weights_name(
                same, holding.name
            ) and holding.address not in lowering.__dict__.setdefault("seen", set()):
                lowering.__dict__["seen"].add(holding.address)
                return ctypes.string_at(holding.address, holding.array.nbytes)
    raise AssertionError("weights at an address that the ledger does not have")


def test_every_weight_is_known_to_tensorrt_at_its_address(rtx):
    network = new_network()
    lowering = net_graph(dtype="bfloat16").lower(network)
    for holding in lowering.ledger:
        data_type = lowering.provider.data_type(holding.dtype)
        assert network.set_weights_name(rtx.trt.Weights(data_type, holding.address, holding.array.size), holding.name)
    stranger = np.ones(3, np.float32)
    network.error_recorder = lowering.errors.native
    assert not network.set_weights_name(stranger, "stranger")


def test_engine_weights_are_named_by_state_dict_key():
    lowering = net_graph().lower(new_network())
    names = [holding.name for holding in lowering.ledger]
    assert {"conv.weight", "conv.bias", "up.weight", "up.bias", "fc.weight", "fc.bias"} <= set(names)
    assert len(set(names)) == len(names)
    derived = [name for name in names if "norm" in name]
    assert derived
    for name in derived:
        assert "(" in name, "a derived weight carries path and recipe"


def test_a_refittable_plan_knows_the_names(rtx):
    plan = bytes(trtnet.build_plan(net_graph(), TARGET, refit=True, optimization_level=0))
    for name in ("conv.weight", "up.bias", "fc.weight"):
        assert name.encode() in plan


def test_tied_parameters_are_one_array():
    lowering = lower_and_compare(trtnet.record(Tied(lambda: nn.Conv2d(2, 2, 1, bias=False)), x=Input((1, 2, 4, 4))))
    (holding,) = lowering.ledger
    assert holding.name == "a.weight"
    assert holding.consumers == ["a/convolution", "b/convolution"]


def test_a_layer_of_two_constants_has_two_names():
    kernel, bias = trtnet.ones(2, 1, 3, 3), trtnet.zeros(2)
    lowering = lower_and_compare(trtnet.record(lambda x: F.conv2d(x, kernel, bias), x=Input((1, 1, 5, 5))))
    assert len({holding.name for holding in lowering.ledger}) == 2


def test_parameters_that_are_views_of_one_buffer():
    buffer = np.arange(36, dtype=np.float32)

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(buffer[:9].reshape(1, 1, 3, 3))
            self.b = nn.Parameter(buffer[9:18].reshape(1, 1, 3, 3))
            self.c = nn.Parameter(buffer[:9].reshape(1, 1, 3, 3))
            self.d = nn.Parameter(buffer[9:10])

        def forward(self, x):
            return F.conv2d(x, self.a, self.d) + F.conv2d(x, self.b) + F.conv2d(x, self.c)

    lowering = lower_and_compare(trtnet.record(Views(), x=Input((1, 1, 6, 6))))
    assert {h.name: h.owner for h in lowering.ledger} == {
        "a": "the module's own",
        "d": "the module's own",
        "b": "copy",
        "c": "copy",
    }
    assert len({h.address for h in lowering.ledger}) == 4


def test_a_mapped_file_reaches_tensorrt_without_a_copy(tmp_path, rtx):
    Net().save_weights(tmp_path / "w.safetensors")
    net = Net().load_weights(tmp_path / "w.safetensors")
    state = net.state_dict()
    network = new_network()
    lowering = trtnet.record(net, x=Input((2, 1, 8, 8))).lower(network)
    for holding in lowering.ledger:
        if holding.name in state:
            assert holding.owner == "memory-mapped file"
            assert holding.address == state[holding.name].__array_interface__["data"][0]
    layer, _ = native(network, 0, rtx)
    assert layer.kernel.__array_interface__["data"][0] == state["conv.weight"].__array_interface__["data"][0]


def test_int64_weights(rtx):
    class Gather(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", trtnet.tensor(np.array([3, 1 << 40, -1], np.int64)))

        def forward(self, x):
            return x + self.table

    lowering = lower_and_compare(trtnet.record(Gather(), x=Input((3,), "int64")))
    (holding,) = lowering.ledger
    assert holding.array.dtype == np.int64


# --- lives ------------------------------------------------------------------------------------------------------------


def some_values(seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(value.shape).astype(np.float32) ** 2 + 0.1
        for name, value in Net().state_dict().items()
        if value.dtype == np.float32
    }


def plan_of(network, rtx):
    network.name = "net"  # TensorRT writes the number of an unnamed one into the plan
    config = builder().create_builder_config()
    config.builder_optimization_level = 0
    config.num_compute_capabilities = 1
    config.set_compute_capability(rtx.trt.ComputeCapability.SM86, 0)
    plan = builder().build_serialized_network(network, config)
    assert plan is not None
    return bytes(plan)


def pressure(sizes):
    """Overwrite memory that was freed."""
    return [np.full(size, np.nan, np.float32) for size in sizes for _ in range(64)]


def test_arrays_that_the_user_dropped_give_the_same_plan(rtx):
    values = some_values()
    sizes = [value.size for value in values.values()]
    net = Net()
    net.load_state_dict(values)
    network = new_network()
    kept = trtnet.record(net, x=Input((2, 1, 8, 8))).lower(network)
    wanted = plan_of(network, rtx)
    assert plan_of(network, rtx) == wanted, "builds are not deterministic"
    del kept

    def make():
        dropped = some_values()
        net = Net()
        net.load_state_dict(dropped, assign=True)
        graph = trtnet.record(net, x=Input((2, 1, 8, 8)))
        network = new_network()
        lowering = graph.lower(network)
        owners = [weakref.ref(h.array) for h in lowering.ledger]
        return network, owners, [weakref.ref(o) for o in (net, graph, lowering)]

    network, arrays, owners = make()
    gc.collect()
    assert [o() for o in owners] == [None, None, None], "only the network is left"
    junk = pressure(sizes)
    assert all(array() is not None for array in arrays)
    assert plan_of(network, rtx) == wanted
    del network, junk
    gc.collect()
    assert all(array() is None for array in arrays), "arrays outlived their network"


def test_other_weights_give_another_plan(rtx):
    """Else the test above could not fail."""
    plans = []
    for seed in (0, 1):
        graph = net_graph()
        graph.load_state_dict(some_values(seed))
        network = new_network()
        graph.lower(network)
        plans.append(plan_of(network, rtx))
    assert plans[0] != plans[1]


def test_a_network_that_was_lowered_half_keeps_its_arrays(rtx):
    graph = net_graph()
    next(layer for layer in graph.layers if layer.kind == "softmax").axis = 7
    fully = next(i for i, layer in enumerate(graph.layers) if layer.kind == "deconvolution")
    graph.layers[fully].stride = (0, 0)
    network = new_network()
    with pytest.raises(BuildError):
        graph.lower(network)
    kernel = graph.layers[0].inputs[1].value
    array = weakref.ref(kernel.read())
    where = kernel.read().__array_interface__["data"][0]
    wanted = kernel.read().tobytes()
    del graph, kernel
    gc.collect()
    assert array() is not None
    layer, _ = native(network, 0, rtx)
    assert layer.kernel.__array_interface__["data"][0] == where
    assert layer.kernel.tobytes() == wanted
    del layer, network
    gc.collect()
    assert array() is None


def test_shape_constants_are_held_too():
    b, h = Dim("b", min=1, max=4), Dim("h", min=2, max=8)
    graph = trtnet.record(lambda x: x.reshape(x.shape[0] * 2, 3, x.shape[1]), x=Input((b, h, 6)))
    lowering = graph.lower(new_network())
    assert lowering.ledger._others
    assert all(array.dtype == np.int64 for array in lowering.ledger._others)


# --- dynamic shapes ---------------------------------------------------------------------------------------------------

B = Dim("b", min=1, opt=2, max=4)
H = Dim("h", min=4, opt=8, max=16)
EVEN = Dim("even", min=4, opt=8, max=16, multiple_of=2)

DYNAMIC = {
    "flatten": (lambda x: x.flatten(1), {"x": (B, H, 3)}),
    "flatten to one dim": (lambda x: x.flatten(), {"x": (B, H, 3)}),
    "two dims exchanged": (lambda x: x.reshape(x.shape[1], x.shape[0], 3), {"x": (B, H, 3)}),
    "three dynamic dims": (lambda x: x.reshape(x.shape[0], 1, x.shape[1], 3), {"x": (B, H, 3)}),
    "half": (lambda x: x.reshape(x.shape[0], x.shape[1] // 2, 2, 3), {"x": (B, EVEN, 3)}),
    "slice with a step": (lambda x: x[:, 1::2], {"x": (B, H, 3)}),
    "slice from the end": (lambda x: x[:, -2:], {"x": (B, H, 3)}),
    "slice up to a size": (lambda x: x[:, : x.shape[1] // 2], {"x": (B, H, 3)}),
    "slice to another input's size": (lambda x, y: x[:, : y.shape[0]], {"x": (4, 16), "y": (H,)}),
    "an expression as input size": (lambda x, y: x[1::2] + y, {"x": (2 * B + 1,), "y": (B,)}),
    "only an expression": (lambda x: x[: (x.shape[0] - 1) // 2], {"x": (2 * B + 1,)}),
    "only an expression, twice": (lambda x: x.reshape(x.shape[1], x.shape[0]), {"x": (2 * B + 1, 3 * H)}),
    "a multiple as expression": (lambda x: x.reshape(x.shape[0] // 2, 2), {"x": (EVEN * 3 + 2,)}),
    "expand": (lambda x, y: x.expand(y.shape[0], -1), {"x": (1, 3), "y": (H, 3)}),
    "broadcast of two inputs": (lambda x, y: x.unsqueeze(0) + y.unsqueeze(1), {"x": (B,), "y": (H,)}),
    "concatenation of inputs": (lambda x, y: trtnet.cat([x, y], 0).reshape(-1, 1), {"x": (B, 3), "y": (H, 3)}),
    "zeros of a size": (lambda x: x + trtnet.zeros(x.shape[0], 3), {"x": (B, 3)}),
    "chunk": (lambda x: trtnet.cat(x.chunk(2, 1)[::-1], 1), {"x": (B, EVEN)}),
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic_shapes(name):
    forward, shapes = DYNAMIC[name]
    graph = trtnet.record(forward, **{key: Input(shape) for key, shape in shapes.items()})
    lower_and_compare(graph)


def shape_values(network, shapes, rtx):
    """What TensorRT's own layers compute for the shape tensors, by tensor name: read back and worked out here."""
    trt = rtx.trt
    operations = {
        trt.ElementWiseOperation.SUM: np.add,
        trt.ElementWiseOperation.SUB: np.subtract,
        trt.ElementWiseOperation.PROD: np.multiply,
        trt.ElementWiseOperation.FLOOR_DIV: np.floor_divide,
        trt.ElementWiseOperation.MAX: np.maximum,
        trt.ElementWiseOperation.MIN: np.minimum,
    }
    found: dict[str, np.ndarray] = {}
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        kind = trt.ILayer.type.fget(layer).name
        inputs = [made.name for k in range(layer.num_inputs) if (made := layer.get_input(k)) is not None]
        out = layer.get_output(0).name
        if kind == "SHAPE" and inputs[0] in shapes:
            found[out] = np.array(shapes[inputs[0]])
        elif kind == "CONSTANT":
            layer.__class__ = trt.IConstantLayer
            if layer.weights.dtype == np.int64:
                found[out] = np.array(layer.weights).reshape(tuple(layer.shape))
        elif not inputs or not all(name in found for name in inputs):
            continue
        elif kind == "SLICE":
            layer.__class__ = trt.ISliceLayer
            (start,), (size,), (stride,) = layer.start, layer.shape, layer.stride
            found[out] = found[inputs[0]][start : start + size * stride : stride]
        elif kind == "ELEMENTWISE":
            layer.__class__ = trt.IElementWiseLayer
            found[out] = operations[layer.op](found[inputs[0]], found[inputs[1]])
        elif kind == "CONCATENATION":
            found[out] = np.concatenate([found[name] for name in inputs])
    return found


@pytest.mark.parametrize("name", DYNAMIC)
def test_shape_tensors_have_the_right_values(name, rtx):
    forward, shapes = DYNAMIC[name]
    graph = trtnet.record(forward, **{key: Input(shape) for key, shape in shapes.items()})
    network = new_network()
    lowering = graph.lower(network)
    named = {network.get_layer(i).name: network.get_layer(i) for i in range(network.num_layers)}
    points = [{n: getattr(d, which) for n, d in graph.dims.items()} for which in ("min", "opt", "max")]
    points.append({n: d.min + 2 * d.multiple_of for n, d in graph.dims.items()})
    checked = 0
    for sizes in points:
        given = {n: tuple(dims.evaluate(s, sizes) for s in t.shape) for n, t in graph.inputs.items()}
        values = shape_values(network, given, rtx)
        for layer in lowering.graph.layers:
            attributes = {"shuffle": {1: "reshape_dims"}, "slice": {1: "start", 2: "shape", 3: "stride"}}.get(
                layer.kind, {}
            )
            for index, attribute in attributes.items():
                made = named[layer.name]
                tensor = made.get_input(index) if made.num_inputs > index else None
                if tensor is not None:
                    wanted = [dims.evaluate(s, sizes) for s in getattr(layer, attribute)]
                    assert values[tensor.name].tolist() == wanted, f"{layer.name}.{attribute} at {sizes}"
                    checked += 1
    if name in ("two dims exchanged", "slice up to a size", "an expression as input size", "only an expression, twice"):
        assert checked


SIZES = st.recursive(
    st.one_of(st.sampled_from([B, H, EVEN]), st.integers(1, 7)),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] * p[1]),
        st.tuples(inner, st.integers(1, 5)).map(lambda p: p[0] - p[1]),
        st.tuples(inner, st.integers(1, 5)).map(lambda p: p[0] // p[1]),
        st.tuples(inner, st.integers(1, 5)).map(lambda p: p[0] % p[1]),
        st.tuples(inner, inner).map(lambda p: dims.maximum(*p)),
        st.tuples(inner, inner).map(lambda p: dims.minimum(*p)),
        st.tuples(inner, st.integers(1, 4)).map(lambda p: dims.ceil_divide(*p)),
    ),
    max_leaves=5,
)


@given(sizes=st.lists(SIZES, min_size=1, max_size=4), b=st.integers(1, 4), h=st.integers(4, 16), half=st.integers(2, 8))
def test_any_expression_of_sizes_is_computed_by_layers(sizes, b, h, half):
    rtx = needs_rtx()
    graph = trtnet.record(lambda x, y: (F.relu(x), F.relu(y)), x=Input((3 * B + 1, H)), y=Input((2 * EVEN - 3,)))
    network = new_network()
    lowering = graph.lower(network)
    tensor = lowering.shape_tensor(sizes)
    values = {"b": b, "h": h, "even": 2 * half}
    found = shape_values(network, {"x": (3 * b + 1, h), "y": (4 * half - 3,)}, rtx)
    assert found[tensor.name].tolist() == [dims.evaluate(size, values) for size in sizes]
    assert tuple(tensor.shape) == (len(sizes),)


def test_a_size_that_no_input_tells():
    product = Dim("a", min=1, max=4) * Dim("c", min=1, max=4)
    graph = trtnet.record(lambda x: x.reshape(x.shape[0] // 1, 1)[: Dim("a", min=1, max=4)], x=Input((product,)))
    with pytest.raises(ProviderError, match="a cannot be worked out from the inputs' shapes") as caught:
        graph.lower(new_network())
    assert caught.value.where.file == __file__
    assert "x: (a*c,)" in caught.value.found


def test_size_layers_are_named_after_the_layer_that_needs_them():
    forward, shapes = DYNAMIC["two dims exchanged"]
    network = new_network()
    lowering = trtnet.record(forward, **{key: Input(shape) for key, shape in shapes.items()}).lower(network)
    names = [network.get_layer(i).name for i in range(network.num_layers)]
    assert len(set(names)) == len(names) > len(lowering.graph.layers)
    for name in names:
        assert name == "shuffle" or name.startswith("shuffle/size_")


# --- errors -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False, repr=False)
class Wrong(Layer):
    """Does what its attribute says, and infers the shape of its input whatever TensorRT makes of it."""

    what: str = ""
    kind: ClassVar[str] = "wrong"

    def infer(self) -> Any:
        x = self.inputs[0]
        return ((Size(x.shape), x.dtype),)

    def compute(self, run: Any, *inputs: Any) -> Any:
        return inputs[0]

    def add_to(self, lowering: Any) -> Any:
        network, x = lowering.network, lowering[self.inputs[0]]
        if self.what == "sigmoid":
            return network.add_activation(x, lowering.enum("ActivationType", "SIGMOID"))
        if self.what == "rank":
            shape = network.add_shuffle(x)
            shape.reshape_dims = (-1,)
            return shape
        if self.what == "double":
            return network.add_concatenation([x, x])
        if self.what == "type error":
            return network.add_softmax("x")
        if self.what == "none":
            return None
        if self.what == "refused":
            return network.add_convolution_nd(x, 1, (3,), np.ones(3, np.float32))
        raise AssertionError(self.what)


class Holds(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return emit(Wrong((x,), self.what))  # wrong


class Outer(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.inner = nn.ModuleList([Holds(what)])
        self.last = nn.Softmax(1)

    def forward(self, x):
        return self.last(F.relu(self.inner[0](F.relu(x))))


@pytest.mark.parametrize(
    ("what", "dtype", "text"),
    [
        ("none", "float32", r"TensorRT gave no reason"),
        ("refused", "float32", r"addConvolutionNd.*nbDims == 2"),
        ("type error", "float32", r"bindings refused this wrong layer.*incompatible function arguments"),
        ("rank", "float32", r""),
        ("double", "float32", r""),
    ],
)
def test_what_tensorrt_refuses_comes_back_with_path_and_line(what, dtype, text):
    import re

    graph = trtnet.record(Outer(what), x=Input((2, 3), dtype))
    with pytest.raises(BuildError) as caught:
        trtnet.build_plan(graph, TARGET)
    error = caught.value
    assert error.module == "inner.0"
    assert (error.where.file, error.where.line) == (__file__, line("wrong"))
    assert what in ("rank", "double") or "inner.0/wrong" in error.found
    assert error.remedy
    assert re.search(text, str(error), re.DOTALL)
    trtnet.build_plan(net_graph(), TARGET, optimization_level=0)


def test_a_type_that_tensorrt_refuses():
    graph = trtnet.record(lambda x: emit(Wrong((x,), "sigmoid")) + 1, x=Input((2, 3), "int32"))  # integers
    with pytest.raises(BuildError, match=r"must have type|must be") as caught:
        trtnet.build_plan(graph, TARGET)
    assert caught.value.where.line == line("integers")
    assert "wrong" in caught.value.found


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        ("convolution", {"num_output_maps": 5}, "count of 36 weights in kernel"),
        ("convolution", {"num_groups": 3}, "must divide input's channel count"),
        ("convolution", {"kernel_size": (3,)}, "nbDims"),
        ("convolution", {"stride": (0, 0)}, "stride"),
        ("shuffle", {"reshape_dims": (2, 5)}, r"Reshaping \[2,4,1,1\] to \[2,5\]"),
        ("pooling", {"window_size": (40, 40)}, "empty tensor|negative length"),
        ("softmax", {"axis": 5}, "softmax axis"),
        ("activation", {"type": "NOPE"}, "ActivationType.NOPE"),
    ],
)
def test_the_layer_at_fault_is_the_one_that_is_named(kind, changes, text):
    graph = net_graph()
    layer = next(layer for layer in graph.layers if layer.kind == kind)
    for name, value in changes.items():
        setattr(layer, name, value)
    with pytest.raises(ProviderError, match=text) as caught:
        trtnet.build_plan(graph, TARGET)
    error = caught.value
    assert error.where == layer.location or error.where.line == layer.location.line
    assert error.module == (layer.path or None)
    if isinstance(error, BuildError):
        assert layer.name in error.found
        assert "checkMacros" not in str(error)


def test_a_name_that_is_a_common_word_is_not_blamed():
    graph = trtnet.record(lambda x: F.relu(x) + 1, x=Input((2, 3)))
    graph.layers[0].name = "shape"
    lowering = graph.lower(new_network())
    assert lowering.layer_named_in("the shape of the tensor is wrong; reshape it") is None
    assert lowering.layer_named_in("Error (shape: count of 3 weights)") is graph.layers[0]
    assert lowering.layer_named_in("Error (block/shape: count of 3 weights)") is None
    assert lowering.layer_named_in("Error (shape_1: count of 3 weights)") is None
    graph.layers[0].name = "shape_1"
    assert lowering.layer_named_in("ForeignNode[shape_1...activation]") is graph.layers[0]


def test_the_users_error_recorder_is_back(rtx):
    mine = rtx.error_recorder()
    network = new_network()
    network.error_recorder = mine.native
    net_graph().lower(network)
    assert network.error_recorder is mine.native
    graph = net_graph()
    graph.layers[0].stride = (0, 0)
    with pytest.raises(BuildError):
        graph.lower(network := new_network_with(mine))
    assert network.error_recorder is mine.native
    assert mine.errors == []


def new_network_with(recorder):
    network = new_network()
    network.error_recorder = recorder.native
    return network


def test_without_a_recorder_tensorrt_logs_again_afterwards(caplog):
    network = new_network()
    net_graph().lower(network)
    assert network.error_recorder is None
    network.add_convolution_nd(network.get_input(0), 1, (3,), np.ones(3, np.float32))
    assert "nbDims" in caplog.text


def test_a_second_graph_on_one_network():
    network = new_network()
    trtnet.record(lambda x: F.relu(x), x=Input((2,))).lower(network)
    with pytest.raises(BuildError, match="refused the input 'x'"):
        trtnet.record(lambda x: F.relu(x), x=Input((2,))).lower(network)
    with pytest.raises(ArgumentError, match="has a layer named 'activation' already") as caught:
        trtnet.record(lambda y: F.relu(y), y=Input((2,))).lower(network)
    assert "network of its own" in caught.value.remedy


def test_a_users_own_layers_may_be_there_first(rtx):
    network = new_network()
    mine = network.add_input("mine", rtx.trt.float32, (2,))
    relu = network.add_activation(mine, rtx.trt.ActivationType.RELU)
    relu.name = "my own"
    network.mark_output(relu.get_output(0))
    lowering = trtnet.record(lambda x: F.relu(x), x=Input((2,))).lower(network)
    assert [network.get_layer(i).name for i in range(2)] == ["my own", "activation"]
    compile_network(lowering)


def test_an_output_that_tensorrt_makes_of_another_type():
    @dataclass(slots=True, eq=False, repr=False)
    class Lies(Identity):
        def infer(self) -> Any:
            return ((self.inputs[0].shape, trtnet.float16),)

    graph = trtnet.record(lambda x: emit(Lies((x,))), x=Input((2,)))
    with pytest.raises(BuildError, match="another shape or type of the output 'output'") as caught:
        trtnet.build_plan(graph, TARGET)
    assert "float16" in caught.value.expected
    assert "FLOAT" in caught.value.found


def test_lower_is_what_graph_lower_does(rtx):
    network = new_network()
    lowering = lower(net_graph(), network)
    assert lowering.network is network
    assert lowering.placeholders == {}
    assert lowering.provider.trt is rtx.trt


def test_bfloat16_values_are_what_tensorrt_is_given():
    lowering = net_graph(dtype="bfloat16").lower(new_network())
    assert {h.array.dtype for h in lowering.ledger if h.name.startswith(("conv.", "up."))} == {
        np.dtype(ml_dtypes.bfloat16)
    }


def test_constants_of_nothing_compile():
    def joined(x):
        y = x * 1
        y[2:2] = trtnet.ones(0, 3)
        return y, trtnet.cat([x, trtnet.zeros(0, 3)])

    graph = trtnet.record(joined, x=Input((2, 3)))
    assert any(0 in t.shape for layer in graph.layers for t in layer.outputs)
    lower_and_compare(graph)
