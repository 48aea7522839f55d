"""Graphs as pictures: every layer, module, shape and arrow is there, whatever names say."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
from cases import CASES, recorded

import trtnet
from models.lenet import LeNet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, ProviderError
from trtnet.graph.tensor import Tensor
from trtnet.teaching.drawing import MOST, as_dot, as_mermaid
from trtnet.teaching.picture import Shown
from trtnet.tensorrt.abilities import Newest

SVG = "{http://www.w3.org/2000/svg}"


def lenet():
    batch = Dim("batch", min=1, opt=8, max=64)
    return trtnet.record(LeNet(), image=Input((batch, 1, 28, 28)))


def picture(graph):
    return Shown(graph).picture()


def needs_graphviz():
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")


def drawn(graph, path, **options):
    """The parts of an SVG by their class: the titles of its nodes, edges and clusters, and all text."""
    needs_graphviz()
    root = ElementTree.fromstring(graph.draw(path, **options).encode())
    assert ElementTree.parse(path).getroot().tag == root.tag == f"{SVG}svg"
    parts = {"node": 0, "edge": 0, "cluster": 0}
    for group in root.iter(f"{SVG}g"):
        if group.get("class") in parts:
            parts[group.get("class")] += 1
    return parts, [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", CASES)
def test_every_layer_and_every_tensor_is_there(name):
    graph = recorded(name)[0].for_provider(Newest())
    made = picture(graph)
    assert len(made.boxes) == len(graph.inputs) + len(graph.layers) + len(graph.outputs)
    kinds = [box.lines[0] for box in made.boxes[len(graph.inputs) : len(graph.inputs) + len(graph.layers)]]
    assert kinds == [layer.headline() for layer in graph.layers]
    taken = {(id(o), id(layer)) for layer in graph.layers for o in layer.inputs if isinstance(o, Tensor)}
    back = [layer for layer in graph.layers if layer.feeds is not None]
    forward = [arrow for arrow in made.arrows if not arrow[3]]
    assert len(forward) <= len(taken) + len(graph.outputs)
    assert len({(a, b) for a, b, _, _ in forward}) >= len({layer for layer in graph.layers if layer.tensors})
    assert len(made.arrows) - len(forward) == len({layer.feeds for layer in back})
    for text in (as_dot(made), as_mermaid(made)):
        assert len(re.findall(r"subgraph ", text)) == len(re.findall(r"(?m)^\s*(end|\})$", text)) - text.count(
            "digraph"
        )
        assert all(f"n{number}" in text for number in range(len(made.boxes)))


def test_lenet_as_mermaid():
    text = lenet().draw()
    lines = [line.strip() for line in text.splitlines()]
    start = lines.index('subgraph m0["conv1"]')
    assert lines[start + 1] == 'n1["convolution<br>conv1.weight (20, 1, 5, 5)<br>conv1.bias (20,)"]:::weights'
    assert lines[start + 2] == "end"
    assert 'n1 -->|"(batch, 20, 24, 24) float32"| n2' in lines
    assert sum("-->" in line for line in lines) == 16, (
        "15 layers and the output, each with its input; 4 take weights, too"
    )


def test_lenet_as_svg(tmp_path):
    parts, texts = drawn(lenet(), tmp_path / "lenet.svg")
    assert parts == {"node": 17, "edge": 16, "cluster": 4}
    for text in ("conv1", "fc2", "(batch, 20, 24, 24) float32", "fc1.weight (500, 800)", "output prob"):
        assert text in texts, text


def test_a_module_as_one_box(tmp_path):
    parts, texts = drawn(lenet(), tmp_path / "lenet.svg", depth=0)
    assert parts == {"node": 11, "edge": 10, "cluster": 0}
    assert texts.count("1 layer") == 2
    assert texts.count("4 layers") == 2


class Odd(nn.Module):
    """Names that mean something in the languages that pictures are written in."""

    def __init__(self):
        super().__init__()
        self.add_module('a "b" \\ <c> #d; & `e` [f]', nn.Linear(3, 3))

    def forward(self, x):
        return {'"y" <z>': next(self.children())(x)}


def test_names_are_shown_as_they_are(tmp_path):
    graph = trtnet.record(Odd(), x=Input((2, 3)))
    parts, texts = drawn(graph, tmp_path / "odd.svg")
    assert parts == {"node": 6, "edge": 5, "cluster": 1}
    assert 'a "b" \\ <c> #d; & `e` [f]' in texts
    assert 'output "y" <z>' in texts
    assert 'subgraph m0["a #quot;b#quot; \\ #lt;c#gt; #35;d; #amp; #96;e#96; [f]"]' in graph.draw()


@pytest.mark.parametrize("suffix", ["png", "pdf", "mmd", "dot", "gv"])
def test_the_other_files(tmp_path, suffix):
    if suffix in ("png", "pdf"):
        needs_graphviz()
    path, graph = tmp_path / f"net.{suffix}", lenet()
    text = graph.draw(path)
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "mmd": b"flowchart TD"}.get(suffix, b"digraph")
    assert path.read_bytes().startswith(begins)
    assert text == (graph.draw() if suffix == "mmd" else as_dot(picture(graph.for_provider(Newest()))))


def test_what_cannot_be_drawn(tmp_path, monkeypatch):
    graph = lenet()
    with pytest.raises(ArgumentError, match="no such file") as caught:
        graph.draw(tmp_path / "net.jpeg")
    assert ".svg" in caught.value.expected
    for wrong in (-1, "1", True, 1.5):
        with pytest.raises(ArgumentTypeError, match="how many modules deep"):
            graph.draw(depth=wrong)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProviderError, match="drawn by Graphviz, which is not installed"):
        graph.draw(tmp_path / "net.svg")
    assert list(tmp_path.iterdir()) == []


def test_graphvizs_own_reasons_are_quoted(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ProviderError, match="could not draw") as caught:
        lenet().draw(tmp_path / "net.svg")
    assert caught.value.details == "out of memory"
    assert caught.value.found == "17 boxes, 16 arrows"
    assert not (tmp_path / "net.svg").exists()


class Deep(nn.Module):
    """100 blocks of four layers."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU()) for _ in range(100)))

    def forward(self, x):
        return self.blocks(x)


def test_a_large_graph_is_drawn_by_modules(tmp_path):
    needs_graphviz()
    large = trtnet.record(Deep(), x=Input((2, 3)))
    assert len(large.layers) > MOST
    drawn = large.draw(tmp_path / "large.svg")
    assert drawn.count('class="node"') == 102
    assert "4 layers" in drawn
    assert large.draw(tmp_path / "large.mmd") == large.draw()
    assert large.draw().count('["activation ') == 400


def test_graphviz_may_take_a_while_and_no_longer(tmp_path, monkeypatch):
    needs_graphviz()
    monkeypatch.setattr("trtnet.teaching.drawing.SECONDS", 1e-6)
    with pytest.raises(ProviderError, match="could not draw") as caught:
        lenet().draw(tmp_path / "net.svg")
    assert "stopped after" in caught.value.details
    assert list(tmp_path.iterdir()) == []


def test_a_loop_leads_back():
    text = recorded("scan")[0].draw()
    assert text.count("-.->") == 2


def test_the_examples():
    for method in (trtnet.Graph.draw, trtnet.Graph.explain, trtnet.Graph.to_script):
        (example,) = doctest.DocTestFinder().find(
            method, method.__name__, globs={"trtnet": trtnet, "F": trtnet.functional, "Input": Input}
        )
        assert doctest.DocTestRunner().run(example).failed == 0
