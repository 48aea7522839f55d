"""Which recorded layers an engine's layers were made of, by what TensorRT said of real ones (helpers/captured.py)."""

from __future__ import annotations

import json

import pytest
from captured import PROVIDER, RUNS, network_of

from trtnet.engine.fusion import EngineLayer, Fusion, engine_layers
from trtnet.errors import ArgumentError
from trtnet.teaching.calls import provider_of


def lowered(run):
    return network_of(run).for_provider(provider_of(PROVIDER), run["refit"])


def fused(run, layers=None):
    graph = lowered(run)
    return Fusion.of(layers or engine_layers(run["inspection"]), graph.layers), [one.name for one in graph.layers]


@pytest.mark.parametrize("name", RUNS)
def test_names_lead_to_the_layers_of_that_name(name):
    fusion, names = fused(RUNS[name])
    wanted = RUNS[name]["lowered"]
    assert names == wanted or len(names) == wanted, "the graph is that of the run"
    of = {layer.name: group for group in fusion.groups for layer in group.layers}
    own = {layer.name for layer in fusion.own}
    for layer in engine_layers(RUNS[name]["inspection"]):
        assert (layer.name in own) == layer.name.startswith("Reformatting CopyNode")
        parts = [part for part in layer.name.split(" + ") if part in names] if layer.name not in own else []
        assert all(names.index(part) in of[layer.name].places for part in parts), layer.name
    places = [place for group in fusion.groups for place in group.places]
    assert len(places) == len(set(places)), "a layer is in one group"
    assert fusion.owners == {p: n for n, group in enumerate(fusion.groups) for p in group.places}


def test_a_bias_is_in_the_layer_that_writes_its_sum():
    """No name tells of fc2's sum; the tensor that is written does, by its number and kind."""
    fusion, names = fused(RUNS["lenet float32"])
    groups = {names[place]: number for place, number in fusion.owners.items()}
    assert set(groups) == set(names)
    for part in ("constant", "constant_1", "elementwise"):
        assert groups[f"fc2/fully_connected/{part}"] == groups["fc2/fully_connected/matrix_multiply"]
        assert groups[f"fc1/fully_connected/{part}"] == groups["fc1/fully_connected/matrix_multiply"]
    assert groups["activation"] == groups["fc1/fully_connected/matrix_multiply"], "relu is in the name"
    assert groups["softmax"] != groups["fc2/fully_connected/elementwise"]


def test_where_only_names_are_known_nothing_is_guessed():
    fusion, names = fused(RUNS["lenet float32-names"])
    unknown = [name for place, name in enumerate(names) if place not in fusion.owners]
    assert unknown == ["fc2/fully_connected/constant_1", "fc2/fully_connected/elementwise"]


def test_numbers_that_other_layers_shifted_are_not_believed():
    run = RUNS["lenet float32"]
    text = json.dumps(run["inspection"]).replace("(Unnamed Layer* 3) [Pooling]", "(Unnamed Layer* 4) [Pooling]")
    fusion, names = fused(run, engine_layers(json.loads(text)))
    assert names.index("fc2/fully_connected/elementwise") not in fusion.owners


def test_what_is_left_out_is_in_no_group():
    fusion, names = fused(RUNS["resnet18 float32-dynamic"])
    assert [name for place, name in enumerate(names) if place not in fusion.owners] == ["shuffle"], "flatten is a view"


def test_a_range_of_layers():
    fusion, names = fused(RUNS["vit float16"])
    assert [len(group.places) for group in fusion.groups] == [1, len(names) - 1]
    assert [layer.kind for layer in fusion.groups[1].layers] == ["Myelin"]
    assert [layer.copies_for for layer in fusion.own] == ["conv_proj/convolution", fusion.groups[1].layers[0].name]


def test_what_lies_between_two_layers_of_a_group_is_in_it():
    run = RUNS["lenet float32"]
    layers = [EngineLayer("conv1/convolution + conv2/convolution"), EngineLayer("softmax")]
    fusion, names = fused(run, layers)
    assert [[names[place] for place in sorted(group.places)] for group in fusion.groups] == [
        ["conv1/convolution", "pooling", "conv2/convolution"],
        ["softmax"],
    ]


def test_several_layers_of_the_same_recorded_one_are_one_group():
    fusion, names = fused(RUNS["lenet float32"], [EngineLayer("softmax", "a"), EngineLayer("softmax + pooling", "b")])
    (group,) = fusion.groups
    assert [layer.kind for layer in group.layers] == ["a", "b"]
    assert {names[place] for place in group.places} >= {"softmax", "pooling"}


def test_layers_as_json_in_text():
    """Some versions give each layer as the text of its JSON."""
    run = RUNS["lenet float16"]
    texts = {"Layers": [json.dumps(layer) for layer in run["inspection"]["Layers"]]}
    assert engine_layers(texts) == engine_layers(run["inspection"])
    first = engine_layers(texts)[1]
    assert (first.name, first.kind) == ("conv1/convolution", "CaskConvolution")
    assert first.kernel.startswith("sm80_xmma_fprop_implicit_gemm")
    assert first.writes == (
        ("(Unnamed Layer* 0) [Convolution]_output", "Channel major FP16 format where channel % 8 == 0"),
    )


@pytest.mark.parametrize(
    "wrong", [None, {}, {"Layers": []}, {"Layers": [3]}, {"Layers": [{"name": "x"}]}, {"Layers": ['{"Name": ']}, "text"]
)
def test_what_is_no_inspection(wrong):
    with pytest.raises(ArgumentError, match="does not tell an engine's layers") as caught:
        engine_layers(wrong)
    assert "trtexec --exportLayerInfo" in caught.value.remedy
