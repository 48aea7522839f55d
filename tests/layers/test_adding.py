"""`trtnet.layers.add_...`: every method of TensorRT's network that has a kind, by its own name."""

from __future__ import annotations

import numpy as np
import pytest
from harness import lower_and_compare, needs_rtx

import trtnet
import trtnet.pytorch.training  # has a kind of its own, without a name
from trtnet import Input, layers, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, NameNotFoundError
from trtnet.layers.adding import kinds, methods

OLD = {"add_scale", "add_plugin_v2", "add_plugin_v3"}
"""Those that TensorRT-RTX has not, or not under this name."""


def test_the_names_are_tensorrts() -> None:
    network = needs_rtx().trt.INetworkDefinition
    mine = {method for kind in kinds() if kind.is_offered for method in kind.methods}
    assert {method for method in mine if not hasattr(network, method)} <= OLD
    assert set(methods()) == {name for name in dir(layers) if name.startswith("add_")}


def test_operands_and_attributes_are_tensorrts() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2))
            self.slope = nn.Parameter(np.full((1, 1, 1, 1), 0.5, np.float32))

        def forward(self, x):
            shape = {"num_output_maps": 2, "kernel_size": (2, 2), "stride": [1, 1], "pre_padding": (0, 0)}
            more = {"post_padding": (0, 0), "dilation": (1, 1), "num_groups": 1}
            y = layers.add_convolution_nd(x, self.kernel, None, **shape, **more)
            y = layers.add_parametric_relu(y, self.slope)
            y = layers.add_elementwise(y, np.ones((1, 1, 1, 1), np.float32), op="SUM")
            return layers.add_concatenation([y, y], axis=-1), layers.add_cast(y, to_type="float16")

    graph = trtnet.record(Net(), x=Input((1, 3, 4, 4)))
    lower_and_compare(graph)
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)
    joined, half = trtnet.reference(graph)(x)
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3))
    wanted = np.einsum("nchwij,kcij->nkhw", windows, kernel)
    wanted = np.where(wanted < 0, wanted * 0.5, wanted) + 1
    np.testing.assert_allclose(joined, np.concatenate([wanted, wanted], 3), rtol=1e-4, atol=1e-4)
    assert half.dtype == np.float16
    assert set(graph.parameters) == {"kernel", "slope"}


@pytest.mark.parametrize(
    ("kind", "match", "remedy", "function"),
    [
        (NameNotFoundError, "no 'add_softmx'", "add_softmax", lambda x: layers.add_softmx(x, axis=1)),
        (ArgumentTypeError, "no attribute 'axes'", "", lambda x: layers.add_softmax(x, axes=1)),
        (ArgumentTypeError, "missing 1 required", "by keyword", lambda x: layers.add_softmax(x)),
        (ArgumentTypeError, "takes tensors and numbers", "give a tensor", lambda x: layers.add_identity("x")),
        (ArgumentError, "no dimension 2", None, lambda x: layers.add_softmax(x, axis=2)),
        (ArgumentError, "no dimension -3", None, lambda x: layers.add_reduce(x, op="SUM", axes=(0, -3))),
    ],
)
def test_refused(kind, match, remedy, function) -> None:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, x=Input((2, 3)))
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    assert remedy is None or remedy in caught.value.remedy


def test_outside_a_recording() -> None:
    with pytest.raises(ArgumentTypeError, match="outside its recording"):
        layers.add_softmax(np.zeros((2, 3), np.float32), axis=1)
    with pytest.raises(AttributeError, match="no 'nothing'"):
        getattr(layers, "nothing")  # noqa: B009


def test_what_somebody_made_of_a_kind_is_not_taken_for_it() -> None:
    class Doubled(layers.quantization.Quantize):
        pass

    assert Doubled.methods == ("add_quantize",)
    assert methods()["add_quantize"] is layers.quantization.Quantize
    assert Doubled not in set(kinds())
