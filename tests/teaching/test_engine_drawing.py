"""An engine's layers drawn over those that were recorded: TensorRT's, by what it said of them, and the reference's."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from captured import PROVIDER, RUNS, STORED, network_of, times_of

import trtnet
from models.lenet import LeNet
from trtnet import Input, nn
from trtnet.engine.fusion import Fusion, engine_layers
from trtnet.engine.layer_times import LayerTime, LayerTimes
from trtnet.errors import ArgumentError, ArgumentTypeError
from trtnet.teaching.calls import provider_of
from trtnet.teaching.picture import COLORS, Group, Shown, Time


def shown(name, by="kind", timed=True):
    run = RUNS[name]
    lowered = network_of(run).for_provider(provider_of(PROVIDER), run["refit"])
    times = {one: Time(*rest) for one, *rest in run["times"]} if timed else {}
    return Shown(lowered, by, Fusion.of(engine_layers(run["inspection"]), lowered.layers), times)


def total(run):
    return sum(milliseconds for _, milliseconds, _ in run["times"])


@pytest.mark.parametrize("depth", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("name", RUNS)
def test_every_millisecond_is_shown_once(name, depth):
    made = shown(name).picture(depth)
    assert made.frame().time.milliseconds == pytest.approx(total(RUNS[name]))
    groups = {one for box in made.boxes for one in box.path if isinstance(one, Group)}
    assert not any(box.time for box in made.boxes if any(isinstance(one, Group) for one in box.path))
    spent = [one.time.milliseconds for one in [*groups, *made.boxes] if one.time is not None]
    assert sum(spent) == pytest.approx(total(RUNS[name]))


@pytest.mark.parametrize("name", RUNS)
def test_every_recorded_layer_and_every_engine_layer_is_there(name):
    given = shown(name)
    made = given.picture()
    assert len(made.boxes) == 1 + len(given.graph.layers) + 1 + len(given.fusion.own)
    text = "\n".join(line for box in made.boxes for one in (box, *box.path) for line in one.lines)
    for layer in engine_layers(RUNS[name]["inspection"]):
        assert layer.kind in text
        assert layer.kernel[:59] in text


def test_a_copy_stands_on_the_arrow_that_it_copies():
    given = shown("lenet float16")
    made = given.picture()
    copies = [number for number, box in enumerate(made.boxes) if box.lines[0] == "copy"]
    assert len(copies) == 2
    ends = {tuple(sorted((arrow.start, arrow.end))) for arrow in made.arrows}
    (conv1,) = (number for number, box in enumerate(made.boxes) if "conv1.bias (20,)" in box.lines)
    first = copies[0]
    assert (0, conv1) not in ends, "the arrow from the input leads over the copy"
    assert {(0, first), (conv1, first)} <= {(a.start, a.end) for a in made.arrows} | {
        (a.end, a.start) for a in made.arrows
    }
    assert made.boxes[first].lines[1:] == [
        "0.0136 ms, 17.0%", "Reformat", "Channel major FP16 format where channel % 4 == 0",
    ]  # fmt: skip
    assert made.boxes[first].time.milliseconds == pytest.approx(0.0136, abs=1e-4)


def test_copies_between_folded_modules_lead_to_no_box_twice():
    for name in RUNS:
        for depth in (0, 1, 2):
            assert all(arrow.start != arrow.end for arrow in shown(name).picture(depth).arrows)


def test_a_fused_layer_is_a_box_in_the_module_of_all_its_layers():
    given = shown("resnet18 float16-refit")
    paths = {layer.name: path for layer, path in zip(given.graph.layers, given.paths())}
    relu = paths["layer1.0.relu/activation_1"]
    assert [module.name for module in relu[:2]] == ["layer1", "0"]
    assert isinstance(relu[2], Group)
    assert relu == paths["layer1.0.conv2/convolution"] == paths["layer1.0.bn2/scale"]
    assert relu[2].lines[0] == "convolution, scale, elementwise, activation"
    assert paths["layer1.0.conv1/convolution"] != relu
    myelin = dict(zip((layer.name for layer in shown("vit float16").graph.layers), shown("vit float16").paths()))
    deep = myelin["encoder.layers.encoder_layer_3.ln_1/normalization"]
    assert isinstance(deep[0], Group), "the whole encoder is one of Myelin's"
    assert [module.name for module in deep[1:]] == ["encoder", "layers", "encoder_layer_3", "ln_1"]


def test_colors_say_times():
    given = shown("lenet float16", "time")
    made = given.picture()
    for box in made.boxes:
        share = box.time.share if box.time else None
        assert box.color.startswith("time") == (share is not None)
        if share is not None:
            least = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2][int(box.color[4:])]
            assert share >= least
    assert {box.color for box in made.boxes} >= {"tensor", "layer", "time0", "time3", "time4"}


def test_colors_say_dtypes():
    made = shown("lenet float16", "dtype").picture()
    assert {box.color for box in made.boxes} == {"float16", "own"}
    graph = trtnet.record(lambda x: (x.half(), x > 0, x.long()), x=Input((2, 3)))
    assert {box.color for box in Shown(graph, "dtype").picture().boxes} == {"float32", "float16", "bool", "int64"}


def test_what_no_name_tells_of_is_said_to_be_in_no_layer(tmp_path):
    text = network_of(run := RUNS["lenet float32-names"]).draw(provider=PROVIDER, engine=run["inspection"])
    (absent,) = (line for line in text.splitlines() if line.endswith('["elementwise SUM"]:::absent'))
    assert absent.strip().startswith("n")
    page = network_of(run).draw(tmp_path / "net.html", PROVIDER, engine=run["inspection"])
    assert page.count('"absent": true') == 2
    assert "in no layer of the engine" in page


@pytest.mark.parametrize("name", RUNS)
def test_a_stored_inspection_is_drawn_in_every_form(name, tmp_path):
    run, graph = RUNS[name], network_of(RUNS[name])
    for suffix in ("html", "mmd", "dot"):
        text = graph.draw(tmp_path / f"net.{suffix}", PROVIDER, engine=run["inspection"], times=times_of(run))
        assert (tmp_path / f"net.{suffix}").read_text(encoding="utf-8") == text
        slowest = max(run["times"], key=lambda row: row[1])
        assert f"{slowest[1]:.4f} ms, {slowest[2]:.1%}" in text
    json.dumps(run["inspection"])  # as it is kept


def test_of_refittable_engines_too():
    """Which layers are composed may depend on REFIT: the graph is lowered as gives more of the engine's layers."""
    run = RUNS["resnet18 float16-refit"]
    text = network_of(run).draw(provider=PROVIDER, engine=run["inspection"])
    assert text.count(":::absent") == 1, "flatten, which the engine leaves out"


def test_times_alone_say_the_layers():
    run = RUNS["lenet float32-names"]
    text = network_of(run).draw(provider=PROVIDER, times=times_of(run))
    assert len(re.findall(r"\d\.\d{4} ms, ", text)) == 8, "of nine layers two are in the group of fc2"
    assert "classDef time5" in text


def test_times_in_trtexecs_form():
    run = RUNS["lenet float16"]
    of = {"provider": PROVIDER, "engine": run["inspection"]}
    assert network_of(run).draw(**of, times=STORED["times"]) == network_of(run).draw(**of, times=times_of(run))
    assert network_of(run).draw(**of, times=[]) == network_of(run).draw(**of)


def test_a_notebook_shows_what_is_drawn():
    run = RUNS["lenet float16"]
    drawing = network_of(run).draw(provider=PROVIDER, engine=run["inspection"], times=STORED["times"])
    assert drawing.startswith("flowchart TD")
    assert html.unescape(drawing._repr_html_()).count("0.0137 ms, 17.0%") == 2, "conv2 is a module, and a layer"


def test_the_reference_engine(tmp_path):
    graph = trtnet.record(LeNet(), image=Input((2, 1, 28, 28)))
    engine = trtnet.reference(graph)
    assert engine.draw() == graph.draw(engine=engine)
    times = engine.profile(np.zeros((2, 1, 28, 28), np.float32), calls=2)
    text = engine.draw(tmp_path / "net.html", times=times)
    assert len(re.findall(r"\d\.\d{4} ms, ", text)) == 9 + 4, "nine layers, and the four modules that are one"
    with trtnet.reference(graph).context() as context:
        assert context.draw() == engine.draw()


def test_what_does_not_belong_together():
    lenet, run = network_of(RUNS["lenet float32"]), RUNS["lenet float32"]
    other = trtnet.record(nn.Linear(3, 4), input=Input((2, 3)))
    with pytest.raises(ArgumentError, match="no layer of this engine was made of the graph's") as caught:
        other.draw(engine=run["inspection"])
    assert "engine.draw" in caught.value.remedy
    with pytest.raises(ArgumentError, match="an engine of another network"):
        lenet.draw(engine=trtnet.reference(other))
    with pytest.raises(ArgumentError, match="these times are of another engine") as caught:
        lenet.draw(engine=run["inspection"], times=times_of(RUNS["resnet18 float32-dynamic"]))
    assert caught.value.found.startswith("conv1/convolution + bn1/scale")
    with pytest.raises(ArgumentError, match="colors cannot say times") as caught:
        lenet.draw(color="time")
    assert caught.value.remedy == "times=engine.profile(x)"
    with pytest.raises(ArgumentError, match="colors say no such thing"):
        lenet.draw(color="shape")
    for wrong in ({"conv1/convolution": 0.1}, [{"name": "a"}], [{"name": "a", "averageMs": "x", "percentage": 1}], 3):
        with pytest.raises(ArgumentTypeError, match="do not tell the times") as found:
            lenet.draw(times=wrong)
        assert "trtnet profile or trtexec" in found.value.remedy
    with pytest.raises(ArgumentError, match="does not tell an engine's layers"):
        lenet.draw(engine={"layers": []})


def test_every_color_is_one():
    assert all(re.fullmatch("#[0-9a-f]{6}", color.css) and color.says for color in COLORS.values())
    whole = LayerTimes((LayerTime("a", 1.0, 1.0),), 1, "cpu")
    assert Time(1.0, whole.layers[0].share).color == "time5"
    assert [Time(0, share).color for share in (0, 0.0099, 0.01, 0.199, 0.2)] == [
        "time0",
        "time0",
        "time1",
        "time4",
        "time5",
    ]


def test_the_picture_of_the_docs_is_of_this_run():
    root = ElementTree.parse(Path(__file__).parents[2] / "docs" / "lenet-h200.svg").getroot()
    drawn = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    made = shown("lenet float16", "time").picture()
    said = {line for box in made.boxes for one in (box, *box.path) for line in one.lines}
    assert drawn == said | {arrow.text for arrow in made.arrows}
    assert "0.0137 ms, 17.0%" in drawn
