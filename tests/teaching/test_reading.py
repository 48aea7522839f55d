"""Networks that were made with TensorRT's own API, as graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import CASES, recorded
from harness import needs_rtx, new_network
from networks import flat

import trtnet
from models.lenet import LeNet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, UnsupportedError

BATCH = Dim("batch", min=1, opt=2, max=8)
UNREADABLE = {
    "attention_layer": "attention_input",
    "computed_positions": "computed",
    "computed_sizes": "computed",
    "scan": "recurrence",
    "while_loop": "recurrence",
    "cond": "condition",
}
"""Cases that are not read back, and what the error says."""


def read(graph: trtnet.Graph, **inputs: Input) -> trtnet.Graph:
    """A graph, lowered onto TensorRT-RTX's network, and read back."""
    network = new_network()
    graph.lower(network)
    return trtnet.from_network(network, **inputs)


@pytest.mark.parametrize("name", sorted(set(CASES) - set(UNREADABLE)))
def test_what_is_read_back_computes_the_same(name):
    needs_rtx()
    graph, inputs = recorded(name)
    back = read(graph)
    inputs = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in inputs.items()}
    wanted = flat(trtnet.reference(graph, dtype="float64", raw=True)(**inputs))
    found = flat(trtnet.reference(back, dtype="float64", raw=True)(**inputs))
    # what TensorRT holds is float32: a folded BatchNorm, the slope of a leaky RELU
    rounded = name == "activations" or any(weight.name and "(" in weight.name for _, _, weight in graph.weights())
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6 if rounded else 1e-12, atol=1e-6 if rounded else 1e-12)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_back_says_so(name):
    needs_rtx()
    with pytest.raises(UnsupportedError, match="cannot be read back") as caught:
        read(recorded(name)[0])
    assert UNREADABLE[name] in str(caught.value)
    assert "the layer" in caught.value.details


def test_a_network_written_by_hand():
    trt = needs_rtx().trt
    network = new_network()
    kernel = np.arange(36, dtype=np.float32).reshape(4, 1, 3, 3) / 36
    bias = np.ones(4, np.float32)
    image = network.add_input("image", trt.DataType.FLOAT, (-1, 1, 8, 8))
    conv = network.add_convolution_nd(image, 4, (3, 3), trt.Weights(kernel), trt.Weights(bias))
    conv.name = "conv1"
    conv.padding_nd = (1, 1)
    relu = network.add_activation(conv.get_output(0), trt.ActivationType.RELU)
    relu.name = "relu"
    relu.get_output(0).name = "maps"
    network.mark_output(relu.get_output(0))
    with pytest.raises(ArgumentError, match="has dynamic sizes") as caught:
        trtnet.from_network(network)
    assert "Dim" in caught.value.expected
    graph = trtnet.from_network(network, image=Input((BATCH, 1, 8, 8)))
    assert [layer.name for layer in graph.layers] == ["conv1", "relu"]
    assert list(graph.parameters) == ["conv1.kernel", "conv1.bias"], "names to refit by"
    assert "convolution" in graph.summary()
    assert "num_output_maps=4" in str(graph.explain("conv1"))
    x = np.random.default_rng(0).standard_normal((3, 1, 8, 8))
    wanted = torch.conv2d(torch.from_numpy(x), torch.from_numpy(kernel).double(), torch.ones(4).double(), padding=1)
    found = trtnet.reference(graph, dtype="float64", raw=True)(image=x)
    np.testing.assert_allclose(found, wanted.relu().numpy(), rtol=1e-12)
    again = {name: value * 2 for name, value in graph.state_dict().items()}
    graph.load_state_dict(again)
    np.testing.assert_array_equal(graph.state_dict()["conv1.kernel"], kernel * 2)


@pytest.mark.parametrize("batch", [2, BATCH], ids=["static", "dynamic"])
def test_lenet_again(batch):
    """Read back and lowered again, it is the network that it was: layers, wiring, shapes."""
    needs_rtx()
    graph = trtnet.record(LeNet(), image=Input((batch, 1, 28, 28)))
    back = read(graph, image=Input((batch, 1, 28, 28)))
    lowered = graph.for_provider(needs_rtx())
    assert [(a.kind, a.outputs[0].shape) for a in back.layers] == [(a.kind, a.outputs[0].shape) for a in lowered.layers]
    assert [layer.path for layer in back.layers][:2] == ["conv1", ""]
    plan = trtnet.build_plan(back, "sm86")
    assert len(bytes(plan)) > 0


def test_sizes_of_inputs_are_sizes_again():
    needs_rtx()
    graph = trtnet.record(lambda x: x.reshape(x.shape[1], -1)[: x.shape[1] // 2] * x.shape[0], x=Input((BATCH, 6)))
    back = read(graph, x=Input((BATCH, 6)))
    assert back.outputs["output"].shape == graph.outputs["output"].shape
    x = np.arange(18, dtype=np.float32).reshape(3, 6)
    np.testing.assert_array_equal(trtnet.reference(back)(x=x), trtnet.reference(graph)(x=x))


def test_faults():
    trt = needs_rtx().trt
    network = new_network()
    x = network.add_input("x", trt.DataType.FLOAT, (2, 3))
    with pytest.raises(ArgumentError, match="a network needs inputs and outputs"):
        trtnet.from_network(network)
    layer = network.add_activation(x, trt.ActivationType.RELU)
    network.mark_output(layer.get_output(0))
    for wrong in ({"y": Input((2, 3))}, {"x": Input((2, 4))}, {"x": Input((2, 3), "int32")}):
        with pytest.raises(ArgumentError, match=r"no input|another shape or type"):
            trtnet.from_network(network, **wrong)
    with pytest.raises(ArgumentError, match="no INetworkDefinition"):
        trtnet.from_network(F)
    assert len(trtnet.from_network(network, x=Input((2, 3))).layers) == 1


def test_what_would_be_another_network_is_refused():
    """Attributes that trtnet's layers have not; and layers of one name, which TensorRT allows until it builds."""
    trt = needs_rtx().trt
    for change, text in (("SAME_UPPER", "padding_mode"), ("MAX_AVERAGE_BLEND", "blends")):
        network = new_network()
        x = network.add_input("x", trt.DataType.FLOAT, (1, 2, 8, 8))
        kind = trt.PoolingType.MAX_AVERAGE_BLEND if change == "MAX_AVERAGE_BLEND" else trt.PoolingType.MAX
        layer = network.add_pooling_nd(x, kind, (3, 3))
        layer.stride_nd, layer.padding_nd = (2, 2), (1, 1)
        if change == "SAME_UPPER":
            layer.padding_mode = trt.PaddingMode.SAME_UPPER
        network.mark_output(layer.get_output(0))
        with pytest.raises(UnsupportedError, match=text):
            trtnet.from_network(network)
    network = new_network()
    x = network.add_input("x", trt.DataType.FLOAT, (2, 3))
    for operation in (trt.UnaryOperation.EXP, trt.UnaryOperation.NEG):
        layer = network.add_unary(x, operation)
        layer.name = "same"
        x = layer.get_output(0)
    network.mark_output(x)
    graph = trtnet.from_network(network)
    assert [layer.op for layer in graph.layers] == ["EXP", "NEG"]


def test_weights_that_begin_at_one_address():
    """A whole array and its first row are two weights; the same array in another shape is one."""
    network, trt = new_network(), needs_rtx().trt
    held = np.arange(12, dtype=np.float32)
    x = network.add_input("x", trt.DataType.FLOAT, (3, 4))
    for shape in ((3, 4), (1, 4)):
        weights = trt.Weights(trt.DataType.FLOAT, held.ctypes.data, int(np.prod(shape)))
        constant = network.add_constant(shape, weights).get_output(0)
        x = network.add_elementwise(x, constant, trt.ElementWiseOperation.SUM).get_output(0)
    turned = network.add_constant((4, 3), trt.Weights(trt.DataType.FLOAT, held.ctypes.data, 12)).get_output(0)
    none = trt.MatrixOperation.NONE
    network.mark_output(network.add_matrix_multiply(x, none, turned, none).get_output(0))
    graph = trtnet.from_network(network)
    assert len(graph.parameters) == 2
    given = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(
        trtnet.reference(graph)(x=given), (given + held.reshape(3, 4) + held[:4]) @ held.reshape(4, 3)
    )
