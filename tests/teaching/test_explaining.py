"""The raw calls behind each line of `forward`."""

from __future__ import annotations

import inspect
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from bindings import versions
from cases import recorded

import trtnet
from models.lenet import LeNet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError

BATCH = Dim("batch", min=1, opt=8, max=64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        return self.fc(x.mean((2, 3)))


def net() -> trtnet.Graph:
    return trtnet.record(Net(), x=Input((BATCH, 1, 8, 8)))


def test_lines_layers_calls_and_shapes():
    found = net().explain(provider="tensorrt==10.13")
    source, first = inspect.getsourcelines(Net.forward)
    assert [line.line for line in found.lines] == [first + 1, first + 2]
    assert [line.source for line in found.lines] == [text.strip() for text in source[1:]]
    conv, relu = found.lines[0].layers
    assert (conv.name, conv.module, conv.kind) == ("conv1/convolution", "conv1", "convolution")
    assert conv.inputs == (
        "x (batch, 1, 8, 8) float32", "conv1.weight (4, 1, 3, 3) float32", "conv1.bias (4,) float32",
    )  # fmt: skip
    assert conv.outputs == ("(batch, 4, 6, 6) float32",)
    assert "\n".join(conv.calls) == (
        'conv1_weight = weights("conv1.weight", trt.DataType.FLOAT, 36)\n'
        'conv1_bias = weights("conv1.bias", trt.DataType.FLOAT, 4)\n'
        "conv1_convolution = network.add_convolution_nd(\n"
        "    x, num_output_maps=4, kernel_shape=(3, 3), kernel=conv1_weight, bias=conv1_bias\n"
        ")\n"
        'conv1_convolution.name = "conv1/convolution"\n'
        'network.set_weights_name(conv1_weight, "conv1.weight")\n'
        'network.set_weights_name(conv1_bias, "conv1.bias")'
    )
    assert relu.calls[0] == (
        "activation = network.add_activation(conv1_convolution.get_output(0), type=trt.ActivationType.RELU)"
    )
    assert found.lines[1].layers[1].instead_of == "fully_connected", "TensorRT has no fully connected layer any more"
    assert found.inputs[1] == 'x = network.add_input("x", dtype=trt.DataType.FLOAT, shape=(-1, 1, 8, 8))'
    assert found.outputs[-1].startswith("network.mark_output(")


def test_a_part():
    whole = net().explain()
    assert [layer.name for line in net().explain("conv1").lines for layer in line.layers] == ["conv1/convolution"]
    names = [layer.name for line in net().explain("fc").lines for layer in line.layers]
    assert names == [layer.name for layer in whole.lines[1].layers if layer.module == "fc"] != []
    assert len(net().explain("activation").lines) == 1, "by a layer's name"
    with pytest.raises(ArgumentError, match="no layer was recorded") as caught:
        net().explain("conv2")
    assert caught.value.expected.startswith("conv1")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_text_and_html():
    found = net().explain()
    page = Tags()
    page.feed(found._repr_html_())
    assert page.open == []
    for layer in (layer for line in found.lines for layer in line.layers):
        for call in layer.calls:
            assert call in page.text, "a call is missing in HTML"
            assert all(part in str(found) for part in call.split("\n")), "a call is missing in text"


def test_other_versions_compose_what_they_lack():
    graph = trtnet.record(lambda x: F.gelu(x), x=Input((2, 3)))
    older, newer = (graph.explain(provider=f"tensorrt=={version}") for version in ("8.6.1", "10.13"))
    assert {layer.instead_of for layer in older.lines[0].layers} == {"activation GELU_ERF"}
    assert "precision = trt.DataType.FLOAT" in str(older), "8.6 is weakly typed"
    assert [layer.instead_of for layer in newer.lines[0].layers] == [""]
    assert "ActivationType.GELU_ERF" in str(newer)
    assert "precision" not in str(newer)


@pytest.mark.parametrize("version", versions())
def test_loops_and_sizes_for_every_version(version):
    provider = f"tensorrt_rtx=={version[3:]}" if version.startswith("rtx") else f"tensorrt=={version}"
    text = str(recorded("scan")[0].explain(provider=provider))
    assert "loop = network.add_loop()" in text
    assert "loop.add_recurrence(" in text
    graph = trtnet.record(lambda x: trtnet.zeros(x.shape[0] * 2, 6).sum() + x, x=Input((BATCH, 6)))
    text = str(graph.explain(provider=provider))
    assert "network.add_shape(x)" in text
    assert f"np.{'int32' if version == '8.6.1' else 'int64'})" in text, "8.6 has no int64"


def test_without_tensorrt_and_torch():
    code = (
        "import sys\n"
        "for name in ('torch', 'tensorrt', 'tensorrt_rtx'):\n"
        "    sys.modules[name] = None\n"
        "import trtnet\n"
        "from trtnet import functional as F\n"
        "graph = trtnet.record(lambda x: F.relu(x), x=trtnet.Input((2,)))\n"
        "found = graph.explain()\n"
        "assert found.provider.startswith('tensorrt 11'), found.provider\n"
        "assert 'add_activation(x, type=trt.ActivationType.RELU)' in str(found)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_graph_stays_as_it_is():
    graph = trtnet.record(LeNet(), image=Input((BATCH, 1, 28, 28)))
    before = graph.structure_hash(), graph.summary()
    graph.explain(provider="tensorrt==8.6.1")
    assert (graph.structure_hash(), graph.summary()) == before
